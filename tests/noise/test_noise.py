"""What holds for every kind of noise that is drawn from a matrix."""

import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from noisylab.noise import Asymmetric, Noise, OpenSet, PairFlip, Symmetric

KINDS: list[Noise] = [
    Symmetric(0.4),
    Symmetric(0.4, own_class=True),
    Asymmetric(0.3, mapping="next_of_five", exact=True),
    Asymmetric(0.3, in_place=True),
    PairFlip(0.4),
    Asymmetric(0.4, mapping="cifar10"),
    Asymmetric(0.4, mapping="cifar10_dmi"),
    Asymmetric(0.4, mapping="next"),
    OpenSet(0.2, sampler="vectorized"),
    OpenSet(0.4, open_ratio=0.5, closed="asymmetric", sampler="vectorized"),
]
BALANCED = torch.arange(10).repeat(2000)
every_kind = pytest.mark.parametrize("noise", KINDS, ids=repr)


@every_kind
def test_rows_of_the_matrix_sum_to_one(noise: Noise) -> None:
    matrix = noise.transition_matrix(10)
    assert matrix.shape == (10, 10) and matrix.dtype == torch.float64
    assert bool((matrix >= 0).all())
    torch.testing.assert_close(matrix.sum(1), torch.ones(10, dtype=torch.float64), rtol=0, atol=1e-12)


@every_kind
def test_counts_lie_within_binomial_bounds(noise: Noise) -> None:
    noisy = noise(BALANCED, 10)
    matrix = noise.transition_matrix(10)
    drawn = torch.zeros(10, 10, dtype=torch.float64)
    drawn.index_put_((noisy.clean_target, noisy.given_target), torch.ones(len(BALANCED), dtype=torch.float64), True)
    five_sigma = 5 * (matrix * (1 - matrix) * 2000).sqrt()
    assert bool(((drawn - 2000 * matrix).abs() <= five_sigma + 1e-9).all())
    expected = 1 - float(matrix.diagonal().mean())
    assert abs(noisy.measured_rate - expected) < 5 * math.sqrt(0.25 / len(BALANCED))


@every_kind
def test_same_seed_same_labels_and_other_seed_others(noise: Noise) -> None:
    other = pickle.loads(pickle.dumps(noise))
    first = noise(BALANCED, 10).given_target
    assert torch.equal(first, other(BALANCED, 10).given_target)
    other.seed = 1
    assert not torch.equal(first, other(BALANCED, 10).given_target)


@every_kind
def test_a_copy_through_pickle_keeps_the_arguments(noise: Noise) -> None:
    assert repr(pickle.loads(pickle.dumps(noise))) == repr(noise)


@every_kind
def test_the_input_is_not_changed_and_not_shared(noise: Noise) -> None:
    targets = BALANCED.clone()
    noisy = noise(targets, 10)
    assert torch.equal(targets, BALANCED)
    assert noisy.clean_target.data_ptr() != targets.data_ptr() != noisy.given_target.data_ptr()
    assert noisy.clean_target.dtype == noisy.given_target.dtype == torch.int64


@every_kind
@pytest.mark.parametrize("sampler", ["vectorized", "legacy"])
def test_global_random_state_is_untouched(noise: Noise, sampler: str) -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    copy = pickle.loads(pickle.dumps(noise))
    copy.sampler = sampler
    copy(BALANCED[:100], 10)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # type: ignore[index] # noqa: NPY002


@every_kind
def test_no_rows_give_no_labels_and_a_rate_of_zero(noise: Noise) -> None:
    noisy = noise(torch.zeros(0, dtype=torch.int64), 10)
    assert noisy.given_target.shape == (0,) and noisy.measured_rate == 0.0


def test_rate_zero_changes_nothing() -> None:
    for noise in (Symmetric(0), PairFlip(0.0), Asymmetric(0.0), Symmetric(0.0, sampler="legacy")):
        noisy = noise(BALANCED[:100], 10)
        assert torch.equal(noisy.given_target, noisy.clean_target) and noisy.measured_rate == 0.0


def test_a_class_of_probability_zero_is_never_drawn() -> None:
    noisy = PairFlip(0.5)(torch.zeros(100_000, dtype=torch.int64), 3)
    assert set(noisy.given_target.tolist()) == {0, 1}


def test_samplers_agree_in_distribution_but_not_in_labels() -> None:
    legacy = Symmetric(0.4, sampler="legacy")(BALANCED, 10)
    assert abs(legacy.measured_rate - 0.4) < 5 * math.sqrt(0.24 / len(BALANCED))
    assert not torch.equal(legacy.given_target, Symmetric(0.4)(BALANCED, 10).given_target)


class _Given(Noise):
    """A matrix as it is."""

    kind = "given"

    def __init__(self, matrix: torch.Tensor, seed: int) -> None:
        super().__init__(None, "legacy", seed)
        self.matrix = matrix

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> torch.Tensor:
        return self.matrix


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "2.5.0.dev0",
    reason="from numpy 2.5 on RandomState.multinomial draws otherwise; the labels of those before are wanted",
)
@pytest.mark.parametrize("seed", range(6))
def test_the_legacy_sampler_is_the_multinomial_of_numpy_before_2_5(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 30))
    matrix = random.random((classes, classes)) ** 4 * (random.random((classes, classes)) < random.random((classes, 1)))
    matrix[np.arange(classes), random.integers(0, classes, classes)] += 0.1
    matrix[0] = np.eye(classes)[seed % classes]
    matrix /= matrix.sum(1, keepdims=True)
    clean = random.integers(0, classes, 1000)
    published = np.random.RandomState(seed)  # one stream: a number too many or too few shows in all labels after it
    expected = [int(published.multinomial(1, matrix[label]).argmax()) for label in clean]
    given = _Given(torch.from_numpy(matrix), seed)(torch.from_numpy(clean), classes).given_target
    assert given.tolist() == expected


def test_a_certain_class_followed_by_a_rounding_error_is_drawn() -> None:
    matrix = torch.tensor([[0.4, 0.6, 1e-20, 0.0]] * 4, dtype=torch.float64)
    drawn = _Given(matrix, 0)(torch.zeros(500, dtype=torch.int64), 4).given_target
    assert set(drawn.tolist()) == {0, 1}


def test_any_integer_type_gives_the_same_labels() -> None:
    expected = Symmetric(0.4)(BALANCED, 10).given_target
    assert torch.equal(Symmetric(0.4)(BALANCED.to(torch.uint8), 10).given_target, expected)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 40, math.nan])
def test_a_rate_outside_zero_to_one_is_refused(rate: float) -> None:
    for kind in (Symmetric, PairFlip, Asymmetric, OpenSet):
        with pytest.raises(ValueError, match=rf"^rate must be a fraction in \[0, 1\), got {rate}; "):
            kind(rate)


def test_an_unknown_sampler_or_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler must be 'vectorized' or 'legacy', got 'fast'"):
        Symmetric(0.4, sampler="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be in"):
        Symmetric(0.4, seed=-1)


def test_labels_outside_the_classes_are_refused_with_the_first_row_and_the_count() -> None:
    with pytest.raises(ValueError, match=r"targets must be in 0\.\.2, got 3 at row 1 \(2 of 4 rows are outside\)"):
        Symmetric(0.4)(torch.tensor([0, 3, 1, -1]), 3)


def test_targets_that_are_not_a_row_of_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"whole numbers, got torch\.float32"):
        Symmetric(0.4)(torch.zeros(3), 3)
    with pytest.raises(ValueError, match=r"shape \(N,\), got \(2, 1\)"):
        Symmetric(0.4)(torch.zeros(2, 1, dtype=torch.int64), 3)


def test_fewer_than_two_classes_are_refused() -> None:
    for noise in KINDS:
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            noise(torch.zeros(3, dtype=torch.int64), 1)
