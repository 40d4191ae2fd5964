"""What is told of annotators: figures of all, a line for each, and confusion matrices to read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.crowd.annotations import Annotations, Array
from noisylab.crowd.consensus import Consensus, agreement_with
from noisylab.files import atomic_path

__all__ = ["confusion_text", "crowd_lines", "crowd_table", "pairwise_agreement", "write_crowd"]

_WIDE = 12  # classes up to which a matrix is shown whole, as text
_NAME = 12  # characters of a class name in a matrix
_SHOWN = 5


def pairwise_agreement(annotations: Annotations) -> float:
    """Share of the pairs of labels of one item that agree, over all items; NaN without a pair.

    >>> pairwise_agreement(Annotations.of_matrix([[0, 0, 1], [1, 1, -1]]))
    0.5
    """
    counts = annotations.counts()
    number = counts.sum(1)
    pairs = float((number * (number - 1)).sum())
    return float((counts * (counts - 1)).sum()) / pairs if pairs else math.nan


def crowd_lines(consensus: Consensus) -> list[str]:
    """What a user is told of the labels before training, a sentence each."""
    given = consensus.annotations
    number = given.per_item()
    labeled = number[number > 0]
    single = int((labeled == 1).sum())
    who = f"{given.num_annotators:,} annotators" if given.num_annotators else "annotators who are not told apart"
    each = f"{labeled.min()} to {labeled.max()} an item, {labeled.mean():.3g} on average"
    each = f"{labeled.min()} an item" if labeled.min() == labeled.max() else each
    alone = f"; {single / len(labeled):.1%} of the items have a single label" if single else ""
    lines = [f"{len(given.item):,} labels of {len(labeled):,} items by {who}: {each}{alone}"]
    if given.num_annotators:
        number = given.per_annotator()
        lines.append(f"labels of an annotator: {number.min():,} to {number.max():,}, median {np.median(number):,.0f}")
    agree = pairwise_agreement(given)
    if not math.isnan(agree):
        lines.append(f"two labels of one item agree in {agree:.1%} of the pairs")
    used = np.bincount(given.label, minlength=given.num_classes) > 0
    kept = np.bincount(consensus.label[consensus.label >= 0], minlength=given.num_classes) > 0
    lost = [given.class_names[k] for k in np.flatnonzero(used & ~kept).tolist()]
    if lost:
        lines.append(f"no item is left in the class {', '.join(lost[:_SHOWN])} by the consensus, although some labels name it")
    if given.num_annotators > 1:
        order = np.argsort(consensus.annotator_quality, kind="stable")
        worst = [f"{given.annotators[j]} {consensus.annotator_quality[j]:.2f}" for j in order[:_SHOWN].tolist()]
        what = "agreement with the consensus" if consensus.prior is None else "estimated accuracy"
        lines.append(f"{what} of the annotators: lowest {', '.join(worst)}; highest {consensus.annotator_quality.max():.2f}")
    return [*lines, *consensus.notes]


def crowd_table(consensus: Consensus) -> list[dict[str, Any]]:
    """A line for each annotator, those of the lowest quality first.

    Returns:
        Dictionaries with ``annotator``, ``labels`` (how many), ``quality`` (see `Consensus`), ``agreement`` (with the consensus),
        and ``confused``, the most frequent mistake by the confusion matrix, as "true -> given share", or empty.
    """
    given = consensus.annotations
    agree, _ = agreement_with(given, consensus.label)
    lines = []
    for j in np.argsort(consensus.annotator_quality, kind="stable").tolist():
        lines.append(
            {
                "annotator": given.annotators[j],
                "labels": int(given.per_annotator()[j]),
                "quality": float(consensus.annotator_quality[j]),
                "agreement": float(agree[j]),
                "confused": "" if consensus.confusion is None else _mistake(consensus.confusion[j], given.class_names),
            }
        )
    return lines


def confusion_text(consensus: Consensus, annotator: str) -> str:
    """The confusion matrix of an annotator as text: true classes in rows, given ones in columns, in percent.

    Of more than 12 classes, the 12 most frequent mistakes are listed instead.

    Args:
        consensus: of several annotators.
        annotator: name of one.

    Raises:
        ValueError: there is no such annotator, or nobody knows who gave which label.
    """
    given = consensus.annotations
    if consensus.confusion is None or annotator not in given.annotators:
        raise ValueError(f"there is no annotator {annotator!r}; there are {', '.join(given.annotators[:10]) or 'none by name'}")
    place = given.annotators.index(annotator)
    matrix, names = consensus.confusion[place], [name[:_NAME] for name in given.class_names]
    labels, quality = int(given.per_annotator()[place]), float(consensus.annotator_quality[place])
    title = f"{annotator}: {labels:,} labels, quality {quality:.3f}; rows true, columns given, in percent"
    if len(names) > _WIDE:
        return "\n".join([title, *(f"  {line}" for line in _mistakes(matrix, given.class_names, _WIDE))])
    margin, width = max(map(len, names)), max(4, *map(len, names))
    rows = [" " * margin + "".join(f"  {name:>{width}}" for name in names)]
    for name, row in zip(names, matrix.tolist(), strict=True):
        cells = ["-" if math.isnan(value) else f"{100 * value:.0f}" for value in row]
        rows.append(f"{name:<{margin}}" + "".join(f"  {cell:>{width}}" for cell in cells))
    return "\n".join([title, *(f"  {row}" for row in rows)])


def write_crowd(folder: Path, consensus: Consensus) -> None:
    """Write what is known of the annotators: ``annotators.csv``, a line for each; ``annotators.txt``, their confusion matrices to
    read; ``annotators.json``, all figures. The first two only where it is known who gave which label.

    Args:
        folder: where; it must be there.
        consensus: what to write.

    Raises:
        OSError: a file cannot be written.
    """
    given = consensus.annotations
    table = crowd_table(consensus)
    if table:
        with atomic_path(folder / "annotators.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
        text = "\n\n".join(confusion_text(consensus, line["annotator"]) for line in table)
        with atomic_path(folder / "annotators.txt") as partial:
            partial.write_text("\n".join([*crowd_lines(consensus), "", text]) + "\n", encoding="utf-8")
    agree = pairwise_agreement(given)
    content = {
        "method": consensus.method,
        "rounds": consensus.rounds,
        "log_likelihood": consensus.log_likelihood,
        "class_names": list(given.class_names),
        "prior": None if consensus.prior is None else consensus.prior.tolist(),
        "labels": len(given.item),
        "items": int((given.per_item() > 0).sum()),
        "single": int((given.per_item() == 1).sum()),
        "pairwise_agreement": None if math.isnan(agree) else agree,
        "notes": [*given.notes, *consensus.notes],
        "annotators": [
            {**line, "confusion": _plain(consensus.confusion, given.annotators.index(line["annotator"]))} for line in table
        ],
    }
    with atomic_path(folder / "annotators.json") as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plain(confusion: Array | None, place: int) -> list[list[float | None]] | None:
    """A matrix as JSON has it, which knows no NaN."""
    if confusion is None:
        return None
    return [[None if math.isnan(value) else value for value in row] for row in confusion[place].tolist()]


def _mistake(matrix: Array, names: tuple[str, ...]) -> str:
    return next(_mistakes(matrix, names, 1), "")


def _mistakes(matrix: Array, names: tuple[str, ...], most: int) -> Iterator[str]:
    """The largest entries off the diagonal."""
    off = np.nan_to_num(matrix).copy()
    np.fill_diagonal(off, 0)
    for flat in np.argsort(-off, axis=None, kind="stable")[:most].tolist():
        true, said = divmod(flat, len(names))
        if off[true, said] > 0:
            yield f"{names[true]} -> {names[said]} {off[true, said]:.2f}"
