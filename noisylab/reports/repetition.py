"""Whether a run that was repeated gave the same numbers, and if not, where they begin to differ and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylab.reports.figures import ISSUES, Key, figures_of, issue_figures
from noisylab.reports.reasons import reasons
from noisylab.reports.runs import RunFolder

__all__ = ["Difference", "Repetition", "compare_repetition"]

_FORMAT = 1
_ABSENT = "absent"
_LISTED = 1000  # differences in the record


@dataclass(frozen=True)
class Difference:
    """A figure that two runs do not share.

    Args:
        key: where it stands.
        old: in the run that was repeated; "absent" where it has none.
        new: in the repetition; likewise.
    """

    key: Key
    old: Any
    new: Any

    @property
    def size(self) -> float | None:
        """The absolute difference of two numbers; None for texts, and where one is absent or not finite."""
        if not (_is_number(self.old) and _is_number(self.new)):
            return None
        size = abs(self.new - self.old)
        return size if math.isfinite(size) else None

    def __str__(self) -> str:
        by = "" if self.size is None else f", by {self.size:.2g}"
        return f"{self.key}: {_shown(self.old)}, now {_shown(self.new)}{by}"

    def record(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**self.key._asdict(), "old": _plain(self.old), "new": _plain(self.new), "size": self.size}


@dataclass(frozen=True)
class Repetition:
    """What came of a repetition.

    Args:
        old: folder of the run.
        new: folder of its repetition.
        compared: number of figures that were compared.
        differences: those that differ, in the order in which the run wrote them.
        causes: likely causes of the differences, the likeliest first; what differs although no figure does, too.
        notes: what else one should know to judge the comparison.
        tolerance: up to which numbers count as equal.
    """

    old: Path
    new: Path
    compared: int
    differences: tuple[Difference, ...]
    causes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tolerance: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether no figure differs."""
        return not self.differences

    @property
    def largest(self) -> Difference | None:
        """The largest difference of two numbers of ``metrics.csv`` or, if these agree, of other files."""
        sized = [difference for difference in self.differences if difference.size is not None]
        curves = [difference for difference in sized if difference.key.epoch is not None]
        return max(curves or sized, key=lambda difference: difference.size or 0.0, default=None)

    def text(self) -> str:
        """The outcome in words, several lines."""
        within = f" (within {self.tolerance:g})" if self.tolerance else ""
        if self.equal:
            lines = [f"equal: {self.compared:,} figures{within}"]
            lines += [f"although {cause}" for cause in self.causes]
        else:
            lines = [f"different: {len(self.differences):,} of {self.compared:,} figures{within}"]
            lines.append(f"  first    {self.differences[0]}")
            if self.largest is not None and self.largest != self.differences[0]:
                lines.append(f"  largest  {self.largest}")
            lines += [f"likely cause: {cause}" for cause in self.causes]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def record(self) -> dict[str, Any]:
        """The content of ``rerun.json``: plain values; up to 1,000 of the differences."""
        first, largest = (self.differences or (None,))[0], self.largest
        return {
            "format": _FORMAT,
            "run": str(self.old.absolute()),
            "rerun": str(self.new.absolute()),
            "equal": self.equal,
            "tolerance": self.tolerance,
            "compared": self.compared,
            "different": len(self.differences),
            "first": None if first is None else first.record(),
            "largest": None if largest is None else largest.record(),
            "causes": list(self.causes),
            "notes": list(self.notes),
            "differences": [difference.record() for difference in self.differences[:_LISTED]],
        }


def compare_repetition(
    old: RunFolder,
    new: RunFolder,
    *,
    tolerance: float = 0.0,
    known: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Repetition:
    """Compare every figure of two runs.

    These are the rows of ``metrics.csv`` except times and speeds, the figures, labels' digest, digests of the data and texts of
    ``summary.json``, and the rows of ``label_issues.csv``. NaN equals NaN. A figure that only one of two *versions* of noisylab
    knows is not compared, and a note says so.

    Args:
        old: the run that was repeated.
        new: its repetition.
        tolerance: numbers are equal if they differ by at most this, times the old number's size where that is above 1; texts and
            digests are compared exactly in any case.
        known: causes that the caller has found out, for the front of the list.
        notes: likewise.
    """
    then, now = figures_of(old), figures_of(new)
    issues = [folder / ISSUES for folder in (old.path, new.path)]
    same = _same_content(*issues)
    if not same:
        then, now = ({**found, **_issues(path)} for found, path in zip((then, now), issues, strict=True))
    told = list(notes)
    alone = _only_in_one(then, now)
    if alone and _code(old) != _code(new):
        names = ", ".join(sorted(alone)[:3]) + (f" and {len(alone) - 3} more" if len(alone) > 3 else "")
        told.append(f"only one of the two versions of noisylab writes {names}: not compared")
        then, now = ({key: value for key, value in found.items() if key.name not in alone} for found in (then, now))
    keys = list(dict.fromkeys([*then, *now]))
    pairs = [Difference(key, then.get(key, _ABSENT), now.get(key, _ABSENT)) for key in keys]
    differences = tuple(pair for pair in pairs if not _equal(pair.old, pair.new, tolerance))
    compared = len(keys) + (_cells(issues[0]) if same else 0)
    causes = (*known, *reasons(old, new, bool(differences)))
    if not causes and differences:
        causes = ("nothing that the two runs recorded: an operation whose result is not fixed, or a file changed by hand",)
    return Repetition(old.path, new.path, compared, differences, causes, tuple(told), tolerance)


def _only_in_one(then: Mapping[Key, Any], now: Mapping[Key, Any]) -> set[str]:
    """Names that only one of two runs has anywhere."""
    return {key.name for key in then} ^ {key.name for key in now}


def _code(run: RunFolder) -> tuple[Any, Any]:
    return (run.summary.get("versions") or {}).get("noisylab"), (run.summary.get("code") or {}).get("noisylab")


def _issues(path: Path) -> dict[Key, Any]:
    return issue_figures(path) if path.is_file() else {}


def _same_content(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    return one.read_bytes() == other.read_bytes()


def _cells(path: Path) -> int:
    return len(issue_figures(path))


def _equal(old: Any, new: Any, tolerance: float) -> bool:
    if _is_number(old) and _is_number(new):
        if math.isnan(old) or math.isnan(new):
            return math.isnan(old) and math.isnan(new)
        return bool(old == new or abs(new - old) <= tolerance * max(1.0, abs(old)))
    return type(old) is type(new) and old == new


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
