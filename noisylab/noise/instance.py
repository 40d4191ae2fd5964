"""Noise that depends on the sample: which wrong class a picture gets is decided by its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.arguments import Positive, check_arguments
from noisylab.noise.base import NoisyTargets, check_targets, realized_matrix
from noisylab.noise.rowfile import read_row_file
from noisylab.noise.rownoise import RowNoise
from noisylab.types import Inputs

__all__ = ["InstanceDependent", "truncated_normal"]

_CHUNK = 8192  # rows whose values are held in float64 at once: 200 MB for 3072 values
_CORES_DRAWS = 10**6  # normal numbers that the authors of CORES draw, of which those in (0, 1) are used
_CORES_OWN = -1e6  # their score of the true class

Array = np.ndarray[Any, Any]


class InstanceDependent(RowNoise):
    """Part-dependent noise, called "instance" or PDN in papers: what a label is mistaken for depends on the sample's values.

    Row i has a flip probability ``q_i``, normal around `rate` and truncated to [0, 1]. Each true class y has a random matrix
    ``W_y`` from values to classes; the scores ``x_i W_y`` without that of y itself give, by a softmax, the wrong class: the label
    is y with probability ``1 - q_i`` and class k with ``q_i softmax(x_i W_y)_k``.

    All numbers come from one legacy stream of numpy, in the order of the published function, so the labels are those of the
    published code where its rows, their order and their values are these. Truncation lifts the mean of q above small rates: 0.1
    becomes 0.129, 0.2 becomes 0.206, and 0.4 stays. The transition matrix of the result is the realized one, and so is its rate.

    On pixels of 0..255 the scores are so large that the softmax picks one class: each picture has a single wrong class, and
    since pixels have a large mean in common, mostly the same one for a whole class. Such noise is close to asymmetric noise, and
    with rates of 0.5 and more some classes lose their majority. ``scale="standardized"`` takes the mean away.

    **Paper**: Xia et al., Part-dependent Label Noise, NeurIPS 2020; "cores": Cheng et al., Learning with
    Instance-Dependent Label Noise: A Sample Sieve Approach, ICLR 2021.

    **Authors' code**: xiaoboxia/Part-dependent-label-noise, tools.py; the same function in tmllab's PES and Label Wave and in
    IDO, with other seeds. UCSC-REAL/cores, data/utils.py.

    **Differences** from that code: scores are summed in float64, where theirs depend on the device by a rounding error.

    Args:
        rate: mean of the flip probabilities before truncation, a fraction in [0, 1).
        seed: of the stream; None for that of the published labels, 1 for "pdn" and 0 for "cores".
        sigma: standard deviation of the flip probabilities; above 0.
        scale: what x is. "raw255": values as they are stored, 0..255 for pictures, as all published code has it. "unit": divided
            by the largest. "standardized": less their mean and divided by their standard deviation, by channel of pictures and
            by column of other rows.
        layout: order of a picture's values. "hwc": pixel by pixel, as torchvision's CIFAR stores them; "chw": channel by channel
            (IDO). Other labels follow. Rows that are no pictures have one order.
        variant: "pdn", or "cores" for that of CORES: flip probabilities are the first N of a million normal numbers that lie in
            (0, 1), and all classes share one W. Other labels follow.
        features: a file of other values to look at, row by row: .npy, or .npz with the array ``features``, (N, D) numbers; needed
            where the data are files that are opened when needed, or too many for memory.

    Raises:
        ValueError: an argument lies outside its range; later, at the call: there are no values to look at.

    Example:
        >>> import torch
        >>> x = torch.arange(72).reshape(12, 6) % 7 / 7
        >>> InstanceDependent(0.4)(torch.arange(12) % 3, 3, x).given_target.tolist()
        [0, 2, 2, 2, 1, 2, 0, 2, 2, 0, 1, 0]
    """

    kind = "instance"
    path_arguments = ("features",)

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        sigma: Positive = 0.1,
        scale: Literal["raw255", "unit", "standardized"] = "raw255",
        layout: Literal["hwc", "chw"] = "hwc",
        variant: Literal["pdn", "cores"] = "pdn",
        features: str | None = None,
    ) -> None:
        given = {"sigma": sigma, "scale": scale, "layout": layout, "variant": variant}
        check_arguments(InstanceDependent, given)
        super().__init__(rate, "legacy", (1 if variant == "pdn" else 0) if seed is None else seed)
        self.rate: float = rate
        self.sigma, self.scale, self.layout, self.variant = sigma, scale, layout, variant
        self.features = features

    @property
    def generator(self) -> str:
        """Name of the generator in noise files."""
        return "pdn" if self.variant == "pdn" else "pdn_cores"

    def own_inputs(self, count: int) -> Tensor | None:
        """The rows of `features`, where that is given."""
        if self.features is None:
            return None
        return torch.from_numpy(read_row_file(self.features, "features", count))

    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """Draw the given labels of a whole training set.

        Args:
            targets: (N,) integer, the true labels in 0..C-1, any device; not changed and not kept.
            num_classes: C, number of source classes, at least 2.
            inputs: (N, ...) values; pictures are (N, channels, height, width).
            class_names: unused.

        Raises:
            ValueError: a label is out of range, or there are no inputs, or not one for each label.
        """
        clean = check_targets(targets, num_classes)
        inputs = self.own_inputs(len(clean)) if inputs is None and self.features is not None else inputs
        if not isinstance(inputs, Tensor):
            raise ValueError(  # noqa: TRY004  # of the data, which may be files, not of an argument
                "InstanceDependent looks at the samples' values, but these are not one array in memory; read the images into "
                "memory (--data.load memory), or give values to look at, a row for each sample: --data.noise.features FILE.npy"
            )
        if len(inputs) != len(clean):
            raise ValueError(f"InstanceDependent needs an input for each label, got {len(inputs)} for {len(clean)} labels")
        draw = self._pdn if self.variant == "pdn" else self._cores
        given = torch.from_numpy(draw(_Values(inputs, self.scale, self.layout), clean.numpy(), num_classes))
        return self._noisy(given, clean, realized_matrix(clean, given, num_classes), self.rate)

    def _pdn(self, values: _Values, clean: Array, classes: int) -> Array:
        random = np.random.RandomState(self.seed)
        flip = truncated_normal(self.rate, self.sigma, len(clean), random)
        chances = np.empty((len(clean), classes), dtype=np.float32)
        for label in range(classes):  # class by class, the numbers of W are those of one draw of (K, D, K)
            weights = random.standard_normal((values.width, classes)).astype(np.float32).astype(np.float64)
            for rows, x in values.chunks(np.flatnonzero(clean == label)):
                scores = torch.from_numpy(x @ weights).float()
                scores[:, label] = -torch.inf
                q = torch.from_numpy(flip[rows])
                part = q.float()[:, None] * torch.softmax(scores, 1)
                part[:, label] += (1 - q).float()
                chances[rows] = part.numpy()
        return _chosen(chances, random)

    def _cores(self, values: _Values, clean: Array, classes: int) -> Array:
        random = np.random.RandomState(self.seed)
        drawn = random.normal(self.rate, self.sigma, _CORES_DRAWS)
        flip = drawn[(drawn > 0) & (drawn < 1)][: len(clean)]
        if len(flip) < len(clean):
            raise ValueError(
                f"variant='cores' has {len(flip)} flip probabilities, of a million numbers around rate={self.rate}, for "
                f"{len(clean)} rows; choose a larger rate, or variant='pdn'"
            )
        weights = random.normal(0, 1, (values.width, classes))
        chances = np.empty((len(clean), classes))
        for rows, x in values.chunks(np.arange(len(clean))):
            places, labels = np.arange(len(rows)), clean[rows]
            scores = x @ weights
            scores[places, labels] = _CORES_OWN
            part = flip[rows, None] * torch.softmax(torch.from_numpy(scores), 1).numpy()
            part[places, labels] = 1 - flip[rows]
            chances[rows] = part
        return _chosen(chances / chances.sum(1, keepdims=True), random)


class _Values:
    """The values of all rows, as the noise looks at them.

    Args:
        inputs: (N, ...).
        scale: see `InstanceDependent`.
        layout: the same.
    """

    def __init__(self, inputs: Tensor, scale: str, layout: str) -> None:
        inputs = inputs.detach().cpu()
        self._inputs = inputs.permute(0, 2, 3, 1) if layout == "hwc" and inputs.ndim == 4 else inputs
        self.width = int(np.prod(inputs.shape[1:]))
        self._shift: Array | float = 0.0
        self._factor: Array | float = 1.0
        if scale == "unit" and inputs.numel():
            largest = float(max(inputs.max(), -inputs.min()))
            self._factor = 1 / largest if largest > 0 else 1.0
        elif scale == "standardized" and inputs.numel():
            mean, std = self._statistics(inputs)
            shape = [1] * inputs.ndim
            shape[1] = -1
            spread = [
                np.broadcast_to(part.reshape(shape), (1, *inputs.shape[1:])) for part in (mean, np.where(std > 0, std, np.inf))
            ]
            shift, divisor = (
                (part.transpose(0, 2, 3, 1) if layout == "hwc" and inputs.ndim == 4 else part).reshape(1, -1) for part in spread
            )
            self._shift, self._factor = shift, 1 / divisor

    def chunks(self, rows: Array) -> Iterator[tuple[Array, Array]]:
        """Some of the rows at a time, and their (R, D) float64 values."""
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            x = self._inputs[torch.from_numpy(part)].reshape(len(part), -1).numpy().astype(np.float64)
            yield part, (x - self._shift) * self._factor

    @staticmethod
    def _statistics(inputs: Tensor) -> tuple[Array, Array]:
        """Mean and standard deviation over all rows and pixels, by channel or column."""
        over = [axis for axis in range(inputs.ndim) if axis != 1]
        shape = [1] * inputs.ndim
        shape[1] = -1
        count = inputs.numel() / inputs.shape[1]
        mean, variance = torch.zeros(2, inputs.shape[1], dtype=torch.float64)
        for part in inputs.split(_CHUNK):
            mean += part.double().sum(over) / count
        for part in inputs.split(_CHUNK):
            variance += (part.double() - mean.reshape(shape)).square().sum(over) / count
        return mean.numpy(), variance.sqrt().numpy()


def truncated_normal(mean: float, sigma: float, size: int, random: np.random.RandomState) -> Array:
    """(size,) float64 numbers in [0, 1] from a truncated normal distribution, those that scipy's ``truncnorm.rvs`` draws.

    Args:
        mean: of the distribution before truncation, in [0, 1].
        sigma: its standard deviation.
        size: how many.
        random: the stream; one uniform number is taken for each.
    """
    uniform = torch.from_numpy(random.random_sample(size))
    bounds = torch.tensor([-mean / sigma, -(1 - mean) / sigma], dtype=torch.float64)
    below, above = torch.special.ndtr(bounds).tolist()
    mass = 1 - below - above
    # each half from the tail on its side, where the distribution has all its digits
    left, right = torch.special.ndtri(below + uniform * mass), -torch.special.ndtri(above + (1 - uniform) * mass)
    return (mean + sigma * torch.where(left < 0, left, right)).clamp(0, 1).numpy()


def _chosen(chances: Array, random: np.random.RandomState) -> Array:
    """(N,) int64: for each row what ``random.choice(K, p=row)`` chooses, the rows in order."""
    uniform = random.random_sample(len(chances))
    given = np.empty(len(chances), dtype=np.int64)
    for start in range(0, len(chances), 65_536):
        rows = slice(start, start + 65_536)
        cumulative = chances[rows].astype(np.float64).cumsum(1)
        cumulative /= cumulative[:, -1:]
        given[rows] = (cumulative <= uniform[rows, None]).sum(1)
    return given
