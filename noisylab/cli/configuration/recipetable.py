"""What the packaged recipes and their rows aim at, as a table; read from their text alone, so that it comes at once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylab.cli.configuration import recipes
from noisylab.cli.configuration.recipefile import Row, read_file
from noisylab.cli.configuration.scalars import plain

__all__ = ["RecipeLine", "lines_of", "recipes_table"]

_COLUMNS = ("recipe", "row", "method", "data", "noise", "source", "expected", "measured")
_HEADER = re.compile(r"^# (Source|Expected|Measured): *(.+(?:\n#   .+)*)$", re.M)  # a line that goes on is indented by three
_WIDTH = 100  # of a cell


@dataclass(frozen=True)
class RecipeLine:
    """A line of the table of recipes: a recipe as it stands, or a row of it.

    Args:
        name: of the recipe.
        row: "-" for a recipe as it stands whose rows do not name it.
        method: the class.
        data: the class.
        noise: the class with its arguments.
        source: of the figures.
        expected: the figure it aims at.
        measured: the figure it gave.
    """

    name: str
    row: str
    method: str
    data: str
    noise: str
    source: str
    expected: str
    measured: str


def lines_of(path: Path) -> list[RecipeLine]:
    """What a recipe says of itself and of its rows; nothing for a file without a method.

    The header holds comment lines ``# Source:``, ``# Expected:`` and ``# Measured:`` for the recipe as it stands.
    """
    file = read_file(path)
    begin: dict[str, Any] = {}
    for part in (file.base, file):
        begin = _read(begin, {} if part is None else part.values)
    if "model" not in begin:
        return []
    about = {key: " ".join(text.replace("\n#", " ").split()) for key, text in _HEADER.findall(recipes.text_of(path))}
    whole = next((row for row in file.rows.values() if not row.values), Row("-"))
    told = {"source": about.get("Source", "ours"), "expected": about.get("Expected", "-"), "measured": about.get("Measured", "")}
    lines = [_line(path.stem, begin, whole, told)]
    for row in file.rows.values():
        if row.values:
            lines.append(_line(path.stem, _read(begin, row.values), row, {"source": told["source"], "expected": "-"}))
    return lines


def recipes_table() -> str:
    """The packaged recipes and their rows as an aligned table."""
    found = [line for path in recipes.packaged().values() for line in lines_of(path)]
    cells = [(r.name, r.row, r.method, r.data, r.noise, r.source, r.expected, r.measured) for r in found]
    rows = [_COLUMNS, *(tuple(textwrap.shorten(cell, _WIDTH, placeholder=" ...") for cell in row) for row in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _line(name: str, found: Mapping[str, Any], row: Row, told: Mapping[str, str]) -> RecipeLine:
    return RecipeLine(
        name=name,
        row=row.name,
        method=found["model"],
        data=found.get("data", "-"),
        noise=_describe(found.get("noise"), found.get("arguments", {})),
        source=row.source or told["source"],
        expected=row.expected or told["expected"],
        measured=row.measured or told.get("measured", "") or "not yet",
    )


def _read(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The classes of ``model``, ``data`` and ``noise`` and the noise's ``arguments``, once `values` are put in.

    Of another kind of noise only the rate is taken over; what a class really keeps, only the class knows.
    """
    found = {"arguments": {}, **before}
    for key, value in _leaves(plain(values)):
        if key in (("model",), ("data",)):
            found[key[0]] = _short(value)
        elif key == ("data", "noise"):
            if found.get("noise") != _short(value):
                found["arguments"] = {name: item for name, item in found["arguments"].items() if name == "rate"}
            found["noise"] = None if value is None else _short(value)
        elif key[:2] == ("data", "noise"):
            found["arguments"] = {**found["arguments"], key[2]: value}
    return found


def _leaves(node: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(key, ...) and value of what stands three levels deep; the class of a node is the value of the node itself."""
    if "class_path" in node:
        yield at, node["class_path"]
    for key, value in node.items():
        parts = () if key == "init_args" else tuple(str(key).split("."))
        if isinstance(value, dict) and (not parts or len(at) + len(parts) < 3):
            yield from _leaves(value, (*at, *parts))
        elif key != "class_path":
            yield (*at, *parts), value


def _short(name: Any) -> str:
    return str(name).rpartition(".")[2]


def _describe(noise: str | None, arguments: Mapping[str, Any]) -> str:
    if noise is None:
        return "as given"
    shown = ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "seed")
    return f"{noise}({shown})" if shown else noise
