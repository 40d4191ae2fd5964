"""Augmentations of kornia, drawn for each sample."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from noisylab.transforms import Chain, Cutout, Draws, KorniaView, PILTrain

augmentation = pytest.importorskip("kornia.augmentation")

X = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 12, 10), dtype=np.uint8))
POSITION = torch.tensor([3, 8, 2, 9, 5])
KINDS = [
    ("ColorJitter", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p": 0.8}),  # one order a batch
    ("RandomAffine", {"degrees": 20.0, "translate": [0.1, 0.1]}),
    ("RandAugment", {"n": 2, "m": 10}),  # one policy a batch
]


@pytest.mark.parametrize(("name", "arguments"), KINDS)
def test_a_sample_looks_the_same_in_any_batch(name: str, arguments: dict[str, object]) -> None:
    view = KorniaView(name, arguments)
    state = torch.get_rng_state()
    together = view(X, Draws(7, POSITION))
    assert torch.equal(torch.get_rng_state(), state), "torch's own generator is put back"
    some = [4, 1, 0]
    torch.manual_seed(5)
    alone = KorniaView(name, arguments)(X[some], Draws(7, POSITION[some]))
    assert together.dtype == torch.float32 and torch.equal(together[some], alone)
    assert not torch.equal(together, view(X, Draws(8, POSITION)))


def test_it_is_kornia_under_the_samples_own_seed() -> None:
    module = augmentation.RandomErasing(p=0.7)
    found = KorniaView(module)(X, Draws(7, POSITION))
    for row, position in enumerate(POSITION):
        high, low = Draws(7, position[None]).integers(0, 2**31, (2,))[0].tolist()
        torch.manual_seed(high * 2**31 + low)
        assert torch.equal(found[row], module(X[row : row + 1].float() / 255)[0])


def test_two_of_a_chain_draw_apart() -> None:
    noise = KorniaView("RandomGaussianNoise", {"p": 1.0})
    draws = Draws(7, POSITION)
    assert not torch.equal(noise(X, draws), noise(X, draws))
    Chain([noise, Cutout(4)])(X, Draws(7, POSITION))


def test_it_serves_in_workers_one_picture_at_a_time() -> None:
    view = PILTrain(12, 10, (0.0,) * 3, (1.0,) * 3, policy=KorniaView("RandomGrayscale", {"p": 1.0}))
    shown = view(Image.fromarray(X[0].permute(1, 2, 0).numpy()), random.Random(0))
    assert torch.equal(shown[0], shown[1])


def test_what_kornia_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kornia.augmentation has no class 'ColorJitters'"):
        KorniaView("ColorJitters")
    with pytest.raises(ValueError, match="go with the name of a class"):
        KorniaView(torch.nn.Identity(), {"p": 1.0})
    with pytest.raises(ValueError, match="a strong view keeps the size"):
        KorniaView("RandomCrop", {"size": [4, 4]})(X, Draws(0, POSITION))
