"""Whole training steps as CUDA graphs: one launch in place of hundreds."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.engine.step import carry_step_count, count_step, step
from noisylab.engine.stepping import Stepping
from noisylab.types import Batch, PlanBatch, StreamRows

__all__ = ["CudaRecorder", "GraphedStep", "Recorder"]

_EAGER_STEPS = 3  # of every kind and epoch: they make optimizer state and library workspaces, and the last of them is watched
_CHANGING = ("position", "step", "last_of_phase", "last_of_epoch")


class Recorder(Protocol):
    """Records work instead of executing it."""

    def run(self, work: Callable[[], Any]) -> Any:
        """Do `work` on the stream on which it can be recorded."""
        ...

    def waits(self, work: Callable[[], Any]) -> bool:
        """Do `work` and return whether it waited for the device, which a recording cannot do."""
        ...

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Record `work` and return a function that replays it."""
        ...

    def forget(self) -> None:
        """Drop all recordings."""
        ...


class CudaRecorder:
    """Records on a stream of its own; the graphs of an epoch share one pool of memory.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def run(self, work: Callable[[], Any]) -> Any:
        """Do `work` on the recorder's stream, in order with the current one."""
        main = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            done = work()
        main.wait_stream(self._stream)
        return done

    def waits(self, work: Callable[[], Any]) -> bool:
        """Do `work` while torch reports synchronizations."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.run(work)
        finally:
            torch.cuda.set_sync_debug_mode(before)
        return any("synchroniz" in str(warning.message) for warning in caught)

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Capture `work`."""
        graph = torch.cuda.CUDAGraph()
        # other threads, such as the one that puts batches in page-locked memory, may go on
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def forget(self) -> None:
        """Take a new memory pool; the old one is freed with its last graph."""
        self._pool = torch.cuda.graph_pool_handle()


class GraphedStep:
    """A method's training step, recorded once per epoch, phase, batch size and learning rate, and then replayed.

    What the step reads as a Python number is part of the recording, hence the new one in every epoch. The first steps of each
    kind run as usual, and so do batches of a size that occurs less often, such as the last. Random draws on the device follow the
    generator's seed at each replay. A method says with `recordable` that nothing else of its step differs from batch to batch;
    nevertheless one step is watched, and if it draws on the host, waits for the device, or looks at the batch's place in the
    epoch, the method goes on as usual and a warning says so once.

    A method of automatic optimization is stepped here by `noisylab.engine.step.step`, as part of the recording.

    Args:
        module: the method; while this is installed, it optimizes manually.
        recorder: makes the recordings.
    """

    def __init__(self, module: Stepping, recorder: Recorder) -> None:
        self._module, self._recorder = module, recorder
        self._automatic = module.automatic_optimization
        self._training_step = module.training_step
        self._epoch = -1
        self._done: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[PlanBatch, Callable[[], None]]] = {}
        self._static = True

    def install(self) -> None:
        """Replace the module's training step with this object."""

        @functools.wraps(self._training_step)
        def training_step(batch: PlanBatch, batch_idx: int) -> None:
            self(batch, batch_idx)

        self._module.training_step = training_step  # type: ignore[method-assign]
        self._module.automatic_optimization = False

    def remove(self) -> None:
        """Restore the module's own training step."""
        self._forget()
        del self._module.training_step
        self._module.automatic_optimization = self._automatic
        carry_step_count(self._module)

    def __call__(self, batch: PlanBatch, batch_idx: int) -> None:
        """One training step."""
        if batch.epoch != self._epoch:
            self._forget()
            self._epoch = batch.epoch
        kind = (batch.phase, self._settings(), *((name, _shapes(batch[name])) for name in batch.streams))
        done = self._done[kind] = self._done.get(kind, 0) + 1
        if not self._static or done < _EAGER_STEPS:
            self._recorder.run(lambda: self._step(batch, batch_idx))
        elif done == _EAGER_STEPS:
            self._watched(batch, batch_idx)
        elif kind not in self._recorded:
            streams: dict[str, Batch | StreamRows] = {name: batch[name].map(Tensor.clone) for name in batch.streams}
            own = batch.with_streams(streams)
            replay = self._recorder.record(lambda: self._step(own, batch_idx))  # counts as a step, but does nothing yet
            self._recorded[kind] = own, replay
            replay()
        else:
            own, replay = self._recorded[kind]
            for name in batch.streams:
                for new, old in zip(batch[name].tensors(), own[name].tensors(), strict=True):
                    old.copy_(new)
            replay()
            count_step(self._module)

    def _forget(self) -> None:
        self._recorded.clear()
        self._done.clear()
        self._recorder.forget()

    def _settings(self) -> tuple[float, ...]:
        """Learning rates, momenta and the like, which a recording holds as they were."""
        groups = [group for optimizer in self._module.trainer.optimizers for group in optimizer.param_groups]
        return tuple(float(value) for group in groups for value in group.values() if isinstance(value, int | float))

    def _step(self, batch: PlanBatch, batch_idx: int) -> None:
        result = self._training_step(batch, batch_idx)
        if self._automatic:
            loss = result["loss"] if isinstance(result, Mapping) else result
            assert isinstance(loss, Tensor), "a training step of automatic optimization returns its loss"
            step(self._module, {self._module.optimizer_names[0]: loss})

    def _watched(self, batch: PlanBatch, batch_idx: int) -> None:
        """A step as usual, that finds out whether it would be the same for another batch."""
        watch = _Watch(**{field.name: getattr(batch, field.name) for field in fields(batch)})
        before = _host_draws()
        waited = self._recorder.waits(lambda: self._step(watch, batch_idx))
        reasons = [f"it reads batch.{name}" for name in sorted(watch.__dict__.get("_read", ()))]
        if before != _host_draws():
            reasons.append("it draws random numbers on the host (mixup and CutMix do)")
        if waited:
            reasons.append("it waits for the device")
        if any(self._counts_on_host(optimizer) for optimizer in self._module.trainer.optimizers):
            reasons.append("its optimizer counts steps on the host")
        if reasons:
            self._static = False
            name, why = type(self._module).__name__, " and ".join(reasons)
            rank_zero_warn(f"cuda_graphs: the training step of {name} cannot be recorded, {why}; it runs as usual")

    def _counts_on_host(self, optimizer: torch.optim.Optimizer) -> bool:
        values = [value for state in optimizer.state.values() for value in state.values()]
        device = self._module.device.type
        return any(isinstance(v, int | float) or (isinstance(v, Tensor) and v.device.type != device) for v in values)


class _Watch(PlanBatch):
    """Remembers which of the fields that differ from batch to batch were read."""

    def __getattribute__(self, name: str) -> Any:
        if name in _CHANGING:
            object.__getattribute__(self, "__dict__").setdefault("_read", set()).add(name)
        return object.__getattribute__(self, name)


def _host_draws() -> tuple[Any, ...]:
    """What changes whenever torch, Python or numpy draw on the host."""
    return bytes(torch.default_generator.get_state().numpy()), random.getstate(), str(np.random.get_state())  # noqa: NPY002


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in batch.tensors())
