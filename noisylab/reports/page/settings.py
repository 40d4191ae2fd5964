"""The settings of runs as the command line writes them, and those in which runs differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from noisylab.reports.page.words import distinct, setting
from noisylab.reports.runs import RunFolder

__all__ = ["NOT_GIVEN", "differing", "settings_of", "value_of"]

NOT_GIVEN = "not a setting"  # of a key that other runs have
_SEEDS = {"seed_everything", "seed", "noise_seed", "split_seed", "labels_seed"}
_PLACES = {"root", "default_root_dir", "num_workers", "recipe", "run_dir", "logger", "fold"}  # of machine, folder and cell
_LONGEST = 160  # characters of a value


def settings_of(run: RunFolder) -> dict[str, str]:
    """The configuration, one entry a value, under the names that flags have: `model.optimizer.lr`.

    A class stands under the name of its place: `model` is "ELR". Seeds, places of files and the fold are left out: they make
    another run, no other experiment.
    """
    return dict(_flat(run.config, ""))


def differing(runs: Sequence[Sequence[RunFolder]]) -> list[dict[str, str]]:
    """For each group of runs, the settings that are not the same in all groups.

    A setting with several values within a group has them all, with commas between. A group without the setting lacks it: what
    belongs to one class is no setting of another. A setting of some groups alone that is null in all of these is left out.
    """
    if not runs:
        return []
    groups = [_together([settings_of(run) for run in group]) for group in runs]
    keys = list(dict.fromkeys(key for group in groups for key in group))
    found = {key: {group.get(key, NOT_GIVEN) for group in groups} for key in keys}
    varied = [key for key in keys if len(found[key]) > 1 and found[key] != {NOT_GIVEN, "null"}]
    return [{key: group[key] for key in varied if key in group} for group in groups]


def value_of(run: RunFolder, *keys: str) -> Any:
    """A value of the configuration, `init_args` passed over: `value_of(run, "data", "noise", "rate")`; None if absent."""
    node: Any = run.config
    for key in keys:
        if isinstance(node, Mapping) and isinstance(node.get("init_args"), Mapping):
            node = node["init_args"]
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _together(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    keys = dict.fromkeys(key for each in found for key in each)
    return {key: ", ".join(distinct(each.get(key, NOT_GIVEN) for each in found)) for key in keys}


def _flat(node: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and isinstance(node.get("class_path"), str):
        yield name, node["class_path"].rpartition(".")[2]
        yield from _flat(node.get("init_args") or {}, name)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key not in _SEEDS | _PLACES:
                yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list) and any(isinstance(each, Mapping) for each in node):
        yield name, _cut("[" + ", ".join(_in_a_line(each) for each in node) + "]")
    elif not (isinstance(node, float) and math.isnan(node)):  # NaN differs from itself
        yield name, _cut(setting(node))


def _in_a_line(node: Any) -> str:
    if isinstance(node, Mapping) and isinstance(node.get("class_path"), str):
        given = {key: value for key, value in (node.get("init_args") or {}).items() if value is not None}
        return f"{node['class_path'].rpartition('.')[2]}({', '.join(f'{key}={setting(value)}' for key, value in given.items())})"
    return setting(node)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
