from __future__ import annotations

import csv
import math
from pathlib import Path

import lightning as L
from helpers import PlainMLP, SaveEveryBatch, ToyData, fit

from noisylab.callbacks.curves import Curves
from noisylab.methods import CrossEntropy


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_file_holds_every_number_of_every_epoch(tmp_path: Path) -> None:
    state = fit(CrossEntropy(3, PlainMLP), ToyData(val_fraction=0.2), tmp_path, 2)
    rows = _read(tmp_path / "metrics.csv")
    assert [(int(r["epoch"]), int(r["step"]), r["name"], float(r["value"])) for r in rows] == state["curves"]
    assert {(r["epoch"], r["step"]) for r in rows} == {("0", "4"), ("1", "8")}
    names = [r["name"] for r in rows if r["epoch"] == "0"]
    assert {"train/loss", "val/acc", "val/balanced_acc", "test/acc", "lr/network"} <= set(names)
    assert len(names) == len(set(names))


def test_resume_puts_the_file_back_to_the_checkpoint(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 3, callbacks=(saver,))
    straight = (tmp_path / "metrics.csv").read_text()
    # killed in epoch 2, after which a half-written line is in the file
    (tmp_path / "metrics.csv").write_text(straight[: len(straight) // 2] + "9,9,junk")
    fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 3, resume=saver.files[6])
    assert (tmp_path / "metrics.csv").read_text() == straight


def test_nan_is_written_and_kept(tmp_path: Path) -> None:
    class Missing(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            pl_module.log_epoch({"select/precision": math.nan})  # type: ignore[operator]

    state = fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 1, callbacks=(Missing(),))
    assert [r["value"] for r in _read(tmp_path / "metrics.csv") if r["name"] == "select/precision"] == ["nan"]
    assert any(math.isnan(value) for _, _, _, value in state["curves"])


def test_series_of_one_name() -> None:
    curves = Curves()
    curves.rows = [(0, 4, "val/acc", 0.5), (0, 4, "train/loss", 1.0), (1, 8, "val/acc", 0.75)]
    assert curves.series("val/acc") == [(0, 0.5), (1, 0.75)]
    assert curves.series("test/acc") == []
