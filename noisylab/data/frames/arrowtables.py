"""Columns of Arrow tables: those of parquet and feather files, of Hugging Face data sets and of data frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.data.frames.columns import Column, Columns, Kind, Media
from noisylab.data.frames.sniffing import media_kind
from noisylab.data.frames.textfiles import check_names, counted
from noisylab.data.frames.values import column_of_values, whole

__all__ = ["arrow", "columns_of_arrow"]

_FEW = 100  # names up to which a column of categories is one of classes, however few rows there are


def arrow() -> Any:
    """The package pyarrow.

    Raises:
        ModuleNotFoundError: naming the extra that brings it.
    """
    try:
        import pyarrow
        import pyarrow.compute
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'parquet and Arrow files need pyarrow ({error}): pip install "noisylab[tables]"', name="pyarrow"
        ) from error
    return pyarrow


def columns_of_arrow(table: Any, where: str, folder: Path | None = None) -> Columns:
    """The columns of an Arrow table, with what pandas and the package datasets have noted in it: row names, classes, pictures.

    Args:
        table: a `pyarrow.Table`.
        where: its name in messages.
        folder: what relative paths in it begin from.

    Raises:
        ValueError: two columns of one name, no row, text that is not UTF-8, or a class without a name.
    """
    check_names(table.column_names, where)
    metadata = table.schema.metadata or {}
    features = _features(metadata)
    index = [name for name in _index(metadata) if name in table.column_names]
    columns: dict[str, Column] = {}
    said: list[str] = []
    for name in table.column_names:
        try:
            columns[name], told = _Reader(table.column(name), name, where).column(features.get(name) or {})
        except UnicodeDecodeError as error:
            raise ValueError(f"the column {name} of {where} holds text that is not UTF-8 ({error}); write it anew") from error
        said += told
    ids = None
    if index and len(index) < len(columns):
        parts = [columns.pop(name).texts() for name in index]
        ids = ["/".join(row) for row in zip(*parts, strict=True)]
        said.append("rows are named by the index of its data frame")
    return counted(Columns(where, columns, ids=ids, folder=folder), said)


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What the package datasets has noted about the columns: ``_type`` and more, by name."""
    try:
        noted = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):  # none, or of another version
        return {}
    return {name: feature for name, feature in noted.items() if isinstance(feature, dict)}


def _index(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The columns that pandas has written its row names to; none for numbers from 0."""
    try:
        noted = json.loads(metadata.get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in noted if isinstance(name, str)]


class _Reader:
    """Turns one Arrow column into one of ours.

    Args:
        chunks: a `pyarrow.ChunkedArray`.
        name: of the column.
        where: the table's name in messages.
    """

    def __init__(self, chunks: Any, name: str, where: str) -> None:
        self.pa, self.name, self.where = arrow(), name, where
        while isinstance(chunks.type, self.pa.BaseExtensionType):
            chunks = self.pa.chunked_array([chunk.storage for chunk in chunks.chunks], type=chunks.type.storage_type)
        self.chunks, self.type = chunks, chunks.type
        self.missing = np.asarray(chunks.is_null(nan_is_null=True).combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)

    def column(self, feature: Mapping[str, Any]) -> tuple[Column, list[str]]:
        """The column, and what the user is told about it.

        Args:
            feature: what the package datasets has noted, see `_features`.
        """
        types, kind = self.pa.types, feature.get("_type")
        if kind == "ClassLabel" and types.is_integer(self.type) and feature.get("names"):
            return self._classes(tuple(map(str, feature["names"]))), []
        if kind == "Image" or kind == "Audio":
            media = self._media("image" if kind == "Image" else "audio")
            if media is not None:
                return media, []
        if types.is_dictionary(self.type):
            return self._dictionary()
        if self._is_text(self.type):
            texts = self.chunks.to_pylist()
            return Column("text", ["" if text is None else text for text in texts], self.missing), []
        if types.is_boolean(self.type):
            return Column("bool", self._array(self.chunks.fill_null(False)).astype(bool), self.missing), []
        if types.is_integer(self.type):
            if types.is_uint64(self.type):
                return whole(self.name, self.chunks.to_pylist(), self.missing)
            return Column("number", self._array(self.chunks.fill_null(0)).astype(np.int64), self.missing), []
        if types.is_floating(self.type) or types.is_decimal(self.type):
            return Column("number", self._array(self.chunks.cast(self.pa.float64())), self.missing), []
        if types.is_timestamp(self.type) or types.is_date(self.type):
            said = [f"{self.name}: times are in UTC"] if types.is_timestamp(self.type) and self.type.tz else []
            return Column("date", self._array(self.chunks).astype("datetime64"), self.missing), said
        if self._is_list(self.type):
            return self._list()
        if types.is_struct(self.type) or self._is_binary(self.type):
            found = media_kind(self._first())
            media = None if found is None else self._media(found)
            if media is not None:
                return media, []
        return column_of_values(self.name, self.chunks.to_pylist())

    def _array(self, chunks: Any) -> np.ndarray[Any, Any]:
        return np.asarray(chunks.combine_chunks().to_numpy(zero_copy_only=False))

    def _is_text(self, kind: Any) -> bool:
        types = self.pa.types
        return types.is_string(kind) or types.is_large_string(kind) or _is(types, "is_string_view", kind)

    def _is_binary(self, kind: Any) -> bool:
        types = self.pa.types
        fixed = types.is_fixed_size_binary(kind)
        return types.is_binary(kind) or types.is_large_binary(kind) or _is(types, "is_binary_view", kind) or fixed

    def _is_list(self, kind: Any) -> bool:
        types = self.pa.types
        return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)

    def _classes(self, names: tuple[str, ...]) -> Column:
        places = self._array(self.chunks.cast(self.pa.int64()).fill_null(-1))
        wrong = np.flatnonzero((places < -1) | (places >= len(names)))
        if len(wrong):
            raise ValueError(
                f"the column {self.name} of {self.where} has the class {places[wrong[0]]} in row {wrong[0]}, but names "
                f"{len(names)} classes, 0 to {len(names) - 1} ({len(wrong):,} such rows); correct the names or the rows"
            )
        return Column("class", places, places < 0, names)

    def _dictionary(self) -> tuple[Column, list[str]]:
        """Categories keep their order as classes; those with about a name a row are text."""
        unified = self.chunks.unify_dictionaries().combine_chunks()
        unified = unified.chunk(0) if isinstance(unified, self.pa.ChunkedArray) else unified
        names = unified.dictionary.to_pylist()
        different = all(name is not None for name in names) and len(set(map(str, names))) == len(names)
        few = len(names) <= max(_FEW, len(unified) // 2)
        if not names or not different or not few or not self._is_text(self.type.value_type):
            plain = self.pa.chunked_array([unified.dictionary_decode()])
            return _Reader(plain, self.name, self.where).column({})
        places = unified.indices.cast(self.pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        return Column("class", places, places < 0, tuple(map(str, names))), []

    def _list(self) -> tuple[Column, list[str]]:
        """Vectors where all lists are of numbers and equally long."""
        types, compute = self.pa.types, self.pa.compute
        value = self.type.value_type
        if types.is_floating(value) or types.is_integer(value):
            there = self.chunks.drop_null()
            lengths = set(compute.list_value_length(there).unique().to_pylist())
            if len(lengths) == 1 and lengths != {0}:
                flat = compute.list_flatten(there).cast(self.pa.float64() if types.is_integer(value) else value)
                numbers = self._array(flat).astype(np.float32)  # NaN where a list holds null
                vectors = np.zeros((len(self.chunks), lengths.pop()), dtype=np.float32)
                vectors[~self.missing] = numbers.reshape(-1, vectors.shape[1])
                return Column("vector", vectors, self.missing), []
        return Column("other", self.chunks.to_pylist(), self.missing), []

    def _first(self) -> Any:
        """The first value that there is."""
        place = int(np.argmin(self.missing)) if not self.missing.all() else -1
        return None if place < 0 else self.chunks[place].as_py()

    def _media(self, kind: Kind) -> Column | None:
        """Files by path or content; `None` where the values are neither."""
        values = self.chunks.to_pylist()
        if self._is_text(self.type):
            files = [Media() if value is None else Media(path=value) for value in values]
        elif self._is_binary(self.type):
            files = [Media() if value is None else Media(content=value) for value in values]
        elif self.pa.types.is_struct(self.type):
            files = [Media() if value is None else Media(value.get("path"), value.get("bytes")) for value in values]
        else:
            return None
        return Column(kind, files, np.array([media.path is None and media.content is None for media in files], dtype=bool))


def _is(types: Any, check: str, kind: Any) -> bool:
    """A check that older releases of pyarrow lack, as they lack the type."""
    return bool(getattr(types, check, lambda kind: False)(kind))
