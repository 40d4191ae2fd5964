"""A whole epoch of ACT at CIFAR size: noisylab against the same algorithm written the usual way.

Timed is one epoch of training through Lightning, from the end of an epoch to the end of the next: making the loaders, every
batch with its weak and strong view, every step, logging, what the method does at the end of an epoch. No side evaluates, writes
checkpoints or runs diagnostics. The usual way (``usual.py``) is a LightningModule with manual optimization over a torch
DataLoader: PIL images from uint8 arrays, torchvision's crop, flip, ToTensor, Normalize and the reference's CIFAR10Policy in
worker processes that start anew each epoch, label tables on the CPU, four ``self.log`` and six ``.item()`` a step, float32.
noisylab's rows: float32 (the arithmetic of the usual way), and bf16 with channels_last; compiled networks and CUDA graphs where
asked for.

How to read it: ``time ratio`` is against the usual way. The figure of a claim "speed-up" is the other way round. On a machine
with few cores and no GPU the convolutions are nearly all of either side, and the float32 row says only that.

On CUDA it also prints the peak of device memory beyond networks, optimizers, activations and the data itself, over what is
allowed for it, the per-sample memories and one chunk of views: the peak of an epoch, less the peak of hand-written steps on one
batch (less that batch), less the data, measured before the timing with nothing else on the device.

    python benchmarks/epoch.py [--short] [--rows N] [--workers W] [--device cuda --compile --cuda_graphs] [--out FILE]
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from madeup import RandomImages, one_epoch
from networks import NetFactory, network_factory
from plain import PlainACT
from stepwise import StepwiseFit, add_switches, speed, switches
from timing import Claim, Report, cores, parse, parser_for, verdict
from usual import POLICY, UsualACT, UsualData, UsualImages

from noisylab.methods import ACT

USUAL, SAME, FAST = "the usual way", "noisylab, float32", "noisylab, bf16-mixed, channels_last"
CIFAR_ROWS, EPOCH_BOUND, SPEEDUP_BOUND = 50_000, 2.0, 10.0
MEMORY_CLAIM = "peak memory beyond networks, optimizers and data, over per-sample memories + one chunk of views"


def usual_run(data: RandomImages, network: NetFactory, device: torch.device, workers: int) -> StepwiseFit:
    """The usual way, ready for its first epoch."""
    data.setup("fit")
    given = data.given_target
    module = UsualACT(network(data.classes), network(data.classes), given, data.classes)
    images = UsualImages(data.inputs(), given)
    loader = UsualData(images, data.batch_size, workers, pin_memory=device.type == "cuda")
    return StepwiseFit(module, loader, device, unit="epoch")


def our_run(data: RandomImages, network: NetFactory, device: torch.device, precision: str, **switched: bool) -> StepwiseFit:
    """noisylab, ready for its first epoch."""
    method = ACT(data.classes, network, warmup_epochs=0)
    return StepwiseFit(method, data, device, unit="epoch", callbacks=speed(**switched), precision=precision)


def memory_verdict(
    make: Callable[[int], RandomImages], network: NetFactory, device: torch.device, rows: int
) -> tuple[dict[str, Any], dict[str, int]]:
    """The claim on memory and the bytes that it is made of; float32, eager.

    Args:
        make: makes data of so many rows, with an explicit chunk size.
        network: factory of both networks.
        device: a CUDA device with nothing on it.
        rows: of the epoch.
    """
    bound = 1.0
    if device.type != "cuda":
        return verdict(MEMORY_CLAIM, [], bound, "at most", why="there is no device memory to measure without CUDA"), {}
    data = make(rows)
    batch, chunk_size = data.batch_size, data.chunk_size
    assert chunk_size is not None

    def peak(run: Callable[[], object]) -> int:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before

    few = make(batch)
    one = next(one_epoch(few, torch.device("cpu"), ("weak", "strong")))["train"]
    views = sum(view.nbytes for view in one.views if isinstance(view, torch.Tensor))

    def plain_steps() -> None:
        loop = PlainACT(network(few.classes).to(device), network(few.classes).to(device), few.given_target, few.classes)
        on_device = one.to(device)
        for _ in range(3):
            loop.step(on_device, 0)

    plain, method = peak(plain_steps), ACT(data.classes, network, warmup_epochs=0)
    run = StepwiseFit(method, data, device, unit="epoch")
    try:
        ours = peak(run.turn)
        tables = sum(method.memory[name].nbytes for name in method.memory)
    finally:
        run.close()
    held = data.inputs().nbytes + data.given_target.nbytes
    chunk = views * min(chunk_size, rows) // batch
    found = {"peak": ours, "plain_peak": plain, "one_batch": views, "data": held, "memories": tables, "chunk": chunk}
    beyond = ours - (plain - views) - held
    return verdict(MEMORY_CLAIM, [beyond / (tables + chunk)], bound, "at most"), {**found, "beyond": beyond}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("epoch", __doc__, repeats=9)
    parser.add_argument("--rows", type=int, help="images an epoch (default: 50000 on CUDA, 2048 on the CPU, short: 256)")
    parser.add_argument("--batch", type=int, default=128, help="samples a batch (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=10, help="K (default: %(default)s)")
    parser.add_argument("--network", default="ACTNet", help="class of both networks (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=cores(), help="loader processes of the usual way (default: %(default)s)")
    parser.add_argument(
        "--chunk_size", type=int, default=2048, help="rows whose views noisylab makes at once (default: %(default)s)"
    )
    add_switches(parser)
    options = parse(parser, argv)
    device, cuda = options.device, options.device.type == "cuda"
    extra = switches(parser, options)
    rows = options.rows or (CIFAR_ROWS if cuda else 256 if options.short else 2048)
    network = network_factory(options.network)
    report = Report(options, "one training epoch of ACT after its warm-up: loaders, views, steps, logging; no evaluation")
    report.more |= {name: getattr(options, name) for name in ("batch", "classes", "network", "workers", "chunk_size")}
    report.more |= {"rows_an_epoch": rows, "strong view of the usual way": POLICY}

    def data(count: int) -> RandomImages:
        return RandomImages(count, options.classes, batch_size=options.batch, chunk_size=options.chunk_size)

    print(f"{options.network}, {rows} images, batch {options.batch}, {device}, {torch.get_num_threads()} threads, ", end="")
    print(f"{options.workers} workers in the usual way, {options.repeats} repeats")
    judged, report.more["memory"] = memory_verdict(data, network, device, rows)
    with contextlib.ExitStack() as stack:
        runs = {
            USUAL: usual_run(data(rows), network, device, options.workers),
            SAME: our_run(data(rows), network, device, "32-true"),
            FAST: our_run(data(rows), network, device, "bf16-mixed", channels_last=True),
        }
        for name, chosen in extra.items():
            runs[f"{FAST}, {name}"] = our_run(data(rows), network, device, "bf16-mixed", channels_last=True, **chosen)
        for run in runs.values():
            stack.enter_context(run)
            run.turn(2 if cuda else 1)  # the first epoch compiles, records and fills caches
        timed = {name: run.turn for name, run in runs.items()}
        claims = []
        for name in runs:
            if name == USUAL:
                continue
            meant = name != SAME and rows >= CIFAR_ROWS and options.network == "ACTNet"
            h100 = meant and cuda and "H100" in torch.cuda.get_device_name(device)
            claims.append(Claim(f"{name}: seconds an epoch", name, None, EPOCH_BOUND if h100 else None, "at most"))
            bound = SPEEDUP_BOUND if meant and cuda else None
            claims.append(Claim(f"{name}: speed-up over the usual way", name, USUAL, bound, "at least"))
        found = report.measure(timed, USUAL, unit="epoch", claims=claims)
    report.judged(judged)
    for entry in report.rows:
        entry["images_per_s"] = rows / (entry["ms"] / 1000)
    print("images/s: " + "; ".join(f"{entry['row']} {entry['images_per_s']:.0f}" for entry in report.rows))
    assert set(found) == set(runs)
    report.write()


if __name__ == "__main__":
    main()
