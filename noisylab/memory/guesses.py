"""Guessed labels of samples without one: the most recent, and how much each counted."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.memory.samples import SampleMemory

__all__ = ["add_guesses", "declare_guesses"]


def declare_guesses(memory: SampleMemory) -> None:
    """Declare ``unlabeled_weight``, ``unlabeled_pred`` and ``unlabeled_epoch``."""
    memory.add("unlabeled_weight")
    memory.add("unlabeled_pred", dtype=torch.int64, fill=-1)
    memory.add("unlabeled_epoch", dtype=torch.int32, fill=-1)


def add_guesses(memory: SampleMemory, epoch: int, index: Tensor, probs: Tensor, weight: Tensor) -> None:
    """Write the guesses of one batch; nothing is read back from the device.

    Args:
        memory: with the fields of `declare_guesses`.
        epoch: the current one.
        index: (B,) rows, none twice.
        probs: (B, K) from which the labels are guessed.
        weight: (B,) in [0, 1], with which each counts in the loss.
    """
    memory.write("unlabeled_weight", index, weight)
    memory.write("unlabeled_pred", index, probs.argmax(1))
    memory["unlabeled_epoch"].index_fill_(0, index, epoch)
