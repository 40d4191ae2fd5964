"""Estimated transition matrices beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.reports.page.blocks import Block, Fold, Grid, Section, Text
from noisylab.reports.page.content import Content, Group
from noisylab.reports.page.matrices import matrix
from noisylab.reports.page.words import listed
from noisylab.reports.runs import RunFolder
from noisylab.reports.transition_picture import transition_figure

__all__ = ["class_names", "transition_section"]

_MOST_OPEN = 2


def transition_section(content: Content) -> Section:
    """For each group whose method estimates a matrix, the estimate of its first run, the truth and their difference."""
    found = [(group, run) for group in content.groups if (run := _first_with_one(group)) is not None]
    blocks: list[Block] = []
    for number, (group, run) in enumerate(found):
        heading = f"{group.name}{f', {group.task}' if len(content.tasks) > 1 else ''}"
        blocks.append(Fold(heading, _one(group, run, number), open=number < _MOST_OPEN))
    if blocks:
        note = (
            "Share of each true class (down) that was given a label (across), in percent, in the last epoch with an estimate. "
            "The error is the sum of absolute differences over the sum of the true entries, from 0 to 2."
        )
        blocks.insert(0, Text(note, "soft"))
    return Section("transition", "Transition matrix: estimated and true", blocks)


def class_names(run: RunFolder, classes: int) -> list[str]:
    """The names of the classes, or their numbers where the run has none."""
    names = run.summary["data"].get("class_names") or []
    return [str(name) for name in names] if len(names) == classes else [str(place) for place in range(classes)]


def _first_with_one(group: Group) -> RunFolder | None:
    return next((run for run in group.runs if (run.summary.get("transition") or {}).get("estimate")), None)


def _one(group: Group, run: RunFolder, number: int) -> list[Block]:
    record: Mapping[str, Any] = run.summary["transition"]
    estimate = np.asarray(record["estimate"], dtype=np.float64)
    names = class_names(run, len(estimate))
    pictures = [matrix(estimate.tolist(), names, "estimated")]
    if record.get("truth") is not None:
        truth = np.asarray(record["truth"], dtype=np.float64)
        pictures += [
            matrix(truth.tolist(), names, "true"),
            matrix((estimate - truth).tolist(), names, "estimated \N{MINUS SIGN} true", signed=True),
        ]
    png = partial(_png, run.summary)
    return [Text(_errors(group, run)), Grid(pictures, "matrix", png=png, name=f"transition-{number + 1}")]


def _png(summary: Mapping[str, Any], path: Path) -> Path:
    return transition_figure(summary, path)


def _errors(group: Group, shown: RunFolder) -> str:
    errors = [(run, run.number("transition", "metrics", "error")) for run in group.runs]
    known = [f"{error:.3f} (seed {run.seed})" for run, error in errors if error is not None]
    which = "" if len(group.runs) == 1 else f" Shown: seed {shown.seed}."
    return f"Error {listed(known)}.{which}" if known else f"The true matrix is not known.{which}"
