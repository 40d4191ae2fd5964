"""Data sets of the package datasets: those of the hub of Hugging Face, and those in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from noisylab.data.frames.arrowtables import columns_of_arrow
from noisylab.data.frames.columns import Columns

__all__ = ["address_of", "columns_of_dataset", "hub_name", "read_hub", "splits_of_dataset"]

_HUB = "hf://"
_FILES = (".csv", ".gz", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".arrow", ".feather")  # of files, there or not
_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?")


def hub_name(path: str) -> tuple[str, str | None, str | None] | None:
    """The name of a data set of the hub, its configuration and its revision; `None` for what can only be a file.

    Args:
        path: ``owner/name``, ``owner/name:configuration``, either followed by ``@revision``, perhaps with ``hf://`` before it.

    >>> hub_name("hf://stanfordnlp/imdb@e6281661"), hub_name("./reviews"), hub_name("nyu-mll/glue:sst2")
    (('stanfordnlp/imdb', None, 'e6281661'), None, ('nyu-mll/glue', 'sst2', None))
    """
    found = _NAME.fullmatch(path.removeprefix(_HUB).removeprefix("datasets/"))
    if found is None or path.startswith((".", "/", "~")):
        return None
    return found["name"], found["config"], found["revision"]


def address_of(path: str) -> str:
    """The same path, or the address ``hf://owner/name`` where it names no file or folder but can be a data set of the hub.

    Recipes and run folders keep addresses as they are, where paths become absolute.
    """
    file = Path(path).expanduser()
    if file.exists() or path.startswith(_HUB) or file.suffix.lower() in _FILES or hub_name(path) is None:
        return path
    return f"{_HUB}{path}"


def _datasets() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'data sets of the hub need the package datasets ({error}): pip install "noisylab[datasets]"', name="datasets"
        ) from error
    return datasets


def read_hub(path: str) -> dict[str, Columns]:
    """The splits of a data set of the hub, downloaded or out of the cache of the package datasets. No code of it is run.

    Args:
        path: see `hub_name`. Without a revision it is what the hub has today, which is said.

    Raises:
        ModuleNotFoundError: without the package.
        FileNotFoundError: there is neither such a file nor, as far as can be seen from here, such a data set.
        ValueError: it cannot be read without running code of its own, or needs a configuration.
    """
    named = hub_name(path)
    assert named is not None
    name, config, revision = named
    datasets = _datasets()
    try:
        loaded = datasets.load_dataset(name, config, revision=revision)
    except (datasets.exceptions.DatasetNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{name} is no file or folder here, and cannot be fetched from the hub ({_line(error)}). Check the name and the "
            "network; where there is one, load_dataset(...).save_to_disk(FOLDER) saves it in a folder that can be read here"
        ) from error
    except (ValueError, RuntimeError, ImportError) as error:
        hint = "; say which as owner/name:configuration" if "onfig name" in str(error) else ""
        raise ValueError(f"the data set {name} of the hub cannot be read: {_line(error)}{hint}") from error
    tables = splits_of_dataset(loaded, name)
    if revision is None:
        for table in tables.values():
            table.account.append(f"{name} is what the hub had when it was fetched; {name}@REVISION pins it")
    return tables


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def splits_of_dataset(dataset: Any, where: str) -> dict[str, Columns]:
    """The tables of a `datasets.DatasetDict` by split, or of a `datasets.Dataset` as "train".

    Args:
        dataset: in memory.
        where: its name in messages.

    Raises:
        TypeError: for anything else.
    """
    if hasattr(dataset, "features") and isinstance(getattr(dataset, "num_rows", None), int):
        return {"train": columns_of_dataset(dataset, where)}
    if isinstance(dataset, dict) and dataset and all(isinstance(getattr(one, "num_rows", None), int) for one in dataset.values()):
        return {str(name): columns_of_dataset(one, f"{where}, split {name}") for name, one in dataset.items()}
    kind = type(dataset).__name__
    hint = "; load it without streaming=True" if "Iterable" in kind else ""
    raise TypeError(f"{kind} is no datasets.Dataset or DatasetDict with rows in memory or in files{hint}")


def columns_of_dataset(dataset: Any, where: str) -> Columns:
    """The columns of a `datasets.Dataset`; pictures and recordings are not decoded."""
    table = dataset.with_format("arrow")[:]
    metadata = dict(table.schema.metadata or {})
    metadata.update(dataset.features.arrow_schema.metadata or {})
    return columns_of_arrow(table.replace_schema_metadata(metadata), where)
