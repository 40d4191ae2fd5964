"""The plan of an epoch for the rows and views that a data set has."""

from __future__ import annotations

from collections.abc import Collection

import torch

from noisylab.data.partition import Split
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.types import EpochPlan

__all__ = ["planned"]


def planned(
    plan: EpochPlan,
    epoch: int,
    seed: int,
    split: Split,
    views: Collection[str],
    batch_size: int,
    ranks: int = 1,
    normalized: bool = False,
    owner: str = "the data",
) -> ResolvedPlan:
    """A plan with its sizes, after a check that the data can serve it.

    Args:
        plan: as a method requests it.
        epoch: 0-based epoch.
        seed: the run's seed.
        split: the rows of each part.
        views: names of the views that the data has.
        batch_size: samples a batch over all ranks, where a stream names none.
        ranks: number of processes.
        normalized: whether each of several processes normalizes its own share of a batch.
        owner: name of the data in messages.

    Raises:
        ValueError: for a view that the data lacks, a batch too small to be normalized, and see `ResolvedPlan`.
    """
    for phase in plan.phases:
        for stream in phase.streams.values():
            unknown = [name for name in stream.views if name not in views]
            if unknown:
                raise ValueError(
                    f"the method asks for the view {unknown[0]!r}; {owner} offers {', '.join(views)}: name one of them where the "
                    "method has an argument for it"
                )
    resolved = ResolvedPlan(
        plan,
        epoch=epoch,
        seed=seed,
        train_rows=split.train,
        other_rows=torch.cat([split.trusted.rows, split.unlabeled]),
        batch_size=batch_size,
        blocks=split.source.blocks,
        # the same for any number of ranks, so that either resumes the other, but for what batch normalization needs
        min_last=max(2 * ranks if normalized else 2, min(16, batch_size // 4)),
    )
    if normalized and resolved.smallest_share(ranks) < 2:
        raise ValueError(
            f"a batch of epoch {epoch} leaves fewer than two samples to one of {ranks} processes, and batch normalization "
            f"needs two; with {len(split.train)} training rows choose a larger data.batch_size than {batch_size}, or fewer "
            "trainer.devices"
        )
    return resolved
