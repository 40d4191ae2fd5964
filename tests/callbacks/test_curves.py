from __future__ import annotations

import csv
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer, state_of
from lightning.pytorch.loggers import CSVLogger

from noisylab.callbacks.checkpoint import RunCheckpoint
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


def _run(folder: Path, every: int, *callbacks: L.Callback, resume: Path | None = None, **kwargs: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    curves = Curves(folder, every_n_steps=every)
    trainer = make_trainer(folder, 2, (*callbacks, curves, RunCheckpoint(folder, every_n_minutes=None)), **kwargs)
    trainer.fit(CrossEntropy(3, PlainMLP), datamodule=ToyData(num_train=48), ckpt_path=resume)  # six steps an epoch
    return state_of(trainer, curves)


def _steps(state: dict[str, Any]) -> list[tuple[int, int, str, float]]:
    return [row for row in state["curves"] if row[2].endswith("_step")]


class _Losses(L.Callback):
    """The loss of every step, as the method counts it."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._total = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        total, _weight = pl_module.means.totals()["train/loss"]
        self.losses.append((total - (self._total if trainer.fit_loop.batch_idx else 0.0)) / 8)
        self._total = total


def test_means_of_steps_are_those_since_the_last_row(tmp_path: Path) -> None:
    losses = _Losses()
    rows = _steps(_run(tmp_path, 2, losses))
    assert len(losses.losses) == 12
    expected = [(losses.losses[i] + losses.losses[i + 1]) / 2 for i in range(0, 12, 2)]
    assert [(epoch, step) for epoch, step, *_ in rows] == [(0, 2), (0, 4), (0, 6), (1, 8), (1, 10), (1, 12)]
    assert [row[3] for row in rows] == pytest.approx(expected)
    written = [row for row in _read(tmp_path / "metrics.csv") if row["name"] == "train/loss_step"]
    assert [float(row["value"]) for row in written] == [row[3] for row in rows]


def test_a_row_that_fills_no_group_of_steps_is_left_to_the_epochs_mean(tmp_path: Path) -> None:
    rows = _steps(_run(tmp_path, 4))
    assert [(epoch, step) for epoch, step, *_ in rows] == [(0, 4), (1, 10)]


def test_step_means_survive_a_resume(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    straight = _run(tmp_path / "straight", 4, saver)
    for file in saver.files[:-1]:
        assert_same(_run(file.with_suffix(""), 4, resume=file), straight, file.stem)


def test_loggers_are_sent_the_steps_too(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    _run(tmp_path, 3, logger=logger, log_every_n_steps=3)
    found = [row for row in _read(Path(logger.log_dir) / "metrics.csv") if row.get("train/loss_step")]
    assert [int(row["step"]) for row in found] == [3, 6, 9, 12]


def test_every_zero_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        Curves(every_n_steps=0)


def _saved(folder: Path, epochs: int) -> Path:
    torch.manual_seed(0)
    fit(CrossEntropy(3, PlainMLP), ToyData(), folder, epochs)
    return folder / "last.ckpt"


def test_a_checkpoint_has_the_place_in_the_file_not_its_rows(tmp_path: Path) -> None:
    state = [torch.load(_saved(tmp_path / str(n), n), weights_only=True)["callbacks"]["Curves"] for n in (1, 3)]
    whole = (tmp_path / "3" / "metrics.csv").read_bytes()
    assert state[1]["file"]["bytes"] == len(whole) and state[1]["file"]["sha256"] == hashlib.sha256(whole).hexdigest()
    assert [{name: type(value) for name, value in one.items()} for one in state] == [{"file": dict, "totals": dict}] * 2
    assert all(isinstance(value, int | str) for one in state for value in one["file"].values())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "metrics.csv: No such file or directory"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), r"has \d+ of the \d+ bytes"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"val/acc", b"val/abc")), "is another one, or was changed"),
    ],
)
def test_a_resume_without_the_rows_before_is_refused_and_changes_nothing(damage: Any, reason: str, tmp_path: Path) -> None:
    fit(CrossEntropy(3, PlainMLP), ToyData(val_fraction=0.2), tmp_path, 2)
    damage(tmp_path / "metrics.csv")
    left = (tmp_path / "metrics.csv").read_bytes() if (tmp_path / "metrics.csv").exists() else None
    with pytest.raises(ValueError, match=rf"(?s){reason}.*put that file back"):
        fit(CrossEntropy(3, PlainMLP), ToyData(val_fraction=0.2), tmp_path, 3, resume=tmp_path / "last.ckpt")
    assert ((tmp_path / "metrics.csv").read_bytes() if (tmp_path / "metrics.csv").exists() else None) == left


def test_a_run_that_has_moved_goes_on_with_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    straight = fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path / "straight", 3)
    _saved(tmp_path / "before", 2)
    (tmp_path / "before").rename(tmp_path / "after")
    assert_same(
        fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path / "after", 3, resume=tmp_path / "after" / "last.ckpt"), straight
    )


def test_an_earlier_checkpoint_goes_on_from_its_own_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saver = SaveEveryBatch(tmp_path)
    straight = fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 3, callbacks=(saver,))
    # the file has more rows than the checkpoint knew of, and keeps them until the run has begun
    assert_same(fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 3, resume=saver.files[5]), straight)


def test_a_checkpoint_elsewhere_knows_where_its_file_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    straight = fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path / "straight", 3)
    checkpoint = _saved(tmp_path / "run", 2).rename(tmp_path / "kept.ckpt")
    assert_same(fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path / "other", 3, resume=checkpoint), straight)
    assert (tmp_path / "run" / "metrics.csv").read_bytes() != (tmp_path / "other" / "metrics.csv").read_bytes()


def test_the_rows_are_on_the_disk_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    orders: list[list[str]] = []

    class Watch(RunCheckpoint):
        def _save(self, trainer: L.Trainer, name: str) -> None:
            synced.clear()
            super()._save(trainer, name)
            names = {(tmp_path / file).stat().st_ino: file for file in ("metrics.csv", name)}
            orders.append([names[inode] for inode in synced if inode in names])

    trainer = make_trainer(tmp_path, 2, (Curves(tmp_path), Watch(tmp_path, every_n_minutes=None)))
    trainer.fit(CrossEntropy(3, PlainMLP), datamodule=ToyData())
    assert orders == [["metrics.csv", "last.ckpt"]] * 2


def test_without_a_folder_the_rows_are_in_the_checkpoint(tmp_path: Path) -> None:
    def run(epochs: int, resume: Path | None = None, folder: Path | None = None) -> Curves:
        torch.manual_seed(0 if resume is None else 99)
        curves = Curves(folder)
        trainer = make_trainer(tmp_path, epochs, (curves, RunCheckpoint(tmp_path, every_n_minutes=None)))
        trainer.fit(CrossEntropy(3, PlainMLP), datamodule=ToyData(), ckpt_path=resume)
        return curves

    straight = run(3).rows
    run(2)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["Curves"]
    assert isinstance(state["rows"]["value"], torch.Tensor) and len(state["rows"]["value"]) == len(straight) * 2 // 3
    copy = (tmp_path / "last.ckpt").read_bytes()
    assert run(3, tmp_path / "last.ckpt").rows == straight
    (tmp_path / "copy.ckpt").write_bytes(copy)
    run(3, tmp_path / "copy.ckpt", tmp_path / "run")
    assert [
        (int(r["epoch"]), int(r["step"]), r["name"], float(r["value"])) for r in _read(tmp_path / "run" / "metrics.csv")
    ] == straight


def test_a_checkpoint_of_an_older_version_has_its_rows() -> None:
    curves = Curves()
    curves.load_state_dict({"rows": [[0, 4, "val/acc", 0.5], [1, 8, "val/acc", 0.75]], "totals": {}})
    assert curves.series("val/acc") == [(0, 0.5), (1, 0.75)]
