"""The classes that a configuration can name, and their arguments, read from signatures."""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from noisylab.arguments import arguments
from noisylab.cli.errors import UserError, unknown
from noisylab.data.base import NoisyDataModule
from noisylab.losses import Criterion
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import Network
from noisylab.noise import Noise
from noisylab.selection.thresholds import ThresholdPolicy
from noisylab.transforms import StrongView
from noisylab.trust import check

__all__ = [
    "Parameter",
    "calls",
    "class_kind",
    "full_name",
    "item_kind",
    "known_classes",
    "locate",
    "named_kind",
    "parameters",
    "resolve_class",
    "takes_class",
    "takes_factory",
]

_ROOMS = (
    "noisylab.methods",
    "noisylab.data",
    "noisylab.data.named",
    "noisylab.models",
    "noisylab.noise",
    "noisylab.losses",
    "noisylab.selection",
    "noisylab.transforms",
)


@dataclass(frozen=True)
class Parameter:
    """A constructor argument: its type hint, its default, and whether it must be given."""

    hint: Any
    default: Any
    required: bool = False


def known_classes(kind: type) -> dict[str, type]:
    """Concrete public classes of a kind by short name."""
    for room in _ROOMS:
        importlib.import_module(room)
    if issubclass(kind, torch.optim.Optimizer):
        candidates = list(vars(torch.optim).values())
    elif kind is torch.optim.lr_scheduler.LRScheduler:
        candidates = list(vars(torch.optim.lr_scheduler).values())
    else:
        candidates, waiting = [], [kind]
        while waiting:
            cls = waiting.pop()
            candidates.append(cls)
            waiting += cls.__subclasses__()
    return {
        cls.__name__: cls
        for cls in candidates
        if inspect.isclass(cls)
        and issubclass(cls, kind)
        and cls not in (kind, NoisyDataModule, NoisyLabelMethod, Network, Noise, ThresholdPolicy)
        and not inspect.isabstract(cls)
        and not cls.__name__.startswith("_")
        and "<locals>" not in cls.__qualname__
    }


def full_name(cls: type) -> str:
    """The import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def resolve_class(name: Any, kind: type, where: str, admit: Callable[[str, str], None] = check) -> type:
    """The class that `name` (short or dotted) names.

    Args:
        name: as written.
        kind: what it must be a class of.
        where: the key, for messages.
        admit: called with an import path and `where` before it is imported; refuses what is not trusted.

    Raises:
        UserError: when there is none of that kind.
        Untrusted: when a file names it and its module is not trusted.
    """
    known = known_classes(kind)
    if not isinstance(name, str):
        raise UserError(f"{where}: expected the name of a {kind.__name__} class, got {name!r}")
    if name in known:
        return known[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise unknown(where, name, known, "a class of your own is named by its import path: package.module.Class")
    admit(name, where)
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise unknown(where, name, known, f"import failed: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, kind)):
        raise UserError(
            f"{where}: {name} is not a {kind.__name__}\n  allowed: {', '.join(sorted(known))}, or a class of your own"
        )
    return cls


def locate(path: str) -> type:
    """The class at an import path returned by `resolve_class`."""
    module, _, attribute = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def parameters(cls: type) -> dict[str, Parameter]:
    """The arguments that can be given to `cls`, those passed on to its parents by ``**kwargs`` included.

    What the library itself hands over (``num_classes`` of networks, methods and policies, the parameters of an optimizer) is
    left out.
    """
    found = {name: Parameter(a.hint, a.default, a.required) for name, a in arguments(cls).items()}
    for handed in ("num_classes", "params", "optimizer" if issubclass(cls, torch.optim.lr_scheduler.LRScheduler) else ""):
        if handed != "num_classes" or issubclass(cls, Network | NoisyLabelMethod | ThresholdPolicy):
            found.pop(handed, None)
    return found


def accepts_any(cls: type) -> bool:
    """Whether every constructor in the hierarchy takes ``**kwargs``, so that unknown arguments may be valid."""
    init = cls.__dict__.get("__init__")
    accepted = inspect.signature(init).parameters.values() if init else []
    return issubclass(cls, Network) and any(p.kind is p.VAR_KEYWORD for p in accepted)


def class_kind(hint: Any) -> type | None:
    """The class whose subclasses an argument takes, as an instance or as a factory; None for plain values."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for part in typing.get_args(hint) if (kind := class_kind(part))]
        return kinds[0] if kinds else None
    if origin is collections.abc.Callable:
        return class_kind(typing.get_args(hint)[1])
    named = (
        Noise | StrongView | Network | Criterion | ThresholdPolicy | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler
    )
    if inspect.isclass(hint) and issubclass(hint, named):
        return hint
    return None


def item_kind(hint: Any) -> type | None:
    """The class whose subclasses an argument takes a list of; None for other arguments."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((class_kind(typing.get_args(part)[0]) for part in parts if typing.get_origin(part) is list), None)


def named_kind(hint: Any) -> type | None:
    """The class whose subclasses an argument takes by names, as in ``encoders: {image: SmallCNN}``; None for other arguments."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((class_kind(typing.get_args(part)[1]) for part in parts if typing.get_origin(part) is dict), None)


def takes_factory(hint: Any) -> bool:
    """Whether an argument takes a factory rather than an object."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return any(typing.get_origin(part) is collections.abc.Callable for part in parts)


def calls(hint: Any) -> bool:
    """Whether an argument takes a callable, which can be given as an import path."""
    return any((typing.get_origin(part) or part) in (collections.abc.Callable, type) for part in _parts(hint))


def takes_class(hint: Any) -> bool:
    """Whether an argument takes an object, a class or a function, which can be given as an import path."""
    plain = (str, bytes, int, float, complex, bool, type(None), list, tuple, set, dict, object, timedelta)
    return calls(hint) or any(
        inspect.isclass(part) and part not in plain and not issubclass(part, os.PathLike) for part in _parts(hint)
    )


def _parts(hint: Any) -> list[Any]:
    """The types that a hint is made of, those within lists and unions included."""
    inner = [part for argument in typing.get_args(hint) if not isinstance(argument, list) for part in _parts(argument)]
    return [hint, *inner]
