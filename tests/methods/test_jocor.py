from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import DropoutMLP, PlainMLP, ToyData, assert_same, fit, make_trainer
from torch import Tensor, nn
from torch.optim import SGD, Adam

from noisylab.methods import JoCoR
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.schedules import LinearDecay
from noisylab.types import Batch, PlanBatch

L1 = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 0]])
L2 = torch.tensor([[0.0, 0, 0], [0, 2, 0], [0, 1, 0], [3, 0, 0]])
Y = torch.tensor([0, 1, 2, 0])
J = [0.950391, 0.268881, 2.525645, 1.311852]


class LookupNet(Network):
    """Logits from a table: the input (B, 1) is the row number."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.table = nn.Parameter(torch.zeros(4, num_classes))

    def forward(self, inputs: Any) -> Tensor:
        return self.table[inputs[:, 0].long()]


def _step(forget_rate: float, epoch: int = 1, **kwargs: Any) -> tuple[JoCoR, Tensor]:
    method = JoCoR(3, LookupNet, **{"forget_rate": forget_rate, "ramp_epochs": 1, **kwargs})
    for name, logits in (("first", L1), ("second", L2)):
        method.networks[name].table.data.copy_(logits)  # type: ignore[operator, union-attr]
    method.memory.allocate(4)
    method._trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=epoch)  # type: ignore[assignment]
    rows = torch.arange(4)
    samples = Batch((rows[:, None].float(),), Y, rows)
    return method, method.training_step(PlanBatch("train", {"train": samples}, epoch, 0, False, False), 0)


@pytest.mark.parametrize(("rate", "kept"), [(0.5, [1, 0]), (0.75, [1]), (0.25, [1, 0, 3]), (0.0, [0, 1, 2, 3])])
def test_samples_with_the_smallest_joint_loss_are_learned(rate: float, kept: list[int]) -> None:
    method, loss = _step(rate)
    assert loss.item() == pytest.approx(sum(J[i] for i in kept) / len(kept), abs=1e-6)
    assert (method.memory["selected_epoch"] == 1).nonzero().flatten().tolist() == sorted(kept)
    if rate == 0.5:
        assert loss.item() == pytest.approx(0.609636, abs=1e-6)
    mask = method.clean_mask()
    assert (mask is None) == (rate == 0)
    assert mask is None or mask.nonzero().flatten().tolist() == sorted(kept)


def test_without_weight_on_agreement_the_losses_are_cross_entropies() -> None:
    _, loss = _step(0.0, agreement_weight=0.0)
    assert loss.item() == pytest.approx((F.cross_entropy(L1, Y) + F.cross_entropy(L2, Y)).item(), abs=1e-6)


def test_labels_play_no_part_when_all_weight_is_on_agreement() -> None:
    _, loss = _step(0.0, agreement_weight=1.0)
    p, q = L1.softmax(1), L2.softmax(1)
    assert loss.item() == pytest.approx(((p - q) * (p.log() - q.log())).sum(1).mean().item(), abs=1e-6)


def test_agreement_pulls_at_both_networks() -> None:
    method, loss = _step(0.0, agreement_weight=1.0)
    loss.backward()
    for network in method.networks.values():
        assert bool((network.table.grad.abs().sum(1) > 1e-3).all())  # type: ignore[operator, union-attr]


def test_an_empty_selection_contributes_zero() -> None:
    method, loss = _step(0.9)
    loss.backward()
    assert loss.item() == 0 and not any(bool(p.grad.any()) for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.05, momentum=0.9), partial(Adam, lr=0.01)])
def test_run_equals_a_plain_loop(optimizer: Any, tmp_path: Path) -> None:
    schedule = partial(LinearDecay, start=1, stop=4)
    method = JoCoR(3, PlainMLP, forget_rate=0.4, agreement_weight=0.65, ramp_epochs=2, optimizer=optimizer, scheduler=schedule)
    networks = copy.deepcopy(list(method.networks.values()))
    batches: list[PlanBatch] = []
    original = method.training_step

    def training_step(batch: PlanBatch, batch_idx: int) -> Tensor:
        batches.append(batch)
        return original(batch, batch_idx)

    method.training_step = training_step  # type: ignore[method-assign]
    make_trainer(tmp_path, 3).fit(method, datamodule=ToyData(num_train=45, noise=Symmetric(0.4), val_fraction=0.1))

    joint = optimizer([p for network in networks for p in network.parameters()])
    decay = LinearDecay(joint, start=1, stop=4)
    for batch in batches:
        x, y = batch["train"].views[0], batch["train"].target
        z = [network(x) for network in networks]
        log_p = [logits.log_softmax(1) for logits in z]
        ce = F.cross_entropy(z[0], y, reduction="none") + F.cross_entropy(z[1], y, reduction="none")
        kl = [F.kl_div(log_p[a], log_p[1 - a].exp(), reduction="none").sum(1) for a in (0, 1)]
        losses = (1 - 0.65) * ce + 0.65 * kl[0] + 0.65 * kl[1]
        rate = 0.0 if batch.epoch == 0 else 0.4
        kept = losses.argsort()[: int((1 - rate) * len(y) + 1e-9)]
        joint.zero_grad()
        losses[kept].mean().backward()
        joint.step()
        if batch.last_of_epoch:
            decay.step()
    for found, expected in zip(method.networks.values(), networks, strict=True):
        for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=0, atol=1e-5, msg=name)


def test_one_optimizer_has_the_parameters_of_both_networks() -> None:
    method = JoCoR(3, PlainMLP)
    optimizer = method.configure_optimizers()
    assert isinstance(optimizer, Adam) and method.optimizer_names == ("joint",) and method.automatic_optimization
    assert [p for group in optimizer.param_groups for p in group["params"]] == list(method.networks.parameters())


@pytest.mark.slow
def test_run_with_estimate_and_changing_momentum_resumes_exactly(tmp_path: Path) -> None:
    def run(name: str, epochs: int, resume: Path | None = None) -> Any:
        torch.manual_seed(0 if resume is None else 99)
        schedule = partial(LinearDecay, start=1, stop=4, beta1=0.1)
        method = JoCoR(3, DropoutMLP, ramp_epochs=2, optimizer=Adam, scheduler=schedule)
        return fit(method, ToyData(noise=Symmetric(0.4), val_fraction=0.2), tmp_path / name, epochs, resume=resume)

    straight = run("straight", 4)
    assert straight["optimizers"][0]["param_groups"][0]["betas"] == (0.1, 0.999)
    for stop in (1, 2, 3):
        run(f"killed-{stop}", stop)
        assert_same(run(f"killed-{stop}", 4, tmp_path / f"killed-{stop}" / "last.ckpt"), straight)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"agreement_weight": 1.5}, r"agreement_weight must be a fraction in \[0, 1\], got 1.5"),
        ({"agreement_weight": -0.1}, "agreement_weight must be"),
        ({"forget_rate": 1.0}, "forget_rate must be"),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JoCoR(3, PlainMLP, **kwargs)
