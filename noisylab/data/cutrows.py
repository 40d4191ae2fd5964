"""Views in two steps of image files: squares that workers cut out, and what becomes of them on the training device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from noisylab.data.pictures import Depth, open_reduced
from noisylab.transforms.base import to_device
from noisylab.transforms.cuts import Cut, CutView, cut_out, spare
from noisylab.transforms.draws import Draws, key_from
from noisylab.types import Inputs

__all__ = ["cut_squares", "finish_views"]


def cut_squares(
    paths: Sequence[str],
    position: Sequence[int],
    cuts: Sequence[tuple[str, Cut]],
    key: int,
    *,
    allow_truncated: bool = False,
    depth: Depth | None = None,
) -> tuple[Tensor, ...]:
    """The squares of some image files for each of their views; a file is opened once for all of them.

    Args:
        paths: one file a sample.
        position: places that, with `key`, name the draws.
        cuts: name of a view and what it sees, for each view; a repeated name is drawn again.
        key: see `StreamRows.key`.
        allow_truncated: see `open_image`.
        depth: likewise.

    Returns:
        (B, side, side, 3) uint8 for each view.

    Raises:
        UnreadableImage: naming a file that cannot be read.
    """
    place_of = torch.tensor(position, dtype=torch.int64)
    drawn = [cut.draw(_cut_draws(key, place, name, place_of)).tolist() for place, (name, cut) in enumerate(cuts)]
    sides = [cut.side for _, cut in cuts]
    squares = [torch.empty(len(paths), side, side, 3, dtype=torch.uint8) for side in sides]
    for row, path in enumerate(paths):

        def windows(width: int, height: int, row: int = row) -> list[Any]:
            return [cut.window(width, height, numbers[row]) for (_, cut), numbers in zip(cuts, drawn, strict=True)]

        image, full = open_reduced(
            path, lambda width, height: spare(windows(width, height)), allow_truncated=allow_truncated, depth=depth
        )
        for into, square in zip(squares, cut_out(image, full, windows(*full), sides), strict=True):
            into.numpy()[row] = square
    return tuple(squares)


def _cut_draws(key: int, place: int, name: str, position: Tensor) -> Draws:
    return Draws(key_from(key, place, name, "cut"), position)


def finish_views(
    squares: Sequence[Inputs], position: Tensor, names: Sequence[str], key: int, views: Mapping[str, Any], epoch: int = 0
) -> tuple[Inputs, ...]:
    """The views that become of squares, on the device where these are; views that workers have finished stay as they are.

    Args:
        squares: (B, side, side, 3) uint8 of each view, see `cut_squares`.
        position: (B,) int64 on the host, with `key` the name of each sample's draws.
        names: view names.
        key: see `StreamRows.key`.
        views: view by name.
        epoch: see `StreamRows.epoch`.
    """
    if not all(isinstance(views[name], CutView) for name in names):
        return tuple(squares)
    finished: list[Inputs] = []
    there = None
    for place, (name, inputs) in enumerate(zip(names, squares, strict=True)):
        assert isinstance(inputs, Tensor)
        there = to_device(position, inputs.device) if there is None else there
        draws = Draws(key_from(key, place, name), there, host=position)
        finished.append(views[name].at(epoch).after(inputs.permute(0, 3, 1, 2).contiguous(), draws))
    return tuple(finished)
