"""The parent of every method."""

from __future__ import annotations

import copy
import inspect
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from noisylab.engine.finite import refuse_diverged
from noisylab.engine.fitted import check_unchanged
from noisylab.engine.label_signals import add_signals, declare_signals
from noisylab.engine.ranks import average_over_ranks, batch_statistics, gather
from noisylab.engine.resume import check_data_stamp, check_stamp, data_stamp, stamp
from noisylab.engine.scoring import score_rows
from noisylab.engine.step import NoProfiler, step_schedules, steps_bare
from noisylab.memory import SampleMemory
from noisylab.methods.predictor import Predictor
from noisylab.metrics.running import RunningMeans
from noisylab.models.network import Network
from noisylab.selection.fit import MixtureFit
from noisylab.specs import as_factory, constructor_arguments
from noisylab.transforms.draws import key_from
from noisylab.types import DataInfo, EpochPlan, Phase, PlanBatch, Stream

__all__ = ["NoisyLabelMethod"]


class NoisyLabelMethod(Predictor):
    """Networks, per-sample memory, keyed randomness, evaluation and checkpoints, as every method has them.

    A subclass calls ``save_hyperparameters()`` and `add_networks`, declares memory fields and writes ``training_step`` and
    ``configure_optimizers``; methods of manual optimisation step through `noisylab.engine.step.step`. See docs/methods.md.

    Args:
        num_classes: K, at least 2.

    Attributes:
        networks: by name; the first is the headline predictor unless `headline` says otherwise.
        memory: per-sample tables; ``observed_loss``, ``observed_pred`` and ``observed_epoch`` are there for every method.
        means: scalars to be averaged over the epoch and logged at its end.
        info: what the method may know of its data; set at the start of fit.
        epoch_metrics: what was logged in the current epoch.
        recordable: whether a training step does the same with every batch of an epoch and phase, but for tensors on the device:
            such a step can be a CUDA graph (`noisylab.engine.graphs`).
    """

    views: ClassVar[tuple[str, ...]] = ("weak",)
    recordable: ClassVar[bool] = False
    info: DataInfo

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.memory = SampleMemory()
        self.memory.add("observed_loss", fill=float("nan"))
        self.memory.add("observed_pred", dtype=torch.int32, fill=-1)
        self.memory.add("observed_epoch", dtype=torch.int32, fill=-1)
        declare_signals(self.memory, num_classes)
        self.means = RunningMeans()
        self.pending_gradients = self.steps_bare = self._stepped = False
        self._data_stamp: dict[str, Any] = {}
        self._trained_on: dict[str, Any] = {}
        self._fitted: dict[str, Any] = {}  # of the data of this fit
        self._fitted_then: dict[str, Any] = {}  # of those of the checkpoint

    def save_hyperparameters(self, *_: Any, **__: Any) -> None:
        """Keep the constructor's arguments, callables as ``class_path`` and ``init_args``, so that a checkpoint rebuilds them."""
        frame = inspect.currentframe()
        self._set_hparams(constructor_arguments(self, frame.f_back if frame else None))
        self._hparams_initial = copy.deepcopy(self._hparams)

    def add_networks(self, factory: Any, *names: str) -> None:
        """Build one new network for each name (see `noisylab.models.network.NetFactory`)."""
        for name in names:
            self.networks[name] = as_factory(factory, Network, "network")(self.num_classes)

    # ---- what a method may override

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """What epoch `epoch` trains on: all training rows once, unless a method says otherwise."""
        return EpochPlan((Phase(streams={"train": Stream(views=self.views)}),))

    def prepare_epoch(self, epoch: int) -> None:
        """Called before epoch `epoch` is planned: at the start of a new run for 0, else at the end of the epoch before.

        What it computes must go into the memory, where a checkpoint finds it.
        """

    def clean_mask(self) -> Tensor | None:
        """(N,) bool, the samples taken as clean in the current epoch; None while nothing is selected."""
        return None

    def clean_prob(self) -> Tensor | None:
        """(N,) float in [0, 1], larger for samples more surely clean; None where there is no such score."""
        return None

    def corrected_target(self) -> Tensor | None:
        """(N,) int64, the class that the current epoch takes each sample for, -1 where there is none; None while labels are the
        given ones."""
        return None

    def transition_matrix(self) -> Tensor | None:
        """(K, K) estimate of P(given = column | true = row); None where there is none."""
        return None

    def anchor_rows(self) -> Tensor | None:
        """(K,) rows of the original training set taken as sure samples of each class; None where there are none."""
        return None

    def mixture_fit(self) -> dict[str, MixtureFit]:
        """The mixtures that the current epoch's selection rests on, by network; empty where there are none."""
        return {}

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        """Names of the optimizers in the order of ``configure_optimizers``: one a network."""
        return tuple(self.networks)

    @property
    def resting(self) -> tuple[str, ...]:
        """Names of the optimizers that do not step in the current epoch; their schedules stand still."""
        return ()

    @property
    def needs_validation(self) -> bool:
        """Whether the method chooses by validation accuracy what it goes on with, and so needs held-out rows."""
        return False

    @property
    def needs_trusted(self) -> bool:
        """Whether the method learns from rows whose labels are known to be right."""
        return False

    def check_ready(self, held_out: bool, trusted: bool) -> None:
        """Refuse a fit that could not come to its end; called before data is read, and again by ``setup``.

        Args:
            held_out: whether the data holds rows out to validate on.
            trusted: whether it sets rows apart whose labels are known to be right.

        Raises:
            ValueError: for a method that needs validation or trusted rows and data without, saying what to set.
        """
        if self.needs_trusted and not trusted:
            raise ValueError(
                f"{type(self).__name__} learns from a few labels known to be right how far to trust the others, and the data "
                "sets none apart; set data.trusted_labels to a CSV file of rows and their checked labels or, where the true "
                "labels are known, data.trusted_per_class to 10"
            )
        if self.needs_validation and not held_out:
            raise ValueError(
                f"{type(self).__name__} goes on with the network of its best epoch on held-out rows, and the data holds none "
                "out; set data.val_fraction to 0.1, or model.hand_over to last"
            )

    def best_since(self, epoch: int) -> int:
        """The first epoch with which `epoch` competes for the best checkpoint: 0, or where its stage began."""
        return 0

    # ---- training

    def setup(self, stage: str) -> None:
        """Meet the data: compare the number of classes, allocate the memory."""
        super().setup(stage)
        info = getattr(getattr(self.trainer, "datamodule", None), "info", None)
        if not isinstance(info, DataInfo):
            raise TypeError(f"{type(self).__name__} needs a noisylab data module: trainer.{stage}(model, datamodule=...)")
        if info.num_classes != self.num_classes:
            raise ValueError(
                f"the data has {info.num_classes} classes, the method was built for {self.num_classes}; "
                "build it with num_classes=data.num_classes"
            )
        self.info, self._data_stamp = info, data_stamp(info)
        hooks = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.transfers_plainly = not any(is_overridden(hook, owner) for hook in hooks for owner in (self, data))
        if stage == "fit":
            self._fitted = data.fitted()
            self.check_ready(self.info.num_val > 0, len(self.info.trusted_rows) > 0)
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if str(getattr(callback, "monitor", "")).startswith("test/"):
                    raise ValueError(f"{type(callback).__name__} monitors {callback.monitor!r}: a leak; monitor 'val/acc'")
            self.memory.allocate(info.num_train)
            # every epoch has a plan of its own; without a reload Lightning cuts it to the length of the first
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Prepare the first epoch of a run that starts from the beginning; check that a resumed one has its data.

        Raises:
            ValueError: if the checkpoint remembers another number of samples than the data has, or other labels.
        """
        for config in self.trainer.lr_scheduler_configs:
            config.reduce_on_plateau = False  # see lr_scheduler_step
        if type(self.trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
            self.trainer.profiler = NoProfiler()  # type: ignore[attr-defined]
        self.steps_bare, self.pending_gradients = steps_bare(self), False
        self.zero_grad()  # of a fit that was broken off while it accumulated
        if self.trainer.ckpt_path is not None:
            if len(self.memory) != self.info.num_train:
                raise ValueError(
                    f"the checkpoint remembers {len(self.memory)} training samples, the data has {self.info.num_train}; "
                    "resume with the data that the run began with"
                )
            changed = check_data_stamp(self._trained_on, self._data_stamp)
            for note in check_unchanged(self._fitted_then, self._fitted) if self._fitted_then else ():
                rank_zero_warn(f"{note}; the run goes on with them as they are")
            if changed:
                rank_zero_warn(f"the run goes on with another {' and '.join(changed)}: it is not the one that was stopped")
        elif self.current_epoch == 0:  # not in a second call of fit by one trainer, which goes on
            self.memory.reset()
            self.prepare_epoch(0)

    def on_train_epoch_start(self) -> None:
        """Forget the numbers of the epoch before."""
        self.epoch_metrics.clear()

    def on_train_batch_start(self, batch: PlanBatch, batch_idx: int) -> None:
        """Key torch's random state by (seed, epoch, position, rank): dropout and mixup need nothing saved."""
        key = key_from(self.info.seed, "step", batch.epoch, batch.position, self.global_rank)
        torch.default_generator.manual_seed(key)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key)
        self._stepped = True
        if self.trainer.world_size > 1:
            rows = torch.cat([F.pad(batch[n].index, (0, batch.share[n] - len(batch[n].index)), value=-1) for n in batch.streams])
            self.memory.watch(rows, sum(batch.share.values()))

    def observe(self, index: Tensor, logits: Tensor, target: Tensor, peer_logits: Tensor | None = None) -> Tensor:
        """Remember how unmixed inputs were predicted, for this epoch and summed over all; to be called once a sample and epoch.

        Args:
            index: (B,) rows.
            logits: (B, K) of the headline predictor, or of the first of its networks.
            target: (B,) given labels.
            peer_logits: (B, K) of a second network on the same inputs, where there is one.

        Returns:
            (B,) float32 cross-entropy to the given labels, detached.
        """
        with torch.no_grad():
            wide = self.checked(logits).float()
            losses = F.cross_entropy(wide, target, reduction="none")
            add_signals(self.memory, index, wide, target, losses, peer_logits)
            self.memory.write("observed_loss", index, losses)
            self.memory.write("observed_pred", index, logits.argmax(1))
            self.memory["observed_epoch"].index_fill_(0, index, self.current_epoch)
        return losses

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean of `values` (B,) over the samples in `mask` (B,), 0 where it is empty.

        Under several ranks, whose gradients are averaged, each divides its own sum by a rank's share of the count: the averaged
        gradient is then that of the whole batch.
        """
        if mask is None and self.trainer.world_size == 1:
            return values.mean() if len(values) else values.sum()
        mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        share = self.sum_over_ranks(mask.sum()).to(values.dtype) / self.trainer.world_size
        # not values * mask: an infinite value outside the mask would become NaN
        return torch.where(mask, values, torch.zeros_like(values)).sum() / share.clamp(min=1 / self.trainer.world_size)

    def mean_rows(self, values: Tensor) -> Tensor:
        """Mean (K,) over the samples of `values` (B, K), of all ranks.

        A function of it has, once the ranks' gradients are averaged, the gradient that one process would find.
        """
        if self.trainer.world_size == 1:
            return values.mean(0)
        size = self.sum_over_ranks(torch.full((), len(values), device=values.device))
        return self.whole_sum(values.sum(0) / size)

    def whole_sum(self, own: Tensor) -> Tensor:
        """The sum over all ranks of something that each has computed from its part of the batch; see `mean_rows`."""
        if self.trainer.world_size == 1:
            return own
        # the value of the whole batch; of its gradient every rank has its own part, which the averaging divides
        return self.sum_over_ranks(own.detach()) + self.trainer.world_size * (own - own.detach())

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        return values if self.trainer.world_size == 1 else self.gather(values).sum(0)

    def gather(self, values: Tensor) -> Tensor:
        """The stack (ranks, ...) of all ranks' tensors, which must be of one shape; detached."""
        return gather(values, self.trainer.world_size)

    def whole_batch(self, values: Tensor, share: int, fill: float) -> Tensor:
        """Values (B,) of this rank's part of a stream's batch, with those of all other ranks, in the order of the batch.

        Args:
            values: (B,) of this rank.
            share: rows of the largest rank share, ``batch.share[stream]``.
            fill: stands where a rank's share is shorter; such places come last.

        Returns:
            (B_all,) detached; with one process the values themselves.
        """
        if self.trainer.world_size == 1:
            return values.detach()
        padded = F.pad(values.detach(), (0, share - len(values)), value=fill)
        return self.gather(padded).T.flatten()

    def own_share(self, whole: Tensor, count: int) -> Tensor:
        """This rank's `count` entries of what `whole_batch` returned, or of something computed from it in the same order."""
        return whole[self.global_rank :: self.trainer.world_size][:count]

    def score(self, measure: Any, rows: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The scoring pass over training rows; see `noisylab.engine.scoring.score_rows`."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = self.info.train_rows if rows is None else rows
        scored = score_rows(
            self.networks,
            data,
            measure,
            rows=rows,
            device=self.device,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            all_gather=self.gather,
            forward_context=self.trainer.precision_plugin.forward_context,
        )
        self.refuse_bad_inputs("train")
        return scored

    def wrapped_optimizers(self) -> dict[str, LightningOptimizer]:
        """Lightning's optimizers by name."""
        found = self.optimizers()
        return dict(zip(self.optimizer_names, found if isinstance(found, list) else [found], strict=True))

    def on_train_batch_end(self, outputs: Any, batch: PlanBatch, batch_idx: int) -> None:
        """Make the ranks equal again."""
        self._share()

    def _share(self) -> None:
        """Bring in the memory rows that other ranks wrote, average the batch statistics; once a step."""
        self.memory.share(self.gather)
        if self._stepped and self.trainer.world_size > 1:
            average_over_ranks(batch_statistics(self), self.trainer.world_size)
        self._stepped = False

    def refuse_nonfinite(self) -> None:
        """Stop before a bad input or a diverged network is learnt from, or kept in a checkpoint; waits for the device.

        Raises:
            ValueError: naming the first training sample whose input is NaN or infinite, else what of the method's state is.
        """
        self.refuse_bad_inputs("train")
        # a field that starts as NaN may hold it in rows that were never written
        fields = [name for name, (_, dtype, fill) in self.memory.fields().items() if dtype.is_floating_point and fill == fill]
        tables = {name: self.memory[name] for name in fields if name in self.memory}
        refuse_diverged(dict(self.networks.items()), tables, self.current_epoch, str(self.trainer.precision))

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, step the schedules, prepare the next epoch.

        Raises:
            ValueError: if an input or a weight was NaN or infinite.
        """
        self.refuse_nonfinite()
        optimizers = {name: opt for name, opt in self.wrapped_optimizers().items() if name not in self.resting}
        rates = {f"lr/{name}": opt.param_groups[0]["lr"] for name, opt in optimizers.items()}
        self.log_epoch({**self.means.compute(self.sum_over_ranks), **rates})
        self.means.reset()
        step_schedules(self, self.epoch_metrics)
        self.prepare_epoch(self.current_epoch + 1)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule that counts batches; Lightning would step others before the epoch's end or after its checkpoint."""
        if any(c.scheduler is scheduler and c.interval == "step" for c in self.trainer.lr_scheduler_configs):
            super().lr_scheduler_step(scheduler, metric)

    # ---- checkpoints

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """The method that a checkpoint holds, its networks and memory included; only tensors and plain values are unpickled.

        Args:
            checkpoint_path: the file.
            *args: see Lightning's ``LightningModule.load_from_checkpoint``.
            **kwargs: the same; ``weights_only`` is always true.
        """
        return super().load_from_checkpoint(checkpoint_path, *args, **{**kwargs, "weights_only": True})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add whose checkpoint it is and the epoch's numbers so far."""
        # callbacks save before on_train_batch_end; the tables in the checkpoint are written in place
        if isinstance(getattr(self, "info", None), DataInfo) and self.trainer.datamodule is not None:  # type: ignore[attr-defined]
            self._share()
            self.refuse_nonfinite()
        names = self.info.class_names if hasattr(self, "info") else ()
        checkpoint["noisylab"] = stamp(type(self).__name__, self.num_classes, names, self._data_stamp, self._fitted)
        checkpoint["noisylab_means"] = self.means.state(self.sum_over_ranks)
        checkpoint["noisylab_metrics"] = dict(self.epoch_metrics)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another method's checkpoint, or one for another number of classes, with a ValueError."""
        check_stamp(checkpoint, type(self).__name__, self.num_classes)
        self._trained_on = dict(checkpoint["noisylab"].get("data", {}))
        self._fitted_then = dict(checkpoint["noisylab"].get("fitted", {}))
        self.means.load(checkpoint["noisylab_means"], mine=self._trainer is None or self.global_rank == 0)
        self.epoch_metrics = dict(checkpoint["noisylab_metrics"])
