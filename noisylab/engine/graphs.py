"""Whole training steps as CUDA graphs: one launch in place of hundreds."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.engine.step import count_step, step
from noisylab.types import Batch, Inputs, PlanBatch, StreamRows

if TYPE_CHECKING:
    from noisylab.methods.base import NoisyLabelMethod

__all__ = ["CudaRecorder", "GraphedStep", "Recorder"]

_EAGER_STEPS = 3  # of every kind and epoch: they allocate what the graph reuses, and the last of them is watched
_CHANGING = ("position", "last_of_phase", "last_of_epoch")


class Recorder(Protocol):
    """Records work instead of doing it."""

    def run(self, work: Callable[[], Any]) -> Any:
        """Do `work` where it could be recorded."""
        ...

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Record `work` and return what does it."""
        ...


class CudaRecorder:
    """Records on a stream of its own; all graphs share one pool of memory.

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

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Capture `work`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        return graph.replay


class GraphedStep:
    """A method's training step that is recorded once an epoch, phase and batch size, and then replayed.

    What the step reads as a Python number (the epoch, learning rates) is part of the recording, so every epoch makes its own. The
    first steps of each kind run as usual, and so do batches of a size that occurs less often, such as the last. Random draws on
    the device follow the generator's seed at each replay. A step that draws on the host, or looks at the batch's place in the
    epoch, cannot be recorded: it goes on as usual, and a warning says so once.

    A method of automatic optimisation is stepped here by `noisylab.engine.step.step`, as part of the recording.

    Args:
        module: the method; from here on it optimises manually.
        recorder: makes the recordings.
    """

    def __init__(self, module: NoisyLabelMethod, recorder: Recorder) -> None:
        self._module, self._recorder = module, recorder
        self._automatic = module.automatic_optimization
        self._training_step = module.training_step
        module.automatic_optimization = False
        self._epoch = -1
        self._done: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[PlanBatch, Callable[[], None]]] = {}
        self._static = True

    def install(self) -> None:
        """Put this in the place of the module's training step."""

        @functools.wraps(self._training_step)
        def training_step(batch: PlanBatch, batch_idx: int) -> None:
            self(batch, batch_idx)

        self._module.training_step = training_step  # type: ignore[method-assign]

    def __call__(self, batch: PlanBatch, batch_idx: int) -> None:
        """One training step."""
        if batch.epoch != self._epoch:
            self._epoch = batch.epoch
            self._recorded.clear()  # frees the memory that the next recordings take
            self._done.clear()
        kind = (batch.phase, *((name, _shapes(batch[name])) for name in batch.streams))
        done = self._done[kind] = self._done.get(kind, 0) + 1
        if not self._static or done < _EAGER_STEPS:
            self._recorder.run(lambda: self._step(batch, batch_idx))
        elif done == _EAGER_STEPS:
            self._recorder.run(lambda: self._watched(batch, batch_idx))
        elif kind not in self._recorded:
            streams: dict[str, Batch | StreamRows] = {name: _clone(batch[name]) for name in batch.streams}
            own = batch.with_streams(streams)
            replay = self._recorder.record(lambda: self._step(own, batch_idx))  # counts as a step, but does nothing yet
            self._recorded[kind] = own, replay
            replay()
        else:
            own, replay = self._recorded[kind]
            for name in batch.streams:
                _copy(batch[name], own[name])
            replay()
            count_step(self._module)

    def _step(self, batch: PlanBatch, batch_idx: int) -> None:
        loss = self._training_step(batch, batch_idx)
        if self._automatic:
            assert isinstance(loss, Tensor)
            step(self._module, {self._module.optimizer_names[0]: loss})

    def _watched(self, batch: PlanBatch, batch_idx: int) -> None:
        """A step as usual, that finds out whether it would be the same for another batch."""
        watch = _Watch(**{field.name: getattr(batch, field.name) for field in fields(batch)})
        before = _host_draws()
        self._step(watch, batch_idx)
        reasons = [f"it reads batch.{name}" for name in sorted(watch.__dict__.get("_read", ()))]
        if before != _host_draws():
            reasons.append("it draws random numbers on the host (mixup and CutMix do)")
        if reasons:
            self._static = False
            name = type(self._module).__name__
            rank_zero_warn(
                f"cuda_graphs: the training step of {name} cannot be recorded, {' and '.join(reasons)}; it runs as usual"
            )


class _Watch(PlanBatch):
    """Remembers which of the fields that differ from batch to batch were read."""

    def __getattribute__(self, name: str) -> Any:
        if name in _CHANGING:
            object.__getattribute__(self, "__dict__").setdefault("_read", set()).add(name)
        return object.__getattribute__(self, name)


def _host_draws() -> tuple[Any, ...]:
    return bytes(torch.default_generator.get_state().numpy()), random.getstate()


def _tensors(batch: Batch) -> list[Tensor]:
    views = [part for view in batch.views for part in (view.values() if isinstance(view, dict) else (view,))]
    return [*views, batch.target, batch.index]


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in _tensors(batch))


def _clone(batch: Batch) -> Batch:
    def clone(view: Inputs) -> Inputs:
        if isinstance(view, dict):
            return {name: part.clone() for name, part in view.items()}
        return view.clone()

    return Batch(tuple(map(clone, batch.views)), batch.target.clone(), batch.index.clone())


def _copy(source: Batch, target: Batch) -> None:
    for new, old in zip(_tensors(source), _tensors(target), strict=True):
        old.copy_(new)
