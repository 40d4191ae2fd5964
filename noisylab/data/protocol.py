"""The wording that describes how the reported figures of a run were chosen."""

from __future__ import annotations

__all__ = ["protocol_text"]


def protocol_text(held: str, tested: bool, fold: str = "", monitor: str = "val/acc") -> str:
    """How the reported figures are chosen.

    Args:
        held: the held-out rows and the kind of their labels, in words; "" where none are held out.
        tested: whether there is a test set, as far as is known.
        fold: which part of the training rows is the test set, in words; "" for a test set of its own.
        monitor: what chooses the best epoch, "val/acc" or "val/loss".

    >>> protocol_text("given labels of 10% held-out rows", False)
    'no test set: mean of the last ten epochs by given labels of 10% held-out rows'
    """
    best = "epoch of the lowest loss" if monitor == "val/loss" else "best epoch"
    if held and tested:
        return f"test accuracy in the {best} by {held}; last epoch and mean of the last ten beside it{fold}"
    if held:
        return f"no test set: mean of the last ten epochs by {held}"
    if tested:
        return f"no validation split: last epoch and mean of the last ten epochs on test{fold}"
    return "no validation split and no test set: nothing is evaluated"
