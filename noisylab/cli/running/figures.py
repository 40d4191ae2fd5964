"""The figures of a finished run, for its folder and its loggers."""

from __future__ import annotations

import json
from pathlib import Path

import lightning as L

from noisylab.cli.running.loggers import log_outcome
from noisylab.cli.running.loggers.base import Dashboard
from noisylab.reports import has_unlabeled, mixture_figure, read_run, transition_figure, unlabeled_figure

__all__ = ["draw"]


def draw(folder: Path, trainer: L.Trainer | None = None) -> None:
    """Draw ``mixture.png`` and ``transition.png``, where the method fitted mixtures to its losses or estimated a matrix, and
    ``unlabeled.png``, where it learned from rows without a label.

    The loggers are shown them and told what the run came to. The summary of an older version may know nothing of them.

    Args:
        folder: of a finished run.
        trainer: of the run; None draws what a kill has prevented, for nobody but the folder.
    """
    file = folder / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    mixture, transition, unlabeled = (folder / f"{name}.png" for name in ("mixture", "transition", "unlabeled"))
    if any(summary.get("mixture", {}).values()) and not (trainer is None and mixture.is_file()):
        mixture_figure(summary, mixture)
        if trainer is not None:
            _show("mixture", mixture, trainer)
    if summary.get("transition") and not (trainer is None and transition.is_file()):
        transition_figure(summary, transition)
        if trainer is not None:
            _show("transition", transition, trainer)
    if "unlabeled/used" in (summary.get("diagnostics") or {}) and not (trainer is None and unlabeled.is_file()):
        run = read_run(folder)
        if has_unlabeled(run):
            unlabeled_figure([run], unlabeled)
            if trainer is not None:
                _show("unlabeled", unlabeled, trainer)
    if trainer is not None:
        log_outcome(summary, trainer)


def _show(name: str, picture: Path, trainer: L.Trainer) -> None:
    """Hand a picture to the loggers that take some, at the step of the last epoch's numbers."""
    step = max(trainer.global_step - 1, 0)
    for logger in trainer.loggers:
        if isinstance(logger, Dashboard):
            logger.show(name, picture, step)
