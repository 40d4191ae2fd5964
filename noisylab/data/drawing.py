"""Noise of a whole data set: of rows, or of the clips that they are frames of."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from noisylab.data.source import Source
from noisylab.noise import FromFile, Noise, NoisyTargets

__all__ = ["draw_noise"]


def draw_noise(
    noise: Noise, clean: Tensor, source: Source, unit: Literal["row", "clip"] | None, inputs: Tensor | None
) -> NoisyTargets:
    """The noise of all rows, drawn for rows or for clips.

    Args:
        noise: its kind.
        clean: (N,) int64 true labels.
        source: the data.
        unit: what a wrong label is drawn for, where rows are frames of clips.
        inputs: (N, ...) what noise that depends on the inputs looks at; `None` for inputs that are not in memory.

    Raises:
        ValueError: for a unit that is missing, or clips that are.
    """
    classes, names = len(source.class_names), source.class_names
    if source.clip is None:
        if unit == "clip":
            raise ValueError("noise_unit='clip' needs clips, and this data has none; leave it out")
    elif isinstance(noise, FromFile):
        pass  # its labels belong to rows
    elif unit is None:
        raise ValueError(
            "the rows of this data are frames of clips; say with noise_unit whether a wrong label is drawn for each 'row' or "
            "for each 'clip'"
        )
    elif unit == "clip":
        found, number = torch.unique(source.clip, return_inverse=True)
        drawn = noise(torch.zeros_like(found).scatter(0, number, clean), classes, None, names)
        given = drawn.given_target[number]
        measured = float((given != clean).double().mean())
        return replace(drawn, given_target=given, clean_target=clean.clone(), measured_rate=measured)
    return noise(clean, classes, inputs, names)
