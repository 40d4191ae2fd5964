"""Training rows whose labels are known to be right: drawn when the true labels are known, or named in a file."""

from __future__ import annotations

import posixpath
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from noisylab.data.source import Source
from noisylab.data.table import cell_of, check_swallowed, read_records, separated
from noisylab.transforms.draws import key_from

__all__ = ["TrustedRows", "draw_trusted", "read_trusted", "require_table"]

_SHOWN = 10  # faults in a message


@dataclass(frozen=True)
class TrustedRows:
    """Rows set apart, and their labels.

    Args:
        rows: (T,) int64 rows of the original training set, the classes in turn: c0, c1, ..., c0, c1, ...
        target: (T,) int64 labels known to be right.
    """

    rows: Tensor
    target: Tensor

    def put_into(self, given: Tensor) -> Tensor:
        """(N,) the given labels with those of the trusted rows put in; the given labels themselves if there are none."""
        return given.scatter(0, self.rows, self.target) if len(self.rows) else given

    def outside(self, rows: Tensor, class_names: tuple[str, ...]) -> TrustedRows:
        """The trusted rows that are not among `rows`, the test set, alternating between classes.

        Raises:
            ValueError: for a class that has no other.
        """
        left = ~torch.isin(self.rows, rows)
        found, target = self.rows[left], self.target[left]
        missing = [name for k, name in enumerate(class_names) if not bool((target == k).any())]
        if missing:
            raise ValueError(
                f"trusted_labels: all rows of the class {', '.join(missing[:_SHOWN])} that the file names are in the fold that "
                "is the test set; check more samples of it, or choose another split_seed"
            )
        order = _in_turn(target)
        return TrustedRows(found[order], target[order])


def draw_trusted(clean: Tensor, rows: Tensor, per_class: int, num_classes: int, seed: int) -> TrustedRows:
    """As many rows of each class, by their true labels.

    Args:
        clean: (N,) int64 true labels, -1 where unknown.
        rows: (M,) rows to choose from.
        per_class: rows of each class; 0 for none.
        num_classes: K; rows of other true classes (open-set noise) are not chosen.
        seed: names the draw.

    Raises:
        ValueError: if true labels are unknown, or a class has no more than `per_class` rows.
    """
    if not per_class:
        return TrustedRows(rows[:0], rows[:0])
    truth = clean[rows]
    if bool((truth < 0).any()):
        raise ValueError(
            f"trusted_per_class={per_class} needs the true labels, and {int((truth < 0).sum())} training rows have none; name "
            "rows with checked labels in a file instead: trusted_labels=FILE.csv"
        )
    generator = torch.Generator().manual_seed(key_from(seed, "trusted"))
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    labels = clean[shuffled]
    counts = torch.bincount(labels, minlength=num_classes)[:num_classes]
    fewest = int(counts.argmin())
    if int(counts[fewest]) <= per_class:
        raise ValueError(
            f"trusted_per_class={per_class} would leave no training row of class {fewest}, which has {int(counts[fewest])}; "
            f"choose at most {max(int(counts[fewest]) - 1, 0)}"
        )
    chosen = torch.stack([shuffled[labels == k][:per_class] for k in range(num_classes)], 1)
    return TrustedRows(chosen.flatten(), torch.arange(num_classes).repeat(per_class))


def require_table(path: str) -> None:
    """Raise FileNotFoundError unless the table is there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"trusted_labels: there is no file {path}; check the path")


def read_trusted(path: str, source: Source, num_classes: int) -> TrustedRows:
    """Rows and their checked labels from a comma-separated table.

    The table is read as every table of labels is, see `read_records`. It has a header and the columns ``label``, the name of a
    class, and ``row``, counted from 0, or ``file``, as the data names its files. Rows of the original training set that it
    names leave the training rows; their given labels are not used.

    Args:
        path: the table, in UTF-8.
        source: the data as read.
        num_classes: K; labels are among the first K class names.

    Raises:
        FileNotFoundError: without the file.
        ValueError: listing up to ten lines that name no row, a row twice or no class, or when a class has no line.
    """
    require_table(path)
    table = Path(path)
    try:
        columns, rows_of_table = read_records(table).split(table)
        if not {"file", "row"} & set(columns) or "label" not in columns:
            raise ValueError(f"{path} has the columns {', '.join(columns)}; it needs label, and row or file{separated(columns)}")
        by = "file" if "file" in columns and (source.names is not None or "row" not in columns) else "row"
        twice = next((name for name in (by, "label") if columns.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{path} has the column {twice} {columns.count(twice)} times; rename or remove the others")
        check_swallowed(table, columns, rows_of_table, [columns.index(by), columns.index("label")])
    except ValueError as error:
        raise ValueError(f"trusted_labels: {error}") from error
    if by == "file" and source.names is None:
        raise ValueError(f"trusted_labels: {path} names files, but the rows of this data have none; give a column row, from 0")
    count = len(source.given)
    places = {str(row): row for row in range(count)} if by == "row" else {name: i for i, name in enumerate(source.names or [])}
    # a disk and a table may write the same letters in two forms
    composed = {unicodedata.normalize("NFC", name): place for name, place in places.items()}
    classes = {name: number for number, name in enumerate(source.class_names[:num_classes])}
    found: dict[int, int] = {}
    faults = []
    for _, record in rows_of_table:
        number = record.line
        name, label = (cell_of(record, columns.index(column)) for column in (by, "label"))
        name = posixpath.normpath(name) if by == "file" and name else name
        row = places.get(name, composed.get(unicodedata.normalize("NFC", name)))
        if any(cell.strip() for cell in record.cells[len(columns) :]):
            faults.append(
                f"line {number}: {len(record.cells)} cells where the header has {len(columns)}: put text with a comma in quotes"
            )
        elif row is None:
            faults.append(f"line {number}: {by} {name!r} is not among the {count} training rows")
        elif row in found:
            faults.append(f"line {number}: {by} {name!r} is named twice")
        elif label not in classes:
            faults.append(f"line {number}: {label!r} is none of the classes {', '.join(list(classes)[:_SHOWN])}")
        else:
            found[row] = classes[label]
    missing = [name for name, k in classes.items() if k not in found.values()]
    if missing and not faults:
        faults.append(f"no line for the class {', '.join(missing[:_SHOWN])}; check at least one sample of each class")
    if faults:
        more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError("\n  ".join([f"trusted_labels: {path} cannot be used:", *faults[:_SHOWN]]) + more)
    rows, target = torch.tensor(list(found)), torch.tensor(list(found.values()))
    order = _in_turn(target)
    return TrustedRows(rows[order], target[order])


def _in_turn(target: Tensor) -> Tensor:
    """An order in which the classes take turns until they run out: the first row of each, then the second of each, ..."""
    rank = torch.zeros_like(target)
    for k in target.unique():
        members = target == k
        rank[members] = torch.arange(int(members.sum()))
    return torch.argsort(rank * (int(target.max()) + 1) + target, stable=True)
