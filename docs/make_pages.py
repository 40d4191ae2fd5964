"""Write the pages of the methods, docs/methods/*.md, from docstrings, packaged recipes and docs/results.yaml, and the page of
all results, docs/results.md.

python docs/make_pages.py           write what is out of date
python docs/make_pages.py --check   write nothing; exit with 1 if a page is out of date
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from method_pages import MARK, MethodEntry, RecipeEntry, outdated_pages, write_pages

from noisylab import methods
from noisylab.arguments import argument_lines, split_docstring
from noisylab.cli.configuration.recipetable import RecipeLine, lines_of
from noisylab.cli.configuration.registry import parameters
from noisylab.files import atomic_path
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP
from noisylab.reports.table import markdown_table

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULT_KEYS = {"method", "recipe", "figure", "measure", "seeds", "command", "commit", "device"}
OPTIONAL_KEYS = {"time", "note", "table", "more"}
COST_KEYS = {"value", "command", "commit", "device"}
TABLE_KEYS = {"title", "text"}
_CLASSES = 97  # a number that is nothing else in the shape of a table


def concrete_methods() -> list[type[NoisyLabelMethod]]:
    """The public methods, cross-entropy first, then by name."""
    found = [getattr(methods, name) for name in methods.__all__]
    classes = [cls for cls in found if inspect.isclass(cls) and cls is not NoisyLabelMethod]
    return sorted(classes, key=lambda cls: (cls is not CrossEntropy, cls.__name__.lower()))


def read_results(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """The rows, the costs and the tables of a results file.

    Raises:
        ValueError: for an unknown method or table, or a missing key.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows, costs, tables = content["results"] or [], content["costs"] or {}, content.get("tables") or {}
    known = {cls.__name__ for cls in concrete_methods()}
    entries = [(row, RESULT_KEYS, str(row.get("method")), OPTIONAL_KEYS) for row in rows]
    entries += [(cost, COST_KEYS, name, set()) for name, cost in costs.items()]
    for entry, keys, name, optional in entries:
        if name not in known:
            raise ValueError(f"{path.name} names the method {name!r}; known are {', '.join(sorted(known))}")
        if set(entry) - optional != keys:
            raise ValueError(f"an entry of {name} in {path.name} has {sorted(entry)}; needed are {sorted(keys)}")
    for row in rows:
        if "table" in row and row["table"] not in tables:
            raise ValueError(
                f"an entry of {row['method']} in {path.name} is of table {row['table']!r}; known are {sorted(tables)}"
            )
    for name, table in tables.items():
        if set(table) != TABLE_KEYS:
            raise ValueError(f"table {name!r} in {path.name} has {sorted(table)}; needed are {sorted(TABLE_KEYS)}")
    return rows, costs, tables


def full_docstring(cls: type) -> str:
    """The docstring with every argument that the class takes, its parents' included, each with its type and default."""
    before, _, after = split_docstring(cls.__doc__ or "")
    lines = [f"    {name}: {text} *({what})*" for name, what, text in argument_lines(cls)]
    return "\n".join([before, "", "Args:", *lines, "", after])


def inputs_needed(docstring: str, optional: Collection[str] = ()) -> str:
    """The arguments that the docstring marks "oracle", or "none"; those that have a default may be left out."""
    body = docstring.partition("Args:")[2].partition("\n\n")[0]
    arguments = re.split(r"\n\s*(?=\w+: )", body)
    marked = [text.partition(":")[0].strip() for text in arguments if "oracle" in text]
    return ", ".join(f"{name} (oracle{', optional' if name in optional else ''})" for name in marked) or "none"


@cache
def _recipe_lines() -> list[tuple[Path, list[RecipeLine]]]:
    """Every packaged recipe and its lines, read once for all methods."""
    return [(path, lines_of(path)) for path in sorted((ROOT / "configs").glob("*.yaml"))]


def recipes_of(cls: type[NoisyLabelMethod]) -> list[RecipeEntry]:
    """The packaged recipes that train the method, and their rows."""
    found: list[RecipeEntry] = []
    for path, lines in _recipe_lines():
        said = ""
        for line in lines:
            if line.method == cls.__name__:
                cells = {name: getattr(line, name) for name in ("data", "noise", "expected", "measured", "source")}
                found.append({"path": f"configs/{path.name}", "row": line.row, "cells": cells})
                if line.source == said:
                    found[-1]["cells"] = {**cells, "source": "the same"}
                said = line.source
    return found


def memory_of(method: NoisyLabelMethod) -> tuple[list[dict[str, str]], str]:
    """The tables of a method of `_CLASSES` classes, and the bytes that a row of all of them takes, as a formula in K."""
    tables, fixed, by_class = [], 0, 0
    for name, (shape, dtype, fill) in method.memory.fields().items():
        per_class = _CLASSES in shape
        count = math.prod(1 if size == _CLASSES else size for size in shape) * dtype.itemsize
        fixed, by_class = fixed + count * (not per_class), by_class + count * per_class
        of_row = " x ".join("K" if size == _CLASSES else str(size) for size in shape) or "1"
        kind = str(dtype).removeprefix("torch.")
        tables.append({"table": f"`{name}`", "numbers": of_row, "type": kind, "before it is written": f"{fill:g}"})
    return tables, f"{fixed} + {by_class} K" if by_class else str(fixed)


def entries(results: Path = DOCS / "results.yaml") -> list[MethodEntry]:
    """What the pages say of each method."""
    rows, costs, _ = read_results(results)
    found: list[MethodEntry] = []
    for cls in concrete_methods():
        docstring = full_docstring(cls)
        method = cls(num_classes=_CLASSES, network=partial(MLP, in_features=2))
        tables, size = memory_of(method)
        cost = costs.get(cls.__name__, {}).get("value")
        found.append(
            {
                "name": cls.__name__,
                "slug": cls.__module__.rpartition(".")[2],
                "docstring": docstring,
                "inputs": "trusted rows"
                if method.needs_trusted
                else inputs_needed(docstring, [name for name, p in parameters(cls).items() if not p.required]),
                "networks": len(method.networks),
                "cost": "1" if cls is CrossEntropy else cost or "not yet measured",
                "recipes": recipes_of(cls),
                "results": [_cells(row) for row in rows if row["method"] == cls.__name__],
                "memory": tables,
                "bytes_a_sample": size,
            }
        )
    return found


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {
        "recipe": str(row["recipe"]),
        "measure": str(row["measure"]),
        "percent": str(row["figure"]),
        "seeds": ", ".join(map(str, row["seeds"])),
        "device": str(row["device"]),
        "commit": str(row["commit"]),
        "command": f"`{row['command']}`",
    }
    return {**cells, **{key: str(row[key]) for key in ("time", "note") if key in row}}


RESULTS_INTRO = """# Results

What was measured here, each row with the command that gives it again. Accuracies are percent on the true labels of the test set;
± is the population standard deviation over the seeds. Nothing on this page is a figure from a paper: those stand in the headers
of the recipes, with their source. Times are by the clock, other work on the machine included."""


def results_page(results: Path = DOCS / "results.yaml") -> str:
    """The text of docs/results.md: the tables of a results file, each with its rows."""
    rows, _, tables = read_results(results)
    parts = [MARK, RESULTS_INTRO]
    for name, table in tables.items():
        mine = [row for row in rows if row.get("table") == name]
        if not mine:
            raise ValueError(f"table {name!r} in {results.name} has no rows")
        cells = [_line(row) for row in mine]
        columns = list(dict.fromkeys(column for line in cells for column in line))
        parts += [f"## {table['title']}", str(table["text"]).strip()]
        parts.append(markdown_table(columns, [[line.get(column, "-") for column in columns] for line in cells]).rstrip("\n"))
        commands = dict.fromkeys(f"{row['method']}: {row['command']}" for row in mine)
        parts.append("Commands, SEED being each seed in turn:\n\n```text\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts) + "\n"


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    seeds = ", ".join(map(str, row["seeds"]))
    known = {"method": row["method"], str(row["measure"]): row["figure"], **row.get("more", {}), "seeds": seeds}
    last = {key: row[key] for key in ("time", "commit", "note") if key in row}
    return {key: str(value) for key, value in {**known, **last}.items()}


def _results_state(folder: Path, *, check: bool) -> dict[str, str]:
    """Write docs/results.md, or only say whether it is out of date."""
    path, text = folder / "results.md", results_page()
    state = "missing" if not path.is_file() else "" if path.read_text(encoding="utf-8") == text else "changed"
    if state and not check:
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    return {path.name: state} if state else {}


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    parser.add_argument("--folder", type=Path, default=DOCS / "methods", help="where the pages are (default: docs/methods)")
    options = parser.parse_args(argv)
    pages = outdated_pages(entries(), options.folder) if options.check else write_pages(entries(), options.folder)
    states = {**pages, **_results_state(options.folder.parent, check=options.check)}
    for name, state in states.items():
        print(f"{name}: {state}{'' if options.check else ', done'}")
    if options.check and states:
        print("run: python docs/make_pages.py", file=sys.stderr)
    return 1 if options.check and states else 0


if __name__ == "__main__":
    sys.exit(main())
