"""From a study file to the recipes of its cells."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]  # the stubs come with the dev extra

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import absolute_paths
from noisylab.cli.configuration.recipefile import choose
from noisylab.cli.configuration.recipes import find_beside, find_config
from noisylab.cli.configuration.registry import locate, parameters
from noisylab.cli.configuration.starts import absolute_starts
from noisylab.cli.configuration.studyfile import MethodEntry, StudySpec
from noisylab.cli.configuration.studyplan import AXES, RECIPES, Cell, Plan
from noisylab.cli.errors import UserError, message
from noisylab.cli.studies.costs import epochs_for

__all__ = ["make_plan"]

_SCALED = "_epochs"  # ending of the arguments of methods that count epochs, such as warmup_epochs
_SCHEDULES = ("scheduler", "lr_plan")  # which count epochs in ways of their own


def make_plan(spec: StudySpec, flags: Sequence[tuple[str, str | None]] = ()) -> Plan:
    """The cells of a study, with a whole recipe for each method, setting and noise.

    Every recipe is composed and checked, so that a mistake in one of them is said before anything is trained.

    Args:
        spec: the study.
        flags: (dotted key, text) of the command line, on top of all recipes.

    Raises:
        UserError: for what cannot be run, naming the method.
    """
    made = _Recipes(spec, flags)
    texts, notes, cells = {}, list(made.notes), []
    variants = [(method, setting) for method in spec.methods for setting in (made.settings(method) or [""])]
    there = {"setting": any(setting for _, setting in variants), "noise": bool(spec.noises), "fold": bool(spec.folds)}
    axes = [axis for axis in AXES if there.get(axis, True)]
    seeds_noise: dict[str, bool] = {}  # by recipe: whether the noise is drawn anew with each seed
    for method, setting in variants:
        for noise in spec.noises or [""]:
            config, told, seeded = made.recipe(method, setting, noise)
            name = _file_of(method, setting, noise)
            if name in texts:
                raise UserError(f"two recipes of the study would be named {name}: give a method, setting or noise another name")
            texts[name] = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)
            notes += [note for note in told if note not in notes]
            seeds_noise[name] = seeded
    for seed in spec.seeds:
        for fold in range(spec.folds) if spec.folds else [None]:
            for noise in spec.noises or [""]:
                for method, setting in variants:
                    values = {"method": method, "setting": setting, "noise": noise, "seed": str(seed), "fold": str(fold)}
                    parts = [
                        "-".join(filter(None, (method, setting))),
                        noise,
                        f"seed{seed}",
                        "" if fold is None else f"fold{fold}",
                    ]
                    name = _file_of(method, setting, noise)
                    more = [("data.noise.seed", str(seed))] if seeds_noise[name] else []
                    more += [] if fold is None else [("data.fold", str(fold))]
                    cells.append(
                        Cell(
                            folder="/".join(filter(None, parts)),
                            axes={axis: values[axis] for axis in axes},
                            configs=(f"{RECIPES}/{name}",),
                            flags=(("seed_everything", str(seed)), *more),
                        )
                    )
    asked = {**spec.raw, **({"flags": [list(flag) for flag in flags]} if flags else {})}
    return Plan(spec.name, tuple(cells), asked, spec.baseline, texts, tuple(notes), None if spec.file is None else str(spec.file))


def _file_of(method: str, setting: str, noise: str) -> str:
    return "-".join(filter(None, (method, setting, noise))) + ".yaml"


class _Recipes:
    """The recipes of a study.

    Args:
        spec: the study.
        flags: of the command line.
    """

    def __init__(self, spec: StudySpec, flags: Sequence[tuple[str, str | None]]) -> None:
        self._spec, self._flags, self.notes = spec, list(flags), list[str]()
        self._base = [self._file(name) for name in spec.base]
        own = [key for key, _ in flags if key.partition(".")[0] in ("seed_everything", "init_from", "ckpt_path")]
        if own:
            raise UserError(f"--{own[0]} belongs to one run; in a study seeds stand in the file, or after --seeds")
        model = self._base_model()
        self._network = spec.network if spec.network is not None else model.get("network")
        self._optimizer = spec.optimizer if spec.optimizer is not None else model.get("optimizer")
        self._read: dict[tuple[str, str | None], dict[str, Any]] = {}

    def settings(self, method: str) -> list[str]:
        """The names of a method's settings: its own, else those of all methods."""
        return list(self._spec.methods[method].settings or self._spec.settings)

    def recipe(self, method: str, setting: str, noise: str) -> tuple[dict[str, Any], list[str], bool]:
        """The whole configuration of a method, setting and noise, what to tell of it, and whether the noise takes a seed."""
        spec, entry = self._spec, self._spec.methods[method]
        values = {**spec.values, **entry.values, **dict((entry.settings or spec.settings).get(setting, {}))}
        layers: list[dict[str, Any]] = [{"model": None}, dict(spec.parts), {"model": self._node(method)}]
        data: dict[str, Any] = {}
        if noise:
            data["noise"] = copy.deepcopy(spec.noises[noise])
        if spec.held_out is not None:
            data["val_fraction"] = spec.held_out
        if spec.folds:
            data["folds"] = spec.folds
        if data:
            layers.append({"data": {"init_args": data}})
        where = f"the study's method {method}" + (f", setting {setting}" if setting else "")
        config, told = self._composed(layers, values, where), list[str]()
        epochs = self._epochs(method, entry, config)
        if epochs is not None:
            before = entry.epochs or config["trainer"].get("max_epochs")
            if spec.budget.compute is not None:
                told += self._scale(method, config, values, epochs, self._recipe_epochs(entry) or before)
            config["trainer"]["max_epochs"] = epochs
        config["recipe"] = "-".join(filter(None, (method, setting, noise)))
        absolute_paths(config["data"])
        absolute_starts(config)
        node = config["data"]["init_args"].get("noise")
        fixed = isinstance(spec.noises.get(noise), Mapping) and "seed" in (spec.noises[noise].get("init_args") or {})
        fixed = fixed or "data.noise.seed" in {key.replace(".init_args", "") for key in (*values, *dict(self._flags))}
        seeded = isinstance(node, Mapping) and not fixed and "seed" in parameters(locate(node["class_path"]))
        config.pop("seed_everything", None)
        return config, told, seeded

    # ---- parts

    def _file(self, name: str) -> str:
        """A recipe named in the study file: beside it, else as everywhere."""
        if self._spec.file is not None:
            found, _ = find_beside(name, self._spec.file)
            if found is not None:
                return str(found)
        return str(find_config(name).absolute())

    def _base_model(self) -> dict[str, Any]:
        """The arguments of the base's method, whose network the others take."""
        having = [
            chosen.file
            for chosen in choose(self._base, None)
            if "model" in chosen.file.values or (chosen.file.base is not None and "model" in chosen.file.base.values)
        ]
        if not having:
            return {}
        arguments: dict[str, Any] = compose(self._base, []).config["model"]["init_args"]
        taken = [name for name in ("network", "optimizer") if name in arguments and getattr(self._spec, name) is None]
        if taken:
            self.notes.append(
                f"{' and '.join(taken)} of every method: {'that' if len(taken) == 1 else 'those'} of {having[-1].path.name}"
            )
        return arguments

    def _node(self, method: str) -> dict[str, Any]:
        """The part ``model`` of a method, with the study's network and optimizer."""
        entry = self._spec.methods[method]
        if entry.recipe is None:
            node: dict[str, Any] = copy.deepcopy(dict(entry.node))
        else:
            node = copy.deepcopy(self._recipe(entry)["model"])
            node["init_args"].update(copy.deepcopy(dict(entry.node.get("init_args", {}))))
        arguments = node.setdefault("init_args", {})
        for name, common in (("network", self._network), ("optimizer", self._optimizer)):
            own = name in (entry.node.get("init_args") or {})
            from_recipe = entry.recipe is not None and name == "optimizer" and self._spec.optimizer is None
            if common is not None and not own and not from_recipe:
                arguments[name] = copy.deepcopy(common)
        return node

    def _composed(self, layers: Sequence[Mapping[str, Any]], values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The checked configuration of the base, the layers above it and the flags."""
        with tempfile.TemporaryDirectory() as folder:
            files = list(self._base)
            for number, layer in enumerate(layers):
                file = Path(folder) / f"layer{number}.yaml"
                file.write_text(yaml.safe_dump(dict(layer), allow_unicode=True), encoding="utf-8")
                files.append(str(file))
            flags = [
                (key, yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip())
                for key, value in values.items()
            ]
            try:
                return compose(files, [*flags, *self._flags]).config
            except UserError as error:
                text = message(error)
                for file_ in files[len(self._base) :]:
                    text = text.replace(f"{file_}: ", "").replace(file_, "the study file")
                raise UserError(f"{where}: {text}") from error

    def _recipe(self, entry: MethodEntry) -> dict[str, Any]:
        """The configuration of the recipe, and row, that a method is taken from."""
        assert entry.recipe is not None
        key = entry.recipe, entry.row
        if key not in self._read:
            self._read[key] = compose([self._file(entry.recipe)], [], entry.row).config
        return self._read[key]

    def _recipe_epochs(self, entry: MethodEntry) -> int | None:
        if entry.recipe is None:
            return None
        epochs = self._recipe(entry)["trainer"].get("max_epochs")
        return epochs if isinstance(epochs, int) and epochs > 0 else None

    def _epochs(self, method: str, entry: MethodEntry, config: Mapping[str, Any]) -> int | None:
        """The epochs of a method; None where the recipe's own count."""
        budget = self._spec.budget
        if entry.epochs is not None:
            return entry.epochs
        if budget.compute is None:
            return budget.epochs
        if entry.cost is not None:
            return max(round(budget.compute / entry.cost), 1)
        name = config["model"]["class_path"].rpartition(".")[2]
        whole = self._recipe_epochs(entry) or config["trainer"].get("max_epochs")
        warmup = config["model"]["init_args"].get("warmup_epochs")
        share = min(warmup / whole, 1.0) if isinstance(warmup, int) and isinstance(whole, int) and whole > 0 else 0.0
        try:
            epochs = epochs_for(name, budget.compute, share)
        except UserError as error:
            raise UserError(
                f"the study's method {method}: {message(error)}\n"
                f"  its cost can be given: methods: {{{method}: {{class_path: {name}, cost: 2.0}}}}; or give a budget of epochs"
            ) from error
        if epochs < 1:
            raise UserError(
                f"the study's method {method}: budget.compute {budget.compute:g} is less than one epoch of {name}; give more"
            )
        return epochs

    def _scale(self, method: str, config: dict[str, Any], values: Mapping[str, Any], epochs: int, whole: int | None) -> list[str]:
        """Shorten what a method counts in epochs as its run is shortened; what the study sets itself stays."""
        if whole is None or whole == epochs:
            return []
        told, arguments = [], config["model"]["init_args"]
        own = {**dict(self._spec.methods[method].node.get("init_args") or {}), **{key.rpartition(".")[2]: 0 for key in values}}
        for name, value in arguments.items():
            if (
                name.endswith(_SCALED)
                and isinstance(value, int)
                and not isinstance(value, bool)
                and value > 0
                and name not in own
            ):
                arguments[name] = max(round(value * epochs / whole), 1)
                if arguments[name] != value:
                    told.append(f"{method}: {name} {value} of {whole} epochs -> {arguments[name]} of {epochs}")
            elif name.endswith(_SCHEDULES) and value is not None and name not in own:
                told.append(f"{method}: {name} stays as it was for {whole} epochs, and the run has {epochs}")
        return told
