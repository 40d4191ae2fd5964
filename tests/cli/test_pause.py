"""A paused run says so, and goes on to the numbers of one that was never paused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import assert_same
from lightning.pytorch.callbacks import Checkpoint

from noisylab.callbacks import Pause
from noisylab.cli.commands.fit import fit
from noisylab.cli.options import parse
from noisylab.methods import NoisyLabelMethod
from noisylab.reports import read_run

DATA = ["--data", "Arrays", "--data.path", "a.npz", "--data.test_path", "t.npz", "--data.batch_size", "20"]
DATA += ["--data.noise", "Symmetric", "--data.noise.rate", "0.3", "--data.val_fraction", "0.2", "--trainer.accelerator", "cpu"]
NET = ["--model.network", "MLP", "--model.network.in_features", "3", "--model.network.dropout", "0.3"]
SGD = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.1", "--model.optimizer.momentum", "0.9"]
COSINE = ["--model.scheduler", "CosineAnnealingLR", "--model.scheduler.T_max"]


def method_of(name: str, epochs: int) -> list[str]:
    if name == "CrossEntropy":
        return ["--model", name, *NET, *SGD, *COSINE, str(epochs)]
    if name == "DivideMix":
        return ["--model", name, *NET, *SGD, *COSINE, str(epochs), "--model.warmup_epochs", "2"]
    return ["--model", name, *NET, "--model.warmup_epochs", "2"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name, rows in (("a.npz", 75), ("t.npz", 30)):
        y = np.arange(rows) % 3
        np.savez(name, x=(draw.normal(size=(rows, 3)) + 2 * np.eye(3)[y]).astype(np.float32), y=y)


def train(folder: str, *words: str, extra: Sequence[L.Callback] = ()) -> int:
    return fit(parse(["fit", "--run_dir", folder, *words]), extra=extra)


def summary_of(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    for name in ("wall_time_s", "images_per_s", "resumes"):
        found.pop(name, None)
    return found


def weights_of(folder: str) -> dict[str, Any]:
    saved = torch.load(Path(folder, "checkpoints", "last.ckpt"), weights_only=True)
    return {name: saved[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}


@pytest.mark.parametrize("name", ["CrossEntropy", "DivideMix", "ACT"])
def test_a_run_paused_twice_gives_the_numbers_of_one_that_was_not(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*method_of(name, 5), *DATA, "--trainer.max_epochs", "5"]
    assert train("straight", *words) == 0
    assert train("paused", *words, extra=[Pause(1)]) == 0
    assert "paused after 1 of 5 epochs" in capsys.readouterr().out
    torch.manual_seed(99)
    assert train("paused", "--resume", extra=[Pause(3)]) == 0
    assert (summary_of("paused")["epochs"], summary_of("paused")["ended_by"]) == (3, "Pause")
    assert train("paused", "--resume") == 0
    assert Path("paused/metrics.csv").read_bytes() == Path("straight/metrics.csv").read_bytes()
    assert summary_of("paused") == summary_of("straight")
    assert summary_of("paused")["complete"] is True
    assert_same(weights_of("paused"), weights_of("straight"))
    assert "Pause" not in Path("paused/config.yaml").read_text()


def test_a_paused_run_is_read_with_the_figures_of_its_last_epoch() -> None:
    words = [*method_of("CrossEntropy", 4), *DATA, "--trainer.max_epochs", "4"]
    assert train("run", *words, extra=[Pause(2)]) == 0
    run = read_run("run")
    assert not run.complete and run.summary["ended_by"] == "Pause"
    assert run.curves["val/acc"].epochs.tolist() == [0, 1]
    assert run.number("val", "last") == run.curves["val/acc"].values[-1]
    assert run.config["trainer"]["max_epochs"] == 4
    # a cosine over four epochs has come half the way, not to its end
    assert weights_of("run")["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.05)


def test_a_pause_that_is_over_trains_nothing_and_completes_what_a_kill_left() -> None:
    words = [*method_of("CrossEntropy", 4), *DATA, "--trainer.max_epochs", "4"]
    assert train("run", *words, extra=[Pause(2)]) == 0
    before, curves = summary_of("run"), Path("run/metrics.csv").read_bytes()
    Path("run/summary.json").unlink()  # as after a kill between the checkpoint and the summary
    for epochs in (2, 1):
        assert train("run", "--resume", extra=[Pause(epochs)]) == 0
        assert summary_of("run") == before
        assert Path("run/metrics.csv").read_bytes() == curves


def test_a_pause_at_the_end_or_later_is_none() -> None:
    words = [*method_of("CrossEntropy", 2), *DATA, "--trainer.max_epochs", "2"]
    for epochs in (2, 3):
        assert train(f"run{epochs}", *words, extra=[Pause(epochs)]) == 0
        assert (summary_of(f"run{epochs}")["complete"], summary_of(f"run{epochs}")["ended_by"]) == (True, "max_epochs")


def test_a_pause_waits_for_min_epochs() -> None:
    words = [*method_of("CrossEntropy", 4), *DATA, "--trainer.max_epochs", "4", "--trainer.min_epochs", "3"]
    assert train("run", *words, extra=[Pause(1)]) == 0
    assert (summary_of("run")["epochs"], summary_of("run")["ended_by"]) == (3, "Pause")


@pytest.mark.parametrize("epochs", [0, -1, True, 1.5])
def test_fewer_epochs_than_one_are_refused(epochs: Any) -> None:
    with pytest.raises(ValueError, match="epochs must be a whole number, 1 or more, got"):
        Pause(epochs)


class _Late(Checkpoint):
    """Notes what it finds at the end of every epoch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool, bool]] = []  # epoch, whether the curves have it, whether it was saved

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        epoch, written = trainer.current_epoch, Path("run/metrics.csv").read_text()
        saved = Path("run/checkpoints/last.ckpt").exists()
        self.seen.append((epoch, f"\n{epoch},{3 * (epoch + 1)},val/acc," in written, saved))  # 60 rows are three steps

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen.append((-1, True, Path("run/summary.json").exists()))


def test_a_commands_checkpoint_callback_sees_the_curves_of_the_epoch_and_comes_before_all_that_is_saved() -> None:
    late = _Late()
    words = [*method_of("CrossEntropy", 2), *DATA, "--trainer.max_epochs", "2"]
    assert train("run", *words, extra=[late]) == 0
    assert late.seen == [(0, True, False), (1, True, True), (-1, True, False)]
