"""The labels in a labeling tool's file: one row for each task or image, and where its label is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from noisylab.data.exports.jsontext import JsonPath, JsonText

__all__ = ["Export", "ExportKind", "ExportRow", "Vote", "agreed", "refuse_faults", "some"]

ExportKind: TypeAlias = Literal["image", "audio", "text"]
"""What the rows of an export are."""

_SHOWN = 10  # faults in a message
_NAMED = 5  # tasks in a note


@dataclass(frozen=True)
class ExportRow:
    """One task, or one image.

    Args:
        row_id: its id in the tool, as text.
        value: file, URL or text that it shows, as written.
        label: its label; empty without one.
        places: where that is written in the file: more than one if several annotations say the same.
        origin: place of the task in the file.
    """

    row_id: str
    value: str
    label: str
    places: tuple[JsonPath, ...] = ()
    origin: int = -1


@dataclass(frozen=True)
class Export:
    """A labeling tool's file.

    Args:
        source: the file.
        tool: whose format it has, for messages.
        kind: what `value` of the rows is: the name of a picture or a recording, or text.
        unit: what a row is called, "task" or "image".
        rows: in the order of the file.
        written: how a label is written in the file; `None` if as text, which may be any.
        control: of Label Studio, the name of the choices that labels come from, and of what they are about.
        value_key: of Label Studio, the entry of ``data`` that `value` comes from.
        notes: what a user is told.
    """

    source: JsonText
    tool: Literal["Label Studio", "Label Studio (JSON-MIN)", "COCO"]
    kind: ExportKind
    unit: Literal["task", "image"]
    rows: tuple[ExportRow, ...]
    written: Mapping[str, Any] | None = None
    control: tuple[str, str] = ("", "")
    value_key: str = ""
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Labels that a row may have: those of the file's categories, or else those that occur, sorted."""
        return sorted(self.written if self.written is not None else {row.label for row in self.rows} - {""})

    def corrected(self, new: Mapping[int, str]) -> bytes:
        """The content of the file with other labels; nothing else differs, neither ids nor blanks.

        Every annotation that says the label of a row is changed to the new one; those that say something else stay.

        Args:
            new: label by number of the row, from 0. The row has a label already.
        """
        changed = {
            place: label if self.written is None else self.written[label]
            for number, label in new.items()
            for place in self.rows[number].places
        }
        return self.source.replaced(changed)


@dataclass(frozen=True)
class Vote:
    """What one annotation says of a task.

    Args:
        label: its choice.
        place: where that is written.
        truth: whether it is marked as the ground truth.
    """

    label: str
    place: JsonPath
    truth: bool = False


def agreed(votes: Sequence[Vote]) -> tuple[str, tuple[JsonPath, ...]]:
    """The label of a task with any number of annotations, and where it is written.

    Annotations marked as ground truth come before all others; among equals the most frequent label is taken. Where two are the
    most frequent, there is no label.

    >>> agreed([Vote("cat", (0,)), Vote("dog", (1,)), Vote("cat", (2,))])
    ('cat', ((0,), (2,)))
    >>> agreed([Vote("cat", (0,)), Vote("dog", (1,))]), agreed([Vote("cat", (0,)), Vote("dog", (1,), truth=True)])
    (('', ()), ('dog', ((1,),)))
    """
    heard = [vote for vote in votes if vote.truth] or list(votes)
    counts = Counter(vote.label for vote in heard).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return "", ()
    label = counts[0][0]
    return label, tuple(vote.place for vote in heard if vote.label == label)


def refuse_faults(source: JsonText, faults: Sequence[str], advice: str) -> None:
    """Refuse a file with faults.

    Args:
        source: the file.
        faults: what is wrong, a line each.
        advice: what to do.

    Raises:
        ValueError: listing up to ten faults.
    """
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        lines = "\n  ".join([f"{source.path} cannot be used ({len(faults)}):", *faults[:_SHOWN], *more])
        raise ValueError(f"{lines}\n{advice}")


def some(unit: str, ids: Sequence[str]) -> str:
    """A few tasks by their ids, for a note.

    >>> some("task", ["4"]), some("task", list("1234567"))
    ('task 4', 'tasks 1, 2, 3, 4, 5 and 2 more')
    """
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{unit}{'s' * (len(ids) > 1)} {', '.join(ids[:_NAMED])}{more}"
