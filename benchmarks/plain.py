"""ACT and cross-entropy as loops written by hand: no Lightning, no diagnostics, nothing read back from the device.

They are what noisylab's steps are compared with, and train the same networks to the same weights (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from timing import clock
from torch import Tensor, nn

from noisylab.types import Batch, PlanBatch

__all__ = ["PlainACT", "PlainCE", "turn"]


class PlainCE:
    """Cross-entropy with the optimizer of `noisylab.methods.CrossEntropy`.

    Args:
        network: on its device.
        precision: "32-true", or "bf16-mixed" for autocast.
        channels_last: memory layout of the network and its inputs.
    """

    views = ("weak",)

    def __init__(self, network: nn.Module, *, precision: str = "32-true", channels_last: bool = False) -> None:
        self.network = network.train()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.precision = precision
        if channels_last:
            self.network.to(memory_format=self.layout)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, batch: Batch, epoch: int) -> None:
        """One update."""
        with autocast(self.precision, batch.target.device):
            logits = self.network(as_tensor(batch, 0, self.layout))
        loss = F.cross_entropy(logits.float(), batch.target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class PlainACT:
    """ACT after its warm-up, with the optimizers and the published values of `noisylab.methods.ACT`.

    Args:
        robust: the first network, on its device.
        standard: the second one.
        given: (N,) int64 given labels.
        num_classes: K.
        precision: "32-true", or "bf16-mixed" for autocast.
        channels_last: memory layout of the networks and their inputs.
        lr: of both optimizers.
    """

    views = ("weak", "strong")

    def __init__(
        self,
        robust: nn.Module,
        standard: nn.Module,
        given: Tensor,
        num_classes: int,
        *,
        precision: str = "32-true",
        channels_last: bool = False,
        lr: float = 0.01,
    ) -> None:
        self.robust, self.standard, self.precision = robust.train(), standard.train(), precision
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.robust.to(memory_format=self.layout)
            self.standard.to(memory_format=self.layout)
        self.optimizers = [
            torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
            for network in (robust, standard)
        ]
        device = next(robust.parameters()).device
        self.label_table = F.one_hot(given.to(device), num_classes).float()
        self.times_selected = torch.zeros(len(given), dtype=torch.int32, device=device)

    def step(self, batch: Batch, epoch: int) -> None:
        """One update of each network."""
        y, index = batch.target, batch.index
        with autocast(self.precision, y.device):
            weak = as_tensor(batch, 0, self.layout)
            z0, z1 = self.robust(weak), self.standard(weak)
            hit0, hit1 = z0.argmax(1) == y, z1.argmax(1) == y
            hits0, hits1 = hit0.sum(), hit1.sum()
            gate = (hits0 > 0) & ((hits1 - hits0).double() < 0.025 * hits0.double())
            clean = torch.where(gate, hit1, hit0 & hit1)
            self.times_selected[index] += clean.int()
            labels = torch.lerp(F.softmax(z0.detach().float(), 1), self.label_table[index], 0.8)
            weight = self.times_selected[index] / (epoch + 1)
            supervised = F.cross_entropy(z0.float(), y, reduction="none") * weight
            supervised = torch.where(clean, supervised, torch.zeros_like(supervised)).sum() / clean.sum().clamp(min=1)
            pseudo = torch.where(clean, y, labels.argmax(1))
            strong = self.robust(as_tensor(batch, 1, self.layout))
            robust_loss = 0.8 * supervised + (1 - 0.8) * F.cross_entropy(strong.float(), pseudo)
            standard_loss = F.cross_entropy(z1.float(), y)
            self.label_table[index] = labels
        robust_loss.backward()
        standard_loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()


def as_tensor(batch: Batch, view: int, layout: torch.memory_format) -> Tensor:
    """A view in a memory layout, which only images have."""
    inputs = batch.views[view]
    assert isinstance(inputs, Tensor)
    return inputs.to(memory_format=layout) if inputs.ndim == 4 else inputs


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """What Lightning does for a precision."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def turn(loop: PlainCE | PlainACT, batches: Iterator[PlanBatch], steps: int, device: torch.device) -> float:
    """Seconds of one step, on average over `steps` of them: taking the next batch and training on it."""
    started = clock(device)
    for _ in range(steps):
        batch = next(batches)
        loop.step(batch["train"], batch.epoch)
    return (clock(device) - started) / steps


def drain(batches: Iterable[PlanBatch], steps: int, device: torch.device) -> float:
    """Seconds of one step that only takes the next batch."""
    started = clock(device)
    for _, _ in zip(range(steps), batches, strict=False):
        pass
    return (clock(device) - started) / steps
