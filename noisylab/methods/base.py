"""The parent of every method: what a method may override, and how it is trained.

The rest is elsewhere: prediction and evaluation in
`noisylab.methods.evaluation`, what its checkpoint holds in `noisylab.methods.checkpointed`, its optimizers by name in
`noisylab.engine.optimizers`, and what several processes sum up, `self.mean` among it, in `noisylab.engine.ranks`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from noisylab.engine.optimizers import NamedOptimizers
from noisylab.engine.step import begin_stepping, step_schedules
from noisylab.memory import add_observations, declare_observations
from noisylab.methods.checkpointed import Checkpointed
from noisylab.methods.readiness import met_data, refuse_missing_rows, refuse_test_monitors
from noisylab.models.network import Network
from noisylab.selection.mixture_fit import MixtureFit
from noisylab.specs import as_factory
from noisylab.transforms.draws import key_from
from noisylab.types import EpochPlan, Phase, PlanBatch, Stream

__all__ = ["NoisyLabelMethod"]


class NoisyLabelMethod(NamedOptimizers, Checkpointed):
    """Networks, per-sample memory, keyed randomness, evaluation and checkpoints, as every method has them.

    A subclass calls ``save_hyperparameters()`` and `add_networks`, declares memory fields and writes ``training_step`` and
    ``configure_optimizers``; methods of manual optimization step through `noisylab.engine.step.step`. See docs/methods.md.

    Args:
        num_classes: K, at least 2.

    Attributes:
        networks: by name; the first is the headline predictor unless `headline` says otherwise.
        memory: per-sample tables; every method has ``observed_loss``, ``observed_pred`` and ``observed_epoch``.
        means: scalars to be averaged over the epoch and logged at its end.
        info: what the method may know about its data; set at the start of fit.
        epoch_metrics: what was logged in the current epoch.
        recordable: whether a training step does the same for every batch of an epoch and phase, except for tensors on the device;
            such a step can be a CUDA graph (`noisylab.engine.graphs`).
        uses_unlabeled: whether the method learns from rows without a label, ``info.unlabeled_rows``; others leave them out.
        uses_soft: whether the method learns from soft labels, ``info.soft_target``; others take the largest class of each.
        needs_embedding: whether networks must end in a linear layer, since the method adds its own heads next to it.
        needs_images: whether inputs must be square images (B, C, S, S).
        trains_encoder: whether more of a network is trained than its head.
    """

    views: ClassVar[tuple[str, ...]] = ("weak",)
    recordable: ClassVar[bool] = False
    uses_unlabeled: ClassVar[bool] = False
    uses_soft: ClassVar[bool] = False
    needs_embedding: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    trains_encoder: ClassVar[bool] = True

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        declare_observations(self.memory, num_classes)

    def add_networks(self, factory: Any, *names: str) -> None:
        """Build one new network for each name (see `noisylab.models.network.NetFactory`)."""
        for name in names:
            self.networks[name] = as_factory(factory, Network, "network")(self.num_classes)

    # ---- what a method may override

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """The rows that epoch `epoch` trains on: all training rows once, unless a method overrides this."""
        return EpochPlan((Phase(streams={"train": Stream(views=self.views)}),))

    def prepare_epoch(self, epoch: int) -> None:
        """Called before epoch `epoch` is planned: at the start of a new run for 0, else at the end of the epoch before.

        What it computes must go into the memory, where a checkpoint finds it.
        """

    def clean_mask(self) -> Tensor | None:
        """(N,) bool, the samples taken as clean in the current epoch; None while nothing is selected."""
        return None

    def clean_prob(self) -> Tensor | None:
        """(N,) float in [0, 1], larger for samples more likely to be clean; None if there is no such score."""
        return None

    def corrected_target(self) -> Tensor | None:
        """(N,) int64, the label of each sample in the current epoch, -1 where there is none; None for the given labels."""
        return None

    def transition_matrix(self) -> Tensor | None:
        """(K, K) estimate of P(given = column | true = row); None where there is none."""
        return None

    def anchor_rows(self) -> Tensor | None:
        """(K,) rows of the original training set taken as certain samples of each class; None if there are none."""
        return None

    def mixture_fit(self) -> dict[str, MixtureFit]:
        """The mixtures on which the current epoch's selection is based, by network; empty if there are none."""
        return {}

    @property
    def needs_validation(self) -> bool:
        """Whether the method selects networks by validation accuracy, and so needs held-out rows."""
        return False

    @property
    def needs_trusted(self) -> bool:
        """Whether the method learns from rows whose labels are known to be right."""
        return False

    def check_ready(self, held_out: bool, trusted: bool) -> None:
        """Refuse a fit that cannot finish; called before data is read, and again by ``setup``.

        Args:
            held_out: whether the data holds out rows for validation.
            trusted: whether the data sets aside rows whose labels are known to be right.

        Raises:
            ValueError: if the method needs validation or trusted rows and the data has none; the message says what to set.
        """
        lacks_trusted, lacks_validation = self.needs_trusted and not trusted, self.needs_validation and not held_out
        refuse_missing_rows(type(self).__name__, trusted=lacks_trusted, validation=lacks_validation)

    def best_since(self, epoch: int) -> int:
        """The first epoch against which `epoch` competes for the best checkpoint: 0, or the start of its stage."""
        return 0

    # ---- a fit

    def setup(self, stage: str) -> None:
        """Check the number of classes against the data, and allocate the memory."""
        super().setup(stage)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        info = met_data(self, stage)
        self.note_data(info, data.fitted() if stage == "fit" else None)
        if stage == "fit":
            self.check_ready(info.num_val > 0, len(info.trusted_rows) > 0)
            refuse_test_monitors(self.trainer)
            self.memory.allocate(info.num_train, info.memory_limit, self.trainer.default_root_dir)
            # every epoch has a plan of its own; without a reload Lightning cuts it to the length of the first
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Prepare the first epoch of a run that starts from the beginning; check that a resumed one has its data."""
        begin_stepping(self)
        if self.trainer.ckpt_path is not None:
            self.check_data()
        elif self.current_epoch == 0:  # not in a second call of fit by one trainer, which goes on
            self.memory.reset()
            self.prepare_epoch(0)

    def on_train_epoch_start(self) -> None:
        """Clear the numbers of the previous epoch."""
        self.epoch_metrics.clear()

    def on_train_batch_start(self, batch: PlanBatch, batch_idx: int) -> None:
        """Key torch's random state by (seed, epoch, position, rank): dropout and mixup need nothing saved."""
        key = key_from(self.info.seed, "step", batch.epoch, batch.position, self.global_rank)
        torch.default_generator.manual_seed(key)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key)
        self.watch_rows(batch)

    def observe(self, index: Tensor, logits: Tensor, target: Tensor, peer_logits: Tensor | None = None) -> Tensor:
        """Record the predictions of unmixed inputs, for this epoch and summed over all; call it once per sample and epoch.

        Args:
            index: (B,) rows.
            logits: (B, K) of the headline predictor, or of the first of its networks.
            target: (B,) given labels.
            peer_logits: (B, K) of a second network on the same inputs, if there is one.

        Returns:
            (B,) float32 cross-entropy to the given labels, detached.
        """
        return add_observations(self.memory, self.current_epoch, index, self.checked(logits), target, peer_logits)

    def on_train_batch_end(self, outputs: Any, batch: PlanBatch, batch_idx: int) -> None:
        """Synchronize the ranks."""
        self.equalize_ranks()

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
