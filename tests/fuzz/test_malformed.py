"""Hundreds of malformed commands and files: no traceback, no hang, nothing taken that is wrong, nothing of the user's lost.

``NOISYLAB_FUZZ=5000`` runs so many, and ``NOISYLAB_FUZZ_SEED=1`` others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import traceback
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuzz.generator import FIT, Case, cases, plant
from noisylab.cli import main

# Python 3.12 warns of a fork beside other threads, which here wait
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

COUNT = int(os.environ.get("NOISYLAB_FUZZ", "200"))
SEED = int(os.environ.get("NOISYLAB_FUZZ_SEED", "0"))
LIMIT = 120  # seconds for a command that takes one: a hang is a hang, and the machine may be busy


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, pictures and a pipe; the process is warm afterwards, so that its children start at once."""
    folder = tmp_path_factory.mktemp("material")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main([*FIT[:-1], "run"]) == 0
    finally:
        os.chdir(before)
    (folder / "photos").mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(folder / "photos" / f"{number:02}.png")
    return folder


def snapshot(folder: Path) -> dict[str, str]:
    """The planted files by name, with what they hold."""
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file() and "run" not in path.relative_to(folder).parts[:1]]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def in_a_child(argv: tuple[str, ...], said: Path) -> int | None:
    """The exit status of a command in a process of its own; `None` for one that did not end."""
    ends, begins = os.pipe()
    child = os.fork()
    if child == 0:  # nothing below returns
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(ends)
            output = os.open(said, os.O_WRONLY | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(1, "w", closefd=False))))
                stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(2, "w", closefd=False))))
                try:
                    status = main(list(argv))
                except SystemExit as end:
                    status = end.code if isinstance(end.code, int) else 1
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(status)
    os.close(begins)
    ended, _, _ = select.select([ends], [], [], LIMIT)
    os.close(ends)
    if not ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def faults_of(case: Case, folder: Path, material: Path) -> list[str]:
    """What is wrong with the answer to a case."""
    plant(folder)
    shutil.copytree(material / "photos", folder / "photos")
    if "run" in case.argv or "run/config.yaml" in case.argv:
        shutil.copytree(material / "run", folder / "run")
    os.mkfifo(folder / "pipe")
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    if case.make is not None:
        case.make(folder)
    before = snapshot(folder)
    os.chdir(folder)
    said = folder.parent / f"{folder.name}.txt"
    status = in_a_child(case.argv, said)
    text = said.read_text(errors="replace")
    found = []
    if status is None:
        found.append("it did not end")
    elif status not in (0, 2):
        found.append(f"status {status}")
    if "Traceback" in text:
        found.append("a traceback")
    if "Errors:\n" in text:
        found.append("the reason is cut off")
    if status == 2 and "noisylab: error:" not in text:
        found.append("no message")
    if status == 0 and case.wrong:
        found.append("it was accepted")
    if status == 2 and (folder / "new").exists() and "run" not in case.argv:
        found.append("a run folder was left behind")
    after = snapshot(folder)
    lost = [name for name, content in before.items() if after.get(name) != content]
    if lost:
        found.append(f"changed {lost}")
    return [f"{case.name}: {', '.join(found)}\n    {' '.join(case.argv)!r}\n    {text[-600:]}"] if found else []


def test_malformed_commands_and_files(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOISYLAB_DEBUG", "NOISYLAB_RUN_DIR", "MASTER_ADDR", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NOISYLAB_SETTINGS", str(tmp_path))
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    faults = []
    for number, case in enumerate(cases(SEED, COUNT)):
        folder = tmp_path / f"case{number}"
        folder.mkdir()
        faults += [f"case {number} of seed {SEED}, {fault}" for fault in faults_of(case, folder, material)]
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder)
    assert not faults, f"{len(faults)} of {COUNT}:\n" + "\n".join(faults)
