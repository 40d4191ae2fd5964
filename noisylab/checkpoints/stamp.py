"""The stamp in a checkpoint that identifies its method and its training data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from noisylab.types import DataInfo

__all__ = ["check_data_stamp", "check_stamp", "data_stamp", "stamp"]


def stamp(
    method: str,
    num_classes: int,
    class_names: Sequence[str],
    data: Mapping[str, Any] | None = None,
    fitted: Mapping[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """The identity of a checkpoint: its method and, after a fit, its training data (`data_stamp`) and what a
    model of them needs (`NoisyDataModule.fitted`).

    Args:
        method: name of the class.
        num_classes: K.
        class_names: K names; none before a fit.
        data: see above.
        fitted: see above.
        **others: plain values that do not decide which checkpoints belong to the method.
    """
    whose = {"method": method, "num_classes": num_classes, "class_names": list(class_names)}
    return {**whose, "data": dict(data or {}), "fitted": dict(fitted or {}), **others}


def data_stamp(info: DataInfo) -> dict[str, Any]:
    """The properties of the data that a resumed run may not change, or should change only knowingly."""
    labels = hashlib.sha256()
    for part in (
        info.given_target,
        info.train_rows,
        *([info.trusted_rows, info.trusted_target] if len(info.trusted_rows) else []),
        *([] if info.soft_target is None else [info.soft_target]),
    ):
        labels.update(part.cpu().contiguous().numpy().data)
    return {"labels": labels.hexdigest(), "seed": info.seed, "batch_size": info.batch_size}


def check_data_stamp(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Compare the data of a checkpoint with the data of the run that continues it.

    Returns:
        What differs and may: "seed 0, now 5".

    Raises:
        ValueError: for other given labels or other training rows: what the checkpoint remembers of the samples is not of these.
    """
    if theirs.get("labels", ours["labels"]) != ours["labels"]:
        raise ValueError(
            "the checkpoint was trained on other labels or rows: the noise, its seed, the held-out rows or the subset differ; "
            "resume with the data that the run was started with, or start a new run"
        )
    return [f"{key} {theirs[key]}, now {ours[key]}" for key in ("seed", "batch_size") if theirs.get(key, ours[key]) != ours[key]]


def check_stamp(checkpoint: dict[str, Any], method: str, num_classes: int) -> None:
    """Refuse another method's checkpoint, or one for another number of classes.

    Raises:
        ValueError: naming both.
    """
    theirs = checkpoint.get("noisylab", {})
    if (theirs.get("method"), theirs.get("num_classes")) != (method, num_classes):
        whose = f"of {theirs['method']} with {theirs['num_classes']} classes" if theirs else "not one of noisylab"
        raise ValueError(
            f"the checkpoint is {whose}, this is {method} with {num_classes} classes; "
            "use the class and the data that wrote the checkpoint"
        )
