"""Warnings about data that looks wrong, printed before training; nothing is changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from noisylab.data.folders import listed
from noisylab.data.rows import SparseRows

__all__ = ["odd_classes", "other_size", "repeated", "row_digests"]

_MARKS = re.compile(r"\s*[;,|/+&]\s*")
_FEWEST = 10  # classes that may be too many
_LARGER, _SMALLER = 20.0, 0.2  # times the size of a training column, and of all training rows, at which test rows are odd


def odd_classes(names: Sequence[str], given: Tensor) -> list[str]:
    """Warnings about classes that seem to combine others, and labels that are hardly classes.

    Args:
        names: K names.
        given: (N,) int64 labels, -1 for none.

    >>> odd_classes(["cat", "cat;dog", "dog"], torch.arange(3))[0].partition(":")[0]
    'cat;dog is called like several other classes'
    """
    known, notes = set(names), []
    joined = [name for name in names if len(parts := set(_MARKS.split(name))) > 1 and parts <= known]
    if joined:
        many = f"{listed(joined)} {'are' if len(joined) > 1 else 'is'} called like several other classes"
        notes.append(f"{many}: taken as a class of its own; where a row has several labels, choose one, or leave it out")
    counts = torch.bincount(given[given >= 0], minlength=len(names))
    if len(names) >= _FEWEST and 2 * len(names) > int(counts.sum()):
        notes.append(
            f"{len(names):,} classes for {int(counts.sum()):,} labels, {int((counts == 1).sum()):,} of them with a single one: "
            "are these the labels, or numbers and names that belong to single rows?"
        )
    return notes


def repeated(train: Sequence[bytes], test: Sequence[bytes], names: Sequence[str] | None = None) -> list[str]:
    """A warning about test rows that are also training rows.

    Args:
        train: (N) digests of the inputs.
        test: (M) likewise.
        names: (M) files of the test rows, if they have any.
    """
    known = set(train)
    places = [place for place, digest in enumerate(test) if digest in known]
    if not places:
        return []
    what, first = ("rows", f"row {places[0]} first") if names is None else ("images", f"{names[places[0]]} first")
    return [
        f"{len(places):,} of {len(test):,} test {what} are training {what}, too ({first}): accuracy on them says little; leave "
        "them out of one of both"
    ]


def row_digests(inputs: Mapping[str, Tensor | SparseRows]) -> list[bytes]:
    """(N) a digest of each row in memory; none if some are sparse.

    Args:
        inputs: (N, ...) by name.
    """
    arrays = [rows.numpy() for rows in inputs.values() if isinstance(rows, Tensor)]
    if len(arrays) < len(inputs):
        return []
    alike = [array if array.dtype == np.uint8 else None for array in arrays]
    found = []
    with np.errstate(over="ignore"):  # what is too large is refused where it is scaled
        for row in range(len(arrays[0])):
            digest = hashlib.blake2b(digest_size=16)
            for array, whole in zip(arrays, alike, strict=True):
                digest.update((array[row].astype(np.float32) if whole is None else whole[row]).tobytes())
            found.append(digest.digest())
    return found


def other_size(train: Tensor, test: Tensor, what: str) -> list[str]:
    """A warning about test rows that are far larger or smaller than the training rows, as if prepared differently.

    Args:
        train: (N, D) float.
        test: (M, D) float.
        what: name of the test rows.
    """
    sizes = [torch.linalg.vector_norm(rows, dim=0) / len(rows) ** 0.5 for rows in (train, test)]
    larger = (sizes[1] > _LARGER * sizes[0]) & (sizes[0] > 0)
    if bool(larger.any()):
        columns = larger.nonzero().flatten().tolist()
        shown = f"{', '.join(map(str, columns[:5]))}{' ...' if len(columns) > 5 else ''}"
        return [
            f"{what}: {len(columns):,} of {len(larger):,} columns (from 0: {shown}) are over {_LARGER:g} times as large as in "
            "the training rows; prepare both alike"
        ]
    whole = [float(torch.linalg.vector_norm(size)) for size in sizes]
    if whole[1] < _SMALLER * whole[0]:
        times = whole[0] / max(whole[1], 1e-30)
        return [f"{what}: the training rows are {times:.3g} times as large; prepare both alike"]
    return []
