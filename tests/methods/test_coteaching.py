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

from noisylab.methods import CoTeaching, CoTeachingPlus, coteaching
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.schedules import LinearDecay
from noisylab.types import Batch, DataInfo, PlanBatch

L1 = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 0]])
L2 = torch.tensor([[0.0, 0, 0], [0, 2, 0], [0, 1, 0], [3, 0, 0]])
Y = torch.tensor([0, 1, 2, 0])
CE1, CE2 = [0.239545, 0.551445, 0.094923, 0.861995], [1.098612, 0.239545, 1.551445, 0.094923]
TWICE1 = [0.699501, 0.871100, 0.611290, 1.017296]


class LookupNet(Network):
    """Logits from a table: the input (B, 1) is the row number."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.table = nn.Parameter(torch.zeros(12, num_classes))

    def forward(self, inputs: Any) -> Tensor:
        return self.table[inputs[:, 0].long()]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The losses of the last training step, which updates nothing."""
    found: dict[str, Tensor] = {}
    monkeypatch.setattr(coteaching, "step", lambda module, losses, **_: found.update(losses))
    return found


def _method(cls: type[CoTeaching], first: Tensor, second: Tensor, epoch: int, **kwargs: Any) -> Any:
    """A method whose networks give these logits, with a ramp of one epoch: epoch 0 forgets nothing, later ones the rate."""
    method = cls(3, LookupNet, **{"ramp_epochs": 1, "forget_rate": 0.5, **kwargs})
    for name, logits in (("first", first), ("second", second)):
        method.networks[name].table.data[: len(logits)] = logits
    method.memory.allocate(len(first))
    method._trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=epoch)  # type: ignore[assignment]
    return method


def _run(method: Any, target: Tensor, epoch: int, step: int = 0, index: Tensor | None = None) -> Any:
    rows = torch.arange(len(target))
    samples = Batch((rows[:, None].float(),), target, rows if index is None else index)
    batch = PlanBatch("train", {"train": samples}, epoch, step, False, False, step=step, steps=1000)
    return method.training_step(batch, 0)


def _selected(method: Any, epoch: int) -> list[int]:
    return (method.memory["selected_epoch"] == epoch).nonzero().flatten().tolist()


# ---- hand-computed numbers


def test_each_network_learns_the_small_losses_of_the_other(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeaching, L1, L2, 1)
    _run(method, Y, 1)
    assert losses["first"].item() == pytest.approx(0.706720, abs=1e-6)
    assert losses["second"].item() == pytest.approx((CE2[2] + CE2[0]) / 2, abs=1e-6) == pytest.approx(1.325028, abs=1e-6)
    assert _selected(method, 1) == [1, 3]  # chosen by the second network
    assert method.memory["observed_loss"].tolist() == pytest.approx(CE1, abs=1e-6)


def test_division_by_the_number_kept_can_be_had(losses: dict[str, Tensor]) -> None:
    _run(_method(CoTeaching, L1, L2, 1, divide_twice=True), Y, 1)
    assert losses["first"].item() == pytest.approx(0.353360, abs=1e-6)
    assert losses["second"].item() == pytest.approx(0.662514, abs=1e-6)


def test_nothing_is_left_out_while_the_rate_is_zero(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeaching, L1, L2, 0)
    _run(method, Y, 0)
    assert losses["first"].item() == pytest.approx(sum(CE1) / 4, abs=1e-6)
    assert _selected(method, 0) == [0, 1, 2, 3] and method.clean_mask() is None


def test_an_empty_selection_contributes_zero_and_no_gradient(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeaching, L1, L2, 1, forget_rate=0.9, divide_twice=True)
    _run(method, Y, 1)
    assert losses["first"].item() == losses["second"].item() == 0
    losses["first"].backward()
    assert not bool(method.networks["first"].table.grad.any())
    assert _selected(method, 1) == [] and not bool(method.clean_mask().any())


def test_losses_of_one_network_do_not_reach_the_other(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeaching, L1, L2, 1)
    _run(method, Y, 1)
    losses["first"].backward()
    assert method.networks["second"].table.grad is None
    assert method.networks["first"].table.grad.any(1).nonzero().flatten().tolist() == [1, 3]


# ---- Co-teaching+


def test_only_samples_in_disagreement_are_learned(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeachingPlus, L1, L2, 1, warmup_epochs=1)
    _run(method, Y, 1)  # half of one sample is none: then all of them are taken
    assert losses["first"].item() == pytest.approx(CE1[2], abs=1e-6)
    assert losses["second"].item() == pytest.approx(CE2[2], abs=1e-6)
    assert _selected(method, 1) == [2] and method.clean_mask().tolist() == [False, False, True, False]


def test_plain_co_teaching_comes_first(losses: dict[str, Tensor]) -> None:
    _run(_method(CoTeachingPlus, L1, L2, 1, warmup_epochs=2, double_softmax=True), Y, 1)
    assert losses["first"].item() == pytest.approx(0.706720, abs=1e-6)


def test_softmax_twice_can_be_had(losses: dict[str, Tensor]) -> None:
    _run(_method(CoTeachingPlus, L1, L2, 1, warmup_epochs=0, double_softmax=True), Y, 1)
    assert losses["first"].item() == pytest.approx(TWICE1[2], abs=1e-6)
    elsewhere = torch.eye(3)[torch.tensor([1, 2, 0, 2])]  # predicts another class than the first network on every sample
    method = _method(CoTeachingPlus, L1, elsewhere, 0, warmup_epochs=0, double_softmax=True)
    _run(method, Y, 0)
    assert losses["first"].item() == pytest.approx(sum(TWICE1) / 4, abs=1e-6)
    for row, expected in enumerate(TWICE1):
        value = F.cross_entropy(method.networks["first"].table[row].softmax(0), Y[row])
        assert value.item() == pytest.approx(expected, abs=1e-6)


def test_without_disagreement_both_learn_the_whole_batch(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeachingPlus, L1, L1 * 2, 1, warmup_epochs=0, divide_twice=True)
    _run(method, Y, 1)
    assert losses["first"].item() == pytest.approx(sum(CE1) / 4, abs=1e-6)
    assert losses["second"].item() == pytest.approx(F.cross_entropy(L1 * 2, Y).item(), abs=1e-6)
    assert _selected(method, 1) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("epoch", "step", "factor"), [(20, 249, 1.0), (20, 250, 0.0), (5000, 0, 1.0), (100, 49, 1.0), (100, 50, 0.0)]
)
def test_the_authors_rule_without_disagreement_can_be_had(
    epoch: int, step: int, factor: float, losses: dict[str, Tensor]
) -> None:
    """The product of epoch and batch number, not the steps so far, is compared with 5000."""
    _run(_method(CoTeachingPlus, L1, L1 * 2, epoch, warmup_epochs=0, reference_empty=True), Y, epoch, step)
    assert losses["first"].item() == pytest.approx(factor * sum(CE1) / 4, abs=1e-6)


@pytest.mark.parametrize(("index", "learned"), [([5, 0, 7, 9], [2, 1]), ([5, 3, 0, 9], [2, 1]), ([0, 5, 7, 9], [1, 2, 3])])
def test_row_zero_in_disagreement_drops_the_last_sample(index: list[int], learned: list[int], losses: dict[str, Tensor]) -> None:
    first = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 0, 0]])
    second = torch.tensor([[1.0, 0, 0], [0, 0, 2], [0, 1, 0], [0, 0, 1]])  # another class on samples 1, 2, 3
    method = _method(CoTeachingPlus, first, second, 1, warmup_epochs=0, forget_rate=0.0, drop_index_zero=True)
    method.memory.allocate(10)
    _run(method, Y, 1, index=torch.tensor(index))
    assert losses["first"].item() == pytest.approx(F.cross_entropy(first[learned], Y[learned]).item(), abs=1e-6)
    _run(_method(CoTeachingPlus, first, second, 1, warmup_epochs=0, forget_rate=0.0), Y, 1)
    assert losses["first"].item() == pytest.approx(F.cross_entropy(first[1:], Y[1:]).item(), abs=1e-6)


def test_row_zero_alone_in_disagreement_counts_as_none(losses: dict[str, Tensor]) -> None:
    method = _method(CoTeachingPlus, L1, L2, 100, warmup_epochs=0, drop_index_zero=True, reference_empty=True)
    _run(method, Y, 100, step=60, index=torch.tensor([1, 2, 0, 3]))
    assert losses["first"].item() == pytest.approx(sum(CE1) / 4 * (1 / 4), abs=1e-6)  # one of four is in disagreement


# ---- whole runs against a plain loop


class _Recorded:
    """Keeps the batches of a run and the forget rate of each."""

    def __init__(self, method: CoTeaching) -> None:
        self.batches: list[tuple[PlanBatch, float]] = []
        original = method.training_step

        def training_step(batch: PlanBatch, batch_idx: int) -> Any:
            self.batches.append((batch, method.forget_rate_at(batch.epoch)))
            return original(batch, batch_idx)

        method.training_step = training_step  # type: ignore[method-assign]


def _pick(losses: Tensor, rate: float, members: list[int]) -> list[int]:
    order = sorted(members, key=lambda i: losses[i].item())
    return order[: int((1 - rate) * len(order) + 1e-9)]


def _plain_step(z: list[Tensor], y: Tensor, rows: list[int], rate: float, plus: bool, literal: bool, early: bool) -> list[Tensor]:
    """The losses of both networks, from the authors' pages: sort, cut, exchange."""
    members, everyone = list(range(len(y))), list(range(len(y)))
    share = 1.0
    if plus:
        members = [i for i in everyone if z[0][i].argmax() != z[1][i].argmax()]
        share = 1.0 if early else len(members) / len(y)
        if literal and any(rows[i] == 0 for i in members):
            members = members[:-1]
        if literal:
            z = [logits.softmax(1) for logits in z]
    ce = [-logits.log_softmax(1)[everyone, y] for logits in z]
    if plus and not members:
        return [(share if literal else 1.0) * values.mean() for values in ce]
    chosen = [_pick(values, rate, members) for values in ce]
    if plus and not chosen[0]:
        chosen = [members, members]
    factor = 1 / len(chosen[0]) if literal else 1.0
    return [factor * ce[0][chosen[1]].mean(), factor * ce[1][chosen[0]].mean()]


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)])
@pytest.mark.parametrize(("plus", "literal"), [(False, False), (False, True), (True, False), (True, True)])
def test_run_equals_a_plain_loop(plus: bool, literal: bool, optimizer: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"forget_rate": 0.4, "ramp_epochs": 2, "divide_twice": literal, "optimizer": optimizer}
    options["scheduler"] = partial(LinearDecay, start=1, stop=4)
    cls: type[CoTeaching] = CoTeaching
    if plus:
        cls = CoTeachingPlus
        options |= {"warmup_epochs": 1}
        options |= dict.fromkeys(["double_softmax", "drop_index_zero", "reference_empty"], literal)
    method = cls(3, PlainMLP, **options)
    networks = copy.deepcopy(list(method.networks.values()))
    recorded = _Recorded(method)
    make_trainer(tmp_path, 4).fit(method, datamodule=ToyData(num_train=45, noise=Symmetric(0.4), val_fraction=0.1))

    optimizers = [optimizer(network.parameters()) for network in networks]
    schedules = [LinearDecay(made, start=1, stop=4) for made in optimizers]
    disagreed = 0
    for batch, rate in recorded.batches:
        assert rate == [0.0, 0.4, 0.4, 0.4][batch.epoch]
        x, y, rows = batch["train"].views[0], batch["train"].target, batch["train"].index.tolist()
        logits = [network(x) for network in networks]
        in_plus = plus and batch.epoch >= 1
        early = batch.epoch * batch.position < 5000
        for made, loss in zip(optimizers, _plain_step(logits, y, rows, rate, in_plus, literal, early), strict=True):
            made.zero_grad()
            loss.backward()
            made.step()
        disagreed += in_plus and bool((logits[0].argmax(1) != logits[1].argmax(1)).any())
        if batch.last_of_epoch:
            for schedule in schedules:
                schedule.step()
    assert not plus or disagreed > 0
    for found, expected in zip(method.networks.values(), networks, strict=True):
        for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=0, atol=1e-5, msg=name)


# ---- the estimate of the forget rate


def _with_losses(wrong: int, total: int, epoch: int, **kwargs: Any) -> CoTeaching:
    """A method that has observed losses in an epoch: `wrong` of `total` are high; two rows are held out."""
    method = CoTeaching(3, PlainMLP, **kwargs)
    method.memory.allocate(total + 2)
    method.info = DataInfo(3, total + 2, torch.arange(total), torch.zeros(total + 2, dtype=torch.int64), ("a", "b", "c"), 8, 0)
    _observe(method, wrong, total, epoch)
    return method


def _observe(method: CoTeaching, wrong: int, total: int, epoch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    high = torch.arange(total) < wrong
    values = torch.where(high, 4.0, 0.5) + 0.1 * torch.randn(total, generator=generator)
    method.memory.write("observed_loss", torch.arange(total), values)
    method.memory.write("observed_epoch", torch.arange(total), torch.full((total,), epoch))


def test_estimate_is_the_share_of_high_losses() -> None:
    method = _with_losses(60, 200, epoch=0, ramp_epochs=3)
    method.prepare_epoch(1)
    method.epoch_plan(1)
    prob = method.memory["wrong_prob"]
    assert bool((prob[:60] > 0.99).all()) and bool((prob[60:] < 0.01).all()), "held-out rows stay 0"
    assert method.wrong_share == pytest.approx(0.3, abs=1e-3)
    assert [method.forget_rate_at(e) for e in range(5)] == pytest.approx([0, 0.15, 0.3, 0.3, 0.3], abs=1e-3)


def test_estimate_follows_the_epochs_of_the_ramp_and_stays() -> None:
    method = _with_losses(60, 200, epoch=0, ramp_epochs=2)
    found = []
    for epoch, wrong in ((1, 60), (2, 100), (3, 20), (9, 150)):
        _observe(method, wrong, 200, epoch - 1)
        method.prepare_epoch(epoch)
        method.epoch_plan(epoch)
        found.append(method.wrong_share)
    assert found == pytest.approx([0.3, 0.5, 0.5, 0.5], abs=1e-3)


def test_estimate_reads_only_what_was_observed_in_the_epoch() -> None:
    method = _with_losses(60, 200, epoch=0)
    method.memory["observed_epoch"][:60] = -1
    method.prepare_epoch(1)
    assert not bool(method.memory["wrong_prob"][:60].any())


def test_what_was_observed_in_earlier_epochs_does_not_count() -> None:
    method = CoTeaching(3, PlainMLP)
    method.memory.allocate(6)
    method.memory.write("observed_loss", torch.arange(6), torch.tensor([0.1, 0.2, 3.0, 0.1, 0.2, 3.0]))
    method.memory.write("observed_epoch", torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 1]))
    method.prepare_epoch(2)
    assert [round(value, 3) for value in method.memory["wrong_prob"].tolist()] == [0, 0, 0, 0, 0, 1]


def test_the_exponent_shapes_the_ramp_of_a_method() -> None:
    method = CoTeaching(3, PlainMLP, forget_rate=0.4, exponent=2.0, ramp_epochs=5)
    assert [method.forget_rate_at(epoch) for epoch in (0, 2, 4, 5, 9)] == pytest.approx([0, 0.08, 0.16, 0.4, 0.4])


def test_equal_losses_tell_nothing_apart() -> None:
    method = _with_losses(0, 50, epoch=0)
    method.memory["observed_loss"].fill_(1.25)
    method.prepare_epoch(1)
    method.epoch_plan(1)
    assert method.forget_rate_at(10) == 0.0


def test_no_table_is_kept_for_a_given_rate() -> None:
    assert "wrong_prob" not in list(CoTeaching(3, PlainMLP, forget_rate=0.2).memory)
    assert "wrong_prob" in list(CoTeaching(3, PlainMLP).memory)


@pytest.mark.slow
def test_estimate_of_a_run_comes_near_the_share_of_wrong_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = CoTeaching(3, partial(PlainMLP, hidden=(16,)), ramp_epochs=5, optimizer=partial(Adam, lr=0.01))
    state = fit(method, ToyData(300, spread=0.5, noise=Symmetric(0.3)), tmp_path, 7)
    rates = [value for _, _, name, value in state["curves"] if name == "train/forget_rate"]
    assert rates[0] == 0 and rates[-1] == rates[-2] == pytest.approx(0.3, abs=0.06)
    assert len(rates) == 7


@pytest.mark.slow
@pytest.mark.parametrize("cls", [CoTeaching, CoTeachingPlus])
def test_run_with_estimate_and_changing_momentum_resumes_exactly(cls: Any, tmp_path: Path) -> None:
    def run(name: str, epochs: int, resume: Path | None = None) -> Any:
        torch.manual_seed(0 if resume is None else 99)
        options = {"warmup_epochs": 2} if cls is CoTeachingPlus else {}
        schedule = partial(LinearDecay, start=2, stop=4, beta1=0.1)
        method = cls(3, DropoutMLP, ramp_epochs=2, optimizer=Adam, scheduler=schedule, **options)
        return fit(method, ToyData(noise=Symmetric(0.4), val_fraction=0.2), tmp_path / name, epochs, resume=resume)

    straight = run("straight", 4)
    assert straight["optimizers"][1]["param_groups"][0]["betas"] == (0.1, 0.999)
    for stop in (1, 2, 3):
        run(f"killed-{stop}", stop)
        resumed = run(f"killed-{stop}", 4, tmp_path / f"killed-{stop}" / "last.ckpt")
        assert_same(resumed, straight)


# ---- settings


def test_any_view_of_the_data_can_be_trained_on(tmp_path: Path) -> None:
    method, data = CoTeaching(3, PlainMLP, view="eval"), ToyData()
    recorded = _Recorded(method)
    make_trainer(tmp_path, 1).fit(method, datamodule=data)
    for batch, _ in recorded.batches:
        assert torch.equal(batch["train"].views[0], data.source.train.values[batch["train"].index])  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="asks for the view 'none'"):
        make_trainer(tmp_path, 1).fit(CoTeaching(3, PlainMLP, view="none"), datamodule=data)


def test_networks_together_answer_by_the_mean_of_their_logits() -> None:
    method = _method(CoTeaching, L1, L2, 0)
    found = method.all_logits(torch.arange(4)[:, None].float())
    torch.testing.assert_close(found["ensemble"], (L1 + L2) / 2)
    assert method.headline == "first"


def test_default_optimizer_is_adam_for_each_network() -> None:
    method = CoTeaching(3, PlainMLP)
    first, second = method.configure_optimizers()
    assert type(first) is type(second) is Adam and first.param_groups[0]["lr"] == 1e-3
    assert first.param_groups[0]["params"][0] is next(method.networks["first"].parameters())


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (CoTeaching, {"forget_rate": 1.0}, r"forget_rate must be a fraction in \[0, 1\) or 'auto', got 1.0"),
        (CoTeaching, {"forget_rate": -0.1}, "forget_rate must be"),
        (CoTeaching, {"forget_rate": "estimate"}, r"forget_rate must be a fraction in \[0, 1\) or 'auto', got 'estimate'"),
        (CoTeaching, {"ramp_epochs": 0}, "ramp_epochs must be a whole number of at least 1"),
        (CoTeaching, {"exponent": 0.0}, "exponent must be a positive number"),
        (CoTeachingPlus, {"warmup_epochs": -1}, "warmup_epochs must be a whole number of 0 or more, got -1"),
    ],
)
def test_impossible_settings_are_refused(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(3, PlainMLP, **kwargs)
