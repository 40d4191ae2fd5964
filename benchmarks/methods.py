"""Cost of each method's training step relative to cross-entropy, in one run.

Every row trains the same network on the same batches of random 32 x 32 colour images through a real Lightning Trainer. What
is timed is one batch, from the start of building its views to the callbacks' ``on_train_batch_end``: views, hooks, forward,
backward, update. Not timed: fetching row numbers, evaluation, diagnostics, checkpoints, logging, and what a method prepares
between epochs. A plain loop of cross-entropy without Lightning is timed beside the methods; the difference to CrossEntropy is
what Lightning adds.

Rows take turns: each repeat measures every row once, as the median over its steps, and divides by CrossEntropy's of the same
repeat, so that a change in the machine's load meets all rows. A method with a warm-up has a row for each part.

    python benchmarks/methods.py [--short] [--network ACTNet] [--batch 128] [--out FILE]
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

import noisylab
from noisylab import methods, models
from noisylab.callbacks.summary import versions
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.rows import DenseRows
from noisylab.engine.plan import ResolvedPlan
from noisylab.engine.resume import atomic_path
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.models import Network
from noisylab.transforms import cifar_views
from noisylab.types import EpochPlan, PlanBatch

CLASSES = 10
REPEATS, STEPS, WARM = 9, 6, 2
SHORT_REPEATS, SHORT_STEPS, SHORT_WARM = 3, 2, 1
BASELINE, PLAIN = "CrossEntropy", "CrossEntropy, plain loop"


class StepClock(L.Callback):
    """Reads the time at the start and the end of each batch.

    Args:
        device: waited for before each reading.

    Attributes:
        seconds: duration of each batch.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self._started = 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def start(self) -> None:
        """The views of a batch are about to be built."""
        self._started = self._now()

    def stop(self) -> None:
        """The batch is done."""
        self.seconds.append(self._now() - self._started)

    def on_train_batch_end(self, *_: Any) -> None:
        """Through Lightning, this is the end of a batch."""
        self.stop()


class RandomImages(NoisyDataModule):
    """Random colour images with random labels, as many as are needed.

    Args:
        rows: N.
        clock: started before the views of a training batch are built.
        **kwargs: see `NoisyDataModule`.
    """

    def __init__(self, rows: int, clock: StepClock, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.clock = rows, clock

    @property
    def source_classes(self) -> int:
        """Ten."""
        return CLASSES

    def load(self) -> Source:
        """The same pixels every time."""
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (self.rows, 3, 32, 32), generator=generator, dtype=torch.uint8)
        given = torch.arange(self.rows) % CLASSES
        return Source(DenseRows(pixels), given, tuple(str(number) for number in range(CLASSES)))

    def view_set(self) -> Mapping[str, Any]:
        """Those of CIFAR."""
        return cifar_views()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Start the clock, then build the views."""
        self.clock.start()
        return super().on_after_batch_transfer(batch, dataloader_idx)


@dataclass(frozen=True)
class Row:
    """A line of the table: its name, and what makes its method; None for the plain loop."""

    name: str
    method: Callable[[], NoisyLabelMethod] | None


def concrete_methods() -> list[type[NoisyLabelMethod]]:
    """The public methods, cross-entropy first."""
    found = [getattr(methods, name) for name in methods.__all__]
    classes = [cls for cls in found if inspect.isclass(cls) and cls is not NoisyLabelMethod]
    return sorted(classes, key=lambda cls: (cls is not CrossEntropy, cls.__name__))


def all_rows(network: Callable[..., Network]) -> list[Row]:
    """The plain loop, then every method, once or before and after its warm-up."""
    rows = [Row(PLAIN, None)]
    for cls in concrete_methods():
        make = partial(cls, num_classes=CLASSES, network=network)
        if "warmup_epochs" in inspect.signature(cls).parameters:
            rows.append(Row(f"{cls.__name__}, warm-up", partial(make, warmup_epochs=1)))
            rows.append(Row(f"{cls.__name__}, after warm-up", partial(make, warmup_epochs=0)))
        else:
            rows.append(Row(cls.__name__, make))
    return rows


def time_method(method: NoisyLabelMethod, data: RandomImages, device: torch.device) -> list[float]:
    """Seconds of each batch of one epoch through a Trainer."""
    trainer = L.Trainer(
        max_epochs=1,
        accelerator=device.type,
        devices=1,
        logger=False,
        callbacks=[data.clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(method, datamodule=data)
    return data.clock.seconds


def time_plain(network: Network, data: RandomImages, device: torch.device) -> list[float]:
    """Seconds of each batch of one epoch, in a loop written by hand."""
    data.setup("fit")
    plan = ResolvedPlan(EpochPlan(), epoch=0, seed=0, train_rows=data.info.train_rows, batch_size=data.batch_size)
    network.to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for position in range(plan.steps):
        batch = data.on_after_batch_transfer(plan.batch(position).to(device), 0)
        assert isinstance(batch, PlanBatch)
        samples = batch["train"]
        optimizer.zero_grad()
        logits: Tensor = network(samples.views[0])
        F.cross_entropy(logits, samples.target).backward()
        optimizer.step()
        data.clock.stop()
    return data.clock.seconds


def measure(
    rows: Sequence[Row], network: Callable[..., Network], *, batch: int, steps: int, warm: int, repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds a step by row, one number a repeat: the median over the steps after the first `warm`."""
    found: dict[str, list[float]] = {row.name: [] for row in rows}
    for repeat in range(repeats):
        for row in rows if repeat % 2 == 0 else reversed(rows):
            torch.manual_seed(0)
            data = RandomImages(batch * (steps + warm), StepClock(device), batch_size=batch)
            seconds = (
                time_plain(network(CLASSES), data, device) if row.method is None else time_method(row.method(), data, device)
            )
            found[row.name].append(statistics.median(seconds[warm:]))
    return found


def summarise(found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Median and quartiles of the time and of the ratio to cross-entropy of the same repeat."""
    table = []
    for name, seconds in found.items():
        ratios = [mine / base for mine, base in zip(seconds, found[BASELINE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        entry = {"row": name, "ms": 1000 * statistics.median(seconds), "ratio": middle, "quartiles": [low, high]}
        table.append({**entry, "seconds": list(seconds)})
    return table


def table_text(table: Sequence[Mapping[str, Any]]) -> str:
    """The table, aligned."""
    width = max(len(str(entry["row"])) for entry in table)
    lines = [f"{'':{width}}  {'ms a step':>10}  {'relative':>9}  middle half of repeats"]
    for entry in table:
        low, high = entry["quartiles"]
        lines.append(f"{entry['row']:{width}}  {entry['ms']:10.2f}  {entry['ratio']:9.2f}  {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def commit() -> str | None:
    """The commit of the checkout, marked when files differ from it; None outside of one."""
    folder = Path(noisylab.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def network_factory(name: str) -> Callable[..., Network]:
    """A packaged network for colour images by its class name."""
    cls = getattr(models, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Network)) or cls in (Network, models.Wrap):
        known = ", ".join(other for other in models.__all__ if other not in ("Network", "Wrap"))
        raise SystemExit(f"--network {name}: no packaged network; give one of {known}")
    if name == "MLP":
        return partial(cls, in_features=3 * 32 * 32)
    return partial(cls, in_channels=3) if name == "SmallCNN" else cls


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three repeats of two steps: to see that it works, not to quote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--network", help="class of the network (default: ACTNet on CUDA, SmallCNN on the CPU)")
    parser.add_argument("--batch", type=int, help="samples a batch (default: 128 on CUDA, 64 on the CPU)")
    parser.add_argument("--repeats", type=int, default=None, help=f"default: {REPEATS}")
    parser.add_argument("--out", default="runs/benchmarks/methods.json", help="the JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    name = options.network or ("ACTNet" if device.type == "cuda" else "SmallCNN")
    batch = options.batch or (128 if device.type == "cuda" else 64)
    repeats = options.repeats or (SHORT_REPEATS if options.short else REPEATS)
    steps, warm = (SHORT_STEPS, SHORT_WARM) if options.short else (STEPS, WARM)
    if repeats < 2:
        parser.error(f"--repeats must be at least 2, got {repeats}")
    network = network_factory(name)
    for quiet in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(quiet).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(all_rows(network), network, batch=batch, steps=steps, warm=warm, repeats=repeats, device=device)
    table = summarise(found)
    facts = {
        "what": "one training batch: views, hooks, forward, backward, update",
        "command": " ".join(["python", "benchmarks/methods.py", *(sys.argv[1:] if argv is None else argv)]),
        "commit": commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "network": name,
        "parameters": sum(p.numel() for p in network(CLASSES).parameters()),
        "batch": batch,
        "image": [3, 32, 32],
        "repeats": repeats,
        "steps": steps,
        "short": options.short,
        "versions": versions(),
        "rows": table,
    }
    print(f"{name}, batch {batch} of 3 x 32 x 32, {device}, {facts['threads']} threads; {repeats} repeats of {steps} steps")
    print(table_text(table))
    if options.short:
        print("short: too few steps to quote")
    with atomic_path(options.out) as partial_file:
        partial_file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
