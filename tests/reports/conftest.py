from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

MakeRun = Callable[..., Path]

CURVES: dict[str, list[float]] = {
    "train/loss": [2.0, 1.0, 0.5],
    "test/acc": [0.5, 0.75, 0.625],
    "memorization/clean_acc": [0.5, 0.75, 0.875],
    "memorization/noisy_as_given": [0.125, 0.25, 0.5],
    "memorization/noisy_as_true": [0.25, 0.5, 0.375],
}


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
        folder = tmp_path / "runs" / name / time
        folder.mkdir(parents=True)
        settings = {
            "seed_everything": summary.get("seed", 0),
            "model": {"class_path": "ELR", "init_args": {"beta": 0.7}},
            "data": {"class_path": "Digits", "init_args": {"noise": {"class_path": "Symmetric", "seed": 1}}},
            "trainer": {"max_epochs": 3, "default_root_dir": str(folder)},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **(config or {})}), encoding="utf-8")
        lines = ["epoch,step,name,value"]
        for epoch in range(max(len(values) for values in curves.values())):
            lines += [f"{epoch},{10 * (epoch + 1)},{key},{values[epoch]}" for key, values in curves.items()]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        facts = {
            "recipe": "configs/elr_digits.yaml",
            "method": "ELR",
            "seed": 0,
            "protocol": "mean of the last ten epochs",
            "headline": 0.625,
            "data": {"name": "digits", "num_classes": 10, "num_train": 1437},
            "noise": {"kind": "symmetric", "rate": 0.4, "measured_rate": 0.3984, "digest": "ab12", "seed": 1},
            "test": {
                "headline": {
                    "last": 0.625,
                    "best_by_val": 0.71875,
                    "best": 0.75,
                    "last10_mean": 0.625,
                    "last10_std": 0.1020620726,
                    "balanced_acc": 0.6,
                }
            },
            "diagnostics": {
                "memorization/noisy_as_given": 0.5,
                "select/precision": 0.9,
                "select/recall": 0.8,
                "select/f1": 0.847058824,
            },
            "wall_time_s": 90.0,
            "versions": {"torch": "2.6.0"},
            "device": "cpu",
            "epochs": 3,
            "complete": True,
        }
        (folder / "summary.json").write_text(json.dumps({**facts, **summary}), encoding="utf-8")
        return folder

    return make
