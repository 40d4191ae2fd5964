"""What an epoch of each method costs, in epochs of cross-entropy. Imports nothing slow.

The unit is a training pass: one sample through one network and back. A forward pass without gradient counts a third of that,
as a backward pass takes about twice the time of a forward one. These counts follow from how a method works and are the same on
every machine; what was measured (docs/performance.md, "Figures", `benchmarks/methods.py`) stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from noisylab.cli.errors import UserError, unknown

__all__ = ["COSTS", "LABELED_SHARE", "NOT_COMPARABLE", "Cost", "cost_of", "epochs_for", "passes_of"]

LABELED_SHARE = 0.5
"""Share of the rows that DivideMix is expected to take as clean; its epochs last as long as that part of the rows."""

_FORWARD = 1 / 3


@dataclass(frozen=True)
class Cost:
    """What an epoch costs.

    Args:
        main: training passes of a sample and epoch; after the warm-up, where there is one.
        counted: how `main` is made up, in words.
        warmup: likewise in the warm-up; None where a warm-up costs as much.
        measured: time of an epoch by the steps measured with `SmallCNN`, in epochs of cross-entropy; None if it was not.
        measured_warmup: likewise in the warm-up.
    """

    main: float
    counted: str
    warmup: float | None = None
    measured: float | None = None
    measured_warmup: float | None = None

    def of_epoch(self, *, warmup: bool) -> float:
        """Training passes of an epoch of the warm-up, or after it."""
        return self.main if self.warmup is None or not warmup else self.warmup


_ONE = "one network, one pass"

COSTS = {
    "CrossEntropy": Cost(1, _ONE, measured=1.0),
    "RobustLoss": Cost(1, f"{_ONE}; measured with SCE", measured=1.27),
    "RobustLoss, pairs": Cost(2, "one network, a second batch of inputs and labels that are drawn apart", 1),
    "ELR": Cost(1, _ONE, measured=0.99),
    # the table has the step of one network, of which an epoch has a pass each
    "ELRPlus": Cost(2 * (1 + _FORWARD), "two networks, each with a prediction of the other's average", measured=2 * 1.36),
    "CoTeaching": Cost(2, "two networks", measured=1.96),
    "CoTeachingPlus": Cost(2, "two networks", measured=1.97),
    "JoCoR": Cost(2, "two networks", measured=1.92),
    "ACT": Cost(3, "two networks, one of them on two views", 2, measured=2.85, measured_warmup=1.89),
    "DivideMix": Cost(
        # for every labeled row and network: four views trained on, six predicted; then both networks' losses of all rows
        2 * LABELED_SHARE * (4 + 6 * _FORWARD) + 2 * _FORWARD,
        f"two networks, each: 4 views trained on, 6 predicted, for the {LABELED_SHARE:.0%} of rows taken as clean; losses of all",
        2,
        measured=2 * LABELED_SHARE * 6.95,
        measured_warmup=1.86,
    ),
    "Forward": Cost(1, _ONE, measured=1.01),
    "Backward": Cost(1, _ONE, measured=0.97),
    "TRevision": Cost(1, f"{_ONE}; measured: revision", measured=1.37),
    "VolMinNet": Cost(1, _ONE, measured=1.11),
    "DMI": Cost(1, _ONE, measured=0.97),
    "JointOptimization": Cost(1, f"{_ONE}; measured: relabeling", measured=1.33),
}
"""By the name of the class, of every method that needs nothing but labeled rows; of losses over pairs apart."""

_TRUSTED = "it needs some rows whose labels are known to be right (docs/data.md, Trusted rows)"
_UNLABELED = "it learns from unlabeled rows and takes the labels of the others for right (docs/semi_supervised.md)"
_PRETEXT = "it trains an encoder without labels, for other methods to start from (docs/pretraining.md)"

NOT_COMPARABLE = {
    "L2R": _TRUSTED,
    "IEG": _TRUSTED,
    "IEGDivideMix": _TRUSTED,
    "FixMatch": _UNLABELED,
    "MixMatch": _UNLABELED,
    "MeanTeacher": _UNLABELED,
    "PiModel": _UNLABELED,
    "SimCLR": _PRETEXT,
    "RotNet": _PRETEXT,
    "LinearProbe": "it trains a linear layer on a frozen encoder that was pretrained before (docs/pretraining.md)",
}
"""Methods that a comparison on the same labeled rows leaves out, with the reason."""


def cost_of(method: str) -> Cost:
    """The cost of a method.

    Args:
        method: name of its class.

    Raises:
        UserError: for one that cannot be compared at equal compute, with the reason, or that is not known.
    """
    if method in NOT_COMPARABLE:
        raise UserError(f"{method} cannot be compared with the others on the same labeled rows: {NOT_COMPARABLE[method]}")
    if method not in COSTS:
        raise unknown("method", method, COSTS, "a method of your own takes part in a STUDY.yaml with epochs, not compute")
    return COSTS[method]


def passes_of(method: str, epochs: int, warmup_epochs: int = 0) -> float:
    """What a run costs, in epochs of cross-entropy.

    Args:
        method: name of its class.
        epochs: of the run.
        warmup_epochs: how many of them are warm-up.

    >>> passes_of("ACT", 20, warmup_epochs=5)
    55
    """
    cost = cost_of(method)
    warm = min(warmup_epochs, epochs)
    return warm * cost.of_epoch(warmup=True) + (epochs - warm) * cost.of_epoch(warmup=False)


def epochs_for(method: str, compute: float, warmup: float = 0.0) -> int:
    """The number of epochs that cost about as much as `compute` epochs of cross-entropy, 0 if not even one does.

    Args:
        method: name of its class.
        compute: epochs of cross-entropy, positive.
        warmup: share of the epochs that are warm-up, in [0, 1].

    >>> epochs_for("CrossEntropy", 60), epochs_for("ACT", 60, warmup=0.25), epochs_for("DivideMix", 60, warmup=0.4)
    (60, 22, 13)
    """
    cost = cost_of(method)
    mean = warmup * cost.of_epoch(warmup=True) + (1 - warmup) * cost.of_epoch(warmup=False)
    return int(compute / mean + 0.5)
