"""The command study: trains every cell of a study, each as an ordinary run, and prints one table of the results."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import let_go, one_process
from noisylab.cli.configuration.studyfile import StudySpec, asked_of
from noisylab.cli.configuration.studyplan import PLAN, RECIPES, Cell, Plan, stored_plan
from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import new_default_folder
from noisylab.cli.folder.job import noted_job
from noisylab.cli.running.app import build
from noisylab.cli.running.session import logger_names, quiet, say
from noisylab.cli.running.workers import end_with_the_command
from noisylab.cli.studies.cluster import Cluster, cluster_of, script_of, submit
from noisylab.cli.studies.comparison import jobs_of
from noisylab.cli.studies.crew import Crew, worker_since
from noisylab.cli.studies.plan import make_plan
from noisylab.cli.studies.series import Series, config_of
from noisylab.cli.studies.state import CELLS, finished_run
from noisylab.cli.studies.stored import changed_file, grown
from noisylab.cli.studies.table import TABLES, write_table
from noisylab.files import clear_partials
from noisylab.reports import has_unlabeled, unlabeled_figure

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["run_plan", "run_study", "study_folder"]

_PICTURE = "unlabeled.png"


def run_study(options: Options) -> int:
    """Train every cell of a study file, or every row of a recipe with every seed, each in its own folder.

    Finished runs are skipped and stopped ones resumed. If a run ends with an error after the first has begun, a message says so
    and the others are trained; ``--resume`` tries it again.

    Args:
        options: a study file, ``--config`` with rows, or ``--run_dir`` and ``--resume``; further values apply to all runs.

    Returns:
        The exit status: that of a run that was stopped, 1 if a run ended with an error, 0 otherwise.

    Raises:
        UserError: if something cannot be run, before any data is read.
    """
    quiet()
    asked = asked_of(options)
    return run_plan(make_plan(asked, options.flags) if isinstance(asked, StudySpec) else asked, options)


def run_plan(plan: Plan, options: Options) -> int:
    """Train the cells of a plan in the folder of the study.

    Args:
        plan: what to train.
        options: ``--run_dir``, ``--resume``, ``--jobs`` and ``--dry_run`` count, and loggers.

    Returns:
        The exit status; see `run_study`.

    Raises:
        UserError: for what cannot be run, before any data is read.
    """
    logger_names(options)
    jobs, since, cluster = _jobs(options), worker_since(), cluster_of(options, len(plan.cells))
    for note in plan.notes if since is None else ():
        say(f"note: {note}", sys.stderr)
    if "dry_run" in options.own:
        with tempfile.TemporaryDirectory() as passing:
            plan.write(Path(passing))
            if cluster is not None:
                return _show_jobs(plan, Path(passing), options, cluster)
            return _show(plan, Path(passing), options, jobs)
    with study_folder(plan, options) as (folder, plan, begin):
        configs = _configs(plan, folder, options)
        first = plan.cells[0]
        alone = tuple(one_process(configs[first], "study"))
        os.environ["NOISYLAB_STUDY"] = plan.name  # for loggers, which group its runs
        loggers = [f"--logger={name}" for name in options.loggers]
        if cluster is not None:
            status = submit(plan, folder, cluster, loggers, begun=begin)
            if cluster.kind == "slurm":
                return status
        elif jobs:
            _check_data(configs[first])
            begin()
            status = Crew(plan, folder, jobs, loggers).run()
        else:
            if since is not None:
                end_with_the_command()
            series = Series(plan, folder, options, fit, let_go=let_go, since=since, flags=alone, on_begin=begin)
            series.begun = since is not None
            status = series.run()
    return status if since is not None or status > 1 else _conclude(plan, folder, status)


def _jobs(options: Options) -> int:
    """The N of ``--jobs N``; 0 without it, and for a worker."""
    return jobs_of(options.own) if "jobs" in options.own and worker_since() is None else 0


def _configs(plan: Plan, folder: Path, options: Options) -> dict[Cell, dict[str, Any]]:
    """The checked configuration of each cell of the first seed and fold: a mistake in one is said before all training."""
    shown: dict[tuple[str, ...], Cell] = {}
    for cell in plan.cells:
        shown.setdefault(tuple(value for axis, value in cell.axes.items() if axis not in ("seed", "fold")), cell)
    return {cell: config_of(folder, cell, options) for cell in shown.values()}


def _check_data(config: dict[str, Any]) -> None:
    """Read the data once, so that a mistake in it is said here, and not by every worker."""
    config = {key: value for key, value in config.items() if key != "ckpt_path"}
    app = build("fit", config, folder=None)
    app.datamodule.prepare_data()
    app.datamodule.setup("fit")


@contextlib.contextmanager
def study_folder(plan: Plan, options: Options) -> Iterator[tuple[Path, Plan, Any]]:
    """The folder of the study, with its plan, and what to call once something has begun: until then it can be taken back.

    Args:
        plan: of a new study; with ``--resume`` the one that is kept.
        options: ``--run_dir`` and ``--resume`` count.

    Raises:
        UserError: for a folder that may not be used so.
    """
    if "resume" in options.own:
        folder = Path(options.own["run_dir"])
        for name in (PLAN, *TABLES, _PICTURE) if worker_since() is None else ():
            clear_partials(folder, name)  # of a process that was killed while it wrote
        yield folder, _continued(plan, folder, options), lambda: None
        return
    folder, made = _new_folder(plan, options)
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True

    try:
        plan.write(folder, noted_job())
    except FileExistsError:
        raise UserError(f"--run_dir {folder}: another command has just begun a study there; name another") from None
    try:
        yield folder, plan, begin
    finally:
        if not begun:
            _take_back(plan, folder, made)


def _continued(plan: Plan, folder: Path, options: Options) -> Plan:
    """The plan of a study that goes on: with what its file has added, if that is named."""
    if not options.places:
        told = changed_file(plan) if worker_since() is None else None
        if told:
            say(f"note: {told}", sys.stderr)
        return plan
    before = stored_plan(folder)
    more = grown(folder, before, plan)
    if not more:
        return before
    say(f"{more} runs were added to the {len(before.cells)} of the study", sys.stdout)
    plan.write(folder, noted_job(), new=False)
    return plan


def _new_folder(plan: Plan, options: Options) -> tuple[Path, list[Path]]:
    """A folder for a new study, and what was made for it."""
    if "run_dir" not in options.own:
        folder = new_default_folder(plan.name)
        return folder, [folder, *folder.parents[:2]]
    folder = Path(options.own["run_dir"])
    for name in (PLAN, *TABLES, _PICTURE):
        clear_partials(folder, name)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--run_dir {folder} is not a folder; name one, or a new name")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / PLAN).is_file():
            raise UserError(f"--run_dir {folder} is not empty\n  name another")
        other = stored_plan(folder)
        raise UserError(
            f"--run_dir {folder} is not empty: it holds the study {other.name} of {len(other.cells)} runs\n"
            f"  add --resume{', without --config,' if options.configs else ''} to continue it, or name another"
        )
    made = [folder, *(place for place in folder.parents if not place.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    return folder, made


def _take_back(plan: Plan, folder: Path, made: list[Path]) -> None:
    """Remove what was written for a study in which nothing has begun."""
    (folder / PLAN).unlink(missing_ok=True)
    for name in plan.recipes:
        (folder / RECIPES / name).unlink(missing_ok=True)
    for cell in plan.cells:
        for file in (folder / CELLS / cell.slug).glob("*"):
            file.unlink()
    places = {place for cell in plan.cells for place in (folder / CELLS / cell.slug, *(folder / cell.folder).parents)}
    inside = sorted(
        (place for place in places if place.is_relative_to(folder) and place != folder), key=lambda place: -len(place.parts)
    )
    for place in (*inside, folder / CELLS, folder / RECIPES, *made):
        with contextlib.suppress(OSError):  # not there, or not empty
            place.rmdir()


def _show(plan: Plan, folder: Path, options: Options, jobs: int) -> int:
    """Print the plan of the first run, and the list of all; `folder` is a passing one that has the recipes."""
    configs = _configs(plan, folder, options)
    first = plan.cells[0]
    alone = one_process(configs[first], "study")
    own = {"dry_run": "true"}
    if "run_dir" in options.own:
        own["run_dir"] = str(Path(options.own["run_dir"]) / first.folder)
    asked = first.options(folder, options)
    status = fit(replace(asked, own=own, flags=[*asked.flags, *alone]))
    lines = [f"{_without_repeats(cell)} ({_what(config)})" for cell, config in configs.items()]
    say(f"{'study':<11}" + ("\n" + " " * 11).join(lines), sys.stdout)
    axes = {axis: list(dict.fromkeys(cell.axes[axis] for cell in plan.cells)) for axis in ("seed", "fold") if axis in first.axes}
    repeats = " and ".join(f"the {axis}s {', '.join(values)}" for axis, values in axes.items())
    how = f"{jobs} at once" if jobs else "one after the other"
    say(f"{'runs':<11}{len(plan.cells)}, {how}: each of these under {repeats}", sys.stdout)
    return status


def _show_jobs(plan: Plan, folder: Path, options: Options, cluster: Cluster) -> int:
    """Print what is trained and the script for ``sbatch``; no step is tried: this machine may be there for submitting alone."""
    configs = _configs(plan, folder, options)
    lines = [f"{_without_repeats(cell)} ({_what(config)})" for cell, config in configs.items()]
    say(f"{'study':<11}" + ("\n" + " " * 11).join(lines), sys.stdout)
    say(f"{'runs':<11}{len(plan.cells)}, by {cluster.workers} jobs of {cluster.minutes} minutes", sys.stdout)
    if cluster.kind == "slurm":
        place = Path(options.own.get("run_dir") or Path("runs") / plan.name / "TIME")
        say(f"\n{script_of(cluster, plan.name, place)}", sys.stdout)
    return 0


def _without_repeats(cell: Cell) -> str:
    return ", ".join(value for axis, value in cell.axes.items() if axis not in ("seed", "fold") and value)


def _what(config: Mapping[str, Any]) -> str:
    method, data = (config[part]["class_path"].rpartition(".")[2] for part in ("model", "data"))
    return f"{method} on {data}, {config['trainer'].get('max_epochs')} epochs"


def _conclude(plan: Plan, folder: Path, status: int) -> int:
    """Print the table, and draw what was learned from rows without a label."""
    table = write_table(folder)
    say(f"\n{table}\nstudy: {folder / 'study.json'}", sys.stdout)
    seen: dict[str, Any] = {}
    for cell in plan.cells:
        run = finished_run(folder / cell.folder) if cell.axes["method"] not in seen else None
        if run is not None and has_unlabeled(run):
            seen[cell.axes["method"]] = run
    if seen:
        say(f"figure: {unlabeled_figure(list(seen.values()), folder / _PICTURE)}", sys.stdout)
    return status
