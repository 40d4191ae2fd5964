"""The checks that a method makes on the data and the Trainer before training begins."""

from __future__ import annotations

from typing import Any

from noisylab.methods.evaluation import Predictor
from noisylab.types import DataInfo

__all__ = ["met_data", "refuse_missing_rows", "refuse_mixing", "refuse_test_monitors"]


def met_data(method: Predictor, stage: str) -> DataInfo:
    """What the method may know about the Trainer's data.

    Args:
        method: attached to a Trainer.
        stage: "fit", "validate", "test" or "predict".

    Raises:
        TypeError: if they are not of a data module of noisylab.
        ValueError: if they have another number of classes.
    """
    data = getattr(method.trainer, "datamodule", None)
    info = getattr(data, "info", None)
    if not isinstance(info, DataInfo):
        raise TypeError(f"{type(method).__name__} needs a noisylab data module: trainer.{stage}(model, datamodule=...)")
    if info.num_classes != method.num_classes:
        raise ValueError(
            f"the data has {info.num_classes} classes, the method was built for {method.num_classes}; "
            "build it with num_classes=data.num_classes"
        )
    if stage == "fit":
        refuse_mixing(method, data)
    return info


def refuse_mixing(method: Any, data: Any) -> None:
    """Refuse a method that mixes inputs on data whose inputs are the numbers of tokens.

    Args:
        method: any.
        data: known to say whether its inputs can be mixed, before it is read.

    Raises:
        ValueError: if it mixes them, saying by which argument.
    """
    mixing = [name for name in method.mixes_by if getattr(method, name) > 0]
    if mixing and not data.mixable:
        given = " and ".join(f"{name}={getattr(method, name)}" for name in mixing)
        off = " or ".join(f"model.{name}" for name in mixing)
        raise ValueError(
            f"{type(method).__name__} mixes inputs with each other ({given}), which the numbers of tokens cannot be: train it on "
            f"vectors of texts, with data.features set to minilm or tfidf and a network such as MLP, or set {off} to 0 where the "
            "method allows that"
        )


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
