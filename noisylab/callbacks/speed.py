"""Callback for the switches that make training faster without changing the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.engine.compile_cache import remove_broken_libraries
from noisylab.engine.graphs import CudaRecorder, GraphedStep
from noisylab.engine.step import carry_step_count, steps_bare
from noisylab.methods.base import NoisyLabelMethod
from noisylab.upstream.lightning import detects_anomalies
from noisylab.upstream.torch import compile_training_passes, inductor_cache

__all__ = ["Speed"]


class Speed(L.Callback):
    """Memory layout, compilation and CUDA graphs, for every method; 16-bit arithmetic is the Trainer's ``precision``.

    Each of them changes the last digits of a run, as another device would; a run that is stopped and resumed with the same
    switches equals the uninterrupted one.

    Args:
        channels_last: keep images in the order that matrix units want: faster convolutions on GPUs with 16-bit arithmetic and on
            CPUs.
        compile: compile the networks' training passes with ``torch.compile``, once for each batch size; evaluation is not
            compiled. It takes from seconds to a minute at the first step, and on the CPU needs a C++ compiler.
        cuda_graphs: record whole training steps, of methods for which that is possible, and replay them
            (`noisylab.engine.graphs.GraphedStep`). On one CUDA device, not with ``16-mixed``, the Trainer's own clipping or
            accumulation, a schedule that counts batches, or callbacks that listen within a step; elsewhere it has no effect, and
            a warning says why.
        backend: of ``torch.compile``: its name, or a function that takes a graph and its inputs.

    Raises:
        ValueError: for the name of a backend that torch does not know.
    """

    def __init__(
        self,
        channels_last: bool = False,
        compile: bool = False,
        cuda_graphs: bool = False,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        if backend != "inductor" and isinstance(backend, str):  # asking takes a second, the default is there
            known = torch.compiler.list_backends(exclude_tags=())
            if backend not in known:
                raise ValueError(f"backend must be one of {', '.join(known)}, got {backend!r}")
        self.channels_last, self.compile, self.cuda_graphs, self.backend = channels_last, compile, cuda_graphs, backend
        self._graphed: GraphedStep | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Prepare the networks."""
        if not isinstance(pl_module, NoisyLabelMethod):
            return
        if self.channels_last:
            pl_module.to(memory_format=torch.channels_last)
        if self.compile and stage == "fit":
            if self.backend == "inductor":
                remove_broken_libraries(inductor_cache())  # of a run that was killed while it compiled
            for network in pl_module.networks.values():
                compile_training_passes(network, self.backend)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace the method's training step with recorded steps."""
        if not self.cuda_graphs or not isinstance(pl_module, NoisyLabelMethod):
            return
        reason = _no_graphs(trainer, pl_module)
        if reason is not None:
            rank_zero_warn(f"cuda_graphs has no effect {reason}")
            return
        self._graphed = GraphedStep(pl_module, CudaRecorder(trainer.strategy.root_device))
        self._graphed.install()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the method's own training step."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Do the same after an error."""
        self._remove()

    def _remove(self) -> None:
        if self._graphed is not None:
            self._graphed.remove()
            self._graphed = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Continue the step count of a checkpoint; tell the optimizers whether they are recorded."""
        if isinstance(pl_module, NoisyLabelMethod):
            carry_step_count(pl_module)
        if self._graphed is None and pl_module.device.type == "cuda":
            return  # what the user chose works there
        recorded, device = self._graphed is not None and pl_module.device.type == "cuda", pl_module.device
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group:
                    group["capturable"] = recorded  # also in a checkpoint, which may have come from another device
            for state in optimizer.state.values():
                if recorded and isinstance(state.get("step"), Tensor):
                    state["step"] = state["step"].to(device)


def _no_graphs(trainer: L.Trainer, method: NoisyLabelMethod) -> str | None:
    """Why there can be none."""
    if trainer.strategy.root_device.type != "cuda":
        return f"on the device {trainer.strategy.root_device}"
    if trainer.world_size > 1:
        return f"with {trainer.world_size} devices"
    if trainer.precision == "16-mixed":
        return "with precision 16-mixed, whose scaler waits for the device; use bf16-mixed"
    return _not_alone(trainer, method)


def _not_alone(trainer: L.Trainer, method: NoisyLabelMethod) -> str | None:
    """Why a recording would leave out what others expect to happen in every step."""
    if not method.recordable:
        return f"for {type(method).__name__}, which does not say that its step can be recorded (recordable)"
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        return "with trainer.gradient_clip_val or trainer.accumulate_grad_batches"
    if any(config.interval == "step" for config in trainer.lr_scheduler_configs):
        return "with a learning-rate schedule that counts batches, since every rate would need a recording of its own"
    if detects_anomalies(trainer) or not steps_bare(method):
        return "where a strategy, a profiler, a callback or a hook of the method takes part in every step"
    return None
