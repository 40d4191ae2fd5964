"""Epochs on a class-balanced part of the training rows, drawn anew each time."""

from __future__ import annotations

from dataclasses import replace

import torch

from noisylab.data.partition import Split
from noisylab.selection.balanced import balanced_subset
from noisylab.transforms.draws import key_from
from noisylab.types import EpochPlan

__all__ = ["with_epoch_rows"]


def with_epoch_rows(plan: EpochPlan, size: int, split: Split, num_classes: int, seed: int, epoch: int) -> EpochPlan:
    """A plan in which every stream of all training rows has a part of them alone, with equal numbers of each given label.

    In a random order every row is taken whose class is not full yet, see `balanced_subset`; small classes are taken whole. The
    draw is a function of seed, epoch, phase and stream: a resumed epoch has the same rows, and so has every rank.

    Args:
        plan: as a method requests it. Streams that name their rows keep them.
        size: largest number of rows, at least K.
        split: the rows of each part.
        num_classes: K.
        seed: the run's seed.
        epoch: 0-based epoch.

    Raises:
        ValueError: for a size below K.
    """
    if size < num_classes:
        raise ValueError(
            f"epoch_rows={size} leaves some of {num_classes} classes out; set it to at least {num_classes}, or leave it out"
        )
    phases = []
    for place, phase in enumerate(plan.phases):
        streams = dict(phase.streams)
        for name, stream in phase.streams.items():
            if stream.rows is None:
                generator = torch.Generator().manual_seed(key_from(seed, "epoch rows", epoch, place, name))
                rows = balanced_subset(split.train, split.train_target[split.train], size, num_classes, generator)
                streams[name] = replace(stream, rows=rows.sort().values)
        phases.append(replace(phase, streams=streams))
    return EpochPlan(tuple(phases))
