"""Checks of the arguments that all data modules share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["check_data_arguments"]


def check_data_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments of `NoisyDataModule` that lie outside their ranges or contradict each other.

    Args:
        given: the arguments by name.

    Raises:
        ValueError: naming the first.
    """
    if not 0 <= given["val_fraction"] < 1:
        raise ValueError(f"val_fraction must be in [0, 1), got {given['val_fraction']}")
    if not 0 <= given["num_workers"] <= 1024:
        raise ValueError(f"num_workers must be in 0..1024, got {given['num_workers']}")
    for name in ("batch_size", "eval_batch_size", "subset", "chunk_size", "epoch_rows"):
        if given[name] is not None and given[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {given[name]}")
    if given["memory_limit"] is not None and not given["memory_limit"] >= 0:
        raise ValueError(f"memory_limit must be 0 or more GiB, got {given['memory_limit']}")
    folds, fold = given["folds"], given["fold"]
    if folds < 0 or folds == 1:
        raise ValueError(f"folds must be at least 2, or 0 for the test set of the data, got {folds}")
    if not 0 <= fold < max(folds, 1):
        allowed = f"be in 0..{folds - 1} with folds={folds}" if folds else "be 0 without folds"
        raise ValueError(f"fold must {allowed}, got {fold}")
    trusted, table = given["trusted_per_class"], given["trusted_labels"]
    if trusted < 0 or (trusted and table is not None):
        raise ValueError(
            f"trusted_per_class must be at least 0, and 0 when trusted_labels is given, got {trusted} and {table!r}; draw "
            "trusted rows, or name them in a file"
        )
    unit = given["noise_unit"]
    if unit not in ("row", "clip", None):
        raise ValueError(f"noise_unit must be 'row' or 'clip', got {unit!r}; leave it out if rows are not frames")
