"""The flag --dataset: a table, and what its columns are for, as the values of a recipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import same_path, shown
from noisylab.cli.errors import UserError
from noisylab.cli.launch import first_process
from noisylab.cli.running.session import say
from noisylab.data.frames.columns import Columns
from noisylab.data.frames.hub import address_of
from noisylab.data.frames.module import written
from noisylab.data.frames.reading import read_tables, splits_of
from noisylab.data.frames.roles import roles_of
from noisylab.data.labels import check_label_table, read_labels

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = [
    "ROLES",
    "Dataset",
    "check_dataset_labels",
    "check_roles",
    "check_same_dataset",
    "dataset_of",
    "table_to_predict",
    "with_dataset",
]

Flags = list[tuple[str, str | None]]

ROLES = ("label", "text", "image", "audio", "features", "split", "id")
"""Flags that say what is in the table of --dataset."""

_OTHERS = ("images", "labels", "arrays", "file_column", "label_column", "skip_unreadable")
_ARGUMENTS = {"label": "label", "text": "text", "image": "image", "audio": "audio", "split": "split", "id": "id_column"}
_ANY: Flags = [("data", "Arrays"), ("data.path", "x")]  # a data set that nothing is read of


class Dataset(NamedTuple):
    """What --dataset stands for.

    Args:
        flags: (dotted key, text), as on the command line.
        said: what was guessed, in sentences.
        table: the training rows.
    """

    flags: Flags
    said: list[str]
    table: Columns


def check_roles(own: Mapping[str, str]) -> None:
    """Refuse flags that do not go together.

    Raises:
        UserError: naming them.
    """
    roles = [name for name in ROLES if name in own]
    if "dataset" not in own:
        if roles:
            hint = "; the table of --images is --labels FILE" if "images" in own else "; give that, too: --dataset FILE"
            raise UserError(f"--{roles[0]} says what is in the table of --dataset{hint}")
        return
    others = [name for name in _OTHERS if name in own]
    if others:
        hint = "; the column of the labels is --label COLUMN" if others[0] in ("labels", "label_column") else ""
        raise UserError(f"--{others[0]} does not go with --dataset, whose table has inputs and labels; leave it out{hint}")


def dataset_of(own: Mapping[str, str]) -> Dataset:
    """Read the table of --dataset, and find out what its columns are for.

    Args:
        own: the flags, which include "dataset".

    Raises:
        UserError: see `check_roles`.
        OSError, ValueError: the table cannot be read, or it is not clear what its columns are for.
    """
    check_roles(own)
    path = own["dataset"]
    table, _ = splits_of(read_tables(path), None, own.get("split"), None)
    features = None if "features" not in own else [name.strip() for name in own["features"].split(",") if name.strip()]
    if features == []:
        raise UserError("--features: name columns, with commas between them")
    label, text, image, audio = (own.get(name) for name in ("label", "text", "image", "audio"))
    roles = roles_of(table, label, text, image, audio, features, own.get("id"))
    flags: Flags = [("data", roles.data), ("data.table", address_of(path))]
    flags += [("data.split", own["split"])] if "split" in own else []
    flags += [(f"data.{key}", _written(value)) for key, value in roles.arguments.items()]
    return Dataset(flags, roles.said, table)


def _written(value: Any) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)


def check_dataset_labels(dataset: Dataset, missing: Any) -> None:
    """Refuse labels in which wrong ones cannot be found.

    Args:
        dataset: the table and its flags.
        missing: which labels are none, see `noisylab.data.missing.Missing`.

    Raises:
        ValueError: see `noisylab.data.labels.check_label_table`.
    """
    name = str(dict(dataset.flags)["data.label"])
    column = dataset.table.columns[name]
    where = f"the column {name} of {dataset.table.where}"
    names = None if column.names is None else np.array(column.names, dtype=np.str_)
    labels, gone = read_labels(written(column), where, missing, names)
    texts = column.texts()
    kept = np.flatnonzero(~gone.mask).tolist()
    ids = dataset.table.ids
    called = [f"row {row}" if ids is None else f"row {ids[row]}" for row in kept]
    check_label_table([texts[row] if column.names is not None else str(labels[row]) for row in kept], called, where)


def with_dataset(options: Options, stream: TextIO | None = None) -> Options:
    """The options of a command that trains, with values of a recipe in place of --dataset and the flags that belong to it.

    Args:
        options: of the command.
        stream: for what was guessed; None for the standard output, and the standard error where a configuration is printed.

    Raises:
        UserError: see `dataset_of`; and for mistakes in the rest of the command, which are found before data is read.
    """
    check_roles(options.own)
    if "dataset" not in options.own:
        return options
    named = [key for key, _ in options.flags if key in ("data", "data.table", "data.class_path")]
    if named:
        raise UserError(f"--{named[0]} and --dataset both say what the data is; give one")
    free: Flags = [(key, text) for key, text in options.flags if key.partition(".")[0] != "data"]
    if options.configs or "model" in dict(free):
        compose(options.configs, [*free, *_ANY], options.row)
    found = dataset_of(options.own)
    out = stream or (sys.stderr if "print_config" in options.own else sys.stdout)
    for line in found.said if first_process() else ():
        say(line, out)
    own = {key: value for key, value in options.own.items() if key not in ("dataset", *ROLES)}
    return replace(options, own=own, flags=[*found.flags, *options.flags])


def check_same_dataset(own: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
    """Refuse another table, or other columns, than a run was begun with.

    Args:
        own: the flags of the command.
        arguments: of the run's data.

    Raises:
        UserError: naming the flag, its value, and the run's.
    """
    begun = arguments.get("table")
    if "dataset" in own and (begun is None or not (own["dataset"] == begun or same_path(own["dataset"], begun))):
        was = "other data" if begun is None else shown(begun)
        raise UserError(
            f"--dataset {own['dataset']}: the run in --run_dir was started with {was}; leave it out, or start a new run"
        )
    features = arguments.get("columns")
    known = {flag: arguments.get(key) for flag, key in _ARGUMENTS.items()}
    known["features"] = None if features is None else ",".join(features)
    for flag, chosen in known.items():
        if flag in own and own[flag].replace(", ", ",") != chosen:
            was = chosen or "none"
            raise UserError(
                f"--{flag} {own[flag]}: the run in --run_dir was started with {was}; leave it out, or start a new run"
            )


def table_to_predict(own: Mapping[str, str]) -> Columns:
    """The rows of --dataset, of which classes are to be predicted.

    Args:
        own: the flags, which include "dataset" and perhaps "split".

    Raises:
        UserError: where there are several splits and none is named.
        OSError, ValueError: the table cannot be read, or has no such split.
    """
    tables = read_tables(own["dataset"])
    if len(tables) > 1 and "split" not in own:
        raise UserError(
            f"--dataset {own['dataset']} has the splits {', '.join(tables)}; say which to predict: --split {list(tables)[-1]}"
        )
    return splits_of(tables, None, own.get("split"), None)[0]
