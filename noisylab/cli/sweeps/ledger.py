"""The trials of a sweep in their storage: which wait, which run, and what came of them."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from noisylab.cli.errors import UserError
from noisylab.cli.folder.lock import FolderLock
from noisylab.cli.running.session import say
from noisylab.cli.sweeps.plan import SweepPlan, differences
from noisylab.cli.sweeps.sampler import pruner_of, sampler_of
from noisylab.cli.sweeps.storage import open_storage, patient
from noisylab.upstream.optuna import next_waiting, opened_again

__all__ = ["Ledger", "open_ledger"]

_PLAN = "noisylab_plan"  # attributes of the study and of a trial
_ATTEMPTS, _KILLS, _UNDER_WAY, _MESSAGE = "attempts", "kills", "under_way", "message"
_LONGEST = 1000  # characters of a message that is kept
_WAIT = 60.0  # seconds for the lock of the folder

_T = TypeVar("_T")


class _Told(logging.Handler):
    """Passes on what Optuna warns of, in the way of noisylab's own notes."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"note: optuna: {record.getMessage()}", sys.stderr)


def _listen() -> None:
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logger = logging.getLogger("optuna")
    if not any(isinstance(handler, _Told) for handler in logger.handlers):
        logger.addHandler(_Told())


@dataclass
class Ledger:
    """The trials of a sweep, as Optuna keeps them. All that it does waits for a storage that another process has locked.

    Args:
        plan: of the sweep.
        study: Optuna's.
    """

    plan: SweepPlan
    study: Study

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in certain states, by number."""
        return self._do(lambda: self.study.get_trials(deepcopy=False, states=states or None))

    def trial(self, number: int) -> FrozenTrial:
        """The trial of a number as it is now."""
        return next(trial for trial in self.trials() if trial.number == number)

    def next(self) -> Trial | None:
        """The next trial from the queue, which runs from now on; None where none waits."""
        return self._do(lambda: next_waiting(self.study))

    def reopen(self, trial: FrozenTrial) -> Trial:
        """A trial that another process began."""
        return self._do(lambda: opened_again(self.study, trial))

    def values(self, trial: Trial) -> dict[str, str]:
        """The values of a trial by key, as flags are written; drawn where they have not been."""
        found = {}
        for searched in self.plan.space:
            found[searched.key] = searched.text(self._do(lambda searched=searched: _suggested(trial, searched)))  # type: ignore[misc]
        return found

    def begin(self, trial: Trial) -> int:
        """Note that training of a trial begins or goes on; returns how often its worker was killed."""
        known = trial.user_attrs
        kills = int(known.get(_KILLS, 0)) + bool(known.get(_UNDER_WAY))
        for name, value in ((_ATTEMPTS, int(known.get(_ATTEMPTS, 0)) + 1), (_KILLS, kills), (_UNDER_WAY, True)):
            self._do(lambda name=name, value=value: trial.set_user_attr(name, value))  # type: ignore[misc]
        return kills

    def interrupt(self, trial: Trial) -> None:
        """Note that training of a trial was stopped in order, to go on later."""
        self._do(lambda: trial.set_user_attr(_UNDER_WAY, False))

    def report(self, trial: Trial, value: float, epochs: int) -> bool:
        """Note the objective after so many epochs; whether the trial is to be stopped.

        What was reported already, before a worker was killed, is not reported again.
        """
        if epochs not in self.trial(trial.number).intermediate_values:
            self._do(lambda: trial.report(value, epochs))
        return self._do(trial.should_prune)

    def finish(self, trial: Trial, value: float) -> None:
        """Note the result of a trial."""
        self._do(lambda: self.study.tell(trial.number, value, skip_if_finished=True))

    def stop(self, trial: Trial) -> None:
        """Note that a trial was stopped early."""
        self._do(lambda: self.study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True))

    def fail(self, trial: Trial, message: str) -> None:
        """Note that a trial failed, and why."""
        self._do(lambda: trial.set_user_attr(_MESSAGE, message[:_LONGEST]))
        self._do(lambda: self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True))

    @staticmethod
    def message(trial: FrozenTrial) -> str:
        """Why a trial failed; empty for others."""
        return str(trial.user_attrs.get(_MESSAGE, ""))

    @staticmethod
    def attempts(trial: FrozenTrial) -> int:
        """How often training of a trial began or went on."""
        return int(trial.user_attrs.get(_ATTEMPTS, 0))

    def _do(self, action: Callable[[], _T]) -> _T:
        return patient(action, self.plan.settings.storage)


def _suggested(trial: Trial, searched: Any) -> Any:
    if searched.choices:
        return trial.suggest_categorical(searched.key, searched.choices)
    if searched.whole:
        return trial.suggest_int(
            searched.key, int(searched.low), int(searched.high), log=searched.log, step=int(searched.step or 1)
        )
    return trial.suggest_float(searched.key, searched.low, searched.high, log=searched.log, step=searched.step)


def open_ledger(plan: SweepPlan, folder: Path) -> Ledger:
    """Open the trials of a sweep, and put those that are missing into the queue.

    Args:
        plan: of the sweep.
        folder: of the sweep, which several workers may open at once.

    Raises:
        UserError: where the plan is another than the one that the trials were begun with, or the storage cannot be used.
    """
    _listen()
    storage = open_storage(plan.settings.storage, folder)
    lock = _lock(folder)
    try:
        study: Study = patient(
            lambda: optuna.create_study(
                storage=storage,
                study_name=plan.study,
                direction=StudyDirection[plan.settings.direction.upper()],
                sampler=sampler_of(plan),
                pruner=pruner_of(plan),
                load_if_exists=True,
            ),
            plan.settings.storage,
        )
        ledger = Ledger(plan, study)
        _agree(ledger, folder)
        _fill(ledger)
    finally:
        lock.drop(folder)
    return ledger


def _agree(ledger: Ledger, folder: Path) -> None:
    """Note what the trials have in common, or refuse another plan."""
    before, now = ledger.study.user_attrs.get(_PLAN), ledger.plan.record()
    if before is None:
        ledger._do(lambda: ledger.study.set_user_attr(_PLAN, json.dumps(now)))
        return
    changed = differences(json.loads(before), now)
    if changed:
        raise UserError(
            f"the sweep in {folder} began with another plan: {changed}\n"
            "  put its sweep.yaml and base.yaml back as they were, or start another sweep in another --run_dir"
        )


def _fill(ledger: Ledger) -> None:
    """Put trials into the queue up to the number that is planned; the first has the recipe's own values."""
    there = len(ledger.trials())
    for number in range(there, ledger.plan.settings.trials):
        fixed: dict[str, Any] = ledger.plan.starting_point()[0] if number == 0 else {}
        ledger._do(lambda fixed=fixed: ledger.study.enqueue_trial(fixed))  # type: ignore[misc]


def _lock(folder: Path) -> FolderLock:
    end = time.monotonic() + _WAIT
    while True:
        try:
            return FolderLock.take(folder, folder)
        except UserError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
