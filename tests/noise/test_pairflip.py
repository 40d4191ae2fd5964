import pytest
import torch

from noisylab.noise import PairFlip


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0, 2, 2, 3, 5, 6, 6, 8, 8, 0, 0, 1, 2, 4, 5, 6, 7, 8, 9, 9]),
        (1, [0, 2, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 3, 4, 5, 7, 7, 9, 0]),
    ],
)
def test_legacy_labels_are_the_published_ones(seed: int, expected: list[int]) -> None:
    noisy = PairFlip(0.4, sampler="legacy", seed=seed)(torch.arange(10).repeat(2), 10)
    assert noisy.given_target.tolist() == expected


def test_matrix() -> None:
    assert PairFlip(0.25).transition_matrix(3).tolist() == [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]]
