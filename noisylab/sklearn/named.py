"""The methods that `NoisyLabelClassifier` knows by name, set for rows of numbers and for the number of epochs."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from noisylab.arguments import arguments
from noisylab.losses import GCE, GLS, MAE, SCE, ActivePassive
from noisylab.methods import (
    ELR,
    CoTeaching,
    CoTeachingPlus,
    CrossEntropy,
    DivideMix,
    ELRPlus,
    FixMatch,
    Forward,
    JoCoR,
    JointOptimization,
    MeanTeacher,
    NoisyLabelMethod,
    PiModel,
    RobustLoss,
    VolMinNet,
)

__all__ = ["METHODS", "resolve_method", "settings_of"]

_LR, _DECAY = 1e-3, 1e-4  # of AdamW, as PyTorch users take it for small perceptrons

# settings by the number of epochs E; what is not here is the class's default
METHODS: dict[str, tuple[type[NoisyLabelMethod], Callable[[int], dict[str, Any]]]] = {
    "ce": (CrossEntropy, lambda E: {}),
    "gce": (RobustLoss, lambda E: {"loss": GCE}),
    "sce": (RobustLoss, lambda E: {"loss": SCE}),
    "mae": (RobustLoss, lambda E: {"loss": MAE}),
    "gls": (RobustLoss, lambda E: {"loss": GLS}),
    "nce+rce": (RobustLoss, lambda E: {"loss": ActivePassive}),
    "elr": (ELR, lambda E: {}),
    "elr+": (ELRPlus, lambda E: {}),
    "co-teaching": (CoTeaching, lambda E: {"ramp_epochs": _share(E, 6)}),
    "co-teaching+": (CoTeachingPlus, lambda E: {"ramp_epochs": _share(E, 6), "warmup_epochs": _share(E, 3)}),
    "jocor": (JoCoR, lambda E: {"ramp_epochs": _share(E, 6)}),
    "dividemix": (DivideMix, lambda E: {"warmup_epochs": _share(E, 6), "rampup_epochs": _share(E, 4)}),
    "forward": (Forward, lambda E: {"warmup_epochs": _share(E, 3), "hand_over": "last"}),
    "joint-optimization": (JointOptimization, lambda E: {"relabel_epochs": _share(2 * E, 3), "warmup_epochs": _share(E, 3)}),
    "volminnet": (VolMinNet, lambda E: {}),
    "fixmatch": (FixMatch, lambda E: {"ema_ramp": True}),
    "mean-teacher": (MeanTeacher, lambda E: {}),
    "pi-model": (PiModel, lambda E: {"ema_ramp": True}),
}
"""By name: the class, and its settings for a number of epochs."""

_TRUSTED = "it needs rows whose labels are known to be right, which fit(X, y) has no place for"
_UNFIT = {
    **dict.fromkeys(("l2r", "ieg", "iegdividemix"), _TRUSTED),
    **dict.fromkeys(("simclr", "rotnet", "linear-probe", "linearprobe"), "it learns from pictures, and without their labels"),
    **dict.fromkeys(
        ("act", "backward", "t-revision", "trevision", "dmi", "mixmatch"),
        "its plan over the epochs is a matter of each data set; give the class with its settings, such as "
        "functools.partial(noisylab.ACT, warmup_epochs=15, lr_plan='cosine:15,5e-4,60')",
    ),
}


def resolve_method(method: Any) -> tuple[type[NoisyLabelMethod], dict[str, Any]]:
    """The class of a method, and the settings that were given with it; for names, those are made by `settings_of`.

    Args:
        method: a name of `METHODS`, a class derived from `NoisyLabelMethod`, or a `functools.partial` of one.

    Raises:
        ValueError: for an unknown name, listing those that there are, or a method that has no place here, with the reason.
        TypeError: for anything else.
    """
    if isinstance(method, str):
        name = _spelled(method)
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1)
            reason = f"; {method} is not among them: {_UNFIT[name]}" if name in _UNFIT else ""
            hint = f"; did you mean {near[0]!r}?" if near and not reason else ""
            raise ValueError(
                f"method must be one of {', '.join(METHODS)}, or a class or functools.partial of a method of noisylab, got "
                f"{method!r}{reason}{hint}"
            )
        return METHODS[name][0], {}
    found, given = (method.func, dict(method.keywords)) if isinstance(method, functools.partial) else (method, {})
    if not (inspect.isclass(found) and issubclass(found, NoisyLabelMethod)):
        raise TypeError(
            f"method must be a name, a class of noisylab.methods or a functools.partial of one, got {method!r}; names are "
            f"{', '.join(METHODS)}"
        )
    if isinstance(method, functools.partial) and (method.args or {"num_classes", "network"} & given.keys()):
        raise ValueError(
            "method must be a functools.partial with keyword arguments, num_classes and network not among them: the classes are "
            "those of y, and network is an argument of the classifier"
        )
    return found, given


def settings_of(method: Any, epochs: int, lr: float | Literal["auto"]) -> dict[str, Any]:
    """The arguments of a method but the classes and the network: AdamW whose rate falls to zero along a cosine, unless given.

    Args:
        method: see `resolve_method`.
        epochs: of the run.
        lr: the rate at the beginning; "auto" for 0.001.

    Raises:
        ValueError: for a rate beside a method that comes with an optimizer.
    """
    found, given = resolve_method(method)
    if isinstance(method, str):
        given = METHODS[_spelled(method)][1](epochs)
    taken = arguments(found)
    optimizers = [name for name in taken if name.endswith("optimizer")]
    if lr != "auto" and any(name in given for name in optimizers):
        raise ValueError(f"lr={lr} has no effect, because method brings an optimizer; leave one of the two out")
    rate = _LR if lr == "auto" else lr
    made: dict[str, Any] = {
        name: functools.partial(AdamW, lr=rate, weight_decay=_DECAY) for name in optimizers if name not in given
    }
    # a schedule that counts steps belongs to the method's own plan
    if "scheduler" in taken and "scheduler" not in given and "optimizer" in made and "schedule_by" not in taken:
        made["scheduler"] = functools.partial(CosineAnnealingLR, T_max=epochs)
    return {**made, **given}


def _spelled(name: str) -> str:
    return name.lower().replace("_", "-").replace("coteaching", "co-teaching").replace("meanteacher", "mean-teacher")


def _share(epochs: int, parts: int) -> int:
    return max(round(epochs / parts), 1)
