"""Private names of scikit-learn."""

from __future__ import annotations

from typing import Any

from sklearn.utils import validation

__all__ = ["checked_inputs"]


def checked_inputs(estimator: Any, X: Any, *, reset: bool, as_array: bool, **checks: Any) -> Any:
    """The inputs of an estimator after scikit-learn's own checks; their number of columns and the names of these are noted, or
    compared with those that were.

    Private: ``sklearn.base.BaseEstimator._validate_data``, which `sklearn.utils.validation.validate_data` replaced in 1.6.
    Why: the names of columns are checked nowhere else, and 1.4 and 1.5 are supported.
    Since: noisylab 0.2, scikit-learn 1.4.
    Without it: with scikit-learn before 1.6 there is no `NoisyLabelClassifier`.

    Args:
        estimator: whose ``n_features_in_`` and ``feature_names_in_`` are meant.
        X: the inputs.
        reset: whether to note them, in ``fit``, rather than to compare.
        as_array: whether to check the values, too, and return an array; else `X` is returned as it is.
        **checks: see `sklearn.utils.check_array`.
    """
    validate = getattr(validation, "validate_data", None)
    if validate is not None:
        return validate(estimator, X, reset=reset, skip_check_array=not as_array, **(checks if as_array else {}))
    return estimator._validate_data(X, reset=reset, cast_to_ndarray=as_array, **(checks if as_array else {}))
