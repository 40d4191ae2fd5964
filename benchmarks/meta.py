"""What meta-reweighting costs in time and memory: L2R's step, IEG's meta step, and the second derivatives they do without.

Every row trains a network of its own, all from the same weights, on one batch and one trusted batch of the same size, with random
pixels and labels. ``plain`` is a step of cross-entropy. The rows of L2R are whole steps, in the forms that noisylab has: one pass
with tangents that serves weights and update, a pass of its own in float32 for the tangents, a central difference. ``double
backward`` is the step as its paper writes it, with a differentiable look-ahead step, a second network that stands there, and a
third pass for the update; in ``two passes`` the first one serves the update too. ``recorded dual
numbers`` are torch's own, on parameters that require gradients. ``IEG meta step`` is what IEG does beside the passes that its
losses need: back through its first pass for the look-ahead, the trusted batch there, and a pass with tangents. Optimizers are SGD
with momentum and weight decay. Timed is a step from batches that are on the device; without Lightning, which is timed by
``methods.py``. Memory is measured in steps of their own:

- saved: bytes that autograd holds for the backward pass at the worst moment of the step, each storage once, parameters included;
- summed: the same moment, all saved tensors added up, as if none shared a storage;
- peak: bytes allocated at the worst moment beyond what was there before the step.

How to read it: ``time ratio`` is over ``plain`` in the same repeat. L2R's meta part is its step in the first form less a plain
step of the same repeat. ``weights`` is the largest difference between a row's weights of the samples and those of double
backward, from the same weights of the network.

    python benchmarks/meta.py [--short] [--networks SmallCNN ACTNet] [--batch 64] [--out FILE]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from memory import SavedBytes, peak_bytes
from networks import NetFactory, network_factory
from timing import Claim, Report, clock, parse, parser_for, verdict
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from noisylab.losses import cross_entropy, logit_norm, pseudo_labels, soft_cross_entropy
from noisylab.meta import (
    Form,
    derivative,
    gradient,
    label_gradients,
    look_ahead,
    loss_derivative,
    tangent_forward,
    weight_gradients,
)
from noisylab.selection import sum_to_one

CLASSES = 10
RATE, MOMENTUM, DECAY, TRUST = 0.1, 0.9, 5e-4, 0.9  # TRUST: what IEG's mixed targets take of the given label
PLAIN, SHARED, DOUBLE, TWO, IEG = (
    "plain",
    "L2R, shared tangents",
    "double backward",
    "double backward, two passes",
    "IEG meta step",
)


@dataclass(frozen=True)
class Samples:
    """A training batch and a trusted one of the same size, on the device."""

    x: Tensor
    y: Tensor
    trusted_x: Tensor
    trusted_y: Tensor

    @classmethod
    def made_up(cls, size: int, device: torch.device) -> Samples:
        """Random pixels of 3 x 32 x 32 and random labels."""
        generator = torch.Generator().manual_seed(0)
        x, trusted_x = torch.randn(2, size, 3, 32, 32, generator=generator).to(device)
        y, trusted_y = torch.randint(CLASSES, (2, size), generator=generator).to(device)
        return cls(x, y, trusted_x, trusted_y)


@dataclass
class Learner:
    """A network and its optimizer."""

    network: nn.Module
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)

    def update(self, losses: Tensor, weights: Tensor) -> None:
        """A step on the weighted sum."""
        (weights * losses).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def losses(self, x: Tensor, y: Tensor, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B,) cross-entropy of each sample; with parameters or buffers by name in place of the network's own."""
        logits = self.network(x) if state is None else functional_call(self.network, dict(state), (x,))
        return cross_entropy(logits, y, reduction="none")

    def copied_buffers(self) -> dict[str, Tensor]:
        """For a pass that does not count in the running statistics."""
        return {name: value.clone() for name, value in self.network.named_buffers()}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        step: what is measured; returns the (B,) weights of the training samples.
        before: what is needed for it and not measured; its result is the last argument of `step`.
    """

    step: Callable[[Learner, Samples, Any], Tensor]
    before: Callable[[Learner, Samples], Any] = lambda learner, samples: None


def plain(learner: Learner, samples: Samples, _: Any = None) -> Tensor:
    """A step of cross-entropy."""
    weights = torch.full_like(samples.y, 1 / len(samples.y), dtype=torch.float32)
    learner.update(learner.losses(samples.x, samples.y), weights)
    return weights


def l2r(learner: Learner, samples: Samples, _: Any = None, *, form: Form) -> Tensor:
    """A step of L2R, as `noisylab.methods.L2R` takes it."""
    x, y, network = samples.x, samples.y, learner.network
    direction, _loss = gradient(network, samples.trusted_x, samples.trusted_y, form=form)
    if form.shares:
        logits, tangent = tangent_forward(network, x, direction)
        found = logits.detach(), tangent
    else:
        found = derivative(network, x, direction, form)
        logits = network(x)
    weights = sum_to_one(loss_derivative(*found, y))
    learner.update(cross_entropy(logits, y, reduction="none"), weights)
    return weights


def double_backward(learner: Learner, samples: Samples, _: Any = None, *, two: bool) -> Tensor:
    """The same step by differentiating the loss of the trusted batch through a look-ahead step.

    Args:
        learner: changed.
        samples: the batches.
        two: whether the first pass also serves the update.
    """
    parameters = dict(learner.network.named_parameters())
    shift = torch.zeros_like(samples.y, dtype=torch.float32, requires_grad=True)
    losses = learner.losses(samples.x, samples.y, None if two else learner.copied_buffers())
    slope = torch.autograd.grad((shift * losses).sum(), list(parameters.values()), create_graph=True)
    ahead = {name: value - RATE * step for (name, value), step in zip(parameters.items(), slope, strict=True)}
    trusted = learner.losses(samples.trusted_x, samples.trusted_y, {**ahead, **learner.copied_buffers()}).mean()
    (found,) = torch.autograd.grad(trusted, shift, retain_graph=two)
    del slope, ahead, trusted  # and with them their part of the graph
    weights = sum_to_one(-found)
    learner.update(losses if two else learner.losses(samples.x, samples.y), weights)
    return weights


def recorded_duals(learner: Learner, samples: Samples, _: Any = None) -> Tensor:
    """The same step with one pass of torch's dual numbers, whose tangents autograd records too."""
    direction, _loss = gradient(learner.network, samples.trusted_x, samples.trusted_y)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p, direction[name]) for name, p in learner.network.named_parameters()}
        logits, tangent = forward_ad.unpack_dual(functional_call(learner.network, duals, (samples.x,)))
        weights = sum_to_one(loss_derivative(logits, cast(Tensor, tangent).detach(), samples.y))
        del duals, tangent
    learner.update(cross_entropy(logits, samples.y, reduction="none"), weights)
    return weights


def ieg_meta(learner: Learner, samples: Samples, logits: Tensor) -> Tensor:
    """The meta step of `noisylab.methods.IEG`, from logits whose graph its losses still need."""
    network, optimizer = learner.network, learner.optimizer
    parameters = dict(network.named_parameters())
    given = torch.zeros_like(logits).scatter_(1, samples.y[:, None], 1.0)
    pseudo = pseudo_labels((logit_norm(logits.detach(), logits.detach().square().mean()),), 0.5)
    mixed = TRUST * given + (1 - TRUST) * pseudo
    loss = soft_cross_entropy(logits, mixed, reduction="none").mean()
    slope = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()), retain_graph=True), strict=True))
    velocity = {name: optimizer.state[p]["momentum_buffer"] for name, p in parameters.items()}
    decay = dict.fromkeys(parameters, DECAY)
    ahead = look_ahead(parameters, slope, rate=RATE, momentum=MOMENTUM, velocity=velocity, decay=decay)
    del slope, loss
    found, _loss = gradient(network, samples.trusted_x, samples.trusted_y, at=ahead)
    along = {name: value + DECAY * ahead[name] for name, value in found.items()}
    z, dz = derivative(network, samples.x, along)
    label_gradients(z, dz, samples.y, pseudo)
    return sum_to_one(weight_gradients(z, dz, mixed), epsilon=1e-5)


ROWS = {
    PLAIN: Row(plain),
    SHARED: Row(partial(l2r, form=Form())),
    "L2R, tangents in float32": Row(partial(l2r, form=Form("float32"))),
    "L2R, central difference": Row(partial(l2r, form=Form("training", "difference"))),
    DOUBLE: Row(partial(double_backward, two=False)),
    TWO: Row(partial(double_backward, two=True)),
    "recorded dual numbers": Row(recorded_duals),
    IEG: Row(ieg_meta, lambda learner, samples: learner.network(samples.x)),
}


# ---- the table


class Contest:
    """The rows on one network.

    Args:
        network: its factory.
        batch: samples of each batch.
        device: to train on.
        steps: steps a turn.
    """

    def __init__(self, network: NetFactory, batch: int, device: torch.device, steps: int) -> None:
        torch.manual_seed(0)
        self.start = network(CLASSES).to(device).train()
        self.samples, self.device, self.steps = Samples.made_up(batch, device), device, steps
        self.learners = {name: Learner(copy.deepcopy(self.start)) for name in ROWS}
        for learner in self.learners.values():  # optimizers have no velocity before
            plain(learner, self.samples)

    def turn(self, name: str) -> float:
        """Seconds of a step, on average over some."""
        learner, row, seconds = self.learners[name], ROWS[name], 0.0
        for _ in range(self.steps):
            ready = row.before(learner, self.samples)
            started = clock(self.device)
            row.step(learner, self.samples, ready)
            del ready
            seconds += clock(self.device) - started
        self.reset(name)
        return seconds / self.steps

    def reset(self, name: str) -> None:
        """Bring a row's network back to where it began: with random labels it would diverge at last."""
        self.learners[name].network.load_state_dict(self.start.state_dict())

    def weights(self, name: str) -> Tensor:
        """(B,) weights in a step from the weights at the beginning, which is not kept."""
        learner = Learner(copy.deepcopy(self.start))
        return ROWS[name].step(learner, self.samples, ROWS[name].before(learner, self.samples))

    def memory(self, name: str) -> dict[str, int]:
        """Bytes of a step, what comes before it included."""
        learner, row, saved = self.learners[name], ROWS[name], SavedBytes()

        def work() -> None:
            row.step(learner, self.samples, row.before(learner, self.samples))

        peak = peak_bytes(work, self.device)
        with saved.recording():
            work()
        self.reset(name)
        return {"saved_bytes": saved.peak, "summed_bytes": saved.summed, "peak_bytes": peak}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("meta", __doc__, repeats=9)
    parser.add_argument("--networks", nargs="+", default=["SmallCNN", "ACTNet"], help="their classes (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="samples of either batch (default: 64; short: 16)")
    parser.add_argument("--steps", type=int, default=1, help="steps a turn (default: %(default)s)")
    options = parse(parser, argv)
    batch = options.batch or (16 if options.short else 64)
    if batch < 2 or options.steps < 1:
        parser.error(f"--batch must be at least 2 and --steps at least 1, got {batch} and {options.steps}")
    report = Report(options, "one step from batches on the device: weights of the samples and update; IEG's meta step alone")
    report.more |= {"batch": batch, "image": [3, 32, 32], "steps": options.steps}
    for name in options.networks:
        contest = Contest(network_factory(name), batch, options.device, options.steps)
        parameters = sum(p.numel() for p in contest.start.parameters())
        group = f"{name}, {parameters:,} parameters, batches of {batch}"
        measure(report, contest, name, group)
    report.write()


def measure(report: Report, contest: Contest, network: str, group: str) -> None:
    """All rows on one network: memory, time, claims."""
    reference = contest.weights(DOUBLE)
    extra = {name: contest.memory(name) for name in ROWS}
    apart = {name: float((contest.weights(name) - reference).abs().max()) for name in ROWS if name not in (PLAIN, IEG)}
    step = f"L2R's step over a plain step, {network}"
    rows = {name: partial(contest.turn, name) for name in ROWS}
    claims = [
        Claim(step, SHARED, PLAIN, 3.0, "at most"),
        Claim(f"L2R's step against double backward in two passes, {network}", SHARED, TWO, None, "at least"),
    ]
    found = report.measure(rows, PLAIN, group=group, claims=claims)
    part = [shared - base for shared, base in zip(found[SHARED], found[PLAIN], strict=True)]
    text = f"IEG's meta step over L2R's meta part, {network}"
    quotients = [mine / base for mine, base in zip(found[IEG], part, strict=True) if base > 0]
    report.judged(verdict(text, quotients, 1.5, "at most", why="L2R's step took no longer than a plain one", row=IEG))
    kinds = [
        ("saved_bytes", "saved for backward", 0.35),
        ("summed_bytes", "summed", None),
        ("peak_bytes", "peak allocated", None),
    ]
    for kind, what, bound in kinds:
        text = f"L2R's step over double backward, {what}, {network}"
        ratio = extra[SHARED][kind] / extra[DOUBLE][kind]
        report.judged(verdict(text, [ratio], bound, "at most", row=SHARED, against=DOUBLE))
    print(f"{'':28}  {'saved':>10}  {'summed':>10}  {'peak':>10}  {'weights':>8}")
    for entry in report.rows[-len(ROWS) :]:
        name = entry["row"]
        entry |= {**extra[name], "weights_apart": apart.get(name)}
        sizes = "  ".join(f"{extra[name][kind] / 2**20:6.1f} MiB" for kind in ("saved_bytes", "summed_bytes", "peak_bytes"))
        print(f"{name:28}  {sizes}  {'' if name not in apart else format(apart[name], '8.1e')}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
