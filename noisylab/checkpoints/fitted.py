"""What a checkpoint records about its training data, and the comparison with the data as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["FORMAT", "changes", "check_classes", "check_unchanged", "fitted_in"]

FORMAT = 1
_PARTS = {"train": "training", "test": "test"}
_SHOWN = 5  # class names in a message


def fitted_in(checkpoint: str | Path) -> dict[str, Any] | None:
    """The record of `NoisyDataModule.fitted` in a checkpoint file; `None` for one without a record.

    Its tensors are on the CPU. A file that is no checkpoint has none, too: loading it says what is wrong.
    """
    try:
        content = torch.load(Path(checkpoint), map_location="cpu", mmap=True, weights_only=True)
        record = dict(content["noisylab"]["fitted"])
    except Exception:  # whatever a damaged or foreign file raises
        return None
    return {name: _copied(value) for name, value in record.items()} if record.get("format") == FORMAT else None


def _copied(value: Any) -> Any:
    """The same without the memory map of the file."""
    if isinstance(value, Tensor):
        return value.clone()
    return {name: _copied(item) for name, item in value.items()} if isinstance(value, dict) else value


def check_classes(then: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse data whose classes differ from the model's.

    Args:
        then: record of the model.
        names: class names of the data as they are now, in any order.

    Raises:
        ValueError: naming what is missing and what is new.
    """
    known = set(then["classes"])
    gone, new = [name for name in then["classes"] if name not in names], [name for name in names if name not in known]
    if gone or new:
        said = [f"without {_some(gone)}"] * bool(gone) + [f"with {_some(new)} besides"] * bool(new)
        raise ValueError(
            f"the model was trained on the classes {_some(then['classes'])}; the data are now {' and '.join(said)}. Put the data "
            "back as they were, or train on them as they are in a new run"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The changes by part, "train" and "test": a sentence for each that differs; empty if nothing changed.

    Args:
        then: record of the model.
        now: record of the data as they are.
    """
    found: dict[str, str] = {}
    for part, word in _PARTS.items():
        old, new = then.get(part), now.get(part)
        if old == new:
            continue
        if old is None or new is None:
            found[part] = f"the {word} data are {'new' if old is None else 'gone'} since the model was trained"
        elif old["rows"] != new["rows"]:
            found[part] = f"the {word} data have {new['rows']:,} rows now and had {old['rows']:,} when the model was trained"
        else:
            what = " and ".join(name for name in ("inputs", "labels") if old[name] != new[name])
            found[part] = f"the {what} of the {word} data are no longer those that the model was trained with"
    return found


def check_unchanged(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Refuse to continue a run whose training data have changed.

    Returns:
        What has changed and may.

    Raises:
        ValueError: for other training rows, or other inputs in them.
    """
    found = changes(then, now)
    if "train" in found:
        raise ValueError(f"{found['train']}; resume with the data that the run was started with, or start a new run")
    return list(found.values())
