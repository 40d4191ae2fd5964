"""Jobs that are started again: a command finds the run that it began before, and a job of SLURM is put back into the queue."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.studyplan import PLAN
from noisylab.cli.errors import UserError
from noisylab.cli.folder.job import Job, belongs, job_of, note
from noisylab.cli.folder.marker import has_checkpoint, read_marker
from noisylab.cli.launch import first_process, how_started
from noisylab.cli.running.meeting import Meeting
from noisylab.cli.running.session import say

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["REQUEUE", "asked_early", "go_on", "hear_early", "leave_requeueing", "requeued", "stop_early"]

REQUEUE = getattr(signal, "SIGUSR1", None)
"""The signal with which SLURM announces that a job's time is nearly up; None on Windows, which has none."""

_TRAINING = ("fit", "folds", "study", "sweep", "compare-methods", "auto", "issues", "rerun")
_PLANS = (PLAN, "sweep.yaml")  # of commands that keep all that they need in their folder
_CALLS = ("dry_run", "print_config")  # which train nothing
_SECONDS = 60  # in which scontrol must have answered

_early: list[int] = []


def go_on(options: Options, meeting: Meeting | None) -> Options:
    """The options of a command that may have been started before, by the same job: then those that continue its run.

    Args:
        options: as given.
        meeting: of the processes of the run; the first one looks for the folder.

    Returns:
        `options`, or with ``--run_dir`` and ``--resume`` added; with ``--overwrite`` where the run has saved nothing yet.
    """
    if options.command not in _TRAINING or set(_CALLS) & set(options.own):
        return options
    job = job_of(options)
    if meeting is not None:
        job = job.joined(meeting.gather("what job it works for", asdict(job)))
        if meeting.again and job.starts == 0:  # torchrun does not count it where a machine has come or gone
            job = replace(job, starts=1)
    note(job)
    if job.starts == 0 or "resume" in options.own:
        return options
    first = first_process()
    found = _begun(options, job) if first else None
    place = str(found.absolute()) if found is not None else None
    if meeting is not None:
        place = meeting.tell("which run it continues", place)
    times = f"this job was started again ({job.starts} time{'s' * (job.starts > 1)})"
    if place is None:
        if first:
            where = f"in {options.own['run_dir']}" if "run_dir" in options.own else f"in {Path('runs').absolute()}"
            say(f"note: {times}, and there is no run of it {where}: a new one begins", sys.stderr)
        return options
    saved = has_checkpoint(Path(place)) or any((Path(place) / plan).is_file() for plan in _PLANS)
    if first:
        say(
            f"note: {times}: " + (f"continuing {place}" if saved else f"nothing was saved in {place}: from its start"), sys.stderr
        )
    own = {key: value for key, value in options.own.items() if key != "overwrite"}
    own |= {"run_dir": place, "resume" if saved else "overwrite": "true"}
    if options.command == "study":  # whose plan has all else
        own = {key: value for key, value in own.items() if key not in ("rows", "seeds")}
        return replace(options, own=own, configs=[], flags=[], places=[])
    if options.command in ("sweep", "compare-methods", "auto"):
        own = {key: value for key, value in own.items() if key in ("run_dir", "resume", "jobs")}
        return replace(options, own=own, configs=[], flags=[], places=[], searches=[], row=None)
    return replace(options, own=own)


def _begun(options: Options, job: Job) -> Path | None:
    """The folder that the same command of the same job has made, the newest of several."""
    places = [Path(options.own["run_dir"])] if "run_dir" in options.own else list(Path("runs").glob("*/*"))
    found = []
    for place in places:
        kept = _kept(place)
        if kept is not None and belongs(kept.get("job"), job):
            found.append((str(kept.get("created", "")), str(place), place))
    return max(found)[2] if found else None


def _kept(folder: Path) -> dict[str, Any] | None:
    marker = read_marker(folder)
    name = next((name for name in _PLANS if (folder / name).is_file()), None)
    if marker is not None or name is None:
        return marker
    with contextlib.suppress(OSError, UserError):
        plan = load_yaml(text_of(folder / name), name)
        return plan if isinstance(plan, dict) else None
    return None


# ---- putting a job back into the queue


@contextlib.contextmanager
def hear_early() -> Iterator[None]:
    """End the command like Ctrl-C where SLURM announces the end of the job's time before or after training, which saves first."""
    _early.clear()
    hears = threading.current_thread() is threading.main_thread()  # which Python demands
    if REQUEUE is None or how_started().job is None or not hears:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        _early.append(number)
        raise KeyboardInterrupt

    before = signal.signal(REQUEUE, interrupt)
    try:
        yield
    finally:
        signal.signal(REQUEUE, signal.SIG_DFL if before is None else before)


def asked_early() -> bool:
    """Whether the signal came while nothing was trained."""
    return bool(_early)


def leave_requeueing(trainer: dict[str, Any]) -> bool:
    """Keep Lightning from saving a checkpoint of its own in the middle of a step, where SLURM sends the signal.

    Args:
        trainer: arguments of the Trainer, changed in place.

    Returns:
        Whether the job goes back into the queue after such a signal: unless the configuration has a ``SLURMEnvironment`` of its
        own that says ``auto_requeue: false``.
    """
    given = trainer.get("plugins") or []
    plugins = list(given) if isinstance(given, list) else [given]
    own = next((plugin for plugin in plugins if isinstance(plugin, SLURMEnvironment)), None)
    if own is not None:
        wanted, own.auto_requeue = own.auto_requeue, False
        return wanted
    others = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    if not others and not TorchElasticEnvironment.detect() and "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        trainer["plugins"] = [*plugins, SLURMEnvironment(auto_requeue=False)]
    return True


def stop_early() -> int:
    """The exit status of a command that `hear_early` has ended; puts the job back into the queue."""
    number = _early[0]
    said = requeued(number) if first_process() else None
    if said is not None:
        say(f"stopped before training: {said}", sys.stderr)
    return 128 + number


def requeued(number: int | None) -> str | None:
    """Put the job back into the queue, where the signal that ended the run asks for it; called once, by the first process.

    As Lightning's ``SLURMEnvironment`` does it: ``scontrol requeue JOB``. SIGTERM is not answered so: SLURM itself puts a job
    back that it preempts, and one that was cancelled is to end.

    Args:
        number: of the signal.

    Returns:
        What to say of it; None where there is nothing to put back.
    """
    job = how_started().job
    if REQUEUE is None or number != REQUEUE or job is None:
        return None
    try:
        ran = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False, timeout=_SECONDS)
        why = "" if ran.returncode == 0 else (ran.stderr.strip() or f"status {ran.returncode}").splitlines()[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        return f"scontrol requeue {job} failed ({why}): the job is not started again by itself"
    return f"job {job} is in the queue again, and continues there by itself"
