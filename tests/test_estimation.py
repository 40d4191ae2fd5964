"""Estimates of transition matrices, against matrices worked out by hand, slow loops and numpy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from noisylab.estimation import (
    VolumeMinimizing,
    anchor_transition,
    confusion_transition,
    dual_transition,
    invert,
    read_transition,
)
from noisylab.losses import log_volume

FILTERED = torch.tensor(
    [[0.50, 0.46, 0.04], [0.48, 0.12, 0.40], [0.10, 0.45, 0.45], [0.20, 0.44, 0.36], [0.05, 0.15, 0.80], [0.30, 0.10, 0.60]],
    dtype=torch.float64,
)
PLAIN = torch.tensor(
    [[0.9, 0.08, 0.02], [0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8], [0.3, 0.1, 0.6]],
    dtype=torch.float64,
)
GIVEN = torch.tensor([0, 1, 1, 1, 2, 0])
MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)


def _close(found: Tensor, expected: list[list[float]], atol: float = 1e-12) -> None:
    assert found.dtype == torch.float64
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=atol), found


# ---- anchors


def test_outliers_are_left_out_for_their_own_class_alone() -> None:
    found = anchor_transition(FILTERED, 80)
    assert found.rows.tolist() == [5, 3, 2]
    # a filter that zeroed entries in place would make the third row 0.1, 0, 0.45
    _close(found.transition, [[0.3, 0.1, 0.6], [0.2, 0.44, 0.36], [0.1, 0.45, 0.45]])


def test_plain_anchors_are_the_largest_entries_and_filtered_ones_the_next() -> None:
    plain, filtered = anchor_transition(PLAIN), anchor_transition(PLAIN, 97)
    assert plain.rows.tolist() == [0, 2, 4] and filtered.rows.tolist() == [1, 3, 5]
    _close(plain.transition, [[0.9, 0.08, 0.02], [0.1, 0.85, 0.05], [0.05, 0.15, 0.8]])


def test_predictions_are_left_as_they_are() -> None:
    probs = FILTERED.clone()
    anchor_transition(probs, 80)
    assert torch.equal(probs, FILTERED)


def test_each_row_is_divided_by_its_own_sum() -> None:
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)[:, None] / 6
    found = anchor_transition(PLAIN * scale)
    expected = (PLAIN * scale)[found.rows]
    _close(found.transition, [[value / sum(row) for value in row] for row in expected.tolist()])
    assert torch.allclose(found.transition.sum(1), torch.ones(3, dtype=torch.float64))


def test_of_equal_entries_the_first_is_the_anchor() -> None:
    probs = torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    assert anchor_transition(probs).rows.tolist() == [1, 3]
    assert anchor_transition(probs.repeat(500, 1)).rows.tolist() == [1, 3]


@pytest.mark.parametrize("size", [30, 101, 201, 334])
@pytest.mark.parametrize("percentile", [97, 80, 33.3, 100])
def test_the_percentile_is_numpys_higher_one(size: int, percentile: float) -> None:
    probs = torch.randn(size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(size)).softmax(1)
    found = anchor_transition(probs, percentile)
    table = probs.numpy()
    for column in range(4):
        limit = np.percentile(table[:, column], percentile, method="higher")
        kept = [row for row in range(size) if table[row, column] < limit]
        assert found.rows[column] == max(kept, key=lambda row: table[row, column])


def test_float32_predictions_give_a_float64_matrix_without_gradient() -> None:
    probs = PLAIN.float().requires_grad_()
    found = anchor_transition(probs)
    assert found.transition.dtype == torch.float64 and not found.transition.requires_grad
    _close(found.transition.sum(1, keepdim=True), [[1.0]] * 3, atol=1e-15)


@pytest.mark.parametrize(
    ("probs", "percentile", "message"),
    [
        (torch.tensor([[0.5, 0.5], [math.nan, 0.5]]), None, r"probs\[1\] is not a distribution"),
        (torch.tensor([[0.5, 0.5], [1.5, -0.5]]), None, r"probs\[1\] is not a distribution"),
        (torch.tensor([[0.0, 0.0], [0.5, 0.5]]), None, r"probs\[0\] is not a distribution"),
        (torch.zeros(0, 2), None, r"got \(0, 2\)"),
        (torch.zeros(4), None, r"got \(4,\)"),
        (PLAIN, 0.0, r"percentile must be in \(0, 100\], got 0.0"),
        (PLAIN, 100.5, r"percentile must be in \(0, 100\], got 100.5"),
        (PLAIN, math.nan, "percentile must be in"),
    ],
)
def test_what_is_no_set_of_predictions_or_no_percentile_is_refused(probs: Tensor, percentile: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        anchor_transition(probs, percentile)


def test_a_percentile_that_leaves_no_sample_of_a_class_leaves_out_none_for_it_and_warns() -> None:
    probs = torch.tensor([[0.6, 0.4, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0]])
    with pytest.warns(UserWarning, match="percentile 97 leaves none of 3 samples for class 2: up to it all have the same"):
        assert anchor_transition(probs, 97).rows.tolist() == [2, 2, 0]
    mostly = torch.tensor([[1.0, 0.0]] * 5 + [[0.75, 0.25]])
    with pytest.warns(UserWarning, match="percentile 60 leaves none of 6 samples for class 1"):
        assert anchor_transition(mostly, 60).rows.tolist() == [5, 5]
    with pytest.warns(UserWarning, match="class 0, 1, 2"):
        assert anchor_transition(PLAIN[:1], 97).rows.tolist() == [0, 0, 0]


# ---- dual


def test_dual_estimate_is_the_product_of_anchors_and_counts() -> None:
    found = dual_transition(PLAIN, GIVEN)
    assert found.rows.tolist() == [0, 2, 4]
    _close(found.transition, [[0.46, 0.53, 0.01], [0.075, 0.90, 0.025], [0.425, 0.175, 0.40]])


def test_a_class_that_is_never_predicted_keeps_what_the_anchors_say() -> None:
    probs = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.4, 0.2, 0.4]], dtype=torch.float64)  # a tie goes to class 0
    found = dual_transition(probs, torch.tensor([0, 1, 2]))
    counts = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    _close(found.transition, (probs @ counts).tolist())


def test_dual_estimate_uses_the_filter_for_the_anchors_alone() -> None:
    found = dual_transition(PLAIN, GIVEN, 97)
    counts = torch.tensor([[0.5, 0.5, 0], [0, 1, 0], [0.5, 0, 0.5]], dtype=torch.float64)
    assert found.rows.tolist() == [1, 3, 5]
    _close(found.transition, (PLAIN[[1, 3, 5]] @ counts).tolist())


def test_given_labels_that_do_not_belong_to_the_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"given must have one label for each row of probs, \(6,\), got \(5,\)"):
        dual_transition(PLAIN, GIVEN[:5])
    with pytest.raises(ValueError, match=r"given has the label -1, outside 0\.\.2"):
        dual_transition(PLAIN, torch.tensor([0, 1, -1, 1, 2, 0]))


# ---- counts


def test_counts_of_a_set_with_known_truth_leave_out_unknown_and_outside_samples() -> None:
    clean = torch.tensor([0, 0, 0, 0, 1, 2, 2, -1, 3, 80])
    given = torch.tensor([0, 0, 0, 1, 1, 2, 0, 7, 0, 1])
    _close(confusion_transition(clean, given, 3), [[0.75, 0.25, 0], [0, 1, 0], [0.5, 0, 0.5]])


def test_a_class_without_a_sample_is_refused_or_has_the_row_that_is_given() -> None:
    clean, given = torch.tensor([0, 2, 2]), torch.tensor([1, 2, 0])
    with pytest.raises(ValueError, match=r"no sample has the true class 1, 3; .* empty_rows"):
        confusion_transition(clean, given, 4)
    found = confusion_transition(clean, given, 4, empty_rows=torch.eye(4))
    _close(found, [[0, 1, 0, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match=r"empty_rows must have shape \(4, 4\), got \(3, 3\)"):
        confusion_transition(clean, given, 4, empty_rows=torch.eye(3))


def test_labels_that_count_must_be_classes_and_as_many_as_true_ones() -> None:
    with pytest.raises(ValueError, match=r"given has the label 2, outside 0\.\.1"):
        confusion_transition(torch.tensor([0, 1]), torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match=r"clean \(2,\) and given \(3,\)"):
        confusion_transition(torch.tensor([0, 1]), torch.tensor([0, 1, 1]), 2)


# ---- inverse


def test_a_well_conditioned_matrix_is_inverted_in_float64_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = invert(MATRIX.float())
    assert found.dtype == torch.float64
    assert torch.allclose(found @ MATRIX.float().double(), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("difference", [0.0, 1e-6])
def test_rows_that_are_alike_give_a_bounded_pseudo_inverse_and_a_warning_with_the_condition(difference: float) -> None:
    matrix = torch.tensor([[0.6, 0.4, 0], [0.6 - difference, 0.4 + difference, 0], [0, 0, 1]], dtype=torch.float64)
    left, values, right = np.linalg.svd(matrix.numpy())
    condition = "inf|e\\+1[5-9]" if difference == 0 else f"{values[0] / values[2]:.3g}".replace("+", "\\+")
    with pytest.warns(UserWarning, match=f"condition number .*({condition}).*, above 10000: using a pseudo-inverse"):
        found = invert(matrix)
    expected = sum(np.outer(right[k], left[:, k]) / values[k] for k in range(2))  # the third is below the largest / 1e4
    assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-9) and float(found.abs().max()) < 2


def test_the_limit_of_the_condition_is_an_argument() -> None:
    with pytest.warns(UserWarning, match="above 1.5"):
        invert(MATRIX, max_condition=1.5)


def test_what_is_no_square_matrix_of_numbers_has_no_inverse() -> None:
    with pytest.raises(ValueError, match=r"must be square, got shape \(2, 3\)"):
        invert(MATRIX[:2])
    with pytest.raises(ValueError, match="NaN or infinite"):
        invert(torch.tensor([[1.0, math.nan], [0.0, 1.0]]))


# ---- a matrix to be learned


@pytest.mark.parametrize(
    ("classes", "weight", "diagonal", "off", "volume"),
    [
        (10, -2.0, 0.4824330918943059, 0.0575074342, -7.702569436596304),
        (100, -4.5, 0.4789943447602815, 0.0052626834, -73.96430905071239),
    ],
)
def test_the_start_has_the_published_weights_and_their_matrix(
    classes: int, weight: float, diagonal: float, off: float, volume: float
) -> None:
    assert torch.equal(VolumeMinimizing(classes).weight, torch.full((classes, classes), weight))
    matrix = VolumeMinimizing(classes, initial=weight).double()()
    assert matrix.diagonal().tolist() == pytest.approx([diagonal] * classes, abs=1e-14)
    assert matrix[0, 1].item() == pytest.approx(off, abs=5.1e-11)
    assert log_volume(matrix).item() == pytest.approx(volume, abs=1e-12)


def test_the_default_start_is_near_one_half_for_any_number_of_classes() -> None:
    for classes in (2, 3, 6, 14, 50, 200, 1000):
        matrix = VolumeMinimizing(classes)().detach()
        assert 0.47 < matrix[0, 0].item() < 0.64
        assert torch.allclose(matrix.sum(1), torch.ones(classes))


def test_the_diagonal_is_the_largest_entry_of_each_row_whatever_the_weights() -> None:
    module = VolumeMinimizing(4)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-30, 8, 16).view(4, 4))
    matrix = module()
    assert matrix.argmax(1).tolist() == [0, 1, 2, 3] and bool((matrix.diagonal()[:, None] >= matrix).all())


def test_learned_weights_have_the_gradient_of_the_formula_and_the_diagonal_none() -> None:
    module = VolumeMinimizing(3, initial=-1.0).double()

    def volume(weight: Tensor) -> Tensor:
        return log_volume(torch.func.functional_call(module, {"weight": weight}, ()))

    weight = module.weight.detach().clone() + torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3)
    assert torch.autograd.gradcheck(volume, (weight.requires_grad_(),))
    (gradient,) = torch.autograd.grad(volume(weight), weight)
    assert not bool(gradient.diagonal().any()) and int((gradient != 0).sum()) == 6


def test_the_learned_matrix_is_float32_under_autocast_and_with_16_bit_weights() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert VolumeMinimizing(3)().dtype == torch.float32
    assert VolumeMinimizing(3).bfloat16()().dtype == torch.float32


def test_one_class_has_no_matrix_to_learn() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        VolumeMinimizing(1)


# ---- files


def test_a_matrix_is_read_from_each_kind_of_file(tmp_path: Path) -> None:
    array = MATRIX.numpy()
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "one.npz", anything=array)
    np.savez(tmp_path / "named.npz", given_target=np.arange(5), transition_matrix=array)
    np.savetxt(tmp_path / "a.csv", array, delimiter=",", fmt="%.17g")
    for name in ("a.npy", "one.npz", "named.npz", "a.csv"):
        found = read_transition(tmp_path / name, 3)
        assert found.dtype == torch.float64 and torch.equal(found, MATRIX), name
    np.save(tmp_path / "whole.npy", np.eye(2, dtype=np.int64))
    assert torch.equal(read_transition(str(tmp_path / "whole.npy"), 2), torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], r"has shape \(2, 3\); for 3 classes it must be \(3, 3\)"),
        ([[1.0, 0.0, 0.0], [0.0, 1.1, -0.1], [0.0, 0.0, 1.0]], r"row 1 has the entry -0\.1"),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.25, 0.2]], r"row 2 sums to 0\.95, not to 1"),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0002]], r"row 2 sums to 1\.0002, not to 1"),
        ([[1.0, 0.0, 0.0], [0.0, math.nan, 0.0], [0.0, 0.0, 1.0]], "row 1 has the entry nan"),
    ],
)
def test_a_file_whose_matrix_is_none_is_refused_with_its_row(tmp_path: Path, matrix: list[list[float]], message: str) -> None:
    np.save(tmp_path / "a.npy", np.array(matrix))
    with pytest.raises(ValueError, match=f"a.npy: {message}"):
        read_transition(tmp_path / "a.npy", 3)


def test_row_sums_may_be_off_by_rounding(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.33333, 0.66664], [0.5, 0.5]]))
    assert read_transition(tmp_path / "a.npy", 2)[0].tolist() == [0.33333, 0.66664]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}, 1], [1, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy cannot be read \(Object arrays cannot be loaded"):
        read_transition(tmp_path / "a.npy", 2)


def test_other_files_are_refused_by_what_is_wrong_with_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", first=np.eye(2), second=np.eye(2))
    np.save(tmp_path / "text.npy", np.array([["a", "b"], ["c", "d"]]))
    (tmp_path / "a.csv").write_text("cat,dog\n1,0\n")
    (tmp_path / "a.txt").write_text("1,0\n0,1\n")
    (tmp_path / "empty.npy").touch()
    for name, message in {
        "two.npz": "no array is named transition_matrix; there are first, second",
        "text.npy": "holds <U1, not numbers",
        "a.csv": "could not convert string",
        "a.txt": r"read from \.npy, \.npz or \.csv",
        "empty.npy": r"empty\.npy cannot be read .*save the matrix with np\.save",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_transition(tmp_path / name, 2)
    with pytest.raises(FileNotFoundError):
        read_transition(tmp_path / "none.npy", 2)
