from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from noisylab.transforms import Draws, FixMatchStrong, RandAugment
from noisylab.transforms.policy import apply_plan, number_of
from noisylab.transforms.randaugment import _space

SIDE = 32
N = 14_000
TORCHVISION = {
    "identity": "Identity",
    "shearXNearest": "ShearX",
    "shearYNearest": "ShearY",
    "translateX": "TranslateX",
    "translateY": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def reached(view, name, size=(SIDE, SIDE)):
    """The magnitudes of an operation, signs left out, in pixels where it moves the image."""
    draws = Draws(5, torch.arange(N))
    operation, magnitude = view.plan(draws)
    found = view.in_pixels(operation, magnitude, size)[operation == number_of(name)]
    side = size[1] if name == "translateX" else size[0]
    scaled = found * side if name.startswith("translate") else found
    center = 1.0 if view.convention == "torchvision" and name in ("color", "sharpness") else 0.0
    return sorted({round(abs(value - center), 4) for value in scaled.tolist()})


@pytest.mark.parametrize(
    ("m", "rotate", "bits", "threshold", "blend", "shear", "pixels"),
    [(9, 9, 7, 178.5, 0.27, 0.09, 4), (5, 5, 7, 212.5, 0.15, 0.05, 2), (3, 3, 8, 229.5, 0.09, 0.03, 1), (0, 0, 8, 255, 0, 0, 0)],
)
def test_levels_of_torchvision(m, rotate, bits, threshold, blend, shear, pixels):
    view = RandAugment(2, m)
    wanted = {"rotate": rotate, "posterize": bits, "solarize": threshold, "color": blend, "shearXNearest": shear}
    for name, value in {**wanted, "translateX": pixels, "translateY": pixels}.items():
        assert reached(view, name) == pytest.approx([value], abs=1e-4), name


@pytest.mark.parametrize(
    ("m", "rotate", "threshold", "addition", "blend", "shear", "square", "pixels"),
    [
        (9, 9, 76.8, 33, 0.64, 0.09, 12, 30),
        (5, 5, 42.6667, 18.3333, 0.4, 0.05, 6.6667, 50 / 3),
        (3, 3, 25.6, 11, 0.28, 0.03, 4, 10),
    ],
)
def test_levels_of_ildoonet(m, rotate, threshold, addition, blend, shear, square, pixels):
    view = RandAugment(2, m, "ildoonet")
    wanted = {"rotate": rotate, "posterize": 1, "solarize": threshold, "solarizeAdd": addition, "brightness": blend}
    for name, value in {**wanted, "shearYNearest": shear, "square": square, "translateY": pixels}.items():
        assert reached(view, name) == pytest.approx([value], abs=1e-4), name


@pytest.mark.parametrize(
    ("m", "rotate", "bits", "threshold", "blend", "shear", "pixels"),
    [
        (9, (3, 24), (4, 7), (231, 52), (0.14, 0.77), (0.03, 0.24), (0, 7)),
        (5, (3, 12), (4, 5), (231, 154), (0.14, 0.41), (0.03, 0.12), (0, 3)),
        (3, (3, 6), (4, 4), (231, 205), (0.14, 0.23), (0.03, 0.06), (0, 1)),
    ],
)
def test_levels_of_fixmatch(m, rotate, bits, threshold, blend, shear, pixels):
    view = RandAugment(2, m, "fixmatch")
    ends = {"rotate": rotate, "posterize": bits, "solarize": threshold, "contrast": blend, "shearXNearest": shear}
    for name, pair in {**ends, "translateX": pixels}.items():
        found = reached(view, name)
        assert [found[0], found[-1]] == pytest.approx(sorted(pair), abs=1e-4), name


@pytest.mark.parametrize(("convention", "operations", "p"), [("torchvision", 14, 1), ("fixmatch", 14, 0.5), ("ildoonet", 16, 1)])
def test_operations_are_drawn_evenly_and_as_often_as_the_convention_says(convention, operations, p):
    number = _space(convention).number
    assert len(set(number.tolist())) == len(number) == operations
    drawn = RandAugment(3, 9, convention).plan(Draws(1, torch.arange(N)))[0][:, :3]
    counts = Counter(drawn.flatten().tolist())
    for one in set(number.tolist()) - {0}:
        expected = 3 * N * p / operations
        assert abs(counts[one] - expected) < 5 * expected**0.5
    identity = 3 * N * (1 - p + p * (0 in number) / operations)
    assert abs(counts[0] - identity) <= 5 * identity**0.5


def test_signs_are_drawn_where_the_convention_says():
    for convention, signed in (("torchvision", True), ("fixmatch", False), ("ildoonet", False)):
        operation, magnitude = RandAugment(2, 9, convention).plan(Draws(1, torch.arange(N)))
        for name, center in (("shearXNearest", 0), ("rotate", 0), ("translateY", 0), ("sharpness", 1)):
            drawn = magnitude[operation == number_of(name)]
            share = (drawn < center).double().mean().item()
            if name != "sharpness" or signed:
                assert abs(share - 0.5) < 5 * 0.5 / len(drawn) ** 0.5
            else:
                assert (drawn > 0).all()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", TORCHVISION)
def test_pictures_equal_those_of_torchvision(name, channels, make_images):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import RandAugment as Theirs
    from torchvision.transforms.autoaugment import _apply_op

    view, x = RandAugment(fill=127), make_images(6, 32, 20, channels)[[0, 1, 3]]
    ways = _space("torchvision").ways[number_of(name)]
    magnitudes, signed = Theirs()._augmentation_space(31, (32, 20))[TORCHVISION[name]]
    for level in (0, 3, 9, 20, 30):
        for way in (0, 1):
            operation = torch.full((3, 1), number_of(name))
            value = view.in_pixels(operation, ways[way, level].expand(3, 1).clone(), (32, 20))
            ours = apply_plan(x, operation, value, torch.zeros(3, 1, 2), view.fill)
            theirs = magnitudes[level].item() if magnitudes.ndim else 0.0
            # PIL's offset is where a pixel comes from, torchvision's translation where it goes
            theirs *= -1 if signed and way == (0 if name.startswith("translate") else 1) else 1
            for image, found in zip(x, ours, strict=True):
                picture = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy().copy())
                done = _apply_op(picture, TORCHVISION[name], theirs, InterpolationMode.NEAREST, [127] * channels)
                assert np.array_equal(np.array(done).reshape(32, 20, channels), found.permute(1, 2, 0).numpy()), (level, way)


def _affine(image, a, b):
    return image.transform(image.size, Image.Transform.AFFINE, (1, *a, *b))


def _added(image, value):
    return Image.fromarray(np.clip(np.array(image) + value, 0, 255).astype(np.uint8))


PIL = {
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "invert": lambda image, v: ImageOps.invert(image),
    "rotate": lambda image, v: image.rotate(v),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "solarize": ImageOps.solarize,
    "solarizeAdd": lambda image, v: ImageOps.solarize(
        Image.fromarray(np.clip(np.array(image) + v, 0, 255).astype(np.uint8)), 128
    ),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "shearXNearest": lambda image, v: _affine(image, (v, 0), (0, 1, 0)),
    "shearYNearest": lambda image, v: _affine(image, (0, 0), (v, 1, 0)),
    "translateX": lambda image, v: _affine(image, (0, v * image.width), (0, 1, 0)),
    "translateY": lambda image, v: _affine(image, (0, 0), (0, 1, v * image.height)),
}


def square(image, side, spot, color):
    """CutoutAbs of both packages; the place is the one that was drawn."""
    (width, height), (y, x) = image.size, spot
    left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + side), min(height, top + side)), color)
    return image


@pytest.mark.parametrize("view", [RandAugment(2, 9, "ildoonet", fill=0), RandAugment(3, 2, "ildoonet", fill=0), FixMatchStrong()])
def test_pictures_equal_those_of_pil_on_the_drawn_plan(view, make_images):
    x, position = make_images(60, 32, 24), torch.arange(60)
    draws = Draws(7, position)
    operation, magnitude = view.plan(draws)
    spot = (draws.uniform(shape=(operation.shape[1], 2)) * torch.tensor([32.0, 24.0])).tolist()
    magnitude = view.in_pixels(operation, magnitude, (32, 24))
    names = {number_of(name): name for name in PIL} | {number_of("square"): "square", number_of("graySquare"): "gray"}
    expected = []
    for i, image in enumerate(x):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy().copy())
        for step, number in enumerate(operation[i].tolist()):
            name, value = names.get(number), magnitude[i, step].item()
            if name == "square":
                picture = square(picture, value, spot[i][step], (125, 123, 114))
            elif name == "gray":
                assert value == 12  # half of the shorter side
                picture = square(picture, value, spot[i][step], (127, 127, 127))
            elif name is not None:
                picture = PIL[name](picture, value)
        expected.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    assert torch.equal(view(x, Draws(7, position)), torch.stack(expected))


def test_the_square_of_fixmatch_covers_what_it_covers_there():
    x = torch.zeros(8_000, 1, 32, 32, dtype=torch.uint8)
    painted = (RandAugment(1, 1, "fixmatch")(x, Draws(0, torch.arange(8_000))) == 127).float()
    sizes = painted.amax(3).sum(2), painted.amax(2).sum(2)
    assert {int(size.max()) for size in sizes} == {17} and {int(size.min()) for size in sizes} == {9}
    assert painted.mean().item() == pytest.approx(0.246, abs=0.003)


def test_below_level_two_fixmatch_paints_its_square_alone(make_images):
    x, position = make_images(40), torch.arange(40)
    for m in (0, 1):
        found = RandAugment(2, m, "fixmatch")(x, Draws(0, position))
        changed = (found != x).any(1)
        assert ((found == 127).all(1) | ~changed).all() and changed.any((1, 2)).all()


def test_the_level_rises_with_the_epoch(make_images):
    view, x, position = RandAugment(2, 9, rise_every=10), make_images(30), torch.arange(30)
    for epoch, m in ((0, 0), (9, 0), (10, 1), (55, 5), (90, 9), (299, 9)):
        assert torch.equal(view.at(epoch)(x, Draws(0, position)), RandAugment(2, m)(x, Draws(0, position)))


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 0},
        {"m": 31},
        {"m": -1},
        {"m": None},
        {"m": 11, "convention": "fixmatch"},
        {"m": 10, "convention": "act"},
        {"m": None, "convention": "act", "rise_every": 2},
        {"convention": "google"},
        {"p": 1.5},
        {"fill": 256},
        {"rise_every": 0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="|".join(settings)):
        RandAugment(**settings)
