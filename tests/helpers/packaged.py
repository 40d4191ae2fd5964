"""Every packaged method, ready to train on `ToyData`. A new method is found by itself and meets every test of the engine."""

from __future__ import annotations

import copy
import importlib
import math
import pkgutil
import typing
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

import noisylab.methods
from helpers.toy import DropoutMLP
from noisylab.cli.configuration.registry import known_classes, parameters
from noisylab.losses import CORES2, PeerLoss, TruncatedGCE
from noisylab.methods import (
    ACT,
    DMI,
    ELR,
    IEG,
    L2R,
    Backward,
    CoTeaching,
    CoTeachingPlus,
    CrossEntropy,
    DivideMix,
    ELRPlus,
    FixMatch,
    Forward,
    IEGDivideMix,
    JoCoR,
    JointOptimization,
    MeanTeacher,
    MixMatch,
    NoisyLabelMethod,
    PiModel,
    RobustLoss,
    SimCLR,
    TRevision,
    VolMinNet,
)
from noisylab.models.network import NetFactory
from noisylab.schedules import CosineDecay, LinearDecay, WarmupCosine
from noisylab.selection.thresholds import (
    AdaMatchThreshold,
    AllOf,
    DashThreshold,
    FixedThreshold,
    FlexMatchThreshold,
    FreeMatchThreshold,
    LabeledThreshold,
    NoThreshold,
    PercentileThreshold,
    SoftMatchThreshold,
    StagedThreshold,
)

__all__ = ["PACKAGED", "Maker", "Selections", "alternatives", "assert_sound", "build", "makers", "method_classes", "written_rows"]

Maker = Callable[..., NoisyLabelMethod]
"""Takes the factory of the networks; other arguments of the method by name."""

_SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
_PLATEAU = partial(ReduceLROnPlateau, mode="max", patience=0, factor=0.5)

_DECAY: dict[str, Any] = {"optimizer": _SGD, "scheduler": partial(LinearDecay, start=1, stop=4)}

_GENTLE: dict[str, Any] = {
    "ce_factor": 1.0,
    "consistency_factor": 1.0,
    "ema_decay": 0.5,
    "optimizer": partial(_SGD, lr=0.03),
}

_SEMI: dict[str, Any] = {
    "ema_decay": 0.5,
    "optimizer": _SGD,
    "scheduler": partial(CosineDecay, total=60),  # whatever the length of the run
}

TOYS: dict[type, dict[str, Any]] = {
    ACT: {"lr_plan": "cosine:1,1e-3,3", "clip_norm": 1.0},
    CoTeaching: _DECAY,
    CoTeachingPlus: _DECAY,
    CrossEntropy: {"optimizer": _SGD, "scheduler": partial(CosineAnnealingLR, T_max=3)},
    DivideMix: {"optimizer": _SGD, "scheduler": partial(CosineAnnealingLR, T_max=3)},
    ELR: {"scheduler": partial(CosineAnnealingLR, T_max=3)},
    ELRPlus: {"average_ramp_steps": 20, "coefficient_ramp_steps": 5, "scheduler": partial(CosineAnnealingLR, T_max=3)},
    Backward: {"hand_over": "last", "clip_norm": 5.0, "optimizer": _SGD},
    DMI: {"hand_over": "last", "optimizer": partial(_SGD, lr=1e-3), "scheduler": partial(CosineAnnealingLR, T_max=3)},
    FixMatch: _SEMI,
    Forward: {"hand_over": "last", "warmup_scheduler": partial(CosineAnnealingLR, T_max=3)},
    IEG: {**_GENTLE, "scheduler": partial(CosineAnnealingLR, T_max=3)},
    IEGDivideMix: {**_GENTLE, "clip_norm": 5.0},
    JoCoR: _DECAY,
    JointOptimization: {"window": 2},
    MeanTeacher: {**_SEMI, "consistency": 2.0, "ramp_epochs": 1.5},
    PiModel: {**_SEMI, "consistency": 2.0, "ramp_epochs": 1.5},
    L2R: {"meta_batch_size": 6, "optimizer": _SGD, "scheduler": partial(CosineAnnealingLR, T_max=9), "schedule_by": "step"},
    MixMatch: {**_SEMI, "lambda_u": 5.0, "rampup_steps": 4},
    RobustLoss: {
        "loss": partial(TruncatedGCE, first=1, every=1),
        "optimizer": _SGD,
        "scheduler": partial(CosineAnnealingLR, T_max=3),
    },
    SimCLR: {"probe_lr": 0.3, "optimizer": _SGD, "scheduler": partial(WarmupCosine, total=3, warmup=1)},
    TRevision: {"hand_over": "last", "revise_optimizer": partial(torch.optim.SGD, lr=1e-3)},
    VolMinNet: {"optimizer": _SGD, "scheduler": partial(CosineAnnealingLR, T_max=3)},
}
"""Arguments for a short run, where the defaults and one epoch a stage will not do; what a method requires must be here."""

# lenient ones, so that some rows pass all of them; the product of their weights depends on what each remembers
_POLICIES = [
    partial(FlexMatchThreshold, threshold=0.5),
    partial(SoftMatchThreshold, momentum=0.5),
    partial(AdaMatchThreshold, momentum=0.5, threshold=0.5),
    partial(StagedThreshold, first=partial(LabeledThreshold, quantile=0.1), then=NoThreshold, last_epoch=1),
]

VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "ce-mixup": (CrossEntropy, {"mixup_alpha": 1.0}),
    "ce-plateau": (CrossEntropy, {"scheduler": _PLATEAU}),
    "coteaching-oracle": (CoTeaching, {"forget_rate": 0.4, "divide_twice": True}),
    "coteachingplus-literal": (
        CoTeachingPlus,
        {"divide_twice": True, "double_softmax": True, "drop_index_zero": True, "reference_empty": True},
    ),
    "dividemix-subsets": (
        DivideMix,
        {"learn": "labeled", "lambda_u": 0.0, "warmup_subset": 120, "eval_subset": 150, "average_epochs": 3, "clip_norm": 5.0},
    ),
    "fixmatch-dash": (FixMatch, {"policy": partial(DashThreshold, rho=2.0, warmup_epochs=1, interval=1)}),
    "fixmatch-free": (FixMatch, {"policy": partial(FreeMatchThreshold, momentum=0.9), "fairness_weight": 0.1}),
    "fixmatch-running": (
        FixMatch,
        {
            "policy": partial(PercentileThreshold),
            "accuracy_source": "running",
            "include_labeled": True,
            "normalizer": "selected",
            "passes": "separate",
        },
    ),
    "fixmatch-policies": (FixMatch, {"policy": partial(AllOf, policies=_POLICIES), "ratio": 2.0}),
    "ieg-ict": (
        IEG,
        {"second_view": None, "consistency": "ict", "weight_norm": "epoch", "ce_factor": "dynamic", "meta_point": "current"},
    ),
    "iegdividemix-exchange": (
        IEGDivideMix,
        {"exchange": True, "second_view": None, "consistency": "fake", "prior_penalty": True},
    ),
    "l2r-mixup": (L2R, {"mixup_alpha": 1.0, "weight_norm": "running", "ema_decay": 0.5}),
    "mixmatch-study": (
        MixMatch,
        {
            "policy": partial(FixedThreshold, threshold=0.5),
            "criterion": "ce",
            "lambda_u": 1.0,
            "consistency_weight": 1.0,
            "mask_on": "components",
            "below": "consistency",
            "ensure_ratio": True,
            "skip_above_mean": True,
            "learn_view": "strong",
            "guess_bn": "keep",
            "passes": "joint",
            "ratio": 1.5,
        },
    ),
    "meanteacher-all": (MeanTeacher, {"teacher_bn": "eval", "consistency_on": "all", "distance": "sum", "ramp_decay": 0.3}),
    "pimodel-both": (PiModel, {"gradient": "both", "consistency_on": "all", "ramp": "sigmoid", "clip_norm": 1.0}),
    "robustloss-cores2": (RobustLoss, {"loss": partial(CORES2, weights=[0.5], first_sieved=1)}),
    "robustloss-peer": (RobustLoss, {"loss": partial(PeerLoss, weights=[0.0, 0.5])}),
}
"""More makers: class and what differs from its toy arguments."""

_NAMES = {"CrossEntropy": "ce"}  # others go by their class name in lower case


def method_classes() -> list[type[NoisyLabelMethod]]:
    """The concrete methods of the package, also those that ``noisylab.methods`` forgot to import."""
    for module in pkgutil.iter_modules(noisylab.methods.__path__, "noisylab.methods."):
        importlib.import_module(module.name)
    found = known_classes(NoisyLabelMethod).values()
    return sorted((cls for cls in found if cls.__module__.startswith("noisylab.methods.")), key=lambda cls: cls.__name__)


def build(cls: type[NoisyLabelMethod], network: NetFactory = DropoutMLP, *, toy: bool = True, **given: Any) -> NoisyLabelMethod:
    """A three-class method.

    Args:
        cls: its class.
        network: factory of its networks.
        toy: set every number of epochs to 1 and take the arguments in `TOYS`; else the class's own defaults.
        **given: further arguments, which come before all others.
    """
    extra, accepted = TOYS.get(cls, {}), parameters(cls)
    if toy:
        epochs = {
            name: 1 for name, p in accepted.items() if name.endswith("_epochs") and int in (p.hint, *typing.get_args(p.hint))
        }
        extra = {**epochs, **extra}
    else:
        extra = {name: value for name, value in extra.items() if accepted[name].required}
    missing = [name for name, p in accepted.items() if p.required and name not in {"network", *extra, *given}]
    if missing:
        raise TypeError(f"{cls.__name__} requires {', '.join(missing)}: enter values for it in helpers.packaged.TOYS")
    return cls(3, network, **{**extra, **given})  # type: ignore[arg-type, call-arg]


def makers(classes: Iterable[type[NoisyLabelMethod]]) -> dict[str, Maker]:
    """A maker for each class, by name."""
    return {_NAMES.get(cls.__name__, cls.__name__.lower()): partial(build, cls) for cls in classes}


PACKAGED: dict[str, Maker] = makers(cls for cls in method_classes() if not cls.needs_images)
"""Makers of three-class methods by name; each takes the factory of its networks."""
PACKAGED |= {name: partial(build, cls, **given) for name, (cls, given) in VARIANTS.items()}


def alternatives(cls: type[NoisyLabelMethod]) -> list[tuple[str, Any]]:
    """(argument, value) for each choice that an argument offers beside its default: literals, and both truth values."""
    found: list[tuple[str, Any]] = []
    for name, parameter in parameters(cls).items():
        parts = [parameter.hint, *typing.get_args(parameter.hint)]
        values = [value for part in parts if typing.get_origin(part) is typing.Literal for value in typing.get_args(part)]
        values += [False, True] if bool in parts else []
        values += [None] if values and type(None) in parts else []
        found += [(name, value) for value in values if value != parameter.default or parameter.required]
    return found


class Selections(L.Callback):
    """Keeps what a method takes as clean at the end of each epoch: (mask, probability), as the diagnostics see them."""

    def __init__(self) -> None:
        self.found: list[tuple[Tensor | None, Tensor | None]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        both = pl_module.clean_mask(), pl_module.clean_prob()
        self.found.append(tuple(None if found is None else found.clone() for found in both))  # type: ignore[arg-type]


def written_rows(method: NoisyLabelMethod) -> dict[str, Tensor]:
    """(N,) bool for each field of a method's memory: rows that are not as they were at the start of fit."""
    blank, found = copy.deepcopy(method.memory), {}
    blank.reset()
    for name in method.memory:
        now, before = (memory[name].reshape(len(memory), -1) for memory in (method.memory, blank))
        found[name] = ~((now == before) | ((now != now) & (before != before))).all(1)
    return found


def assert_sound(method: NoisyLabelMethod, rows: Iterable[tuple[int, int, str, float]] = ()) -> None:
    """Weights, statistics, memory and training curves of a trained method are finite, as far as they were written.

    Args:
        method: after a fit.
        rows: of `noisylab.callbacks.Curves`; those of ``train/`` are looked at.
    """
    for name, value in method.networks.state_dict().items():
        assert bool(value.isfinite().all()), name
    observed = method.memory["observed_epoch"] >= 0
    assert bool(method.memory["observed_loss"][observed].isfinite().all())
    for name, written in written_rows(method).items():
        assert bool(method.memory[name][written].isfinite().all()), name
    losses = {(epoch, name): value for epoch, _, name, value in rows if name.startswith("train/")}
    assert all(math.isfinite(value) for value in losses.values()), losses
