"""Promise 4: two processes give the answer of one. One pair of processes runs everything; the tests read what it left."""

from __future__ import annotations

import contextlib
import itertools
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
from helpers import PACKAGED, assert_same
from helpers.ranks import METHODS, PLACES, run, run_single_rows
from torch import Tensor

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
_EQUAL_ON_RANKS = ("networks", "memory", "written", "selections", "curves", "step", "epoch", "schedules")


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
    """What one process and then two ranks left: straight and resumed runs, runs with batch statistics, a scoring pass."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in METHODS:
        torch.save(run(name, folder / f"one-{name}"), folder / f"one-{name}.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in (0, 1):
        command = [sys.executable, "-m", "helpers.ranks", str(rank), str(port), str(folder)]
        with (folder / f"log-{rank}.txt").open("w") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    deadline = time.monotonic() + 1200
    try:
        # when one fails the other would wait for it
        while None in (codes := [process.poll() for process in processes]) and not any(codes) and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(0.2)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder


def _load(file: Path) -> dict[str, Any]:
    """A state that the pair, or one process, has left; where the pair failed before, what it said."""
    if not file.exists():
        logs = sorted(file.parent.glob("log-*.txt"))
        pytest.fail(f"no {file.name}: the pair failed\n" + "\n".join(log.read_text()[-3000:] for log in logs), pytrace=False)
    return {name: value for name, value in torch.load(file, weights_only=False).items() if name != "file"}


def _both(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return _load(folder / f"{name}-0.pt"), _load(folder / f"{name}-1.pt")


def _plans(*states: dict[str, Any]) -> list[dict[str, Any]]:
    """What does not depend on random draws: counters, rates, the names of the metrics.

    Where the epochs have lengths of their own, these follow what was learned, and steps are not compared.
    """
    plans, alike = [], all(_epochs_are_alike(state) for state in states)
    for state in states:
        curves = {(epoch, step if alike else 0, name): value for epoch, step, name, value in state["curves"]}
        named = {key: value if key[2].startswith("lr/") else None for key, value in curves.items()}
        plans.append({"step": state["step"] if alike else 0, "epoch": state["epoch"], "curves": named})
    return plans


def _epochs_are_alike(state: dict[str, Any]) -> bool:
    ends = [0, *{epoch: step for epoch, step, *_ in state["curves"]}.values()]
    return len({later - earlier for earlier, later in itertools.pairwise(ends)}) == 1


@pytest.mark.parametrize("name", METHODS)
def test_ranks_end_with_equal_weights_memories_and_curves(name: str, folder: Path) -> None:
    first, second = _both(folder, f"two-{name}")
    for part in _EQUAL_ON_RANKS:
        assert_same(second[part], first[part], part)


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_the_memory_is_written(name: str, folder: Path) -> None:
    one, two = _load(folder / f"one-{name}.pt")["written"], _load(folder / f"two-{name}-0.pt")["written"]
    assert list(one) == list(two)
    written = [torch.stack(list(fields.values())).any(0).sum() for fields in (one, two)]
    # five of 34 are held out, or six trusted and four held out; with mixup nothing is observed
    trusted = name in PACKAGED and PACKAGED[name]().needs_trusted
    assert written[0] == written[1] and int(written[1]) in (0, 24 if trusted else 29)


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_give_the_answer_of_one_process(name: str, folder: Path) -> None:
    found, expected = _load(folder / f"two-{name}-0.pt"), _load(folder / f"one-{name}.pt")
    assert found["draws"] == expected["draws"]
    if expected["draws"]:
        found, expected = _plans(found, expected)
    _assert_close(found, expected)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_continue_a_run(name: str, where: str, folder: Path) -> None:
    """That of one process; if the steps draw, one of two ranks, and then bit for bit."""
    for rank, resumed in enumerate(_both(folder, f"resumed-{name}-{where}")):
        if resumed["draws"]:
            assert_same(resumed, _load(folder / f"two-{name}-{rank}.pt"))
        else:
            _assert_close(resumed, _load(folder / f"one-{name}.pt"))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", METHODS)
def test_one_process_continues_a_run_of_two_ranks(name: str, where: str, folder: Path) -> None:
    expected = _load(folder / f"two-{name}-0.pt")  # the pair must have come this far
    resumed = run(name, folder / f"back-{name}-{where}", resume=folder / f"two-{name}" / f"{where}.ckpt")
    resumed.pop("file")
    if expected["draws"]:
        found, wanted = _plans(resumed, expected)
        assert found == wanted
    else:
        _assert_close(resumed, _load(folder / f"one-{name}.pt"))


def test_steps_that_draw_are_noticed(folder: Path) -> None:
    assert _load(folder / "one-ce-mixup.pt")["draws"]
    assert not any(_load(folder / f"one-{name}.pt")["draws"] for name in ("ce", "act", "phased"))


@pytest.mark.parametrize("name", PACKAGED)
def test_ranks_end_with_equal_batch_statistics_metrics_and_selections(name: str, folder: Path) -> None:
    first, second = _both(folder, f"norm-{name}")
    assert any("running_mean" in key for key in first["networks"])
    for part in _EQUAL_ON_RANKS:
        assert_same(second[part], first[part], part)


@pytest.mark.parametrize("name", PACKAGED)
def test_two_ranks_resume_batch_statistics_exactly(name: str, folder: Path) -> None:
    for resumed, straight in zip(_both(folder, f"norm-resumed-{name}"), _both(folder, f"norm-{name}"), strict=True):
        assert_same(resumed, straight)


@pytest.mark.parametrize("name", PACKAGED)
def test_one_row_to_evaluate_on_gives_two_ranks_the_metrics_of_one_process(name: str, folder: Path) -> None:
    first, second = _both(folder, f"few-{name}")
    assert_same(second["curves"], first["curves"])
    expected = run(name, folder / f"few-one-{name}", few=True)
    names = [row[2] for row in expected["curves"]]
    assert "val/acc" in names and "test/acc" in names
    if first["draws"]:
        first, expected = _plans(first, expected)
    _assert_close(first["curves"], expected["curves"])


def test_a_rank_without_a_row_of_the_batch_changes_nothing(folder: Path) -> None:
    first, second = _both(folder, "single")
    for part in ("networks", "memory", "curves", "step", "epoch", "schedules"):
        assert_same(second[part], first[part], part)
    expected = run_single_rows(folder / "single-one")
    expected.pop("file")
    assert expected["step"] == 6 and bool((expected["memory"]["observed_epoch"] == 0).all())
    _assert_close(first, expected)


def test_scoring_pass_measures_every_row_once_over_the_ranks(folder: Path) -> None:
    first, second = _both(folder, "scored")
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
    for tables in _both(folder, "scored"):
        assert tables["one_mask"].nonzero().flatten().tolist() == [7]
        assert int(tables["one"][7]) == 7
