"""Cost of each method's training step relative to cross-entropy, in one run.

Every row trains the same network on the same batches of random 32 x 32 color images through a real Lightning Trainer. What
is timed is whole steps, from the end of one batch to the end of a later one: the next batch with its views, hooks, forward,
backward, update. Not timed: evaluation, diagnostics, checkpoints, logging, and what a method prepares between epochs. Views of
several batches are made at once; a measurement holds whole chunks, so that every step bears its share. A plain loop of
cross-entropy without Lightning is timed beside the methods; the difference to CrossEntropy is what Lightning adds.

Rows take turns: each repeat measures every row once, as the mean over its steps after some that are not counted, and divides by
CrossEntropy's of the same repeat, so that a change in the machine's load meets all rows. A method with a warm-up has a row for
each part, one of several stages a row for each, but for those that are cross-entropy alone.

How to read it: ``time ratio`` is what a step costs, in steps of cross-entropy.

    python benchmarks/methods.py [--short] [--network ACTNet] [--batch 128] [--out FILE]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from madeup import RandomImages, one_epoch
from networks import NetFactory, network_factory
from plain import PlainCE, turn
from stepwise import StepwiseFit
from timing import Report, parse, parser_for
from timing import summarize as summarize_rows

from noisylab import methods
from noisylab.losses import SCE, PeerLoss
from noisylab.methods import CrossEntropy, NoisyLabelMethod, RobustLoss
from noisylab.methods.staged import StagedMethod

CLASSES = 10
TRUSTED = 10  # rows of each class with labels known to be right, for methods that need some
REPEATS, STEPS, WARM = 9, 6, 2
SHORT_REPEATS, SHORT_STEPS, SHORT_WARM = 3, 2, 1
_CROSS_ENTROPY = ("warmup", "estimate", "pretrain")  # stages that are nothing else
BASELINE, PLAIN = "CrossEntropy", "CrossEntropy, plain loop"


@dataclass(frozen=True)
class Row:
    """A line of the table: its name, and what makes its method; None for the plain loop."""

    name: str
    method: Callable[[], NoisyLabelMethod] | None


def concrete_methods() -> list[type[NoisyLabelMethod]]:
    """The public methods, cross-entropy first."""
    found: list[Any] = [getattr(methods, name) for name in methods.__all__]
    classes: list[Any] = [cls for cls in found if inspect.isclass(cls) and cls is not NoisyLabelMethod]
    return sorted(classes, key=lambda cls: (cls is not CrossEntropy, cls.__name__))


def all_rows(network: NetFactory) -> list[Row]:
    """The plain loop, then every method, once or before and after its warm-up."""
    rows = [Row(PLAIN, None)]
    for cls in concrete_methods():
        build: Callable[..., NoisyLabelMethod] = cls
        make = partial(build, num_classes=CLASSES, network=network)
        if cls is RobustLoss:
            # peer loss from the first epoch on with its pairs, which are one more batch
            losses = {"SCE": SCE, "peer loss": partial(PeerLoss, weights=[1.0])}
            rows += [Row(f"RobustLoss, {name}", partial(make, loss=loss)) for name, loss in losses.items()]
        elif issubclass(cls, StagedMethod):
            stages = [name for name in make().optimizer_names if name not in _CROSS_ENTROPY]
            rows += [Row(f"{cls.__name__}, {name}", partial(stage_alone, make, name)) for name in stages]
        elif "warmup_epochs" in inspect.signature(cls).parameters:
            rows.append(Row(f"{cls.__name__}, warm-up", partial(make, warmup_epochs=1)))
            rows.append(Row(f"{cls.__name__}, after warm-up", partial(make, warmup_epochs=0)))
        else:
            rows.append(Row(cls.__name__, make))
    return rows


def stage_alone(make: Callable[[], Any], stage: str) -> StagedMethod:
    """A method that begins with one of its stages, and an identity for a matrix; what it learns means nothing."""
    method: StagedMethod = make()
    method.stages = tuple(found for found in method.stages if found.name == stage)
    method.best = None
    method.prepare_epoch = lambda epoch: method.set_transition(torch.eye(CLASSES))  # type: ignore[method-assign]
    method.begin_stage = lambda stage: None  # type: ignore[method-assign]
    return method


def time_row(row: Row, network: NetFactory, *, batch: int, steps: int, warm: int, device: torch.device) -> float:
    """Seconds of one step, on average over `steps` after the first `warm`, which are one chunk of views."""
    torch.manual_seed(0)
    method = None if row.method is None else row.method()
    trusted = TRUSTED if method is not None and method.needs_trusted else 0
    # more than is timed: a method that splits the rows has passes of lengths of its own
    rows = 4 * batch * (steps + warm) + CLASSES * trusted
    data = RandomImages(rows, CLASSES, batch_size=batch, chunk_size=batch * warm, trusted_per_class=trusted)
    if method is None:
        loop = PlainCE(network(CLASSES).to(device))
        batches = one_epoch(data, device, loop.views)
        turn(loop, batches, warm, device)
        return turn(loop, batches, steps, device)
    with StepwiseFit(method, data, device) as run:
        run.turn(warm)
        return run.turn(steps)


def summarize(found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Median and quartiles of the time and of the ratio to cross-entropy of the same repeat."""
    return summarize_rows(found, BASELINE)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = parser_for("methods", __doc__, repeats=REPEATS, short_repeats=SHORT_REPEATS)
    parser.add_argument("--network", help="class of the network (default: ACTNet on CUDA, SmallCNN on the CPU)")
    parser.add_argument("--batch", type=int, help="samples a batch (default: 128 on CUDA, 64 on the CPU)")
    options = parse(parser, argv)
    device = options.device
    name = options.network or ("ACTNet" if device.type == "cuda" else "SmallCNN")
    batch = options.batch or (128 if device.type == "cuda" else 64)
    steps, warm = (SHORT_STEPS, SHORT_WARM) if options.short else (STEPS, WARM)
    network = network_factory(name)
    report = Report(options, "one training step: its batch with views, hooks, forward, backward, update")
    report.more |= {"network": name, "parameters": sum(p.numel() for p in network(CLASSES).parameters())}
    report.more |= {"batch": batch, "image": [3, 32, 32], "steps": steps}
    print(f"{name}, batch {batch} of 3 x 32 x 32, {device}, {torch.get_num_threads()} threads; ", end="")
    print(f"{options.repeats} repeats of {steps} steps")
    rows = {
        row.name: partial(time_row, row, network, batch=batch, steps=steps, warm=warm, device=device) for row in all_rows(network)
    }
    report.measure(rows, BASELINE)
    report.write()


if __name__ == "__main__":
    main()
