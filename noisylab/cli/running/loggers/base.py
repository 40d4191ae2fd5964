"""What the loggers of noisylab have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Dashboard", "split_by_axis"]


class Dashboard(ABC):
    """A logger that is told what a run came to. Those that make nothing of pictures or of a resume pass them by."""

    @abstractmethod
    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Take the results of the run.

        Args:
            figures: numbers of ``summary.json`` by name.
            ended_by: what ended it.
            step: of the last epoch's numbers.
            epoch: the last one, counted from 0.
        """

    def show(self, name: str, picture: Path, step: int) -> None:
        """Take a picture of the run, see `noisylab.cli.running.figures.draw`."""
        return

    def resume_at(self, step: int) -> None:
        """Forget what was logged at `step` or later: it comes again."""
        return


def split_by_axis(metrics: Mapping[str, Any], step: int | None) -> list[tuple[int, dict[str, float]]]:
    """Numbers of epochs by their epoch, so that methods of different step counts lie under each other, and means over steps by
    their step: their names end with ``_step``.

    >>> split_by_axis({"val/acc": 0.5, "epoch": 3}, step=99)
    [(3, {'val/acc': 0.5})]
    >>> split_by_axis({"train/loss_step": 1.0}, step=99)
    [(99, {'train/loss_step': 1.0})]
    """
    means = {name: float(value) for name, value in metrics.items() if name.endswith("_step")}
    others = {name: float(value) for name, value in metrics.items() if name not in means and name != "epoch"}
    parts = [(int(metrics.get("epoch", step or 0)), others), (step or 0, means)]
    return [(place, values) for place, values in parts if values]
