"""Polynomial margin diminishing noise: labels are wrong where a network is undecided between two classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from noisylab.arguments import Range, check_arguments
from noisylab.noise.base import NoisyTargets, check_targets, realized_matrix
from noisylab.noise.rowfile import read_row_file
from noisylab.noise.rownoise import RowNoise
from noisylab.types import Inputs

__all__ = ["PMD", "pmd_keep"]


class PMD(RowNoise):
    """Wrong labels where a network that was trained on the true ones is undecided between two classes.

    For each row, u and s are the two most probable classes and m is the difference of their probabilities. The label is u with
    probability ``keep / factor`` and s otherwise, where ``keep`` grows with the margin (`pmd_keep`). The base of a label is the
    network's first class, not the true one, so the measured rate, against the true labels, includes the network's own errors. The
    transition matrix of the result is the realized one.

    The factors that give the published rates depend on the probabilities. For those of the authors (PreAct ResNet-34, CIFAR-10)
    35 % and 70 % of the labels are wrong with 1.43 and 3.40 of type I, 1.32 and 3.10 of type II, 1.35 and 3.20 of type III.

    **Paper**: Zhang et al., Learning with Feature-Dependent Label Noise: A Progressive Approach, ICLR 2021.

    **Authors' code**: pxiangwu/PLC at 8c2bcfd. Its fixed label files are read by `FromFile`; this class draws other labels of the
    same distribution.

    **Differences** from that code: factors below 1 are refused, with which ``keep / factor`` can exceed 1.

    Args:
        probabilities: a file with the (N, K) probabilities of all training rows, in their order: .npy, or .npz with the array
            ``probabilities``. ``noisylab issues --crossfit 5`` writes such a file, ``pred_probs.npy``, out of sample; the
            authors take those of the last training epoch.
        type: I, II or III, how the margin counts.
        factor: f, at least 1; larger values give more wrong labels.
        seed: seed of the draws.

    Raises:
        ValueError: an argument lies outside its range; later, at the call: the file does not fit the data.
    """

    kind = "pmd"
    path_arguments = ("probabilities",)

    def __init__(
        self,
        probabilities: str,
        type: Literal["I", "II", "III"] = "I",
        factor: Annotated[float, Range(1)] = 1.0,
        seed: int = 0,
    ) -> None:
        check_arguments(PMD, {"type": type, "factor": factor})
        super().__init__(seed=seed)
        self.probabilities, self.type, self.factor = str(probabilities), type, factor

    def own_inputs(self, count: int) -> Tensor:
        """The probabilities."""
        return torch.from_numpy(read_row_file(self.probabilities, "probabilities", count))

    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """Draw the given labels of a whole training set.

        Args:
            targets: (N,) integer, the true labels in 0..C-1, any device; not changed and not kept.
            num_classes: C, number of source classes, at least 2.
            inputs: (N, C) probabilities; those of the file if None.
            class_names: unused.

        Raises:
            ValueError: a label is out of range, or the probabilities are none of these classes.
        """
        clean = check_targets(targets, num_classes)
        eta = self.own_inputs(len(clean)) if inputs is None else inputs
        if not isinstance(eta, Tensor) or eta.shape != (len(clean), num_classes):
            raise ValueError(
                f"PMD needs probabilities of shape ({len(clean)}, {num_classes}), a row for each label, got "
                f"{tuple(eta.shape) if isinstance(eta, Tensor) else 'several views'}; use the file of a run on this data"
            )
        eta = eta.double()
        off = ((eta.sum(1) - 1).abs() > 1e-3) | (eta < 0).any(1)
        if bool(off.any()):
            raise ValueError(
                f"row {int(off.nonzero()[0])} of {self.probabilities} is no row of probabilities: not negative, with the sum 1; "
                "save the softmax of the logits"
            )
        order = eta.argsort(dim=1, descending=True, stable=True)
        first, second = order[:, 0], order[:, 1]
        keep = pmd_keep(eta, self.type) / self.factor
        uniform = torch.rand(len(clean), generator=torch.Generator("cpu").manual_seed(self.seed), dtype=torch.float64)
        given = torch.where(uniform < keep, first, second)
        return self._noisy(given, clean, realized_matrix(clean, given, num_classes), None)


def pmd_keep(eta: Tensor, type: Literal["I", "II", "III"]) -> Tensor:
    """(N,) float64: how likely the first class is kept, before it is divided by the factor.

    With the margin m between the two largest probabilities: I ``max(1/2 + m^2 / 2, 1/2)``, II ``m^3``, III
    ``(m^3 + m^2 + m) / 3``.

    Args:
        eta: (N, K) probabilities.
        type: see above.

    >>> import torch
    >>> [round(float(pmd_keep(torch.tensor([[0.6, 0.3, 0.1]]), kind) / 1.2), 6) for kind in ("I", "II", "III")]
    [0.454167, 0.0225, 0.115833]
    """
    top = eta.double().topk(2, 1).values
    m = top[:, 0] - top[:, 1]
    if type == "I":
        return (0.5 + m.square() / 2).clamp(min=0.5)
    return m**3 if type == "II" else (m**3 + m.square() + m) / 3
