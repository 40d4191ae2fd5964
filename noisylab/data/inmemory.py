"""Data modules of tables that are in memory already: data sets of Hugging Face, data frames, data sets of torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from noisylab.data.frames.columns import Columns
from noisylab.data.frames.dataframes import columns_of_dataframe
from noisylab.data.frames.hub import splits_of_dataset
from noisylab.data.frames.module import FrameData
from noisylab.data.frames.reading import splits_of
from noisylab.data.frames.roles import roles_of
from noisylab.data.frames.torchsets import columns_of_torch
from noisylab.data.notes import note

__all__ = ["from_dataframe", "from_dataset", "from_torch"]

_HOME = "noisylab.data"  # of the classes that `roles_of` names; looked up late, as this file is a part of it


def from_dataset(
    dataset: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    features: Sequence[str] | None = None,
    test: Any = None,
    split: str | None = None,
    test_split: str | None = None,
    **kwargs: Any,
) -> FrameData:
    """The data module of a data set of Hugging Face: `Text`, `TableImages`, `Sound` or `Tabular`, by what is learned from.

    Names of classes are kept, pictures and sound are not decoded before they are needed, and rows keep their numbers. Columns
    that are not named are guessed where there is one choice, see `noisylab.data.frames.roles.roles_of`, and what was guessed is
    said. Training, exact resume and prediction work as for data in files; a configuration file cannot name data in memory, so
    ``noisylab fit`` needs them in a file or folder instead (``dataset.save_to_disk``), which `--dataset` reads.

    Args:
        dataset: a `datasets.Dataset`, or a `datasets.DatasetDict`, whose splits "train" and "test" are used.
        label: the column of the labels.
        text: the column of texts to learn from.
        image: the column of pictures, instead.
        audio: the column of recordings, instead.
        features: columns of numbers and categories, or one of vectors, instead.
        test: a `datasets.Dataset` of test rows.
        split: of a `DatasetDict`, to train on; `None` for "train", or the only one.
        test_split: likewise, to test on; `None` for "test" or, without one, that for validation, which is said.
        **kwargs: of the data module, such as ``noise`` or ``batch_size``.

    Raises:
        TypeError: for anything else, such as a data set that is streamed.
        ValueError: when it is not clear which columns are meant, or a column or split is not there.

    Example:
        >>> import datasets
        >>> rows = datasets.Dataset.from_dict({"x": [0.5, 1.5, 2.5, 3.5], "label": ["a", "a", "b", "b"]})
        >>> data = from_dataset(rows, label="label", features=["x"])
        >>> data.setup()
        >>> type(data).__name__, data.source.class_names
        ('Tabular', ('a', 'b'))
    """
    tables = splits_of_dataset(dataset, "<data set>")
    if test is not None:
        if test_split is not None:
            raise ValueError(f"test and test_split={test_split!r} both name the test rows; give one")
        tables = {**tables, "test": _only(splits_of_dataset(test, "<test data set>"), "test")}
    columns = {"label": label, "text": text, "image": image, "audio": audio, "features": features}
    return _module(tables, split, test_split, columns, kwargs)


def from_dataframe(
    frame: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    features: Sequence[str] | None = None,
    test: Any = None,
    **kwargs: Any,
) -> FrameData:
    """The data module of a data frame of pandas or polars, or of a table of pyarrow; see `from_dataset`.

    Rows are named by the index of the data frame of pandas, unless it counts from 0. Categories are classes in their order.

    Args:
        frame: the training rows. Columns of pictures hold paths, bytes of files, or pictures of Pillow.
        label: see `from_dataset`, as for the next four.
        text: likewise.
        image: likewise.
        audio: likewise.
        features: likewise.
        test: a data frame of test rows.
        **kwargs: see `from_dataset`.

    Raises:
        TypeError: for anything else, such as a lazy frame.
        ValueError: see `from_dataset`.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5], "y": ["a", "a", "b", "b"]}, index=["r0", "r1", "r2", "r3"])
        >>> data = from_dataframe(frame, label="y", features=["x"])
        >>> data.setup()
        >>> data.source.names
        ['r0', 'r1', 'r2', 'r3']
    """
    tables = {"train": columns_of_dataframe(frame, "<data frame>")}
    if test is not None:
        tables["test"] = columns_of_dataframe(test, "<test data frame>")
    columns = {"label": label, "text": text, "image": image, "audio": audio, "features": features}
    return _module(tables, None, None, columns, kwargs)


def from_torch(
    dataset: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    features: Sequence[str] | None = None,
    test: Any = None,
    names: Sequence[str] | None = None,
    **kwargs: Any,
) -> FrameData:
    """The data module of a map-style data set of torch or torchvision; see `from_dataset`.

    All items are read once. An item is a tuple (input, label, ...) or a dictionary; an input is a picture (of Pillow, or a tensor
    of pixels as ``ToTensor`` makes it), a vector of numbers, or a text. Random augmentation and normalization belong out of the
    data set: the data module makes the views that methods ask for.

    Args:
        dataset: the training rows. Names of classes are taken from its attribute ``classes``, as torchvision has it.
        label: see `from_dataset`, as for the next four; `None` for the second part of tuples.
        text: likewise.
        image: likewise; `None` takes the first part of tuples for what it holds.
        audio: likewise.
        features: likewise.
        test: a data set of test rows.
        names: of the parts of tuples; `None` for "input", "label", "part2", "part3" and so on.
        **kwargs: see `from_dataset`.

    Raises:
        TypeError: for an `IterableDataset`, which has no rows by number.
        ValueError: for items that differ when read again, or that are none of these.

    Example:
        >>> import torch
        >>> rows = torch.utils.data.TensorDataset(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        >>> data = from_torch(rows)
        >>> data.setup()
        >>> type(data).__name__, data.source.given.tolist()
        ('Tabular', [0, 0, 1, 1])
    """
    tables = {"train": columns_of_torch(dataset, "<torch data set>", names)}
    if test is not None:
        tables["test"] = columns_of_torch(test, "<torch test data set>", names)
    table = tables["train"]
    first, *others = table.columns
    if not isinstance(dataset[0], Mapping) and others:
        label = label or others[0]
        if text is None and image is None and audio is None and features is None and first != label:
            kind = table.columns[first].kind
            text, image = first if kind == "text" else None, first if kind == "image" else None
            features = [first] if kind in ("vector", "number") else None
    columns = {"label": label, "text": text, "image": image, "audio": audio, "features": features}
    return _module(tables, None, None, columns, kwargs)


def _only(tables: Mapping[str, Columns], argument: str) -> Columns:
    if len(tables) != 1:
        raise ValueError(f"{argument} has the splits {', '.join(tables)}; give one of them")
    return next(iter(tables.values()))


def _module(
    tables: Mapping[str, Columns], split: str | None, test_split: str | None, columns: dict[str, Any], kwargs: dict[str, Any]
) -> FrameData:
    """The module that the columns of the training table ask for."""
    first, _ = splits_of({**tables}, None, split, None)
    roles = roles_of(first, **columns, id_column=kwargs.get("id_column"))
    train, test = splits_of(tables, None, split, test_split, roles.arguments["label"])
    for text in roles.said:
        note(text)
    train.account.extend(roles.said)
    made = getattr(importlib.import_module(_HOME), roles.data).of(train, test, **{**roles.arguments, **kwargs})
    assert isinstance(made, FrameData)
    return made
