"""Quarter turns of images, whose number a network learns to predict (RotNet)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.types import Inputs, map_inputs

__all__ = ["all_rotations", "draw_rotations", "rotate_quarters"]


def rotate_quarters(inputs: Inputs, quarters: Tensor) -> Inputs:
    """Each image rotated counterclockwise by its own number of quarter turns, as ``torch.rot90`` does.

    Pixels are moved, never interpolated. Works for any dtype, which is kept, and on any device, without reading back from it.

    Args:
        inputs: (B, ..., S, S) square images, or a dict of such tensors.
        quarters: (B,) int64, 0 to 3: by 0, 90, 180 or 270 degrees.

    Raises:
        ValueError: if the inputs are not square images.

    Example:
        >>> rotate_quarters(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1])).tolist()
        [[[[2, 4], [1, 3]]]]

    Source: Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018.
    """

    def turned(x: Tensor) -> Tensor:
        _require_square(x)
        each = quarters.to(x.device).view(-1, *(1,) * (x.ndim - 1))
        result = x
        for number in (1, 2, 3):
            result = torch.where(each == number, x.rot90(number, (-2, -1)), result)
        return result

    return map_inputs(turned, inputs)


def draw_rotations(inputs: Inputs) -> tuple[Inputs, Tensor]:
    """One rotated copy of each image, by a number of quarter turns that is drawn for it, 0 included.

    Drawn from torch's generator of the device, which is keyed anew for every training step.

    Args:
        inputs: (B, ..., S, S) square images, or a dict of such tensors.

    Returns:
        The rotated images, and (B,) int64 their quarter turns, the target of a rotation head.
    """
    first = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    quarters = torch.randint(4, (len(first),), device=first.device)
    return rotate_quarters(inputs, quarters), quarters


def all_rotations(inputs: Inputs) -> tuple[Inputs, Tensor]:
    """All four rotations of each image, one image after the other: 0, 90, 180 and 270 degrees counterclockwise.

    Args:
        inputs: (B, ..., S, S) square images, or a dict of such tensors.

    Returns:
        The 4 B rotated images, and (4 B,) int64 their quarter turns, 0 1 2 3 0 1 ...

    Raises:
        ValueError: if the inputs are not square images.

    Example:
        >>> images, quarters = all_rotations(torch.tensor([[[1, 2], [3, 4]]]))
        >>> images.tolist(), quarters.tolist()
        ([[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]], [0, 1, 2, 3])
    """

    def turned(x: Tensor) -> Tensor:
        _require_square(x)
        return torch.stack([x.rot90(number, (-2, -1)) for number in range(4)], 1).flatten(0, 1)

    first = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    return map_inputs(turned, inputs), torch.arange(4, device=first.device).repeat(len(first))


def _require_square(x: Tensor) -> None:
    if x.ndim < 3 or x.shape[-1] != x.shape[-2]:
        raise ValueError(
            f"rotations need square images (B, ..., S, S), got inputs of shape {tuple(x.shape)}; crop the images to squares, or "
            "leave the rotation task out"
        )
