from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, ToyData, make_trainer
from torch import Tensor, nn

from noisylab.callbacks import Curves
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.methods import DMI
from noisylab.noise import Symmetric
from noisylab.types import Batch, DataInfo, PlanBatch

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0])
NOTHING = 6.907755278982137  # -log 0.001


def _met(method: DMI, given: Tensor, seed: int = 0) -> DMI:
    """The method as if a trainer had begun to fit it to rows with these labels, of which the last is held out."""
    train, count = torch.arange(len(given) - 1), len(given)
    held = given.clone()
    held[-1] = -1
    method.info = DataInfo(method.num_classes, count, train, held, ("",) * method.num_classes, 10, seed, 1)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=2)  # type: ignore[assignment]
    return method


def _dmi(offset: float = 0.001) -> DMI:
    return _met(DMI(3, PlainMLP, pretrain_epochs=1, offset=offset), torch.zeros(2, dtype=torch.int64))


def _batch(target: Tensor, phase: str = "dmi", epoch: int = 2) -> PlanBatch:
    samples = Batch((torch.zeros(len(target), 2),), target, torch.arange(len(target)))
    return PlanBatch(phase, {"train": samples}, epoch, 0, False, False)


def _determinant(u: Tensor) -> Tensor:
    """Of a 3 x 3 matrix, by Sarrus' rule."""
    plus = u[0, 0] * u[1, 1] * u[2, 2] + u[0, 1] * u[1, 2] * u[2, 0] + u[0, 2] * u[1, 0] * u[2, 1]
    return plus - u[0, 2] * u[1, 1] * u[2, 0] - u[0, 0] * u[1, 2] * u[2, 1] - u[0, 1] * u[1, 0] * u[2, 2]


def _joint(logits: Tensor, target: Tensor) -> Tensor:
    """U, one sample after the other."""
    rows = [torch.zeros(3, dtype=logits.dtype) for _ in range(3)]
    for z, y in zip(logits, target.tolist(), strict=True):
        rows[y] = rows[y] + torch.exp(z) / torch.exp(z).sum()
    return torch.stack(rows)


# ---- the loss, by the method's own


def test_loss_of_a_batch_is_that_of_the_sum() -> None:
    found = _dmi().loss("dmi", _batch(TARGET), LOGITS)
    assert found.dtype == torch.float64 and found.item() == pytest.approx(1.1524169088695713, abs=1e-13)
    assert abs(found.item() - 5.129438859776925) > 1, "that of the mean over the batch"


def test_gradient_has_the_values_of_the_formula() -> None:
    logits = LOGITS.clone().requires_grad_()
    _dmi().loss("dmi", _batch(TARGET), logits).backward()
    expected = [[-0.1520, 0.1204, 0.0316], [0.3333, -0.6723, 0.3390], [0.3199, 0.3081, -0.6280], [-0.2414, 0.0632, 0.1782]]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=5.1e-5)
    torch.testing.assert_close(logits.grad.sum(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-15)
    # dL/dU, and from it through the softmax
    probs, joint = LOGITS.softmax(1), _joint(LOGITS, TARGET)
    d = _determinant(joint)
    by_sample = (-torch.linalg.inv(joint).T * d.abs() / (d.abs() + 0.001))[TARGET]
    exact = probs * (by_sample - (by_sample * probs).sum(1, keepdim=True))
    torch.testing.assert_close(logits.grad, exact, rtol=0, atol=1e-15)


def test_permuting_the_predicted_classes_leaves_the_loss() -> None:
    found = _dmi().loss("dmi", _batch(TARGET), LOGITS[:, [2, 0, 1]])
    assert found.item() == pytest.approx(1.1524169088695713, abs=1e-13)


@pytest.mark.parametrize("offset", [0.001, 0.0, 0.5])
def test_loss_equals_the_direct_form(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (0.3, 1.0, 5.0):
        logits = scale * torch.randn(12, 3, dtype=torch.float64, generator=generator)
        target = torch.arange(12) % 3
        expected = -math.log(abs(_determinant(_joint(logits, target)).item()) + offset)
        assert _dmi(offset).loss("dmi", _batch(target), logits).item() == pytest.approx(expected, abs=1e-12)


def test_noise_of_the_labels_shifts_the_loss_by_the_logarithm_of_its_determinant() -> None:
    # twenty samples of each true class, whose labels have exactly the shares of a matrix with determinant 0.3
    counts = torch.tensor([[14, 4, 2], [2, 16, 2], [3, 5, 12]])
    true = torch.arange(3).repeat_interleave(20)
    given = torch.cat([torch.arange(3).repeat_interleave(row) for row in counts])
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))[true]
    method = _dmi(offset=0)
    noisy, clean = (method.loss("dmi", _batch(labels), logits).item() for labels in (given, true))
    assert noisy - clean == pytest.approx(-math.log(0.3), abs=1e-11)


@pytest.mark.parametrize(("offset", "loss"), [(0.001, NOTHING), (0.0, math.inf)])
def test_a_step_without_some_class_teaches_nothing_and_is_counted(offset: float, loss: float) -> None:
    method, logits = _dmi(offset), LOGITS.clone().requires_grad_()
    found = method.loss("dmi", _batch(torch.tensor([0, 1, 1, 0])), logits)
    found.backward()
    assert found.item() == pytest.approx(loss) and logits.grad is not None and not bool(logits.grad.any())
    for target in ([0, 1, 2, 0], [2, 1, 0, 0]):
        method.loss("dmi", _batch(torch.tensor(target)), LOGITS)
    method.loss("dmi", _batch(torch.tensor([1, 1])), LOGITS[:2])
    assert method.means.compute()["train/lost_steps"] == pytest.approx(2 / 4), "a share of the steps, not of the samples"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_determinant_is_left_out_of_autocast(dtype: torch.dtype) -> None:
    logits = (3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    target = torch.arange(40) % 3
    with torch.autocast("cpu", dtype):
        found = _dmi().loss("dmi", _batch(target), logits)
    expected = -math.log(abs(_determinant(_joint(logits.double(), target)).item()) + 0.001)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(expected, abs=2e-5)


def test_a_run_in_sixteen_bits_takes_determinants_of_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slogdet, seen = torch.linalg.slogdet, set()

    def watched(matrix: Tensor) -> Any:
        seen.add((matrix.dtype, torch.is_autocast_enabled("cpu")))
        return slogdet(matrix)

    monkeypatch.setattr(torch.linalg, "slogdet", watched)
    method = DMI(3, PlainMLP, pretrain_epochs=1, hand_over="last")
    make_trainer(tmp_path, 2, precision="bf16-mixed").fit(method, datamodule=ToyData())
    assert seen == {(torch.float32, False)}


# ---- whole runs against a slow loop


class _Accuracy:
    """Accuracy of a network on the held-out rows, by their given labels."""

    def __init__(self, data: ToyData) -> None:
        source: Any = data.source
        kept = set(data.info.train_rows.tolist())
        self.rows = torch.tensor([row for row in range(data.num_train) if row not in kept])
        self.inputs, self.target = source.train.values[self.rows], data.given_target[self.rows]

    def __call__(self, network: nn.Module) -> float:
        network.eval()
        with torch.no_grad():
            hits = int((network(self.inputs).argmax(1) == self.target).sum())
        network.train()
        return hits / len(self.rows)


@pytest.mark.parametrize("hand_over", ["best", "last"])
def test_a_run_equals_a_slow_loop(hand_over: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    method = DMI(
        3,
        BatchNormMLP,
        pretrain_epochs=4,
        hand_over=hand_over,
        pretrain_optimizer=partial(torch.optim.SGD, lr=0.5, momentum=0.9),
        optimizer=partial(torch.optim.SGD, lr=0.005, momentum=0.9, weight_decay=1e-2),
    )
    network = copy.deepcopy(method.networks["network"])
    batches: list[PlanBatch] = []
    step = method.training_step

    def training_step(batch: PlanBatch, batch_idx: int) -> None:
        batches.append(batch)
        step(batch, batch_idx)

    method.training_step = training_step  # type: ignore[method-assign]
    data, curves = ToyData(num_train=41, noise=Symmetric(0.4), val_fraction=0.3, spread=3.0), Curves()
    make_trainer(tmp_path, 7, (curves,)).fit(method, datamodule=data)

    accuracy = _Accuracy(data)
    pretrain = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    tune = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-2)
    best: tuple[float, int, Any] = (-1.0, -1, None)
    losses, lost, counts = [0.0] * 7, [0.0] * 7, [0] * 7
    for batch in batches:
        samples = batch["train"]
        if batch.epoch == 4 and batch.position == 0 and hand_over == "best":
            network.load_state_dict(best[2])
        optimizer = pretrain if batch.epoch < 4 else tune
        optimizer.zero_grad()
        logits = network(samples.views[0])
        if batch.epoch < 4:
            chosen = [torch.log_softmax(z, 0)[y] for z, y in zip(logits, samples.target.tolist(), strict=True)]
            loss = -torch.stack(chosen).sum() / len(samples)
        else:
            loss = -torch.log(_determinant(_joint(logits, samples.target)).abs() + 0.001)
            lost[batch.epoch] += len(set(samples.target.tolist())) < 3
        loss.backward()
        optimizer.step()
        losses[batch.epoch] += loss.item() * len(samples) / len(data.info.train_rows)
        counts[batch.epoch] += 1
        if batch.last_of_epoch and batch.epoch < 4 and accuracy(network) > best[0]:
            best = accuracy(network), batch.epoch, copy.deepcopy(network.state_dict())
    assert best[1] < 3, "else the two hand-overs are one"
    assert [batch.phase for batch in batches if batch.last_of_epoch] == ["pretrain"] * 4 + ["dmi"] * 3
    found = method.networks["network"].state_dict()
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(found[name], value, rtol=0, atol=2e-5)
    assert [value for _, value in curves.series("train/loss")] == pytest.approx(losses, abs=2e-5)
    shares = {epoch: lost[epoch] / counts[epoch] for epoch in (4, 5, 6)}
    assert dict(curves.series("train/lost_steps")) == pytest.approx(shares)


# ---- spread


def test_spread_orders_the_second_stage_so_that_no_batch_lacks_a_class(tmp_path: Path) -> None:
    lost = []
    for spread in (False, True):
        method = DMI(5, PlainMLP, pretrain_epochs=1, spread=spread, hand_over="last")
        data, curves = ToyData(num_train=60, classes=5, batch_size=10), Curves()
        make_trainer(tmp_path, 3, (curves,)).fit(method, datamodule=data)
        lost.append([value for _, value in curves.series("train/lost_steps")])
        assert bool((method.memory["observed_epoch"] == 2).all())
    assert all(share > 0 for share in lost[0]) and lost[1] == [0, 0]


def test_a_spread_epoch_has_every_row_once_in_an_order_keyed_by_seed_and_epoch() -> None:
    given = torch.multinomial(torch.linspace(1, 0.3, 5), 101, True, generator=torch.Generator().manual_seed(0))
    counts = given[:100].bincount(minlength=5)
    orders = []
    for seed, epoch, torch_seed in ((0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0)):
        torch.manual_seed(torch_seed)
        method = _met(DMI(5, PlainMLP, pretrain_epochs=1, spread=True), given, seed)
        plan = ResolvedPlan(method.epoch_plan(epoch), epoch=epoch, seed=seed, train_rows=method.info.train_rows, batch_size=20)
        batches = [plan.rows(position, "train")[0] for position in range(plan.steps)]
        for rows in batches:
            assert float((given[rows].bincount(minlength=5) - counts / 5).abs().max()) < 2
        orders.append(torch.cat(batches).tolist())
        assert sorted(orders[-1]) == list(range(100)), "without the row that is held out"
    assert orders[0] == orders[1] and orders[0] not in orders[2:] and orders[2] != orders[3]


def test_pretraining_is_shuffled_as_ever() -> None:
    for spread in (False, True):
        method = _met(DMI(5, PlainMLP, pretrain_epochs=2, spread=spread), torch.arange(20) % 5)
        stream = method.epoch_plan(1).phases[0].streams["train"]
        assert stream.rows is None and stream.order == "shuffle"
    assert method.epoch_plan(2).phases[0].name == "dmi"


# ---- settings


def test_fine_tuning_a_network_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"pretrain_epochs=0 leaves out the stage that trains the network first; start from a run"
    ):
        make_trainer(tmp_path, 1).fit(DMI(3, PlainMLP, pretrain_epochs=0), datamodule=ToyData())
    with pytest.raises(ValueError, match="pretrain_epochs must be a whole number, at least 0, got -1"):
        DMI(3, PlainMLP, pretrain_epochs=-1)


@pytest.mark.parametrize("offset", [-0.001, math.inf, math.nan])
def test_a_wrong_offset_is_refused(offset: float) -> None:
    with pytest.raises(ValueError, match="offset must be a number of 0 or more, got"):
        DMI(3, PlainMLP, offset=offset)


def test_published_values_are_the_defaults() -> None:
    method = DMI(3, PlainMLP)
    (first, second) = method.configure_optimizers()
    assert [group["lr"] for optimizer in (first, second) for group in optimizer.param_groups] == [0.1, 1e-6]
    assert all(o.param_groups[0]["momentum"] == 0.9 and o.param_groups[0]["weight_decay"] == 1e-4 for o in (first, second))
    assert method.stages[0].epochs == 120 and method.offset == 0.001 and method.needs_validation
