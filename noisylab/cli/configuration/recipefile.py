"""What stands in a recipe besides values: the recipe that it starts from (``base``), and its variants (``rows``).

Nothing that takes time is imported: a row that is misspelled is said at once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisylab.cli.configuration.recipes import find_beside, find_config, new_spelling, text_of
from noisylab.cli.configuration.scalars import Scalar, key_text, plain, tree
from noisylab.cli.errors import UserError, nearest, unknown

__all__ = ["Chosen", "RecipeFile", "Row", "choose", "read_file"]

_ROW_KEYS = ("set", "expected", "measured", "source")
_ROW_NAME = re.compile(r"\w[\w.+-]{0,39}")  # part of the name of a folder
_OWN_KEYS = ("base", "rows", "recipe")  # what a row cannot set


@dataclass(frozen=True)
class Row:
    """A variant of a recipe that changes a few of its values.

    Args:
        name: after ``--row``.
        values: what it changes, by dotted key, as trees of `scalars`; empty for the recipe as it stands.
        expected: the figure it aims at, as written; empty where the row does not say, as are the others.
        measured: the figure it gave.
        source: where these come from.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    expected: str = ""
    measured: str = ""
    source: str = ""


@dataclass(frozen=True)
class RecipeFile:
    """A configuration file, read and taken apart.

    Args:
        path: of the file.
        values: its keys and their trees, without ``base`` and ``rows``.
        base: the file that it starts from.
        rows: by name.
    """

    path: Path
    values: dict[str, Any]
    base: RecipeFile | None = None
    rows: dict[str, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """A file of ``--config`` with the row to run.

    Args:
        file: the recipe or overlay.
        row: None for the values as they stand.
        note: what to tell of an old name; empty otherwise.
    """

    file: RecipeFile
    row: Row | None = None
    note: str = ""


def read_file(path: Path, above: Path | None = None) -> RecipeFile:
    """Read a configuration file and the one that it starts from.

    Args:
        path: of the file.
        above: the file whose ``base`` it is, if any.

    Raises:
        UserError: naming the file and what is wrong with it, its base or its rows.
    """
    loaded = _tree(text_of(path), str(path))
    if plain(loaded) is None:
        return RecipeFile(path, {})
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected keys and values, got {type(plain(loaded)).__name__}")
    values = {key_text(key): value for key, value in loaded.items()}
    base, rows = values.pop("base", None), values.pop("rows", None)
    if above is not None:
        if base is not None:
            raise UserError(
                f"{above}: base: {path.name} has a base itself, {plain(base)}, and one level is allowed\n"
                f"  leave base out and give both files, --config {path.name} --config {above.name},\n"
                f"  or name {plain(base)} as the base and write out what {path.name} adds to it"
            )
        return RecipeFile(path, values)
    return RecipeFile(path, values, None if base is None else _read_base(path, base), _read_rows(path, rows))


@functools.lru_cache(maxsize=32)
def _tree(text: str, where: str) -> Any:
    """`tree`, for the bases that many recipes have in common; nobody changes what it returns."""
    return tree(text, where)


def choose(files: Sequence[str], row: str | None) -> list[Chosen]:
    """The files of ``--config``, each with the row that is to be run of it.

    Args:
        files: values of ``--config``, in order.
        row: of ``--row``; it belongs to that one of the files that has it.

    Raises:
        UserError: for a file that is not there or wrong, and for a row that no file has, or several have.
    """
    read = [(read_file(find_config(name)), new_spelling(name)) for name in files]
    chosen: list[Chosen] = []
    for file, renamed in read:
        name = row if renamed is None else renamed.row
        if renamed is not None and renamed.row and row is not None and row in file.rows:
            raise UserError(f"{renamed.old} is {renamed.text}; for another row write --config {file.path.name} --row {row}")
        note = f"{renamed.old} is now {renamed.text}; the old name works in this version alone" if renamed is not None else ""
        chosen.append(Chosen(file, file.rows.get(name or ""), note))
    if row is None:
        return chosen
    having = [file for file, _ in read if row in file.rows]
    if len(having) > 1:
        paths = " and ".join(str(file.path) for file in having)
        raise UserError(f"--row {row}: {paths} each have a row of that name; rename one of the two")
    if not having:
        with_rows = [file for file, _ in read if file.rows]
        if not with_rows:
            names = ", ".join(file.path.name for file, _ in read)
            raise UserError(f"--row {row}: there are no rows in {names}; noisylab recipes lists the rows of each recipe")
        raise unknown(f"--row: row of {with_rows[0].path.name}", row, with_rows[0].rows)
    return chosen


def _read_base(path: Path, base: Any) -> RecipeFile:
    name = base.text if isinstance(base, Scalar) and base.value is not None else base
    if not isinstance(name, str):
        raise UserError(f"{path}: base: expected the name of one file, as digits.yaml, got {plain(base)!r}")
    found, known = find_beside(name, path)
    if found is None:
        match = nearest(Path(name).name, known)
        near = f"\n  nearest: {', '.join(match)}" if match else ""
        raise UserError(f"{path}: base: no file {name!r} in {path.absolute().parent}, and no packaged recipe of that name{near}")
    if found.samefile(path):
        raise UserError(
            f"{path}: base: {name} is this file itself; if the packaged recipe of that name is meant, give this file another name"
        )
    return read_file(found, above=path)


def _read_rows(path: Path, rows: Any) -> dict[str, Row]:
    if plain(rows) is None:
        return {}
    if not isinstance(rows, dict):
        raise UserError(f"{path}: rows: expected rows by name, as sym80: {{set: {{data.noise.rate: 0.8}}}}, got {plain(rows)!r}")
    found = {key_text(key): _read_row(f"{path}: rows", key_text(key), row) for key, row in rows.items()}
    as_it_stands = [name for name, row in found.items() if not row.values]
    if len(as_it_stands) > 1:
        raise UserError(f"{path}: rows: {' and '.join(as_it_stands)} set nothing, and one row can be the recipe as it stands")
    return found


def _read_row(where: str, name: str, row: Any) -> Row:
    if not _ROW_NAME.fullmatch(name):
        raise UserError(f"{where}: {name!r} becomes part of a folder's name: take up to 40 letters, digits and _ . + -")
    where = f"{where}.{name}"
    row = {} if plain(row) is None else row
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected set, expected, measured or source, got {plain(row)!r}")
    parts = {key_text(key): item for key, item in row.items()}
    for key in parts:
        if key not in _ROW_KEYS:
            raise unknown(f"{where}: key", key, _ROW_KEYS, "values of the recipe go below set, as set: {data.noise.rate: 0.8}")
    values = parts.pop("set", {})
    if not isinstance(values, dict):
        raise UserError(f"{where}.set: expected values by key, as {{data.noise.rate: 0.8}}, got {plain(values)!r}")
    told: dict[str, str] = {}
    for key, item in parts.items():
        if isinstance(item, dict | list):
            raise UserError(f"{where}.{key}: expected a line of text, got {plain(item)!r}")
        told[key] = key_text(item)
    changed = {key_text(key): item for key, item in values.items()}
    for key in changed:
        if key.partition(".")[0] in _OWN_KEYS:
            raise UserError(f"{where}.set: {key} is no value of a run, and a row cannot set it")
    return Row(name, changed, **told)
