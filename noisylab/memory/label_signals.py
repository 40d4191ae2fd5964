"""Signals about every label, summed over epochs and kept in the sample memory without an extra pass."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.memory.samples import SampleMemory

__all__ = ["LabelSignals", "add_signals", "declare_signals", "label_signals"]

_SUMS = "signal_sums"  # epochs, losses, margins, epochs in which two networks agreed
_PROBS = "signal_probs"


@dataclasses.dataclass(frozen=True)
class LabelSignals:
    """Means over the epochs in which a training sample was observed; NaN for samples that never were.

    A method that shows a sample several times in an epoch, as DivideMix does those without a label, counts each time.

    Args:
        epochs: (N,) number of these epochs.
        loss: (N,) mean cross-entropy to the given label.
        margin: (N,) mean of the given label's probability less the largest other one, in [-1, 1] (the area under the margin of
            Pleiss et al., NeurIPS 2020, with probabilities in place of logits).
        agreement: (N,) share of the epochs in which two networks predicted the same class; all NaN with one network.
        probs: (N, K) mean probabilities; rows sum to 1.
    """

    epochs: Tensor
    loss: Tensor
    margin: Tensor
    agreement: Tensor
    probs: Tensor

    def of(self, kept: Tensor) -> LabelSignals:
        """The signals of some samples, by mask (N,) or index."""
        return LabelSignals(*(getattr(self, field.name)[kept] for field in dataclasses.fields(self)))


def declare_signals(memory: SampleMemory, num_classes: int) -> None:
    """Declare the fields: 16 + 4 K bytes per sample."""
    memory.add(_SUMS, 4)
    memory.add(_PROBS, num_classes)


def add_signals(
    memory: SampleMemory, index: Tensor, logits: Tensor, target: Tensor, losses: Tensor, peer_logits: Tensor | None = None
) -> None:
    """Add the observations of one batch; nothing is read back from the device.

    Args:
        memory: with the fields of `declare_signals`.
        index: (B,) rows, none twice.
        logits: (B, K) float32 of unmixed inputs.
        target: (B,) given labels.
        losses: (B,) float32 cross-entropy to the given labels.
        peer_logits: (B, K) of a second network on the same inputs.
    """
    probs = F.softmax(logits, 1)
    given = target[:, None]
    margin = probs.gather(1, given).squeeze(1) - probs.scatter(1, given, -1.0).amax(1)
    if peer_logits is None:
        agreed = torch.full_like(losses, -1.0)  # not NaN, by which a diverged run is known
    else:
        agreed = (logits.argmax(1) == peer_logits.argmax(1)).to(losses.dtype)
    memory[_SUMS].index_add_(0, index, torch.stack((torch.ones_like(losses), losses, margin, agreed), 1))
    memory[_PROBS].index_add_(0, index, probs)


def label_signals(memory: SampleMemory, rows: Tensor | None = None) -> LabelSignals:
    """The means of what `add_signals` has added so far, on the host.

    Args:
        memory: with the fields of `declare_signals`.
        rows: (M,) the rows wanted, on the host; None for all.
    """
    sums, probs = memory[_SUMS].cpu(), memory[_PROBS].cpu()
    if rows is not None:
        sums, probs = sums[rows], probs[rows]
    epochs = sums[:, 0]
    means = sums[:, 1:] / epochs[:, None]  # 0 / 0 is NaN, as stated
    agreement = means[:, 2].masked_fill(means[:, 2] < 0, torch.nan)
    return LabelSignals(epochs, means[:, 0], means[:, 1], agreement, probs / epochs[:, None])
