"""Trains the cells of a study, each as an ordinary run in its own folder, and keeps the table of what is finished."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.studyplan import Cell, Plan
from noisylab.cli.errors import UserError, is_bug, message
from noisylab.cli.folder.claim import hold
from noisylab.cli.running.figures import draw
from noisylab.cli.running.resumed import check_same_run
from noisylab.cli.running.session import say
from noisylab.cli.studies.state import CELLS, CellState, finished_run, is_damaged, state_of, taken, way_to_train
from noisylab.cli.studies.table import Table
from noisylab.files import atomic_path

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Series", "Train"]

_MOST_KILLS = 3
"""So often a cell may lose its process without a word before it is left alone."""

Train = Callable[..., int]
"""`noisylab.cli.commands.fit.fit`."""


class Series:
    """The cells of a study, trained one after the other by this process, and perhaps by others at the same time.

    A cell is taken with a lock, so that several processes, also on several machines that share the folder, never train the same
    one. Finished cells are not trained again, stopped ones are continued, damaged ones are trained anew. A cell that fails is
    noted with its message and the others go on.

    Args:
        plan: of the study.
        folder: of the study, which exists and holds the plan.
        options: the command line, for loggers.
        train: `noisylab.cli.commands.fit.fit`.
        let_go: called after each run.
        since: cells that failed before this time, in seconds since 1970, are tried again.
        flags: (dotted key, text) for all cells, beyond those of the plan, as what their one process needs.
        on_begin: called once when a cell has done its first training step, or was finished before.
        cells: those of the plan to train; None for all.

    Attributes:
        begun: whether any cell has trained, now or before.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        options: Options,
        train: Train,
        *,
        let_go: Callable[[Options], None] = lambda options: None,
        since: float | None = None,
        flags: tuple[tuple[str, str | None], ...] = (),
        on_begin: Callable[[], None] = lambda: None,
        cells: Sequence[Cell] | None = None,
    ) -> None:
        self.cells = plan.cells if cells is None else tuple(cells)
        self.plan, self.folder, self.options, self._train, self._let_go = plan, folder, options, train, let_go
        self._since = time.time() if since is None else since
        self._flags, self._on_begin = flags, on_begin
        self.begun = False
        self.go_on = f"continue the study with: noisylab study --run_dir {folder} --resume"
        self._checked: set[str] = set()
        self._table = Table(folder)

    def run(self) -> int:
        """Train what is not finished.

        Returns:
            The exit status of a run that was stopped, 1 if cells failed, else 0.

        Raises:
            UserError: if the first cell of the study cannot even begin, as then none can.
        """
        waiting = list(self.cells)
        while waiting:
            left = []
            for cell in waiting:
                with taken(self.folder, cell) as mine:
                    if not mine:
                        left.append(cell)
                        continue
                    status = self._one(cell)
                if status:
                    return status
            if len(left) == len(waiting):
                break  # all that is left is in the hands of others
            waiting = left
        others = f"; {len(waiting)} more are trained by other processes" if waiting else ""
        failed = self._failed()
        if failed:
            say(f"{len(failed)} of {len(self.cells)} runs ended with an error{others}; {self.go_on}", sys.stderr)
        elif others:
            say(others.removeprefix("; "), sys.stdout)
        return 1 if failed else 0

    def _begin(self) -> None:
        self.begun = True
        self._on_begin()

    def _failed(self) -> list[Cell]:
        return [
            cell
            for cell in self.cells
            if state_of(self.folder, cell).state == "failed" and finished_run(self.folder / cell.folder) is None
        ]

    def _one(self, cell: Cell) -> int:
        """Train a cell that this process has taken, if it needs it."""
        place = self.folder / cell.folder
        name = f"run {self.plan.cells.index(cell) + 1} of {len(self.plan.cells)} ({cell})"
        if self._finished(cell):
            self._begin()
            with hold(place):
                draw(place)
            say(f"{name} is finished: {place}", sys.stdout)
            return 0
        state = state_of(self.folder, cell)
        if state.state == "failed" and state.since >= self._since:
            return 0  # by another process of this command
        if state.state == "running":  # and its lock is free: the process was killed
            state = replace(state, kills=state.kills + 1)
            if state.kills >= _MOST_KILLS:
                said = f"its process has ended without a word {state.kills} times, the last on {state.host}; killed for memory?"
                return self._note_failure(cell, name, state, said)
        say(name, sys.stdout)
        running = state.changed("running")
        running.write(self.folder, cell)
        try:
            status = self._fit(cell, place)
        except KeyboardInterrupt:
            running.changed("stopped").write(self.folder, cell)
            say(f"{name} was interrupted; {self.go_on}", sys.stderr)
            raise
        except Exception as error:
            if not self.begun:
                raise
            return self._note_failure(cell, name, running, message(error), error)
        finally:
            self._let_go(self.options)
        if status:
            running.changed("stopped").write(self.folder, cell)
            say(self.go_on, sys.stderr)
            return status
        complete = finished_run(place) is not None  # else a callback has paused it
        running.changed("finished" if complete else "stopped").write(self.folder, cell)
        if complete:
            self._table.renew()
        return 0

    def _note_failure(self, cell: Cell, name: str, state: CellState, said: str, error: Exception | None = None) -> int:
        """Note why a cell failed, with the traceback of what nobody has foreseen; the others go on."""
        more = ""
        if error is not None and is_bug(error):
            file = self.folder / CELLS / cell.slug / "error.txt"
            with atomic_path(file) as partial:
                partial.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            more = f"\n  the traceback: {file}"
        state.changed("failed", said).write(self.folder, cell)
        say(f"{name} ended with an error; the others continue: {said}{more}", sys.stderr)
        return 0

    def _fit(self, cell: Cell, place: Path) -> int:
        """Train a cell; one that was finished and is damaged anew, unless its checkpoint can put it right."""
        way, damaged = way_to_train(place), is_damaged(place)
        stepped = False

        def begun() -> None:
            nonlocal stepped
            stepped = True
            self._begin()

        options = cell.options(self.folder, self.options)
        options = replace(options, flags=[*options.flags, *self._flags])
        try:
            return self._train(replace(options, own={"run_dir": str(place), **way}), begun=begun)
        except (UserError, ValueError, OSError) as error:
            if stepped or not damaged or "resume" not in way or not self._same(cell, place):
                raise
            say(f"{place} is damaged and trained anew: {message(error)}", sys.stderr)
        return self._train(replace(options, own={"run_dir": str(place), "overwrite": "true"}), begun=begun)

    def _same(self, cell: Cell, place: Path) -> bool:
        """Whether what is in a cell's folder is of the configuration of the plan."""
        try:
            check_same_run(place, config_of(self.folder, cell, self.options, self._flags))
        except UserError:
            return False
        return True

    def _finished(self, cell: Cell) -> bool:
        """Whether a cell is finished.

        Raises:
            UserError: if it is, with another configuration than that of the plan.
        """
        place = self.folder / cell.folder
        found = finished_run(place)
        if found is None:
            return False
        if cell.folder not in self._checked:
            config = config_of(self.folder, cell, self.options, self._flags)
            check_same_run(place, config)
            then, now = (_epochs(which) for which in (found.config, config))
            if then != now:
                raise UserError(
                    f"{place} was trained for {then} epochs, and the recipe now says {now}; all runs of a row must agree\n"
                    "  delete the folder of that run, so that it is trained again, or start another study"
                )
            self._checked.add(cell.folder)
        return True


def config_of(folder: Path, cell: Cell, options: Options, flags: tuple[tuple[str, str | None], ...] = ()) -> dict[str, Any]:
    """The checked configuration of a cell.

    Args:
        folder: of the study.
        cell: one of its cells.
        options: the command line.
        flags: (dotted key, text) for all cells.
    """
    asked = cell.options(folder, options)
    return compose(asked.configs, [*asked.flags, *flags], asked.row).config


def _epochs(config: Mapping[str, Any]) -> Any:
    return (config.get("trainer") or {}).get("max_epochs")
