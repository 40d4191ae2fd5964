"""What the diagnostics say of the pseudo-labels that a method gives to rows without a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, SaveEveryBatch, ToyData, make_trainer

from noisylab.callbacks.curves import Curves
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.callbacks.summary import RunSummary
from noisylab.data.base import Source
from noisylab.engine.step import step
from noisylab.losses import cross_entropy
from noisylab.methods import DivideMix, NoisyLabelMethod
from noisylab.noise import Symmetric
from noisylab.selection import NoThreshold
from noisylab.types import EpochPlan, Phase, PlanBatch, Stream


class _Told(ToyData):
    """Four rows of each class keep their label; the truth of every sixth row is not known."""

    truth = True

    def load(self) -> Source:
        source = super().load()
        source.clean = source.given.clone() if self.truth else None
        if source.clean is not None:
            source.clean[1::6] = -1
        return source


class _Untold(_Told):
    truth = False


class _Guessing(NoisyLabelMethod):
    """Learns from the labels, and by a made-up rule says which class each unlabeled row has and how much that counts."""

    uses_unlabeled = True

    def __init__(self, num_classes: int, network: Any) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.add_networks(network, "network")
        self.memory.add("unlabeled_weight")
        self.memory.add("unlabeled_pred", dtype=torch.int64, fill=-1)
        self.memory.add("unlabeled_epoch", dtype=torch.int32, fill=-1)
        self.seen: list[list[int]] = []

    def epoch_plan(self, epoch: int) -> EpochPlan:
        unlabeled = Stream(self.info.unlabeled_rows, self.views, batch_size=4)
        labeled = Stream(self.info.train_rows, self.views, batch_size=4, endless=True)
        return EpochPlan((Phase("train", {"labeled": labeled, "unlabeled": unlabeled}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        index = batch["unlabeled"].index
        self.seen.append(index.tolist())
        self.memory.write("unlabeled_pred", index, _pred(index, batch.epoch))
        self.memory.write("unlabeled_weight", index, _weight(index))
        self.memory.write("unlabeled_epoch", index, torch.full_like(index, batch.epoch))
        labeled = batch["labeled"]
        loss = self.mean(cross_entropy(self.networks["network"](labeled.views[0]), labeled.target, reduction="none"))
        self.means.add("unlabeled/used", _weight(index).mean(), len(index))
        step(self, {"network": loss})

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


def _pred(row: Any, epoch: int) -> Any:
    return (row + row // 7 + epoch) % 3


def _weight(row: torch.Tensor) -> torch.Tensor:
    return torch.tensor([0.0, 0.5, 1.0])[row % 5 % 3]


def _fit(folder: Path, data: ToyData, resume: Path | None = None, every: int | None = None) -> tuple[_Guessing, Curves, Any]:
    curves, summary = Curves(every_n_steps=every), RunSummary(folder)
    method, saver = _Guessing(3, PlainMLP), SaveEveryBatch(folder)
    trainer = make_trainer(folder, 2, (*(() if resume else (saver,)), Diagnostics(), curves, summary))
    trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
    return method, curves, (saver, summary.summary(trainer, method))


def _by_hand(data: ToyData, steps: list[list[int]], epoch: int) -> tuple[float, float]:
    right = used = hits = known = 0.0
    for row in (row for rows in steps for row in rows):
        if (true := int(data.clean_target[row])) < 0:
            continue
        weight, hit = float(_weight(torch.tensor(row))), _pred(row, epoch) == true
        right, used, hits, known = right + weight * hit, used + weight, hits + hit, known + 1
    return right / used, hits / known


def test_the_share_of_right_pseudo_labels_is_that_of_a_count_by_hand(tmp_path: Path) -> None:
    data = _Told(labels_per_class=4)
    method, curves, (_, summary) = _fit(tmp_path, data, every=2)
    assert len(method.seen) == 14
    for epoch in range(2):
        steps = method.seen[7 * epoch : 7 * epoch + 7]
        used_right, acc = _by_hand(data, steps, epoch)
        assert dict(curves.series("unlabeled/used_right"))[epoch] == pytest.approx(used_right)
        assert dict(curves.series("unlabeled/acc"))[epoch] == pytest.approx(acc)
        within = [value for found, value in curves.series("unlabeled/used_right_step") if found == epoch]
        assert within == pytest.approx([_by_hand(data, steps[first : first + 2], epoch)[0] for first in (0, 2, 4)])
    assert 0 < summary["diagnostics"]["unlabeled/used_right"] == dict(curves.series("unlabeled/used_right"))[1] < 1
    assert summary["diagnostics"]["unlabeled/used"] == dict(curves.series("unlabeled/used"))[1]


def test_a_resume_within_an_epoch_changes_none_of_the_figures(tmp_path: Path) -> None:
    _, straight, (saver, _) = _fit(tmp_path / "a", _Told(labels_per_class=4), every=2)
    _, resumed, _ = _fit(tmp_path / "b", _Told(labels_per_class=4), resume=saver.files[9], every=2)
    assert [row for row in resumed.rows if row[2].startswith("unlabeled/")] == [
        row for row in straight.rows if row[2].startswith("unlabeled/")
    ]


def test_where_no_truth_is_known_only_what_the_method_logs_is_there(tmp_path: Path) -> None:
    _, curves, _ = _fit(tmp_path, _Untold(labels_per_class=4))
    assert {name for _, _, name, _ in curves.rows if name.startswith("unlabeled/")} == {"unlabeled/used"}


class _Watched(DivideMix):
    """Keeps the guesses of the first network after each of its steps."""

    guesses: list[tuple[int, int]]

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        if batch.phase == "first" and "unlabeled" in batch.streams:
            rows = batch["unlabeled"].index
            self.guesses += zip(rows.tolist(), self.memory["unlabeled_pred"][rows].tolist(), strict=True)


def test_guesses_of_a_policy_in_dividemix_are_judged_for_the_first_network(tmp_path: Path) -> None:
    data = ToyData(num_train=60, noise=Symmetric(0.4), spread=2.0)
    method, curves = _Watched(3, PlainMLP, warmup_epochs=1, policy=NoThreshold), Curves()
    method.guesses = []
    make_trainer(tmp_path, 2, (Diagnostics(), curves)).fit(method, datamodule=data)
    ((epoch, value),) = curves.series("unlabeled/acc")
    right = [int(data.clean_target[row]) == pred for row, pred in method.guesses]
    assert epoch == 1 and 0 < sum(right) < len(right) and value == pytest.approx(sum(right) / len(right))
