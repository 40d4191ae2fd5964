from __future__ import annotations

import copy
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import ToyData, make_trainer
from helpers.toy import BatchNormMLP, PlainMLP
from torch import Tensor, nn

from noisylab.losses import sharp_guess
from noisylab.methods import MixMatch, mixmatch
from noisylab.models import Network
from noisylab.selection import FixedThreshold, NoThreshold, PercentileThreshold
from noisylab.selection.thresholds import Guesses, Weighted
from noisylab.types import Batch, DataInfo, PlanBatch

_LAM = 0.3
_ADAM = partial(torch.optim.Adam, lr=0.01)


def _method(network: Any = BatchNormMLP, **kwargs: Any) -> MixMatch:
    torch.manual_seed(3)
    return MixMatch(3, network, **{"lambda_u": 20.0, "rampup_steps": 6, "optimizer": _ADAM, "ema_decay": 0.9, **kwargs})


class _Record(L.Callback):
    """Every batch, and the state of the network and its average after its step."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.after: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MixMatch)
        average = pl_module.average("network").network
        self.after.append({k: v.clone() for k, v in (*_named(pl_module.network), *_named(average, "average."))})


def _named(network: Any, prefix: str = "") -> list[tuple[str, Tensor]]:
    return [(prefix + name, value) for name, value in network.state_dict().items()]


def _fit(method: MixMatch, folder: Path, epochs: int = 2, data: Any = None, **kwargs: Any) -> _Record:
    record = _Record()
    data = data or ToyData(num_train=45, spread=1.5)
    make_trainer(folder, epochs, (record,), **{"precision": "64-true", **kwargs}).fit(method, datamodule=data)
    return record


# ---- an independent slow reference, row by row


def _sharp(p: list[float], temperature: Any) -> list[float]:
    if temperature == "hard":
        return [float(c == p.index(max(p))) for c in range(len(p))]
    if temperature is None:
        return p
    powers = [value ** (1 / temperature) for value in p]
    return [value / sum(powers) for value in powers]


def _swapped(rows: list[Any], size: int) -> list[Any]:
    """The authors' interleaving; what is left over stays."""
    rows, chunks = list(rows), len(rows) // size
    sizes = [size // chunks] * chunks
    for place in range(size - sum(sizes)):
        sizes[-place - 1] += 1
    for chunk in range(1, chunks):
        start = sum(sizes[:chunk])
        for row in range(start, start + sizes[chunk]):
            rows[row], rows[chunk * size + row] = rows[chunk * size + row], rows[row]
    return rows


class _Reference:
    """The algorithm, given the batches; the permutation is all rows in reverse order, lam is 0.7."""

    def __init__(self, method: MixMatch, **given: Any) -> None:
        self.net = copy.deepcopy(method.network).double()
        self.average = copy.deepcopy(self.net)
        self.opt = _ADAM(self.net.parameters())
        self.lambda_u, self.ramp, self.temperature, self.threshold = 20.0, 6, 0.5, 0.0
        self.criterion, self.mask_on, self.passes, self.decay = "mse", "before", "interleaved", 4e-5
        self.mixed: str | None = None
        self.kept: dict[str, Tensor] = {}
        self.switch: int | None = None
        self.consistency, self.normalizer, self.views = 0.0, "batch", 2
        for name, value in given.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def step(self, batch: PlanBatch) -> None:
        self.net.train()
        self.opt.zero_grad()
        self._loss(batch).backward()  # type: ignore[no-untyped-call]
        self.opt.step()
        self.net.load_state_dict(self.kept, strict=False)
        with torch.no_grad():
            for mine, other in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                mine.copy_(0.9 * mine + 0.1 * other if mine.is_floating_point() else other)
                if other.is_floating_point():
                    other.mul_(1 - self.decay)

    def _loss(self, batch: PlanBatch) -> Tensor:
        x, u = batch["labeled"], batch["unlabeled"]
        with torch.no_grad():
            probs = [self.net(view).softmax(1) for view in u.views[: self.views]]
        rows: list[Any] = list(x.views[0])
        targets = [[float(c == int(y)) for c in range(3)] for y in x.target]
        passed = [True] * len(x)
        for view in u.views[-self.views :]:
            for i in range(len(u)):
                p = [float(sum(q[i, c] for q in probs)) / self.views for c in range(3)]
                rows.append(view[i])  # type: ignore[index]
                targets.append(_sharp(p, self.temperature))
                passed.append(max(p) >= self.threshold)
        if self.mask_on == "before":
            partner = {}
            for side in (True, False):
                places = [i for i, ok in enumerate(passed) if ok == side]
                partner |= dict(zip(places, reversed(places), strict=True))
        else:
            partner = {i: len(rows) - 1 - i for i in range(len(rows))}
        lam = 1 - _LAM
        mixed = [lam * rows[i] + (1 - lam) * rows[partner[i]] for i in range(len(rows))]
        logits = self._forward(mixed, len(x), len(u))
        ramp = min((batch.epoch * batch.steps + batch.step) / self.ramp, 1)
        switched = self.switch is not None and batch.epoch >= self.switch
        kept, every, weights, labeled = [], [], 0.0, []
        for i, z in enumerate(logits):
            own, other = targets[i], targets[partner[i]]
            mask_own, mask_other = (passed[i], passed[partner[i]]) if self.mask_on == "components" else (True, True)
            target = [mask_own * lam * a + mask_other * (1 - lam) * b for a, b in zip(own, other, strict=True)]
            ce = -sum(t * z.log_softmax(0)[c] for c, t in enumerate(target))
            mse = sum((z.softmax(0)[c] - t) ** 2 for c, t in enumerate(target)) / 3
            if i < len(x):
                labeled.append(ce)
                continue
            loss = ce if switched or self.criterion == "ce" else mse
            weight = float(passed[i] or self.mask_on == "components")
            kept.append(weight * loss)
            every.append(loss)
            weights += weight
        size = len(every) if self.normalizer == "batch" else max(weights, 1e-300)
        masked, whole = sum(kept) / size, sum(every) / len(every)
        factor = 1.0 if switched else self.lambda_u
        if self.mixed == "literal":
            part = factor * masked + factor * ramp * whole
        elif self.mixed == "convex":
            part = factor * ((1 - ramp) * masked + ramp * whole)
        else:
            part = factor * ramp * masked
        loss = sum(labeled) / len(labeled) + part
        if self.consistency:
            first, second = self.net(torch.cat(u.views[:2])).softmax(1).split(len(u))  # type: ignore[arg-type]
            apart = [((first[i] - second[i]) ** 2).mean() for i in range(len(u)) if not passed[len(x) + i]]
            loss = loss + self.consistency * ramp * sum(apart) / len(u)
        assert isinstance(loss, Tensor)
        return loss

    def _forward(self, rows: list[Tensor], labeled: int, unlabeled: int) -> list[Tensor]:
        if self.passes == "joint":
            return list(self.net(torch.stack(rows)))
        if self.passes == "interleaved":
            chunks = len(rows) // labeled
            bounds = [labeled * c for c in range(chunks)] + [len(rows)]
            swapped = _swapped(rows, labeled)
            found = [z for a, b in pairwise(bounds) for z in self.net(torch.stack(swapped[a:b]))]
            return _swapped(found, labeled)
        found = list(self.net(torch.stack(rows[:labeled])))
        buffers = {name: value.clone() for name, value in self.net.named_buffers()}
        for start in range(labeled, len(rows), unlabeled):
            found += list(self.net(torch.stack(rows[start : start + unlabeled])))
        if self.passes == "labeled":  # once gradients are taken
            self.kept = buffers
        return found


@pytest.fixture
def fixed_mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.randperm
    monkeypatch.setattr(mixmatch, "mix_weight", lambda alpha: _LAM)

    def reverse(n: int, *, generator: Any = None, device: Any = None) -> Tensor:
        return torch.arange(n, device=device).flip(0) if generator is None else real(n, generator=generator)

    monkeypatch.setattr(torch, "randperm", reverse)


_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "reference": ({}, {}),
    "filtered before mixing": (
        {"threshold": 0.5, "criterion": "ce", "passes": "joint", "temperature": None, "normalizer": "selected"},
        {"ratio": 2.5},
    ),
    "mixed by the larger component": (
        {"threshold": 0.6, "mask_on": "dominant", "mixed": "literal", "temperature": "hard"},
        {"ratio": 0.75},
    ),
    "mixed, convex": ({"threshold": 0.6, "mixed": "convex", "decay": 0.0}, {"ratio": 1.6, "state_decay": 0.0}),
    "components": ({"threshold": 0.5, "criterion": "ce", "mask_on": "components", "passes": "labeled"}, {}),
    "consistency, then cross-entropy": (
        {"threshold": 0.5, "consistency": 30.0, "switch": 1, "passes": "separate"},
        {"below": "consistency", "consistency_weight": 30.0},
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_training_follows_the_algorithm(case: str, fixed_mixing: None, tmp_path: Path) -> None:
    both, own = _CASES[case]
    names = {"threshold": None, "consistency": None, "switch": "switch_epoch", "decay": None}
    given = {names.get(name, name): value for name, value in both.items()}
    if "threshold" in both:
        given["policy"] = partial(FixedThreshold, threshold=both["threshold"])
    method = _method(**{name: value for name, value in given.items() if name}, **own)
    reference = _Reference(method, **both)
    record = _fit(method, tmp_path)
    assert {batch.epoch for batch in record.batches} == {0, 1}
    weights = method.memory["unlabeled_weight"][method.memory["unlabeled_epoch"] >= 0]
    assert "threshold" not in both or 0 < int(weights.sum()) < len(weights), "some rows pass and some do not"
    for number, batch in enumerate(record.batches):
        reference.step(batch)
        for key, value in (*_named(reference.net), *_named(reference.average, "average.")):
            torch.testing.assert_close(record.after[number][key], value, rtol=1e-6, atol=1e-6, msg=f"{number} {key}")


# ---- options


def _ready(method: MixMatch, rows: int = 12) -> MixMatch:
    """A method that can take parts of a step without a Trainer: half of the rows are unlabeled."""
    half = torch.arange(rows) < rows // 2
    given = torch.where(half, torch.arange(rows) % 3, -1)
    method.info = DataInfo(
        3, rows, half.nonzero().flatten(), given, ("a", "b", "c"), 4, 0, unlabeled_rows=(~half).nonzero().flatten()
    )
    method.memory.allocate(rows)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=0, global_rank=0)  # type: ignore[assignment]
    method._fabric = None
    method._num_unlabeled = rows // 2
    method.policy.allocate(rows // 2)
    return method


def _batch(method: MixMatch, rows: int, unlabeled: int, shape: tuple[int, ...] = (2,), step: int = 0) -> PlanBatch:
    """A batch of random views: `rows` labeled and `unlabeled` unlabeled ones."""
    known, unknown = method.info.train_rows[:rows], method.info.unlabeled_rows[:unlabeled]
    views = {
        name: tuple(torch.randn(len(index), *shape) for _ in wanted)
        for name, index, wanted in (("x", known, method.labeled_views), ("u", unknown, method.unlabeled_views))
    }
    streams = {
        "labeled": Batch(views["x"], method.info.given_target[known], known),
        "unlabeled": Batch(views["u"], torch.full_like(unknown, -1), unknown),
    }
    return PlanBatch("train", streams, 0, step, False, False, step=step, steps=10)


def _mixed(method: MixMatch, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Tensor, Tensor]]:
    """What goes into each mixing: inputs, targets, weights."""
    seen: list[tuple[Any, Tensor, Tensor]] = []
    real = method._mix

    def spy(inputs: Any, target: Tensor, weights: Tensor) -> Any:
        seen.append((inputs, target, weights))
        return real(inputs, target, weights)

    monkeypatch.setattr(method, "_mix", spy)
    return seen


def test_a_step_is_filled_up_with_the_first_rows_that_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    method = _ready(_method(PlainMLP, policy=partial(FixedThreshold, threshold=0.4), ensure_ratio=True, num_views=1), 44)
    assert method.epoch_plan(0).phases[0].streams["unlabeled"].batch_size == 4 * 5
    seen = _mixed(method, monkeypatch)
    batch = _batch(method, 4, 20)
    batch["unlabeled"].views[0].mul_(3)  # type: ignore[union-attr]
    method.objective(batch)
    probs = method.network(batch["unlabeled"].views[0]).softmax(1).amax(1)
    passing = [i for i in range(20) if float(probs[i].detach()) >= 0.4]
    assert 4 < len(passing) < 20
    inputs, _, weights = seen[0]
    assert torch.equal(inputs[4:], batch["unlabeled"].views[0][passing[:4]])  # type: ignore[index]
    assert weights.tolist() == [1.0] * 8
    strict = _ready(_method(PlainMLP, policy=partial(FixedThreshold, threshold=1.0), ensure_ratio=True, num_views=1), 44)
    seen = _mixed(strict, monkeypatch)
    strict.objective(batch)
    assert torch.equal(seen[0][0][4:], batch["unlabeled"].views[0][:4])  # type: ignore[index]
    assert seen[0][2].tolist() == [1.0] * 4 + [0.0] * 4, "what was found, here nothing"


def test_an_unlabeled_loss_above_its_recent_mean_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixmatch, "_RECENT", 3)
    method = _ready(_method(PlainMLP, skip_above_mean=True, lambda_u=2.0, rampup_steps=0, criterion="ce"))
    batch, target, history = _batch(method, 4, 4), torch.tensor([[1.0, 0, 0]]), []
    for size in (1.0, 3.0, 2.0, 2.5, 1.5, 4.0, 0.5, 2.5):
        logits = torch.tensor([[-size, 0.0, 0.0]], requires_grad=True)
        own = 2 * float(-logits.detach().log_softmax(1)[0, 0])
        found = method._unlabeled(batch, logits, target, torch.ones(1))
        left_out = len(history) >= 3 and own > sum(history[-3:]) / 3
        assert float(found.detach()) == pytest.approx(0 if left_out else own)
        found.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None and bool((logits.grad == 0).all()) == left_out
        history.append(own)
    assert method.recent is not None and method.recent.full
    method.prepare_epoch(0)
    assert not method.recent.full


def _asked(method: MixMatch, monkeypatch: pytest.MonkeyPatch) -> list[Guesses]:
    """What the policy is shown."""
    seen: list[Guesses] = []

    def weigh(found: Guesses) -> Weighted:
        seen.append(found)
        return NoThreshold(3).weigh(found)

    monkeypatch.setattr(method.policy, "weigh", weigh)
    monkeypatch.setattr(type(method.policy), "needs_logits", True)
    return seen


def test_a_policy_sees_the_averaged_or_the_sharpened_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, targets = {}, {}
    for source in ("averaged", "sharpened"):
        method = _ready(_method(PlainMLP, conf_source=source))
        seen = _mixed(method, monkeypatch)
        asked[source] = _asked(method, monkeypatch)
        torch.manual_seed(0)
        method.objective(_batch(method, 4, 5))
        targets[source] = seen[0][1]
    (averaged,), (sharpened,) = asked["averaged"], asked["sharpened"]
    assert torch.equal(sharp_guess(averaged.probs, 0.5), sharpened.probs)
    assert sharpened.logits is not None
    torch.testing.assert_close(sharpened.logits.softmax(1), sharpened.probs)
    torch.testing.assert_close(targets["averaged"], targets["sharpened"])


def test_anchoring_guesses_on_weak_views_and_learns_strong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    method = _ready(_method(PlainMLP, learn_view="strong"))
    assert method.epoch_plan(0).phases[0].streams["unlabeled"].views == ("weak", "weak", "strong", "strong")
    seen, batch = _mixed(method, monkeypatch), _batch(method, 4, 5)
    method.objective(batch)
    weak, learned = batch["unlabeled"].views[:2], batch["unlabeled"].views[2:]
    assert torch.equal(seen[0][0][4:], torch.cat(learned))  # type: ignore[arg-type]
    guess = sharp_guess(torch.stack([method.network(view).softmax(1) for view in weak]).mean(0).detach(), 0.5)
    torch.testing.assert_close(seen[0][1][4:], torch.cat([guess, guess]))


def test_without_a_row_that_passes_only_labels_are_learned(tmp_path: Path) -> None:
    strict = partial(FixedThreshold, threshold=1.0)
    for given in ({}, {"normalizer": "selected"}, {"criterion": "ce", "mask_on": "dominant"}):
        method = _ready(_method(PlainMLP, policy=strict, rampup_steps=0, **given))
        loss = method.objective(_batch(method, 4, 5))
        loss.backward()  # type: ignore[no-untyped-call]
        means = method.means.compute()
        assert means["unlabeled/loss"] == 0 == means["unlabeled/used"]
        assert float(loss.detach()) == pytest.approx(means["train/labeled_loss"])
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in method.network.parameters())


def test_rows_that_are_left_out_are_nobodys_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    method = _ready(_method(PlainMLP, policy=partial(FixedThreshold, threshold=0.9)))
    weights = torch.tensor([1.0, 0, 0, 1, 1, 0, 1])
    poisoned = torch.where(weights > 0, 1.0, torch.nan)[:, None].expand(7, 2)
    inputs, target, left = method._mix(poisoned, poisoned, weights)
    for values in (inputs, target):
        assert isinstance(values, Tensor) and torch.equal(values.isfinite().all(1), weights > 0)
    assert torch.equal(left, weights)
    images = poisoned[:, :1, None, None].expand(7, 1, 4, 4)
    pasted = _ready(_method(PlainMLP, mixup_alpha=0.0, cutmix_alpha=0.75))._mix(images, poisoned, weights)[0]
    assert isinstance(pasted, Tensor) and torch.equal(pasted.isfinite().flatten(1).all(1), weights > 0)


@pytest.mark.parametrize(("how", "passes"), [("update", 5), ("keep", 3), ("eval", 3)])
def test_guesses_move_the_batch_statistics_or_not(how: Any, passes: int) -> None:
    method = _ready(_method(BatchNormMLP, guess_bn=how))
    method.objective(_batch(method, 4, 4))
    counted = [value for name, value in method.network.named_buffers() if name.endswith("num_batches_tracked")]
    assert [int(value) for value in counted] == [passes]
    assert method.network.training


def test_accuracy_on_mixed_rows_costs_no_pass_and_observes_nothing(tmp_path: Path) -> None:
    method = _method(accuracy_on="mixed", policy=PercentileThreshold)
    make_trainer(tmp_path, 3).fit(method, datamodule=ToyData(num_train=45))
    assert bool((method.memory["observed_epoch"] == -1).all())
    assert float(method.policy["accuracy_train"]) > 0.3
    seen = int(method.accuracy["seen"])
    assert seen == 0, "counted anew in each epoch"


class Pictures(Network):
    """Batch statistics, a linear layer, for images of 4 x 4."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.body = nn.Sequential(nn.Conv2d(1, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Flatten())
        self.head = nn.Linear(20, num_classes)

    def forward(self, inputs: Any) -> Tensor:
        return self.head(self.body(inputs))


@pytest.mark.parametrize("passes", ["interleaved", "joint"])
def test_a_rotated_copy_of_each_unlabeled_image_teaches_a_head_of_its_own(passes: Any) -> None:
    losses = {}
    for weight in (0.5, 10.0):
        method = _ready(_method(Pictures, rotation_weight=weight, passes=passes, rampup_steps=0))
        torch.manual_seed(1)
        loss = method.objective(_batch(method, 4, 5, (1, 4, 4)))
        loss.backward()  # type: ignore[no-untyped-call]
        found = method.means.compute()
        losses[weight] = found["train/rotation_loss"]
        rest = found["train/labeled_loss"] + found["unlabeled/weighted_loss"]
        assert float(loss.detach()) == pytest.approx(rest + weight * losses[weight], rel=1e-6)
        assert method.rotation_head is not None and method.rotation_head.weight.grad is not None
    assert losses[0.5] == losses[10.0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be one of a positive number, 'hard'|temperature must be .*got 0.0"),
        ({"cutmix_alpha": 1.0}, "choose one, set the other to 0"),
        ({"mask_on": "components"}, "set criterion to ce"),
        ({"mask_on": "components", "criterion": "ce", "switch_epoch": 1}, "switch_epoch to null"),
        ({"mask_on": "components", "criterion": "ce", "mixed": "convex"}, "set mask_on to before or dominant"),
        ({"conf_source": "sharpened", "temperature": "hard"}, "set conf_source to averaged"),
        ({"below": "consistency", "num_views": 1}, "set num_views to at least 2, got 1"),
        ({"state_decay": 1.0}, r"state_decay must be a fraction in \[0, 1\), got 1.0"),
        ({"rampup_steps": -1}, "rampup_steps must be a whole number of 0 or more, got -1"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _method(**arguments)
