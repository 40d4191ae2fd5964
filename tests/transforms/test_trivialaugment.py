from __future__ import annotations

import pytest
import torch
from PIL import Image

from noisylab.transforms import Draws, TrivialAugment
from noisylab.transforms.autoaugment import OPERATIONS
from noisylab.transforms.trivialaugment import TRIVIAL_LEVELS, TRIVIAL_WIDE_LEVELS

TABLES = {False: TRIVIAL_LEVELS, True: TRIVIAL_WIDE_LEVELS}
SIGNED = ("shearX", "shearY", "translateX", "translateY", "rotate")
N = 28_000


def number(name):
    return OPERATIONS.index(name) + 1 if name != "identity" else 0


@pytest.fixture(scope="module", params=[False, True], ids=["narrow", "wide"])
def plan(request):
    operation, magnitude = TrivialAugment(wide=request.param).plan(Draws(3, torch.arange(N)))
    return operation[:, 0], magnitude[:, 0], TABLES[request.param]


def test_operations_are_drawn_evenly(plan):
    operation, _, levels = plan
    counts = torch.bincount(operation, minlength=len(OPERATIONS) + 1)[[number(name) for name in levels]]
    assert len(levels) == 14 and counts.sum() == N
    assert ((counts - N / 14) ** 2 / (N / 14)).sum() < 40  # 13 degrees of freedom: 0.9998 of the mass


def test_levels_are_drawn_evenly_and_signs_where_there_are_two(plan):
    operation, magnitude, levels = plan
    for name in ("brightness", "sharpness", "shearX", "shearY"):
        drawn = magnitude[operation == number(name)]
        values, counts = drawn.abs().unique(return_counts=True)
        assert values.tolist() == pytest.approx(list(levels[name]))
        assert ((counts - len(drawn) / 31) ** 2 / (len(drawn) / 31)).sum() < 70  # 30 degrees of freedom: 0.9999
    for name in levels:
        drawn = magnitude[operation == number(name)]
        moved = drawn[drawn != 0]
        if name in SIGNED:
            assert abs((moved < 0).double().mean().item() - 0.5) < 5 * 0.5 / len(moved) ** 0.5
        else:
            assert (drawn >= 0).all()


def test_extreme_levels_are_those_of_the_paper():
    ends = {name: (values[0], values[-1]) for name, values in TRIVIAL_LEVELS.items()}
    wide = {name: (values[0], values[-1]) for name, values in TRIVIAL_WIDE_LEVELS.items()}
    assert ends["shearX"] == (0, 0.3) and wide["shearX"] == (0, 0.99)
    assert ends["translateY"] == (0, 10 / 32) and wide["translateY"] == (0, 1)
    assert ends["rotate"] == (0, 30) and wide["rotate"] == (0, 135)
    assert ends["posterize"] == (8, 4) and wide["posterize"] == (8, 2)
    assert ends["solarize"] == wide["solarize"] == (256, 0)
    assert ends["color"] == pytest.approx((0.1, 1.9)) and wide["color"] == pytest.approx((0.01, 2))
    assert TRIVIAL_WIDE_LEVELS["rotate"][1] == 4 and TRIVIAL_WIDE_LEVELS["posterize"][:11] == (8,) * 5 + (7,) * 5 + (6,)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", sorted(TRIVIAL_LEVELS))
def test_equals_pil_at_every_level(name, wide, channels, pil_operation, make_images, monkeypatch):
    values = TABLES[wide][name]
    images = make_images(4, 16, 12, channels)
    operation = torch.full((len(images) * 31, 1), number(name))
    magnitude = torch.tensor(values, dtype=torch.float64).repeat(len(images))[:, None]
    monkeypatch.setattr(TrivialAugment, "plan", lambda self, draws: (operation, magnitude))
    result = TrivialAugment(wide, fill=128)(images.repeat_interleave(31, 0), Draws(0, torch.arange(len(operation))))
    if name == "identity":
        expected = images.repeat_interleave(31, 0)
    else:
        expected = torch.stack([pil_operation(name, image, value) for image in images for value in values])
    assert torch.equal(result, expected)


def test_translations_are_the_published_pixels_at_side_32(make_images, monkeypatch):
    x = make_images(4)[3:]
    for level in range(31):
        plan = torch.tensor([[number("translateX")]]), torch.tensor([[TRIVIAL_WIDE_LEVELS["translateX"][level]]]).double()
        monkeypatch.setattr(TrivialAugment, "plan", lambda self, draws, plan=plan: plan)
        picture = Image.fromarray(x[0].permute(1, 2, 0).numpy().copy())
        pixels = int(level * 32 / 30)
        moved = picture.transform((32, 32), Image.Transform.AFFINE, (1, 0, pixels, 0, 1, 0))
        result = TrivialAugment()(x, Draws(0, torch.arange(1)))[0].permute(1, 2, 0).contiguous()
        assert result.numpy().tobytes() == moved.tobytes()
