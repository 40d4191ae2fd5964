"""One worker of a sweep: takes trial after trial, those that a killed worker left first, until none is left."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optuna.trial import FrozenTrial, Trial, TrialState

from noisylab.cli.errors import UserError, is_bug, message
from noisylab.cli.folder.claim import hold
from noisylab.cli.folder.lock import LOCK
from noisylab.cli.folder.marker import foreign_entries, named
from noisylab.cli.running.session import say
from noisylab.cli.sweeps.ledger import Ledger
from noisylab.cli.sweeps.plan import BASE
from noisylab.cli.sweeps.results import trial_line, write_results
from noisylab.cli.sweeps.storage import StorageLocked
from noisylab.cli.sweeps.trial import PruneTrial, folder_of, result_of

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Train", "Worker"]

_KILLS = 3  # after which a trial is given up
_HOPELESS = 3  # trials that fail before any has succeeded


class Train(Protocol):
    """How a run is trained: `noisylab.cli.commands.fit.fit`."""

    def __call__(self, options: Options, *, extra: list[Any]) -> int:
        """Train; the exit status."""
        ...


class Worker:
    """Trains trials in this process, one after the other.

    Args:
        ledger: of the sweep.
        folder: likewise.
        options: of the command; its loggers are those of the runs.
        train: how.
        after: called after each run, to let the next one begin as the first did.
    """

    def __init__(self, ledger: Ledger, folder: Path, options: Options, train: Train, after: Callable[[], None]) -> None:
        self.ledger, self.folder, self.options, self.train, self.after = ledger, folder, options, train, after
        self.plan = ledger.plan
        self._failed = 0

    def work(self) -> int:
        """Train what is left.

        Returns:
            The exit status: that of a run that was stopped, 0 otherwise.

        Raises:
            UserError: where the first trials fail, and none has succeeded; with the message of the first.
        """
        while True:
            with self._next() as trial:
                if trial is None:
                    return 0
                status = self._run(trial)
            write_results(self.ledger, self.folder)
            if status:
                return status
            self._give_up()

    @contextlib.contextmanager
    def _next(self) -> Iterator[Trial | None]:
        """A trial whose folder this process has locked."""
        with contextlib.ExitStack() as stack:
            yield self._left_behind(stack) or self._waiting(stack)

    def _left_behind(self, stack: contextlib.ExitStack) -> Trial | None:
        """A trial that runs, but whose folder nobody has locked any more."""
        for found in self.ledger.trials(TrialState.RUNNING):
            if self._locked(found, stack):
                where = " from its checkpoint" if _saved(folder_of(self.folder, found.number)) else ""
                if Ledger.attempts(found):
                    say(f"trial {found.number} was left unfinished by another process and goes on{where}", sys.stderr)
                return self.ledger.reopen(found)
        return None

    def _waiting(self, stack: contextlib.ExitStack) -> Trial | None:
        while (trial := self.ledger.next()) is not None:
            if self._locked(trial, stack):
                return trial
        return None

    def _locked(self, trial: FrozenTrial | Trial, stack: contextlib.ExitStack) -> bool:
        """Whether this process has the folder of the trial now, and the trial still runs."""
        place = folder_of(self.folder, trial.number)
        place.mkdir(exist_ok=True)
        inner = contextlib.ExitStack()
        try:
            inner.enter_context(hold(place))
        except UserError:  # another process has it
            return False
        if self.ledger.trial(trial.number).state != TrialState.RUNNING:
            inner.close()
            return False
        stack.enter_context(inner)
        return True

    def _run(self, trial: Trial) -> int:
        """Train one trial and note what came of it; the exit status of a run that was stopped."""
        place, started = folder_of(self.folder, trial.number), time.monotonic()
        values = self.ledger.values(trial)
        try:
            if not (place / "summary.json").is_file():  # else it ended just before its worker did
                if self.ledger.begin(trial) >= _KILLS:
                    raise UserError(f"its worker was killed {_KILLS} times, perhaps for lack of memory")
                status = self._fit(trial, place, values)
                if status:
                    self.ledger.interrupt(trial)
                    return status
            result = result_of(place, self.plan.settings.objective, self.plan.settings.average)
            if result is None:
                self.ledger.stop(trial)
            else:
                self.ledger.finish(trial, result)
        except KeyboardInterrupt:
            self.ledger.interrupt(trial)
            raise
        except StorageLocked:  # the trial goes on another time
            raise
        except Exception as error:
            if os.environ.get("NOISYLAB_DEBUG") or is_bug(error):
                traceback.print_exc()
            self._failed += 1
            self.ledger.fail(trial, message(error))
        finally:
            self.after()
        say(trial_line(self.ledger, trial.number, time.monotonic() - started), sys.stdout)
        return 0

    def _fit(self, trial: Trial, place: Path, values: dict[str, str]) -> int:
        own = {"run_dir": str(place)}
        if _saved(place):
            own["resume"] = "true"
        else:
            _clear(place)
        flags: list[tuple[str, str | None]] = [*self.options.flags, *values.items()]
        options = replace(
            self.options,
            command="fit",
            own=own,
            configs=[str(self.folder / BASE)],
            flags=flags,
            places=[],
            searches=[],
            row=None,
        )
        prune = PruneTrial(self.plan.settings.objective, lambda value, epochs: self.ledger.report(trial, value, epochs))
        with contextlib.redirect_stdout(io.StringIO()):  # which shows the test accuracy of each run
            return self.train(options, extra=[prune])

    def _give_up(self) -> None:
        if self._failed < min(_HOPELESS, self.plan.settings.trials):
            return
        if self.ledger.trials(TrialState.COMPLETE, TrialState.PRUNED):
            return
        failed = self.ledger.trials(TrialState.FAIL)
        raise UserError(
            f"{len(failed)} trials failed and none came to its end; the first, trial {failed[0].number}: "
            f"{Ledger.message(failed[0])}\n"
            f"  once that is put right: noisylab sweep --run_dir {self.folder} --resume"
        )


def _clear(place: Path) -> None:
    """Remove what is left of a run that was killed before its first checkpoint; its folder is this process's."""
    foreign = foreign_entries(place)
    if foreign:
        raise UserError(f"{place} holds files that noisylab did not write{named(foreign)}; move them elsewhere")
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _saved(place: Path) -> bool:
    return any((place / "checkpoints").glob("*.ckpt*"))
