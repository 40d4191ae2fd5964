"""What mkdocs does with the pages of noisylab beyond what it does with any.

The pages are written for GitHub, where all of them can be read, too. So links lead to files of the repository, also to those
outside docs/, and to notebooks. On the site

- CHANGELOG.md and CONTRIBUTING.md are pages like those in docs/;
- a notebook is a page of its text and code, and can be downloaded; its cells are run first, and their output shown, where
  NOISYLAB_SITE_RUN is set: it takes a few minutes;
- a link to the README of the repository leads to the start page, and a link to any other file of it to a copy of that file;
- a link to something that is not there is a warning, as mkdocs has it;
- a page that would load something from another host is an error: the site is complete without a network.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
import tempfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

__all__ = ["on_config", "on_files", "on_page_markdown", "on_post_page"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^(```.*?^```)", re.M | re.S)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write out the entries of the navigation that end with ``/*``; pages that are named beside them come first."""
    config.nav = [_expanded(entry) for entry in config.nav or []]
    return config


def _expanded(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, children),) = entry.items()
    if not isinstance(children, list):
        return entry
    found: list[Any] = []
    for child in children:
        if isinstance(child, str) and child.endswith("/*"):
            pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob(f"{child}.md"))
            found += [{_heading(DOCS / page): page} for page in pages if page not in children]
        else:
            found.append(_page_name(child) if isinstance(child, str) else child)
    return {title: found}


def _heading(path: Path) -> str:
    """The first heading of a page; of one that begins with a comment mkdocs would take the file's name."""
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")).removeprefix("# ")


def _page_name(path: str) -> str:
    return f"{path.removesuffix('.ipynb')}.md" if path.endswith(".ipynb") else path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/, and one for each notebook."""
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            notebook = nbformat.read(str(file.abs_src_path), as_version=4)
            if os.environ.get("NOISYLAB_SITE_RUN"):
                _run(notebook)
            page = _page_name(file.src_uri)
            text = notebook_page(notebook, posixpath.basename(file.src_uri), _keeper(files, config, page))
            files.append(File.generated(config, page, content=text))
    return files


def _run(notebook: Any) -> None:
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()


def _keeper(files: Files, config: MkDocsConfig, page: str) -> Callable[[bytes], str]:
    """A function that adds a picture to the site beside a page and returns its name."""
    numbers = iter(range(1, 1000))

    def keep(picture: bytes) -> str:
        name = f"{page.removesuffix('.md')}_{next(numbers)}.png"
        files.append(File.generated(config, name, content=picture))
        return posixpath.basename(name)

    return keep


def notebook_page(notebook: Any, name: str, keep: Callable[[bytes], str]) -> str:
    """A notebook as Markdown: text, code, and what was printed and drawn.

    Args:
        notebook: as nbformat reads it.
        name: its file, for the link to download it.
        keep: stores a picture and returns the link to it.
    """
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/plain", "")
            if "image/png" in data:
                parts.append(f"![Figure]({keep(base64.b64decode(data['image/png']))})")
            elif text.strip():
                parts.append(f"```text\n{text.rstrip()}\n```")
    heading, _, rest = "\n\n".join(parts).partition("\n")
    return f"{heading}\n\n[Download the notebook]({name}){{ download }}\n{rest}\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside docs/, and to notebooks, lead to what stands for them on the site."""
    folder = posixpath.dirname(page.file.src_uri)
    outside = page.file.src_uri in PAGES

    def target(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        # where the link leads, from the root of the repository
        path = posixpath.normpath(posixpath.join("" if outside else f"docs/{folder}", link))
        if path == f"docs/{page.file.src_uri.removesuffix('.md')}.ipynb":
            return match[0]  # a notebook's page offers the notebook itself
        uri = _on_site(path, files, config)
        return match[0] if uri is None else posixpath.relpath(uri, folder or ".") + anchor

    # not in code; every second part is a block of it
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(target, part) for part in parts)


def _on_site(path: str, files: Files, config: MkDocsConfig) -> str | None:
    """What stands for a file of the repository, by its path in docs/; None for a file that is not there."""
    if path == "README.md":
        return path
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        if inside.endswith(".ipynb"):
            return _page_name(inside) if (DOCS / inside).is_file() else None
        excluded = (file := files.get_file_from_path(inside)) is None or file.inclusion == InclusionLevel.EXCLUDED
        if not excluded:
            return inside
    if path in PAGES:
        return path
    if path.startswith("..") or not (ROOT / path).is_file():
        return None
    copy = f"repository/{path}"
    if files.get_file_from_path(copy) is None:
        files.append(File.generated(config, copy, abs_src_path=str(ROOT / path)))
    return copy


class _Loads(HTMLParser):
    """Collects what a page loads: not what its links lead to."""

    _ATTRIBUTES = ("src", "srcset", "data", "poster")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called with each tag."""
        names = (*self._ATTRIBUTES, "href") if tag == "link" else self._ATTRIBUTES
        self.found += [value for name, value in attrs if name in names and value and re.match(r"(\w+:)?//", value)]


def external_resources(html: str) -> list[str]:
    """The addresses on other hosts from which a page loads something: scripts, styles, fonts, pictures, frames."""
    loads = _Loads()
    loads.feed(html)
    return loads.found


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from another host.

    Raises:
        PluginError: naming the page and the addresses.
    """
    if found := external_resources(output):
        raise PluginError(f"{page.file.src_uri} loads {', '.join(found)} from another host; put a copy into docs/")
    return output
