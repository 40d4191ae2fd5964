"""Columns of a label table that tell rows to train on from rows to test on: read as folders of these names are, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import write_image

from noisylab.data import ImageFolder

SIX = "abcabc"  # labels of the pictures 0.png ... 5.png


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> None:
    for n in range(6):
        write_image(tmp_path / "p" / f"{n}.png", seed=n)


def table(tmp_path: Path, header: str, *cells: str, labels: str = SIX, name: str = "l.csv") -> str:
    """A table of the first pictures; returns its path."""
    lines = [f"{n}.png,{label},{cell}" for n, (label, cell) in enumerate(zip(labels, cells, strict=False))]
    (tmp_path / name).write_text("\n".join([f"file,label,{header}", *lines]) + "\n")
    return str(tmp_path / name)


def read(tmp_path: Path, path: str | None, **kwargs: Any) -> ImageFolder:
    data = ImageFolder(str(tmp_path / "p"), labels_csv=path, **kwargs)
    data.setup()
    return data


def parts(data: ImageFolder) -> tuple[list[str] | None, list[str] | None]:
    """Files to train on and to test on, by the digits of their names."""
    names = (data.source.names, data.source.test_names)
    return tuple(None if found is None else [name[0] for name in found] for name in [names] for found in name)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("split", ("train", "train", "train", "test", "test", "test")),
        ("Set", ("Training", "training", "TRAIN", "Testing", "hold-out", "test")),
        ("subset", ("train",) * 3 + ("val",) * 3),
        ("fold", ("train",) * 3 + ("dev",) * 3),
        ("is_valid", ("False",) * 3 + ("True",) * 3),
        ("is_train", ("1",) * 3 + ("0",) * 3),
        ("is_training_image", ("1",) * 3 + ("0",) * 3),
    ],
)
def test_a_column_of_parts_is_read(tmp_path: Path, header: str, cells: tuple[str, ...]) -> None:
    path = table(tmp_path, header, *cells)
    data = read(tmp_path, path)
    assert parts(data) == (["0", "1", "2"], ["3", "4", "5"])
    assert data.source.test_target is not None and data.source.test_target.tolist() == [0, 1, 2] == data.given_target.tolist()
    kind = "val" if header in ("subset", "fold", "is_valid") else "test"
    assert f"{path}, by its column {header}: 3 train rows, 3 {kind} rows" in data.source.account


def test_validation_rows_beside_test_rows_are_not_read_as_with_folders(tmp_path: Path) -> None:
    path = table(tmp_path, "split", "train", "train", "train", "val", "val", "test")
    data = read(tmp_path, path)
    assert parts(data) == (["0", "1", "2"], ["5"])
    assert [line for line in data.source.account if "not read" in line] == [
        f"the val rows of {path} are not read: validation rows are held out of the training rows (val_fraction)"
    ]
    assert not any("not in" in line for line in data.source.account), "the table names them"


def test_test_rows_give_way_to_test_images_that_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "split", *["train"] * 3, *["test"] * 3)
    other = tmp_path / "t.csv"
    other.write_text("file,label\n4.png,b\n")
    data = read(tmp_path, path, test_csv=str(other))
    assert parts(data) == (["0", "1", "2"], ["4"])
    assert f"the test rows of {path} are not read: test images are given" in data.source.account


def test_of_a_test_table_the_test_rows_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "split", *["train"] * 3, *["test"] * 3)
    data = read(tmp_path, path, test_csv=path)
    assert parts(data) == (["0", "1", "2"], ["3", "4", "5"])
    assert f"{path}, by its column split: 3 train rows are not read" in data.source.account


def test_a_table_of_one_part_is_read_whole_and_said(tmp_path: Path) -> None:
    path = table(tmp_path, "split", *["val"] * 6)
    data = read(tmp_path, path)
    assert parts(data) == (list("012345"), None)
    assert f"all rows of {path} are val rows by its column split; they are trained on" in data.source.account
    assert not any("rows by" in line for line in read(tmp_path, table(tmp_path, "split", *["train"] * 6)).source.account)


def test_a_test_part_without_labels_is_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, "split", *["train"] * 4, *["test"] * 2, labels=["a", "b", "a", "b", "", ""])  # type: ignore[arg-type]
    data = read(tmp_path, path)
    assert parts(data) == (["0", "1", "2", "3"], None)
    assert any(line.startswith(f"the 2 test rows of {path} have no labels and are not read") for line in data.source.account)


@pytest.mark.parametrize(
    ("header", "cells", "told"),
    [
        ("split", ["train"] * 3 + ["test"] * 2 + ["extra"], "names test and train, .* and extra .1 rows., which is not"),
        ("split", ["val"] * 3 + ["test"] * 3, "names rows of test and val, but none to train on"),
        ("split", ["train"] * 3 + ["test"] * 2 + [""], "row 7: 5.png has nothing in the column split"),
        (
            "split,set",
            ["train,train"] * 3 + ["test,test"] * 2 + ["train,test"],
            "different parts of the data, first train and test",
        ),
        ("is_val,is_test", ["0,0"] * 4 + ["1,1"] * 2, "row 6 is val and test, as the columns is_val, is_test say"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, header: str, cells: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read(tmp_path, table(tmp_path, header, *cells))


def test_a_column_of_other_values_is_said_to_be_left_aside(tmp_path: Path) -> None:
    path = table(tmp_path, "fold", *"012012")
    data = read(tmp_path, path)
    assert parts(data) == (list("012345"), None)
    assert any("the column fold (0, 1 and 2) is not read" in line for line in data.source.account)
    assert not any("the column" in line for line in read(tmp_path, table(tmp_path, "note", *"train")).source.account)


def test_the_column_of_the_labels_is_not_one_of_parts(tmp_path: Path) -> None:
    path = table(tmp_path, "set", *["train", "bus", "plane"] * 2)
    assert read(tmp_path, path, label_column="set").info.class_names == ("bus", "plane", "train")
