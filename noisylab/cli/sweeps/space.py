"""The values that a sweep searches: ranges and choices, as they are written and as Optuna takes them. Imports nothing slow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped, unused-ignore]  # the stubs come with the dev extra

from noisylab.cli.errors import UserError, unknown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["FORMS", "Dimension", "as_text", "dimension", "typed"]

FORMS = "  a range: 0.1..0.9, in steps 0..1/0.25, on a log scale log:1e-4..1e-1, of whole numbers int:1..8\n  choices: 1,3,7"
"""How a search is written, for errors."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<ways>(?:(?:log|int):)*)(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?:/(?P<step>{_NUMBER}))?")
_PARTS = ("low", "high", "log", "step", "int")


@dataclass(frozen=True)
class Dimension:
    """One value of a recipe that is searched: a choice of texts, or a range of numbers.

    Args:
        key: dotted, as a flag of ``fit``.
        choices: as the flag would be written; empty for a range.
        low: end of the range, included.
        high: likewise.
        log: whether the range is searched on a log scale.
        step: of the values in the range; None for any.
        whole: whether the values are whole numbers.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False

    def distribution(self) -> BaseDistribution:
        """It as Optuna takes it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def probes(self) -> list[str]:
        """Texts of values that must all be allowed: every choice, or the ends of the range and a value between them."""
        if self.choices:
            return list(self.choices)
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        within = [] if self.whole or self.step is not None else [middle]
        return [self.text(value) for value in (self.low, *within, self.high)]

    def text(self, value: Any) -> str:
        """A value as the flag is written; read back, it is the same number."""
        if self.choices:
            return str(value)
        return str(int(value)) if self.whole else repr(float(value))

    def parameter(self, value: Any) -> Any:
        """A value of a recipe as Optuna takes it; None where it is not among those searched.

        >>> dimension("model.temperature", "0.5..2").parameter(1)
        1.0
        """
        if self.choices:
            return next((choice for choice in self.choices if typed(choice) == value), None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        if self.step is not None and not math.isclose((value - self.low) % self.step, 0, abs_tol=1e-12):
            return None
        if self.whole:
            return int(value) if value == int(value) else None
        return float(value)

    def record(self) -> str | list[str]:
        """What `dimension` makes it of again."""
        return list(self.choices) if self.choices else str(self)

    def __str__(self) -> str:
        """As it is written on the command line."""
        if self.choices:
            return ",".join(self.choices)
        step = f"/{self._short(self.step)}" if self.step is not None else ""
        return f"{'int:' * self.whole}{'log:' * self.log}{self._short(self.low)}..{self._short(self.high)}{step}"

    def _short(self, value: float) -> str:
        if self.whole:
            return str(int(value))
        short = f"{value:.12g}"
        return short if float(short) == value else repr(value)


def dimension(key: str, node: Any, where: str = "--search") -> Dimension:
    """Read what is searched for one key.

    Args:
        key: dotted, as a flag of ``fit``.
        node: text as on the command line; from a file also a list of choices, or ``{choices: [...]}``,
            ``{low, high, log, step, int}``.
        where: for errors.

    Raises:
        UserError: for what is no search, with the right form.

    >>> dimension("model.optimizer.lr", "log:1e-4..1e-1")
    Dimension(key='model.optimizer.lr', choices=(), low=0.0001, high=0.1, log=True, step=None, whole=False)
    >>> dimension("model.lambda_", "1,3,7").choices
    ('1', '3', '7')
    """
    said = f"{where} {key}"
    if isinstance(node, Mapping):
        found = _of_mapping(key, node, said)
    elif isinstance(node, list | tuple):
        found = _chosen(key, [as_text(item) for item in node], said)
    else:
        found = _of_text(key, as_text(node), said)
    _check(found, said)
    return found


def _of_text(key: str, text: str, said: str) -> Dimension:
    text = text.strip()
    match = _RANGE.fullmatch(text)
    if match is not None:
        ways = match["ways"].split(":")[:-1]
        whole = "int" in ways
        read = {name: _number(match[name], whole, said) for name in ("low", "high") if match[name]}
        step = None if match["step"] is None else _number(match["step"], whole, said)
        return Dimension(key, low=read["low"], high=read["high"], log="log" in ways, step=step, whole=whole)
    choices = _split(text)
    if len(choices) < 2 or text.startswith(("log:", "int:")):
        raise UserError(f"{said}={text}: neither a range nor choices\n{FORMS}")
    return _chosen(key, choices, said)


def _of_mapping(key: str, node: Mapping[str, Any], said: str) -> Dimension:
    if "choices" in node:
        extra = set(node) - {"choices"}
        if extra or not isinstance(node["choices"], list | tuple):
            raise UserError(f"{said}: choices is a list, and stands alone: {{choices: [1, 3, 7]}}, got {dict(node)!r}")
        return _chosen(key, [as_text(item) for item in node["choices"]], said)
    for name in node:
        if name not in _PARTS:
            raise unknown(f"{said}: part", str(name), (*_PARTS, "choices"))
    missing = [name for name in ("low", "high") if node.get(name) is None]
    if missing:
        raise UserError(f"{said}: {missing[0]} is missing; write {{low: 1e-4, high: 1e-1, log: true}} or {{choices: [1, 3, 7]}}")
    switches = {name: node.get(name, False) for name in ("log", "int")}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise UserError(f"{said}: {name} is true or false, got {value!r}")
    whole = switches["int"]
    low, high = (_number(node[name], whole, said) for name in ("low", "high"))
    step = None if node.get("step") is None else _number(node["step"], whole, said)
    return Dimension(key, low=low, high=high, log=switches["log"], step=step, whole=whole)


def _chosen(key: str, choices: Sequence[str], said: str) -> Dimension:
    twice = next((choice for place, choice in enumerate(choices) if choice in choices[:place]), None)
    if twice is not None:
        raise UserError(f"{said}: {twice!r} is there twice; leave one out")
    if len(choices) < 2:
        raise UserError(f"{said}: one choice is nothing to search; set it as a value of the recipe\n{FORMS}")
    if not all(choices):
        raise UserError(f"{said}={','.join(choices)}: a choice is empty; write null for none\n{FORMS}")
    return Dimension(key, choices=tuple(choices))


def _check(found: Dimension, said: str) -> None:
    if found.choices:
        return
    said = f"{said}={found}"
    if not all(map(math.isfinite, (found.low, found.high))) or found.low >= found.high:
        raise UserError(f"{said}: the first end of a range must be below the second\n{FORMS}")
    if found.log and found.low <= 0:
        raise UserError(f"{said}: a log scale needs ends above 0")
    if found.step is None:
        return
    if found.log:
        raise UserError(f"{said}: steps and a log scale exclude each other; leave one out")
    count = round((found.high - found.low) / found.step) if found.step > 0 else 0
    if count < 1 or not math.isclose(found.low + count * found.step, found.high, rel_tol=1e-9):
        raise UserError(f"{said}: the steps do not end at {found.high:.12g}; change an end, or leave /{found.step:.12g} out")


def _number(value: Any, whole: bool, said: str) -> float:
    try:
        number = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise UserError(f"{said}: expected a number, got {value!r}\n{FORMS}") from None
    if whole and number != int(number):
        raise UserError(f"{said}: int asks for whole numbers, got {value}")
    return number


def _split(text: str) -> list[str]:
    """The parts between commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def as_text(value: Any) -> str:
    """A value of a file as a flag is written."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return repr(value)
    return str(yaml.safe_dump(value, default_flow_style=True, width=1 << 20)).strip()


def typed(text: str) -> Any:
    """What a text means as the value of a flag, as far as that is known without the flag."""
    from noisylab.cli.configuration.recipes import load_yaml

    return load_yaml(text, "--search")
