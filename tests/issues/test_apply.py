from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisylab.data.arrays import Arrays
from noisylab.data.imagefolder import ImageFolder
from noisylab.data.imagelist import read_table
from noisylab.issues import IssueTable
from noisylab.issues.apply import (
    _written,
    apply_to_arrays,
    apply_to_folders,
    apply_to_table,
    read_accepted,
    top_fixes,
)
from noisylab.issues.fixes import Applied, Fixes


def _ranked(
    given: Sequence[int],
    suggested: Sequence[int],
    class_names: tuple[str, ...] = ("cat", "dog", "owl"),
    names: list[str] | None = None,
    is_issue: Sequence[bool] | None = None,
) -> IssueTable:
    total = len(given)
    wrong = np.array(given) != np.array(suggested) if is_issue is None else np.array(is_issue)
    return IssueTable(
        index=np.arange(total),
        names=names,
        class_names=class_names,
        given=np.array(given),
        suggested=np.array(suggested),
        score=np.linspace(1, 0, total),
        is_issue=wrong,
        confidence=np.full(total, 0.5),
    )


def _file(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8"))
    return path


def _untouched(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names), "something was written"


# --- read_accepted ---


def test_accepted_files_are_read_with_the_label_they_replace(tmp_path: Path) -> None:
    text = '\ufeff label ,file,note,given\r\n dog ,./a/../b.jpg,x,cat\r\n\r\n"Über, ""gross""","ü,1.jpg",,\r\n'
    assert read_accepted(_file(tmp_path / "a.csv", text)) == {"b.jpg": ("dog", "cat"), "ü,1.jpg": ('Über, "gross"', None)}


def test_accepted_rows_of_arrays_go_by_number(tmp_path: Path) -> None:
    assert read_accepted(_file(tmp_path / "a.csv", "index,label\n007,3\n12,0\n")) == {"7": ("3", None), "12": ("0", None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("file,given\na,b\n", "has no column label; its first line has file, given"),
        ("name,label\na,b\n", "has no column file"),
        ("file;label\na;b\n", "Separate columns by commas"),
        ("file,label\n", "has a header but no rows"),
        ("file,label\na.jpg,\n,dog\nb.jpg\n", "row 2: a.jpg has no label\n  row 3 has no file\n  row 4: b.jpg has no label"),
        ("file,label\na.jpg,dog\nb.jpg,dog\n./a.jpg,dog\n", "row 4: a.jpg is listed more than once"),
        ("index,label\n1,dog\n01,cat\n", "row 3: 1 is listed more than once"),
        ("index,label\n-1,dog\n", "row 2: index '-1' is no row number"),
        ("index,label\na.jpg,dog\n", "row 2: index 'a.jpg' is no row number"),
    ],
)
def test_an_accepted_list_at_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"a\.csv") as error:
        read_accepted(_file(tmp_path / "a.csv", text))
    assert message in str(error.value)


def test_an_accepted_list_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no table"):
            read_accepted(path)
    (tmp_path / "a.csv").write_bytes("file,label\nä,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match="no table in UTF-8"):
        read_accepted(tmp_path / "a.csv")


def test_only_ten_rows_at_fault_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and 2 more") as error:
        read_accepted(_file(tmp_path / "a.csv", "file,label\n" + "".join(f"{row}.jpg,\n" for row in range(12))))
    assert "(12)" in str(error.value) and "9.jpg" in str(error.value) and "10.jpg" not in str(error.value)


# --- top_fixes ---


@pytest.mark.parametrize(
    ("top", "rows"), [("1", 1), ("3", 3), ("5%", 2), ("7.5 %", 2), ("14.3%", 4), ("100%", 21), (" 21 ", 21), ("0.01%", 1)]
)
def test_the_top_is_a_number_or_a_share_rounded_up(top: str, rows: int) -> None:
    fixes = top_fixes(_ranked([0] * 21, [1] * 21), top)  # 5 % of 21 is 1.05, 7.5 % 1.575, 14.3 % 3.003
    assert fixes == {str(row): ("dog", "cat") for row in range(rows)}


def test_a_share_is_taken_exactly() -> None:
    # 7 % of 100 rows is 7; in floating point it is a little more, which would round up to 8
    assert len(top_fixes(_ranked([0] * 100, [1] * 100), "7%")) == 7


def test_rows_that_are_not_flagged_are_passed_over() -> None:
    table = _ranked([0, 1, 2, 0], [1, 2, 2, 2], names=["a", "b", "c", "d"], is_issue=[True, False, False, True])
    assert top_fixes(table, "3") == {"a": ("dog", "cat")}
    assert top_fixes(table, "4") == {"a": ("dog", "cat"), "d": ("owl", "cat")}


@pytest.mark.parametrize("top", ["0", "0%", "0.0%", "150%", "100.5%", "22", "abc", "-1", "5%%", "", "0.05", "1e1%", "٣", "nan%"])
def test_a_top_that_makes_no_sense_is_refused(top: str) -> None:
    with pytest.raises(ValueError, match=r"top must be .*got"):
        top_fixes(_ranked([0] * 21, [1] * 21), top)


def test_a_top_without_issues_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the first 2 rows"):
        top_fixes(_ranked([0, 0, 0], [0, 0, 1]), "2")


# --- apply_to_table ---

_TABLE = (
    '\ufeff"file", true_label ,label,"note"\r\n'
    'a.jpg,dog,cat,"needless quotes"\r\n'
    '"ü, b.jpg",,"dog","two\nlines"\n'
    "\r\n"
    './sub//c.jpg, owl , cat ,"a ""word"""\r\n'
    "d.jpg,,owl\n"
    'e.jpg,x"y,"owl"'
)
_FIXED = (
    '\ufeff"file", true_label ,label,"note"\r\n'
    'a.jpg,dog,dog,"needless quotes"\r\n'
    '"ü, b.jpg",,"cat","two\nlines"\n'
    "\r\n"
    './sub//c.jpg, owl ,owl,"a ""word"""\r\n'
    "d.jpg,,owl\n"
    'e.jpg,x"y,"dog"'
)


def test_a_table_is_copied_byte_for_byte_but_for_the_labels(tmp_path: Path) -> None:
    table = _file(tmp_path / "labels.csv", _TABLE)
    fixes: Fixes = {
        "a.jpg": ("dog", "cat"),
        "ü, b.jpg": ("cat", None),
        "sub/c.jpg": ("owl", "cat"),
        "d.jpg": ("owl", None),
        "e.jpg": ("dog", "owl"),
    }
    assert apply_to_table(table, fixes, tmp_path / "new" / "fixed.csv") == Applied(changed=4, same=1)
    assert (tmp_path / "new" / "fixed.csv").read_bytes() == _FIXED.encode("utf-8")
    assert table.read_bytes() == _TABLE.encode("utf-8")
    _untouched(tmp_path / "new", "fixed.csv")


def test_any_table_is_read_back_as_it_was_with_other_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for trial in range(40):
        marks = list(',"\n aü;' + "\r" * (trial % 2))  # csv.writer leaves a lone carriage return without quotes
        cells = [["".join(draw.choice(marks, draw.integers(0, 5))) for _ in range(4)] for _ in range(6)]
        for row, line in enumerate(cells):
            line[1], line[2] = f"f{row}", ("no, no", 'say "yes"')[row % 2]
        text = io.StringIO(newline="")
        quoting = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[trial % 2]
        writer = csv.writer(text, quoting=quoting, lineterminator=("\n", "\r\n")[trial // 2 % 2])
        writer.writerows([["x", "file", "label", "y"], *cells])
        read = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
        path, out = _file(tmp_path / f"{trial}.csv", text.getvalue()), tmp_path / f"{trial}_out.csv"
        apply_to_table(path, {"f0": ('say "yes"', "no, no"), "f3": ("no, no", None)}, out)
        read[1][2], read[4][2] = 'say "yes"', "no, no"
        with out.open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file)) == read


def test_without_fixes_the_copy_is_the_table(tmp_path: Path) -> None:
    assert apply_to_table(_file(tmp_path / "labels.csv", _TABLE), {}, tmp_path / "out.csv") == Applied(0, 0)
    assert (tmp_path / "out.csv").read_bytes() == _TABLE.encode("utf-8")


def test_the_same_fixes_change_nothing_a_second_time(tmp_path: Path) -> None:
    fixes: Fixes = {"a.jpg": ("dog", "cat")}
    apply_to_table(_file(tmp_path / "labels.csv", "file,label\na.jpg,cat\nb.jpg,cat\nc.jpg,dog\n"), fixes, tmp_path / "1.csv")
    assert apply_to_table(tmp_path / "1.csv", fixes, tmp_path / "2.csv") == Applied(changed=0, same=1)


def test_a_class_without_rows_left_is_told(tmp_path: Path) -> None:
    table = _file(tmp_path / "labels.csv", "file,label\na.jpg,cat\nb.jpg,dog\nc.jpg,dgo\n")
    assert apply_to_table(table, {"c.jpg": ("dog", None)}, tmp_path / "out.csv") == Applied(1, 0, ("dgo",))


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    table = _file(tmp_path / "labels.csv", "label,path,species\n1,a.jpg,cat\n2,b.jpg,dog\n")
    found = apply_to_table(table, {"a.jpg": ("dog", "cat")}, tmp_path / "out.csv", label_column="species", file_column="path")
    assert found == Applied(1, 0, ("cat",))
    assert (tmp_path / "out.csv").read_text() == "label,path,species\n1,a.jpg,dog\n2,b.jpg,dog\n"


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        ({"a.jpg": ("dog", None), "z.jpg": ("dog", None)}, "do not occur in .*labels.csv \\(1\\):\n  z.jpg\n"),
        ({"a.jpg": ("dgo", None)}, "no class of .*\n  a.jpg: 'dgo', nearest 'dog'"),
        ({"a.jpg": ("", None)}, "no class of"),
        ({"b.jpg": ("cat", "owl")}, "other labels than.*\n  b.jpg: the fix replaces 'owl', but the label is 'dog'"),
    ],
)
def test_fixes_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path: Path, fixes: Fixes, message: str) -> None:
    table = _file(tmp_path / "labels.csv", "file,label\na.jpg,cat\nb.jpg,dog\nc.jpg,owl\n")
    with pytest.raises(ValueError, match=message):
        apply_to_table(table, fixes, tmp_path / "out.csv")
    _untouched(tmp_path, "labels.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na.jpg,cat\n", "has no column label"),
        ("file,label\na.jpg,cat\n,dog\n./a.jpg,dog\n", "row 3 has no file\n  row 4: a.jpg is listed more than once"),
        ("", "is empty"),
    ],
)
def test_a_table_at_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_to_table(_file(tmp_path / "labels.csv", text), {"a.jpg": ("dog", None)}, tmp_path / "out.csv")
    _untouched(tmp_path, "labels.csv")


def test_nothing_is_ever_written_over(tmp_path: Path) -> None:
    table = _file(tmp_path / "labels.csv", "file,label\na.jpg,cat\nb.jpg,dog\n")
    (tmp_path / "soft.csv").symlink_to(table)
    os.link(table, tmp_path / "hard.csv")
    (tmp_path / "sub").mkdir()
    fixes: Fixes = {"a.jpg": ("dog", None)}
    for out in (table, tmp_path / "sub" / ".." / "labels.csv", tmp_path / "soft.csv", tmp_path / "hard.csv"):
        with pytest.raises(FileExistsError, match="is the input file"):
            apply_to_table(table, fixes, out)
    _file(tmp_path / "other.csv", "mine")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "other.csv", tmp_path / "sub", tmp_path / "dangling.csv"):
        with pytest.raises(FileExistsError, match="already exists"):
            apply_to_table(table, fixes, out)
    assert table.read_text() == "file,label\na.jpg,cat\nb.jpg,dog\n" and (tmp_path / "other.csv").read_text() == "mine"
    _untouched(tmp_path, "labels.csv", "soft.csv", "hard.csv", "other.csv", "dangling.csv", "sub")


# --- apply_to_folders ---


def _images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / name)
    return root


def test_images_in_class_folders_get_a_table_that_trains(tmp_path: Path) -> None:
    root = _images(tmp_path / "images", "cat/1.png", "cat/ü, 2.png", "dog/1.png", "dog/3.png")
    table = _ranked([1, 0], [0, 1], ("cat", "dog"), ["dog/1.png", "cat/1.png"])  # two rows were held out
    assert apply_to_folders(root, table, {"dog/1.png": ("cat", None)}, tmp_path / "out.csv") == Applied(1, 0)
    read = read_table(tmp_path / "out.csv", root)
    assert dict(zip(read.names, read.labels, strict=True)) == {
        "cat/1.png": "cat",
        "cat/ü, 2.png": "cat",
        "dog/1.png": "cat",
        "dog/3.png": "dog",
    }
    data = ImageFolder(str(root), labels_csv=str(tmp_path / "out.csv"))
    data.setup()
    assert data.given_target.tolist() == [0, 0, 0, 1]


def test_of_a_training_and_a_test_folder_the_training_images_are_listed(tmp_path: Path) -> None:
    root = _images(tmp_path / "images", "train/cat/1.png", "train/dog/1.png", "test/cat/9.png", "test/dog/9.png")
    data = ImageFolder(str(root))
    data.setup()
    assert data.source.names is not None
    table = _ranked(data.given_target.tolist(), [1, 1], data.info.class_names, list(data.source.names))
    apply_to_folders(root, table, top_fixes(table, "1"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == ["file,label", "train/cat/1.png,dog", "train/dog/1.png,dog"]


def test_another_folder_or_other_labels_than_the_ranked_ones_are_refused(tmp_path: Path) -> None:
    root = _images(tmp_path / "images", "cat/1.png", "dog/1.png", "owl/2.png")
    with pytest.raises(ValueError, match=r"rows of the ranked list are not in .*images \(1\):\n  owl/1.png"):
        apply_to_folders(root, _ranked([0], [1], names=["owl/1.png"]), {}, tmp_path / "out.csv")
    noisy = _ranked([1], [0], names=["cat/1.png"])  # the run made a dog of it, the folder says cat
    with pytest.raises(ValueError, match=r"the fix replaces 'dog', but the label is 'cat'(?s:.*)noise that a run adds"):
        apply_to_folders(root, noisy, {"cat/1.png": ("owl", None)}, tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError, match="no folder"):
        apply_to_folders(tmp_path / "absent", noisy, {}, tmp_path / "out.csv")
    _untouched(tmp_path, "images")


@pytest.mark.parametrize(
    "name",
    [
        "cat/two\nlines.png",
        "cat/back\rhome.png",
        "cat/a\r\nb.png",
        "cat/ends in a blank.png ",
        "two\nlines/1.png",
        "\n/1.png",
        " cat/1.png",
        os.fsdecode(b"Katze-\xe4/1.png"),
    ],
)
def test_names_that_a_table_cannot_hold_are_refused_by_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / "images"
    labels = {name: name.split("/")[0], "dog/1.png": "dog"}
    with pytest.raises(ValueError, match=r"a table of labels cannot hold.*\(1\)") as caught:
        _written(labels, root)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a, b.png", 'say "no".png', "=1+1.png", "tab\there.png", "\x0bpage.png", "#.png", os.fsdecode(b"K\xe4se.png")]
)
def test_odd_names_come_back_from_the_table(tmp_path: Path, name: str) -> None:
    root = _images(tmp_path / "images", f"cat/{name}", "dog/1.png")
    assert apply_to_folders(root, _ranked([1], [0], names=["dog/1.png"]), {}, tmp_path / "out.csv").changed == 0
    read = read_table(tmp_path / "out.csv", root)
    assert dict(zip(read.names, read.labels, strict=True)) == {f"cat/{name}": "cat", "dog/1.png": "dog"}


def test_a_name_in_latin_1_is_refused_beside_the_same_in_utf_8(tmp_path: Path) -> None:
    root = _images(tmp_path / "images", os.fsdecode(b"cat/K\xe4se.png"), "cat/Käse.png", "dog/1.png")
    with pytest.raises(ValueError, match="cannot hold"):
        apply_to_folders(root, _ranked([1], [0], names=["dog/1.png"]), {}, tmp_path / "out.csv")
    _untouched(tmp_path, "images")


# --- apply_to_arrays ---


def _saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **{"x": np.eye(6, 4), **arrays})
    return path


def test_arrays_are_copied_with_other_labels(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", y=np.array([5, 3, 3, 9, 5, 9], dtype=np.int16), group=np.arange(6))
    table = _ranked([1, 0], [0, 2], ("3", "5", "9"))
    found = apply_to_arrays(path, table, {"0": ("3", "5"), "1": ("9", None), "4": ("5", None)}, tmp_path / "b.npz")
    assert found == Applied(changed=2, same=1)
    with np.load(tmp_path / "b.npz") as new:
        assert new["y"].tolist() == [3, 9, 3, 9, 5, 9] and new["y"].dtype == np.int16
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.npz") as copied:
        assert old.namelist() == copied.namelist() and copied.testzip() is None
        assert all(old.read(name) == copied.read(name) for name in ("x.npy", "group.npy"))
        assert copied.getinfo("x.npy").compress_type == zipfile.ZIP_DEFLATED
    data = Arrays(str(tmp_path / "b.npz"))
    data.setup()
    assert data.given_target.tolist() == [0, 2, 0, 2, 1, 2]


def test_arrays_in_the_habits_of_keras_keep_their_names_and_shapes(tmp_path: Path) -> None:
    labels = np.array([5, 3, 3, 9, 5, 9], dtype=np.uint8)[:, None]
    np.savez(tmp_path / "a.npz", x_train=np.eye(6, 4), y_train=labels, x_test=np.eye(2, 4), y_test=labels[:2])
    found = apply_to_arrays(tmp_path / "a.npz", _ranked([0], [0], ("3", "5", "9")), {"0": ("3", "5")}, tmp_path / "b.npz")
    assert found.changed == 1
    with np.load(tmp_path / "b.npz") as new:
        assert sorted(new.files) == ["x_test", "x_train", "y_test", "y_train"]
        assert new["y_train"].tolist() == [[3], [3], [3], [9], [5], [9]] and new["y_test"].tolist() == [[5], [3]]


def test_text_labels_keep_their_kind(tmp_path: Path) -> None:
    text = ["cat", "ü", "cat", "ü", "cat", "ü"]
    path = _saved(tmp_path / "a.npz", y=np.array(text), class_names=np.array(["cat", "elephant", "ü"]))
    apply_to_arrays(path, _ranked([0], [1], ("cat", "elephant", "ü")), {"0": ("elephant", "cat")}, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as new:
        assert new["y"].tolist() == ["elephant", *text[1:]]
    path = _saved(tmp_path / "s.npz", y=np.char.encode(np.array(text), "utf-8"))
    apply_to_arrays(path, _ranked([0], [1], ("cat", "ü")), {"0": ("ü", "cat")}, tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as new:
        assert new["y"].dtype.kind == "S" and new["y"][0].decode() == "ü"


def test_class_names_are_turned_into_their_numbers(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "owl"])
    path = _saved(tmp_path / "a.npz", y=np.array([0, 1, 0, 1, 0, 1], dtype=np.int8), class_names=names)
    apply_to_arrays(path, _ranked([0], [2]), {"0": ("owl", "cat")}, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as new:
        assert new["y"].tolist() == [2, 1, 0, 1, 0, 1] and new["y"].dtype == np.int8
    many = tuple(f"n{row}" for row in range(200))
    path = _saved(tmp_path / "c.npz", y=np.array([0, 1, 0, 1, 0, 1], dtype=np.int8), class_names=np.array(many))
    apply_to_arrays(path, _ranked([0], [1], many), {"0": ("n199", "n0")}, tmp_path / "d.npz")
    with np.load(tmp_path / "d.npz") as new:
        assert new["y"].tolist() == [199, 1, 0, 1, 0, 1]


def test_a_folder_of_arrays_becomes_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "x.npy", np.eye(4))
    np.save(folder / "y.npy", np.array([True, False, True, False]))
    table = _ranked([1], [0], ("False", "True"))
    assert apply_to_arrays(folder, table, {"0": ("False", "True")}, tmp_path / "b.npz") == Applied(1, 0)
    with np.load(tmp_path / "b.npz") as new:
        assert new["y"].tolist() == [False, False, True, False] and new["y"].dtype == np.bool_
        assert (new["x"] == np.eye(4)).all() and sorted(new.files) == ["x", "y"]


def test_labels_of_arrays_may_be_written_as_a_table(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", y=np.array([7, 8, 7, 8, 7, 8]))
    apply_to_arrays(path, _ranked([0], [1], ("7", "8")), {"0": ("8", "7")}, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().split() == ["index,label", "0,8", "1,8", "2,7", "3,8", "4,7", "5,8"]


def test_arrays_that_are_not_needed_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.eye(2), y=np.array([0, 1]), meta=np.array([{"a": 1}], dtype=object))
    apply_to_arrays(path, _ranked([0], [1], ("0", "1")), {"0": ("1", "0")}, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz", allow_pickle=True) as new:
        assert new["meta"][0] == {"a": 1}


@pytest.mark.parametrize(
    ("table", "fixes", "out", "message"),
    [
        (_ranked([0], [1], ("7", "8")), {"0": ("8", None)}, "b.txt", "out must end in .npz"),
        (_ranked([0], [1], ("7", "8")), {"6": ("8", None)}, "b.npz", "do not occur"),
        (_ranked([0] * 7, [1] * 7, ("7", "8")), {"0": ("8", None)}, "b.npz", "ranked list are not in .*\n  6\n"),
        (_ranked([0], [1], ("7", "8"), ["a.jpg"]), {"0": ("8", None)}, "b.npz", "ranked list are not in .*\n  a.jpg\n"),
        (_ranked([0], [1], ("7", "8")), {"0": ("8.0", None)}, "b.npz", "no class of .*\n  0: '8.0', nearest '8'"),
        (_ranked([1], [0], ("7", "9")), {"0": ("8", None)}, "b.npz", "replaces '9', but the label is '7'"),
    ],
)
def test_fixes_that_do_not_fit_arrays_are_refused(
    tmp_path: Path, table: IssueTable, fixes: Fixes, out: str, message: str
) -> None:
    path = _saved(tmp_path / "a.npz", y=np.array([7, 8, 7, 8, 7, 8]))
    with pytest.raises(ValueError, match=message):
        apply_to_arrays(path, table, fixes, tmp_path / out)
    with pytest.raises(FileExistsError, match="is the input file"):
        apply_to_arrays(path, table, fixes, path)
    _untouched(tmp_path, "a.npz")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "a.npz", y=np.array([7, 8, 7, 8, 7, 8]))

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("noisylab.issues.apply.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        apply_to_arrays(path, _ranked([0], [1], ("7", "8")), {"0": ("8", "7")}, tmp_path / "b.npz")
    _untouched(tmp_path, "a.npz")
