"""A mixture of two Gaussians over per-sample losses, and the probability that a sample belongs to the low one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Mixture", "fit_mixture", "normalize"]

_WITHOUT_FLOAT64 = frozenset({"mps"})
_WIDEST = 1e100  # largest range of values, and the inverse of the smallest: their squares stay in float64
_FARTHEST = 1e150  # value that a posterior is computed for; farther ones get its result
_BINS = 2**14
_ROW = 512  # numbers in [0.5, 1] in one product: 2**-512 is a normal float64
_LOST = 10 * sys.float_info.epsilon  # responsibility that scikit-learn grants an empty component


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians in one dimension; the first, with the smaller mean, models samples whose label looks right.

    A component without weight stands for "only one Gaussian"; it repeats the other one's mean and variance.

    Args:
        means: of the two components, in the unit of the values; ascending.
        variances: likewise, in the unit squared; positive.
        weights: fractions in [0, 1], of sum 1.
        converged: whether the mean log-likelihood changed by less than ``tol`` in the last iteration.
        iterations: of EM; 0 where there was nothing to fit.
    """

    means: tuple[float, float]
    variances: tuple[float, float]
    weights: tuple[float, float]
    converged: bool
    iterations: int

    def clean_prob(self, values: Tensor) -> Tensor:
        """The posterior probability of the first component.

        ``P(first | x) = sigmoid(log(w_1 N(x; m_1, v_1)) - log(w_2 N(x; m_2, v_2)))``. It is not monotone in x where the variances
        differ: far out on either side the wider component wins, so the very lowest losses may count as wrong. That is kept as it
        is. If the second component has no weight, the probability is 1 everywhere.

        Args:
            values: (M,) of any real type, finite, any device; not changed, taken without gradient.

        Returns:
            (M,) float64 in [0, 1] on the device of `values`; float32 on a device that has no float64, computed on the CPU.

        Raises:
            ValueError: if `values` is not one-dimensional or holds NaN or infinity.
        """
        x = _float64(values, "values")
        if len(x):
            _finite_range(x, "values")
        if self.weights[1] == 0:
            prob = torch.ones_like(x)
        else:
            (first, second), (first_sd, second_sd) = self.weights, (math.sqrt(v) for v in self.variances)
            # With z the distance from a mean in standard deviations, the exponents differ by (z_2^2 - z_1^2) / 2. Far out both
            # squares overflow and leave NaN; the factors z_2 - z_1 and z_2 + z_1 are linear in x and do not, and lose no digits.
            # The clamp keeps them finite; there the posterior has long reached its limit.
            x = x.clamp(-_FARTHEST, _FARTHEST) - self.means[0]
            offset = (self.means[0] - self.means[1]) / second_sd
            difference, total = (x * (1 / second_sd + sign / first_sd) + offset for sign in (-1, 1))
            constant = math.log(first / second) + math.log(second_sd / first_sd)
            prob = difference.mul_(total).mul_(0.5).add_(constant).sigmoid_()
        return prob.float().to(values.device) if values.device.type in _WITHOUT_FLOAT64 else prob


def normalize(losses: Tensor) -> Tensor:
    """Losses mapped to [0, 1] by their minimum and maximum.

    Args:
        losses: (M,) of any real type, finite, any device; not changed, taken without gradient.

    Returns:
        (M,) float64, on the device of `losses`, or on the CPU if that device has no float64. All zeros if all losses are equal.

    Raises:
        ValueError: if `losses` is empty, is not one-dimensional, holds NaN or infinity, or spreads over more than 1e100.

    Example:
        >>> normalize(torch.tensor([1.0, 3.0, 2.0]))
        tensor([0.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    return _unit_interval(losses, "losses")[0]


def fit_mixture(values: Tensor, *, max_iter: int = 10, tol: float = 1e-2, reg_covar: float = 5e-4) -> Mixture:
    """Fit two Gaussians to per-sample losses by expectation maximization (co-divide of DivideMix).

    The algorithm is that of scikit-learn's ``GaussianMixture(n_components=2)`` on one column: hard responsibilities from 2-means,
    an M step, then at most `max_iter` times an E step and an M step, until the mean log-likelihood found by the E step differs
    from that of the iteration before by less than `tol`; `reg_covar` is added to both variances in every M step. The default
    `tol` is so wide that two to four iterations are usual, and so the start decides the result.

    The start is the best 2-means split: in one dimension it is a threshold, and the sum of squares between the clusters is
    computed for all thresholds at once on a histogram of 16,384 equal bins. That is one pass, where sorting 10^6 values takes
    longer than the whole fit, and it does not stop in a local optimum, as Lloyd's iterations can. The split is exact up to a bin,
    on [0, 1] a 366th of the standard deviation that the default `reg_covar` alone gives a component. Nothing is random, so there
    is no seed, and the order of the values changes the result by rounding only. scikit-learn draws its first centers and stops
    Lloyd's iterations early: on overlapping losses its probabilities differ between seeds, and in the tests from ours by no more
    than that.

    Degenerate values:
        - one value, or all values equal: nothing tells them apart, so nothing is called wrong. The weights are (1, 0), both means
          are the value, both variances `reg_covar`, and `Mixture.clean_prob` is 1 everywhere. Values closer to each other than
          1e-100 count as equal.
        - two distinct values: one component each, unless they are so close that `reg_covar` blurs them into one another.
        - a component that loses all its weight on the way (at most 10 epsilon of one sample is left): the other one is kept, with
          weights (1, 0) as above.

    Args:
        values: (M,) losses, of any real type, finite, any device, usually from `normalize`; not changed, taken without gradient.
            Computed in float64 on their device, or on the CPU if that has no float64. The device is read a few times
            for the start and once an iteration.
        max_iter: iterations at most, 1 or more.
        tol: change of the mean log-likelihood, in nats a sample, below which to stop; 0 never stops early.
        reg_covar: added to the variances, positive, in the unit of the values squared.

    Returns:
        The mixture; ``converged`` is False if `max_iter` came first.

    Raises:
        ValueError: if `values` is empty, is not one-dimensional, holds NaN or infinity or spreads over more than 1e100; for
            another argument out of its range.

    Source:
        Li, Socher, Hoi, "DivideMix", ICLR 2020, https://arxiv.org/abs/2002.07394; defaults of the authors' code.

    Example:
        >>> losses = torch.tensor([0.0, 0.1, 0.9, 1.0])
        >>> mixture = fit_mixture(losses)
        >>> [round(mean, 6) for mean in mixture.means], mixture.converged
        ([0.05, 0.95], True)
        >>> (mixture.clean_prob(losses) > 0.5).tolist()
        [True, True, False, False]
    """
    if max_iter < 1:
        raise ValueError(f"max_iter must be 1 or more, got {max_iter}")
    if not tol >= 0:
        raise ValueError(f"tol must be 0 or more, got {tol}")
    if not 0 < reg_covar < math.inf:
        raise ValueError(
            f"reg_covar must be positive and finite, got {reg_covar}: without it a component of one value has no width"
        )
    # On [0, 1] bins are equal and squares harmless; only the unit changes, and a change of the log-likelihood has none.
    x, low, unit = _unit_interval(values, "values")
    if unit < 1 / _WIDEST:
        return Mixture((low, low), (reg_covar, reg_covar), (1.0, 0.0), converged=True, iterations=0)
    floor = reg_covar / unit**2
    pair, bound, converged, iterations = _start(x, floor), -math.inf, False, 0
    while not converged and iterations < max_iter:
        sums, log_likelihood = _expect(x, pair)
        pair = _maximize(sums, pair.means, floor)
        # one Gaussian alone is at its maximum
        converged = abs(log_likelihood - bound) < tol or pair.weights[1] == 0
        bound, iterations = log_likelihood, iterations + 1
    if pair.means[0] > pair.means[1]:
        pair = _Pair(pair.means[::-1], pair.variances[::-1], pair.weights[::-1])
    means, variances = (low + unit * pair.means[0], low + unit * pair.means[1]), [unit**2 * v for v in pair.variances]
    return Mixture(means, (variances[0], variances[1]), pair.weights, converged, iterations)


class _Pair(NamedTuple):
    """Two Gaussians of values in [0, 1], in any order."""

    means: tuple[float, float]
    variances: tuple[float, float]
    weights: tuple[float, float]


_Sums = list[list[float]]
"""For each component the sums over all values of r, r (x - c) and r (x - c)^2, r its responsibility and c a given center."""


def _start(x: Tensor, floor: float) -> _Pair:
    """The M step on the hard responsibilities of 2-means."""
    counts = torch.bincount((x * _BINS).int(), minlength=_BINS + 1).cpu().double()
    counts[_BINS - 1] += counts[_BINS]  # x = 1
    bins = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
    below, total = counts[:_BINS].cumsum(0), (counts[:_BINS] * bins).cumsum(0)
    # The within-cluster sum of squares is least where that between clusters is largest. The minimum and the maximum are in the
    # first and the last bin, so that no threshold between bins leaves a side empty.
    above, rest = below[-1] - below[:-1], total[-1] - total[:-1]
    means = torch.stack([total[:-1] / below[:-1], rest / above])
    best = int((below[:-1] * above * (means[1] - means[0]) ** 2).argmax())
    threshold = (best + 1) / _BINS

    def hard(block: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        torch.lt(block, threshold, out=out[0])
        torch.ge(block, threshold, out=out[1])
        return block.new_zeros(())

    low, high = means[:, best].tolist()
    return _maximize(_sums(x, (low, high), hard)[0], (low, high), floor)


def _expect(x: Tensor, pair: _Pair) -> tuple[_Sums, float]:
    """The E step.

    Returns:
        Sums about the means of `pair`, and the mean log-likelihood, in nats a value.
    """
    scales = [-0.5 / v for v in pair.variances]
    logs = [math.log(w) - 0.5 * math.log(2 * math.pi * v) for w, v in zip(pair.weights, pair.variances, strict=True)]
    width = _block(x)
    joints, larger = x.new_empty(2, width), x.new_empty(width)

    def soft(block: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        size = len(block)
        joint = joints[:, :size]
        for k in range(2):
            torch.mul(squares[k], scales[k], out=joint[k]).add_(logs[k])  # log(w_k N(x; m_k, v_k))
        torch.sub(joint[1], joint[0], out=out[1]).sigmoid_()
        torch.sub(1, out[1], out=out[0])
        # The log of the larger responsibility R turns the larger joint density J into the likelihood, J / R, without exp(J). R is
        # at least 1/2, so that one logarithm serves the product of a row of them.
        torch.maximum(out[0], out[1], out=larger[:size])
        larger[size:] = 1
        torch.maximum(joint[0], joint[1], out=joint[0])
        return joint[0].sum() - larger.view(-1, _ROW).prod(1).log_().sum()

    sums, total = _sums(x, pair.means, soft)
    return sums, total / len(x)


def _maximize(sums: _Sums, centers: tuple[float, float], floor: float) -> _Pair:
    """The M step: weights, means and variances of sums about `centers`, with `floor` added to the variances."""
    counts = [count for count, _, _ in sums]
    shifts = [total / max(count, _LOST) for count, total, _ in sums]
    means = [center + shift for center, shift in zip(centers, shifts, strict=True)]
    spreads = [square / max(count, _LOST) - shift**2 for (count, _, square), shift in zip(sums, shifts, strict=True)]
    variances = [max(spread, 0.0) + floor for spread in spreads]
    if min(counts) <= _LOST:
        kept = counts.index(max(counts))
        return _Pair((means[kept], means[kept]), (variances[kept], variances[kept]), (1.0, 0.0))
    everything = sum(counts)
    return _Pair((means[0], means[1]), (variances[0], variances[1]), (counts[0] / everything, counts[1] / everything))


def _sums(x: Tensor, centers: tuple[float, float], respond: Callable[[Tensor, Tensor, Tensor], Tensor]) -> tuple[_Sums, float]:
    """Go once through the values, block by block, and read the device once.

    Args:
        x: (M,) float64.
        centers: to take distances from; near the components' means, no digits of the variances cancel.
        respond: given a block (n,), its squared distances from both centers (2, n) and room for responsibilities (2, n), fills
            the latter and returns a number, 0-dimensional.

    Returns:
        The sums, and that of the numbers.
    """
    width = _block(x)
    powers, responsibilities = x.new_ones(2, 3, width), x.new_empty(2, width)  # powers 0, 1 and 2 of x - c
    found = x.new_zeros(7)
    for block in x.split(width):
        part, r = powers[:, :, : len(block)], responsibilities[:, : len(block)]
        for k in range(2):
            torch.sub(block, centers[k], out=part[k, 1])
            torch.mul(part[k, 1], part[k, 1], out=part[k, 2])
        number = respond(block, part[:, 2], r)
        found += torch.cat([part[0] @ r[0], part[1] @ r[1], number.view(1)])
    numbers: list[float] = found.tolist()
    return [numbers[:3], numbers[3:6]], numbers[6]


def _block(x: Tensor) -> int:
    """Values to work on at once, a multiple of the row: on a CPU so many that all buffers stay in the cache of a core."""
    most = 2**15 if x.device.type == "cpu" else 2**20
    return min(most, -(-len(x) // _ROW) * _ROW)


def _float64(values: Tensor, name: str) -> Tensor:
    """One-dimensional values in float64, on the CPU if their device has none; not copied needlessly."""
    if values.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got the shape {tuple(values.shape)}; flatten it or take one column")
    device = "cpu" if values.device.type in _WITHOUT_FLOAT64 else values.device
    return values.detach().to(device).double()


def _finite_range(x: Tensor, name: str) -> tuple[float, float]:
    """(minimum, maximum), read from the device at once; a ValueError counts what is not finite."""
    low, high = torch.stack(torch.aminmax(x)).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        wrong = int((~x.isfinite()).sum())
        raise ValueError(
            f"{name} must be finite, but {wrong} of {len(x)} are NaN or infinite; look for the samples and leave them out"
        )
    return low, high


def _unit_interval(values: Tensor, name: str) -> tuple[Tensor, float, float]:
    """(values mapped to [0, 1] in memory of their own, their minimum, their range)."""
    x = _float64(values, name)
    if not len(x):
        raise ValueError(f"{name} is empty; at least one is needed")
    low, high = _finite_range(x, name)
    unit = high - low
    if unit > _WIDEST:
        raise ValueError(f"{name} must lie within {_WIDEST:g} of each other, got {low:g} to {high:g}")
    return (x - low).div_(unit) if unit else torch.zeros_like(x), low, unit
