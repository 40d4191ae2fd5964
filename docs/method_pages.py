"""The pages about the methods, made from their docstrings, recipes and results.

Everything here is a function of the data given: whoever calls it collects the docstrings from the package.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from noisylab.files import atomic_path
from noisylab.reports.table import markdown_table

__all__ = ["MARK", "MethodEntry", "RecipeEntry", "method_pages", "outdated_pages", "write_pages"]

MARK = "<!-- Made from the docstring, the recipes and the results: edit those, then make the pages again. -->"
_INDEX = "README.md"
_REQUIRED = ("name", "docstring", "inputs", "networks", "cost", "recipes", "results")
_SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Example": "Example",
    "Examples": "Example",
    "Note": "Note",
    "Raises": "Raises",
    "Returns": "Returns",
}
_ITEM = re.compile(r"(\*{0,2}\w+)(?: \([^)]*\))?: +(.*)")
_LABEL = re.compile(r"\*\*[A-Z][^*]*\*\*")


class RecipeEntry(TypedDict):
    """What a page says of a recipe as it stands, or of a row of it.

    Args:
        path: of the file, from the repository root.
        row: after ``--row``; "-" for a recipe as it stands whose rows do not name it.
        cells: from column to cell, such as the data, the noise and the figures.
    """

    path: str
    row: str
    cells: Mapping[str, str]


class MethodEntry(TypedDict):
    """What the pages say of one method.

    Args:
        name: the class, in the paper's spelling.
        slug: the page's file name without suffix; the name in lower case if not given.
        docstring: of the class, Google style, with paragraphs **Paper**, **Authors' code** and **Differences**.
        inputs: what the method needs besides the given labels, such as "noise rate (oracle)"; "none" where nothing.
        networks: how many networks it trains.
        cost: of an epoch, relative to cross-entropy, such as "2x".
        recipes: those that train it, each with its rows; empty where there is none yet.
        results: rows of one table, each from column to cell; empty where there is nothing yet.
        memory: what is kept of each sample, one row a table, each from column to cell; with it goes `bytes_a_sample`.
        bytes_a_sample: how much that is, such as "12 + 4 K".
    """

    name: str
    slug: NotRequired[str]
    docstring: str
    inputs: str
    networks: int | str
    cost: str
    recipes: Sequence[RecipeEntry]
    results: Sequence[Mapping[str, str]]
    memory: NotRequired[Sequence[Mapping[str, str]]]
    bytes_a_sample: NotRequired[str]


def method_pages(methods: Sequence[MethodEntry]) -> dict[str, str]:
    """The text of every page by file name: one page a method, and `README.md` with the table of all.

    Args:
        methods: in the order of the table.

    Raises:
        ValueError: an entry lacks a field or has no docstring, or two entries would be one page.
    """
    pages: dict[str, str] = {}
    for method in methods:
        lacking = [key for key in _REQUIRED if key not in method]
        if lacking:
            raise ValueError(f"method {method.get('name', '?')!r} has no {', '.join(lacking)}; add it to its entry")
        if not method["docstring"].strip():
            raise ValueError(f"method {method['name']!r} has an empty docstring; write the method's page there")
        page = _file_name(method)
        if page in pages or page.lower() == _INDEX.lower():
            raise ValueError(f"method {method['name']!r} would be a second page {page}; give it another 'slug'")
        pages[page] = _page(method)
    return {**pages, _INDEX: _index(methods)}


def outdated_pages(methods: Sequence[MethodEntry], folder: str | Path) -> dict[str, Literal["missing", "changed", "left over"]]:
    """Which pages in a folder are not what `write_pages` would leave there; writes nothing. Empty: all up to date.

    "left over" is a page made earlier for a method that is not in the listing. Files that were not made here are not
    looked at, unless they stand where a page goes.

    Args:
        methods: see `method_pages`.
        folder: usually `docs/methods`; it may be missing.
    """
    return {name: state for name, (state, _) in _changes(methods, Path(folder)).items()}


def write_pages(methods: Sequence[MethodEntry], folder: str | Path) -> dict[str, Literal["missing", "changed", "left over"]]:
    """Writes the pages that are out of date and removes those left over; a second call changes nothing.

    Args:
        methods: see `method_pages`.
        folder: usually `docs/methods`; made if missing.

    Returns:
        What `outdated_pages` said before.
    """
    changes = _changes(methods, Path(folder))
    for name, (state, text) in changes.items():
        page = Path(folder) / name
        if state == "left over":
            page.unlink()
        else:
            with atomic_path(page) as partial:
                partial.write_text(text, encoding="utf-8", newline="\n")
    return {name: state for name, (state, _) in changes.items()}


def _changes(methods: Sequence[MethodEntry], folder: Path) -> dict[str, tuple[Literal["missing", "changed", "left over"], str]]:
    changes: dict[str, tuple[Literal["missing", "changed", "left over"], str]] = {}
    pages = method_pages(methods)
    for name, text in pages.items():
        page = folder / name
        if not page.is_file():
            changes[name] = ("missing", text)
        elif page.read_bytes() != text.encode():
            changes[name] = ("changed", text)
    for page in sorted(folder.glob("*.md")):
        if page.name not in pages and page.read_text(encoding="utf-8").startswith(MARK):
            changes[page.name] = ("left over", "")
    return changes


def _file_name(method: MethodEntry) -> str:
    return re.sub(r"\W+", "_", method.get("slug") or method["name"].lower()).strip("_") + ".md"


def _page(method: MethodEntry) -> str:
    parts = [MARK, f"# {method['name']}", _docstring_to_markdown(method["docstring"]), *_memory(method), "## Recipes"]
    parts += [*_recipes(method["recipes"]), "## Results", _results(method["results"])]
    parts.append(f"[All methods]({_INDEX})")
    return "\n\n".join(parts) + "\n"


def _memory(method: MethodEntry) -> list[str]:
    rows = method.get("memory", ())
    if not rows:
        return []
    columns = list(rows[0])
    return [
        "## State",
        "A checkpoint holds networks, optimizers, schedules, counters, the epoch's means so far, the place in the epoch, and of "
        f"each training sample, {method['bytes_a_sample']} bytes for K classes:",
        markdown_table(columns, [[row[column] for column in columns] for row in rows]).rstrip("\n"),
    ]


def _recipes(recipes: Sequence[RecipeEntry]) -> list[str]:
    if not recipes:
        return ["None yet."]
    first = next((recipe for recipe in recipes if recipe["row"] != "-"), recipes[0])
    command = f"noisylab fit --config {Path(first['path']).name}" + (f" --row {first['row']}" if first["row"] != "-" else "")
    columns = list(dict.fromkeys(column for recipe in recipes for column in recipe["cells"]))
    rows = [
        [
            f"[{Path(recipe['path']).stem}](../../{recipe['path']})",
            recipe["row"],
            *(recipe["cells"].get(column, "-") for column in columns),
        ]
        for recipe in recipes
    ]
    return [f"`{command}` runs one of them:", markdown_table(["recipe", "row", *columns], rows).rstrip("\n")]


def _results(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return "Not yet."
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = markdown_table(columns, [[row.get(column, "-") for column in columns] for row in rows])
    return table.rstrip("\n")


def _index(methods: Sequence[MethodEntry]) -> str:
    columns = ["method", "paper", "inputs it needs", "networks", "cost relative to cross-entropy", "results"]
    rows = [
        [
            f"[{method['name']}]({_file_name(method)})",
            _paper(method["docstring"]) or "-",
            method["inputs"],
            str(method["networks"]),
            method["cost"],
            "yes" if method["results"] else "not yet",
        ]
        for method in methods
    ]
    intro = (
        "Every method trains on inputs, given labels and sample numbers. *Inputs it needs* names what it is told "
        "besides; *oracle* marks what is not known outside of an experiment."
    )
    body = markdown_table(columns, rows).rstrip("\n") if rows else "None yet."
    return "\n\n".join([MARK, "# Methods", intro, body]) + "\n"


def _paper(docstring: str) -> str:
    """The paragraph after **Paper**, on one line, or ''."""
    lines = inspect.cleandoc(docstring).splitlines()
    found: list[str] = []
    for line in lines:
        start = line.startswith("**Paper**")
        if found and (not line.strip() or _LABEL.match(line) or _section_of(line)):
            break
        if start or found:
            found.append(line.strip())
    return _inline(" ".join(found).removeprefix("**Paper**").lstrip(" :.")).rstrip()


def _section_of(line: str) -> str | None:
    return _SECTIONS.get(line.removesuffix(":")) if line.endswith(":") else None


def _docstring_to_markdown(docstring: str) -> str:
    blocks: list[str] = []
    for title, lines in _sections(inspect.cleandoc(docstring).splitlines()):
        if title:
            blocks.append(f"## {title}")
        if title == "Example":
            blocks.append(_fence("\n".join(lines), "python"))
        elif title in ("Arguments", "Attributes", "Raises"):
            blocks.append(_items(lines))
        else:
            blocks.append(_prose(lines))
    return "\n\n".join(block for block in blocks if block)


def _sections(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of each section, the text before the first one under ''; sections are dedented."""
    title: str = ""
    body: list[str] = []
    for line in [*lines, None]:
        new = None if line is None else _section_of(line)
        ends = bool(title) and line is not None and bool(line) and not line.startswith(" ")
        if line is None or new or ends:
            yield title, inspect.cleandoc("\n" + "\n".join(body)).splitlines()
            title, body = new or "", []
            if line is None or new:
                continue
        body.append(line)


def _items(lines: Sequence[str]) -> str:
    """`name: text` entries as a list; indented lines belong to the entry above."""
    entries: list[str] = []
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match:
            entries.append(f"- `{match[1]}`: {match[2]}")
        elif entries and line.strip():
            entries[-1] += f" {line.strip()}"
        elif line.strip():
            entries.append(line.strip())
    return "\n".join(_inline(entry) for entry in entries)


def _prose(lines: Sequence[str]) -> str:
    """Paragraphs, lists and formulas (lines indented by four outside of a list), set apart by empty lines."""
    out: list[str] = []
    formula: list[str] = []
    in_list = False
    for line in [*lines, ""]:
        if line.startswith("    ") and not in_list:
            formula.append(line)
            continue
        if formula and not line.strip():  # an empty line inside or after a formula
            formula.append(line)
            continue
        if formula:
            out += ["", _formula(formula), ""]
            formula = []
        item = line.lstrip().startswith(("- ", "* "))
        if (_LABEL.match(line) or (item and not in_list)) and out and out[-1]:
            out.append("")
        in_list = item or (in_list and (not line.strip() or line.startswith(" ")))
        out.append(_inline(line))
    if formula:
        out += ["", _formula(formula)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n")


def _formula(lines: Sequence[str]) -> str:
    return _fence(inspect.cleandoc("\n" + "\n".join(lines)), "text")


def _inline(line: str) -> str:
    """Double backticks as single ones; `<name>` outside of code kept from being read as HTML."""
    parts = line.replace("``", "`").split("`")
    parts[::2] = [re.sub(r"<(?=[A-Za-z/!])(?!https?://)", r"\\<", part) for part in parts[::2]]
    return "`".join(parts)


def _fence(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
