"""What a checkpoint costs at N samples: its size, the time to write it, and what a resume adds to a start.

For each N and K a method with a tiny MLP has per-sample tables filled with random numbers, and its state is written to a folder:
``plain`` by ``torch.save`` alone, ``atomic`` as noisylab does it (written beside its place, read back against its checksums,
flushed to the disk, renamed, the one before kept). ``verify`` reads a file against its checksums, as ``--resume`` does with the
newest one; ``load`` reads the tensors. A resume costs ``verify`` and ``load`` and nothing else: batches are not replayed.

How to read it: ``time ratio`` is over ``plain`` in the same repeat; ``bytes a sample`` is the file's size less that with no
samples, divided by N. The page cache is warm, so reading is from memory: a disk adds its own time.

With ``--epochs N`` the question is another: does saving get slower as a run gets longer? A run of N short epochs, with the
curves, diagnostics and checkpoints of every run, is timed at each save; compared are the first saves of an epoch and the last.

    python benchmarks/checkpoints.py [--short] [--rows 1000000] [--classes 10 100] [--folder DIR] [--out FILE]
    python benchmarks/checkpoints.py --epochs 300
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from madeup import RandomFeatures
from timing import Report, parse, parser_for, quiet

from noisylab.callbacks import Curves, Diagnostics, RunCheckpoint
from noisylab.checkpoints.atomic import AtomicCheckpointIO, damage
from noisylab.methods import ACT, CrossEntropy, DivideMix, NoisyLabelMethod
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


def saves_of_a_run(make: Callable[..., NoisyLabelMethod], epochs: int, folder: Path) -> list[tuple[float, int]]:
    """(seconds, bytes) of the save at the end of each epoch of a run on 256 rows of random features."""
    found: list[tuple[float, int]] = []

    class Timed(RunCheckpoint):
        def _save(self, trainer: L.Trainer, name: str) -> None:
            seconds = timed(partial(super()._save, trainer, name))
            if name == "last.ckpt":
                found.append((seconds, (folder / name).stat().st_size))

    data = RandomFeatures(256, features=8, batch_size=64, val_fraction=0.1)
    callbacks: list[L.Callback] = [Diagnostics(), Curves(folder), Timed(folder, every_n_minutes=None)]
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(make(10, partial(MLP, in_features=8, hidden=(32,))), datamodule=data)
    return found


def growth(report: Report, epochs: int, folder: Path) -> None:
    """How long saves take at the start and at the end of a run."""
    quiet()
    methods: dict[str, Callable[..., NoisyLabelMethod]] = {
        "CrossEntropy": CrossEntropy,
        "DivideMix": partial(DivideMix, warmup_epochs=1),
    }
    for name, make in methods.items():
        saves = saves_of_a_run(make, epochs, folder / name)
        few = max(min(10, epochs // 3), 1)
        ends = {"first": saves[:few], "last": saves[-few:]}
        ms = {end: 1000 * min(seconds for seconds, _ in part) for end, part in ends.items()}
        sizes = {"first": saves[0][1], "last": saves[-1][1]}
        report.more[f"growth of {name}"] = {"epochs": epochs, "ms": ms, "bytes": sizes}
        print(
            f"{name}, {epochs} epochs: a save takes {ms['first']:.1f} ms at first and {ms['last']:.1f} ms at last "
            f"(fastest of {few}); {sizes['first']:,} and {sizes['last']:,} bytes"
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("checkpoints", __doc__, repeats=9)
    parser.add_argument("--rows", type=int, help="N (default: 1,000,000; short: 100,000)")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100], help="K (default: 10 100)")
    parser.add_argument("--folder", type=Path, help="where the files go, to be removed (default: the system's temporary folder)")
    parser.add_argument("--epochs", type=int, help="time the saves of a run of so many epochs instead")
    options = parse(parser, argv)
    rows = options.rows or (100_000 if options.short else 1_000_000)
    report = Report(options, "one checkpoint of a method's state; the page cache is warm")
    report.more |= {"n": rows}
    network = partial(MLP, in_features=8, hidden=(32,))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.epochs:
            growth(report, options.epochs, Path(folder))
            report.write()
            return
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
