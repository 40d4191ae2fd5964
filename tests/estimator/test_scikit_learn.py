"""`NoisyLabelClassifier` within scikit-learn, and scikit-learn's own checks."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from cleanlab.classification import CleanLearning
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from noisylab import MLP
from noisylab.sklearn import NoisyLabelClassifier

N = 90
Y = np.arange(N) % 3
X = np.random.default_rng(0).normal(size=(N, 4)) + 4 * np.eye(3, 4)[Y]

QUICK = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimator_cloneable",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_readonly_memmap_input",
    "check_classifier_not_supporting_multiclass",
    "check_classifiers_one_label",
    "check_estimators_unfitted",
    "check_supervised_y_2d",
    "check_fit2d_1sample",
    "check_dict_unchanged",
    "check_n_features_in_after_fitting",
    "check_dataframe_column_names_consistency",
    "check_requires_y_none",
    "check_estimators_nan_inf",
)


def small(**arguments: Any) -> NoisyLabelClassifier:
    return NoisyLabelClassifier(**{"epochs": 4, "device": "cpu", "random_state": 0} | arguments)


def test_the_quick_ones_of_scikit_learns_checks_pass() -> None:
    run = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator, check in estimator_checks_generator(small(epochs=2)):
            if isinstance(check, partial) and check.func.__name__ in QUICK:
                check(estimator)
                run += 1
    assert run >= 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_of_scikit_learns_checks_pass() -> None:
    results = check_estimator(small(epochs=15), on_fail=None, on_skip=None)  # none is expected to fail
    assert not [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert sum(result["status"] == "passed" for result in results) > 45


def test_in_a_pipeline_across_folds() -> None:
    model = make_pipeline(StandardScaler(), small(epochs=10))
    probs = cross_val_predict(model, X, Y, cv=3, method="predict_proba")
    assert (probs.argmax(1) == Y).mean() > 0.9


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_settings_are_searched(jobs: int) -> None:
    grid = {"method": ["ce", "elr"], "network": ["auto", partial(MLP, in_features=4, hidden=(8,))]}
    search = GridSearchCV(small(epochs=2), grid, cv=2, n_jobs=jobs, error_score="raise").fit(X, Y)
    alone = [search.cv_results_["params"][place] for place in range(4)]
    assert len(alone) == 4
    assert search.best_estimator_.predict_proba(X).shape == (N, 3)


def test_calibrated() -> None:
    model = CalibratedClassifierCV(small(epochs=6), cv=2).fit(X, Y)
    assert (model.predict(X) == Y).mean() > 0.9


@pytest.mark.filterwarnings("ignore")
def test_cleanlab_can_be_put_around_it() -> None:
    given = np.where(np.arange(N) % 9 == 0, (Y + 1) % 3, Y)
    one = {"n_jobs": 1}  # processes that it forks may hang on what threads of other tests held
    model = CleanLearning(small(epochs=10), cv_n_folds=2, find_label_issues_kwargs=one).fit(X, given)
    assert (model.predict(X) == Y).mean() > 0.9
