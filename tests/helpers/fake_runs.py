"""Run folders and studies written without training, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CURVES", "FakeCell", "write_run", "write_study"]

CURVES: dict[str, list[float]] = {
    "train/loss": [2.0, 1.0, 0.5],
    "test/acc": [0.5, 0.75, 0.625],
    "memorization/clean_acc": [0.5, 0.75, 0.875],
    "memorization/noisy_as_given": [0.125, 0.25, 0.5],
    "memorization/noisy_as_true": [0.25, 0.5, 0.375],
}


def write_run(
    folder: Path,
    *,
    curves: Mapping[str, Sequence[float]] = CURVES,
    config: Mapping[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """Write the run folder of a finished ELR on digits; `summary` and `config` replace top-level entries."""
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


@dataclass(frozen=True)
class FakeCell:
    """A cell of a study.

    Args:
        axes: as in the plan.
        acc: test accuracy in the last epoch; None for data without test rows.
        held_out: accuracy on held-out rows by their given labels; None where none are held out.
        seconds: wall time.
        state: "finished", "waiting", "running", "stopped" or "failed".
        message: of a failed one.
        epochs: that are done; 3 in all.
        curves: replace those that follow from the figures.
        summary: replaces top-level entries of the summary.
    """

    axes: Mapping[str, str]
    acc: float | None = 0.5
    held_out: float | None = 0.25
    seconds: float = 90.0
    state: str = "finished"
    message: str = ""
    epochs: int = 3
    curves: Mapping[str, Sequence[float]] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Within the study."""
        return "/".join(f"{axis}{value}" if axis in ("seed", "fold") else value for axis, value in self.axes.items())


def _figures(last: float | None, by_val: bool) -> dict[str, Any]:
    best = None if last is None else last + 0.0625
    return {
        "last": last,
        "best_by_val": last if by_val else None,
        "best": best,
        "last10_mean": last,
        "last10_std": None if last is None else 0.0,
    }


def write_study(folder: Path, cells: Sequence[FakeCell], *, baseline: str | None = "CE", name: str = "which") -> Path:
    """Write a study: its plan, run folders of the cells and the states of those that are not finished."""
    plan = {
        "format": 2,
        "name": name,
        "baseline": baseline,
        "spec": {"name": name},
        "job": {},
        "cells": [
            {"folder": c.folder, "axes": dict(c.axes), "configs": [], "row": None, "flags": [["seed_everything", c.axes["seed"]]]}
            for c in cells
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    for cell in cells:
        _write_cell(folder, cell)
    return folder


def _write_cell(study: Path, cell: FakeCell) -> None:
    place = study / cell.folder
    if cell.state == "waiting":
        return
    curves: Mapping[str, Sequence[float]] = {"train/loss": [2.0, 1.0, 0.5]}
    for curve, last in {"test/acc": cell.acc, "val/acc": cell.held_out}.items():
        if last is not None:
            curves = {**curves, curve: [last - 0.125, last + 0.0625, last]}
    curves = {key: list(values)[: cell.epochs] for key, values in (cell.curves or curves).items()}
    facts: dict[str, Any] = {
        "method": cell.axes["method"],
        "seed": int(cell.axes["seed"]),
        "test": {"headline": _figures(cell.acc, by_val=cell.held_out is not None)},
        "val": _figures(cell.held_out, by_val=True),
        "headline": cell.held_out if cell.acc is None else cell.acc,
        "wall_time_s": cell.seconds,
        "epochs": cell.epochs,
    }
    write_run(place, curves=curves, **{**facts, **cell.summary})
    if cell.state != "finished":
        (place / "summary.json").unlink()
        state = {"state": cell.state, "attempts": 1, "message": cell.message, "pid": 1, "host": "here", "since": "2025-01-01"}
        record = study / ".cells" / cell.folder.replace("/", "--") / "state.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps(state), encoding="utf-8")
