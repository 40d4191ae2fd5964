"""What FixMatch, MixMatch, Mean Teacher and the Pi-model share: rows, rates, averages, accuracies, the rotation head."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import ToyData, make_trainer
from helpers.semi import Shown, alone, step_of
from helpers.toy import BatchNormMLP, PlainMLP
from torch import Tensor

from noisylab.methods import FixMatch, PiModel
from noisylab.methods.semisupervised import SemiSupervised
from noisylab.models import SmallCNN
from noisylab.schedules import CosineDecay
from noisylab.selection.thresholds import FixedThreshold, PercentileThreshold
from noisylab.transforms.rotation import rotate_quarters


def _fit(method: SemiSupervised, folder: Path, epochs: int = 1, data: ToyData | None = None, **kwargs: Any) -> Any:
    trainer = make_trainer(folder, epochs, **kwargs)
    trainer.fit(method, datamodule=ToyData(num_train=29) if data is None else data)
    return trainer


# ---- rows


@pytest.mark.parametrize(
    ("given", "sizes", "steps"),
    [
        ({"ratio": 1.0}, (8, 8), 2),  # 15 labeled, 14 unlabeled
        ({"ratio": 2.5}, (8, 20), 2),
        ({"unlabeled_batch_size": 3}, (8, 3), 5),
        ({"unlabeled_batch_size": 3, "include_labeled": True}, (8, 3), 10),
        ({"ratio": 2.0, "steps_per_epoch": 7}, (8, 16), 7),
    ],
)
def test_both_streams_have_sizes_of_their_own(given: dict[str, Any], sizes: tuple[int, int], steps: int, tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP, **given)
    trainer = _fit(method, tmp_path, 0)
    plan = trainer.datamodule.resolved_plan(0)
    found = list(plan.batches())
    assert len(found) == steps
    assert {tuple(len(batch.streams[name].index) for name in ("labeled", "unlabeled")) for batch in found} == {sizes}
    rows = set(trainer.datamodule.info.unlabeled_rows.tolist())
    if given.get("include_labeled"):
        rows |= set(trainer.datamodule.info.train_rows.tolist())
    if "steps_per_epoch" not in given:
        assert {int(row) for batch in found for row in batch.streams["unlabeled"].index} == rows


def test_rows_are_counted_within_the_unlabeled_set(tmp_path: Path) -> None:
    for include in (False, True):
        method = FixMatch(3, PlainMLP, include_labeled=include)
        _fit(method, tmp_path, 0)
        rows = method.unlabeled_rows()
        assert method.places(rows).tolist() == list(range(len(rows))) and rows.tolist() == sorted(set(rows.tolist()))


def test_a_row_that_a_batch_holds_twice_is_remembered_once() -> None:
    method = alone(FixMatch(3, Shown), labeled=3, unlabeled=5)
    method.trainer.world_size = 1  # type: ignore[misc]
    batch = SimpleNamespace(step=1, weight_of=lambda stream: 8)
    assert method.once(batch, "unlabeled", 5) == 2  # positions 8..15: 8 and 9 end a pass  # type: ignore[arg-type]
    assert method.once(batch, "unlabeled", 20) == 8  # type: ignore[arg-type]
    method.trainer.world_size = 2  # type: ignore[misc]
    batch.weight_of = lambda stream: 4
    assert method.once(batch, "unlabeled", 11) == 2  # of 8, 9 and 10 this rank has 8 and 10  # type: ignore[arg-type]


def test_without_unlabeled_rows_the_labels_alone_are_learned_and_it_is_said(tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP)
    with pytest.warns(UserWarning, match="no unlabeled rows: FixMatch trains on its 29 labeled rows alone") as said:
        trainer = _fit(method, tmp_path, 2, ToyData(num_train=29, unlabel=False))
    assert sum("no unlabeled rows" in str(warning.message) for warning in said) == 1
    assert trainer.global_step == 2 * math.ceil(29 / 8)
    assert bool((method.memory["observed_epoch"] == 1).all()) and not bool((method.memory["unlabeled_epoch"] >= 0).any())


def test_fewer_labels_than_a_batch_and_a_class_without_any(tmp_path: Path) -> None:
    method, data = FixMatch(3, BatchNormMLP, policy=partial(FixedThreshold, threshold=0.4)), ToyData(num_train=29, labels_total=2)
    trainer = _fit(method, tmp_path, 2, data)
    assert len(data.info.train_rows) == 2 and len(data.given_target[data.info.train_rows].unique()) < 3
    assert trainer.global_step == method.run_length and int((method.memory["observed_epoch"] >= 0).sum()) == 2


# ---- rates, decay, averages


def test_the_rate_falls_by_steps_over_the_whole_run(tmp_path: Path) -> None:
    rates: list[float] = []

    class Watched(FixMatch):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            rates.append(self.wrapped_optimizers()["network"].param_groups[0]["lr"])
            super().training_step(batch, batch_idx)

    _fit(Watched(3, PlainMLP, scheduler=CosineDecay, ratio=1.0), tmp_path, 3)
    assert rates == pytest.approx([0.03 * math.cos(7 * math.pi * s / (16 * 6)) for s in range(6)])


@pytest.mark.parametrize(
    ("trainer", "length"), [({"max_steps": 5}, 5), ({"limit_train_batches": 1}, 3), ({"limit_train_batches": 0.5}, 3)]
)
def test_the_run_ends_where_the_trainer_says(trainer: dict[str, Any], length: int, tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP, ratio=1.0, scheduler=CosineDecay)
    assert _fit(method, tmp_path, 3, **trainer).global_step == method.run_length == length


def test_a_schedule_by_epochs_spans_the_epochs(tmp_path: Path) -> None:
    trainer = _fit(FixMatch(3, PlainMLP, scheduler=CosineDecay, schedule_by="epoch"), tmp_path, 3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.03 * math.cos(7 * math.pi / 16))


def test_a_cosine_that_does_not_know_its_length_says_so() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = CosineDecay(optimizer)
    optimizer.step()
    with pytest.raises(ValueError, match="give it total"):
        schedule.step()
    numbers = CosineDecay(torch.optim.SGD([torch.zeros(1)], lr=0.03), total=2**20)
    for step, rate in ((0, 0.03), (2**19, 0.02319031), (2**20, 0.00585271), (2**21, 0.00585271)):
        numbers.last_epoch = step
        assert numbers.get_lr()[0] == pytest.approx(rate, abs=1e-8)


def test_biases_and_normalization_are_not_decayed(tmp_path: Path) -> None:
    trainer = _fit(FixMatch(3, BatchNormMLP), tmp_path)
    decayed, others = trainer.optimizers[0].param_groups
    assert decayed["weight_decay"] == 5e-4 and {p.ndim for p in decayed["params"]} == {2}
    assert others["weight_decay"] == 0 and len(others["params"]) == 4  # two biases, scale and shift of the normalization
    assert len(_fit(PiModel(3, BatchNormMLP), tmp_path).optimizers[0].param_groups) == 1


# ---- accuracies for policies


def _told(source: Any) -> list[float]:
    """What a policy is told in each of four steps with 3, 9, 15 and 21 of 30 rows right, then at the next epoch's start."""
    method = alone(FixMatch(3, Shown, policy=PercentileThreshold, accuracy_source=source), labeled=30, unlabeled=10)
    method.on_train_epoch_start()
    method.prepare_epoch(0)
    found, rows = [], torch.eye(3)[torch.arange(30) % 3]
    for step, right in enumerate((3, 9, 15, 21)):
        shown = torch.where(torch.arange(30)[:, None] < right, rows, rows.roll(1, 1))
        batch = step_of((shown,), torch.arange(30) % 3, (torch.eye(3), torch.eye(3)), step=step, steps=4)
        method.objective(batch)
        found.append(float(method.policy["accuracy_train"]))  # type: ignore[index, operator]
    method.prepare_epoch(1)
    return [*found, float(method.policy["accuracy_train"])]  # type: ignore[index, operator]


@pytest.mark.parametrize(
    ("source", "expected"),
    [("running", [0, 0.1, 0.2, 0.3, 0]), ("last_batch", [0, 0, 0, 0, 0.7]), ("last_epoch", [0, 0, 0, 0, 0.4])],
)
def test_policies_are_told_the_accuracy_that_was_asked_for(source: Any, expected: list[float]) -> None:
    assert _told(source) == pytest.approx(expected)


def test_the_accuracy_on_held_out_rows_is_told_or_asked_for(tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP, policy=partial(PercentileThreshold, by="validation"))
    trainer = _fit(method, tmp_path, 2, ToyData(num_train=40, val_fraction=0.3))
    assert float(method.policy["accuracy_validation"]) == pytest.approx(float(trainer.callback_metrics["val/acc"]))  # type: ignore[index, operator]
    with pytest.raises(ValueError, match=r"PercentileThreshold goes by .* held-out rows.*data\.val_fraction"):
        _fit(FixMatch(3, PlainMLP, policy=partial(PercentileThreshold, by="validation")), tmp_path)


# ---- the passes, and the rotation head


def test_passes_aside_leave_the_batch_statistics_to_labeled_rows() -> None:
    found = {}
    for passes in ("joint", "separate", "labeled"):
        torch.manual_seed(0)
        method = alone(FixMatch(3, BatchNormMLP, passes=passes))  # type: ignore[arg-type]
        x, u = torch.randn(4, 2), torch.randn(8, 2) + 3
        logits, _ = method.see(step_of((x,), torch.zeros(4, dtype=torch.int64), (u, u)), x, u)
        norm = next(module for module in method.network.modules() if isinstance(module, torch.nn.BatchNorm1d))
        found[passes] = logits, norm.running_mean.clone(), int(norm.num_batches_tracked)  # type: ignore[union-attr, arg-type]
    assert [count for _, _, count in found.values()] == [1, 2, 1]
    torch.manual_seed(0)
    alone_with_labels = FixMatch(3, BatchNormMLP).network
    torch.testing.assert_close(alone_with_labels(x), found["labeled"][0][0])
    torch.testing.assert_close(found["separate"][0][1], found["labeled"][0][1])
    assert not torch.allclose(found["joint"][0][0], found["separate"][0][0])


def test_a_rotation_head_learns_beside_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    quarters = torch.tensor([0, 3, 1, 2])
    turn = lambda images: (rotate_quarters(images, quarters), quarters)  # noqa: E731
    monkeypatch.setattr("noisylab.methods.semisupervised.draw_rotations", turn)
    method = alone(FixMatch(3, partial(SmallCNN, in_channels=1), rotation_weight=0.5), unlabeled=4)
    network, head = method.network.eval(), method.rotation_head
    assert head is not None
    x, u = torch.randn(2, 1, 8, 8), torch.randn(4, 1, 8, 8)
    logits, loss = method.see(step_of((x,), torch.zeros(2, dtype=torch.int64), (u, u)), x, u)
    torch.testing.assert_close(torch.cat(logits), network(torch.cat([x, u])))
    embedding, _ = network.embed(rotate_quarters(u, quarters))  # type: ignore[operator]
    torch.testing.assert_close(loss, 0.5 * F.cross_entropy(head(embedding), quarters))
    assert method.means.compute()["train/rotation_loss"] == pytest.approx(2 * float(loss.detach()))
    weights: list[Tensor] = [*head.parameters(), *network.parameters()]
    assert all(g is not None for g in torch.autograd.grad(loss, weights[:3], allow_unused=False))
    method.trainer.datamodule = None  # type: ignore[attr-defined]
    optimizer = method.configure_optimizers()[0]
    assert {id(p) for p in weights} == {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert list(method.networks) == ["network"]


def test_a_rotation_head_is_for_images() -> None:
    method = alone(FixMatch(3, PlainMLP, rotation_weight=1.0))
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="rotations need square images"):
        method.see(step_of((x,), torch.zeros(4, dtype=torch.int64), (x, x)), x, x)
    with pytest.raises(ValueError, match="passes='labeled'"):
        FixMatch(3, PlainMLP, rotation_weight=1.0, passes="labeled")
