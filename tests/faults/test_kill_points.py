"""A kill before any operation on files that a command does: what is left can always be taken up, and nothing is missing.

The process that runs the tests imports noisylab once and forks for each run, so a point takes seconds. NOISYLAB_POINTS says how
many of the operations of each command are tried, spread evenly; 0 tries all.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli.main import main

pytestmark = pytest.mark.slow

POINTS = int(os.environ.get("NOISYLAB_POINTS", "3"))
KILLED = 137
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
MODEL = ["--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "3"]
DATA = ["--data", "Arrays", "--data.path", "a.npz", "--data.batch_size", "20", "--data.val_fraction", "0.2"]
TRAIN = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--checkpoint.every_n_minutes", "null"]


@dataclass(frozen=True)
class Command:
    """A command, and how it is taken up.

    Args:
        start: as it is first given.
        resume: what continues it.
        before: what is done before, undisturbed.
    """

    start: list[str]
    resume: list[str]
    before: tuple[str, ...] = ()


_FIT = ["fit", *MODEL, *DATA, *TRAIN, "--run_dir", "run"]
_ISSUES = ["issues", "--arrays", "a.npz", *TRAIN, "--run_dir", "run"]
_FOLDS = ["folds", *MODEL, *DATA, *TRAIN, "--folds", "2", "--run_dir", "run"]
_OLD = (*_FIT, "--seed_everything", "7", "--trainer.max_epochs", "1")
COMMANDS = {
    "fit": Command(_FIT, ["fit", "--run_dir", "run", "--resume"]),
    "resume": Command(
        ["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs", "2"],
        ["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs", "2"],
        (*_FIT, "--trainer.max_epochs", "1"),
    ),
    "overwrite": Command([*_FIT, "--overwrite"], ["fit", "--run_dir", "run", "--resume"], _OLD),
    "folds": Command(_FOLDS, ["folds", "--run_dir", "run", "--resume"]),
    "issues": Command(_ISSUES, ["issues", "--run_dir", "run", "--resume"]),
    "crossfit": Command([*_ISSUES, "--crossfit", "2"], ["issues", "--run_dir", "run", "--resume", "--crossfit", "2"]),
}


def _watch(root: Path, at: int, count: list[int]) -> None:
    """End the process before the operation number `at` that changes something below `root`."""

    def one_more() -> None:
        count[0] += 1
        if count[0] == at:
            os._exit(KILLED)

    def below(path: Any) -> bool:
        if isinstance(path, int):
            return False
        return (Path.cwd() / os.fsdecode(path)).is_relative_to(root)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writing = bool(flags & _WRITES) if isinstance(flags, int) else any(c in (mode or "") for c in "wax+")
            if path is not None and writing and below(path):
                one_more()
        elif event in _CHANGES and below(arguments[0]):
            one_more()

    sys.addaudithook(hook)
    sync = os.fsync

    def fsync(handle: Any) -> None:
        one_more()
        sync(handle)

    os.fsync = fsync


def run(arguments: list[str], folder: Path, at: int = 0) -> tuple[int, int]:
    """Run a command in a process of its own: exit status, and how many operations it did."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(folder)
            output = os.open(f"{folder}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            count = [0]
            _watch(folder, at, count)
            status = main(arguments)
            os.write(writer, str(count[0]).encode())
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writer)
    text = os.read(reader, 64)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(text or 0)


def _said(folder: Path) -> str:
    return Path(f"{folder}.out").read_text()


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(folder / "a.npz", x=(draw.normal(size=(60, 3)) + 2 * np.eye(3)[y]).astype(np.float32), y=y)
    return folder


def _left(folder: Path) -> dict[str, str]:
    """Every file that a command leaves, with the content of those that are equal after equal runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            exact = path.name in ("metrics.csv", "label_issues.csv")
            found[str(path.relative_to(folder))] = path.read_text() if exact else ""
    return {name: text for name, text in found.items() if not name.endswith(".ckpt.previous")}


def _take_up(command: Command, folder: Path, at: int = 0) -> tuple[str, int]:
    """Continue what was killed, start it again, or replace it: which of these it took, and the status."""
    plain = [token for token in command.start if token != "--overwrite"]
    ways = {"resumed": command.resume, "started": plain, "replaced": [*plain, "--overwrite"]}
    if "--resume" in command.start:
        ways = {"resumed": command.resume}
    said = ""
    for way, arguments in ways.items():
        status, _ = run(arguments, folder, at)
        if status != 2:
            return way, status
        said += _said(folder)
    return f"wedged:\n{said}", 2


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, str], int]]:
    """The folder before a command, what the undisturbed command leaves, and how many operations it does."""
    known: dict[str, tuple[Path, dict[str, str], int]] = {}

    def of(name: str) -> tuple[Path, dict[str, str], int]:
        if name not in known:
            base = tmp_path_factory.mktemp(name)
            command, start = COMMANDS[name], _fresh(base / "start")
            if command.before:
                assert run(list(command.before), start)[0] == 0, _said(start)
            shutil.copytree(start, base / "whole")
            status, count = run(command.start, base / "whole")
            assert status == 0, _said(base / "whole")
            known[name] = start, _left(base / "whole"), count
        return known[name]

    return of


def _spread(total: int) -> list[int]:
    wanted = total if POINTS == 0 else min(POINTS, total)
    return sorted({1 + round(place * (total - 1) / max(wanted - 1, 1)) for place in range(wanted)})


@pytest.mark.parametrize("times", [1, 2], ids=["killed once", "killed twice"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_whatever_the_moment_of_a_kill_the_command_is_taken_up(
    name: str,
    times: int,
    prepared: Callable[[str], tuple[Path, dict[str, str], int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = COMMANDS[name]
    start, whole, total = prepared(name)
    ways: dict[str, int] = {}
    faults, points = [], _spread(total)
    for at in points:
        folder = tmp_path / f"at{at}"
        shutil.copytree(start, folder)
        status, _ = run(command.start, folder, at)
        assert status in (KILLED, 0), _said(folder)
        if times == 2:
            _take_up(command, folder, max(at // 2, 1))
        way, status = _take_up(command, folder)
        ways[way.partition(":")[0]] = ways.get(way.partition(":")[0], 0) + 1
        left = _left(folder)
        if status != 0:
            faults.append(f"{name}, operation {at}: status {status}, {way}\n{_said(folder)[-1500:]}")
        elif not _same(command, left, whole):
            differ = sorted({key for key in left | whole if left.get(key) != whole.get(key)})
            faults.append(f"{name}, operation {at}, {way}: left {differ}")
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{name}: {len(points)} of {total} moments, {ways}, {len(faults)} wedged or with something missing", end=" ")
    assert not faults, "\n\n".join(faults)


def _same(command: Command, left: dict[str, str], whole: dict[str, str]) -> bool:
    if left == whole:
        return True
    # a replacement that had not begun was taken back, and the run before it gone on with
    before = "--overwrite" in command.start and set(left) == set(whole)
    return before and not any(re.search(r"\.partial|\.replaced|\.lock", name) for name in left)
