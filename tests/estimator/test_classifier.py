"""`NoisyLabelClassifier` alone: what goes in, what comes out, what stays as it was."""

from __future__ import annotations

import logging
import pickle
import random
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from noisylab import ELR, L2R, MLP
from noisylab.data.notes import DataNote
from noisylab.sklearn import NoisyLabelClassifier
from noisylab.sklearn.named import METHODS

pytestmark = pytest.mark.filterwarnings("ignore::noisylab.data.notes.DataNote")

N = 120
RNG = np.random.default_rng(0)
Y = np.arange(N) % 3
X = RNG.normal(size=(N, 5)) + 4 * np.eye(3, 5)[Y]
WRONG = np.arange(N) % 8 == 0
GIVEN = np.where(WRONG, (Y + 1) % 3, Y)


def small(**arguments: Any) -> NoisyLabelClassifier:
    return NoisyLabelClassifier(
        **{"epochs": 12, "device": "cpu", "random_state": 0, "network": partial(MLP, in_features=5)} | arguments
    )


@pytest.fixture(scope="module")
def fitted() -> NoisyLabelClassifier:
    return small(network="auto", epochs=25).fit(X, GIVEN)


# ---- what comes out


def test_wrong_labels_are_resisted_and_found(fitted: NoisyLabelClassifier) -> None:
    assert fitted.score(X, Y) > 0.95
    issues = fitted.label_issues_
    assert list(issues.columns) == ["index", "given", "suggested", "score", "is_issue", "confidence"]
    first = issues.head(int(WRONG.sum()))
    assert WRONG[first["index"]].mean() > 0.9
    assert (first["given"].to_numpy() == GIVEN[first["index"]]).all()
    assert (first["suggested"].to_numpy() == Y[first["index"]]).mean() > 0.9


def test_probabilities_belong_to_the_classes_and_to_the_row_alone(fitted: NoisyLabelClassifier) -> None:
    probs = fitted.predict_proba(X)
    assert np.allclose(probs.sum(1), 1, atol=1e-12)
    assert (fitted.classes_[probs.argmax(1)] == fitted.predict(X)).all()
    assert (fitted.predict_proba(X[7:8]) == probs[7:8]).all()


def test_a_fit_is_named_by_its_random_state() -> None:
    one, two, other = (small(random_state=seed, epochs=2).fit(X, GIVEN).predict_proba(X) for seed in (3, 3, 4))
    assert (one == two).all()
    assert not np.allclose(one, other)


def test_it_is_pickled_without_data_and_trainer(fitted: NoisyLabelClassifier) -> None:
    content = pickle.dumps(fitted)
    again = pickle.loads(content)
    assert (again.predict_proba(X) == fitted.predict_proba(X)).all()
    assert again.label_issues_.equals(fitted.label_issues_)
    assert b"lightning" not in content


def test_without_pandas_the_issues_are_a_table(fitted: NoisyLabelClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fitted.label_issues_
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = fitted.label_issues_
    assert table.index.tolist() == expected["index"].tolist()
    assert table.given.tolist() == expected["given"].tolist()


# ---- what stays as it was


def test_nothing_is_written_said_or_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    level = logging.getLogger("lightning.pytorch").level
    pickle.loads(pickle.dumps(small(random_state=None, epochs=1).fit(X, GIVEN))).predict(X)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert logging.getLogger("lightning.pytorch").level == level
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_fits_in_threads_are_those_of_one_thread() -> None:
    found: dict[int, Any] = {}

    def work(seed: int) -> None:
        found[seed] = (
            small(network=partial(MLP, in_features=5, dropout=0.5), random_state=seed, epochs=2).fit(X, GIVEN).predict_proba(X)
        )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for seed in (0, 1):
        work(seed)
        assert (found[seed] == together[seed]).all()


def test_importing_noisylab_does_not_import_it() -> None:
    program = "import sys, noisylab; print('sklearn' in sys.modules, 'noisylab.sklearn' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == ["False", "False"]


# ---- what goes in


def test_sparse_and_dense_rows_of_equal_numbers_give_equal_answers() -> None:
    dense = np.where(np.abs(X) > 1, X, 0)
    arguments = {"epochs": 2, "data_args": {"standardize": False}}
    one = small(**arguments).fit(dense, GIVEN).predict_proba(dense)
    other = small(**arguments).fit(scipy.sparse.coo_matrix(dense), GIVEN).predict_proba(scipy.sparse.csc_matrix(dense))
    assert np.allclose(one, other, atol=1e-6)


def table(rows: int = N) -> pd.DataFrame:
    city = np.array(["Bern", "Rome", "Oslo"])[np.where(RNG.random(rows) < 0.9, Y[:rows], 0)]
    age = np.where(np.arange(rows) % 7 == 0, np.nan, X[:rows, 0])
    codes = pd.Categorical(Y[:rows] * 10)
    return pd.DataFrame({"age": age, "city": city, "code": codes}, index=[f"r{row}" for row in range(rows)])


def test_tables_with_categories_and_gaps() -> None:
    frame, names = table(), np.array(["no", "yes", "maybe"])[GIVEN]
    model = small(network="auto").fit(frame, names)
    assert model.score(frame, np.array(["no", "yes", "maybe"])[Y]) > 0.9
    assert model.feature_names_in_.tolist() == ["age", "city", "code"]
    assert model.classes_.tolist() == ["maybe", "no", "yes"]
    assert frame.loc[model.label_issues_.index].shape == frame.shape
    odd = frame.head(3).assign(city=["Paris", None, "Rome"])
    assert np.isfinite(pickle.loads(pickle.dumps(model)).predict_proba(odd)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"age": "years"}))


def test_frames_of_pandas_and_polars_are_one_table() -> None:
    frame = table()[["age", "city"]]
    other = pl.DataFrame({"age": [None if age != age else age for age in frame["age"].tolist()], "city": frame["city"].tolist()})
    one = small(network="auto", epochs=2).fit(frame, GIVEN).predict_proba(frame)
    assert (small(network="auto", epochs=2).fit(other, GIVEN).predict_proba(other) == one).all()


def test_a_frame_of_numbers_is_an_array_with_names() -> None:
    frame = pd.DataFrame(X, columns=list("abcde"))
    one, other = small(epochs=2).fit(frame, GIVEN), small(epochs=2).fit(X, GIVEN)
    assert (one.predict_proba(frame) == other.predict_proba(X)).all()


# ---- labels


def test_rows_without_a_label_keep_out_of_classes_and_issues() -> None:
    given = GIVEN.astype(float)
    given[:30] = np.nan
    model = small().fit(X, given)
    assert model.classes_.tolist() == [0, 1, 2]
    assert set(model.label_issues_["index"]) == set(range(30, N))
    minus = GIVEN.copy()
    minus[:30] = -1
    assert (small().fit(X, minus).predict_proba(X) == model.predict_proba(X)).all()


def test_semi_supervised_methods_learn_from_them() -> None:
    given = np.full(N, -1)
    given[:18] = Y[:18]
    model = small(method="fixmatch", epochs=15).fit(X, given)
    assert model.score(X, Y) > 0.8


def test_minus_one_beside_one_is_a_class() -> None:
    assert small(epochs=1).fit(X, np.where(Y, 1, -1)).classes_.tolist() == [-1, 1]


def test_minus_one_beside_zero_and_one_must_be_said_to_be_a_class_or_not() -> None:
    assert small(epochs=1, missing="none").fit(X, Y - 1).classes_.tolist() == [-1, 0, 1]
    assert small(epochs=1, missing=[-1]).fit(X, Y - 1).classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"-1 may be a class .* missing='none'"):
        small().fit(X, Y - 1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (X[:, 0], "Unknown label type|continuous"),
        (np.eye(3)[Y], "y should be a 1d array"),
        (np.zeros(N), "1 class"),
        (Y[:7], "inconsistent numbers of samples"),
    ],
)
def test_other_labels_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(X, y)


# ---- arguments


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_named_method_trains(method: str) -> None:
    given = GIVEN.copy()
    given[:40] = -1
    model = small(method=method, epochs=3).fit(X, given)
    assert model.predict_proba(X).shape == (N, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "elrr"}, ValueError, "method must be one of ce, gce.* did you mean 'elr'"),
        ({"method": "l2r"}, ValueError, "labels are known to be right"),
        ({"method": 3}, TypeError, "method must be a name"),
        ({"method": partial(ELR, num_classes=3)}, ValueError, "num_classes and network not among them"),
        ({"method": L2R}, ValueError, "known to be right"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number of at least 1"),
        ({"batch_size": "all"}, ValueError, "batch_size must be a whole number of at least 2 or 'auto'"),
        ({"lr": -1.0}, ValueError, "lr must be a positive number"),
        ({"device": "abacus"}, ValueError, "device must be auto"),
        ({"network": lambda classes: MLP(classes, 5)}, TypeError, "network must be"),
        ({"method": partial(ELR, optimizer=torch.optim.SGD), "lr": 0.1}, ValueError, "lr=0.1 has no effect"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small(**arguments).fit(X, GIVEN)


def test_weights_of_samples_are_refused_with_the_reason() -> None:
    with pytest.raises(TypeError, match="sample_weight is not supported: methods for noisy labels weight"):
        small().fit(X, GIVEN, sample_weight=np.ones(N))
    with pytest.raises(TypeError, match="unexpected argument 'groups'"):
        small().fit(X, GIVEN, groups=Y)


def test_a_partial_sets_the_method() -> None:
    model = small(method=partial(ELR, regularization=0.0), epochs=2)
    assert clone(model).get_params()["method"].keywords == {"regularization": 0.0}
    assert not np.allclose(model.fit(X, GIVEN).predict_proba(X), small(epochs=2).fit(X, GIVEN).predict_proba(X))


def test_before_fit_it_says_so() -> None:
    with pytest.raises(NotFittedError):
        small().predict(X)
    assert not hasattr(small(), "label_issues_")


def test_left_out_rows_are_told() -> None:
    given = GIVEN.copy()
    given[0] = -1
    with pytest.warns(DataNote, match="no label|unlabeled"):
        small(epochs=1).fit(X, given)


def test_lists_of_texts() -> None:
    texts = [["good film", "bad film", "long film"][kind] for kind in Y.tolist()]
    model = small(network="auto", data_args={"features": "tfidf", "width": 32}, epochs=8).fit(texts, GIVEN)
    assert model.predict(["good film", "bad film"]).tolist() == [0, 1]
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(TypeError, match="fitted on texts"):
        model.predict(X)
