"""Casts batches and networks to one floating-point type, whatever the Trainer's ``precision``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision
from torch import nn

from noisylab.types import Batch, EvalBatch, PlanBatch

__all__ = ["cast_inputs", "check_trainable", "prepare_precision"]

_TRAINABLE = ("32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed")


def check_trainable(precision: object) -> None:
    """Refuse a precision in which training would fail silently.

    Raises:
        ValueError: for "16-true": float16 weights, whose gradients nothing scales.
    """
    if precision == "16-true":
        raise ValueError(
            "trainer.precision='16-true' trains float16 weights without a gradient scaler, and small gradients become 0; "
            f"training takes {', '.join(_TRAINABLE)}: use 16-mixed or bf16-true"
        )


def prepare_precision(trainer: Any, module: nn.Module, stage: str) -> None:
    """Make a module and a Trainer's precision plugin ready for weights that are not float32: 64-true, bf16-true, 16-true.

    The plugin converts the inputs of noisylab's batches, which Lightning refuses to take apart; what else it is given goes
    Lightning's own way. The module is converted before a checkpoint is loaded into it: Lightning would do so after that, when
    float32 weights have already rounded float64 ones. A second call changes nothing.

    Args:
        trainer: a Lightning Trainer; its plugin is changed.
        module: what it trains or evaluates; changed.
        stage: "fit", "validate", "test" or "predict".

    Raises:
        ValueError: see `check_trainable`.
    """
    plugin = trainer.precision_plugin
    if stage == "fit":
        check_trainable(plugin.precision)
    if isinstance(plugin, HalfPrecision | DoublePrecision):
        plugin.convert_module(module)
        if not isinstance(plugin.convert_input, partial):
            plugin.convert_input = partial(_convert, plugin.convert_input)  # type: ignore[method-assign]


def _convert(own: Callable[[Any], Any], data: Any) -> Any:
    if isinstance(data, EvalBatch):
        return data.map(own)
    if isinstance(data, PlanBatch):
        built = {name: part.map(own) for name, part in data.streams.items() if isinstance(part, Batch)}
        return data.with_streams({**data.streams, **built})
    return own(data)


def cast_inputs(batch: EvalBatch, networks: nn.Module) -> EvalBatch:
    """The batch with its floating-point inputs in the type of the networks' weights.

    Args:
        batch: on any device.
        networks: the first floating-point parameter counts; without any the batch is returned as it is.
    """
    dtype = next((p.dtype for p in networks.parameters() if p.is_floating_point()), None)
    if dtype is None:
        return batch
    return batch.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
