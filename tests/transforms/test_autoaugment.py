from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylab.transforms import AutoAugment, Draws, RandAugment
from noisylab.transforms.autoaugment import CIFAR10_POLICY, LEVELS, OPERATIONS

ACT = RandAugment(m=None, convention="act", fill=128)  # RandAugment of the package


class OldNumpy:
    """numpy with the alias the randaugment package needs; put into that package alone."""

    int = int

    def __getattr__(self, name):
        return getattr(np, name)


def test_policy_is_that_of_the_randaugment_package(monkeypatch):
    package = pytest.importorskip("randaugment.randaugment")
    monkeypatch.setattr(package, "np", OldNumpy())
    for ours, theirs in zip(CIFAR10_POLICY, package.CIFAR10Policy().policies, strict=True):
        first, second = ours
        assert (first.operation, first.p) == (theirs._operation1_name, theirs.p1)
        assert (second.operation, second.p) == (theirs._operation2_name, theirs.p2)
        assert LEVELS[first.operation][first.level] == theirs.magnitude1
        assert LEVELS[second.operation][second.level] == theirs.magnitude2


def test_levels_are_those_of_the_randaugment_package(monkeypatch):
    package = pytest.importorskip("randaugment.randaugment")
    monkeypatch.setattr(package, "np", OldNumpy())
    assert sorted(name.lower() for name in package.RandAugment.get_trans_list()) == [n.lower() for n in OPERATIONS]
    for name, levels in LEVELS.items():
        theirs = [package.SubPolicy(1, name, level, 0, "invert", 0).magnitude1 for level in range(10)]
        assert list(levels) == theirs


@pytest.mark.parametrize("view", [AutoAugment(), ACT, RandAugment(n=3, m=9, convention="act", p=0.9, fill=128)], ids=repr)
def test_equals_pil_on_the_drawn_plan(view, pil_operation, make_images):
    x, position = make_images(100, 16, 12), torch.arange(100)
    draws = Draws(11, position)
    operation, magnitude = view.plan(draws)
    place = (draws.uniform(shape=(operation.shape[1], 2)) * torch.tensor([16, 12])).long()
    expected = x.clone()
    for i in range(100):
        for step in range(operation.shape[1]):
            if operation[i, step]:
                name = OPERATIONS[operation[i, step] - 1]
                spot = tuple(place[i, step].tolist())
                expected[i] = pil_operation(name, expected[i], magnitude[i, step].item(), spot)
    assert torch.equal(view(x, Draws(11, position)), expected)


def test_auto_augment_draws_the_operations_as_often_as_the_policy_says():
    n = 8000
    operation, _ = AutoAugment().plan(Draws(3, torch.arange(n)))
    for step in range(2):
        for number, name in enumerate(OPERATIONS, start=1):
            expected = sum(pair[step].p for pair in CIFAR10_POLICY if pair[step].operation == name) / 25
            measured = (operation[:, step] == number).double().mean().item()
            assert abs(measured - expected) <= 5 * (expected * (1 - expected) / n) ** 0.5


def test_auto_augment_keeps_the_two_operations_of_a_sub_policy_together():
    operation, _ = AutoAugment().plan(Draws(3, torch.arange(5000)))
    allowed = {tuple(OPERATIONS.index(step.operation) + 1 for step in pair) for pair in CIFAR10_POLICY}
    drawn = {tuple(pair) for pair in operation.tolist() if all(pair)}
    possible = {pair for pair in allowed if pair != (OPERATIONS.index("solarize") + 1, OPERATIONS.index("invert") + 1)}
    assert drawn == possible  # solarize then invert has probability 0


@pytest.mark.parametrize("name", ["color", "shearX", "translateY"])
def test_signs_are_even(name):
    operation, magnitude = RandAugment(n=1, m=9, convention="act", p=1.0).plan(Draws(0, torch.arange(8000)))
    drawn = magnitude[operation == OPERATIONS.index(name) + 1]
    center = 1.0 if name == "color" else 0.0
    assert abs((drawn > center).double().mean().item() - 0.5) < 5 * 0.5 / len(drawn) ** 0.5
    assert torch.allclose((drawn - center).abs(), torch.tensor(LEVELS[name][9], dtype=torch.float64))


def test_rand_augment_draws_operations_and_levels_evenly():
    operation, magnitude = ACT.plan(Draws(0, torch.arange(8000)))
    counts = torch.bincount(operation.flatten(), minlength=16).double() / operation.numel()
    assert abs(counts[0].item() - 0.5) < 0.02
    assert (counts[1:] - 0.5 / 15).abs().max() < 0.008
    angles = magnitude[operation == OPERATIONS.index("rotate") + 1].unique()
    assert angles.tolist() == list(LEVELS["rotate"][1:])


def test_equal_samples_get_different_views(make_images):
    same = make_images(4, 16, 16)[3].expand(64, 3, 16, 16)
    views = AutoAugment()(same, Draws(5, torch.arange(64)))
    assert len({picture.numpy().tobytes() for picture in views}) > 25


@pytest.mark.parametrize("wrong", [torch.rand(2, 3, 8, 8), torch.zeros(2, 2, 8, 8, dtype=torch.uint8)])
def test_other_images_are_refused(wrong):
    with pytest.raises(TypeError, match="uint8"):
        AutoAugment()(wrong, Draws(0, torch.arange(2)))
