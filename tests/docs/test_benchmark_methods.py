"""The benchmark of the methods runs and writes what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from blocks import ROOT


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_methods", ROOT / "benchmarks" / "methods.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_short_run_times_every_method_and_the_plain_loop(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "methods.json"
    benchmark.main(["--short", "--device", "cpu", "--batch", "4", "--out", str(out)])
    facts = json.loads(out.read_text())
    rows = {row["row"]: row for row in facts["rows"]}
    assert {"CrossEntropy, plain loop", "CrossEntropy", "ACT, warm-up", "ACT, after warm-up"} <= set(rows)
    assert rows["CrossEntropy"]["ratio"] == 1
    assert all(len(row["seconds"]) == facts["repeats"] and min(row["seconds"]) > 0 for row in rows.values())
    assert facts["versions"]["torch"] and facts["command"].startswith("python benchmarks/methods.py --short")
    assert "too few steps to quote" in capsys.readouterr().out


def test_ratio_is_taken_within_a_repeat(benchmark: ModuleType) -> None:
    # the machine was twice as slow in the second repeat, which no ratio shows
    base, row = benchmark.summarise({"CrossEntropy": [1.0, 2.0, 1.0], "X": [3.0, 6.0, 3.0]})
    assert (base["ratio"], row["ratio"], row["quartiles"]) == (1, 3, [3, 3])
    assert row["ms"] == 3000


def test_every_public_method_has_a_row(benchmark: ModuleType) -> None:
    names = [row.name for row in benchmark.all_rows(benchmark.network_factory("SmallCNN"))]
    assert all(any(name.startswith(cls.__name__) for name in names) for cls in benchmark.concrete_methods())


def test_unknown_network_is_refused(benchmark: ModuleType) -> None:
    with pytest.raises(SystemExit, match="SmallCNN"):
        benchmark.network_factory("SmallCMM")
