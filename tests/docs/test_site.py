"""The site of the documentation: which pages it has, where their links lead, how notebooks and docstrings are shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import griffe
import nbformat
import pytest
from blocks import ROOT
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files, get_files
from mkdocs.structure.pages import Page

import noisylab.methods
from noisylab.arguments import arguments

PUBLIC = (
    *("callbacks", "data", "issues", "losses", "memory", "methods"),
    *("metrics", "models", "noise", "selection", "transforms", "types"),
)


@pytest.fixture(scope="module")
def config() -> MkDocsConfig:
    loaded = load_config(str(ROOT / "mkdocs.yml"), plugins=[])
    return loaded.plugins.on_config(loaded)


@pytest.fixture(scope="module")
def hooks(config: MkDocsConfig) -> Any:
    return config.hooks["docs/site/hooks.py"]


@pytest.fixture(scope="module")
def files(config: MkDocsConfig) -> Files:
    return config.plugins.on_files(get_files(config), config=config)


def entries(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for child in (nav.values() if isinstance(nav, dict) else nav) for page in entries(child)]


def test_every_page_is_in_the_navigation(config: MkDocsConfig) -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages |= {path.relative_to(ROOT / "docs").with_suffix(".md").as_posix() for path in (ROOT / "docs").rglob("*.ipynb")}
    assert sorted(entries(config.nav)) == sorted({*pages, "CHANGELOG.md", "CONTRIBUTING.md"})


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_room_has_a_page_of_its_api(name: str) -> None:
    page = ROOT / "docs" / "api" / f"{name}.md"
    assert f"::: noisylab.{name}\n" in page.read_text(encoding="utf-8")
    assert f"]({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


def linked(hooks: Any, config: MkDocsConfig, files: Files, page: str, link: str) -> str:
    file = files.get_file_from_path(page)
    assert file is not None
    text: str = hooks.on_page_markdown(f"see [this]({link})", Page(None, file, config), config, files)
    return text.removeprefix("see [this](").removesuffix(")")


@pytest.mark.parametrize(
    ("page", "link", "target"),
    [
        ("quickstart.md", "data.md#folds", "data.md#folds"),
        ("quickstart.md", "../README.md", "README.md"),
        ("methods/act.md", "../../CHANGELOG.md#unreleased", "../CHANGELOG.md#unreleased"),
        ("CONTRIBUTING.md", "docs/methods.md", "methods.md"),
        ("CONTRIBUTING.md", "README.md", "README.md"),
        ("quickstart.md", "notebooks/quickstart.ipynb", "notebooks/quickstart.md"),
        ("notebooks/quickstart.md", "quickstart.ipynb", "quickstart.ipynb"),
        ("methods/act.md", "../../configs/act_digits.yaml", "../repository/configs/act_digits.yaml"),
        ("quickstart.md", "images/demo.png", "images/demo.png"),
        ("quickstart.md", "https://example.org/docs/data.md", "https://example.org/docs/data.md"),
        ("quickstart.md", "nowhere.md", "nowhere.md"),
        ("quickstart.md", "../nowhere.md", "../nowhere.md"),
        ("quickstart.md", "../../etc/passwd", "../../etc/passwd"),
    ],
)
def test_links_of_the_repository_lead_somewhere_on_the_site(
    hooks: Any, config: MkDocsConfig, files: Files, page: str, link: str, target: str
) -> None:
    assert linked(hooks, config, files, page, link) == target


def test_links_in_code_are_left_alone(hooks: Any, config: MkDocsConfig, files: Files) -> None:
    file = files.get_file_from_path("quickstart.md")
    assert file is not None
    text = "```text\n[this](../README.md)\n```\n"
    assert hooks.on_page_markdown(text, Page(None, file, config), config, files) == text


def test_a_notebook_is_a_page_of_its_cells_and_outputs(hooks: Any) -> None:
    printed = nbformat.v4.new_output("stream", text="41\n42\n")
    drawn = nbformat.v4.new_output("display_data", data={"image/png": "QUJD", "text/plain": "<Figure>"})
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nText."), nbformat.v4.new_code_cell("f()", outputs=[printed, drawn])]
    kept: list[bytes] = []

    def keep(picture: bytes) -> str:
        kept.append(picture)
        return "x_1.png"

    page = hooks.notebook_page(nbformat.v4.new_notebook(cells=cells), "x.ipynb", keep)
    assert page.startswith("# Title\n\n[Download the notebook](x.ipynb)")
    assert page.endswith("Text.\n\n```python\nf()\n```\n\n```text\n41\n42\n```\n\n![Figure](x_1.png)\n")
    assert kept == [b"ABC"]


def test_what_a_page_loads_from_elsewhere_is_found_and_links_are_not(hooks: Any) -> None:
    html = '<a href="https://a.org">a</a><script src="//b.org/x.js"></script><link href="https://c.org/f.css"><img src="x.png">'
    assert hooks.external_resources(html) == ["//b.org/x.js", "https://c.org/f.css"]


@pytest.fixture(scope="module")
def docstrings() -> Any:
    spec = importlib.util.spec_from_file_location("site_docstrings", ROOT / "docs" / "site" / "docstrings.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_examples_of_docstrings_are_shown_as_code(docstrings: Any) -> None:
    form = docstrings.expected_form
    assert form("One.\n\nExample:\n    >>> f()\n    1") == "One.\n\nExamples:\n    >>> f()\n    1"
    assert form("One.\n\n>>> f()\n1\n\nTwo.") == "One.\n\n```python\n>>> f()\n1\n```\n\nTwo."


FAMILY = '''
class Parent:
    """A parent.

    Args:
        rate: of the parent.
        size: in rows,
            counted from 1.
        name: of the parent.
    """

    def __init__(self, rate, size=1, name="a"):
        pass


class Child(Parent):
    """A child.

    Args:
        depth: of the child.
        rate: of the child.
        **parent: see `Parent`.

    Attributes:
        state: none.
    """

    def __init__(self, depth, rate=0.5, **parent):
        super().__init__(rate, name="b", **parent)
'''


def test_arguments_of_a_parent_are_shown_but_for_those_that_the_child_gives(docstrings: Any, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    extensions = griffe.load_extensions(docstrings.HouseStyle)
    child = griffe.load("family", search_paths=[tmp_path], extensions=extensions, docstring_parser="google")["Child"]
    assert [parameter.name for parameter in child.parameters] == ["self", "depth", "rate", "size"]
    head, found, attributes = child.docstring.parsed
    assert [(item.name, item.description) for item in found.value] == [
        ("depth", "of the child."),
        ("rate", "of the child."),
        ("size", "in rows,\ncounted from 1."),
    ]
    assert (head.value, attributes.value[0].name) == ("A child.", "state")


@pytest.mark.slow
def test_the_arguments_shown_are_those_that_can_be_given(docstrings: Any) -> None:
    package = griffe.load("noisylab", search_paths=[ROOT], extensions=griffe.load_extensions(docstrings.HouseStyle))
    for name in noisylab.methods.__all__:
        cls = getattr(noisylab.methods, name)
        assert [parameter.name for parameter in package[f"methods.{name}"].parameters][1:] == list(arguments(cls)), name
