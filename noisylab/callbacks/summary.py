"""Callback that writes the summary of a run to one JSON file."""

from __future__ import annotations

import json
import math
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from noisylab.callbacks.checkpoint import RunCheckpoint
from noisylab.callbacks.curves import Curves
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.callbacks.label_wave import LabelWave
from noisylab.callbacks.pause import Pause
from noisylab.callbacks.surroundings import code_digests, machine_facts, versions
from noisylab.crowd import write_crowd
from noisylab.data.base import NoisyDataModule
from noisylab.data.digests import tensor_digest
from noisylab.data.drawing import without
from noisylab.data.softlabels import not_used
from noisylab.files import atomic_path
from noisylab.methods.base import NoisyLabelMethod
from noisylab.metrics import balanced_accuracy
from noisylab.noise import NoisyTargets, digest, save_noise

__all__ = ["RunSummary"]

_GOES_ON = EarlyStoppingReason.NOT_STOPPED
_LAST = 10
_CLASSES = 100  # of a matrix in the summary
_DIAGNOSTICS = ("memorization", "memorization_online", "issues", "select", "labels", "unlabeled", "mixture", "transition")


class RunSummary(Checkpoint):
    """Writes ``noise.npz``, the labels of a run with noise or few labels, at its start; at its end ``summary.json`` and, where
    there is an estimate, ``transition.csv``.

    Args:
        folder: the run folder.
        recipe: name of the recipe, for the summary.

    Attributes:
        written: whether training came to its end and the summary was written, here or by the first rank.
        resumes: how often the run was continued from a checkpoint.
    """

    def __init__(self, folder: str | Path, recipe: str = "") -> None:
        self.folder, self.recipe = Path(folder), recipe
        self.seconds = 0.0
        self.images = 0
        self.resumes = 0
        self._started = 0.0
        self._code: dict[str, str] = {}
        self.written = False

    @property
    def state_key(self) -> str:
        """The same key for every folder, because the folder of a resumed run may have moved."""
        return "RunSummary"

    def state_dict(self) -> dict[str, Any]:
        """Time, images and resumes so far."""
        return {"seconds": self._elapsed(), "images": self.images, "resumes": self.resumes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counters."""
        self.seconds, self.images = float(state["seconds"]), int(state["images"])
        self.resumes = int(state.get("resumes", 0)) + 1

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._started if self._started else 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the noise, take the digests of the code as it was read, start the clock."""
        self._started = time.monotonic()
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._code = _code(trainer, pl_module)
        if isinstance(data, NoisyDataModule) and trainer.is_global_zero:
            _save_labels(self.folder / "noise.npz", data)
            if data.noisy is not None and data.noisy.crowd is not None:
                write_crowd(self.folder, data.noisy.crowd)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images."""
        self.images += len(batch) * trainer.world_size

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the summary."""
        if isinstance(pl_module, NoisyLabelMethod):
            self.write(trainer, pl_module)

    def write(self, trainer: L.Trainer, method: NoisyLabelMethod) -> None:
        """Write the summary of a run whose curves are complete and whose last evaluation is available."""
        if trainer.is_global_zero:
            summary = self.summary(trainer, method)
            if summary["transition"] is not None:
                with atomic_path(self.folder / "transition.csv") as partial:
                    np.savetxt(partial, summary["transition"]["estimate"], delimiter=",", fmt="%.17g")
            with atomic_path(self.folder / "summary.json") as partial:  # last: it says that the run is finished
                partial.write_text(_text(_finite(summary)) + "\n", encoding="utf-8")
        self.written = True

    def summary(self, trainer: L.Trainer, method: NoisyLabelMethod) -> dict[str, Any]:
        """The content of ``summary.json``; NaN where a figure is undefined."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, NoisyDataModule)
        curves = next(c for c in trainer.callbacks if isinstance(c, Curves))  # type: ignore[attr-defined]
        saved = next((c for c in trainer.callbacks if isinstance(c, RunCheckpoint)), None)  # type: ignore[attr-defined]
        best, monitor = (None, "val/acc") if saved is None else (saved.best, saved.monitor)
        names = method.predictors if len(method.predictors) > 1 else ()
        since = method.best_since(max(trainer.current_epoch - 1, 0))
        epochs = _BestEpochs(
            None if best is None else best[1],
            _first_best([(epoch, -value) for epoch, value in curves.series("val/acc") if epoch >= since]),
            _first_best([(epoch, value) for epoch, value in curves.series("val/loss") if epoch >= since]),
        )
        test = {
            "headline": _predictor(curves.series("test/acc"), epochs, method, method.headline),
            **{name: _predictor(curves.series(f"test/acc_{name}"), epochs, method, name) for name in names},
        }
        val = _predictor(curves.series("val/acc"), epochs, method, method.headline, "val")
        others = {
            split: _predictor(curves.series(f"{split}/acc"), epochs, method, method.headline, split)
            for split in data.source.other_tests
        }
        for split, found in (("test", test["headline"]), ("val", val), *others.items()):
            if top := curves.series(f"{split}/top5"):
                found["top5"] = top[-1][1]
            if clips := curves.series(f"{split}/acc_sample"):
                found["acc_sample"] = clips[-1][1]
        headline = test["headline"] if test["headline"]["last"] is not None else val
        diagnostics: dict[str, Any] = {}
        for _, _, name, value in curves.rows:
            if name.split("/")[0] in _DIAGNOSTICS and not name.endswith("_step"):
                diagnostics[name] = value
        watched = next((c for c in trainer.callbacks if isinstance(c, Diagnostics)), None)  # type: ignore[attr-defined]
        wave = next((c for c in trainer.callbacks if isinstance(c, LabelWave)), None)  # type: ignore[attr-defined]
        info = data.info
        noisy = data.noisy
        ended = _ended_by(trainer)
        return {
            "recipe": self.recipe,
            "method": type(method).__name__,
            "seed": data.seed,
            "started_from": method.started_from,
            "protocol": data.protocol_by(monitor),
            "headline": headline["best_by_val"] if best is not None and headline is not val else headline["last10_mean"],
            "data": {
                "name": type(data).__name__,
                "num_classes": info.num_classes,
                "num_train": info.num_train,
                "num_train_used": len(info.train_rows),
                "num_unlabeled": len(info.unlabeled_rows),
                "num_trusted": len(info.trusted_rows),
                "folds": data.folds or None,
                "fold": data.fold if data.folds else None,
                "class_names": list(info.class_names),
                "account": [*data.source.account, *not_used(method, info)],
                "digests": _digests(data),
            },
            "noise": {
                "kind": None if data.noise is None else data.noise.kind,
                "generator": None if data.noise is None else data.noise.generator,
                "rate": None if noisy is None else noisy.rate,
                "measured_rate": _wrong(data),
                "seed": None if data.noise is None else data.noise.seed,
                "digest": digest(data.given_target),
                "realized_transition": _realized(data),
            },
            "test": test,
            **({"other_tests": others} if others else {}),
            "val": val,
            "diagnostics": diagnostics,
            "loss_histogram": {} if watched is None else watched.histogram,
            "mixture": {} if watched is None else watched.mixtures,
            "transition": None if watched is None else watched.transition,
            **({} if wave is None else {"label_wave": wave.report(trainer)}),
            "epochs": trainer.current_epoch,
            "complete": ended not in ("max_time", "nothing", Pause.__name__),
            "ended_by": ended,
            "wall_time_s": self._elapsed(),
            "images_per_s": self.images / self._elapsed() if self.images else None,
            "device": _device(method.device),
            "precision": str(trainer.precision),
            "versions": versions(),
            "machine": machine_facts(trainer.world_size),
            "code": self._code or _code(trainer, method),
            "resumes": self.resumes,
        }


class _BestEpochs(NamedTuple):
    """The best epochs on held-out rows: by what the run chooses by, by accuracy and by loss; None where there is none."""

    monitor: int | None
    accuracy: int | None
    loss: int | None


def _first_best(costs: list[tuple[int, float]]) -> int | None:
    """The first epoch of the lowest cost; costs that are not finite do not count."""
    return min(((cost, epoch) for epoch, cost in costs if math.isfinite(cost)), default=(0.0, None))[1]


def _is_over(timer: Timer) -> bool:
    left = timer.time_remaining()  # None for a timer without a limit
    return left is not None and left <= 0


def _ended_by(trainer: L.Trainer) -> str:
    """What brought a run to its end: "max_epochs", "max_steps", "max_time", the name of a callback, or "nothing" yet.

    A run that `max_time` or `Pause` ended, or that was to train on no batch, is not complete: a resume goes on with it.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if trainer.max_epochs not in (None, -1) and trainer.current_epoch >= trainer.max_epochs:
        return "max_epochs"
    if any(isinstance(c, RunCheckpoint) and c.finished(trainer) for c in callbacks):
        return "max_steps"
    if any(isinstance(c, Timer) and _is_over(c) for c in callbacks):
        return "max_time"
    early = next((type(c).__name__ for c in callbacks if getattr(c, "stopping_reason", None) not in (None, _GOES_ON)), None)
    if early is None and any(isinstance(c, Pause) and c.paused for c in callbacks):
        return Pause.__name__
    return early or ("callback" if trainer.should_stop else "nothing")


def _predictor(
    series: list[tuple[int, float]],
    epochs: _BestEpochs,
    method: NoisyLabelMethod,
    name: str,
    split: str = "test",
) -> dict[str, Any]:
    values = [value for _, value in series]
    confusion = method.last_confusions.get((split, name))
    by_monitor, by_accuracy, by_loss = (None if epoch is None else dict(series).get(epoch) for epoch in epochs)
    return {
        "last": values[-1] if values else None,
        "best_by_val": by_monitor,
        "best_by_val_acc": by_accuracy,
        "best_by_val_loss": by_loss,
        "best": max(values, default=None),
        "last10_mean": statistics.fmean(values[-_LAST:]) if values else None,
        "last10_std": statistics.pstdev(values[-_LAST:]) if values else None,
        "balanced_acc": None if confusion is None else balanced_accuracy(confusion),
        "confusion": None if confusion is None else confusion.tolist(),
    }


def _save_labels(path: Path, data: NoisyDataModule) -> None:
    """Write the given labels to a file that `FromFile` reads, where noise or the choice of labeled rows made them."""
    names = data.source.class_names
    if data.noisy is not None and data.noise is not None:
        made = f"{data.noise.generator}: {data.noise!r}"
        save_noise(path, data.noisy, data.noise.kind, data.noise.seed, names, made)
    elif data.label_budget is not None:
        truth = data.source.given if data.source.clean is None else data.source.clean
        save_noise(path, without(NoisyTargets(data.given_target, truth, None, None, 0.0), data.given_target), "none", None, names)


def _realized(data: NoisyDataModule) -> list[list[float]] | None:
    """The share of each given class in each true one, of up to 100 classes, for noise that no matrix was given for; None where it
    is not known."""
    matrix = None if data.noisy is None or data.noise is None else data.noisy.transition_matrix
    by_class = data.noise is not None and not (data.noise.looks_at_rows or data.noise.of_rows)
    if matrix is None or by_class or len(matrix) > _CLASSES:
        return None
    return [[round(share, 6) for share in row] for row in matrix.tolist()]


def _wrong(data: NoisyDataModule) -> float | None:
    """Share of wrong labels among those of known truth; None where none is known."""
    truth = data.judged_target
    known = (truth >= 0) & (data.given_target >= 0)
    return float((data.given_target != truth)[known].double().mean()) if bool(known.any()) else None


def _digests(data: NoisyDataModule) -> dict[str, str | None]:
    """SHA-256 of inputs and labels as they were read, and of the rows that are trained on; null without test rows."""
    record = data.fitted()
    test = record["test"] or {}
    return {
        "inputs": record["train"]["inputs"],
        "labels": record["train"]["labels"],
        "test_inputs": test.get("inputs"),
        "test_labels": test.get("labels"),
        "split": tensor_digest(data.info.train_rows),
    }


def _code(trainer: L.Trainer, method: L.LightningModule) -> dict[str, str]:
    data, callbacks = trainer.datamodule, trainer.callbacks  # type: ignore[attr-defined]
    noise = getattr(data, "noise", None)
    return code_digests({type(item) for item in (*method.modules(), data, noise, *callbacks)})


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _finite(value: Any) -> Any:
    """NaN as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any, margin: str = "") -> str:
    """Indented JSON with each list of plain values, and each epoch's mixture, in one line: there are many."""
    inner = margin + "  "
    if isinstance(value, dict) and value and "epoch" not in value:
        rows = [f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + _text(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value)
