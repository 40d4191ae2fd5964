from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from helpers import BatchNormMLP, DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR, ReduceLROnPlateau

from noisylab.callbacks import Curves
from noisylab.ema import AveragedNetwork
from noisylab.methods import ELR, ELRPlus, NoisyLabelMethod, elrplus
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.transforms import mixing
from noisylab.types import Batch, DataInfo, Inputs, PlanBatch

Z1 = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Z2 = torch.tensor([[2.5, 0.2, -1, 0.3], [0.5, 1, -0.5, 0], [-1, 3.5, 0, 1.5]])
ROWS = torch.tensor([0, 2, 4])
Y = torch.tensor([0, 1, 3])


class TableNet(Network):
    """Logits ``x @ table``: with unit vectors as inputs, a row of the table for each."""

    def __init__(self, num_classes: int, rows: int = 3) -> None:
        super().__init__(num_classes)
        self.table = nn.Parameter(torch.zeros(rows, num_classes))

    def forward(self, inputs: Inputs) -> Tensor:
        return sum(inputs.values()) @ self.table if isinstance(inputs, dict) else inputs @ self.table


_Method = TypeVar("_Method", ELR, ELRPlus)


def _met(method: _Method, num_train: int = 5, epoch: int = 0) -> _Method:
    """The method as if a trainer had started to fit it to `num_train` rows; `ROWS` have the labels `Y`."""
    given = torch.zeros(num_train, dtype=torch.int64)
    given[ROWS] = Y
    method.info = DataInfo(4, num_train, torch.arange(num_train), given, ("",) * 4, 3, 0)
    method.memory.allocate(num_train)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=epoch)  # type: ignore[assignment]
    return method


def _batch(phase: str = "train", epoch: int = 0, step: int = 0, steps: int = 1, inputs: Inputs | None = None) -> PlanBatch:
    samples = Batch((torch.eye(3) if inputs is None else inputs,), Y, ROWS)
    return PlanBatch(phase, {"train": samples}, epoch, 0, False, False, step=step, steps=steps)


# ---- ELR: numbers computed by hand, by the method's own step


@pytest.mark.parametrize(
    ("momentum", "regularization", "expected"), [(0.7, 3.0, (0.833846, 0.042863)), (0.9, 7.0, (0.962685, 0.282760))]
)
def test_two_steps_of_elr(momentum: float, regularization: float, expected: tuple[float, float]) -> None:
    method = _met(ELR(4, TableNet, target_momentum=momentum, regularization=regularization))
    table = method.networks["network"].table
    assert isinstance(table, nn.Parameter)
    for logits, loss in zip((Z1, Z2), expected, strict=True):
        table.data = logits.clone()
        assert method.training_step(_batch(), 0).item() == pytest.approx(loss, abs=2e-6)
    assert not bool(method.memory["target"][[1, 3]].any()), "rows that were not in the batch"
    if momentum == 0.7:
        averages = [
            [0.390811, 0.044413, 0.014723, 0.060053],
            [0.135301, 0.189016, 0.082961, 0.102722],
            [0.005945, 0.424902, 0.021649, 0.057504],
        ]
        torch.testing.assert_close(method.memory["target"][ROWS], torch.tensor(averages), rtol=0, atol=1e-6)
        losses = torch.nn.functional.cross_entropy(Z2, Y, reduction="none")
        torch.testing.assert_close(method.memory["observed_loss"][ROWS], losses)


def test_gradient_of_the_first_step_of_elr() -> None:
    method = _met(ELR(4, TableNet))
    table = method.networks["network"].table
    assert isinstance(table, nn.Parameter)
    table.data = Z1.clone()
    method.training_step(_batch(), 0).backward()
    expected = [
        [-0.139915, 0.047299, 0.018169, 0.074447],
        [0.083333, -0.25, 0.083333, 0.083333],
        [0.008597, 0.227868, 0.037241, -0.273706],
    ]
    torch.testing.assert_close(table.grad, torch.tensor(expected), rtol=0, atol=1e-6)


def test_averages_select_the_labels_that_they_agree_with() -> None:
    method = _met(ELR(4, TableNet))
    assert method.clean_mask() is None and method.clean_prob() is None
    method.networks["network"].table.data = Z2.clone()  # type: ignore[union-attr]
    method.training_step(_batch(), 0)
    mask, prob = method.clean_mask(), method.clean_prob()
    assert mask is not None and mask.tolist() == [True, False, True, False, False]
    own = Z2.softmax(1)[torch.arange(3), Y]
    assert prob is not None and prob[ROWS].tolist() == pytest.approx(own.tolist(), abs=1e-6)
    assert prob[[1, 3]].tolist() == [0.0, 0.0], "never trained on"


def test_nothing_is_selected_without_data() -> None:
    for method in (ELR(4, TableNet), ELRPlus(4, TableNet)):
        assert method.clean_mask() is None and method.clean_prob() is None


# ---- ELR+: numbers computed by hand, by the method's own step


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The losses of the last training step, which updates no network; mixing is three quarters to one, in a fixed order."""
    found: dict[str, Tensor] = {}

    def step(module: NoisyLabelMethod, losses: dict[str, Tensor], **_: Any) -> None:
        found.clear()
        found.update(losses)

    monkeypatch.setattr(elrplus, "step", step)
    monkeypatch.setattr(mixing, "mix_weight", lambda alpha: 0.25)  # max(lam, 1 - lam) is 3/4
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.tensor([1, 2, 0], device=device))
    return found


def _prepared(name: str, **options: Any) -> ELRPlus:
    """Network `name` gives unit logits on the mixed inputs, its peer's average Z1 on the inputs."""
    method = _met(ELRPlus(4, TableNet, **options))
    mixture = 0.75 * torch.eye(3) + 0.25 * torch.eye(3)[[1, 2, 0]]
    logits = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    method.networks[name].table.data = mixture.inverse() @ logits  # type: ignore[union-attr]
    peer = {"first": "second", "second": "first"}[name]
    method.averages[peer].network.table.data = Z1.clone()  # type: ignore[union-attr]
    return method


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize(("reweighting", "ce"), [(False, 0.993668), (True, 0.932302)])
def test_a_step_of_elr_plus(name: str, reweighting: bool, ce: float, losses: dict[str, Tensor]) -> None:
    method = _prepared(name, class_reweighting=reweighting)
    method.training_step(_batch(name), 0)
    assert list(losses) == [name]
    assert losses[name].item() == pytest.approx(ce - 3 * 0.089797, abs=2e-6)
    if not reweighting:
        assert losses[name].item() == pytest.approx(0.724278, abs=1e-6)
    own, other = (method.memory[f"target_{which}"] for which in (name, {"first": "second", "second": "first"}[name]))
    torch.testing.assert_close(own[ROWS], 0.3 * Z1.softmax(1), rtol=0, atol=1e-6)
    assert not bool(own[[1, 3]].any()) and not bool(other.any())
    (gradient,) = torch.autograd.grad(losses[name], [method.networks[name].table])
    assert bool(gradient.any()), "and none for the averaged copy, which has no gradients"


def test_sure_predictions_of_the_average_are_remembered_as_they_are(losses: dict[str, Tensor]) -> None:
    method = _prepared("first")
    method.averages["second"].network.table.data = 30 * torch.eye(4)[:3]  # type: ignore[union-attr]
    method.training_step(_batch("first"), 0)
    assert bool((method.memory["target_first"][ROWS].sort(1).values[:, :3] < 1e-12).all()), "ELR would clamp to 1e-4"
    assert bool(losses["first"].isfinite())


def test_second_pass_observes_the_first_networks_average_on_unmixed_inputs(losses: dict[str, Tensor]) -> None:
    method = _prepared("first")
    method.training_step(_batch("first"), 0)
    assert bool((method.memory["observed_epoch"] == -1).all())
    method = _prepared("second")
    method.training_step(_batch("second"), 0)
    torch.testing.assert_close(method.memory["observed_loss"][ROWS], nn.functional.cross_entropy(Z1, Y, reduction="none"))
    assert method.memory["observed_pred"][ROWS].tolist() == [0, 0, 1]
    assert method.memory["observed_epoch"].tolist() == [0, -1, 0, -1, 0]


def test_the_weight_of_the_regularizer_rises_with_the_networks_own_steps(losses: dict[str, Tensor]) -> None:
    for epoch, place, taken in ((0, 0, 1), (0, 4, 5), (2, 3, 14), (3, 0, 16), (9, 0, 46)):
        method = _prepared("second", coefficient_ramp_steps=20)
        method.training_step(_batch("second", epoch, place, steps=5), 0)
        rho = math.exp(-5 * (1 - min(taken, 20) / 20) ** 2)
        assert losses["second"].item() == pytest.approx(0.993668 - rho * 3 * 0.089797, abs=2e-6), taken


def test_averaged_copy_follows_after_the_step(losses: dict[str, Tensor]) -> None:
    for epoch, place, taken in ((0, 0, 1), (2, 3, 14), (9, 0, 46)):
        method = _prepared("first", average_ramp_steps=20, average_decay=0.9)
        before = torch.randn(3, 4)
        average = method.averages["first"].network.table  # type: ignore[union-attr]
        average.data = before.clone()  # type: ignore[union-attr]
        method.training_step(_batch("first", epoch, place, steps=5), 0)
        a = 0.9 * math.exp(-5 * (1 - min(taken + 1, 20) / 20) ** 2)
        expected = a * before + (1 - a) * method.networks["first"].table.detach()  # type: ignore[union-attr, operator]
        torch.testing.assert_close(average, expected, rtol=0, atol=1e-6)  # type: ignore[arg-type]
        assert torch.equal(method.averages["second"].network.table, Z1), "the peer's copy waits"  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(("taken", "decay"), [(1, 0.006721), (352, 0.007335), (10_000, 0.059886), (40_000, 0.997)])
def test_decay_of_the_averaged_copies_with_the_ramp(taken: int, decay: float) -> None:
    assert ELRPlus(4, TableNet).decay(taken) == pytest.approx(decay, abs=1e-6)


def test_decay_of_the_averaged_copies_without_the_ramp() -> None:
    method = ELRPlus(4, TableNet, average_ramp_steps=None, average_decay=0.9999)
    assert [method.decay(taken) for taken in (1, 3, 99, 20_000)] == pytest.approx([0.5, 0.75, 0.99, 0.9999])
    assert ELRPlus(4, TableNet, average_ramp_steps=0).decay(1) == 0.997


def test_both_tables_select_together(losses: dict[str, Tensor]) -> None:
    method = _met(ELRPlus(4, TableNet))
    method.memory.write("target_first", ROWS, torch.tensor([[0.3, 0.1, 0, 0], [0.2, 0.1, 0, 0], [0, 0, 0, 0.1]]))
    method.memory.write("target_second", ROWS, torch.tensor([[0.1, 0.2, 0, 0], [0.1, 0.4, 0, 0], [0, 0.3, 0, 0]]))
    mask, prob = method.clean_mask(), method.clean_prob()
    assert mask is not None and mask.tolist() == [True, False, True, False, False]
    assert prob is not None and prob.tolist() == pytest.approx([4 / 7, 0, 5 / 8, 0, 1 / 4])


def test_data_of_several_views_is_mixed_view_by_view(losses: dict[str, Tensor]) -> None:
    method = _prepared("first")
    inputs = {"left": 0.25 * torch.eye(3), "right": 0.75 * torch.eye(3)}
    method.training_step(_batch("first", inputs=inputs), 0)
    assert losses["first"].item() == pytest.approx(0.724278, abs=1e-6)


# ---- whole runs against slow references


class _Recorded:
    """Batches, and what was drawn for mixing, in the order of the steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[PlanBatch] = []
        self.draws: list[tuple[float, list[int]]] = []
        self._inside = False
        mix_weight, randperm = mixing.mix_weight, torch.randperm
        weights: list[float] = []

        def recorded_weight(alpha: float) -> float:
            weights.append(mix_weight(alpha))
            return weights[-1]

        def recorded_order(*args: Any, **kwargs: Any) -> Tensor:
            order = randperm(*args, **kwargs)
            if self._inside:
                self.draws.append((weights[-1], order.tolist()))
            return order

        monkeypatch.setattr(mixing, "mix_weight", recorded_weight)
        monkeypatch.setattr(torch, "randperm", recorded_order)

    def watch(self, method: NoisyLabelMethod) -> None:
        original = method.training_step

        def training_step(batch: PlanBatch, batch_idx: int) -> Any:
            self.batches.append(batch)
            self._inside = True
            try:
                return original(batch, batch_idx)
            finally:
                self._inside = False

        method.training_step = training_step  # type: ignore[method-assign]


def _softmax(logits: Tensor) -> Tensor:
    return torch.exp(logits) / torch.exp(logits).sum()


def _clamped(probs: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(probs, torch.tensor(1e-4)), torch.tensor(1 - 1e-4))


def _assert_close(found: nn.Module, expected: nn.Module, what: str) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, other, rtol=0, atol=2e-5, msg=lambda text, name=name: f"{what}.{name}: {text}")


def test_a_run_of_elr_equals_a_slow_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = ELR(3, BatchNormMLP, 0.6, 2.0, scheduler=partial(MultiStepLR, milestones=[1], gamma=0.01))
    network, recorded = copy.deepcopy(method.networks["network"]), _Recorded(monkeypatch)
    recorded.watch(method)
    data, curves = ToyData(num_train=41, noise=Symmetric(0.4), val_fraction=0.1), Curves()
    make_trainer(tmp_path, 3, (curves,)).fit(method, datamodule=data)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    table, seen, means = torch.zeros(41, 3), torch.zeros(41), [0.0, 0.0, 0.0]
    for batch in recorded.batches:
        samples = batch["train"]
        logits = network(samples.views[0])
        total = torch.zeros(())
        for z, y, row in zip(logits, samples.target.tolist(), samples.index.tolist(), strict=True):
            p = _clamped(_softmax(z))
            table[row] = 0.6 * table[row] + 0.4 * p.detach() / p.detach().sum()
            seen[row] += 1
            total = total - torch.log(_softmax(z)[y]) + 2.0 * torch.log(1 - (table[row].clone() * p).sum())
        optimizer.param_groups[0]["lr"] = 0.02 if batch.epoch == 0 else 2e-4
        optimizer.zero_grad()
        (total / len(samples)).backward()
        optimizer.step()
        means[batch.epoch] += float(total.detach()) / 37
    assert len(recorded.batches) == 3 * 5 and not recorded.draws
    _assert_close(method.networks["network"], network, "network")
    torch.testing.assert_close(method.memory["target"], table, rtol=0, atol=1e-5)
    rows = data.info.train_rows
    assert bool((seen[rows] == 3).all()) and int(seen.sum()) == 3 * 37
    held = seen == 0
    assert int(held.sum()) == 4 and not bool(method.memory["target"][held].any()), "held-out rows are never written"
    assert [loss for _, loss in curves.series("train/loss")] == pytest.approx(means, abs=1e-5)
    mask, prob = method.clean_mask(), method.clean_prob()
    assert mask is not None and prob is not None
    for row in range(41):
        y, total_row = int(data.given_target[row]), float(table[row].sum())
        assert float(prob[row]) == pytest.approx(float(table[row, y]) / total_row if total_row else 0.0, abs=1e-4)
        assert bool(mask[row]) == (total_row > 0 and int(table[row].argmax()) == y)


@pytest.mark.parametrize(
    "options",
    [
        {"average_ramp_steps": 8, "coefficient_ramp_steps": 6},
        {"average_ramp_steps": None, "class_reweighting": True, "average_mode": "eval", "average_decay": 0.8},
        {"average_ramp_steps": 0, "average_decay": 0.5, "mixup_alpha": 0.0},
    ],
    ids=["ramps", "reweighted", "unmixed"],
)
def test_a_run_of_elr_plus_equals_a_slow_loop(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = {"average_decay": 0.997, "coefficient_ramp_steps": 0, "class_reweighting": False, "average_mode": "train"} | options
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
    milestones = partial(MultiStepLR, milestones=[2], gamma=0.1)
    method = ELRPlus(3, BatchNormMLP, 0.6, 2.0, optimizer=sgd, scheduler=milestones, **options)
    nets = [copy.deepcopy(network) for network in method.networks.values()]
    for average, network in zip(method.averages.values(), nets, strict=True):
        assert isinstance(average, AveragedNetwork)
        _assert_close(average.network, network, "averages start as copies")
    averages = [copy.deepcopy(network) for network in nets]
    recorded = _Recorded(monkeypatch)
    recorded.watch(method)
    data, curves = ToyData(num_train=41, noise=Symmetric(0.4), val_fraction=0.1), Curves()
    make_trainer(tmp_path, 3, (curves,)).fit(method, datamodule=data)
    assert len(recorded.batches) == len(recorded.draws) == 3 * 2 * 5

    optimizers = [sgd(network.parameters()) for network in nets]
    tables = [torch.zeros(41, 3), torch.zeros(41, 3)]
    observed: dict[int, tuple[float, int]] = {}
    taken = [0, 0]
    means = torch.zeros(2, 3)
    for place, (batch, (lam, order)) in enumerate(zip(recorded.batches, recorded.draws, strict=True)):
        k = int(place % 10 >= 5)
        assert batch.phase == ("first", "second")[k] and batch.epoch == place // 10
        x, y, rows = batch["train"].views[0], batch["train"].target.tolist(), batch["train"].index.tolist()
        assert isinstance(x, Tensor)
        taken[k] += 1
        lam = max(lam, 1 - lam)
        assert (lam == 1) == (setting.get("mixup_alpha") == 0)
        averages[1 - k].train(setting["average_mode"] == "train")
        with torch.no_grad():
            peer = averages[1 - k](x)
        for i, row in enumerate(rows):
            tables[k][row] = 0.6 * tables[k][row] + 0.4 * _softmax(peer[i])
            if k == 1:
                observed[row] = -float(torch.log(_softmax(peer[i])[y[i]])), int(peer[i].argmax())
        z = nets[k](torch.stack([lam * x[i] + (1 - lam) * x[j] for i, j in enumerate(order)]))
        rho = 1.0
        if setting["coefficient_ramp_steps"]:
            rho = math.exp(-5 * (1 - min(taken[k] / setting["coefficient_ramp_steps"], 1)) ** 2)
        loss = torch.zeros(())
        for i, j in enumerate(order):
            q = lam * tables[k][rows[i]] + (1 - lam) * tables[k][rows[j]]
            label = torch.zeros(3)
            label[y[i]] += lam
            label[y[j]] += 1 - lam
            if setting["class_reweighting"]:
                label = label * q / sum(label[c] * q[c] for c in range(3))
            p = _softmax(z[i])
            loss = loss - sum(label[c] * torch.log(p[c]) for c in range(3))
            loss = loss + rho * 2.0 * torch.log(1 - sum(q[c] * _clamped(p)[c] for c in range(3)))
        optimizers[k].param_groups[0]["lr"] = 0.05 if batch.epoch < 2 else 0.005
        optimizers[k].zero_grad()
        (loss / len(rows)).backward()
        optimizers[k].step()
        means[k, batch.epoch] += loss.detach() / 37
        ramp = setting["average_ramp_steps"]
        if ramp is None:
            a = min(1 - 1 / (taken[k] + 1), setting["average_decay"])
        else:
            a = setting["average_decay"] * (math.exp(-5 * (1 - min(taken[k] + 1, ramp) / ramp) ** 2) if ramp else 1)
        with torch.no_grad():
            for m, f in zip(averages[k].parameters(), nets[k].parameters(), strict=True):
                m.copy_(a * m + (1 - a) * f)
            if setting["average_mode"] == "eval":
                for m, f in zip(averages[k].buffers(), nets[k].buffers(), strict=True):
                    m.copy_(f)

    for place, name in enumerate(("first", "second")):
        average = method.averages[name]
        assert isinstance(average, AveragedNetwork)
        _assert_close(method.networks[name], nets[place], name)
        _assert_close(average.network, averages[place], f"average of {name}")
        torch.testing.assert_close(method.memory[f"target_{name}"], tables[place], rtol=0, atol=1e-5)
        series = curves.series("train/loss" if name == "first" else "train/loss_second")
        assert [loss for _, loss in series] == pytest.approx(means[place].tolist(), abs=1e-5)
    assert sorted(observed) == data.info.train_rows.tolist()
    for row, (loss_of_row, pred) in observed.items():
        assert float(method.memory["observed_loss"][row]) == pytest.approx(loss_of_row, abs=1e-4)
        assert int(method.memory["observed_pred"][row]) == pred
    shares = (tables[0] + tables[1])[torch.arange(41), data.given_target] / (tables[0] + tables[1]).sum(1)
    prob = method.clean_prob()
    assert prob is not None
    torch.testing.assert_close(prob, shares.nan_to_num(0.0), rtol=0, atol=1e-4)
    assert int((prob == 0).sum()) == 4, "held-out rows"


# ---- what a run keeps


def test_averaged_copies_are_in_no_optimizer_and_in_the_checkpoint(tmp_path: Path) -> None:
    method = ELRPlus(3, PlainMLP, average_ramp_steps=0)
    fit(method, ToyData(), tmp_path, 1)
    stepped = {id(p) for optimizer in method.trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    assert stepped == {id(p) for p in method.networks.parameters()}
    assert not any(p.requires_grad for p in method.averages.parameters())
    again = ELRPlus.load_from_checkpoint(tmp_path / "last.ckpt")
    assert_same(dict(again.averages.state_dict()), dict(method.averages.state_dict()))
    first = method.averages["first"], method.networks["first"]
    pairs = zip(*(list(module.parameters()) for module in first), strict=True)
    assert not any(torch.equal(m, f) for m, f in pairs), "the copy is behind its network"


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_averaged_copies_are_the_same_after_a_resume_within_a_pass(mode: str, precision: str, tmp_path: Path) -> None:
    def run(folder: Path, resume: Path | None = None, **kwargs: Any) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        method = ELRPlus(
            3,
            DropoutMLP,
            average_ramp_steps=None if mode == "eval" else 9,
            coefficient_ramp_steps=7,
            class_reweighting=mode == "eval",
            average_mode=mode,  # type: ignore[arg-type]
        )
        data = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15)
        state = fit(method, data, folder, 2, resume=resume, precision=precision, **kwargs)
        state.pop("file")
        return {**state, "averages": dict(method.averages.state_dict())}

    saver = SaveEveryBatch(tmp_path)
    straight = run(tmp_path / "straight", callbacks=(saver,))
    assert len(saver.files) == 2 * 2 * 3
    for place in (1, 4, 7, 10):
        assert_same(run(tmp_path / f"from-{place}", saver.files[place]), straight, f"from {place}")


def test_both_networks_answer_by_the_mean_of_their_logits(tmp_path: Path) -> None:
    method, curves = ELRPlus(3, PlainMLP), Curves()
    make_trainer(tmp_path, 2, (curves,)).fit(method, datamodule=ToyData(num_test=30, spread=2.0))
    method.eval()
    inputs = torch.randn(6, 2)
    mean = (method.networks["first"](inputs) + method.networks["second"](inputs)) / 2
    torch.testing.assert_close(method(inputs), mean)
    assert curves.series("test/acc") == curves.series("test/acc_ensemble")


def test_averaged_copies_keep_their_mode_from_validation(tmp_path: Path) -> None:
    for mode in ("train", "eval"):
        modes: list[bool] = []
        method = ELRPlus(3, BatchNormMLP, average_mode=mode)  # type: ignore[arg-type]
        for average in method.averages.values():
            norm = next(module for module in average.modules() if isinstance(module, nn.BatchNorm1d))
            norm.register_forward_hook(lambda module, *_, modes=modes: modes.append(module.training))
        make_trainer(tmp_path, 2).fit(method, datamodule=ToyData(val_fraction=0.2))
        assert modes == [mode == "train"] * 2 * 2 * 4


@pytest.mark.parametrize("cls", [ELR, ELRPlus])
def test_every_network_follows_a_plateau_of_the_validation_accuracy(cls: type[NoisyLabelMethod], tmp_path: Path) -> None:
    plateau = partial(ReduceLROnPlateau, mode="min", patience=0, factor=0.5, eps=0.0)
    sgd = partial(torch.optim.SGD, lr=1e-9)  # the accuracy stays, and so it never falls
    method = cls(3, PlainMLP, optimizer=sgd, scheduler=plateau)  # type: ignore[call-arg]
    make_trainer(tmp_path, 3).fit(method, datamodule=ToyData(val_fraction=0.2))
    rates = [optimizer.param_groups[0]["lr"] for optimizer in method.trainer.optimizers]
    assert rates == [0.25e-9] * len(method.networks)


def test_an_averaged_copy_that_is_not_finite_is_named(tmp_path: Path) -> None:
    method = ELRPlus(3, PlainMLP)
    next(iter(method.averages["second"].parameters())).data[0] = math.nan
    with pytest.raises(ValueError, match=r"second \(averaged copy\).* nan or infinite|training diverged"):
        make_trainer(tmp_path, 1).fit(method, datamodule=ToyData())


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (ELR, {"target_momentum": 1.0}, r"target_momentum must be a fraction in \[0, 1\), got 1.0"),
        (ELR, {"regularization": -1.0}, "regularization must be a number of 0 or more, got -1.0"),
        (ELRPlus, {"target_momentum": -0.1}, r"target_momentum must be a fraction in \[0, 1\), got -0.1"),
        (ELRPlus, {"regularization": -1.0}, "regularization must be a number of 0 or more, got -1.0"),
        (ELRPlus, {"average_decay": 1.5}, r"average_decay must be a fraction in \[0, 1\], got 1.5"),
        (ELRPlus, {"average_ramp_steps": -1}, "average_ramp_steps must be a whole number of 0 or more, or None, got -1"),
        (ELRPlus, {"coefficient_ramp_steps": -2}, "coefficient_ramp_steps must be a whole number of 0 or more, got -2"),
        (ELRPlus, {"average_mode": "frozen"}, "average_mode must be 'train' or 'eval', got 'frozen'"),
    ],
)
def test_impossible_settings_are_refused(cls: type[NoisyLabelMethod], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(3, PlainMLP, **kwargs)  # type: ignore[call-arg]
