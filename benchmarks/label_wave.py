"""Test accuracy at the epochs that can be chosen without clean labels, on digits with 40 % symmetric noise.

    python benchmarks/label_wave.py --out build/label_wave.csv           # trains three seeds; a line is written as it is measured
    python benchmarks/label_wave.py --out build/label_wave.csv --table   # the table of docs/choosing.md

Cross-entropy, an MLP 64-512-512-10, SGD with rate 0.05 and momentum 0.9, batches of 64, 60 epochs. 1,000 rows are trained on, 300
with wrong labels as well are held out, 497 with right labels are the test set; a seed names the division, the wrong labels, the
first weights and the order of the batches. "best" looks at the test set and is no choice. The rules differ in nothing but the
epoch they choose: each seed is one run.
"""

from __future__ import annotations

import argparse
import csv
import logging
import statistics
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from noisylab.callbacks import Curves, LabelWave, RunCheckpoint
from noisylab.data.matrix import Matrix
from noisylab.methods import CrossEntropy
from noisylab.metrics import first_minimum
from noisylab.models import MLP
from noisylab.noise import Symmetric

EPOCHS, TEST, HELD_OUT, KEPT = 60, 497, 300, 1300
RULES = ("best", "last", "window 1", "window 3", "window 5", "noisy validation")
FIELDS = ("seed", "rule", "epoch", "test_acc")


def run(seed: int, epochs: int = EPOCHS) -> dict[str, tuple[int, float]]:
    """Train once; the epoch of each rule, counted from 0, and the test accuracy there."""
    images, digits = load_digits(return_X_y=True)
    X, test_X, y, test_y = train_test_split(images / 16, digits, test_size=TEST, stratify=digits, random_state=seed)
    settings: dict[str, Any] = {
        "val_fraction": HELD_OUT / KEPT,
        "batch_size": 64,
        "seed": seed,
        "split_seed": seed,
        "standardize": False,
    }
    data = Matrix(X, y, test_X, test_y, noise=Symmetric(0.4, seed=seed), **settings)
    torch.manual_seed(seed)
    network = partial(MLP, in_features=64, hidden=(512, 512))
    method = CrossEntropy(10, network, optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9))
    with tempfile.TemporaryDirectory() as folder:
        curves = Curves()
        callbacks: list[L.Callback] = [LabelWave(), curves, RunCheckpoint(folder, every_n_minutes=None)]
        shown: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, callbacks=callbacks, default_root_dir=folder, **shown
        )
        trainer.fit(method, datamodule=data)
    return chosen(curves)


def chosen(curves: Curves) -> dict[str, tuple[int, float]]:
    """The epoch of each rule and the test accuracy there, from the curves of a run."""
    test, val = dict(curves.series("test/acc")), curves.series("val/acc")
    epochs, changed = zip(*curves.series("label_wave/changed"), strict=True)
    found = {"best": max(test, key=lambda epoch: test[epoch]), "last": max(test)}
    for window in (1, 3, 5):
        place = first_minimum(changed, window).place
        if place is not None:
            found[f"window {window}"] = epochs[place]
    found["noisy validation"] = max(val, key=lambda pair: pair[1])[0]
    return {rule: (epoch, test[epoch]) for rule, epoch in found.items()}


def table(file: Path) -> str:
    """The table of docs/choosing.md."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    seeds = sorted({row["seed"] for row in rows}, key=int)
    found = {(row["rule"], row["seed"]): row for row in rows}
    head = ["| epoch chosen by | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean |", "|---" * (len(seeds) + 2) + "|"]
    for rule in RULES:
        cells = [found[rule, seed] for seed in seeds]
        shown = [f"{100 * float(cell['test_acc']):.1f} ({cell['epoch']})" for cell in cells]
        mean = 100 * statistics.fmean(float(cell["test_acc"]) for cell in cells)
        head.append(f"| {rule} | " + " | ".join(shown) + f" | {mean:.1f} |")
    return "\n".join(head)


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file of the figures")
    parser.add_argument("--seeds", type=int, default=3, help="how many; default 3")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run; default {EPOCHS}")
    parser.add_argument("--table", action="store_true", help="print the table of a file that is there")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    warnings.filterwarnings("ignore", "Label Wave")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for seed in range(options.seeds):
            for rule, (epoch, accuracy) in run(seed, options.epochs).items():
                writer.writerow([seed, rule, epoch, repr(accuracy)])
                file.flush()


if __name__ == "__main__":
    main()
