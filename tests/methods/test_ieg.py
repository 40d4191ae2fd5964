from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor, nn
from torch.func import functional_call

import noisylab.meta.forms
from noisylab.callbacks import Curves
from noisylab.engine.plan_loader import PlanLoader, ResolvedPlan
from noisylab.meta import SGDState, derivative, gradient, label_gradients, look_ahead, sgd_state, weight_gradients
from noisylab.methods import IEG, metagradients
from noisylab.noise import Symmetric
from noisylab.noise.base import NoisyTargets
from noisylab.transforms.draws import key_from
from noisylab.types import PlanBatch, StreamRows

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
_PARTS = ("l", "u", "kl", "w", "eps", "prior")
TIGHT: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7}
"""Labels, hence targets and weights, have 32 bits also where the networks have 64."""


# ---- the algorithm written apart: sample by sample, the meta step differentiated twice


def key_draws(batch: PlanBatch, seed: int) -> None:
    """Start the random draws of a training step."""
    torch.manual_seed(key_from(seed, "step", batch.epoch, batch.position, 0))


def cross(target: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of one sample, both (K,)."""
    return -sum((target[k] * (logits[k] - logits.logsumexp(0)) for k in range(len(target))), torch.zeros(()))


def mean(values: Sequence[Tensor]) -> Tensor:
    return sum(values, torch.zeros(())) / len(values)


def sharp(p: Tensor, temperature: float) -> Tensor:
    powers = p ** (1 / temperature)
    return powers / powers.sum()


def block(z: Tensor) -> Tensor:
    """A block of logits over the root of its mean square."""
    return z / (sum(value**2 for row in z for value in row) / z.numel() + 1e-8) ** 0.5


class Plain:
    """One network of IEG.

    Args:
        network: where it starts.
        **options: arguments of `IEG` that differ from its defaults.
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        self.network = copy.deepcopy(network).double().train()
        self.average = copy.deepcopy(self.network)
        self.velocity = {name: torch.zeros_like(p) for name, p in self.network.named_parameters()}
        self.o: dict[str, Any] = {
            "consistency": "kl",
            "factor": 20.0,
            "fake_share": 0.95,
            "temperature": 0.5,
            "beta": 0.5,
            "ce_factor": 5.0,
            "meta_rate": 0.1,
            "meta_momentum": 0.9,
            "initial_trust": 0.9,
            "meta_point": "lookahead",
            "threshold": 1.1,
            "rule": "hard_weights",
            "draw_trusted": True,
            "weight_norm": "batch",
            "ema_decay": 0.999,
            "dtype": torch.float64,
            **options,
        }
        self.taken = 0
        self.scores: list[dict[int, float]] = []

    def aside(self, x: Tensor, at: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits by statistics of the batch, which are forgotten."""
        kept = {name: value.clone() for name, value in self.network.named_buffers()}
        answer = functional_call(self.network, {**kept, **(at or {})}, (x,))
        assert isinstance(answer, Tensor)
        return answer

    def see(self, views: Sequence[Tensor]) -> list[Tensor]:
        return [self.network(views[0]), *(self.aside(view) for view in views[1:])]

    def pseudo(self, logits: Sequence[Tensor]) -> Tensor:
        parts = [block(z.detach()) for z in logits]
        guesses = [sharp(mean([z[i].softmax(0) for z in parts]), self.o["temperature"]) for i in range(len(parts[0]))]
        return torch.stack(guesses)

    def meta(self, x: Tensor, y: Tensor, g: Tensor, xt: Tensor, yt: Tensor) -> tuple[Tensor, Tensor]:
        """-dV/da, clipped but not normalized, and lambda, by derivatives of derivatives."""
        theta = {name: p.detach().clone().requires_grad_() for name, p in self.network.named_parameters()}
        rate, count = self.o["meta_rate"], len(x)
        a = torch.full((count,), 1 / count, requires_grad=True)
        eps = torch.full((count,), self.o["initial_trust"], requires_grad=True)
        z = self.aside(x, theta)
        losses = [cross(eps[n] * y[n] + (1 - eps[n]) * g[n], z[n]) for n in range(count)]
        j = sum((a[n] * losses[n] for n in range(count)), torch.zeros(())) + self._decay(theta)
        slopes = torch.autograd.grad(j, list(theta.values()), create_graph=True)
        moved = {
            name: value - rate * (self.o["meta_momentum"] * self.velocity[name] + slope)
            for (name, value), slope in zip(theta.items(), slopes, strict=True)
        }
        if self.o["meta_point"] == "current":  # to first order in a small step
            moved = {name: theta[name].detach() + (value - value.detach()) for name, value in moved.items()}
        zt = self.aside(xt, moved)
        v = mean([cross(yt[m], zt[m]) for m in range(len(xt))]) + self._decay(moved)
        da, deps = torch.autograd.grad(v, [a, eps])
        return (-da).clamp(min=0), deps < 0

    @staticmethod
    def _decay(parameters: Mapping[str, Tensor]) -> Tensor:
        return sum((5e-4 / 2 * (value**2).sum() for value in parameters.values()), torch.zeros(()))

    def weigh(self, index: Tensor, scores: Tensor, epoch: int) -> Tensor:
        while len(self.scores) <= epoch:
            self.scores.append({})
        self.scores[epoch] |= dict(zip(index.tolist(), scores.tolist(), strict=True))
        if self.o["weight_norm"] == "epoch" and epoch > 0:
            before = self.scores[epoch - 1]
            average = sum(before.values()) / len(before)
            return torch.tensor([before[i] / average / len(index) for i in index.tolist()])
        return scores / (scores.sum() + 1e-5)

    def split(self, w: Tensor) -> list[int]:
        """The places of samples that are trained on with pseudo labels."""
        values, bound = w.tolist(), self.o["threshold"]
        if self.o["rule"] == "quantile" and bound < 1:
            ordered, place = sorted(values), bound * (len(values) - 1)
            low = math.floor(place)
            bound = ordered[low] + (place - low) * (ordered[min(low + 1, len(values) - 1)] - ordered[low])
        else:
            low_value, high = min(values), max(values)
            values = [(value - low_value) / (high - low_value) if high > low_value else 0.0 for value in values]
        return [i for i, value in enumerate(values) if value < bound] or [i for i, value in enumerate(values) if value <= bound]

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, dtype=self.o["dtype"]).double()

    def _shares(self, count: int) -> list[float]:
        halves = [u ** (1 / self.o["beta"]) / 2 for u in self._uniform(count).tolist()]
        return [max(half, 1 - half) for half in halves]

    def mixed(
        self, views: Sequence[Tensor], g: Tensor, y: Tensor, wrong: Sequence[int], xt: Tensor, yt: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L_p, and L_u times its factor."""
        right = [i for i in range(len(y)) if i not in wrong]
        probes = [*zip(xt, yt, strict=True), *((views[0][i], y[i]) for i in right)]
        if self.o["draw_trusted"]:
            probes = [probes[i] for i in torch.randint(len(probes), (len(wrong),)).tolist()]
        rows = [*probes, *((view[i], g[i]) for view in views for i in wrong)]
        partners = torch.randperm(len(rows)).tolist()
        shares = self._shares(len(rows))
        inputs, targets = [], []
        for (x, t), partner, lam in zip(rows, partners, shares, strict=True):
            inputs.append(lam * x + (1 - lam) * rows[partner][0])
            targets.append(lam * t + (1 - lam) * rows[partner][1])
        z, start, losses = self.aside(torch.stack(inputs)), 0, []
        for size in [len(probes), *[len(wrong)] * len(views)]:
            normal = block(z[start : start + size])
            losses.append([cross(targets[start + n], normal[n]) for n in range(size)])
            start += size
        factor = self.o["ce_factor"]
        if factor == "dynamic":
            factor = len(wrong) * len(views) / len(probes)
        return mean(losses[0]), factor * mean([loss for part in losses[1:] for loss in part])

    def consistent(self, x: Tensor, logits: Sequence[Tensor]) -> Tensor:
        """The consistency term times its factor."""
        if self.o["consistency"] == "none":
            return torch.zeros(())
        p, other = logits[0].detach().softmax(1), logits[-1]
        if self.o["consistency"] == "ict":
            partners, shares = torch.randperm(len(x)).tolist(), self._shares(len(x))
            pairs = list(zip(range(len(x)), partners, shares, strict=True))
            p = torch.stack([lam * p[i] + (1 - lam) * p[j] for i, j, lam in pairs])
            other = self.aside(torch.stack([lam * x[i] + (1 - lam) * x[j] for i, j, lam in pairs]))
        divergences = [(p[i] * (p[i].log() - other[i].log_softmax(0))).sum() for i in range(len(x))]
        return self.o["factor"] * mean(divergences)

    def parts(
        self,
        views: Sequence[Tensor],
        logits: Sequence[Tensor],
        g: Tensor,
        y: Tensor,
        w: Tensor,
        given: Tensor,
        wrong: Sequence[int],
        xt: Tensor,
        yt: Tensor,
    ) -> dict[str, Tensor]:
        """The terms of the objective, and the objective."""
        z, trust = logits[0], self.o["initial_trust"]
        trusted_part, guessed_part = self.mixed(views, g, y, wrong, xt, yt)
        found = {
            "l": trusted_part,
            "u": guessed_part,
            "w": sum((w[n] * cross(trust * y[n] + (1 - trust) * g[n], z[n]) for n in range(len(y))), torch.zeros(())),
            "eps": mean([cross(y[n] if bool(given[n]) else g[n], z[n]) for n in range(len(y))]),
            "kl": self.consistent(views[0], logits),
        }
        return {**found, "loss": (found["w"] + found["eps"]) / 2 + found["l"] + found["u"] + found["kl"]}

    def update(self, loss: Tensor, rate: float = 0.05, momentum: float = 0.9, decay: float = 5e-4) -> None:
        """A step of gradient descent with momentum, then of the average."""
        grads = torch.autograd.grad(loss, list(self.network.parameters()))
        share = min(self.o["ema_decay"], (1 + self.taken) / (10 + self.taken))
        self.taken += 1
        with torch.no_grad():
            for (name, p), g in zip(self.network.named_parameters(), grads, strict=True):
                self.velocity[name] = momentum * self.velocity[name] + g + decay * p
                p.sub_(rate * self.velocity[name])
            for m, p in zip(self.average.parameters(), self.network.parameters(), strict=True):
                m.copy_(share * m + (1 - share) * p)
            for kept, b in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(b)

    def fake(self, x: Tensor) -> Tensor:
        """A batch mixed twice, a little each time."""
        for _ in range(2):
            order = torch.randperm(len(x)).tolist()
            x = torch.stack([self.o["fake_share"] * x[i] + (1 - self.o["fake_share"]) * x[j] for i, j in enumerate(order)])
        return x

    def views(self, batch: PlanBatch) -> list[Tensor]:
        views = [view.double() for view in batch["train"].views if isinstance(view, Tensor)]
        return [views[0], self.fake(views[0])] if self.o["consistency"] == "fake" else views

    def train(self, batch: PlanBatch, seed: int) -> dict[str, Any]:
        """A step of IEG, and what can be seen of it."""
        key_draws(batch, seed)
        views, y = self.views(batch), one_hot(batch["train"].target)
        xt, yt = trusted(batch, "trusted")
        logits = self.see(views)
        g = self.pseudo(logits)
        scores, given = self.meta(views[0], y, g, xt, yt)
        w = self.weigh(batch["train"].index, scores, batch.epoch)
        found = self.parts(views, logits, g, y, w, given, self.split(w), xt, yt)
        self.update(found["loss"])
        return {"weights": w, "given": given, "pseudo": g.argmax(1), "scores": scores, **found}


def one_hot(target: Tensor, classes: int = 3) -> Tensor:
    return torch.eye(classes)[target]


def trusted(batch: PlanBatch, stream: str) -> tuple[Tensor, Tensor]:
    """Inputs and one-hot labels of a trusted batch."""
    view = batch[stream].views[0]
    assert isinstance(view, Tensor)
    return view.double(), one_hot(batch[stream].target)


class Record(Curves):
    """Every batch, state and averages of all networks after its step, and what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[PlanBatch] = []
        self.after: list[dict[str, dict[str, Tensor]]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        assert isinstance(pl_module, IEG)
        both = {**pl_module.networks, **{f"{name}_average": pl_module.average(name).network for name in pl_module.averages}}
        self.after.append({name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in both.items()})

    def means(self, epoch: int) -> dict[str, float]:
        """What is logged of an epoch."""
        return {name: value for e, _, name, value in self.rows if e == epoch}


def assert_follows(network: nn.Module, state: Mapping[str, Tensor], tolerance: Mapping[str, Any], where: str) -> None:
    """The reference and the state that was recorded are equal."""
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            state[name].double(), value.double(), **tolerance, msg=partial("{}, {}: {}".format, where, name)
        )


def assert_logged(means: Mapping[str, float], steps: list[tuple[int, dict[str, Any]]], suffix: str, tolerance: float) -> None:
    """The logged means of an epoch are those of (samples, terms) of its steps; the terms make up the loss."""
    rows = sum(size for size, _ in steps)
    for part in ("l", "u", "w", "eps", "kl", "loss"):
        expected = sum(size * float(found[part].detach()) for size, found in steps) / rows
        assert means[f"train/{'loss' if part == 'loss' else part + '_loss'}{suffix}"] == pytest.approx(
            expected, rel=tolerance, abs=1e-6
        ), part
    weights = sum(size * float(found["weights"].sum()) for size, found in steps) / rows
    assert means[f"train/weight_sum{suffix}"] == pytest.approx(weights, rel=1e-4)
    logged = {part: means.get(f"train/{part}{suffix}", 0.0) for part in ("loss", *(f"{p}_loss" for p in _PARTS))}
    rest = sum(logged[f"{part}_loss"] for part in ("l", "u", "kl", "prior"))
    assert 2 * (logged["loss"] - rest) == pytest.approx(logged["w_loss"] + logged["eps_loss"], rel=1e-4, abs=1e-5)


@pytest.fixture
def in_double() -> Any:
    """Tensors that a reference makes have 64 bits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def toy(**kwargs: Any) -> ToyData:
    return ToyData(**{"num_train": 25, "noise": Symmetric(0.4), "spread": 1.5, "trusted_per_class": 3, **kwargs})


def make(network: Any = BatchNormMLP, **kwargs: Any) -> IEG:
    torch.manual_seed(3)
    return IEG(3, network, **{"optimizer": SGD, **kwargs})


def train(method: IEG, folder: Path, data: ToyData | None = None, epochs: int = 2, **kwargs: Any) -> Record:
    record = Record()
    make_trainer(folder, epochs, (record,), **{"precision": "64-true", **kwargs}).fit(method, datamodule=data or toy())
    return record


# ---- a run equals the algorithm written apart

FEATURES = {"second_view": None, "consistency": "none"}
RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "views": (BatchNormMLP, {}),
    "views-plain": (PlainMLP, {"consistency_factor": 3.0, "temperature": 0.7, "beta": 0.8, "initial_trust": 0.6}),
    "features": (BatchNormMLP, FEATURES),
    "fake": (BatchNormMLP, {"second_view": None, "consistency": "fake", "fake_share": 0.8}),
    "ict": (BatchNormMLP, {"second_view": None, "consistency": "ict"}),
    "views-ict": (PlainMLP, {"consistency": "ict"}),
    "hard-split": (BatchNormMLP, {"threshold": 0.2}),
    "quantile-split": (BatchNormMLP, {**FEATURES, "threshold": 0.7, "rule": "quantile"}),
    "lowest-only": (PlainMLP, {**FEATURES, "threshold": 0.0}),
    "dynamic": (PlainMLP, {"threshold": 0.4, "ce_factor": "dynamic", "draw_trusted": False, "meta_batch_size": 5}),
    "at-theta": (BatchNormMLP, {"meta_point": "current", "meta_rate": 0.02}),
    "by-epoch": (BatchNormMLP, {"weight_norm": "epoch", "meta_momentum": 0.0, "ema_decay": 0.15}),
}


def _reference(name: str) -> dict[str, Any]:
    options = dict(RUNS[name][1])
    options.pop("second_view", None)
    options.pop("meta_batch_size", None)
    if "consistency_factor" in options:
        options["factor"] = options.pop("consistency_factor")
    return options


@pytest.mark.parametrize("name", RUNS)
def test_a_run_equals_the_algorithm_written_apart(name: str, tmp_path: Path, in_double: None) -> None:
    network, options = RUNS[name]
    torch.set_default_dtype(torch.float32)
    single = "ict" in name
    method = make(network, **options)
    plain = Plain(method.networks["main"], **_reference(name), dtype=torch.float32 if single else torch.float64)
    record = train(method, tmp_path, precision="32-true" if single else "64-true")
    torch.set_default_dtype(torch.float64)
    tolerance: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5} if single else TIGHT
    assert len(record.batches) == 4 and len(record.batches[1]["train"]) == 8
    seen: list[dict[str, Any]] = []
    for step, batch in enumerate(record.batches):
        seen.append(plain.train(batch, method.info.seed))
        for which, reference in (("main", plain.network), ("main_average", plain.average)):
            assert_follows(reference, record.after[step][which], tolerance, f"{which} after step {step}")
    raw = method.wrapped_optimizers()["main"].optimizer
    for key, p in method.networks["main"].named_parameters():
        torch.testing.assert_close(raw.state[p]["momentum_buffer"].double(), plain.velocity[key], **tolerance)
    for batch, found in zip(record.batches[2:], seen[2:], strict=True):
        index = batch["train"].index
        torch.testing.assert_close(method.memory["weight_main"][index].double(), found["weights"], **{**tolerance, "atol": 1e-6})
        assert torch.equal(method.memory["trusts_given"][index] == 1, found["given"])
        assert torch.equal(method.memory["pseudo_target"][index].long(), found["pseudo"])
    for epoch in (0, 1):
        steps = [(len(b["train"]), found) for b, found in zip(record.batches, seen, strict=True) if b.epoch == epoch]
        assert_logged(record.means(epoch), steps, "", 1e-4 if single else 1e-6)
    split = [len(plain.split(found["weights"])) for found in seen]
    assert ("split" in name or name in ("lowest-only", "dynamic")) == (min(split) < 8), "a proper subset"
    givens = torch.cat([found["given"] for found in seen])
    assert bool(givens.any()) and not bool(givens.all()), "both kinds of labels"


def test_running_statistics_see_the_plain_view_alone(tmp_path: Path) -> None:
    method = make()
    network = copy.deepcopy(method.networks["main"]).train()
    record = train(method, tmp_path, epochs=1, precision="32-true", max_steps=1)
    network(record.batches[0]["train"].views[0])
    for which in ("main", "main_average"):
        for name, value in network.named_buffers():
            torch.testing.assert_close(record.after[0][which][name], value, rtol=1e-6, atol=1e-7)


# ---- the meta step


class TanhMLP(nn.Module):
    """4-8-3, smooth, so that derivatives are exact everywhere."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        norm: list[nn.Module] = [nn.BatchNorm1d(8)] if batch_norm else []
        self.body = nn.Sequential(nn.Linear(4, 8), *norm, nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        answer = self.body(x)
        assert isinstance(answer, Tensor)
        return answer


@pytest.mark.parametrize("with_velocity", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_one_pass_with_tangents_gives_both_meta_gradients(batch_norm: bool, with_velocity: bool, in_double: None) -> None:
    torch.manual_seed(0)
    network = TanhMLP(batch_norm).train()
    x, y, xt, yt = torch.randn(6, 4), torch.randint(3, (6,)), torch.randn(5, 4), torch.randint(3, (5,))
    g = torch.randn(6, 3).softmax(1)
    alpha, decay = 0.1, 5e-4
    velocity = {name: 0.1 * torch.randn_like(p) for name, p in network.named_parameters()} if with_velocity else {}
    plain = Plain(network)
    plain.velocity |= velocity
    theta = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    a, eps = torch.full((6,), 1 / 6, requires_grad=True), torch.full((6,), 0.9, requires_grad=True)
    target = eps[:, None] * one_hot(y) + (1 - eps[:, None]) * g
    losses = -(target * plain.aside(x, theta).log_softmax(1)).sum(1)
    slopes = torch.autograd.grad((a * losses).sum() + plain._decay(theta), list(theta.values()), create_graph=True)
    moved = {name: theta[name] - alpha * (0.9 * plain.velocity[name] + slope) for name, slope in zip(theta, slopes, strict=True)}
    v = nn.functional.cross_entropy(plain.aside(xt, moved), yt) + plain._decay(moved)
    da, deps = torch.autograd.grad(v, [a, eps])

    before = {name: value.clone() for name, value in network.state_dict().items()}
    mixed = 0.9 * one_hot(y) + 0.1 * g
    decays = dict.fromkeys(theta, decay)
    slope, _ = gradient(network, x, mixed)
    ahead = look_ahead(dict(network.named_parameters()), slope, rate=alpha, momentum=0.9, velocity=velocity or None, decay=decays)
    found, loss = gradient(network, xt, yt, at=ahead)
    along = {name: value + decay * ahead[name] for name, value in found.items()}
    logits, tangent = derivative(network, x, along)
    for name in theta:
        assert float((ahead[name] - moved[name].detach()).abs().max()) < 1e-15
    assert float((-alpha * weight_gradients(logits, tangent, mixed) - da).abs().max()) < 1e-15
    assert float((alpha / 6 * label_gradients(logits, tangent, y, g) - deps).abs().max()) < 1e-15
    assert float(da.abs().min()) > 1e-5 and float(deps.abs().min()) > 1e-6
    assert float(loss) == pytest.approx(float((v - plain._decay(moved)).detach()))
    assert_same(before, dict(network.state_dict()))
    assert all(p.grad is None for p in network.parameters())


def test_a_step_ahead_of_parameters_without_velocity_or_decay() -> None:
    theta, slope = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"a": torch.tensor(0.5), "b": torch.tensor(-1.0)}
    found = look_ahead(theta, slope, rate=0.1, momentum=0.9, velocity={"a": torch.tensor(2.0)}, decay={"b": 0.01})
    assert found["a"].item() == pytest.approx(1 - 0.1 * (0.9 * 2 + 0.5))
    assert found["b"].item() == pytest.approx(2 - 0.1 * (-1 + 0.01 * 2))
    assert theta["a"].item() == 1.0 and theta["b"].item() == 2.0


def test_an_optimizer_without_velocity_or_decay_of_sgd_is_looked_ahead_of_plainly(tmp_path: Path) -> None:
    method = make(PlainMLP, optimizer=partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5))
    train(method, tmp_path, epochs=1)
    assert sgd_state(method.networks["main"], method.wrapped_optimizers()["main"].optimizer) == SGDState({}, {})
    method = make(PlainMLP)
    train(method, tmp_path, epochs=1)
    state = sgd_state(method.networks["main"], method.wrapped_optimizers()["main"].optimizer)
    names = [name for name, _ in method.networks["main"].named_parameters()]
    assert list(state.velocity) == names and state.decay == dict.fromkeys(names, 5e-4)


# ---- trusted rows


def test_trusted_batches_are_whole_in_turn_and_go_on_in_the_next_epoch() -> None:
    method = make(PlainMLP)
    rows, ours = torch.tensor([3, 1, 4, 10, 5]), torch.arange(20, 36)
    method.info = SimpleNamespace(trusted_rows=rows)  # type: ignore[assignment]

    def batches(epoch: int) -> list[list[int]]:
        plan = ResolvedPlan(
            method.epoch_plan(epoch), epoch=epoch, seed=0, train_rows=ours, batch_size=8, min_last=2, other_rows=rows
        )
        streams = [batch.streams["trusted"] for batch in PlanLoader(lambda: plan)]
        assert all(isinstance(stream, StreamRows) and stream.views == ("weak",) for stream in streams)
        return [[rows.tolist().index(row) for row in stream.index.tolist()] for stream in streams]

    assert batches(0) == [[0, 1, 2, 3, 4, 0, 1, 2], [3, 4, 0, 1, 2, 3, 4, 0]]
    assert batches(1) == [[1, 2, 3, 4, 0, 1, 2, 3], [4, 0, 1, 2, 3, 4, 0, 1]]


def test_trusted_rows_are_right_balanced_and_apart_from_training(tmp_path: Path) -> None:
    data = toy(num_train=60, trusted_per_class=5, batch_size=6, noise=Symmetric(0.8))
    record = train(make(PlainMLP), tmp_path, data=data, epochs=2)
    info, clean = data.info, data.clean_target
    assert not bool(torch.isin(info.trusted_rows, info.train_rows).any())
    assert clean[info.trusted_rows].tolist() == [0, 1, 2] * 5, "classes in turn"
    seen: set[int] = set()
    for batch in record.batches:
        assert batch["trusted"].target.bincount(minlength=3).tolist() == [2, 2, 2]
        assert torch.equal(batch["trusted"].target, clean[batch["trusted"].index])
        assert not bool(torch.isin(batch["train"].index, info.trusted_rows).any())
        seen |= set(batch["trusted"].index.tolist())
    assert seen == set(info.trusted_rows.tolist())


# ---- at the edges


class Blind(BatchNormMLP):
    """Sees no difference between samples, nor between classes."""

    def forward(self, inputs: Any) -> Tensor:
        return super().forward(inputs) * 0


class OneClass(Symmetric):
    """All training rows are labeled 1."""

    def __call__(self, targets: Tensor, num_classes: int, *args: Any, **kwargs: Any) -> NoisyTargets:
        return NoisyTargets(torch.ones_like(targets), targets.clone(), None, None, float((targets != 1).double().mean()))


EDGES: list[dict[str, Any]] = [{}, {"threshold": 0.0}, {"threshold": 0.3, "rule": "quantile"}, {"threshold": 1.0}]


@pytest.mark.parametrize("options", EDGES)
@pytest.mark.parametrize("case", ["no weight", "one class", "blind"])
def test_nothing_is_nan(case: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if case == "no weight":
        monkeypatch.setattr("noisylab.methods.reweighting.sum_to_one", lambda scores, *_, **__: torch.zeros_like(scores))
    data = toy(noise=OneClass(0.4)) if case == "one class" else toy()
    method = make(Blind if case == "blind" else BatchNormMLP, **options)
    start = {name: value.clone() for name, value in method.networks["main"].named_parameters()}
    record = train(method, tmp_path, data=data, epochs=1, precision="32-true")
    means = record.means(0)
    assert "train/loss" in means and all(math.isfinite(value) for value in means.values())
    for name, value in method.networks["main"].named_parameters():
        assert bool(value.isfinite().all())
        assert case == "blind" or not torch.equal(value, start[name])
    if case == "no weight":
        assert means["train/w_loss"] == 0 and means["train/zero_weights"] == 1
    if case == "one class":
        assert all(batch["train"].target.tolist() == [1] * 8 for batch in record.batches)


@pytest.mark.parametrize("options", EDGES)
def test_samples_without_weight_are_all_mislabeled_and_the_clean_part_is_empty(options: dict[str, Any]) -> None:
    method = make(PlainMLP, **options)
    method._trainer = SimpleNamespace(world_size=1, global_rank=0)  # type: ignore[assignment]
    batch = PlanBatch("train", {}, 0, 0, False, False, share={"train": 4})
    for weights in (torch.zeros(4), torch.full((4,), 0.25)):
        wrong = method._split(batch, weights)
        assert (wrong is None) == (not options)
        assert wrong is None or wrong.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("threshold", [1.0, 1.1])
def test_from_a_threshold_of_1_the_rule_makes_no_difference(threshold: float, tmp_path: Path) -> None:
    states = []
    for rule in ("hard_weights", "quantile"):
        method = make(threshold=threshold, rule=rule)
        train(method, tmp_path, epochs=1)
        states.append(dict(method.networks.state_dict()))
    assert_same(states[0], states[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency": "mse"}, "consistency must be one of 'none', 'kl', 'fake', 'ict', got 'mse'"),
        ({"second_view": None}, "consistency='kl' compares two views; name a second_view"),
        ({"consistency": "fake"}, "makes a second view itself; set second_view to null, got 'strong'"),
        ({"rule": "soft"}, "rule must be 'hard_weights' or 'quantile', got 'soft'"),
        ({"meta_point": "ahead"}, "meta_point must be 'lookahead' or 'current', got 'ahead'"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"beta": -1.0}, "beta must be a positive number, got -1.0"),
        ({"meta_rate": math.inf}, "meta_rate must be a positive number, got inf"),
        ({"ce_factor": 0}, "ce_factor must be a positive number or .dynamic., got 0"),
        ({"consistency_factor": -1.0}, "consistency_factor must be a number of 0 or more, got -1.0"),
        ({"threshold": math.nan}, "threshold must be a number of 0 or more, got nan"),
        ({"meta_momentum": 1.0}, r"meta_momentum must be a fraction in \[0, 1\), got 1.0"),
        ({"initial_trust": 1.0}, r"initial_trust must be a fraction in \(0, 1\), got 1.0"),
        ({"fake_share": 0.4}, r"fake_share must be a fraction in \[0.5, 1\], got 0.4"),
        ({"meta_batch_size": 0}, "meta_batch_size must be a whole number of at least 1, or None for that of training, got 0"),
        ({"weight_norm": "sum"}, "weight_norm must be one of 'batch', 'running', 'epoch', got 'sum'"),
        ({"ema_decay": 1.0}, r"ema_decay must be a fraction in \[0, 1\), or None for no averaged copies, got 1.0"),
        ({"evaluate": "ema"}, "evaluate must be 'average' or 'raw', got 'ema'"),
        ({"schedule_by": "batch"}, "schedule_by must be 'epoch' or 'step', got 'batch'"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive number"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_data_without_trusted_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set data.trusted_labels .* data.trusted_per_class to 10"):
        make().check_ready(held_out=True, trusted=False)


# ---- what is said of the labels, precision, resuming


def test_labels_follow_the_last_meta_step(tmp_path: Path) -> None:
    method, data = make(), toy()
    assert method.clean_mask() is None and method.clean_prob() is None and method.corrected_target() is None
    train(method, tmp_path, data=data)
    mask, labels, prob = method.clean_mask(), method.corrected_target(), method.clean_prob()
    assert mask is not None and labels is not None and prob is not None
    rows = set(data.info.train_rows.tolist())
    for i in range(25):
        trusts, pseudo = int(method.memory["trusts_given"][i]), int(method.memory["pseudo_target"][i])
        assert (trusts, pseudo) == (-1, -1) if i not in rows else (trusts in (0, 1) and pseudo in (0, 1, 2))
        assert bool(mask[i]) == (trusts == 1)
        assert int(labels[i]) == (int(data.given_target[i]) if trusts == 1 else pseudo)
        assert prob[i] == method.memory["weight_main"][i]
    assert bool(prob.any())


def test_the_averaged_copy_is_the_headline_unless_asked(tmp_path: Path) -> None:
    assert make().headline == "main_average"
    assert make(evaluate="raw").headline == make(ema_decay=None).headline == "main"
    method = make(ema_decay=None)
    record = train(method, tmp_path, epochs=1)
    assert list(record.after[0]) == ["main"]


@pytest.mark.parametrize("agrees", [True, False])
def test_16_bits_are_left_for_float32_where_weights_would_differ_and_it_is_said_once(
    agrees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(noisylab.meta.forms, "_AGREES", -2.0 if agrees else 2.0)
    monkeypatch.setattr(metagradients, "rank_zero_info", said.append)
    method = make()
    record = train(method, tmp_path, precision="bf16-mixed")
    assert len(said) == (0 if agrees else 1)
    if not agrees:
        assert said[0].startswith("IEG finds the weights of samples by tangents in float32: the weights of 16 bits")
    assert method.forms["main"].precision == ("training" if agrees else "float32")
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in method.parameters())
    assert all(math.isfinite(value) for _, _, _, value in record.rows)


def test_meta_gradients_in_float32_are_those_of_a_run_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisylab.meta.forms, "_AGREES", 2.0)
    found = []
    for precision in ("32-true", "bf16-mixed"):
        method = make(PlainMLP)
        record = train(method, tmp_path, epochs=1, precision=precision, max_steps=1)
        found.append(method.memory["weight_main"][record.batches[0]["train"].index])
    cosine = float(nn.functional.cosine_similarity(found[0], found[1], dim=0))
    assert cosine > 0.999, "only the pseudo labels differ, by a tenth of their rounding"


@pytest.mark.parametrize("options", [{"weight_norm": "epoch"}, {**FEATURES, "threshold": 0.4}])
def test_a_run_goes_on_in_the_middle_of_an_epoch(options: dict[str, Any], tmp_path: Path) -> None:
    save = SaveEveryBatch(tmp_path)
    straight = fit(make(**options), toy(), tmp_path / "a", 3, callbacks=(save,))
    again = fit(make(**options), toy(), tmp_path / "b", 3, resume=save.files[2])
    assert_same(straight["networks"], again["networks"])
    assert_same(straight["memory"], again["memory"])
    assert_same(straight["optimizers"], again["optimizers"])


@pytest.mark.parametrize("given", [{"ce_factor": "x"}, {"ce_factor": True}, {"temperature": "a"}])
def test_what_is_no_number_is_refused_with_words(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a positive number"):
        IEG(3, PlainMLP, **given)
