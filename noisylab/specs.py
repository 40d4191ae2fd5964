"""Networks, optimizers and schedules as data: a class path with its arguments, storable in a checkpoint without pickle."""

from __future__ import annotations

import functools
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Generic, TypeVar

from noisylab.arguments import arguments
from noisylab.trust import check, check_builder, looks_like_path

__all__ = ["Factory", "as_factory", "constructor_arguments", "plain"]

T = TypeVar("T")


class Factory(Generic[T]):
    """A class with some of its arguments bound, called with the rest.

    Args:
        target: the class.
        init_args: keyword arguments, builtins only.
    """

    def __init__(self, target: type[T], init_args: Mapping[str, Any] | None = None) -> None:
        self.target = target
        self.init_args = dict(init_args or {})

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        """A new object."""
        return self.target(*args, **{**self.init_args, **kwargs})

    def spec(self) -> dict[str, Any]:
        """The factory as ``{"class_path": ..., "init_args": {...}}``."""
        spec: dict[str, Any] = {"class_path": f"{self.target.__module__}.{self.target.__qualname__}"}
        store = getattr(self.target, "stored_arguments", dict)  # a class may add what a checkpoint needs to build it again
        if kept := store(self.init_args):
            spec["init_args"] = {key: plain(value, key) for key, value in kept.items()}
        return spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Factory) and self.spec() == other.spec()

    def __hash__(self) -> int:
        return hash(self.target)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.init_args.items())
        return f"{self.target.__name__}({arguments})"


def as_factory(value: Any, kind: type[T], name: str) -> Factory[T]:
    """Convert any form in which a class with arguments can be given to a `Factory`.

    Args:
        value: a class, a ``functools.partial`` of a class with keyword arguments, a ``{"class_path", "init_args"}`` mapping, or a
            `Factory`.
        kind: the class that it must derive from.
        name: the argument's name, for errors.

    Raises:
        TypeError: for anything else, a lambda or a function included: a checkpoint could not rebuild it.
        Untrusted: for a mapping, which a checkpoint may hold, that names code which is neither noisylab's nor PyTorch's, nor
            imported, nor trusted; see `noisylab.trust`.
    """
    if isinstance(value, Factory):
        factory = value
    elif isinstance(value, Mapping):
        factory = Factory(_locate(str(value.get("class_path")), name, value.get("init_args") or {}), value.get("init_args"))
    elif inspect.isclass(value):
        factory = Factory(value)
    elif isinstance(value, functools.partial) and inspect.isclass(value.func) and not value.args:
        factory = Factory(value.func, value.keywords)
    elif isinstance(value, functools.partial) and value.args and inspect.isclass(value.args[-1]):
        # what jsonargparse makes of a class_path with init_args: partial(instantiator, ..., class, **init_args)
        factory = Factory(value.args[-1], value.keywords)
    else:
        instance = isinstance(value, kind) and not inspect.isroutine(value)
        given = f"an instance of {type(value).__name__}" if instance else repr(value)
        wanted = "class" if kind is object else f"{kind.__name__} class"
        raise TypeError(
            f"{name} must be a {wanted}, or functools.partial(TheClass, argument=value), so that a checkpoint can rebuild it; "
            f"got {given}. A lambda or function cannot be stored: give the class, or a partial of it with keyword arguments."
        )
    if not (inspect.isclass(factory.target) and issubclass(factory.target, kind)):
        raise TypeError(f"{name} must derive from {kind.__module__}.{kind.__name__}, got {factory!r}")
    if "<locals>" in factory.target.__qualname__:
        raise TypeError(f"{name} is the local class {factory.target.__qualname__}; define it at the top of a module")
    return factory


def plain(value: Any, name: str) -> Any:
    """`value` as builtin types that load with ``weights_only=True``; factories become specs.

    Raises:
        TypeError: for a value that has no such form, naming the argument.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):  # numpy's float64 is a float, but loads only with pickle
            return value if type(value) is kind else kind(value)
    if isinstance(value, Factory):
        return value.spec()
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if inspect.isclass(value) or isinstance(value, functools.partial):  # a factory within a factory's arguments
        return as_factory(value, object, name).spec()
    raise TypeError(
        f"argument {name} is {value!r}, which a checkpoint cannot store; give numbers, strings, lists or dicts of them"
    )


def _locate(path: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """The class at an import path, which may come from a stranger's checkpoint.

    Raises:
        Untrusted: where it, or what its arguments name, is code that neither the program has imported nor the user trusts.
    """
    where = f"the checkpoint's {name}"
    if path.partition(".")[0] not in sys.modules:
        check(path, where)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise TypeError(
            f"{name} names the class {path!r}, which cannot be imported ({error}); install or import what defines it first"
        ) from error
    if inspect.isclass(found):
        for key, parameter in inspect.signature(found.__init__).parameters.items():
            value = arguments.get(key)
            if isinstance(value, str) and looks_like_path(value) and "Callable" in str(parameter.annotation):
                others = {other: item for other, item in arguments.items() if other != key}
                check_builder(value, f"{where}.{key}", others)
    return found


def constructor_arguments(instance: object, frame: FrameType | None) -> dict[str, Any]:
    """The arguments that the constructors of `instance` were called with, as plain data.

    Args:
        instance: the object under construction.
        frame: the frame of the innermost ``__init__`` to look at; those of subclasses above it are followed.

    Raises:
        TypeError: for an argument that a checkpoint cannot store.
    """
    given: dict[str, Any] = {}
    own: dict[str, Any] = {}
    while frame is not None and frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is instance:
        values = inspect.getargvalues(frame)
        own = {name: values.locals[name] for name in values.args[1:]} | values.locals.get(values.keywords or "", {})
        # what a subclass hands up may be of its own making; what it passes on has its name, or its default, further up
        given = {**given, **own} if values.keywords or values.locals.get(values.varargs or "") else own
        frame = frame.f_back
    accepted = arguments(type(instance))
    given = {name: value for name, value in given.items() if name in accepted or name in own}
    return {
        name: as_factory(value, object, name).spec() if callable(value) and not isinstance(value, Factory) else plain(value, name)
        for name, value in given.items()
    }
