"""Writes the page of some runs: one HTML file that needs nothing else, or Markdown with its figures beside it."""

from __future__ import annotations

import datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from noisylab.files import atomic_path
from noisylab.reports.page.blocks import Block, Fold, Grid, Section, Text
from noisylab.reports.page.content import Content
from noisylab.reports.page.curves import curves_section, selection_section
from noisylab.reports.page.datacard import data_section
from noisylab.reports.page.differences import differences
from noisylab.reports.page.endings import memorization_section, selection_table
from noisylab.reports.page.html import block_html, contents_html, section_html
from noisylab.reports.page.markdown import block_markdown, plain, section_markdown
from noisylab.reports.page.overview import overview, title_of
from noisylab.reports.page.protocol import protocol_section
from noisylab.reports.page.repeat import machine_section, repeat_section, settings_section, unfinished_section
from noisylab.reports.page.results import results_section
from noisylab.reports.page.transitions import transition_section

__all__ = ["GENERATOR", "figure_paths", "is_report", "sections_of", "write_html", "write_markdown"]

GENERATOR = "noisylab report"
"""What a page says that it was written by; by this `is_report` knows it."""

_MARK = f"<!-- {GENERATOR} -->"
_HEAD = 600  # bytes at the start of a page in which that stands


def sections_of(content: Content, *, best: bool = False) -> list[Section]:
    """All sections that have something to say, in their order.

    Args:
        content: what the page is about.
        best: whether to show the best test epoch, too, marked as chosen on the test set.
    """
    unfinished = unfinished_section(content)
    if not content.runs:
        nothing = Section("results", "Results", [Text("No run is finished yet.")])
        return [each for each in (nothing, unfinished) if each.blocks]
    selection = selection_section(content)
    found = [
        results_section(content, best=best, differences=differences(content)),
        protocol_section(content, best=best),
        curves_section(content),
        memorization_section(content),
        Section(selection.key, selection.title, [*selection_table(content), *selection.blocks]),
        transition_section(content),
        data_section(content),
        settings_section(content),
        repeat_section(content),
        machine_section(content),
        unfinished,
    ]
    return [section for section in found if section.blocks]


def write_html(path: str | Path, content: Content, *, best: bool = False, today: datetime.date | None = None) -> Path:
    """Write the page as one HTML file, atomically.

    Everything is inside the file: a browser loads nothing else and runs no script. Folded parts are open on paper.

    Args:
        path: the file.
        content: what the page is about.
        best: whether to show the best test epoch, too, marked as chosen on the test set.
        today: the date that the page bears; None for that of the clock.

    Returns:
        `path`.
    """
    title, lead = title_of(content)
    sections = sections_of(content, best=best)
    page = Template(_asset("page.html")).substitute(
        generator=GENERATOR,
        style=_asset("page.css"),
        title=escape(title),
        lead=escape(lead),
        overview="\n".join(block_html(block) for block in overview(content)),
        contents=contents_html(sections),
        sections="\n".join(section_html(section) for section in sections),
        made=escape(_made(today)),
    )
    with atomic_path(path) as partial:
        partial.write_bytes(
            page.encode("utf-8", "replace")
        )  # a file name that is no text must not keep the page from being written
    return Path(path)


def write_markdown(path: str | Path, content: Content, *, best: bool = False, today: datetime.date | None = None) -> list[Path]:
    """Write the page as Markdown, with its figures as PNG files beside it, each atomically.

    Args:
        path: the file.
        content: what the page is about.
        best: whether to show the best test epoch, too, marked as chosen on the test set.
        today: the date that the page bears; None for that of the clock.

    Returns:
        The page, then its figures.
    """
    target = Path(path)
    drawn: list[Path] = []

    def draw(grid: Grid) -> Path | None:
        if grid.png is None:
            return None
        drawn.append(grid.png(_beside(target, grid)))
        return drawn[-1]

    title, lead = title_of(content)
    text = [f"{_MARK}\n\n# {plain(title)}\n\n{plain(lead)}\n\n"]
    text += [block_markdown(block, draw) for block in overview(content)]
    text += [section_markdown(section, draw) for section in sections_of(content, best=best)]
    text.append(f"{plain(_made(today))}\n")
    with atomic_path(target) as partial:
        partial.write_bytes("".join(text).encode("utf-8", "replace"))
    return [target, *drawn]


def figure_paths(path: str | Path, content: Content) -> list[Path]:
    """The files that `write_markdown` would write beside the page."""
    target, found = Path(path), []
    blocks: list[Block] = [block for section in sections_of(content) for block in section.blocks]
    while blocks:
        block = blocks.pop(0)
        if isinstance(block, Fold):
            blocks = [*block.blocks, *blocks]
        elif isinstance(block, Grid) and block.png is not None:
            found.append(_beside(target, block))
    return found


def is_report(path: str | Path) -> bool:
    """Whether a file is a page that noisylab wrote, as HTML or Markdown."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
    return f'content="{GENERATOR}"'.encode() in head or head.startswith(_MARK.encode())


def _beside(path: Path, grid: Grid) -> Path:
    return path.with_name(f"{path.stem}-{grid.name}.png")


def _made(today: datetime.date | None) -> str:
    date = datetime.date.today() if today is None else today
    return f"Made by {GENERATOR} on {date:%B} {date.day}, {date.year}."


def _asset(name: str) -> str:
    return resources.files("noisylab.reports.page").joinpath(name).read_text("utf-8")
