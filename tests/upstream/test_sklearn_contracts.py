"""What noisylab relies on in scikit-learn's private names."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.contracts import contract
from sklearn.base import BaseEstimator

from noisylab.upstream.sklearn import checked_inputs


def test_columns_are_counted_and_compared() -> None:
    estimator = BaseEstimator()
    with contract("sklearn.base.BaseEstimator._validate_data", checked_inputs):
        assert checked_inputs(estimator, [[1.0, 2.0]], reset=True, as_array=True).shape == (1, 2)
        assert estimator.n_features_in_ == 2
    with pytest.raises(ValueError, match="3 features"):
        checked_inputs(estimator, np.zeros((1, 3)), reset=False, as_array=True)


def test_what_is_not_to_be_an_array_stays_as_it_is() -> None:
    frame = pytest.importorskip("pandas").DataFrame({"a": ["x"], "b": [1]})
    estimator = BaseEstimator()
    assert checked_inputs(estimator, frame, reset=True, as_array=False) is frame
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
