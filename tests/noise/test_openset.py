import pytest
import torch

from noisylab.noise import OpenSet

CYCLIC = torch.arange(100).repeat(500)


def test_labels_are_those_of_the_authors() -> None:
    noisy = OpenSet(0.2)(torch.tensor([0, 1, 78, 79, 80, 99, 50, 3]), 100)
    assert noisy.given_target.tolist() == [0, 1, 78, 67, 60, 59, 50, 3]
    assert noisy.clean_target.tolist() == [0, 1, 78, 79, 80, 99, 50, 3]


@pytest.mark.parametrize(
    ("rate", "closed", "open_ratio", "expected"),
    [
        (0.2, "symmetric", 0.2, 0.3616),
        pytest.param(0.8, "symmetric", 0.2, 0.8375, marks=pytest.mark.slow),
        pytest.param(0.4, "asymmetric", 0.2, 0.5214, marks=pytest.mark.slow),
        pytest.param(0.2, "symmetric", 0.0, 0.2020, marks=pytest.mark.slow),
        pytest.param(0.8, "symmetric", 0.0, 0.8012, marks=pytest.mark.slow),
        (0.4, "asymmetric", 0.0, 0.3972),
    ],
)
def test_measured_rate_on_cyclic_labels(rate: float, closed: str, open_ratio: float, expected: float) -> None:
    noise = OpenSet(rate, open_ratio=open_ratio, closed=closed)  # type: ignore[arg-type]
    noisy = noise(CYCLIC, 100)
    assert round(noisy.measured_rate, 4) == expected
    assert int(noisy.given_target.max()) == noise.num_classes(100) - 1


def test_matrix_of_the_open_set() -> None:
    matrix = OpenSet(0.2).transition_matrix(100)
    assert matrix[0, 1].item() == 0.002531645569620253
    assert matrix[0, 0] == 0.8 and matrix[79, 79] == 0.8
    assert bool((matrix[80:, :80] == 1 / 80).all())
    assert not matrix[:, 80:].any()


def test_asymmetric_wraps_within_the_known_classes() -> None:
    matrix = OpenSet(0.4, closed="asymmetric").transition_matrix(100)
    assert matrix[79, 0] == 0.4 and matrix[78, 79] == 0.4 and matrix[79, 80] == 0


def test_the_model_sees_the_known_classes() -> None:
    assert OpenSet(0.2).num_classes(100) == 80
    assert OpenSet(0.2, open_ratio=0.0).num_classes(100) == 100


def test_known_classes_are_rounded_where_truncation_would_lose_one() -> None:
    assert OpenSet(0.2, open_ratio=0.8).num_classes(10) == 2


def test_too_few_known_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"open_ratio=0\.9 leaves 1 of 10 classes, at least 2 are needed; use at most 0\.8"):
        OpenSet(0.2, open_ratio=0.9)(torch.arange(10), 10)


def test_arguments_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"open_ratio must be a fraction in \[0, 1\), got 1"):
        OpenSet(0.2, open_ratio=1)
    with pytest.raises(ValueError, match="closed must be 'symmetric' or 'asymmetric', got 'pair'"):
        OpenSet(0.2, closed="pair")  # type: ignore[arg-type]
