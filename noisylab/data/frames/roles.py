"""Which column of a table is the label and which are the inputs, guessed where there is one choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from noisylab.data.frames.clipfolders import SUFFIXES
from noisylab.data.frames.columns import Column, Columns, Kind
from noisylab.data.pictures import suffixes

__all__ = ["Roles", "roles_of"]

# names that data sets call their labels, the surest first; compared without case
_LABELS = (
    ("label", "labels", "given_label", "noisy_label", "target", "targets", "class", "y"),
    ("category", "sentiment", "intent", "topic", "species", "diagnosis", "classes", "outcome", "coarse_label", "fine_label"),
)
_TRUTHS = ("true_label", "clean_label", "gold_label", "true_labels", "clean_labels")
_IDS = ("id", "ids", "uid", "uuid", "guid", "row_id", "sample_id", "example_id", "doc_id", "document_id", "index", "idx", "key")
_TEXTS = ("text", "sentence", "review", "content", "body", "comment", "document", "message", "utterance", "question", "tweet")
_FLAGS = {"text": "--text", "image": "--image", "audio": "--audio", "vector": "--features"}
_CLASSES = {"text": "Text", "image": "TableImages", "audio": "Sound"}
_LABEL_KINDS: tuple[Kind, ...] = ("number", "bool", "text", "class")

_SAMPLE = 1000  # rows by which it is told what a text column holds
_WORDS = 3  # in the middle value of a column of texts to read, as opposed to names of categories
_FEW = 0.5  # share of the rows that different values of a column of categories are at most
_SHOWN = 8  # columns in a message


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for.

    Args:
        data: name of the class of data: "Text", "Tabular", "TableImages" or "Sound".
        arguments: of that class, as far as columns decide them.
        said: what was guessed and what is left out, in sentences.
    """

    data: str
    arguments: dict[str, Any]
    said: list[str] = field(default_factory=list)


def roles_of(
    table: Columns,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    features: Sequence[str] | None = None,
    id_column: str | None = None,
) -> Roles:
    """The class of data that a table is for, and what its columns are.

    What is named is taken; the rest is guessed where there is one choice. The label: the one column of classes, else one of a
    usual name (label, target, class, y, then category, sentiment, ...), else the one column whose values repeat. The inputs: a
    column of pictures, of recordings, of texts to read (most of them different, of several words) or of vectors, whichever there
    is, else all columns of numbers and categories. A column of another label, such as one that says the same as the label in
    other words, is no input.

    Args:
        table: the training rows.
        label: its column, or `None`; and so on.
        text: of texts.
        image: of pictures.
        audio: of recordings.
        features: columns of numbers, categories or vectors.
        id_column: of the names of the rows.

    Raises:
        ValueError: naming a column that is not there or cannot be that, or the candidates where there are several or none.

    Example:
        >>> from noisylab.data.frames import Column
        >>> none = np.zeros(4, dtype=bool)
        >>> reviews = ["a dull film", "a fine film indeed", "dull and long", "fine and short"]
        >>> columns = {"review": Column("text", reviews, none), "sentiment": Column("text", list("nppn"), none)}
        >>> roles_of(Columns("films.csv", columns)).said
        ['label: the column sentiment; text: the column review']
    """
    inputs = {"text": text, "image": image, "audio": audio}
    named = [name for name, column in inputs.items() if column is not None] + (["features"] if features is not None else [])
    if len(named) > 1:
        raise ValueError(
            f"{' and '.join(f'--{name}' for name in named)} exclude each other: one kind of input is trained on; give one"
        )
    reading = _Reading(table)
    guessed: list[str] = []
    taken = {name for name in (text, image, audio, *(features or ())) if name is not None}
    row_id = _row_id(reading, id_column, {*taken, label})
    found = _label(reading, label, taken | ({row_id} if row_id else set()))
    truth = next((name for name in table.columns if name.casefold() in _TRUTHS and name not in {*taken, found}), None)
    if label is None:
        guessed.append(f"label: the column {found}")
    free = [name for name in table.columns if name not in {found, row_id, truth}]
    data, arguments, words = _inputs(reading, free, found, inputs, features)
    guessed += [words] if words else []
    if row_id is not None and id_column is None:
        guessed.append(f"row ids: the column {row_id}")
    said = ["; ".join(guessed)] if guessed else []
    if truth is not None:
        said.append(f"true labels: the column {truth}, for reports alone; training never sees it")
    if data != "Tabular" and not named:
        said += _unused([name for name in free if name not in arguments.values()])
    known = {"label": found, "id_column": row_id, "true_label": truth}
    return Roles(data, {**{key: value for key, value in known.items() if value is not None}, **arguments}, said)


class _Reading:
    """A table, and what its text columns turn out to hold.

    Args:
        table: it.
    """

    def __init__(self, table: Columns) -> None:
        self.table = table
        self.kinds = {name: self._kind(column) for name, column in table.columns.items()}

    def _kind(self, column: Column) -> str:
        """The kind of a column; one of text is "text" to read, "category", or file names of "image" or "audio"."""
        if column.kind != "text":
            return column.kind
        values = [value for value in _head(column) if value.strip()]
        if not values:
            return "category"
        endings = Counter(PurePath(value.strip()).suffix.lower() for value in values if len(value) < 1000 and "\n" not in value)
        for kind, known in (("image", suffixes()), ("audio", SUFFIXES)):
            if sum(many for ending, many in endings.items() if ending in known) > 0.9 * len(values):
                return kind
        lengths = sorted(_words(value) for value in values)
        varied = len(set(values)) > _FEW * len(values)
        return "text" if varied and lengths[len(lengths) // 2] >= _WORDS else "category"

    def all_different(self, name: str) -> bool:
        column = self.table.columns[name]
        if column.kind not in ("number", "text", "class") or column.missing.any():
            return False
        return _different(column) == len(column)

    def of(self, kind: str, among: Iterable[str]) -> list[str]:
        return [name for name in among if self.kinds[name] == kind]


def _head(column: Column) -> list[str]:
    step = max(len(column) // _SAMPLE, 1)
    return [str(column.values[row]) for row in range(0, len(column), step) if not column.missing[row]]


def _words(text: str) -> int:
    """Words, of which languages without blanks between them have one in about two signs."""
    wide = len(re.findall("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]", text))
    return len(text.split()) + wide // 2


def _different(column: Column) -> int:
    if isinstance(column.values, np.ndarray):
        return len(np.unique(column.values[~column.missing]))
    return len({value for value, gone in zip(column.values, column.missing.tolist(), strict=True) if not gone})


# ---- row ids and labels


def _row_id(reading: _Reading, asked: str | None, taken: Collection[str | None]) -> str | None:
    if asked is not None:
        reading.table.named(asked, "--id")
        return asked
    if reading.table.ids is not None:
        return None
    found = [
        name for name in reading.table.columns if name.casefold() in _IDS and name not in taken and reading.all_different(name)
    ]
    return found[0] if len(found) == 1 else None


def _label(reading: _Reading, asked: str | None, taken: Collection[str]) -> str:
    table = reading.table
    if asked is not None:
        column = table.named(asked, "--label")
        if asked in taken:
            raise ValueError(
                f"--label {asked}: the column is named as an input, too; labels that are inputs would be learned from themselves"
            )
        if column.kind not in _LABEL_KINDS:
            raise ValueError(f"--label {asked}: the column holds {column.kind} values; labels are whole numbers, text or classes")
        return asked
    usable = [name for name, column in table.columns.items() if name not in taken and column.kind in _LABEL_KINDS]
    usable = [name for name in usable if name.casefold() not in _TRUTHS and not reading.all_different(name)]
    classes = [name for name in usable if table.columns[name].kind == "class"]
    groups = [classes, *([name for name in usable if name.casefold() in names] for names in _LABELS)]
    if len(classes) > 1:  # of several, the one of a usual name
        groups = groups[1:]
        usable = classes
        groups = [[name for name in group if name in classes] for group in groups]
    groups.append([name for name in usable if _repeats(reading, name)])
    for candidates in groups:
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise ValueError(
                f"{table.where}: the label may be any of the columns {_listed(candidates)}; say which: --label {candidates[0]}"
            )
    raise ValueError(
        f"{table.where}: none of the columns {_listed(list(table.columns))} looks like labels, by name or by values that repeat; "
        "name theirs: --label COLUMN"
    )


def _repeats(reading: _Reading, name: str) -> bool:
    """Whether a column could be labels by its values alone: few of them, each several times."""
    column = reading.table.columns[name]
    if column.kind == "number" and column.values.dtype.kind == "f":  # type: ignore[union-attr]
        return False
    return reading.kinds[name] in ("category", "bool", "class", "number") and 2 <= _different(column) <= max(
        len(column) ** 0.5, 2
    )


# ---- inputs


def _inputs(
    reading: _Reading, free: Sequence[str], label: str, asked: dict[str, str | None], features: Sequence[str] | None
) -> tuple[str, dict[str, Any], str]:
    """The class of data, its arguments, and what was guessed."""
    for kind, name in asked.items():
        if name is not None:
            reading.table.named(name, f"--{kind}")
            return _CLASSES[kind], {kind: name}, ""
    if features is not None:
        for name in features:
            reading.table.named(name, "--features")
        return "Tabular", {"columns": list(features)}, ""
    found = {kind: reading.of(kind, free) for kind in ("image", "audio", "text", "vector")}
    usual = [name for name in found["text"] if name.casefold() in _TEXTS]
    if len(usual) == 1:
        found["text"] = usual
    whole = [(kind, name) for kind, names in found.items() for name in names]
    if len(whole) > 1:
        choices = ", ".join(f"{_FLAGS[kind]} {name}" for kind, name in whole[:_SHOWN])
        raise ValueError(f"{reading.table.where}: the input may be any of these columns; give one of {choices}")
    if whole and whole[0][0] != "vector":
        kind, name = whole[0]
        what = {"text": "text", "image": "pictures", "audio": "sound"}[kind]
        return _CLASSES[kind], {kind: name}, f"{what}: the column {name}"
    if whole:
        return "Tabular", {"columns": [whole[0][1]]}, f"features: the column {whole[0][1]}"
    return _other_columns(reading, free, label)


def _other_columns(reading: _Reading, free: Sequence[str], label: str) -> tuple[str, dict[str, Any], str]:
    """`Tabular` with all that is left, which leaves out itself what is of no use, and says so."""
    table = reading.table
    usable = [name for name in free if reading.kinds[name] in ("number", "bool", "class", "category", "date")]
    twins = [name for name in usable if _same_partition(table, name, label)]
    kept = [name for name in usable if name not in twins]
    if not kept:
        raise ValueError(
            f"{table.where}: besides the label, {label}, no column looks like an input; name it: --text, --image, --audio or "
            "--features COLUMN"
        )
    words = f"features: the {'columns' if len(kept) > 1 else 'column'} {_listed(kept)}"
    if twins:
        words += f"; left out, as another name of the label: {_listed(twins)}"
    return "Tabular", {"drop": twins} if twins else {}, words


def _same_partition(table: Columns, name: str, label: str) -> bool:
    """Whether a column of categories says the same as the label in other words, such as label_text beside label."""
    one, other = table.columns[name], table.columns[label]
    if one.kind == "number" and getattr(one.values, "dtype", np.dtype(float)).kind == "f":
        return False
    if _different(one) != _different(other):
        return False
    pairs = set(zip(one.texts(), other.texts(), strict=True))
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def _unused(names: Sequence[str]) -> list[str]:
    return [f"not used: {'the column' if len(names) == 1 else f'the {len(names)} columns'} {_listed(names)}"] if names else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
