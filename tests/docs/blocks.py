"""The fenced blocks of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# the generated pages of methods show docstrings, whose examples are doctests
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the rest of its first line, its text."""

    language: str
    info: str
    text: str

    @property
    def title(self) -> str | None:
        """File name of a block that stands for a file."""
        match = re.search(r'title="([^"]+)"', self.info)
        return match[1] if match else None

    @property
    def runs(self) -> bool:
        """Whether the block is Python to be run."""
        return self.language == "python" and self.title is None and "no-run" not in self.info


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(language, info.strip(), text) for language, info, text in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def write_files(page: Path, folder: Path) -> None:
    """Write the blocks that stand for files."""
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text, encoding="utf-8")
