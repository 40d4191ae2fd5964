from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import (
    AccumulatingDummy,
    PhasedDummy,
    PlainMLP,
    SaveEveryBatch,
    SideStreamDummy,
    StagedDummy,
    ToyData,
    assert_same,
    fit,
    make_trainer,
)
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from noisylab.engine.step import step, steps_bare
from noisylab.losses import cross_entropy
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod, VolMinNet
from noisylab.models.network import Network
from noisylab.types import PlanBatch


class _Wrapped:
    """Counts like Lightning's wrapper, and works with a scaler as its plugin does."""

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None = None) -> None:
        self.optimizer, self.steps, self.scaler = optimizer, 0, scaler

    def step(self) -> None:
        self.steps += 1
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)
            self.scaler.update()


class _Module:
    """What `step` needs of a method: two weights, each with an SGD of rate 1."""

    def __init__(self, scaler: torch.amp.GradScaler | None = None) -> None:
        self.weights = {name: nn.Parameter(torch.zeros(2)) for name in ("a", "b")}
        self.optimizer_names = tuple(self.weights)
        self.wrapped = {name: _Wrapped(torch.optim.SGD([weight], 1.0), scaler) for name, weight in self.weights.items()}
        self.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
        self.pending_gradients = self.steps_bare = False

    def wrapped_optimizers(self) -> dict[str, _Wrapped]:
        return self.wrapped

    def manual_backward(self, loss: Tensor) -> None:
        scaler = self.trainer.precision_plugin.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()

    def loss(self, name: str, gradient: tuple[float, float]) -> Tensor:
        return self.weights[name] @ torch.tensor(gradient)

    def step(self, losses: Mapping[str, Tensor | None], **kwargs: Any) -> None:
        step(self, losses, **kwargs)  # type: ignore[arg-type]


def test_only_the_last_optimizer_is_stepped_through_the_wrapper() -> None:
    module = _Module()
    module.step({"b": module.loss("b", (1.0, 0.0)), "a": module.loss("a", (0.0, 2.0))})
    assert (module.wrapped["a"].steps, module.wrapped["b"].steps) == (1, 0)
    assert module.weights["a"].tolist() == [0.0, -2.0] and module.weights["b"].tolist() == [-1.0, 0.0]
    assert all(weight.grad is None for weight in module.weights.values())


def test_a_call_that_is_not_final_wraps_nothing() -> None:
    module = _Module()
    module.step({"a": module.loss("a", (1.0, 0.0))}, final=False)
    module.step({"b": module.loss("b", (1.0, 0.0))})
    assert (module.wrapped["a"].steps, module.wrapped["b"].steps) == (0, 1)
    assert module.weights["a"].tolist() == module.weights["b"].tolist() == [-1.0, 0.0]


def test_clipping_limits_each_networks_gradient_on_its_own() -> None:
    module = _Module()
    module.step({"a": module.loss("a", (3.0, 4.0)), "b": module.loss("b", (0.3, 0.4))}, clip_norm=1.0)
    torch.testing.assert_close(module.weights["a"].detach(), torch.tensor([-0.6, -0.8]), rtol=0, atol=1e-6)
    torch.testing.assert_close(module.weights["b"].detach(), torch.tensor([-0.3, -0.4]), rtol=0, atol=1e-6)


def _one_loss_for_both(module: _Module, a: tuple[float, float], b: tuple[float, float]) -> dict[str, Tensor | None]:
    return {"a": module.loss("a", a) + module.loss("b", b), "b": None}


def test_a_loss_of_none_steps_on_the_gradient_that_another_loss_left() -> None:
    module = _Module()
    for _ in range(2):
        module.step(_one_loss_for_both(module, (3.0, 4.0), (0.5, 0.0)))
    assert module.weights["a"].tolist() == [-6.0, -8.0] and module.weights["b"].tolist() == [-1.0, 0.0], (
        "one backward pass a step"
    )
    assert (module.wrapped["a"].steps, module.wrapped["b"].steps) == (0, 2), "counted once a call"
    assert all(weight.grad is None for weight in module.weights.values())


def test_clipping_limits_the_gradient_of_each_optimizer_of_one_loss() -> None:
    module = _Module()
    module.step(_one_loss_for_both(module, (3.0, 4.0), (0.3, 0.4)), clip_norm=1.0)
    torch.testing.assert_close(module.weights["a"].detach(), torch.tensor([-0.6, -0.8]), rtol=0, atol=1e-6)
    torch.testing.assert_close(module.weights["b"].detach(), torch.tensor([-0.3, -0.4]), rtol=0, atol=1e-6)


def test_accumulated_gradients_of_one_loss_are_means_for_both_optimizers() -> None:
    module = _Module()
    for place, (a, b) in enumerate((((2.0, 0.0), (0.0, 4.0)), ((4.0, 2.0), (2.0, 0.0)))):
        module.step(_one_loss_for_both(module, a, b), accumulate=2, boundary=place == 1)
    assert module.weights["a"].tolist() == [-3.0, -1.0] and module.weights["b"].tolist() == [-1.0, -2.0]


def test_accumulated_update_is_the_mean_gradient() -> None:
    module = _Module()
    for place, gradient in enumerate(((3.0, 0.0), (0.0, 6.0), (3.0, 3.0))):
        module.step({"a": module.loss("a", gradient)}, accumulate=3, boundary=place == 2)
        assert module.pending_gradients == (place < 2)
    assert module.weights["a"].tolist() == [-2.0, -3.0]
    assert module.wrapped["a"].steps == 1


def test_an_incomplete_group_is_the_mean_over_its_own_length() -> None:
    module = _Module()
    module.step({"a": module.loss("a", (3.0, 0.0))}, accumulate=4, boundary=False)
    module.step({"a": module.loss("a", (0.0, 6.0))}, accumulate=4)
    assert module.weights["a"].tolist() == [-1.5, -3.0]
    module.step({"a": module.loss("a", (4.0, 0.0))}, accumulate=4, clip_norm=1.0)
    torch.testing.assert_close(module.weights["a"].detach(), torch.tensor([-2.5, -3.0]), rtol=0, atol=1e-6)


def test_gradients_of_one_network_are_pending_while_another_is_updated() -> None:
    module = _Module()
    module.step({"a": module.loss("a", (1.0, 0.0))}, accumulate=2, boundary=False, final=False)
    module.step({"b": module.loss("b", (1.0, 0.0))})
    assert module.pending_gradients
    module.step({"a": module.loss("a", (3.0, 0.0))}, accumulate=2)
    assert not module.pending_gradients and module.weights["a"].tolist() == [-2.0, 0.0]


@pytest.mark.parametrize(
    ("losses", "kwargs", "message"),
    [
        (("c",), {}, "among a, b, got c"),
        ((), {}, "got none"),
        (("a",), {"clip_norm": 0.0}, "must be positive"),
        (("a",), {"accumulate": 0}, "must be positive"),
    ],
)
def test_wrong_arguments_are_refused(losses: tuple[str, ...], kwargs: dict[str, Any], message: str) -> None:
    module = _Module()
    with pytest.raises(ValueError, match=message):
        module.step(dict.fromkeys(losses, torch.zeros(())), **kwargs)


@pytest.mark.parametrize(
    "method", [CrossEntropy, ACT, PhasedDummy, StagedDummy, SideStreamDummy, VolMinNet], ids=lambda cls: cls.__name__
)
def test_global_step_counts_training_steps(method: Any, tmp_path: Path) -> None:
    batches = 0

    class Counting(method):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            nonlocal batches
            batches += 1
            return super().training_step(batch, batch_idx)

    trainer = make_trainer(tmp_path, 3)
    kwargs = {"warmup_epochs": 1} if method is ACT else {}
    # a class made in a function cannot be stored; nothing is stored here
    model = Counting(num_classes=3, network=PlainMLP, **kwargs)
    trainer.fit(model, datamodule=ToyData(num_train=30))
    assert trainer.global_step == batches >= 12


def test_global_step_counts_updates_where_gradients_accumulate(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(AccumulatingDummy(3, PlainMLP), datamodule=ToyData(num_train=40))
    assert trainer.global_step == 2 * 3  # five batches: after the second, the fourth and the last


def _scaled(method: NoisyLabelMethod, folder: Path, scale: float) -> torch.amp.GradScaler:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10_000)
    trainer = make_trainer(folder, 2, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    trainer.fit(method, datamodule=ToyData(num_train=32))
    assert trainer.global_step == 8
    return scaler


def test_the_scaler_is_updated_once_a_training_step_and_changes_no_update(tmp_path: Path) -> None:
    methods = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        optimizer = partial(torch.optim.SGD, lr=0.2)
        method = ACT(3, PlainMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3", clip_norm=0.3, optimizer=optimizer)
        scaler = _scaled(method, tmp_path, scale)
        assert int(scaler._growth_tracker) == 8
        methods.append(method)
    for one, other in zip(methods[0].networks.parameters(), methods[1].networks.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # float16 gradients
    torch.manual_seed(0)
    start = ACT(3, PlainMLP)
    moved = [(a - b).abs().max() for a, b in zip(methods[0].networks.parameters(), start.networks.parameters(), strict=True)]
    assert max(moved) > 5e-2


class _Listener(L.Callback):
    """Hears of every gradient."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


def _trained(folder: Path, *callbacks: L.Callback, **kwargs: Any) -> tuple[NoisyLabelMethod, L.Trainer]:
    torch.manual_seed(0)
    method = ACT(3, PlainMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,2", clip_norm=0.5)
    trainer = make_trainer(folder, 2, callbacks, **kwargs)
    trainer.fit(method, datamodule=ToyData())
    return method, trainer


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_steps_without_lightnings_hooks_are_the_same_steps(precision: str, tmp_path: Path) -> None:
    bare, bare_trainer = _trained(tmp_path, precision=precision)
    listener = _Listener()
    heard, trainer = _trained(tmp_path, listener, precision=precision)
    assert (bare.steps_bare, heard.steps_bare) == (True, False)
    assert bare_trainer.global_step == trainer.global_step == 10
    assert len(listener.norms) == 20  # two backward passes a step
    for name, value in bare.state_dict().items():
        assert_same(value, heard.state_dict()[name], name)


def test_a_method_with_hooks_of_its_own_is_heard() -> None:
    class Hooked(CrossEntropy):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            pass

    trainer = SimpleNamespace(
        strategy=SingleDeviceStrategy("cpu"), precision_plugin=Precision(), profiler=PassThroughProfiler(), callbacks=[]
    )
    for cls, expected in ((CrossEntropy, True), (Hooked, False)):
        method = cls(3, PlainMLP)
        method._trainer = trainer  # type: ignore[assignment]
        assert steps_bare(method) is expected


@pytest.mark.parametrize("change", [{"profiler": SimpleProfiler()}, {"strategy": SimpleNamespace()}])
def test_a_profiler_and_other_strategies_keep_lightnings_way(change: dict[str, Any]) -> None:
    parts = {
        "strategy": SingleDeviceStrategy("cpu"),
        "precision_plugin": Precision(),
        "profiler": PassThroughProfiler(),
        "callbacks": [],
    }
    method = CrossEntropy(3, PlainMLP)
    method._trainer = SimpleNamespace(**{**parts, **change})  # type: ignore[assignment]
    assert not steps_bare(method)


# ---- gradient scaler


def _scaler(scale: float = 1024.0, interval: int = 10_000, **kwargs: Any) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval, **kwargs)


def test_one_optimizer_may_step_twice_in_a_scaled_training_step() -> None:
    module = _Module(_scaler(interval=2))
    for first in (1.0, 1.0, float("inf")):
        module.step({"a": module.loss("a", (first, 0.0))}, final=False)
        module.step({"a": module.loss("a", (0.0, 2.0))})
    assert module.weights["a"].tolist() == [-2.0, -6.0]  # the update that overflowed is left out, the one after it is made
    assert module.trainer.precision_plugin.scaler.get_scale() == 1024.0  # twice as much after two steps, half of that after one


def test_one_loss_steps_both_optimizers_through_the_scaler() -> None:
    module = _Module(_scaler(interval=2))
    module.step(_one_loss_for_both(module, (3.0, 4.0), (0.3, 0.4)), clip_norm=1.0)
    module.step(_one_loss_for_both(module, (0.0, float("inf")), (0.0, 0.5)))
    module.step(_one_loss_for_both(module, (1.0, 0.0), (1.0, 0.0)))
    torch.testing.assert_close(module.weights["a"].detach(), torch.tensor([-1.6, -0.8]), rtol=0, atol=1e-6)
    torch.testing.assert_close(module.weights["b"].detach(), torch.tensor([-1.3, -0.9]), rtol=0, atol=1e-6)
    assert module.trainer.precision_plugin.scaler.get_scale() == 512.0, "updated once a step: halved once, then one good step"
    assert module.wrapped["b"].steps == 3


def test_gradients_that_wait_follow_the_scale() -> None:
    module = _Module(_scaler(interval=1))
    for gradient, boundary in ((1.0, False), (3.0, False), (8.0, True)):
        module.step({"a": module.loss("a", (gradient, 0.0))}, accumulate=3, boundary=boundary, final=False)
        module.step({"b": module.loss("b", (1.0, 0.0))})
    assert module.trainer.precision_plugin.scaler.get_scale() == 8 * 1024.0
    assert module.weights["a"].tolist() == [-4.0, 0.0] and module.weights["b"].tolist() == [-3.0, 0.0]


def test_a_scaled_gradient_of_infinite_norm_is_not_clipped_to_nothing() -> None:
    module = _Module(_scaler(2.0**100))
    module.step({"a": module.loss("a", (3.0, 4.0))}, clip_norm=1.0)
    assert module.weights["a"].tolist() == [0.0, 0.0] and module.trainer.precision_plugin.scaler.get_scale() == 2.0**99
    for _ in range(60):
        module.step({"a": module.loss("a", (3.0, 4.0))}, clip_norm=1.0)
    steps = module.weights["a"].detach() / torch.tensor([-0.6, -0.8])
    assert float(steps[0]) == pytest.approx(float(steps[1])) == pytest.approx(round(float(steps[0]))) and float(steps[0]) > 10


def test_a_scaler_that_is_switched_off_does_nothing() -> None:
    module = _Module(_scaler(enabled=False))
    module.step({"a": module.loss("a", (3.0, 4.0)), "b": module.loss("b", (0.5, 0.0))}, clip_norm=1.0)
    torch.testing.assert_close(module.weights["a"].detach(), torch.tensor([-0.6, -0.8]), rtol=0, atol=1e-6)
    assert module.weights["b"].tolist() == [-0.5, 0.0]


class _Scaled(MixedPrecision):
    """A gradient scaler without 16-bit arithmetic, so that results can be compared closely."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        super().__init__("16-mixed", "cpu", scaler)

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield


class _Linear(Network):
    """Logits x W."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.head = nn.Linear(2, num_classes, bias=False)

    def forward(self, inputs: Any) -> Tensor:
        return self.head(inputs)


class _Two(NoisyLabelMethod):
    """Two linear networks; the gradient of a network overflows in the training steps of `overflow`, for a loss of inf."""

    def __init__(self, clip_norm: float | None, accumulate: int, overflow: Mapping[str, Sequence[int]]) -> None:
        super().__init__(3)
        self.save_hyperparameters(logger=False)
        self.automatic_optimization = False
        self.add_networks(_Linear, "first", "second")
        self.clip_norm, self.accumulate, self.overflow = clip_norm, accumulate, overflow
        self.batches: list[tuple[Tensor, Tensor, bool]] = []
        self.scales: list[float] = []

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        samples, number = batch["train"], len(self.batches)
        boundary = (batch.position + 1) % self.accumulate == 0 or batch.last_of_epoch
        (x,) = samples.views
        assert isinstance(x, Tensor)
        self.batches.append((x.double(), samples.target, boundary))
        losses = {}
        for name, network in self.networks.items():
            loss = self.mean(cross_entropy(network(x), samples.target, reduction="none"))
            losses[name] = loss * float("inf") if number in self.overflow.get(name, ()) else loss
        step(self, losses, clip_norm=self.clip_norm, accumulate=self.accumulate, boundary=boundary)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if boundary and scaler is not None:
            self.scales.append(scaler.get_scale())

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(network.parameters(), 0.3, momentum=0.9) for network in self.networks.values()]


def _by_hand(start: Tensor, method: _Two, name: str) -> Tensor:
    """The weights (K, D) of a network after its updates, in float64 and without autograd, optimizers or a scaler."""
    weight, velocity, group = start.double(), torch.zeros_like(start, dtype=torch.float64), []
    for number, (x, target, boundary) in enumerate(method.batches):
        probs = (x @ weight.T).exp()
        probs = probs / probs.sum(1, keepdim=True)
        gradient = (probs - torch.eye(3, dtype=torch.float64)[target]).T @ x / len(x)
        group.append(gradient * float("inf") if number in method.overflow.get(name, ()) else gradient)
        if not boundary:
            continue
        mean, group = sum(group) / len(group), []  # type: ignore[arg-type]
        if not bool(mean.isfinite().all()):
            continue
        norm = float((mean**2).sum() ** 0.5)
        if method.clip_norm is not None and norm > method.clip_norm:
            mean = mean * (method.clip_norm / norm)
        velocity = 0.9 * velocity + mean
        weight = weight - 0.3 * velocity
    return weight


def _scales_by_hand(method: _Two, scale: float, interval: int) -> list[float]:
    """The scale after each update: half after an overflow in any network, twice as much after `interval` calm updates."""
    scales, calm, overflow = [], 0, False
    for number, (_, _, boundary) in enumerate(method.batches):
        overflow |= any(number in numbers for numbers in method.overflow.values())
        if boundary:
            calm = 0 if overflow else calm + 1
            scale = scale / 2 if overflow else scale * 2 if calm == interval else scale
            calm, overflow = calm % interval, False
            scales.append(scale)
    return scales


def _train_two(folder: Path, method: _Two, **kwargs: Any) -> dict[str, Tensor]:
    start = {name: network.head.weight.detach().clone() for name, network in method.networks.items()}  # type: ignore[union-attr]
    make_trainer(folder, 2, **kwargs).fit(method, datamodule=ToyData())  # five batches an epoch
    return start


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("clip_norm", [None, 0.2])
def test_updates_are_those_computed_by_hand(clip_norm: float | None, accumulate: int, scaled: bool, tmp_path: Path) -> None:
    method = _Two(clip_norm, accumulate, {"first": (3,), "second": (6, 9)} if scaled else {})
    start = _train_two(tmp_path, method, **({"plugins": [_Scaled(_scaler(interval=2))]} if scaled else {}))
    assert len(method.batches) == 10 and method.scales == (_scales_by_hand(method, 1024, 2) if scaled else [])
    for name, network in method.networks.items():
        expected = _by_hand(start[name], method, name)
        assert float((expected - start[name]).abs().max()) > 0.1
        torch.testing.assert_close(network.head.weight.detach().double(), expected, rtol=0, atol=2e-6)  # type: ignore[union-attr]


def test_an_overflow_backs_the_scale_off_once_a_training_step_and_calm_raises_it_once_an_interval(tmp_path: Path) -> None:
    method = _Two(0.2, 1, {"first": (4, 6), "second": (5, 6)})
    _train_two(tmp_path, method, plugins=[_Scaled(_scaler(1024.0, interval=3))])
    assert method.scales == [1024, 1024, 2048, 2048, 1024, 512, 256, 256, 256, 512]


def test_a_resumed_run_with_a_scaler_equals_the_straight_one(tmp_path: Path) -> None:
    def run(resume: Path | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        torch.manual_seed(0 if resume is None else 99)
        scaler, folder = _scaler(64.0, interval=2), tmp_path / ("straight" if resume is None else "resumed")
        method = ACT(3, PlainMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,2", clip_norm=0.5)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        callbacks = (SaveEveryBatch(tmp_path),) if resume is None else ()
        return fit(method, ToyData(), folder, 2, resume=resume, callbacks=callbacks, plugins=[plugin]), scaler.state_dict()

    straight, scale = run()
    resumed, again = run(tmp_path / "batch-2.ckpt")  # an interval begun, in the first epoch
    assert_same(resumed, straight)
    assert again == scale and scale["scale"] == 64.0 * 2**5
