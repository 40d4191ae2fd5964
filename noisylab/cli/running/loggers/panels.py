"""What the dashboards show, in one small vocabulary: every method logs these names, so that its runs fall on the same charts."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SECTIONS", "SELECTION", "SHARED", "Panel", "Section"]


class Panel(NamedTuple):
    """A chart over the epochs.

    Args:
        title: above it.
        metrics: names as in ``metrics.csv``; a run has a line for each.
    """

    title: str
    metrics: tuple[str, ...]


class Section(NamedTuple):
    """Charts that belong together.

    Args:
        title: above them.
        panels: in their order.
    """

    title: str
    panels: tuple[Panel, ...]


_NOISY = ("memorization/clean_acc", "memorization/noisy_as_given", "memorization/noisy_as_true")

SECTIONS = (
    Section("Accuracy", (Panel("Test accuracy", ("test/acc",)), Panel("Accuracy on held-out rows", ("val/acc",)))),
    Section(
        "Memorization",
        (
            Panel("Training rows, clean against noisy", _NOISY),
            Panel("Clean rows, predicted as labeled", _NOISY[:1]),
            Panel("Noisy rows, predicted as given", _NOISY[1:2]),
            Panel("Noisy rows, predicted as true", _NOISY[2:]),
            Panel("Accuracy lost since the peak", ("memorization/drop",)),
        ),
    ),
    Section(
        "Selection",
        (
            Panel("Precision of the clean set", ("select/precision",)),
            Panel("Recall of the clean set", ("select/recall",)),
            Panel("F1 of the clean set", ("select/f1",)),
            Panel("Clean against noisy rows, AUROC", ("select/auroc",)),
        ),
    ),
    Section(
        "Loss",
        (
            Panel("Training loss", ("train/loss",)),
            Panel("Loss on held-out rows", ("val/loss",)),
            Panel("Loss of clean and noisy rows", ("memorization/clean_loss", "memorization/noisy_loss")),
        ),
    ),
)
"""The sections of every dashboard."""

SELECTION = tuple(f"select/{name}" for name in ("precision", "recall", "f1", "auroc"))
"""Logged by the methods that select rows or weigh them."""

SHARED = tuple(
    dict.fromkeys(name for section in SECTIONS for panel in section.panels for name in panel.metrics if name not in SELECTION)
)
"""Logged by every method, where some labels are known to be wrong, some rows are held out, and there is a test set."""
