import pytest
import torch

from noisylab.noise import Asymmetric, PairFlip

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def moves(noise: Asymmetric, num_classes: int, names: list[str] | None = None) -> dict[int, int]:
    matrix = noise.transition_matrix(num_classes, names)
    matrix = matrix - matrix.diagonal().diag()
    return {int(i): int(j) for i, j in (matrix > 0).nonzero()}


@pytest.mark.parametrize(
    ("mapping", "num_classes", "expected"),
    [
        ("cifar10", 10, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
        ("cifar10_dmi", 10, {9: 1, 2: 0, 4: 7, 3: 5}),
        ("ravdess6", 6, {1: 3, 3: 1, 2: 4, 4: 2}),
        ("next", 3, {0: 1, 1: 2, 2: 0}),
        ({0: 2}, 3, {0: 2}),
    ],
)
def test_only_mapped_classes_move(mapping: str, num_classes: int, expected: dict[int, int]) -> None:
    assert moves(Asymmetric(0.4, mapping=mapping), num_classes) == expected


def test_probabilities_of_mapped_and_other_classes() -> None:
    matrix = Asymmetric(0.4).transition_matrix(10)
    assert matrix[9, 9] == 0.6 and matrix[9, 1] == 0.4
    assert matrix[0, 0] == 1.0 and matrix[0].sum() == 1.0


def test_next_is_pair_flip() -> None:
    assert torch.equal(Asymmetric(0.3, mapping="next").transition_matrix(7), PairFlip(0.3).transition_matrix(7))


def test_a_mapping_by_names_equals_the_one_by_numbers() -> None:
    by_name = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    targets = torch.arange(10).repeat(20)
    named = Asymmetric(0.4, mapping=by_name)(targets, 10, class_names=NAMES)
    assert torch.equal(named.given_target, Asymmetric(0.4)(targets, 10).given_target)


def test_a_class_mapped_to_itself_stays_clean() -> None:
    assert torch.equal(Asymmetric(0.3, mapping={1: 1}).transition_matrix(3), torch.eye(3, dtype=torch.float64))


def test_a_missing_class_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="mapping names class 'lorry', which is none of the 10 class names; nearest: "):
        Asymmetric(0.4, mapping={"lorry": "ship"}).transition_matrix(10, NAMES)
    with pytest.raises(ValueError, match="nearest: 'automobile'"):
        Asymmetric(0.4, mapping={"truck": "Automobil"}).transition_matrix(10, NAMES)


def test_a_missing_class_number_is_refused_with_the_nearest_class_name() -> None:
    with pytest.raises(ValueError, match=r"mapping names class 10, allowed are 0\.\.9; nearest: 9 \('truck'\)"):
        Asymmetric(0.4, mapping={1: 10}).transition_matrix(10, NAMES)
    with pytest.raises(ValueError, match=r"nearest: 0$"):
        Asymmetric(0.4, mapping={-1: 1}).transition_matrix(10)


def test_names_without_class_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no class_names are known; use class numbers"):
        Asymmetric(0.4, mapping={"cat": "dog"})(torch.arange(10), 10)


def test_a_named_mapping_for_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="mapping='cifar10' is made for 10 classes, got num_classes=100"):
        Asymmetric(0.4)(torch.arange(10), 100)


def test_an_unknown_mapping_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="got 'cifar_10'; nearest: 'cifar10'"):
        Asymmetric(0.4, mapping="cifar_10")
