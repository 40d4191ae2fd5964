"""One of two processes whose batch normalization is over the whole batch: ``python -m helpers.sync_ranks RANK PORT FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from helpers.packaged import PACKAGED
from helpers.ranks import run
from helpers.toy import BatchNormMLP, PlainMLP
from noisylab.engine.ranks import may_leave_out

SYNCHRONIZED = ("ce", "coteaching", "elrplus")  # automatic, two networks by hand, averaged copies


def plain_methods() -> list[str]:
    """Methods for which DDP need not look for unused parameters."""
    return [name for name, make in PACKAGED.items() if not may_leave_out(make(PlainMLP))]


def synchronized_run(name: str, folder: Path, **kwargs: Any) -> dict[str, Any]:
    """A run with batch normalization."""
    return run(name, folder, network=BatchNormMLP, **kwargs)


def main(rank: int, port: int, folder: Path) -> None:
    """Everything this rank does."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({key: str(value) for key, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    for name in SYNCHRONIZED:
        state = synchronized_run(name, folder / f"sync-{name}", devices=2, sync_batchnorm=True)
        torch.save(state, folder / f"sync-{name}-{rank}.pt")
    for name in plain_methods():
        print("plain", name, flush=True)
        torch.save(run(name, folder / f"plain-{name}", devices=2), folder / f"plain-{name}-{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
