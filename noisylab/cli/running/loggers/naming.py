"""What a run is called on a dashboard, what it is grouped by, and its settings in few words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["RunLabel", "flat", "label_of", "readable", "run_name"]

_SHORT = {"symmetric": "sym", "asymmetric": "asym", "pairflip": "pair", "instance": "inst"}


@dataclass(frozen=True)
class RunLabel:
    """What tells a run from others.

    Args:
        recipe: its name; the method's where it has none.
        method: name of the class.
        dataset: name of the data module's class.
        network: name of the first network's class.
        noise: kind of noise, "given" where labels are taken as they are.
        rate: its parameter, None where it has none.
        seed: of the run.
        fold: of a series, None outside.
        study: name of the study that the run is a cell of, None outside; from ``NOISYLAB_STUDY``.
    """

    recipe: str
    method: str
    dataset: str
    network: str
    noise: str
    rate: float | None
    seed: int
    fold: int | None
    study: str | None

    @property
    def short_noise(self) -> str:
        """Kind and rate in a word: "sym0.4"."""
        return _SHORT.get(self.noise, self.noise) + ("" if self.rate is None else f"{self.rate:g}")

    @property
    def title(self) -> str:
        """Recipe, noise, seed and, of a fold, its number: "act_digits sym0.4 seed3"."""
        fold = [] if self.fold is None else [f"fold{self.fold}"]
        return " ".join([self.recipe, self.short_noise, f"seed{self.seed}", *fold])

    @property
    def group(self) -> str:
        """The study or, outside of one, recipe and noise: the runs then differ in the seed or the fold alone."""
        return self.study or f"{self.recipe} {self.short_noise}"

    @property
    def tags(self) -> list[str]:
        """Method, data set, noise and seed."""
        return [self.method, self.dataset, self.short_noise, f"seed{self.seed}"]

    @property
    def facts(self) -> dict[str, Any]:
        """The same as columns of a table; those without a value are left out."""
        found = {
            "study": self.study,
            "method": self.method,
            "dataset": self.dataset,
            "network": self.network,
            "noise": self.noise,
            "noise_rate": self.rate,
            "seed": self.seed,
            "fold": self.fold,
        }
        return {name: value for name, value in found.items() if value is not None}


def label_of(recipe: str, method: NoisyLabelMethod, data: NoisyDataModule) -> RunLabel:
    """The label of a run.

    Args:
        recipe: its name; may be empty.
        method: as built.
        data: likewise.
    """
    return RunLabel(
        recipe=recipe or type(method).__name__,
        method=type(method).__name__,
        dataset=type(data).__name__,
        network=type(next(iter(method.networks.values()))).__name__,
        noise="given" if data.noise is None else data.noise.kind,
        rate=getattr(data.noise, "rate", None),
        seed=data.seed,
        fold=data.fold if data.folds else None,
        study=os.environ.get("NOISYLAB_STUDY") or None,
    )


def run_name(recipe: str, method: NoisyLabelMethod, data: NoisyDataModule) -> str:
    """The title of `label_of`."""
    return label_of(recipe, method, data).title


def readable(config: Any) -> Any:
    """A configuration with the arguments of each class beside its name, as flags name them: ``model.beta``.

    >>> readable({"model": {"class_path": "ELR", "init_args": {"beta": 0.7}}})
    {'model': {'class_path': 'ELR', 'beta': 0.7}}
    """
    if isinstance(config, list):
        return [readable(item) for item in config]
    if not isinstance(config, Mapping):
        return config
    if "class_path" in config and isinstance(config.get("init_args"), Mapping):
        rest = {key: value for key, value in config.items() if key not in ("class_path", "init_args")}
        return {"class_path": config["class_path"], **readable(config["init_args"]), **readable(rest)}
    return {key: readable(value) for key, value in config.items()}


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by dotted names.

    >>> flat({"model": {"beta": 0.7, "network": {"width": 4}}})
    {'model.beta': 0.7, 'model.network.width': 4}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) and value else {f"{above}{key}": value}
    return found
