"""Low-rank adapters (LoRA) in a pretrained network, by the package peft."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

__all__ = ["adapt", "check_lora"]

_ARGUMENTS = ("rank", "alpha", "dropout", "target_modules")


def check_lora(lora: Mapping[str, Any]) -> dict[str, Any]:
    """The argument `lora` of a network with its defaults filled in: `rank`, `alpha`, `dropout`, `target_modules`.

    Raises:
        ValueError: for an unknown name, or a value outside its range.
        ModuleNotFoundError: peft is not installed.
    """
    unknown = sorted(set(lora) - set(_ARGUMENTS))
    if unknown:
        raise ValueError(f"lora takes {', '.join(_ARGUMENTS)}, got {', '.join(unknown)}")
    rank = lora.get("rank", 8)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"lora.rank must be a whole number, at least 1, got {rank!r}")
    alpha = lora.get("alpha", 2 * rank)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise ValueError(f"lora.alpha must be a positive number, got {alpha!r}")
    dropout = lora.get("dropout", 0.0)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"lora.dropout must be a fraction in [0, 1), got {dropout!r}")
    targets = lora.get("target_modules")
    if targets is not None and (isinstance(targets, str) or not targets):
        raise ValueError(f"lora.target_modules must be a list of names of layers, such as [qkv, proj], got {targets!r}")
    try:
        import peft  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'lora needs the package peft, which is not installed ({error}): pip install "noisylab[lora]"', name="peft"
        ) from None
    return {"rank": rank, "alpha": alpha, "dropout": dropout, "target_modules": None if targets is None else list(targets)}


def adapt(net: nn.Module, head: str, lora: Mapping[str, Any]) -> None:
    """Add adapters to layers of a network; of all that was there before, only the head goes on being trained.

    A layer ``y = W x`` becomes ``y = W x + (alpha / rank) B A dropout(x)``, with A of `rank` rows, drawn, and B, zero at the
    start: at first the network computes what it did (Hu et al., ICLR 2022).

    Args:
        net: changed in place.
        head: name of its last layer.
        lora: as `check_lora` returns it.

    Raises:
        ValueError: for a name in `target_modules` that no layer has, or if there is no layer that could be adapted.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = _targets(net, head, lora["target_modules"])
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules="|".join(map(re.escape, layers)),  # peft compares a text with whole names, as a pattern
    )
    net.requires_grad_(False)
    inject_adapter_in_model(config, net)
    net.get_submodule(head).requires_grad_(True)


def _targets(net: nn.Module, head: str, names: Sequence[str] | None) -> list[str]:
    """Names of the layers that get adapters: those whose names end as asked, or all linear ones, or all convolutions."""
    # torch's attention reads the weights of its layers without calling them, and would pass an adapter by
    passed_by = tuple(f"{name}." for name, module in net.named_modules() if isinstance(module, nn.MultiheadAttention))
    whole = {name: module for name, module in net.named_modules() if name != head and not name.startswith(passed_by)}
    linear = [name for name, module in whole.items() if isinstance(module, nn.Linear)]
    # of a grouped convolution there is no product of two small matrices; peft builds others anew from the class, and subclasses
    # may take other arguments
    convolutions = [name for name, module in whole.items() if type(module) is nn.Conv2d and module.groups == 1]
    if names is None:
        found = linear or convolutions
        if not found:
            raise ValueError("lora: the network has neither linear layers before its head nor convolutions that could be adapted")
        return found
    able = [*linear, *convolutions]
    for name in names:
        if not any(f".{layer}".endswith(f".{name}") for layer in able):
            raise ValueError(
                f"lora.target_modules names {name!r}, which is no linear layer before the head and no convolution without "
                f"groups; there are {sorted({layer.rpartition('.')[2] for layer in able})}"
            )
    return [layer for layer in able if any(f".{layer}".endswith(f".{name}") for name in names)]
