"""TensorBoard and Weights & Biases in addition to the run's own curves: names, axes, final results."""

from __future__ import annotations

import netrc
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lightning as L
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["RunWandb", "log_outcome", "make_logger", "measured", "run_name"]

# what is logged once an epoch; W&B draws it over the epoch, so that methods of different step counts lie under each other
_EPOCHS = (
    "train",
    "val",
    "test",
    "lr",
    "memorization",
    "memorization_online",
    "issues",
    "select",
    "labels",
    "mixture",
    "transition",
)
_SHORT = {"symmetric": "sym", "asymmetric": "asym", "pairflip": "pair", "instance": "inst"}
_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")


def run_name(recipe: str, method: NoisyLabelMethod, data: NoisyDataModule) -> str:
    """Recipe, noise, seed and, of a fold, its number: "act_digits sym0.4 seed3"."""
    fold = [f"fold{data.fold}"] if data.folds else []
    return " ".join([recipe or type(method).__name__, _noise(data), f"seed{data.seed}", *fold])


def _noise(data: NoisyDataModule) -> str:
    if data.noise is None:
        return "given"
    rate = getattr(data.noise, "rate", None)
    return _SHORT.get(data.noise.kind, data.noise.kind) + ("" if rate is None else f"{rate:g}")


def make_logger(name: str, folder: Path, recipe: str, method: NoisyLabelMethod, data: NoisyDataModule) -> Logger:
    """The logger of a run.

    Args:
        name: "tensorboard" or "wandb".
        folder: of the run.
        recipe: its name; may be empty.
        method: names the run, with the data.
        data: the same.
    """
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="tensorboard")
    title = run_name(recipe, method, data)
    group = re.sub(r" seed\d+( fold\d+)?$", "", title)  # its runs differ in the seed or the fold alone
    tags = [type(method).__name__, type(data).__name__, _noise(data)]
    return RunWandb(folder, name=title, group=group, tags=tags, offline=_offline(folder))


def _offline(folder: Path) -> bool:
    """Whether the run is kept on this machine: as asked for, or where nobody is logged in, which is said."""
    mode = os.environ.get("WANDB_MODE")
    if mode or _logged_in():
        return mode in ("offline", "dryrun")
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(
            f"W&B: not logged in, so the run is kept in {folder / 'wandb'}; later: wandb login, then "
            f"wandb sync {folder / 'wandb'}/offline-run-*\n"
            "  WANDB_MODE=offline or disabled chooses in advance; WANDB_API_KEY logs you in",
            file=sys.stderr,
        )
    return True


def _logged_in() -> bool:
    """Whether W&B finds a key, where its ``wandb login`` puts it; W&B itself would ask for one and wait for a terminal."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in files if name):
        try:
            if file.is_file() and netrc.netrc(file).authenticators(host):
                return True
        except (netrc.NetrcParseError, OSError, UnicodeError):
            continue
    return False


class RunWandb(WandbLogger):
    """A run of W&B for a run folder: a resumed run continues it, and per-epoch numbers are plotted over the epoch.

    Args:
        folder: of the run. W&B names what it keeps there by its run's id, which is how a resume finds it.
        **kwargs: of `WandbLogger`.
    """

    def __init__(self, folder: Path, **kwargs: Any) -> None:
        self._folder = folder
        self._has_axes = False
        super().__init__(save_dir=folder, id=self.earlier_id(), project=os.environ.get("WANDB_PROJECT", "noisylab"), **kwargs)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run."""
        run = super().experiment
        if not self._has_axes:
            self._has_axes = True
            run.define_metric("epoch")
            for group in _EPOCHS:
                run.define_metric(f"{group}/*", step_metric="epoch", step_sync=True)
        return run

    def earlier_id(self) -> str | None:
        """The id of the run in the folder, None where there is none yet."""
        found = sorted((self._folder / "wandb").glob("*run-*"), key=lambda path: path.name.removeprefix("offline-"))
        ids = [match.group(1) for path in found if (match := _RUN.fullmatch(path.name))]
        return ids[-1] if ids else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; step means keep the step as their axis."""
        for name in metrics:
            if name.endswith("_step"):
                self.experiment.define_metric(name, step_metric="trainer/global_step")
        super().log_metrics(metrics, step)


def measured(data: NoisyDataModule) -> float | None:
    """Fraction of labels that the noise changed; None without noise or before `setup`."""
    return None if data.noisy is None else float(data.noisy.measured_rate)


def log_outcome(summary: Mapping[str, Any], trainer: L.Trainer) -> None:
    """Send the results of a run, from its ``summary.json``, to the loggers that accept them.

    W&B gets ``headline``, ``last10_mean``, ``last10_std``, ``best``, ``best_by_val`` and ``measured_noise_rate`` as the run's
    summary, by which its table sorts; TensorBoard those that are numbers, below ``outcome``.
    """
    if "headline" not in summary:
        return
    test, noise = summary["test"]["headline"], summary.get("noise", {})
    figures = {"headline": summary["headline"], "measured_noise_rate": noise.get("measured_rate")}
    figures |= {name: test.get(name) for name in ("last", "last10_mean", "last10_std", "best", "best_by_val")}
    figures = {name: value for name, value in figures.items() if value is not None}
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({**figures, "ended_by": summary.get("ended_by")})
        elif isinstance(logger, TensorBoardLogger):
            for name, value in figures.items():
                logger.experiment.add_scalar(f"outcome/{name}", value, max(trainer.global_step - 1, 0))
            logger.experiment.close()
