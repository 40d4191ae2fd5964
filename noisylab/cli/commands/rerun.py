"""The command rerun: repeats a finished run in a new folder, and says whether the numbers are equal."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.commands.fit import fit
from noisylab.cli.configuration.origin import path_keys
from noisylab.cli.errors import UserError, is_bug, short
from noisylab.cli.folder.claim import hold
from noisylab.cli.folder.marker import RERUN
from noisylab.cli.launch import first_process, how_started
from noisylab.cli.running.app import App
from noisylab.cli.running.resumed import check_stored
from noisylab.cli.running.session import quiet, say
from noisylab.files import atomic_path
from noisylab.reports.edited import edited_curves
from noisylab.reports.repetition import compare_repetition
from noisylab.reports.runs import RunFolder, RunFolderError, read_run

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["rerun"]

_AGAIN = "start the run again from its recipe"


def rerun(options: Options) -> int:
    """Train a finished run once more, from its own ``config.yaml``, and compare all figures.

    Args:
        options: the folder of the run; ``--run_dir`` for the new one, with ``--resume`` where that was begun before: then only
            what is left is trained, and nothing if it is finished.

    Returns:
        0 if all figures are equal, 1 if some differ, that of the training where it was stopped.

    Raises:
        UserError: for a run that is not finished, or whose files have moved.
    """
    quiet()
    tolerance, folder = _tolerance(options), _folder(options)
    old = _finished(folder)
    _check_new(old, options)
    checkpoint = old.path / "checkpoints" / "last.ckpt"
    edited = edited_curves(old.path, _curves_at(checkpoint))
    old, notes = _with_digests(old, checkpoint), _notes(old)
    new = _repeated(old, options)
    if isinstance(new, int):
        return new
    repetition = compare_repetition(old, _read(new), tolerance=tolerance, known=edited, notes=notes)
    with hold(new), atomic_path(new / RERUN) as partial:
        partial.write_text(json.dumps(repetition.record(), indent=2) + "\n", encoding="utf-8")
    say(f"{repetition.text()}\nin full: {new / RERUN}", sys.stdout)
    return 0 if repetition.equal else 1


def _tolerance(options: Options) -> float:
    text = options.own.get("tolerance", "0")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 <= value < math.inf):
        raise UserError(f"--tolerance: expected a number, 0 or more, got {text!r}; 0 compares every digit")
    return value


def _folder(options: Options) -> Path:
    if len(options.places) != 1:
        raise UserError(
            f"noisylab rerun needs the folder of one run, got {len(options.places)}: noisylab rerun runs/act_digits/TIME"
        )
    if "resume" in options.own and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the repetition to continue")
    return Path(options.places[0])


def _finished(folder: Path) -> RunFolder:
    """The run, whole and at its end."""
    if (folder / "config.yaml").is_file():
        check_stored(folder, _AGAIN)
        if not (folder / "summary.json").is_file():
            raise _unfinished(folder, "it has no summary.json")
    run = _read(folder)
    if not run.complete:
        ended = run.summary.get("ended_by")
        raise _unfinished(folder, f"it was ended by {ended}" if ended else "its summary.json does not say that it is complete")
    return run


def _read(folder: Path) -> RunFolder:
    try:
        return read_run(folder)
    except RunFolderError as error:
        raise UserError(str(error)) from error


def _unfinished(folder: Path, why: str) -> UserError:
    return UserError(
        f"the run in {folder} is not finished ({why}), so there is nothing to compare with\n"
        f"  finish it first: noisylab fit --run_dir {folder} --resume"
    )


def _check_new(old: RunFolder, options: Options) -> None:
    new = options.own.get("run_dir")
    if new is not None and Path(new).resolve().is_relative_to(old.path.resolve()):
        raise UserError(f"--run_dir {new} is the run that is to be repeated, or lies in it; name a new folder")


# ---- what the old run recorded


def _notes(old: RunFolder) -> list[str]:
    """What one has to know of the old run to judge the comparison."""
    notes, resumes = [], old.summary.get("resumes")
    if resumes:
        times = f"{resumes} time{'s' * (resumes > 1)}"
        notes.append(
            f"the run was resumed {times}, and its repetition is not interrupted: on the CPU that gives the same numbers"
        )
    machine = old.summary.get("machine") or {}
    processes = machine.get("processes", 1)
    if processes > 1:
        notes.append(f"the run was trained by {processes} processes, whose sums are added in the same order only by as many")
    if not machine:
        notes.append(
            "an older noisylab wrote the run, without threads, processor, digests of code, and how often it was resumed: "
            "these are not compared"
        )
    return notes


def _with_digests(old: RunFolder, checkpoint: Path) -> RunFolder:
    """The run with the digests of its data in the summary, from its checkpoint where an older version wrote the summary."""
    data = old.summary["data"]
    record = None if "digests" in data else fitted_in(checkpoint)
    if record is None:
        return old
    test = record["test"] or {}
    digests = {
        "inputs": record["train"]["inputs"],
        "labels": record["train"]["labels"],
        "test_inputs": test.get("inputs"),
        "test_labels": test.get("labels"),
    }
    return replace(old, summary={**old.summary, "data": {**data, "digests": digests}})


def _curves_at(checkpoint: Path) -> dict[str, Any] | None:
    """What a checkpoint knows of ``metrics.csv``: its first bytes and their digest; None without a readable one."""
    try:
        content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        return dict(content["callbacks"]["Curves"]["file"])
    except Exception:  # whatever a damaged or older file raises; the run is compared without it
        return None


# ---- training


def _repeated(old: RunFolder, options: Options) -> Path | int:
    """The folder of the finished repetition, else the exit status."""
    own = {key: value for key, value in options.own.items() if key in ("run_dir", "resume", "overwrite", "rank_timeout")}
    begun_before = Path(own.get("run_dir", "."))
    if "resume" in own and (begun_before / "summary.json").is_file() and _read(begun_before).complete:
        say(f"the repetition in {begun_before} is finished: nothing is trained", sys.stderr)
        return begun_before
    moved = _moved(old, options)
    flags: list[tuple[str, str | None]] = [] if "resume" in own else [*moved, *_device(old)]
    configs = [] if "resume" in own else [str(old.path / "config.yaml")]
    folders: list[Path] = []
    begun: list[bool] = []

    def done(app: App) -> None:
        assert app.folder is not None
        folders.append(app.folder)

    one = replace(options, command="fit", own=own, configs=configs, flags=flags, places=[], moved=[])
    with _threads(old):
        try:
            status = fit(one, begun=lambda: begun.append(True), done=done)
        except Exception as error:
            if begun or is_bug(error):
                raise
            raise _explained(error, old, options, dict(moved)) from error
    if status:
        compare = f"noisylab rerun {old.path} --run_dir DIR --resume"
        say(f"to finish the repetition and compare it with the run: {compare}", sys.stderr)
        return status
    return folders[0] if first_process() else 0


def _moved(old: RunFolder, options: Options) -> list[tuple[str, str | None]]:
    """Flags that say where the files of the run are now."""
    flags: list[tuple[str, str | None]] = []
    pairs = []
    for text in options.moved:
        before, equals, after = text.partition("=")
        if not (before and equals and after):
            raise UserError(f"--moved: expected OLD=NEW, two files or folders, got {text!r}")
        pairs.append((Path(before).expanduser().absolute(), Path(after).expanduser().absolute()))
    used = set()

    def now(path: str) -> str:
        for before, after in pairs:
            if Path(path).is_relative_to(before):
                used.add(before)
                return str(after / Path(path).relative_to(before))
        return path

    for key, path in path_keys(dict(old.config)):
        if now(path) != path:
            flags.append((key, now(path)))
    starts = old.config.get("init_from") or []
    elsewhere = [{**start, "run": now(start["run"])} for start in starts]
    if elsewhere != starts:
        flags.append(("init_from", json.dumps(elsewhere)))
    unused = [before for before, _ in pairs if before not in used]
    if unused:
        files = ", ".join(path for _, path in _files(old)) or "none"
        raise UserError(f"--moved: the run names no file in {unused[0]}\n  files and folders that it names: {files}")
    return flags


def _files(old: RunFolder) -> list[tuple[str, str]]:
    """(key, path) of the files and folders that a run names."""
    starts = [("init_from", str(start["run"])) for start in old.config.get("init_from") or []]
    return [*path_keys(dict(old.config)), *starts]


def _explained(error: Exception, old: RunFolder, options: Options, moved: dict[str, Any]) -> Exception:
    """An error before training, with the files of the run that are not there any more."""
    gone = [(key, path) for key, path in _files(old) if key not in moved and not Path(path).exists()]
    if not gone:
        return error
    names = ", ".join(f"{key} {path}" for key, path in gone[:3])
    return UserError(
        f"{short(error, 1)}\n  of the files that the run names, not there: {names}\n"
        f"  put them back, or say where they are now: noisylab rerun {old.path} --moved OLD=NEW, with files or folders above them"
    )


def _device(old: RunFolder) -> list[tuple[str, str | None]]:
    """Keep a run of the CPU there, although this machine has something faster."""
    chosen = (old.config.get("trainer") or {}).get("accelerator") in (None, "auto")
    faster = torch.cuda.is_available() or torch.backends.mps.is_available()
    if old.summary.get("device") != "cpu" or not (chosen and faster):
        return []
    say("the run was trained on the CPU, and so is its repetition (trainer.accelerator=cpu)", sys.stderr)
    return [("trainer.accelerator", "cpu")]


@contextlib.contextmanager
def _threads(old: RunFolder) -> Iterator[None]:
    """As many threads as the run had: they decide in which order sums are added."""
    wanted, usual = (old.summary.get("machine") or {}).get("threads"), torch.get_num_threads()
    if not isinstance(wanted, int) or wanted == usual or how_started().world > 1:
        yield
        return
    say(f"with {wanted} thread{'s' * (wanted > 1)}, as the run had, in place of {usual}", sys.stderr)
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(usual)
