"""`noisylab issues apply`: from an accepted list to a label file that trains."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import write_table

from noisylab.cli import main

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
ANIMALS = ("cat", "dog", "owl")


def noisylab(*argv: object) -> int:
    return main([str(text) for text in argv])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def accept(path: str, key: str, changes: Mapping[str, str], given: Mapping[str, str]) -> str:
    """A list of accepted fixes as the page writes it."""
    lines = [f"{key},label,given", *(f"{name},{label},{given[name]}" for name, label in changes.items())]
    Path(path).write_bytes("".join(line + "\r\n" for line in lines).encode())
    return path


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 gray pictures in class folders, a table of other labels for them beside, arrays, and a run of each kind."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    listed = []
    for row in range(30):
        kind = row % 3
        pixels = rng.integers(0, 60, (8, 8), dtype=np.uint8)
        pixels[2 * kind : 2 * kind + 3] += 150
        name = f"{ANIMALS[(kind + (row % 5 == 0)) % 3]}/{row:02d}.png"
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / name)
        listed.append((name, name.split("/")[0], f'note "{row}"'))
    write_table(root / "labels.csv", ("img", "label", "note"), listed)
    names = np.array([label for _, label, _ in listed])
    np.savez(root / "d.npz", x=rng.standard_normal((30, 4)).astype(np.float32), y=names, extra=np.arange(3))
    table = ("--images", root / "images", "--labels", root / "labels.csv", "--file_column", "img")
    for name, source in (("table", table), ("folders", ("--images", root / "images")), ("arrays", ("--arrays", root / "d.npz"))):
        assert noisylab("issues", *source, *SHORT, "--run_dir", root / name) == 0
        assert any(row["is_issue"] == "True" for row in read(root / name / "label_issues.csv"))
    return root


def given_of(run: Path) -> dict[str, str]:
    return {row.get("file", row.get("index", "")): row["given"] for row in read(run / "label_issues.csv")}


def other(label: str) -> str:
    return ANIMALS[(ANIMALS.index(label) + 1) % 3]


def test_accepted_fixes_change_their_rows_and_nothing_else_and_the_new_table_trains(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made)
    given = given_of(made / "table")
    changes = {name: other(given[name]) for name in list(given)[:4]}
    accepted = accept("accepted.csv", "file", changes, given)
    capsys.readouterr()
    assert noisylab("issues", "apply", "--run", made / "table", "--accepted", accepted, "--out", "new labels.csv") == 0
    printed = capsys.readouterr().out
    assert "4 labels changed, 0 were so already: new labels.csv" in printed
    assert f"noisylab fit --config {made / 'table' / 'config.yaml'} --data.labels_csv 'new labels.csv'" in printed
    assert tree(made) == before
    old, new = (path.read_bytes().splitlines(keepends=True) for path in (made / "labels.csv", Path("new labels.csv")))
    assert len(old) == len(new)
    for line, changed in zip(old, new, strict=True):
        name = line.split(b",")[0].decode()
        expected = line.replace(f",{given[name]},".encode(), f",{changes[name]},".encode()) if name in changes else line
        assert changed == expected
    config = made / "table" / "config.yaml"
    assert noisylab("fit", "--config", config, "--data.labels_csv", "new labels.csv", "--run_dir", "fixed") == 0
    assert given_of(Path("fixed")) == {**given, **changes}


@pytest.mark.parametrize(("top", "rows"), [("10%", 3), ("7", 7), ("100%", 30)])
def test_the_surest_suggestions_are_taken_from_the_top_of_the_list(made: Path, top: str, rows: int) -> None:
    ranked = read(made / "table" / "label_issues.csv")
    assert noisylab("issues", "apply", "--run", made / "table", "--top", top, "--out", "labels_fixed.csv") == 0
    fixed = {row["img"]: row["label"] for row in read(Path("labels_fixed.csv"))}
    expected = {row["file"]: row["suggested" if place < rows else "given"] for place, row in enumerate(ranked)}
    assert fixed == expected
    assert fixed != {row["file"]: row["given"] for row in ranked}


def test_class_folders_get_a_table_that_trains_in_their_place(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(made / "images")
    given = given_of(made / "folders")
    changes = {name: other(given[name]) for name in list(given)[:3]}
    accepted = accept("accepted.csv", "file", changes, given)
    assert noisylab("issues", "apply", "--run", made / "folders", "--accepted", accepted, "--out", "labels_fixed.csv") == 0
    assert "--data.labels_csv labels_fixed.csv" in capsys.readouterr().out
    assert {row["file"]: row["label"] for row in read(Path("labels_fixed.csv"))} == {**given, **changes}
    assert tree(made / "images") == before
    config = made / "folders" / "config.yaml"
    assert noisylab("fit", "--config", config, "--data.labels_csv", "labels_fixed.csv", "--run_dir", "fixed") == 0
    assert given_of(Path("fixed")) == {**given, **changes}


def test_arrays_are_copied_with_new_labels_and_train(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = given_of(made / "arrays")
    changes = {row: other(given[row]) for row in list(given)[:3]}
    accepted = accept("accepted.csv", "index", changes, given)
    capsys.readouterr()
    assert noisylab("issues", "apply", "--run", made / "arrays", "--accepted", accepted, "--out", "fixed.npz") == 0
    assert "--data.path fixed.npz" in capsys.readouterr().out
    with np.load(made / "d.npz") as old, np.load("fixed.npz") as new:
        assert sorted(old.files) == sorted(new.files)
        np.testing.assert_array_equal(old["x"], new["x"])
        np.testing.assert_array_equal(old["extra"], new["extra"])
        assert dict(enumerate(new["y"].tolist())) == {int(row): label for row, label in {**given, **changes}.items()}
    assert noisylab("fit", "--config", made / "arrays" / "config.yaml", "--data.path", "fixed.npz", "--run_dir", "fixed") == 0
    assert given_of(Path("fixed")) == {**given, **changes}


def test_labels_of_arrays_alone_go_into_a_table(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert noisylab("issues", "apply", "--run", made / "arrays", "--top", "3", "--out", "y.csv") == 0
    assert [row["index"] for row in read(Path("y.csv"))] == [str(row) for row in range(30)]
    assert "noisylab fit" not in capsys.readouterr().out, "a table of labels alone cannot be trained on"


# ---- what is refused; nothing is written


def refused(made: Path, capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    before = tree(made), tree(Path.cwd())
    capsys.readouterr()
    assert noisylab("issues", "apply", *argv) == 2
    assert (tree(made), tree(Path.cwd())) == before
    return capsys.readouterr().err


def test_no_file_is_written_over(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.csv").write_text("mine")
    top = ("--run", made / "table", "--top", "5")
    assert "never overwritten, so name a new file" in refused(made, capsys, *top, "--out", made / "labels.csv")
    assert "there.csv already exists; name a new file" in refused(made, capsys, *top, "--out", "there.csv")
    arrays = ("--run", made / "arrays", "--top", "5", "--out", made / "d.npz")
    assert "never overwritten, so name a new file" in refused(made, capsys, *arrays)


ACCEPTED = [
    ("file,new\ncat/03.png,dog\n", "no column label; its first line has file, new; it needs file, id or index, label"),
    ("file,label\nnone.png,dog\n", "none.png"),
    ("file,label\n{first},dogg\n", "'dogg', nearest 'dog'"),
    ("file,label,given\n{first},{given},{other}\n{second},{other},yak\n", "replaces 'yak'"),
    ("file,label\n{first},dog\n{first},owl\n", "row 3: {first} is listed more than once"),
    ("file,label\n", "accept some fixes in the page"),
    ("", "is empty"),
]


@pytest.mark.parametrize(("text", "said"), ACCEPTED)
def test_a_wrong_list_is_refused(made: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    given = given_of(made / "table")
    first, second = list(given)[:2]
    words = {"first": first, "second": second, "given": given[first], "other": other(given[second])}
    Path("accepted.csv").write_text(text.format(**words))
    error = refused(made, capsys, "--run", made / "table", "--accepted", "accepted.csv", "--out", "o.csv")
    assert said.format(**words) in error


@pytest.mark.parametrize("top", ["0%", "150%", "0", "31", "-5", "many", "5 %%"])
def test_a_top_that_is_nothing_or_more_than_there_is_is_refused(made: Path, capsys: pytest.CaptureFixture[str], top: str) -> None:
    error = refused(made, capsys, "--run", made / "table", "--top", top, "--out", "o.csv")
    assert "top must be" in error
    assert repr(top) in error


def test_a_command_that_lacks_or_has_too_much_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = ("--run", made / "table"), ("--out", "o.csv")
    assert "needs --run DIR" in refused(made, capsys, "--top", "5%", *out)
    assert "needs --out FILE" in refused(made, capsys, *run, "--top", "5%")
    assert "needs either --accepted FILE" in refused(made, capsys, *run, *out)
    assert "or --top 5%" in refused(made, capsys, *run, "--top", "5%", "--accepted", "a.csv", *out)
    assert "--images belongs to noisylab issues, " in refused(made, capsys, *run, "--top", "5%", *out, "--images", "x")
    assert "'trainer.max_epochs' is not known" in refused(made, capsys, *run, "--top", "5%", *out, "--trainer.max_epochs", "1")
    assert "--config belongs to noisylab fit" in refused(made, capsys, *run, "--top", "5%", *out, "--config", "act_digits.yaml")
    assert "there is no table a.csv" in refused(made, capsys, *run, "--accepted", "a.csv", *out)
    assert "no run (no config.yaml)" in refused(made, capsys, "--run", made / "images", "--top", "5%", *out)


def test_a_run_without_a_list_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "table", "half")
    Path("half/label_issues.csv").unlink()
    assert "there is no file half/label_issues.csv" in refused(made, capsys, "--run", "half", "--top", "5", "--out", "o.csv")


def test_labels_that_have_changed_since_the_run_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "table", "run")
    lines = (made / "labels.csv").read_text().splitlines()
    top = next(row["file"] for row in read(Path("run/label_issues.csv")) if row["is_issue"] == "True")
    place = next(place for place, line in enumerate(lines) if line.startswith(top))
    row = next(row for row in read(Path("run/label_issues.csv")) if row["file"] == top)
    third = next(name for name in ANIMALS if name not in (row["given"], row["suggested"]))
    lines[place] = f"{top},{third},x"
    Path("now.csv").write_text("\n".join(lines) + "\n")
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(str(made / "labels.csv"), "now.csv"))
    error = refused(made, capsys, "--run", "run", "--top", "100%", "--out", "o.csv")
    assert f"{top}: the fix replaces {row['given']!r}, but the label is {third!r}" in error


def test_the_labels_of_a_published_data_set_are_not_rewritten(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--data.subset", "40", "--data.batch_size", "32", "--model.network.width", "4")
    assert noisylab("fit", "--config", "ce_digits.yaml", *flags, *SHORT, "--run_dir", "digits") == 0
    error = refused(made, capsys, "--run", "digits", "--top", "100%", "--out", "o.csv")
    assert "published data set" in error
    assert "ImageFolder, ImageFeatures, Arrays" in error
