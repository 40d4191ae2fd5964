"""Packaged networks for 3 x 32 x 32 images by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from noisylab import models
from noisylab.models import Network

__all__ = ["NetFactory", "network_factory"]

NetFactory = Callable[..., Network]


def network_factory(name: str) -> NetFactory:
    """A packaged network for color images by its class name."""
    cls = getattr(models, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Network)) or cls in (Network, models.Wrap):
        known = ", ".join(other for other in models.__all__ if other not in ("Network", "Wrap"))
        raise SystemExit(f"--network {name}: no packaged network; give one of {known}")
    sizes = {"MLP": {"in_features": 3 * 32 * 32}, "SmallCNN": {"in_channels": 3}}.get(name, {})
    make: NetFactory = cls
    return partial(make, **sizes) if sizes else make
