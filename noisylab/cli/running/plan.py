"""The plan of a run, as text."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch

from noisylab.callbacks.surroundings import versions
from noisylab.cli.running.app import App
from noisylab.methods.base import NoisyLabelMethod
from noisylab.types import DataInfo

__all__ = ["StepTimer", "plan_text"]


class StepTimer(L.Callback):
    """Measures the time of the steps of a trial.

    Attributes:
        seconds: duration of each step.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.monotonic() - self._start)


def plan_text(app: App, *, folder: str, epochs: int, steps: int, step_seconds: float, device: torch.device) -> str:
    """The plan of a run.

    Args:
        app: instantiated, its data set up.
        folder: where the run would go.
        epochs: of the run.
        steps: of its last epoch.
        step_seconds: duration of one training step.
        device: of the trial step.
    """
    data, model = app.datamodule, app.model
    info, noisy = data.info, data.noisy
    held = info.num_val
    trusted = f"{len(info.trusted_rows):,} trusted, " if len(info.trusted_rows) else ""
    tests = sum(len(loader.rows) for loader in data.test_dataloader().values())
    if noisy is None:
        noise = "none injected (labels as given)"
    else:
        asked = "-" if noisy.rate is None else f"{noisy.rate:.2%}"
        noise = f"{data.noise!r}: asked {asked}, measured {noisy.measured_rate:.2%} of all labels"
    # evaluation is about a third of a step per sample, without a backward pass
    evaluation = (tests + held + len(info.train_rows)) / data.batch_size / 3 * len(model.networks)
    minutes = epochs * (steps + evaluation) * step_seconds / 60
    sizes = ", ".join(f"{n} {sum(p.numel() for p in net.parameters()):,}" for n, net in model.networks.items())
    account = {"read": ("\n" + " " * 11).join(data.source.account)} if data.source.account else {}
    lines = {
        "recipe": app.config[app.subcommand].get("recipe") or "-",
        "method": f"{type(model).__name__} (parameters: {sizes})",
        "data": f"{type(data).__name__}{_place(data)}",
        "samples": f"{_training(model, info)}, {trusted}{held:,} held out, {tests:,} test; {info.num_classes} classes",
        **account,
        "noise": noise,
        "schedule": f"{epochs} epochs of {steps} steps, batch {data.batch_size}, seed {data.seed}",
        "device": f"{device}, precision {app.trainer.precision}",
        "protocol": data.protocol_by(app.config[app.subcommand]["checkpoint"]["monitor"]),
        "run folder": folder,
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "time": f"about {minutes:.1f} minutes, from one step of {1000 * step_seconds:.1f} ms (estimate)",
    }
    return "\n".join(f"{name:<11}{text}" for name, text in lines.items())


def _training(model: NoisyLabelMethod, info: DataInfo) -> str:
    """How many rows are trained on, and how many have no label."""
    labeled, unlabeled = f"{len(info.train_rows):,}", f"{len(info.unlabeled_rows):,} unlabeled"
    if not len(info.unlabeled_rows):
        return f"{labeled} training"
    if model.uses_unlabeled:
        return f"{labeled} labeled, {unlabeled}"
    return f"{labeled} training, {unlabeled} left out ({type(model).__name__} learns from labeled rows alone)"


def _place(data: Any) -> str:
    places = [str(getattr(data, name)) for name in ("root", "path", "images") if getattr(data, name, None)]
    return f" at {', '.join(places)}" if places else ""
