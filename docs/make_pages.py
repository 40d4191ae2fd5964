"""Write the pages of the methods, docs/methods/*.md, from docstrings, packaged recipes and docs/results.yaml.

python docs/make_pages.py           write what is out of date
python docs/make_pages.py --check   write nothing; exit with 1 if a page is out of date
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from noisylab import methods
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP
from noisylab.reports import MethodEntry, RecipeText, outdated_pages, write_pages

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULT_KEYS = {"method", "recipe", "figure", "measure", "seeds", "command", "commit", "device"}
COST_KEYS = {"value", "command", "commit", "device"}
_CLASSES = 97  # a number that is nothing else in the shape of a table


def concrete_methods() -> list[type[NoisyLabelMethod]]:
    """The public methods, cross-entropy first, then by name."""
    found = [getattr(methods, name) for name in methods.__all__]
    classes = [cls for cls in found if inspect.isclass(cls) and cls is not NoisyLabelMethod]
    return sorted(classes, key=lambda cls: (cls is not CrossEntropy, cls.__name__.lower()))


def read_results(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """The rows and the costs of a results file.

    Raises:
        ValueError: for an unknown method or a missing key.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows, costs = content["results"] or [], content["costs"] or {}
    known = {cls.__name__ for cls in concrete_methods()}
    entries = [(row, RESULT_KEYS, str(row.get("method")), {"time", "note"}) for row in rows]
    entries += [(cost, COST_KEYS, name, set()) for name, cost in costs.items()]
    for entry, keys, name, optional in entries:
        if name not in known:
            raise ValueError(f"{path.name} names the method {name!r}; known are {', '.join(sorted(known))}")
        if set(entry) - optional != keys:
            raise ValueError(f"an entry of {name} in {path.name} has {sorted(entry)}; needed are {sorted(keys)}")
    return rows, costs


def inputs_needed(docstring: str) -> str:
    """The arguments that the docstring marks "oracle", or "none"."""
    body = docstring.partition("Args:")[2].partition("\n\n")[0]
    arguments = re.split(r"\n\s*(?=\w+: )", body)
    marked = [text.partition(":")[0].strip() for text in arguments if "oracle" in text]
    return ", ".join(f"{name} (oracle)" for name in marked) or "none"


def recipes_of(cls: type[NoisyLabelMethod]) -> list[RecipeText]:
    """The packaged recipes that train the method."""
    found: list[RecipeText] = []
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        model = (yaml.safe_load(text) or {}).get("model")
        name = model.get("class_path") if isinstance(model, Mapping) else model
        if str(name).rpartition(".")[2] == cls.__name__:
            found.append({"path": f"configs/{path.name}", "text": text})
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
    rows, costs = read_results(results)
    found: list[MethodEntry] = []
    for cls in concrete_methods():
        docstring = cls.__doc__ or ""
        method = cls(num_classes=_CLASSES, network=partial(MLP, in_features=2))
        tables, size = memory_of(method)
        cost = costs.get(cls.__name__, {}).get("value")
        found.append(
            {
                "name": cls.__name__,
                "slug": cls.__module__.rpartition(".")[2],
                "docstring": docstring,
                "inputs": inputs_needed(docstring),
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


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    parser.add_argument("--folder", type=Path, default=DOCS / "methods", help="where the pages are (default: docs/methods)")
    options = parser.parse_args(argv)
    states = outdated_pages(entries(), options.folder) if options.check else write_pages(entries(), options.folder)
    for name, state in states.items():
        print(f"{name}: {state}{'' if options.check else ', done'}")
    if options.check and states:
        print("run: python docs/make_pages.py", file=sys.stderr)
    return 1 if options.check and states else 0


if __name__ == "__main__":
    sys.exit(main())
