"""One row as an evaluated network sees it, without loaders, workers or a device."""

from __future__ import annotations

import torch

from noisylab.data.base import NoisyDataModule
from noisylab.data.rows import FileRows, build_views, open_image
from noisylab.transforms.draws import Draws
from noisylab.types import Inputs

__all__ = ["one_sample"]


def one_sample(data: NoisyDataModule) -> Inputs:
    """The first training row in the view "eval", as a batch of one on the host.

    Args:
        data: after ``setup``; nothing in it is changed, and nothing is drawn that a run would draw.

    Raises:
        ValueError: if the row's image cannot be read.
    """
    rows = data.info.train_rows[:1]
    store = data.source.train
    if isinstance(store, FileRows):
        image = open_image(store.paths[int(rows[0])], allow_truncated=store.allow_truncated, depth=store.depth)
        view: torch.Tensor = store.views["eval"](image, Draws(0, rows).python(0))
        return view[None]
    (inputs,) = build_views(store.gather(rows), rows, ("eval",), 0, data.view_set())
    return inputs
