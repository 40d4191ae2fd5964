"""The texts of a column, and what a user is told of those that are unusual."""

from __future__ import annotations

from collections.abc import Sequence

from noisylab.data.frames.columns import Columns
from noisylab.data.tabular.cells import number_of

__all__ = ["text_column", "texts_of"]

_REPLACED = "\ufffd"


def text_column(table: Columns, name: str | None, taken: Sequence[str]) -> str:
    """The name of the column with the texts.

    Args:
        table: to look in.
        name: as it was given; `None` for the only column of text that has no other use.
        taken: columns with another use, such as the label.

    Raises:
        ValueError: there is no such column, or not one, or it does not hold text.
    """
    if name is None:
        found = [other for other in table.of_kind("text") if other not in taken]
        if len(found) == 1:
            return found[0]
        which = f"several: {', '.join(found)}" if found else f"none; it has {', '.join(_kinds(table))}"
        raise ValueError(
            f"{table.where} should have one column of text besides {', '.join(taken)}, but has {which}. Name it: text"
        )
    kind = table.named(name, "text").kind
    if name in taken:
        raise ValueError(f"text={name!r} is the column that {table.where} has for another use; name the column with the texts")
    if kind != "text":
        advice = "Tabular learns from numbers and categories" if kind in ("number", "bool", "class", "vector") else "name another"
        raise ValueError(f"text={name!r}: the column of {table.where} holds {kind} values, not text; {advice}")
    return name


def texts_of(table: Columns, name: str) -> tuple[list[str], list[str]]:
    """The text of each row, "" for none, and what the user is told.

    Half a pair of surrogates, which stands for no character and which no encoder takes, becomes U+FFFD; nothing else is changed.

    Args:
        table: of N rows.
        name: of a column of text.
    """
    column = table.columns[name]
    texts, odd = [], []
    for row, text in enumerate(column.texts()):
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            odd.append(row)
            text = "".join(_REPLACED if "\ud800" <= letter <= "\udfff" else letter for letter in text)
        texts.append(text)
    where, said = f"the column {name} of {table.where}", []
    missing = int(column.missing.sum())
    empty = sum(not text.strip() for text in texts) - missing
    if missing:
        said.append(
            f"{where}: {_counted(missing)} without a text (the first: {int(column.missing.argmax())}) count as empty ones"
        )
    if empty > 0:
        said.append(f"{where}: {_counted(empty)} with an empty text stay")
    if odd:
        said.append(
            f"{where}: {_counted(len(odd))} with half a surrogate pair, which is no character (the first: {odd[0]}); it becomes "
            "U+FFFD"
        )
    some = [text for text in texts[:1000] if text.strip()]
    if some and all(number_of(text) is not None for text in some):
        said.append(f"{where} holds numbers; each is a word of its own here, while Tabular learns from their size")
    return texts, said


def _counted(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows > 1)}"


def _kinds(table: Columns) -> list[str]:
    return [f"{name} ({column.kind})" for name, column in table.columns.items()]
