"""Promise 4: two processes give the answer of one. One pair of processes runs everything; the tests read what it left."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_same
from helpers.ranks import METHODS, run
from torch import Tensor

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
_EPOCH_ENDS = {"ce": 3, "act": 3, "phased": 4, "staged": 3, "side-stream": 3}  # the batch whose save waits for the epoch's end
_MIDDLE = 1


def _strip(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in ("file", "files")}


def _load(file: Path) -> dict[str, Any]:
    return _strip(torch.load(file, weights_only=False))


def _assert_close(found: Any, expected: Any, where: str = "state") -> None:
    """Floats to 1e-5, everything else exactly."""
    assert type(found) is type(expected), where
    if isinstance(found, Tensor) and found.is_floating_point():
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, equal_nan=True, msg=lambda text: f"{where}: {text}")
    elif isinstance(found, Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(found, dict):
        assert list(found) == list(expected), where
        for key in found:
            _assert_close(found[key], expected[key], f"{where}.{key}")
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected), where
        for place, pair in enumerate(zip(found, expected, strict=True)):
            _assert_close(*pair, f"{where}[{place}]")
    elif isinstance(found, float):
        assert math.isclose(found, expected, rel_tol=0, abs_tol=1e-5) or (found != found and expected != expected), where
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and then two ranks left: straight runs, the ranks' resumed from those of one process, a scoring pass."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in METHODS:
        state = run(name, folder / f"one-{name}", save=True)
        torch.save(state, folder / f"one-{name}.pt")
        for place, file in enumerate(state["files"]):
            if place not in (_MIDDLE, _EPOCH_ENDS[name]):
                (folder / f"one-{name}" / file).unlink()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    processes, logs = [], []
    for rank in (0, 1):
        logs.append(folder / f"log-{rank}.txt")
        command = [sys.executable, "-m", "helpers.ranks", str(rank), str(port), str(folder)]
        with logs[-1].open("w") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    deadline = time.monotonic() + 300
    try:
        # when one fails the other would wait for it
        while None in (codes := [process.poll() for process in processes]) and not any(codes) and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(0.2)
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_ranks_end_with_equal_weights_memories_and_curves(name: str, folder: Path) -> None:
    first, second = (_load(folder / f"two-{name}-{rank}.pt") for rank in (0, 1))
    for part in ("networks", "memory", "curves", "step"):
        assert_same(second[part], first[part], part)


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_the_memory_is_written(name: str, folder: Path) -> None:
    memory = _load(folder / f"two-{name}-0.pt")["memory"]
    # the phased dummy observes the rows that it keeps, and scores all
    written = memory["score" if name == "phased" else "observed_loss"].isfinite()
    assert int(written.sum()) == 29  # five of 34 are held out


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_give_the_answer_of_one_process(name: str, folder: Path) -> None:
    _assert_close(_load(folder / f"two-{name}-0.pt"), _load(folder / f"one-{name}.pt"))


@pytest.mark.parametrize("where", ["middle", "end"])
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_continue_a_run_of_one_process(name: str, where: str, folder: Path) -> None:
    batch = _MIDDLE if where == "middle" else _EPOCH_ENDS[name]
    for rank in (0, 1):
        _assert_close(_load(folder / f"resumed-{name}-batch-{batch}-{rank}.pt"), _load(folder / f"one-{name}.pt"))


@pytest.mark.parametrize("where", ["middle", "end"])
@pytest.mark.parametrize("name", METHODS)
def test_one_process_continues_a_run_of_two_ranks(name: str, where: str, folder: Path) -> None:
    batch = _MIDDLE if where == "middle" else _EPOCH_ENDS[name]
    file = folder / f"two-{name}" / f"batch-{batch}.ckpt"
    resumed = _strip(run(name, folder / f"back-{name}-{where}", resume=file))
    _assert_close(resumed, _load(folder / f"one-{name}.pt"))


def test_scoring_pass_measures_every_row_once_over_the_ranks(folder: Path) -> None:
    first, second = (torch.load(folder / f"scored-{rank}.pt") for rank in (0, 1))
    mask = first["mask"]
    assert int(mask.sum()) == 29
    measured = first["measured"] + second["measured"]
    assert torch.equal(measured, mask.long())
    rows = torch.arange(34)
    for tables in (first, second):
        assert torch.equal(tables["mask"], mask)
        assert torch.equal(tables["row"], rows * mask)
        assert torch.equal(tables["even"], (rows % 2 == 0) & mask)
        assert torch.equal(tables["pair"][:, 0], rows * mask) and tables["pair"].shape == (34, 2)


def test_scoring_fewer_rows_than_ranks(folder: Path) -> None:
    for rank in (0, 1):
        tables = torch.load(folder / f"scored-{rank}.pt")
        assert tables["one_mask"].nonzero().flatten().tolist() == [7]
        assert int(tables["one"][7]) == 7
