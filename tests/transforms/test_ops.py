from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylab.transforms import ops

BLENDS = 1 + np.linspace(-0.9, 0.9, 19)
SHARES = np.linspace(-150 / 331, 150 / 331, 19)
SLOPES = np.linspace(-0.3, 0.3, 19)
MAGNITUDES = {
    "brightness": BLENDS,
    "color": BLENDS,
    "contrast": BLENDS,
    "posterize": np.arange(1.0, 9.0),
    "rotate": np.concatenate([np.linspace(0, 30, 10), [-30, 90, 180, 271, -3.5]]),
    "sharpness": BLENDS,
    "shearX": SLOPES,
    "shearY": SLOPES,
    "solarize": np.linspace(256, 0, 10),
    "translateX": SHARES,
    "translateY": SHARES,
}
FUNCTIONS = {
    "shearX": ops.shear_x,
    "shearY": ops.shear_y,
    "translateX": ops.translate_x,
    "translateY": ops.translate_y,
}
SIZES = [(32, 32), (11, 18), (2, 5), (1, 1)]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(MAGNITUDES))
def test_equals_pil_at_every_magnitude(name, size, channels, pil_operation, make_images):
    values = MAGNITUDES[name]
    images = make_images(6, *size, channels)
    x = images.repeat_interleave(len(values), 0)
    magnitude = torch.from_numpy(np.tile(values, len(images)))
    result = FUNCTIONS.get(name, getattr(ops, name, None))(x, magnitude)
    expected = torch.stack([pil_operation(name, image, value) for image in images for value in values])
    assert result.dtype == torch.uint8 and torch.equal(result, expected)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["autocontrast", "equalize", "invert"])
def test_equals_pil_without_a_magnitude(name, size, channels, pil_operation, make_images):
    x = make_images(60, *size, channels)
    assert torch.equal(getattr(ops, name)(x), torch.stack([pil_operation(name, image, 0) for image in x]))


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 20])
def test_cutout_paints_the_square_around_the_place(size, channels, pil_operation, make_images):
    x = make_images(30, 12, 17, channels)
    row, column = torch.arange(30) % 12, torch.arange(30) % 17
    result = ops.cutout(x, torch.full((30,), float(size)), row, column)
    places = zip(x, row.tolist(), column.tolist(), strict=True)
    expected = torch.stack([pil_operation("cutout", image, size, (i, j)) for image, i, j in places])
    assert torch.equal(result, expected)


def test_input_is_left_as_it_is(make_images):
    x = make_images(4)
    before, value = x.clone(), torch.full((4,), 0.3, dtype=torch.float64)
    for name in ops.__all__:
        function = getattr(ops, name)
        if name in ("autocontrast", "equalize", "invert"):
            function(x)
        elif name == "square":
            function(x, value + 8, torch.arange(4), torch.arange(4), (1, 2, 3))
        elif name == "cutout":
            function(x, value + 8, torch.arange(4), torch.arange(4))
        else:
            function(x, value + 4 if name == "posterize" else value)
    assert torch.equal(x, before)


def test_equalize_where_one_level_holds_nearly_all_pixels(pil_operation):
    # Here PIL's table runs past 255 and is clipped.
    x = torch.zeros(1, 3, 16, 32, dtype=torch.uint8)
    x[..., 0] = torch.arange(16, dtype=torch.uint8).view(1, 1, 16) * 3
    x[:, 1] = torch.arange(512).view(16, 32).to(torch.uint8)
    assert torch.equal(ops.equalize(x)[0], pil_operation("equalize", x[0], 0))


def test_both_ways_to_count_give_the_same():
    values = torch.randint(0, 20, (500,), dtype=torch.int32)
    assert torch.equal(ops._count(values, 30), ops._count_by_adding(values, 30))
