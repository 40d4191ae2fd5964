"""Every packaged method, ready to train on `ToyData`. A new method is entered here and meets every test of the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from helpers.toy import DropoutMLP
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.models.network import NetFactory

__all__ = ["PACKAGED"]

_SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
_COSINE = partial(CosineAnnealingLR, T_max=3)
_PLATEAU = partial(ReduceLROnPlateau, mode="max", patience=0, factor=0.5)


def _ce(network: NetFactory = DropoutMLP) -> NoisyLabelMethod:
    return CrossEntropy(3, network, optimizer=_SGD, scheduler=_COSINE)


def _ce_mixup(network: NetFactory = DropoutMLP) -> NoisyLabelMethod:
    return CrossEntropy(3, network, mixup_alpha=1.0, optimizer=_SGD, scheduler=_COSINE)


def _ce_plateau(network: NetFactory = DropoutMLP) -> NoisyLabelMethod:
    return CrossEntropy(3, network, optimizer=_SGD, scheduler=_PLATEAU)


def _act(network: NetFactory = DropoutMLP) -> NoisyLabelMethod:
    return ACT(3, network, warmup_epochs=1, lr_plan="cosine:1,1e-3,3", clip_norm=1.0)


PACKAGED: dict[str, Callable[..., NoisyLabelMethod]] = {
    "ce": _ce,
    "ce-mixup": _ce_mixup,
    "ce-plateau": _ce_plateau,
    "act": _act,
}
"""Makers of three-class methods by name; each takes the factory of its networks."""
