"""The data card of the noise: what was asked for, what came of it, and by what the labels can be recognized."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisylab.reading import check_arrays
from noisylab.reports.page.blocks import Block, Cell, Column, Figure, Fold, Grid, Lines, Section, Table, Terms, Text
from noisylab.reports.page.content import Content
from noisylab.reports.page.matrices import matrix
from noisylab.reports.page.transitions import class_names
from noisylab.reports.page.words import NONE, distinct, listed, percents
from noisylab.reports.runs import RunFolder

__all__ = ["data_section"]

_MOST_CLASSES = 12  # in a table that is not folded away
_MOST_NAMES = 30
_DIGESTS = {
    "inputs": "inputs",
    "labels": "labels, before any noise",
    "test_inputs": "test inputs",
    "test_labels": "test labels",
    "split": "rows trained on",
}


def data_section(content: Content) -> Section:
    """One card for each task: kind and rate of the noise, each draw with its digest, classes and counts, the account."""
    blocks: list[Block] = []
    for task in content.tasks:
        runs = [run for group in content.of(task) for run in group.runs]
        card = _card(runs)
        blocks += [Fold(task, card, open=len(content.tasks) <= 3)] if len(content.tasks) > 1 else card
    return Section("data", "Data card of the noise", blocks)


def _card(runs: Sequence[RunFolder]) -> list[Block]:
    draws = _draws(runs)
    first = draws[0]
    blocks: list[Block] = [Terms(_terms(runs)), _draws_table(draws)]
    rates = {str((run.summary.get("noise") or {}).get("digest")) for run in draws}
    if len(rates) > 1:
        blocks.append(Text("Runs with the same digest were trained on the same given labels.", "soft"))
    counts, true = _counts(first), _transition(runs)
    damaged = _given(first.path)[1]
    blocks += [Lines([damaged], "warning")] if damaged else []
    beside: list[Table | Figure] = [counts] if counts is not None and len(counts.parts[0][1]) <= _MOST_CLASSES else []
    beside += [true] if true is not None else []
    if beside:
        blocks.append(Grid(beside, "matrix"))
    if counts is not None and counts not in beside:
        blocks.append(Fold(f"Rows of each of {len(counts.parts[0][1])} classes", [counts]))
    digests = _digests(draws)
    blocks += [Fold("Digests of the data", [digests])] if digests is not None else []
    account = distinct(str(line) for run in runs for line in run.summary["data"].get("account") or [])
    if account:
        blocks += [Text("What was read, left out or converted:"), Lines(account)]
    return blocks


def _draws(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """One run for each draw of the noise, by its digest and seed."""
    found: dict[tuple[str, str], RunFolder] = {}
    for run in runs:
        noise = run.summary.get("noise") or {}
        found.setdefault((str(noise.get("digest")), str(noise.get("seed"))), run)
    return list(found.values())


def _terms(runs: Sequence[RunFolder]) -> list[tuple[str, str, str]]:
    noises = [run.summary.get("noise") or {} for run in runs]
    data = runs[0].summary["data"]
    names = [str(name) for name in data.get("class_names") or []]
    shown = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")
    kinds = distinct(str(noise.get("kind") or "") for noise in noises)
    generators = [each for each in distinct(str(noise.get("generator") or "") for noise in noises) if each not in kinds]
    rates = distinct("" if rate is None else f"{100 * rate:g} %" for rate in (run.number("noise", "rate") for run in runs))
    measured = sorted({rate for run in runs if (rate := run.measured_rate) is not None})
    span = [f"{percents(measured[0])} %", f"{percents(measured[-1])} %"] if measured else []
    terms = [
        ("Data", listed(distinct(run.data for run in runs)), ""),
        ("Kind", listed(kinds) or "labels as they were given", ""),
        ("Generator", listed(generators), ""),
        ("Rate asked for", listed(rates), "the parameter of the kind"),
        ("Rate measured", " to ".join(distinct(span)), "share of training labels that differ from the true ones"),
        ("Classes", f"{data.get('num_classes')}: {shown}" if names else str(data.get("num_classes") or ""), ""),
    ]
    return [term for term in terms if term[1]]


def _draws_table(draws: Sequence[RunFolder]) -> Table:
    columns = [Column("seed of the noise"), Column("measured rate, %", number=True), Column("training rows", number=True)]
    columns += [Column("of them trained on", number=True), Column("digest of the given labels (SHA-256)")]
    rows = []
    for run in draws:
        noise, data = run.summary.get("noise") or {}, run.summary["data"]
        digest, seed = noise.get("digest"), noise.get("seed")
        rows.append(
            [
                Cell("none" if seed is None else str(seed)),
                Cell(percents(run.measured_rate, 2)),
                Cell(_whole(data.get("num_train"))),
                Cell(_whole(data.get("num_train_used"))),
                Cell(str(digest or NONE), kind="code"),
            ]
        )
    return Table(columns, [("", rows)], "The labels that were given, one line for each draw of the noise")


def _digests(draws: Sequence[RunFolder]) -> Table | None:
    """What the data can be recognized by, apart from the noise; None where the runs do not say."""
    found: dict[str, list[str]] = {}
    for run in draws:
        seed = (run.summary.get("noise") or {}).get("seed")
        for name, digest in (run.summary["data"].get("digests") or {}).items():
            drawn = f", noise seed {seed}" if name == "split" and len(draws) > 1 else ""
            found.setdefault(f"{_DIGESTS.get(name, name)}{drawn}", []).append(str(digest or ""))
    rows = [[Cell(what), Cell("; ".join(distinct(each)), kind="code")] for what, each in found.items() if any(each)]
    return Table([Column("what"), Column("digest (SHA-256)")], [("", rows)], "The data as they were read") if rows else None


def _whole(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else NONE


def _counts(run: RunFolder) -> Table | None:
    """Rows of each class: given labels in training, true labels in the test set; None where neither is known."""
    given, confusion = _given(run.path)[0], (run.summary["test"].get("headline") or {}).get("confusion")
    classes = run.summary["data"].get("num_classes")
    if not isinstance(classes, int) or (given is None and not confusion):
        return None
    columns, counts = [], []
    if given is not None:
        columns.append(Column("given in training", number=True))
        counts.append(np.bincount(given[(given >= 0) & (given < classes)], minlength=classes))
    if confusion and len(confusion) == classes:
        columns.append(Column("true in the test set", number=True))
        counts.append(np.asarray(confusion).sum(axis=1))
    if not counts:
        return None
    rows = [
        [Cell(name), *(Cell(f"{int(each[k]):,}", bar=float(each[k]) / max(int(each.max()), 1)) for each in counts)]
        for k, name in enumerate(class_names(run, classes))
    ]
    seed = (run.summary.get("noise") or {}).get("seed")
    drawn = f" (noise with seed {seed})" if given is not None and seed is not None else ""
    return Table([Column("class"), *columns], [("", rows)], f"Rows of each class{drawn}")


def _given(folder: Path) -> tuple[NDArray[np.int64] | None, str]:
    """The labels that were given, from `noise.npz`, and what is wrong with that file; None and "" where there is none."""
    file = folder / "noise.npz"
    if not file.is_file():
        return None, ""
    try:
        check_arrays(file, ["given_target"])
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays["given_target"], dtype=np.int64), ""
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        return None, f"{file} cannot be read ({error}): the rows of each class are not known; start the run again"


def _transition(runs: Sequence[RunFolder]) -> Table | Figure | None:
    """The first transition matrix that a run knows: measured on its labels, or the one that they were drawn from."""
    for run in runs:
        values = (run.summary.get("noise") or {}).get("realized_transition")
        if values:
            what = "Realized transition, percent: share of each true class (down) that was given a label (across)"
            return matrix(values, class_names(run, len(values[0])), what)
    for run in runs:
        values = (run.summary.get("transition") or {}).get("truth")
        if values:
            what = "Transition that the labels were drawn from, percent: true class down, given label across"
            return matrix(values, class_names(run, len(values[0])), what)
    return None
