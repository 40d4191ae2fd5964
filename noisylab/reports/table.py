"""Runs side by side in one table, as plain text or Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

from noisylab.reports.runs import RunFolder, run_labels

__all__ = ["comparison_table", "markdown_table", "percent", "plus_minus"]

_WIDTH = 100
_GAP = "  "
_LAST = 10  # epochs in the mean of the last ones
# group, column under it in plain text, column in Markdown
_COLUMNS = [
    ("test accuracy", "last", "test accuracy, last"),
    ("test accuracy", "by val", "best by val"),
    ("test accuracy", "max*", "max*"),
    ("test accuracy", "mean of last 10", "mean of last 10"),
    ("wrong labels", "memorized", "wrong labels memorized"),
    ("selection", "precision", "selection precision"),
    ("selection", "recall", "recall"),
    ("selection", "F1", "F1"),
]
_UNLABELED = [("unlabeled", "used", "unlabeled rows used"), ("unlabeled", "right", "right among used")]  # where a run has them


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent without the sign, or '-' for None.

    Args:
        value: fraction.
        digits: decimals shown.

    Example:
        >>> percent(0.9134), percent(None), percent(0.5, digits=1)
        ('91.34', '-', '50.0')
    """
    return "-" if value is None else f"{100 * value:.{digits}f}"


def plus_minus(mean: float | None, std: float | None) -> str:
    """Mean and standard deviation, fractions, in percent: '91.34 ± 0.12', or '-' without a mean.

    Example:
        >>> plus_minus(0.9134, 0.0012), plus_minus(0.9134, None), plus_minus(None, None)
        ('91.34 ± 0.12', '91.34', '-')
    """
    return percent(mean) if mean is None or std is None else f"{percent(mean)} ± {percent(std)}"


def comparison_table(runs: Sequence[RunFolder], *, form: Literal["text", "markdown"] = "text") -> str:
    """Test accuracy, memorized wrong labels and selection of some runs, one row per run, in percent.

    The columns are the headline predictor's test accuracy in the last epoch, in the best epoch by held-out rows (by
    accuracy or loss, as the protocol says), its maximum over the epochs (marked: choosing on the test set is no protocol)
    and its mean and population standard deviation over the last ten epochs; the share of wrong training labels the
    network gives back at the end; precision, recall and F1 of the samples selected as clean in the last epoch; where a run
    learned from unlabeled rows, their mean weight in the loss and the share of it that was on right pseudo-labels, in the last
    epoch. '-' stands for what a run does not have. What all runs share is said above the table, what differs is in the
    row's name.

    Args:
        runs: at least one; the rows keep their order.
        form: "text" is aligned and at most 100 columns wide; "markdown" is a pipe table.

    Returns:
        Lines ending in a newline.

    Raises:
        ValueError: `runs` is empty or `form` is not one of the two.
    """
    if not runs:
        raise ValueError("runs is empty; give at least one run, for example read_run(path) of each of find_runs('runs')")
    if form not in ("text", "markdown"):
        raise ValueError(f"form={form!r} is not known; give 'text' or 'markdown'")
    labels = [label if run.complete else f"{label} †" for run, label in zip(runs, run_labels(runs), strict=True)]
    columns = [*_COLUMNS, *(_UNLABELED if any("unlabeled/used" in run.curves for run in runs) else [])]
    rows = [_cells(run)[: len(columns)] for run in runs]
    head, notes = _setting(runs), _notes(runs)
    if form == "markdown":
        body = markdown_table(
            ["method", *(name for _, _, name in columns)], [[label, *row] for label, row in zip(labels, rows, strict=True)]
        )
        return f"{head}\n\n{body}\n" + "".join(f"- {note}\n" for note in notes)
    lines = [*textwrap.wrap(head, _WIDTH), "", *_aligned(columns, labels, rows), ""]
    for note in notes:
        lines += textwrap.wrap(note, _WIDTH, subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table, columns of numbers flush right, others flush left; bars and line ends in cells are escaped.

    Example:
        >>> print(markdown_table(["method", "last"], [["ELR", "91.3"], ["ACT", "-"]]), end="")
        | method | last |
        |:--|--:|
        | ELR | 91.3 |
        | ACT | - |
    """
    lines = [columns, *rows]
    text = ["| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in line) + " |" for line in lines]
    numbers = [all(cell == "-" or cell[:1].isdigit() for cell in column[1:]) for column in zip(*lines, strict=True)]
    text.insert(1, "|" + "".join("--:|" if number else ":--|" for number in numbers))
    return "\n".join(text) + "\n"


def _cells(run: RunFolder) -> list[str]:
    return [
        percent(run.number("test", "headline", "last")),
        percent(run.number("test", "headline", "best_by_val")),
        percent(run.number("test", "headline", "best")),
        plus_minus(run.number("test", "headline", "last10_mean"), run.number("test", "headline", "last10_std")),
        percent(run.at_end("memorization/noisy_as_given"), digits=1),
        *(percent(run.at_end(f"select/{name}"), digits=1) for name in ("precision", "recall", "f1")),
        *(percent(run.at_end(f"unlabeled/{name}"), digits=1) for name in ("used", "used_right")),
    ]


def _setting(runs: Sequence[RunFolder]) -> str:
    """The unit, and everything the runs have in common."""
    noise = {_noise_with_measured(run) for run in runs}
    if len(noise) > 1:  # one kind and rate, but drawn with other seeds: the kind is still common
        noise = {run.noise for run in runs}
    shared = [min(values) for values in ({run.data for run in runs}, noise, _seeds(runs)) if len(values) == 1]
    common = f" {', '.join(shared)}." if shared else ""
    return f"All numbers in percent.{' All runs:' if shared and len(runs) > 1 else ''}{common}"


def _seeds(runs: Sequence[RunFolder]) -> set[str]:
    return {"no seed" if run.seed is None else f"seed {run.seed}" for run in runs}


def _noise_with_measured(run: RunFolder) -> str:
    if run.measured_rate is None:
        return run.noise
    return f"{run.noise} ({percent(run.measured_rate, digits=1)} % of labels wrong)"


def _notes(runs: Sequence[RunFolder]) -> list[str]:
    shorter = ", or all of a shorter run" if any((run.number("epochs") or _LAST) < _LAST for run in runs) else ""
    notes = [
        "by val: in the epoch with the best validation accuracy.",
        "max*: highest of all epochs, chosen on the test set: an upper bound, not a protocol.",
        f"mean of last 10: over the last ten epochs{shorter}, ± population standard deviation.",
        "memorized: wrong training labels that the network gives back, at the end of training.",
        "selection: of the samples taken as clean, at the end of training.",
    ]
    if any("unlabeled/used" in run.curves for run in runs):
        notes.append(
            "unlabeled: mean weight of these rows in the last epoch, and the share of it that was on right pseudo-labels."
        )
    protocols: dict[str, list[str]] = {}
    for run, label in zip(runs, run_labels(runs), strict=True):
        protocols.setdefault(run.protocol, []).append(label)
    for protocol, labels in protocols.items():
        if protocol:
            notes.append(f"Protocol{'' if len(protocols) == 1 else ' of ' + '; '.join(labels)}: {protocol}.")
    if not all(run.complete for run in runs):
        notes.append("†: stopped before its last epoch; resume the run before comparing it.")
    return notes


def _aligned(columns: Sequence[tuple[str, str, str]], labels: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    names = [name for _, name, _ in columns]
    widths = [max(len(text) for text in column) for column in zip(names, *rows, strict=True)]
    groups: list[tuple[str, int, int]] = []  # name, first column, one past the last column
    for position, (group, _, _) in enumerate(columns):
        if groups and groups[-1][0] == group:
            groups[-1] = (group, groups[-1][1], position + 1)
        else:
            groups.append((group, position, position + 1))
    for group, first, stop in groups:  # a group's name may be wider than its columns
        spare = len(group) - sum(widths[first:stop]) - len(_GAP) * (stop - first - 1)
        widths[first] += max(spare, 0)
    numbers = sum(widths) + len(_GAP) * len(widths)
    room = max(_WIDTH - numbers, len("method"))
    wrapped = [_wrap_at_commas(label, room) for label in labels]
    first_width = max(len("method"), *(len(line) for lines in wrapped for line in lines))

    def line(label: str, cells: Sequence[str]) -> str:
        texts = [label.ljust(first_width), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
        return _GAP.join(texts).rstrip()

    spans = []
    for group, first, stop in groups:
        width = sum(widths[first:stop]) + len(_GAP) * (stop - first - 1)
        spans.append(f" {group} ".center(width, "-") if width > len(group) + 3 else group.rjust(width))
    out = [_GAP.join([" " * first_width, *spans]).rstrip(), line("method", names)]
    for texts, row in zip(wrapped, rows, strict=True):
        out += [line(texts[0], row), *texts[1:]]
    return out


def _wrap_at_commas(label: str, room: int) -> list[str]:
    """Lines of at most `room` columns, broken between the parts of a label rather than inside of one."""
    joined = label.replace(" ", "\xa0").replace(",\xa0", ", ")
    return [line.replace("\xa0", " ") for line in textwrap.wrap(joined, room)]
