"""Transition matrices: estimated from predictions or counts, learned, inverted, and read from files.

Throughout, ``T`` is P(given = column | true = row) and its rows sum to one. Estimates are computed in float64, on the device of
what they are made from, and wait for it.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from noisylab.reading import check_arrays, regular

__all__ = [
    "Anchors",
    "VolumeMinimizing",
    "anchor_transition",
    "confusion_transition",
    "dual_transition",
    "invert",
    "read_transition",
]

_ROW_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Anchors:
    """A matrix estimated from one sample per class.

    Attributes:
        transition: (K, K) float64, rows sum to one.
        rows: (K,) int64, which row of the predictions was taken for each class.
    """

    transition: Tensor
    rows: Tensor


def anchor_transition(probs: Tensor, percentile: float | None = None) -> Anchors:
    """The prediction of the sample most surely of class i, as row i of T.

    ``T[i] = X[k_i] / sum_j X[k_i, j]`` with ``k_i = argmax_n X[n, i]``, of equal entries the first. With a percentile, samples
    whose X[n, i] is at least that percentile of the column are left out as outliers, for class i alone.

    Source: Patrini et al., CVPR 2017; the percentile of 97 for few classes is that of Xia et al.'s code (T-Revision).

    Args:
        probs: (N, K) float, X: predictions of the given label, from a network that does not memorize yet, in eval mode. Not
            changed.
        percentile: in (0, 100]; where it falls between two values, the higher is taken. None keeps all samples.

    Raises:
        ValueError: there is no row or fewer than two classes; an entry is NaN, infinite or negative; a row sums to zero; the
            percentile is out of range.

    Warns:
        UserWarning: where the percentile leaves no sample of a class, as up to it all predictions of the class are alike: none
            is left out then.

    >>> import torch
    >>> found = anchor_transition(torch.tensor([[.75, .25], [.5, .5], [.125, .875]]))
    >>> found.transition.tolist(), found.rows.tolist()
    ([[0.75, 0.25], [0.125, 0.875]], [0, 2])
    """
    probs = _checked(probs)
    rows = _anchors(probs, percentile)
    picked = probs[rows]
    return Anchors(picked / picked.sum(1, keepdim=True), rows)


def dual_transition(probs: Tensor, given: Tensor, percentile: float | None = None) -> Anchors:
    """``T = A B``: the anchors' rows A, between true and predicted class, and counts B, between predicted and given label.

    ``B[l, j]`` is the share of the samples predicted as l that have the label j; of a class never predicted it is 1 at l. Counts
    are surer than predicted probabilities, and A leads only to a class that the network itself names.

    Source: Yao et al., NeurIPS 2020 (Dual T).

    Args:
        probs: (N, K) float, predictions of the given label; see `anchor_transition`. Not changed.
        given: (N,) int64 labels of the same samples, in 0..K-1.
        percentile: of the outlier filter for A; see `anchor_transition`.

    Raises:
        ValueError: see `anchor_transition`; also if `given` has another length or a label outside 0..K-1.
    """
    anchors = anchor_transition(probs, percentile)
    probs, classes = _checked(probs), probs.shape[1]
    if given.shape != probs.shape[:1]:
        raise ValueError(f"given must have one label for each row of probs, ({len(probs)},), got {tuple(given.shape)}")
    _check_labels("given", given, classes)
    counts = _counts(probs.argmax(1), given.to(probs.device), classes)
    predicted = counts.sum(1, keepdim=True)
    never = torch.eye(classes, dtype=counts.dtype, device=counts.device)
    shares = torch.where(predicted > 0, counts / predicted.clamp(min=1), never)
    return Anchors(anchors.transition @ shares, anchors.rows)


def confusion_transition(clean: Tensor, given: Tensor, num_classes: int, *, empty_rows: Tensor | None = None) -> Tensor:
    """How often each label was given to the samples of each true class, in a set whose true labels are known.

    Args:
        clean: (N,) int64 true labels. Samples below 0, of unknown truth, and from K on, of no known class, are left out.
        given: (N,) int64 labels of the same samples, in 0..K-1 where the true one counts.
        num_classes: K.
        empty_rows: (K, K), rows for classes of which there is no sample, the identity for instance. None refuses them.

    Returns:
        (K, K) float64, rows sum to one.

    Raises:
        ValueError: the labels differ in number, one that counts lies outside 0..K-1, or there is a class without a sample.

    >>> import torch
    >>> confusion_transition(torch.tensor([0, 0, 1, 1, -1, 2]), torch.tensor([0, 1, 1, 1, 0, 0]), 2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    if clean.ndim != 1 or clean.shape != given.shape:
        raise ValueError(f"clean {tuple(clean.shape)} and given {tuple(given.shape)} must both have shape (N,)")
    known = (clean >= 0) & (clean < num_classes)
    given = given.to(clean.device)[known]
    _check_labels("given", given, num_classes)
    counts = _counts(clean[known], given, num_classes)
    totals = counts.sum(1, keepdim=True)
    empty = (totals == 0).flatten()
    if bool(empty.any()):
        if empty_rows is None:
            names = ", ".join(str(place) for place in empty.nonzero().flatten().tolist())
            raise ValueError(f"no sample has the true class {names}; give more samples, or rows for such classes as empty_rows")
        if empty_rows.shape != counts.shape:
            raise ValueError(f"empty_rows must have shape {tuple(counts.shape)}, got {tuple(empty_rows.shape)}")
        return torch.where(empty[:, None], empty_rows.to(counts), counts / totals.clamp(min=1))
    return counts / totals


def invert(transition: Tensor, max_condition: float = 1e4) -> Tensor:
    """The inverse of T in float64; of an ill-conditioned T a pseudo-inverse, with a warning.

    The pseudo-inverse leaves out singular values below the largest divided by `max_condition`, which the inverse would blow up;
    then its rows need not sum to one, and a loss that rests on it is not unbiased.

    Args:
        transition: (K, K) float.
        max_condition: largest condition number, of the 2-norm, at which the inverse is taken; at least 1.

    Returns:
        (K, K) float64, on the device of `transition`, detached.

    Raises:
        ValueError: the matrix is not square or has an entry that is NaN or infinite.

    >>> import torch
    >>> invert(torch.tensor([[1., 0.], [.5, .5]])).tolist()
    [[1.0, 0.0], [-1.0, 2.0]]
    """
    if transition.ndim != 2 or transition.shape[0] != transition.shape[1]:
        raise ValueError(f"transition must be square, got shape {tuple(transition.shape)}")
    matrix = transition.detach().double()
    if not bool(matrix.isfinite().all()):
        raise ValueError("transition has entries that are NaN or infinite")
    condition = float(torch.linalg.cond(matrix))
    if condition <= max_condition:
        return torch.linalg.inv(matrix)
    warnings.warn(
        f"the transition matrix has condition number {condition:.3g}, above {max_condition:g}: using a pseudo-inverse, whose "
        "loss is no longer unbiased; check the matrix for rows that are nearly alike",
        stacklevel=2,
    )
    return torch.linalg.pinv(matrix, rtol=1 / max_condition)


class VolumeMinimizing(nn.Module):
    """A learnable matrix: ``T_ij = S_ij / sum_l S_il``, with ``S_ii = 1`` and ``S_ij = sigmoid(w_ij)`` elsewhere.

    In every row the diagonal is the largest entry, whatever the weights: this alone ties the columns to class names. Weight decay
    would pull all weights to 0, that is, all classes to the same large noise: train them without.

    Source: Li et al., ICML 2021 (VolMinNet).

    Args:
        num_classes: K, at least 2.
        initial: value of all weights at the start. None takes -2 for 10 classes and -4.5 for 100, as the authors' code does, and
            between and beyond them the line through both in log(K - 1): the sum of a row's other entries then hardly depends on
            K, and the diagonal starts between 0.47 and 0.64 for 2 to 1000 classes.

    Attributes:
        weight: (K, K) parameter, w; its diagonal is not used and has gradient 0.

    Raises:
        ValueError: there are fewer than two classes.

    Example:
        >>> VolumeMinimizing(3, initial=0.0)()[0].tolist()
        [0.5, 0.25, 0.25]
    """

    def __init__(self, num_classes: int, initial: float | None = None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if initial is None:
            initial = -2.0 - 2.5 * math.log((num_classes - 1) / 9) / math.log(11)
        self.weight = nn.Parameter(torch.full((num_classes, num_classes), float(initial)))

    def forward(self) -> Tensor:
        """(K, K), rows sum to one, in at least float32, under autocast, too."""
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        diagonal = torch.eye(len(weight), dtype=torch.bool, device=weight.device)
        parts = torch.where(diagonal, torch.ones_like(weight), weight.sigmoid())
        return parts / parts.sum(1, keepdim=True)


def read_transition(path: str | os.PathLike[str], num_classes: int) -> Tensor:
    """Read a matrix from a file.

    Args:
        path: ``.npy``; ``.npz``, the array named ``transition_matrix`` or the only one; or ``.csv``, K lines of K numbers.
        num_classes: K.

    Returns:
        (K, K) float64, as it stands in the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: another ending; arrays of Python objects, which are never unpickled, or of something else than numbers;
            another shape than (K, K); a negative entry, NaN, or a row whose sum is more than 1e-4 from 1.
    """
    path = Path(path)
    if not regular(path).is_file():
        raise FileNotFoundError(f"{path}: no such transition matrix file; check the path, or name an estimator")
    array = _read_array(path)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds {array.dtype}, not numbers")
    if array.shape != (num_classes, num_classes):
        raise ValueError(f"{path}: has shape {array.shape}; for {num_classes} classes it must be ({num_classes}, {num_classes})")
    matrix = torch.from_numpy(array.astype(np.float64))
    for row, entries in enumerate(matrix):
        lowest, total = float(entries.min()), float(entries.sum())
        if not lowest >= 0:
            raise ValueError(f"{path}: row {row} has the entry {lowest}; probabilities are at least 0")
        if not abs(total - 1) <= _ROW_SUM_TOLERANCE:
            raise ValueError(f"{path}: row {row} sums to {total:.6g}, not to 1; rows are true classes, columns given labels")
    return matrix


def _read_array(path: Path) -> np.ndarray:
    if path.suffix == ".csv":
        try:
            return np.loadtxt(regular(path), delimiter=",", ndmin=2)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; a matrix has K lines of K numbers with commas between them") from error
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: a transition matrix is read from .npy, .npz or .csv")
    try:
        check_arrays(path)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = list(loaded)
            if "transition_matrix" not in names and len(names) != 1:
                raise ValueError(f"no array is named transition_matrix; there are {', '.join(names) or 'none'}")
            name = "transition_matrix" if "transition_matrix" in names else names[0]
            check_arrays(path, (name,))
            return loaded[name]
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged, encrypted or foreign file raises
        raise ValueError(f"{path} cannot be read ({error}); save the matrix with np.save as an array of K x K numbers") from error


def _checked(probs: Tensor) -> Tensor:
    """The predictions as detached float64, once they are known to be some."""
    if probs.ndim != 2 or not len(probs) or probs.shape[1] < 2:
        raise ValueError(f"probs must have shape (N, K) with at least one row and two classes, got {tuple(probs.shape)}")
    probs = probs.detach().double()
    bad = ~(probs.isfinite() & (probs >= 0)).all(1) | (probs.sum(1) <= 0)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise ValueError(f"probs[{first}] is not a distribution: it has NaN, infinite or negative entries, or sums to zero")
    return probs


def _anchors(probs: Tensor, percentile: float | None) -> Tensor:
    """(K,) the row of each class."""
    if percentile is None:
        return probs.argmax(0)
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must be in (0, 100], got {percentile}; 97 leaves out the highest 3 percent")
    # by whole numbers as far as they go: 0.97 * (N - 1) may come out above the whole number it is
    place = math.ceil(percentile * (len(probs) - 1) / 100)
    limit = probs.kthvalue(place + 1, dim=0).values
    kept = torch.where(probs >= limit, torch.full_like(probs, -torch.inf), probs)  # a copy: other classes see all samples
    empty = kept.amax(0).isneginf()
    if bool(empty.any()):
        names = ", ".join(str(place) for place in empty.nonzero().flatten().tolist())
        warnings.warn(
            f"percentile {percentile:g} leaves none of {len(probs)} samples for class {names}: up to it all have the same "
            "probability there; the highest of all is taken, and such a row says little of the class",
            stacklevel=3,
        )
    return torch.where(empty, probs, kept).argmax(0)


def _counts(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    return torch.bincount(rows * classes + columns, minlength=classes * classes).view(classes, classes).double()


def _check_labels(name: str, labels: Tensor, classes: int) -> None:
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        raise ValueError(f"{name} has the label {int(labels[wrong][0])}, outside 0..{classes - 1}")
