"""Nothing in a training step waits for the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, ToyData, make_trainer
from helpers.read_backs import ReadBacks
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import noisylab.methods
from noisylab.callbacks import Curves, Diagnostics, RunCheckpoint, RunProgress
from noisylab.methods import NoisyLabelMethod
from noisylab.methods.reweighting import ReweightingMethod
from noisylab.models import Network, SmallCNN
from noisylab.noise import Symmetric
from noisylab.selection import ThresholdPolicy
from noisylab.transforms import mixing
from noisylab.types import Batch, DataInfo, PlanBatch
from noisylab.upstream.torch import FollowsDevice


def test_the_counter_counts() -> None:
    values = torch.arange(4.0)
    with ReadBacks() as mode:
        values.sum().item()
        assert bool(values.sum() > 1)
        assert len(values[values > 1]) == 2
        assert len(torch.unique(values)) == 4
    assert mode.found["_local_scalar_dense"] == 2
    assert mode.found["index by mask"] == 1
    assert mode.found["_unique2"] == 1


class _Watch(Checkpoint):
    """Counts read-backs of each step and of the callbacks around it.

    `begins` comes first among the callbacks; this, a checkpoint callback, is to come last.
    """

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.steps = 0
        self.begins = L.pytorch.callbacks.LambdaCallback(on_train_batch_start=self._begin)

    def _begin(self, *_: Any) -> None:
        self.mode = ReadBacks()
        self.mode.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        self.mode.__exit__(None, None, None)
        self.found += self.mode.found
        self.steps += 1


class _Structure(L.Callback):
    """One batch of each (epoch, phase): what a method's plan asks for, which may depend on what it remembers."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], PlanBatch] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.found.setdefault((batch.epoch, batch.phase), batch)


@dataclass
class _Run:
    """Three epochs of a method, what its steps read back, and what it was given."""

    method: NoisyLabelMethod
    watch: _Watch
    structure: _Structure
    batches: int


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], _Run]:
    """The watched run of a method, made once."""

    def run(name: str) -> _Run:
        torch.manual_seed(0)
        method, watch, structure, folder = PACKAGED[name](), _Watch(), _Structure(), tmp_path_factory.mktemp("run")
        own = (RunProgress(), Diagnostics(), Curves(folder), RunCheckpoint(folder))
        trainer = make_trainer(folder, 3, (structure, watch.begins, *own, watch))
        trainer.fit(method, datamodule=ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15))
        return _Run(method, watch, structure, trainer.fit_loop.total_batch_idx + 1)

    return cache(run)


@pytest.mark.parametrize("name", PACKAGED)
def test_no_value_is_read_back_within_a_step(name: str, watched: Callable[[str], _Run]) -> None:
    run = watched(name)
    assert run.watch.steps == run.batches >= 3
    assert not run.watch.found, "the step waits for the device; see docs/add_a_method.md, Rules of a step"


# ---- the same on a CUDA device that does not exist: shapes are computed, values are not, and mixing devices is an error


def _on_fake_cuda(make: Any, network: Any) -> NoisyLabelMethod:
    with torch.device("cuda"):
        method = make(network)
    for module in method.modules():
        if isinstance(module, FollowsDevice):
            module.to("cuda")
        if isinstance(module, ThresholdPolicy):
            module.allocate(10)
    method._device = torch.device("cuda:0")
    method.info = DataInfo(3, 20, torch.arange(20), torch.zeros(20, dtype=torch.int64), ("a", "b", "c"), 8, 0)
    if method.uses_unlabeled:
        method.info = replace(method.info, train_rows=torch.arange(10), unlabeled_rows=torch.arange(10, 20))
    method.memory.allocate(20)
    owners = {**dict.fromkeys(method.optimizer_names, method), **dict(method.networks.items())}
    optimizers = {
        name: SimpleNamespace(optimizer=optimizer, step=optimizer.step)
        for name in method.optimizer_names
        for optimizer in [torch.optim.SGD(owners[name].parameters(), lr=0.1, momentum=0.9)]
    }
    method._trainer = SimpleNamespace(
        world_size=1,
        precision_plugin=SimpleNamespace(scaler=None),
        current_epoch=1,
        global_rank=0,
        lr_scheduler_configs=[],
    )
    method._fabric = None
    method.wrapped_optimizers = lambda: optimizers  # type: ignore[method-assign, assignment, return-value]

    def backward(loss: Tensor) -> None:  # the autograd engine would look for a real device
        assert loss.device.type == "cuda"
        for parameter in method.parameters():
            parameter.grad = torch.zeros_like(parameter)

    method.manual_backward = backward  # type: ignore[method-assign, assignment]
    return method


def _fake_batch(real: PlanBatch, shape: tuple[int, ...]) -> PlanBatch:
    streams: dict[str, Any] = {}
    for name in real.streams:
        index = torch.arange(len(real[name]), device="cuda")
        inputs = tuple(torch.zeros(len(index), *shape, device="cuda") for _ in real[name].views)
        streams[name] = Batch(inputs, index % 3, index)
    return real.with_streams(streams)


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize(("network", "shape"), [(DropoutMLP, (2,)), (partial(SmallCNN, in_channels=3), (3, 8, 8))])
def test_a_step_on_cuda_needs_no_value_on_the_host(
    name: str, network: type[Network], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, watched: Callable[[str], _Run]
) -> None:
    trained, structure = watched(name).method, watched(name).structure
    assert {epoch for epoch, _ in structure.found} == {0, 1, 2}
    plain = {key: value for key, value in vars(trained).items() if isinstance(value, bool | int | float | str) and key[0] != "_"}
    # torch's generator of a CUDA device would look for a real one
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.arange(n, device=device))
    # the backward pass would start a thread of its own for a real device
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, inputs, **options: [torch.empty_like(value) for value in inputs])
    for module in [mixing, *(vars(noisylab.methods)[part] for part in dir(noisylab.methods))]:
        if hasattr(module, "mix_weight"):
            monkeypatch.setattr(module, "mix_weight", lambda alpha: 0.3)  # drawn on the host, where values are real
    with FakeTensorMode():
        method = _on_fake_cuda(PACKAGED[name], network)
        for key, value in plain.items():  # what the plan left on the host for the steps
            setattr(method, key, value)
        if isinstance(trained, ReweightingMethod) and isinstance(method, ReweightingMethod):
            method.forms.update(trained.forms)  # chosen once, by values
        method.steps_bare = False
        for (epoch, _), real in structure.found.items():
            method.trainer.current_epoch = epoch  # type: ignore[misc]
            method.training_step(_fake_batch(real, shape), 0)  # type: ignore[operator]


def test_the_fake_device_would_tell() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.zeros(3, device="cuda").sum().item()
