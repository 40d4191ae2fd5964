"""Draws the noise of a whole data set, by row or by the clip that a row is a frame of."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from noisylab.data.notes import note
from noisylab.data.source import Source
from noisylab.noise import FromAnnotators, Noise, NoisyTargets

__all__ = ["noisy_labels", "told", "without"]


def noisy_labels(
    noise: Noise, source: Source, unit: Literal["row", "clip"] | None = None, inputs: Tensor | None = None
) -> NoisyTargets:
    """Noisy labels of all labeled rows, drawn by row or by clip; the others stay without one, but for labels from a file.

    Args:
        noise: its kind.
        source: the data, whose labels must be the true ones.
        unit: what a wrong label is drawn for, where rows are frames of clips.
        inputs: (N, ...) what noise that depends on the inputs looks at; `None` for inputs that are not in memory.

    Raises:
        ValueError: for labeled rows without a true label, labels that are wrong already, a unit that is missing, or clips that
            are.
    """
    if isinstance(noise, FromAnnotators):  # labels that are not known to be true are replaced, not compared with
        truth = torch.full_like(source.given, -1) if source.clean is None else source.clean
        return noise(truth, len(source.class_names), None, source.class_names, source.names)
    own = noise.own_inputs(len(source.given))
    return _of_true_labels(noise, source, unit, inputs if own is None else own)


def _of_true_labels(noise: Noise, source: Source, unit: Literal["row", "clip"] | None, inputs: Tensor | None) -> NoisyTargets:
    """Noise that takes the labels of the data for the true ones."""
    classes, names = len(source.class_names), source.class_names
    clean, labeled = source.given if source.clean is None else source.clean, source.given >= 0
    if bool((clean < 0)[labeled].any()):
        raise ValueError("noise needs true labels for all labeled rows; the data has rows without one. Leave noise out")
    wrong = int((clean != source.given)[labeled].sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(clean)} labels already differ from the true ones; leave noise out")
    if not bool(labeled.all()) and not noise.of_rows:
        return _of_labeled(noise, source, clean, unit, inputs)
    if source.clip is None:
        if unit == "clip":
            raise ValueError("noise_unit='clip' needs clips, and this data has none; leave it out")
    elif noise.of_rows:
        pass  # its labels belong to rows
    elif unit is None:
        raise ValueError(
            "the rows of this data are frames of clips; set noise_unit to say whether a wrong label is drawn for each 'row' or "
            "for each 'clip'"
        )
    elif unit == "clip":
        if noise.looks_at_rows:
            raise ValueError(
                f"noise_unit='clip' draws for clips, but {type(noise).__name__} looks at each row; use noise_unit='row'"
            )
        found, number = torch.unique(source.clip, return_inverse=True)
        drawn = noise(torch.zeros_like(found).scatter(0, number, clean), classes, None, names)
        given = drawn.given_target[number]
        measured = float((given != clean).double().mean())
        return replace(drawn, given_target=given, clean_target=clean.clone(), measured_rate=measured)
    return noise(clean, classes, inputs, names)


def _of_labeled(
    noise: Noise, source: Source, clean: Tensor, unit: Literal["row", "clip"] | None, inputs: Tensor | None
) -> NoisyTargets:
    """Noise of the labeled rows alone, as if there were no others."""
    rows = (source.given >= 0).nonzero().flatten()
    clip = None if source.clip is None else source.clip[rows]
    part = replace(source, given=source.given[rows], clean=clean[rows], clip=clip)
    drawn = _of_true_labels(noise, part, unit, None if inputs is None else inputs[rows])
    given = torch.full_like(source.given, -1).scatter(0, rows, drawn.given_target)
    return replace(drawn, given_target=given, clean_target=clean.clone())


def told(noise: Noise, noisy: NoisyTargets, class_names: tuple[str, ...]) -> list[str]:
    """What the account of the data says of the labels; what looked wrong in their file is a warning, too.

    Args:
        noise: what made them.
        noisy: the labels.
        class_names: names of the classes.
    """
    doubts = noise.warnings(noisy)
    for text in doubts:
        note(text)
    return [*doubts, *noise.account(noisy, class_names)]


def without(noisy: NoisyTargets, given: Tensor) -> NoisyTargets:
    """The same noise where some rows have lost their label.

    Args:
        noisy: the noise.
        given: (N,) int64 given labels, -1 where there is none any more.
    """
    labeled = given >= 0
    known = labeled & (noisy.clean_target >= 0)
    measured = float((given != noisy.clean_target)[known].double().mean()) if bool(known.any()) else 0.0
    soft = None if noisy.soft_target is None else torch.where(labeled[:, None], noisy.soft_target, 0.0)
    return replace(noisy, given_target=given, measured_rate=measured, soft_target=soft)
