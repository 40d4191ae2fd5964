from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from noisylab.data import Arrays
from noisylab.data.matrix import Matrix
from noisylab.data.notes import DataNote

X = np.random.default_rng(0).normal(size=(40, 4)) * [1, 10, 100, 1000] + [0, 5, 0, 0]
Y = np.arange(40) % 3


def ready(*arrays: object, **arguments: object) -> Matrix:
    data = Matrix(*arrays, **arguments)  # type: ignore[arg-type]
    data.setup()
    return data


def test_rows_in_memory_become_what_the_same_rows_in_a_file_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=X, y=Y, test_x=X[:9] + 1, test_y=Y[:9])
    filed = Arrays(str(tmp_path / "mine.npz"), val_fraction=0.2)
    filed.setup()
    held = ready(X, Y, X[:9] + 1, Y[:9], val_fraction=0.2)
    assert torch.equal(held.source.train.values, filed.source.train.values)  # type: ignore[union-attr]
    assert torch.equal(held.source.test.values, filed.source.test.values)  # type: ignore[union-attr]
    assert torch.equal(held.info.train_rows, filed.info.train_rows)
    assert held.digests() == filed.digests()


def test_held_out_rows_have_no_part_in_the_scaling() -> None:
    data = ready(X, Y, val_fraction=0.5)
    kept = X[data.info.train_rows.numpy()]
    assert np.allclose(data.measured()["middle"], kept.mean(0))
    assert np.allclose(data.measured()["divisor"], kept.std(0))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil"])
def test_sparse_matrices_of_any_format_hold_the_same_numbers(form: str) -> None:
    matrix = scipy.sparse.random(30, 7, density=0.4, random_state=0)
    data = ready(matrix.asformat(form), Y[:30], standardize=False)
    assert np.allclose(data.source.train.gather(torch.arange(30)), matrix.toarray())  # type: ignore[union-attr]


def test_numbers_at_the_same_place_of_a_sparse_matrix_add_up() -> None:
    matrix = scipy.sparse.coo_matrix(([1.0, 2.0, 4.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    data = ready(matrix, ["a", "b"], standardize=False)
    assert data.source.train.gather(torch.arange(2)).tolist() == [[0, 3], [4, 0]]  # type: ignore[union-attr]


def test_a_model_prepares_other_rows_by_its_record_alone() -> None:
    data = ready(X, Y)
    other = Matrix(np.empty((0, 4)), [])
    other.adopt(data.fitted())
    other.setup_blank()
    assert torch.equal(other.prepared(X).values, data.source.train.values)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="X has rows of 3 numbers, those of training have 4"):
        other.prepared(X[:, :3])


def test_text_labels_names_groups_and_rows_without_a_label() -> None:
    labels = np.array(["b", "a", "NA", "b", "a", "b"], dtype=object)
    with pytest.warns(DataNote, match="1 of 6 rows have no label"):
        data = ready(X[:6], labels, names=list("uvwxyz"), group=["p", "p", "q", "q", "r", "r"], y_true=["b"] * 6)
    assert data.given_target.tolist() == [1, 0, -1, 1, 0, 1]
    assert data.clean_target.tolist() == [1] * 6
    assert data.source.names == list("uvwxyz")
    assert data.source.group is not None
    assert data.source.group.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X[:, 0], "y": Y}, r"X must be numbers of shape \(N, D\)"),
        ({"X": X, "y": Y[:3]}, "X 40, y 3"),
        ({"X": np.where(X > 1000, np.nan, X), "y": Y}, "X has .* NaN or infinite, the first in row"),
        ({"X": X, "y": Y, "test_X": X[:, :2], "test_y": Y}, "test_X has rows of 2 numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        ready(**arguments)


def test_arguments_are_refused_before_setup() -> None:
    with pytest.raises(ValueError, match="test_X and test_y go together"):
        Matrix(X, Y, X)
    with pytest.raises(ValueError, match="standardize"):
        Matrix(X, Y, standardize="yes")  # type: ignore[arg-type]
