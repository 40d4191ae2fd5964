"""The table of a study on paper: columns, blocks that fit the page, plain text and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noisylab.reports.table import markdown_table

__all__ = ["Column", "Table", "as_markdown", "as_text", "tables_of"]

WIDTH = 120  # of plain text
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """One quantity of all rows.

    Args:
        title: of a table of its own.
        name: in a table with other columns.
        cells: by row and noise, in words.
    """

    title: str
    name: str
    cells: Mapping[tuple[tuple[str, ...], str], str]


@dataclass(frozen=True)
class Table:
    """Some columns under each other's names.

    Args:
        title: "" for none.
        header: one name a column, the first over the names of the rows.
        lines: as long as the header.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def tables_of(
    rows: Mapping[tuple[str, ...], str], noises: Sequence[str], columns: Sequence[Column], last: Sequence[Column]
) -> list[Table]:
    """With one noise, a single table; with several, one for each quantity, with a column for each noise.

    Args:
        rows: name by row, in order.
        noises: in order.
        columns: what each row has under each noise.
        last: what a row has under all noises together: its cells are those of the first noise. They come last.
    """
    if len(noises) == 1:
        return [_table("", "method", rows, [(column.name, column.cells, noises[0]) for column in (*columns, *last)])]
    each = [_table(c.title, "method", rows, [(noise, c.cells, noise) for noise in noises]) for c in columns]
    return [*each, _table("Cost", "method", rows, [(column.name, column.cells, noises[0]) for column in last])]


def _table(
    title: str,
    corner: str,
    rows: Mapping[tuple[str, ...], str],
    columns: Sequence[tuple[str, Mapping[tuple[tuple[str, ...], str], str], str]],
) -> Table:
    lines = [(name, *(cells.get((row, noise), "") for _, cells, noise in columns)) for row, name in rows.items()]
    return Table(title, (corner, *(name for name, _, _ in columns)), tuple(line for line in lines if any(line[1:])))


def as_text(heading: str, tables: Sequence[Table], notes: Sequence[str], width: int = WIDTH) -> str:
    """Plain text; a table that is wider than the page is divided after a column.

    Args:
        heading: the first line.
        tables: below it.
        notes: at the end, one paragraph each.
        width: of the page, in characters.
    """
    parts = [_wrapped(heading, width)]
    for table in tables:
        blocks = [_aligned(block) for block in _divided(table, width)]
        parts.append("\n".join([*([table.title] if table.title else []), "\n\n".join(blocks)]))
    parts.append("\n".join(_wrapped(note, width) for note in notes))
    return "\n\n".join(parts) + "\n"


def as_markdown(heading: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The same as Markdown."""
    parts = [f"**{heading}**"]
    for table in tables:
        shown = markdown_table(list(table.header), [list(line) for line in table.lines]).rstrip()
        parts += [f"{table.title}:", shown] if table.title else [shown]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)]) + "\n"


def _wrapped(text: str, width: int) -> str:
    lines = textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _divided(table: Table, width: int) -> list[Table]:
    """Parts of at most the width, each with the names of the rows; of at least one column."""
    widths = [max(len(cell) for cell in column) for column in zip(table.header, *table.lines, strict=True)]
    parts: list[list[int]] = [[]]
    for position in range(1, len(widths)):
        taken = widths[0] + sum(widths[other] + len(_GAP) for other in (*parts[-1], position))
        if parts[-1] and taken > width:
            parts.append([])
        parts[-1].append(position)
    return [
        Table(
            table.title,
            tuple(table.header[place] for place in (0, *part)),
            tuple(tuple(line[place] for place in (0, *part)) for line in table.lines),
        )
        for part in parts
    ]


def _aligned(table: Table) -> str:
    lines = [table.header, *table.lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )
