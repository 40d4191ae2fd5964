"""How far runs of different seeds agree on held-out rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.metrics import agreement_of_runs, seed_agreement


def _independent(n: int, K: int, accuracy: float, runs: int) -> tuple[dict[str, Any], Any]:
    generator = np.random.default_rng(0)
    true = generator.integers(0, K, n)
    wrong = lambda: (true + generator.integers(1, K, n)) % K  # noqa: E731
    return {f"seed{run}": np.where(generator.random(n) < accuracy, true, wrong()) for run in range(runs)}, true


def test_independent_errors_give_the_accuracy_back() -> None:
    predicted, true = _independent(40_000, 10, 0.8, 3)
    found = seed_agreement(predicted, dict.fromkeys(predicted, true), 10)
    assert list(found.pairs) == [("seed0", "seed1"), ("seed0", "seed2"), ("seed1", "seed2")]
    assert found.agreement == pytest.approx(np.mean(list(found.pairs.values())))
    assert found.agreement == pytest.approx(0.644444, abs=0.006) and found.accuracy == pytest.approx(0.8, abs=0.005)
    assert found.by_chance == pytest.approx(0.1, abs=0.001) and not found.collapsed
    assert "they agree on 64." in str(found) and "as errors are correlated, it is less" in str(found)


def test_networks_that_answer_with_one_class_agree_on_nothing() -> None:
    given = np.arange(100) % 10
    predicted = {"a": np.full(100, 3), "b": np.full(100, 3)}
    found = seed_agreement(predicted, dict.fromkeys(predicted, given))
    assert found.agreement == 1 and math.isnan(found.accuracy) and found.collapsed == ("a", "b")
    assert found.classes == {"a": 1, "b": 1} and found.labels["a"] == pytest.approx(10)
    assert "says nothing, since networks have collapsed: a predicts 1.0 of 10.0 classes" in str(found)


def test_rare_classes_are_no_collapse() -> None:
    given = np.array([0] * 90 + [1] * 10)
    predicted = {"a": np.zeros(100, dtype=int), "b": given}
    found = seed_agreement(predicted, dict.fromkeys(predicted, given))
    assert not found.collapsed and found.agreement == 0.9 and found.by_chance == pytest.approx(0.9)


def test_runs_need_the_same_rows() -> None:
    rows = np.arange(3)
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        seed_agreement({"a": rows}, {"a": rows})
    with pytest.raises(ValueError, match="predictions for the same rows"):
        seed_agreement({"a": rows, "b": rows[:2]}, {"a": rows, "b": rows[:2]})
    with pytest.raises(ValueError, match="given must name the runs of predicted"):
        seed_agreement({"a": rows, "b": rows}, {"a": rows})


def _write(folder: Path, index: list[int], pred: list[int], given: list[int]) -> Path:
    folder.mkdir()
    np.savez(folder / "validation.npz", index=index, pred=pred, given=given, top_prob=np.ones(len(index), np.float32))
    return folder


def test_run_folders(tmp_path: Path) -> None:
    first = _write(tmp_path / "0", [2, 5, 9], [0, 1, 2], [0, 1, 1])
    second = _write(tmp_path / "1", [2, 5, 9], [0, 1, 1], [2, 1, 0])
    found = agreement_of_runs([first, second], 3)
    assert found.num == 3 and found.pairs == {(str(first), str(second)): pytest.approx(2 / 3)}
    with pytest.raises(ValueError, match="is about other rows than the first run"):
        agreement_of_runs([first, _write(tmp_path / "2", [2, 5, 8], [0, 1, 1], [2, 1, 0])])
    with pytest.raises(FileNotFoundError, match="a run with held-out rows"):
        agreement_of_runs([first, tmp_path])
