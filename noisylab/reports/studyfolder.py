"""A study read back: its plan, and how far each of its cells has come.

A study is a folder with `study.yaml`, the plan, and one run folder for each cell: a method, perhaps a setting, a noise and a
fold, under one seed. What is not finished has its state in `.cells/<slug>/state.json`, where the slug is the cell's folder with
`--` for each `/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import yaml  # type: ignore[import-untyped, unused-ignore]  # the stubs come with the dev extra

from noisylab.reading import regular
from noisylab.reports.runs import RunFolder, RunFolderError, read_run

__all__ = ["AXES", "CellState", "StudyCell", "StudyFolder", "cell_slug", "read_study"]

PLAN = "study.yaml"
FORMAT = 2
AXES = ("method", "setting", "noise", "seed", "fold")
"""What cells may differ in, in this order; all cells of a study have the same ones."""

CellState = Literal["finished", "running", "stopped", "failed", "damaged", "waiting"]
_STORED = ("running", "failed", "stopped", "finished", "waiting")  # what state.json may say
_BEGUN = ("running", "failed", "stopped")  # what it decides; whether a cell is finished, its summary says
_TAIL = 65_536  # bytes at the end of metrics.csv, in which the last epoch is


@dataclass(frozen=True, eq=False)
class StudyCell:
    """One run of a study.

    Args:
        folder: of the run; it need not be there yet.
        name: the folder within the study, as the plan has it: "ELR/sym40/seed0".
        axes: from axis to value, keys of `AXES` in that order: `{"method": "ELR", "noise": "sym40", "seed": "0"}`.
        state: "finished" once the summary says so; "damaged" where a file cannot be read; "waiting" before the first start.
        message: why it failed, or what cannot be read; else "".
        attempts: how often it was started, as far as is known; 0 before the first time.
        run: what it came to. A stopped or failed run that has a summary has one, too; else None.
        epochs: how many epochs it has finished; None where it has no curves yet.
        max_epochs: how many it is to train; None before it has begun, and where only the steps are limited.
        record: `state.json` as written, or empty; a running cell's names the process (`pid`, `host`, `since`).
    """

    folder: Path
    name: str
    axes: Mapping[str, str]
    state: CellState
    message: str
    attempts: int
    run: RunFolder | None
    epochs: int | None
    max_epochs: int | None
    record: Mapping[str, Any]

    @property
    def row(self) -> tuple[str, ...]:
        """Method and, where the study has settings, the setting: what a row of the table shows."""
        return tuple(self.axes[axis] for axis in ("method", "setting") if axis in self.axes)

    @property
    def noise(self) -> str:
        """The noise by its name in the study; "" where the study has no such axis."""
        return self.axes.get("noise", "")

    @property
    def repeat(self) -> tuple[str, ...]:
        """Seed and, where the study has folds, the fold: what repeats a row under one noise."""
        return tuple(self.axes[axis] for axis in ("seed", "fold") if axis in self.axes)

    def __str__(self) -> str:
        named = [f"{axis} {value}" if axis in ("seed", "fold") else value for axis, value in self.axes.items()]
        return ", ".join(named)


@dataclass(frozen=True, eq=False)
class StudyFolder:
    """A study.

    Args:
        path: its folder.
        name: the study's name.
        spec: what the user asked for, as written.
        baseline: the method that others are compared with; None where none was named.
        cells: in the order of the plan.
    """

    path: Path
    name: str
    spec: Mapping[str, Any]
    baseline: str | None
    cells: tuple[StudyCell, ...]

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Method, or method and setting, of each row, in the order of the plan."""
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def noises(self) -> tuple[str, ...]:
        """The noises in the order of the plan; one empty name where the study has no such axis."""
        return tuple(dict.fromkeys(cell.noise for cell in self.cells))


def cell_slug(name: str) -> str:
    """The name under `.cells` of a cell.

    Example:
        >>> cell_slug("ELR/sym40/seed0")
        'ELR--sym40--seed0'
    """
    return name.replace("/", "--")


def read_study(folder: str | os.PathLike[str]) -> StudyFolder:
    """Read a study, finished or not.

    A cell with unreadable files does not prevent the others from being read: its state is "damaged", with the reason. A cell
    counts as running while its `state.json` says so: whether its process is still there, only the machine it ran on can tell.

    Args:
        folder: of the study, with its `study.yaml`.

    Raises:
        RunFolderError: the folder is not there, holds no plan, or the plan is not as noisylab writes it.
    """
    path = Path(folder)
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        raise RunFolderError(f"study {path} {what}; give the folder of a study, the --run_dir of noisylab study")
    plan = _read_plan(path)
    return StudyFolder(
        path=path,
        name=str(plan.get("name") or path.name),
        spec=cast("Mapping[str, Any]", plan["spec"]),
        baseline=None if plan.get("baseline") is None else str(plan["baseline"]),
        cells=tuple(_read_cell(path, name, axes) for name, axes in _planned(path, plan["cells"])),
    )


def _wrong(path: Path, problem: str) -> RunFolderError:
    return RunFolderError(f"study {path}: {PLAN} {problem}; restore the file, or start the study again in another folder")


def _read_plan(path: Path) -> dict[str, Any]:
    file = path / PLAN
    if not file.is_file():
        raise RunFolderError(f"{path} is not the folder of a study: it has no {PLAN}; give the --run_dir of noisylab study")
    try:
        plan = yaml.safe_load(regular(file).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise _wrong(path, f"cannot be read ({error})") from error
    if not isinstance(plan, dict):
        raise _wrong(path, "does not hold a mapping")
    if "format" not in plan and {"rows", "seeds"} <= set(plan):
        plan = _of_rows(path, plan)
    if plan.get("format") != FORMAT:
        told = "names no format" if "format" not in plan else f"has format {plan['format']!r}"
        raise RunFolderError(f"study {path}: {PLAN} {told}, and this version of noisylab reads format {FORMAT}; start it again")
    for key, kind in {"spec": dict, "cells": list}.items():
        if not isinstance(plan.get(key), kind):
            raise _wrong(path, f"has no entry '{key}' that is a {kind.__name__}")
    return plan


def _of_rows(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The plan of versions that knew only the rows of a recipe under several seeds, in today's form."""
    if not isinstance(plan["rows"], list) or not isinstance(plan["seeds"], list):
        raise _wrong(path, "has no lists of 'rows' and 'seeds'")
    cells = [
        {"folder": f"{row}/seed{seed}", "axes": {"method": row, "seed": seed}} for seed in plan["seeds"] for row in plan["rows"]
    ]
    return {"format": FORMAT, "spec": plan, "cells": cells}


def _planned(path: Path, cells: list[Any]) -> list[tuple[str, dict[str, str]]]:
    """Folder and axes of each cell, in the order of the plan."""
    found: dict[str, dict[str, str]] = {}
    places: set[tuple[str, ...]] = set()
    if not cells:
        raise _wrong(path, "names no runs")
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or not isinstance(cell.get("folder"), str) or not isinstance(cell.get("axes"), dict):
            raise _wrong(path, f"has no 'folder' and 'axes' for cell {number}")
        name = cell["folder"]
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise _wrong(path, f"names the folder {name!r} for cell {number}, which is not within the study")
        given = {str(axis): str(value) for axis, value in cell["axes"].items()}
        unknown = [axis for axis in given if axis not in AXES]
        lacking = [axis for axis in ("method", "seed") if axis not in given]
        if unknown or lacking:
            what = f"the axis {unknown[0]!r}" if unknown else f"no axis {lacking[0]!r}"
            raise _wrong(path, f"has {what} for cell {number} ({name}); the axes are {', '.join(AXES)}")
        axes = {axis: given[axis] for axis in AXES if axis in given}
        first = next(iter(found.values()), axes)
        if list(first) != list(axes):
            raise _wrong(path, f"gives cell {number} ({name}) the axes {', '.join(axes)}, and others {', '.join(first)}")
        if name in found or tuple(axes.values()) in places:
            raise _wrong(path, f"names cell {number} ({name}) a second time")
        found[name] = axes
        places.add(tuple(axes.values()))
    return list(found.items())


def _read_cell(study: Path, name: str, axes: Mapping[str, str]) -> StudyCell:
    folder = study / name
    record, problem = _read_state(study, name)
    state: CellState = record["state"] if record.get("state") in _BEGUN else "waiting"
    if state == "waiting" and (folder / "config.yaml").is_file():
        state = "stopped"
    run = None
    try:
        complete = _is_complete(folder)
        if complete is not None and (complete or state != "running"):  # another process may be writing into a running one
            run = read_run(folder)
        if complete:
            state, problem = "finished", ""
        epochs, max_epochs = _epochs_done(folder), _max_epochs(_config(folder) if run is None else run.config)
    except (RunFolderError, OSError) as error:
        problem, run, epochs, max_epochs = str(error), None, None, None
    return StudyCell(
        folder=folder,
        name=name,
        axes=axes,
        state="damaged" if problem else state,
        message=problem or (str(record.get("message") or "") if state == "failed" else ""),
        attempts=_whole(record.get("attempts")) or (0 if state == "waiting" else 1),
        run=run,
        epochs=epochs,
        max_epochs=max_epochs,
        record=record,
    )


def _read_state(study: Path, name: str) -> tuple[dict[str, Any], str]:
    """What the cell's `state.json` says, nothing where there is none; and what is wrong with the file, or ""."""
    file = study / ".cells" / cell_slug(name) / "state.json"
    if not file.is_file():
        return {}, ""
    again = "; delete it, and the cell is run again"
    try:
        found = json.loads(regular(file).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return {}, f"{file} cannot be read ({error}){again}"
    if not isinstance(found, dict) or found.get("state") not in _STORED:
        told = repr(found.get("state")) if isinstance(found, dict) else type(found).__name__
        return {}, f"{file} has the state {told}, not one of {', '.join(_STORED)}{again}"
    return found, ""


def _is_complete(folder: Path) -> bool | None:
    """Whether the summary says that the run came to its end; None without a summary.

    Raises:
        RunFolderError: it is no summary.
    """
    file = folder / "summary.json"
    if not file.is_file():
        return None
    try:
        summary = json.loads(regular(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFolderError(f"run folder {folder}: summary.json is not whole JSON ({error}); the cell is run again") from error
    if not isinstance(summary, dict):
        raise RunFolderError(f"run folder {folder}: summary.json does not hold a mapping; the cell is run again")
    return summary.get("complete") is True


def _epochs_done(folder: Path) -> int | None:
    """The epochs of which `metrics.csv` has the figures; its last line may be in the making."""
    file = folder / "metrics.csv"
    if not file.is_file():
        return None
    with regular(file).open("rb") as content:
        content.seek(max(content.seek(0, os.SEEK_END) - _TAIL, 0))
        lines = content.read().decode("utf-8", errors="replace").split("\n")[:-1]
    for line in reversed(lines):
        epoch, _, rest = line.partition(",")
        name = rest.partition(",")[2].partition(",")[0]
        if epoch.isdecimal() and name and not name.endswith("_step"):  # means within an epoch are logged before it ends
            return int(epoch) + 1
    return 0


def _config(folder: Path) -> Any:
    file = folder / "config.yaml"
    try:
        return yaml.safe_load(regular(file).read_text(encoding="utf-8")) if file.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFolderError(f"run folder {folder}: config.yaml is not valid YAML ({error}); the cell is run again") from error


def _max_epochs(config: Any) -> int | None:
    trainer = config.get("trainer") if isinstance(config, Mapping) else None
    found = _whole(trainer.get("max_epochs")) if isinstance(trainer, Mapping) else None
    return found if found is not None and found > 0 else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
