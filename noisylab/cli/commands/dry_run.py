"""Dry runs: everything but training, ending in the plan of the run and the time that a step takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from noisylab.cli.running.app import App, build
from noisylab.cli.running.plan import StepTimer, plan_text
from noisylab.cli.running.starting import begin_from
from noisylab.cli.running.trial import check_networks
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options


__all__ = ["dry_run", "time_steps"]


def dry_run(config: dict[str, Any], options: Options) -> int:
    """Print what a run would do, after a few of its steps; writes nothing."""
    app = build("fit", config, folder=None)
    data = app.datamodule
    seconds, device = time_steps(app, config)
    folder = options.own.get("run_dir") or str(
        Path("runs") / (config.get("recipe") or type(app.model).__name__.lower()) / "<time>"
    )
    epochs = max(int(app.trainer.max_epochs or 0), 0)
    steps = data.resolved_plan(max(epochs - 1, 0)).steps
    print(visible(plan_text(app, folder=folder, epochs=epochs, steps=steps, step_seconds=seconds, device=device)))
    return 0


def time_steps(app: App, config: dict[str, Any]) -> tuple[float, torch.device]:
    """Train for a few steps; returns the seconds of the fastest and the device.

    Args:
        app: just built; its data are read here, and its networks are trained a little.
        config: what it was built from.

    Raises:
        UserError: for a network that does not take the data.
    """
    timer = StepTimer()
    app.datamodule.setup("fit")
    begin_from(app, config)
    check_networks(app)
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=6 if app.speed.cuda_graphs else 3,  # the first step warms up, the fourth is recorded
        limit_val_batches=1,
        num_sanity_val_steps=0,
        accelerator=(config["trainer"].get("accelerator") or "auto"),
        precision=app.trainer.precision,
        devices=1,
        callbacks=[timer, app.speed],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )
    trainer.fit(app.model, datamodule=app.datamodule)
    return min(timer.seconds), trainer.strategy.root_device
