from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from noisylab.callbacks import Curves, Diagnostics
from noisylab.methods import VolMinNet, volminnet
from noisylab.models.network import Network
from noisylab.noise import PairFlip
from noisylab.types import Batch, Inputs, PlanBatch

LOGITS = torch.tensor([[2.0, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0])
MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)


class TableNet(Network):
    """The logits of four samples, whatever the inputs."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.table = nn.Parameter(LOGITS.clone())

    def forward(self, inputs: Inputs) -> Tensor:
        return self.table


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the training step hands to `step`, which does nothing."""
    found: dict[str, Any] = {}

    def step(module: VolMinNet, losses: dict[str, Tensor | None], **options: Any) -> None:
        found.update({"losses": losses, **options})

    monkeypatch.setattr(volminnet, "step", step)
    return found


def _made(**options: Any) -> VolMinNet:
    method = VolMinNet(3, TableNet, **options).double()
    ratio = MATRIX / MATRIX.diagonal()[:, None]
    method.transition.weight.data = torch.where(torch.eye(3).bool(), 0.0, torch.logit(ratio.clamp(max=0.9)))
    method.memory.allocate(4)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=0)  # type: ignore[assignment]
    return method


def _train(method: VolMinNet) -> None:
    samples = Batch((torch.zeros(4, 2),), TARGET, torch.arange(4))
    method.training_step(PlanBatch("train", {"train": samples}, 0, 0, False, False), 0)


def test_the_loss_of_four_samples(losses: dict[str, Any]) -> None:
    method = _made(clip_norm=3.0)
    torch.testing.assert_close(method.transition_matrix(), MATRIX)
    _train(method)
    assert list(losses["losses"]) == ["network", "transition"] and losses["losses"]["transition"] is None
    assert losses["losses"]["network"].item() == pytest.approx(0.720658410487458, abs=1e-12)
    assert losses["clip_norm"] == 3.0
    method = _made(volume_weight=0.5)
    _train(method)
    expected = 0.7207788077678906 + 0.5 * math.log(0.3)
    assert losses["losses"]["network"].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("classes", "diagonal", "other"), [(10, 0.4824330919, 0.0575074342), (100, 0.4789943448, 0.0052626834)])
def test_the_matrix_at_the_start(classes: int, diagonal: float, other: float) -> None:
    matrix = VolMinNet(classes, TableNet).transition_matrix()
    assert matrix is not None
    expected = torch.full((classes, classes), other).fill_diagonal_(diagonal)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-7)


def test_gradient_of_the_weights_of_the_matrix_through_the_whole_loss(losses: dict[str, Any]) -> None:
    method = _made(volume_weight=0.3)
    weight = method.transition.weight

    def value() -> float:
        _train(method)
        return float(losses["losses"]["network"].detach())

    _train(method)
    (found,) = torch.autograd.grad(losses["losses"]["network"], weight)
    for i in range(3):
        for j in range(3):
            ends = []
            for step in (1e-6, -1e-6):
                weight.data[i, j] += step
                ends.append(value())
                weight.data[i, j] -= step
            assert float(found[i, j]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)
    assert not bool(found.diagonal().any()) and int((found != 0).sum()) == 6


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_wrong_weight_of_the_volume_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="volume_weight must be a number of 0 or more"):
        VolMinNet(3, PlainMLP, volume_weight=value)


class _Batches(L.Callback):
    def __init__(self) -> None:
        self.found: list[PlanBatch] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.found.append(batch)


def _rows_of_T(weight: Tensor) -> list[list[Tensor]]:
    rows = []
    for i in range(3):
        row = [torch.ones(()).double() if i == j else 1 / (1 + torch.exp(-weight[i, j])) for j in range(3)]
        rows.append([entry / (row[0] + row[1] + row[2]) for entry in row])
    return rows


@pytest.mark.parametrize("other", ["sgd", "adam"])
def test_a_run_equals_a_plain_loop(other: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    optimizers: dict[str, Any] = {"sgd": partial(SGD, lr=0.5, momentum=0.9), "adam": partial(Adam, lr=0.05)}
    method = VolMinNet(
        3,
        PlainMLP,
        volume_weight=0.2,
        initial_weight=-1.5,
        clip_norm=0.2,
        optimizer=partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-2),
        scheduler=partial(StepLR, step_size=2, gamma=0.1),
        transition_optimizer=optimizers[other],
        transition_scheduler=partial(StepLR, step_size=1, gamma=0.5),
    )
    net = copy.deepcopy(method.networks["network"]).double()
    weight = torch.full((3, 3), -1.5, dtype=torch.float64, requires_grad=True)
    data, batches, curves = ToyData(num_train=61, noise=PairFlip(0.3), val_fraction=0.3, spread=1.8), _Batches(), Curves()
    trainer = make_trainer(tmp_path, 3, (batches, curves, Diagnostics()), precision="64-true")
    trainer.fit(method, datamodule=data)
    assert trainer.global_step == len(batches.found) == 18

    both = [SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-2), optimizers[other]([weight])]
    groups, clipped, volumes, val_losses = [list(net.parameters()), [weight]], [0, 0], [], []
    points, given = data.source.train.values.double(), data.given_target  # type: ignore[union-attr]
    for epoch in range(3):
        both[0].param_groups[0]["lr"] = 0.1 if epoch < 2 else 0.01
        both[1].param_groups[0]["lr"] = optimizers[other].keywords["lr"] * 0.5**epoch
        volumes.append(0.0)
        for batch in batches.found[6 * epoch : 6 * epoch + 6]:
            samples, rows = batch["train"], _rows_of_T(weight)
            total = torch.zeros((), dtype=torch.float64)
            for z, y in zip(net(samples.views[0]), samples.target.tolist(), strict=True):
                p = torch.exp(z) / torch.exp(z).sum()
                total = total - torch.log(p[0] * rows[0][y] + p[1] * rows[1][y] + p[2] * rows[2][y])
            volume = torch.log(torch.det(torch.stack([torch.stack(row) for row in rows])).abs())
            for optimizer in both:
                optimizer.zero_grad()
            (total / len(samples) + 0.2 * volume).backward()
            for number, parameters in enumerate(groups):
                norm = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))
                clipped[number] += norm > 0.2
                for p in parameters:
                    assert p.grad is not None
                    p.grad.mul_(min(1.0, 0.2 / (norm + 1e-6)))
                both[number].step()
            volumes[-1] += float(volume.detach()) * len(samples) / 43
        with torch.no_grad():
            probs = net(points[data.split.val]).softmax(1)
            q = probs @ torch.stack([torch.stack(row) for row in _rows_of_T(weight)])
            val_losses.append(float(-q.gather(1, given[data.split.val][:, None]).log().mean()))
    for found, expected in zip(method.networks["network"].parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(method.transition.weight, weight, rtol=0, atol=1e-9)
    assert clipped[0] > 0, "the limit is of each alone"
    assert [value for _, value in curves.series("train/log_volume")] == pytest.approx(volumes, abs=1e-5)
    assert [value for _, value in curves.series("val/loss")] == pytest.approx(val_losses, abs=1e-5), "without the volume"
    error = (torch.tensor(_rows_of_T(weight.detach())) - PairFlip(0.3).transition_matrix(3)).abs().sum() / 3
    assert curves.series("transition/error")[-1][1] == pytest.approx(float(error), abs=1e-5)


def test_the_networks_weight_decay_does_not_touch_the_matrix(tmp_path: Path) -> None:
    method = VolMinNet(3, PlainMLP, volume_weight=0.0, optimizer=partial(SGD, lr=0.1, weight_decay=5.0))
    decays = [optimizer.param_groups[0]["weight_decay"] for optimizer in method.configure_optimizers()]
    assert decays == [5.0, 0]
    before = method.transition.weight.detach().clone()
    make_trainer(tmp_path, 3).fit(method, datamodule=ToyData(noise=PairFlip(0.3)))
    assert torch.equal(method.transition.weight.diagonal(), before.diagonal()), "which has no gradient"
    assert not torch.equal(method.transition.weight, before)
    network = torch.cat([p.detach().flatten() for p in method.networks.parameters()])
    assert float(network.abs().max()) < 0.1, "while the network shrinks"


def test_the_matrix_is_float32_under_mixed_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        method = VolMinNet(3, PlainMLP)
        make_trainer(tmp_path, 2, precision=precision).fit(method, datamodule=ToyData(noise=PairFlip(0.3)))
        with torch.autocast("cpu", torch.bfloat16):
            assert method.transition().dtype == torch.float32
        found.append(method.transition_matrix())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=2e-3)
