"""Two IEG networks that guess labels together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F

from noisylab.engine.step import step
from noisylab.losses import co_guess, prior_penalty, pseudo_labels
from noisylab.methods.ieg import IEG
from noisylab.models.network import NetFactory
from noisylab.transforms.mixing import one_hot
from noisylab.types import PlanBatch

__all__ = ["IEGDivideMix"]

_PEER = {"first": "second", "second": "first"}


class IEGDivideMix(IEG):
    """Two networks with IEG's meta step, side by side, whose pseudo labels are one guess, each network trusted in proportion to
    the weight that it gives the sample.

    Derives from `IEG`, whose meta step, mixed losses and consistency term it uses. In each step both networks find weights w_r
    and preferred labels lambda_r by a meta step with a pseudo label of their own and their own trusted batch. Then, with ``rho_r
    = w_r / (w_1 + w_2)`` (1/2 where both are 0), the guess is ``g = s_T(sum_r rho_r softmax(rho_r ln z_r))``, and each network
    learns by IEG's losses with this g. With `exchange` the weights, the trusted batches and the split that follows from the
    weights are the peer's while labels are guessed and samples mixed; the weighted loss is by a network's own.

    Objective of each network: ``L_r = (L_w + L_lambda) / 2 + L_p + c L_u + L_c``, see `IEG`.

    What is evaluated is the mean of both networks' probabilities, of their averaged copies as a rule. A label is taken as clean
    where both networks prefer it. Trusted rows are shuffled for each network, so that the networks see different batches.

    **Paper**: none; a combination of IEG with the co-guessing of DivideMix (Li, Socher and Hoi, ICLR 2020), as specified for this
    library; DivideMix guesses by the plain mean.

    **Differences**: there is no other implementation to differ from. Defaults are those of `IEG`, made for images.

    Args:
        num_classes: K.
        network: factory of both networks.
        exchange: see above.
        inner_scale: whether rho is also an inverse temperature in the guess.
        prior_penalty: whether to add the divergence of the mean prediction from the uniform one, as DivideMix does.
        **ieg: see `IEG`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> IEGDivideMix(num_classes=3, network=partial(MLP, in_features=4)).headline
        'ensemble_average'
    """

    meta_streams: ClassVar[Mapping[str, str]] = {"first": "trusted_first", "second": "trusted_second"}
    meta_order: ClassVar[Literal["shuffle", "sequential"]] = "shuffle"  # the two must differ

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        exchange: bool = False,
        inner_scale: bool = True,
        prior_penalty: bool = False,
        **ieg: Any,
    ) -> None:
        super().__init__(num_classes, network, **ieg)
        self.exchange, self.inner_scale, self.prior_penalty = exchange, inner_scale, prior_penalty

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of both networks."""
        samples = batch["train"]
        views = self._views(samples.views)
        seen = {name: self._see(name, views) for name in _PEER}
        y = one_hot(samples.target, seen["first"].normalized[0])
        self.observe(samples.index, seen["first"].logits[0], samples.target, seen["second"].logits[0])
        trust = {}
        for name in _PEER:  # by labels of their own: the guess needs the weights
            own_guess = pseudo_labels(seen[name].normalized, self.temperature)
            trust[name] = self._meta_step(batch, name, seen[name], y, own_guess)
        # whose weights and trusted batch a network guesses and mixes by
        source = _PEER if self.exchange else {name: name for name in _PEER}
        guess = co_guess(
            seen["first"].normalized,
            seen["second"].normalized,
            (trust[source["first"]].weights, trust[source["second"]].weights),
            self.temperature,
            inner_scale=self.inner_scale,
        )
        self.memory.write("trusts_given", samples.index, trust["first"].given & trust["second"].given)
        self.memory.write("pseudo_target", samples.index, guess.argmax(1))
        losses = {}
        for name in _PEER:
            trusted = self.trusted(batch, source[name])
            wrong = self._split(batch, trust[source[name]].weights)
            known = one_hot(trusted.target, seen[name].normalized[0])
            mixed = self._mixed_loss(name, seen[name], wrong, guess, y, trusted.views[0], known)
            parts = {**mixed, **self._supervised(seen[name], trust[name], y, guess), "kl": self._consistency(name, seen[name])}
            losses[name] = self._total(parts)
            if self.prior_penalty:
                parts["prior"] = prior_penalty(self.mean_rows(F.softmax(seen[name].logits[0].to(y.dtype), 1)))
                losses[name] = losses[name] + parts["prior"]
            self._log(batch, {**parts, "loss": losses[name]}, "" if name == "first" else f"_{name}")
        step(self, losses, clip_norm=self.clip_norm)
        self.follow(batch)
