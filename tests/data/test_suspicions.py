"""What looks wrong with data is said before training, with its number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import write_folders, write_image, write_table

from noisylab.data import Arrays, ImageFolder

X, Y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 3
PIXELS = np.random.default_rng(1).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)


def account(tmp_path: Path, **arrays: Any) -> list[str]:
    np.savez(tmp_path / "a.npz", **arrays)
    data = Arrays(str(tmp_path / "a.npz"))
    data.setup()
    return [line.replace(str(tmp_path), "") for line in data.source.account]


@pytest.mark.parametrize("load", [{}, {"load": "files", "size": 8}])
def test_test_pictures_that_are_training_pictures_are_counted(tmp_path: Path, load: Any) -> None:
    write_folders(tmp_path / "train", size=(8, 8))
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    write_image(tmp_path / "test" / "cat" / "0.png", (8, 8), seed=99)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "dog" / "named otherwise.png")
    for n in (1, 2):
        write_image(tmp_path / "test" / "cat" / f"{n}.png", (8, 8), seed=100 + n)
        write_image(tmp_path / "test" / "dog" / f"{n}.png", (8, 8), seed=110 + n)
    data = ImageFolder(str(tmp_path), **load)
    data.setup()
    said = [line for line in data.source.account if "too" in line and "test images" in line]
    assert said == [
        "2 of 7 test images are training images, too (test/dog/0.png first): accuracy on them says little; "
        "leave them out of one of both"
    ]


def test_test_rows_that_are_training_rows_are_counted(tmp_path: Path) -> None:
    new = np.random.default_rng(9).normal(size=(4, 5))
    for mixed in (np.r_[new, X[3:5]], np.r_[new, X[3:5]].astype(np.float32)):
        said = account(tmp_path, x=X, y=Y, test_x=mixed, test_y=Y[:6])
        assert any(line.startswith("2 of 6 test rows are training rows, too (row 4 first)") for line in said)
    assert not any("too" in line for line in account(tmp_path, x=X, y=Y, test_x=new, test_y=Y[:4]))
    said = account(tmp_path, x=PIXELS, y=Y, test_x=PIXELS[:4], test_y=Y[:4])
    assert any(line.startswith("4 of 4 test rows are training rows") for line in said)


def test_a_file_that_a_table_names_by_two_paths_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path / "p", size=(8, 8))
    rows = [("cat/0.png", "cat"), (str(tmp_path / "p" / "cat" / "0.png"), "dog"), ("dog/0.png", "dog")]
    data = ImageFolder(str(tmp_path / "p"), labels_csv=write_table(tmp_path / "l.csv", ("file", "label"), rows))
    with pytest.raises(ValueError, match=r"row 2: cat/0.png is a file that is listed more than once, by another path\n  row 3:"):
        data.setup()


def test_a_class_that_is_several_others_is_named(tmp_path: Path) -> None:
    labels = np.array(["cat", "dog", "cat; dog", "a/b"] * 10)
    said = account(tmp_path, x=X, y=labels)
    assert [line for line in said if "like several" in line] == [
        "cat; dog is called like several other classes: taken as a class of its own; where a row has several labels, "
        "choose one, or leave it out"
    ]


def test_labels_that_are_hardly_classes_are_doubted(tmp_path: Path) -> None:
    said = account(tmp_path, x=X, y=np.arange(40))
    assert any(line.startswith("40 classes for 40 labels, 40 of them with a single one") for line in said)
    assert not any("of them with a single" in line for line in account(tmp_path, x=X, y=np.arange(40) % 20))


def test_test_rows_of_another_size_are_said(tmp_path: Path) -> None:
    new = np.random.default_rng(9).normal(size=(12, 5))
    wide = new * [1, 1, 500, 1, 1]
    said = [line for line in account(tmp_path, x=X, y=Y, test_x=wide, test_y=Y[:12]) if "alike" in line]
    assert said == [
        "test_x in /a.npz: 1 of 5 columns (from 0: 2) are over 20 times as large as in the training rows; prepare both alike"
    ]
    said = [line for line in account(tmp_path, x=X, y=Y, test_x=new / 100, test_y=Y[:12]) if "alike" in line]
    assert len(said) == 1 and "the training rows are" in said[0]
    assert not any("alike" in line for line in account(tmp_path, x=X, y=Y, test_x=new, test_y=Y[:12]))


def test_pictures_that_were_made_whole_numbers_from_fractions_are_said(tmp_path: Path) -> None:
    said = account(tmp_path, x=(PIXELS > 127).astype(np.uint8), y=Y)
    assert "x in /a.npz: no pixel of 0..255 is above 1; if 1 is white, save it as 255" in said
    assert not any("above 1" in line for line in account(tmp_path, x=PIXELS, y=Y))
