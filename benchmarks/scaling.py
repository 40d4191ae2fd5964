"""How time and memory of an epoch grow with the number of samples N and of classes K, per-sample memories included.

Each cell (N, K) is a process of its own that trains ACT (after its warm-up) or cross-entropy with a tiny MLP on a few features,
so that what is kept and touched per sample is most of the work. Timed is an epoch through Lightning, from the end of one to the
end of the next: the plan and the order of the rows, batches, steps, tables, the end of the epoch. Not timed: building the data,
allocating the tables, the first epoch, evaluation. Small N run several epochs a turn.

How to read it: one group for each K, ``time ratio`` is the time of a SAMPLE over that at the smallest N: 1 means linear in N.
Below 1, what an epoch costs whatever its length weighs on the small N. ``memories`` are the bytes of the per-sample tables,
exactly; ``peak`` is how much the process grew at most, in resident memory, from before the fit (its data already there) to the
end, which includes copies of the tables made while they are filled, the networks, and what PyTorch loads at its first step (see
the smallest cell).

    python benchmarks/scaling.py [--short] [--sizes 10000 100000] [--classes 10 100] [--method ACT] [--out FILE]
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from madeup import RandomFeatures
from stepwise import StepwiseFit
from timing import Claim, Report, parse, parser_for, quiet

from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP

SIZES, CLASSES = (10_000, 100_000, 1_000_000), (10, 100, 1000)
SHORT_SIZES, SHORT_CLASSES = (10_000, 100_000), (10, 100)
FEATURES, HIDDEN = 8, 32


def resident(peak: bool = False) -> int:
    """Bytes of resident memory of this process, now or at most."""
    status = Path("/proc/self/status")
    if status.is_file():
        wanted = "VmHWM:" if peak else "VmRSS:"
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(wanted))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_method(name: str, classes: int) -> NoisyLabelMethod:
    """The method with its tiny network."""
    network = partial(MLP, in_features=FEATURES, hidden=(HIDDEN,))
    return CrossEntropy(classes, network) if name == "CrossEntropy" else ACT(classes, network, warmup_epochs=0)


def cell(pipe: Connection, rows: int, classes: int, name: str, batch: int, device: torch.device, threads: int) -> None:
    """What the process of a cell does: one epoch, then turns of as many epochs as it is told, until it is told 0."""
    torch.set_num_threads(threads)
    quiet()
    data = RandomFeatures(rows, classes, FEATURES, batch_size=batch)
    data.setup("fit")
    before, method = resident(), make_method(name, classes)
    with StepwiseFit(method, data, device, unit="epoch") as run:
        run.turn()
        pipe.send({table: method.memory[table].nbytes for table in method.memory})
        while epochs := pipe.recv():
            pipe.send(run.turn(epochs))
        pipe.send({"peak": resident(peak=True) - before, "device_peak": _device_peak(device)})


def _device_peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


class Cell:
    """A cell's process, seen from here.

    Args:
        rows: N.
        classes: K.
        turn_rows: samples of a turn, at least; whole epochs.
        *arguments: see `cell`.
    """

    def __init__(self, rows: int, classes: int, turn_rows: int, *arguments: Any) -> None:
        self.rows, self.classes, self.epochs = rows, classes, max(1, round(turn_rows / rows))
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=cell, args=(theirs, rows, classes, *arguments), daemon=True)
        self.process.start()
        theirs.close()  # else the end of the process would go unnoticed
        self.tables: dict[str, int] = self.pipe.recv()

    def turn(self) -> float:
        """Seconds a sample."""
        self.pipe.send(self.epochs)
        seconds: float = self.pipe.recv()
        return seconds / self.rows

    def end(self) -> dict[str, Any]:
        """End the process; what it knows of its memory."""
        self.pipe.send(0)
        found: dict[str, Any] = self.pipe.recv()
        self.process.join()
        return found

    def kill(self) -> None:
        """End the process whatever it does."""
        self.process.terminate()
        self.process.join()


def named(number: int) -> str:
    """N for the table."""
    return f"N = {number:,}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("scaling", __doc__, repeats=9)
    parser.add_argument("--sizes", type=int, nargs="+", help=f"N (default: {SIZES}, short: {SHORT_SIZES})")
    parser.add_argument("--classes", type=int, nargs="+", help=f"K (default: {CLASSES}, short: {SHORT_CLASSES})")
    parser.add_argument("--method", default="ACT", choices=("ACT", "CrossEntropy"), help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=512, help="samples a batch (default: %(default)s)")
    parser.add_argument("--turn_rows", type=int, default=50_000, help="samples of a turn, at least (default: %(default)s)")
    options = parse(parser, argv)
    sizes = sorted(options.sizes or (SHORT_SIZES if options.short else SIZES))
    classes = sorted(options.classes or (SHORT_CLASSES if options.short else CLASSES))
    if sizes[0] < classes[-1]:
        parser.error(f"--sizes {sizes[0]} is less than --classes {classes[-1]}: every class needs a sample")
    report = Report(options, "one sample of a training epoch, state and loop included; no evaluation")
    report.more |= {"method": options.method, "batch": options.batch, "features": FEATURES, "hidden": HIDDEN}
    print(f"{options.method}, batch {options.batch}, MLP {FEATURES}-{HIDDEN}-K, {options.device}, ", end="")
    print(f"{torch.get_num_threads()} threads, {options.repeats} repeats")
    arguments = options.method, options.batch, options.device, torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        for k in classes:
            # one K after the other, so that not all the tables are there at once
            cells: dict[str, Cell] = {}
            for n in sizes:
                cells[named(n)] = Cell(n, k, options.turn_rows, *arguments)
                stack.callback(cells[named(n)].kill)
            small, large = named(sizes[0]), named(sizes[-1])
            claim = Claim(f"K = {k}: time of a sample at {large} over that at {small}", large, small, None, "at most")
            timed = {name: one.turn for name, one in cells.items()}
            report.measure(timed, small, group=f"K = {k}", unit="sample", claims=[claim])
            for entry in report.rows[-len(cells) :]:
                one = cells[entry["row"]]
                ended, memories = one.end(), sum(one.tables.values())
                entry |= {"n": one.rows, "k": k, "epoch_s": entry["ms"] / 1000 * one.rows, "us_a_sample": 1000 * entry["ms"]}
                entry |= {"memories_bytes": memories, "tables_bytes": one.tables, "peak_growth_bytes": ended["peak"]}
                entry |= {"device_peak_bytes": ended["device_peak"]}
                print(
                    f"{entry['row']:>14}: {entry['epoch_s']:.3g} s an epoch, memories {memories / 2**20:,.1f} MiB "
                    f"({memories / one.rows:.0f} bytes a sample), peak {ended['peak'] / 2**20:,.0f} MiB"
                )
    report.write()


if __name__ == "__main__":
    main()
