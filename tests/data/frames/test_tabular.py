"""What becomes of the columns of a table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from frametables import kinds, mixed, number, table, text
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, QuantileTransformer, StandardScaler

from noisylab.data import Arrays, Tabular
from noisylab.data.frames import Column, Columns
from noisylab.data.notes import DataNote


@pytest.fixture(autouse=True)
def _notes_are_no_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        yield


def ready(train: Columns, test: Columns | None = None, **given: Any) -> Tabular:
    data = Tabular.of(train, test, **given)
    data.setup()
    return data


def inputs(data: Tabular) -> torch.Tensor:
    rows: Any = data.source.train
    return rows.values


def told(data: Tabular) -> str:
    return "\n".join(data.source.account)


# ---- against scikit-learn


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_rows_are_those_of_a_column_transformer(missing: float) -> None:
    train, test = mixed(600, missing=missing), mixed(200, seed=1, missing=missing)
    data = ready(train, test, min_frequency=20, max_categories=5, val_fraction=0.2)
    kept = data.info.train_rows.numpy()

    def frame(columns: Columns) -> Any:
        numbers = [
            np.where(columns.columns[name].missing, np.nan, columns.columns[name].values) for name in ("calm", "wide", "heavy")
        ]
        words = [np.array(columns.columns[name].texts(), dtype=object) for name in ("city", "sort")]
        return np.stack([*(one.astype(object) for one in numbers), *words], 1)

    cut = FunctionTransformer(lambda x: np.clip(x, -3, 3))
    tails = QuantileTransformer(n_quantiles=min(1000, len(kept)), output_distribution="normal", random_state=0)
    onehot = OneHotEncoder(min_frequency=20, max_categories=5, handle_unknown="infrequent_if_exist", sparse_output=False)
    by_hand = ColumnTransformer(
        [
            ("calm", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0, 1]),
            ("heavy", make_pipeline(SimpleImputer(strategy="median"), tails, cut, StandardScaler()), [2]),
            ("gone", MissingIndicator(features="missing-only"), [0, 1, 2]),
            ("words", onehot, [3, 4]),
        ]
    ).fit(frame(train)[kept])
    order = [0, 3, 1, 4, 2, 5] if missing else [0, 1, 2]  # each number with its indicator
    order += range(len(order), data.num_features)
    for columns, ours in ((train, inputs(data)), (test, data.source.test.values)):  # type: ignore[union-attr]
        expected = by_hand.transform(frame(columns)).astype(np.float64)[:, order]
        np.testing.assert_allclose(ours.numpy(), expected, atol=2e-6)


def test_vectors_are_scaled_as_those_of_arrays(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(40, 3)) * [1, 100, 5]).astype("f4")
    labels = ["a", "b"] * 20
    np.savez(tmp_path / "a.npz", x=values, y=np.array(labels))
    arrays = Arrays(str(tmp_path / "a.npz"), val_fraction=0.25)
    arrays.setup()
    vector = Column("vector", values, np.zeros(40, dtype=bool))
    data = ready(table(label=text(labels), seen=number(rng.normal(size=40)), embedding=vector), val_fraction=0.25)
    torch.testing.assert_close(inputs(data)[:, 1:], arrays.source.train.values)  # type: ignore[union-attr]
    assert data.encoding.groups.tolist() == [0, -1, -1, -1]


# ---- by hand


def test_a_small_table_by_hand() -> None:
    data = ready(
        table(
            age=number([1, 3, None, 5]),
            city=text(["b", "a", None, "b"]),
            grade=kinds(("low", "high"), [1, 0, 1, 0]),
            label=text(["x", "y", "x", "y"]),
        ),
        categories=["city", "grade"],
    )
    std = math.sqrt(2)  # of 1, 3, 3, 5, as the median stands in for what is missing
    ages = [[-2 / std, 0], [0, 0], [0, 1], [2 / std, 0]]
    cities = [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]  # missing, a, b
    grades = [[1, 0], [0, 1], [1, 0], [0, 1]]  # high, low
    expected = torch.tensor([a + b + c for a, b, c in zip(ages, cities, grades, strict=True)], dtype=torch.float32)
    torch.testing.assert_close(inputs(data), expected)
    assert data.num_features == 7


def test_heavy_tails_do_not_set_the_scale_of_the_others() -> None:
    values = [*np.linspace(0, 1, 99), 1e9]
    data = ready(table(x=number(values), y=number(range(0, 200, 2)), label=text(["a", "b"] * 50)))
    column = inputs(data)[:, 0]
    assert column.abs().max() < 4
    assert float(column[:99].std()) > 0.8


def test_infinite_and_missing_numbers_are_the_median_and_said() -> None:
    data = ready(table(x=number([1, math.inf, 2, -math.inf, 3, math.nan]), label=text(["a", "b"] * 3)))
    assert inputs(data)[:, 1].tolist() == [0, 1, 0, 1, 0, 1]
    assert inputs(data)[[1, 3, 5], 0].tolist() == [0, 0, 0]
    assert "column x: 2 infinite numbers count as missing" in told(data)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_numbers_of_any_size_are_brought_to_unit_variance(size: float) -> None:
    rng = np.random.default_rng(0)
    data = ready(table(x=number(rng.normal(size=50) * size), label=text(["a", "b"] * 25)))
    torch.testing.assert_close(inputs(data).std(0, correction=0), torch.ones(1))


# ---- which columns, in which role


def test_text_of_numbers_is_numbers_and_other_text_categories() -> None:
    rows = table(x=text(["1", "2.5", "?", "NA", None, "4"]), k=text(["u", "v"] * 3), label=text(list("aabbab")))
    data = ready(rows)
    assert [type(one).__name__ for one in data.encoding.fields] == ["NumberField", "CategoryField"]
    assert "text that is taken as numbers: x" in told(data)
    assert "taken as categories: k" in told(data)
    assert inputs(data)[:, 1].tolist() == [0, 0, 1, 1, 1, 0]


def test_numbers_named_as_such_may_have_words_in_them() -> None:
    rows = table(x=text(["1", "2.5", "many", "3", "4", "0"]), label=text(list("aabbab")))
    data = ready(rows, numbers=["x"])
    assert inputs(data)[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert "column x: 1 cells are no numbers and count as missing: many" in told(data)


def test_numbers_named_as_categories_are_written_without_a_point() -> None:
    data = ready(table(zip=number([1, 2, 1, None]), label=text(list("abab"))), categories=["zip"])
    (field,) = data.encoding.state()["fields"]
    assert field["kept"] == ["", "1", "2"]


def test_columns_without_a_use_are_left_out_and_said() -> None:
    rows = 40
    rng = np.random.default_rng(0)
    data = ready(
        table(
            good=number(rng.normal(size=rows)),
            again=number(np.random.default_rng(0).normal(size=rows)),
            empty=number([None] * rows),
            one=number([7] * rows),
            same=text(["yes"] * rows),
            id=number(rng.permutation(10 * rows)[:rows]),
            counted=number(np.arange(rows)),
            name=text([f"n{row}" for row in range(rows)]),
            story=text([f"it was on day {row} that we met" for row in range(rows)]),
            price=text([f"{row},5" for row in range(rows)]),
            code=number([row % 3 for row in range(rows)]),
            color=text(["rgb"[row % 3] for row in range(rows)]),
            other=Column("other", [object()] * rows, np.zeros(rows, dtype=bool)),
            label=text(["a", "b"] * (rows // 2)),
        ),
        categories=["code", "color"],
    )
    assert data.encoding.names == ["good", "code"]
    account = told(data)
    for name, why in (
        ("again", "which says the same as good"),
        ("empty", "without any value in the training rows"),
        ("id", "which number the rows"),
        ("name", "differ in nearly every row"),
        ("story", "--text story learns from it"),
        ("price", "have commas"),
        ("color", "which says the same as code"),
        ("other", "neither numbers nor words"),
    ):
        assert any(name in line and why in line for line in account.splitlines()), (name, account)
    assert "left out: one and same, which have one value in all training rows" in account


def test_a_column_that_says_the_label_brings_a_warning() -> None:
    labels = ["a", "b", "c"] * 20
    rows = table(
        x=number(np.random.default_rng(0).normal(size=60)), code=number([ord(one) for one in labels]), label=text(labels)
    )
    with pytest.warns(DataNote, match="WARNING: the column code says exactly what the label is"):
        ready(rows)
    nearly = replace(rows.columns["code"], values=np.array([98.0, *map(ord, labels[1:])]))
    assert "agrees with the label in 98.3% of the training rows" in told(ready(table(**{**rows.columns, "code": nearly})))
    assert "WARNING" not in told(ready(rows, drop=["code"]))


def test_unfit_columns_are_refused_with_what_to_do() -> None:
    when = Column("date", np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"), np.zeros(2, dtype=bool))
    base = {"x": number([1, 2]), "label": text(["a", "b"])}
    with pytest.raises(ValueError, match=r"dates in when.*year.*--data.drop '\[when\]'"):
        ready(table(**base, when=when))
    assert ready(table(**base, when=when), drop=["when"]).encoding.names == ["x"]
    with pytest.raises(ValueError, match=r"columns='y'.*has no such column"):
        ready(table(**base), columns=["y"])
    with pytest.raises(ValueError, match="columns names 'label', which is the label"):
        ready(table(**base), columns=["label"])
    with pytest.raises(ValueError, match="no column to learn from"):
        ready(table(label=text(["a", "b"])))
    with pytest.raises(ValueError, match="--text note"):
        ready(table(note=text(["so", "no", "go"]), label=text(["a", "b", "a"])), columns=["note"])
    picture = Column("image", [], np.zeros(0, dtype=bool))
    with pytest.raises(ValueError, match="TableImages for images, Sound for recordings"):
        ready(Columns("t", {"p": picture, "label": text([])}), columns=["p"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"columns": []}, "at least one column"),
        ({"columns": ["a", "a"]}, "names a column twice"),
        ({"columns": ["a"], "drop": ["a"]}, "columns and drop both name a"),
        ({"categories": ["a"], "numbers": ["a"]}, "categories and numbers both name a"),
        ({"columns": ["a"], "categories": ["b"]}, "columns does not name b"),
        ({"min_frequency": 0}, "min_frequency must be at least 1"),
        ({"max_categories": 1}, "max_categories must be at least 2"),
    ],
)
def test_wrong_arguments_are_refused_before_data_are_read(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tabular("nowhere.csv", **given)


def test_a_list_is_no_text() -> None:
    with pytest.raises(TypeError, match=r"write columns=\['age'"):
        Tabular("nowhere.csv", columns="age")  # type: ignore[arg-type]


def test_rare_values_share_an_input_and_many_are_cut_to_the_most_frequent() -> None:
    words = ["a"] * 10 + ["b"] * 5 + ["c"] * 3 + ["d", "e"]
    rows = table(k=text(words), label=text(["u", "v"] * 10))
    data = ready(rows, categories=["k"], min_frequency=3)
    assert inputs(data).sum(0).tolist() == [10, 5, 3, 2]
    assert inputs(ready(rows, categories=["k"], min_frequency=1, max_categories=3)).sum(0).tolist() == [10, 5, 5]
    with pytest.raises(ValueError, match="no value of which is in 11 training rows"):
        ready(rows, categories=["k"], min_frequency=11)


def test_noise_that_looks_at_the_inputs_sees_prepared_rows() -> None:
    from noisylab.noise import InstanceDependent

    data = ready(mixed(200), noise=InstanceDependent(rate=0.3))
    changed = (data.given_target != data.clean_target).float().mean()
    assert 0.15 < float(changed) < 0.45
