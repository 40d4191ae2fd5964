"""A study file: methods, settings, noises, seeds and folds over one data set. Imports nothing slow; builds nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.studyplan import Plan, numbers, plan_of_rows, safe_name, stored_plan
from noisylab.cli.errors import UserError, unknown

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Budget", "MethodEntry", "StudySpec", "asked_of", "read_spec", "spec_of"]

_KEYS = (
    *(
        "name",
        "base",
        "data",
        "trainer",
        "speed",
        "set",
        "network",
        "optimizer",
        "methods",
        "settings",
        "noise",
        "seeds",
        "folds",
    ),
    *("budget", "held_out", "baseline"),
)
_METHOD_KEYS = ("class_path", "init_args", "recipe", "row", "settings", "set", "epochs", "cost")
_BUDGETS = ("epochs", "compute")
_SEEDS = [0, 1, 2]


@dataclass(frozen=True)
class Budget:
    """How long every method is trained.

    Args:
        epochs: so many epochs each; None where the cost is what is equal, or the recipe says.
        compute: as much as so many epochs of cross-entropy cost; None likewise.
    """

    epochs: int | None = None
    compute: float | None = None


@dataclass(frozen=True)
class MethodEntry:
    """One method of a study.

    Args:
        node: ``class_path`` and ``init_args``; empty for one that is taken from a recipe.
        recipe: whose part ``model`` it is; None otherwise.
        row: of that recipe.
        settings: values by dotted key, by the name of the setting; empty for one without.
        values: values by dotted key of all its settings.
        epochs: of this method, in place of the budget's.
        cost: of its training step relative to that of cross-entropy, in place of the known one.
    """

    node: Mapping[str, Any]
    recipe: str | None = None
    row: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    cost: float | None = None


@dataclass(frozen=True)
class StudySpec:
    """A study as asked for.

    Args:
        name: of the study.
        raw: the file's content, plain values, for comparisons and reports.
        base: recipes of everything but the method, in order.
        parts: ``data``, ``trainer`` and ``speed`` on top of them.
        values: values by dotted key on top of those.
        network: of every method; None where each has its own.
        optimizer: likewise.
        methods: by label.
        settings: for every method, by name.
        noises: nodes of ``data.noise`` by name; None for the labels as given; empty where the base says.
        seeds: in rising order.
        folds: K; 0 for a test set of its own.
        budget: how long.
        held_out: share of the training rows held out, with labels as given; None where the base says.
        baseline: label of the method that the others are compared with.
        file: which says so, beside which recipes are looked up first; None for a study without one.
    """

    name: str
    raw: Mapping[str, Any]
    base: tuple[str, ...]
    parts: Mapping[str, Any]
    values: Mapping[str, Any]
    network: Any
    optimizer: Any
    methods: Mapping[str, MethodEntry]
    settings: Mapping[str, Mapping[str, Any]]
    noises: Mapping[str, Any]
    seeds: tuple[int, ...]
    folds: int
    budget: Budget
    held_out: float | None
    baseline: str
    file: Path | None = None


def read_spec(file: Path) -> StudySpec:
    """Read a study file.

    Raises:
        UserError: naming the file, the key and what is allowed.
    """
    if not file.is_file():
        raise UserError(f"noisylab study: there is no file {file}; a recipe with rows is given with --config")
    raw = load_yaml(text_of(file), str(file))
    if not isinstance(raw, dict):
        raise UserError(f"{file}: expected keys and values such as methods: [CrossEntropy, ELR], got {type(raw).__name__}")
    if "rows" in raw and "methods" not in raw:
        raise UserError(f"{file} is a recipe with rows: noisylab study --config {file}")
    return spec_of(raw, file.stem, str(file), file.absolute())


def spec_of(raw: Mapping[str, Any], name: str, where: str, file: Path | None = None) -> StudySpec:
    """Check a study file's content.

    Args:
        raw: plain values.
        name: of the study where the content has none.
        where: named in errors.
        file: absolute path of the file.

    Raises:
        UserError: for what is missing, unknown or malformed.
    """
    for key in raw:
        if key not in _KEYS:
            raise unknown(f"{where}: key", str(key), _KEYS, "values of the recipe go below set, as set: {data.batch_size: 64}")
    base = raw.get("base") or ()
    base = (base,) if isinstance(base, str) else tuple(base) if isinstance(base, list) else base
    if not (isinstance(base, tuple) and all(isinstance(item, str) for item in base)):
        raise UserError(f"{where}: base: expected the name of a recipe, or a list of them, got {base!r}")
    if not base and "data" not in raw:
        raise UserError(f"{where}: no data: give base: RECIPE.yaml, or data: {{class_path: ..., init_args: ...}}")
    methods = _methods(raw.get("methods"), f"{where}: methods")
    baseline = str(raw.get("baseline") or next(iter(methods)))
    if baseline not in methods:
        raise unknown(f"{where}: baseline", baseline, methods, "it is one of the methods, by its label")
    label = str(raw.get("name") or name)
    _check_name(label, f"{where}: name")
    return StudySpec(
        name=label,
        raw=dict(raw),
        base=base,
        parts={key: raw[key] for key in ("data", "trainer", "speed") if key in raw},
        values=_values(raw.get("set"), f"{where}: set"),
        network=raw.get("network"),
        optimizer=raw.get("optimizer"),
        methods=methods,
        settings=_settings(raw.get("settings"), f"{where}: settings"),
        noises=_noises(raw.get("noise"), f"{where}: noise"),
        seeds=_seeds(raw.get("seeds", _SEEDS), f"{where}: seeds"),
        folds=_whole(raw.get("folds", 0), f"{where}: folds", least=2) if raw.get("folds") else 0,
        budget=_budget(raw.get("budget"), f"{where}: budget"),
        held_out=_share(raw.get("held_out"), f"{where}: held_out"),
        baseline=baseline,
        file=file,
    )


def _methods(found: Any, where: str) -> dict[str, MethodEntry]:
    if isinstance(found, list):
        found = {str(item): item for item in found}
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"{where}: expected methods by name, as {{CE: CrossEntropy, ELR: {{recipe: elr_digits.yaml}}}}, got {found!r}"
        )
    entries = {}
    for label, item in found.items():
        _check_name(str(label), where)
        entries[str(label)] = _method(item, str(label), f"{where}.{label}")
    return entries


def _method(item: Any, label: str, where: str) -> MethodEntry:
    if item is None:
        item = label
    if isinstance(item, str):
        return MethodEntry({}, recipe=item) if item.endswith((".yaml", ".yml")) else MethodEntry({"class_path": item})
    if not isinstance(item, dict):
        raise UserError(f"{where}: expected the name of a class, or class_path and init_args, or recipe, got {item!r}")
    for key in item:
        if key not in _METHOD_KEYS:
            raise unknown(f"{where}: key", str(key), _METHOD_KEYS, "arguments of the method go below init_args")
    if ("class_path" in item) == ("recipe" in item):
        raise UserError(f"{where}: give either class_path, a method, or recipe, a file with one")
    arguments = item.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise UserError(f"{where}.init_args: expected arguments by name, got {arguments!r}")
    cost = item.get("cost")
    if cost is not None and not (isinstance(cost, int | float) and cost > 0):
        raise UserError(f"{where}.cost: expected a number above 0, relative to cross-entropy, got {cost!r}")
    node = (
        {"class_path": item["class_path"], "init_args": dict(arguments)}
        if "class_path" in item
        else {"init_args": dict(arguments)}
    )
    return MethodEntry(
        node=node,
        recipe=None if "recipe" not in item else str(item["recipe"]),
        row=None if item.get("row") is None else str(item["row"]),
        settings=_settings(item.get("settings"), f"{where}.settings"),
        values=_values(item.get("set"), f"{where}.set"),
        epochs=None if item.get("epochs") is None else _whole(item["epochs"], f"{where}.epochs"),
        cost=None if cost is None else float(cost),
    )


def _settings(found: Any, where: str) -> dict[str, Mapping[str, Any]]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"{where}: expected settings by name, as {{slow: {{model.optimizer.lr: 0.01}}, fast: ...}}, got {found!r}"
        )
    for name in found:
        _check_name(str(name), where)
    return {str(name): _values(values, f"{where}.{name}") for name, values in found.items()}


def _noises(found: Any, where: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"{where}: expected noises by name, as {{sym40: {{class_path: Symmetric, init_args: {{rate: 0.4}}}}, given: null}}, "
            f"got {found!r}"
        )
    for name, node in found.items():
        _check_name(str(name), where)
        if node is not None and not isinstance(node, str) and not (isinstance(node, dict) and "class_path" in node):
            raise UserError(
                f"{where}.{name}: expected a class of noise with its arguments, or null for the labels as given, got {node!r}"
            )
    return {str(name): node for name, node in found.items()}


def _values(found: Any, where: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected values by dotted key, as {{data.batch_size: 64}}, got {found!r}")
    for key in found:
        if str(key).partition(".")[0] in ("base", "rows", "recipe", "seed_everything"):
            raise UserError(
                f"{where}: {key} is no value of a run that a study can set"
                + "; seeds go below seeds" * (key == "seed_everything")
            )
    return {str(key): value for key, value in found.items()}


def _seeds(found: Any, where: str) -> tuple[int, ...]:
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return tuple(range(found))
    if (
        isinstance(found, list)
        and found
        and all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in found)
    ):
        return tuple(sorted(set(found)))
    raise UserError(f"{where}: expected whole numbers, as [0, 1, 2], or how many, as 3, got {found!r}")


def _budget(found: Any, where: str) -> Budget:
    if found is None:
        return Budget()
    if not isinstance(found, dict) or len(found) != 1:
        raise UserError(
            f"{where}: expected one of {{epochs: 60}}, the same for all, and {{compute: 60}}, what 60 epochs of cross-entropy "
            f"cost, got {found!r}"
        )
    ((kind, amount),) = found.items()
    if kind not in _BUDGETS:
        raise unknown(f"{where}: key", str(kind), _BUDGETS)
    if kind == "epochs":
        return Budget(epochs=_whole(amount, f"{where}.epochs"))
    if not isinstance(amount, int | float) or isinstance(amount, bool) or amount <= 0:
        raise UserError(f"{where}.compute: expected epochs of cross-entropy, above 0, got {amount!r}")
    return Budget(compute=float(amount))


def _whole(value: Any, where: str, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{where}: expected a whole number, {least} or more, got {value!r}")
    return value


def _share(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UserError(f"{where}: expected a share of the training rows from 0 to below 1, such as 0.1, got {value!r}")
    return float(value)


def _check_name(name: str, where: str) -> None:
    if not safe_name(name):
        raise UserError(f"{where}: {name!r} becomes part of a folder's name: take up to 40 letters, digits and _ . + -")


def asked_of(options: Options) -> Plan | StudySpec:
    """What a command line of ``noisylab study`` asks for: a study file, the rows of a recipe, or the study in a folder.

    Raises:
        UserError: if something is wrong with the flags, the file, the recipe or the folder.
    """
    resume = "resume" in options.own
    if resume and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the study to continue")
    if len(options.places) > 1:
        raise UserError(f"noisylab study takes one study file, got {' '.join(options.places)}")
    if resume and (options.configs or options.flags or {"rows", "seeds"} & set(options.own)) and not options.places:
        changed = [*(f"--{key}" for key in ("rows", "seeds") if key in options.own), *(f"--{key}" for key, _ in options.flags)]
        what = ", ".join(["--config"] * bool(options.configs) + changed)
        raise UserError(
            f"--resume continues the study as it began, and takes no {what}\n"
            "  leave that out, or start another study in another --run_dir"
        )
    if not options.places:
        return stored_plan(Path(options.own["run_dir"])) if resume else plan_of_rows(options)
    if "rows" in options.own or options.configs:
        given = "rows" if "rows" in options.own else "config"
        raise UserError(f"--{given} belongs to a study of a recipe's rows; {options.places[0]} says what is trained")
    spec = read_spec(Path(options.places[0]))
    if "seeds" in options.own:
        seeds = numbers(options.own["seeds"])
        spec = replace(spec, seeds=seeds, raw={**spec.raw, "seeds": list(seeds)})
    return spec
