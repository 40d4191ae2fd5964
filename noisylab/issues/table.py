"""The ranked list of labels, and the file that holds it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from noisylab.data.labels import in_order
from noisylab.files import atomic_path

__all__ = ["KEYS", "LABEL_ISSUES", "SIGNALS", "IssueTable", "read_issues"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

LABEL_ISSUES = "label_issues.csv"
"""Name of the file in a run folder."""

SIGNALS = ("mean_loss", "mean_margin", "clean_prob", "agreement")
"""Columns of what a score came from; empty where a method has none."""

KEYS = ("file", "id", "index")
"""The first column: what each row is called by."""

_COLUMNS = ("given", "suggested", "score", "is_issue", "confidence")


@dataclass(frozen=True)
class IssueTable:
    """The labels of M training samples, the most likely to be wrong first.

    Args:
        index: (M,) rows of the original training set.
        names: (M) files or other names of the rows, or `None` for data without.
        class_names: K names of the classes.
        given: (M,) given class, 0..K-1.
        suggested: (M,) class that the method takes the sample for; never the given one where `is_issue`.
        score: (M,) in [0, 1], how surely the given label is wrong; falling. See `noisylab.issues.ranking`.
        is_issue: (M,) whether the label is taken to be wrong.
        confidence: (M,) in [0, 1], the method's mean probability of the suggested class.
        signals: (M,) of each of `SIGNALS` that there is; NaN where unknown.
        called: what `names` are: "file", or "id" for names that a table has for its rows.
    """

    index: Ints
    names: list[str] | None
    class_names: tuple[str, ...]
    given: Ints
    suggested: Ints
    score: Floats
    is_issue: Bools
    confidence: Floats
    signals: Mapping[str, Floats] = field(default_factory=dict)
    called: str = "file"

    def __len__(self) -> int:
        return len(self.index)

    @property
    def keys(self) -> list[str]:
        """The name of each row, or else its number."""
        return [str(row) for row in self.index.tolist()] if self.names is None else self.names

    @property
    def key(self) -> str:
        """What the rows are called by: "file", "id" or "index", the first column of the file."""
        return "index" if self.names is None else self.called

    def head(self, count: int) -> IssueTable:
        """The first `count` rows."""
        return self.take(np.arange(min(count, len(self))))

    def take(self, rows: Ints) -> IssueTable:
        """Some rows, by their places in the table, in the order of `rows`."""
        return IssueTable(
            index=self.index[rows],
            names=None if self.names is None else [self.names[row] for row in rows.tolist()],
            class_names=self.class_names,
            given=self.given[rows],
            suggested=self.suggested[rows],
            score=self.score[rows],
            is_issue=self.is_issue[rows],
            confidence=self.confidence[rows],
            signals={name: values[rows] for name, values in self.signals.items()},
            called=self.called,
        )

    def write(self, path: str | Path) -> None:
        """Write the table atomically as comma-separated text: after an error, the file is as it was before."""
        texts = self.class_names
        columns = [values.tolist() for values in (self.given, self.suggested, self.score, self.is_issue, self.confidence)]
        kept = [self.signals[name].tolist() if name in self.signals else None for name in SIGNALS]
        with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow([self.key, *_COLUMNS, *SIGNALS])
            for row, key in enumerate(self.keys):
                given, suggested, score, is_issue, confidence = (column[row] for column in columns)
                signals = ["" if values is None or values[row] != values[row] else f"{values[row]:.6f}" for values in kept]
                writer.writerow([key, texts[given], texts[suggested], f"{score:.6f}", is_issue, f"{confidence:.6f}", *signals])


def read_issues(path: str | Path, class_names: Sequence[str] | None = None, names: Sequence[str] | None = None) -> IssueTable:
    """Read a file written by `IssueTable.write`; unknown columns are ignored.

    Args:
        path: the file.
        class_names: the classes in their order; `None` for the names that occur, as `in_order` has them.
        names: (N) names of the rows of the training set, by which they get their number; `None` numbers them in the
            order of the table.

    Raises:
        FileNotFoundError: without the file.
        ValueError: for a file that lacks a column, or a row that holds no numbers where some belong, naming the row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; a finished run has one, label_issues.csv")
    # file names need not be text: Python keeps their bytes as lone surrogates
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            lines, header = list(reader), list(reader.fieldnames or [])
    except csv.Error as error:
        raise ValueError(f"{path} is not a table ({error}); a new run writes it again") from error
    key = next((name for name in KEYS if name in header), "index")
    absent = [name for name in (key, *_COLUMNS) if name not in header]
    if absent:
        raise ValueError(f"{path} has no column {absent[0]}; it needs file, id or index, {', '.join(_COLUMNS)}")
    occurring = (line[name] for line in lines for name in ("given", "suggested"))
    found = in_order(occurring) if class_names is None else class_names
    classes = {name: number for number, name in enumerate(found)}
    known = None if names is None else {name: number for number, name in enumerate(names)}
    cells: dict[str, list[float]] = {name: [] for name in ("index", *_COLUMNS, *SIGNALS)}
    for number, line in enumerate(lines, start=2):
        try:
            row = int(line[key]) if key == "index" else (number - 2 if known is None else known[line[key]])
            cells["index"].append(row)
            for name in ("given", "suggested"):
                cells[name].append(classes[line[name]])
            cells["is_issue"].append({"true": 1, "false": 0}[line["is_issue"].lower()])
            for name in ("score", "confidence"):
                cells[name].append(float(line[name]))
            for name in SIGNALS:
                cells[name].append(float(line.get(name) or "nan"))
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, row {number}: {error} cannot be read; use the file as noisylab wrote it: a new run writes it again"
            ) from error
    floats = {name: np.array(cells[name], dtype=np.float64) for name in ("score", "confidence", *SIGNALS)}
    return IssueTable(
        index=np.array(cells["index"], dtype=np.int64),
        names=None if key == "index" else [line[key] for line in lines],
        class_names=tuple(found),
        given=np.array(cells["given"], dtype=np.int64),
        suggested=np.array(cells["suggested"], dtype=np.int64),
        score=floats["score"],
        is_issue=np.array(cells["is_issue"], dtype=bool),
        confidence=floats["confidence"],
        signals={name: floats[name] for name in SIGNALS},
        called="file" if key == "index" else key,
    )
