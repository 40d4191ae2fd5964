"""Diagnostics of every epoch, for every method: accuracy, memorization and selection on clean and noisy samples."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.data.base import NoisyDataModule
from noisylab.data.splits import stratified_subset
from noisylab.issues.ranking import rank_labels
from noisylab.issues.truth import issue_metrics
from noisylab.methods.base import NoisyLabelMethod
from noisylab.metrics import (
    MixtureRecord,
    TransitionRecord,
    corrected_metrics,
    label_groups,
    loss_histogram,
    memorization,
    mixture_metrics,
    mixture_record,
    pack_mixtures,
    pseudo_label_sums,
    selection_metrics,
    transition_metrics,
    transition_record,
    unpack_mixtures,
)
from noisylab.types import EvalBatch, PlanBatch

__all__ = ["Diagnostics"]

_PSEUDO = {"unlabeled_pred", "unlabeled_weight", "unlabeled_epoch"}  # what the memory of a method has that gives pseudo-labels


@runtime_checkable
class _Guessing(Protocol):
    """A method that remembers the guesses for some of the unlabeled rows of a step alone."""

    def guessed(self, batch: PlanBatch) -> Tensor:
        """This rank's rows whose guesses in a step are remembered."""
        ...


class Diagnostics(L.Callback):
    """Logs memorization, selection quality and the error of an estimated transition matrix.

    The only place where true labels meet a method, and only to be reported: ``memorization/*`` from a scoring pass in eval mode,
    ``memorization_online/*`` from what the training steps saw, ``issues/*`` of the list of labels that look wrong, and
    ``select/*``, ``labels/*``, ``mixture/*`` and ``transition/*`` where the method exposes them. Of the pseudo-labels that a
    method gives to rows without a label, ``unlabeled/used_right`` is the share of the used weight that is on right ones, and
    ``unlabeled/acc`` the share of right ones among all, used or not: means over the steps, as ``train/loss`` is, and like that
    also logged every n steps. Samples of unknown truth are left out; without any known truth only the components of a mixture
    and what an estimated matrix shows by itself are logged.

    Args:
        every_n_epochs: how often the scoring pass runs; the last epoch always has one.
        max_rows: score a seeded subset of at most this many rows, stratified by right and wrong; None scores all.
        seed: names the subset.

    Attributes:
        histogram: of the losses in the last scoring pass; see `noisylab.metrics.loss_histogram`.
        mixtures: by network, in the order of the epochs, the mixtures that the method's selection rested on.
        transition: the transition matrix of the last epoch that had one, beside the true one where that is known; else None.
    """

    def __init__(self, every_n_epochs: int = 1, max_rows: int | None = None, seed: int = 0) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.every_n_epochs, self.max_rows, self.seed = every_n_epochs, max_rows, seed
        self.histogram: dict[str, list[float]] = {}
        self.mixtures: dict[str, list[MixtureRecord]] = {}
        self.transition: TransitionRecord | None = None
        self._peak: tuple[float, int] = (-math.inf, -1)
        self._clean: Tensor | None = None  # on the device, where some true label is known
        self._due: Tensor | None = None  # rows of this step whose pseudo-labels are not yet judged

    def state_dict(self) -> dict[str, Any]:
        """The best accuracy so far and its epoch, the last histogram, the mixtures of all epochs, the last transition matrix."""
        mixtures = {network: pack_mixtures(records) for network, records in self.mixtures.items()}
        return {"peak": list(self._peak), "histogram": self.histogram, "mixtures": mixtures, "transition": self.transition}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        value, epoch = state["peak"]
        self._peak = float(value), int(epoch)
        self.histogram = dict(state.get("histogram", {}))
        self.mixtures = {network: unpack_mixtures(packed) for network, packed in state.get("mixtures", {}).items()}
        self.transition = state.get("transition")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Have the truth at hand where pseudo-labels are to be judged."""
        self._clean = None
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, NoisyDataModule) and isinstance(pl_module, NoisyLabelMethod) and set(pl_module.memory) >= _PSEUDO:
            clean = data.clean_target
            if bool((clean >= 0).any()):
                self._clean = clean.to(pl_module.device)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the rows that get pseudo-labels in this step."""
        self._due = None
        if self._clean is not None and isinstance(batch, PlanBatch) and "unlabeled" in batch.streams:
            self._due = pl_module.guessed(batch) if isinstance(pl_module, _Guessing) else batch["unlabeled"].index

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge them; nothing waits for the device."""
        self._judge(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Judge them now if another callback saves after the step, before this one is called."""
        done: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        if done.processed > done.completed:
            self._judge(trainer, pl_module)

    def _judge(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        rows, self._due = self._due, None
        if rows is None or self._clean is None:
            return
        assert isinstance(method, NoisyLabelMethod)
        seen = method.memory["unlabeled_epoch"][rows] == trainer.current_epoch
        pred, weight = (method.memory[f"unlabeled_{name}"][rows] for name in ("pred", "weight"))
        for name, (mean, over) in pseudo_label_sums(pred, weight, self._clean[rows], seen).items():
            method.means.add(f"unlabeled/{name}", mean, over)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute and log everything that is due."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, NoisyDataModule) or not isinstance(pl_module, NoisyLabelMethod):
            return
        pl_module.refuse_nonfinite()  # figures of a network that has diverged say nothing
        epoch, device = trainer.current_epoch, pl_module.device
        given, clean = data.given_target.to(device), data.judged_target.to(device)
        rows = torch.zeros_like(given, dtype=torch.bool)
        rows[data.info.train_rows.to(device)] = True
        right, wrong, outside = (mask & rows for mask in label_groups(given, clean, data.num_classes))
        found: dict[str, float] = {}
        if bool((right | wrong | outside).any()):
            found |= self._online(pl_module, rows & (clean >= 0), given, clean, epoch)
            mask, score = pl_module.clean_mask(), pl_module.clean_prob()
            known = right | wrong | outside
            if mask is not None or score is not None:
                kept = {"mask": None if mask is None else mask[known], "score": None if score is None else score[known]}
                found |= {f"select/{name}": value for name, value in selection_metrics(right[known], **kept).items()}
            corrected = pl_module.corrected_target()
            if corrected is not None:
                figures = corrected_metrics(corrected[known], given[known], clean[known], data.num_classes)
                found |= {f"labels/{name}": value for name, value in figures.items()}
            if (epoch + 1) % self.every_n_epochs == 0 or epoch + 1 == trainer.max_epochs:
                found |= self._score(pl_module, right, wrong, outside, given, clean)
            found |= self._peak_and_drop(pl_module, data, epoch)
            table = rank_labels(pl_module, data)
            listed = None if table is None else issue_metrics(table, data.judged_target)
            found |= {f"issues/{name}": value for name, value in (listed or {}).items()}
        found |= self._mixtures(pl_module, right, wrong | outside, epoch)
        found |= self._transition(pl_module, data, clean, epoch)
        pl_module.log_epoch(found)

    def _online(self, method: NoisyLabelMethod, rows: Tensor, given: Tensor, clean: Tensor, epoch: int) -> dict[str, float]:
        seen = rows & (method.memory["observed_epoch"] == epoch)
        if not bool(seen.any()):
            return {}
        values = memorization(
            pred=method.memory["observed_pred"][seen].long(),
            loss=method.memory["observed_loss"][seen],
            given=given[seen],
            clean=clean[seen],
            num_classes=method.num_classes,
        )
        return {f"memorization_online/{name}": value for name, value in values.items()}

    def _score(
        self, method: NoisyLabelMethod, right: Tensor, wrong: Tensor, outside: Tensor, given: Tensor, clean: Tensor
    ) -> dict[str, float]:
        rows = (right | wrong | outside).nonzero().flatten().cpu()
        if self.max_rows is not None and len(rows) > self.max_rows:
            rows = stratified_subset(rows, right.cpu()[rows].long(), self.max_rows, self.seed)

        def measure(batch: EvalBatch) -> dict[str, Tensor]:
            probs = F.softmax(method.checked(method(batch.inputs)).float(), 1)
            top, pred = probs.max(1)
            loss = -probs.gather(1, batch.target[:, None]).squeeze(1).clamp(min=1e-8).log()
            return {"pred": pred, "top_prob": top, "loss": loss, "entropy": torch.special.entr(probs).sum(1)}

        tables, mask = method.score(measure, rows)
        entropy = float(tables.pop("entropy")[mask].mean())
        values = {name: table[mask] for name, table in tables.items()}
        figures = memorization(**values, given=given[mask], clean=clean[mask], num_classes=method.num_classes)
        self.histogram = loss_histogram(values["loss"], right[mask], wrong[mask])
        return {f"memorization/{name}": value for name, value in {**figures, "entropy": entropy}.items()}

    def _mixtures(self, method: NoisyLabelMethod, right: Tensor, wrong: Tensor, epoch: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for network, fit in method.mixture_fit().items():
            rows = fit.rows.to(right.device)
            groups = right[rows], wrong[rows]
            before = [record for record in self.mixtures.get(network, []) if record["epoch"] < epoch]  # in a new fit none
            self.mixtures[network] = [*before, mixture_record(epoch, fit, *groups)]
            found |= {f"mixture/{network}_{name}": value for name, value in mixture_metrics(fit, *groups).items()}
        return found

    def _transition(self, method: NoisyLabelMethod, data: NoisyDataModule, clean: Tensor, epoch: int) -> dict[str, float]:
        if self.transition is not None and self.transition["epoch"] >= epoch:
            self.transition = None  # of an earlier fit
        estimate, anchors = method.transition_matrix(), method.anchor_rows()
        if estimate is None:
            return {}
        truth = None if data.noisy is None else data.noisy.transition_matrix
        figures = transition_metrics(estimate, truth)
        if anchors is not None:
            true = clean[anchors.to(clean.device)]
            known = true >= 0
            if bool(known.any()):
                right = true == torch.arange(len(true), device=true.device)
                figures["anchor_right"] = float(right[known].double().mean())
        self.transition = transition_record(epoch, estimate, truth, figures)
        return {f"transition/{name}": value for name, value in figures.items()}

    def _peak_and_drop(self, method: NoisyLabelMethod, data: NoisyDataModule, epoch: int) -> dict[str, float]:
        # clean labels only: those of the test set, else of held-out rows; given ones would reward memorizing
        now = method.epoch_metrics.get("test/acc")
        if now is None and data.val_labels == "clean":
            now = method.epoch_metrics.get("val/acc")
        if now is None:
            return {}
        if now > self._peak[0]:
            self._peak = (now, epoch)
        return {"memorization/peak_epoch": float(self._peak[1]), "memorization/drop": self._peak[0] - now}
