"""Networks that are as wide as the data: ``in_features: auto``."""

from __future__ import annotations

from typing import Any

from noisylab.cli.errors import UserError
from noisylab.data.base import NoisyDataModule
from noisylab.data.rows import DenseRows, FileRows, MultiRows
from noisylab.data.shards.rows import ShardRows
from noisylab.data.text import Text

__all__ = ["asks_for_width", "with_width"]

_AUTO = "auto"
_KEY = "in_features"


def asks_for_width(node: Any) -> bool:
    """Whether some network of a method leaves the numbers of a sample to the data.

    Args:
        node: the method's part of a configuration.

    >>> asks_for_width({"network": {"class_path": "MLP", "init_args": {"in_features": "auto"}}})
    True
    """
    if isinstance(node, dict):
        return any((key == _KEY and value == _AUTO) or asks_for_width(value) for key, value in node.items())
    return isinstance(node, list) and any(map(asks_for_width, node))


def with_width(node: Any, data: NoisyDataModule) -> Any:
    """The method's part of a configuration with the numbers of a sample in place of each "auto".

    Args:
        node: of the configuration, left as it is.
        data: after ``setup`` or ``setup_blank``.

    Raises:
        UserError: for data whose samples are no single row of numbers in memory.
    """
    if isinstance(data, Text) and data.mixable:
        return _filled(node, data.num_features)
    rows: Any = data.source.train
    if isinstance(rows, FileRows | MultiRows | ShardRows):
        raise UserError(
            f"model: in_features=auto is for samples that are one row of numbers, and {type(data).__name__} has others here\n"
            "  name the widths, or choose a network for such inputs"
        )
    # of no rows, only the form says how many numbers one has
    return _filled(node, rows.values[0:0].flatten(1).shape[1] if isinstance(rows, DenseRows) else int(rows.row_size))


def _filled(node: Any, width: int) -> Any:
    if isinstance(node, dict):
        return {key: width if key == _KEY and value == _AUTO else _filled(value, width) for key, value in node.items()}
    return [_filled(item, width) for item in node] if isinstance(node, list) else node
