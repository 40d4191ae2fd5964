"""The benchmark of the methods runs and writes what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import methods
import pytest
import torch

Run = Callable[..., dict[str, Any]]


@pytest.mark.slow
def test_short_run_times_every_method_and_the_plain_loop(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run(methods, "--short", "--batch", 4)
    rows = {row["row"]: row for row in facts["rows"]}
    assert {"CrossEntropy, plain loop", "CrossEntropy", "ACT, warm-up", "ACT, after warm-up"} <= set(rows)
    assert rows["CrossEntropy"]["ratio"] == 1
    assert facts["short"] and (facts["batch"], facts["steps"], facts["network"]) == (4, 2, "SmallCNN")
    assert "too few steps to quote" in capsys.readouterr().out


def test_ratio_is_taken_within_a_repeat() -> None:
    # the machine was twice as slow in the second repeat, which no ratio shows
    base, row = methods.summarize({"CrossEntropy": [1.0, 2.0, 1.0], "X": [3.0, 6.0, 3.0]})
    assert (base["ratio"], row["ratio"], row["quartiles"]) == (1, 3, [3, 3])
    assert row["ms"] == 3000


def test_every_public_method_has_a_row() -> None:
    names = [row.name for row in methods.all_rows(methods.network_factory("SmallCNN"))]
    assert all(any(name.startswith(cls.__name__) for name in names) for cls in methods.concrete_methods())


def test_methods_that_need_trusted_rows_are_timed_with_some() -> None:
    network = methods.network_factory("SmallCNN")
    rows = [row for row in methods.all_rows(network) if row.method is not None and row.method().needs_trusted]
    assert {row.name.split(",")[0] for row in rows} >= {"L2R", "IEG"}
    for row in rows:
        assert methods.time_row(row, network, batch=4, steps=1, warm=1, device=torch.device("cpu")) > 0


def test_unknown_network_is_refused() -> None:
    with pytest.raises(SystemExit, match="SmallCNN"):
        methods.network_factory("SmallCMM")
