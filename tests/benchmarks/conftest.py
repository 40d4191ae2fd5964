"""The programs in benchmarks/ import each other by name, as they do when they are run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

Run = Callable[..., dict[str, Any]]
FACTS = {"what", "command", "commit", "device", "threads", "versions", "repeats", "short", "rows", "claims"}
ROW = {"group", "row", "baseline", "unit", "ms", "ratio", "quartiles", "range", "ratio_of_fastest", "seconds"}
CLAIM = {"claim", "bound", "direction", "median", "interval", "met", "why"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a program on the CPU with arguments; what it wrote, after a look at the keys that all programs share."""

    def call(program: ModuleType, *arguments: object) -> dict[str, Any]:
        out = tmp_path / "out.json"
        program.main([*map(str, arguments), "--device", "cpu", "--out", str(out)])
        facts: dict[str, Any] = json.loads(out.read_text())
        assert facts.keys() >= FACTS
        assert facts["command"].startswith(f"python benchmarks/{program.__name__}.py {arguments[0]}")
        assert (facts["threads"], bool(facts["versions"]["torch"])) == (torch.get_num_threads(), True)
        for row in facts["rows"]:
            assert row.keys() >= ROW
            assert len(row["seconds"]) == facts["repeats"] and min(row["seconds"]) > 0
            assert row["row"] != row["baseline"] or (row["ratio"], row["quartiles"], row["range"]) == (1, [1, 1], [1, 1])
        assert all(claim.keys() >= CLAIM for claim in facts["claims"])
        return facts

    return call
