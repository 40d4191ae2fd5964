import pytest
import torch

from noisylab.noise import Symmetric

TWENTY = torch.arange(10).repeat(2)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0, 1, 2, 2, 8, 2, 9, 7, 8, 5, 0, 1, 2, 3, 4, 2, 1, 7, 8, 9]),
        (1, [0, 1, 2, 3, 4, 6, 6, 3, 7, 9, 0, 1, 2, 9, 4, 5, 6, 4, 3, 9]),
    ],
)
def test_legacy_labels_are_the_published_ones(seed: int, expected: list[int]) -> None:
    noisy = Symmetric(0.4, sampler="legacy", seed=seed)(TWENTY, 10)
    assert noisy.given_target.tolist() == expected


def test_matrix_without_the_own_class() -> None:
    matrix = Symmetric(0.4).transition_matrix(5)
    assert matrix[0].tolist() == [1 - 0.4, 0.1, 0.1, 0.1, 0.1]


def test_matrix_with_the_own_class() -> None:
    matrix = Symmetric(0.4, own_class=True).transition_matrix(5)
    torch.testing.assert_close(matrix[1].tolist(), [0.08, 0.68, 0.08, 0.08, 0.08], rtol=0, atol=1e-15)


def test_exact_without_the_own_class_changes_exactly_that_many() -> None:
    noisy = Symmetric(0.29, exact=True)(torch.arange(10).repeat(10), 10)
    assert int((noisy.given_target != noisy.clean_target).sum()) == 29


def test_exact_with_the_own_class_changes_a_tenth_less() -> None:
    targets = torch.arange(10).repeat(2000)
    noisy = Symmetric(0.4, own_class=True, exact=True)(targets, 10)
    # 8000 chosen rows, each changed with probability 0.9: five standard deviations are 134.
    assert abs(int((noisy.given_target != targets).sum()) - 7200) < 134
    assert int(noisy.given_target.min()) == 0 and int(noisy.given_target.max()) == 9


def test_exact_depends_on_the_seed_only() -> None:
    labels = [Symmetric(0.4, exact=True, seed=seed)(TWENTY, 10).given_target for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])


def test_exact_is_refused_for_the_legacy_sampler() -> None:
    with pytest.raises(ValueError, match="exact=True needs sampler='vectorized'"):
        Symmetric(0.4, exact=True, sampler="legacy")


def test_repr_names_the_arguments() -> None:
    assert repr(Symmetric(0.4)) == "Symmetric(rate=0.4, own_class=False, sampler='vectorized', seed=0, exact=False)"
