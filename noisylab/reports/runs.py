"""Finished run folders, read back: settings, summary and curves.

A run folder is `runs/<name>/<time>/` with `config.yaml`, `metrics.csv` (columns epoch, step, name, value) and
`summary.json`.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml  # type: ignore[import-untyped, unused-ignore]  # the stubs come with the dev extra
from numpy.typing import NDArray

from noisylab.reading import regular

__all__ = ["Curve", "RunFolder", "RunFolderError", "distinctions", "find_runs", "read_run", "run_labels"]

_COLUMNS = ["epoch", "step", "name", "value"]
_WITHIN_EPOCHS = "_step"  # ending of what is logged several times an epoch (trainer.log_every_n_steps)
_NEXT_STEP = {
    "config.yaml": "a run writes it before it trains, so it was moved or deleted: start the run again from its recipe",
    "metrics.csv": "a run writes it after its first epoch: wait for the run, resume it, or start it again",
    "summary.json": "a run writes it when it ends: wait for the run, or resume it from its last checkpoint",
}


class RunFolderError(ValueError):
    """A run folder is missing or incomplete; the message names the folder, the file and the next step."""


class Curve(NamedTuple):
    """The values that a run logged under one name, in the order of the epochs.

    Args:
        epochs: (E,) int64, counted from 0.
        values: (E,) float64; NaN where the quantity was undefined.
    """

    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunFolder:
    """One finished run.

    Args:
        path: the folder it was read from.
        config: `config.yaml` as written.
        summary: `summary.json` as written; accuracies and rates are fractions in [0, 1].
        curves: `metrics.csv`, one curve a name.
    """

    path: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    curves: Mapping[str, Curve]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.summary["method"])

    @property
    def seed(self) -> int | None:
        """The seed of the run; the noise has a separate seed, `summary["noise"]["seed"]`."""
        seed = self.summary.get("seed")
        return None if seed is None else int(seed)

    @property
    def recipe(self) -> str:
        """The recipe's file name without folder and suffix, or '' for a run without one."""
        return Path(str(self.summary.get("recipe") or "")).stem

    @property
    def complete(self) -> bool:
        """Whether the run reached its last epoch; False if the summary does not say so."""
        return self.summary.get("complete") is True

    @property
    def data(self) -> str:
        """The name of the data set, or 'unnamed data'."""
        return str((self.summary.get("data") or {}).get("name") or "unnamed data")

    @property
    def noise(self) -> str:
        """Noise kind and rate in words, for example 'symmetric 40 %'; 'labels as given' where the run drew none."""
        noise = self.summary.get("noise") or {}
        kind, rate = noise.get("kind"), self.number("noise", "rate")
        if not kind:
            return "labels as given"
        return f"{kind} {100 * rate:g} %" if rate is not None else str(kind)

    @property
    def measured_rate(self) -> float | None:
        """The fraction of training labels that are wrong, or None if the truth is unknown."""
        return self.number("noise", "measured_rate")

    @property
    def protocol(self) -> str:
        """The evaluation protocol in words, or '' where the summary has none."""
        protocol = self.summary.get("protocol")
        if isinstance(protocol, Mapping):
            return ", ".join(f"{key} {value}" for key, value in protocol.items())
        return str(protocol or "")

    @property
    def warmup_epochs(self) -> float | None:
        """`model.init_args.warmup_epochs` of the config, in epochs, or None where the method has none."""
        node: Any = self.config
        for key in ("model", "init_args", "warmup_epochs"):
            node = node.get(key) if isinstance(node, Mapping) else None
        return _finite(node)

    def number(self, *keys: str) -> float | None:
        """The number at `keys` in the summary; None if it is absent, null, NaN or not a number.

        Example: `run.number("test", "headline", "last")`.
        """
        node: Any = self.summary
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return _finite(node)

    def at_end(self, name: str) -> float | None:
        """A diagnostic at the end of training: from the summary, else the last value of its curve.

        None where it was never logged, or undefined (NaN) the last time.
        """
        diagnostics = self.summary.get("diagnostics")
        if isinstance(diagnostics, Mapping) and name in diagnostics:
            return _finite(diagnostics[name])
        curve = self.curves.get(name)
        return None if curve is None else _finite(float(curve.values[-1]))


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def find_runs(root: str | os.PathLike[str], *, finished: bool = True) -> list[Path]:
    """The run folders at or below a folder, sorted by path: by name, then by time.

    Args:
        root: usually `runs` or `runs/<name>`.
        finished: True for the folders with a summary, which `read_run` can read; False for those that have a config but
            no summary yet: still running, or stopped.

    Raises:
        RunFolderError: `root` is not a folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not a folder; give the folder that holds the runs, usually 'runs'")
    return sorted(
        config.parent for config in folder.rglob("config.yaml") if (config.parent / "summary.json").is_file() == finished
    )


def read_run(path: str | os.PathLike[str]) -> RunFolder:
    """Read and check one run folder.

    A run that was stopped early but has a summary is read; its `complete` is False.

    Args:
        path: the folder `runs/<name>/<time>`.

    Raises:
        RunFolderError: the folder or one of its three files is missing, cut short or not in the expected form.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise RunFolderError(f"run folder {folder} {what}; give a folder runs/<name>/<time>")
    missing = [name for name in _NEXT_STEP if not (folder / name).is_file()]
    if len(missing) == len(_NEXT_STEP):
        inner = find_runs(folder)
        hint = f"give one of the {len(inner)} below it, such as {inner[-1]}" if inner else "give runs/<name>/<time>"
        raise RunFolderError(f"{folder} is not a run folder: it has none of {', '.join(missing)}; {hint}")
    if missing:
        raise _error(folder, missing[0], "is missing", _NEXT_STEP[missing[0]])
    return RunFolder(folder, _read_config(folder), _read_summary(folder), _read_curves(folder))


def run_labels(runs: Sequence[RunFolder]) -> list[str]:
    """A short name for each run: its method and whatever else distinguishes it from the others.

    Data, noise and seed are added where the runs differ in them; the recipe, then the folder, where that is not enough.

    Args:
        runs: the runs shown together.
    """
    return [", ".join([run.method, *parts]) for run, parts in zip(runs, distinctions(runs), strict=True)]


def distinctions(runs: Sequence[RunFolder]) -> list[list[str]]:
    """For each run, what distinguishes it from the others besides its method; see `run_labels`."""
    facts = [[run.data, run.noise, "" if run.seed is None else f"seed {run.seed}"] for run in runs]
    varies = [len(set(column)) > 1 for column in zip(*facts, strict=True)]
    parts = [[fact for fact, shown in zip(row, varies, strict=True) if shown and fact] for row in facts]
    for extra in ([run.recipe for run in runs], ["/".join(run.path.absolute().parts[-2:]) for run in runs]):
        alike: dict[tuple[str, ...], set[str]] = {}  # the extra texts of the runs that would have one name
        names = [(run.method, *row) for run, row in zip(runs, parts, strict=True)]
        for name, text in zip(names, extra, strict=True):
            alike.setdefault(name, set()).add(text)
        for row, name, text in zip(parts, names, extra, strict=True):
            if text and len(alike[name]) > 1:
                row.append(text)
    return parts


def _error(folder: Path, name: str, problem: str, next_step: str) -> RunFolderError:
    return RunFolderError(f"run folder {folder}: {name} {problem}; {next_step}")


def _read_text(folder: Path, name: str) -> str:
    try:
        return regular(folder / name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _error(folder, name, f"is not UTF-8 text ({error})", "restore the file or start the run again") from error


def _read_config(folder: Path) -> dict[str, Any]:
    name = "config.yaml"
    try:
        config = yaml.safe_load(_read_text(folder, name))
    except yaml.YAMLError as error:
        raise _error(folder, name, f"is not valid YAML ({error})", "restore the file or start the run again") from error
    if not isinstance(config, dict):
        raise _error(folder, name, "does not hold a mapping", "restore the file or start the run again")
    return config


def _read_summary(folder: Path) -> dict[str, Any]:
    name = "summary.json"
    try:
        summary = json.loads(_read_text(folder, name))
    except json.JSONDecodeError as error:
        raise _error(folder, name, f"is not whole JSON ({error})", _NEXT_STEP[name]) from error
    wanted = {"method": str, "data": dict, "noise": dict, "test": dict}
    for key, kind in wanted.items():
        if not isinstance(summary, dict) or not isinstance(summary.get(key), kind):
            problem = f"has no entry '{key}' that is a {kind.__name__}"
            raise _error(folder, name, problem, "start the run again with this version of noisylab")
    return dict(summary)


def _read_curves(folder: Path) -> dict[str, Curve]:
    name = "metrics.csv"
    text = _read_text(folder, name)
    if not text.endswith("\n"):
        problem = f"is cut short in line {text.count(chr(10)) + 1}"
        raise _error(folder, name, problem, "resume the run, which rewrites it from the checkpoint, or start it again")
    rows = csv.reader(text.splitlines())
    header = next(rows)
    if header != _COLUMNS:
        problem = f"starts with the columns {','.join(header)}, not {','.join(_COLUMNS)}"
        raise _error(folder, name, problem, "restore the file or start the run again")
    points: dict[str, dict[int, float]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            epoch_text, _, metric, value_text = row
            epoch, value = int(epoch_text), float(value_text)
        except ValueError as error:
            problem = f"line {line} is {','.join(row)!r}, not {','.join(_COLUMNS)}"
            raise _error(folder, name, problem, "restore the file or start the run again") from error
        if metric.endswith(_WITHIN_EPOCHS):
            continue
        curve = points.setdefault(metric, {})
        if epoch in curve:
            problem = f"line {line} gives '{metric}' of epoch {epoch} a second time"
            raise _error(folder, name, problem, "two runs wrote into one folder: start the run again in a new one")
        curve[epoch] = value
    return {metric: _curve(curve) for metric, curve in points.items()}


def _curve(points: Mapping[int, float]) -> Curve:
    epochs = sorted(points)
    values = [points[epoch] for epoch in epochs]
    return Curve(np.array(epochs, dtype=np.int64), np.array(values, dtype=np.float64))
