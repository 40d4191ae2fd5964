from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_runs import CURVES, write_run

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder of three epochs under `tmp_path/runs`; `summary` and `config` replace top-level entries."""

    def make(
        name: str = "elr",
        time: str = "2025-01-01_00-00-00",
        *,
        curves: Mapping[str, Sequence[float]] = CURVES,
        config: Mapping[str, Any] | None = None,
        **summary: Any,
    ) -> Path:
        return write_run(tmp_path / "runs" / name / time, curves=curves, config=config, **summary)

    return make
