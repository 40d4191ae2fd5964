"""Columns of feature vectors: which are of one size, what is done to others, and what can be kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from noisylab.data import Arrays
from noisylab.data.arrayfile import read_views
from noisylab.data.rows import SparseRows
from noisylab.data.scaling import Scaling, measure


def scaled(x: np.ndarray, kept: Tensor | None = None, how: str | bool = "auto") -> tuple[Tensor, Scaling]:
    rows = torch.from_numpy(x)
    found = measure(rows, how, torch.arange(len(rows)) if kept is None else kept)
    result = Scaling.of(found.state())(rows, "x")
    assert isinstance(result, Tensor) and result.dtype == torch.float32
    return result, found


def normal(rows: int, *sizes: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, len(sizes))) * np.array(sizes)


def test_columns_of_unequal_size_get_zero_mean_and_unit_variance_on_the_rows_that_are_trained_on() -> None:
    x = normal(50, 1, 20_000) + np.array([40, 50_000])
    x[25:] *= 100
    found, scaling = scaled(x, kept=torch.arange(25))
    expected = (x - x[:25].mean(0)) / x[:25].std(0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert "zero mean and unit variance" in scaling.text


def test_a_common_offset_is_unequal_size_too() -> None:
    x = normal(50, 1, 1, 1) + np.array([0, 1000, 0])
    np.testing.assert_allclose(scaled(x)[0].mean(0).numpy(), 0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_one_usual_size_stay_bit_for_bit(dtype: type) -> None:
    x = normal(200, *np.linspace(0.3, 1.5, 40)).astype(dtype)
    found, scaling = scaled(x)
    assert scaling.idle and scaling.text == ""
    assert torch.equal(found, torch.from_numpy(x).float())


def test_embeddings_and_pixels_get_one_number() -> None:
    """Columns keep their weights; the root mean square becomes a half."""
    unit = normal(200, *np.linspace(0.3, 1.5, 40))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for x in (unit, np.random.default_rng(0).integers(0, 256, (200, 64))):
        found, _ = scaled(x)
        np.testing.assert_allclose(float(found.square().mean().sqrt()), 0.5, rtol=1e-5)
        np.testing.assert_allclose(
            (found.numpy() / np.where(x == 0, 1, x))[x != 0], found.numpy()[x != 0][0] / x[x != 0][0], rtol=1e-4
        )


@pytest.mark.parametrize("factor", [1.0, 3.0, 50.0])
def test_rows_of_mostly_zeros_are_judged_by_their_norm_as_sparse_ones_are(factor: float) -> None:
    """Word frequencies of norm 1 are ready to train on: their root mean square, which is tiny, says nothing."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(200, 500, generator=generator) * (torch.rand(200, 500, generator=generator) < 0.03)
    rows = factor * rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-6)
    scaled = measure(rows, "auto", torch.arange(200))(rows, "x")
    assert isinstance(scaled, torch.Tensor)
    if factor <= 4:
        assert torch.equal(scaled, rows)
    else:
        assert scaled.norm(dim=1).numpy() == pytest.approx(1.0, rel=1e-4)


def test_counts_and_indicators_beside_large_columns_keep_their_zeros() -> None:
    rng = np.random.default_rng(0)
    indicator = np.zeros(1000)
    indicator[:3] = 1
    x = np.stack([indicator, rng.normal(30_000, 5_000, 1000), np.where(rng.random(1000) < 0.2, 40.0, 0)], 1)
    found, scaling = scaled(x)
    assert found[:, 0].unique().tolist() == [0, 1] and found[:, 2].unique().tolist() == [0, 1]
    assert found[:, 1].mean().abs() < 1e-5 and "mostly zeros" in scaling.text


def test_constant_and_nearly_constant_columns_become_zero() -> None:
    x = normal(100, 1, 500, 1, 1)
    x[:, 2], x[:, 3] = 7, 1e9 + normal(100, 1e-5)[:, 0]
    found, _ = scaled(x)
    np.testing.assert_allclose(found[:, 2:].numpy(), 0, atol=1e-6)
    assert found[:, :2].std(0, correction=0).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("size", [1, 300])
def test_a_constant_that_outweighs_columns_of_one_size_becomes_zero_too(size: float) -> None:
    """Beside columns that stay as they are, and beside those that are all divided by one number; a bias of ones stays."""
    x = normal(100, size, size, size, size)
    x[:, 2], x[:, 3] = 1e5, size
    found, scaling = scaled(x)
    assert found[:, 2].abs().max() == 0 and "1 constant column becomes zero" in scaling.text
    np.testing.assert_allclose((found[:, 0] / found[:, 3]).numpy(), x[:, 0] / size, rtol=1e-5)
    large = np.full((10, 2), 2**60)
    large[:5] += 100
    found, scaling = scaled(large)
    assert found.abs().max() < 1e-6 and scaling.text == "all columns are constant and become zero"


@pytest.mark.parametrize("how", ["auto", True])
@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_columns_whose_squares_are_no_numbers_keep_what_they_say(size: float, how: str | bool) -> None:
    x = normal(50, 1, 1)
    expected = (x - x.mean(0)) / x.std(0) if how is True else x
    found = scaled(x * size, how=how)[0].numpy()
    np.testing.assert_allclose(found / found.std(), expected / expected.std(), rtol=1e-4)


def test_differences_that_float32_would_round_away_survive() -> None:
    """Seconds since 1970: float32 knows steps of 128 of them."""
    x = np.stack([1.7e9 + np.arange(100.0), np.linspace(0, 1, 100)], 1)
    found, _ = scaled(x)
    np.testing.assert_allclose(found[:, 0].diff().numpy(), found[1, 0] - found[0, 0], rtol=1e-3)


def test_numbers_beyond_float32_are_scaled_or_refused_with_their_column() -> None:
    x = normal(20, 1, 1e300)
    assert scaled(x)[0][:, 1].std(correction=0) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"x has .*e\+\d+ in row 0, column 1, which is beyond float32.*standardize"):
        scaled(x, how=False)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
def test_any_type_of_number_becomes_float32(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 2, (30, 4)).astype(dtype)
    assert torch.equal(scaled(x)[0], torch.from_numpy(x.astype(np.float32)))


def sparse(dense: np.ndarray) -> SparseRows:
    rows, columns = dense.nonzero()
    starts = np.concatenate([[0], np.cumsum((dense != 0).sum(1))])
    values = torch.from_numpy(dense[rows, columns]).float()
    return SparseRows(values, torch.from_numpy(columns), torch.from_numpy(starts), dense.shape[1])


def test_sparse_rows_keep_their_zeros() -> None:
    rng = np.random.default_rng(0)
    words = rng.poisson(0.3, (100, 50)).astype(float)
    words[:, 0] += 1
    every = torch.arange(100)
    counts = measure(sparse(words), "auto", every)
    found = counts(sparse(words), "x")
    assert isinstance(found, SparseRows) and len(counts.divisor) == 1
    np.testing.assert_allclose(float(found.data.square().sum()) / 100, 1, rtol=1e-5)
    unit = sparse(words / np.linalg.norm(words, axis=1, keepdims=True))
    assert measure(unit, "auto", every)(unit, "x") is unit
    mixed = words * np.where(np.arange(50) == 3, 20_000, 1)
    found = measure(sparse(mixed), "auto", every)(sparse(mixed), "x")
    assert isinstance(found, SparseRows)
    np.testing.assert_allclose(float(found.data[found.indices == 3].square().mean()), 1, rtol=1e-5)


def test_held_out_rows_do_not_say_how_columns_are_scaled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)) * [1, 1000], np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    first = Arrays(str(tmp_path / "a.npz"), val_fraction=0.5)
    first.setup()
    held = (first.info.given_target == -1).nonzero().flatten()
    x[held] *= 50
    np.savez(tmp_path / "a.npz", x=x, y=y)
    second = Arrays(str(tmp_path / "a.npz"), val_fraction=0.5)
    second.setup()
    rows = first.info.train_rows
    assert torch.equal(first.source.train.values[rows], second.source.train.values[rows])  # type: ignore[union-attr]
    assert first.source.account == ["x: columns differ in size; each to zero mean and unit variance"]
    later = Arrays(str(tmp_path / "a.npz"))
    later.adopt(first.fitted())
    later.setup()
    assert torch.equal(later.source.train.values, second.source.train.values)  # type: ignore[union-attr]
    assert first.fitted()["train"]["inputs"] != second.fitted()["train"]["inputs"] == later.fitted()["train"]["inputs"]


@pytest.mark.parametrize(
    ("shape", "dtype", "gray"),
    [
        ((4, 28, 28), np.float32, True),
        ((4, 28, 28), np.uint8, True),
        ((4, 10, 20), np.float32, True),
        ((4, 10, 21), np.float32, False),
        ((4, 10, 40), np.uint8, True),
        ((4, 30, 6), np.float32, False),
        ((4, 3, 100), np.float32, False),
        ((4, 3, 100), np.uint8, False),
        ((4, 100, 1), np.int64, False),
        ((4, 4, 4), np.float32, False),
    ],
)
def test_rows_of_two_sides_are_pictures_by_type_and_shape_and_it_is_said(
    tmp_path: Path, shape: tuple[int, ...], dtype: type, gray: bool
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, dtype), y=np.array([0, 1, 0, 1]))
    data = Arrays(str(tmp_path / "a.npz"))
    data.setup()
    expected = (1, *shape[1:]) if gray else (shape[1] * shape[2],)
    assert tuple(data.source.train.values.shape[1:]) == expected  # type: ignore[union-attr]
    assert ("are taken for gray pictures; reshape" in data.source.account[0]) == gray
    assert ("not for gray pictures" in data.source.account[0]) == (not gray)


def test_windows_with_negative_numbers_are_feature_vectors(tmp_path: Path) -> None:
    from noisylab.data.arrayfile import ArrayFile

    np.savez(tmp_path / "a.npz", x=normal(3, *[50.0] * 60).reshape(3, 20, 3), y=np.arange(3))
    assert read_views(ArrayFile(str(tmp_path / "a.npz")), "", None)[""].shape == (3, 60)  # type: ignore[union-attr]
