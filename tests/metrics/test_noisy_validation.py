"""Accuracy against noisy labels, and what it says of the accuracy against true ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.metrics import (
    accuracy_from_agreement,
    agreement_from_accuracy,
    clean_accuracy,
    expected_noisy_accuracy,
    noisy_accuracy,
    noisy_slope,
    ranking_guarantee,
    unbiased_accuracy,
)
from noisylab.noise import Asymmetric, PairFlip, Symmetric

T = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.9, 0.1], [0.0, 0.1, 0.9]], dtype=torch.float64)
A = [[0.70, 0.15, 0.15], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96]]
B = [[0.95, 0.03, 0.02], [0.10, 0.85, 0.05], [0.05, 0.10, 0.85]]
C = [[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
D = [[1.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.0, 0.08, 0.92]]
EXACT = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_ten_classes_at_forty_percent() -> None:
    assert noisy_slope(0.4, 10) == pytest.approx(0.555556, abs=5e-7)
    assert noisy_accuracy(0.9, 0.4, 10) == pytest.approx(0.544444, abs=5e-7)
    assert noisy_accuracy(1.0, 0.4, 10) == pytest.approx(0.6)
    found = clean_accuracy(noisy_accuracy(0.9, 0.4, 10), 5000, 0.4, 10)
    assert found.clean == pytest.approx(0.9)
    assert found.noisy_se == pytest.approx(0.007043, abs=5e-7) and found.clean_se == pytest.approx(0.012678, abs=5e-7)


@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.45])
def test_the_line_is_that_of_the_noise_itself(K: int, rate: float) -> None:
    matrix = Symmetric(rate).transition_matrix(K).double()
    for accuracy in (0.2, 0.7, 1.0):
        confusion = torch.full((K, K), (1 - accuracy) / (K - 1), dtype=torch.float64).fill_diagonal_(accuracy)
        assert expected_noisy_accuracy(confusion, matrix) == pytest.approx(noisy_accuracy(accuracy, rate, K))


def test_the_error_is_that_of_repeated_samples() -> None:
    generator, n, repeats = torch.Generator().manual_seed(3), 400, 4000
    right = torch.rand(repeats, n, generator=generator) < 0.9
    wrong_label = torch.rand(repeats, n, generator=generator) < 0.4
    lucky = torch.rand(repeats, n, generator=generator) < 1 / 9  # a wrong answer that meets a wrong label
    agrees = torch.where(right, ~wrong_label, wrong_label & lucky)
    found = [clean_accuracy(float(q), n, 0.4, 10) for q in agrees.double().mean(1)]
    clean = torch.tensor([each.clean for each in found])
    assert float(clean.mean()) == pytest.approx(0.9, abs=0.004)
    assert float(clean.std()) == pytest.approx(clean_accuracy(0.544444, n, 0.4, 10).clean_se, rel=0.05)


def test_labels_that_say_nothing_are_refused() -> None:
    for rate in (0.9, 0.95):
        with pytest.raises(ValueError, match=f"rate={rate}: with 10 classes labels say nothing .* from 0.9 on"):
            clean_accuracy(0.1, 100, rate, 10)
    with pytest.raises(ValueError, match=r"rate must be a fraction in \[0, 1\), got 40"):
        noisy_slope(40, 10)
    with pytest.raises(ValueError, match="num must be at least one label, got 0"):
        clean_accuracy(0.5, 0, 0.4, 10)
    with pytest.raises(ValueError, match=r"noisy must be an accuracy in \[0, 1\], got 54"):
        clean_accuracy(54, 100, 0.4, 10)


@pytest.mark.parametrize(
    ("confusion", "clean", "noisy"),
    [
        (A, 0.873333, 0.737333),
        (B, 0.883333, 0.709000),
        (C, 0.933333, 0.786667),
        (D, 0.940000, 0.752000),
        (EXACT, 1.0, 0.8),
    ],
)
def test_noise_with_directions_can_rank_two_classifiers_the_wrong_way_round(
    confusion: list[list[float]], clean: float, noisy: float
) -> None:
    matrix = torch.tensor(confusion, dtype=torch.float64)
    assert expected_noisy_accuracy(matrix, torch.eye(3)) == pytest.approx(clean, abs=5e-7)
    assert expected_noisy_accuracy(matrix, T) == pytest.approx(noisy, abs=5e-7)


def test_what_is_guaranteed_follows_from_the_noise() -> None:
    """A before B and C before D by noisy accuracy, and after them by clean accuracy: so only the best of all is sure."""
    assert ranking_guarantee(T).level == "the best of all"
    assert ranking_guarantee(Symmetric(0.4).transition_matrix(10)).level == "any two"
    assert ranking_guarantee(Symmetric(0.89).transition_matrix(10)).level == "any two"
    assert ranking_guarantee(Symmetric(0.91).transition_matrix(10)).level == "nothing"
    assert ranking_guarantee(PairFlip(0.45).transition_matrix(10)).level == "the best of all"
    assert ranking_guarantee(PairFlip(0.55).transition_matrix(10)).level == "nothing"
    assert ranking_guarantee(Asymmetric(0.4, "cifar10").transition_matrix(10)).level == "the best of all"
    assert ranking_guarantee(torch.eye(3)).level == "any two"
    unknown = ranking_guarantee(None)
    assert unknown.level == "nothing" and "depends on the sample" in unknown.reason


def _draw(confusion: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Predictions and noisy labels of n samples of each of three classes."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(3).repeat_interleave(n)
    return (torch.multinomial(matrix[true], 1, generator=generator).flatten() for matrix in (confusion, T))  # type: ignore[return-value]


@pytest.mark.parametrize(("confusion", "clean"), [(A, 0.873333), (B, 0.883333)])
def test_a_trusted_matrix_gives_the_clean_accuracy_back(confusion: list[list[float]], clean: float) -> None:
    matrix = torch.tensor(confusion, dtype=torch.float64)
    found = unbiased_accuracy(*_draw(matrix, 40_000, 1), T)
    assert abs(found.clean - clean) < 4 * found.clean_se and found.clean_se < 0.004
    assert found.noisy == pytest.approx(expected_noisy_accuracy(matrix, T), abs=4 * found.noisy_se)
    assert found.clean_se > found.noisy_se, "it is unbiased, but noisier"


def test_the_score_of_one_sample_is_an_entry_of_the_inverse() -> None:
    inverse = torch.linalg.inv(T)
    for given in range(3):
        for pred in range(3):
            score = unbiased_accuracy(torch.tensor([pred]), torch.tensor([given]), T).clean
            assert score == pytest.approx(float(inverse[given, pred]))


def test_its_error_is_that_of_repeated_samples() -> None:
    found = [unbiased_accuracy(*_draw(torch.tensor(B), 100, seed), T) for seed in range(400)]
    spread = float(torch.tensor([each.clean for each in found]).std())
    # strata of equal size vary less than independent samples, which the error is for
    assert 0.8 * found[0].clean_se < spread < 1.1 * found[0].clean_se


def test_matrices_that_cannot_be_trusted_are_refused() -> None:
    pred = given = torch.tensor([0, 1])
    for matrix, message in (
        (torch.full((2, 2), 0.5), "transition has no inverse"),
        (torch.ones(2, 2), "rows that sum to one"),
        (torch.ones(2, 3) / 3, "must be square"),
    ):
        with pytest.raises(ValueError, match=message):
            unbiased_accuracy(pred, given, matrix)
    with pytest.raises(ValueError, match=r"given must be in 0\.\.1"):
        unbiased_accuracy(pred, torch.tensor([0, -1]), torch.eye(2))
    with pytest.raises(ValueError, match="must be of one length, at least 1"):
        unbiased_accuracy(pred[:0], given[:0], torch.eye(2))


@pytest.mark.parametrize(("accuracy", "agreement"), [(0.6, 0.377778), (0.8, 0.644444), (0.9, 0.811111)])
def test_agreement_and_back(accuracy: float, agreement: float) -> None:
    assert agreement_from_accuracy(accuracy, 10) == pytest.approx(agreement, abs=5e-7)
    assert accuracy_from_agreement(agreement_from_accuracy(accuracy, 10), 10) == pytest.approx(accuracy)


def test_agreement_at_the_ends() -> None:
    assert accuracy_from_agreement(1.0, 10) == 1.0 and accuracy_from_agreement(0.1, 10) == pytest.approx(0.1)
    assert accuracy_from_agreement(0.5, 2) == pytest.approx(0.5)
    assert math.isnan(accuracy_from_agreement(0.05, 10)), "less than by chance is not what independent errors give"
    with pytest.raises(ValueError, match=r"agreement must be a fraction in \[0, 1\], got 64"):
        accuracy_from_agreement(64, 10)
