"""How much a reader of noisylab has to read, and how much of it is said more than once.

Prints, all of it read from the source:

- for each row of the table in docs/methods.md, "What to read", the lines of the files that a reader follows;
- the private names of other libraries that are used, with the files that use them;
- circles of imports among the files of a room, imports for type checking and within functions included;
- the share of the code in noisylab/methods that is in constructors;
- the lines of the recipes, all and distinct.

    python benchmarks/readability.py [--root CHECKOUT] [--out FILE]
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_ROW = re.compile(r"^\| `?(\w+)`? \| (.*`.*) \| ([\d,]+) \|$", re.MULTILINE)


def lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def paths(root: Path) -> dict[str, tuple[list[str], int]]:
    """For each method of the table in docs/methods.md the files to follow, under noisylab/, and the lines that it states."""
    _, _, section = (root / "docs" / "methods.md").read_text(encoding="utf-8").partition("## What to read")
    table = section.partition("\n## ")[0]
    return {name: (re.findall(r"`([^`]+)`", files), int(stated.replace(",", ""))) for name, files, stated in _ROW.findall(table)}


def trees(folder: Path) -> dict[Path, ast.Module]:
    """The syntax of every Python file below a folder."""
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.py"))}


def private_names(package: Path) -> dict[str, list[str]]:
    """Private names that no file of the package defines, each with the files that use it."""
    files = trees(package)
    own = {name for tree in files.values() for name in _defined(tree)}
    found: dict[str, set[str]] = defaultdict(set)
    for file, tree in files.items():
        for name in _private(tree):
            if name not in own:
                found[name].add(str(file.relative_to(package)))
    return {name: sorted(users) for name, users in sorted(found.items())}


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in ("self", "copy"):
            yield node.attr


def _private(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("noisylab"):
            names = [part for alias in node.names for part in [*(node.module or "").split("."), alias.name]]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr") and len(node.args) > 1:
            names = [str(node.args[1].value)] if isinstance(node.args[1], ast.Constant) else []
        yield from (name for name in names if re.match(r"_[^_]", name))


def circles(package: Path) -> dict[str, list[list[str]]]:
    """For each room the groups of its files that import one another in a circle."""
    found: dict[str, list[list[str]]] = {}
    for room in sorted(folder for folder in package.iterdir() if folder.is_dir()):
        modules = {_module(package, file): tree for file, tree in trees(room).items()}
        graph = {name: {target for target in _targets(tree) if target in modules} - {name} for name, tree in modules.items()}
        # a package's own file imports its children, and what is imported from it is one of them
        graph.pop(f"{package.name}.{room.name}", None)
        groups = _circles({name: {target for target in targets if target in graph} for name, targets in graph.items()})
        if groups:
            found[room.name] = groups
    return found


def _module(package: Path, file: Path) -> str:
    parts = (package.name, *file.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of more than one node of which each reaches each."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        waiting, seen = [start], set[str]()
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[start] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def constructors(folder: Path) -> tuple[int, int]:
    """Lines of code in constructors, and in all, of the files in a folder: without docstrings, comments and empty lines."""
    inside = total = 0
    for file, tree in trees(folder).items():
        code = _code(file.read_text(encoding="utf-8").splitlines(), tree)
        total += len(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__" and node.end_lineno is not None:
                inside += len(code & set(range(node.lineno, node.end_lineno + 1)))
    return inside, total


def _code(text: list[str], tree: ast.Module) -> set[int]:
    """Numbers of the lines that are code."""
    found = {number for number, line in enumerate(text, 1) if line.strip() and not line.strip().startswith("#")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def recipes(folder: Path) -> tuple[int, int, int]:
    """Files, lines and distinct lines of the recipes, without comments and empty lines."""
    files = sorted(folder.glob("*.yaml"))
    kept = [line.split(" #")[0].rstrip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in kept if line.strip() and not line.startswith("#")]
    return len(files), len(kept), len(set(kept))


def measure(root: Path) -> dict[str, Any]:
    """Everything that is printed, of a checkout."""
    package = root / "noisylab"
    inside, total = constructors(package / "methods")
    files, all_lines, distinct = recipes(root / "configs")
    return {
        "paths": {
            name: {"files": {file: lines(package / file) for file in names}, "stated": stated}
            for name, (names, stated) in paths(root).items()
        },
        "private names": private_names(package),
        "circles": circles(package),
        "constructors": {"lines": inside, "of": total},
        "recipes": {"files": files, "lines": all_lines, "distinct": distinct},
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure (default: this one)")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    found = measure(options.root)
    print("lines to follow, from end to end")
    for name, path in found["paths"].items():
        print(f"  {name}: {sum(path['files'].values()):,} ({', '.join(f'{f} {n}' for f, n in path['files'].items())})")
    print(f"private names of other libraries: {len(found['private names'])}")
    for name, users in found["private names"].items():
        print(f"  {name}: {', '.join(users)}")
    print(f"circles of imports inside a room: {sum(map(len, found['circles'].values()))}")
    for groups in found["circles"].values():
        for group in groups:
            print(f"  {', '.join(group)}")
    inside, total = found["constructors"].values()
    print(f"constructors in noisylab/methods: {inside:,} of {total:,} lines of code, {100 * inside / total:.1f} %")
    print("recipes: {files} files, {lines:,} lines, {distinct:,} distinct".format(**found["recipes"]))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
