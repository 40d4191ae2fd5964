"""What a sweep is asked for, by a file SWEEP.yaml or by flags, not yet compared with a recipe. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.recipes import find_beside, find_config, load_yaml, text_of
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.sweeps.space import FORMS, Dimension, as_text, dimension

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Asked", "Settings", "asked_for"]

_CHOICES = {
    "direction": ("maximize", "minimize"),
    "sampler": ("tpe", "random"),
    "pruner": ("median", "hyperband", "none"),
}
_NUMBERS = {"average": 1, "startup": 1, "grace": 1, "trials": 1, "seed": 0}  # with the least that is allowed
_FLAGS = ("objective", "sampler", "pruner", "storage", "trials")  # the settings that have a flag
_OTHERS = ("base", "row", "set", "search", "name")

# what the held-out rows are, and what is said of them; with these among the values the trials could not be compared
_FIXED = (
    *("data.val_fraction", "data.val_labels", "data.val_by", "data.split_seed", "data.subset", "data.noise", "data.noise_unit"),
    *("data.folds", "data.fold", "data.seed", "seed_everything"),
)
_REFUSED = {
    "test": "the test set is for the one model that is chosen in the end",
    "memorization": "it is computed from true labels",
    "memorization_online": "it is computed from true labels",
    "select": "it is computed from true labels",
    "issues": "it is computed from true labels",
    "labels": "it is computed from true labels",
    "transition": "it is computed from true labels",
    "unlabeled": "it is computed from labels that were hidden from training",
    "mixture": "it is computed from true labels",
}


@dataclass(frozen=True)
class Settings:
    """How a sweep searches.

    Args:
        objective: a metric of ``metrics.csv``.
        average: over how many of the last epochs it is taken.
        direction: "maximize" or "minimize".
        sampler: "tpe" or "random".
        startup: trials that are drawn at random before the sampler looks at results, and before the pruner does.
        pruner: "median", "hyperband" or "none".
        grace: epochs before which no trial is stopped; None for a fifth of the epochs.
        trials: number of them.
        seed: of the sampler.
        storage: "journal", "sqlite" or the URL of a database.
    """

    objective: str = "val/acc"
    average: int = 3
    direction: str = "maximize"
    sampler: str = "tpe"
    startup: int = 10
    pruner: str = "median"
    grace: int | None = None
    trials: int = 20
    seed: int = 0
    storage: str = "journal"


@dataclass(frozen=True)
class Asked:
    """A sweep as it is asked for.

    Args:
        configs: values of ``--config``, the recipe and what goes on top of it.
        row: of the recipe; None for none.
        flags: (dotted key, text) of values that all trials share.
        space: what is searched.
        settings: how.
        name: of the sweep.
    """

    configs: tuple[str, ...]
    row: str | None
    flags: tuple[tuple[str, str | None], ...]
    space: tuple[Dimension, ...]
    settings: Settings
    name: str = field(default="sweep")


def asked_for(options: Options) -> Asked:
    """The sweep that a command line asks for.

    Args:
        options: with a file SWEEP.yaml in ``places``, or with ``--config`` and ``--search``; flags go on top of a file.

    Raises:
        UserError: for the first mistake, before a recipe is read.
    """
    if len(options.places) > 1:
        raise UserError(f"noisylab sweep takes one file, got {', '.join(options.places)}")
    file = _file(options.places[0]) if options.places else {}
    where = options.places[0] if options.places else "noisylab sweep"
    if options.configs and "base" in file:
        raise UserError(f"--config and base of {where} mean the same; leave one out")
    configs = tuple(options.configs) or _bases(file, where)
    model = dict(options.flags).get("model")
    if not configs and model is None:
        raise UserError(
            "noisylab sweep needs a recipe: noisylab sweep --config RECIPE.yaml --search KEY=VALUES, or a file with base and "
            "search"
        )
    flags = [*_set(file, where), *options.flags]
    space = {found.key: found for found in (*_searched(file, where), *_typed(options.searches))}
    if not space:
        raise UserError(f"noisylab sweep needs at least one value to search: --search model.optimizer.lr=log:1e-4..1e-1\n{FORMS}")
    name = str(file.get("name") or (Path(configs[-1]).stem if configs else str(model).lower()))
    row = options.row if options.row is not None else file.get("row")
    return Asked(configs, row, tuple(flags), tuple(space.values()), _settings(file, options.own, where), name)


def _file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not path.is_file():
        raise UserError(f"noisylab sweep {name}: there is no such file; it has the keys base and search (docs/sweeps.md)")
    found = load_yaml(text_of(path), name)
    if not isinstance(found, dict) or not found:
        raise UserError(f"{name}: expected keys such as base and search (docs/sweeps.md)")
    allowed = (*_OTHERS, *Settings.__dataclass_fields__)
    for key in found:
        if key not in allowed:
            raise unknown(f"{name}: key", str(key), allowed)
    return found


def _bases(file: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = file.get("base")
    names = [names] if isinstance(names, str) else names or []
    found = []
    for name in names:
        beside, _ = find_beside(str(name), Path(where))
        found.append(str(name) if beside is None else str(beside))
        find_config(found[-1])
    return tuple(found)


def _set(file: Mapping[str, Any], where: str) -> list[tuple[str, str | None]]:
    values = file.get("set") or {}
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: set has dotted keys and values, as in set: {{trainer.max_epochs: 20}}, got {values!r}")
    return [(str(key), as_text(value)) for key, value in values.items()]


def _searched(file: Mapping[str, Any], where: str) -> list[Dimension]:
    values = file.get("search") or {}
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: search has dotted keys, each with what is searched, got {values!r}\n{FORMS}")
    return [dimension(_free(str(key), f"{where}: search"), node, f"{where}: search") for key, node in values.items()]


def _typed(texts: list[str]) -> list[Dimension]:
    found = []
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise UserError(f"--search {text}: expected KEY=VALUES, as in --search model.optimizer.lr=log:1e-4..1e-1\n{FORMS}")
        found.append(dimension(_free(key.removeprefix("--"), "--search"), values))
        if any(other.key == found[-1].key for other in found[:-1]):
            raise UserError(f"--search {found[-1].key} is given twice; leave one of them out")
    return found


def _free(key: str, where: str) -> str:
    """A key that may be searched, without the levels named init_args."""
    key = key.replace(".init_args", "")
    if any(key == fixed or key.startswith(f"{fixed}.") for fixed in _FIXED):
        raise UserError(
            f"{where} {key}: it decides which rows are held out or which labels they have, so the trials could not be compared\n"
            "  set it for all trials, or train with each value in a study: noisylab study"
        )
    return key


def _settings(file: Mapping[str, Any], own: Mapping[str, str], where: str) -> Settings:
    given = {key: file[key] for key in Settings.__dataclass_fields__ if file.get(key) is not None}
    said = {key: f"{where}: {key}" for key in given}
    for key in _FLAGS:
        if key in own:
            given[key], said[key] = own[key], f"--{key}"
    for key, allowed in _CHOICES.items():
        if key in given and given[key] not in allowed:
            raise unknown(said[key], str(given[key]), allowed)
    for key, least in _NUMBERS.items():
        if key in given:
            given[key] = _number(given[key], least, said[key])
    objective = str(given.setdefault("objective", Settings.objective))
    _check_objective(objective, said.get("objective", "objective"))
    if "direction" not in given and objective.rpartition("/")[2].split("_")[0] == "loss":
        given["direction"] = "minimize"
    return Settings(**given)


def _number(value: Any, least: int, said: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) < least:
        raise UserError(f"{said}: expected a whole number, {least} or more, got {value!r}")
    return int(text)


def _check_objective(name: str, said: str) -> None:
    """Refuse an objective that knows what nobody with noisy labels knows."""
    group, slash, metric = name.partition("/")
    if group in _REFUSED:
        raise UserError(
            f"{said} {name}: {_REFUSED[group]}; a setting chosen by it looks better than it is\n"
            "  choose by the held-out noisy labels: val/acc, the default, or val/loss"
        )
    if group not in ("val", "train") or not slash or not metric:
        raise UserError(f"{said} {name}: expected a metric of the held-out rows, val/acc or val/loss, or one of train/...")
