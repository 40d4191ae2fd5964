from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from samples import train_batches

from noisylab.data import Arrays
from noisylab.data.arrays import pixel_statistics
from noisylab.data.rows import MultiRows, SparseRows
from noisylab.noise import Symmetric

LABELS = np.array([0, 1, 2] * 4)
FEATURES = np.random.default_rng(0).normal(3, 2, (12, 5)).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (12, 6, 7, 3), dtype=np.uint8)


def csr(stem: str, matrix: np.ndarray[Any, Any]) -> dict[str, Any]:
    sparse = scipy.sparse.csr_matrix(matrix)
    return {f"{stem}_{part}": getattr(sparse, part) for part in ("data", "indices", "indptr", "shape")}


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Saves arrays and returns the data module that reads them, after its setup."""

    def build(arrays: dict[str, Any], **kwargs: Any) -> Any:
        np.savez(tmp_path / "mine.npz", **arrays)
        data = Arrays(str(tmp_path / "mine.npz"), **kwargs)
        data.setup()
        return data

    return build


# ---- inputs


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (PIXELS, (3, 6, 7)),
        (PIXELS.transpose(0, 3, 1, 2), (3, 6, 7)),
        (PIXELS[..., 0], (1, 6, 7)),
        (PIXELS[..., :1], (1, 6, 7)),
        (PIXELS.astype(np.int64), (3, 6, 7)),
        (PIXELS / 255, (3, 6, 7)),
    ],
)
def test_images_come_in_any_usual_layout(make: Any, x: Any, shape: tuple[int, ...]) -> None:
    data = make({"x": x, "y": LABELS})
    held = data.source.train.values
    assert (held.shape[1:], held.dtype) == (shape, torch.uint8)
    expected = PIXELS[..., :1] if shape[0] == 1 else PIXELS
    assert np.array_equal(held.permute(0, 2, 3, 1).numpy(), expected)


def test_gray_float_images_stay_float(make: Any) -> None:
    data = make({"x": PIXELS[..., 0] / 255, "y": LABELS})
    assert data.source.train.values.dtype == torch.float32


def test_mean_and_std_are_measured_on_the_training_images(make: Any) -> None:
    data = make({"x": PIXELS, "y": LABELS, "test_x": PIXELS // 2, "test_y": LABELS})
    normalize = data.view_set()["eval"]
    assert normalize.mean == pytest.approx((PIXELS / 255).mean((0, 1, 2)))
    assert normalize.std == pytest.approx((PIXELS / 255).std((0, 1, 2)))
    given = make({"x": PIXELS, "y": LABELS}, mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 2.0]).view_set()["eval"]
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))


def test_a_channel_of_one_gray_level_has_unit_deviation() -> None:
    mean, std = pixel_statistics(torch.full((2000, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


def test_standardize_uses_the_training_rows_for_both_parts(make: Any) -> None:
    x = FEATURES.copy()
    x[:, 2] = 7
    data = make({"x": x, "y": LABELS, "test_x": x + 1, "test_y": LABELS}, standardize=True)
    train, test = data.source.train.values, data.source.test.values
    torch.testing.assert_close(train.mean(0), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.tensor([1.0, 1, 0, 1, 1]))
    torch.testing.assert_close(test - train, torch.tensor(1 / np.where(np.arange(5) == 2, 1, x.std(0))).float().expand(12, 5))


def test_sparse_numbers_beyond_float32_are_refused(make: Any) -> None:
    matrix = np.eye(12)
    matrix[3, 3] = 1e300
    with pytest.raises(ValueError, match=r"x in .* has 1e\+300 in column 3, which is beyond float32 .*; it has 1 such"):
        make({**csr("x", matrix), "y": LABELS})


def test_one_sparse_input_makes_dense_batches(make: Any) -> None:
    dense = np.where(FEATURES > 3, FEATURES, 0)
    data = make({**csr("x", dense), "y": LABELS}, batch_size=5, standardize=False)
    assert isinstance(data.source.train, SparseRows)
    for batch in train_batches(data):
        assert torch.equal(batch.views[0], torch.from_numpy(dense)[batch.index])


def test_several_views_make_a_batch_of_each(make: Any) -> None:
    dense = np.where(FEATURES > 3, FEATURES, 0)
    arrays = {"x_image": PIXELS, "x_sound": FEATURES, **csr("x_text", dense), "y": LABELS}
    test = {f"test_{name}": array for name, array in arrays.items()}
    data = make({**arrays, **test}, batch_size=4, standardize=False)
    assert isinstance(data.source.train, MultiRows)
    batch = next(train_batches(data, ("weak", "strong")))
    weak, strong = batch.views
    assert list(weak) == ["image", "sound", "text"]
    assert weak["image"].shape == (4, 3, 6, 7)
    assert torch.equal(weak["sound"], torch.from_numpy(FEATURES)[batch.index])
    assert torch.equal(weak["text"], torch.from_numpy(dense)[batch.index])
    assert not torch.equal(weak["sound"], strong["sound"])
    (batch,) = data.test_dataloader()["test"]
    assert batch.inputs["image"].shape == (12, 3, 6, 7)


def test_views_are_chosen_by_name_and_one_makes_plain_batches(make: Any) -> None:
    arrays = {"x_a": FEATURES, "x_b": FEATURES + 1, "x_c": FEATURES + 2, "y": LABELS}
    assert list(next(train_batches(make(arrays, views=["c", "a"]))).views[0]) == ["c", "a"]
    batch = next(train_batches(make(arrays, views=["b"], standardize=False)))
    assert torch.equal(batch.views[0], torch.from_numpy(FEATURES + 1)[batch.index])


def test_a_folder_of_npy_files_and_a_second_file_for_the_test_rows(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "x.npy", FEATURES)
    np.save(tmp_path / "train" / "y.npy", LABELS)
    np.savez(tmp_path / "test.npz", x=FEATURES[:3], y=LABELS[:3])
    data: Any = Arrays(str(tmp_path / "train"), test_path=str(tmp_path / "test.npz"))
    data.setup()
    assert (data.info.num_train, data.source.test_target.tolist()) == (12, [0, 1, 2])


# ---- labels


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (LABELS, ("0", "1", "2")),
        (LABELS.astype(np.uint8) + 7, ("7", "8", "9")),
        (LABELS * 10 - 5, ("-5", "5", "15")),
        (np.array(["b", "c", "é"])[LABELS], ("b", "c", "é")),
        (np.array([b"b", b"c", b"d"])[LABELS], ("b", "c", "d")),
    ],
)
def test_labels_are_numbered_in_sorted_order(make: Any, y: Any, names: tuple[str, ...]) -> None:
    data = make({"x": FEATURES, "y": y, "test_x": FEATURES[:2], "test_y": y[1:3]}, missing="none")
    assert data.given_target.tolist() == LABELS.tolist()
    assert data.info.class_names == names
    assert data.source.test_target.tolist() == [1, 2]


def test_class_names_give_the_order(make: Any) -> None:
    names = np.array(["wolf", "ant", "cow"])
    assert make({"x": FEATURES, "y": LABELS, "class_names": names}).info.class_names == ("wolf", "ant", "cow")
    assert make({"x": FEATURES, "y": names[LABELS], "class_names": names}).given_target.tolist() == LABELS.tolist()


def test_the_number_of_classes_needs_the_labels_alone(tmp_path: Path) -> None:
    for name, array in (("y", LABELS), ("x", np.array([{}]))):
        np.save(tmp_path / f"{name}.npy", array)
    data = Arrays(str(tmp_path))
    assert data.num_classes == 3
    (tmp_path / "y.npy").unlink()
    assert data.num_classes == 3


def test_true_labels_are_for_reports_only(make: Any) -> None:
    truth = np.where(np.arange(12) < 4, (LABELS + 1) % 3, LABELS)
    truth[11] = -1
    data = make({"x": FEATURES, "y": LABELS, "y_true": truth})
    assert data.clean_target.tolist() == truth.tolist()
    assert all(torch.equal(b.target, torch.from_numpy(LABELS)[b.index]) for b in train_batches(data))
    words = np.array(["a", "b", "c", ""])
    assert make({"x": FEATURES, "y": words[LABELS], "y_true": words[truth]}).clean_target.tolist() == truth.tolist()


def test_a_true_label_of_minus_one_is_a_class_where_the_labels_say_so(make: Any) -> None:
    y = np.where(LABELS > 0, 1, -1)
    assert make({"x": FEATURES, "y": y, "y_true": y[::-1]}, missing="none").clean_target.min() == 0


def test_groups_may_be_text(make: Any) -> None:
    group = np.array(["ann", "bob", "cid"])[np.arange(12) // 4]
    data = make({"x": FEATURES, "y": LABELS, "group": group}, val_by="group", val_fraction=0.3)
    assert data.source.group.tolist() == (np.arange(12) // 4).tolist()
    assert len(data.split.val) == 4


# ---- errors

BAD = FEATURES.copy()
BAD[5, 1], BAD[7] = np.nan, np.inf
HALF = csr("x", FEATURES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": FEATURES, "y": LABELS[:9]}, r"different lengths: x 12, y 9; each needs"),
        ({"x": FEATURES, "y": LABELS, "group": LABELS[:3]}, r"x 12, y 12, group 3"),
        ({"x": FEATURES, "y": LABELS, "test_x": FEATURES, "test_y": LABELS[:2]}, r"test_x 12, test_y 2"),
        ({"x": FEATURES, "target": LABELS}, r"has no array 'y'; it holds target, x"),
        ({"inputs": FEATURES, "y": LABELS}, r"has no inputs x or x_<view>; it holds inputs, y"),
        ({"x": FEATURES, "y": LABELS, "test_x": FEATURES}, r"has no array 'test_y'"),
        ({"x": FEATURES, "y": LABELS, "test_y": LABELS}, r"has no inputs test_x"),
        ({"x": FEATURES, "x_b": FEATURES, "y": LABELS}, r"has x beside x_b; give all views a name"),
        ({"x": np.array([{}] * 12), "y": LABELS}, r"x of .*mine.npz holds Python objects, which are never unpickled"),
        ({"x": FEATURES, "y": LABELS.astype(object)}, r"y of .*mine.npz holds Python objects"),
        ({"x": BAD, "y": LABELS}, r"x in .* has 6 values that are NaN or infinite, the first in row 5;"),
        (csr("x", BAD) | {"y": LABELS}, r"x in .* has 6 values that are NaN or infinite, the first in row 5;"),
        ({"x": FEATURES, "y": LABELS + 0.5}, r"the label 0\.5 in row 0, which is not a whole number \(12 such labels\)"),
        ({"x": FEATURES, "y": np.eye(3, dtype=int)[LABELS]}, r"one row of whole numbers or text, got int64 of shape \(12, 3\)"),
        ({"x": FEATURES, "y": LABELS * 0}, r"has 1 different classes in 1 names \(0\); at least two are needed"),
        ({"x": FEATURES, "y": LABELS, "class_names": ["a", "b"]}, r"4 of 12 labels of y .* 2 classes \(a, b\).*2 in row 2"),
        ({"x": FEATURES, "y": LABELS, "class_names": list("abcd")}, r"no training sample has the class d"),
        ({"x": FEATURES, "y": LABELS, "class_names": ["a", "b", "a"]}, r"2 different classes in 3 names"),
        ({"x": FEATURES, "y": LABELS, "y_true": LABELS + 1}, r"4 of 12 labels of y_true .* the first is 3 in row 2"),
        ({"x": FEATURES, "y": LABELS, "y_true": LABELS.astype(str)}, r"y_true .* holds text, but the classes are numbers"),
        ({"x": FEATURES, "y": LABELS, "test_x": FEATURES, "test_y": LABELS + 1}, r"of test_y in .* the first is 3 in row 2"),
        ({"x": FEATURES[0], "y": LABELS}, r"must be numbers of shape \(N, D\).*got float32 of shape \(5,\)"),
        ({"x": PIXELS[:, :, :, :2], "y": LABELS}, r"\(12, 6, 7, 2\), in which the axis of 1 or 3 channels is ambiguous"),
        ({"x": PIXELS[:, :3], "y": LABELS}, r"\(12, 3, 7, 3\), in which the axis of 1 or 3 channels is ambiguous"),
        ({"x": PIXELS * 1.0, "y": LABELS}, r"has pixels from 0 to 255, but float images must lie in \[0, 1\]"),
        ({"x": PIXELS.astype(int) + 1, "y": LABELS}, r"has pixels from 1 to 256, but whole numbers must lie in 0..255"),
        ({"x": FEATURES, "y": LABELS, "test_x": FEATURES[:, :4], "test_y": LABELS}, r"test_x has rows of shape \(4,\).*\(5,\)"),
        ({k: v for k, v in HALF.items() if k != "x_shape"} | {"y": LABELS}, r"parts of a sparse matrix x but not x_shape"),
        (HALF | {"x_shape": [12, 4], "y": LABELS}, r"indptr or indices point outside the matrix"),
        (HALF | {"x_shape": [11, 5], "y": LABELS}, r"is not a CSR matrix"),
    ],
)
def test_what_does_not_fit_is_named(make: Any, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(arrays)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": ["b", "z"]}, r"has no view 'z' \(x_z\); it has a, b"),
        ({"views": []}, r"views must name at least one view"),
        ({"views": ["a", "a"]}, r"none twice"),
        ({"mean": [0.5]}, r"mean and std go together, got mean=\[0.5\], std=None"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make({"x_a": FEATURES, "x_b": FEATURES, "y": LABELS}, **arguments)


def test_a_mean_for_another_number_of_channels_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="one value for each of 3 channels"):
        make({"x": PIXELS, "y": LABELS}, mean=[0.5], std=[0.5])


def test_noise_on_labels_that_are_already_wrong_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="12 of 12 labels already differ from the true ones; leave noise out"):
        make({"x": FEATURES, "y": LABELS, "y_true": (LABELS + 1) % 3}, noise=Symmetric(0.2))


def test_a_path_that_is_no_file_of_arrays_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nowhere"):
        _ = Arrays(str(tmp_path / "nowhere.npz")).num_classes
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="holds Python objects, which are never unpickled, or is no array at all"):
        _ = Arrays(str(tmp_path / "text.npz")).num_classes
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="cannot read the file"):
        _ = Arrays(str(tmp_path / "cut.npz")).num_classes
    np.save(tmp_path / "one.npy", LABELS)
    with pytest.raises(ValueError, match="it is a single array; put it into a folder"):
        _ = Arrays(str(tmp_path / "one.npy")).num_classes


def test_views_are_not_known_before_the_arrays(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call setup"):
        Arrays(str(tmp_path)).view_set()
