"""Tables of the last epoch: what was memorized, and what a method took as clean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from noisylab.reports.page.blocks import Block, Cell, Column, Section, Table, Text
from noisylab.reports.page.content import Content, Group
from noisylab.reports.runs import RunFolder

__all__ = ["memorization_section", "selection_table"]


class _Entry(NamedTuple):
    name: str
    column: Column
    percent: bool = True


_WRONG = "wrong labels given back as"
_MEMORIZATION = [
    _Entry("memorization/clean_acc", Column("correct labels fitted", number=True)),
    _Entry("memorization/noisy_as_given", Column("given: memorized", _WRONG, number=True)),
    _Entry("memorization/noisy_as_true", Column("true: recovered", _WRONG, number=True)),
    _Entry("memorization/noisy_other", Column("another class", _WRONG, number=True)),
    _Entry("memorization/loss_auroc", Column("loss tells them apart (AUROC)", number=True)),
    _Entry("memorization/drop", Column("lost since the best epoch", number=True)),
]
_SELECTION = [
    _Entry("select/precision", Column("precision", number=True)),
    _Entry("select/recall", Column("recall", number=True)),
    _Entry("select/f1", Column("F1", number=True)),
    _Entry("select/size", Column("share of rows", number=True)),
    _Entry("select/auroc", Column("AUROC", number=True)),
]


def memorization_section(content: Content) -> Section:
    """What became of the correct and of the wrong labels at the end of training."""
    found = _table(
        content, _MEMORIZATION, "Training labels at the end of training, in percent: mean ± population standard deviation"
    )
    if found is None:
        return Section("memorization", "Memorization")
    note = (
        "Measured on all training rows without augmentation, by their true labels, which only this table saw. Lost since the "
        "best epoch: how far the test accuracy is below its highest at the end; it says that there was something to lose, not "
        "what a user without a test set could have kept."
    )
    return Section("memorization", "Memorization", [found, Text(note, "soft")])


def selection_table(content: Content) -> list[Block]:
    """Precision, recall and size of the selection in the last epoch; nothing where no method selects."""
    found = _table(
        content, _SELECTION, "Rows taken as labeled right in the last epoch, in percent: mean ± population standard deviation"
    )
    return [found] if found is not None else []


def _table(content: Content, entries: Sequence[_Entry], caption: str) -> Table | None:
    shown = [each for each in entries if any(run.at_end(each.name) is not None for run in content.runs)]
    if not shown:
        return None
    parts = []
    for task in content.tasks:
        rows = [_row(group, shown) for group in content.of(task) if _has_any(group, shown)]
        if rows:
            parts.append((task if len(content.tasks) > 1 else "", rows))
    return Table([Column("method"), *(each.column for each in shown)], parts, caption)


def _has_any(group: Group, entries: Sequence[_Entry]) -> bool:
    return any(run.at_end(each.name) is not None for each in entries for run in group.runs)


def _row(group: Group, entries: Sequence[_Entry]) -> list[Cell]:
    cells = [Cell(group.spread(_at_end(each.name), 1)[1]) for each in entries]
    return [Cell(group.name, mark=group.mark), *cells]


def _at_end(name: str) -> Callable[[RunFolder], float | None]:
    return lambda run: run.at_end(name)
