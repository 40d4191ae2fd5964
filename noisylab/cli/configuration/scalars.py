"""Values of configurations: YAML in which text stays text wherever an argument asks for text."""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from noisylab.cli.errors import UserError

__all__ = ["Scalar", "Typed", "dump", "key_text", "plain", "put_back", "read", "settle", "tree"]

_UNTYPED = ("class_path", "callbacks", "plugins", "strategy", "profiler")  # left to jsonargparse
_MAX_VALUES = 100_000  # in a file: aliases can make billions of a few lines


@dataclass(frozen=True)
class Scalar:
    """A number, boolean or null as YAML reads it, together with how it is written.

    Args:
        value: what YAML makes of it.
        text: as written, without quotes.
    """

    value: Any
    text: str


@dataclass(frozen=True)
class Typed:
    """The value of a flag as typed: text if text is expected, otherwise YAML.

    Args:
        text: as typed.
        where: the flag, for messages.
    """

    text: str
    where: str


class _Loader(yaml.SafeLoader):
    """YAML in which 5e-4 is a number, as everyone expects, and a date, a time of day or 010 is text."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in value if tag.rpartition(":")[2] not in ("int", "float", "timestamp", "value")]
    for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d+([eE][-+]?\d+)?|\.(inf|nan))$", re.I),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][\d_]*|0x[\da-fA-F_]+|0b[01_]+)$"), list("-+0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Quotes text that any reader of YAML could take for something else."""


# the dumper quotes what its own resolvers know; those of the loader know more numbers
_Dumper.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeDumper.yaml_implicit_resolvers.items()}
for _first, _resolvers in _Loader.yaml_implicit_resolvers.items():
    _Dumper.yaml_implicit_resolvers.setdefault(_first, []).extend(_resolvers)


def dump(config: Any) -> str:
    """A configuration as YAML, keys in their order."""
    return str(yaml.dump(config, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


def tree(text: str, where: str) -> Any:
    """Parse YAML; values and keys that are not text become a `Scalar`.

    Raises:
        UserError: naming `where` and the line: of text that is no YAML, of a key that is there twice, or of too many values.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Scalar(None, "")
        if _size(node, {}) > _MAX_VALUES:
            raise UserError(f"{where}: more than {_MAX_VALUES} values; write them out without aliases (*name), or use fewer")
        return _built(loader, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}: not valid YAML{place}: {getattr(error, 'problem', error)}") from error
    except RecursionError:
        raise UserError(f"{where}: not valid YAML: it is nested too deeply") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values below a node, aliases counted as often as they are used."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MAX_VALUES + 1  # for a node that holds itself
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _built(loader: _Loader, node: yaml.Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_object(node)
        return value if isinstance(value, str) else Scalar(value, node.value)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_built(loader, item) for item in node.value]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            key = key_node.value
            if key in lines and key_node.tag.rpartition(":")[2] != "merge":
                problem = f"the key {key!r} is there twice, first in line {lines[key]}; remove one of the two"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            lines[key] = key_node.start_mark.line + 1
        loader.flatten_mapping(node)
        return {_built(loader, key): _built(loader, value) for key, value in node.value}
    raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag!r} is not known", node.start_mark)


def plain(value: Any) -> Any:
    """A tree in which each scalar has its YAML value."""
    if isinstance(value, Typed):
        return plain(read(value))
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def read(value: Any) -> Any:
    """Typed text as a tree, in which text stays as typed, quotes included; any other value unchanged."""
    if not isinstance(value, Typed):
        return value
    found = tree(value.text, value.where)
    return value.text if isinstance(found, str) else found


def key_text(key: Any) -> str:
    """A key as it is written."""
    return key.text if isinstance(key, Scalar) else str(key)


def settle(value: Any, hint: Any, take_back: bool = True) -> Any:
    """A value converted to fit a type hint: the text as written if the hint allows text and YAML's value does not fit.

    Args:
        value: what was typed (`Typed`), or a tree.
        hint: the type hint.
        take_back: whether ``null``, typed where both text and nothing are allowed, takes a value back; else it is the word.

    Returns:
        Plain values; one that does not fit the hint is left to the caller's checks.
    """
    parts = _parts(hint)
    if isinstance(value, Typed):
        if value.text in _words(parts):
            return value.text
        if not any(map(_is_text, parts)):
            return settle(read(value), hint)
        if value.text == "null" and types.NoneType in parts and take_back:
            return None
        rest = [part for part in parts if not _is_text(part) and part is not types.NoneType]
        try:
            found = settle(read(value), typing.Union[tuple(rest)]) if rest else value.text  # noqa: UP007
        except UserError:  # no YAML, but text all the same
            return value.text
        return found if any(_holds(found, part) for part in rest) else value.text
    if isinstance(value, Scalar):
        if any(_holds(value.value, part) for part in parts):
            return value.value
        as_text = any(map(_is_text, parts)) or value.text in _words(parts)
        return value.text if as_text and value.value is not None else value.value
    if isinstance(value, str):
        if any(_holds(value, part) for part in parts):
            return value
        try:  # a number in quotes
            found = tree(value, "")
        except UserError:
            return value
        return found.value if isinstance(found, Scalar) and any(_holds(found.value, part) for part in parts) else value
    for part in parts:
        found = _with_items(value, part)
        if _holds(found, part):
            return found
    return plain(value)


def _with_items(value: Any, part: Any) -> Any:
    """A list or a mapping with each of its items as the hint of the items wants it; anything else as it is."""
    origin, items = typing.get_origin(part), typing.get_args(part)
    if isinstance(value, list) and items and _is_kind(origin, Sequence):
        return [settle(item, hint) for item, hint in zip(value, _each(part, len(value)), strict=True)]
    if isinstance(value, dict) and len(items) == 2 and _is_kind(origin, Mapping):
        return {settle(key, items[0]): settle(item, items[1]) for key, item in value.items()}
    return plain(value)


def _each(part: Any, length: int) -> Sequence[Any]:
    """The hint of each item of a list or tuple."""
    items = typing.get_args(part)
    if typing.get_origin(part) is tuple and Ellipsis not in items:
        return items if len(items) == length else (typing.Never,) * length
    return items[:1] * length


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the hint alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(part for item in typing.get_args(hint) for part in _parts(item))
    return (types.NoneType,) if hint is None else (hint,)


def _words(parts: Sequence[Any]) -> set[Any]:
    """The words that literal types name."""
    return {item for part in parts if typing.get_origin(part) is Literal for item in typing.get_args(part)}


def _is_text(part: Any) -> bool:
    return part is str or _is_kind(part, os.PathLike)


def _is_kind(found: Any, kind: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, kind)


def _holds(value: Any, part: Any) -> bool:
    """Whether a plain value is one of a type."""
    if part in (Any, inspect.Parameter.empty):
        return True
    origin, items = typing.get_origin(part) or part, typing.get_args(part)
    if origin is Literal:
        return any(type(value) is type(item) and value == item for item in items)
    if origin in (int, float):
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    if _is_text(origin):
        return isinstance(value, str)
    if _is_kind(origin, Mapping):
        keys, values = items if len(items) == 2 else (Any, Any)
        return isinstance(value, dict) and all(_fits(k, keys) and _fits(v, values) for k, v in value.items())
    if _is_kind(origin, Sequence):
        return isinstance(value, list) and (not items or all(map(_fits, value, _each(part, len(value)))))
    return inspect.isclass(origin) and isinstance(value, origin)


def _fits(value: Any, hint: Any) -> bool:
    return any(_holds(value, part) for part in _parts(hint))


def put_back(target: Any, given: Mapping[str, Any]) -> None:
    """Restore texts that a parser converted into something else, such as "null" into `None`.

    Args:
        target: the parser's, a mapping or a namespace; changed in place.
        given: what the parser was given, every value as its argument wants it.
    """
    for key, item in given.items():
        if key in _UNTYPED or key not in target:
            continue
        found = target[key]
        if isinstance(item, str):
            if not isinstance(found, str):
                target[key] = item
        elif isinstance(item, dict) and hasattr(found, "items"):
            put_back(found, item)
        elif isinstance(item, list) and isinstance(found, list) and all(isinstance(text, str) for text in item):
            target[key] = list(item)
        elif isinstance(item, list) and isinstance(found, list):
            for old, new in zip(item, found, strict=True):
                if isinstance(old, dict) and hasattr(new, "items"):
                    put_back(new, old)
