"""The plan of a study: its cells, each one run, and the folder that keeps it. Imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.recipefile import RecipeFile, choose
from noisylab.cli.configuration.recipes import find_config, load_yaml, text_of
from noisylab.cli.errors import UserError, unknown
from noisylab.files import atomic_path

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["AXES", "PLAN", "SEED", "Cell", "Plan", "lasting", "numbers", "plan_of_rows", "safe_name", "stored_plan"]

PLAN = "study.yaml"
"""The file in a study's folder that holds its plan."""

AXES = ("method", "setting", "noise", "seed", "fold")
"""What the cells of a study differ in, in the order of their folders."""

SEED = "SEED"
"""As the value of a flag: the seed of the run."""

_SEEDS = "0,1,2"
_NAME = re.compile(r"\w[\w.+-]{0,39}")


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        folder: relative to that of the study.
        axes: what distinguishes it, by names among `AXES`.
        configs: values of ``--config`` of its run; absolute paths, names of packaged recipes, or paths within the study.
        row: of one of them.
        flags: (dotted key, text) of further values.
    """

    folder: str
    axes: Mapping[str, str]
    configs: tuple[str, ...]
    row: str | None = None
    flags: tuple[tuple[str, str | None], ...] = ()

    def __hash__(self) -> int:
        """Of its folder, which no other cell has."""
        return hash(self.folder)

    @property
    def slug(self) -> str:
        """A name without a slash, for what the study keeps about it."""
        return self.folder.replace("/", "--")

    def __str__(self) -> str:
        words = {"seed": "seed {}", "fold": "fold {}"}
        return ", ".join(words.get(axis, "{}").format(value) for axis, value in self.axes.items())

    def options(self, study: Path, given: Options) -> Options:
        """The options of ``fit`` that train it.

        Args:
            study: the folder of the study, in which its recipes are.
            given: the command line of the study; its loggers are used.
        """
        configs = [str(study / name) if name.startswith(f"{RECIPES}/") else name for name in self.configs]
        return replace(given, command="fit", own={}, configs=configs, flags=list(self.flags), places=[], row=self.row)


RECIPES = "recipes"
"""The folder within a study of the recipes that were made for it."""


@dataclass(frozen=True)
class Plan:
    """What a study trains.

    Args:
        name: of the study.
        cells: in the order in which they are trained.
        spec: as the user asked for it, plain values.
        baseline: the method that the others are compared with; None for the first.
        recipes: text of each recipe that was made for the study, by file name.
        notes: what the user should know of how the plan was made.
        file: absolute path of the study file; None for a study without one.
    """

    name: str
    cells: tuple[Cell, ...]
    spec: Mapping[str, Any]
    baseline: str | None = None
    recipes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    file: str | None = None

    def write(self, folder: Path, job: Mapping[str, Any] | None = None, *, new: bool = True) -> None:
        """Keep the plan and its recipes in the folder of the study; the plan last, as it says that all of it is there.

        Args:
            folder: which exists.
            job: by which the job's next start finds it.
            new: whether no plan may be there yet.

        Raises:
            FileExistsError: with `new`, when there is one.
        """
        import yaml  # type: ignore[import-untyped, unused-ignore]  # late: a study that is only asked about needs none

        for name, text in self.recipes.items():
            with atomic_path(folder / RECIPES / name) as partial:
                partial.write_text(text, encoding="utf-8")
        cells = [
            {
                "folder": cell.folder,
                "axes": dict(cell.axes),
                "configs": list(cell.configs),
                "row": cell.row,
                "flags": [list(flag) for flag in cell.flags],
            }
            for cell in self.cells
        ]
        head = {"format": 2, "name": self.name, "baseline": self.baseline, "file": self.file, "spec": dict(self.spec)}
        found = {**head, **({"job": dict(job)} if job else {}), "cells": cells}
        with atomic_path(folder / PLAN, new=new) as partial:
            partial.write_text(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000), encoding="utf-8")


# ---- the rows of a recipe


def plan_of_rows(options: Options) -> Plan:
    """The study of a recipe's rows under several seeds.

    Args:
        options: of the command, with ``--config``.

    Raises:
        UserError: if something is wrong with the flags or the recipe.
    """
    if not options.configs:
        raise UserError(
            "noisylab study needs a study file or a recipe with rows: noisylab study STUDY.yaml, or\n"
            "  noisylab study --config threshold_study.yaml; to compare methods without a file: noisylab compare-methods"
        )
    if any(key == "seed_everything" for key, _ in options.flags):
        raise UserError("--seed_everything: a study trains with several seeds; write --seeds 0,1,2")
    configs = tuple(lasting(name) for name in options.configs)
    file = _with_rows(configs)
    rows = _chosen(options.own.get("rows"), tuple(file.rows), file.path.name)
    seeds = numbers(options.own.get("seeds", _SEEDS))
    return _rows_plan(file.path.stem, configs, rows, seeds, tuple(options.flags))


def _rows_plan(
    name: str,
    configs: tuple[str, ...],
    rows: Sequence[str],
    seeds: Sequence[int],
    flags: tuple[tuple[str, str | None], ...],
) -> Plan:
    """Every row with the first seed, then with the next."""
    cells = []
    for seed in seeds:
        own = tuple((key, str(seed) if text == SEED else text) for key, text in flags)
        for row in rows:
            axes = {"method": row, "seed": str(seed)}
            cells.append(Cell(f"{row}/seed{seed}", axes, configs, row, (*own, ("seed_everything", str(seed)))))
    spec = {"configs": list(configs), "rows": list(rows), "seeds": list(seeds), "flags": [list(flag) for flag in flags]}
    return Plan(name, tuple(cells), spec)


# ---- a plan that was kept


def stored_plan(folder: Path) -> Plan:
    """The plan in the folder of a study.

    Raises:
        UserError: when there is none, or it was changed by hand.
    """
    file = folder / PLAN
    if not file.is_file():
        raise UserError(f"--run_dir {folder} holds no study to continue: it has no {PLAN}; leave --resume out to start one")
    found = load_yaml(text_of(file), str(file))
    try:
        if "format" not in found:  # as versions before the cells wrote it
            flags = tuple((str(key), None if text is None else str(text)) for key, text in found["flags"])
            seeds = tuple(map(int, found["seeds"]))
            name = _with_rows(tuple(found["configs"])).path.stem
            plan = _rows_plan(name, tuple(found["configs"]), tuple(found["rows"]), seeds, flags)
        else:
            cells = tuple(_cell(item) for item in found["cells"])
            baseline, at = (None if found[key] is None else str(found[key]) for key in ("baseline", "file"))
            plan = Plan(str(found["name"]), cells, dict(found["spec"]), baseline, file=at)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"{file} is not as noisylab wrote it; start the study again in another --run_dir, and move the folders of its runs "
            "there"
        ) from error
    if not plan.cells:
        raise UserError(f"{file} names no runs; start the study again in another --run_dir")
    for cell in plan.cells:
        if cell.row is not None:
            recipe = _with_rows(cell.configs)
            _chosen(cell.row, tuple(recipe.rows), recipe.path.name)
    return plan


def _cell(item: Mapping[str, Any]) -> Cell:
    folder = str(item["folder"])
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(folder)
    flags = tuple((str(key), None if text is None else str(text)) for key, text in item["flags"])
    axes = {str(axis): str(value) for axis, value in item["axes"].items()}
    return Cell(folder, axes, tuple(map(str, item["configs"])), None if item["row"] is None else str(item["row"]), flags)


# ---- parts of the command line


def _with_rows(configs: Sequence[str]) -> RecipeFile:
    """The one of some files that has rows."""
    files = [chosen.file for chosen in choose(configs, None)]
    having = [file for file in files if file.rows]
    if len(having) != 1:
        names = ", ".join(file.path.name for file in having or files)
        what = f"{names} each have rows; give one of them" if having else f"there are no rows in {names}"
        raise UserError(f"--config: {what}; a study trains the rows of one recipe, which noisylab recipes lists")
    return having[0]


def _chosen(text: str | None, rows: tuple[str, ...], recipe: str) -> tuple[str, ...]:
    if text is None:
        return rows
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in rows:
            raise unknown(f"--rows: row of {recipe}", name, rows)
    if not names:
        raise UserError(f"--rows: expected names of rows with commas between them, got {text!r}")
    return names


def numbers(text: str) -> tuple[int, ...]:
    """The seeds of ``--seeds``, in rising order.

    Raises:
        UserError: for anything but whole numbers.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds: expected whole numbers with commas between them, such as 0,1,2, got {text!r}")
    return tuple(sorted({int(word) for word in words}))


def lasting(name: str) -> str:
    """A name of a configuration file that stays valid in another working directory."""
    path = find_config(name)
    return str(path.absolute()) if Path(name).is_file() else name


def safe_name(name: str) -> bool:
    """Whether a name can be part of a folder's name."""
    return _NAME.fullmatch(name) is not None
