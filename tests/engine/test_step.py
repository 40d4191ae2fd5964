from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import AccumulatingDummy, PhasedDummy, PlainMLP, SideStreamDummy, StagedDummy, ToyData, assert_same, make_trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from noisylab.engine.step import step, steps_bare
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod


class _Wrapped:
    """Counts like Lightning's wrapper."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        self.steps += 1
        self.optimizer.step()


class _Module:
    """What `step` needs of a method: two weights, each with an SGD of rate 1."""

    def __init__(self) -> None:
        self.weights = {name: nn.Parameter(torch.zeros(2)) for name in ("a", "b")}
        self.optimizer_names = tuple(self.weights)
        self.wrapped = {name: _Wrapped(torch.optim.SGD([weight], 1.0)) for name, weight in self.weights.items()}
        self.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=None))
        self.pending_gradients = self.steps_bare = False

    def wrapped_optimizers(self) -> dict[str, _Wrapped]:
        return self.wrapped

    def manual_backward(self, loss: Tensor) -> None:
        loss.backward()

    def loss(self, name: str, gradient: tuple[float, float]) -> Tensor:
        return self.weights[name] @ torch.tensor(gradient)

    def step(self, losses: dict[str, Tensor], **kwargs: Any) -> None:
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


def test_accumulated_update_is_the_mean_gradient() -> None:
    module = _Module()
    for place, gradient in enumerate(((3.0, 0.0), (0.0, 6.0), (3.0, 3.0))):
        module.step({"a": module.loss("a", gradient)}, accumulate=3, boundary=place == 2)
        assert module.pending_gradients == (place < 2)
    assert module.weights["a"].tolist() == [-2.0, -3.0]
    assert module.wrapped["a"].steps == 1


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


@pytest.mark.parametrize("method", [CrossEntropy, ACT, PhasedDummy, StagedDummy, SideStreamDummy], ids=lambda cls: cls.__name__)
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


def test_steps_without_lightnings_hooks_are_the_same_steps(tmp_path: Path) -> None:
    bare, bare_trainer = _trained(tmp_path)
    listener = _Listener()
    heard, trainer = _trained(tmp_path, listener)
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
