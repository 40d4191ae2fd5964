"""Merges files and flags into one checked configuration, before anything is built or read."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L

from noisylab.callbacks import RunCheckpoint, Speed
from noisylab.cli.configuration.checks import check_values
from noisylab.cli.configuration.fitting import fits, wrong_value
from noisylab.cli.configuration.listed import merge_items, merge_named, nodes_in
from noisylab.cli.configuration.recipefile import Chosen, choose
from noisylab.cli.configuration.recipes import find_config, text_of
from noisylab.cli.configuration.registry import (
    Parameter,
    accepts_any,
    calls,
    class_kind,
    full_name,
    item_kind,
    locate,
    named_kind,
    parameters,
    resolve_class,
    takes_class,
)
from noisylab.cli.configuration.scalars import Typed, key_text, plain, read, settle, tree
from noisylab.cli.configuration.starts import set_encoders, set_start, starts_of
from noisylab.cli.configuration.trainer import check_trainer
from noisylab.cli.errors import UserError, unknown
from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod
from noisylab.trust import PACKAGES, Untrusted, allow, check, check_builder, looks_like_path

__all__ = ["Composed", "compose", "switches"]

_TOP = {  # with the type hints of those that are single values
    "recipe": str,
    "seed_everything": int | None,
    "model": None,
    "data": None,
    "trainer": None,
    "speed": None,
    "checkpoint": None,
    "ckpt_path": str | None,
    "init_from": None,
    "encoders_from": None,  # a short form of it
}
_STRUCTURE = re.compile(r"[\[{\r\n\x85\u2028\u2029]|:(\s|$)|^\s*[-?]\s")  # what makes a text more than one value in YAML
_UNTYPED = ("callbacks", "plugins", "strategy", "profiler")  # of the trainer, checked where they are built
_TRAINER_HINTS = typing.get_type_hints(L.Trainer.__init__)
_NODES: dict[str, type] = {"model": NoisyLabelMethod, "data": NoisyDataModule}
_SWITCHES: dict[str, type] = {"speed": Speed, "checkpoint": RunCheckpoint}  # callbacks that every run has


@dataclass
class Composed:
    """A configuration put together from files and flags.

    Args:
        config: what the Lightning command line is given; classes by their import path.
        notes: what a user should know of the composition: classes swapped, values dropped, modules trusted.
        file: where what is merged comes from; None for the command line.
    """

    config: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    file: str | None = None

    def admit(self, path: str, where: str) -> None:
        """Allow a class to be imported: one typed by the user is trusted from then on, one named in a file must be already."""
        self._admit(check, path, where)

    def admit_call(self, path: str, where: str) -> None:
        """Do the same for a function that will be called."""
        self._admit(check_builder, path, where)

    def _admit(self, refuse: Callable[[str, str], None], path: str, where: str) -> None:
        try:
            refuse(path, where if self.file is None else f"{self.file}: {where}")
        except Untrusted as error:
            if self.file is not None:
                raise UserError(str(error)) from error
            root = path.partition(".")[0]
            module = path.rpartition(".")[0] if refuse is check_builder and root in PACKAGES else root
            self.notes += [f"trusted from now on, as it was typed: {new}" for new in allow([module])]


def compose(files: list[str], flags: list[tuple[str, str | None]], row: str | None = None) -> Composed:
    """Merge configuration files in order, each after its base and before its row, then flags; check every class, key and value.

    Args:
        files: values of ``--config``.
        flags: (dotted key, text) in order.
        row: of ``--row``, a row of one of the files.

    Raises:
        UserError: for the first mistake found.
    """
    composed = Composed(config={"seed_everything": 0, "trainer": {}})
    for chosen in choose(files, row):
        _put(composed, chosen)
    composed.file = None
    for key, text in flags:
        _set(composed, key.split("."), True if text is None else Typed(text, f"--{key}"), f"--{key}")
    for node in _NODES:
        if node not in composed.config:
            raise UserError(f"no {node} is given; use a recipe (--config NAME.yaml, see: noisylab recipes) or --{node} CLASS")
    _complete(composed.config["model"], ["model"])
    _complete(composed.config["data"], ["data"])
    for top, cls in _SWITCHES.items():
        try:
            cls(**composed.config.get(top, {}))
        except ValueError as error:
            raise UserError(f"{top}: {error}") from error
    starts_of(composed.config)
    check_values(composed.config)
    check_trainer(composed.config["trainer"])
    return composed


def _put(composed: Composed, chosen: Chosen) -> None:
    """Put in the values of a file: those of its base, its own, and those of the row."""
    file, row = chosen.file, chosen.row
    composed.notes += [chosen.note] if chosen.note else []
    base = {} if file.base is None else {key: value for key, value in file.base.values.items() if key != "recipe"}
    if "model" in base or "model" in file.values:
        composed.config.setdefault("recipe", file.path.stem)
    layers = [(file.path if file.base is None else file.base.path, base, ""), (file.path, file.values, "")]
    if row is not None:
        layers.append((file.path, row.values, f": rows.{row.name}.set"))
    for place, (path, values, part) in enumerate(layers):
        composed.file, said = str(path), len(composed.notes)
        for key, value in values.items():
            _set(composed, key.split(".") if part else [key], value, f"{path}{part}")
        if (place and base) or part:
            del composed.notes[said:]  # that its author swaps a class of the base is no news
        for node in _NODES:
            _check_calls(composed.config.get(node), f"{path}{part}: {node}")
    if row is not None and row.values:
        composed.config["recipe"] = "-".join(filter(None, (composed.config.get("recipe"), row.name)))


def _complete(node: dict[str, Any], at: list[str]) -> None:
    """Refuse a class that lacks an argument without a default."""
    cls = locate(node["class_path"])
    for name, parameter in parameters(cls).items():
        if parameter.required and name not in node["init_args"]:
            where = ".".join([*at, name])
            raise UserError(
                f"{where}: {cls.__name__} needs it, and it is missing\n  write --{where} VALUE, or add it to the recipe"
            )
        if any(kind(parameter.hint) is not None for kind in (class_kind, item_kind, named_kind)):
            for part, inner in nodes_in(node["init_args"].get(name), name):
                _complete(inner, [*at, part])


def _check_calls(node: Any, where: str) -> None:
    """Refuse what a file lets a class call with arguments of its own, unless it only builds; all arguments are known here."""
    if not (isinstance(node, dict) and "class_path" in node):
        return
    accepted, arguments = parameters(locate(node["class_path"])), node.get("init_args") or {}
    for name, value in arguments.items():
        for part, inner in nodes_in(value, name):
            _check_calls(inner, f"{where}.{part}")
        if isinstance(value, str) and name in accepted and looks_like_path(value) and calls(accepted[name].hint):
            try:
                check_builder(value, f"{where}.{name}", {other: item for other, item in arguments.items() if other != name})
            except Untrusted as error:
                raise UserError(str(error)) from error


def _admit_within(composed: Composed, value: Any, hint: Any, where: str) -> None:
    """Look at every class and function that a value names before anything imports it."""
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        path = value["class_path"]
        accepted: dict[str, Parameter] = {}
        given = {key: value.get(key) or {} for key in ("init_args", "dict_kwargs")}
        for key, arguments in given.items():
            if not isinstance(arguments, dict):
                raise UserError(f"{where}.{key}: expected keys and values, got {arguments!r}")
        if looks_like_path(path):
            composed.admit(path, where)
            with contextlib.suppress(ImportError, AttributeError, ValueError, TypeError):  # reported by whoever builds it
                if calls(hint) or hint is Any or not inspect.isclass(locate(path)):
                    composed.admit_call(path, where)  # jsonargparse calls a function, too
                accepted = parameters(locate(path))
        for name, item in {**given["init_args"], **given["dict_kwargs"]}.items():
            _admit_within(composed, item, accepted[name].hint if name in accepted else Any, f"{where}.{name}")
    elif isinstance(value, dict):
        for name, item in value.items():
            _admit_within(composed, item, hint, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            _admit_within(composed, item, hint, where)
    elif isinstance(value, str) and (takes_class(hint) or (hint is Any and "class_path" in value)) and _is_read(value):
        # jsonargparse would read the file or the text, and import what it names
        what = "the file " + value if _is_file(value) else f"the text {value!r}"
        raise UserError(f"{where}: {what} stands where a class is wanted; write what it holds as keys and values in its place")
    elif isinstance(value, str) and looks_like_path(value):
        if calls(hint):
            composed.admit_call(value, where)
        elif takes_class(hint):
            composed.admit(value, where)


def _is_read(text: str) -> bool:
    """Whether jsonargparse would take a text for YAML with keys or items, or for the name of a file with such."""
    return _is_file(text) or _STRUCTURE.search(text) is not None


def _is_file(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # no name that a file can have
        return Path(text).is_file()
    return False


def _set(composed: Composed, path: list[str], value: Any, where: str) -> None:
    top = path[0].removesuffix("+")
    if top in ("optimizer", "lr_scheduler"):
        inner = ".".join(["model", "optimizer" if top == "optimizer" else "scheduler", *path[1:]])
        raise UserError(
            f"{where}: the method has its own, for each of its networks; set {inner} (noisylab fit --help METHOD lists them)"
        )
    if top not in _TOP:
        raise unknown(f"{where}: key", top, _TOP)
    text = value.text if isinstance(value, Typed) else value
    if path in (["model"], ["data"], ["trainer"]) and isinstance(text, str) and Path(text).suffix in (".yaml", ".yml"):
        file, before = find_config(text), composed.file
        composed.file = str(file)
        _set(composed, path, tree(text_of(file), str(file)), str(file))
        composed.file = before
        return
    if top in _NODES:
        node = composed.config.get(top)
        composed.config[top] = _merge(composed, node, _NODES[top], path[1:], value, [top])
    elif top == "trainer":
        _set_trainer(composed, composed.config["trainer"], path[1:], value)
    elif top in _SWITCHES:
        _set_switch(composed, top, composed.config.setdefault(top, {}), path[1:], value)
    elif top == "init_from":
        composed.config[top] = set_start(composed.config.get(top), path, value)
    elif top == "encoders_from":
        composed.config["init_from"] = set_encoders(composed.config.get("init_from"), path, value)
    elif len(path) > 1:
        raise UserError(f"{where}: {top} has no parts, got {'.'.join(path)}")
    else:
        composed.config[top] = settle(value, _TOP[top])


def _merge(composed: Composed, node: Any, kind: type, path: list[str], value: Any, at: list[str]) -> Any:
    """`node` (a class with arguments) with `value` put in at `path`; `at` names the node in errors."""
    while path and path[0] == "init_args":
        path = path[1:]
    where = ".".join(at)
    if path and path[0] != "class_path":
        if node is None:
            raise UserError(f"{where}.{'.'.join(path)}: give the class first, with --{where} CLASS")
        return _argument(composed, node, path, value, at)
    value = read(value)
    if plain(value) is None:
        return None
    given = {key_text(key): item for key, item in value.items()} if isinstance(value, dict) else {"class_path": value}
    if isinstance(given.get("dict_kwargs"), dict) and (
        isinstance(given.get("init_args"), dict) or not plain(given.get("init_args"))
    ):
        # as `with_dict_kwargs` wrote them into the configuration of a run
        named = given.get("init_args")
        given = {key: item for key, item in given.items() if key != "dict_kwargs"} | {
            "init_args": {**(named if isinstance(named, dict) else {}), **given["dict_kwargs"]}
        }
    extra = set(given) - {"class_path", "init_args"}
    if "class_path" not in given and extra:
        given = {"init_args": given}  # the short form: arguments directly below the key
    elif extra:
        raise unknown(f"{where}: key", sorted(extra)[0], ("class_path", "init_args"))
    if "class_path" in given:
        cls = resolve_class(plain(given["class_path"]), kind, where, composed.admit)
        node = _swap(composed, node, cls, where)
    elif node is None:
        raise UserError(
            f"{where}: no class is given yet; write class_path: CLASS above init_args, or name the recipe before its overlay"
        )
    arguments = given.get("init_args") or {}
    if not isinstance(arguments, dict):
        if plain(arguments) is None:
            return node
        raise UserError(f"{where}.init_args: expected keys and values, got {plain(arguments)!r}")
    for key, item in arguments.items():
        node = _argument(composed, node, [key_text(key)], item, at)
    return node


def _swap(composed: Composed, node: Any, cls: type, where: str) -> dict[str, Any]:
    """A node of class `cls`, with what the node before it had and the new class accepts."""
    if node is None or node["class_path"] == full_name(cls):
        return node or {"class_path": full_name(cls), "init_args": {}}
    accepted = parameters(cls)
    kept = {key: value for key, value in node["init_args"].items() if key in accepted and fits(value, accepted[key].hint)}
    dropped = [key for key in node["init_args"] if key not in kept]
    before = node["class_path"].rpartition(".")[2]
    composed.notes.append(
        f"{where}: {before} -> {cls.__name__}; kept: {', '.join(kept) or 'nothing'}; dropped: {', '.join(dropped) or 'nothing'}"
    )
    return {"class_path": full_name(cls), "init_args": kept}


def _argument(composed: Composed, node: dict[str, Any], path: list[str], value: Any, at: list[str]) -> dict[str, Any]:
    """`node` with one argument set."""
    cls = locate(node["class_path"])
    name, where = path[0], ".".join([*at, path[0]])
    accepted = parameters(cls)
    if name == "num_classes" and issubclass(cls, NoisyLabelMethod):
        raise UserError(f"{where}: is taken from the data and cannot be given; remove it")
    if name not in accepted:
        if accepts_any(cls):
            value = plain(value)
            _admit_within(composed, value, Any, where)
            return {**node, "init_args": {**node["init_args"], name: value}}
        raise unknown(f"{where}: key of {cls.__name__}", name, accepted)
    node = copy.copy(node)
    node["init_args"] = dict(node["init_args"])
    kind = class_kind(accepted[name].hint)
    if kind is not None:
        node["init_args"][name] = _merge(composed, node["init_args"].get(name), kind, path[1:], value, [*at, name])
        return node
    items = item_kind(accepted[name].hint)
    several = items or named_kind(accepted[name].hint)
    if several is not None:

        def merge(item: Any, rest: list[str], new: Any, place: str) -> Any:
            return _merge(composed, item, several, rest, new, [*at, name, place])

        put_in: Callable[..., Any] = merge_named if items is None else merge_items
        node["init_args"][name] = put_in(node["init_args"].get(name), path[1:], value, where, merge)
        return node
    if len(path) > 1:
        inner = dict(node["init_args"].get(name) or {})
        inner[".".join(path[1:])] = value
        value = inner
    before = node["init_args"].get(name, accepted[name].default)
    value = settle(value, accepted[name].hint, take_back=before is not None)
    _admit_within(composed, value, accepted[name].hint, where)
    if not fits(value, accepted[name].hint):
        raise wrong_value(where, value, accepted[name].hint)
    node["init_args"][name] = value
    return node


def _set_trainer(composed: Composed, trainer: dict[str, Any], path: list[str], value: Any) -> None:
    allowed = inspect.signature(L.Trainer).parameters
    if len(path) > 1:
        _set_part(trainer, path[0], path[1:], plain(value))
        path, value = path[:1], trainer[path[0].removesuffix("+")]
    for key, item in _items("trainer", path, value).items():
        name = key.removesuffix("+")
        if name not in allowed:
            raise unknown("trainer: key", name, allowed)
        hint_ = allowed[name].annotation
        item = plain(item) if name in (*_UNTYPED, "logger") else settle(item, hint_)
        if name == "logger":
            if item not in (None, False):
                shown = "true" if item is True else item
                choice = "--logger tensorboard|wandb|mlflow|trackio"
                raise UserError(f"trainer.logger={shown}: choose with {choice}; metrics.csv is always written")
            continue
        _admit_within(composed, item, _TRAINER_HINTS.get(name, Any), f"trainer.{name}")
        if name not in _UNTYPED and not fits(item, hint_):
            raise wrong_value(f"trainer.{name}", item, hint_)
        if key.endswith("+"):
            before = trainer.get(name) or []
            trainer[name] = [
                *(before if isinstance(before, list) else [before]),
                *(item if isinstance(item, list) else [item]),
            ]
        else:
            trainer[name] = item


def _items(top: str, path: list[str], value: Any) -> dict[str, Any]:
    """What is to be set below a key: one value at a path, or a mapping."""
    if path:
        return {path[0]: value}
    items = read(value)
    if plain(items) is None:
        return {}
    if not isinstance(items, dict):
        raise UserError(f"{top}: expected keys and values, got {plain(items)!r}")
    return {key_text(key): item for key, item in items.items()}


def _set_part(trainer: dict[str, Any], name: str, path: list[str], value: Any) -> None:
    """Set an argument of a class that is given, of several of the last, as in ``--trainer.callbacks.patience 5``."""
    name, where = name.removesuffix("+"), f"trainer.{name}.{'.'.join(path)}"
    path = path[1:] if path[0] == "init_args" else path
    node = trainer.get(name)
    last = node[-1] if isinstance(node, list) and node else node
    if name not in _UNTYPED or len(path) != 1 or not last:
        raise UserError(f"{where}: trainer.{name} has no such part" + ("; give the class first" if not last else ""))
    last = {"class_path": last} if isinstance(last, str) else last
    if path[0] == "class_path":
        last = {"class_path": value}
    else:
        last = {**last, "init_args": {**(last.get("init_args") or {}), path[0]: value}}
    trainer[name] = [*node[:-1], last] if isinstance(node, list) else last


def switches(top: str) -> dict[str, Parameter]:
    """The arguments of a callback that every run has which a configuration may set."""
    return {name: parameter for name, parameter in parameters(_SWITCHES[top]).items() if name != "folder"}


def _set_switch(composed: Composed, top: str, switch: dict[str, Any], path: list[str], value: Any) -> None:
    if len(path) > 1:
        raise UserError(f"{top}.{path[0]} has no parts, got {top}.{'.'.join(path)}")
    allowed = switches(top)
    for name, item in _items(top, path, value).items():
        if name not in allowed:
            raise unknown(f"{top}: key", name, allowed)
        item = settle(item, allowed[name].hint)
        _admit_within(composed, item, allowed[name].hint, f"{top}.{name}")
        if not fits(item, allowed[name].hint):
            raise wrong_value(f"{top}.{name}", item, allowed[name].hint)
        switch[name] = item
