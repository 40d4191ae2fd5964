from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor, nn
from torch.optim import SGD

from noisylab.callbacks import Curves
from noisylab.cli.configuration.compose import compose
from noisylab.cli.errors import UserError
from noisylab.losses import CORES2, GCE, GLS, MAE, FDivergence, PeerLoss, TruncatedGCE, cores2_weight, peer_weight
from noisylab.methods import RobustLoss
from noisylab.noise import Symmetric
from noisylab.schedules import DividedStepLR
from noisylab.types import DataInfo, PlanBatch

_SGD = partial(SGD, lr=0.1, momentum=0.9)


def _data(**kwargs: Any) -> ToyData:
    """37 training rows, the last batch of five."""
    return ToyData(**{"num_train": 41, "noise": Symmetric(0.4), "val_fraction": 0.1, **kwargs})


class _Watch(L.Callback):
    """Batches, and after each epoch the weights, what is selected and the validation accuracy."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.weights: list[dict[str, Tensor]] = []
        self.masks: list[Tensor | None] = []
        self.accuracies: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RobustLoss)
        self.weights.append(copy.deepcopy(dict(pl_module.networks["network"].state_dict())))
        mask = pl_module.clean_mask()
        self.masks.append(None if mask is None else mask.clone())
        self.accuracies.append(pl_module.epoch_metrics.get("val/acc", math.nan))


def _run(method: RobustLoss, folder: Path, epochs: int, data: ToyData | None = None) -> tuple[nn.Module, _Watch, Curves]:
    """The network as it was before the run, and what the run went through."""
    network, watch, curves = copy.deepcopy(method.networks["network"]), _Watch(), Curves()
    make_trainer(folder, epochs, (watch, curves)).fit(method, datamodule=data or _data())
    return network, watch, curves


def _log_prob(logits: Tensor, label: int) -> Tensor:
    return logits[label] - logits.exp().sum().log()


def _assert_same_weights(found: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")


# ---- whole runs against slow loops


def test_a_run_of_peer_loss_equals_a_slow_loop(tmp_path: Path) -> None:
    method = RobustLoss(3, BatchNormMLP, partial(PeerLoss, weights=[0.0, 0.3, 2.0]), optimizer=_SGD)
    network, watch, curves = _run(method, tmp_path, 3)
    optimizer, means = _SGD(network.parameters()), [0.0, 0.0, 0.0]
    for batch in watch.batches:
        weight = (0.0, 0.3, 2.0)[batch.epoch]
        samples = batch["train"]
        parts = [(network(samples.views[0]), samples.target, 1.0)]
        assert set(batch.streams) == ({"train", "pair_inputs", "pair_labels"} if weight else {"train"})
        if weight:
            parts.append((network(batch["pair_inputs"].views[0]), batch["pair_labels"].target, -weight))
        loss = torch.zeros(())
        for logits, labels, factor in parts:
            total = sum(-torch.log(torch.exp(_log_prob(z, y)) + 1e-5) for z, y in zip(logits, labels.tolist(), strict=True))
            loss = loss + factor * total / len(labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means[batch.epoch] += float(loss.detach()) * len(samples) / 37
    _assert_same_weights(method.networks["network"], network)
    assert [loss for _, loss in curves.series("train/loss")] == pytest.approx(means, abs=1e-5)
    assert method.clean_mask() is None


def test_a_run_of_cores2_equals_a_slow_loop(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, partial(CORES2, weights=[0.0, 0.4], first_sieved=2), warmup_epochs=1, optimizer=_SGD)
    data = _data()
    network, watch, curves = _run(method, tmp_path, 4, data)
    rows, given = data.info.train_rows, data.given_target
    optimizer = _SGD(network.parameters())
    histogram = [float((given[rows] == c).sum()) for c in range(3)]
    kept, prior, epoch, shares = dict.fromkeys(rows.tolist(), True), [c / 37 for c in histogram], 0, [0.0] * 4
    for batch in watch.batches:
        if batch.epoch > epoch:
            epoch = batch.epoch
            left = [histogram[c] - sum(not keep and int(given[row]) == c for row, keep in kept.items()) for c in range(3)]
            prior = [count / sum(left) for count in left]
        samples, losses = batch["train"], []
        for z, y, row in zip(network(samples.views[0]), samples.target.tolist(), samples.index.tolist(), strict=True):
            terms = [-_log_prob(z, c) for c in range(3)]
            kept[row] = epoch < 2 or float((terms[y] - sum(terms) / 3).detach()) <= 0
            expected = sum(prior[c] * -torch.log(torch.exp(-terms[c]) + 1e-8) for c in range(3))
            if kept[row]:
                losses.append(terms[y] if epoch == 0 else terms[y] - 0.4 * expected)
        shares[epoch] += len(losses) / 37
        loss = sum(losses, torch.zeros(())) / max(len(losses), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _assert_same_weights(method.networks["network"], network)
    assert [share for _, share in curves.series("train/selected")] == pytest.approx(shares[1:])
    assert watch.masks[:2] == [None, None] and shares[1] == 1 and 0 < shares[3] < 1, "nothing is left out before the sieve"
    assert watch.masks[3] is not None and [row for row in range(41) if watch.masks[3][row]] == sorted(
        row for row, keep in kept.items() if keep
    )
    left = [sum(keep and int(given[row]) == c for row, keep in kept.items()) for c in range(3)]
    assert method.prior_counts.tolist() == left


@pytest.mark.parametrize("hand_over", ["last", "best"])
def test_a_run_of_truncated_gce_equals_a_slow_loop(hand_over: Any, tmp_path: Path) -> None:
    loss = partial(TruncatedGCE, q=0.6, k=0.6, first=2, every=2)
    method = RobustLoss(3, BatchNormMLP, loss, hand_over=hand_over, optimizer=_SGD)
    data = _data(spread=2.0)
    network, watch, _ = _run(method, tmp_path, 6, data)
    eval_inputs = {row: data.source.train.values[row] for row in data.info.train_rows.tolist()}  # type: ignore[union-attr]
    optimizer, kept, epoch = _SGD(network.parameters()), dict.fromkeys(eval_inputs, True), 0
    chosen_by = []
    for batch in watch.batches:
        if batch.epoch > epoch:
            epoch = batch.epoch
            if epoch in (2, 4):
                seen = watch.accuracies[:epoch]
                judge = copy.deepcopy(network)
                chosen_by.append(seen.index(max(seen)) if hand_over == "best" else epoch - 1)
                judge.load_state_dict(watch.weights[chosen_by[-1]])
                judge.eval()
                for row, x in eval_inputs.items():
                    label = int(data.given_target[row])
                    kept[row] = float(judge(x[None])[0].detach().softmax(0)[label]) > 0.6
        samples, total = batch["train"], torch.zeros(())
        for z, y, row in zip(network(samples.views[0]), samples.target.tolist(), samples.index.tolist(), strict=True):
            p = torch.exp(_log_prob(z, y))
            total = total + kept[row] * ((1 - p**0.6) / 0.6 - (1 - 0.6**0.6) / 0.6)
        optimizer.zero_grad()
        (total / len(samples)).backward()
        optimizer.step()
    _assert_same_weights(method.networks["network"], network)
    assert watch.masks[:2] == [None, None]
    assert watch.masks[5] is not None and watch.masks[5].nonzero().flatten().tolist() == [row for row in kept if kept[row]]
    assert 0 < sum(kept.values()) < 37
    assert chosen_by == [1, 3] if hand_over == "last" else chosen_by != [1, 3], "the data must tell the two apart"


# ---- the end of the warm-up


def test_the_best_network_of_the_warm_up_goes_on_without_momentum(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, GLS, warmup_epochs=4, hand_over="best", optimizer=_SGD)
    _, watch, _ = _run(method, tmp_path, 5, _data(spread=2.0))
    best = watch.accuracies[:4].index(max(watch.accuracies[:4]))
    assert best < 3, "the last epoch is not the best"
    network = PlainMLP(3)
    network.load_state_dict(watch.weights[best])
    optimizer = _SGD(network.parameters())
    for batch in (batch for batch in watch.batches if batch.epoch == 4):
        logits = network(batch["train"].views[0]).log_softmax(1)
        loss = -(1.2 * logits.gather(1, batch["train"].target[:, None])[:, 0] - 0.2 * logits.mean(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _assert_same_weights(method.networks["network"], network)
    assert method.best_since(3) == 0 and method.best_since(4) == method.best_since(9) == 4


def test_the_last_network_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    found = []
    for loss, warmup_epochs in ((partial(GLS, rate=0.0), 2), (GLS, 4)):
        torch.manual_seed(0)
        method = RobustLoss(3, PlainMLP, loss, warmup_epochs=warmup_epochs, optimizer=_SGD)
        _run(method, tmp_path, 4)
        found.append(method.networks["network"])
    _assert_same_weights(*found)


@pytest.mark.parametrize(
    ("loss", "warmup_epochs"),
    [(GLS, 1), (partial(TruncatedGCE, k=0.4, first=1, every=1), 0), (partial(CORES2, first_sieved=1), 1)],
)
def test_a_run_with_the_best_network_resumes_exactly(loss: Any, warmup_epochs: int, tmp_path: Path) -> None:
    def run(folder: str, resume: Path | None = None, callbacks: tuple[L.Callback, ...] = ()) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        method = RobustLoss(3, BatchNormMLP, loss, warmup_epochs=warmup_epochs, hand_over="best", optimizer=_SGD)
        return fit(method, _data(num_train=28), tmp_path / folder, 3, resume=resume, callbacks=callbacks)

    saver = SaveEveryBatch(tmp_path)
    straight = run("straight", callbacks=(saver,))
    straight.pop("file")
    assert len(saver.files) == 9
    for file in saver.files:
        resumed = run(file.stem, file)
        resumed.pop("file")
        assert_same(resumed, straight, file.stem)


def test_the_best_network_is_in_no_optimizer_and_in_the_checkpoint(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, GLS, warmup_epochs=9, hand_over="best")
    fit(method, _data(), tmp_path, 2)
    trained = {id(p) for group in method.trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(p) for p in method.networks.parameters()}
    again = RobustLoss.load_from_checkpoint(tmp_path / "last.ckpt")
    assert again.best is not None and method.best is not None
    _assert_same_weights(again.best.network, method.best.network)
    assert (again.best.score, again.best.epoch) == (method.best.score, method.best.epoch) and again.best.epoch in (0, 1)


def test_the_best_network_needs_held_out_rows_and_their_evaluation(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, GLS, warmup_epochs=1, hand_over="best")
    assert method.needs_validation and not RobustLoss(3, PlainMLP, GLS, warmup_epochs=1).needs_validation
    with pytest.raises(ValueError, match="no rows are held out"):
        make_trainer(tmp_path, 2).fit(method, datamodule=_data(val_fraction=0.0))
    with pytest.raises(ValueError, match="needs a validated network before epoch 1"):
        make_trainer(tmp_path, 2, check_val_every_n_epoch=2).fit(method, datamodule=_data())


# ---- pairs


def test_inputs_and_labels_of_pairs_are_shuffles_of_their_own(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, FDivergence, optimizer=_SGD)
    data = ToyData(num_train=400, batch_size=50)
    _, watch, _ = _run(method, tmp_path, 2, data)
    orders = {name: torch.cat([b[name].index for b in watch.batches]) for name in ("train", "pair_inputs", "pair_labels")}
    for order in orders.values():
        assert torch.equal(order[:400].sort().values, torch.arange(400)), "an epoch draws every sample once"
        assert int((order[:400] == order[400:]).sum()) < 10, "another epoch, another order"
    for first, second in (("train", "pair_inputs"), ("train", "pair_labels"), ("pair_inputs", "pair_labels")):
        assert int((orders[first] == orders[second]).sum()) < 15, (first, second)  # two of 800 by chance
    for batch in watch.batches:
        assert torch.equal(batch["pair_labels"].target, data.given_target[batch["pair_labels"].index])


def test_pairs_begin_after_the_warm_up() -> None:
    method = RobustLoss(3, PlainMLP, PeerLoss, warmup_epochs=30)
    planned = [len(method.epoch_plan(epoch).phases[0].streams) for epoch in (0, 29, 30)]
    assert planned == [1, 1, 3]
    assert len(RobustLoss(3, PlainMLP, PeerLoss).epoch_plan(20).phases[0].streams) == 1  # a is still 0


# ---- the prior and the sieve


class Picky(CORES2):
    """Keeps nothing."""

    def keeps(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.zeros_like(target, dtype=torch.bool)


def _prior(kept: list[bool]) -> list[int]:
    method = RobustLoss(3, PlainMLP, CORES2)
    given = torch.tensor([0, 1, 1, 2, -1, 2])
    method.info = DataInfo(3, 6, torch.tensor([0, 1, 2, 3, 5]), given, ("",) * 3, 2, 0)
    method.memory.allocate(6)
    method.prepare_epoch(0)
    assert method.prior_counts.tolist() == [1, 2, 2] and method.memory["kept"].tolist() == [1, 1, 1, 1, 0, 1]
    method.memory.write("kept", torch.arange(6), torch.tensor(kept))
    method.prepare_epoch(1)
    counts: list[int] = method.to(torch.bfloat16).prior_counts.tolist()
    return counts


def test_the_prior_follows_the_labels_of_the_samples_kept() -> None:
    assert _prior([True, False, True, False, False, False]) == [1, 1, 0]
    assert _prior([False] * 6) == [1, 2, 2], "where none is kept, that of all"


def test_a_batch_of_which_none_is_kept_changes_no_weight(tmp_path: Path) -> None:
    method = RobustLoss(3, PlainMLP, partial(Picky, first_sieved=0), optimizer=_SGD)
    network, _, curves = _run(method, tmp_path, 2)
    _assert_same_weights(method.networks["network"], network)
    assert curves.series("train/loss") == [(0, 0.0), (1, 0.0)]
    assert method.clean_mask() is not None and not bool(method.memory["kept"].any())


# ---- learning rates


_PEER = {0: 0.1, 19: 0.1, 39: 0.05, 40: 0.005, 49: 0.0045794, 79: 0.01 / (1 + peer_weight(79)), 80: 0.001 / (1 + peer_weight(80))}
_CORES2 = {9: 0.1, 25: 0.1 / (1 + 30 / 29), 39: 0.1 / 3, 49: 0.1 / 3, 50: 0.01 / 3, 99: 0.01 / 3}


@pytest.mark.parametrize(
    ("weights", "milestones", "expected"),
    [("peer", [40, 80, 120], _PEER), ("cores2", [50], _CORES2), ([1.0, 3.0], [], {0: 0.05, 1: 0.025, 7: 0.025})],
)
def test_rates_are_divided_by_one_plus_the_weight(weights: Any, milestones: list[int], expected: dict[int, float]) -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, found = DividedStepLR(optimizer, weights, milestones), []
    for _ in range(100):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected, rel=1e-4)


def test_a_schedule_that_is_resumed_takes_its_new_lists() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    old, new = DividedStepLR(optimizer, [1.0], [1]), DividedStepLR(optimizer, [0.0, 0.0, 4.0], [9])
    new.load_state_dict(old.state_dict())
    assert new.weights == [0.0, 0.0, 4.0] and new.milestones == [9]


@pytest.mark.parametrize(
    ("weights", "gamma", "message"),
    [("gce", 0.1, "weights must be"), ([], 0.1, "weights"), ([-1.0], 0.1, "weights"), ("peer", 0.0, "gamma")],
)
def test_an_impossible_schedule_is_refused(weights: Any, gamma: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DividedStepLR(SGD([nn.Parameter(torch.zeros(1))], lr=0.1), weights, [1], gamma)


def test_the_criterion_and_its_schedule_have_one_table() -> None:
    for weights, criterion, table in (("peer", PeerLoss(), peer_weight), ("cores2", CORES2(), cores2_weight)):
        schedule = DividedStepLR(SGD([nn.Parameter(torch.zeros(1))], lr=1.0), weights, [])  # type: ignore[arg-type]
        for epoch in (0, 15, 33, 120, 1000):
            schedule.last_epoch = epoch
            assert criterion.weight(epoch) == table(epoch) and schedule.get_lr() == [1 / (1 + table(epoch))]


# ---- how it is made


def test_the_loss_is_named_on_the_command_line() -> None:
    composed = compose(["robust_digits"], [("model.loss", "SCE"), ("model.loss.alpha", "6"), ("model.hand_over", "last")])
    loss = composed.config["model"]["init_args"]["loss"]
    assert loss == {"class_path": "noisylab.losses.criteria.SCE", "init_args": {"alpha": 6}}
    assert RobustLoss(3, PlainMLP, loss).criterion.alpha == 6  # type: ignore[attr-defined]
    listed = compose(["robust_digits"], [("model.loss", "PeerLoss"), ("model.loss.weights", "[0, 0.5]")])
    assert listed.config["model"]["init_args"]["loss"]["init_args"] == {"weights": [0, 0.5]}
    for key, value in (("model.loss", "SCCE"), ("model.loss.alpha", "6"), ("model.loss.q", "[1]")):
        with pytest.raises(UserError, match=key.replace(".", r"\.")):
            compose(["robust_digits"], [(key, value)])


@pytest.mark.parametrize("loss", [MAE, partial(GCE, q=0.5), {"class_path": "noisylab.losses.GLS", "init_args": {"rate": -1.0}}])
def test_the_loss_is_stored_as_a_class_with_arguments(loss: Any) -> None:
    method = RobustLoss(3, PlainMLP, loss)
    again = RobustLoss(3, PlainMLP, method.hparams["loss"])
    assert type(again.criterion) is type(method.criterion) and vars(again.criterion) == vars(method.criterion)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RobustLoss(3, PlainMLP, GCE()), TypeError, "loss must be a class"),  # type: ignore[arg-type]
        (lambda: RobustLoss(3, PlainMLP, nn.CrossEntropyLoss), TypeError, "loss must derive from"),  # type: ignore[arg-type]
        (lambda: RobustLoss(3, PlainMLP, partial(GCE, q=2.0)), ValueError, "q must be"),
        (lambda: RobustLoss(3, PlainMLP, GCE, warmup_epochs=-1), ValueError, "warmup_epochs must be"),
        (lambda: RobustLoss(3, PlainMLP, GCE, 1, "first"), ValueError, "hand_over must be"),  # type: ignore[arg-type]
        (lambda: RobustLoss(3, PlainMLP, GCE, hand_over="best"), ValueError, "nothing to hand over"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], RobustLoss], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
