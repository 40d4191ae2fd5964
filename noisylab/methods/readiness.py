"""The checks that a method makes on the data and the Trainer before training begins."""

from __future__ import annotations

from typing import Any

from noisylab.methods.evaluation import Predictor
from noisylab.types import DataInfo

__all__ = ["met_data", "refuse_missing_rows", "refuse_test_monitors"]


def met_data(method: Predictor, stage: str) -> DataInfo:
    """What the method may know about the Trainer's data.

    Args:
        method: attached to a Trainer.
        stage: "fit", "validate", "test" or "predict".

    Raises:
        TypeError: if they are not of a data module of noisylab.
        ValueError: if they have another number of classes.
    """
    info = getattr(getattr(method.trainer, "datamodule", None), "info", None)
    if not isinstance(info, DataInfo):
        raise TypeError(f"{type(method).__name__} needs a noisylab data module: trainer.{stage}(model, datamodule=...)")
    if info.num_classes != method.num_classes:
        raise ValueError(
            f"the data has {info.num_classes} classes, the method was built for {method.num_classes}; "
            "build it with num_classes=data.num_classes"
        )
    return info


def refuse_missing_rows(name: str, *, trusted: bool, validation: bool) -> None:
    """Refuse data that lacks what a method learns from.

    Args:
        name: of the method.
        trusted: whether it lacks rows whose labels are known to be right.
        validation: whether it lacks rows held out to validate on.

    Raises:
        ValueError: if it lacks one of them, saying what to set.
    """
    if trusted:
        raise ValueError(
            f"{name} learns how far to trust the labels from a few that are known to be right, and the data "
            "sets none apart; set data.trusted_labels to a CSV file of rows and their checked labels or, where the true "
            "labels are known, data.trusted_per_class to 10"
        )
    if validation:
        raise ValueError(
            f"{name} continues with the network of its best epoch on held-out rows, but no rows are held "
            "out; set data.val_fraction to 0.1, or model.hand_over to last"
        )


def refuse_test_monitors(trainer: Any) -> None:
    """Refuse callbacks that choose by the test set.

    Raises:
        ValueError: naming the first.
    """
    for callback in trainer.callbacks:
        if str(getattr(callback, "monitor", "")).startswith(("test/", "test_")):
            raise ValueError(f"{type(callback).__name__} monitors {callback.monitor!r}: a leak; monitor 'val/acc'")
