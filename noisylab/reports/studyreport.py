"""The table of a study, as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from noisylab.reports.paired import PairedDifference, points, seeds_needed
from noisylab.reports.runs import RunFolder
from noisylab.reports.studyfigures import (
    FIGURES,
    Entry,
    baseline_row,
    entries_of,
    has_unlabeled_rows,
    held_out_labels,
    principal,
    row_cost,
    row_name,
)
from noisylab.reports.studyfolder import StudyFolder
from noisylab.reports.studylayout import Column, as_markdown, as_text, tables_of
from noisylab.reports.table import percent, plus_minus

__all__ = ["StudyReport", "study_report"]

_FEW = "?"  # after a difference
_FOLD = re.compile(r"fold \d+ of 0\.\.(\d+)")

_Entries = dict[tuple[tuple[str, ...], str], Entry]


@dataclass(frozen=True)
class StudyReport:
    """The table of a study.

    Args:
        text: for a terminal, at most 120 characters wide where the columns allow it; ends in a newline.
        markdown: the same.
        csv: one line for each row and noise; fractions, and seconds.
        record: for a JSON file: every figure with its values by seed, as fractions.
    """

    text: str
    markdown: str
    csv: str
    record: dict[str, Any]


def study_report(study: StudyFolder, *, baseline: str | None = None, best: bool = False) -> StudyReport:
    """What the finished cells of a study say.

    Rows are the methods with their settings. For each noise there is the test accuracy that the protocol names
    (`noisylab.reports.studyfigures.principal`), mean and population standard deviation over the seeds, of each seed the mean over
    its folds; the paired difference from the baseline on the same seeds; further figures where the runs have them; and the cost.

    Args:
        study: from `read_study`; it need not be finished.
        baseline: a method, or method and setting, that the others are compared with; None for the one that the study names, else
            its first row.
        best: also show the highest test accuracy of all epochs, marked as what it is: chosen on the test set.

    Raises:
        ValueError: the study has no such baseline.
    """
    base, figure = baseline_row(study, baseline), principal(study)
    entries = entries_of(study, base, figure, best=best)
    runs = [run for entry in entries.values() for run in entry.runs]
    shown = _shown(entries, runs, figure)
    rows = {row: row_name(row) for row in study.rows}
    tables = tables_of(rows, study.noises, _columns(study, entries, shown, base), _costs(study, entries, base))
    notes = _notes(study, entries, runs, shown, base)
    heading = _heading(study, runs)
    return StudyReport(
        text=as_text(heading, tables, notes),
        markdown=as_markdown(heading, tables, notes),
        csv=_csv(entries),
        record=_record(study, entries, base, figure, notes),
    )


def _shown(entries: _Entries, runs: Sequence[RunFolder], figure: str) -> list[str]:
    """The names of the figures that the table has, the one that is compared first."""
    wanted = {"always", "asked", *(["unlabeled"] if has_unlabeled_rows(runs) else [])}
    there = {name for entry in entries.values() for name in entry.figures}
    return [figure, *(name for name, found in FIGURES.items() if name in there and name != figure and found.shown in wanted)]


def _heading(study: StudyFolder, runs: Sequence[RunFolder]) -> str:
    counts = Counter(cell.state for cell in study.cells)
    others = [f"{counts[state]} {state}" for state in ("failed", "damaged", "running", "stopped", "waiting") if counts[state]]
    data = ", ".join(dict.fromkeys(run.data for run in runs))
    done = f"{counts['finished']} of {len(study.cells)} runs finished"
    return f"{study.name}{f' on {data}' if data else ''}: {', '.join([done, *others])}"


# ---- columns


def _columns(study: StudyFolder, entries: _Entries, shown: Sequence[str], base: tuple[str, ...]) -> list[Column]:
    several = len(study.noises) > 1
    labels = held_out_labels([run for entry in entries.values() for run in entry.runs])
    found = []
    for name in shown:
        figure, by = FIGURES[name], f", {labels}" if labels and name.startswith("held_out") else ""
        cells = {key: _accuracy(entry, name, marked=several and name == shown[0]) for key, entry in entries.items()}
        title = figure.title.replace("held-out rows", f"held-out rows by {labels}") if by else figure.title
        found.append(Column(f"{title}, percent", f"{figure.column}{by}", cells))
    if len(study.rows) > 1:
        against = row_name(base)
        texts = {key: _difference(entry.difference) for key, entry in entries.items() if entry.row != base}
        found.insert(
            1, Column(f"Difference from {against}, points [95 % interval], seeds won", f"from {against}, seeds won", texts)
        )
    return found


def _costs(study: StudyFolder, entries: _Entries, base: tuple[str, ...]) -> list[Column]:
    """What belongs to a row as a whole; in the place of its first noise."""
    costs = {row: row_cost(study, row, base) for row in study.rows}
    first = study.noises[0]
    seconds = {
        (row, first): "-" if c.seconds is None else f"{c.seconds:.{0 if c.seconds >= 100 else 1}f}" for row, c in costs.items()
    }
    relative = {(row, first): "-" if c.relative is None else f"{c.relative:.2f}" for row, c in costs.items()}
    epochs = {(row, first): "-" if c.epochs is None else f"{c.epochs:g}" for row, c in costs.items()}
    found = [Column("", "seconds", seconds)]
    if len(study.rows) > 1:
        found.append(Column("", f"x {row_name(base)}", {key: "1" if key[0] == base else text for key, text in relative.items()}))
    if len(set(epochs.values()) - {"-"}) > 1:
        found.append(Column("", "epochs", epochs))
    if len(study.noises) == 1:
        found.append(Column("", "seeds", {key: _seeds(entry) for key, entry in entries.items()}))
    return found


def _accuracy(entry: Entry, name: str, *, marked: bool) -> str:
    spread = entry.spread(name)
    text = plus_minus(None if spread is None else spread.mean, spread.std if spread and entry.repeats > 1 else None)
    lacking = ", ".join(_lacking(entry)) if marked else ""
    return f"{text} ({lacking})" if lacking else text


def _lacking(entry: Entry) -> list[str]:
    """How many seeds count, where not all do, and how many cells failed."""
    planned = len({cell.repeat[0] for cell in entry.cells})
    found = [f"{len(entry.seeds)} of {planned}"] if len(entry.seeds) < planned else []
    return found + [f"{entry.count(state)} {state}" for state in ("failed", "damaged") if entry.count(state)]


def _seeds(entry: Entry) -> str:
    lacking = _lacking(entry)
    return ", ".join(lacking) if lacking else str(len(entry.seeds))


def _difference(found: PairedDifference | None) -> str:
    if found is None:
        return "-"
    won = f"{found.wins}/{len(found.seeds)}"
    if found.interval is None:
        return f"{points(found.mean)} {won} {_FEW}"
    low, high = (points(value) for value in found.interval)
    return f"{points(found.mean)} [{low}, {high}] {won}"


# ---- notes


def _notes(
    study: StudyFolder, entries: _Entries, runs: Sequence[RunFolder], shown: Sequence[str], base: tuple[str, ...]
) -> list[str]:
    notes = [_spread_note(study)]
    compared = [entry.difference for entry in entries.values() if entry.difference is not None]
    if compared:
        what = FIGURES[shown[0]].title
        interval = "a 95 % bootstrap interval over the seeds, " if any(each.interval for each in compared) else ""
        notes.append(
            f"Differences: {what[0].lower()}{what[1:]}, in points, on the same seeds and noise draws; the mean, {interval}and on "
            "how many seeds the row is better."
        )
    if any(each.interval is None for each in compared):
        notes.append(f"{_FEW} too few seeds to tell: a 95 % interval needs {seeds_needed(0.95)}. {_by_seed(entries)}".rstrip())
    said = ["best_chosen_on_test"] if len(study.noises) > 1 else list(FIGURES)  # the title of a figure's own table says the rest
    notes += dict.fromkeys(note for name in shown if name in said and (note := FIGURES[name].note))
    if runs:
        notes.append("seconds: mean wall time of a run on the machine as busy as it was.")
    notes += _protocols(runs)
    notes += [f"{noise}: {told}." for noise in study.noises if noise and (told := _noise(entries, noise))]
    notes += [
        f"{cell} {cell.state}: {cell.message.strip().splitlines()[0] if cell.message.strip() else 'no message'}"
        for cell in study.cells
        if cell.state in ("failed", "damaged")
    ]
    return notes


def _spread_note(study: StudyFolder) -> str:
    folds = any("fold" in cell.axes for cell in study.cells)
    seeds = {cell.repeat[0] for cell in study.cells}
    if len(seeds) == 1:
        how = "mean ± population standard deviation over the folds" if folds else "one seed"
    else:
        how = "mean ± population standard deviation over the seeds" + (", of each the mean over its folds" if folds else "")
    return f"Accuracies in percent: {how}."


def _by_seed(entries: _Entries) -> str:
    """The differences themselves, where there are few of them."""
    several = len({noise for _, noise in entries}) > 1
    found = []
    for entry in entries.values():
        if entry.difference is not None and entry.difference.interval is None and len(entry.difference.seeds) > 1:
            name = row_name((*entry.row, entry.noise if several else ""))
            found.append(f"{name}: {' '.join(points(value, 1) for value in entry.difference.differences)}")
    return f"Seed by seed: {'; '.join(found)}." if found else ""


def _protocols(runs: Sequence[RunFolder]) -> list[str]:
    found: dict[str, list[str]] = {}
    for run in runs:
        protocol = _FOLD.sub(lambda match: f"each of {int(match[1]) + 1} folds in turn", run.protocol)
        if protocol:
            found.setdefault(protocol, []).append(run.method)
    if len(found) == 1:
        return [f"Protocol: {next(iter(found))}."]
    return [f"Protocol of {', '.join(dict.fromkeys(methods))}: {protocol}." for protocol, methods in found.items()]


def _noise(entries: _Entries, noise: str) -> str:
    """Kind and measured rate of a noise, over its draws."""
    runs = [run for entry in entries.values() if entry.noise == noise for run in entry.runs]
    kinds = ", ".join(dict.fromkeys(run.noise for run in runs))
    rates = [rate for run in runs if (rate := run.measured_rate) is not None]
    if not rates or not kinds:
        return kinds
    low, high = percent(min(rates), 1), percent(max(rates), 1)
    return f"{kinds}; {low if low == high else f'{low} to {high}'} % of the training labels are wrong"


# ---- files


def _csv(entries: _Entries) -> str:
    figures = [name for name in FIGURES if any(name in entry.figures for entry in entries.values())]
    text = io.StringIO(newline="")
    out = csv.writer(text, lineterminator="\n")
    head = ["method", "setting", "noise", "seeds", "planned", "finished", "failed"]
    against = [
        "difference",
        "difference_std",
        "standard_error",
        "low",
        "high",
        "wins",
        "ties",
        "losses",
        "sign_flip_p",
        "too_few",
    ]
    spread = [f"{name}_{part}" for name in figures for part in ("mean", "std")]
    out.writerow([*head, *spread, *against, "wall_time_s", "relative_cost"])
    for entry in entries.values():
        setting = entry.row[1] if len(entry.row) > 1 else ""
        counts = [len(entry.cells), entry.count("finished"), entry.count("failed") + entry.count("damaged")]
        about = [entry.row[0], setting, entry.noise, " ".join(entry.seeds), *counts]
        spreads = [entry.spread(name) for name in figures]
        values = [value for found in spreads for value in ((None, None) if found is None else (found.mean, found.std))]
        out.writerow([_cell(value) for value in (*about, *values, *_compared(entry.difference), entry.wall_time_s, entry.cost)])
    return text.getvalue()


def _compared(found: PairedDifference | None) -> list[Any]:
    if found is None:
        return [None] * 10
    low, high = found.interval or (None, None)
    spread = [found.mean, found.std, found.standard_error, low, high]
    return [*spread, found.wins, found.ties, found.losses, found.p_value, found.too_few]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _record(study: StudyFolder, entries: _Entries, base: tuple[str, ...], figure: str, notes: Sequence[str]) -> dict[str, Any]:
    rows = []
    for entry in entries.values():
        figures: dict[str, Any] = {}
        for name, values in entry.figures.items():
            spread = entry.spread(name)
            assert spread is not None
            figures[name] = {"mean": spread.mean, "std": spread.std, "values": {"/".join(key): v for key, v in values.items()}}
        difference = None if entry.difference is None else {**asdict(entry.difference), "too_few": entry.difference.too_few}
        rows.append(
            {
                "method": entry.row[0],
                "setting": entry.row[1] if len(entry.row) > 1 else "",
                "noise": entry.noise,
                "seeds": list(entry.seeds),
                "missing": list(dict.fromkeys(c.repeat[0] for c in entry.cells if c.repeat[0] not in entry.seeds)),
                "cells": [
                    {"folder": c.name, "state": c.state, **({"message": c.message} if c.message else {})} for c in entry.cells
                ],
                "figures": figures,
                "difference": difference,
                "wall_time_s": entry.wall_time_s,
                "relative_cost": entry.cost,
            }
        )
    compared = {"baseline": row_name(base), "figure": figure, "titles": {name: found.title for name, found in FIGURES.items()}}
    return {"name": study.name, **compared, "rows": rows, "notes": list(notes)}
