"""Recorded steps, with a recorder that needs no CUDA: what it records is undone, and done when it is replayed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, PhasedDummy, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit

from noisylab.callbacks import Diagnostics, Speed, speed
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


class FakeRecorder:
    """What CUDA graphs do to a module, on the CPU: recording leaves every tensor alone, replaying leaves Python alone."""

    module: NoisyLabelMethod
    recorded = replayed = eager = 0
    waiting = False

    def __init__(self, device: torch.device) -> None:
        type(self).recorded = type(self).replayed = type(self).eager = 0

    def _tensors(self) -> list[torch.Tensor]:
        module = self.module
        found = [*module.networks.parameters(), *module.networks.buffers(), *(module.memory[name] for name in module.memory)]
        states = [state for optimizer in module.trainer.optimizers for state in optimizer.state.values()]
        found += [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        assert module.means._sums is not None
        return [*found, module.means._sums]

    def run(self, work: Callable[[], Any]) -> Any:
        type(self).eager += 1
        return work()

    def waits(self, work: Callable[[], Any]) -> bool:
        self.run(work)
        return self.waiting

    def forget(self) -> None:
        pass

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        type(self).recorded += 1
        before = [tensor.clone() for tensor in self._tensors()]
        work()
        with torch.no_grad():
            for tensor, old in zip(self._tensors(), before, strict=True):
                tensor.copy_(old)

        def replay() -> None:
            type(self).replayed += 1
            progress = self.module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            counts = copy.deepcopy(progress.__dict__)
            work()
            progress.__dict__.update(counts)

        return replay


@pytest.fixture
def fake_graphs(monkeypatch: pytest.MonkeyPatch) -> type[FakeRecorder]:
    monkeypatch.setattr(speed, "CudaRecorder", FakeRecorder)
    monkeypatch.setattr(speed, "_no_graphs", speed._not_alone)
    monkeypatch.setattr(PhasedDummy, "recordable", True)
    return FakeRecorder


def _fit(make: Callable[..., NoisyLabelMethod], folder: Path, graphs: bool, epochs: int = 2, **kwargs: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    method = make(PlainMLP)
    FakeRecorder.module = method
    callbacks = (*kwargs.pop("callbacks", ()), Speed(cuda_graphs=graphs), Diagnostics())
    data = ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.15, seed=5)  # 51 rows: six of 8 and one of 3
    return fit(method, data, folder, epochs, callbacks=callbacks, **kwargs)


METHODS = {
    "ce": PACKAGED["ce"],
    "act": PACKAGED["act"],
    "ce-adam": lambda network: CrossEntropy(3, network, optimizer=torch.optim.Adam),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_run_equals_the_usual_one(name: str, tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    usual = _fit(METHODS[name], tmp_path / "usual", graphs=False)
    recorded = _fit(METHODS[name], tmp_path / "recorded", graphs=True)
    assert_same(recorded, usual)
    # of seven steps an epoch three are eager, one is recorded and replayed, two are replayed, the last has another size
    assert (fake_graphs.recorded, fake_graphs.replayed, fake_graphs.eager) == (2, 6, 8)


@pytest.mark.parametrize("name", ["ce", "act"])
def test_a_recorded_run_resumes_exactly_after_every_batch(name: str, tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    saver = SaveEveryBatch(tmp_path)
    straight = _fit(METHODS[name], tmp_path / "straight", graphs=True, callbacks=(saver,))
    assert straight["step"] == 14
    for file in saver.files[:-1]:
        assert_same(_fit(METHODS[name], file.with_suffix(""), graphs=True, resume=file), straight, file.stem)


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_the_step_count_goes_on_when_the_switch_is_turned(
    first: bool, second: bool, tmp_path: Path, fake_graphs: type[FakeRecorder]
) -> None:
    straight = _fit(METHODS["ce"], tmp_path / "straight", graphs=False)
    _fit(METHODS["ce"], tmp_path / "first", graphs=first, epochs=1)
    resumed = _fit(METHODS["ce"], tmp_path / "second", graphs=second, resume=tmp_path / "first" / "last.ckpt")
    assert resumed["step"] == straight["step"] == 14
    assert_same(resumed["curves"], straight["curves"])


def test_the_method_gets_its_own_step_back(tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    method = FakeRecorder.module = CrossEntropy(3, PlainMLP)
    for folder in ("one", "two"):
        fit(method, ToyData(num_train=60), tmp_path / folder, 1, callbacks=(Speed(cuda_graphs=True),))
        assert fake_graphs.recorded == 1
        assert method.automatic_optimization
        assert "training_step" not in vars(method)


def test_every_phase_and_size_has_its_own_recording(tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    def make(network: Any) -> NoisyLabelMethod:
        method = PhasedDummy(3, network)
        method.record = lambda batch: None  # type: ignore[method-assign]  # reads the batch's place
        return method

    usual = _fit(make, tmp_path / "usual", graphs=False, epochs=3)
    recorded = _fit(make, tmp_path / "recorded", graphs=True, epochs=3)
    assert_same(recorded, usual)
    assert fake_graphs.recorded == 2  # network 2 in the second and third epoch; no other kind of step comes more than three times


def test_a_step_that_draws_on_the_host_is_not_recorded(tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    usual = _fit(PACKAGED["ce-mixup"], tmp_path / "usual", graphs=False)
    with pytest.warns(UserWarning, match="CrossEntropy cannot be recorded, it draws random numbers on the host") as caught:
        recorded = _fit(PACKAGED["ce-mixup"], tmp_path / "recorded", graphs=True)
    assert sum("cannot be recorded" in str(warning.message) for warning in caught) == 1
    assert fake_graphs.recorded == 0
    assert_same(recorded, usual)


def test_a_step_that_looks_at_its_place_is_not_recorded(tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    with pytest.warns(UserWarning, match="PhasedDummy cannot be recorded, it reads batch.position"):
        _fit(lambda network: PhasedDummy(3, network), tmp_path, graphs=True)
    assert fake_graphs.recorded == 0


def test_a_step_that_waits_for_the_device_is_not_recorded(
    tmp_path: Path, fake_graphs: type[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeRecorder, "waiting", True)
    with pytest.warns(UserWarning, match="ACT cannot be recorded, it waits for the device"):
        _fit(METHODS["act"], tmp_path, graphs=True)
    assert fake_graphs.recorded == 0


class _Listener(L.Callback):
    def on_before_optimizer_step(self, *_: Any) -> None:
        pass


class _ClippedCE(CrossEntropy):
    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        pass


class _PerStep(CrossEntropy):
    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.networks.parameters())
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Unsaid(CrossEntropy):
    recordable = False


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        (CrossEntropy, {"gradient_clip_val": 1.0}, "with trainer.gradient_clip_val"),
        (CrossEntropy, {"accumulate_grad_batches": 2}, "or trainer.accumulate_grad_batches"),
        (CrossEntropy, {"callbacks": (_Listener(),)}, "a callback or a hook of the method takes part"),
        (CrossEntropy, {"detect_anomaly": True}, "takes part in every step"),
        (_ClippedCE, {}, "a hook of the method takes part"),
        (_PerStep, {}, "with a learning-rate schedule that counts batches"),
        (_Unsaid, {}, "for _Unsaid, which does not say that its step can be recorded"),
    ],
)
def test_where_a_recording_would_leave_something_out_there_is_none(
    method: type[CrossEntropy], options: dict[str, Any], reason: str, tmp_path: Path, fake_graphs: type[FakeRecorder]
) -> None:
    with pytest.warns(UserWarning, match=f"cuda_graphs has no effect .*{reason}"):
        _fit(lambda network: method(3, network), tmp_path, graphs=True, **options)
    assert fake_graphs.recorded == 0


def test_a_rate_that_changes_within_an_epoch_is_recorded_anew(tmp_path: Path, fake_graphs: type[FakeRecorder]) -> None:
    class Halve(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if args[-1] == 3:
                trainer.optimizers[0].param_groups[0]["lr"] *= 0.5

    usual = _fit(METHODS["ce"], tmp_path / "usual", graphs=False, callbacks=(Halve(),))
    assert_same(_fit(METHODS["ce"], tmp_path / "recorded", graphs=True, callbacks=(Halve(),)), usual)


def test_without_cuda_the_switch_says_that_it_has_no_effect(tmp_path: Path) -> None:
    method = ACT(3, DropoutMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3")
    with pytest.warns(UserWarning, match="cuda_graphs has no effect on the device cpu"):
        fit(method, ToyData(), tmp_path, 1, callbacks=(Speed(cuda_graphs=True),))
