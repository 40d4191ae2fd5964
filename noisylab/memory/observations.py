"""Predictions of each training sample: the most recent, and sums over all epochs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.memory.label_signals import add_signals, declare_signals
from noisylab.memory.samples import SampleMemory

__all__ = ["add_observations", "declare_observations"]


def declare_observations(memory: SampleMemory, num_classes: int) -> None:
    """Declare ``observed_loss``, ``observed_pred`` and ``observed_epoch``, and the sums by which labels are ranked."""
    memory.add("observed_loss", fill=float("nan"))
    memory.add("observed_pred", dtype=torch.int32, fill=-1)
    memory.add("observed_epoch", dtype=torch.int32, fill=-1)
    declare_signals(memory, num_classes)


@torch.no_grad()
def add_observations(
    memory: SampleMemory, epoch: int, index: Tensor, logits: Tensor, target: Tensor, peer_logits: Tensor | None = None
) -> Tensor:
    """Write the observations of one batch; nothing is read back from the device.

    Args:
        memory: with the fields of `declare_observations`.
        epoch: the current one.
        index: (B,) rows, none twice.
        logits: (B, K) of unmixed inputs.
        target: (B,) given labels.
        peer_logits: (B, K) of a second network on the same inputs, where there is one.

    Returns:
        (B,) float32 cross-entropy to the given labels, detached.
    """
    wide = logits.float()
    losses = F.cross_entropy(wide, target, reduction="none")
    add_signals(memory, index, wide, target, losses, peer_logits)
    memory.write("observed_loss", index, losses)
    memory.write("observed_pred", index, logits.argmax(1))
    memory["observed_epoch"].index_fill_(0, index, epoch)
    return losses
