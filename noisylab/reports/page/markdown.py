"""Blocks as Markdown, with the figures as PNG files beside the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never
from urllib.parse import quote

from noisylab.reports.page.blocks import Block, Cell, Column, Figure, Fold, Grid, Legend, Lines, Section, Table, Terms, Text

__all__ = ["section_markdown"]

_ESCAPED = "\\`*_{}[]#"
_ENTITIES = "&<>|~$"  # a backslash before these is not taken away by every reader of Markdown
_SPECIAL = re.compile(f"[{re.escape(_ESCAPED + _ENTITIES)}]")

Draw = Callable[[Grid], Path | None]
"""Writes the figures of a grid; returns the file, or None where the page does without."""


def section_markdown(section: Section, draw: Draw) -> str:
    """A section with its heading."""
    return f"## {plain(section.title)}\n\n" + "".join(block_markdown(block, draw) for block in section.blocks)


def plain(text: str) -> str:
    """Text in which no character has a meaning for Markdown or HTML, in one line.

    Example:
        >>> print(plain("a_b <c> | *d*"))
        a\\_b &#60;c&#62; &#124; \\*d\\*
    """
    return _SPECIAL.sub(_harmless, " ".join(text.split()))


def _harmless(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0] in _ESCAPED else f"&#{ord(found[0])};"


def block_markdown(block: Block, draw: Draw) -> str:
    """One block, and an empty line."""
    match block:
        case Text(picture=True):
            return ""
        case Text(text, kind):
            return f"### {plain(text)}\n\n" if kind == "head" else f"{plain(text)}\n\n"
        case Lines(lines):
            return "".join(f"- {plain(line)}\n" for line in lines) + "\n"
        case Terms(terms):
            items = [f"- **{plain(term)}:** {_joined(text)}{f' ({plain(more)})' if more else ''}\n" for term, text, more in terms]
            return "".join(items) + "\n"
        case Table():
            return _table(block)
        case Figure() | Legend():
            return ""  # a grid draws them
        case Grid(figures):
            path = draw(block)
            if path is None:
                return "".join(block_markdown(figure, draw) for figure in figures)
            titles = "; ".join(figure.title if isinstance(figure, Figure) else figure.caption for figure in figures)
            return f"![{plain(titles)}]({quote(path.name)})\n\n"
        case Fold(heading, blocks):
            return f"### {plain(heading)}\n\n" + "".join(block_markdown(each, draw) for each in blocks)
        case _:
            assert_never(block)


def _joined(text: str) -> str:
    return "; ".join(plain(line) for line in text.split("\n"))


def _table(table: Table) -> str:
    shown = [place for place, column in enumerate(table.columns) if not column.picture]
    text = [f"{plain(table.caption)}:\n\n"]
    for name, rows in table.parts:
        text += [f"**{plain(name)}**\n\n"] if name else []
        text += [_pipes([table.columns[place] for place in shown], [[row[place] for place in shown] for row in rows]), "\n"]
    return "".join(text)


def _pipes(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    head = " | ".join(plain(f"{column.group}, {column.name}" if column.group else column.name) for column in columns)
    rule = "|".join("--:" if column.number else ":--" for column in columns)
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in rows]
    return f"| {head} |\n|{rule}|\n{''.join(lines)}"


def _cell(cell: Cell) -> str:
    if cell.kind in ("code", "chips"):
        return ", ".join(_code(line) for line in cell.text.split("\n") if line)
    text = f"{cell.text} ({cell.note})" if cell.note else cell.text
    return f"**{plain(text)}**" if cell.kind == "main" else _joined(text)


def _code(text: str) -> str:
    """Code in a cell: bars are escaped, backticks fenced by longer ones."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text.replace('|', chr(92) + '|')}{pad}{fence}"
