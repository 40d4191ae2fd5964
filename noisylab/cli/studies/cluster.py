"""Submits the workers of a study as jobs of a cluster, through submitit."""

from __future__ import annotations

import math
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.studyplan import Plan
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.running.session import say
from noisylab.cli.studies.clusterjob import StudyWorker
from noisylab.cli.studies.crew import WORKER

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Cluster", "cluster_of", "script_of", "submit"]

LOGS = "cluster"
"""The folder within a study of submitit's files: what is submitted, and what each job prints."""

_KINDS = ("slurm", "local")
_WORKERS = 4
_MINUTES = 240
_WARNING = 120  # seconds
_LEAST_MINUTES = 10
_SPARE = 30  # seconds of these that are left for putting the job back
_REQUEUES = 1000  # no limit that anybody meets: a study ends when its cells are finished
_REASON = re.compile(r"(\w+\.)*\w*(Error|Exception|error): .+")
_NEEDS = ("workers", "partition", "time", "gpus", "cpus", "mem")


@dataclass(frozen=True)
class Cluster:
    """What is asked of a cluster.

    Args:
        kind: "slurm", or "local" for processes of this machine, to try it out.
        workers: number of jobs.
        minutes: time of each, after which it is put back into the queue.
        partition: None for the cluster's default.
        gpus: of each job.
        cpus: likewise; 0 for the cluster's default.
        memory: GB of each job; 0 for the cluster's default.
        more: further options of ``sbatch``, as "account": "lab"; True for one without a value.
    """

    kind: str
    workers: int
    minutes: int
    partition: str | None = None
    gpus: int = 0
    cpus: int = 0
    memory: float = 0.0
    more: tuple[tuple[str, str | bool], ...] = ()

    @property
    def warning(self) -> int:
        """Seconds before the end of a job's time in which it is told."""
        return _WARNING if self.kind == "slurm" else _WARNING // 4

    def parameters(self, name: str) -> dict[str, Any]:
        """Those of submitit's ``SlurmExecutor.update_parameters``.

        Args:
            name: of the study.
        """
        found: dict[str, Any] = {"job_name": f"noisylab-{name}", "time": self.minutes, "signal_delay_s": self.warning}
        found |= {"ntasks_per_node": 1, "nodes": 1, "stderr_to_stdout": True}
        found |= {} if self.partition is None else {"partition": self.partition}
        found |= {"gpus_per_node": self.gpus} if self.gpus else {}
        found |= {"cpus_per_task": self.cpus} if self.cpus else {}
        found |= {"mem": _memory(self.memory)} if self.memory else {}
        # back into the queue, too, after a preemption or the loss of a machine that nobody announced
        return {**found, "additional_parameters": {"requeue": True, **dict(self.more)}}


def cluster_of(options: Options, cells: int) -> Cluster | None:
    """What a command line asks of a cluster; None without ``--cluster``.

    Args:
        options: of ``noisylab study``.
        cells: number of cells of the study.

    Raises:
        UserError: for values that cannot be meant.
    """
    own, kind = options.own, options.own.get("cluster")
    if kind is None:
        alone = [f"--{name}" for name in _NEEDS if name in own] + ["--sbatch"] * bool(options.sbatch)
        if alone:
            raise UserError(f"{alone[0]} belongs to --cluster slurm; add that, or leave it out")
        return None
    if kind not in _KINDS:
        raise unknown("--cluster", kind, _KINDS)
    if "jobs" in own:
        raise UserError("--jobs is for workers of this machine, and --cluster submits --workers jobs; give one of the two")
    if kind == "local" and ("partition" in own or options.sbatch):
        raise UserError("--partition and --sbatch belong to --cluster slurm; leave them out")
    pairs: list[tuple[str, str | bool]] = []
    for text in options.sbatch:
        key, equals, value = text.partition("=")
        if not key.strip("- "):
            raise UserError(f"--sbatch: expected KEY=VALUE, an option of sbatch such as account=lab, got {text!r}")
        pairs.append((key.lstrip("-"), value if equals else True))
    minutes = _whole(own, "time", _MINUTES, 1)
    if kind == "slurm" and minutes < _LEAST_MINUTES:
        raise UserError(
            f"--time {minutes}: {_WARNING} seconds of a job are kept for saving; give {_LEAST_MINUTES} minutes or more"
        )
    return Cluster(
        kind,
        min(_whole(own, "workers", _WORKERS, 1), cells),
        minutes,
        own.get("partition"),
        _whole(own, "gpus", 0, 0),
        _whole(own, "cpus", 0, 1),
        _number(own, "mem"),
        tuple(pairs),
    )


def script_of(cluster: Cluster, name: str, folder: Path) -> str:
    """The script that would be handed to ``sbatch``.

    Args:
        cluster: of kind "slurm".
        name: of the study.
        folder: of the study.
    """
    _submitit()
    from noisylab.upstream.submitit import batch_script

    return batch_script(folder.absolute() / LOGS / "%j", cluster.parameters(name), cluster.workers)


def submit(
    plan: Plan, folder: Path, cluster: Cluster, arguments: Sequence[str] = (), *, begun: Callable[[], None] = lambda: None
) -> int:
    """Submit the workers of a study; those of kind "local" are waited for.

    Args:
        plan: of the study.
        folder: of the study, which holds the plan.
        cluster: what is asked for.
        arguments: further ones of each worker's command, as loggers.
        begun: called once the jobs are submitted.

    Returns:
        The exit status: 0 when they are submitted or, of kind "local", when all have ended well.

    Raises:
        UserError: without submitit or SLURM, or where SLURM refuses the jobs.
    """
    submitit = _submitit()
    place = folder.absolute() / LOGS
    worker = StudyWorker(
        str(folder.absolute()),
        str(Path.cwd()),
        {WORKER: repr(time.time()), "NOISYLAB_STUDY": plan.name},
        tuple(arguments),
        threads=cluster.cpus,
        patience=float(cluster.warning - min(_SPARE, cluster.warning // 2)),
    )
    if cluster.kind == "local":
        return _run_here(submitit, worker, cluster, place, plan.name, begun)
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise UserError(
                f"--cluster slurm: {program} is not found on this machine; submit from a login node of the cluster\n"
                "  --dry_run prints the script without submitting; on machines that share the folder without SLURM, start on "
                f"each:\n  noisylab study --run_dir {folder} --resume"
            )
    began = place.exists()
    executor = submitit.SlurmExecutor(place / "%j", max_num_timeout=_REQUEUES)
    executor.update_parameters(**cluster.parameters(plan.name))
    try:
        with executor.batch():
            jobs = [executor.submit(worker) for _ in range(cluster.workers)]
        numbers = [str(job.job_id) for job in jobs]
        begun()
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        if not began:
            shutil.rmtree(place, ignore_errors=True)
        raise UserError(f"--cluster slurm: sbatch refused the jobs: {_last_line(error)}") from error
    many = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else numbers[0]
    say(f"{len(numbers)} workers are in the queue: {many}; what they print is in {place}", sys.stdout)
    say(_about_storage(folder), sys.stderr)
    say(f"how far it is: noisylab study status {folder}", sys.stdout)
    return 0


def _run_here(submitit: Any, worker: StudyWorker, cluster: Cluster, place: Path, name: str, begun: Callable[[], None]) -> int:
    """Start the jobs on this machine, and wait for them."""
    executor = submitit.LocalExecutor(place, max_num_timeout=_REQUEUES)
    # submitit hides all GPUs from a local job that asks for none
    executor.update_parameters(timeout_min=cluster.minutes, gpus_per_node=cluster.gpus, signal_delay_s=cluster.warning)
    jobs = [executor.submit(worker) for _ in range(cluster.workers)]
    begun()
    numbers = [str(job.job_id) for job in jobs]
    say(f"{len(jobs)} workers of {name} run here as jobs {', '.join(numbers)}; what they print is in {place}", sys.stdout)
    with _cancelled_on_signals(jobs):
        while not all(job.done() for job in jobs):
            time.sleep(0.5)
    errors = [(number, job.exception()) for number, job in zip(numbers, jobs, strict=True)]
    for number, error in errors:
        if error is not None:
            say(f"job {number} ended with an error: {_last_line(error)}; see {place / number}_0_log.err", sys.stderr)
    if any(error is not None for _, error in errors):
        return 1
    return max(int(job.result()) for job in jobs)


@contextmanager
def _cancelled_on_signals(jobs: Sequence[Any]) -> Iterator[None]:
    """End the jobs in order when this command is ended: their workers save first."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel(check=False)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError(f'--cluster needs submitit, which is not installed ({error}): pip install "noisylab[slurm]"') from None
    return submitit


def _about_storage(folder: Path) -> str:
    """What cannot be known here, and is the likeliest reason for jobs that end without a word."""
    whole = folder.absolute()
    local = [Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/tmp")]  # looked at, not written to
    if any(whole.is_relative_to(place) for place in local):
        return f"note: {whole} looks like storage of this machine alone; the machines of the cluster must see it under this path"
    return f"note: the machines of the cluster must see {whole} under this path; whether they do cannot be told from here"


def _last_line(error: BaseException) -> str:
    """The line of a message that says why: of a traceback within it the last, below which submitit names its files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if _REASON.match(line)), lines[-1])


def _whole(own: dict[str, str], name: str, default: int, least: int) -> int:
    text = own.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"--{name}: expected a whole number, {least} or more, got {text!r}")
    return int(text)


def _number(own: dict[str, str], name: str) -> float:
    text = own.get(name)
    try:
        value = 0.0 if text is None else float(text)
    except ValueError:
        value = math.nan
    if text is not None and not 0 < value < math.inf:
        raise UserError(f"--{name}: expected a number of GB above 0, got {text!r}")
    return value


def _memory(gigabytes: float) -> str:
    return f"{gigabytes:.0f}GB" if gigabytes == int(gigabytes) else f"{gigabytes * 1024:.0f}MB"
