"""Callback that chooses an epoch without clean labels and without held-out rows: Label Wave."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.callbacks.checkpoint import RunCheckpoint
from noisylab.callbacks.curves import Curves
from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod
from noisylab.metrics import FirstMinimum, first_minimum

__all__ = ["LabelWave"]

_NAME = "label_wave.ckpt"
_FAR = 10  # epochs between the two choices from which they contradict each other
_ENDLESS = 2**31  # stands for the last epoch of a run without a limit of epochs


class LabelWave(Checkpoint):
    """Keeps the epoch in which the predictions for the training samples are steadiest, or ends training there.

    While a network learns what right labels have in common, its predictions settle; when it begins to fit wrong labels, they
    waver again. The signal of epoch e is the share of the training samples whose prediction, in the training step's own forward
    pass, is another one than in epoch e - 1: of the samples that were seen in both epochs. The rule is the first minimum of its
    mean over the last `window` epochs (`noisylab.metrics.first_minimum`). Logged as ``label_wave/changed`` and
    ``label_wave/smoothed``; the checkpoint of the minimum is ``checkpoints/label_wave.ckpt``, which
    ``noisylab test --checkpoint label_wave`` and ``predict`` take; the run's summary has the entry ``label_wave``.

    What the signal cannot tell:

    - a change of the learning rate, the end of a warm-up and a new selection of samples move predictions, too, and make minima of
      their own. A minimum next to a change of the rate is told as such;
    - random augmentation alone changes predictions. Where that is most of the signal, the minimum is flat and comes early by
      chance;
    - in a method of several stages, or with a warm-up, the signal is followed in the first stage alone; after it the method
      trains on other samples, labels or losses. ``mode="stop"`` would leave out what the method is there for, and is refused;
    - a method that sees mixed inputs alone, as with mixup in every batch, predicts no sample and has no signal.

    **Paper**: Yuan, Feng, Liu, Early Stopping Against Label Noise Without Validation Data, ICLR 2024, arXiv 2502.07551.

    **Authors' code**: https://github.com/tmllab/2024_ICLR_LabelWave

    **Differences** from that code: it logs the number of changed predictions and has neither smoothing nor a rule to stop; the
    window, the patience and the checkpoint are ours, and the share replaces the number so that epochs in which some samples were
    not seen can be compared.

    ``trainer.callbacks: [noisylab.callbacks.LabelWave]`` in a recipe, or ``--trainer.callbacks+ noisylab.callbacks.LabelWave``.
    In Python it stands before `Curves` and `RunCheckpoint` in the list of callbacks.

    Args:
        window: epochs of the trailing mean, at least 1.
        patience: how many means in a row that do not fall below the lowest one settle the minimum, at least 1.
        mode: "mark" trains on after the minimum, "stop" ends training when it is settled, but not before
            ``trainer.min_epochs``.

    Attributes:
        stopping_reason: whether training has ended here, as of Lightning's own ``EarlyStopping``.

    Raises:
        ValueError: for a window or a patience below 1 or another mode; at the start of fit, for a method that learns no labels,
            "stop" with a method of several stages, a place after `Curves` or `RunCheckpoint`, and the checkpoint of a run with
            another window or patience.
    """

    def __init__(self, window: int = 3, patience: int = 1, mode: Literal["mark", "stop"] = "mark") -> None:
        first_minimum((), window, patience)  # refuses what it cannot take
        if mode not in ("mark", "stop"):
            raise ValueError(f"mode must be 'mark' or 'stop', got {mode!r}")
        self.window, self.patience, self.mode = window, patience, mode
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self._forget()

    def _forget(self) -> None:
        self._before: Tensor | None = None  # (N,) int32 predictions of the previous epoch, -1 where there is none
        self._epochs: list[int] = []  # those with a signal
        self._changed: list[int] = []  # samples whose prediction changed in them
        self._compared: list[int] = []  # samples that were seen in them and in the epoch before
        self._rates: dict[str, float] = {}  # of the previous epoch
        self._new_rates: list[int] = []  # epochs with other learning rates than the one before
        self._ended: int | None = None  # the last epoch of the first stage, once another has begun
        self._done, self._loaded = 0, False  # epochs of the checkpoint that the run goes on from; whether this was in it

    # ---- state

    @property
    def state_key(self) -> str:
        """The same key for every setting: a checkpoint of another one is refused, not overlooked."""
        return "LabelWave"

    def state_dict(self) -> dict[str, Any]:
        """The signal so far, and the predictions of the last epoch."""
        curve = torch.tensor([self._epochs, self._changed, self._compared], dtype=torch.int64)
        return {
            "settings": [self.window, self.patience],
            "curve": curve,
            "before": self._before,
            "rates": dict(self._rates),
            "new_rates": list(self._new_rates),
            "ended": self._ended,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        then = list(state["settings"])
        if then != [self.window, self.patience]:
            raise ValueError(
                f"the checkpoint comes from a run with LabelWave(window={then[0]}, patience={then[1]}), and this one has "
                f"window={self.window} and patience={self.patience}: the epoch it kept may be another; resume with the same"
            )
        self._epochs, self._changed, self._compared = state["curve"].tolist()
        self._before, self._ended = state["before"], state["ended"]
        self._loaded = True
        self._rates, self._new_rates = dict(state["rates"]), [int(epoch) for epoch in state["new_rates"]]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how far the run has come that goes on."""
        self._done = int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])

    # ---- a fit

    def check(self, method: L.LightningModule, epochs: int | None) -> None:
        """Refuse a method whose signal says nothing.

        Args:
            method: to be trained.
            epochs: of the run; None or -1 for no limit.

        Raises:
            ValueError: naming it, with the next step.
        """
        name = type(method).__name__
        if not isinstance(method, NoisyLabelMethod) or not method.learns_labels:
            raise ValueError(f"LabelWave follows predictions of labels, and {name} learns none; leave it out")
        last = _ENDLESS if epochs in (None, -1) else max(int(epochs or 0) - 1, 0)
        if self.mode == "stop" and not _in_first_stage(method, last):
            raise ValueError(
                f"LabelWave(mode='stop') would end {name} in its first stage, after which the signal is not followed, and leave "
                "out the rest of the method; use mode='mark'"
            )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the method, and the order of the callbacks."""
        if stage != "fit":
            return
        self.check(pl_module, trainer.max_epochs)
        callbacks = list(trainer.callbacks)  # type: ignore[attr-defined]
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not any(isinstance(callback, RunCheckpoint) for callback in callbacks):
            raise ValueError("LabelWave needs a RunCheckpoint, which decides when a run can be saved; add it to the callbacks")
        if any(isinstance(callback, Curves | RunCheckpoint) for callback in callbacks[: callbacks.index(self)]):
            raise ValueError("LabelWave must come before Curves and RunCheckpoint, which write what it finds; put it first")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier run; train nothing where the run that goes on has ended here."""
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        if trainer.ckpt_path is None and trainer.current_epoch == 0:
            self._forget()
        self._end(trainer, self._done)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so where a run is joined after its start."""
        if trainer.ckpt_path is not None and not self._loaded:
            rank_zero_warn(f"LabelWave follows this run from epoch {trainer.current_epoch} on; what came before is unknown to it")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the epoch's predictions with those of the one before, log, keep, and end training if it is time."""
        assert isinstance(pl_module, NoisyLabelMethod)
        if not trainer.is_last_batch:  # cut short: a resume goes on with this epoch
            return
        self._follow(trainer, pl_module)
        self._end(trainer, trainer.current_epoch + 1)

    def _follow(self, trainer: L.Trainer, method: NoisyLabelMethod) -> None:
        epoch = trainer.current_epoch
        if self._ended is not None:
            return
        if not _in_first_stage(method, epoch):
            self._before, self._ended = None, epoch - 1
            if self.found.stop is None:
                rank_zero_warn(f"{self._unsettled(method)}; the signal is not followed in later stages")
            return
        self._note_rates(method, epoch)
        before, settled = self._before, self.found.stop is not None
        self._before = _predictions(method, epoch)
        if before is None:
            return
        before = before.to(self._before.device)
        both = (before >= 0) & (self._before >= 0)
        changed, compared = torch.stack([((before != self._before) & both).sum(), both.sum()]).tolist()
        if compared == 0:
            return
        self._epochs.append(epoch)
        self._changed.append(changed)
        self._compared.append(compared)
        found = self.found
        method.log_epoch({"label_wave/changed": changed / compared})
        if len(self._epochs) >= self.window:
            method.log_epoch({"label_wave/smoothed": found.smoothed[-1]})
        if not settled and found.place == len(self._epochs) - 1:
            self._keep(trainer)
        if not settled and found.stop is not None:
            rank_zero_warn(self._said())

    def _note_rates(self, method: NoisyLabelMethod, epoch: int) -> None:
        rates = {name: value for name, value in method.epoch_metrics.items() if name.startswith("lr/")}
        if self._rates and rates != self._rates:
            self._new_rates.append(epoch)
        self._rates = rates

    def _keep(self, trainer: L.Trainer) -> None:
        folder = next((c.folder for c in trainer.callbacks if isinstance(c, RunCheckpoint)), None)  # type: ignore[attr-defined]
        if folder is not None:  # in a run of a few batches nothing is written
            trainer.save_checkpoint(folder / _NAME)  # which waits until the epoch is complete

    def _end(self, trainer: L.Trainer, done: int) -> None:
        """End training if the minimum is settled after `done` epochs."""
        if self.mode == "stop" and self.found.stop is not None and done >= (trainer.min_epochs or 0):
            self.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say where there is no minimum, and where held-out labels speak for another epoch."""
        if isinstance(pl_module, NoisyLabelMethod):
            if self.found.stop is None and self._ended is None:
                rank_zero_warn(self._unsettled(pl_module))
            warning = self.report(trainer)["warning"]
            if warning is not None:
                rank_zero_warn(warning)

    # ---- what was found

    @property
    def found(self) -> FirstMinimum:
        """The minimum so far; places count the epochs with a signal."""
        return first_minimum(self._changed, self.window, self.patience, self._compared)

    @property
    def epoch(self) -> int | None:
        """The epoch of the lowest smoothed signal so far, counted from 0; None before the first window is full."""
        return None if self.found.place is None else self._epochs[self.found.place]

    @property
    def stop_epoch(self) -> int | None:
        """The epoch in which the minimum was settled; None before."""
        return None if self.found.stop is None else self._epochs[self.found.stop]

    @property
    def rate_changed(self) -> bool:
        """Whether the learning rate changed between the first epoch that the minimum rests on and the one that settled it."""
        if self.epoch is None:
            return False
        last = self._epochs[-1] if self.stop_epoch is None else self.stop_epoch
        return any(self.epoch - self.window < changed <= last for changed in self._new_rates)

    def report(self, trainer: L.Trainer) -> dict[str, Any]:
        """The entry ``label_wave`` of a run's summary.

        Args:
            trainer: of the run, with `Curves` among its callbacks.

        Returns:
            ``epoch`` of the minimum, ``stop_epoch`` in which it was settled, ``changed`` (share, smoothed, at the minimum),
            ``val_acc`` and ``test_acc`` of that epoch, ``best_noisy_val_epoch`` (that of the highest accuracy on held-out given
            labels, of the epochs followed), ``followed_until`` (the last epoch with a signal), ``rate_changed``, ``warning``,
            ``checkpoint`` and the settings; None where there is no such thing.
        """
        curves = next((c for c in trainer.callbacks if isinstance(c, Curves)), None)  # type: ignore[attr-defined]
        series = {name: {} if curves is None else dict(curves.series(name)) for name in ("val/acc", "test/acc")}
        best = self._best_by_labels(trainer, series["val/acc"])
        epoch, place, warning = self.epoch, self.found.place, None
        if epoch is not None and best is not None and abs(epoch - best) > _FAR:
            warning = (
                f"Label Wave chooses epoch {epoch}, the accuracy on held-out given labels epoch {best}: more than {_FAR} epochs "
                "apart, so that at least one of them is misled; look at both curves, and trust the held-out labels if in doubt"
            )
        folder = next((c.folder for c in trainer.callbacks if isinstance(c, RunCheckpoint)), None)  # type: ignore[attr-defined]
        return {
            "epoch": epoch,
            "stop_epoch": self.stop_epoch,
            "changed": None if place is None else self.found.smoothed[place],
            "val_acc": None if epoch is None else series["val/acc"].get(epoch),
            "test_acc": None if epoch is None else series["test/acc"].get(epoch),
            "best_noisy_val_epoch": best,
            "followed_until": self._epochs[-1] if self._epochs else None,
            "rate_changed": self.rate_changed,
            "warning": warning,
            "checkpoint": f"{folder.name}/{_NAME}" if folder is not None and (folder / _NAME).is_file() else None,
            "window": self.window,
            "patience": self.patience,
            "mode": self.mode,
        }

    def _best_by_labels(self, trainer: L.Trainer, accuracies: dict[int, float]) -> int | None:
        data: Any = getattr(trainer, "datamodule", None)
        if not isinstance(data, NoisyDataModule) or data.val_labels != "given" or not self._epochs:
            return None
        followed = [(-value, epoch) for epoch, value in accuracies.items() if epoch <= self._epochs[-1] and value == value]
        return min(followed)[1] if followed else None

    def _said(self) -> str:
        ends = "training ends" if self.mode == "stop" else "training goes on"
        rate = (
            "; the learning rate changed meanwhile, and the minimum may be its doing"
            if self.rate_changed
            else "; a change of the learning rate, the end of a warm-up or a new selection would make minima of its own"
        )
        return f"Label Wave: predictions were steadiest in epoch {self.epoch}, settled in epoch {self.stop_epoch}, {ends}{rate}"

    def _unsettled(self, method: NoisyLabelMethod) -> str:
        if not self._epochs:
            return (
                f"Label Wave has no signal: {type(method).__name__} saw no sample in two epochs of its first stage in a row, as "
                "with mixup in every batch, or with a short warm-up"
            )
        lowest = "no window was full" if self.epoch is None else f"the lowest mean so far is that of epoch {self.epoch}"
        return f"Label Wave: no minimum in {len(self._epochs)} epochs with a signal; {lowest}"


def _in_first_stage(method: NoisyLabelMethod, epoch: int) -> bool:
    """Whether an epoch belongs to the first stage of a method: its warm-up, where it has one, else what comes before the epochs
    that compete for the best checkpoint among themselves."""
    warmup = getattr(method, "warmup_epochs", 0)
    return method.best_since(epoch) == 0 and not 0 < warmup <= epoch


def _predictions(method: NoisyLabelMethod, epoch: int) -> Tensor:
    """(N,) int32 predictions of an epoch's training steps, -1 for samples that none saw; all ranks hold the same."""
    seen = method.memory["observed_epoch"] == epoch
    pred = method.memory["observed_pred"]
    return torch.where(seen, pred, torch.full_like(pred, -1))
