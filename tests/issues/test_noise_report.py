from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.issues import IssueTable
from noisylab.issues.report import noise_report, wilson, write_report


def _table(confusion: list[list[int]], names: tuple[str, ...] | None = None) -> IssueTable:
    """A list with that many rows of each given (row) and suggested (column) class; the diagonal is no issue."""
    counts = np.array(confusion)
    cells = [cell for cell in np.ndindex(*counts.shape) for _ in range(counts[cell])]
    given, suggested = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    total = len(given)
    return IssueTable(
        index=np.arange(total),
        names=None,
        class_names=names or tuple(f"c{row}" for row in range(len(counts))),
        given=given,
        suggested=suggested,
        score=np.linspace(1, 0, total),
        is_issue=given != suggested,
        confidence=np.full(total, 0.5),
    )


def _report(confusion: list[list[int]], rate: float = 0.2, **kwargs: Any) -> dict[str, Any]:
    table = _table(confusion)
    return noise_report(table, method="GCE", recipe="mine.yaml", rate=rate, interval=(0, 1), metrics=None, **kwargs)


def _even(classes: int, rows: int, issues: int) -> list[list[int]]:
    """As many issues of each class towards each other class."""
    off = 1 - np.eye(classes, dtype=np.int64)
    return (off * issues + np.eye(classes, dtype=np.int64) * (rows - issues * (classes - 1))).tolist()


def test_report_of_three_classes_counted_by_hand() -> None:
    table = _table([[60, 20, 0], [5, 55, 0], [0, 0, 0]], ("cat", "dog", "owl"))
    report = noise_report(table, method="GCE", recipe="r", rate=0.17, interval=(0.1, 0.3), metrics={"auroc": 0.9})
    assert report["num_rows"] == 140 and report["num_issues"] == 25
    assert report["noise_rate"] == 0.17 and report["noise_rate_interval"] == [0.1, 0.3]
    assert report["class_names"] == ["cat", "dog", "owl"]
    assert report["confusion"] == [[60, 20, 0], [5, 55, 0], [0, 0, 0]]
    # truly cat: 60 given cat, 5 given dog; truly dog: 20 given cat, 55 given dog; nobody is an owl
    assert np.allclose(report["transition"], [[60 / 65, 5 / 65, 0], [20 / 75, 55 / 75, 0], [0, 0, 1]], atol=1e-6)
    assert report["confused_pairs"] == [
        {"given": "cat", "suggested": "dog", "count": 20, "share": 0.25},
        {"given": "dog", "suggested": "cat", "count": 5, "share": pytest.approx(1 / 12, abs=1e-6)},
    ]
    assert report["metrics"] == {"auroc": 0.9} and (report["method"], report["recipe"]) == ("GCE", "r")


def test_a_suggestion_for_a_row_that_is_no_issue_counts_nowhere() -> None:
    table = _table([[3, 1], [0, 4]])
    quiet = replace(table, is_issue=np.zeros(8, dtype=bool))
    report = noise_report(quiet, method="", recipe="", rate=0, interval=(0, 0.1), metrics=None)
    assert report["confusion"] == [[4, 0], [0, 4]] and report["transition"] == [[1, 0], [0, 1]]


def test_at_most_twenty_pairs_the_largest_first() -> None:
    counts = np.arange(36).reshape(6, 6) + 1
    pairs = _report(counts.tolist())["confused_pairs"]
    assert [pair["count"] for pair in pairs] == sorted(counts[~np.eye(6, dtype=bool)].tolist(), reverse=True)[:20]
    assert pairs[0] == {"given": "c5", "suggested": "c4", "count": 35, "share": round(35 / counts[5].sum(), 6)}


def test_a_given_transition_is_kept_and_checked() -> None:
    matrix = np.array([[0.9, 0.1], [0.3, 0.7]])
    assert _report([[5, 1], [1, 5]], probs_transition=matrix)["transition"] == matrix.tolist()
    for wrong in (np.eye(3), 2 * np.eye(2), np.array([[1.5, -0.5], [0, 1]]), np.ones(2)):
        with pytest.raises(ValueError, match="probs_transition"):
            _report([[5, 1], [1, 5]], probs_transition=wrong)


@pytest.mark.parametrize(("rate", "interval"), [(1.2, (0, 1)), (math.nan, (0, 1)), (0.2, (0.3, 0.1)), (0.2, (-0.1, 1))])
def test_a_rate_that_is_no_share_is_refused(rate: float, interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="rate and interval"):
        noise_report(_table([[1, 0], [0, 1]]), method="", recipe="", rate=rate, interval=interval, metrics=None)


def test_scattered_issues_of_large_classes_give_no_warning() -> None:
    assert _report(_even(5, 100, 5))["warnings"] == []


def test_issues_that_go_to_the_next_class_are_told() -> None:
    flip = 80 * np.eye(6, dtype=np.int64) + 15 * np.roll(np.eye(6, dtype=np.int64), 1, 1) + 1
    (text,) = _report(flip.tolist())["warnings"]
    assert text.startswith("In 6 of the 6 classes with at least 10 issues, more than 60%") and "'c0' to 'c1' (16 of 20)" in text
    assert "and 1 more" in text and "none of these pairs are confused in both directions" in text


def test_pairs_confused_in_both_directions_are_counted() -> None:
    swap = 80 * np.eye(4, dtype=np.int64) + 15 * np.eye(4, dtype=np.int64)[[1, 0, 3, 2]] + 1
    (text,) = _report(swap.tolist())["warnings"]
    assert "2 of these pairs are confused in both directions" in text


@pytest.mark.parametrize(
    "confusion",
    [
        # one class alone; 9 issues each; 6 of 10 is not more than 60 %; one class of three with many issues
        [[80, 20, 0, 0], [0, 99, 1, 0], [0, 0, 99, 1], [1, 0, 0, 99]],
        [[91, 9, 0, 0], [0, 91, 9, 0], [0, 0, 91, 9], [9, 0, 0, 91]],
        [[90, 6, 2, 2], [2, 90, 6, 2], [2, 2, 90, 6], [6, 2, 2, 90]],
        # with three classes, 7 of 10 issues fall on one of the other two by chance
        [[90, 7, 3], [3, 90, 7], [7, 3, 90]],
        # two concentrated classes of five with issues
        [[90, 10, 0, 0, 0], [0, 90, 10, 0, 0], [4, 4, 88, 0, 4], [4, 4, 0, 88, 4], [4, 4, 0, 4, 88]],
    ],
)
def test_less_than_a_pattern_of_pairs_is_not_told(confusion: list[list[int]]) -> None:
    assert not any("one and the same other class" in text for text in _report(confusion)["warnings"])


def test_one_class_that_takes_all_the_issues_is_told_as_that() -> None:
    taken = [[100, 0, 0, 0], [12, 88, 0, 0], [12, 0, 88, 0], [12, 0, 0, 88]]
    (text,) = _report(taken)["warnings"]
    assert text.startswith("36 of 36 issues are taken for 'c0', a label that 25% of the rows have.")
    (text,) = _report(np.array(taken).T.tolist())["warnings"]
    assert text.startswith("36 of 36 issues are given as 'c0', a label that 34% of the rows have.")


def test_a_class_that_is_large_anyhow_does_not_dominate() -> None:
    assert _report([[270, 15, 15], [5, 45, 0], [5, 0, 45]])["warnings"] == []  # 30 of 40 issues, 75 % of the rows
    assert _report([[81, 19, 0], [0, 99, 0], [0, 0, 99]])["warnings"] == []  # 19 issues are few
    assert _report([[75, 25], [10, 90]])["warnings"] == []  # 71 % of the issues, less than 1.5 times one half
    (text,) = _report([[70, 30], [5, 95]])["warnings"]
    assert "30 of 35 issues are given as 'c0'" in text


def test_a_class_with_more_issues_than_other_rows_is_told() -> None:
    (text,) = _report([[10, 4, 3, 4], [3, 90, 2, 2], [3, 2, 90, 2], [3, 2, 2, 90]])["warnings"]
    assert "flagged in 1 class: 'c0' (11 of 21)" in text
    assert _report([[11, 4, 4, 3], [3, 90, 2, 2], [3, 2, 90, 2], [3, 2, 2, 90]])["warnings"] == []


def test_few_rows_make_rough_estimates() -> None:
    (text,) = _report([[49, 1], [0, 49]])["warnings"]
    assert text.startswith("There are 99 rows. Estimates")
    (text,) = _report([[90, 1, 0], [0, 8, 1], [0, 0, 0]])["warnings"]
    assert text.startswith("2 classes have fewer than 10 rows: 'c2' (0), 'c1' (9). Estimates")
    assert _report([[49, 1], [0, 50]])["warnings"] == []


def test_no_issue_and_too_many_are_told() -> None:
    (text,) = _report([[60, 0], [0, 60]])["warnings"]
    assert text.startswith("No label is flagged")
    assert _report(_even(5, 100, 5), rate=0.6)["warnings"] == []
    (text,) = _report(_even(5, 100, 5), rate=0.61)["warnings"]
    assert text.startswith("About 61% of all labels look wrong.") and "label column" in text


def test_an_empty_list_has_a_report() -> None:
    report = _report([[0, 0], [0, 0]], rate=0.0)
    assert report["num_rows"] == 0 and report["confused_pairs"] == [] and report["transition"] == [[1, 0], [0, 1]]
    assert len(report["warnings"]) == 2


def test_the_file_has_null_for_nan_and_a_matrix_row_a_line(tmp_path: Path) -> None:
    table = _table([[5, 1], [2, 6]], ("Übel", 'a "b"'))
    metrics = {"auroc": math.nan, "f1": 0.5}
    report = noise_report(table, method="GCE", recipe="r", rate=0.2, interval=(0.1, 0.3), metrics=metrics)
    path = tmp_path / "deep" / "noise_report.json"
    write_report(path, report)
    text = path.read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["metrics"] == {"auroc": None, "f1": 0.5}
    assert {**read, "metrics": 0} == {**report, "metrics": 0}
    assert "    [5, 1],\n    [2, 6]\n" in text and [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 100), (7, 10), (2.5, 12), (10, 10)])
def test_wilson_bounds_are_where_the_test_just_rejects(successes: float, total: float) -> None:
    share = successes / total
    for bound in wilson(successes, total):
        assert (share - bound) ** 2 == pytest.approx(1.96**2 * bound * (1 - bound) / total, abs=1e-12)
    low, high = wilson(successes, total)
    assert 0 <= low <= share <= high <= 1 and low < high


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for successes, total in ((-1, 4), (5, 4), (math.nan, 4)):
        with pytest.raises(ValueError, match="between 0 and total"):
            wilson(successes, total)
