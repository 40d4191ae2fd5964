"""Why two runs of one configuration may differ, from what they recorded of their data, settings, code and machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noisylab.reports.figures import leaves
from noisylab.reports.runs import RunFolder

__all__ = ["reasons"]

_SHOWN = 4  # of differing settings or packages
# parts of a configuration in which equal runs may differ: names, where files lie, what is shown and saved
_FREE = (
    "recipe",
    "init_from",
    "checkpoint",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)
_MACHINE = {
    "system": "system",
    "processor": "processor",
    "cpu_capability": "instructions of the processor",
    "threads": "number of threads",
    "processes": "number of processes",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
}


def reasons(old: RunFolder, new: RunFolder, different: bool) -> list[str]:
    """What differs between two runs beside their figures, in a sentence each, the likeliest cause first.

    What one of the two did not record is not compared.

    Args:
        old: the run that was repeated.
        new: its repetition.
        different: whether any figure differs.
    """
    found = [*_data(old, new), *_settings(old, new), *_versions(old, new), *_code(old, new), *_machine(old, new)]
    if different and not found and new.summary.get("device") != "cpu":
        found.append("some operations on a GPU add in any order; runs with trainer.deterministic=true can be repeated exactly")
    return found


def _data(old: RunFolder, new: RunFolder) -> list[str]:
    then, now = ((run.summary.get("data") or {}).get("digests") or {} for run in (old, new))

    def other(key: str) -> bool:
        return then.get(key) != now.get(key) and bool(then) and bool(now) and key in then

    found = []
    for key, what in (("inputs", "training inputs"), ("labels", "labels in the training data")):
        if other(key):
            found.append(f"the {what} are no longer those of the run ({_digests(then[key], now.get(key))})")
    given = [(run.summary.get("noise") or {}).get("digest") for run in (old, new)]
    if None not in given and given[0] != given[1] and not other("labels"):
        found.append(f"the given labels differ ({_digests(*given)}): the noise was drawn in another way, or its file has changed")
    if other("split") and not found:
        found.append(f"other rows are held out ({_digests(then['split'], now.get('split'))})")
    if other("test_inputs") or other("test_labels"):
        found.append("the test data are no longer those of the run")
    return found


def _settings(old: RunFolder, new: RunFolder) -> list[str]:
    then, now = (dict(_settings_of(run.config)) for run in (old, new))
    names = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    if not names:
        return []
    shown = [f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in names[:_SHOWN]]
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"the settings differ: {'; '.join(shown)}{more}"]


def _settings_of(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The values of a configuration that decide its numbers; paths only by their last part, as folders may have moved."""
    found = []
    for key, value in leaves(config):
        name = key.replace(".init_args", "")
        if not any(name == free or name.startswith((f"{free}.", f"{free}[")) for free in _FREE):
            moved = isinstance(value, str) and value.startswith("/")
            found.append((name, value.rpartition("/")[2] if moved else value))
    return found


def _versions(old: RunFolder, new: RunFolder) -> list[str]:
    then, now = ({str(key): value for key, value in (run.summary.get("versions") or {}).items()} for run in (old, new))
    names = [name for name in then if name in now and then[name] != now[name]]
    return [f"other versions: {', '.join(f'{name} {then[name]}, now {now[name]}' for name in names)}"] if names else []


def _code(old: RunFolder, new: RunFolder) -> list[str]:
    then, now = (run.summary.get("code") or {} for run in (old, new))
    changed = [name for name in then if name in now and then[name] != now[name]]
    named = [(run.summary.get("versions") or {}).get("noisylab") for run in (old, new)]
    found = [f"the source file of the module {name} has changed" for name in changed if name != "noisylab"]
    if "noisylab" in changed and named[0] == named[1]:
        found.append("source files of noisylab have changed within the version")
    return found


def _machine(old: RunFolder, new: RunFolder) -> list[str]:
    found = []
    for key in ("device", "precision"):
        then, now = old.summary.get(key), new.summary.get(key)
        if then is not None and then != now:
            found.append(f"another {key}: {then}, now {now}")
    before, after = (run.summary.get("machine") or {} for run in (old, new))
    parts = [f"{word} {before[key]}, now {after[key]}" for key, word in _MACHINE.items() if _other(before, after, key)]
    return [*found, f"another machine or way to use it: {'; '.join(parts)}"] if parts else found


def _other(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    return key in before and key in after and before[key] != after[key]


def _digests(then: Any, now: Any) -> str:
    return f"digest {str(then)[:8]}, now {str(now)[:8]}"
