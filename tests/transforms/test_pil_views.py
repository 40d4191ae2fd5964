from __future__ import annotations

import importlib.util
import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from noisylab.transforms import IMAGENET_MEAN, IMAGENET_STD, PILAutoAugment, PILEval, PILRandAugment, PILTrain, ops, pil
from noisylab.transforms.autoaugment import OPERATIONS

NORM = (IMAGENET_MEAN, IMAGENET_STD)


class OldNumpy:
    """numpy as the package knew it, with its draws taken from the global `random`; put into that package alone."""

    int = int
    random = SimpleNamespace(randint=lambda low, high: random.randrange(low, high))

    def __getattr__(self, name):
        return getattr(np, name)


@pytest.fixture
def package(monkeypatch):
    module = pytest.importorskip("randaugment.randaugment")
    monkeypatch.setattr(module, "np", OldNumpy())
    state = random.getstate()
    yield module
    random.setstate(state)


@pytest.fixture(scope="module")
def picture(make_images):
    return Image.fromarray(make_images(7, 33, 41)[6].permute(1, 2, 0).numpy().copy())


@pytest.mark.parametrize(("name", "policy"), [("CIFAR10Policy", PILAutoAugment()), ("RandAugment", PILRandAugment())])
def test_policy_equals_the_package_on_the_same_draws(name, policy, package, picture):
    theirs = getattr(package, name)()
    changed = 0
    for seed in range(80):
        random.seed(seed)
        expected = theirs(picture)
        result = policy(picture, random.Random(seed))
        assert result.tobytes() == expected.tobytes()
        changed += result.tobytes() != picture.tobytes()
    assert changed > 40


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_equals_the_package(operation, package, picture):
    ours, current = pil._package()
    for level in range(1, 10):
        random.seed(level)
        expected = package.SubPolicy(1.0, operation, level, 0.0, "invert", 0)(picture)
        current.rng = random.Random(level)
        assert ours.SubPolicy(1.0, operation, level, 0.0, "invert", 0)(picture).tobytes() == expected.tobytes()


def test_batched_cutout_equals_that_of_the_package(package, picture):
    for seed in range(20):
        random.seed(seed)
        expected = torch.from_numpy(np.array(package.Cutout(9)(picture))).permute(2, 0, 1)
        rng = random.Random(seed)
        column, row = rng.randrange(41), rng.randrange(33)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        result = ops.cutout(x, torch.tensor([9.0]), torch.tensor([row]), torch.tensor([column]))
        assert torch.equal(result[0], expected)


def test_the_package_and_numpy_are_left_as_they_are():
    module = pytest.importorskip("randaugment.randaugment")
    pil._package()
    assert module.np is np and module.random is random
    assert "int" not in vars(np)


@pytest.mark.parametrize("policy", [None, PILAutoAugment(), PILRandAugment()], ids=repr)
def test_global_random_state_is_left_alone(policy, picture):
    if policy is not None:
        pytest.importorskip("randaugment")
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    for seed in range(40):
        PILTrain(30, 24, *NORM, policy=policy)(picture, random.Random(seed))
    after = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert before[0] == after[0] and torch.equal(before[1], after[1]) and before[2] == after[2]


@pytest.mark.parametrize("policy", [None, PILRandAugment()], ids=repr)
def test_same_generator_gives_the_same_picture(policy, picture):
    if policy is not None:
        pytest.importorskip("randaugment")
    view = PILTrain(30, 24, *NORM, policy=policy)
    again = pickle.loads(pickle.dumps(view))
    first = [view(picture, random.Random(seed)) for seed in range(30)]
    assert all(torch.equal(a, again(picture, random.Random(seed))) for seed, a in enumerate(first))
    assert len({a.numpy().tobytes() for a in first}) > 10
    assert all(a.shape == (3, 24, 24) and a.dtype == torch.float32 and a.is_contiguous() for a in first)


def test_missing_package_names_the_extra(monkeypatch, picture):
    def missing(name):
        raise ModuleNotFoundError(name)

    pil._package.cache_clear(), pil._policy.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(ImportError, match=r"noisylab\[views\]"):
        PILRandAugment()(picture, random.Random(0))


def test_weak_view_is_a_crop_of_the_resized_picture(picture):
    resized = PILEval(33, 33, *NORM)
    view = PILTrain(33, 33, *NORM, flip=0.0)
    whole = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    whole = (whole - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    lefts = set()
    for seed in range(60):
        crop = view(picture, random.Random(seed))
        lefts |= {left for left in range(9) if torch.allclose(crop, whole[:, :, left : left + 33], atol=1e-5)}
    assert lefts == set(range(9))
    assert torch.allclose(resized(picture, random.Random(0)), whole[:, :, 4:37], atol=1e-5)


def test_flip_mirrors_the_picture(picture):
    upright, mirrored = (PILTrain(33, 33, *NORM, flip=p) for p in (0.0, 1.0))
    square = picture.crop((0, 0, 33, 33))
    assert torch.equal(upright(square, random.Random(0)).flip(2), mirrored(square, random.Random(0)))


@pytest.mark.parametrize(("width", "height"), [(41, 33), (33, 41), (30, 30), (200, 31), (29, 64)])
def test_resize_and_center_crop_equal_torchvision(width, height, picture):
    transforms = pytest.importorskip("torchvision.transforms")
    image = picture.resize((width, height))
    theirs = transforms.Compose(
        [transforms.Resize(30), transforms.CenterCrop(25), transforms.ToTensor(), transforms.Normalize(*NORM)]
    )
    result = PILEval(30, 25, *NORM)(image, random.Random(0))
    torch.testing.assert_close(result, theirs(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(mode, picture):
    assert PILEval(20, 20, *NORM)(picture.convert(mode), random.Random(0)).shape == (3, 20, 20)


def test_picture_is_left_as_it_is(picture):
    pytest.importorskip("randaugment")
    before = picture.tobytes()
    for seed in range(30):
        PILTrain(33, 33, *NORM, policy=PILRandAugment())(picture, random.Random(seed))
    assert picture.tobytes() == before


@pytest.mark.parametrize("kind", [PILTrain, PILEval])
def test_crop_larger_than_the_side_is_refused(kind):
    with pytest.raises(ValueError, match="crop"):
        kind(20, 24, *NORM)
