"""Array files in the habits of others: their arrays are found, refused by name, or said to be left aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.data import Arrays
from noisylab.data.arraynames import meant

RNG = np.random.default_rng(0)
X, Y = RNG.normal(0, 1, (12, 5)), np.arange(12) % 3
TESTED = RNG.normal(0, 1, (6, 5)), np.arange(6) % 3
HELD = RNG.normal(0, 1, (3, 5)), np.arange(3)


def read(tmp_path: Path, arrays: dict[str, Any], **kwargs: Any) -> Any:
    np.savez(tmp_path / "a.npz", **arrays)
    data = Arrays(str(tmp_path / "a.npz"), standardize=False, **kwargs)
    data.setup()
    return data


def unread(data: Any) -> list[str]:
    return [line.partition(": ")[2] for line in data.source.account if "not read" in line]


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("x", "y", "x_test", "y_test"),
        ("xtrain", "ytrain", "xtest", "ytest"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("images_train", "labels_train", "images_val", "labels_val"),
        ("x_train", "y_train", "x_valid", "y_valid"),
    ],
)
def test_training_and_test_rows_are_found_by_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for column in (False, True):  # labels of Keras' CIFAR-10 are a column
        labels = [y[:, None] if column else y for y in (Y, TESTED[1])]
        data = read(tmp_path, dict(zip(names, (X, labels[0], TESTED[0], labels[1]), strict=True)))
        assert np.allclose(data.source.train.values.numpy(), X) and data.given_target.tolist() == Y.tolist()
        assert np.allclose(data.source.test.values.numpy(), TESTED[0])
        assert data.source.test_target.tolist() == TESTED[1].tolist() and unread(data) == []


def test_validation_rows_beside_test_rows_are_said_to_be_left_aside(tmp_path: Path) -> None:
    arrays = {"x_train": X, "y_train": Y, "x_test": TESTED[0], "y_test": TESTED[1], "x_val": HELD[0], "y_val": HELD[1]}
    data = read(tmp_path, arrays)
    assert len(data.source.test) == 6
    assert unread(data) == ["x_val and y_val are not read: validation rows are held out of the training rows (val_fraction)"]


def test_views_and_sparse_parts_are_found(tmp_path: Path) -> None:
    views = {"x_left_train": X, "x_right_train": X + 1, "x_left_test": TESTED[0], "x_right_test": TESTED[0] + 1}
    data = read(tmp_path, {**views, "y_train": Y, "y_test": TESTED[1]})
    assert list(data.source.train.views) == ["left", "right"] == list(data.source.test.views)
    sparse = {"x_train_data": 0, "x_train_indices": 0, "x_train_indptr": 0, "x_train_shape": 0, "y_train": 0}
    assert list(meant([*sparse]).stored) == ["x_data", "x_indices", "x_indptr", "x_shape", "y"]


def test_arrays_that_stand_for_nothing_are_named(tmp_path: Path) -> None:
    data = read(tmp_path, {"x": X, "y": Y, "y_clean": Y, "notes": X})
    assert unread(data) == ["arrays that are not read: notes and y_clean"]


def test_test_rows_that_give_way_to_another_file_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x_test=HELD[0], y_test=HELD[1])
    arrays = {"x_train": X, "y_train": Y, "x_test": TESTED[0], "y_test": TESTED[1]}
    data = read(tmp_path, arrays, test_path=str(tmp_path / "t.npz"))
    assert len(data.source.test) == 3 and unread(data) == ["x_test and y_test are not read: test_path is given"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("x", "x_train", "y"), "a.npz: the arrays x and x_train both stand for x; remove or rename one"),
        (("x", "y", "x_test"), "has no array 'test_y'; it holds x, x_test, y; name the inputs x"),
        (("x", "y", "y_test"), "has no inputs test_x or test_x_<view>; it holds x, y, y_test"),
        (("data", "target"), "has no array 'y'; it holds data, target; name the inputs x, the labels y"),
        (("x_test", "y_test"), "has no array 'y'; it holds x_test, y_test; name"),
    ],
)
def test_what_cannot_be_found_is_refused_by_name(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read(tmp_path, {name: Y if name.startswith(("y", "t")) else X for name in names})
