from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import BatchNormMLP, DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer, state_of
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from noisylab.callbacks import Curves
from noisylab.cli import main
from noisylab.data import Digits
from noisylab.data.base import Source
from noisylab.data.rows import DenseRows
from noisylab.ema import AveragedNetwork
from noisylab.meta import Form
from noisylab.methods import L2R, NoisyLabelMethod, l2r, metagradients
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.transforms.mixing import mix
from noisylab.types import Inputs, PlanBatch

_SGD = partial(SGD, lr=0.1, momentum=0.9, weight_decay=5e-3)


class Watch(L.Callback):
    """Batches and rates before each step, and the weights after it."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.rates: list[float] = []
        self.weights: list[Tensor] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, L2R)
        self.weights.append(pl_module.memory["weight_main"][batch["train"].index])


def _method(network: Any = PlainMLP, **options: Any) -> L2R:
    return L2R(3, network, **{"optimizer": _SGD, **options})


def _data(**options: Any) -> ToyData:
    """35 rows to train on, six trusted ones."""
    return ToyData(**{"num_train": 41, "noise": Symmetric(0.4), "spread": 1.5, "trusted_per_class": 2, **options})


def _run(method: L2R, folder: Path, data: ToyData, epochs: int = 1, **options: Any) -> tuple[Watch, Curves]:
    watch, curves = Watch(), Curves()
    make_trainer(folder, epochs, (watch, curves), **options).fit(method, datamodule=data)
    return watch, curves


def _assert_close(found: nn.Module, expected: nn.Module, atol: float) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=atol, msg=partial("{}: {}".format, name))


# ---- a plain loop, written apart


class _Loop:
    """The algorithm as the paper has it, by a gradient of a gradient, with an optimizer and averages by hand."""

    def __init__(self, network: nn.Module, norm: str = "batch", average: float = 0.0, trusted_decay: float = 0.0) -> None:
        self.trusted_decay = trusted_decay
        self.network, self.norm, self.average, self.decay = network, norm, copy.deepcopy(network), average
        self.velocity: dict[str, Tensor] = {}
        self.running = -1.0
        self.scores: dict[int, float] = {}
        self.before: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        self.totals: dict[str, float] = {}
        self.epoch = self.steps = 0

    def _buffers(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.named_buffers()}

    def _scores(self, batch: PlanBatch) -> tuple[Tensor, Tensor, Tensor]:
        """u (B,), with a virtual step of rate 1; the losses; the trusted loss."""
        parameters = dict(self.network.named_parameters())
        dtype = next(iter(parameters.values())).dtype
        x, y, xv, yv = (t for s in ("train", "trusted") for t in (batch[s].views[0], batch[s].target))
        assert isinstance(x, Tensor) and isinstance(xv, Tensor)
        eps = torch.zeros(len(y), dtype=dtype, requires_grad=True)
        losses = _losses(functional_call(self.network, self._buffers(), (x.to(dtype),)), y)
        slopes = torch.autograd.grad((eps * losses).sum(), list(parameters.values()), create_graph=True)
        moved = {name: value - slope for (name, value), slope in zip(parameters.items(), slopes, strict=True)}
        trusted = _losses(functional_call(self.network, {**moved, **self._buffers()}, (xv.to(dtype),)), yv).mean()
        decay = self.trusted_decay / 2 * sum((value.square().sum() for value in moved.values()), torch.zeros((), dtype=dtype))
        return -torch.autograd.grad(trusted + decay, eps)[0], losses.detach(), trusted.detach()

    def _weights(self, batch: PlanBatch, scores: Tensor) -> Tensor:
        kept = [max(score, 0.0) for score in scores.tolist()]
        rows, total = batch["train"].index.tolist(), sum(kept)
        if self.norm == "running":
            now = total / len(kept)
            share = max(0.01, 1 / (batch.epoch * batch.steps + batch.step + 1))
            self.running = (1 - share) * max(self.running, 0.0) + share * now
            weights = [score / (self.running * len(kept)) for score in kept]
        elif self.norm == "epoch" and batch.epoch > 0:
            mean = sum(self.before.values()) / len(self.before)
            weights = [self.before[row] / mean / len(kept) for row in rows]
        else:
            weights = [score / total if total else 0.0 for score in kept]
        self.scores |= dict(zip(rows, kept, strict=True))
        return torch.tensor(weights, dtype=scores.dtype)

    def step(self, batch: PlanBatch, mixing: tuple[Tensor, float] | None = None) -> Tensor:
        if batch.epoch > self.epoch:
            self.epoch, self.before, self.totals = batch.epoch, dict(self.scores), {}
        scores, losses, trusted = self._scores(batch)
        weights = self._weights(batch, scores)
        x, y = batch["train"].views[0], batch["train"].target
        assert isinstance(x, Tensor)
        if mixing is None:
            loss = (weights * _losses(self.network(x.to(weights.dtype)), y)).sum()
        else:
            order, lam = mixing
            logits = self.network(torch.stack([lam * x[i] + (1 - lam) * x[j] for i, j in enumerate(order.tolist())]))
            loss = lam * (weights * _losses(logits, y)).sum() + (1 - lam) * (weights[order] * _losses(logits, y[order])).sum()
        slopes = torch.autograd.grad(loss, list(self.network.parameters()))
        with torch.no_grad():
            for (name, value), slope in zip(self.network.named_parameters(), slopes, strict=True):
                change = slope + 5e-3 * value
                self.velocity[name] = 0.9 * self.velocity[name] + change if name in self.velocity else change
                value.sub_(0.1 * self.velocity[name])
            keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
            for own, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                own.copy_(keep * own + (1 - keep) * now)
            for kept, statistic in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(statistic)
        self.steps += 1
        self.seen |= dict(zip(batch["train"].index.tolist(), losses.tolist(), strict=True))
        parts = {"meta_loss": trusted, "score_sum": scores.clamp(min=0).sum(), "weight_sum": weights.sum(), "loss": loss.detach()}
        for name, part in {**parts, "rows": torch.ones(())}.items():
            self.totals[name] = self.totals.get(name, 0.0) + len(y) * float(part)
        return weights


def _losses(logits: Tensor, target: Any) -> Tensor:
    return torch.stack([torch.logsumexp(z, 0) - z[k] for z, k in zip(logits, target.tolist(), strict=True)])


@pytest.mark.parametrize(
    ("network", "precision", "norm", "meta_batch_size", "ema_decay", "tolerance"),
    [
        (PlainMLP, "32-true", "batch", 5, None, 1e-6),
        (BatchNormMLP, "32-true", "batch", None, 0.7, 1e-5),
        (PlainMLP, "64-true", "batch", None, 0.15, 1e-12),
        (BatchNormMLP, "64-true", "batch", 5, 0.9, 1e-12),
        (BatchNormMLP, "64-true", "running", 4, None, 1e-6),
        (PlainMLP, "32-true", "running", None, None, 1e-6),
        (PlainMLP, "64-true", "epoch", 4, 0.5, 1e-6),
        (BatchNormMLP, "64-true", "epoch", None, None, 1e-6),
    ],
)
def test_a_run_equals_a_plain_loop(
    network: Any,
    precision: str,
    norm: Any,
    meta_batch_size: int | None,
    ema_decay: float | None,
    tolerance: float,
    tmp_path: Path,
) -> None:
    method = _method(network, weight_norm=norm, meta_batch_size=meta_batch_size, ema_decay=ema_decay)
    start = copy.deepcopy(method.networks["main"])
    loop = _Loop(start.double() if precision == "64-true" else start, norm, ema_decay or 0.0)
    data = _data()
    watch, curves = _run(method, tmp_path, data, 2, precision=precision)
    assert [len(batch["train"]) for batch in watch.batches] == 2 * [8, 8, 8, 8, 3]
    assert {len(batch["trusted"]) for batch in watch.batches} == {meta_batch_size or 8}
    for batch, found in zip(watch.batches, watch.weights, strict=True):
        expected = loop.step(batch)
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=max(tolerance, 2e-6))
        if batch.last_of_epoch:
            named = {name: value / loop.totals["rows"] for name, value in loop.totals.items() if name != "rows"}
            logged = {name: value for epoch, _, name, value in curves.rows if epoch == batch.epoch}
            for name, value in named.items():
                assert logged[f"train/{name}"] == pytest.approx(value, abs=1e-5), name
            zeros = torch.cat([w == 0 for b, w in zip(watch.batches, watch.weights, strict=True) if b.epoch == batch.epoch])
            assert logged["train/zero_weights"] == pytest.approx(zeros.double().mean().item()) and logged["train/lost_steps"] == 0
    _assert_close(method.networks["main"], loop.network, tolerance)
    if ema_decay is not None:
        average = method.averages["main"]
        assert isinstance(average, AveragedNetwork)
        _assert_close(average.network, loop.average, tolerance)
    rows = torch.tensor(list(loop.seen))
    losses = torch.tensor(list(loop.seen.values()))
    torch.testing.assert_close(method.memory["observed_loss"][rows], losses, rtol=0, atol=1e-5)
    assert method.forms == {"main": Form()}


def test_a_run_with_decay_in_the_trusted_loss_equals_a_plain_loop(tmp_path: Path) -> None:
    method = _method(BatchNormMLP, trusted_decay=0.5)
    loops = [_Loop(copy.deepcopy(method.networks["main"]).double(), trusted_decay=decay) for decay in (0.5, 0.0)]
    watch, _ = _run(method, tmp_path, _data(), 1, precision="64-true")
    weights, without = [[loop.step(batch).float() for batch in watch.batches] for loop in loops]
    for found, expected in zip(watch.weights, weights, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(torch.cat(weights), torch.cat(without), atol=1e-2)
    _assert_close(method.networks["main"], loops[0].network, 1e-6)


def test_a_negative_decay_of_the_trusted_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="trusted_decay must be a number of 0 or more, got -1"):
        _method(trusted_decay=-1.0)


def test_a_run_with_mixup_equals_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[tuple[Tensor, float]] = []

    def recorded(inputs: Inputs, order: Tensor, lam: float) -> Inputs:
        draws.append((order.clone(), lam))
        return mix(inputs, order, lam)

    monkeypatch.setattr(l2r, "mix", recorded)
    method = _method(BatchNormMLP, mixup_alpha=2.0)
    loop = _Loop(copy.deepcopy(method.networks["main"]))
    watch, _ = _run(method, tmp_path, _data(), 2)
    assert len(draws) == len(watch.batches) == 10 and len({lam for _, lam in draws}) == 10
    for batch, draw, found in zip(watch.batches, draws, watch.weights, strict=True):
        torch.testing.assert_close(found, loop.step(batch, draw), rtol=0, atol=1e-5)
    _assert_close(method.networks["main"], loop.network, 1e-5)
    torch.testing.assert_close(
        method.memory["observed_loss"][torch.tensor(list(loop.seen))], torch.tensor(list(loop.seen.values())), rtol=0, atol=1e-4
    )


# ---- numbers by hand


class Linear(Network):
    """Logits ``W x`` of two features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.weight = nn.Parameter(torch.tensor([[0.5, 0.2], [0.1, -0.4], [-0.3, 0.1]]))

    def forward(self, inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return inputs @ self.weight.T


def _matrix(method: L2R) -> Tensor:
    network = method.networks["main"]
    assert isinstance(network, Linear)
    return network.weight.detach().clone()


class Points(ToyData):
    """Eight times the point (1, 0), four times with each of two given labels, which are 0 and 1.

    Once it has the trusted label 0; trusted rows of the other classes lie at the origin, where a linear model has no gradient.
    """

    given = (0, 1)

    def load(self) -> Source:
        source = super().load()
        points = torch.zeros(11, 2)
        points[[0, *range(3, 11)], 0] = 1
        source.train, source.given, source.clean = DenseRows(points), torch.tensor([0, 1, 2, *4 * self.given]), None
        return source


class Wrong(Points):
    """All labels that are not trusted are wrong."""

    given = (1, 1)


def _points(folder: Path, cls: type[Points] = Points, **options: Any) -> Points:
    file = folder / "trusted.csv"
    file.write_text("row,label\n0,blob0\n1,blob1\n2,blob2\n")
    return cls(trusted_labels=str(file), weak=0.0, **options)


def test_copies_of_a_trusted_sample_have_all_weight_and_copies_with_a_wrong_label_none(tmp_path: Path) -> None:
    method = _method(Linear, meta_batch_size=3)
    assert method.clean_mask() is None and method.clean_prob() is None
    watch, curves = _run(method, tmp_path, _points(tmp_path))
    (batch,) = watch.batches
    expected = [0.25 if label == 0 else 0.0 for label in batch["train"].target.tolist()]
    assert watch.weights[0].tolist() == pytest.approx(expected)
    p = torch.tensor([0.5, 0.1, -0.3]).softmax(0)
    logged = {name: value for _, _, name, value in curves.rows}
    assert logged["train/score_sum"] == pytest.approx(4 * float((p - torch.tensor([1.0, 0, 0])).square().sum()) / 3, rel=1e-5)
    assert logged["train/meta_loss"] == pytest.approx((-float(p[0].log()) + 2 * math.log(3)) / 3, rel=1e-5)
    assert logged["train/zero_weights"] == 0.5 and logged["train/weight_sum"] == pytest.approx(1)
    assert logged["train/loss"] == pytest.approx(-float(p[0].log()), rel=1e-5)
    mask, prob = method.clean_mask(), method.clean_prob()
    assert mask is not None and mask.tolist() == [False] * 3 + 4 * [True, False]
    assert prob is not None and prob.tolist() == pytest.approx([0.0] * 3 + 4 * [0.25, 0.0])


def test_where_no_score_is_positive_only_momentum_and_decay_remain(tmp_path: Path) -> None:
    method = _method(Linear, meta_batch_size=3)
    weight, velocity = _matrix(method), torch.zeros(3, 2)
    watch, curves = _run(method, tmp_path, _points(tmp_path, batch_size=1), 2)
    labels = [int(batch["train"].target) for batch in watch.batches]
    assert sorted(labels) == 8 * [0] + 8 * [1]
    for label, weights in zip(labels, watch.weights, strict=True):
        assert weights.tolist() == [1.0 if label == 0 else 0.0]
        slope = torch.zeros(3, 2)
        if label == 0:
            slope[:, 0] = weight[:, 0].softmax(0) - torch.tensor([1.0, 0, 0])
        velocity = 0.9 * velocity + slope + 5e-3 * weight
        weight = weight - 0.1 * velocity
    torch.testing.assert_close(_matrix(method), weight, rtol=0, atol=1e-6)
    assert [value for _, value in curves.series("train/lost_steps")] == [0.5, 0.5]
    assert [value for _, value in curves.series("train/weight_sum")] == [0.5, 0.5]


@pytest.mark.parametrize("norm", ["batch", "running", "epoch"])
@pytest.mark.parametrize("network", [Linear, BatchNormMLP])
def test_labels_all_wrong(network: Any, norm: Any, tmp_path: Path) -> None:
    method = _method(network, meta_batch_size=3, weight_norm=norm)
    watch, curves = _run(method, tmp_path, _points(tmp_path, Wrong, batch_size=4), 3)
    for weights in watch.weights:
        assert bool((weights >= 0).all()) and bool(weights.isfinite().all())
    assert all(
        math.isfinite(value) for name in ("loss", "meta_loss", "lost_steps") for _, value in curves.series(f"train/{name}")
    )
    assert all(bool(value.isfinite().all()) for value in method.networks.state_dict().values())
    if network is Linear:
        assert not any(bool(weights.any()) for weights in watch.weights)
        assert [value for _, value in curves.series("train/lost_steps")] == [1.0] * 3
        mask = method.clean_mask()
        assert mask is not None and not bool(mask.any())


@pytest.mark.parametrize("norm", ["batch", "running", "epoch"])
def test_a_step_is_lost_where_all_weights_are_zero_and_nowhere_else(norm: Any, tmp_path: Path) -> None:
    method = _method(weight_norm=norm, optimizer=partial(SGD, lr=0.02))
    watch, curves = _run(method, tmp_path, _data(batch_size=1), 2)
    lost = [float(not bool(weights.any())) for weights in watch.weights]
    each = [sum(lost[35 * epoch : 35 * epoch + 35]) / 35 for epoch in range(2)]
    assert all(each) and [value for _, value in curves.series("train/lost_steps")] == pytest.approx(each)


# ---- what is learned from


def test_trusted_rows_are_trained_on_in_trusted_batches_alone(tmp_path: Path) -> None:
    data = _data(trusted_per_class=3, val_fraction=0.1)
    watch, _ = _run(_method(meta_batch_size=4), tmp_path, data, 2)
    trusted = set(data.info.trusted_rows.tolist())
    assert len(trusted) == 9 and bool((data.info.given_target[data.info.trusted_rows] == -1).all())
    for epoch in range(2):
        batches = [batch for batch in watch.batches if batch.epoch == epoch]
        rows = torch.cat([batch["train"].index for batch in batches]).tolist()
        assert sorted(rows) == sorted(data.info.train_rows.tolist()) and not trusted & set(rows)
    for batch in watch.batches:
        assert len(batch["trusted"]) == 4 and set(batch["trusted"].index.tolist()) <= trusted
        assert torch.equal(batch["trusted"].target, data.clean_target[batch["trusted"].index])
        assert torch.equal(batch["train"].target, data.given_target[batch["train"].index])
    seen = {row for batch in watch.batches for row in batch["trusted"].index.tolist()}
    assert seen == trusted
    assert bool((data.given_target != data.clean_target)[data.info.train_rows].any())


class Relabeled(ToyData):
    """Labels of which a fifth is wrong; the true labels of the rows that `permute` names are permuted among them."""

    permute: tuple[int, ...] = ()

    def load(self) -> Source:
        source = super().load()
        assert source.clean is not None
        source.given = torch.where(torch.arange(len(source.given)) % 5 == 0, (source.clean + 1) % 3, source.clean)
        rows = torch.tensor(self.permute, dtype=torch.int64)
        source.clean = source.clean.clone()
        source.clean[rows] = source.clean[rows.roll(1)]
        return source


def test_truth_of_other_rows_never_reaches_training(tmp_path: Path) -> None:
    file = tmp_path / "trusted.csv"
    file.write_text("row,label\n0,blob0\n1,blob1\n2,blob2\n10,blob1\n")
    states: list[dict[str, Any]] = []
    for permuted in ((), tuple(row for row in range(40) if row not in (0, 1, 2, 10))):
        torch.manual_seed(4)
        method = _method(DropoutMLP, mixup_alpha=1.0, weight_norm="epoch")
        data = Relabeled(num_train=40, trusted_labels=str(file))
        data.permute = permuted
        states.append(fit(method, data, tmp_path / str(len(states)), 2))
        truth = data.clean_target
    assert not torch.equal(truth, Relabeled(num_train=40).load().clean)  # type: ignore[arg-type]
    assert_same(states[1], states[0])


def test_a_method_without_trusted_rows_is_refused_before_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(self: Digits) -> Source:
        raise AssertionError("data was read")

    monkeypatch.setattr(Digits, "load", load)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "l2r_digits.yaml", "--data.trusted_per_class", "0", "--run_dir", "X"]) == 2
    said = capsys.readouterr().err
    assert (
        "L2R learns how far to trust the labels from a few that are known to be right" in said and "data.trusted_labels" in said
    )
    assert not (tmp_path / "X" / "checkpoints").exists()
    with pytest.raises(ValueError, match=r"data\.trusted_per_class to 10"):
        _method().check_ready(True, False)
    _method().check_ready(False, True)


def test_a_fit_without_trusted_rows_is_refused(tmp_path: Path) -> None:
    class Untrusting(ToyData):
        """Not even for a method that needs them."""

        has_trusted = True

    with pytest.raises(ValueError, match="the data sets none apart"):
        make_trainer(tmp_path, 1).fit(_method(), datamodule=Untrusting())


# ---- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_batch_size": 0}, "meta_batch_size must be a whole number of at least 1, or None for that of training"),
        ({"weight_norm": "sum"}, "weight_norm must be one of 'batch', 'running', 'epoch', got 'sum'"),
        ({"mixup_alpha": -0.5}, "mixup_alpha must be a number of 0 or more"),
        ({"mixup_alpha": float("inf")}, "mixup_alpha must be a number of 0 or more"),
        ({"mixup_alpha": float("nan")}, "mixup_alpha must be a number of 0 or more"),
        ({"ema_decay": 1.0}, r"ema_decay must be a fraction in \[0, 1\)"),
        ({"ema_decay": -0.1}, r"ema_decay must be a fraction in \[0, 1\)"),
        ({"evaluate": "mean"}, "evaluate must be 'average' or 'raw'"),
        ({"schedule_by": "batch"}, "schedule_by must be 'epoch' or 'step'"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive number"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        L2R(3, PlainMLP, **options)


def test_defaults_are_those_of_the_paper() -> None:
    method = L2R(3, PlainMLP)
    optimizer = method.optimizer(method.networks["main"].parameters())
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.1, 0.9, 2e-4, False)
    assert method.needs_trusted and not method.averages and method.headline == "main"


@pytest.mark.parametrize(("schedule_by", "rates"), [("epoch", [0.1] * 15), ("step", [0.1 * 0.5 ** (t // 4) for t in range(15)])])
def test_a_schedule_counts_epochs_or_steps(schedule_by: Any, rates: list[float], tmp_path: Path) -> None:
    method = _method(scheduler=partial(StepLR, step_size=4, gamma=0.5), schedule_by=schedule_by)
    watch, _ = _run(method, tmp_path, _data(), 3)
    assert watch.rates == pytest.approx(rates)


def test_gradient_is_clipped(tmp_path: Path) -> None:
    method = _method(Linear, meta_batch_size=3, clip_norm=1e-3, optimizer=partial(SGD, lr=1.0))
    before = _matrix(method)
    _run(method, tmp_path, _points(tmp_path))
    moved = _matrix(method) - before
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)


# ---- averaged copies, and checkpoints


@pytest.mark.parametrize("evaluate", ["average", "raw"])
def test_averaged_copy_is_evaluated_and_kept(evaluate: Any, tmp_path: Path) -> None:
    method = _method(BatchNormMLP, ema_decay=0.9, evaluate=evaluate)
    data = _data()
    state = fit(method, data, tmp_path, 2)
    assert method.headline == ("main_average" if evaluate == "average" else "main")
    assert data.source.test is not None
    inputs = data.source.test.gather(torch.arange(20))  # type: ignore[union-attr]
    again = L2R.load_from_checkpoint(tmp_path / "last.ckpt")
    for used in (method, again):
        used.eval()
        with torch.no_grad():
            logits = used.all_logits(inputs)
        average = used.averages["main"]
        assert isinstance(average, AveragedNetwork) and list(logits) == ["main", "main_average"]
        for name, network in (("main", used.networks["main"]), ("main_average", average.network)):
            assert torch.equal(logits[name], network(inputs).detach())
        assert not torch.equal(logits["main"], logits["main_average"])
        assert torch.equal(used(inputs), logits[used.headline])
    assert_same(list(again.averages.state_dict().values()), list(method.averages.state_dict().values()))
    target = data.source.test_target
    assert target is not None
    found = {name: value for epoch, _, name, value in state["curves"] if epoch == 1}
    assert found["test/acc"] == pytest.approx(torch.eq(logits[method.headline].argmax(1), target).float().mean().item())
    trained = {id(p) for group in method.trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(p) for p in method.networks.parameters()}


class NormedMLP(Network):
    """Has a layer without a rule for tangents."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.body, self.head = weight_norm(nn.Linear(2, 8)), nn.Linear(8, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        return self.head(torch.tanh(self.body(inputs)))


def test_a_resumed_run_goes_on_with_its_form_averages_and_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> L2R:
        schedule = partial(StepLR, step_size=3, gamma=0.7)
        return _method(NormedMLP, ema_decay=0.8, weight_norm="running", scheduler=schedule, schedule_by="step")

    torch.manual_seed(0)
    straight, saves = made(), SaveEveryBatch(tmp_path)
    with pytest.warns(UserWarning, match="L2R finds the weights of samples by a central difference: .*weight_norm"):
        expected = fit(straight, _data(), tmp_path / "straight", 2, callbacks=(saves,))
    assert straight.forms == {"main": Form("training", "difference")}

    def choose_form(*_: Any, **__: Any) -> Any:
        raise AssertionError("chosen again")

    monkeypatch.setattr(metagradients, "choose_form", choose_form)
    for place in (2, 4, 7):
        torch.manual_seed(99)
        resumed = made()
        found = fit(resumed, _data(), tmp_path / f"from-{place}", 2, resume=saves.files[place])
        assert_same(found, expected, saves.files[place].stem)
        assert_same(dict(resumed.averages.state_dict()), dict(straight.averages.state_dict()))
        assert torch.equal(resumed.sums["main"], straight.sums["main"]) and bool((resumed.sums["main"] > 0).all())
        assert resumed.forms == straight.forms
    with pytest.raises(AssertionError, match="chosen again"):  # a new run of the same method
        make_trainer(tmp_path, 1).fit(straight, datamodule=_data())
    assert not bool((straight.sums["main"] > 0).any())


def test_the_difference_gives_the_weights_of_the_plain_loop(tmp_path: Path) -> None:
    method = _method(NormedMLP)
    loop = _Loop(copy.deepcopy(method.networks["main"]).double())
    with pytest.warns(UserWarning, match="central difference"):
        watch, _ = _run(method, tmp_path, _data(), 1, precision="64-true")
    for batch, found in zip(watch.batches, watch.weights, strict=True):
        torch.testing.assert_close(found, loop.step(batch).float(), rtol=0, atol=1e-6)
    _assert_close(method.networks["main"], loop.network, 1e-6)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_weights_of_16_bits_agree_with_those_of_32(precision: str, tmp_path: Path) -> None:
    first: list[Tensor] = []
    for used in ("32-true", precision):
        torch.manual_seed(1)
        method = _method(BatchNormMLP)
        watch, _ = _run(method, tmp_path, _data(batch_size=32), precision=used)
        assert method.forms == {"main": Form()}
        for weights in watch.weights:
            assert weights.dtype == torch.float32 and weights.sum().item() == pytest.approx(1, abs=1e-5)
        first.append(watch.weights[0])
    assert not torch.equal(*first) and float(torch.cosine_similarity(first[0], first[1], 0)) >= 0.999


def test_networks_that_draw_keep_one_mask_for_weights_and_update(tmp_path: Path) -> None:
    method = _method(DropoutMLP)
    shared: list[Tensor] = []
    forward_along = method.forward_along

    def noted(name: str, inputs: Inputs, direction: Any) -> Any:
        logits, found = forward_along(name, inputs, direction)
        shared.append((logits.detach() - found[0]).abs().max())
        return logits, found

    method.forward_along = noted  # type: ignore[method-assign]
    _run(method, tmp_path, _data(), 1)
    assert len(shared) == 5 and not any(float(gap) for gap in shared)


# ---- two ranks


class _Keep(L.Callback):
    """Leaves what a rank ends up with in a file."""

    def __init__(self, file: str, curves: Curves) -> None:
        self.file, self.curves = file, curves

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        state = state_of(trainer, self.curves)
        kept = {name: state[name] for name in ("networks", "memory", "curves", "step")}
        averages = dict(pl_module.averages.state_dict()) if isinstance(pl_module, L2R) else {}
        averages = {name: value for name, value in averages.items() if isinstance(value, Tensor)}
        torch.save({**kept, "averages": averages}, f"{self.file}-{trainer.global_rank}.pt")


OPTIONS: dict[str, dict[str, Any]] = {
    "batch": {"meta_batch_size": 5, "ema_decay": 0.9},
    "running": {"weight_norm": "running", "clip_norm": 0.5},
    "epoch": {"weight_norm": "epoch", "meta_batch_size": 1, "scheduler": partial(StepLR, step_size=3), "schedule_by": "step"},
}
"""Of runs that two ranks share: odd trusted batches, and one that leaves a rank without a trusted row."""


def _shared_run(name: str, folder: Path, **trainer: Any) -> None:
    torch.manual_seed(0)
    method, curves = _method(PlainMLP, **OPTIONS[name]), Curves()
    callbacks = (curves, _Keep(str(folder / f"{name}-{trainer.get('devices', 1)}"), curves))
    make_trainer(folder, 2, callbacks, **trainer).fit(method, datamodule=_data())


@pytest.mark.slow
def test_two_ranks_find_the_weights_of_one_process(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join(str(path) for path in (tests.parent, tests, tests / "data"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in OPTIONS:
        _shared_run(name, tmp_path)
        alone, *pair = (torch.load(tmp_path / f"{name}-{file}.pt") for file in ("1-0", "2-0", "2-1"))
        assert_same(pair[1], pair[0], name)
        for part in ("networks", "memory", "averages"):
            assert list(pair[0][part]) == list(alone[part])
            for field, value in alone[part].items():
                where = partial("{} of {}: {}".format, field, name)
                torch.testing.assert_close(pair[0][part][field], value, rtol=0, atol=1e-5, equal_nan=True, msg=where)
        assert pair[0]["step"] == alone["step"] == 10
        for found, expected in zip(pair[0]["curves"], alone["curves"], strict=True):
            assert found[:3] == expected[:3] and found[3] == pytest.approx(expected[3], abs=1e-5), expected


def _main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name in OPTIONS:
        _shared_run(name, folder, devices=2, strategy="ddp_fork")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))


def test_a_schedule_that_follows_validation_is_not_stepped_by_batch(tmp_path: Path) -> None:
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, mode="max")
    method = L2R(3, PlainMLP, scheduler=plateau, schedule_by="step")
    with pytest.raises(ValueError, match="set schedule_by to epoch"):
        fit(method, ToyData(num_train=24, val_fraction=0.2), tmp_path, 1)


def test_another_precision_chooses_its_form_anew(tmp_path: Path) -> None:
    first = L2R(3, PlainMLP)
    fit(first, ToyData(num_train=24), tmp_path, 1)
    assert first.forms == {"main": Form()}
    second = L2R(3, PlainMLP)
    scaler = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
    fit(second, ToyData(num_train=24), tmp_path, 2, resume=tmp_path / "last.ckpt", plugins=[scaler])
    assert second.forms == {"main": Form("float32")}
