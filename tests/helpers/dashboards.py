"""What the dashboards' own files hold, read back without them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["WandbFile", "read_wandb", "tensorboard_of"]


@dataclass
class WandbFile:
    """An offline run of W&B.

    Attributes:
        run: of its records the one that describes the run.
        config: by top name, of all updates.
        history: logged rows, in their order.
        axes: the step metric of each defined name or pattern.
        summary: the last value of each name.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


def read_wandb(path: Path) -> WandbFile:
    """Read a .wandb file."""
    from wandb.proto import wandb_internal_pb2

    found = WandbFile()
    for data in _log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            found.config |= {_key(item): json.loads(item.value_json) for item in update}
        if kind == "history":
            found.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
        if kind == "metric":
            found.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if kind == "summary":
            found.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
    return found


def _key(item: Any) -> str:
    return str(item.key or "/".join(item.nested_key))


def _log_records(data: bytes, block: int = 32768) -> Iterator[bytes]:
    """The records of a LevelDB log behind a header of seven bytes, which is what an offline run of W&B is."""
    place, parts = 7, []
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def tensorboard_of(folder: Path) -> Any:
    """What TensorBoard's own plugins are given to read: a context with the data of a folder."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins.base_plugin import TBContext

    events = plugin_event_multiplexer.EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    return TBContext(data_provider=data_provider.MultiplexerDataProvider(events, str(folder)), multiplexer=events)
