"""Gradients on trusted batches, and the derivatives of training samples along them, in the form that works for each network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from noisylab.meta import Form, add_decay, choose_form, derivative, gradient, tangent_forward
from noisylab.methods.averaged import AveragingMethod
from noisylab.types import Batch, Inputs, PlanBatch

__all__ = ["MetaGradients"]


class MetaGradients(AveragingMethod):
    """Computes meta-gradients over all ranks; the form for each network is chosen once and kept in the checkpoint.

    A level of its own, so that whoever reads how samples are weighted need not read how derivatives are found.

    Attributes:
        meta_streams: the name of each network's stream of trusted rows.
        forms: by network, once they are chosen.
    """

    meta_streams: ClassVar[Mapping[str, str]] = {"main": "trusted"}

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.forms: dict[str, Form] = {}
        self._chosen_in = ""  # which precision

    def trusted(self, batch: PlanBatch, name: str) -> Batch:
        """The trusted batch of a network."""
        return batch[self.meta_streams[name]]

    def trusted_gradient(
        self,
        batch: PlanBatch,
        name: str,
        at: Mapping[str, Tensor] | None = None,
        decay: Mapping[str, float] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradient of the trusted batch's mean cross-entropy, over all ranks, and the loss.

        Args:
            batch: with the trusted stream.
            name: of the network.
            at: parameters to take the gradient at; None for the network's own.
            decay: weight decay by name, whose gradient is added; the loss is without it.
        """
        samples, network = self.trusted(batch, name), self.networks[name]
        found, loss = gradient(
            network,
            samples.views[0],
            samples.target,
            at=at,
            form=self.forms.get(name, Form()),
            count=round(batch.weight_of(self.meta_streams[name]) * self.trainer.world_size),
        )
        slope = self.sum_by_name(found)
        if decay:
            slope = add_decay(slope, dict(network.named_parameters()) if at is None else at, decay)
        return slope, self.sum_over_ranks(loss)

    def sum_by_name(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all ranks of tensors by name, in one exchange."""
        if self.trainer.world_size == 1:
            return values
        summed = self.sum_over_ranks(torch.cat([value.flatten() for value in values.values()]))
        parts = summed.split([value.numel() for value in values.values()])
        return {name: part.view_as(values[name]) for name, part in zip(values, parts, strict=True)}

    def settle_form(self, name: str, inputs: Inputs, direction: Mapping[str, Tensor], weights: Any) -> None:
        """Choose once how a network's derivatives are computed; see `noisylab.meta.choose_form`.

        Args:
            name: of the network.
            inputs: of this rank.
            direction: gradient of a trusted batch.
            weights: (B,) weights from logits and their derivative, both (B, K).
        """
        if name in self.forms:
            return
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        form, reason = choose_form(self.networks[name], inputs, direction, weights, scaled=scaled)
        order = [Form(), Form("float32"), Form("training", "difference"), Form("float32", "difference")]
        place = torch.tensor(order.index(form), device=self.device)
        if self.trainer.world_size > 1:  # the same on all ranks: what works for each of them
            form = order[int(self.gather(place).max())]
        self.forms[name] = form
        if reason and name == next(iter(self.networks)):
            by_difference = form.rule == "difference"
            how = "a central difference" if by_difference else "tangents in float32"
            say = rank_zero_warn if by_difference else rank_zero_info  # that takes one more pass and is not exact
            say(f"{type(self).__name__} finds the weights of samples by {how}: {reason}")

    def forward_along(self, name: str, inputs: Inputs, direction: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits with a graph to update by, and the logits and derivatives that weights are computed from.

        Both come out of one forward pass where the form allows it.
        """
        network, form = self.networks[name], self.forms[name]
        if form.shares:
            logits, tangent = tangent_forward(network, inputs, direction)
            return self.checked(logits), (logits.detach(), tangent)
        found = derivative(network, inputs, direction, form)
        return self.checked(network(inputs)), found

    # ---- state

    def on_fit_start(self) -> None:
        """Forget the forms in a new run, and in one that continues with another precision."""
        super().on_fit_start()
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        precision = f"{self.trainer.precision}{', scaled' if scaled else ''}"
        if (self.trainer.ckpt_path is None and self.current_epoch == 0) or precision != self._chosen_in:
            self.forms.clear()
        self._chosen_in = precision

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save how derivatives are computed, because a resumed run must not choose again."""
        super().on_save_checkpoint(checkpoint)
        forms = {name: [form.precision, form.rule] for name, form in self.forms.items()}
        checkpoint["noisylab_forms"] = {"chosen_in": self._chosen_in, "forms": forms}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore how derivatives are computed."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["noisylab_forms"]
        self.forms = {name: Form(*parts) for name, parts in saved["forms"].items()}
        self._chosen_in = saved["chosen_in"]
