"""What noisylab relies on in Optuna's private names."""

from __future__ import annotations

import pytest
from helpers.contracts import contract

optuna = pytest.importorskip("optuna")


def test_a_waiting_trial_is_taken_once_and_none_is_made() -> None:
    from noisylab.upstream.optuna import next_waiting

    study = optuna.create_study()
    study.enqueue_trial({})
    with contract("optuna.study.Study._pop_waiting_trial_id", next_waiting):
        first = next_waiting(study)
        assert first is not None
        assert first.number == 0
        assert next_waiting(study) is None
    assert [trial.state.name for trial in study.trials] == ["RUNNING"]


def test_a_running_trial_goes_on_with_the_values_it_has() -> None:
    from noisylab.upstream.optuna import opened_again

    study = optuna.create_study()
    drawn = study.ask().suggest_float("x", 0, 1)
    with contract("optuna.trial.FrozenTrial._trial_id", opened_again):
        trial = opened_again(study, study.trials[0])
        assert trial.suggest_float("x", 0, 1) == drawn
        trial.report(0.5, 1)
    study.tell(trial.number, 0.5)
    assert study.trials[0].intermediate_values == {1: 0.5}
