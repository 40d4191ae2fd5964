"""Every figure that a run folder holds, by place and name, for an exact comparison of two runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from noisylab.reading import regular
from noisylab.reports.runs import RunFolder

__all__ = ["ISSUES", "Key", "figures_of", "is_time", "issue_figures", "leaves"]

ISSUES = "label_issues.csv"

_TIME = re.compile(r"(^|/)(time|speed)/|(^|[/_])(seconds|wall_time|time_s|per_s|per_second)$")
# where and when it ran, not what came of it
_LEFT_OUT = (
    *("recipe", "started_from", "wall_time_s", "images_per_s", "resumes"),
    *("device", "precision", "versions", "machine", "code"),
    "data.account",  # tells in words what was read, with its paths
)


class Key(NamedTuple):
    """Where a figure stands.

    Args:
        file: of the run folder.
        name: of the metric; dotted in ``summary.json``; column and row in ``label_issues.csv``.
        epoch: of a metric, counted from 0; None elsewhere.
        step: likewise, the number of batches trained on.
    """

    file: str
    name: str
    epoch: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}, epoch {self.epoch}, step {self.step}" if self.epoch is not None else self.file
        return f"{self.name} ({where})"


def is_time(name: str) -> bool:
    """Whether a metric is a time or a speed, by its name: no two runs have the same.

    >>> is_time("train/images_per_s"), is_time("train/loss")
    (True, False)
    """
    return _TIME.search(name) is not None


def figures_of(run: RunFolder) -> dict[Key, Any]:
    """Numbers, texts, truth values and nulls of ``metrics.csv`` in its order, then of ``summary.json``.

    Times and speeds, and what the summary says of versions and the machine, are left out.

    Args:
        run: finished.
    """
    return dict([*_metrics(run.path), *_summary(run.summary)])


def issue_figures(path: Path) -> dict[Key, Any]:
    """The same of ``label_issues.csv``, by the name of the row, so that rows of equal scores may change places.

    Args:
        path: of the file.
    """
    found: dict[Key, Any] = {}
    with regular(path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        for row in rows:
            for column, text in zip(header[1:], row[1:], strict=True):
                found[Key(ISSUES, f"{column} of {header[0]} {row[0]}")] = _number(text)
    return found


def leaves(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings and lists that is neither; empty ones are values.

    >>> dict(leaves({"a": {"b": 1}, "c": [2, []]}))
    {'a.b': 1, 'c[0]': 2, 'c[1]': []}
    """
    if isinstance(node, Mapping) and node:
        for key, item in node.items():
            yield from leaves(item, f"{at}.{key}".lstrip("."))
    elif isinstance(node, list) and node:
        for place, item in enumerate(node):
            yield from leaves(item, f"{at}[{place}]")
    else:
        yield at, node


def _metrics(folder: Path) -> Iterator[tuple[Key, float]]:
    with regular(folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not is_time(row["name"]):
                yield Key("metrics.csv", row["name"], int(row["epoch"]), int(row["step"])), float(row["value"])


def _summary(summary: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
    for name, value in leaves(summary):
        if not is_time(name) and not any(name == left or name.startswith((f"{left}.", f"{left}[")) for left in _LEFT_OUT):
            yield Key("summary.json", name), value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
