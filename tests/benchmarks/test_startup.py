"""The program that times the command's quick answers says which bounds are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import startup


@pytest.mark.parametrize(("slow", "status"), [("nothing", 0), ("recipes", 1)])
def test_a_bound_that_is_not_kept_fails(
    slow: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def seconds(arguments: Sequence[str]) -> float:
        return 0.6 if slow in arguments else 0.05

    monkeypatch.setattr(startup, "cpu_seconds", seconds)
    assert startup.main(["--repeats", "2", "--out", str(tmp_path / "out.json")]) == status
    said = capsys.readouterr().out
    assert ("noisylab recipes: 0.60 s of CPU time, bound 0.5 s, not kept" in said) is bool(status)
    assert json.loads((tmp_path / "out.json").read_text())["seconds"].keys() == startup.ASKED.keys()


def test_the_time_of_a_process_counts() -> None:
    assert startup.cpu_seconds(["-c", "sum(range(10**6))"]) > 0
