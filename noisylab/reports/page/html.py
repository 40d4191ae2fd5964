"""Blocks as HTML. Every text is escaped here; only drawings, which escape their own texts, come in as they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from typing import assert_never

from noisylab.reports.page.blocks import Block, Cell, Column, Figure, Fold, Grid, Legend, Lines, Section, Table, Terms, Text
from noisylab.reports.page.chart import mark_style, swatch

__all__ = ["block_html", "contents_html", "section_html"]

_MOST_ACROSS = 4  # characters of a class's name that stand across its column
_STRONG = 0.72  # depth of a heat map's color from which light text is the easier one to read


def section_html(section: Section) -> str:
    """A section with its heading."""
    body = "\n".join(block_html(block) for block in section.blocks)
    heading = f'<h2 id="{section.key}">{_text(section.title)}</h2>'
    return f'<section aria-labelledby="{section.key}">{heading}\n{body}</section>'


def contents_html(sections: Sequence[Section]) -> str:
    """Links to the sections."""
    items = "".join(f'<li><a href="#{section.key}">{_text(section.title)}</a></li>' for section in sections)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def block_html(block: Block) -> str:
    """One block."""
    match block:
        case Text(text, "head"):
            return f'<h3 class="head">{_text(text)}</h3>'
        case Text(text, kind):
            return f"<p{_kind('note' if kind == 'soft' else kind)}>{_text(text)}</p>"
        case Lines(lines, kind):
            items = "".join(f"<li>{_text(line)}</li>" for line in lines)
            if kind == "warning":
                return f'<aside class="warnings" aria-label="Beware"><ul>{items}</ul></aside>'
            return f"<ul{_kind(kind)}>{items}</ul>"
        case Terms(terms, kind):
            return _terms(terms, kind)
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Legend():
            return _legend(block)
        case Grid(figures, size, legend):
            inner = "".join(block_html(figure) for figure in figures)
            return f'{_legend(legend) if legend else ""}<div class="grid {size}">{inner}</div>'
        case Fold(heading, blocks, is_open):
            inner = "\n".join(block_html(each) for each in blocks)
            return f"<details{' open' if is_open else ''}><summary><h3>{_text(heading)}</h3></summary>\n{inner}</details>"
        case _:
            assert_never(block)


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _terms(terms: Sequence[tuple[str, str, str]], kind: str) -> str:
    items = "".join(
        f"<div><dt>{_text(term)}</dt><dd>{_broken(text)}{f'<small>{_text(more)}</small>' if more else ''}</dd></div>"
        for term, text, more in terms
    )
    return f'<dl class="{kind or "terms"}">{items}</dl>'


def _broken(text: str) -> str:
    return _text(text).replace("\n", "<br>")


def _figure(figure: Figure) -> str:
    title = f'<p class="title">{_text(figure.title)}</p>' if figure.title else ""
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
    return f"<figure>{title}{figure.svg}{caption}</figure>"


def _legend(legend: Legend) -> str:
    items = "".join(f"<li>{drawing}{_text(text)}</li>" for drawing, text in legend.entries)
    return f'<ul class="legend" aria-label="Legend">{items}</ul>'


def _table(table: Table) -> str:
    heat = table.kind == "heat"
    head = _upright(table.columns) if heat else _head(table.columns)
    bodies = "".join(_part(table, name, rows) for name, rows in table.parts)
    inner = f"<caption><span>{_text(table.caption)}</span></caption><thead>{head}</thead>{bodies}"
    inner = f'<table class="{_class(table)}">{inner}</table>'
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.caption)}">{inner}</div>'


def _class(table: Table) -> str:
    if table.kind == "plain":
        return "plain"
    return "heat turned" if max(len(column.name) for column in table.columns[1:]) > _MOST_ACROSS else "heat"


def _upright(columns: Sequence[Column]) -> str:
    cells = "".join(
        f'<th scope="col" title="{escape(column.name)}"><span>{escape(column.name)}</span></th>' for column in columns[1:]
    )
    return f'<tr><td><span class="hidden">{escape(columns[0].name)}</span></td>{cells}</tr>'


def _head(columns: Sequence[Column]) -> str:
    """One line of headings, or two where some columns have a heading in common."""
    if not any(column.group for column in columns):
        return f"<tr>{''.join(_heading(column) for column in columns)}</tr>"
    first, second = [], []
    for group, members in itertools.groupby(columns, key=lambda column: column.group):
        found = list(members)
        if group:
            first.append(f'<th scope="colgroup" colspan="{len(found)}" class="group">{_text(group)}</th>')
            second += [_heading(column) for column in found]
        else:
            first += [_heading(column, rows=2) for column in found]
    return f"<tr>{''.join(first)}</tr><tr>{''.join(second)}</tr>"


def _heading(column: Column, rows: int = 1) -> str:
    over = f' rowspan="{rows}"' if rows > 1 else ""
    return f'<th scope="col"{over}{_kind(_column(column))}>{_text(column.name)}</th>'


def _column(column: Column) -> str:
    return "number" if column.number else "picture" if column.picture else ""


def _part(table: Table, name: str, rows: Sequence[Sequence[Cell]]) -> str:
    span = len(table.columns)
    heading = f'<tr class="part"><th scope="rowgroup" colspan="{span}">{_text(name)}</th></tr>' if name else ""
    lines = "".join(_row(table.columns, row) for row in rows)
    return f"<tbody>{heading}{lines}</tbody>"


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    first, *others = row
    mark = swatch(mark_style(first.mark)) if first.mark is not None else ""
    name = f'<span class="marked">{mark}<span>{_content(first)}</span></span>' if mark else _content(first)
    head = f'<th scope="row" title="{escape(first.text)}">{name}</th>'
    return f"<tr>{head}{''.join(_cell(column, cell) for column, cell in zip(columns[1:], others, strict=True))}</tr>"


def _cell(column: Column, cell: Cell) -> str:
    kinds = [kind for kind in (_column(column), cell.kind) if kind]
    style = ""
    if cell.depth is not None:
        kinds = [kind for kind in kinds if kind != "number"]
        kinds += ["strong"] if abs(cell.depth) >= _STRONG else []
        kinds += ["less"] if cell.depth < 0 else []
        kinds += ["zero"] if cell.text == "0" else []
        style = f' style="--v:{abs(cell.depth):.3f}"'
    elif cell.bar is not None:
        kinds.append("bar")
        style = f' style="--v:{cell.bar:.3f}"'
    content = _content(cell)
    return f"<td{_kind(' '.join(kinds))}{style}>{content}</td>"


def _content(cell: Cell) -> str:
    note = f"<small>{_text(cell.note)}</small>" if cell.note else ""
    if cell.kind == "chips":
        return " ".join(f"<code>{escape(line)}</code>" for line in cell.text.split("\n") if line) + note
    if cell.kind == "code":
        return f"<code>{escape(cell.text)}</code>{note}"
    return (cell.svg or _broken(cell.text)) + note


def _text(text: str) -> str:
    """Escaped text, in which a percent sign stays with its number."""
    return escape(text).replace(" %", "\N{NO-BREAK SPACE}%")
