"""Tables as spreadsheets, pandas and people write them: read right, or refused by line with a reason that fits."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from samples import write_image

from noisylab.data import ImageFolder
from noisylab.data.imagelist import read_table
from noisylab.data.imageparts import unlisted_images
from noisylab.data.table import read_label_table


def table(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "l.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(*labels: str, header: str = "file,label") -> str:
    return f"{header}\n" + "".join(f"{n}.png,{label}\n" for n, label in enumerate(labels))


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(ValueError, match=r"l\.csv") as caught:
        read_label_table(table(tmp_path, content))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("\ufefffile,label\r\na.png,x\r\nb.png,y\r\n", ["x", "y"]),
        ("file,label\ra.png,x\rb.png,y\r", ["x", "y"]),
        ("file,label\r\na.png,x\nb.png,y\r\n\n\n", ["x", "y"]),
        ('"file","label"\n"a.png","x, y"\nb.png,"say ""z"""\n', ["x, y", 'say "z"']),
        ("label,n,file,\nx,1,a.png,\n y ,2, b.png,\n", ["x", "y"]),
        ('file,label,note\na.png,x,"two\nlines, of text"\nb.png,y,\n', ["x", "y"]),
        ('file,label\na.png,5" nail\nb.png,6" nail\n', ['5" nail', '6" nail']),
    ],
)
def test_tables_of_all_kinds_are_read(tmp_path: Path, content: str, labels: list[str]) -> None:
    found = read_label_table(table(tmp_path, content))
    assert (found.names, found.labels, found.faults) == (["a.png", "b.png"], labels, ["", ""])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (rows("x", '"y', "x", "x", '"y', "x"), "lines 3 to 6: text follows a closing quote"),
        (rows("x", '"y', "x", 'y"', "x"), "lines 3 to 5: a quote that opens in line 3"),
        (rows("x", "y", '"x', "y"), "line 4: a quote that opens in this row is never closed"),
        (rows("x", '"y"z', "x"), "line 3: text follows a closing quote"),
        ('file,label,note\na.png,x,"n\nb.png,y,n\nc.png,x,n"\nd.png,y,\n', "lines 2 to 4: a quote that opens in line 2"),
        ('file, label\na.png, "x"\n', "line 2: a space precedes the quote of '\"x\"'"),
        (rows("x", "y" * 200_000), "line 3: a cell has more than 131,072 characters"),
        (b"file,label\na.png,x\nb.png,\x00y\n", "line 3 holds a zero byte"),
        ("file,label\na.png,x\n".encode("utf-16"), "is text in UTF-16, not in UTF-8"),
        (b"file,label\r\na.png,x\r\nb.png,b\xe9\r\n", "line 3 has the byte 0xe9. If that line reads 'b.png,b\u00e9'"),
        ("file;label\na.png;x\n", "separated by semicolons"),
        ("file\tlabel\na.png\tx\n", "separated by tabs"),
        ("file|label\na.png|x\n", "separated by bars"),
        ("a.png,x\nb.png,y\n", "That looks like a row: write file,label above it"),
        ("# by hand\nfile,label\na.png,x\n", "Remove the comments above the header"),
        ("sep=,\nfile,label\na.png,x\n", "Remove the line sep="),
        ("file,label\n", "has a header but no rows"),
        ("", "has no column file and no column label; its first line has nothing"),
        (rows("NA", "nan"), "has no row with a label"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_line(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert told in refused(tmp_path, content)


def test_rows_without_a_label_are_counted_named_and_come_last(tmp_path: Path) -> None:
    path = table(tmp_path, rows("x", "NA", "y", "None", "NA", "x"))
    with pytest.warns(UserWarning, match=r"3 of 6 rows have no label \('NA' 2, 'None' 1\), 3 are labeled; if that"):
        found = read_label_table(path)
    assert found.names == ["0.png", "2.png", "5.png", "1.png", "3.png", "4.png"]
    assert (found.labels, found.rows) == (["x", "y", "x", "", "", ""], [2, 4, 7, 3, 5, 6])
    assert found.left_out == []


def test_an_empty_cell_is_no_label_and_a_few_may_have_been_forgotten(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"2 of 4 rows have no label \(empty 2\), 2 are labeled$"):
        assert read_label_table(table(tmp_path, rows("x", "", "y", " "))).labels == ["x", "y", "", ""]
    with pytest.warns(UserWarning, match=r"\(empty 1\), 11 are labeled; if empty labels were forgotten, fill them in or remove"):
        read_label_table(table(tmp_path, rows(*"xyxyxy", "", *"xyxyx")))
    assert "no row with a label" in refused_with_warning(tmp_path, rows("", ""))


def refused_with_warning(tmp_path: Path, content: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return refused(tmp_path, content)


def test_rows_of_other_parts_without_a_label_are_left_out(tmp_path: Path) -> None:
    content = "file,label,split\na,x,train\nb,,train\nc,y,train\nd,x,test\ne,,test\nf,,\n"
    with pytest.warns(UserWarning, match="3 of 6 rows"):
        found = read_label_table(table(tmp_path, content))
    assert (found.names, found.labels) == (["a", "c", "d", "b", "f"], ["x", "y", "x", "", ""])
    assert (found.parts, found.left_out) == (["train", "train", "test", "train", "train"], ["e"])
    assert any("1 test rows of" in line and "without a label are left out" in line for line in found.notes)


def test_what_counts_as_no_label_can_be_said(tmp_path: Path) -> None:
    path = table(tmp_path, rows("x", "NA", "none", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = read_label_table(path, missing="none")
        assert (kept.labels, kept.faults[3]) == (["x", "NA", "none", ""], "3.png has no label")
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        assert read_label_table(path, missing=["none", ""]).labels == ["x", "NA", "", ""]
    with pytest.warns(UserWarning, match="2 of 4 rows"), pytest.warns(UserWarning, match="'none' is taken for a class"):
        assert read_label_table(path, missing="all").labels == ["x", "none", "", ""]
    with pytest.raises(ValueError, match="missing must be auto, all, none or a list"):
        read_label_table(path, missing="NA")  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["?", "-", "N.A.", "unlabeled", "#VALUE!"])
def test_a_word_that_may_be_no_label_is_a_class_and_is_said(tmp_path: Path, word: str) -> None:
    with pytest.warns(UserWarning, match="is taken for a class; if it stands for no label"):
        assert word in read_label_table(table(tmp_path, rows("x", word))).labels


def test_minus_one_among_numbers_is_no_label(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 of 4 rows have no label \('-1' 1\)"):
        assert read_label_table(table(tmp_path, rows("2", "-1", "0", "1"))).labels == ["2", "0", "1", ""]
    assert read_label_table(table(tmp_path, rows("x", "-1", "0"))).labels == ["x", "-1", "0"]
    assert read_label_table(table(tmp_path, rows("2", "-1", "0")), missing="none").labels == ["2", "-1", "0"]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("-1", "1"), "-1 may be a class or stand for no label"),
        (("-1", "0", "1"), "-1 may be a class or stand for no label"),
        (("-2", "0", "1"), r"labels below 0 \(-2\); set --data.missing none"),
        (("-100", "-1", "3"), r"labels below 0 \(-100, -1\)"),
    ],
)
def test_numbers_below_zero_that_may_be_classes_are_refused(tmp_path: Path, labels: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_label_table(table(tmp_path, rows(*labels)))


def test_images_without_a_label_are_unlabeled_rows_behind_the_others_and_are_not_unlisted(tmp_path: Path) -> None:
    for n in range(5):
        write_image(tmp_path / "p" / f"{n}.png", seed=n)
    path = table(tmp_path, rows("b", "a", "NA", "b"))
    with pytest.warns(UserWarning, match="1 of 4 rows"):
        data: Any = ImageFolder(str(tmp_path / "p"), labels_csv=str(path))
        data.setup()
    assert (data.source.names, data.given_target.tolist()) == (["0.png", "1.png", "3.png", "2.png"], [1, 0, 1, -1])
    assert (data.info.train_rows.tolist(), data.info.unlabeled_rows.tolist()) == ([0, 1, 2], [3])
    (tmp_path / "p" / "2.png").rename(tmp_path / "2.png")
    with pytest.warns(UserWarning, match="1 of 4 rows"):
        (data := ImageFolder(str(tmp_path / "p"), labels_csv=str(path))).setup()
    assert data.source.names == ["0.png", "1.png", "3.png"]
    assert any("1 unlabeled images of" in line and "are not there and left out (2.png)" in line for line in data.source.account)
    (tmp_path / "2.png").rename(tmp_path / "p" / "2.png")
    with pytest.warns(UserWarning, match="1 of 4 rows"):
        (data := ImageFolder(str(tmp_path / "p"), labels_csv=str(path), use_unlabeled=False)).setup()
    assert data.given_target.tolist() == [1, 0, 1] and len(data.info.unlabeled_rows) == 0
    assert any("1 of 4 rows have no label" in line for line in data.source.account)
    with pytest.warns(UserWarning, match="1 of 4 rows"):
        assert unlisted_images(read_table(path, tmp_path / "p")) == ["4.png"]
    named = ImageFolder(str(tmp_path / "p"), labels_csv=str(path), missing="none")
    named.setup()
    assert named.info.class_names == ("NA", "a", "b")


def test_images_that_no_table_names_are_counted_in_the_account(tmp_path: Path) -> None:
    for n in range(9):
        write_image(tmp_path / "p" / f"{n}.png", seed=n)
        write_image(tmp_path / "q" / f"{n}.png", seed=n)
    labels, test = tmp_path / "l.csv", tmp_path / "t.csv"
    labels.write_text("file,label\n0.png,a\n1.png,b\n")
    test.write_text("file,label\n2.png,a\n")
    folder, kept = str(tmp_path / "p"), {"labels_csv": str(labels), "test_csv": str(test)}

    def said(**kwargs: Any) -> list[str]:
        data = ImageFolder(folder, **kwargs)
        data.setup()
        return [line for line in data.source.account if "left out" in line]

    shown = "3.png, 4.png, 5.png, 6.png and"
    assert said(labels_csv=str(labels)) == [
        f"7 images of {folder} are not in {labels} and left out (2.png, {shown.removesuffix(' and')} and 2 more)"
    ]
    assert said(**kept) == [f"6 images of {folder} are not in {labels} and left out ({shown[:-4]}, 7.png and 1 more)"]
    other = tmp_path / "q"
    assert said(**kept, test_images=str(other))[1] == (
        f"8 images of {other} are not in {test} and left out (0.png, 1.png, 3.png, 4.png, 5.png and 3 more)"
    )
    labels.write_text("file,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(9) if n != 2))
    assert said(**kept) == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_another_unicode_form_is_found(tmp_path: Path, form: Any) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    for n, name in enumerate(("caf\u00e9.png", "th\u00e9.png")):
        write_image(tmp_path / "p" / unicodedata.normalize(form, name), seed=n)
    path = table(tmp_path, unicodedata.normalize(other, "file,label\ncaf\u00e9.png,a\nth\u00e9.png,b\n"))  # type: ignore[arg-type]
    found = read_table(path, tmp_path / "p")
    assert found.names == [unicodedata.normalize(form, name) for name in ("caf\u00e9.png", "th\u00e9.png")]
    assert "2 file names are written with other bytes" in found.notes[0]


def test_a_name_in_latin_1_on_the_disk_is_found(tmp_path: Path) -> None:
    write_image(tmp_path / "p" / "caf\udce9.png")
    assert read_table(table(tmp_path, "file,label\ncaf\u00e9.png,a\n"), tmp_path / "p").names == ["caf\udce9.png"]


def test_names_as_windows_writes_them_are_refused_with_the_way_out(tmp_path: Path) -> None:
    write_image(tmp_path / "p" / "sub" / "0.png")
    with pytest.raises(ValueError, match=r"row 2: sub\\0\.png is separated as in Windows; write / in place"):
        read_table(table(tmp_path, "file,label\nsub\\0.png,a\n"), tmp_path / "p")
