"""MixMatch, and the study of which unlabeled rows it may trust."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from noisylab.arguments import AtLeastOne, Count, FractionBelowOne, NonNegative, Positive
from noisylab.engine.interleaving import interleave
from noisylab.engine.modes import forward_aside, in_mode, without_gradient
from noisylab.engine.weight_decay import shrink_state
from noisylab.losses import guess_loss, mixed_loss, pi_consistency, sharp_guess, soft_cross_entropy
from noisylab.losses.unlabeled import GuessLoss
from noisylab.memory.recent import RecentValues
from noisylab.methods.semisupervised import SemiSupervised, probabilities
from noisylab.methods.softlabels import soft_target
from noisylab.models.network import NetFactory
from noisylab.schedules import linear_rampup
from noisylab.specs import Factory
from noisylab.transforms.mixing import mix, mix_weight, one_hot
from noisylab.transforms.partners import partners_among
from noisylab.transforms.soft_cutmix import mix_targets, soft_cutmix
from noisylab.types import Batch, EpochPlan, Inputs, Phase, PlanBatch, join_inputs, map_inputs

__all__ = ["MixMatch"]

_MORE = 4  # further unlabeled batches from which a step may fill its own up
_RECENT = 100  # steps of which the unlabeled loss is compared with the mean


class MixMatch(SemiSupervised):
    """Guesses labels of unlabeled images from the mean prediction for several views, sharpens the guesses, and learns from
    mixtures of labeled and unlabeled images.

    Objective of a step, with B labeled images x and M views of each of U unlabeled images u: the guess
    ``q = s_T(mean_m p(u_m))``, without gradient, with ``s_T(p) = p^(1/T) / sum p^(1/T)``; all ``B + M U`` rows, with labels or
    guesses as their targets, are mixed with partners drawn among all of them by ``lam x_i + (1 - lam) x_j``,
    ``lam = max(l, 1 - l)``, l from Beta(alpha, alpha). Then ``L = mean_x CE(z, t) + w(s) L_u``, where L_u is the mean over
    unlabeled rows of ``mean_c (p_c - t_c)^2`` and ``w(s) = lambda_u min(s / rampup_steps, 1)`` at step s. After each step the
    averaged copy follows the network, its batch statistics included, then all float tensors of the network shrink.

    A `policy` weights the rows by their guesses (`noisylab.selection.thresholds`): from ``NoThreshold``, the paper's method, to
    percentiles by accuracy, FreeMatch or Dash. Rows of weight 0 are left out before mixing. They stay in the batch, because no
    size may depend on the data, but they are mixed only with each other and add nothing to the loss. In train mode they count
    in the statistics of batch normalization. The other options serve a study of which rows to trust: cross-entropy instead of
    the squared error, from the start or from a later epoch; losses of kept rows and of all rows together (`mixed`); consistency
    on the rows that are left out; filling up a step with rows that pass; and guessing on one kind of view while learning on
    another.

    The averaged copy is the headline. The numbers ``unlabeled/*`` cover all rows that were drawn, before any is left out.

    **Paper**: Berthelot, Carlini, Goodfellow, Oliver, Papernot and Raffel, MixMatch: A Holistic Approach to Semi-Supervised
    Learning, NeurIPS 2019, https://arxiv.org/abs/1905.02249

    **Reference code**: https://github.com/YU1ut/MixMatch-pytorch. Its losses, interleaving, optimizer, weight decay and averaging
    are the defaults; the ramp is the paper's, 16,000 steps (in that code, the whole training).

    **Differences** from that code: batches continue across the end of a pass over the rows (there, the last incomplete batch of a
    pass is dropped); its crop draws offsets from 0 to 7 of the 8 pixels, here from 0 to 8; if the number of unlabeled rows is not
    a multiple of the labeled ones, the last interleaved chunk has more rows (there, interleaving fails); guesses are sharpened in
    float32, whatever the precision. The accuracy on labeled rows, which policies use, is measured on their unmixed weak view in
    an extra pass, without gradients and without changing batch statistics; ``accuracy_on="mixed"`` saves that pass. With several
    ranks, each mixes its own share of the batch.

    Args:
        num_classes: K.
        network: factory of the network.
        num_views: M, views of each unlabeled image; the guess is averaged over them, and all are trained on.
        temperature: T, positive; None to leave guesses as they are, "hard" for the most probable class.
        mixup_alpha: alpha of Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: the same for CutMix, which replaces mixup; one lam and one box per step.
        lambda_u: weight of the unlabeled loss; 75 with 250 labels in the paper.
        rampup_steps: steps over which that weight rises from 0; 0 for the full weight from the start.
        criterion: loss of unlabeled rows: "mse" on probabilities, or "ce".
        switch_epoch: the epoch from which the criterion is "ce", counted from 0; None for never.
        switch_lambda_u: weight of the unlabeled loss from that epoch on.
        mixed: "literal": ``lambda_u (L_kept + r L_all)``, with r the ramp and both divided by the batch size; "convex":
            ``lambda_u ((1 - r) L_kept + r L_all)``; None for L_kept alone.
        conf_source: whether a policy sees the "averaged" guess, or the "sharpened" one.
        mask_on: what has to pass. "before": rows that do not pass are left out before mixing; "dominant": all rows are mixed, and
            the larger component decides for a mixed row; "components": each component counts in the cross-entropy if it passes.
        below: what happens to rows of weight 0: "drop", or "consistency", which adds the squared distance between the predictions
            for two unmixed views to the loss, divided by the batch size, and takes an extra pass in train mode.
        consistency_weight: weight of that distance, times the ramp.
        ensure_ratio: draw four extra unlabeled batches per step, which the policy sees as one, and learn from the first rows that
            pass, up to the size of a batch; if fewer pass, learn from those.
        skip_above_mean: skip the weighted unlabeled loss of a step if it is above its mean over the last 100 steps, skipped ones
            included; applies once there have been 100 steps.
        accuracy_on: whether the accuracy on labeled rows is that of the "clean" weak view, or of the "mixed" rows against the
            larger component's label; with the latter, nothing is observed online.
        guess_view: the view that guesses are made on.
        learn_view: the view that is trained on; "strong" with weak guesses is called anchoring.
        guess_bn: batch normalization while guessing: "update" uses the batch's statistics and updates the running ones;
            "keep" uses the batch's statistics only; "eval" uses the running statistics.
        passes: how mixed rows go through the network. "interleaved": in chunks that each have labeled and unlabeled rows;
            "joint": all at once; "separate": labeled rows and each view in separate passes; "labeled": the same, with only
            labeled rows counting in running statistics (USB's code).
        state_decay: share by which all float tensors of the network, batch statistics included, shrink after each step; 0.02
            times the learning rate in the reference code; 0 for none.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> MixMatch(num_classes=3, network=partial(MLP, in_features=4), lambda_u=25).headline
        'network_average'
    """

    mixes_by: ClassVar[tuple[str, ...]] = ("mixup_alpha", "cutmix_alpha")
    uses_soft: ClassVar[bool] = True
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(Adam, {"lr": 0.002})

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        num_views: AtLeastOne = 2,
        temperature: Positive | Literal["hard"] | None = 0.5,
        mixup_alpha: NonNegative = 0.75,
        cutmix_alpha: NonNegative = 0.0,
        lambda_u: NonNegative = 75.0,
        rampup_steps: Count = 16_000,
        criterion: GuessLoss = "mse",
        switch_epoch: Count | None = None,
        switch_lambda_u: NonNegative = 1.0,
        mixed: Literal["literal", "convex"] | None = None,
        conf_source: Literal["averaged", "sharpened"] = "averaged",
        mask_on: Literal["before", "dominant", "components"] = "before",
        below: Literal["drop", "consistency"] = "drop",
        consistency_weight: NonNegative = 100.0,
        ensure_ratio: bool = False,
        skip_above_mean: bool = False,
        accuracy_on: Literal["clean", "mixed"] = "clean",
        guess_view: Literal["weak", "strong"] = "weak",
        learn_view: Literal["weak", "strong"] = "weak",
        guess_bn: Literal["update", "keep", "eval"] = "update",
        passes: Literal["interleaved", "joint", "separate", "labeled"] = "interleaved",
        state_decay: FractionBelowOne = 4e-5,
        **semi: Any,
    ) -> None:
        super().__init__(num_classes, network, passes="separate" if passes == "interleaved" else passes, **semi)
        if mixup_alpha > 0 and cutmix_alpha > 0:
            raise ValueError(f"mixup_alpha={mixup_alpha} and cutmix_alpha={cutmix_alpha}: choose one, set the other to 0")
        if mask_on == "components" and (criterion != "ce" or switch_epoch is not None):
            raise ValueError("mask_on='components' splits a cross-entropy; set criterion to ce and switch_epoch to null")
        if mask_on == "components" and mixed is not None:
            raise ValueError(f"mixed={mixed!r} needs the loss of all rows; set mask_on to before or dominant")
        if conf_source == "sharpened" and temperature == "hard":
            raise ValueError("temperature='hard' makes every sharpened guess certain; set conf_source to averaged")
        if below == "consistency" and num_views < 2:
            raise ValueError(f"below='consistency' compares two views; set num_views to at least 2, got {num_views}")
        self.num_views, self.temperature, self.mixup_alpha, self.cutmix_alpha = num_views, temperature, mixup_alpha, cutmix_alpha
        self.lambda_u, self.rampup_steps, self.criterion = lambda_u, rampup_steps, criterion
        self.switch_epoch, self.switch_lambda_u, self.mixed = switch_epoch, switch_lambda_u, mixed
        self.conf_source, self.mask_on, self.below = conf_source, mask_on, below
        self.consistency_weight, self.ensure_ratio = consistency_weight, ensure_ratio
        self.accuracy_on, self.guess_bn = accuracy_on, guess_bn
        self.interleaves, self.state_decay = passes == "interleaved", state_decay
        self.unlabeled_views = (guess_view,) * num_views + (learn_view,) * num_views * (learn_view != guess_view)
        self.ema_buffers = "average"
        self.recent = RecentValues(_RECENT) if skip_above_mean else None

    # ---- rows

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """Endless streams of labeled and unlabeled rows, with more unlabeled ones if steps fill up their batches."""
        plan = super().epoch_plan(epoch)
        if not self.ensure_ratio:
            return plan
        more = {
            name: replace(stream, batch_size=(stream.batch_size or 1) * (1 + _MORE)) if name == "unlabeled" else stream
            for phase in plan.phases
            for name, stream in phase.streams.items()
        }
        return EpochPlan(tuple(Phase(phase.name, more, phase.steps) for phase in plan.phases))

    def prepare_epoch(self, epoch: int) -> None:
        """Forget the remembered losses at the start of a new fit."""
        super().prepare_epoch(epoch)
        if epoch == 0 and self.recent is not None:
            self.recent.reset()

    # ---- a step

    def objective(self, batch: PlanBatch) -> Tensor:
        """Cross-entropy of labeled rows and the weighted loss of unlabeled ones, both mixed."""
        labeled = batch["labeled"]
        guess, weight, samples = self._guess(batch)
        learned, size = samples.views[-self.num_views :], len(labeled)
        batch = batch.with_streams({**batch.streams, "unlabeled": samples})
        soft = soft_target(self, labeled)
        known = one_hot(labeled.target, guess) if soft is None else soft.to(guess.dtype)
        target = torch.cat([known, *[guess] * self.num_views])
        weights = torch.cat([weight.new_ones(size), *[weight] * self.num_views])
        inputs, target, left = self._mix(join_inputs([labeled.views[0], *learned]), target, weights)
        logits, rotation = self._see_mixed(batch, inputs, [size, *[len(samples)] * self.num_views])
        if self.accuracy_on == "mixed":
            self.count_accuracy(batch, logits[:size])
        rows = soft_cross_entropy(logits[:size], target[:size], reduction="none")
        loss = self.labeled_loss(batch, rows) + rotation + self._unlabeled(batch, logits[size:], target[size:], left[size:])
        if self.below == "consistency":
            loss = loss + self._consistency(batch, learned, weight)
        return loss

    def _guess(self, batch: PlanBatch) -> tuple[Tensor, Tensor, Batch]:
        """The guesses (U, K) and weights (U,) of the rows to be learned, and the rows themselves."""
        samples, labeled, given = batch["unlabeled"], batch["labeled"], None
        sharpened = self.conf_source == "sharpened"
        with without_gradient():  # in train mode
            if self.accuracy_on == "clean" or self.policy.needs_labeled:
                given = self.checked(forward_aside(self.network, labeled.views[0]))
            mean = torch.stack([probabilities(self._predict(view)) for view in samples.views[: self.num_views]]).mean(0)
            seen = sharp_guess(mean, self.temperature) if sharpened else mean
            plain = self.temperature if isinstance(self.temperature, float | int) else 1.0
            labeled_logits = given / plain if given is not None and sharpened else given
            found = self.weigh(batch, seen, seen.clamp(min=torch.finfo(seen.dtype).tiny).log(), labeled_logits)
            if given is not None and self.accuracy_on == "clean":
                self.note_labeled(batch, given)
            as_it_is = sharpened or self.policy.soft_labels
            guess = found.probs if as_it_is else sharp_guess(found.probs, self.temperature)
            if not self.ensure_ratio:
                return guess, found.weight, samples
            passing = found.weight > 0
            taken = (~passing).to(torch.uint8).argsort(stable=True)[: max(len(samples) // (1 + _MORE), 1)]
            self.means.add("unlabeled/filled", self.mean(passing[taken].float()), batch.weight_of("unlabeled"))
            return guess[taken], found.weight[taken], samples.map(lambda values: values[taken])

    def _predict(self, inputs: Inputs) -> Tensor:
        if self.guess_bn == "keep":
            return self.checked(forward_aside(self.network, inputs))
        with in_mode(self.network, training=self.guess_bn == "update"):
            return self.checked(self.network(inputs))

    def _mix(self, inputs: Inputs, target: Tensor, weights: Tensor) -> tuple[Inputs, Tensor, Tensor]:
        """Mixed inputs and targets of all rows, and the weights of the mixed rows."""
        kept = weights > 0 if self.mask_on == "before" else torch.ones_like(weights, dtype=torch.bool)
        mask = weights if self.mask_on == "components" else None
        left = torch.ones_like(weights) if self.mask_on == "components" else weights
        if self.cutmix_alpha > 0:
            whole = {"inputs": inputs} if isinstance(inputs, Tensor) else inputs
            if len(whole) > 1:
                raise ValueError("CutMix pastes boxes of one image; these samples have several views, set cutmix_alpha to 0")
            ((name, images),) = whole.items()
            done = soft_cutmix(images, target, self.cutmix_alpha, mask=mask, order=partners_among(kept))
            return done.inputs if isinstance(inputs, Tensor) else {name: done.inputs}, done.target, left
        lam = mix_weight(self.mixup_alpha)
        lam = max(lam, 1 - lam)
        order = partners_among(kept)
        share = torch.full_like(weights, lam)
        return mix(inputs, order, lam), mix_targets(target, order, share, mask), left

    def _see_mixed(self, batch: PlanBatch, inputs: Inputs, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """The logits of all mixed rows, and the loss of the rotation head."""
        if not self.interleaves:
            parts, rotation = self.see(batch, *_split(inputs, sizes))
            return torch.cat(parts), rotation
        size, total = sizes[0], sum(sizes)
        chunks = [size] * (total // size)
        chunks[-1] += total % size
        parts, rotation = self.see(batch, *_split(interleave(inputs, size), chunks))
        logits = interleave(torch.cat(parts), size)
        assert isinstance(logits, Tensor)
        return logits, rotation

    def _unlabeled(self, batch: PlanBatch, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The weighted loss of mixed unlabeled rows."""
        switched = self.switch_epoch is not None and batch.epoch >= self.switch_epoch
        criterion: GuessLoss = "ce" if switched else self.criterion
        factor, ramp = self.switch_lambda_u if switched else self.lambda_u, self._ramp(batch)
        rows = guess_loss(logits, target, criterion)
        if self.mixed is None:
            loss, factor = self.weighted_mean(rows, weight), factor * ramp
        else:
            kept = torch.where(weight > 0, weight.to(rows.dtype) * rows, torch.zeros_like(rows))
            loss = mixed_loss(self.mean(kept), self.mean(rows), ramp, self.mixed)
        weighted = factor * loss
        if self.recent is not None:
            value = self.sum_over_ranks(weighted.detach()).float() / self.trainer.world_size
            if self.recent.full:
                weighted = torch.where(value <= self.recent.mean(), weighted, torch.zeros_like(weighted))
            self.recent.add(value)
        self.means.add("unlabeled/loss", loss, batch.weight_of("unlabeled"))
        self.means.add("unlabeled/weighted_loss", weighted, batch.weight_of("unlabeled"))
        return weighted

    def _consistency(self, batch: PlanBatch, views: tuple[Inputs, ...], weight: Tensor) -> Tensor:
        """The weighted distance between the predictions for two views of the rows that are left out."""
        first, second = self.checked(self.network(join_inputs(views[:2]))).chunk(2)
        apart = pi_consistency(first, second)
        loss = self.mean(torch.where(weight > 0, torch.zeros_like(apart), apart))
        self.means.add("unlabeled/consistency", loss, batch.weight_of("unlabeled"))
        return self.consistency_weight * self._ramp(batch) * loss

    def _ramp(self, batch: PlanBatch) -> float:
        return linear_rampup(batch.epoch * batch.steps + batch.step, self.rampup_steps)

    def follow(self, batch: PlanBatch) -> None:
        """After an update, move the averaged copy, then shrink the network."""
        super().follow(batch)
        shrink_state(self.network, self.state_decay)


def _split(inputs: Inputs, sizes: list[int]) -> list[Inputs]:
    """Parts of these sizes, one after the other."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [
        map_inputs(lambda rows, start=start, size=size: rows[start : start + size], inputs)  # type: ignore[misc]
        for start, size in zip(starts, sizes, strict=True)
    ]
