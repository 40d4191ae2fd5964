from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.pretended_gpu import pretended_gpu

from noisylab.transforms.rotation import all_rotations, draw_rotations, rotate_quarters

SQUARE = torch.tensor([[[1, 2], [3, 4]]])
TURNED = {0: [[1, 2], [3, 4]], 1: [[2, 4], [1, 3]], 2: [[4, 3], [2, 1]], 3: [[3, 1], [4, 2]]}


@pytest.mark.parametrize("quarters", TURNED)
def test_one_quarter_is_ninety_degrees_counterclockwise(quarters):
    assert rotate_quarters(SQUARE, torch.tensor([quarters]))[0].tolist() == TURNED[quarters]


def test_every_row_is_turned_by_its_own_number(make_images):
    x, quarters = make_images(12, 8, 8), torch.arange(12) * 7 % 4
    found = rotate_quarters({"a": x, "b": x[:, 0].float()}, quarters)
    for i, number in enumerate(quarters.tolist()):
        expected = np.rot90(x[i].numpy(), number, axes=(1, 2))
        assert np.array_equal(found["a"][i].numpy(), expected) and np.array_equal(found["b"][i].numpy(), expected[0])


def test_all_four_rotations_follow_each_other_image_by_image(make_images):
    x = make_images(5, 8, 8)
    images, quarters = all_rotations(x)
    assert quarters.tolist() == [0, 1, 2, 3] * 5
    assert torch.equal(images, rotate_quarters(x.repeat_interleave(4, 0), quarters))


def test_drawn_rotations_are_even_and_told():
    x = torch.arange(4 * 4000).view(4000, 2, 2)
    torch.manual_seed(0)
    images, quarters = draw_rotations(x)
    assert torch.equal(images, rotate_quarters(x, quarters))
    assert (torch.bincount(quarters, minlength=4) - 1000).abs().max() < 5 * (4000 * 3 / 16) ** 0.5


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (2, 5)])
def test_other_shapes_are_refused(shape):
    for turn in (all_rotations, draw_rotations):
        with pytest.raises(ValueError, match="square images"):
            turn(torch.zeros(shape))


def test_nothing_waits_for_the_device():
    with pretended_gpu() as gpu:
        gpu.constants_allowed = False
        x = torch.zeros(6, 3, 8, 8, device="cuda")
        assert draw_rotations(x)[0].shape == x.shape and all_rotations(x)[1].shape == (24,)
