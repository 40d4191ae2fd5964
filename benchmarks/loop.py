"""noisylab's training step through Lightning against a plain PyTorch loop of the same algorithm: the overhead.

Timed is a step from the end of one batch to the end of the next: taking the batch, hooks, forward, backward, update, callbacks.
Both sides take their batches from the same code (`NoisyDataModule.batches`: a turn of steps is one chunk of views), run in the
same precision and memory layout, and train the same networks to the same weights. Not timed: setting up, evaluation, the scoring
pass and whatever else happens once an epoch. The plain loop has no Lightning, no diagnostics, no logging.

Groups: ``act`` and ``ce``, batch 128 of 32 x 32 images on ACT's CNN; ``tiny``, ACT on a small MLP that is chosen so that the
plain step lasts about 4 ms on this machine, with the callbacks of a real run (Diagnostics, Curves, RunProgress), since such a
step has nothing to hide an overhead behind; ``bf16``, both sides noisylab: bf16 and channels_last against float32.

How to read it: ``time ratio`` of the row "noisylab" is 1 plus the overhead. "batches alone" says how much of either step is the
making of batches; with that share s of the plain step, the overhead over the training alone is (ratio - 1) / (1 - s).

    python benchmarks/loop.py [--short] [--groups act ce tiny bf16] [--device cuda --compile --cuda_graphs] [--out FILE]
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from madeup import RandomFeatures, RandomImages, one_epoch
from networks import NetFactory, network_factory
from plain import PlainACT, PlainCE, drain, turn
from stepwise import StepwiseFit, add_switches, speed, switches
from timing import Claim, Report, parse, parser_for, verdict

from noisylab.callbacks import Curves, Diagnostics, RunProgress
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP

CLASSES, FEATURES = 10, 64
GROUPS = ("act", "ce", "tiny", "bf16")
PLAIN, OURS, BATCHES = "plain loop", "noisylab", "batches alone"
ACT_BOUND, TINY_BOUND, BF16_BOUND = 1.03, 1.10, 4.0
WIDTHS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
DataFactory = Callable[[int], RandomImages]


def method(kind: str, network: NetFactory) -> NoisyLabelMethod:
    """The method to be timed."""
    return CrossEntropy(CLASSES, network) if kind == "ce" else ACT(CLASSES, network, warmup_epochs=0)


def plain(kind: str, network: NetFactory, data: RandomImages, device: torch.device, **layout: Any) -> PlainACT | PlainCE:
    """The same by hand."""
    if kind == "ce":
        return PlainCE(network(CLASSES).to(device), **layout)
    data.setup("fit")
    return PlainACT(network(CLASSES).to(device), network(CLASSES).to(device), data.given_target, CLASSES, **layout)


def overhead(
    report: Report,
    title: str,
    kind: str,
    network: NetFactory,
    data: DataFactory,
    *,
    steps: int,
    repeats: int,
    bound: float | None,
    precision: str = "32-true",
    channels_last: bool = False,
    extra: Mapping[str, Mapping[str, bool]] | None = None,
    callbacks: Callable[[], Sequence[L.Callback]] = tuple,
    **trainer: Any,
) -> None:
    """Time one group.

    Args:
        report: takes the result.
        title: of the group.
        kind: "act" or "ce".
        network: factory of every network.
        data: makes the data, given how many steps it must last for.
        steps: of one turn.
        repeats: turns of each row.
        bound: on the ratio, or None.
        precision: of both sides.
        channels_last: memory layout of both sides.
        extra: further rows of noisylab: arguments of `speed` by name.
        callbacks: makes those of noisylab's Trainers.
        **trainer: arguments of noisylab's Trainers.
    """
    device, warm = report.options.device, 2  # turns that are not counted: compiling, choosing kernels, filling caches
    total = steps * (repeats + warm)
    with contextlib.ExitStack() as stack:
        loop_data, drained = data(total), data(total)
        loop = plain(kind, network, loop_data, device, precision=precision, channels_last=channels_last)
        batches, alone = one_epoch(loop_data, device, loop.views), one_epoch(drained, device, loop.views)
        rows: dict[str, Callable[[], float]] = {
            PLAIN: lambda: turn(loop, batches, steps, device),
            BATCHES: lambda: drain(alone, steps, device),
        }
        for name, chosen in {OURS: {}, **{f"{OURS}, {more}": chosen for more, chosen in (extra or {}).items()}}.items():
            switched = speed(**{"channels_last": channels_last, **chosen})
            ours, rows_of = method(kind, network), data(total)
            run = StepwiseFit(ours, rows_of, device, callbacks=[*callbacks(), *switched], precision=precision, **trainer)
            rows[name] = partial(stack.enter_context(run).turn, steps)
        for _ in range(warm):
            for row in rows.values():
                row()
        claim = Claim(f"{title}: noisylab's step over the plain loop's", OURS, PLAIN, bound, "at most")
        order = {name: rows[name] for name in (PLAIN, *(name for name in rows if name.startswith(OURS)), BATCHES)}
        report.measure(order, PLAIN, group=title, claims=[claim], repeats=repeats)


def tuned_width(device: torch.device, batch: int, target: float = 0.004) -> int:
    """The hidden width at which a plain ACT step lasts nearest to `target` seconds here, by the fastest of a few turns."""
    best: dict[int, float] = {}
    for width in WIDTHS:
        network = partial(MLP, in_features=FEATURES, hidden=(width, width))
        data = RandomFeatures(batch * 30, CLASSES, FEATURES, batch_size=batch, chunk_size=batch * 5)
        loop = plain("act", network, data, device)
        batches = one_epoch(data, device, loop.views)
        best[width] = min(turn(loop, batches, 5, device) for _ in range(6))
        if best[width] > target:
            break
    return min(best, key=lambda width: abs(best[width] - target))


def real_callbacks(folder: Path) -> list[L.Callback]:
    """What the command line adds to every run and what takes part in a step."""
    return [Diagnostics(), RunProgress("benchmark"), Curves(folder)]


def has_amx() -> bool:
    """Whether the CPU has matrix units for bf16."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and " amx_bf16" in cpuinfo.read_text()


def bf16_group(report: Report, network: NetFactory, data: DataFactory, *, steps: int, repeats: int) -> None:
    """noisylab's ACT step in bf16 and channels_last against its step in float32."""
    device, total, fast = report.options.device, steps * (repeats + 2), "bf16-mixed, channels_last"
    text, bound = "ACT bf16 + channels_last: speed-up over float32", BF16_BOUND if device.type == "cpu" else None
    if device.type == "cpu" and not has_amx():
        report.judged(verdict(text, [], bound, "at least", why="this CPU has no AMX units for bf16"))
        return
    with contextlib.ExitStack() as stack:
        rows: dict[str, Callable[[], float]] = {}
        for name, precision, callbacks in (("float32", "32-true", []), (fast, "bf16-mixed", speed(channels_last=True))):
            run = StepwiseFit(method("act", network), data(total), device, callbacks=callbacks, precision=precision)
            rows[name] = partial(stack.enter_context(run).turn, steps)
        for _ in range(2):
            for row in rows.values():
                row()
        claim = Claim(text, fast, "float32", bound, "at least")
        report.measure(rows, "float32", group="ACT, bf16 against float32", claims=[claim], repeats=repeats)


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("loop", __doc__, repeats=25)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS, help="what to time (default: all)")
    parser.add_argument("--network", default="ACTNet", help="class of the networks for images (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="samples a batch (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of a turn (default: images 50 on CUDA, 1 on the CPU; tiny 50)")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"), help="of act and ce, both sides")
    parser.add_argument("--channels_last", action="store_true", help="memory layout of act and ce, both sides")
    add_switches(parser)
    parser.add_argument("--width", type=int, help="hidden width of the tiny networks (default: so that a plain step takes 4 ms)")
    options = parse(parser, argv)
    extra = switches(parser, options)
    device, batch = options.device, options.batch
    image_steps = options.steps or (50 if device.type == "cuda" else 1)
    tiny_steps = options.steps or (20 if options.short else 50)
    layout = {"precision": options.precision, "channels_last": options.channels_last}
    report = Report(options, "one training step: taking the batch, hooks, forward, backward, update, callbacks")
    report.more |= {"batch": batch, "network": options.network, "steps": image_steps, "tiny_steps": tiny_steps, **layout}
    network = network_factory(options.network)

    def images(steps: int) -> RandomImages:
        return RandomImages(steps * batch, CLASSES, batch_size=batch, chunk_size=batch * image_steps)

    def features(steps: int) -> RandomImages:
        return RandomFeatures(steps * batch, CLASSES, FEATURES, batch_size=batch, chunk_size=batch * tiny_steps)

    print(f"{options.network}, batch {batch}, {device}, {torch.get_num_threads()} threads, {options.repeats} repeats")
    said = ", ".join([options.precision, *(["channels_last"] if options.channels_last else [])])
    shared: dict[str, Any] = {"steps": image_steps, "repeats": options.repeats, "extra": extra, **layout}
    if "act" in options.groups:
        # the bound was set for a batch of 128 on ACT's network on the CPU
        bound = ACT_BOUND if device.type == "cpu" and (options.network, batch) == ("ACTNet", 128) else None
        overhead(report, f"ACT, {options.network}, batch {batch}, {said}", "act", network, images, bound=bound, **shared)
    if "ce" in options.groups:
        overhead(report, f"CE, {options.network}, batch {batch}, {said}", "ce", network, images, bound=None, **shared)
    if "tiny" in options.groups:
        width = options.width or tuned_width(device, batch)
        report.more["tiny_width"] = width
        small = partial(MLP, in_features=FEATURES, hidden=(width, width))
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            overhead(
                report,
                f"ACT, MLP of {FEATURES}-{width}-{width}-{CLASSES}, batch {batch}, with diagnostics",
                "act",
                small,
                features,
                steps=tiny_steps,
                repeats=options.repeats,
                bound=TINY_BOUND if device.type == "cpu" else None,
                callbacks=lambda: real_callbacks(Path(folder)),
                enable_checkpointing=True,  # Curves counts as a checkpoint callback; no checkpoint is written
            )
    if "bf16" in options.groups:
        bf16_group(report, network, images, steps=image_steps, repeats=options.repeats)
    report.write()


if __name__ == "__main__":
    main()
