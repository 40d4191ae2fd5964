"""Packaged recipes: where they are, what they aim at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noisylab
from noisylab.cli.configuration.scalars import plain, tree
from noisylab.cli.errors import UserError, nearest
from noisylab.reading import regular

__all__ = ["find_config", "load_yaml", "packaged", "recipes_table", "text_of"]


def load_yaml(text: str, where: str) -> Any:
    """Parse YAML.

    Raises:
        UserError: naming `where` and the line.
    """
    return plain(tree(text, where))


def text_of(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        UserError: when it is no file of text in UTF-8.
    """
    try:
        return regular(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); save it as such") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def packaged() -> dict[str, Path]:
    """The packaged configuration files by file name, from the wheel or the checkout."""
    package = Path(noisylab.__file__).parent
    folder = package / "configs"
    if not folder.is_dir():
        folder = package.parent / "configs"
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def find_config(name: str) -> Path:
    """A configuration file: `name` as a path from the working directory, else a packaged recipe of that name.

    Raises:
        UserError: when there is neither, with the nearest names.
    """
    path = Path(name)
    if path.is_file():
        return path
    recipes = packaged()
    for candidate in (name, f"{name}.yaml"):
        if candidate in recipes:
            return recipes[candidate]
    try:
        regular(path)
    except OSError as error:
        raise UserError(f"--config: {error}") from error
    match = nearest(path.name, recipes) or sorted(recipes)
    raise UserError(
        f"--config: no file {name!r} in {Path.cwd()} and no packaged recipe of that name\n"
        f"  nearest: {', '.join(match[:5])}\n  see all with: noisylab recipes"
    )


@dataclass(frozen=True)
class Recipe:
    """A line of the table of recipes."""

    name: str
    method: str
    data: str
    noise: str
    source: str
    expected: str
    measured: str


def read_recipe(path: Path) -> Recipe | None:
    """What a recipe says of itself; None for an overlay without a method.

    The header holds comment lines ``# Source:``, ``# Expected:`` and ``# Measured:``.
    """
    text = path.read_text(encoding="utf-8")
    config = load_yaml(text, path.name) or {}
    if "model" not in config:
        return None
    about = dict(re.findall(r"^# (Source|Expected|Measured): *(.+)$", text, re.M))
    noise = _arguments(config["data"]).get("noise")
    return Recipe(
        name=path.stem,
        method=_name(config["model"]),
        data=_name(config["data"]),
        noise=_describe(noise),
        source=about.get("Source", "ours"),
        expected=about.get("Expected", "-"),
        measured=about.get("Measured", "not yet"),
    )


def recipes_table() -> str:
    """The packaged recipes as an aligned table."""
    found = [recipe for path in packaged().values() if (recipe := read_recipe(path))]
    header = ("recipe", "method", "data", "noise", "source", "expected", "measured")
    rows = [header, *((r.name, r.method, r.data, r.noise, r.source, r.expected, r.measured) for r in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _name(node: Any) -> str:
    return str(node["class_path"] if isinstance(node, dict) else node).rpartition(".")[2]


def _arguments(node: Any) -> dict[str, Any]:
    return (node.get("init_args") or {}) if isinstance(node, dict) else {}


def _describe(noise: Any) -> str:
    if noise is None:
        return "as given"
    arguments = ", ".join(f"{key} {value}" for key, value in _arguments(noise).items() if key != "seed")
    return f"{_name(noise)}({arguments})" if arguments else _name(noise)
