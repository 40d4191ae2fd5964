"""DivideMix."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import AtLeastOne, Count, FractionBelowOne, Limit, NonNegative, Positive
from noisylab.engine.modes import in_mode, without_gradient
from noisylab.engine.optimizers import one_each, optimizer_factory, scheduler_factory
from noisylab.engine.step import step
from noisylab.losses import cross_entropy, negative_entropy, prior_penalty, sharpen, soft_cross_entropy, squared_error
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.weighing import NetworkPolicies, of_network
from noisylab.models.network import NetFactory
from noisylab.selection.balanced import balanced_subset
from noisylab.selection.mixture import fit_mixture, normalize
from noisylab.selection.mixture_fit import MixtureFit
from noisylab.selection.thresholds import PolicyFactory
from noisylab.transforms.draws import key_from
from noisylab.transforms.mixing import mix, mix_weight
from noisylab.types import (
    Batch,
    EpochPlan,
    EvalBatch,
    LRSchedulerFactory,
    OptimizerFactory,
    Phase,
    PlanBatch,
    Stream,
    join_inputs,
)

__all__ = ["DivideMix"]

_PEER = {"first": "second", "second": "first"}
_FEWEST = 2  # rows a process that a part of the training set needs to be trained on: batch normalization cannot use one


class DivideMix(NoisyLabelMethod):
    """Splits the samples into labeled and unlabeled ones by their losses, and learns from both; each network uses its peer's
    split.

    Before each epoch, a mixture of two Gaussians is fitted to each network's losses on all samples, without augmentation; w
    is the probability that a sample's loss belongs to the component with the smaller mean. Samples with w > tau keep their label,
    the others become unlabeled. Then the first network trains for a whole pass on the second's split, and after that the second
    network on the first's, with an improved MixMatch: the labels of labeled samples are refined by the network's own predictions,
    and those of unlabeled samples are guessed by both networks.

    Objective of a pass, with M augmented views of B labeled samples x and of as many unlabeled ones u, and sharpening
    ``s_T(p) = p^(1/T) / sum p^(1/T)``: targets ``t_x = s_T(w onehot(y) + (1 - w) mean_m p_k(x_m))`` and
    ``t_u = s_T(mean_m of p_k(u_m) and p_peer(u_m))``; all views with their targets are mixed with partners drawn among all of
    them, lam = max(l, 1 - l), l from Beta(alpha, alpha); then
    ``L = mean_x CE(z, t) + lambda_u(e) mean_u |p - t|^2 / K + sum_c (1/K) log((1/K) / mean p_c)``, where lambda_u(e) rises
    linearly for `rampup_epochs` after the warm-up, batch by batch.

    The sum of both networks' logits is evaluated. B is the data module's batch size, 64 in the authors' code; the warm-up
    uses 2 B. ``clean_mask`` is the labeled set of the first network, ``clean_prob`` the mean of both networks' w.

    **Paper**: Li, Socher, Hoi, DivideMix: Learning with Noisy Labels as Semi-supervised Learning, ICLR 2020, arXiv 2002.07394.

    **Authors' code**: https://github.com/LiJunnan1992/DivideMix

    **Differences** from that code: the noise is not consulted (there, the true rate switches the averaging of losses on, and the
    noise kind the penalty; here `average_epochs` and `confidence_penalty` do); the mixture starts from the best split of the
    losses in two, so that runs repeat (there, from unseeded draws); unlabeled batches are always whole and reshuffled at each
    pass; a last labeled batch of fewer than min(16, B / 4) samples joins the one before it, so such a pass has one step less, and
    the ramp of lambda_u counts the actual batches (there, floor(n / B) + 1, one too many if B divides the labeled set); the peer
    guesses for all views in one forward pass, which makes no difference in eval mode.
    If a network's labeled set has fewer than two samples per process, its pass is a warm-up pass; if its unlabeled set does,
    labeled samples are mixed among themselves; both cases warn. If all losses are equal, all samples are labeled. A sample is
    observed online whenever the first network's pass shows it: an unlabeled one more than once or not at all. On Clothing1M the
    authors keep each network's best state on the clean validation set and evaluate the two together, although they may come from
    different epochs; here "best" is one epoch of both.

    **Compared**: steps with the same batches and draws give the authors' weights to 2e-8. The authors' loop, patched to run
    on a CPU, was run on digits with 40 % symmetric noise, `SmallCNN`, 60 epochs, three seeds, mean of the last ten epochs: 96.68
    ± 0.97; here 96.55 ± 0.87. How both were made: docs/authors_code.md.

    Args:
        num_classes: K.
        network: factory of both networks.
        warmup_epochs: W, epochs of cross-entropy: 10 on CIFAR-10, 30 on CIFAR-100, 1 on Clothing1M and WebVision.
        lambda_u: weight of the unlabeled samples, at least 0; depends on data and noise, see the recipes.
        rampup_epochs: epochs after the warm-up in which `lambda_u` rises from 0, positive.
        threshold: tau, fraction; 0.5, or 0.6 for 90 % noise, according to an author (issue 10; not in the code).
        temperature: T, positive.
        alpha: of the Beta distribution of mixup; 4, 0.5 on Clothing1M and WebVision.
        num_views: M, augmented views of every sample.
        average_epochs: the mixture is fitted to the mean of this many of the last losses; 5 for 90 % noise.
        confidence_penalty: whether the warm-up subtracts the entropy of predictions; for asymmetric noise and Clothing1M.
        learn: which part of the mixed batch is trained on: "all", or only "labeled" samples (Clothing1M, WebVision; needs
            ``lambda_u=0``; unlabeled samples then serve as partners).
        warmup_subset: samples that each network sees in a warm-up epoch, redrawn each time, with equal numbers of each given
            label; None for all (64,000 on Clothing1M).
        eval_subset: the same for later epochs, in which the losses of these samples are fitted and split (32,000 on Clothing1M).
        policy: factory of a threshold policy for each network, which weights the squared error of an unlabeled sample by the mean
            guess for it (for a mixed sample, that of the component with the larger share); None to treat all samples alike, as
            in the paper. See docs/thresholds.md.
        clip_norm: largest gradient norm of each network; None for no limit.
        optimizer: factory of both optimizers; SGD with rate 0.02, momentum 0.9 and weight decay 5e-4 if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> DivideMix(num_classes=3, network=partial(MLP, in_features=4), lambda_u=25).headline
        'ensemble'
    """

    mixes_by = ("alpha",)
    ensemble = "logits"

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        warmup_epochs: Count = 10,
        lambda_u: NonNegative = 25.0,
        rampup_epochs: AtLeastOne = 16,
        threshold: FractionBelowOne = 0.5,
        temperature: Positive = 0.5,
        alpha: Positive = 4.0,
        num_views: AtLeastOne = 2,
        average_epochs: AtLeastOne = 1,
        confidence_penalty: bool = False,
        learn: Literal["all", "labeled"] = "all",
        warmup_subset: int | None = None,
        eval_subset: int | None = None,
        policy: PolicyFactory | None = None,
        clip_norm: Limit = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        if learn == "labeled" and lambda_u > 0:
            raise ValueError(f"learn='labeled' leaves unlabeled samples out of the loss, so lambda_u must be 0, got {lambda_u}")
        if learn == "labeled" and policy is not None:
            raise ValueError(f"learn='labeled' leaves unlabeled samples out of the loss, so policy must be None, got {policy}")
        for name, size in (("warmup_subset", warmup_subset), ("eval_subset", eval_subset)):
            if size is not None and size < num_classes:
                raise ValueError(f"{name} must be at least one sample per class, {num_classes}, got {size}; or None for all")
        self.warmup_epochs, self.lambda_u, self.rampup_epochs = warmup_epochs, lambda_u, rampup_epochs
        self.threshold, self.temperature, self.alpha = threshold, temperature, alpha
        self.average_epochs, self.confidence_penalty = average_epochs, confidence_penalty
        self.labeled_only, self.warmup_subset, self.eval_subset = learn == "labeled", warmup_subset, eval_subset
        self.clip_norm = clip_norm
        self.train_views = ("weak",) * num_views
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.02, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, *_PEER)
        for name in _PEER:
            self.memory.add(f"losses_{name}", average_epochs, fill=-1.0)  # of the last epochs, in [0, 1]
            self.memory.add(f"clean_prob_{name}", fill=0.5)
            self.memory.add(f"split_epoch_{name}", dtype=torch.int32, fill=-1)
        self.policies = NetworkPolicies(policy, tuple(_PEER), num_classes, self.memory)

    @property
    def headline(self) -> str:
        """Both networks together."""
        return "ensemble"

    @property
    def needs_validation(self) -> bool:
        """Whether a policy uses the accuracy on held-out rows."""
        return self.policies.needs_validation

    def setup(self, stage: str) -> None:
        """Let the policies know the training rows, each of which may be unlabeled in some epoch."""
        super().setup(stage)
        if stage == "fit":
            self.policies.allocate(self.info.train_rows)

    # ---- co-divide

    def prepare_epoch(self, epoch: int) -> None:
        """Co-divide: compute the losses of both networks before either trains, fit their mixtures and store the posteriors."""
        self.policies.begin_epoch(epoch, self.epoch_metrics, self.last_accuracy("val"))
        if epoch < self.warmup_epochs:
            return
        rows = {name: self._subset(self.eval_subset, epoch, name) for name in _PEER}
        names_by_rows = [tuple(_PEER)] if self.eval_subset is None else [(name,) for name in _PEER]
        for names in names_by_rows:  # all rows are read once for both networks
            tables, visited = self.score(lambda batch, names=names: self._losses(batch, names), rows[names[0]])
            for name in names:
                history = self.memory[f"losses_{name}"]
                history[:, :-1] = history[:, 1:].clone()
                history[:, -1] = -1
                history[visited, -1] = normalize(tables[name][visited]).float()
                self.memory[f"split_epoch_{name}"][visited] = epoch
        for name, fit in self._fits(epoch).items():
            self.memory.write(f"clean_prob_{name}", fit.rows, fit.mixture.clean_prob(fit.values).clamp(0, 1))
        for name in _PEER:
            labeled, unlabeled = self._split(epoch, name)
            if len(labeled) < self._fewest:
                rank_zero_warn(
                    f"epoch {epoch}: only {len(labeled)} samples look correctly labeled to the peer of the {name} network, which "
                    f"trains on all given labels in this epoch; lower threshold={self.threshold} or change warmup_epochs"
                )
            elif len(unlabeled) < self._fewest:
                rank_zero_warn(
                    f"epoch {epoch}: all but {len(unlabeled)} samples look correctly labeled to the peer of the {name} network, "
                    "which mixes labeled samples among themselves in this epoch"
                )

    @property
    def _fewest(self) -> int:
        return _FEWEST * self.trainer.world_size

    def _subset(self, size: int | None, epoch: int, name: str) -> Tensor:
        """Training rows of an epoch; if `size` is given, that many, drawn with equal classes."""
        rows = self.info.train_rows
        if size is None:
            return rows
        generator = torch.Generator().manual_seed(key_from(self.info.seed, "subset", epoch, name))
        return balanced_subset(rows, self.info.given_target[rows], size, self.num_classes, generator).sort().values

    def _losses(self, batch: EvalBatch, names: tuple[str, ...]) -> dict[str, Tensor]:
        logits = {name: self.checked(self.networks[name](batch.inputs)) for name in names}
        return {name: cross_entropy(z, batch.target, reduction="none") for name, z in logits.items()}

    def _fits(self, epoch: int) -> dict[str, MixtureFit]:
        """The mixture of each network's losses, computed again from the memory, so that a resumed run has it, too."""
        fits = {}
        for name in _PEER:
            rows = (self.memory[f"split_epoch_{name}"] == epoch).nonzero().flatten()
            if len(rows):
                history = self.memory[f"losses_{name}"][rows]
                values = history.clamp(min=0).sum(1) / (history >= 0).sum(1)
                fits[name] = MixtureFit(rows, values, fit_mixture(values))
        return fits

    def _split(self, epoch: int, name: str) -> tuple[Tensor, Tensor]:
        """Labeled and unlabeled rows of a network: its peer's split."""
        prob = self.memory[f"clean_prob_{_PEER[name]}"]
        drawn = self.memory[f"split_epoch_{_PEER[name]}"] == epoch
        return tuple((drawn & part).nonzero().flatten().cpu() for part in (prob > self.threshold, prob <= self.threshold))  # type: ignore[return-value]

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """A whole pass of the first network, then one of the second."""
        return EpochPlan(tuple(Phase(name, self._streams(epoch, name)) for name in _PEER))

    def _streams(self, epoch: int, name: str) -> dict[str, Stream]:
        if epoch >= self.warmup_epochs:
            labeled, unlabeled = self._split(epoch, name)
            if len(labeled) >= self._fewest:
                streams = {"labeled": Stream(labeled, self.train_views)}
                if len(unlabeled) >= self._fewest:
                    streams["unlabeled"] = Stream(unlabeled, self.train_views, endless=True)
                return streams
        rows = None if self.warmup_subset is None else self._subset(self.warmup_subset, epoch, name)
        return {"train": Stream(rows, self.train_views[:1], batch_size=2 * self.info.batch_size)}

    # ---- training

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the network that trains in this phase."""
        name = batch.phase
        loss = self._warmup_loss(batch["train"], name) if "train" in batch.streams else self._mixmatch_loss(batch, name)
        step(self, {name: loss}, clip_norm=self.clip_norm)
        self.means.add(of_network("train/loss", name), loss, batch.weight_of(next(iter(batch.streams))))

    def _warmup_loss(self, samples: Batch, name: str) -> Tensor:
        logits = self.networks[name](samples.views[0])
        self._observe(name, samples, logits)
        losses = cross_entropy(logits, samples.target, reduction="none")
        return self.mean(losses + negative_entropy(logits, reduction="none") if self.confidence_penalty else losses)

    def _mixmatch_loss(self, batch: PlanBatch, name: str) -> Tensor:
        labeled, network = batch["labeled"], self.networks[name]
        inputs, targets, weight = list(labeled.views), [], None
        with without_gradient():  # in train mode: these passes count in the batch statistics
            if "unlabeled" in batch.streams:
                unlabeled = batch["unlabeled"]
                own, peers = [network(view) for view in unlabeled.views], self.networks[_PEER[name]]
                with in_mode(peers, training=False):
                    guesses = [*own, *peers(join_inputs(unlabeled.views)).split(len(unlabeled))]
                guess = _mean_probs(guesses)
                inputs += unlabeled.views
                self._observe(name, unlabeled, own[0])
            own = [network(view) for view in labeled.views]
            self._observe(name, labeled, own[0])
            mean = _mean_probs(own)
            clean = self.memory[f"clean_prob_{_PEER[name]}"][labeled.index, None].to(mean.dtype)
            refined = (mean * (1 - clean)).scatter_add(1, labeled.target[:, None], clean)
            targets = [sharpen(refined, self.temperature)] * len(labeled.views)
            if "unlabeled" in batch.streams:
                if name in self.policies:
                    guess, weight = self.policies.weigh(self, name, batch, guess, mean)
                soft = guess if self.policies.soft_labels(name) else sharpen(guess, self.temperature)
                targets += [soft] * len(unlabeled.views)
        target, whole = torch.cat(targets), join_inputs(inputs)
        lam = mix_weight(self.alpha)
        lam = max(lam, 1 - lam)
        size = len(labeled.views) * len(labeled)  # of the labeled part
        partners = torch.randperm(len(target), device=target.device)[: size if self.labeled_only else None]
        target = lam * target[: len(partners)] + (1 - lam) * target[partners]
        logits = network(mix(whole, partners, lam))
        loss = self.mean(soft_cross_entropy(logits[:size], target[:size], reduction="none"))
        if len(partners) > size:
            losses = squared_error(logits[size:], target[size:])
            if weight is not None:
                losses = losses * weight.repeat(len(losses) // len(weight))
            loss = loss + self._lambda_u(batch) * self.mean(losses)
        return loss + prior_penalty(self.mean_rows(F.softmax(logits.float(), 1)))

    def guessed(self, batch: PlanBatch) -> Tensor:
        """This rank's rows whose guesses in a step are remembered: those of the first network."""
        rows = batch["unlabeled"].index
        return rows if batch.phase == "first" else rows[:0]

    def _lambda_u(self, batch: PlanBatch) -> float:
        passed = batch.epoch + batch.step / batch.steps - self.warmup_epochs
        return self.lambda_u * min(max(passed / self.rampup_epochs, 0.0), 1.0)

    def _observe(self, name: str, samples: Batch, logits: Tensor) -> None:
        if name == "first":
            self.observe(samples.index, logits, samples.target)

    # ---- what is looked at

    def clean_mask(self) -> Tensor | None:
        """The labeled set of the first network in the current epoch; None in the warm-up."""
        if self.current_epoch < self.warmup_epochs:
            return None
        drawn = self.memory["split_epoch_second"] == self.current_epoch
        return drawn & (self.memory["clean_prob_second"] > self.threshold)

    def clean_prob(self) -> Tensor | None:
        """Mean of both networks' posteriors, the last known of each; 0.5 for samples that were never split."""
        if self.current_epoch < self.warmup_epochs:
            return None
        return (self.memory["clean_prob_first"] + self.memory["clean_prob_second"]) / 2

    def mixture_fit(self) -> dict[str, MixtureFit]:
        """The mixtures of both networks' losses on which the current epoch's split is based."""
        return self._fits(self.current_epoch)

    def configure_optimizers(self) -> Any:
        """One optimizer for each network, each with its schedule."""
        return one_each(self.networks, self.optimizer, self.scheduler)


def _mean_probs(logits: list[Tensor]) -> Tensor:
    """Mean over views and networks of the probabilities (B, K), in at least float32."""
    return torch.stack([F.softmax(z.to(torch.promote_types(z.dtype, torch.float32)), 1) for z in logits]).mean(0)
