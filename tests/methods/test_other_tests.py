"""Data with a second test set: evaluated, logged and reported beside the first, and as little monitored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from noisylab.cli import main
from noisylab.data import Digits
from noisylab.data.source import OtherTest, Source


class TwoTests(Digits):
    """Digits, with its test images under the next class's labels as a second test set."""

    def load(self) -> Source:
        source = super().load()
        assert source.test is not None
        assert source.test_target is not None
        source.other_tests = {"test_shifted": OtherTest(source.test, (source.test_target + 1) % 10)}
        return source


def _flags(folder: Path) -> list[str]:
    flags = ["--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "64", "--run_dir", str(folder)]
    flags += ["--data", f"{__name__}.TwoTests"]
    return [*flags, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]


def test_its_accuracy_is_logged_and_in_the_summary(tmp_path: Path, capsys: Any) -> None:
    assert main(["fit", *_flags(tmp_path / "R")]) == 0
    summary = json.loads((tmp_path / "R/summary.json").read_text())
    other, first = summary["other_tests"]["test_shifted"], summary["test"]["headline"]["confusion"]
    assert other["confusion"] == [first[-1], *first[:-1]]
    assert other["last"] == sum(first[k][(k + 1) % 10] for k in range(10)) / 359
    assert 0 <= other["top5"] <= 1
    capsys.readouterr()
    assert main(["test", "--run_dir", str(tmp_path / "R")]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("test"))
    assert float(printed["test_shifted/acc"]) == pytest.approx(other["last"], abs=1e-4)
    assert float(printed["test/acc"]) == pytest.approx(summary["test"]["headline"]["last"], abs=1e-4)


def test_nothing_may_choose_by_it(tmp_path: Path, capsys: Any) -> None:
    early = '{"class_path": "EarlyStopping", "init_args": {"monitor": "test_shifted/acc", "mode": "max"}}'
    assert main(["fit", *_flags(tmp_path / "R"), "--trainer.callbacks", f"[{early}]"]) != 0
    assert "a leak" in capsys.readouterr().err


def test_it_is_not_predicted_on(tmp_path: Path) -> None:
    data = TwoTests()
    data.setup()
    assert list(data.test_dataloader()) == ["test", "test_shifted"]
    (batch,) = data.test_dataloader()["test_shifted"]
    (first,) = data.test_dataloader()["test"]
    assert torch.equal(batch.target, (first.target + 1) % 10)
    assert list(data.predict_dataloader()) == ["test"]
