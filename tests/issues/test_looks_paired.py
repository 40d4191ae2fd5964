"""Whether a ranked list looks as if classes were confused in pairs."""

from __future__ import annotations

import numpy as np

from noisylab.issues.report import looks_paired
from noisylab.issues.table import IssueTable


def table(given: list[int], suggested: list[int], classes: int) -> IssueTable:
    rows = len(given)
    labels, others = np.array(given), np.array(suggested)
    names = tuple(f"c{label}" for label in range(classes))
    score = np.linspace(1, 0.5, rows)
    return IssueTable(np.arange(rows), None, names, labels, others, score, labels != others, score)


def test_issues_of_every_class_on_the_next_one_look_paired_and_scattered_ones_do_not() -> None:
    given = [row % 5 for row in range(200)]
    assert looks_paired(table(given, [(label - 1) % 5 for label in given], 5))
    scattered = [(label + 1 + row // 5 % 4) % 5 for row, label in enumerate(given)]
    assert not looks_paired(table(given, scattered, 5))


def test_two_classes_and_a_list_without_issues_do_not() -> None:
    given = [row % 2 for row in range(200)]
    assert not looks_paired(table(given, [1 - label for label in given], 2))
    three = [row % 3 for row in range(200)]
    assert not looks_paired(table(three, three, 3))
