"""The command fit: train a method on a data set."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from noisylab.callbacks import Pause
from noisylab.checkpoints.atomic import check_checkpoint
from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.commands.dataset import with_dataset
from noisylab.cli.commands.dry_run import dry_run
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.trainer import not_logged
from noisylab.cli.errors import UserError, training
from noisylab.cli.folder.claim import Claim, paths_in
from noisylab.cli.folder.lock import abandoned
from noisylab.cli.launch import check_world, first_process, how_started, is_lost_process, lost_words, take_world
from noisylab.cli.running.again import REQUEUE, asked_early, requeued
from noisylab.cli.running.app import App, build, config_text, write_config
from noisylab.cli.running.devrun import try_out
from noisylab.cli.running.figures import draw
from noisylab.cli.running.loggers import resume_at
from noisylab.cli.running.meeting import current_meeting
from noisylab.cli.running.nodes import all_ready, undisturbed
from noisylab.cli.running.resumed import WITHOUT_CONFIG, check_epochs, check_same_run, check_stored
from noisylab.cli.running.session import claim_folder, logger_names, quiet, say, tell_account
from noisylab.cli.running.starting import begin_from, keep_notes
from noisylab.cli.running.trial import check_networks
from noisylab.data.softlabels import not_used
from noisylab.engine.precision import check_trainable
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options


__all__ = ["fit"]


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


def fit(
    options: Options,
    claimed: Claim | None = None,
    begun: Callable[[], None] = lambda: None,
    done: Callable[[App], None] = lambda app: None,
    extra: Sequence[L.Callback] = (),
) -> int:
    """Train; returns the exit status.

    Args:
        options: of the command.
        claimed: the folder, where the caller has it already.
        begun: called once when the first training step is done.
        done: called with what was trained, where that came to its end, or to a `Pause` of `extra`.
        extra: callbacks of the command, which are not in ``config.yaml`` and which a resume has to be given again. Of these, a
            `Checkpoint` runs after the method's own end of the epoch, when ``metrics.csv`` has the epoch's figures, and before
            the checkpoint and the summary are written; any other before the method's own hooks, like those of a recipe.
    """
    quiet()
    options = with_dataset(options)
    resume, dry = "resume" in options.own, bool({"dry_run", "print_config"} & set(options.own))
    if resume and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the run to continue")
    with contextlib.ExitStack() as stack:
        if resume and not dry and claimed is None:  # first of all, as that may put a run back which was about to be replaced
            claimed = stack.enter_context(claim_folder(options, None))
        configs = list(options.configs)
        if resume and not configs and "model" not in dict(options.flags):
            configs = [str(_own_config(Path(options.own["run_dir"])))]
        composed = compose(configs, options.flags, options.row)
        for note in composed.notes:
            print(visible(note), file=sys.stderr)
        config, loggers = composed.config, logger_names(options)
        take_world(config["trainer"], dict(options.flags))
        check_trainable(config["trainer"].get("precision"))
        checkpoint = config.pop("ckpt_path", None)
        if checkpoint in ("last", "best", "hpc"):
            raise UserError(f"--ckpt_path {checkpoint}: give a checkpoint file; to continue a run: fit --run_dir DIR --resume")
        if checkpoint is not None:
            check_checkpoint(str(checkpoint))
        if "print_config" in options.own:
            print(config_text(config, skip=options.own["print_config"].removeprefix("skip_")), end="")
            return 0
        if dry:
            return dry_run(config, options)
        if config["trainer"].get("fast_dev_run"):
            return try_out(config)
        if resume and (configs != [str(Path(options.own["run_dir"]) / "config.yaml")] or options.flags):
            check_same_run(Path(options.own["run_dir"]), config)
        folder = claimed or stack.enter_context(claim_folder(options, config))
        folder.spare([*options.configs, *paths_in(config), *([str(checkpoint)] if checkpoint else [])])
        goes_on = folder.checkpoint or checkpoint
        if goes_on is not None:
            check_epochs(goes_on, config["trainer"])
        fitted = None if goes_on is None else fitted_in(goes_on)
        app = build("fit", config, folder=folder.path, loggers=loggers, fitted=fitted)
        check_world(app.trainer.num_devices, app.trainer.num_nodes)
        # a mistake in the data stops here, before anything is written
        app.datamodule.prepare_data()
        app.datamodule.setup("fit")
        tell_account([*app.datamodule.source.account, *not_used(app.model, app.datamodule.info)])
        if goes_on is None:
            begin_from(app, config)
        else:
            keep_notes(app, folder.path)
        check_networks(app)
        all_ready()
        status = _train(app, folder, checkpoint, begun, extra)
        if status == 0:
            done(app)
        return status


def _own_config(folder: Path) -> Path:
    """The configuration that a run to be continued has of its own."""
    if not os.path.lexists(folder / "config.yaml"):
        raise UserError(
            f"--run_dir {folder} holds no config.yaml from which the run could continue\n"
            "  add the recipe and the flags that it was started with (--config RECIPE ...); the checkpoint shows whether\n"
            "  method, classes and labels are the same"
        )
    return check_stored(folder, WITHOUT_CONFIG)


def _train(app: App, folder: Claim, checkpoint: str | None, begun: Callable[[], None], extra: Sequence[L.Callback]) -> int:
    """Fit, and say what came of it."""
    wrote = False

    def ready() -> None:
        nonlocal wrote
        if not wrote and app.trainer.is_global_zero:
            if folder.checkpoint is not None:
                resume_at(app.trainer)
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
    callbacks: list[L.Callback] = app.trainer.callbacks  # type: ignore[attr-defined]
    place = callbacks.index(app.summary)  # those that save must stay the last
    callbacks[place:place] = [callback for callback in extra if isinstance(callback, Checkpoint)]
    callbacks[:0] = [beginning, *(callback for callback in extra if not isinstance(callback, Checkpoint))]
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
                say("nothing was trained: trainer.max_epochs, or another limit, allows no step", sys.stderr)
        elif not app.summary.written:  # a run that was killed after its last checkpoint: nothing is left but to say so
            progress: Any = app.trainer.fit_loop.epoch_progress.current
            progress.completed = progress.processed  # which Lightning does at its own end of a run, but not at a pause
            app.trainer.validate(app.model, datamodule=app.datamodule, verbose=False)
            app.issues.write(app.trainer, app.model, app.datamodule)
            app.summary.write(app.trainer, app.model)
        ready()
        has_begun()
    except RuntimeError as error:
        if app.trainer.world_size == 1 or not is_lost_process(error):
            raise
        meeting = current_meeting()
        if meeting is not None:
            with undisturbed():
                why = meeting.blame()
                if meeting.speaks():
                    _say_lost(folder.path, why or _gone(error))
        elif first_process() or _speaks_for_the_first(app, folder.path):  # who ended first has said why, where it could
            _say_lost(folder.path, _gone(error))
        return 1
    except SystemExit:  # Lightning's answer to Ctrl-C and to a request to terminate
        return _stopped(app, folder.path)
    if app.trainer.is_global_zero:
        draw(folder.path, app.trainer)
        accuracy = app.model.last_accuracy("test")
        shown = "" if accuracy is None else f" (test accuracy at the end {accuracy:.4f})"
        done, whole = app.trainer.current_epoch, app.trainer.max_epochs
        paused = done != whole and any(isinstance(callback, Pause) and callback.paused for callback in callbacks)
        so_far = f", paused after {done} of {whole} epochs" if paused else ""
        say(f"run folder: {folder.path}{shown}{so_far}", sys.stdout)
    return 0


def _speaks_for_the_first(app: App, folder: Path) -> bool:
    """Whether the first process was killed, and this is the one that says so in its place."""
    return app.trainer.global_rank == 1 and abandoned(folder)


def _gone(error: BaseException) -> str:
    return f"another process of this run has ended ({lost_words(error)})"


def _say_lost(folder: Path, what: str) -> None:
    saved = any((folder / "checkpoints").glob("last.ckpt*"))
    nothing = "nothing was saved yet: start again with the same command"
    how = f"continue with: noisylab fit --run_dir {folder} --resume" if saved else nothing
    say(f"\nnoisylab: error: {what}\n  {how}", sys.stderr)


def _stopped(app: App, folder: Path) -> int:
    """Say how to go on; the exit status."""
    number = app.checkpoint.stopped_by
    if number is None and asked_early():  # between the preparations and the first step
        number = REQUEUE
    status = 128 + (signal.SIGINT if number is None else number)
    if not app.trainer.is_global_zero:
        if how_started().outside:  # a launcher that starts processes again has to see that none has come to its end
            return status
        if _speaks_for_the_first(app, folder):
            _say_lost(folder, "another process of this run has ended (killed)")
        # Lightning kills the first process when another ends with an error, also in the middle of what it has to say
        return 0 if number is not None else 130
    if any((folder / "checkpoints").glob("last.ckpt*")):
        saved = "saved and stopped" if number is not None else "stopped"
        say(f"\n{saved}; continue with: noisylab fit --run_dir {folder} --resume", sys.stderr)
    else:
        say("\nstopped before the first checkpoint: there is nothing to continue; start again with the same command", sys.stderr)
    queued = requeued(number) if app.requeues else None
    if queued is not None:
        say(queued, sys.stderr)
    return status
