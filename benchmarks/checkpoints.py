"""What a checkpoint costs at N samples: its size, the time to write it, and what a resume adds to a start.

For each N and K a method with a tiny MLP has per-sample tables filled with random numbers, and its state is written to a folder:
``plain`` by ``torch.save`` alone, ``atomic`` as noisylab does it (written beside its place, read back against its checksums,
flushed to the disk, renamed, the one before kept). ``verify`` reads a file against its checksums, as ``--resume`` does with the
newest one; ``load`` reads the tensors. A resume costs ``verify`` and ``load`` and nothing else: batches are not replayed.

How to read it: ``time ratio`` is over ``plain`` in the same repeat; ``bytes a sample`` is the file's size less that with no
samples, divided by N. The page cache is warm, so reading is from memory: a disk adds its own time.

    python benchmarks/checkpoints.py [--short] [--rows 1000000] [--classes 10 100] [--folder DIR] [--out FILE]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import Report, parse, parser_for

from noisylab.engine.resume import AtomicCheckpointIO, damage
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP

METHODS: dict[str, Callable[..., NoisyLabelMethod]] = {"CrossEntropy": CrossEntropy, "ACT": ACT}


def state(method: NoisyLabelMethod, rows: int) -> dict[str, Any]:
    """A checkpoint of a method with full tables: optimizers and loops, a few kilobytes, are left out."""
    method.memory.allocate(rows)
    for name in method.memory:
        table = method.memory[name]
        table.copy_(torch.rand_like(table) if table.is_floating_point() else torch.randint_like(table, 100))
    return {"state_dict": method.state_dict()}


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("checkpoints", __doc__, repeats=9)
    parser.add_argument("--rows", type=int, help="N (default: 1,000,000; short: 100,000)")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100], help="K (default: 10 100)")
    parser.add_argument("--folder", type=Path, help="where the files go, to be removed (default: the system's temporary folder)")
    options = parse(parser, argv)
    rows = options.rows or (100_000 if options.short else 1_000_000)
    report = Report(options, "one checkpoint of a method's state; the page cache is warm")
    report.more |= {"n": rows}
    network = partial(MLP, in_features=8, hidden=(32,))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file, plain = Path(folder) / "last.ckpt", Path(folder) / "plain.ckpt"
        for name, make in METHODS.items():
            for k in options.classes:
                torch.save(state(make(k, network), 0), plain)
                empty = plain.stat().st_size
                checkpoint, io = state(make(k, network), rows), AtomicCheckpointIO()
                io.save_checkpoint(checkpoint, file)
                calls: dict[str, Callable[[], Any]] = {
                    "plain": partial(torch.save, checkpoint, plain),
                    "atomic": partial(io.save_checkpoint, checkpoint, file),
                    "verify": partial(damage, file),
                    "load": partial(torch.load, file, weights_only=True),
                }
                group = f"{name}, K = {k}, N = {rows:,}"
                report.measure(
                    {row: partial(timed, call) for row, call in calls.items()}, "plain", group=group, unit="checkpoint"
                )
                size = file.stat().st_size
                for entry in report.rows[-len(calls) :]:
                    entry |= {"bytes": size, "bytes_a_sample": (size - empty) / rows}
                print(f"{group}: {size / 2**20:,.1f} MiB, {(size - empty) / rows:.1f} bytes a sample")
    report.write()


if __name__ == "__main__":
    main()
