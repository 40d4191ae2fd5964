"""What a page is about: the runs it shows, in groups that differ in their seeds alone, and the runs that are not finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisylab.reports.page.settings import differing, settings_of
from noisylab.reports.page.words import distinct, mean_std
from noisylab.reports.runs import RunFolder, RunFolderError, find_runs, read_run
from noisylab.reports.studyfigures import FIGURES, principal, row_name
from noisylab.reports.studyfolder import StudyCell, StudyFolder, read_study

__all__ = ["Content", "Group", "Unfinished", "read_content"]

_FILES = ("config.yaml", "metrics.csv", "summary.json")
_MOST_SETTINGS = 2  # in the name of a group
_FEW_GROUPS = 8  # that are told apart by one of several settings; of more the folders say more


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one experiment under several seeds or folds.

    Args:
        label: the method and what else tells it from others under the same noise.
        task: data and noise in words, as far as the page has several; the groups of one task are compared.
        runs: in the order of seeds and folds; complete ones, or the others where none is complete.
        mark: number of its color and dash in figures; one label has one mark on the whole page.
        axes: of the study's cells, without seed and fold; empty for plain runs.
    """

    label: str
    task: str
    runs: tuple[RunFolder, ...]
    mark: int
    axes: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether its runs reached their last epoch."""
        return all(run.complete for run in self.runs)

    def spread(self, read: Callable[[RunFolder], float | None], digits: int = 2) -> tuple[float | None, str]:
        """Mean of a figure over the seeds, of each the mean over its folds; and it with the deviation, as `mean_std` has it.

        Of one seed with folds the deviation is over these; runs without a seed stand each for itself.
        """
        by_seed: dict[object, list[float | None]] = {}
        for run in self.runs:
            by_seed.setdefault(run if run.seed is None else run.seed, []).append(read(run))
        if len(by_seed) == 1:
            return mean_std(next(iter(by_seed.values())), digits)
        return mean_std([mean_std(values)[0] for values in by_seed.values()], digits)

    @property
    def name(self) -> str:
        """The label, with a mark where the runs stopped early."""
        return self.label if self.complete else f"{self.label}\N{NO-BREAK SPACE}†"


@dataclass(frozen=True)
class Unfinished:
    """A run that the figures are without.

    Args:
        name: of the cell, or the folder as given.
        state: "running", "stopped", "failed", "damaged", "waiting" or, where only the folder tells, "not finished".
        message: why, or "".
        attempts: how often it was started; 0 if that is not known.
        progress: epochs done and asked for, "3 of 40", or "".
    """

    name: str
    state: str
    message: str = ""
    attempts: int = 0
    progress: str = ""


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that a page shows.

    Args:
        groups: in the order of the plan, or of the folders.
        unfinished: runs without a place in the figures.
        study: the study, where the page is about one.
        planned: number of runs that there are or are to be.
        figure: the number of a run that groups are compared by: what its protocol names, in a study what its table compares by.
        figure_name: of that number, for a column.
    """

    groups: tuple[Group, ...]
    unfinished: tuple[Unfinished, ...]
    study: StudyFolder | None
    planned: int
    figure: Callable[[RunFolder], float | None]
    figure_name: str

    @property
    def runs(self) -> list[RunFolder]:
        """All runs shown."""
        return [run for group in self.groups for run in group.runs]

    @property
    def tasks(self) -> list[str]:
        """The tasks in order."""
        return list(dict.fromkeys(group.task for group in self.groups))

    def of(self, task: str) -> list[Group]:
        """The groups of a task."""
        return [group for group in self.groups if group.task == task]


def read_content(folders: Sequence[str | os.PathLike[str]]) -> Content:
    """Read run folders, studies, and folders that hold runs.

    A run that is named itself must be finished and whole. Of a study and of a folder that holds runs, those that are not are
    listed with the reason.

    Args:
        folders: at least one.

    Raises:
        RunFolderError: a folder that is no run and holds none; a named run that is not finished, or damaged.
        ValueError: no folders.
    """
    if not folders:
        raise ValueError("folders is empty; give run folders, or the folder of a study")
    paths = _once([Path(folder) for folder in folders])
    if len(paths) == 1 and _is_study(paths[0]):
        return _of_study(read_study(paths[0]))
    runs: list[RunFolder] = []
    unfinished: list[Unfinished] = []
    for path in paths:
        if _is_study(path):
            part = _of_study(read_study(path))
            runs += part.runs
            unfinished += [replace(each, name=f"{path}/{each.name}") for each in part.unfinished]
        elif any((path / name).is_file() for name in _FILES):
            runs.append(read_run(path))
        else:
            _read_below(path, runs, unfinished)
    each = {os.path.realpath(run.path): run for run in reversed(runs)}  # a run may be named itself and with what holds it
    found = list(each.values())[::-1]
    groups, stopped = _groups(found)
    return Content(tuple(groups), (*unfinished, *stopped), None, len(found) + len(unfinished), _headline, "by the protocol")


def _headline(run: RunFolder) -> float | None:
    return run.number("headline")


def _once(paths: Sequence[Path]) -> list[Path]:
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def _is_study(path: Path) -> bool:
    return (path / "study.yaml").is_file() and not (path / "config.yaml").is_file()


def _read_below(path: Path, runs: list[RunFolder], unfinished: list[Unfinished]) -> None:
    """Adds the runs at any depth below a folder; those inside of another run belong to it."""
    if not path.is_dir():
        read_run(path)  # says what is wrong with it
    finished = find_runs(path)
    begun = _outermost(path, [*finished, *find_runs(path, finished=False)])
    finished = [folder for folder in begun if folder in finished]
    begun = [folder for folder in begun if folder not in finished]
    if not finished and not begun:
        raise RunFolderError(
            f"{path} is no run folder and holds none; give runs/<name>/<time>, a folder that holds runs, or a study"
        )
    for folder in finished:
        try:
            runs.append(read_run(folder))
        except (RunFolderError, OSError) as error:
            unfinished.append(Unfinished(str(folder), "damaged", str(error)))
    reason = "it has no summary.json: it is still running, or was stopped"
    unfinished += [Unfinished(str(folder), "not finished", reason) for folder in begun]


def _outermost(root: Path, folders: Sequence[Path]) -> list[Path]:
    """Those that lie in no other, and in no hidden folder: an old run is moved aside to one while it is replaced."""
    found = {folder for folder in folders if not any(part.startswith(".") for part in folder.relative_to(root).parts)}
    return [folder for folder in sorted(found) if found.isdisjoint(folder.parents)]


def _of_study(study: StudyFolder) -> Content:
    members: dict[tuple[str, ...], list[RunFolder]] = {}
    axes: dict[tuple[str, ...], Mapping[str, str]] = {}
    unfinished = []
    open_seeds = {(*_key(cell), cell.axes.get("seed")) for cell in study.cells if cell.state != "finished"}
    for cell in study.cells:
        key = _key(cell)
        if cell.state == "finished" and (*key, cell.axes.get("seed")) in open_seeds:
            unfinished.append(Unfinished(cell.name, "finished", "it counts when all folds of its seed are finished"))
        elif cell.state == "finished" and cell.run is not None:
            members.setdefault(key, []).append(cell.run)
            axes[key] = {axis: value for axis, value in cell.axes.items() if axis not in ("seed", "fold")}
        else:
            done = "" if cell.epochs is None else f"{cell.epochs} of {cell.max_epochs or '?'}"
            unfinished.append(Unfinished(cell.name, cell.state, cell.message, cell.attempts, done))
    tasks = {noise: _noise_in_words(noise, [runs for (_, of), runs in members.items() if of == noise]) for _, noise in members}
    marks = {label: number for number, label in enumerate(dict.fromkeys(map(row_name, study.rows)))}
    order = {noise: place for place, noise in enumerate(study.noises)}
    groups = [
        Group(label, tasks[noise], tuple(runs), marks[label], axes[label, noise]) for (label, noise), runs in members.items()
    ]
    groups.sort(key=lambda group: (order[group.axes.get("noise", "")], group.mark))
    figure = FIGURES[principal(study)]
    return Content(tuple(groups), tuple(unfinished), study, len(study.cells), figure.read, figure.column)


def _key(cell: StudyCell) -> tuple[str, str]:
    return row_name(cell.row), cell.noise


def _noise_in_words(name: str, groups: Sequence[Sequence[RunFolder]]) -> str:
    words = " / ".join(distinct(run.noise for runs in groups for run in runs))
    return f"{words} ({name})" if name and name != words else words


def _groups(runs: Sequence[RunFolder]) -> tuple[list[Group], list[Unfinished]]:
    """Plain runs in groups that differ in seeds, folds and places alone, and those that stopped where others did not."""
    several_data = len({run.data for run in runs}) > 1
    members: dict[tuple[tuple[str, str], ...], list[RunFolder]] = {}
    for run in runs:
        about = {"method": run.method, "recipe": run.recipe, "data": run.data, "noise": run.noise}
        members.setdefault(tuple((about | settings_of(run)).items()), []).append(run)
    found = [sorted(group, key=_order) for group in members.values()]
    tasks = [f"{group[0].data}, {group[0].noise}" if several_data else group[0].noise for group in found]
    labels = _labels(found, tasks)
    marks = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    groups, stopped = [], []
    for label, task, group in zip(labels, tasks, found, strict=True):
        shown = [run for run in group if run.complete] or group
        groups.append(Group(label, task, tuple(shown), marks[label], {}))
        reason = "it ended before its last epoch; resume it"
        stopped += [Unfinished(str(run.path), "stopped", reason) for run in group if run not in shown]
    return groups, stopped


def _order(run: RunFolder) -> tuple[bool, int, float]:
    return run.seed is None, run.seed or 0, run.number("data", "fold") or 0.0


def _labels(groups: Sequence[Sequence[RunFolder]], tasks: Sequence[str]) -> list[str]:
    """The methods; where two of one task would have the same name also the recipe, settings or, at last, the folder.

    Where each would be the same method and something else, that alone is the name.
    """
    labels = [group[0].method for group in groups]
    for more in (_recipes, _settings, _folders):
        for alike in _alike(labels, tasks):
            for place, text in zip(alike, more([groups[place] for place in alike]), strict=True):
                labels[place] = f"{labels[place]}, {text}" if text else labels[place]
    start = f"{groups[0][0].method}, " if groups else ""
    alone = all(label.startswith(start) for label in labels)  # one method needs no name in each row
    return [label.removeprefix(start) for label in labels] if alone else labels


def _alike(labels: Sequence[str], tasks: Sequence[str]) -> list[list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for place, key in enumerate(zip(labels, tasks, strict=True)):
        found.setdefault(key, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def _recipes(groups: Sequence[Sequence[RunFolder]]) -> list[str]:
    names = [group[0].recipe for group in groups]
    return names if len(set(names)) > 1 else [""] * len(names)


def _settings(groups: Sequence[Sequence[RunFolder]]) -> list[str]:
    """One or two settings that tell the groups apart, or the first that has another value in each of a few groups."""
    found = differing(groups)
    keys = list(dict.fromkeys(key for each in found for key in each))
    if len(keys) > _MOST_SETTINGS:
        telling = [key for key in keys if len({each.get(key, "") for each in found}) == len(groups)]
        keys = telling[:1] if len(groups) <= _FEW_GROUPS else []
    return [", ".join(f"{key.rpartition('.')[2]} {_short(each[key])}" for key in keys if key in each) for each in found]


def _short(value: str) -> str:
    """The name of a file without its folder; other values as they are."""
    return value.rpartition("/")[2] if value.startswith(("/", "./", "../")) else value


def _folders(groups: Sequence[Sequence[RunFolder]]) -> list[str]:
    paths = [group[0].path.absolute().parts[-2:] for group in groups]
    parts = 1 if len({path[-1] for path in paths}) == len(paths) else 2
    return ["/".join(path[-parts:]) for path in paths]
