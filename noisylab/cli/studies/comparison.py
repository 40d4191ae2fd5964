"""The plan of a comparison of methods: its flags, what it will train, and that in words. Imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisylab.cli.errors import UserError
from noisylab.cli.studies.costs import COSTS
from noisylab.cli.studies.methodset import DEFAULT_METHODS, MethodPlan, method_names

__all__ = ["Asked", "Timing", "asked_for", "jobs_of", "noises_of", "plan_words", "seeds_of"]

_SEEDS = "3"
_NOISE = re.compile(r"(sym|pair)([0-9]{1,2})")
_KINDS = {"sym": "Symmetric", "pair": "PairFlip"}


@dataclass(frozen=True)
class Asked:
    """What the flags of a comparison ask for.

    Args:
        methods: their names.
        seeds: of the runs.
        noises: {class_path, init_args} by name, None for labels as they are; empty for the labels of the data.
        budget: epochs, or epochs of cross-entropy; None to choose.
        compute: whether all methods cost the same.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    noises: Mapping[str, dict[str, Any] | None]
    budget: int | None
    compute: bool

    @property
    def baseline(self) -> str:
        """The method that others are compared with: cross-entropy where it takes part, else the first."""
        return "CE" if "CE" in self.methods else self.methods[0]


def asked_for(own: Mapping[str, str]) -> Asked:
    """Read the flags of a comparison.

    Args:
        own: noisylab's own flags by name.

    Raises:
        UserError: for one that is malformed, naming it.
    """
    if "epochs" in own and "compute" in own:
        raise UserError("--epochs gives each method as many epochs, --compute the same cost; give one of the two")
    budget = next((_positive(name, own[name]) for name in ("epochs", "compute") if name in own), None)
    return Asked(
        methods=method_names(own["methods"]) if "methods" in own else DEFAULT_METHODS,
        seeds=seeds_of(own.get("seeds", _SEEDS)),
        noises=noises_of(own["noise"]) if "noise" in own else {},
        budget=budget,
        compute="epochs" not in own,
    )


def _positive(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UserError(f"--{name}: expected a whole number of epochs, 1 or more, got {text!r}")
    return int(text)


def jobs_of(own: Mapping[str, str]) -> int:
    """How many runs are trained at once.

    Raises:
        UserError: if that is no number.
    """
    text = own.get("jobs", "1")
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UserError(f"--jobs: expected how many runs are trained at once, 1 or more, got {text!r}")
    return int(text)


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds: so many, counted from 0, or those in a list with commas.

    Raises:
        UserError: if it is neither.

    >>> seeds_of("3"), seeds_of("4,7"), seeds_of("5,")
    ((0, 1, 2), (4, 7), (5,))
    """
    parts = [part.strip() for part in text.split(",")]
    alone = len(parts) == 1
    parts = parts[:-1] if len(parts) == 2 and not parts[1] else parts
    if not all(part.isascii() and part.isdecimal() for part in parts) or (alone and int(parts[0]) < 1):
        raise UserError(
            f"--seeds: expected a number of seeds, as 3, or seeds with commas between them, as 0,1,2, got {text!r}\n"
            "  one seed alone: a comma after it, as 7,"
        )
    seeds = tuple(range(int(parts[0]))) if alone else tuple(map(int, parts))
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise UserError(f"--seeds: {twice} is named twice in {text!r}; name each seed once")
    return seeds


def noises_of(text: str) -> dict[str, dict[str, Any] | None]:
    """Noises by name: sym40 for 40 % symmetric, pair40 for pair flips, none for the labels as they are.

    Raises:
        UserError: for another name, or one that is given twice.

    >>> noises_of("none,sym40")["sym40"]
    {'class_path': 'Symmetric', 'init_args': {'rate': 0.4}}
    """
    found: dict[str, dict[str, Any] | None] = {}
    for name in (part.strip() for part in text.split(",")):
        match = _NOISE.fullmatch(name)
        if name in found:
            raise UserError(f"--noise: {name} is named twice in {text!r}; name each noise once")
        if name != "none" and (match is None or int(match[2]) == 0):
            raise UserError(
                f"--noise: expected names with commas between them, got {name!r}: sym40 for 40 % symmetric noise, pair40 for\n"
                "  pair flips, none for the labels as they are; other kinds: --data.noise CLASS with its arguments"
            )
        found[name] = match and {"class_path": _KINDS[match[1]], "init_args": {"rate": int(match[2]) / 100}}
    return found


# ---- the plan in words


@dataclass(frozen=True)
class Timing:
    """How long training takes.

    Args:
        step_seconds: of one step of cross-entropy.
        steps: batches of an epoch.
        evaluated: rows that are evaluated after an epoch, in batches.
        jobs: runs at once.
    """

    step_seconds: float
    steps: int
    evaluated: float
    jobs: int = 1

    def of(self, plan: MethodPlan) -> float:
        """Seconds of a run, about: its passes, and after each epoch one without gradient of what is evaluated."""
        networks = 1 if plan.passes / max(plan.epochs, 1) < 2 else 2
        return self.step_seconds * (plan.passes * self.steps + plan.epochs * networks * self.evaluated / 3)


def plan_words(
    asked: Asked, plans: Mapping[str, MethodPlan], budget: int, timing: Timing, ground: str, protocol: Sequence[str]
) -> str:
    """The plan, for the user.

    Args:
        asked: the flags.
        plans: of each method.
        budget: epochs, or epochs of cross-entropy.
        timing: how long it will take.
        ground: the data and the network.
        protocol: sentences on how it is measured.
    """
    what = f"at most about {budget} epochs of cross-entropy each (equal compute)" if asked.compute else f"{budget} epochs each"
    runs = len(plans) * len(asked.seeds) * max(len(asked.noises), 1)
    lines = [f"{'data':<10}{ground}", f"{'budget':<10}{what}", ""]
    lines.append(f"{'method':<18}{'epochs':>6}{'cost':>7}{'of warm-up':>12}{'batch':>7}  {'time of a run':<14}")
    for plan in plans.values():
        cost = COSTS[plan.priced]
        warm = "" if cost.warmup is None or cost.warmup == cost.main else f"{cost.warmup:.1f}"
        row = f"{plan.label:<18}{plan.epochs:>6}{cost.main:>7.1f}{warm:>12}{plan.batch_size:>7}  {duration(timing.of(plan)):<14}"
        lines.append((row + "; ".join(plan.notes)).rstrip())
    seconds = sum(timing.of(plan) for plan in plans.values()) * runs / len(plans) / timing.jobs
    several = f", {timing.jobs} at a time" if timing.jobs > 1 else ""
    several_noises = "s" * (len(asked.noises) > 1)
    noises = f" x {len(asked.noises)} noise{several_noises} ({', '.join(asked.noises)})" if asked.noises else ""
    seeds = f"{len(asked.seeds)} seed{'s' * (len(asked.seeds) > 1)} ({', '.join(map(str, asked.seeds))})"
    lines += ["", "cost: of an epoch, in epochs of cross-entropy; DivideMix's as if half of the rows were taken as clean"]
    lines.append(f"{'runs':<10}{len(plans)} methods x {seeds}{noises} = {runs}{several}; about {duration(seconds)} in all")
    lines += [f"{'protocol' if not place else '':<10}{text}" for place, text in enumerate(protocol)]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(3), duration(200), duration(9000)
    ('3 s', '3.3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
