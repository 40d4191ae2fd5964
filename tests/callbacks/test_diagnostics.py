from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor

from noisylab.callbacks.curves import Curves
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.callbacks.summary import RunSummary
from noisylab.data.base import Source
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


def _run(method: NoisyLabelMethod, data: ToyData, folder: Path, epochs: int = 3, **options: Any) -> tuple[Curves, Diagnostics]:
    curves, diagnostics = Curves(), Diagnostics(**options)
    make_trainer(folder, epochs, (diagnostics, curves)).fit(method, datamodule=data)
    return curves, diagnostics


def _last(curves: Curves, prefix: str) -> dict[str, float]:
    epoch = max(row[0] for row in curves.rows)
    return {name.removeprefix(prefix): value for e, _, name, value in curves.rows if e == epoch and name.startswith(prefix)}


def test_figures_are_those_of_the_networks_predictions(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.2, spread=2.0)
    curves, _ = _run(method, data, tmp_path)
    found = _last(curves, "memorization/")
    with torch.no_grad():
        logits = method.eval()(data.source.train.values)  # type: ignore[union-attr]
    right, wrong, entropy = [], [], 0.0
    rows = data.info.train_rows.tolist()
    for row in rows:
        p = [math.exp(z) for z in logits[row].tolist()]
        p = [value / sum(p) for value in p]
        given, true = int(data.given_target[row]), int(data.clean_target[row])
        entry = (p.index(max(p)), given, true, -math.log(p[given]), max(p))
        (right if given == true else wrong).append(entry)
        entropy -= sum(value * math.log(value) for value in p) / len(rows)
    assert len(right) > 5 and len(wrong) > 5
    expected = {
        "clean_acc": sum(pred == given for pred, given, *_ in right) / len(right),
        "noisy_as_given": sum(pred == given for pred, given, *_ in wrong) / len(wrong),
        "noisy_as_true": sum(pred == true for pred, _, true, *_ in wrong) / len(wrong),
        "noisy_other": sum(pred not in (given, true) for pred, given, true, *_ in wrong) / len(wrong),
        "clean_loss": sum(entry[3] for entry in right) / len(right),
        "noisy_loss": sum(entry[3] for entry in wrong) / len(wrong),
        "loss_auroc": sum(a[3] < b[3] for a in right for b in wrong) / len(right) / len(wrong),
        "clean_confident": sum(entry[4] > 0.95 for entry in right) / len(right),
        "entropy": entropy,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


def test_online_figures_are_those_of_what_training_saw(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4), val_fraction=0.2)
    curves, _ = _run(method, data, tmp_path)
    rows = data.info.train_rows
    right = rows[(data.given_target == data.clean_target)[rows]]
    hits = method.memory["observed_pred"][right] == data.given_target[right]
    assert _last(curves, "memorization_online/")["clean_acc"] == pytest.approx(float(hits.float().mean()))


def test_scoring_pass_runs_every_n_epochs_and_in_the_last(tmp_path: Path) -> None:
    curves, _ = _run(CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4)), tmp_path, 5, every_n_epochs=2)
    assert [epoch for epoch, _ in curves.series("memorization/clean_acc")] == [1, 3, 4]
    assert [epoch for epoch, _ in curves.series("memorization_online/clean_acc")] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Diagnostics(every_n_epochs=0)


def test_subset_is_named_by_its_seed_and_keeps_the_share_of_wrong_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[Tensor] = []
    original = CrossEntropy.score

    def score(self: CrossEntropy, measure: Any, rows: Tensor | None = None) -> Any:
        assert rows is not None
        scored.append(rows)
        return original(self, measure, rows)

    monkeypatch.setattr(CrossEntropy, "score", score)
    data = ToyData(num_train=100, noise=Symmetric(0.4, exact=True))
    for seed in (0, 0, 1):
        _run(CrossEntropy(3, PlainMLP), data, tmp_path, 1, max_rows=20, seed=seed)
    assert torch.equal(scored[0], scored[1]) and not torch.equal(scored[0], scored[2])
    for rows in scored:
        assert len(rows) == 20
        assert int((data.given_target != data.clean_target)[rows].sum()) == 8


def test_selection_is_judged_where_the_method_selects(tmp_path: Path) -> None:
    method = ACT(3, PlainMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3")
    data = ToyData(noise=Symmetric(0.4), val_fraction=0.2)
    curves, _ = _run(method, data, tmp_path)
    assert [epoch for epoch, _ in curves.series("select/precision")] == [1, 2]
    rows = data.info.train_rows
    clean = (data.given_target == data.clean_target)[rows]
    chosen = (method.memory["selected_epoch"] == 2)[rows]
    found = _last(curves, "select/")
    assert found["precision"] == pytest.approx(int((chosen & clean).sum()) / int(chosen.sum()))
    assert found["recall"] == pytest.approx(int((chosen & clean).sum()) / int(clean.sum()))
    assert found["size"] == pytest.approx(int(chosen.sum()) / len(rows))
    assert 0 <= found["auroc"] <= 1


def test_estimated_transition_matrix_is_compared_with_the_true_one(tmp_path: Path) -> None:
    class Estimating(CrossEntropy):
        def transition_matrix(self) -> Tensor:
            return torch.eye(3)

    curves, _ = _run(Estimating(3, PlainMLP), ToyData(noise=Symmetric(0.4)), tmp_path, 1)
    assert _last(curves, "transition/")["error"] == pytest.approx(0.8)


class _Correcting(CrossEntropy):
    """From its second epoch on takes every sample for class 1, the first for none."""

    def corrected_target(self) -> Tensor | None:
        if self.current_epoch < 1:
            return None
        corrected = torch.ones(self.info.num_train, dtype=torch.int64, device=self.device)
        corrected[0] = -1
        return corrected


def test_corrected_labels_are_compared_with_the_true_ones_and_summed_up(tmp_path: Path) -> None:
    method, data = _Correcting(3, PlainMLP), ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.2)
    curves, diagnostics, summary = Curves(), Diagnostics(), RunSummary(tmp_path)
    trainer = make_trainer(tmp_path, 2, (diagnostics, curves, summary))
    trainer.fit(method, datamodule=data)
    assert {epoch for epoch, _, name, _ in curves.rows if name.startswith("labels/")} == {1}
    rows = [row for row in data.info.train_rows.tolist() if row != 0]
    pairs = [(int(data.given_target[row]), int(data.clean_target[row])) for row in rows]
    wrong = [true == 1 for given, true in pairs if given != true]
    changed = [true == 1 for given, true in pairs if given != 1]
    expected = {
        "right": sum(true == 1 for _, true in pairs) / len(pairs),
        "right_clean": sum(given == true == 1 for given, true in pairs) / (len(pairs) - len(wrong)),
        "right_noisy": sum(wrong) / len(wrong),
        "flips": len(changed) / len(pairs),
        "flips_right": sum(changed) / len(changed),
    }
    assert _last(curves, "labels/") == pytest.approx(expected)
    found = summary.summary(trainer, method)["diagnostics"]
    assert {name: found[f"labels/{name}"] for name in expected} == pytest.approx(expected)


class _Real(ToyData):
    """Data whose true labels are unknown, all or every other one."""

    unknown = slice(None)

    def load(self) -> Source:
        source = super().load()
        assert source.clean is not None
        source.clean = source.clean.clone()
        source.clean[self.unknown] = -1
        return source


class _HalfKnown(_Real):
    unknown = slice(0, None, 2)


def test_without_true_labels_nothing_is_logged(tmp_path: Path) -> None:
    curves, _ = _run(CrossEntropy(3, PlainMLP), _Real(), tmp_path)
    assert not [row for row in curves.rows if row[2].startswith(("memorization", "select", "transition"))]


def test_rows_of_unknown_truth_are_left_out(tmp_path: Path) -> None:
    _, diagnostics = _run(CrossEntropy(3, PlainMLP), _HalfKnown(), tmp_path)
    assert sum(diagnostics.histogram["right"]) == 20 and sum(diagnostics.histogram["wrong"]) == 0


def test_peak_survives_a_resume() -> None:
    first, second = Diagnostics(), Diagnostics()
    first._peak = (0.75, 3)
    second.load_state_dict(first.state_dict())
    assert second._peak == (0.75, 3)


class _Liar(ToyData):
    """The same given labels as `ToyData`, with other true ones."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        assert self.noisy is not None
        self.noisy.clean_target.copy_((self.noisy.clean_target + 1) % 3)


@pytest.mark.parametrize("method", [CrossEntropy, ACT])
def test_the_truth_never_reaches_training(method: Any, tmp_path: Path) -> None:
    weights, memories = [], []
    for data in (ToyData, _Liar):
        torch.manual_seed(0)
        options = {"warmup_epochs": 1} if method is ACT else {}
        model = method(num_classes=3, network=PlainMLP, **options)
        _run(model, data(noise=Symmetric(0.4), val_fraction=0.2), tmp_path)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        memories.append(model.memory["observed_loss"].nan_to_num(-1))
    assert torch.equal(*weights) and torch.equal(*memories)


@pytest.mark.parametrize(("val_labels", "expected"), [("clean", True), ("given", False)])
def test_without_a_test_set_only_clean_held_out_labels_tell_the_peak(tmp_path: Path, val_labels: Any, expected: bool) -> None:
    class NoTest(ToyData):
        def load(self) -> Source:
            source = super().load()
            source.test = source.test_target = None
            return source

    data = NoTest(num_train=60, noise=Symmetric(0.4), val_fraction=0.2, val_labels=val_labels)
    curves, _ = _run(CrossEntropy(3, PlainMLP), data, tmp_path)
    assert bool(curves.series("memorization/drop")) is expected
