"""Two runs row by row, against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from noisylab.reports import RunFolderError
from noisylab.reports.paired_rows import compare_rows, read_held_out, row_difference


def write(folder: Path, predicted: list[int], given: list[int] | None = None, index: list[int] | None = None) -> Path:
    folder.mkdir()
    given = [0, 1, 2, 0] if given is None else given
    index = [3, 5, 8, 11] if index is None else index
    index, given, predicted = (np.array(values, dtype=np.int64) for values in (index, given, predicted))
    np.savez(folder / "validation.npz", index=index, given=given, pred=predicted, top_prob=np.ones(len(predicted), "f4"))
    return folder


def test_the_rows_are_matched_by_their_index(tmp_path: Path) -> None:
    first = read_held_out(write(tmp_path / "a", [0, 1, 2, 1]))
    second = read_held_out(write(tmp_path / "b", [0, 2, 2, 0], given=[0, 2, 1, 0], index=[11, 8, 5, 3]))  # all right but row 5
    found = compare_rows(first, second)
    assert (found.rows, found.first_only, found.second_only, found.difference) == (4, 1, 1, 0.0)
    assert found.p_value == 1.0


@pytest.mark.parametrize(("one", "other"), [(0, 0), (5, 1), (3, 12), (1, 0), (40, 40), (60, 25)])
def test_mcnemar_is_the_exact_binomial_test(one: int, other: int) -> None:
    first = np.array([True] * one + [False] * other + [True] * 100)
    second = np.array([False] * one + [True] * other + [True] * 100)
    known = stats.binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert row_difference(first, second).p_value == pytest.approx(known)


def test_the_interval_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(400) < 0.9, rng.random(400) < 0.85
    found = row_difference(first, second)
    known = stats.bootstrap(
        (first.astype(float), second.astype(float)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.interval == pytest.approx(tuple(known), abs=0.004)  # a row is 0.0025
    assert row_difference(second, first).interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=0.004)


def test_the_difference_is_said_in_words() -> None:
    first, second = np.array([True] * 90 + [False] * 10), np.array([True] * 60 + [False] * 40)
    said = str(row_difference(first, second))
    assert said.startswith("100 rows: +30.00, 95 % interval +2") and said.endswith(
        "right where the other is wrong on 30 and 0, exact McNemar p = 1.9e-09"
    )


def test_other_rows_and_other_labels_are_refused(tmp_path: Path) -> None:
    first = read_held_out(write(tmp_path / "a", [0, 1, 2, 1]))
    rows = read_held_out(write(tmp_path / "b", [0, 1, 2, 1], index=[3, 5, 8, 12]))
    labels = read_held_out(write(tmp_path / "c", [0, 1, 2, 1], given=[0, 1, 2, 2]))
    nothing = read_held_out(write(tmp_path / "d", [], given=[], index=[]))
    with pytest.raises(ValueError, match=r"about different rows\n  compare runs with the same data\.val_fraction and split_seed"):
        compare_rows(first, rows)
    with pytest.raises(ValueError, match=r"different labels for the same rows\n  compare runs with the same noise"):
        compare_rows(first, labels)
    with pytest.raises(ValueError, match="has no rows"):
        compare_rows(nothing, nothing)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 2"):
        compare_rows(first, first, level=2)


def test_a_file_that_is_not_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"has no validation\.npz; a run with held-out rows"):
        read_held_out(tmp_path)
    (tmp_path / "validation.npz").write_bytes(b"PK\x03\x04half")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_held_out(tmp_path)
    np.savez(tmp_path / "validation.npz", index=[1, 2], given=[0, 1])
    with pytest.raises(RunFolderError, match=r"cannot be read .*pred"):
        read_held_out(tmp_path)
    np.savez(tmp_path / "validation.npz", index=[1, 2], given=[0, 1], pred=[0.5, 0.5])
    with pytest.raises(RunFolderError, match=r"pred float64\[2\]; expected whole numbers"):
        read_held_out(tmp_path)
