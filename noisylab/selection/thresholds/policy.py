"""The interface of a threshold policy, which decides with what weight each unlabeled row of a step counts in the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from noisylab.arguments import check_arguments
from noisylab.upstream.torch import FollowsDevice

__all__ = ["Guesses", "PolicyFactory", "ThresholdPolicy", "Weighted"]


@dataclass(frozen=True)
class Guesses:
    """What a policy sees of a step: the rows of all ranks, detached, in float32.

    Args:
        probs: (B, K) class probabilities of the unlabeled rows, from the weak view.
        index: (B,) int64 positions in the unlabeled set, 0..U-1.
        step: training step, counted from 0 over the whole run.
        labeled_probs: (L, K) class probabilities of the labeled rows of the step, where the method has them.
        labeled_target: (L,) int64 their given labels.
        logits: (B, K) of the unlabeled rows, where the method has them.
    """

    probs: Tensor
    index: Tensor
    step: int
    labeled_probs: Tensor | None = None
    labeled_target: Tensor | None = None
    logits: Tensor | None = None

    @property
    def confidence(self) -> Tensor:
        """(B,) the largest probability of each row."""
        return self.probs.amax(1)

    @property
    def predicted(self) -> Tensor:
        """(B,) int64 the class with that probability."""
        return self.probs.argmax(1)


class Weighted(NamedTuple):
    """What a policy returns for a step.

    Attributes:
        weight: (B,) float32 in [0, 1], the weight of each row in the loss.
        probs: (B, K) float32, from which the pseudo-labels are made.
        threshold: () or (K,) float32 for the log, one per class if they differ; NaN if there is none.
    """

    weight: Tensor
    probs: Tensor
    threshold: Tensor


class ThresholdPolicy(FollowsDevice):
    """Weights the unlabeled rows of each training step by their predictions.

    A subclass implements `weigh`. It keeps its state in small tables, declared with `add` and written with `put`. They hold
    float32 or integers whatever the training precision, live on the method's device and are saved in its checkpoint. They are
    neither parameters nor buffers, so nothing casts, broadcasts or averages them. A policy sees the rows of all ranks at once and
    draws nothing at random, so every rank has the same tables. Policies within a policy are its attributes; their tables are
    handled automatically.

    Nothing may be read back from the device in `weigh`: no ``item()``, no mask as an index.

    Args:
        num_classes: K, at least 1.
        **given: the arguments of the subclass's constructor, checked against the ranges that their types declare.

    Attributes:
        epoch: the current one, counted from 0.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, num_classes: int, **given: Any) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        check_arguments(type(self), given)
        self.num_classes = num_classes
        self.epoch = 0
        self._given = given
        self._starts: dict[str, Tensor] = {}
        self._per_row: set[str] = set()
        self._tables: dict[str, Tensor] = {}

    def extra_repr(self) -> str:
        """The arguments, for ``repr``."""
        return ", ".join(f"{name}={value!r}" for name, value in self._given.items() if not callable(value))

    # ---- what a child writes

    def weigh(self, seen: Guesses) -> Weighted:
        """The weights of a step's rows; called once per step, without gradients, with at least one row."""
        raise NotImplementedError(f"{type(self).__name__} must say in weigh() which rows enter the loss")

    @property
    def needs_labeled(self) -> bool:
        """Whether `weigh` reads predictions for labeled rows; by default, if a policy within it does."""
        return any(part.needs_labeled for part in self._inner())

    @property
    def needs_logits(self) -> bool:
        """Whether `weigh` reads logits; by default, if a policy within it does."""
        return any(part.needs_logits for part in self._inner())

    @property
    def needs_validation(self) -> bool:
        """Whether the policy uses held-out rows; by default, if a policy within it does."""
        return any(part.needs_validation for part in self._inner())

    @property
    def soft_labels(self) -> bool:
        """Whether the loss uses ``Weighted.probs`` as they are, rather than their most probable class."""
        return False

    # ---- what a method calls

    def allocate(self, num_unlabeled: int) -> None:
        """Create the tables with one entry per unlabeled row; tables that already have this size keep their entries.

        Args:
            num_unlabeled: U.
        """
        for name in self._per_row:
            start, table = self._starts[name], self._tables.get(name)
            if table is None or len(table) != num_unlabeled:
                self._tables[name] = start.expand(num_unlabeled, *start.shape).clone()
        for part in self._inner():
            part.allocate(num_unlabeled)

    def reset(self) -> None:
        """Forget everything, at the start of a new fit."""
        self.epoch = 0
        for name, table in self._tables.items():
            table.copy_(self._starts[name].expand_as(table))
        for part in self._inner():
            part.reset()

    def begin_epoch(self, epoch: int, acc_train: Tensor | None = None, acc_val: Tensor | None = None) -> None:
        """Set the epoch and the accuracies; may be called again within an epoch, with newer accuracies.

        Args:
            epoch: counted from 0.
            acc_train: () accuracy on the labeled training rows against their given labels, a fraction; None if it is not
                known, which keeps the last known one, 0 at first.
            acc_val: () likewise, on the held-out rows.
        """
        self.epoch = epoch
        for name, accuracy in (("accuracy_train", acc_train), ("accuracy_validation", acc_val)):
            if accuracy is not None and name in self._tables:
                self.put(name, accuracy)
        for part in self._inner():
            part.begin_epoch(epoch, acc_train, acc_val)

    def note_loss(self, loss: Tensor) -> None:
        """Set the loss on held-out rows, each time it is known, before `begin_epoch` of the next epoch.

        Needed only if `needs_validation`; `DashThreshold` starts from it.

        Args:
            loss: () mean cross-entropy to the labels of the held-out rows.
        """
        for part in self._inner():
            part.note_loss(loss)

    @torch.no_grad()
    def forward(
        self,
        probs: Tensor,
        index: Tensor,
        step: int,
        labeled_probs: Tensor | None = None,
        labeled_target: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> Weighted:
        """The weights of a step's rows, once per step; see `Guesses` for the arguments and `Weighted` for the result.

        Without any row, the state does not change.

        Raises:
            ValueError: if the policy needs predictions for labeled rows, or logits, and gets none.
        """
        for needed, value, what in (
            (self.needs_labeled, labeled_probs, "labeled_probs, the probabilities of the labeled rows"),
            (self.needs_labeled, labeled_target, "labeled_target, the labels of the labeled rows"),
            (self.needs_logits, logits, "logits, the unlabeled rows' network outputs"),
        ):
            if needed and value is None:
                raise ValueError(f"{type(self).__name__} needs {what}; use it in a method that gives them, or another policy")
        wide = [None if value is None else value.detach().float() for value in (probs, labeled_probs, logits)]
        assert wide[0] is not None
        if len(probs) == 0:
            return Weighted(wide[0].new_zeros(0), wide[0], wide[0].new_full((), torch.nan))
        return self.weigh(Guesses(wide[0], index, step, wide[1], labeled_target, wide[2]))

    # ---- tables

    def add(self, name: str, start: Tensor | float, *, per_row: bool = False) -> None:
        """Declare a table.

        Args:
            name: of the table.
            start: its values at the start of a fit; fractions are stored in float32.
            per_row: whether there is one such entry per unlabeled row; `allocate` creates them.
        """
        value = start if isinstance(start, Tensor) else torch.tensor(start, dtype=torch.float32)
        value = value.float() if value.is_floating_point() else value
        self._starts[name] = value
        if per_row:
            self._per_row.add(name)
        else:
            self._tables[name] = value.clone()

    def add_first_mean(self, name: str, *shape: int) -> None:
        """Declare a running mean that starts at its first value; see `follow_first_mean`."""
        self.add(name, torch.zeros(shape))
        self.add(f"{name}_begun", torch.tensor(False))

    def put(self, name: str, value: Tensor) -> None:
        """Write a table, in place and in its own dtype."""
        self[name].copy_(value)

    def follow_mean(self, name: str, value: Tensor, momentum: float) -> Tensor:
        """Update a running mean, ``m <- momentum m + (1 - momentum) value``; returns the table."""
        self.put(name, momentum * self[name] + (1 - momentum) * value)
        return self[name]

    def follow_first_mean(self, name: str, value: Tensor, momentum: float) -> Tensor:
        """Update a running mean declared with `add_first_mean`; the first value replaces it. Returns the table."""
        begun = self[f"{name}_begun"]
        self.put(name, torch.where(begun, momentum * self[name] + (1 - momentum) * value, value))
        begun.fill_(True)
        return self[name]

    def shares(self, predicted: Tensor) -> Tensor:
        """(K,) float32 the share of rows (B,) predicted as each class; the shares sum to 1."""
        counts = predicted.new_zeros(self.num_classes).index_add_(0, predicted, torch.ones_like(predicted))
        return counts.float() / len(predicted)

    def __getitem__(self, name: str) -> Tensor:
        """A table, not a copy.

        Raises:
            RuntimeError: for a table with one entry per unlabeled row, before `allocate`.
        """
        if name not in self._tables and name in self._per_row:
            raise RuntimeError(f"{type(self).__name__} does not know the unlabeled rows yet; call allocate(num_unlabeled) first")
        return self._tables[name]

    def get_extra_state(self) -> dict[str, Any]:
        """The epoch and the tables, for ``state_dict``."""
        return {"epoch": self.epoch, "tables": dict(self._tables)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load the epoch and the tables of a checkpoint, with their sizes.

        Raises:
            ValueError: if the checkpoint belongs to a policy with other tables.
        """
        if state["tables"].keys() - self._starts.keys() or self._starts.keys() - state["tables"].keys() - self._per_row:
            raise ValueError(
                f"the checkpoint holds a policy that remembers {sorted(state['tables'])}, {type(self).__name__} remembers "
                f"{sorted(self._starts)}; go on with the policy that the run began with"
            )
        self.epoch = state["epoch"]
        for name, saved in state["tables"].items():
            self._tables[name] = saved.to(self._starts[name].device, self._starts[name].dtype, copy=True)

    def follow(self, moved: Callable[[torch.device], torch.device]) -> None:
        """Move the tables to the method's device; their dtype never changes."""
        for tables in (self._starts, self._tables):
            for name, table in tables.items():
                tables[name] = table.to(moved(table.device))

    def _inner(self) -> Iterator[ThresholdPolicy]:
        """The policies that are attributes of this one, or in module lists that are."""
        waiting = list(self.children())
        while waiting:
            part = waiting.pop(0)
            if isinstance(part, ThresholdPolicy):
                yield part
            else:
                waiting += part.children()


PolicyFactory: TypeAlias = Callable[[int], ThresholdPolicy]
"""Called with the number of classes, returns a new policy."""
