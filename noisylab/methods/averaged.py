"""Methods that keep a copy of each network whose weights are averaged over the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal

from torch import Tensor, nn

from noisylab.ema import AveragedNetwork
from noisylab.engine.divergence import refuse_diverged
from noisylab.engine.modes import in_mode
from noisylab.methods.base import NoisyLabelMethod
from noisylab.types import Inputs, PlanBatch

__all__ = ["AveragingMethod"]


class AveragingMethod(NoisyLabelMethod, ABC):
    """Averaged copies of the networks, evaluated wherever the networks are.

    A level of its own below `NoisyLabelMethod`, since four methods keep such copies. A child calls `add_averages` once its
    networks are there, moves the copies after its steps, and says by `evaluate` whether they are predictors, too.

    Attributes:
        averages: the copies, by the name of their network.
        evaluate: "average" or "raw": which of the two are the headline, where there are copies; None to evaluate networks alone.
    """

    evaluate: Literal["average", "raw"] | None = None

    @abstractmethod
    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the networks that train in this phase."""

    def add_averages(self, wanted: bool = True) -> None:
        """Add an averaged copy of each network, or none."""
        self.averages = nn.ModuleDict(
            {name: AveragedNetwork(network) for name, network in self.networks.items()} if wanted else {}
        )

    def average(self, name: str) -> AveragedNetwork:
        """The copy of a network."""
        found = self.averages[name]
        assert isinstance(found, AveragedNetwork)
        return found

    @property
    def headline(self) -> str:
        """The ensemble, or the only network, averaged over steps if `evaluate` says so."""
        name = "ensemble" if len(self.networks) > 1 else next(iter(self.networks))
        return f"{name}_average" if self.averages and self.evaluate == "average" else name

    @property
    def predictors(self) -> tuple[str, ...]:
        """The networks and their ensemble, and likewise their averaged copies."""
        names = super().predictors
        return (*names, *(f"{name}_average" for name in names)) if self.averages and self.evaluate else names

    def all_logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of each network and of their ensemble, and likewise of the averaged copies."""
        logits = super().all_logits(inputs)
        copies: dict[str, Tensor] = {}
        for name in self.averages if self.evaluate else ():
            with in_mode(self.averages[name], training=False):
                copies[f"{name}_average"] = self.checked(self.averages[name](inputs)).float()
        if len(copies) > 1:
            copies["ensemble_average"] = self.together(list(copies.values()))
        return {**logits, **copies}

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) of the headline predictor."""
        return self.all_logits(inputs)[self.headline] if self.evaluate else super().forward(inputs)

    def weights_replaced(self, names: Collection[str]) -> None:
        """Let the averaged copies of these networks start from their weights, too."""
        super().weights_replaced(names)
        for name in names:
            if name in self.averages:
                self.average(name).update(self.networks[name], 0.0, copy_buffers=True)

    def refuse_nonfinite(self) -> None:
        """Check the averaged copies as well as the networks.

        Raises:
            ValueError: see `NoisyLabelMethod.refuse_nonfinite`.
        """
        super().refuse_nonfinite()
        averages = {f"{name} (averaged copy)": average for name, average in self.averages.items()}
        if averages:
            refuse_diverged(averages, {}, self.current_epoch, str(self.trainer.precision))
