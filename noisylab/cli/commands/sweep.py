"""The command sweep: searches values of a recipe with Optuna, each trial an ordinary run."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noisylab.cli.commands.dataset import with_dataset
from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import let_go, one_process
from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import new_default_folder
from noisylab.cli.folder.job import noted_job
from noisylab.cli.running.session import logger_names, quiet, say
from noisylab.cli.running.workers import end_with_the_command
from noisylab.cli.sweeps.asked import asked_for
from noisylab.cli.sweeps.plan import BASE, PLAN, SweepPlan, differences, plan_of, read_plan, recipe_text
from noisylab.cli.sweeps.storage import lasting_storage, require_optuna
from noisylab.cli.sweeps.workers import WORKER, run_workers
from noisylab.files import clear_partials

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["run_sweep"]


def run_sweep(options: Options) -> int:
    """Search values of a recipe; see docs/sweeps.md.

    Args:
        options: a file SWEEP.yaml among ``places``, or ``--config`` and ``--search``; or ``--run_dir`` and ``--resume``.

    Returns:
        The exit status: that of a run that was stopped, 0 otherwise.

    Raises:
        UserError: for what cannot be run, before any data is read; where the first trials fail.
    """
    quiet()
    require_optuna()
    logger_names(options)
    jobs = _number(options, "jobs", 1)
    resume = "resume" in options.own
    plan, folder = _continued(options) if resume else _new(options)
    devices = one_process(plan.base, "sweep")
    if "dry_run" in options.own:
        return _show(plan, replace(options, flags=devices))
    assert folder is not None
    from noisylab.cli.sweeps.ledger import open_ledger
    from noisylab.cli.sweeps.results import write_results
    from noisylab.cli.sweeps.work import Worker

    ledger = open_ledger(plan, folder)
    worker = os.environ.get(WORKER)
    if worker is not None:
        end_with_the_command()
    go_on = f"continue with: noisylab sweep --run_dir {folder} --resume"
    try:
        if jobs > 1 and worker is None:
            status = run_workers(folder, jobs, [text for name in options.loggers for text in ("--logger", name)])
        else:
            # a bar shows the test accuracy, by which nobody is to choose; and workers would write theirs into one line
            own = replace(options, flags=[*devices, ("trainer.enable_progress_bar", "false")])
            status = Worker(ledger, folder, own, fit, lambda: let_go(options)).work()
    except KeyboardInterrupt:
        say(f"\ninterrupted; finished trials are kept; {go_on}", sys.stderr)
        raise
    if worker is not None:
        return status
    say(f"\n{write_results(ledger, folder)}", sys.stdout)
    if status:
        say(f"finished trials are kept, and what was stopped goes on; {go_on}", sys.stderr)
    return status


def _new(options: Options) -> tuple[SweepPlan, Path | None]:
    """The plan of a new sweep and its folder, which is made; no folder where nothing is to be trained."""
    if "run_dir" in options.own:
        _check_free(Path(options.own["run_dir"]))
    options = with_dataset(options)
    asked = asked_for(options)
    storage = lasting_storage(asked.settings.storage)
    plan, notes = plan_of(replace(asked, settings=replace(asked.settings, storage=storage)))
    one_process(plan.base, "sweep")
    _, outside = plan.starting_point()
    if outside:
        keys = ", ".join(outside)
        notes.append(f"note: the first trial has the recipe's own values, where they are among those searched; drawn: {keys}")
    for note in notes:
        say(note, sys.stderr)
    if "dry_run" in options.own:
        return plan, None
    folder = Path(options.own["run_dir"]) if "run_dir" in options.own else new_default_folder(f"sweep-{plan.name}")
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder, noted_job())
    return plan, folder


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run_dir {folder} is not a folder; name one, or a new name")
    clear_partials(folder, PLAN)
    there = {path.name for path in folder.iterdir()} - {BASE} if folder.is_dir() else set()
    if (folder / PLAN).is_file():
        raise UserError(f"--run_dir {folder} holds a sweep already\n  add --resume to continue it, or name another folder")
    if there:
        raise UserError(f"--run_dir {folder} is not empty; name another folder")


def _continued(options: Options) -> tuple[SweepPlan, Path]:
    """The plan of the sweep in ``--run_dir``, with more trials where that is asked for."""
    if "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the sweep to continue")
    folder = Path(options.own["run_dir"])
    plan = read_plan(folder)
    if options.configs or options.places or options.searches or options.flags or "dataset" in options.own:
        _check_same(options, plan, folder)
    else:
        changed = [key for key in ("objective", "sampler", "pruner", "storage") if key in options.own]
        told = {key: options.own[key] for key in changed if options.own[key] != str(getattr(plan.settings, key))}
        for key, value in told.items():
            raise UserError(
                f"--{key} {value}: the sweep in {folder} began with {getattr(plan.settings, key)}, and goes on so\n"
                "  leave it out, or start another sweep in another --run_dir"
            )
    trials = _number(options, "trials", plan.settings.trials)
    if trials < plan.settings.trials:
        raise UserError(
            f"--trials {trials}: {plan.settings.trials} trials are planned in {folder}, and a sweep cannot be made "
            "smaller; stop it with Ctrl-C where it is"
        )
    if trials > plan.settings.trials:
        plan = replace(plan, settings=replace(plan.settings, trials=trials))
        plan.write(folder, noted_job())
    return plan, folder


def _check_same(options: Options, plan: SweepPlan, folder: Path) -> None:
    """Refuse to continue a sweep with another recipe, other values or other settings."""
    asked = asked_for(with_dataset(options))
    now, _ = plan_of(replace(asked, settings=replace(asked.settings, storage=lasting_storage(asked.settings.storage))))
    kept = [{**which.record(), "storage": which.settings.storage} for which in (plan, now)]
    changed = differences(kept[0], kept[1])
    if asked.settings.trials != plan.settings.trials and "trials" not in options.own:
        say(f"note: {plan.settings.trials} trials are planned in {folder}; for more, add --trials N", sys.stderr)
    if changed:
        raise UserError(
            f"--resume continues the sweep in {folder} as it began, but this command changes: {changed}\n"
            "  give --run_dir and --resume alone, or start another sweep in another --run_dir"
        )


def _show(plan: SweepPlan, options: Options) -> int:
    """Print the plan of the first trial, and what is searched."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"{plan.name}.yaml"
        file.write_text(recipe_text(plan.base), encoding="utf-8")
        own = {"dry_run": "true"}
        status = fit(replace(options, command="fit", own=own, configs=[str(file)], places=[], searches=[], row=None))
    lines = [f"{searched.key}: {searched}" for searched in plan.space]
    say(f"{'searched':<11}" + ("\n" + " " * 11).join(lines), sys.stdout)
    settings = plan.settings
    say(
        f"{'trials':<11}{settings.trials}, sampler {settings.sampler}, pruner {settings.pruner} from epoch {plan.grace} on; "
        f"objective {settings.objective}, {settings.direction}d",
        sys.stdout,
    )
    return status


def _number(options: Options, key: str, default: int) -> int:
    text = options.own.get(key)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--{key}: expected a whole number, 1 or more, got {text!r}")
    return int(text)
