"""``--trainer.fast_dev_run``: a few batches to see that everything works, with nothing written."""

from __future__ import annotations

import sys
from typing import Any

from noisylab.cli.running.app import build
from noisylab.cli.running.starting import begin_from
from noisylab.cli.running.trial import check_networks

__all__ = ["try_out"]


def try_out(config: dict[str, Any]) -> int:
    """Train and evaluate on a few batches, as Lightning does: no checkpoint, no logger, no run folder."""
    app = build("fit", config, folder=None)
    app.datamodule.prepare_data()
    app.datamodule.setup("fit")
    begin_from(app, config)
    check_networks(app)
    app.trainer.fit(app.model, datamodule=app.datamodule)
    if app.trainer.is_global_zero:
        steps, accuracy = app.trainer.global_step, app.model.last_accuracy("test")
        shown = "" if accuracy is None else f", test accuracy {accuracy:.4f}"
        print(f"fast_dev_run: {steps} step{'s' * (steps != 1)} trained{shown}; nothing was written", file=sys.stdout)
    return 0
