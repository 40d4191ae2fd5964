from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from noisylab.transforms import geometry, ops

SLOPES = np.concatenate([np.linspace(-0.3, 0.3, 13), [0.0299, -0.7, 1.0]])
ANGLES = np.array([0.0, 1, -1, 8, -8, 29, -29, 30, 90, 180, 271])
NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR


def shear(image, slope, how, down):
    matrix = (1, 0, 0, slope, 1, 0) if down else (1, slope, 0, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=(3,) * len(image.getbands()))


ORACLES = {
    "shear_x_nearest": (SLOPES, lambda image, v: shear(image, v, NEAREST, False)),
    "shear_y_nearest": (SLOPES, lambda image, v: shear(image, v, NEAREST, True)),
    "shear_x_bilinear": (SLOPES, lambda image, v: shear(image, v, BILINEAR, False)),
    "shear_y_bilinear": (SLOPES, lambda image, v: shear(image, v, BILINEAR, True)),
    "rotate_bilinear": (ANGLES, lambda image, v: image.rotate(v, BILINEAR, fillcolor=(3,) * len(image.getbands()))),
}


def pil(x):
    return Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy().copy())


def tensor(image, like):
    return torch.from_numpy(np.array(image)).view(*like.shape[1:], like.shape[0]).permute(2, 0, 1)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(32, 32), (11, 18), (2, 5), (1, 1)])
@pytest.mark.parametrize("name", sorted(ORACLES))
def test_equals_pil_at_every_magnitude(name, size, channels, make_images):
    values, oracle = ORACLES[name]
    images = make_images(4, *size, channels)
    result = getattr(geometry, name)(images.repeat_interleave(len(values), 0), torch.from_numpy(np.tile(values, 4)), 3)
    expected = torch.stack([tensor(oracle(pil(image), value), image) for image in images for value in values])
    assert torch.equal(result, expected)


def test_adding_and_solarizing_equals_numpy_and_pil(make_images):
    x, values = make_images(3), [0.0, 11.0, 18.3, 33.0, 110.0]
    for value in values:
        added = np.clip(x.numpy().astype(int) + value, 0, 255).astype(np.uint8)
        expected = [
            tensor(ImageOps.solarize(pil(torch.from_numpy(picture)), 128), image) for picture, image in zip(added, x, strict=True)
        ]
        assert torch.equal(ops.solarize_add(x, torch.full((3,), value)), torch.stack(expected))


@pytest.mark.parametrize("size", [0.0, 4.0, 6.67, 16.0])
def test_a_square_is_drawn_with_its_end(size, make_images):
    x = make_images(6, 12, 17)
    row, column = torch.tensor([0, 0, 3, 11, 6, 2]), torch.tensor([0, 9, 16, 5, 6, 1])
    expected = []
    for image, top, left in zip(x, row.tolist(), column.tolist(), strict=True):
        picture = pil(image)
        ImageDraw.Draw(picture).rectangle((left, top, min(17, left + size), min(12, top + size)), (125, 123, 114))
        expected.append(tensor(picture, image))
    assert torch.equal(ops.square(x, torch.full((6,), size), row, column, (125, 123, 114)), torch.stack(expected))
