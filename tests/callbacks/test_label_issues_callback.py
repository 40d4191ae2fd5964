"""Every run says which labels look wrong: the file, when it is written, and the figures where the truth is known."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, make_trainer
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from noisylab.callbacks import Curves, Diagnostics, LabelIssues, RunCheckpoint, RunSummary
from noisylab.cli import main
from noisylab.data.base import Source
from noisylab.issues import rank_labels, read_issues
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


def _fit(
    method: NoisyLabelMethod, data: ToyData, folder: Path, epochs: int, *more: L.Callback, resume: Path | None = None
) -> tuple[LabelIssues, Curves]:
    """A run with the callbacks of ``noisylab fit``."""
    issues, curves = LabelIssues(folder), Curves(folder)
    own = (Diagnostics(), *more, curves, RunSummary(folder), issues, RunCheckpoint(folder, every_n_minutes=None))
    make_trainer(folder, epochs, own).fit(method, datamodule=data, ckpt_path=resume)
    return issues, curves


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_of_several_epochs_writes_one_file_at_its_end_which_is_the_ranking(tmp_path: Path) -> None:
    found: list[bool] = []
    watch = L.pytorch.callbacks.LambdaCallback(
        on_train_epoch_end=lambda *_: found.append((tmp_path / "label_issues.csv").exists())
    )
    method, data = PACKAGED["act"](DropoutMLP), ToyData(noise=Symmetric(0.4), val_fraction=0.2)
    issues, _ = _fit(method, data, tmp_path, 3, watch)
    assert found == [False] * 3
    expected = rank_labels(method, data)
    assert expected is not None and issues.table is not None
    assert sorted(path.name for path in tmp_path.glob("label_issues*")) == ["label_issues.csv"]
    expected.write(tmp_path / "expected.csv")
    assert (tmp_path / "label_issues.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    rows = _rows(tmp_path / "label_issues.csv")
    assert sorted(int(row["index"]) for row in rows) == data.info.train_rows.tolist()
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    names = data.info.class_names
    for row in rows:
        assert row["given"] == names[int(data.given_target[int(row["index"])])]
        assert (row["is_issue"] == "True") == (row["given"] != row["suggested"])
        assert all(row[name] for name in ("mean_loss", "mean_margin", "clean_prob", "agreement"))


def test_a_run_resumed_in_mid_epoch_writes_the_same_file(tmp_path: Path) -> None:
    data = partial(ToyData, num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)  # 25 rows: 8, 8 and 9
    saver = SaveEveryBatch(tmp_path)
    _fit(PACKAGED["act"](DropoutMLP), data(), tmp_path / "straight", 2, saver)
    expected = (tmp_path / "straight" / "label_issues.csv").read_bytes()
    torch.manual_seed(99)
    _fit(PACKAGED["act"](DropoutMLP), data(), tmp_path / "resumed", 2, resume=saver.files[3])
    assert (tmp_path / "resumed" / "label_issues.csv").read_bytes() == expected


def test_a_method_that_sees_nothing_unmixed_says_so_and_writes_no_file(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP, mixup_alpha=1.0), ToyData(noise=Symmetric(0.4))
    with pytest.warns(UserWarning, match=r"no label_issues\.csv: CrossEntropy never saw an unmixed input"):
        issues, curves = _fit(method, data, tmp_path, 1)
    assert rank_labels(method, data) is None and issues.table is None
    assert not (tmp_path / "label_issues.csv").exists()
    assert not [row for row in curves.rows if row[2].startswith("issues/")]
    assert [row for row in curves.rows if row[2].startswith("memorization/")]


class _Known(ToyData):
    """Given labels of which some are wrong; the truth is known for all, for every other row, or for none."""

    def __init__(self, known: str, **kwargs: Any) -> None:
        super().__init__(num_train=60, spread=1.5, **kwargs)
        self.known = known

    def load(self) -> Source:
        source = super().load()
        generator = torch.Generator().manual_seed(1)
        given = torch.where(torch.rand(60, generator=generator) < 0.4, (source.given + 1) % 3, source.given)
        clean = source.given.clone()
        clean[{"all": slice(0, 0), "half": slice(0, None, 2), "none": slice(None)}[self.known]] = -1
        return replace(source, given=given, clean=clean)


@pytest.mark.parametrize("known", ["all", "half"])
def test_figures_are_scikit_learns_of_the_file_and_the_truth(known: str, tmp_path: Path) -> None:
    data = _Known(known, val_fraction=0.2)
    _, curves = _fit(PACKAGED["robustloss"](PlainMLP), data, tmp_path, 3)
    names = list(data.info.class_names)
    rows = [row for row in _rows(tmp_path / "label_issues.csv") if int(data.clean_target[int(row["index"])]) >= 0]
    truth = data.clean_target[[int(row["index"]) for row in rows]].numpy()
    given, suggested = (np.array([names.index(row[name]) for row in rows]) for name in ("given", "suggested"))
    score, flag, wrong = np.array([float(row["score"]) for row in rows]), given != suggested, given != truth
    assert 5 < wrong.sum() < len(rows) - 5 and 0 < flag.sum() < len(rows) and not (flag == wrong).all()
    first = math.ceil(0.05 * len(rows))
    top = np.where(np.arange(len(rows)) < first, suggested, given)  # the rows are sorted
    expected = {
        "auroc": roc_auc_score(wrong, score),
        "average_precision": average_precision_score(wrong, score),
        "f1": f1_score(wrong, flag),
        "precision": precision_score(wrong, flag),
        "recall": recall_score(wrong, flag),
        "flagged": flag.mean(),
        "precision_at_k": wrong[: wrong.sum()].mean(),
        "precision_at_100": wrong[:100].mean(),
        "label_accuracy": (~wrong).mean(),
        "label_accuracy_top5": (top == truth).mean(),
        "label_accuracy_fixed": (suggested == truth).mean(),
    }
    last = {name: value for epoch, _, name, value in curves.rows if epoch == 2 and name.startswith("issues/")}
    assert last == pytest.approx({f"issues/{name}": float(value) for name, value in expected.items()})
    written = {row["name"]: float(row["value"]) for row in _rows(tmp_path / "metrics.csv") if row["epoch"] == "2"}
    summary = json.loads((tmp_path / "summary.json").read_text())["diagnostics"]
    for name, value in last.items():
        assert written[name] == summary[name] == value
    assert [epoch for epoch, _ in curves.series("issues/auroc")] == [0, 1, 2]


def test_without_truth_there_is_a_list_and_no_figure(tmp_path: Path) -> None:
    _fit(PACKAGED["robustloss"](PlainMLP), _Known("none"), tmp_path, 2)
    assert len(_rows(tmp_path / "label_issues.csv")) == 60
    assert not [row for row in _rows(tmp_path / "metrics.csv") if row["name"].startswith("issues/")]
    summary = json.loads((tmp_path / "summary.json").read_text())["diagnostics"]
    assert not [name for name in summary if name.startswith("issues/")]


_FLAGS = ["--model", "ACT", "--model.network", "MLP", "--model.network.in_features", "4", "--model.network.hidden", "[8]"]
_FLAGS += ["--model.warmup_epochs", "1", "--data", "Arrays", "--data.batch_size", "12"]
_FLAGS += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command, beside its data."""
    folder = tmp_path_factory.mktemp("issues")
    y = np.arange(36) % 3
    np.savez(folder / "a.npz", x=(np.random.default_rng(0).normal(size=(36, 4)) + y[:, None]).astype("f4"), y=y)
    assert main(["fit", *_FLAGS, "--data.path", str(folder / "a.npz"), "--run_dir", str(folder / "run")]) == 0
    return folder / "run"


class Killed(Exception):
    """The machine is gone."""


@pytest.mark.parametrize("callback", [RunSummary, LabelIssues])
def test_a_run_killed_after_its_last_checkpoint_gets_its_file_on_resume(
    callback: type[L.Callback], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    run = tmp_path / "killed"
    with monkeypatch.context() as patched:
        patched.setattr(callback, "on_train_end", die)
        with pytest.raises(Killed):
            main(["fit", "--config", str(straight / "config.yaml"), "--run_dir", str(run)])
    assert not (run / "summary.json").exists(), "which says that a run is finished, and so comes last"
    (run / "label_issues.csv").unlink(missing_ok=True)
    assert main(["fit", "--run_dir", str(run), "--resume"]) == 0
    assert (run / "label_issues.csv").read_bytes() == (straight / "label_issues.csv").read_bytes()
    assert len(read_issues(run / "label_issues.csv")) == 36
