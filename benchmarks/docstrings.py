"""Writes tables of real short texts: what functions of six Python packages do, in the words of their authors.

The label is the package. Of each docstring the first paragraph is taken; texts that occur twice, or name a package, are left out.

    python benchmarks/docstrings.py --out runs/docstrings

writes train.csv and test.csv with as many rows of each package.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib.util
import random
import re
from pathlib import Path

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "sklearn", "torch")
EACH, TEST = 700, 200  # training and test rows of a package


def paragraphs(package: str) -> list[str]:
    """The first paragraph of each docstring of at least six words, each once, in a fixed order."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is not installed"
    found: dict[str, None] = {}
    for path in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
                text = " ".join(said.split("\n\n")[0].split())
                if len(text.split()) >= 6 and not re.search("|".join(PACKAGES), text, re.IGNORECASE):
                    found[text] = None
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of train.csv and test.csv")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    seen: set[str] = set()
    for package in PACKAGES:
        texts = [text for text in paragraphs(package) if text not in seen]
        seen.update(texts)
        random.Random(0).shuffle(texts)
        print(f"{package}: {len(texts)} texts")
        rows["train"] += [(text, package) for text in texts[:EACH]]
        rows["test"] += [(text, package) for text in texts[EACH : EACH + TEST]]
    for name, some in rows.items():
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "package"), *some])
        print(f"{out / name}.csv: {len(some)} rows")


if __name__ == "__main__":
    main()
