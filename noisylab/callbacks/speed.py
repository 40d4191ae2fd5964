"""Switches that make training faster and leave the method as it is."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from noisylab.engine.graphs import CudaRecorder, GraphedStep
from noisylab.methods.base import NoisyLabelMethod

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
            (`noisylab.engine.graphs.GraphedStep`). On one CUDA device, not with ``16-mixed``; elsewhere it has no effect, and a
            warning says so.
        backend: of ``torch.compile``.
    """

    def __init__(
        self, channels_last: bool = False, compile: bool = False, cuda_graphs: bool = False, backend: str = "inductor"
    ) -> None:
        self.channels_last, self.compile, self.cuda_graphs, self.backend = channels_last, compile, cuda_graphs, backend

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Prepare the networks."""
        if not isinstance(pl_module, NoisyLabelMethod):
            return
        if self.channels_last:
            pl_module.to(memory_format=torch.channels_last)
        if self.compile and stage == "fit":
            for network in pl_module.networks.values():
                _compile_training(network, self.backend)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put recorded steps in the place of the method's.

        Raises:
            ValueError: for what a recording would not follow: the Trainer's own clipping or accumulation, a learning-rate
                schedule that counts batches.
        """
        if not self.cuda_graphs or not isinstance(pl_module, NoisyLabelMethod):
            return
        reason = _no_graphs(trainer)
        if reason is not None:
            rank_zero_warn(f"cuda_graphs has no effect {reason}")
            return
        if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
            raise ValueError(
                "cuda_graphs cannot be combined with trainer.gradient_clip_val or trainer.accumulate_grad_batches; "
                "remove them, or set speed.cuda_graphs to false"
            )
        if any(config.interval == "step" for config in trainer.lr_scheduler_configs):
            raise ValueError(
                "cuda_graphs records the learning rate once an epoch and cannot follow a schedule that counts batches; "
                "use one that counts epochs, or set speed.cuda_graphs to false"
            )
        GraphedStep(pl_module, CudaRecorder(trainer.strategy.root_device)).install()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the optimizers, whose state a checkpoint may have brought by now, that they are to be recorded."""
        if not self.cuda_graphs or pl_module.device.type != "cuda":
            return
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group:
                    group["capturable"] = True
            for state in optimizer.state.values():
                if isinstance(state.get("step"), Tensor):
                    state["step"] = state["step"].to(pl_module.device)


def _no_graphs(trainer: L.Trainer) -> str | None:
    """Why there can be none."""
    if trainer.strategy.root_device.type != "cuda":
        return f"on the device {trainer.strategy.root_device}"
    if trainer.world_size > 1:
        return f"with {trainer.world_size} devices"
    return (
        "with precision 16-mixed, whose scaler waits for the device; use bf16-mixed" if trainer.precision == "16-mixed" else None
    )


def _compile_training(network: nn.Module, backend: str) -> None:
    # Static shapes: which kernels run must not depend on the sizes seen before, or a resumed run would differ.
    network.compile(backend=backend, dynamic=False)
    compiled = network._compiled_call_impl
    assert compiled is not None
    network._compiled_call_impl = lambda *inputs, **named: (
        compiled(*inputs, **named) if network.training else network._call_impl(*inputs, **named)
    )
