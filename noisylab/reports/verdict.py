"""What the table of a study says, in plain sentences: which method is ahead, by how much, and whether the seeds can tell."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from noisylab.reports.paired import PairedDifference, paired_difference, seeds_needed
from noisylab.reports.studyfigures import FIGURES, held_out_labels, principal
from noisylab.reports.studyfolder import StudyFolder

__all__ = ["verdict"]

Figures = Mapping[str, Mapping[tuple[str, ...], float]]  # by row, by seed and fold


def verdict(study: StudyFolder) -> str:
    """A sentence or two for each noise of a study, by the figure that its table compares rows by.

    The best method on average is compared with the baseline and with the next one.

    Args:
        study: finished or not; cells that are not finished are left out, and said to be missing.

    Returns:
        Lines, each ending in a newline; empty where fewer than two rows have the figure.
    """
    figure = principal(study)
    finished = [cell for cell in study.cells if cell.state == "finished" and cell.run is not None]
    lines = []
    for noise in study.noises:
        figures: dict[str, dict[tuple[str, ...], float]] = {}
        for cell in finished:
            value = None if cell.run is None else FIGURES[figure].read(cell.run)
            if cell.noise == noise and value is not None:
                figures.setdefault(", ".join(cell.row), {})[cell.repeat] = value
        if len(figures) > 1:
            lines.append((f"{noise}: " if noise else "") + _sentences(figures, study.baseline))
    if not lines:
        return ""
    lines.append(f"Compared by: {FIGURES[figure].title[0].lower()}{FIGURES[figure].title[1:]}.")
    clean = held_out_labels([cell.run for cell in finished if cell.run is not None]) == "clean labels"
    if figure.startswith("held_out") and not clean:
        lines += [
            "The labels of the held-out rows are as they were given, wrong ones included: their accuracy ranks methods where",
            "labels go wrong at random, but lies below the true one and favors a method that repeats mistakes with a pattern.",
        ]
    missing = len(study.cells) - len(finished)
    if missing:
        lines.append(f"{missing} of {len(study.cells)} runs are not finished and not counted.")
    return "\n".join(lines) + "\n"


def _sentences(figures: Figures, baseline: str | None) -> str:
    order = sorted(figures, key=lambda row: -fmean(figures[row].values()))
    best, second = order[0], order[1]
    against = second if baseline is None or baseline == best or baseline not in figures else baseline
    first = _one(best, against, figures, " (the baseline)" if against == baseline else "")
    if best == baseline:
        return f"no method is ahead of {best}, the baseline. {first}"
    if against == second:
        return first
    return f"{first}\n  {_one(best, second, figures, ' (the next best)')}"


def _one(better: str, other: str, figures: Figures, what: str) -> str:
    found = paired_difference(figures[better], figures[other])
    if found is None:
        return f"{better} and {other} have no seed in common and cannot be compared."
    count = len(found.seeds)
    ahead = "ahead of" if found.mean >= 0 else "behind"
    amount = f"{better} is {ahead} {other}{what} by {_points(found.mean)} on average, {_wins(found)}"
    if count == 1:
        return f"{amount}; one seed cannot tell whether another would say the same."
    if found.interval is None:
        if found.wins < count and found.losses < count:
            return f"{amount}; so these {count} seeds do not tell the two apart."
        return (
            f"{amount}; if the two were alike, {count} seeds would agree like this in {found.p_value:.0%} of all studies "
            f"(an interval needs {seeds_needed(found.level)} seeds)."
        )
    low, high = found.interval
    told = "which tells them apart" if low > 0 or high < 0 else "so these seeds do not tell the two apart"
    return f"{amount}, {100 * found.level:g} % interval {100 * low:+.1f} to {100 * high:+.1f}, {told}."


def _points(value: float) -> str:
    return f"{abs(100 * value):.1f} points"


def _wins(found: PairedDifference) -> str:
    count = len(found.seeds)
    if count == 1:
        return "on one seed"
    if found.wins == count:
        return "on " + ("both seeds" if count == 2 else f"all {count} seeds")
    ties = f", equal on {found.ties}" if found.ties else ""
    return f"better on {found.wins} of {count} seeds{ties}"
