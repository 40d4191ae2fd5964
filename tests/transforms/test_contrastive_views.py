"""SimCLR's views against PIL and torchvision, which do the same to one image at a time."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as reference

from noisylab.transforms import ColorJitter, Draws, PILSimCLR, RandomGray, RandomResizedCrop, simclr_view
from noisylab.transforms import contrastive as module

N = 64
IMAGES = torch.rand(N, 3, 20, 24, generator=torch.Generator().manual_seed(0))
IMAGES[:4] = IMAGES[:4, :1]  # gray ones, whose hue is undefined


def draws(rows: int = N, key: int = 1) -> Draws:
    return Draws(key, torch.arange(rows))


# ---- crops


def test_a_crop_is_brought_back_to_size_as_pil_does_it() -> None:
    pixels = (IMAGES[:, :1] * 255).round()
    top, left, height, width = RandomResizedCrop((0.05, 1.0)).draw(draws(), (20, 24))
    found = module.resized_crop(pixels, top, left, height, width)
    for row in range(N):
        image = Image.fromarray(pixels[row, 0].numpy())
        box = (int(left[row]), int(top[row]), int(left[row] + width[row]), int(top[row] + height[row]))
        expected = np.asarray(image.crop(box).resize((24, 20), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[row, 0].numpy(), expected, atol=2e-3)


def test_areas_ratios_and_places_are_those_asked_for() -> None:
    top, left, height, width = RandomResizedCrop((0.2, 0.6)).draw(draws(4000), (100, 100))
    area, ratio = (height * width).double() / 100**2, (width / height).double().log()
    assert 0.19 < area.min() < 0.21 and 0.59 < area.max() < 0.61 and area.mean() == pytest.approx(0.4, abs=0.01)
    limit = np.log(4 / 3)
    assert ratio.abs().max() < limit + 0.03 and ratio.mean() == pytest.approx(0, abs=0.01)
    assert ratio.std() == pytest.approx(2 * limit / 12**0.5, rel=0.03)
    for first, room in ((top, 100 - height), (left, 100 - width)):
        assert (first >= 0).all() and (first <= room).all()
        assert (first / room.clamp(min=1)).mean() == pytest.approx(0.5, abs=0.02)


def test_what_fits_nowhere_is_the_largest_middle_part_in_range() -> None:
    whole = RandomResizedCrop((1.0, 1.0), (3.0, 3.0)).draw(draws(5), (10, 10))
    assert [part.unique().tolist() for part in whole] == [[3], [0], [3], [10]]
    square = RandomResizedCrop((1.0, 1.0), (1.0, 1.0)).draw(draws(5), (10, 30))
    assert [part.unique().tolist() for part in square] == [[0], [10], [10], [10]]


# ---- colors


@pytest.mark.parametrize(
    ("change", "expected", "amounts"),
    [
        (0, reference.adjust_brightness, (0.6, 1.4)),
        (1, reference.adjust_contrast, (0.6, 1.4)),
        (2, reference.adjust_saturation, (0.6, 1.4)),
        (3, reference.adjust_hue, (-0.1, 0.1)),
        (3, reference.adjust_hue, (-0.5, 0.5)),
    ],
)
def test_each_change_is_that_of_torchvision(change: int, expected: object, amounts: tuple[float, float]) -> None:
    each = torch.linspace(*amounts, N)
    found = module._CHANGES[change](IMAGES.clone(), each.view(-1, 1, 1, 1))
    wanted = torch.stack([expected(image, float(amount)) for image, amount in zip(IMAGES, each, strict=True)])  # type: ignore[operator]
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)


def test_jitter_does_all_four_in_the_order_that_is_drawn() -> None:
    """A loop over rows, with the draws of the view read in their order."""
    found, again = ColorJitter(p=0.8)(IMAGES, draws()), draws()
    order, jittered = again.uniform(shape=(4,)).argsort(1), again.bernoulli(0.8)
    amounts = [again.uniform(-s, s) + (0 if place == 3 else 1) for place, s in enumerate((0.4, 0.4, 0.4, 0.1))]
    changes = (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue)
    for row in range(N):
        image = IMAGES[row]
        for change in order[row].tolist() if jittered[row] else ():
            image = changes[change](image, float(amounts[change][row]))
        torch.testing.assert_close(found[row], image, atol=1e-5, rtol=0)
    assert 0.6 < jittered.float().mean() < 0.95 and len(order.unique(dim=0)) > 15


def test_gray_images_change_in_brightness_and_contrast_alone() -> None:
    gray = IMAGES[:, :1]
    narrow, wide = ColorJitter(saturation=0.0, hue=0.0)(gray, draws()), ColorJitter(saturation=0.4, hue=0.1)(gray, draws())
    assert torch.equal(narrow, wide) and not torch.equal(narrow, gray)
    assert torch.equal(RandomGray(1.0)(gray, draws()), gray)


def test_a_fifth_becomes_gray() -> None:
    found = RandomGray()(IMAGES[4:], draws(N - 4))
    flat = (found == found[:, :1]).all(3).all(2).all(1)
    assert 0 < int(flat.sum()) < 25
    row = int(flat.nonzero()[0])
    torch.testing.assert_close(found[row], reference.rgb_to_grayscale(IMAGES[4 + row], 3))
    assert torch.equal(found[~flat], IMAGES[4:][~flat])


# ---- together


def test_a_sample_looks_the_same_in_any_batch() -> None:
    view = simclr_view(None, flip=0.5)
    pixels = (IMAGES * 255).byte()
    whole = view(pixels, draws())
    rows = torch.tensor([5, 63, 2])
    assert torch.equal(view(pixels[rows], Draws(1, rows)), whole[rows])
    assert not torch.equal(view(pixels, draws(key=2)), whole) and whole.min() >= 0 and whole.max() <= 1


def pictures(view: PILSimCLR, image: Image.Image, count: int) -> Tensor:
    return torch.stack([view(image, random.Random(seed)) for seed in range(count)])


def test_large_images_get_the_same_in_the_workers() -> None:
    image = Image.fromarray((IMAGES[10].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    view = PILSimCLR(12, (0.0,) * 3, (1.0,) * 3)
    found = pictures(view, image, 100)
    assert found.shape == (100, 3, 12, 12) and torch.equal(found, pictures(view, image, 100))
    gray = (found == found[:, :1]).all(3).all(2).all(1)
    assert 8 < int(gray.sum()) < 35 and len(found.unique(dim=0)) == 100
    for shift in (0.07, -0.07):
        assert module._turn_hue(image, shift).tobytes() == reference.adjust_hue(image, shift).tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RandomResizedCrop((0.5, 0.2)),
        lambda: RandomResizedCrop(ratio=(0.0, 1.0)),
        lambda: ColorJitter(hue=0.6),
        lambda: ColorJitter(p=1.5),
    ],
)
def test_wrong_settings_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        wrong()  # type: ignore[operator]


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="put ToFloat"):
        RandomResizedCrop()((IMAGES * 255).byte(), draws())
