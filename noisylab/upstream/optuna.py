"""Private names of Optuna."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

__all__ = ["next_waiting", "opened_again"]


def next_waiting(study: Study) -> Trial | None:
    """The first trial that waits in the queue, which is this process's from now on; None where none waits.

    Private: ``Study._pop_waiting_trial_id``.
    Why: ``Study.ask`` makes a new trial where none waits, so several workers would train more trials than were asked for.
    Since: noisylab 0.3, Optuna 4.3.
    Without it: the number of trials would have to be counted under a lock of our own.

    Args:
        study: with trials in its queue (``Study.enqueue_trial``).
    """
    number = study._pop_waiting_trial_id()
    return None if number is None else Trial(study, number)


def opened_again(study: Study, trial: FrozenTrial) -> Trial:
    """A running trial, to be continued by another process than the one that began it.

    Private: ``FrozenTrial._trial_id``, and the constructor of ``Trial`` is not recommended.
    Why: Optuna has no way to go on with a trial; it would give it up and draw its values again under another number.
    Since: noisylab 0.3, Optuna 4.3.
    Without it: a trial whose worker was killed would be trained again from its start, as another trial.

    Args:
        study: which has the trial.
        trial: as the storage has it.
    """
    return Trial(study, trial._trial_id)
