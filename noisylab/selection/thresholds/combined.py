"""Policies that combine others: all at once, or one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisylab.arguments import Count, Fraction
from noisylab.selection.thresholds.policy import Guesses, PolicyFactory, ThresholdPolicy, Weighted
from noisylab.specs import as_factory

__all__ = ["AllOf", "StagedThreshold"]


class AllOf(ThresholdPolicy):
    """Keeps rows that all of several policies let through: the product of their weights.

    A percentile with a minimum is ``AllOf(policies=[PercentileThreshold, FixedThreshold(0.5)])``; with `LinearThreshold` instead
    of the fixed one, the minimum has a schedule. Each policy sees all rows of a step, including those that another leaves out.
    Pseudo-labels come from the first policy's probabilities; the logged threshold is the largest one.

    Args:
        num_classes: K.
        policies: factories of the policies, at least one.

    Example:
        >>> from functools import partial
        >>> from noisylab.selection import FixedThreshold
        >>> policy = AllOf(2, [partial(FixedThreshold, threshold=0.6), partial(FixedThreshold, threshold=0.8)])
        >>> policy(torch.tensor([[0.7, 0.3], [0.1, 0.9]]), torch.tensor([0, 1]), step=0).weight
        tensor([0., 1.])
    """

    def __init__(self, num_classes: int, policies: list[PolicyFactory]) -> None:
        super().__init__(num_classes)
        if not policies:
            raise ValueError("policies must name at least one policy, got an empty list")
        made = [as_factory(policy, ThresholdPolicy, f"policies[{place}]") for place, policy in enumerate(policies)]
        self.policies = nn.ModuleList(policy(num_classes) for policy in made)

    @property
    def soft_labels(self) -> bool:
        """Whether the first policy has soft labels."""
        return next(self._inner()).soft_labels

    def weigh(self, seen: Guesses) -> Weighted:
        """The product of all weights."""
        found = [policy.weigh(seen) for policy in self._inner()]
        weight, threshold = found[0].weight, found[0].threshold
        for other in found[1:]:
            weight = weight * other.weight
            threshold = torch.fmax(threshold, other.threshold)  # of a number and NaN the number
        return Weighted(weight, found[0].probs, threshold)


class StagedThreshold(ThresholdPolicy):
    """Uses one policy first, and another from a certain point on.

    The change comes after `last_epoch` or, if `accuracy` is given, as soon as the accuracy on the labeled training rows
    reaches it. It is permanent. Both policies see every step, so the second also learns from the steps before the change.

    Args:
        num_classes: K.
        first: factory of the first policy.
        then: factory of the policy that follows.
        last_epoch: the last epoch of the first policy, counted from 0; ignored if `accuracy` is given.
        accuracy: on the labeled training rows, a fraction; None to go by `last_epoch`.

    Example:
        >>> from noisylab.selection import FixedThreshold, NoThreshold
        >>> policy = StagedThreshold(2, NoThreshold, FixedThreshold, last_epoch=5)
        >>> weights = []
        >>> for epoch in (5, 6):
        ...     policy.begin_epoch(epoch)
        ...     weights.append(policy(torch.tensor([[0.7, 0.3]]), torch.tensor([0]), step=0).weight.item())
        >>> weights
        [1.0, 0.0]
    """

    def __init__(
        self,
        num_classes: int,
        first: PolicyFactory,
        then: PolicyFactory,
        last_epoch: Count = 5,
        accuracy: Fraction | None = None,
    ) -> None:
        super().__init__(num_classes, last_epoch=last_epoch, accuracy=accuracy)
        self.last_epoch, self.accuracy = last_epoch, accuracy
        self.first = as_factory(first, ThresholdPolicy, "first")(num_classes)
        self.then = as_factory(then, ThresholdPolicy, "then")(num_classes)
        if self.first.soft_labels != self.then.soft_labels:
            raise ValueError(
                f"of first={self.first} and then={self.then} one has soft labels and the other classes; give two of a kind"
            )
        self.add("changed", torch.tensor(False))

    @property
    def soft_labels(self) -> bool:
        """Whether both policies have soft labels."""
        return self.first.soft_labels

    def begin_epoch(self, epoch: int, acc_train: Tensor | None = None, acc_val: Tensor | None = None) -> None:
        """See `ThresholdPolicy.begin_epoch`."""
        super().begin_epoch(epoch, acc_train, acc_val)
        if self.accuracy is None:
            self["changed"].fill_(epoch > self.last_epoch)
        elif acc_train is not None:
            self["changed"].logical_or_(acc_train.to(self["changed"].device) >= self.accuracy)

    def weigh(self, seen: Guesses) -> Weighted:
        """The weights of the policy in use."""
        before, after = self.first.weigh(seen), self.then.weigh(seen)
        return Weighted(*(torch.where(self["changed"], new, old) for old, new in zip(before, after, strict=True)))
