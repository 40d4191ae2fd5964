"""Describes types in words, for users who do not read Python's type hints."""

from __future__ import annotations

import collections.abc
import inspect
import os
import re
import types
import typing
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

__all__ = ["in_words", "untyped"]

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "keys and values",
    timedelta: "a length of time",
    types.NoneType: "null",
}
_BY_NAME = {"NoneType": "null", **{kind.__name__: word for kind, word in _WORDS.items()}}
_LISTS = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, list, tuple, set, frozenset)
_EXPECTED = re.compile(r"Expected an? (<class '[^']+'>|[\w.]+\[.*?\]|[\w.]+(?= *\|)[^.]*)(\. Got value: |(?=[\s.;]|$))")
_CLASS = re.compile(r"<class '(?:[\w.<>]+\.)?(\w+)'>")


def in_words(hint: Any) -> str:
    """The values that a type hint allows, in words.

    >>> from typing import Literal
    >>> in_words(int | None)
    'a whole number or null'
    >>> in_words(Literal["auto", "device"] | float)
    'one of auto, device; or a number'
    >>> in_words(tuple[float, float] | str | None)
    'text; or a list of 2: a number, a number; or null'
    """
    chosen: list[str] = []
    found: list[str] = []
    parts = _alternatives(hint)
    for part in parts:
        if typing.get_origin(part) is Literal:
            chosen += [_value(value) for value in typing.get_args(part)]
        elif not (_is_tensor(part) and len(parts) > 1) and not (part is int and float in parts):  # a tensor cannot be written
            found.append(_word(part))
    chosen = list(dict.fromkeys(chosen))
    words = sorted(dict.fromkeys(found), key=lambda word: (word == "null", "," in word))
    if len(chosen) > 1 and words in ([], ["null"]):
        return f"one of {', '.join([*chosen, *words])}"
    return _joined([*([f"one of {', '.join(chosen)}"] if len(chosen) > 1 else [repr(word) for word in chosen]), *words])


def untyped(text: str) -> str:
    """A parser's error message, with words in place of Python's types.

    >>> untyped("Expected a <class 'int'>. Got value: x")
    'must be a whole number, got x'
    """
    text = _EXPECTED.sub(lambda found: f"must be {_named(found[1])}" + (", got " if "Got value" in found[2] else ""), text)
    return _CLASS.sub(lambda found: _BY_NAME.get(found[1], found[1]), text).replace("typing.", "")


def _alternatives(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(hint) for inner in _alternatives(part)]
    if typing.get_origin(hint) is typing.Annotated:
        return _alternatives(typing.get_args(hint)[0])
    return [hint]


def _word(part: Any) -> str:
    origin, items = typing.get_origin(part) or part, [item for item in typing.get_args(part) if item is not Ellipsis]
    if part in _WORDS and not items:
        return _WORDS[part]
    if part is Any or part is inspect.Parameter.empty:
        return "any value"
    if origin is collections.abc.Callable or origin is type:
        return "a class or function, by its import path"
    if origin is tuple and items and Ellipsis not in typing.get_args(part):
        return f"a list of {len(items)}: {', '.join(map(in_words, items))}"
    if origin in _LISTS:
        return f"a list, each item {in_words(items[0])}" if items else "a list"
    if inspect.isclass(origin) and issubclass(origin, collections.abc.Mapping):
        return f"keys and values, each value {in_words(items[1])}" if len(items) == 2 else "keys and values"
    if inspect.isclass(origin) and issubclass(origin, os.PathLike):
        return "a path"
    return f"a class of the kind {getattr(origin, '__name__', str(origin))}"


def _named(text: str) -> str:
    found = _CLASS.fullmatch(text)
    name = found[1] if found else text.partition("[")[0].rpartition(".")[2]
    return _BY_NAME.get(name, f"a class of the kind {name}" if found else text)


def _value(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _joined(words: Sequence[str]) -> str:
    return ("; or " if any("," in word or " or " in word for word in words) else " or ").join(words)


def _is_tensor(hint: Any) -> bool:
    """Without importing torch, which takes seconds."""
    return inspect.isclass(hint) and (hint.__module__, hint.__qualname__) == ("torch", "Tensor")
