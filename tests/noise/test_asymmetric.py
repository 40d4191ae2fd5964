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
        ("mnist", 10, {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}),
        ("next", 3, {0: 1, 1: 2, 2: 0}),
        ("next_of_five", 10, {0: 1, 1: 2, 2: 3, 3: 4, 4: 0, 5: 6, 6: 7, 7: 8, 8: 9, 9: 5}),
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
    with pytest.raises(ValueError, match="mapping names class 'lorry', which is not among the 10 class names; nearest: "):
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


def test_exact_draws_that_many_rows_of_all_classes() -> None:
    targets = torch.arange(10).repeat(300)
    noisy = Asymmetric(0.4, exact=True)(targets, 10)
    changed = noisy.given_target != targets
    # 1200 rows of 3000 are drawn, those of the five mapped classes, 600 on average, change; without replacement the standard
    # deviation is sqrt(1200 * 1/2 * 1/2 * 1800/2999) = 13.4
    assert abs(int(changed.sum()) - 600) < 67
    expected = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
    assert {int(c): int(g) for c, g in zip(targets[changed], noisy.given_target[changed], strict=True)} == expected
    assert noisy.transition_matrix is not None and noisy.transition_matrix[3, 5] == 0.4
    # where every class is mapped the count itself is exact
    assert int((Asymmetric(0.29, mapping="next", exact=True)(targets, 10).given_target != targets).sum()) == 870


def test_in_place_noise_turns_some_cats_into_dogs_and_back() -> None:
    targets = torch.arange(10).repeat(1000)
    noisy = Asymmetric(0.4, in_place=True)(targets, 10)
    # by hand: 400 of 1000 birds, trucks and deer; 400 of 1000 cats become dogs, then 560 of the 1400 dogs there are by then
    # become cats, 400/1400 of which, 160 on average, were cats
    wrong = [int((noisy.given_target[targets == label] != label).sum()) for label in range(10)]
    assert [wrong[label] for label in (0, 1, 6, 7, 8)] == [0] * 5
    assert [wrong[label] for label in (2, 4, 9)] == [400] * 3
    cats, dogs = wrong[3], wrong[5]
    assert (400 - cats) + dogs == 560
    assert cats == pytest.approx(240, abs=45) and dogs == pytest.approx(400, abs=45)
    assert int((noisy.given_target == 5).sum()) == 1400 - 560
    matrix = noisy.transition_matrix
    assert matrix is not None
    torch.testing.assert_close(matrix[3, [3, 5]], torch.tensor([0.76, 0.24], dtype=torch.float64))
    torch.testing.assert_close(matrix[5, [3, 5]], torch.tensor([0.4, 0.6], dtype=torch.float64))
    assert float(1 - matrix.diagonal().mean()) == pytest.approx(0.184)


def test_in_place_shares_are_rounded_up_within_each_class() -> None:
    targets = torch.tensor([2] * 7 + [0] * 3)
    # the first 3 of a list of 7 have a place below 0.4 * 7 = 2.8
    assert int((Asymmetric(0.4, in_place=True)(targets, 10).given_target != targets).sum()) == 3


def test_draws_of_exact_and_in_place_noise_depend_on_the_seed_only() -> None:
    targets = torch.arange(10).repeat(20)
    for option in ("exact", "in_place"):
        labels = [Asymmetric(0.4, seed=seed, **{option: True})(targets, 10).given_target for seed in (0, 0, 1)]  # type: ignore[arg-type]
        assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])


def test_in_place_without_a_label_mapped_twice_has_the_plain_matrix() -> None:
    mapping = {9: 1, 2: 0}
    plain = Asymmetric(0.3, mapping=mapping).transition_matrix(10)
    assert torch.equal(Asymmetric(0.3, mapping=mapping, in_place=True).transition_matrix(10), plain)


def test_ways_of_drawing_that_exclude_each_other_are_refused() -> None:
    for option in ("exact", "in_place"):
        with pytest.raises(ValueError, match=f"{option}=True needs sampler='vectorized'"):
            Asymmetric(0.4, sampler="legacy", **{option: True})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choose one of exact=True and in_place=True"):
        Asymmetric(0.4, exact=True, in_place=True)


def test_groups_of_five_are_refused_where_classes_do_not_divide_so() -> None:
    with pytest.raises(ValueError, match="needs groups of five classes, got num_classes=12; use 'next'"):
        Asymmetric(0.4, mapping="next_of_five").transition_matrix(12)
