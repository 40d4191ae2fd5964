"""Data sets that need not fit in memory: time and peak memory of packing, opening, planning and training.

    python benchmarks/rows.py --rows 1000000 --shape 3 32 32 --folder /tmp/rows
    python benchmarks/rows.py --rows 10000000 --shape 16 --batches 1000 --folder /tmp/rows
    python benchmarks/rows.py --rows 1000000 --classes 500 --stage remember --folder /tmp/rows    # or remember-mapped

Rows are made up: vectors and images are noise around a mean of their class. Each stage is a process of its own, so that its
peak, which the system counts (``ru_maxrss``, the largest of the process and its children), is its own; pages of mapped files that
the process has touched are in it, though the system takes them back when it needs them. ``CPU seconds`` say more than seconds on
a machine that others use. Digests of all files are computed in the stage "open" and remembered in the folder for those after it.
The folder is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from noisylab.checkpoints.atomic import AtomicCheckpointIO
from noisylab.data.shards.module import Shards
from noisylab.data.shards.packing import pack_arrays
from noisylab.memory import SampleMemory
from noisylab.methods import CrossEntropy
from noisylab.models import MLP
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.types import Inputs

__all__ = ["main"]

Stage = Callable[[argparse.Namespace], dict[str, Any]]
CLASSES, BLOCK = 10, 65536


class Tiny(Network):
    """One convolution with large steps, so that reading rows is what takes time."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(32, num_classes)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, K) logits."""
        logits: torch.Tensor = self.head(self.body(inputs))
        return logits


def blocks(rows: int, shape: tuple[int, ...]) -> Iterator[np.ndarray[Any, Any]]:
    """Made-up rows, `BLOCK` at a time; float32 of vectors, uint8 of images."""
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        draw = np.random.default_rng(start)
        middle = ((np.arange(start, start + count) % CLASSES) / CLASSES).reshape(-1, *(1,) * len(shape))
        if len(shape) == 1:
            yield (draw.standard_normal((count, *shape), dtype=np.float32) + 4 * middle).astype(np.float32)
        else:
            yield (draw.integers(0, 128, (count, *shape), dtype=np.uint8) + (120 * middle).astype(np.uint8)).astype(np.uint8)


def pack(args: argparse.Namespace) -> dict[str, float]:
    """Write the pack, with a name for each row."""
    names = (f"images/n{row % 1000:08d}/n{row % 1000:08d}_{row:08d}.JPEG" for row in range(args.rows))
    shape = tuple(args.shape)
    given = torch.arange(args.rows) % CLASSES
    pack_arrays(blocks(args.rows, shape), given, [str(k) for k in range(CLASSES)], args.pack, names=names)
    size = sum(file.stat().st_size for file in args.pack.iterdir())
    return {"GiB on disk": size / 2**30}


def opened(args: argparse.Namespace) -> Shards:
    """The data module after ``setup``, with noise, held-out rows and few labels less."""
    data = Shards(str(args.pack), noise=Symmetric(0.4), val_fraction=0.01, flip=0.5, batch_size=args.batch, verify=args.verify)
    data.setup()
    return data


def open_pack(args: argparse.Namespace) -> dict[str, float]:
    """Check every file, draw the noise, divide the rows."""
    data = opened(args)
    return {"rows": len(data.given_target), "MiB of names": (data.source.names.nbytes if data.source.names else 0) / 2**20}  # type: ignore[attr-defined]


def plan(args: argparse.Namespace) -> dict[str, float]:
    """The above, and the order of an epoch."""
    from noisylab.data.planned import planned
    from noisylab.types import EpochPlan

    data = opened(args)
    start = time.perf_counter()
    first = planned(EpochPlan(), 0, 0, data.split, data.view_set(), args.batch)
    first.batch(0)
    return {"seconds of the plan": time.perf_counter() - start}


def train(args: argparse.Namespace) -> dict[str, float]:
    """The above, and an epoch, or some of its batches, with a tiny network."""
    data = opened(args)
    network: Callable[..., Any] = Tiny if len(args.shape) == 3 else partial(MLP, in_features=args.shape[0], hidden=(32,))
    method = CrossEntropy(num_classes=CLASSES, network=network)
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=args.batches or 1.0,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )
    start = time.perf_counter()
    trainer.fit(method, datamodule=data)
    seconds = time.perf_counter() - start
    return {"seconds of fit": seconds, "rows a second": trainer.global_step * args.batch / seconds, "steps": trainer.global_step}


def remember(args: argparse.Namespace, limit: float | None = None) -> dict[str, float]:
    """What a method remembers of the samples, a number for each class: written, saved, and read back into a new table."""
    args.folder.mkdir(parents=True, exist_ok=True)
    memory = _allocated(args, limit)
    values = torch.rand(args.batch, args.classes)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for _ in range(args.batches or 1000):
        memory.write("target", torch.randint(args.rows, (args.batch,), generator=generator), values)
    written = time.perf_counter()
    io, file = AtomicCheckpointIO(), args.folder / "last.ckpt"
    io.save_checkpoint({"memory": memory.get_extra_state(), "global_step": 1}, file)
    saved = time.perf_counter()
    other = _allocated(args, limit)
    allocated = time.perf_counter()
    other.set_extra_state(io.load_checkpoint(file)["memory"])
    seconds = time.perf_counter() - allocated
    same = all(
        bool((mine == theirs).all())
        for mine, theirs in zip(memory["target"].split(BLOCK), other["target"].split(BLOCK), strict=True)
    )
    size = file.stat().st_size / 2**30
    file.unlink()
    file.with_name(f"{file.name}.previous").unlink(missing_ok=True)
    if not same:
        raise AssertionError("what was read back is not what was saved")
    return {
        "us a batch": 1e6 * (written - start) / (args.batches or 1000),
        "GiB saved": size,
        "seconds to save": saved - written,
        "seconds to load": seconds,
    }


def _allocated(args: argparse.Namespace, limit: float | None) -> SampleMemory:
    memory = SampleMemory()
    memory.add("target", args.classes)
    memory.allocate(args.rows, limit, args.folder)
    return memory


STAGES: dict[str, Stage] = {"pack": pack, "open": open_pack, "plan": plan, "train": train}
ALONE: dict[str, Stage] = {"remember": remember, "remember-mapped": partial(remember, limit=0)}


def _stage(name: str, args: argparse.Namespace) -> None:
    start, used = time.perf_counter(), time.process_time()
    found = (STAGES | ALONE)[name](args)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    print(
        json.dumps({"stage": name, "seconds": seconds, "CPU seconds": used, "GiB peak": peak, **found}),
        flush=True,
    )


def main() -> None:
    """Run every stage in a process of its own and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shape", type=int, nargs="+", default=[3, 32, 32])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=0, help="of the epoch; 0 for all")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, removed at the end")
    parser.add_argument("--verify", default="once", help="see Shards")
    parser.add_argument("--classes", type=int, default=500, help="of what is remembered")
    parser.add_argument("--stage", choices=[*STAGES, *ALONE], help="one stage alone, of a folder that is there")
    args = parser.parse_args()
    args.pack = args.folder / "pack"
    if args.stage:
        _stage(args.stage, args)
        return
    args.folder.mkdir(parents=True)
    try:
        for name in STAGES:
            remembered = {**os.environ, "NOISYLAB_CACHE": str(args.folder / "cache")}
            subprocess.run([sys.executable, *sys.argv, "--stage", name], check=True, env=remembered)
    finally:
        shutil.rmtree(args.folder)


if __name__ == "__main__":
    main()
