"""Settings of the methods for a given budget, kind of data and number of classes. Imports nothing slow.

What papers give in epochs is here a share of the run, what they give for one noise rate is estimated or one value for all, and
optimizer, network and the decay of the rate are the same for every method unless it prescribes its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from noisylab.cli.errors import UserError, nearest
from noisylab.cli.studies.costs import NOT_COMPARABLE, cost_of, epochs_for, passes_of

__all__ = ["DEFAULT_METHODS", "METHOD_NAMES", "MethodPlan", "Setup", "compute_needed", "method_names", "method_set"]

Kind = Literal["features", "images"]
Node = dict[str, Any]

DEFAULT_METHODS = ("CE", "GCE", "ELR", "CoTeaching", "ACT", "DivideMix")
"""The methods that are compared unless others are named."""

_LAST_RATE = 0.025  # of the first one, at the end of the run: ACT's 5e-4 of 0.02
_MANY_CLASSES = 50  # from which ELR has its authors' values for CIFAR-100


@dataclass(frozen=True)
class Setup:
    """What all methods of a comparison share.

    Args:
        kind: "features" for vectors, and fused vectors; "images" for a network that is trained from the pixels.
        network: the network, as {class_path, init_args}.
        num_classes: K.
        rows: that are trained on.
        batch_size: rows of a batch.
        validation: whether rows are held out, by which methods of several stages choose a network.
        optimizer: of all, as {class_path, init_args} with lr; None for Adam (features) or SGD with Nesterov momentum (images).
    """

    kind: Kind
    network: Node
    num_classes: int
    rows: int
    batch_size: int
    validation: bool = True
    optimizer: Node | None = None

    @property
    def steps(self) -> int:
        """Batches of an epoch over all rows."""
        return max(math.ceil(self.rows / self.batch_size), 1)

    def made(self, factor: float = 1.0) -> Node:
        """The optimizer, with `factor` times the rate."""
        node = self.optimizer
        if node is None and self.kind == "features":
            node = {"class_path": "Adam", "init_args": {"lr": 1e-3}}
        elif node is None:
            node = {"class_path": "SGD", "init_args": {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}}
        return {**node, "init_args": {**node["init_args"], "lr": factor * self.rate_of(node)}}

    @property
    def rate(self) -> float:
        """The learning rate at first."""
        return self.rate_of(self.made())

    @staticmethod
    def rate_of(node: Node) -> float:
        """The learning rate of an optimizer, 1e-3 if it has none of its own."""
        return float(node["init_args"].get("lr", 1e-3))


@dataclass(frozen=True)
class MethodPlan:
    """How one method is trained.

    Args:
        label: its name in the comparison.
        model: {class_path, init_args}.
        epochs: of the run.
        warmup: how many of these are warm-up, or a first stage of cross-entropy.
        passes: what it costs, in epochs of cross-entropy.
        batch_size: rows of a batch of its data.
        priced: its name among `noisylab.cli.studies.costs.COSTS`.
        notes: what it has of its own, in words.
    """

    label: str
    model: Node
    epochs: int
    warmup: int
    passes: float
    batch_size: int
    priced: str
    notes: tuple[str, ...] = field(default=())


# ---- the methods


@dataclass(frozen=True)
class _Recipe:
    """How a method is set up.

    Args:
        method: name of its class.
        make: its arguments but for network, optimizer and schedule of a method with one of each.
        fewest: epochs below which a part of it has none.
        warmup: share of the epochs that are warm-up.
        brief: that share for features, which a network learns by heart sooner; None for the same one.
        plain: whether one optimizer and one schedule over the whole run are all that it takes.
        halved: whether a batch of its data has half of the rows, as its step takes several times as many.
        note: what it has of its own.
        cost: its name among `COSTS` where that is not the class.
    """

    method: str
    make: Callable[[Setup, int, int], Node]
    fewest: int = 2
    warmup: float = 0.0
    plain: bool = True
    halved: bool = False
    note: str = ""
    cost: str = ""
    brief: float | None = None

    def share_of(self, kind: Kind) -> float:
        """Share of the epochs that are warm-up."""
        return self.warmup if self.brief is None or kind != "features" else self.brief

    @property
    def priced(self) -> str:
        """Its name among `COSTS`."""
        return self.cost or self.method


def _share(epochs: int, share: float, least: int = 1) -> int:
    return max(round(epochs * share), least)


def _decay(optimizer: Node, epochs: int) -> Node:
    floor = _LAST_RATE * Setup.rate_of(optimizer)
    return {"class_path": "CosineAnnealingLR", "init_args": {"T_max": epochs, "eta_min": floor}}


def _nothing(setup: Setup, epochs: int, warmup: int) -> Node:
    return {}


def _loss(name: str, **arguments: Any) -> Callable[[Setup, int, int], Node]:
    return lambda setup, epochs, warmup: {"loss": {"class_path": name, "init_args": dict(arguments)}}


def _truncated(setup: Setup, epochs: int, warmup: int) -> Node:
    # the paper chooses first after 40 of 120 epochs, and then every 10
    first, every = _share(epochs, 1 / 3), _share(epochs, 1 / 12)
    return {"loss": {"class_path": "TruncatedGCE", "init_args": {"first": first, "every": every}}}


def _after_warmup(name: str) -> Callable[[Setup, int, int], Node]:
    return lambda setup, epochs, warmup: {"loss": {"class_path": name, "init_args": {}}, "warmup_epochs": warmup}


def _elr(setup: Setup, epochs: int, warmup: int) -> Node:
    many = setup.num_classes >= _MANY_CLASSES
    return {"target_momentum": 0.9 if many else 0.7, "regularization": 7.0 if many else 3.0}


def _elr_plus(setup: Setup, epochs: int, warmup: int) -> Node:
    # three fifths of the steps, as the authors' 40,000 on CIFAR-10
    return {**_elr(setup, epochs, warmup), "average_ramp_steps": round(0.6 * epochs * setup.steps)}


def _forget(setup: Setup, epochs: int, warmup: int) -> Node:
    return {"forget_rate": "auto", "ramp_epochs": _share(epochs, 1 / 6, 2)}


def _coteaching_plus(setup: Setup, epochs: int, warmup: int) -> Node:
    # by then the forget rate has risen
    return {**_forget(setup, epochs, warmup), "warmup_epochs": _share(epochs, 1 / 6, 2)}


def _act(setup: Setup, epochs: int, warmup: int) -> Node:
    plan = f"cosine:{warmup},{_LAST_RATE * setup.rate:g},{epochs}"
    return {"warmup_epochs": warmup, "lr_plan": plan, "optimizer": setup.made()}


def _dividemix(setup: Setup, epochs: int, warmup: int) -> Node:
    # features have no views that differ, so that agreement of the guesses with themselves confirms errors: on documents of
    # Reuters, 40 % symmetric, 26 % of the test rows were right at the end with 25 and a longer warm-up, 53 % with 0
    weight = 0.0 if setup.kind == "features" else 25.0
    return {"warmup_epochs": warmup, "lambda_u": weight, "rampup_epochs": _share(epochs - warmup, 1 / 3)}


def _stages(setup: Setup, **stages: int) -> Node:
    """Optimizers and schedules of stages by name, "" for the last; `hand_over` where no rows are held out."""
    node: Node = {}
    for name, epochs in stages.items():
        prefix = "" if name == "last" else f"{name}_"
        node |= {f"{prefix}optimizer": setup.made(), f"{prefix}scheduler": _decay(setup.made(), epochs)}
    return node if setup.validation else {**node, "hand_over": "last"}


def _forward(setup: Setup, epochs: int, warmup: int) -> Node:
    return {"warmup_epochs": warmup, **_stages(setup, warmup=warmup, last=epochs - warmup)}


def _backward(setup: Setup, epochs: int, warmup: int) -> Node:
    node = _forward(setup, epochs, warmup)
    return {**node, "clip_norm": 1.0, "optimizer": setup.made(0.1), "scheduler": _decay(setup.made(0.1), epochs - warmup)}


def _revision(setup: Setup, epochs: int, warmup: int) -> Node:
    reweight = _share(epochs, 0.45)
    steps = max(epochs - warmup - reweight, 1) * setup.steps
    # an entry of the matrix moves by at most the rate in a step: by 0.035 in all, the authors' 5e-7 times 70,000 steps
    revise = {"class_path": "Adam", "init_args": {"lr": 0.035 / steps, "weight_decay": 1e-4}}
    return {
        "estimate_epochs": warmup,
        "reweight_epochs": reweight,
        **_stages(setup, estimate=warmup, reweight=reweight),
        "revise_optimizer": revise,
    }


def _volume(setup: Setup, epochs: int, warmup: int) -> Node:
    return {"transition_optimizer": {"class_path": "Adam", "init_args": {"lr": 0.01}}}


def _dmi(setup: Setup, epochs: int, warmup: int) -> Node:
    slow = {"class_path": "SGD", "init_args": {"lr": 1e-6, "momentum": 0.9, "weight_decay": 1e-4}}  # authors' code
    return {"pretrain_epochs": warmup, "spread": True, **_stages(setup, pretrain=warmup), "optimizer": slow}


def _joint(setup: Setup, epochs: int, warmup: int) -> Node:
    relabel = _share(epochs, 0.6)
    fast = setup.made(2.5)  # a rate that is too high to learn wrong labels; ours, as in joint_digits
    return {
        "relabel_epochs": relabel,
        "warmup_epochs": _share(epochs, 0.2),
        "window": _share(epochs, 0.1),
        "relabel_optimizer": fast,
        "optimizer": fast,
        "scheduler": _decay(fast, epochs - relabel),
    }


_ESTIMATED = "the noise rate is estimated"
_NO_DECAY = "its rate stays as it is in the warm-up"

_RECIPES = {
    "CE": _Recipe("CrossEntropy", _nothing),
    "GCE": _Recipe("RobustLoss", _loss("GCE")),
    "ELR": _Recipe("ELR", _elr),
    "CoTeaching": _Recipe("CoTeaching", _forget, 6, note=_ESTIMATED),
    "ACT": _Recipe("ACT", _act, 6, warmup=0.25, plain=False, note=_NO_DECAY),
    "DivideMix": _Recipe(
        "DivideMix", _dividemix, 6, warmup=0.4, brief=0.25, halved=True, note="a step takes four views of half a batch"
    ),
    "ELRPlus": _Recipe("ELRPlus", _elr_plus, 4),
    "JoCoR": _Recipe("JoCoR", _forget, 6, note=_ESTIMATED),
    "CoTeachingPlus": _Recipe("CoTeachingPlus", _coteaching_plus, 8, note=_ESTIMATED),
    "JointOptimization": _Recipe("JointOptimization", _joint, 10, plain=False, note="its rate is 2.5 times as high"),
    "Forward": _Recipe("Forward", _forward, 6, warmup=1 / 3, plain=False),
    "Backward": _Recipe("Backward", _backward, 6, warmup=1 / 3, plain=False, note="a tenth of the rate once T is estimated"),
    "TRevision": _Recipe("TRevision", _revision, 8, warmup=0.3, plain=False, note="the last stage has the authors' own Adam"),
    "VolMinNet": _Recipe("VolMinNet", _volume, 4, note="Adam for the matrix"),
    "DMI": _Recipe("DMI", _dmi, 4, warmup=0.5, plain=False, note="SGD with rate 1e-6 in the second half"),
    "SCE": _Recipe("RobustLoss", _loss("SCE")),
    "MAE": _Recipe("RobustLoss", _loss("MAE")),
    "RCE": _Recipe("RobustLoss", _loss("RCE")),
    "ActivePassive": _Recipe("RobustLoss", _loss("ActivePassive")),
    "Focal": _Recipe("RobustLoss", _loss("Focal")),
    "Bootstrap": _Recipe("RobustLoss", _loss("Bootstrap")),
    "TruncatedGCE": _Recipe("RobustLoss", _truncated, 6),
    "GLS": _Recipe("RobustLoss", _after_warmup("GLS"), 4, warmup=0.05),
    "FDivergence": _Recipe("RobustLoss", _after_warmup("FDivergence"), 4, warmup=0.05, cost="RobustLoss, pairs"),
}

METHOD_NAMES = tuple(_RECIPES)
"""Names that a comparison knows: short ones, of methods and of losses of `RobustLoss`."""

_ALSO = {
    "CrossEntropy": "CE",
    "RobustLoss": "GCE",
    "ELR+": "ELRPlus",
    "CoTeaching+": "CoTeachingPlus",
    "NCE+RCE": "ActivePassive",
}
_NOT_SET = {
    "PeerLoss": "its weights are a schedule over hundreds of epochs",
    "CORES2": "its weights are a schedule over dozens of epochs, which is right for one length of a run",
}


# ---- the set


def method_names(text: str) -> tuple[str, ...]:
    """The names in a list with commas between them.

    Raises:
        UserError: for a name that is not known, that cannot be compared, or that is given twice.

    >>> method_names("ce, Co-teaching, dividemix")
    ('CE', 'CoTeaching', 'DivideMix')
    """
    found: list[str] = []
    for given in text.split(","):
        name = _known(given.strip())
        if name in found:
            raise UserError(f"--methods: {name} is named twice in {text!r}; name each method once")
        found.append(name)
    return tuple(found)


def _known(given: str) -> str:
    flat = given.replace("-", "").replace("_", "").replace(" ", "").lower()
    names = {name.lower(): name for name in METHOD_NAMES} | {other.lower(): name for other, name in _ALSO.items()}
    if flat in names:
        return names[flat]
    for name, reason in {**NOT_COMPARABLE, **_NOT_SET}.items():
        if flat == name.lower():
            raise UserError(
                f"--methods: {name} cannot be in the comparison: {reason}\n"
                "  leave it out; noisylab study compares any recipes that you name in a STUDY.yaml"
            )
    close = nearest(given, [*METHOD_NAMES, *_ALSO])
    lines = [f"--methods: {given!r} is not known"]
    lines += [f"  nearest: {', '.join(close)}"] if close else []
    raise UserError("\n".join([*lines, f"  allowed: {', '.join(METHOD_NAMES)}"]))


def compute_needed(name: str) -> float:
    """The smallest budget at equal compute with which a method can be trained, in epochs of cross-entropy.

    >>> compute_needed("CE"), round(compute_needed("DivideMix"))
    (2, 31)
    """
    recipe = _RECIPES[name]
    return passes_of(recipe.priced, recipe.fewest, _warmup(recipe, recipe.fewest))


def method_set(names: Sequence[str], setup: Setup, budget: int, *, compute: bool) -> dict[str, MethodPlan]:
    """Sound settings of methods for a budget.

    Args:
        names: among `METHOD_NAMES`.
        setup: what all share.
        budget: epochs of each method, or, with `compute`, what each may cost, in epochs of cross-entropy.
        compute: whether all cost the same, and so have unequal numbers of epochs.

    Returns:
        The plan of each method by name.

    Raises:
        UserError: if the budget is too small for one of them, with the smallest that will do.
    """
    plans = {name: _plan(name, setup, budget, compute) for name in names}
    short = {name: plan for name, plan in plans.items() if plan.epochs < _RECIPES[name].fewest}
    if short:
        raise UserError(_too_small(short, budget, compute))
    return plans


def _warmup(recipe: _Recipe, epochs: int, kind: Kind = "images") -> int:
    return _share(epochs, recipe.share_of(kind)) if recipe.warmup else 0


def _plan(name: str, setup: Setup, budget: int, compute: bool) -> MethodPlan:
    recipe = _RECIPES[name]
    cost_of(recipe.priced)
    epochs = epochs_for(recipe.priced, budget, recipe.share_of(setup.kind)) if compute else budget
    warmup = _warmup(recipe, epochs, setup.kind)
    arguments = recipe.make(setup, max(epochs, 1), warmup)
    if recipe.plain:
        arguments |= {"optimizer": setup.made(), "scheduler": _decay(setup.made(), max(epochs, 1))}
    return MethodPlan(
        label=name,
        model={"class_path": recipe.method, "init_args": {"network": dict(setup.network), **arguments}},
        epochs=epochs,
        warmup=warmup,
        passes=passes_of(recipe.priced, epochs, warmup),
        batch_size=max(setup.batch_size // 2, 2) if recipe.halved else setup.batch_size,
        priced=recipe.priced,
        notes=(recipe.note,) if recipe.note else (),
    )


def _too_small(short: Mapping[str, MethodPlan], budget: int, compute: bool) -> str:
    if not compute:
        needed = max(_RECIPES[name].fewest for name in short)
        which = ", ".join(f"{name} (at least {_RECIPES[name].fewest})" for name in short)
        return f"--epochs {budget} is too few for {which}\n  write --epochs {needed}, or more, or leave these out of --methods"
    needed = max(math.ceil(compute_needed(name)) for name in short)
    which = ", ".join(f"{name} ({plan.epochs} of at least {_RECIPES[name].fewest} epochs)" for name, plan in short.items())
    return (
        f"--compute {budget} is too little for {which}: the budget is counted in epochs of cross-entropy, and theirs cost more\n"
        f"  write --compute {needed}, or more, or leave these out of --methods"
    )
