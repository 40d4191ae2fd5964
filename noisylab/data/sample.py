"""One row as an evaluated network sees it, without loaders, workers or a device."""

from __future__ import annotations

from noisylab.data.base import NoisyDataModule
from noisylab.data.rows import FileRows, ViewTask, build_views
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
        row = int(rows[0])
        (inputs,) = store.here(ViewTask((row,), (row,), ("eval",), 0))
        return inputs
    (inputs,) = build_views(store.gather(rows), rows, ("eval",), 0, data.view_set())
    return inputs
