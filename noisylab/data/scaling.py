"""Scales the columns of feature vectors by statistics of the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylab.data.rows import SparseRows
from noisylab.data.suspicions import other_size

__all__ = ["Scaling", "check_standardize", "measure", "scale_parts"]

_ALIKE = 10.0  # ratio of the sizes of nine columns in ten up to which columns are of one size
_OUTLYING = 30.0  # ratio of the largest size to the median up to which they are
_OFFSET = 10.0  # ratio of a column's mean to the size of all columns up to which they are
_CONSTANT = {True: 1e-12, False: 1e-6}  # deviation, as a share of the largest number, of a constant: of wide rows and of others
_USUAL = (0.25, 4.0)  # root mean square of features, and norm of sparse rows, that need no scaling
_SIZE = 0.5  # root mean square that features of one size get, as `ImageFeatures` gives them
_CHUNK = 2**24  # numbers looked at at once
_LARGEST = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True)
class Scaling:
    """Rows divided by ``divisor`` after ``middle`` was subtracted.

    Args:
        middle: (D,) or (1,) float64.
        divisor: (D,) or (1,) float64, above zero.
        text: what is done, for the user; empty for nothing.
    """

    middle: Tensor
    divisor: Tensor
    text: str

    @property
    def idle(self) -> bool:
        """Whether rows are left unchanged."""
        return not self.text

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `of` restores the scaling."""
        return {"middle": self.middle, "divisor": self.divisor, "text": self.text}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Scaling:
        """The inverse of `state`."""
        return cls(state["middle"], state["divisor"], state["text"])

    def __call__(self, rows: Tensor | SparseRows, what: str) -> Tensor | SparseRows:
        """Float32 rows.

        Args:
            rows: (N, D).
            what: their name in messages.

        Raises:
            ValueError: naming the first row and column whose number is beyond float32.
        """
        if isinstance(rows, SparseRows):
            if self.idle:
                return rows
            divisor = self.divisor[rows.indices] if len(self.divisor) > 1 else self.divisor
            return SparseRows((rows.data.double() / divisor).float(), rows.indices, rows.indptr, rows.num_columns)
        if self.idle and rows.dtype == torch.float32:
            return rows
        scaled = torch.empty(rows.shape, dtype=torch.float32)
        for start, part in _parts(rows):
            wide = part if self.idle else (part - self.middle) / self.divisor
            bad = (wide.abs() > _LARGEST).nonzero()
            if len(bad):
                row, column = (int(place) for place in bad[0])
                raise ValueError(
                    f"{what} has {float(part[row, column]):g} in row {start + row}, column {column}, which is beyond float32 "
                    f"({_LARGEST:g}); divide the column, or set standardize to auto"
                )
            scaled[start : start + len(part)] = wide.float()
        return scaled


def scale_parts(
    scaling: Scaling, train: Tensor | SparseRows, test: Tensor | SparseRows | None, rows: Tensor, names: tuple[str, str]
) -> tuple[Tensor | SparseRows, Tensor | SparseRows | None, list[str]]:
    """Training rows and test rows after scaling, and a sentence for the user about each thing that stands out.

    Args:
        scaling: of the training rows.
        train: (N, D).
        test: (M, D); `None` without.
        rows: those of `train` that are trained on.
        names: of both in messages.

    Raises:
        ValueError: see `Scaling`.
    """
    scaled = scaling(train, names[0])
    tested = None if test is None else scaling(test, names[1])
    said = []
    if isinstance(scaled, Tensor) and isinstance(tested, Tensor) and len(tested):
        said += other_size(scaled[rows], tested, names[1])
    return scaled, tested, said


def check_standardize(how: object) -> None:
    """Refuse what `measure` does not know.

    Raises:
        ValueError: naming the argument.
    """
    if how not in (True, False, "auto"):
        raise ValueError(f"standardize must be true, false or 'auto', got {how!r}")


def _parts(rows: Tensor, kept: Tensor | None = None) -> Any:
    """(start, float64 rows) some rows at a time, so that no wide copy of all is needed; of the rows `kept`, if that is given."""
    count = len(rows) if kept is None else len(kept)
    step = max(_CHUNK // max(rows.shape[1], 1), 1)
    for start in range(0, count, step):
        part = rows[start : start + step] if kept is None else rows[kept[start : start + step]]
        yield start, part.double()


def nothing() -> Scaling:
    """A scaling that leaves rows unchanged."""
    return Scaling(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), "")


def measure(rows: Tensor | SparseRows, how: str | bool, kept: Tensor) -> Scaling:
    """Measure how to scale feature vectors to a common size.

    With "auto": where all columns are of one size, as those of embeddings are, all are divided by one number, or left alone if
    their root mean square lies in [0.25, 4]; where all are zero in at least half of the rows, as those of word frequencies are,
    that holds of the norm of the rows. Else each column gets zero mean and unit variance, but for those that are zero in at
    least half of the rows (counts, indicators), which keep their zeros and are divided by the root mean square of their other
    numbers. Sparse rows are never centered: where their columns are of one size, they are divided by the root mean square of the
    rows' norms, unless it lies in [0.25, 4]; else each column is divided by the root mean square of its numbers.

    Constant columns become zero; where the others are of one size, only those that are large beside these. A column is constant
    if it deviates by no more than rounding does: by a millionth of its largest number in float32.

    Args:
        rows: (N, D), of any type.
        how: "auto"; true for zero mean and unit variance of all columns of dense rows; false for nothing.
        kept: (M,) int64 rows to look at.
    """
    if how is False:
        return nothing()
    if isinstance(rows, SparseRows):
        return _sparse(rows, kept) if how == "auto" else nothing()
    if how is True:
        return _standard(rows, kept)
    top = torch.zeros(rows.shape[1], dtype=torch.float64)
    for _, part in _parts(rows, kept):
        top = torch.maximum(top, part.abs().amax(0))
    top = torch.where(top > 0, top, 1.0)  # sums of squares of numbers near 1e300 are finite after division by it
    total, filled = torch.zeros_like(top), torch.zeros_like(top)
    for _, part in _parts(rows, kept):
        total += (part / top).sum(0)
        filled += (part != 0).sum(0)
    mean = total / len(kept)
    spread, squares = torch.zeros_like(top), torch.zeros_like(top)
    for _, part in _parts(rows, kept):
        unit = part / top
        spread += (unit - mean).square().sum(0)
        squares += unit.square().sum(0)
    deviation = (spread / len(kept)).sqrt()
    varies = deviation > _CONSTANT[rows.dtype == torch.float64]
    rare = filled <= len(kept) / 2
    size = torch.where(rare, (squares / filled.clamp(min=1)).sqrt(), deviation) * top
    far, constants = _far_constants(mean * top, size, varies)
    if not bool(varies.any()):
        return Scaling(mean * top, top, "all columns are constant and become zero") if constants else nothing()
    each = ((squares / len(kept)).sqrt() * top)[varies]
    root = float(each.max() * (each / each.max()).square().mean().sqrt())  # squares of 1e-300 are zero, those of 1e300 infinite
    offset = float((mean * top)[varies & ~rare].abs().max()) if bool((varies & ~rare).any()) else 0.0
    if _alike(size[varies]) and offset <= _OFFSET * float(size[varies].median()):
        # texts and counts, mostly zeros, are judged by the norm of their rows, as sparse rows are
        sparse = bool(rare[varies].all())
        root *= float(varies.sum()) ** 0.5 if sparse else 1.0
        usual, number = _USUAL[0] <= root <= _USUAL[1], root / (1.0 if sparse else _SIZE)
        text = "" if usual else f"columns are of one size; all divided by one number ({number:.3g})"
        one = torch.tensor([1.0 if usual else number], dtype=torch.float64)
        if not constants:
            return nothing() if usual else Scaling(torch.zeros_like(one), one, text)
        return Scaling(torch.where(far, mean * top, 0.0), torch.where(far, top, one), "; ".join(filter(None, [text, constants])))
    middle = torch.where(rare, 0.0, mean * top)
    divisor = torch.where(varies, size, top)
    text = "columns differ in size; each to zero mean and unit variance"
    if bool((rare & varies).any()):
        text += ", those of mostly zeros divided by their size"
    return Scaling(middle, divisor, text)


def _far_constants(mean: Tensor, size: Tensor, varies: Tensor) -> tuple[Tensor, str]:
    """Which constant columns would outweigh the others as they are, an offset or an identifier for example; and that in words."""
    limit = _OFFSET * float(size[varies].median()) if bool(varies.any()) else _USUAL[1]
    far = ~varies & (mean.abs() > limit)
    count = int(far.sum())
    return far, f"{count} constant column{'s' * (count > 1)} become{'s' * (count == 1)} zero" if count else ""


def _standard(rows: Tensor, kept: Tensor) -> Scaling:
    wide = (rows if len(kept) == len(rows) else rows[kept]).double()
    top = wide.abs().amax(0)
    unit = wide / torch.where(top > 0, top, 1.0)  # see `measure`
    middle, deviation = unit.mean(0) * top, unit.std(0, correction=0) * top
    divisor = torch.where(deviation > _CONSTANT[rows.dtype == torch.float64] * top, deviation, 1.0)
    return Scaling(middle, divisor, "each column to zero mean and unit variance")


def _alike(sizes: Tensor) -> bool:
    """Whether columns are of one size; a few small ones do not count, and few large ones do."""
    low, high = np.quantile(sizes.numpy(), 0.1, method="lower"), np.quantile(sizes.numpy(), 0.9, method="higher")
    return bool(high <= _ALIKE * low and float(sizes.max()) <= _OUTLYING * float(sizes.median()))


def _sparse(rows: SparseRows, kept: Tensor) -> Scaling:
    row = torch.repeat_interleave(torch.arange(len(rows)), rows.indptr.diff())
    taken = torch.zeros(len(rows), dtype=torch.bool)
    taken[kept] = True
    mine = taken[row] & (rows.data != 0)
    data, column = rows.data[mine].double(), rows.indices[mine]
    if not len(data):
        return nothing()
    squares = torch.zeros(rows.num_columns, dtype=torch.float64).index_add_(0, column, data.square())
    count = torch.bincount(column, minlength=rows.num_columns)
    size = (squares / count.clamp(min=1)).sqrt()
    if _alike(size[count > 0]):
        norm = float((squares.sum() / len(kept)).sqrt())
        if _USUAL[0] <= norm <= _USUAL[1]:
            return nothing()
        return Scaling(
            torch.zeros(1, dtype=torch.float64),
            torch.tensor([norm], dtype=torch.float64),
            f"sparse columns are of one size; all divided by the rows' norm ({norm:.3g})",
        )
    divisor = torch.where(count > 0, size, 1.0)
    return Scaling(
        torch.zeros(1, dtype=torch.float64), divisor, "sparse columns differ in size; each divided by its own, zeros kept"
    )
