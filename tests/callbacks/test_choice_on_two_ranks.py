"""Label Wave and the predictions for held-out rows, under two processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_same
from helpers.choice_ranks import EPOCHS, METHODS, run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Label Wave:UserWarning")]

_TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and then two ranks left."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in METHODS:
        torch.save(run(name, folder / f"one-{name}"), folder / f"one-{name}.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS.parent), str(_TESTS)]), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in (0, 1):
        command = [sys.executable, "-m", "helpers.choice_ranks", str(rank), str(port), str(folder)]
        with (folder / f"log-{rank}.txt").open("w") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    deadline = time.monotonic() + 600
    try:
        while None in (codes := [process.poll() for process in processes]) and not any(codes) and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(0.2)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder


def _load(file: Path) -> dict[str, Any]:
    if not file.exists():
        logs = sorted(file.parent.glob("log-*.txt"))
        pytest.fail(f"no {file.name}: the pair failed\n" + "\n".join(log.read_text()[-3000:] for log in logs), pytrace=False)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_find_what_one_process_finds(name: str, folder: Path) -> None:
    one = _load(folder / f"one-{name}.pt")
    assert one["epoch"] is not None and any(value > 0 for *_, value in one["rows"])
    for rank in (0, 1):
        assert_same({**_load(folder / f"two-{name}-{rank}.pt"), "state": None}, {**one, "state": None})


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_continue_exactly(name: str, folder: Path) -> None:
    for rank in (0, 1):
        assert_same(_load(folder / f"resumed-{name}-{rank}.pt"), _load(folder / f"two-{name}-{rank}.pt"))


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_stop_together_where_one_process_would(name: str, folder: Path) -> None:
    state = _load(folder / f"one-{name}.pt")["state"]
    smoothed = [sum(state["curve"][1, end - 1 : end + 1].tolist()) for end in range(1, state["curve"].shape[1])]
    rises = [place for place in range(1, len(smoothed)) if smoothed[place] >= min(smoothed[:place])]
    expected = rises[0] + 3 if rises else EPOCHS  # epochs trained: the first mean is that of the third epoch
    assert [_load(folder / f"stopped-{name}-{rank}.pt")["epochs"] for rank in (0, 1)] == [expected, expected]


@pytest.mark.parametrize("name", METHODS)
def test_predictions_for_held_out_rows_are_gathered(name: str, folder: Path) -> None:
    _load(folder / f"two-{name}-0.pt")  # the pair must have come this far
    with np.load(folder / f"one-{name}" / "validation.npz") as one, np.load(folder / f"two-{name}" / "validation.npz") as two:
        assert len(one["index"]) == 5
        for column in ("index", "given", "pred"):
            assert one[column].tolist() == two[column].tolist()
        np.testing.assert_allclose(two["top_prob"], one["top_prob"], rtol=0, atol=1e-5)
