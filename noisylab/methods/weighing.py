"""A threshold policy for each of several networks, in methods that set labels aside themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from noisylab.memory import SampleMemory, add_guesses, declare_guesses
from noisylab.methods.base import NoisyLabelMethod
from noisylab.selection.thresholds import PolicyFactory, ThresholdPolicy
from noisylab.specs import as_factory
from noisylab.types import PlanBatch

__all__ = ["NetworkPolicies", "of_network"]


class NetworkPolicies(nn.ModuleDict):
    """One policy for each network, which weighs the samples whose label a method does not use at the moment.

    Args:
        policy: factory of each; None for none at all.
        names: of the networks; what concerns the first has the plain name in the log.
        num_classes: K.
        memory: of the method, which then remembers the guesses that the first network learns from.
    """

    def __init__(self, policy: PolicyFactory | None, names: tuple[str, ...], num_classes: int, memory: SampleMemory) -> None:
        super().__init__()
        self._train_rows: Tensor | None = None  # on the device of the method
        if policy is None:
            return
        for name in names:
            self[name] = as_factory(policy, ThresholdPolicy, "policy")(num_classes)
        declare_guesses(memory)

    @property
    def needs_validation(self) -> bool:
        """Whether a policy goes by the accuracy on held-out rows."""
        return any(policy.needs_validation for policy in self._each().values())

    def _each(self) -> dict[str, ThresholdPolicy]:
        return {name: policy for name, policy in self.items() if isinstance(policy, ThresholdPolicy)}

    def allocate(self, train_rows: Tensor) -> None:
        """Let the policies know the training rows (M,), each of which may be without its label in some epoch."""
        self._train_rows = train_rows
        for policy in self._each().values():
            policy.allocate(len(train_rows))

    def begin_epoch(self, epoch: int, metrics: dict[str, float], acc_val: float | None) -> None:
        """Tell the policies what they go by.

        Args:
            epoch: that begins, counted from 0.
            metrics: logged in the epoch before.
            acc_val: accuracy on held-out rows after it.
        """
        for name, policy in self._each().items():
            if epoch == 0:
                policy.reset()
            if "val/loss" in metrics:
                policy.note_loss(torch.tensor(metrics["val/loss"]))
            found = metrics.get(of_network("train/labeled_acc", name)), acc_val
            policy.begin_epoch(epoch, *(None if accuracy is None else torch.tensor(accuracy) for accuracy in found))

    def weigh(
        self, method: NoisyLabelMethod, name: str, batch: PlanBatch, guess: Tensor, labeled_probs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Ask the policy of a network about a step with the streams "labeled" and "unlabeled"; log and remember what it says.

        Args:
            method: whose step it is.
            name: of the network.
            batch: the step's.
            guess: (B, K) mean of the predictions for this rank's unlabeled samples.
            labeled_probs: (L, K) the same of its labeled ones.

        Returns:
            The guesses (B, K) as the policy has them, and the weights (B,).
        """
        samples = batch["unlabeled"]
        values: Any = {"unlabeled": [guess, self._places(samples.index)], "labeled": [labeled_probs, batch["labeled"].target]}
        (probs, index), labels = ([method.whole_stream(v, batch, part) for v in parts] for part, parts in values.items())
        logits = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
        found = self._each()[name](probs, index, method.global_step, *labels, logits=logits)
        weight, guess = (method.own_share(whole, len(samples)) for whole in (found.weight, found.probs))
        right = (labels[0].argmax(1) == labels[1]).float().mean()
        method.means.add(of_network("train/labeled_acc", name), right, batch.weight_of("labeled"))
        method.means.add(of_network("unlabeled/used", name), found.weight.mean(), batch.weight_of("unlabeled"))
        if name == next(iter(self)):
            add_guesses(method.memory, batch.epoch, samples.index, guess, weight)
        return guess, weight

    def soft_labels(self, name: str) -> bool:
        """Whether the loss takes the guesses of a network's policy as they are; False without a policy."""
        return name in self and self._each()[name].soft_labels

    def _places(self, index: Tensor) -> Tensor:
        """Where rows (B,) of the training set are among those that may be trained on."""
        assert self._train_rows is not None
        if self._train_rows.device != index.device:
            self._train_rows = self._train_rows.to(index.device)
        return torch.searchsorted(self._train_rows, index)


def of_network(what: str, name: str) -> str:
    """The name in the log of a number of one network: that of the network "first" is the plain one."""
    return what if name == "first" else f"{what}_{name}"
