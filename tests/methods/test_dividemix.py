from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from helpers import SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from helpers.toy import BatchNormMLP, DropoutMLP, PlainMLP
from torch import Tensor

from noisylab.methods import DivideMix, dividemix
from noisylab.noise import Symmetric
from noisylab.selection import AllOf, FixedThreshold, FlexMatchThreshold, FreeMatchThreshold, PercentileThreshold
from noisylab.selection.mixture import fit_mixture
from noisylab.types import DataInfo, PlanBatch

_SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
_LAM = 0.3


class Blind(PlainMLP):
    """Sees no difference between samples."""

    def forward(self, inputs: Any) -> Tensor:
        return super().forward(inputs) * 0


def _method(network: Any = BatchNormMLP, **kwargs: Any) -> DivideMix:
    torch.manual_seed(3)
    return DivideMix(3, network, **{"warmup_epochs": 1, "lambda_u": 20.0, "rampup_epochs": 2, "optimizer": _SGD, **kwargs})


def _data(**kwargs: Any) -> ToyData:
    return ToyData(**{"num_train": 61, "noise": Symmetric(0.4), "spread": 1.5, **kwargs})


class _Record(L.Callback):
    """Every batch, and the state of both networks before and after its step."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.before: list[dict[str, dict[str, Tensor]]] = []
        self.after: list[dict[str, dict[str, Tensor]]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        self.before.append(_states(pl_module))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after.append(_states(pl_module))


def _states(module: L.LightningModule) -> dict[str, dict[str, Tensor]]:
    assert isinstance(module, DivideMix)
    return {name: {k: v.clone() for k, v in network.state_dict().items()} for name, network in module.networks.items()}


def _fit(method: DivideMix, data: ToyData, folder: Path, epochs: int = 3, **kwargs: Any) -> _Record:
    record = _Record()
    make_trainer(folder, epochs, (record,), **kwargs).fit(method, datamodule=data)
    return record


# ---- an independent slow reference


def _sharp(p: list[float]) -> list[float]:
    powers = [value**2 for value in p]
    return [value / sum(powers) for value in powers]


class _Reference:
    """The authors' algorithm, sample by sample, given the batches; partners are all samples in reverse order, lam is 0.7."""

    def __init__(
        self, method: DivideMix, data: ToyData, *, penalty: bool, average: int = 1, threshold: float | None = None
    ) -> None:
        self.nets = {name: copy.deepcopy(network) for name, network in method.networks.items()}
        self.opts = {name: _SGD(network.parameters()) for name, network in self.nets.items()}
        self.data, self.penalty, self.average, self.threshold = data, penalty, average, threshold
        self.used: list[float] = []
        self.history: dict[str, list[Tensor]] = {"first": [], "second": []}
        self.prob: dict[str, Tensor] = {}

    def co_divide(self) -> None:
        inputs = self.data.source.train.gather(self.data.info.train_rows)  # type: ignore[union-attr]
        assert isinstance(inputs, Tensor)
        for name, network in self.nets.items():
            network.eval()
            with torch.no_grad():
                losses = [
                    -network(x[None])[0].log_softmax(0)[int(self.data.given_target[i])].item() for i, x in enumerate(inputs)
                ]
            low, high = min(losses), max(losses)
            self.history[name].append(torch.tensor([(loss - low) / (high - low) for loss in losses]))
            values = torch.stack(self.history[name][-self.average :]).mean(0)
            self.prob[name] = fit_mixture(values).clean_prob(values)

    def step(self, batch: PlanBatch, warmup_epochs: int, lambda_u: float, rampup: int) -> None:
        name = batch.phase
        network, peer = self.nets[name], self.nets["second" if name == "first" else "first"]
        network.train()
        peer.eval()
        if batch.epoch < warmup_epochs:
            logits = network(batch["train"].views[0])
            p = logits.softmax(1)
            loss = F.cross_entropy(logits, batch["train"].target)
            if self.penalty:
                loss = loss + (p * p.log()).sum(1).mean()
        else:
            loss = self._mixmatch(batch, network, peer, "second" if name == "first" else "first", warmup_epochs, lambda_u, rampup)
        self.opts[name].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.opts[name].step()

    def _mixmatch(
        self, batch: PlanBatch, network: Any, peer: Any, peer_name: str, warmup_epochs: int, lambda_u: float, rampup: int
    ) -> Tensor:
        x, u = batch["labeled"], batch["unlabeled"]
        with torch.no_grad():
            guesses = [net(view).softmax(1) for net in (network, peer) for view in u.views]
            own = [network(view).softmax(1) for view in x.views]
        means = [[float(sum(g[i, c] for g in guesses)) / 4 for c in range(3)] for i in range(len(u))]
        guessed = [_sharp(mean) for mean in means]
        kept = [float(self.threshold is None or max(mean) >= self.threshold) for mean in means]
        self.used += kept
        refined = []
        for i, index in enumerate(x.index.tolist()):
            w, y = float(self.prob[peer_name][index]), int(x.target[i])
            mean = [float(own[0][i, c] + own[1][i, c]) / 2 for c in range(3)]
            refined.append(_sharp([w * (c == y) + (1 - w) * mean[c] for c in range(3)]))
        inputs = torch.cat([*x.views, *u.views])  # type: ignore[arg-type]
        target = torch.tensor([*refined, *refined, *guessed, *guessed])
        lam = max(_LAM, 1 - _LAM)
        mixed, mixed_target = lam * inputs + (1 - lam) * inputs.flip(0), lam * target + (1 - lam) * target.flip(0)
        p = network(mixed).softmax(1)
        size = 2 * len(x)
        lx = -(mixed_target[:size] * p[:size].log()).sum() / size
        lu = sum(k * ((p[size + i] - mixed_target[size + i]) ** 2).sum() for i, k in enumerate([*kept, *kept]))
        lu = lu / (3 * (len(p) - size))
        place = batch.epoch + batch.step / batch.steps
        weight = lambda_u * min(max((place - warmup_epochs) / rampup, 0), 1)
        penalty = sum(torch.log((1 / 3) / p[:, c].mean()) / 3 for c in range(3))
        return lx + weight * lu + penalty


@pytest.fixture
def fixed_mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.randperm
    monkeypatch.setattr(dividemix, "mix_weight", lambda alpha: _LAM)

    def reverse(n: int, *, generator: Any = None, device: Any = None) -> Tensor:
        return torch.arange(n, device=device).flip(0) if generator is None else real(n, generator=generator)

    monkeypatch.setattr(torch, "randperm", reverse)


@pytest.mark.parametrize(("penalty", "average", "threshold"), [(False, 1, None), (True, 2, None), (False, 1, 0.7)])
def test_training_follows_the_authors_algorithm(
    penalty: bool, average: int, threshold: float | None, fixed_mixing: None, tmp_path: Path
) -> None:
    data = _data()
    policy = None if threshold is None else partial(FixedThreshold, threshold=threshold)
    method = _method(confidence_penalty=penalty, average_epochs=average, policy=policy)
    data.setup()
    reference = _Reference(method, data, penalty=penalty, average=average, threshold=threshold)
    record = _fit(method, data, tmp_path, epochs=4)
    epochs = {batch.epoch for batch in record.batches}
    assert epochs == {0, 1, 2, 3}
    for number, batch in enumerate(record.batches):
        if batch.epoch >= 1 and batch.position == 0:
            reference.co_divide()
        if batch.epoch >= 1:
            peer = reference.prob["second" if batch.phase == "first" else "first"]
            assert set(batch["labeled"].index.tolist()) <= set((peer > 0.5).nonzero().flatten().tolist())
            assert set(batch["unlabeled"].index.tolist()) <= set((peer <= 0.5).nonzero().flatten().tolist())
        reference.step(batch, 1, 20.0, 2)
        for name, network in reference.nets.items():
            for key, value in network.state_dict().items():
                torch.testing.assert_close(
                    record.after[number][name][key], value, rtol=1e-4, atol=1e-5, msg=f"{number} {name} {key}"
                )
    assert threshold is None or 0 < sum(reference.used) < len(reference.used), "the threshold tells nothing apart"


def test_both_networks_are_measured_before_either_trains(tmp_path: Path) -> None:
    data, method = _data(), _method()
    record = _fit(method, data, tmp_path, epochs=2)
    first_of_epoch = next(n for n, batch in enumerate(record.batches) if batch.epoch == 1)
    start_of_second = next(n for n, batch in enumerate(record.batches) if batch.epoch == 1 and batch.phase == "second")
    for name in ("first", "second"):
        network = BatchNormMLP(3)
        network.load_state_dict(record.before[first_of_epoch][name])
        network.eval()
        with torch.no_grad():
            losses = F.cross_entropy(network(data.source.train.values), data.given_target, reduction="none")  # type: ignore[union-attr]
        expected = ((losses - losses.min()) / (losses.max() - losses.min()))[:, None]
        # the memory has gone on to epoch 2 by now; what epoch 1 was split by is in its batches
        prob = fit_mixture(expected[:, 0]).clean_prob(expected[:, 0])
        phase = "second" if name == "first" else "first"
        labeled = {i for b in record.batches if b.epoch == 1 and b.phase == phase for i in b["labeled"].index.tolist()}
        assert labeled == set((prob > 0.5).nonzero().flatten().tolist())
    moved = record.before[start_of_second]["first"]["head.weight"], record.before[first_of_epoch]["first"]["head.weight"]
    assert not torch.equal(*moved), "the second network's peer has trained already"


@pytest.mark.parametrize("network", [BatchNormMLP, DropoutMLP])
def test_the_peer_is_not_touched_bit_by_bit(network: Any, tmp_path: Path) -> None:
    record = _fit(_method(network), _data(), tmp_path)
    for batch, before, after in zip(record.batches, record.before, record.after, strict=True):
        peer = "second" if batch.phase == "first" else "first"
        assert all(torch.equal(before[peer][key], after[peer][key]) for key in before[peer])
        assert any(not torch.equal(before[batch.phase][key], after[batch.phase][key]) for key in before[batch.phase])


def test_a_network_trains_a_whole_pass_before_the_other(tmp_path: Path) -> None:
    record = _fit(_method(), _data(), tmp_path, epochs=2)
    for epoch in range(2):
        phases = [batch.phase for batch in record.batches if batch.epoch == epoch]
        assert phases == sorted(phases) and set(phases) == {"first", "second"}
    warmup = [b["train"] for b in record.batches if b.epoch == 0 and b.phase == "first"]
    assert sorted(i for part in warmup for i in part.index.tolist()) == list(range(61))
    assert len(warmup[0]) == 16, "a batch of the warm-up has twice as many"
    labeled = [b["labeled"] for b in record.batches if b.epoch == 1 and b.phase == "first"]
    assert all(len(b["unlabeled"]) == 8 for b in record.batches if b.epoch == 1)
    assert len(labeled[0]) == 8 and len(labeled[0].views) == 2
    assert not torch.equal(labeled[0].views[0], labeled[0].views[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epoch", "step", "expected"), [(9, 0, 0), (10, 0, 0), (10, 5, 0.78125), (18, 0, 12.5), (26, 0, 25), (100, 0, 25)]
)
def test_weight_of_unlabeled_samples_rises(epoch: int, step: int, expected: float) -> None:
    method = DivideMix(3, PlainMLP, warmup_epochs=10, lambda_u=25.0)
    batch = PlanBatch("first", {}, epoch, step, False, False, step=step, steps=10)
    assert method._lambda_u(batch) == pytest.approx(expected)


def _split_by(prob: Tensor, **kwargs: Any) -> DivideMix:
    method = DivideMix(3, PlainMLP, warmup_epochs=0, **kwargs)
    rows = torch.arange(len(prob))
    method.info = DataInfo(3, len(prob), rows, rows % 3, ("a", "b", "c"), 4, 0)
    method.memory.allocate(len(prob))
    method._trainer = SimpleNamespace(current_epoch=0, world_size=1)  # type: ignore[assignment]
    for name in ("first", "second"):
        method.memory.write(f"clean_prob_{name}", rows, prob)
        method.memory[f"split_epoch_{name}"].fill_(0)
    return method


def test_only_larger_probabilities_are_labeled() -> None:
    method = _split_by(torch.tensor([0.5, 0.51, 0.9, 0.1, 0.6]))
    streams = method.epoch_plan(0).phases[0].streams
    assert streams["labeled"].rows is not None and streams["labeled"].rows.tolist() == [1, 2, 4]
    assert streams["unlabeled"].rows is not None and streams["unlabeled"].rows.tolist() == [0, 3]
    mask = method.clean_mask()
    assert mask is not None and mask.tolist() == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("prob", "streams"),
    [
        ([0.9, 0.9, 0.9], {"labeled"}),
        ([0.9, 0.9, 0.1], {"labeled"}),
        ([0.1, 0.1, 0.9], {"train"}),
        ([0.1, 0.1, 0.1], {"train"}),
        ([0.9, 0.9, 0.1, 0.1], {"labeled", "unlabeled"}),
    ],
)
def test_parts_too_small_to_train_on_are_left_out(prob: list[float], streams: set[str]) -> None:
    assert set(_split_by(torch.tensor(prob)).epoch_plan(0).phases[0].streams) == streams


@pytest.mark.parametrize(
    ("threshold", "message"), [(0.0, "all but 0 samples look correctly labeled"), (0.9999999, "trains on all given labels")]
)
def test_a_split_without_one_part_warns_and_trains(
    threshold: float, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = _method(threshold=threshold)
    real = method._fits

    def undecided(epoch: int) -> Any:
        halves = SimpleNamespace(clean_prob=lambda values: torch.full_like(values, 0.5))
        return {name: SimpleNamespace(rows=fit.rows, values=fit.values, mixture=halves) for name, fit in real(epoch).items()}

    monkeypatch.setattr(method, "_fits", undecided)
    with pytest.warns(UserWarning, match=message):
        record = _fit(method, _data(), tmp_path, epochs=2)
    assert all(bool(v.isfinite().all()) for state in record.after[-1].values() for v in state.values())


def test_losses_that_are_all_equal_label_every_sample(tmp_path: Path) -> None:
    method = _method(Blind, warmup_epochs=0)
    with pytest.warns(UserWarning, match="all but 0 samples look correctly labeled"):
        _fit(method, _data(), tmp_path, epochs=1)
    prob = method.clean_prob()
    assert prob is not None and bool((prob == 1).all())


def test_losses_are_averaged_over_the_last_epochs(tmp_path: Path) -> None:
    method = _method(average_epochs=3, warmup_epochs=0)
    found: list[Tensor] = []

    class Keep(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            found.append(method.memory["losses_first"].clone())

    make_trainer(tmp_path, 4, (Keep(),)).fit(method, datamodule=_data())
    assert bool((found[0][:, :2] == -1).all()) and bool((found[0][:, 2] >= 0).all())
    assert torch.equal(found[3][:, 1], found[2][:, 2]) and torch.equal(found[3][:, 0], found[1][:, 2])
    assert all(float(table[:, 2].min()) == 0 and float(table[:, 2].max()) == 1 for table in found)


def test_subsets_have_equal_classes_and_are_drawn_anew_for_each_network(tmp_path: Path) -> None:
    data = _data(num_train=90)
    record = _fit(_method(warmup_subset=30, eval_subset=24), data, tmp_path, epochs=3)
    seen: dict[tuple[int, str], list[int]] = {}
    for batch in record.batches:
        for part in batch.streams:
            seen.setdefault((batch.epoch, batch.phase), []).extend(batch[part].index.tolist())
    warmup = [sorted(seen[0, name]) for name in ("first", "second")]
    assert all(data.given_target[rows].bincount().tolist() == [10, 10, 10] for rows in warmup) and warmup[0] != warmup[1]
    later = {key: set(rows) for key, rows in seen.items() if key[0] > 0}
    assert all(len(rows) <= 24 for rows in later.values())
    assert later[1, "first"] != later[2, "first"] and later[1, "first"] != later[1, "second"]


def test_evaluated_subsets_are_drawn_anew_each_epoch(tmp_path: Path) -> None:
    method, drawn = _method(eval_subset=24), []

    class Keep(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            drawn.append([method.memory[f"split_epoch_{name}"] == trainer.current_epoch for name in ("first", "second")])

    make_trainer(tmp_path, 3, (Keep(),)).fit(method, datamodule=_data(num_train=90))
    assert [int(rows.sum()) for pair in drawn for rows in pair] == [0, 0, 24, 24, 24, 24]
    assert not torch.equal(drawn[1][0], drawn[2][0]) and not torch.equal(drawn[1][0], drawn[1][1])


def test_labeled_samples_alone_are_learned(fixed_mixing: None, tmp_path: Path) -> None:
    method = _method(PlainMLP, learn="labeled", lambda_u=0.0, warmup_epochs=0)
    sizes: list[int] = []
    method.networks["first"].register_forward_hook(
        lambda module, inputs, output: sizes.append(len(output)) if output.requires_grad else None
    )
    record = _fit(method, _data(), tmp_path, epochs=1)
    assert sizes == [2 * len(batch["labeled"]) for batch in record.batches if batch.phase == "first"]


def test_one_view_and_three_views_train(tmp_path: Path) -> None:
    for num_views in (1, 3):
        record = _fit(_method(num_views=num_views), _data(), tmp_path, epochs=2)
        assert {len(batch["labeled"].views) for batch in record.batches if batch.epoch == 1} == {num_views}


def test_posteriors_and_mixtures_are_there_after_the_warm_up(tmp_path: Path) -> None:
    found: list[tuple[Any, Any, Any]] = []
    method = _method()

    class Keep(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            found.append((method.clean_mask(), method.clean_prob(), method.mixture_fit()))

    make_trainer(tmp_path, 2, (Keep(),)).fit(method, datamodule=_data())
    assert found[0][:2] == (None, None) and found[0][2] == {}
    mask, prob, fits = found[1]
    assert mask.any() and prob.min() >= 0 and prob.max() <= 1
    assert list(fits) == ["first", "second"] and fits["first"].rows.tolist() == list(range(61))
    assert float(fits["first"].values.max()) == 1


def test_the_score_of_a_sample_is_the_mean_of_both_networks() -> None:
    method = _split_by(torch.tensor([0.2, 0.4]))
    method.memory.write("clean_prob_second", torch.arange(2), torch.tensor([0.6, 1.0]))
    prob, mask = method.clean_prob(), method.clean_mask()
    assert prob is not None and mask is not None
    torch.testing.assert_close(prob, torch.tensor([0.4, 0.7]))
    assert mask.tolist() == [True, True], "the first network learns by the second's split"


def test_samples_of_both_parts_are_observed_in_the_first_pass(tmp_path: Path) -> None:
    method, observed = _method(), []

    class Keep(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            observed.append((method.memory["observed_epoch"] == trainer.current_epoch).nonzero().flatten().tolist())

    record = _Record()
    make_trainer(tmp_path, 2, (record, Keep())).fit(method, datamodule=_data())
    first = [batch for batch in record.batches if batch.phase == "first" and batch.epoch == 1]
    assert observed[1] == sorted({i for batch in first for part in batch.streams for i in batch[part].index.tolist()})
    assert any(i in observed[1] for i in first[0]["unlabeled"].index.tolist())


def test_each_network_has_a_policy_of_its_own_that_knows_accuracies_and_rows(tmp_path: Path) -> None:
    policy = partial(AllOf, policies=[partial(PercentileThreshold, factor=2.0), FreeMatchThreshold, FlexMatchThreshold])
    method = _method(policy=policy)
    _fit(method, _data(val_fraction=0.2), tmp_path, epochs=3)
    first, second = method.policies["first"].policies, method.policies["second"].policies
    assert not torch.equal(first[1].mean_probs, second[1].mean_probs)
    for (accuracy, _, flex), name in ((first, "train/labeled_acc"), (second, "train/labeled_acc_second")):
        assert accuracy["accuracy_train"].item() == pytest.approx(method.epoch_metrics[name], abs=1e-6)
        assert flex["selected"].shape == method.info.train_rows.shape
    shown = method.memory["unlabeled_epoch"] == 2
    used = method.memory["unlabeled_weight"][shown]
    assert 0 < method.epoch_metrics["unlabeled/used"] < 1 and set(used.tolist()) == {0.0, 1.0}
    assert bool((method.memory["unlabeled_pred"][shown] >= 0).all())


def test_the_sum_of_logits_is_evaluated() -> None:
    method, x = _method(PlainMLP), torch.randn(5, 2)
    first, second = (network(x) for network in method.networks.values())
    assert torch.equal(method(x).argmax(1), (first + second).argmax(1))
    torch.testing.assert_close(method.all_logits(x)["ensemble"], (first + second) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.0}, r"threshold must be a fraction in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"alpha": 0.0}, "alpha must be a positive number, got 0.0"),
        ({"alpha": float("inf")}, "alpha must be a positive number, got inf"),
        ({"learn": "some"}, "learn must be 'all' or 'labeled', got 'some'"),
        ({"average_epochs": 2.5}, "average_epochs must be a whole number of at least 1, got 2.5"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive number, or None for no limit, got 0.0"),
        ({"lambda_u": -1.0}, "lambda_u must be a number of 0 or more, got -1.0"),
        ({"rampup_epochs": 0}, "rampup_epochs must be a whole number of at least 1, got 0"),
        ({"num_views": 0}, "num_views must be a whole number of at least 1, got 0"),
        ({"average_epochs": 0}, "average_epochs must be a whole number of at least 1, got 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number of 0 or more, got -1"),
        ({"learn": "labeled"}, "lambda_u must be 0, got 20.0"),
        ({"learn": "labeled", "lambda_u": 0.0, "policy": FixedThreshold}, "policy must be None, got "),
        ({"eval_subset": 2}, "eval_subset must be at least one sample per class, 3, got 2"),
        ({"warmup_subset": 1}, "warmup_subset must be at least one sample per class, 3, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _method(**arguments)


def test_policies_go_on_from_the_middle_of_an_epoch(tmp_path: Path) -> None:
    policy = partial(AllOf, policies=[FreeMatchThreshold, partial(FlexMatchThreshold, threshold=0.6)])
    saver = SaveEveryBatch(tmp_path)
    whole = fit(_method(DropoutMLP, policy=policy), _data(), tmp_path / "whole", 3, callbacks=(saver,))
    again = fit(_method(DropoutMLP, policy=policy), _data(), tmp_path / "again", 3, resume=saver.files[-3])
    assert_same(again["networks"], whole["networks"])
    assert_same(again["memory"], whole["memory"])
