"""What the ranking of labels costs in training: the sums of one batch, against the plain step that it belongs to.

Timed is a step of cross-entropy (forward, backward, SGD with momentum) of one network on a batch that is there already, and
`noisylab.memory.label_signals.add_signals` on logits of that batch, which every method calls once for each.

How to read it: ``time ratio`` is over the step in the same repeat. The bound is for the larger network; a step of the smaller
one takes milliseconds and is the worst that is met.

    python benchmarks/signals.py [--short] [--device cuda] [--out FILE]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timing import Claim, Report, clock, parse, parser_for
from torch import Tensor, nn
from torch.optim import SGD

from noisylab.memory import SampleMemory
from noisylab.memory.label_signals import add_signals, declare_signals
from noisylab.models import ACTNet, SmallCNN

ROWS = 50_000
SHARE = 0.03  # of a step, at most


def repeated(call: Callable[[], None], times: int, device: torch.device) -> Callable[[], float]:
    """Seconds of one of `times` calls."""

    def seconds() -> float:
        start = clock(device)
        for _ in range(times):
            call()
        return (clock(device) - start) / times

    return seconds


def rows_of(
    network: nn.Module, shape: Sequence[int], classes: int, device: torch.device, steps: int
) -> dict[str, Callable[[], float]]:
    """The step and the sums, for batches of `shape`."""
    memory = SampleMemory().to(device)
    declare_signals(memory, classes)
    memory.allocate(ROWS)
    network = network.to(device)
    optimizer = SGD(network.parameters(), lr=0.01, momentum=0.9)
    inputs, target = torch.randn(*shape, device=device), torch.randint(classes, (shape[0],), device=device)
    index = torch.randperm(ROWS, device=device)[: shape[0]]
    logits = torch.randn(shape[0], classes, device=device)
    losses: Tensor = F.cross_entropy(logits, target, reduction="none")

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), target).backward()
        optimizer.step()

    @torch.no_grad()
    def sums() -> None:
        add_signals(memory, index, logits, target, losses)

    return {"step": repeated(step, steps, device), "sums": repeated(sums, 20 * steps, device)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("signals", __doc__, repeats=9)
    options = parse(parser, argv)
    report = Report(options, "a plain step, and the sums by which labels are ranked, for batches that are there already")
    groups: dict[str, tuple[nn.Module, tuple[int, ...], int, int]] = {}
    groups |= {"SmallCNN, 64 images of 8 x 8, 10 classes": (SmallCNN(10), (64, 1, 8, 8), 10, 20)}
    if not options.short:
        groups["ACTNet, 128 images of 32 x 32, 100 classes"] = (ACTNet(100), (128, 3, 32, 32), 100, 1)
    for name, (network, shape, classes, steps) in groups.items():
        report.measure(
            rows_of(network, shape, classes, options.device, steps),
            "step",
            group=name,
            unit="step",
            claims=[Claim(f"sums against a step, {name}", "sums", "step", SHARE, "at most")],
        )
    report.write()


if __name__ == "__main__":
    main()
