from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor, nn

from noisylab.methods import ACT, act
from noisylab.models import MLP
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.schedules import act_plan
from noisylab.types import Batch, DataInfo, PlanBatch

_Variant = Literal["cifar", "web"]


class LookupNet(Network):
    """Logits from a table: the input (B, 1) is the row number."""

    def __init__(self, num_classes: int, rows: int = 12) -> None:
        super().__init__(num_classes)
        self.table = nn.Parameter(torch.zeros(rows, num_classes))

    def forward(self, inputs: Any) -> Tensor:
        return self.table[inputs[:, 0].long()]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The losses of the last training step, which updates nothing."""
    found: dict[str, Tensor] = {}
    monkeypatch.setattr(act, "step", lambda module, losses, **_: found.update(losses))
    return found


def _method(robust: Tensor, standard: Tensor, target: Tensor, epoch: int, **kwargs: Any) -> ACT:
    """A method whose networks give these logits (rows B and on: those of the strong view)."""
    method = ACT(robust.shape[1], LookupNet, **{"warmup_epochs": 50, **kwargs})
    for name, logits in (("robust", robust), ("standard", standard)):
        table = method.networks[name].table
        table.data[: len(logits)] = logits
    rows = torch.arange(len(target))
    method.info = DataInfo(robust.shape[1], len(target), rows, target, ("",) * robust.shape[1], len(target), 0)
    method.memory.allocate(len(target))
    method.prepare_epoch(0)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=epoch)  # type: ignore[assignment]
    return method


def _batch(target: Tensor, epoch: int) -> PlanBatch:
    rows = torch.arange(len(target))
    views = (rows[:, None].float(), rows[:, None].float() + len(target))
    return PlanBatch("train", {"train": Batch(views, target, rows)}, epoch, 0, False, False)


Z0 = torch.tensor([[2.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1], [0, 2, 0, 0], [1, 0, 0, 0]])
C1 = torch.tensor([0, 2, 2, 1, 1, 3])
Y = torch.tensor([0, 1, 0, 1, 1, 2])


@pytest.mark.parametrize(("mining", "supervised", "selected"), [(True, 0.803937, [0, 3, 4]), (False, 0.334072, [0, 4])])
def test_supervised_term_is_weighted_by_the_times_selected(
    mining: bool, supervised: float, selected: list[int], losses: dict[str, Tensor]
) -> None:
    method = _method(Z0, 5 * torch.eye(4)[C1], Y, 50, mining=mining, consistency=False)
    before = torch.tensor([50, 50, 49, 50, 48, 49])
    method.memory.write("times_selected", torch.arange(6), before)
    method.training_step(_batch(Y, 50), 0)
    assert losses["robust"].item() == pytest.approx(0.8 * supervised, abs=1e-6)
    mask = torch.zeros(6, dtype=torch.bool)
    mask[selected] = True
    assert (method.memory["times_selected"] - before).tolist() == mask.int().tolist()
    found = method.clean_mask()
    assert found is not None and found.tolist() == mask.tolist()


def test_without_reweighting_selected_samples_count_equally(losses: dict[str, Tensor]) -> None:
    method = _method(Z0, 5 * torch.eye(4)[C1], Y, 50, consistency=False, reweight=False)
    method.training_step(_batch(Y, 50), 0)
    assert losses["robust"].item() == pytest.approx(0.8 * (0.340753 + 1.743668 + 0.340753) / 3, abs=1e-6)


def test_pseudo_label_follows_the_moving_average_from_the_fifth_update(losses: dict[str, Tensor]) -> None:
    target = torch.tensor([1])
    weak, strong = torch.tensor([0.1, 0.1, 0.7, 0.1]).log(), torch.tensor([0.0, 1.0, 3.0, 0.0])
    method = _method(torch.stack([weak, strong]), torch.zeros(1, 4), target, 50)
    expected = {4: [0.05904, 0.46864, 0.41328, 0.05904], 5: [0.06723, 0.39491, 0.47062, 0.06723]}
    for update in range(1, 7):
        method.training_step(_batch(target, 50), 0)
        label = 1 if update <= 4 else 2
        consistency = -float(strong.log_softmax(0)[label])
        assert losses["robust"].item() == pytest.approx(0.2 * consistency, abs=1e-6), update
        if update in expected:
            torch.testing.assert_close(method.memory["label_table"][0], torch.tensor(expected[update]), rtol=0, atol=1e-5)
    assert int(method.memory["times_selected"][0]) == 0


def test_all_wrong_batch_leaves_the_consistency_term_alone(losses: dict[str, Tensor]) -> None:
    target = torch.zeros(3, dtype=torch.int64)
    weak, strong = 4 * torch.eye(4)[[1, 2, 3]], torch.randn(3, 4)
    method = _method(torch.cat([weak, strong]), weak, target, 50)
    method.training_step(_batch(target, 50), 0)
    assert bool(losses["robust"].isfinite())
    (gradient,) = torch.autograd.grad(losses["robust"], [method.networks["robust"].table])
    assert not bool(gradient[:3].any()), "no gradient through the weak view"
    expected = 0.2 * (strong.softmax(1) - torch.eye(4)[target]) / 3
    torch.testing.assert_close(gradient[3:6], expected, rtol=0, atol=1e-6)
    assert float(method.means.compute()["train/selected"]) == 0


def test_warm_up_step_penalizes_confidence_and_counts_every_sample(losses: dict[str, Tensor]) -> None:
    robust, standard = torch.tensor([[2.0, -1.0, 0.5], [-3.0, -2.0, -1.0]]), torch.randn(2, 3)
    target = torch.tensor([0, 1])
    method = _method(robust, standard, target, 3, warmup_epochs=4)
    table = method.memory["label_table"].clone()
    method.training_step(_batch(target, 3), 0)
    ce = [float(nn.functional.cross_entropy(z, target)) for z in (robust, standard)]
    assert losses["robust"].item() == pytest.approx(ce[0] - 0.925296, abs=1e-5)
    assert losses["standard"].item() == pytest.approx(ce[1], abs=1e-6)
    assert method.memory["times_selected"].tolist() == [1, 1]
    assert torch.equal(method.memory["label_table"], table)
    assert method.clean_mask() is None and method.clean_prob() is None


def test_share_of_epochs_in_which_a_sample_was_selected(losses: dict[str, Tensor]) -> None:
    method = _method(Z0, 5 * torch.eye(4)[C1], Y, 9, warmup_epochs=9, consistency=False)
    method.memory.accumulate("times_selected", torch.arange(6), 9)
    method.training_step(_batch(Y, 9), 0)
    found = method.clean_prob()
    assert found is not None
    assert found.tolist() == pytest.approx([1.0, 0.9, 0.9, 1.0, 1.0, 0.9])


# ---- a whole run against a slow reference


def _smoothed(logits: Tensor, label: int, smoothing: float) -> Tensor:
    """Cross-entropy of one sample."""
    log_probs = logits - torch.logsumexp(logits, 0)
    classes = len(logits)
    return -sum((smoothing / classes + (1 - smoothing) * (c == label)) * log_probs[c] for c in range(classes))  # type: ignore[return-value]


def _penalty(logits: Tensor) -> Tensor:
    clamped = torch.clamp(logits, min=1e-12)
    q = torch.exp(clamped) / torch.exp(clamped).sum()
    return (q * torch.log(q)).sum()


class _Recording(ACT):
    """Keeps the batches of every epoch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches: list[PlanBatch] = []

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        self.batches.append(batch)
        super().training_step(batch, batch_idx)


_BatchNormMLP = partial(MLP, in_features=2, hidden=(8,), batch_norm=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "web", "label_smoothing": 0.35},
        {"mining": False},
        {"reweight": False},
        {"consistency": False},
        {"gate_threshold": 0.2, "label_momentum": 0.3, "supervised_weight": 0.5, "clip_norm": 0.5},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_run_equals_a_slow_reference(options: dict[str, Any], tmp_path: Path) -> None:
    warmup, epochs, lr = 1, 4, 0.1
    sgd = partial(torch.optim.SGD, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    fixed = {"warmup_epochs": warmup, "warmup_lr": 0.05, "lr_plan": "cosine:1,1e-3,4", "optimizer": sgd}
    method = _Recording(num_classes=3, network=_BatchNormMLP, **fixed, **options)
    nets = [_BatchNormMLP(3), _BatchNormMLP(3)]
    for net, name in zip(nets, ("robust", "standard"), strict=True):
        net.load_state_dict(method.networks[name].state_dict())
    data = ToyData(num_train=40, noise=Symmetric(0.4), val_fraction=0.1, spread=1.5)
    make_trainer(tmp_path, epochs).fit(method, datamodule=data)

    setting = {"variant": "cifar", "mining": True, "reweight": True, "consistency": True, "label_smoothing": 0.0}
    setting |= {"gate_threshold": 0.025, "label_momentum": 0.8, "supervised_weight": 0.8, "clip_norm": None, **options}
    times = [0] * 40
    table = torch.zeros(40, 3)
    for row in data.info.train_rows.tolist():
        table[row, data.given_target[row]] = 1
    optimizers = [sgd(net.parameters()) for net in nets]
    rates = [0.05] + [1e-3 + (lr - 1e-3) * (1 + math.cos(math.pi * i / 3)) / 2 for i in range(3)]
    gates: list[bool] = []
    for batch in method.batches:
        e, samples = batch.epoch, batch["train"]
        rows, y = samples.index.tolist(), samples.target.tolist()
        size = len(rows)
        z0, z1 = nets[0](samples.views[0]), nets[1](samples.views[0])
        smooth = setting["label_smoothing"]
        standard_loss = sum(_smoothed(z1[i], y[i], smooth) for i in range(size)) / size
        if e < warmup:
            for row in rows:
                times[row] += 1
            robust_loss = sum(_smoothed(z0[i], y[i], smooth) + _penalty(z0[i]) for i in range(size)) / size
        else:
            c0, c1 = z0.argmax(1).tolist(), z1.argmax(1).tolist()
            a0 = 100 * sum(c == t for c, t in zip(c0, y, strict=True)) / size
            a1 = 100 * sum(c == t for c, t in zip(c1, y, strict=True)) / size
            gate = setting["mining"] and a0 != 0 and (a1 - a0) / a0 < setting["gate_threshold"]
            gates.append(bool(gate))
            chosen = []
            for i in range(size):
                if setting["variant"] == "cifar":
                    take = c1[i] == y[i] if gate else c0[i] == y[i] and c1[i] == y[i]
                else:
                    take = c0[i] == y[i] or c1[i] == y[i] if gate else c0[i] == y[i]
                if take:
                    chosen.append(i)
                    times[rows[i]] += 1
            new = {}
            pseudo = []
            for i in range(size):
                probs = torch.exp(z0[i].detach()) / torch.exp(z0[i].detach()).sum()
                new[rows[i]] = setting["label_momentum"] * table[rows[i]] + (1 - setting["label_momentum"]) * probs
                pseudo.append(y[i] if i in chosen else int(new[rows[i]].argmax()))
            robust_loss = torch.zeros(())
            for i in chosen:
                weight = times[rows[i]] / (e + 1) if setting["reweight"] else 1.0
                robust_loss = robust_loss + _smoothed(z0[i], y[i], smooth) * weight / len(chosen)
            robust_loss = setting["supervised_weight"] * robust_loss
            if setting["consistency"]:
                strong = nets[0](samples.views[1])
                consistency = sum(_smoothed(strong[i], pseudo[i], smooth) for i in range(size)) / size
                robust_loss = robust_loss + (1 - setting["supervised_weight"]) * consistency
            for row, value in new.items():
                table[row] = value
        for net, optimizer, loss in zip(nets, optimizers, (robust_loss, standard_loss), strict=True):
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            if setting["clip_norm"] is not None:
                norm = math.sqrt(sum(float((p.grad**2).sum()) for p in net.parameters() if p.grad is not None))
                for p in net.parameters():
                    p.grad *= min(1.0, setting["clip_norm"] / norm)  # type: ignore[operator]
            for group in optimizer.param_groups:
                group["lr"] = rates[e]
            optimizer.step()

    assert len(method.batches) == 4 * 5 and len(method.batches[-1]["train"].views) == 1 + setting["consistency"]
    assert len(set(gates)) == 1 + setting["mining"], "both sides of the gate were seen"
    assert method.memory["times_selected"].tolist() == times
    torch.testing.assert_close(method.memory["label_table"], table, rtol=0, atol=1e-5)
    for net, name in zip(nets, ("robust", "standard"), strict=True):
        for (key, expected), found in zip(net.state_dict().items(), method.networks[name].state_dict().values(), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-5, msg=f"{name}.{key}")


def test_empty_selection_trains_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(robust_pred: Tensor, *_: Tensor, **__: Any) -> Tensor:
        return torch.zeros_like(robust_pred, dtype=torch.bool)

    monkeypatch.setattr(act, "asymmetric_agreement", nothing)
    method = ACT(3, PlainMLP, warmup_epochs=0, lr_plan="cosine:0,1e-3,3")
    before = [p.detach().clone() for p in method.networks.parameters()]
    make_trainer(tmp_path, 2).fit(method, datamodule=ToyData())
    assert all(bool(p.isfinite().all()) for p in method.networks.parameters())
    assert not any(torch.equal(p, q) for p, q in zip(before, method.networks.parameters(), strict=True))
    assert int(method.memory["times_selected"].sum()) == 0


# ---- learning rates


def _rates(method: ACT, epochs: int) -> tuple[list[float], list[float]]:
    method._trainer = SimpleNamespace(max_epochs=epochs, world_size=1)  # type: ignore[assignment]
    optimizers, schedules = method.configure_optimizers()
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(epochs):
        for place, (optimizer, schedule) in enumerate(zip(optimizers, schedules, strict=True)):
            rates[place].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return rates


def test_both_networks_follow_the_authors_plan_on_cifar() -> None:
    robust, standard = _rates(ACT(3, PlainMLP, lr_standard=0.5), 150)
    assert robust == standard
    for epoch, value in {0: 0.01, 49: 0.01, 51: 0.00999634, 99: 0.00360594, 129: 0.00050366, 149: 0.00050366}.items():
        assert robust[epoch] == pytest.approx(value, abs=5e-9), epoch


def test_warm_up_has_a_rate_of_its_own() -> None:
    robust, _ = _rates(ACT(3, PlainMLP, warmup_lr=0.001), 60)
    assert robust[:50] == [0.001] * 50 and robust[50] == 0.01


def test_standard_network_with_a_cosine_of_its_own() -> None:
    robust, standard = _rates(ACT(3, PlainMLP, lr_plan_standard="own_cosine"), 150)
    assert standard == pytest.approx(act_plan(0.08, 150, 50, 0.08, "cosine:20,5e-4,100")[:150])
    assert robust[0] == 0.01


@pytest.mark.parametrize("epochs", [160, -1])
def test_standard_network_with_the_baseline_plan(epochs: int) -> None:
    method = ACT(3, PlainMLP, lr_plan_standard="baseline", lr_standard=0.005)
    method._trainer = SimpleNamespace(max_epochs=epochs, world_size=1)  # type: ignore[assignment]
    optimizers, schedules = method.configure_optimizers()
    standard = []
    for _ in range(160):
        standard.append(optimizers[1].param_groups[0]["lr"])
        optimizers[1].step()
        schedules[1].step()
    for epoch, value in {0: 0.005, 59: 0.005, 60: 5e-4, 120: 5e-5, 150: 5e-6, 159: 5e-6}.items():
        assert standard[epoch] == pytest.approx(value), epoch


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number of 0 or more, got -1"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive number, or None for no limit, got 0.0"),
        ({"label_momentum": 1.5}, r"label_momentum must be a fraction in \[0, 1\), got 1.5"),
        ({"label_momentum": 1.0}, "label_momentum must be a fraction"),
        ({"supervised_weight": 1.5}, r"supervised_weight must be a fraction in \[0, 1\], got 1.5"),
        ({"supervised_weight": -0.1}, "supervised_weight must be a fraction"),
        ({"label_smoothing": 1}, "label_smoothing must be a fraction"),
        ({"lr_plan": "cosine:20,5e-4"}, "lr_plan must read"),
        ({"lr_plan": "cosine:20,0.01,100"}, "must be below the learning rate 0.01"),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ACT(3, PlainMLP, **kwargs)
