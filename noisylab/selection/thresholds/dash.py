"""Dash: a limit on the loss against the pseudo-label, which falls over the epochs."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.arguments import AtLeastOne, Count, Positive, Range
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["DashThreshold"]


class DashThreshold(ThresholdPolicy):
    """Keeps rows whose loss against their own pseudo-label is at most rho, which falls every few epochs.

    After `warmup_epochs`, in which no row passes, ``rho = max(C gamma^-n rho_0, rho_min)`` with n counting every `interval`
    epochs. While rho is above its minimum, pseudo-labels are soft, ``softmax(z / T)``; then they are the predicted classes.
    rho_0 is the loss on held-out rows after the warm-up, in place of the training loss in the paper. The logged threshold is
    rho, a loss rather than a confidence.

    **Source**: Xu et al., Dash, ICML 2021; constants, order and soft labels as in USB, microsoft/Semi-supervised-learning
    1ef4cbe, which counts 10 epochs of 1024 steps and takes rho_0 from its evaluation set.

    Args:
        num_classes: K.
        rho: rho_0, positive; None for the loss on held-out rows when the warm-up ends.
        C: factor of rho_0, positive.
        gamma: at least 1; rho is divided by it at each fall.
        rho_min: the smallest rho, positive.
        temperature: T of the soft pseudo-labels, positive.
        warmup_epochs: epochs with labeled rows only; USB has 2048 steps.
        interval: epochs between falls.
    """

    def __init__(
        self,
        num_classes: int,
        rho: Positive | None = None,
        C: Positive = 1.0001,
        gamma: Annotated[float, Range(1)] = 1.27,
        rho_min: Positive = 0.05,
        temperature: Positive = 0.5,
        warmup_epochs: Count = 2,
        interval: AtLeastOne = 10,
    ) -> None:
        super().__init__(
            num_classes,
            rho=rho,
            C=C,
            gamma=gamma,
            rho_min=rho_min,
            temperature=temperature,
            warmup_epochs=warmup_epochs,
            interval=interval,
        )
        self.rho, self.C, self.gamma, self.rho_min, self.temperature = rho, C, gamma, rho_min, temperature
        self.warmup_epochs, self.interval = warmup_epochs, interval
        self.add("first_rho", torch.nan if rho is None else rho)
        self.add("loss", torch.nan)

    @property
    def needs_logits(self) -> bool:
        """Always."""
        return True

    @property
    def needs_validation(self) -> bool:
        """Unless rho_0 is given."""
        return self.rho is None

    @property
    def soft_labels(self) -> bool:
        """Always; once rho is at its minimum, the probabilities are one-hot for the predicted class."""
        return True

    def note_loss(self, loss: Tensor) -> None:
        """See `ThresholdPolicy.note_loss`."""
        self.put("loss", loss.detach())

    def begin_epoch(self, epoch: int, acc_train: Tensor | None = None, acc_val: Tensor | None = None) -> None:
        """See `ThresholdPolicy.begin_epoch`.

        Raises:
            RuntimeError: after the warm-up, if neither rho_0 nor a loss on held-out rows was given.
        """
        new = epoch != self.epoch or epoch == 0
        super().begin_epoch(epoch, acc_train, acc_val)
        if new and epoch >= self.warmup_epochs:
            first = self["first_rho"]
            self.put("first_rho", torch.where(first.isnan(), self["loss"], first))
            if bool(first.isnan()):  # once an epoch
                raise RuntimeError(
                    f"DashThreshold begins in epoch {epoch} with the loss on held-out rows, and none is known; hold rows out "
                    "(data.val_fraction), give the warm-up at least one epoch, or set rho"
                )

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows with a loss of at most rho, else 0."""
        assert seen.logits is not None
        soft = F.softmax(seen.logits / self.temperature, 1)
        if self.epoch < self.warmup_epochs:
            return Weighted(torch.zeros_like(seen.confidence), soft, seen.probs.new_full((), torch.nan))
        count = (self.epoch - self.warmup_epochs) // self.interval
        rho = (self["first_rho"] * (self.C * self.gamma**-count)).clamp(min=self.rho_min)
        predicted = seen.logits.argmax(1, keepdim=True)
        target = torch.where(rho > self.rho_min, soft, torch.zeros_like(soft).scatter_(1, predicted, 1.0))
        losses = -(target * F.log_softmax(seen.logits, 1)).sum(1)
        return Weighted((losses <= rho).float(), target, rho)
