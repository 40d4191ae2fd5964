"""What runs that are compared say about each other: seed by seed, and row by row."""

from __future__ import annotations

from collections.abc import Sequence

from noisylab.reports.paired import paired_difference
from noisylab.reports.paired_rows import HELD_OUT, compare_rows, read_held_out
from noisylab.reports.results import group_by_seed
from noisylab.reports.runs import RunFolder, run_labels

__all__ = ["difference_lines"]


def difference_lines(runs: Sequence[RunFolder]) -> list[str]:
    """Paired differences from the first run, or from all the seeds of its experiment.

    Runs that differ in nothing but seeds are one experiment. Two of them are paired where they have at least two seeds in common,
    with the same labels. Two single runs are compared on their held-out rows, if both have kept what they predicted for the same
    rows with the same labels.

    Args:
        runs: in the order in which they were given.

    Returns:
        Lines of text; none where nothing can be paired.
    """
    groups = group_by_seed([run for run in runs if run.complete])
    if len(groups) < 2:
        return []
    if len(runs) == 2:
        return _by_rows(*runs)
    names = dict(zip((id(group[0]) for group in groups), run_labels([group[0] for group in groups]), strict=True))
    first, found = groups[0], []
    for group in groups[1:]:
        difference = paired_difference(_values(group), _values(first))
        if difference is not None and len(difference.seeds) > 1:
            found.append(f"{names[id(group[0])]} against {names[id(first[0])]}: {difference}")
    return ["Test accuracy in the last epoch, paired by seed, in points:", *found] if found else []


def _values(group: Sequence[RunFolder]) -> dict[tuple[str, ...], float]:
    """Test accuracy in the last epoch by seed, labels, and the part of the rows that is the test set."""
    found: dict[tuple[str, ...], float] = {}
    for run in group:
        value = run.number("test", "headline", "last")
        if value is not None and run.seed is not None:
            found[str(run.seed), run.data, str((run.summary.get("noise") or {}).get("digest")), _fold(run)] = value
    return found


def _fold(run: RunFolder) -> str:
    return f"{run.number('data', 'fold')} of {run.number('data', 'folds')}"


def _by_rows(first: RunFolder, second: RunFolder) -> list[str]:
    if not all((run.path / HELD_OUT).is_file() for run in (first, second)):
        return []
    ours, theirs = read_held_out(second.path), read_held_out(first.path)
    if not ours.pairs_with(theirs):
        return []
    names = run_labels([first, second])
    return [
        f"{names[1]} against {names[0]} on the same held-out rows, accuracy by their given labels in points:",
        str(compare_rows(ours, theirs)),
    ]
