"""Runs a race of successive halving over the cells of a study, and its winner on all rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noisylab.callbacks import Pause
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.studyplan import RECIPES, Cell, Plan
from noisylab.cli.errors import UserError
from noisylab.cli.running.session import say
from noisylab.cli.studies.choice import Standing
from noisylab.cli.studies.halving import Candidate, Rung, survivors
from noisylab.cli.studies.series import Series, Train
from noisylab.cli.studies.state import finished_run, state_of, way_to_train
from noisylab.reports import RunFolder, RunFolderError, read_run

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["FINAL", "Race", "accuracy_at", "final_recipe", "readable", "train_final"]

FINAL = "final"
"""The folder of the winner's run on all rows."""

_VALUE = "val/acc"


class Race:
    """The methods of a study, each trained to a rung, of which the better part goes on.

    What a rung was decided by is read from the curves of the runs, at that rung's epoch, so that a race that is continued after a
    kill decides as it did.

    Args:
        plan: of the study, with one cell for each candidate.
        folder: of the study.
        candidates: in the order of the plan.
        rungs: see `noisylab.cli.studies.halving.ladder`.
        options: the command line, for loggers.
        train: `noisylab.cli.commands.fit.fit`.
        let_go: called after each run.
        on_begin: called once when something has trained.
        go_on: what to say of how a stopped race is continued.

    Attributes:
        standings: of each rung, best first.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        candidates: Sequence[Candidate],
        rungs: Sequence[Rung],
        options: Options,
        train: Train,
        *,
        let_go: Callable[[Options], None] = lambda options: None,
        on_begin: Callable[[], None] = lambda: None,
        go_on: str = "",
    ) -> None:
        self.plan, self.folder, self.candidates, self.rungs = plan, folder, candidates, rungs
        self._options, self._train, self._let_go, self._on_begin, self._go_on = options, train, let_go, on_begin, go_on
        self.standings: list[list[Standing]] = []

    def run(self) -> int:
        """Train; returns the exit status of a run that was stopped, else 0.

        Raises:
            UserError: if no method is left.
        """
        alive = [candidate.name for candidate in self.candidates]
        for number, rung in enumerate(self.rungs, 1):
            cells = [cell for cell in self.plan.cells if cell.axes["method"] in alive]
            waiting = [cell for cell in cells if not self._reached(cell, rung)]
            epochs = ", ".join(f"{name} {rung.epochs[name]}" for name in alive)
            say(f"rung {number} of {len(self.rungs)}, {rung.share:.0%} of each run (epochs: {epochs})", sys.stdout)
            if waiting:
                status = self._series(rung, waiting).run()
                if status > 1:
                    return status
            else:
                self._on_begin()
            self.standings.append(self._compare(rung, cells))
            alive = [each.method for each in self.standings[-1] if each.goes_on]
            if not alive:
                raise UserError(f"{self.folder}: no method has come as far as rung {number}\n{self._failures(cells)}")
        return 0

    def _series(self, rung: Rung, cells: Sequence[Cell]) -> Series:
        by_folder = {str(self.folder / cell.folder): cell.axes["method"] for cell in cells}

        def to_the_rung(options: Options, begun: Callable[[], None]) -> int:
            return self._train(options, begun=begun, extra=[Pause(rung.epochs[by_folder[options.own["run_dir"]]])])

        series = Series(
            self.plan, self.folder, self._options, to_the_rung, let_go=self._let_go, on_begin=self._on_begin, cells=cells
        )
        series.begun = any((self.folder / cell.folder / "summary.json").is_file() for cell in self.plan.cells)
        series.go_on = self._go_on
        return series

    def _reached(self, cell: Cell, rung: Rung) -> bool:
        """Whether a run has come as far as a rung, and said so."""
        run = readable(self.folder / cell.folder)
        epochs = None if run is None else run.number("epochs")
        return epochs is not None and epochs >= rung.epochs[cell.axes["method"]]

    def _compare(self, rung: Rung, cells: Sequence[Cell]) -> list[Standing]:
        reached = {}
        for cell in cells:
            name = cell.axes["method"]
            run = readable(self.folder / cell.folder) if self._reached(cell, rung) else None
            if run is not None:
                reached[name] = accuracy_at(run, rung.epochs[name])
        order = survivors(reached, len(cells), self.candidates)
        return [Standing(name, rung.epochs[name], reached[name], place < rung.keep) for place, name in enumerate(order)]

    def _failures(self, cells: Sequence[Cell]) -> str:
        said = [(cell.axes["method"], state_of(self.folder, cell).message) for cell in cells]
        return "\n".join(f"  {name}: {text or 'its accuracy on the held-out rows is not a number'}" for name, text in said)

    def run_of(self, method: str) -> Path:
        """The folder of a method's run."""
        return self.folder / next(cell.folder for cell in self.plan.cells if cell.axes["method"] == method)


def readable(place: Path) -> RunFolder | None:
    """A run that has ended or was paused; None where there is none, or it is damaged."""
    try:
        return read_run(place)
    except (RunFolderError, OSError):
        return None


def accuracy_at(run: RunFolder, epochs: int) -> float:
    """The accuracy on the given labels of the held-out rows after so many epochs; NaN where it was not measured."""
    curve = run.curves.get(_VALUE)
    if curve is None:
        return math.nan
    places = (curve.epochs == epochs - 1).nonzero()[0]
    return float(curve.values[places[-1]]) if len(places) else math.nan


def final_recipe(method: str) -> str:
    """The file within the study of the recipe of a method on all rows."""
    return f"{RECIPES}/{FINAL}-{method}.yaml"


def train_final(
    folder: Path,
    method: str,
    flags: Sequence[tuple[str, str | None]],
    options: Options,
    train: Train,
    let_go: Callable[[Options], None],
    go_on: str,
) -> int:
    """Train the winner on all rows, unless that is done; returns the exit status.

    Args:
        folder: of the study.
        method: the winner.
        flags: of its cell: the seed.
        options: the command line, for loggers.
        train: `noisylab.cli.commands.fit.fit`.
        let_go: called after the run.
        go_on: what to say of how it is continued where it was stopped.
    """
    place = folder / FINAL
    label = f"{FINAL}-{method}"
    if finished_run(place) is not None and _recipe_of(place) == label:
        say(f"final run is finished: {place}", sys.stdout)
        return 0
    say(f"final run: {method} on all rows", sys.stdout)
    way = way_to_train(place)
    if way and _recipe_of(place) != label:  # of another winner, before a method that had failed was tried again
        way = {"overwrite": "true"}
    configs, own = [str(folder / final_recipe(method))], {"run_dir": str(place), **way}
    one = replace(options, command="fit", own=own, configs=configs, flags=list(flags), places=[], row=None)
    try:
        status = train(one)
    finally:
        let_go(options)
    if status:
        say(go_on, sys.stderr)
    return status


def _recipe_of(place: Path) -> str:
    file = place / "config.yaml"
    if not file.is_file():
        return ""
    try:
        config = load_yaml(text_of(file), str(file))
    except UserError:
        return ""
    return str(config.get("recipe") or "") if isinstance(config, dict) else ""
