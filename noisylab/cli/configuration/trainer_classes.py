"""Explains what is wrong with classes given to the Trainer after the parser has rejected them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import jsonargparse
import lightning as L
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from noisylab.cli.configuration.fitting import fits, wrong_value
from noisylab.cli.configuration.registry import known_classes, parameters
from noisylab.cli.errors import UserError, reason, unknown

__all__ = ["explained"]

_KINDS: dict[str, tuple[type, ...]] = {
    "callbacks": (L.Callback,),
    "profiler": (Profiler,),
    "strategy": (Strategy,),
    "plugins": (Precision, ClusterEnvironment, CheckpointIO, LayerSync),
}
_CLASS_PATH = re.compile(r"class_path='[\w.]*?(\w+)'")
_LISTS = ("callbacks", "plugins")
_FORM = "write the name of a class, or {class_path: CLASS, init_args: {KEY: VALUE}}"
_ROOMS = ("lightning.pytorch.callbacks", "lightning.pytorch.profilers", "lightning.pytorch.plugins")


def explained(error: Exception, trainer: Mapping[str, Any]) -> Exception:
    """A clearer error to replace the parser's own.

    Args:
        error: as the parser, or the constructor of a class that it called, raised it.
        trainer: flags of the Trainer by name.

    Returns:
        `error` itself where it has nothing to do with classes of the Trainer.
    """
    wrapped = str(error).startswith("Does not validate against any of the Union subtypes")
    if not (isinstance(error, jsonargparse.ArgumentError) or wrapped or "Expected a dot import path" in str(error)):
        return error
    for name, kinds in _KINDS.items():
        value = trainer.get(name)
        items = value if isinstance(value, list) and name in _LISTS else [value]
        for item in items if value is not None else []:
            try:
                _check(f"trainer.{name}", item, kinds)
            except UserError as found:
                return found
    return _unmade(str(error), trainer) if wrapped else error


def _unmade(text: str, trainer: Mapping[str, Any]) -> UserError:
    """The error for a class whose constructor refuses what it is given."""
    made = set(_CLASS_PATH.findall(text))
    name = next((name for name in _KINDS if any(path in str(trainer.get(name)) for path in made)), None)
    which = f": {made.pop()}" if len(made) == 1 else ""
    return UserError(f"trainer.{name}{which}: {reason(text)}" if name else reason(text))


def _check(where: str, item: Any, kinds: tuple[type, ...]) -> None:
    """Refuse what names no class, or gives one what it does not take."""
    path = item.get("class_path") if isinstance(item, Mapping) else item
    if isinstance(item, Mapping) and "class_path" not in item:
        raise UserError(f"{where}: {dict(item)!r} names no class (no class_path)\n  {_FORM}")
    if not isinstance(path, str):
        raise UserError(f"{where}: {path!r} is not a class\n  {_FORM}")
    cls = _class(where, path, kinds)
    given = (item.get("init_args") or {}) if isinstance(item, Mapping) else {}
    extra = set(item) - {"class_path", "init_args", "dict_kwargs"} if isinstance(item, Mapping) else set()
    if extra:
        raise unknown(f"{where}: key beside class_path", sorted(map(str, extra))[0], ("init_args",), _FORM)
    accepted = parameters(cls)
    name, more = cls.__name__, _takes_more(cls)
    for key, value in given.items():
        if key not in accepted and not more:
            raise unknown(f"{where}: key of {name}", str(key), accepted)
        if key in accepted and not fits(value, accepted[key].hint):
            raise wrong_value(f"{where}: {name}.{key}", value, accepted[key].hint)
    missing = [key for key, parameter in accepted.items() if parameter.required and key not in given]
    if missing:
        form = ", ".join(f"{key}: VALUE" for key in missing)
        raise UserError(f"{where}: {name} needs {', '.join(missing)}\n  write {{class_path: {name}, init_args: {{{form}}}}}")


def _class(where: str, path: str, kinds: tuple[type, ...]) -> type:
    """The class of a short name, or at an import path.

    Raises:
        UserError: when there is none of these kinds.
    """
    for room in _ROOMS:
        importlib.import_module(room)
    known = {name: cls for kind in kinds for name, cls in known_classes(kind).items()}
    module, _, name = path.rpartition(".")
    if path in known:
        return known[path]
    if not module:
        raise unknown(where, path, known, "a class of your own is named by its import path: package.module.Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{where}: {path} cannot be imported ({error})\n  check the path, package.module.Class, and that it is installed"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, kinds)):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{where}: {path} is not a {wanted}, which is needed here; name one")
    return found


def _takes_more(cls: type) -> bool:
    """Whether a constructor takes ``**kwargs``, which may be anything."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
