"""Constructor arguments: the ranges that their types declare, and which of them a class takes, its parents' included.

An argument's type says which values it takes: ``label_momentum: FractionBelowOne = 0.8``. To Python and to type checkers that is
a float; `check_arguments` reads the range and refuses other values by name. A child lists its own arguments alone and passes the
rest on, ``def __init__(self, num_classes, network, exchange=False, **ieg)``; `arguments` finds them all.
"""

from __future__ import annotations

import ast
import collections.abc
import functools
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

__all__ = [
    "Argument",
    "AtLeastOne",
    "Count",
    "Finite",
    "Fraction",
    "FractionBelowOne",
    "Limit",
    "NonNegative",
    "Positive",
    "Range",
    "argument_lines",
    "argument_texts",
    "arguments",
    "check_arguments",
    "signature",
    "split_docstring",
    "type_text",
]


@dataclass(frozen=True)
class Range:
    """The finite numbers between two limits, as metadata of a type: ``Annotated[float, Range(0, 1)]``.

    Args:
        low: the smallest.
        high: the largest; infinity for none.
        ends: whether the limits themselves are in it, as in mathematics: "[]", "[)", "(]" or "()".
        whole: whether only whole numbers are.
        none: what None means, where it is allowed beside these numbers.

    Example:
        >>> 0.5 in Range(0, 1), 1.0 in Range(0, 1, "[)"), math.nan in Range(), str(Range(0, 1, "[)"))
        (True, False, False, 'a fraction in [0, 1)')
    """

    low: float = -math.inf
    high: float = math.inf
    ends: Literal["[]", "[)", "(]", "()"] = "[]"
    whole: bool = False
    none: str = ""

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.whole and not isinstance(value, int)):
            return False
        above = self.low < value if self.ends[0] == "(" else self.low <= value
        below = value < self.high if self.ends[1] == ")" else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        if self.high < math.inf:
            kind = "a fraction" if self.low >= 0 and self.high <= 1 and not self.whole else number
            return f"{kind} in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"
        if self.low == -math.inf:
            return "a finite number"
        if self.ends[0] == "(":
            return "a positive number" if self.low == 0 else f"{number} above {self.low:g}"
        return f"{number} of {self.low:g} or more" if self.low == 0 else f"{number} of at least {self.low:g}"


Fraction = Annotated[float, Range(0, 1)]
FractionBelowOne = Annotated[float, Range(0, 1, "[)")]
Positive = Annotated[float, Range(0, ends="()")]
NonNegative = Annotated[float, Range(0)]
Finite = Annotated[float, Range()]
Count = Annotated[int, Range(0, whole=True)]
AtLeastOne = Annotated[int, Range(1, whole=True)]
Limit = Annotated[float, Range(0, ends="()", none="no limit")] | None


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Any: "anything"}


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor.

    Args:
        hint: its type, without ranges.
        declared: its type as it was written, with ranges.
        default: None where there is none.
        required: whether it must be given.
    """

    hint: Any
    declared: Any
    default: Any
    required: bool


def arguments(cls: type) -> dict[str, Argument]:
    """The arguments of the constructor of `cls`, its own first, then those that ``**kwargs`` passes on to its parents."""
    found: dict[str, Argument] = {}
    for init, parameters in _constructors(cls):
        plain, declared = _hints(init, extras=False), _hints(init, extras=True)
        for name, parameter in parameters.items():
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            found[name] = Argument(plain.get(name, Any), declared.get(name, Any), default, required)
    return found


def signature(cls: type) -> inspect.Signature:
    """The signature of the constructor of `cls` as `arguments` finds it; arguments of parents by name alone."""
    own, *above = [list(parameters.values()) for _, parameters in _constructors(cls)]
    inherited = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameters in above for parameter in parameters]
    return inspect.Signature([*own, *inherited])


def _constructors(cls: type) -> Iterator[tuple[Any, dict[str, inspect.Parameter]]]:
    """The constructors that the arguments of `cls` reach, each with those that are its own and can be given."""
    known: set[str] = set()
    for owner in cls.__mro__:
        init = owner.__dict__.get("__init__")
        if init is None:
            continue
        accepted = list(inspect.signature(init).parameters.values())[1:]
        named = {p.name: p for p in accepted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in known}
        yield init, named
        known |= named.keys() | _handed_on(init)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted):
            return


@functools.cache
def _handed_on(init: Any) -> frozenset[str]:
    """Names that a constructor itself gives to its parent's, which cannot be given once more."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):  # no source: a class of an interactive session, or of a compiled module
        return frozenset()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__"]
    return frozenset(keyword.arg for call in calls for keyword in call.keywords if keyword.arg)


def _hints(function: Any, *, extras: bool) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=extras)
    except (NameError, TypeError):
        return {}


def check_arguments(cls: type, values: Mapping[str, Any]) -> None:
    """Refuse values outside the range, or not among the choices, that an argument's type declares.

    Types that are neither a range, a choice of literals nor None are not looked at.

    Args:
        cls: the class whose constructor is called.
        values: what it was given, by name.

    Raises:
        ValueError: naming the argument, what it takes and what it was given.
    """
    for name, argument in arguments(cls).items():
        if name in values and not _takes(argument.declared, values[name]):
            raise ValueError(f"{name} must be {type_text(argument.declared)}, got {values[name]!r}")


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the hint alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _range(part: Any) -> Range | None:
    return next((item for item in getattr(part, "__metadata__", ()) if isinstance(item, Range)), None)


def _takes(hint: Any, value: Any) -> bool:
    for part in _parts(hint):
        limits = _range(part)
        if limits is not None:
            taken = value in limits
        elif typing.get_origin(part) is Literal:
            taken = value in typing.get_args(part)
        else:
            taken = part is not types.NoneType or value is None
        if taken:
            return True
    return False


def type_text(hint: Any) -> str:
    """A type in words: "a fraction in [0, 1) or 'auto'".

    >>> type_text(Limit), type_text(Literal["cifar", "web"]), type_text(dict[str, int])
    ('a positive number, or None for no limit', "'cifar' or 'web'", 'a whole number for each name')
    """
    parts = _parts(hint)
    words: list[str] = []
    for part in parts:
        limits = _range(part)
        if limits is not None:
            words.append(str(limits))
        elif typing.get_origin(part) is Literal:
            words += [repr(value) for value in typing.get_args(part)]
        elif typing.get_origin(part) is collections.abc.Callable:
            words.append(f"factory of {type_text(_parts(typing.get_args(part)[1])[0])}")
        elif typing.get_origin(part) is dict:
            words.append(f"{type_text(typing.get_args(part)[1])} for each name")
        elif part in _WORDS:
            words.append(_WORDS[part])
        elif part is not types.NoneType:
            words.append(part.__name__ if inspect.isclass(part) and not typing.get_args(part) else str(part))
    text = " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
    if types.NoneType not in parts:
        return text
    meaning = next((limits.none for part in parts if (limits := _range(part)) is not None and limits.none), "")
    return f"{text}, or None{f' for {meaning}' if meaning else ''}"


_ITEM = re.compile(r"(\*{0,2}\w+)(?: \([^)]*\))?:\s+(.*)")


def argument_texts(cls: type) -> dict[str, str]:
    """The text under ``Args:`` in the docstrings of `cls` and its parents for each argument of `cls`, on one line each."""
    texts: dict[str, str] = {}
    documented = [item for owner in cls.__mro__ for item in (owner, owner.__dict__.get("__init__"))]
    for lines in [split_docstring(vars(item).get("__doc__") or "")[1] for item in documented if hasattr(item, "__dict__")]:
        name = ""
        for line in lines.splitlines():
            item = _ITEM.fullmatch(line)
            if item:
                name = item[1] if item[1] not in texts else ""
                texts |= {name: item[2]} if name else {}
            elif name:
                texts[name] += f" {line.strip()}"
    return {name: texts[name] for name in arguments(cls) if name in texts}


def split_docstring(docstring: str) -> tuple[str, str, str]:
    """A docstring without indentation, in three parts: before ``Args:``, the lines under it, and what follows."""
    lines = inspect.cleandoc(docstring).splitlines()
    if "Args:" not in lines:
        return "\n".join(lines), "", ""
    start = lines.index("Args:")
    end = next((place for place in range(start + 1, len(lines)) if not lines[place].startswith("    ")), len(lines))
    before, under, after = lines[:start], lines[start + 1 : end], lines[end:]
    return "\n".join(before).strip(), "\n".join(line[4:] for line in under), "\n".join(after).strip()


def argument_lines(cls: type, leave_out: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """Name, allowed values with default, and description of each argument of `cls`.

    Args:
        cls: a class.
        leave_out: names of arguments that are not wanted.
    """
    texts, lines = argument_texts(cls), []
    for name, argument in arguments(cls).items():
        if name not in leave_out:
            default = "required" if argument.required else f"{argument.default!r} by default"
            lines.append((name, f"{type_text(argument.declared)}; {default}", texts.get(name, "")))
    return lines
