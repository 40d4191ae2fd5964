"""The commands validate and test: the accuracies of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from noisylab.checkpoints.atomic import check_checkpoint, newest_readable
from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.configuration.compose import compose
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.folder.claim import waiting_for
from noisylab.cli.launch import check_world, take_world
from noisylab.cli.running.app import App, build
from noisylab.cli.running.nodes import all_ready
from noisylab.cli.running.resumed import check_stored
from noisylab.cli.running.session import quiet, say, tell_account, tell_changes
from noisylab.models.pretrained import weights_to_come

if TYPE_CHECKING:
    from noisylab.cli.options import Options


__all__ = ["evaluate", "finished"]


def finished(options: Options) -> tuple[App, Path, str]:
    """The app and checkpoint of a finished run, or of a recipe with --ckpt_path."""
    configs, flags = list(options.configs), dict(options.flags)
    folder = Path(options.own["run_dir"]) if "run_dir" in options.own else None
    checkpoint = flags.get("ckpt_path")
    if folder is None and checkpoint is None:
        raise UserError(f"noisylab {options.command} needs --run_dir DIR of a finished run, or a recipe with --ckpt_path FILE")
    if folder is not None:
        if not (folder / "config.yaml").is_file():
            if waiting_for(folder) is not None:
                raise UserError(
                    f"--run_dir {folder}: its replacement was stopped before it began, and the previous run is kept beside it\n"
                    f"  noisylab fit --run_dir {folder} --resume restores it"
                )
            raise UserError(f"--run_dir {folder}: there is no run (no config.yaml); give the folder that `noisylab fit` printed")
        other = f"name the recipe and the checkpoint: --config RECIPE ... --ckpt_path {folder / 'checkpoints' / 'last.ckpt'}"
        configs = configs or [str(check_stored(folder, other))]
        which = options.own.get("checkpoint", "last")
        if which not in ("last", "best", "label_wave"):
            raise unknown("--checkpoint", which, ("last", "best", "label_wave"))
        if which == "label_wave" and checkpoint is None and not any((folder / "checkpoints").glob("label_wave.ckpt*")):
            raise UserError(
                f"--checkpoint label_wave: {folder / 'checkpoints'} has none; train with the callback LabelWave, whose signal "
                "needs some epochs: --trainer.callbacks+ noisylab.callbacks.LabelWave"
            )
        if checkpoint is None:
            found, damage = newest_readable(folder / "checkpoints" / f"{which}.ckpt")
            if found.name != f"{which}.ckpt":
                say(f"{damage or f'{which}.ckpt is missing'}; using {found.name}, which is older", sys.stderr)
            checkpoint = str(found)
    assert checkpoint is not None
    check_checkpoint(checkpoint)
    composed = compose(configs, options.flags, options.row)
    composed.config.pop("ckpt_path", None)
    if options.command == "predict":
        # one process: each of several would have a share of the rows
        composed.config["trainer"] |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    take_world(composed.config["trainer"], flags)
    with weights_to_come():
        app = build(options.command, composed.config, folder=None, fitted=fitted_in(checkpoint))
    check_world(app.trainer.num_devices, app.trainer.num_nodes)
    return app, folder or Path(checkpoint).parent, checkpoint


def evaluate(options: Options) -> int:
    """Print the accuracies of a checkpoint on the validation and test data."""
    quiet()
    app, _, checkpoint = finished(options)
    app.datamodule.prepare_data()
    app.datamodule.setup(options.command)
    tell_account(app.datamodule.source.account)
    tell_changes(app.datamodule, options.command)
    all_ready()
    run = app.trainer.validate if options.command == "validate" else app.trainer.test
    results = run(app.model, datamodule=app.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    figures = {name: value for result in results for name, value in result.items()}
    if not figures:
        raise UserError(
            f"the data has no {'validation or test' if options.command == 'validate' else 'test'} rows to evaluate on"
        )
    for name, value in figures.items() if app.trainer.is_global_zero else ():
        print(f"{name:<28} {value:.4f}")
    return 0
