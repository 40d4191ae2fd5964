"""IEG: weights of samples and of their labels by meta-learning, with pseudo labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Optimizer

from noisylab.arguments import FractionBelowOne, NonNegative, Positive, Range
from noisylab.engine.modes import forward_aside
from noisylab.engine.step import step
from noisylab.losses import consistency, logit_norm, pseudo_labels, soft_cross_entropy
from noisylab.meta import SGDState, derivative, gradient, gradient_of, label_gradients, look_ahead, sgd_state, weight_gradients
from noisylab.methods.reweighting import ReweightingMethod
from noisylab.models.network import NetFactory
from noisylab.selection.meta_weights import Rule, mislabeled
from noisylab.specs import Factory
from noisylab.transforms.mixing import folded_weights, mix, mix_rows, one_hot
from noisylab.types import Inputs, PlanBatch, join_inputs, map_inputs

__all__ = ["IEG"]

Consistency = Literal["none", "kl", "fake", "ict"]


@dataclass(frozen=True)
class Trust:
    """The result of a meta step for a batch.

    Args:
        weights: (B,) w, at least 0.
        given: (B,) bool, whether the given label is to be preferred to the pseudo label.
    """

    weights: Tensor
    given: Tensor


@dataclass(frozen=True)
class Seen:
    """A network's outputs for the views of a batch.

    Args:
        views: the inputs of each view; the first is the plain one.
        logits: (B, K) of each.
        normalized: (B, K) of each, see `noisylab.losses.logit_norm`.
    """

    views: tuple[Inputs, ...]
    logits: tuple[Tensor, ...]
    normalized: tuple[Tensor, ...]


class IEG(ReweightingMethod):
    """Asks trusted samples, by a look-ahead step, how much each training sample is worth and which of its two labels is right.

    The two labels are the given one y and a pseudo label ``g = s_T(mean over views of softmax(ln z))``, where z = f(x) for the
    plain and, if there is one, z' = f(x') for the second view, ``s_T(p) = p^(1/T) / sum p^(1/T)`` and ``ln z = z / rms(z)`` over
    the whole block. With a_n = 1/B, eps_n = 0.9 and ``J = sum_n a_n CE(f(x_n), eps_n y_n + (1 - eps_n) g_n) + wd/2 |theta|^2``
    the look-ahead is ``theta' = theta - alpha (mu * velocity + grad J)``, the velocity being the optimizer's own. V is the
    cross-entropy of a trusted batch at theta' with the same decay. Then ``w_n = max(-dV/da_n, 0) / (sum + 1e-5)``, and the given
    label is preferred (lambda_n = 1) where dV/deps_n < 0. Both derivatives come from one forward pass with tangents along grad V.

    Objective: ``L = (L_w + L_lambda) / 2 + L_p + c L_u + L_c`` with ``L_w = sum_n w_n CE(z_n, 0.9 y_n + 0.1 g_n)`` and
    ``L_lambda = mean_n CE(z_n, lambda_n y_n + (1 - lambda_n) g_n)``. L_p and L_u are the cross-entropies, on normalized logits,
    of mixed samples: trusted ones (drawn with replacement, as many as samples with g), x with g and x' with g are stacked, each
    row is mixed with a partner drawn among all of them by ``lam = max(l, 1 - l)``, ``l = u^(1/beta) / 2``; L_p are the rows that
    began as trusted, L_u the others. L_c is the consistency term.

    With a `threshold` of at most 1, samples of larger weight keep their labels: they join the trusted ones in L_p, and only the
    others are in L_u. The step then waits for the device, which must tell how many they are.

    What is evaluated is the averaged copy of the network. A sample's label is taken as clean where its last lambda is 1; the
    score is its last weight; `labels/*` follow lambda and g.

    **Paper**: Zhang, Zhang, Arik, Lee and Pfister, Distilling Effective Supervision from Severe Label Noise, CVPR 2020,
    https://arxiv.org/abs/1910.00701

    **Authors' code**: https://github.com/google-research/google-research/tree/master/ieg

    **Differences** from that code: no second network and no second derivative; g is a constant in the look-ahead step, as it is
    in the final losses (there its gradient flows); the "strong" view starts from the image, not from the weak view; running batch
    statistics see f(x) alone, as there; with dropout the two passes of the meta step have masks of their own. Trusted rows come
    class by class in turn, so that a batch is balanced; under several ranks they are shuffled. Under several ranks weights and
    norms are those of the whole batch; samples are mixed within a rank. The features without augmentation, `consistency` "fake"
    and "ict", ce_factor "dynamic", `threshold` and `weight_norm` are extensions.

    **Compared**: not with a run of the authors' code; the tests compare whole steps with the algorithm written apart, with
    the gradient of a gradient.

    Args:
        num_classes: K.
        network: factory of the network.
        second_view: name of x'; None for features that cannot be augmented: then g has one view and L_u is of x alone.
        consistency: "kl", KL(softmax z || softmax z') with the first as target; "none"; without a second view "fake", the same
            with x' = x mixed twice with other samples (shares 0.05), or "ict", which holds the prediction for a mixture of two
            samples to the mixture of their predictions.
        consistency_factor: weight of L_c; 20, and 8 on WebVision.
        fake_share: share of the sample in each of the two mixtures of "fake", in [0.5, 1].
        temperature: T, positive.
        beta: the parameter in the distribution of lam, positive.
        ce_factor: c; 4 on WebVision. It asks for a network with batch normalization: on Reuters the first, random pseudo
            labels were learned without it unless c was 1. "dynamic" for the number of rows with pseudo labels, in all views,
            over that of trusted and of right ones, before any are drawn. What is logged as ``train/u_loss`` is c L_u.
        meta_rate: alpha, positive.
        meta_momentum: mu, in [0, 1).
        initial_trust: eps_n, in (0, 1).
        meta_point: "lookahead", or "current" for grad V at theta itself, which saves a backward pass.
        threshold: of `noisylab.selection.mislabeled`; above 1 all samples are trained on with pseudo labels.
        rule: how weights are compared with the threshold.
        draw_trusted: whether the trusted samples in L_p are drawn with replacement; else they are the batch as it is.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 if None. The look-ahead step takes over
            velocity and decay of torch's SGD; with another optimizer it has neither.
        **reweighting: see `noisylab.methods.reweighting.ReweightingMethod`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> IEG(num_classes=3, network=partial(MLP, in_features=4)).headline
        'main_average'
    """

    mixes_by: ClassVar[tuple[str, ...]] = ("beta",)
    meta_order: ClassVar[Literal["shuffle", "sequential"]] = "sequential"
    epsilon: ClassVar[float] = 1e-5
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4})

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        second_view: str | None = "strong",
        consistency: Consistency = "kl",
        consistency_factor: NonNegative = 20.0,
        fake_share: Annotated[float, Range(0.5, 1)] = 0.95,
        temperature: Positive = 0.5,
        beta: Positive = 0.5,
        ce_factor: Positive | Literal["dynamic"] = 5.0,
        meta_rate: Positive = 0.1,
        meta_momentum: FractionBelowOne = 0.9,
        initial_trust: Annotated[float, Range(0, 1, "()")] = 0.9,
        meta_point: Literal["lookahead", "current"] = "lookahead",
        threshold: NonNegative = 1.1,
        rule: Rule = "hard_weights",
        draw_trusted: bool = True,
        ema_decay: Annotated[float, Range(0, 1, "[)", none="no averaged copies")] | None = 0.999,
        **reweighting: Any,
    ) -> None:
        super().__init__(num_classes, network, ema_decay=ema_decay, **reweighting)
        if consistency == "kl" and second_view is None:
            raise ValueError("consistency='kl' compares two views; name a second_view, or set consistency to none, fake or ict")
        if consistency == "fake" and second_view is not None:
            raise ValueError(f"consistency='fake' makes a second view itself; set second_view to null, got {second_view!r}")
        self.train_views = ("weak",) if second_view is None else ("weak", second_view)
        self.consistency, self.consistency_factor, self.fake_share = consistency, consistency_factor, fake_share
        self.temperature, self.beta, self.ce_factor = temperature, beta, ce_factor
        self.meta_rate, self.meta_momentum, self.initial_trust = meta_rate, meta_momentum, initial_trust
        self.meta_point, self.threshold, self.draw_trusted = meta_point, threshold, draw_trusted
        self.rule: Rule = rule
        self.memory.add("trusts_given", dtype=torch.int32, fill=-1)
        self.memory.add("pseudo_target", dtype=torch.int32, fill=-1)

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the network."""
        samples, trusted = batch["train"], self.trusted(batch, "main")
        seen = self._see("main", self._views(samples.views))
        y = one_hot(samples.target, seen.normalized[0])
        self.observe(samples.index, seen.logits[0], samples.target)
        pseudo = pseudo_labels(seen.normalized, self.temperature)
        trust = self._meta_step(batch, "main", seen, y, pseudo)
        self.memory.write("trusts_given", samples.index, trust.given)
        self.memory.write("pseudo_target", samples.index, pseudo.argmax(1))
        wrong = self._split(batch, trust.weights)
        mixed = self._mixed_loss("main", seen, wrong, pseudo, y, trusted.views[0], one_hot(trusted.target, seen.normalized[0]))
        parts = {**mixed, **self._supervised(seen, trust, y, pseudo), "kl": self._consistency("main", seen)}
        loss = self._total(parts)
        step(self, {"main": loss}, clip_norm=self.clip_norm)
        self.follow(batch)
        self._log(batch, {**parts, "loss": loss}, "")

    # ---- the parts of a step

    def _views(self, views: tuple[Inputs, ...]) -> tuple[Inputs, ...]:
        """The views of a batch, and the one made up of mixtures."""
        if self.consistency != "fake":
            return views
        first = views[0]
        other = first
        size = len(next(iter(first.values())) if isinstance(first, dict) else first)
        for _ in range(2):
            other = mix(other, torch.randperm(size, device=self.device), self.fake_share)
        return first, other

    def _see(self, name: str, views: tuple[Inputs, ...]) -> Seen:
        """A network's answers; only those to the first view count in its batch statistics."""
        network = self.networks[name]
        logits = [self.checked(network(views[0])), *(self.checked(forward_aside(network, view)) for view in views[1:])]
        return Seen(views, tuple(logits), tuple(self._normalized(z) for z in logits))

    def _normalized(self, logits: Tensor) -> Tensor:
        """Logits over the root of their mean square, that of all ranks."""
        if self.trainer.world_size == 1:
            return logit_norm(logits)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logit_norm(wide, self.mean_rows(wide.square().mean(1, keepdim=True))[0])

    def _meta_step(self, batch: PlanBatch, name: str, seen: Seen, y: Tensor, pseudo: Tensor) -> Trust:
        """Weights and preferred labels; network, optimizer and batch statistics stay as they are."""
        network, target = self.networks[name], batch["train"].target
        mixed = self.initial_trust * y + (1 - self.initial_trust) * pseudo
        state = sgd_state(network, self.wrapped_optimizers()[name].optimizer)

        def direction() -> tuple[dict[str, Tensor], Tensor]:
            ahead = self._ahead(batch, name, seen, mixed, state) if self.meta_point == "lookahead" else None
            return self.trusted_gradient(batch, name, ahead, state.decay)

        along, trusted_loss = direction()
        if name not in self.forms:
            self.settle_form(name, seen.views[0], along, lambda z, dz: weight_gradients(z, dz, mixed).clamp(min=0))
            along, trusted_loss = direction()  # in the form that was chosen
        found = derivative(network, seen.views[0], along, self.forms[name])
        weights = self.weigh(batch, name, self.meta_rate * weight_gradients(*found, mixed), trusted_loss)
        return Trust(weights, label_gradients(*found, target, pseudo) < 0)

    def _ahead(self, batch: PlanBatch, name: str, seen: Seen, mixed: Tensor, state: SGDState) -> dict[str, Tensor]:
        """theta', where a real step on the uniformly weighted batch would lead."""
        network, form = self.networks[name], self.forms.get(name)
        size = round(batch.weight_of("train") * self.trainer.world_size)
        parameters = dict(network.named_parameters())
        if form is not None and form.precision == "float32":
            slope, _ = gradient(network, seen.views[0], mixed, form=form, count=size)
        else:  # back through the pass that has been made
            slope = gradient_of(soft_cross_entropy(seen.logits[0], mixed, reduction="none").sum() / size, parameters)
        return look_ahead(
            parameters,
            self.sum_by_name(slope),
            rate=self.meta_rate,
            momentum=self.meta_momentum,
            velocity=state.velocity,
            decay=state.decay,
        )

    def _split(self, batch: PlanBatch, weights: Tensor) -> Tensor | None:
        """Places (M,) of this rank's samples to be trained on with pseudo labels; None for all of them."""
        if self.threshold > 1:
            return None
        whole = self.whole_batch(weights, batch.share["train"], math.inf)
        real = whole != math.inf  # the others fill shorter shares up
        found = torch.zeros_like(real)
        found[real] = mislabeled(whole[real], self.threshold, self.rule)
        return self.own_share(found, len(weights)).nonzero().flatten()

    def _mixed_loss(
        self, name: str, seen: Seen, wrong: Tensor | None, pseudo: Tensor, y: Tensor, trusted: Inputs, trusted_y: Tensor
    ) -> dict[str, Tensor]:
        """L_p and L_u.

        Args:
            name: of the network.
            seen: its answers, of which the views are used.
            wrong: places of the samples with pseudo labels, see `_split`.
            pseudo: (B, K) pseudo labels.
            y: (B, K) given labels.
            trusted: M inputs.
            trusted_y: (M, K) their labels.
        """
        views, guess = seen.views, pseudo
        if wrong is not None:
            right = torch.ones(len(y), dtype=torch.bool, device=y.device).index_fill_(0, wrong, False).nonzero().flatten()
            trusted = join_inputs([trusted, map_inputs(lambda x: x[right], seen.views[0])])
            trusted_y = torch.cat([trusted_y, y[right]])
            views = tuple(map_inputs(lambda x: x[wrong], view) for view in views)
            guess = pseudo[wrong]
        sizes = self.sum_over_ranks(pseudo.new_tensor([len(trusted_y), len(guess) * len(views)]))
        factor = sizes[1] / sizes[0].clamp(min=1) if self.ce_factor == "dynamic" else self.ce_factor
        if self.draw_trusted and len(trusted_y):  # of several ranks one may have none
            drawn = torch.randint(len(trusted_y), (len(guess),), device=y.device)
            trusted, trusted_y = map_inputs(lambda x: x[drawn], trusted), trusted_y[drawn]
        blocks = [len(trusted_y), *[len(guess)] * len(views)]
        inputs, target = join_inputs([trusted, *views]), torch.cat([trusted_y, *[guess] * len(views)])
        order = torch.randperm(len(target), device=target.device)
        lam = folded_weights(len(target), self.beta, target)
        target = lam[:, None] * target + (1 - lam)[:, None] * target[order]
        # a size of its own in every step: torch.compile would stop somewhere, a resumed run elsewhere
        with nullcontext() if wrong is None else torch.compiler.set_stance("force_eager"):
            logits = self.checked(forward_aside(self.networks[name], mix_rows(inputs, order, lam)))
        losses = [
            soft_cross_entropy(self._normalized(z), t, reduction="none")
            for z, t in zip(logits.split(blocks), target.split(blocks), strict=True)
        ]
        return {"l": self.mean(losses[0]), "u": factor * self.mean(torch.cat(losses[1:]))}

    def _consistency(self, name: str, seen: Seen) -> Tensor:
        """L_c."""
        logits = seen.logits[0]
        if self.consistency == "none" or self.consistency_factor == 0:
            return logits.new_zeros(())
        if self.consistency != "ict":
            return self.consistency_factor * self.mean(consistency(logits, seen.logits[1]))
        order = torch.randperm(len(logits), device=logits.device)
        probs = F.softmax(logits.detach().to(seen.normalized[0].dtype), 1)
        lam = folded_weights(len(logits), self.beta, probs)
        target = lam[:, None] * probs + (1 - lam)[:, None] * probs[order]
        mixed = self.checked(forward_aside(self.networks[name], mix_rows(seen.views[0], order, lam)))
        return self.consistency_factor * self.mean(consistency(target.clamp(min=torch.finfo(target.dtype).tiny).log(), mixed))

    def _supervised(self, seen: Seen, trust: Trust, y: Tensor, pseudo: Tensor) -> dict[str, Tensor]:
        """L_w and L_lambda, on the plain logits."""
        z, given = seen.logits[0], trust.given[:, None]
        mixed = self.initial_trust * y + (1 - self.initial_trust) * pseudo
        return {
            "w": self.weighted_sum(trust.weights, soft_cross_entropy(z, mixed, reduction="none")),
            "eps": self.mean(soft_cross_entropy(z, torch.where(given, y, pseudo), reduction="none")),
        }

    def _total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The objective."""
        return (parts["w"] + parts["eps"]) / 2 + parts["l"] + parts["u"] + parts["kl"]

    def _log(self, batch: PlanBatch, parts: Mapping[str, Tensor], suffix: str) -> None:
        for part, value in parts.items():
            name = "train/loss" if part == "loss" else f"train/{part}_loss"
            self.means.add(f"{name}{suffix}", value, batch.weight_of("train"))

    # ---- what is said of the labels

    def clean_mask(self) -> Tensor | None:
        """Samples whose given label was preferred the last time they were seen; None before training."""
        if self.clean_prob() is None:
            return None
        return self.memory["trusts_given"] == 1

    def corrected_target(self) -> Tensor | None:
        """The given label where it was preferred, else the class of the pseudo label; None before training."""
        if self.clean_prob() is None:
            return None
        given, pseudo = self.info.given_target.to(self.memory["pseudo_target"].device), self.memory["pseudo_target"].long()
        return torch.where(self.memory["trusts_given"] == 1, given, pseudo)
