"""What the device can do at best, and so the least that a step of ACT or a batch of views can take on it.

Measured are matrix products of 4096 x 4096 (1024 on the CPU) in float32 and bf16, in floating-point operations per second (a
multiply-add counts as two), and a copy of memory larger than any cache, in bytes read and written per second. Counted, not
measured, are the operations of ACT's step (three passes forward and backward of the 7-layer CNN: two networks, two views) by
torch's own counter, and the bytes that views must read and write. A floor is the one divided by the other.

    python benchmarks/floor.py [--short] [--device cuda] [--network ACTNet] [--batch 128] [--out FILE]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from networks import NetFactory, network_factory
from timing import Report, clock, parse, parser_for
from torch.utils.flop_counter import FlopCounterMode

PASSES = 3  # of a network, forward and backward: the robust one on both views, the standard one on the weak view
READ, WRITTEN = 3 * 32 * 32, 4 * 3 * 32 * 32  # bytes of an image as uint8 and of its view as float32


def flops_of_pass(network: NetFactory) -> float:
    """Floating-point operations of one image forward and backward."""
    net, batch = network(10), 4
    counter = FlopCounterMode(display=False)
    with counter:
        F.cross_entropy(net(torch.zeros(batch, 3, 32, 32)), torch.zeros(batch, dtype=torch.int64)).backward()
    return counter.get_total_flops() / batch


def seconds_of(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds of one of several calls."""
    started = clock(device)
    for _ in range(times):
        work()
    return (clock(device) - started) / times


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("floor", __doc__, repeats=15)
    parser.add_argument("--network", default="ACTNet", help="class of the networks (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="samples a batch (default: %(default)s)")
    options = parse(parser, argv)
    device: torch.device = options.device
    side = 256 if options.short else 4096 if device.type == "cuda" else 1024
    size, times = 2**20 if options.short else 2**28 if device.type == "cuda" else 2**26, 20 if device.type == "cuda" else 2
    report = Report(options, "the device's best rates, and what they mean for a step and for views")
    a = torch.randn(side, side, device=device)
    b, source = a.bfloat16(), torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = report.measure(
        {
            "float32 product": partial(seconds_of, lambda: a @ a, times, device),
            "bf16 product": partial(seconds_of, lambda: b @ b, times, device),
            "copy": partial(seconds_of, lambda: target.copy_(source), times, device),
        },
        "float32 product",
        unit="call",
    )
    best = {name: min(seconds) for name, seconds in found.items()}
    rates = {name: 2 * side**3 / best[name] for name in ("float32 product", "bf16 product")}
    moved = 2 * size / best["copy"]
    step = PASSES * flops_of_pass(network_factory(options.network)) * options.batch
    floors = {f"ACT step in {name.split()[0]}, ms": 1000 * step / rate for name, rate in rates.items()}
    floors |= {"weak view, us an image": 1e6 * (READ + WRITTEN) / moved}
    floors |= {"weak + strong, us an image": 1e6 * (READ + 2 * WRITTEN) / moved}
    report.more |= {"flops of a step": step, "flops a second": rates, "bytes a second": moved, "floors": floors}
    print(f"\n{step / 1e9:.4g} GFLOP a step of {options.batch}; fastest of {options.repeats}:")
    for name, rate in rates.items():
        print(f"{name:28} {rate / 1e9:10.4g} GFLOP/s")
    print(f"{'copy':28} {moved / 1e9:10.4g} GB/s, reading and writing")
    for name, floor in floors.items():
        print(f"floor: {name:28} {floor:10.4g}")
    report.write()


if __name__ == "__main__":
    main()
