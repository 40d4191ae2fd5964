"""What a page is made of, apart from its form: sections of paragraphs, tables and figures, for HTML and Markdown alike.

Every text is plain: whoever writes it into a page escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Block", "Cell", "Column", "Figure", "Fold", "Grid", "Legend", "Lines", "Section", "Table", "Terms", "Text"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it says.
        note: said below it, smaller.
        svg: a picture instead of the text, where pictures can be shown.
        mark: number of the color and dash that the row has in the figures.
        kind: "code" for what is typed or copied, "chips" for several such, a line each; "main" for the figure to look at; "bad"
            for a failure.
        depth: in [-1, 1], the color of a cell of a heat map, negative for the other hue; None for no color.
        bar: in [0, 1], the length of a bar behind the text; None for none.
    """

    text: str = ""
    note: str = ""
    svg: str = ""
    mark: int | None = None
    kind: Literal["", "code", "chips", "main", "bad"] = ""
    depth: float | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its heading.
        group: heading over it and its neighbors with the same group; "" for none.
        number: whether it holds numbers, which stand flush right.
        picture: whether it holds pictures alone, which a text has no use for.
    """

    name: str
    group: str = ""
    number: bool = False
    picture: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is the row's heading.

    Args:
        columns: at least one.
        parts: rows in parts, each with its heading ("" for none).
        caption: what the table shows, for those who do not see it, too.
        kind: "heat" for a heat map, whose columns are headed upright; "plain" otherwise.
    """

    columns: Sequence[Column]
    parts: Sequence[tuple[str, Sequence[Sequence[Cell]]]]
    caption: str
    kind: Literal["plain", "heat"] = "plain"


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: what it says.
        kind: "soft" for an explanation, "head" for a heading of what follows.
        picture: whether it is about pictures in a table, which a text is without.
    """

    text: str
    kind: Literal["", "soft", "head"] = ""
    picture: bool = False


@dataclass(frozen=True)
class Lines:
    """A list of sentences; "warning" for what must be seen."""

    lines: Sequence[str]
    kind: Literal["", "warning"] = ""


@dataclass(frozen=True)
class Terms:
    """Terms, each with what is said of it; "cards" are the large figures at the top of a page."""

    terms: Sequence[tuple[str, str, str]]  # term, what, more about it
    kind: Literal["", "cards"] = ""


@dataclass(frozen=True)
class Figure:
    """A picture.

    Args:
        svg: the picture itself, with its title and description inside.
        caption: below it; "" for none.
        title: above it; "" for none.
    """

    svg: str
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class Legend:
    """What lines mean: (class of the line, text)."""

    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Grid:
    """Figures beside each other.

    Args:
        figures: in reading order.
        size: "wide" for two in a row, "small" for three, "matrix" for as many as fit.
        legend: above them; None for none.
        png: writes the same as one picture, for pages that cannot hold the figures; None where they are left out there.
        name: of that picture, a word.
    """

    figures: Sequence[Figure | Table]
    size: Literal["wide", "small", "matrix"]
    legend: Legend | None = None
    png: Callable[[Path], Path] | None = None
    name: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens by their heading; on paper they are open."""

    heading: str
    blocks: Sequence[Block]
    open: bool = False


Block = Text | Lines | Terms | Table | Figure | Grid | Legend | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        key: its address within the page, a word.
        title: its heading.
        blocks: what it holds; a section without any is left out.
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
