"""Configuration files: where packaged recipes and a user's own are found, and their text."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noisylab
from noisylab.cli.configuration.renamed import RENAMED
from noisylab.cli.configuration.scalars import plain, tree
from noisylab.cli.errors import UserError, nearest
from noisylab.reading import regular

__all__ = ["Renamed", "find_beside", "find_config", "load_yaml", "new_spelling", "packaged", "text_of"]


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
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
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
    """A configuration file: `name` as a path from the working directory, else a packaged recipe that has, or had, that name.

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
    renamed = new_spelling(name)
    if renamed is not None:
        return recipes[f"{renamed.recipe}.yaml"]
    try:
        regular(path)
    except OSError as error:
        raise UserError(f"--config: {error}") from error
    match = nearest(path.name, recipes) or sorted(recipes)
    raise UserError(
        f"--config: no file {name!r} in {Path.cwd()} and no packaged recipe of that name\n"
        f"  nearest: {', '.join(match[:5])}\n  see all with: noisylab recipes"
    )


def find_beside(name: str, path: Path) -> tuple[Path | None, list[str]]:
    """The file that another one names: from the folder of that file, else a packaged recipe.

    Args:
        name: as written there.
        path: of the file that names it.

    Returns:
        The file, None if there is none; and the names that may have been meant.
    """
    recipes, folder = packaged(), path.absolute().parent
    for candidate in (name, f"{name}.yaml"):
        if _is_file(folder / candidate):
            return folder / candidate, []
        if candidate in recipes:
            return recipes[candidate], []
    return None, sorted({*recipes, *(other.name for other in folder.glob("*.yaml"))} - {path.name})


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # no name that a file can have, or a folder that cannot be read
        return path.is_file()
    return False


@dataclass(frozen=True)
class Renamed:
    """What has become of a packaged recipe.

    Args:
        old: its name.
        recipe: the name of the recipe that has its values now.
        row: among the rows of that recipe; empty for the recipe as it stands.
    """

    old: str
    recipe: str
    row: str = ""

    @property
    def text(self) -> str:
        """How it is spelled now."""
        return f"--config {self.recipe}.yaml" + (f" --row {self.row}" if self.row else "")


def new_spelling(name: str) -> Renamed | None:
    """What an old name of a packaged recipe stands for; None for what is a file, a recipe of today or neither."""
    old = name.removesuffix(".yaml")
    if old not in RENAMED or Path(name).is_file() or f"{old}.yaml" in packaged():
        return None
    recipe, row = RENAMED[old]
    return Renamed(old, recipe, row)
