"""Columns of the items of a map-style data set of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from noisylab.data.caches import progress_bar
from noisylab.data.frames.columns import Column, Columns
from noisylab.data.frames.objects import column_of_objects
from noisylab.data.frames.textfiles import check_names, counted

__all__ = ["columns_of_torch"]


def columns_of_torch(dataset: Any, where: str, names: Sequence[str] | None = None) -> Columns:
    """The parts of all items as columns.

    Args:
        dataset: with ``len(dataset)`` and ``dataset[row]``, a tuple or a dictionary.
        where: its name in messages.
        names: of the parts of tuples; `None` for "input", "label", "part2" and so on.

    Raises:
        TypeError: for data that cannot be asked for a row.
        ValueError: no items, or items of several forms, or which differ when they are read again.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{kind} has no rows by number, which labels and corrections need; give a map-style data set, or list its items"
        )
    many = len(dataset)
    if not many:
        raise ValueError(f"{where} ({kind}) is empty")
    if not _same(dataset[0], dataset[0]):
        raise ValueError(
            f"item 0 of {where} ({kind}) differs each time it is read, by a random transform probably; leave augmentation out of "
            "the data set: the data module makes the views that methods ask for"
        )
    rows: list[list[Any]] = []
    header: list[str] = []
    with progress_bar(many, "items read", "item") as advance:
        for row in range(many):
            found, values = _parts(dataset[row], names, f"item {row} of {where} ({kind})")
            if header and found != header:
                raise ValueError(
                    f"item {row} of {where} ({kind}) has the parts {', '.join(found)}, item 0 has {', '.join(header)}"
                )
            header = found
            rows.append(values)
            advance(1)
    check_names(header, where)
    columns: dict[str, Column] = {}
    said: list[str] = []
    classes = _classes(dataset)
    for place, name in enumerate(header):
        columns[name], told = column_of_objects(name, [values[place] for values in rows])
        said += told
        if place == 1 or name == "label":
            columns[name] = _named(columns[name], classes)
    return counted(Columns(where, columns), said)


def _parts(item: Any, names: Sequence[str] | None, where: str) -> tuple[list[str], list[Any]]:
    if isinstance(item, Mapping):
        return [str(name) for name in item], list(item.values())
    parts = list(item) if isinstance(item, tuple | list) else [item]
    known = list(names) if names is not None else ["input", "label", *(f"part{place}" for place in range(2, len(parts)))]
    if names is not None and len(names) != len(parts):
        raise ValueError(f"{where} has {len(parts)} parts, but names has {len(names)}: {', '.join(names)}")
    return known[: len(parts)], parts


def _classes(dataset: Any) -> tuple[str, ...]:
    """Names of classes that torchvision keeps with a data set, or with the one that it is a part of."""
    while not isinstance(getattr(dataset, "classes", None), list | tuple) and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", None)
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        return ()
    return tuple(classes)


def _named(column: Column, classes: tuple[str, ...]) -> Column:
    """Whole numbers that are places among names as classes."""
    if column.kind != "number" or not classes or len(set(classes)) < len(classes):
        return column
    values = np.asarray(column.values)
    if values.dtype.kind != "i" or values.min() < -1 or values.max() >= len(classes):
        return column
    return Column("class", np.where(column.missing, -1, values), column.missing | (values < 0), classes)


def _same(one: Any, other: Any) -> bool:
    """Whether two items hold the same."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, Image.Image):
        return one.size == other.size and one.tobytes() == other.tobytes()
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or one != one
