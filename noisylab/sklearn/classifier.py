"""A classifier for scikit-learn that is trained on labels which are partly wrong."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from noisylab.data.base import NoisyDataModule
from noisylab.data.missing import Missing
from noisylab.issues.ranking import rank_labels
from noisylab.issues.table import IssueTable
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models import MLP
from noisylab.models.network import NetFactory
from noisylab.sklearn.inputs import InputKind, data_of, kind_of, read_inputs
from noisylab.sklearn.named import resolve_method, settings_of
from noisylab.sklearn.reported import issues_frame
from noisylab.sklearn.targets import Targets, read_targets
from noisylab.sklearn.trained import Trained
from noisylab.sklearn.training import resolve_device, train

__all__ = ["NoisyLabelClassifier"]

_BATCHES = 16  # an epoch, down to batches of 16 and up to batches of 256 rows
_NARROW, _WIDE, _ROWS = 64, 256, 16  # widths of the hidden layers, and training rows to a hidden unit


class NoisyLabelClassifier(ClassifierMixin, BaseEstimator):
    """A network trained by a method that resists wrong labels, with scikit-learn's ``fit`` and ``predict``.

    Use it in the place of `LogisticRegression()` where some labels are wrong: `predict` answers with what the labels have in
    common, and `label_issues_` lists those that are probably wrong. Nothing is written to files, and the random states of Python,
    numpy and torch stay as they were.

    X may be an array or sparse matrix of numbers, a data frame (of pandas or polars, with numbers, categories and missing values,
    see `noisylab.data.Tabular`), or a list of texts (see ``noisylab.data.Text``). Columns are scaled by the training rows.
    Fits in threads of one process follow each other; use processes, joblib's default.

    Args:
        method: a name: "ce" (cross-entropy, which resists nothing), "gce", "sce", "mae", "gls", "nce+rce", "elr", "elr+",
            "co-teaching", "co-teaching+", "jocor", "dividemix", "forward", "joint-optimization", "volminnet", and, for few labels
            among many rows, "fixmatch", "mean-teacher" and "pi-model"; or a class of `noisylab.methods`, or a
            `functools.partial` of one. See `noisylab.sklearn.named.METHODS` for the settings behind names.
        network: "auto" for a perceptron with two hidden layers, whose width follows the number of rows, from 64 to 256; or a
            class of `noisylab.models`, or a `functools.partial` of one, such as ``partial(MLP, in_features=64)``.
        epochs: passes over the training rows, at least 1.
        batch_size: rows; "auto" for a sixteenth of the training rows, from 16 to 256.
        lr: learning rate of AdamW at the beginning; it falls to zero along a cosine. "auto" for 0.001.
        device: "auto" for a CUDA device if there is one; "cpu"; "cuda" or "cuda:<number>".
        missing: labels that stand for no label: "auto" for NaN, None, -1 among other whole numbers as in
            `sklearn.semi_supervised` (alone with 1 or 0 it is a class, and with both it must be said), and words such as "NA";
            "none" to take all but NaN and None for classes; or a list of labels, such as ``[-1]``.
        data_args: further arguments of the data module, such as ``{"standardize": False}`` (`noisylab.Matrix`),
            ``{"categories": ["zip"]}`` (`noisylab.Tabular`) or ``{"features": "tfidf"}`` (``noisylab.Text``).
        random_state: names the weights at the beginning and all draws. `None` for others in each fit, which do not come from
            numpy's global generator.
        verbose: 1 shows a progress bar.

    Attributes:
        classes_: (K,) the classes, sorted.
        n_features_in_: columns of X; not for texts.
        feature_names_in_: (D,) their names, where X had names.
        label_issues_: the training rows with a label, the one most likely to be wrong first.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> X, y = load_wine(return_X_y=True)
        >>> model = NoisyLabelClassifier(epochs=10, random_state=0, device="cpu").fit(X, y)
        >>> model.predict(X[:3]).tolist(), model.predict_proba(X[:3]).shape
        ([0, 0, 0], (3, 3))
    """

    def __init__(
        self,
        method: str | type[NoisyLabelMethod] | functools.partial[NoisyLabelMethod] = "elr",
        network: Literal["auto"] | NetFactory = "auto",
        *,
        epochs: int = 60,
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        device: str = "auto",
        missing: Missing = "auto",
        data_args: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.network = network
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.missing = missing
        self.data_args = data_args
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Train on (noisy) labels.

        Args:
            X: (N, D) array, sparse matrix or data frame, or N texts.
            y: (N,) labels: whole numbers, truth values or text, of at least two classes.
            **fit_params: refused; `sample_weight` with the reason.

        Raises:
            TypeError: for `sample_weight` or another argument that there is not.
            ValueError: for an argument out of its range, or for X and y that do not fit, naming the row or column.
        """
        _refuse(fit_params)
        kind: Any = resolve_method(self.method)[0]
        self._check_arguments()
        settings = settings_of(self.method, self.epochs, self.lr)
        form = kind_of(X)
        inputs = read_inputs(self, X, None)
        targets = read_targets(y, self.missing)
        check_consistent_length(targets.codes, inputs if form == "numbers" else np.empty(len(inputs)))
        seed = self._seed()
        rows = int((targets.codes >= 0).sum())
        batch = min(max(rows // _BATCHES, 16), 256) if self.batch_size == "auto" else self.batch_size
        own = {"batch_size": batch, "seed": seed, **(self.data_args or {})}
        data, blank = data_of(inputs, targets, own)
        data.setup("fit")
        network = self._network(data)
        build = functools.partial(kind, num_classes=data.num_classes, network=network, **settings)
        verbose = bool(self.verbose)
        trained = train(build, data, epochs=self.epochs, device=resolve_device(self.device), seed=seed, verbose=verbose)
        self._keep(trained, data, blank, targets, form, getattr(X, "index", None))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """(M,) the most probable class of each row.

        Args:
            X: M rows in the form that the classifier was fitted on.
        """
        probs = self.predict_proba(X)  # before classes_, so that an unfitted classifier says what it is
        return self.classes_[probs.argmax(1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(M, K) probabilities, in the order of `classes_`.

        Args:
            X: M rows in the form that the classifier was fitted on.
        """
        check_is_fitted(self)
        return self._trained.probabilities(read_inputs(self, X, self._form), resolve_device(self.device))

    @property
    def label_issues_(self) -> Any:
        """The training rows with a label, the one most likely to be wrong first.

        A data frame if pandas is installed: ``index`` (the row's number in X), ``given`` and ``suggested`` label, ``score`` in
        [0, 1], ``is_issue`` (score above one half) and ``confidence``; the frame's own index is that of X. Without pandas, a
        `noisylab.IssueTable`, in which labels are places in `classes_`. See `noisylab.issues.ranking` for the score.

        Raises:
            AttributeError: before ``fit``, and for methods that never see unmixed inputs, such as ELR+.
        """
        check_is_fitted(self)
        if self._issues is None:
            raise AttributeError(f"no label_issues_: {self.method} never saw an unmixed input, so there is nothing to rank")
        return issues_frame(self._issues, self.classes_, self._index)

    # ---- parts of fit

    def _check_arguments(self) -> None:
        for name, least, also in (("epochs", 1, None), ("batch_size", 2, "auto")):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
            if not whole and (also is None or value != also):
                choice = f" or {also!r}" if also else ""
                raise ValueError(f"{name} must be a whole number of at least {least}{choice}, got {value!r}")
        if self.lr != "auto" and not (isinstance(self.lr, float | int) and 0 < self.lr < float("inf")):
            raise ValueError(f"lr must be a positive number or 'auto', got {self.lr!r}")
        resolve_device(self.device)

    def _seed(self) -> int:
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _network(self, data: NoisyDataModule) -> NetFactory:
        if self.network != "auto":
            return self.network
        store: Any = data.source.train
        if not hasattr(store, "row_size"):
            raise ValueError(
                "network='auto' takes rows of numbers; give a network that takes these inputs, as a functools.partial"
            )
        width = _NARROW
        while width < _WIDE and len(data.info.train_rows) >= _ROWS * 2 * width:
            width *= 2
        return functools.partial(MLP, in_features=store.row_size, hidden=(width, width))

    def _keep(
        self,
        method: NoisyLabelMethod,
        data: NoisyDataModule,
        blank: dict[str, Any],
        targets: Targets,
        form: InputKind,
        index: Any,
    ) -> None:
        self.classes_ = targets.classes
        self._form: InputKind = form
        self._issues: IssueTable | None = rank_labels(method, data)
        self._index = None if index is None or callable(index) else np.asarray(index)
        self._trained = Trained.of(method, data, blank, self.network == "auto")

    # ---- what scikit-learn asks

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _refuse(fit_params: Mapping[str, Any]) -> None:
    """Refuse arguments of ``fit``.

    Raises:
        TypeError: naming the first.
    """
    if fit_params.get("sample_weight") is not None:
        raise TypeError(
            "sample_weight is not supported: methods for noisy labels weight, select, mix or relabel the rows themselves, by how "
            "likely each label is to be right; a second weight has no defined place in that. Leave it out, or leave rows out"
        )
    others = [name for name in fit_params if name != "sample_weight"]
    if others:
        raise TypeError(f"fit() got an unexpected argument {others[0]!r}; it takes X and y")
