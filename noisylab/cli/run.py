"""The subcommands: fit, validate, test, predict."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from noisylab.checkpoints.atomic import check_checkpoint, newest_readable
from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.app import App, build, config_text, write_config
from noisylab.cli.config import compose
from noisylab.cli.devrun import try_out
from noisylab.cli.errors import UserError, training, unknown
from noisylab.cli.folderlock import abandoned
from noisylab.cli.launch import check_world, first_process, is_lost_process, lost_words, take_world
from noisylab.cli.loggers import log_outcome
from noisylab.cli.origin import notes_on
from noisylab.cli.outputs import check_not_read, check_output, is_predictions, prediction_header
from noisylab.cli.plan import StepTimer, plan_text
from noisylab.cli.resumed import WITHOUT_CONFIG, check_epochs, check_same_run, check_stored
from noisylab.cli.runfolder import Claim, claim, new_default_folder, paths_in, waiting_for
from noisylab.cli.trainer_flags import not_logged
from noisylab.cli.trial import check_networks
from noisylab.data.base import NoisyDataModule
from noisylab.data.folders import listed
from noisylab.data.notes import DataNote
from noisylab.engine.precision import check_trainable
from noisylab.files import atomic_path
from noisylab.reports import mixture_figure, transition_figure
from noisylab.terminal import silence, visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["evaluate", "fit", "predict"]

_QUIET = (
    "does not have many workers",  # batches are built on the device
    "Checkpoint directory",  # the run folder is ours and was checked
    "The number of training batches",  # nothing is logged per step
    "You're resuming from a checkpoint that ended before the epoch ended",  # exact here, see docs/reliability.md
    "Detected KeyboardInterrupt",
    "Total length of `dict` across ranks is zero",  # no validation and no test rows, which the plan says
    "callbacks used to create the checkpoint need to be provided",  # evaluation needs the weights alone
    "isinstance(treespec, LeafSpec)",  # inside torch
    "in eval mode at the start of training",
)


def _quiet() -> None:
    """Leave out what is no news, and what the account of the data says in its place."""
    import logging

    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)
    for message in _QUIET:
        warnings.filterwarnings("ignore", f".*{re.escape(message)}")
    warnings.filterwarnings("ignore", category=DataNote)


def _loggers(options: Options) -> tuple[str, ...]:
    for name in options.loggers:
        if name not in ("csv", "tensorboard", "wandb"):
            raise unknown("--logger", name, ("csv", "tensorboard", "wandb"))
    return tuple(name for name in options.loggers if name != "csv")


def _claim(options: Options, config: dict[str, Any] | None, *, series: bool = False) -> Claim:
    """The folder of a command; without ``--run_dir`` a new one named for the recipe or method of `config`."""
    ways = {"resume": "resume" in options.own, "overwrite": "overwrite" in options.own, "series": series}
    first = first_process()
    if "run_dir" in options.own:
        return claim(Path(options.own["run_dir"]), options.command, first=first, **ways)
    assert config is not None
    # ranks started as processes of their own find the folder of the first
    if first or "NOISYLAB_RUN_DIR" not in os.environ:
        name = config.get("recipe") or config["model"]["class_path"].rpartition(".")[2].lower()
        os.environ["NOISYLAB_RUN_DIR"] = str(new_default_folder(name))
    return claim(Path(os.environ["NOISYLAB_RUN_DIR"]), options.command, first=first, made=True, **ways)


def _say(text: str, stream: TextIO) -> None:
    """Print at the end of a run, even when whoever read it has gone."""
    try:
        print(visible(text), file=stream, flush=True)
    except OSError:
        silence(stream)


def _tell_account(account: Sequence[str]) -> None:
    """What was read and left out, once and before any training; standard output is for results."""
    for line in account if first_process() else ():
        _say(line, sys.stderr)


class _Beginning(L.Callback):
    """Does what waits until a run is known to work.

    Args:
        ready: called once the checkpoint is read and fits, before anything is written.
        begun: called after the first training step.

    Attributes:
        started: whether training has started, so that an error is no longer one of what was asked for.
    """

    def __init__(self, ready: Callable[[], None], begun: Callable[[], None]) -> None:
        self._ready, self._begun = ready, begun
        self._waits, self.started = True, False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Everything has been checked."""
        self.started = True
        self._ready()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is done."""
        if self._waits:
            self._waits = False
            self._begun()


def fit(options: Options, claimed: Claim | None = None, begun: Callable[[], None] = lambda: None) -> int:
    """Train.

    Args:
        options: of the command.
        claimed: the folder, where the caller has it already.
        begun: called once when the first training step is done.
    """
    _quiet()
    resume, dry = "resume" in options.own, bool({"dry_run", "print_config"} & set(options.own))
    if resume and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the run to continue")
    with contextlib.ExitStack() as stack:
        if resume and not dry and claimed is None:  # first of all, as that may put a run back which was about to be replaced
            claimed = stack.enter_context(_claim(options, None))
        configs = list(options.configs)
        if resume and not configs and "model" not in dict(options.flags):
            configs = [str(_own_config(Path(options.own["run_dir"])))]
        composed = compose(configs, options.flags)
        for note in composed.notes:
            print(visible(note), file=sys.stderr)
        config, loggers = composed.config, _loggers(options)
        take_world(config["trainer"])
        check_trainable(config["trainer"].get("precision"))
        checkpoint = config.pop("ckpt_path", None)
        if checkpoint in ("last", "best", "hpc"):
            raise UserError(
                f"--ckpt_path {checkpoint}: give the file of a checkpoint; to go on with a run: fit --run_dir DIR --resume"
            )
        if checkpoint is not None:
            check_checkpoint(str(checkpoint))
        if "print_config" in options.own:
            print(config_text(config, skip=options.own["print_config"].removeprefix("skip_")), end="")
            return 0
        if dry:
            return _dry_run(config, options)
        if config["trainer"].get("fast_dev_run"):
            return try_out(config)
        if resume and (configs != [str(Path(options.own["run_dir"]) / "config.yaml")] or options.flags):
            check_same_run(Path(options.own["run_dir"]), config)
        folder = claimed or stack.enter_context(_claim(options, config))
        folder.spare([*options.configs, *paths_in(config), *([str(checkpoint)] if checkpoint else [])])
        goes_on = folder.checkpoint or checkpoint
        if goes_on is not None:
            check_epochs(goes_on, config["trainer"])
        fitted = None if goes_on is None else fitted_in(goes_on)
        app = build("fit", config, folder=folder.path, loggers=loggers, fitted=fitted)
        check_world(app.trainer.world_size)
        # a mistake in the data stops here, before anything is written
        app.datamodule.prepare_data()
        app.datamodule.setup("fit")
        _tell_account(app.datamodule.source.account)
        check_networks(app)
        return _train(app, folder, checkpoint, begun)


def _own_config(folder: Path) -> Path:
    """The configuration that a run to be continued has of its own."""
    if not os.path.lexists(folder / "config.yaml"):
        raise UserError(
            f"--run_dir {folder} holds no config.yaml, from which the run could go on\n"
            "  add the recipe and the flags that it was begun with (--config RECIPE ...); its checkpoint tells whether method,\n"
            "  classes and labels are the same"
        )
    return check_stored(folder, WITHOUT_CONFIG)


def _train(app: App, folder: Claim, checkpoint: str | None, begun: Callable[[], None]) -> int:
    """Fit, and say what came of it."""
    wrote = False

    def ready() -> None:
        nonlocal wrote
        if not wrote and app.trainer.is_global_zero:
            write_config(app, folder.path)
        wrote = True

    def has_begun() -> None:
        folder.begin()
        begun()

    if app.trainer.is_global_zero:
        folder.prepare()
    if folder.checkpoint is None:
        ready()  # a resumed run is what it was until its checkpoint is known to fit
    beginning = _Beginning(ready, has_begun)
    app.trainer.callbacks.insert(0, beginning)  # type: ignore[attr-defined]  # those that save must stay the last
    try:
        found = folder.checkpoint or checkpoint
        with training(lambda: beginning.started, f"continue with: noisylab fit --run_dir {folder.path} --resume"):
            try:
                app.trainer.fit(app.model, datamodule=app.datamodule, ckpt_path=found, weights_only=True)
            except RuntimeError as error:
                raise (not_logged(error) or error) from error.__cause__
        if not app.summary.written and app.trainer.global_step == 0:
            app.summary.write(app.trainer, app.model)
            if app.trainer.is_global_zero:
                _say("nothing was trained: trainer.max_epochs, or another limit, allows no step", sys.stderr)
        elif not app.summary.written:  # a run that was killed after its last checkpoint: nothing is left but to say so
            app.trainer.validate(app.model, datamodule=app.datamodule, verbose=False)
            app.issues.write(app.trainer, app.model, app.datamodule)
            app.summary.write(app.trainer, app.model)
        ready()
        has_begun()
    except RuntimeError as error:
        if app.trainer.world_size == 1 or not is_lost_process(error):
            raise
        if first_process() or _speaks_for_the_first(app, folder.path):  # who ended first has said why, where it could
            _say_lost(folder.path, lost_words(error))
        return 1
    except SystemExit:  # Lightning's answer to Ctrl-C and to a request to terminate
        return _stopped(app, folder.path)
    if app.trainer.is_global_zero:
        draw(folder.path, app.trainer)
        accuracy = app.model.last_accuracy("test")
        shown = "" if accuracy is None else f" (test accuracy at the end {accuracy:.4f})"
        _say(f"run folder: {folder.path}{shown}", sys.stdout)
    return 0


def draw(folder: Path, trainer: L.Trainer | None = None) -> None:
    """Draw ``mixture.png`` and ``transition.png``, where the method fitted mixtures to its losses or estimated a matrix.

    The loggers are shown both and told what the run came to. The summary of an older version may know nothing of either.

    Args:
        folder: of a finished run.
        trainer: of the run; None draws what a kill has prevented, for nobody but the folder.
    """
    file = folder / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    mixture, transition = folder / "mixture.png", folder / "transition.png"
    if any(summary.get("mixture", {}).values()) and not (trainer is None and mixture.is_file()):
        mixture_figure(summary, mixture)
        if trainer is not None:
            _show("mixture", mixture, trainer)
    if summary.get("transition") and not (trainer is None and transition.is_file()):
        transition_figure(summary, transition)
        if trainer is not None:
            _show("transition", transition, trainer)
    if trainer is not None:
        log_outcome(summary, trainer)


def _show(name: str, picture: Path, trainer: L.Trainer) -> None:
    """Hand a picture to the loggers that take some, at the step of the last epoch's numbers."""
    step = max(trainer.global_step - 1, 0)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("RGB"))
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
            logger.experiment.close()  # Lightning has closed it at the end of fit; this opened it again
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [str(picture)], step=step)


def _speaks_for_the_first(app: App, folder: Path) -> bool:
    """Whether the first process was killed, and this is the one that says so in its place."""
    return app.trainer.global_rank == 1 and abandoned(folder)


def _say_lost(folder: Path, why: str) -> None:
    saved = any((folder / "checkpoints").glob("last.ckpt*"))
    nothing = "nothing was saved yet: start again with the same command"
    how = f"continue with: noisylab fit --run_dir {folder} --resume" if saved else nothing
    _say(f"\nnoisylab: error: another process of this run has ended ({why})\n  {how}", sys.stderr)


def _stopped(app: App, folder: Path) -> int:
    """Say how to go on; the exit status."""
    number = app.checkpoint.stopped_by
    if not app.trainer.is_global_zero:
        if _speaks_for_the_first(app, folder):
            _say_lost(folder, "killed")
        # Lightning kills the first process when another ends with an error, also in the middle of what it has to say
        return 0 if number is not None else 130
    if any((folder / "checkpoints").glob("last.ckpt*")):
        saved = "saved and stopped" if number is not None else "stopped"
        _say(f"\n{saved}; continue with: noisylab fit --run_dir {folder} --resume", sys.stderr)
    else:
        _say("\nstopped before the first checkpoint: there is nothing to continue; start again with the same command", sys.stderr)
    return 128 + (signal.SIGINT if number is None else number)


def _dry_run(config: dict[str, Any], options: Options) -> int:
    app = build("fit", config, folder=None)
    data, timer = app.datamodule, StepTimer()
    data.setup("fit")
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
    trainer.fit(app.model, datamodule=data)
    folder = options.own.get("run_dir") or str(
        Path("runs") / (config.get("recipe") or type(app.model).__name__.lower()) / "<time>"
    )
    epochs = max(int(app.trainer.max_epochs or 0), 0)
    steps = data.resolved_plan(max(epochs - 1, 0)).steps
    seconds = min(timer.seconds)
    device = trainer.strategy.root_device
    print(visible(plan_text(app, folder=folder, epochs=epochs, steps=steps, step_seconds=seconds, device=device)))
    return 0


def _finished(options: Options) -> tuple[App, Path, str]:
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
                    f"--run_dir {folder}: its replacement was stopped before it began, and the run before it waits beside it\n"
                    f"  noisylab fit --run_dir {folder} --resume puts it back"
                )
            raise UserError(f"--run_dir {folder}: there is no run (no config.yaml); give the folder that `noisylab fit` printed")
        other = f"name the recipe and the checkpoint: --config RECIPE ... --ckpt_path {folder / 'checkpoints' / 'last.ckpt'}"
        configs = configs or [str(check_stored(folder, other))]
        which = options.own.get("checkpoint", "last")
        if which not in ("last", "best"):
            raise unknown("--checkpoint", which, ("last", "best"))
        if checkpoint is None:
            found, damage = newest_readable(folder / "checkpoints" / f"{which}.ckpt")
            if found.name != f"{which}.ckpt":
                _say(f"{damage or f'{which}.ckpt is missing'}; taking {found.name}, which is older", sys.stderr)
            checkpoint = str(found)
    assert checkpoint is not None
    check_checkpoint(checkpoint)
    composed = compose(configs, options.flags)
    composed.config.pop("ckpt_path", None)
    if options.command == "predict":
        # one process: each of several would have a share of the rows
        composed.config["trainer"] |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    take_world(composed.config["trainer"])
    app = build(options.command, composed.config, folder=None, fitted=fitted_in(checkpoint))
    check_world(app.trainer.world_size)
    return app, folder or Path(checkpoint).parent, checkpoint


def _tell_changes(data: NoisyDataModule, stage: str) -> None:
    """Say what has become of the data since training; refuse what would be a wrong figure."""
    for note in notes_on(data, stage) if first_process() else ():
        _say(f"note: {note}", sys.stderr)


def evaluate(options: Options) -> int:
    """Print the accuracies of a checkpoint on the validation and test data."""
    _quiet()
    app, _, checkpoint = _finished(options)
    app.datamodule.prepare_data()
    app.datamodule.setup(options.command)
    _tell_account(app.datamodule.source.account)
    _tell_changes(app.datamodule, options.command)
    run = app.trainer.validate if options.command == "validate" else app.trainer.test
    results = run(app.model, datamodule=app.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    figures = {name: value for result in results for name, value in result.items()}
    if not figures:
        raise UserError(
            f"the data has no {'validation or test' if options.command == 'validate' else 'test'} rows to evaluate on"
        )
    for name, value in figures.items():
        print(f"{name:<28} {value:.4f}")
    return 0


def predict(options: Options) -> int:
    """Write ``predictions.csv``: file or index, given label if any, predicted class, probability."""
    _quiet()
    if "skip_unreadable" in options.own and "images" not in options.own:
        raise UserError("--skip_unreadable belongs to --images; for the pictures of the run: --data.skip_unreadable true")
    asked = Path(options.own["out"]) if "out" in options.own else None
    if asked is not None:
        typed = [*options.configs, options.own.get("images", ""), *(text or "" for _, text in options.flags)]
        check_not_read(asked, "--out", typed)
        check_output(asked, "--out", overwrite="overwrite" in options.own, ours=is_predictions, what="predictions")
    app, folder, checkpoint = _finished(options)
    path = asked or folder / "predictions.csv"  # which only predict writes in a run folder, and may write again
    again = "overwrite" in options.own or (asked is None and "run_dir" in options.own)
    check_output(path, "--out" if asked else "predictions:", overwrite=again, ours=is_predictions, what="predictions")
    check_not_read(
        path,
        "--out" if asked else "predictions:",
        [*options.configs, checkpoint, options.own.get("images", ""), *paths_in(app.config[options.command].as_dict())],
    )
    data: NoisyDataModule = app.datamodule
    if "images" in options.own and data.adopted is not None:
        data.setup_blank()  # the training data may have changed, or be gone
    else:
        data.prepare_data()
        data.setup("predict")
        _tell_account(data.source.account)
        _tell_changes(data, "predict")
    names, skipped = data.source.test_names, list[str]()
    if "images" in options.own:
        from noisylab.data.unlabelled import unlabelled_rows

        skip = "skip_unreadable" in options.own or bool(getattr(data, "skip_unreadable", False))
        found = unlabelled_rows(options.own["images"], data, skip)
        names, skipped = found.names, found.skipped
        _tell_account(found.account)
        data.predict_on(found.rows)
    elif not data.test_dataloader():
        raise UserError("the data has no test rows to predict; name a folder of pictures with --images")
    batches = app.trainer.predict(app.model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    classes = data.info.class_names
    lines: list[tuple[Any, ...]] = [(name, "", "", "") for name in skipped]
    for batch in batches or []:
        assert isinstance(batch, dict)
        top, label = batch["probs"].max(1)
        for index, given, pred, prob in zip(
            *(batch[k].tolist() for k in ("index", "target")), label.tolist(), top.tolist(), strict=True
        ):
            shown = classes[given] if 0 <= given < len(classes) else ""
            lines.append((names[index] if names else index, shown, classes[pred], f"{prob:.6f}"))
    if skipped:
        place = {name: number for number, name in enumerate(sorted([*skipped, *(names or ())], key=Path))}
        lines.sort(key=lambda line: place[line[0]])
        many = "1 picture has no prediction, its" if len(skipped) == 1 else f"{len(skipped):,} pictures have no prediction, their"
        _say(f"{many} cells are empty: {listed(skipped)}", sys.stderr)
    with atomic_path(path, new=not again) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(prediction_header(bool(names)))
        writer.writerows(lines)
    print(visible(f"predictions: {path}"))
    return 0
