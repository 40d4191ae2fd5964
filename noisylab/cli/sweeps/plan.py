"""The plan of a sweep, checked against its recipe and kept in its folder."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import absolute_paths
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.registry import locate, parameters
from noisylab.cli.configuration.scalars import dump
from noisylab.cli.configuration.starts import absolute_starts
from noisylab.cli.errors import UserError, short
from noisylab.cli.sweeps.asked import Asked, Settings
from noisylab.cli.sweeps.space import Dimension, dimension
from noisylab.files import atomic_path

__all__ = ["BASE", "PLAN", "SweepPlan", "differences", "plan_of", "read_plan", "recipe_text"]

BASE = "base.yaml"
"""The file in a sweep's folder that holds the recipe of all trials, without what is searched."""

PLAN = "sweep.yaml"
"""The file in a sweep's folder that holds its plan."""

_FORMAT = 1
_HELD_OUT = "0.1"  # of the training rows, where the recipe holds none out
_SHOWN = 4  # differences that are named


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be trained.

    Args:
        name: of the sweep.
        study: under which Optuna keeps it.
        space: what is searched.
        settings: how.
        base: the values of all trials, classes by their import path, paths absolute.
    """

    name: str
    study: str
    space: tuple[Dimension, ...]
    settings: Settings
    base: dict[str, Any]

    @property
    def epochs(self) -> int:
        """Of a trial, unless they are searched."""
        return int(self.base["trainer"].get("max_epochs") or 100)

    @property
    def grace(self) -> int:
        """Epochs before which no trial is stopped."""
        return self.settings.grace or max(1, self.epochs // 5)

    def starting_point(self) -> tuple[dict[str, Any], list[str]]:
        """The recipe's own values as the first trial has them, and the keys of those that are not among those searched."""
        found, missing = {}, []
        for searched in self.space:
            value = searched.parameter(_value_at(self.base, searched.key.split(".")))
            if value is None:
                missing.append(searched.key)
            else:
                found[searched.key] = value
        return found, missing

    def record(self) -> dict[str, str]:
        """Everything that makes a trial of this sweep comparable to the others, as texts by key."""
        settings = {name: getattr(self.settings, name) for name in Settings.__dataclass_fields__ if name not in _MAY_CHANGE}
        return {
            **{f"search {searched.key}": str(searched) for searched in self.space},
            **{name: str(value) for name, value in settings.items()},
            **{key: str(value) for key, value in _flat(self.base)},
        }

    def write(self, folder: Path, job: dict[str, Any] | None = None) -> None:
        """Keep the plan and the recipe in the folder of the sweep.

        Args:
            folder: which exists.
            job: by which the job's next start finds it.
        """
        text = recipe_text(self.base)
        content = {
            "format": _FORMAT,
            "name": self.name,
            "study": self.study,
            "base": BASE,
            "search": {searched.key: searched.record() for searched in self.space},
            **{name: getattr(self.settings, name) for name in Settings.__dataclass_fields__},
            **({"job": job} if job else {}),
        }
        for name, written in ((BASE, text), (PLAN, dump(content))):
            with atomic_path(folder / name) as partial:
                partial.write_text(written, encoding="utf-8")


_MAY_CHANGE = ("trials", "storage")


def plan_of(asked: Asked) -> tuple[SweepPlan, list[str]]:
    """The plan of a sweep, every value that is searched checked against the recipe, and what a user should know of it.

    Args:
        asked: what is asked for.

    Raises:
        UserError: for the first mistake, before any data is read.
    """
    flags, files = list(asked.flags), list(asked.configs)
    composed = compose(files, flags, asked.row)
    notes = list(composed.notes)
    held_out = _held_out(composed.config["data"])
    if held_out:
        flags.append(("data.val_fraction", _HELD_OUT))
        notes.append(held_out)
        composed = compose(files, flags, asked.row)
    base = composed.config
    if base.get("ckpt_path") is not None:
        raise UserError("--ckpt_path: a trial of a sweep starts anew; leave it out, or start from weights with --init_from")
    if base["data"]["init_args"].get("val_labels") == "clean":
        notes.append("note: data.val_labels is clean: trials are compared by true labels; say so with the result")
    for searched in asked.space:
        _check_values(files, flags, asked.row, searched)
    base = copy.deepcopy(base)
    base.setdefault("recipe", asked.name)  # of a sweep that is all flags
    absolute_paths(base["data"])
    absolute_starts(base)
    study = f"noisylab-{asked.name}-{secrets.token_hex(4)}"
    return SweepPlan(asked.name, study, asked.space, asked.settings, base), notes


def _held_out(data: dict[str, Any]) -> str:
    """What is said where rows must be held out that the recipe does not; empty where it holds some out, or says it does not."""
    given = data["init_args"]
    if "val_fraction" in given or "val_fraction" not in parameters(locate(data["class_path"])):
        return ""
    return (
        f"note: the recipe holds no rows out, so data.val_fraction is set to {_HELD_OUT}: trials train on the other rows, "
        "and are compared by the given labels of these"
    )


def _check_values(files: list[str], flags: list[tuple[str, str | None]], row: str | None, searched: Dimension) -> None:
    for text in searched.probes():
        try:
            compose(files, [*flags, (searched.key, text)], row)
        except UserError as error:
            hint = ""
            if not searched.choices and not searched.whole and "whole number" in str(error):
                hint = f"\n  of whole numbers: --search {searched.key}=int:{searched}"
            raise UserError(f"--search {searched.key}={searched}: {short(error, 4)}{hint}") from error


def read_plan(folder: Path) -> SweepPlan:
    """The plan kept in the folder of a sweep.

    Raises:
        UserError: for a folder without one, or with one that was damaged or changed.
    """
    file = folder / PLAN
    if not file.is_file():
        raise UserError(f"--run_dir {folder} holds no sweep to continue: it has no {PLAN}; leave --resume out to start one")
    found = load_yaml(text_of(file), str(file))
    try:
        if found["format"] != _FORMAT:
            raise UserError(f"{file} has format {found['format']}, and this noisylab reads {_FORMAT}; use the one that wrote it")
        space = tuple(dimension(key, node, f"{file}: search") for key, node in found["search"].items())
        settings = Settings(**{name: found[name] for name in Settings.__dataclass_fields__})
        plan = SweepPlan(str(found["name"]), str(found["study"]), space, settings, {})
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} is not as noisylab wrote it ({error!r}); put it back, or start another sweep") from error
    config = compose([str(folder / BASE)], []).config
    return replace(plan, base=config)


def differences(before: dict[str, str], now: dict[str, str]) -> str:
    """Up to four keys in which two records of a plan differ, with both values; empty where they agree.

    Args:
        before: see `SweepPlan.record`.
        now: likewise.
    """
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    shown = [f"{key} {before.get(key, 'not set')}, now {now.get(key, 'not set')}" for key in changed[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")


def recipe_text(config: dict[str, Any]) -> str:
    """A composed configuration as a recipe.

    Args:
        config: see `noisylab.cli.configuration.compose.compose`.
    """
    order = ("recipe", "seed_everything", "model", "data", "trainer")
    return dump({key: config[key] for key in (*order, *(key for key in config if key not in order)) if key in config})


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf, without the levels named init_args."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, at if key == "init_args" else f"{at}.{key}".lstrip("."))
    else:
        yield at, value


def _value_at(config: Any, path: list[str]) -> Any:
    """The value at a dotted key, the default of the class where none is set; a class as its name; None where there is none."""
    node = config.get(path[0])
    for part in path[1:]:
        if isinstance(node, dict) and "class_path" in node:
            cls = locate(node["class_path"])
            accepted = parameters(cls)
            default = accepted[part].default if part in accepted else None
            node = node["init_args"].get(part, default)
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node["class_path"].rpartition(".")[2] if isinstance(node, dict) and "class_path" in node else node
