"""A pretrained network, fine-tuned on noisy labels, beside a perceptron on its frozen features.

2,000 photographs of CIFAR-10 in JPEG form with the worse of the human labels of CIFAR-10N, and 1,000 test images, all
enlarged to 96 pixels. Each setting is one command of noisylab; its files do not hold the true labels, which are used for the
figures alone: accuracy on the test images after the last epoch, and the AUROC of ``label_issues.csv``, how often a wrong label
is ranked before a right one. Seconds are those of the whole command with its imports, of all of its threads, and on the clock.

The folder NOISYLAB_DATA (or --source) holds cifar10_jpeg and cifar_n_labels as .npz files. The network is the extra `features`.

    python benchmarks/finetune.py [--rows 2000] [--settings frozen-gce tuned-gce] [--short] [-- FLAGS FOR EACH COMMAND]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from issue_settings import source_arrays
from sklearn.metrics import roc_auc_score
from timing import commit, cores, device_name

from noisylab.callbacks.surroundings import versions

SIZE = 96
TEST_ROWS = 1000
_FROZEN = (
    *("--model.network", "MLP", "--model.network.in_features", "1280", "--model.network.hidden", "[256]"),
    *("--model.network.dropout", "0.5", "--model.optimizer", "Adam", "--model.optimizer.lr", "1e-3"),
    *("--data", "ImageFeatures", "--data.image_size", str(SIZE), "--data.cache", "null", "--data.batch_size", "128"),
    *("--trainer.max_epochs", "15", "--seed_everything", "0"),
)
_TUNED = ("--data.size", str(SIZE), "--data.resize", str(SIZE), "--data.num_workers", "0", "--speed.channels_last", "true")
SETTINGS: dict[str, tuple[str, ...]] = {
    "frozen-ce": ("--model", "CrossEntropy", *_FROZEN),
    "frozen-gce": ("--model", "RobustLoss", "--model.loss", "GCE", *_FROZEN),
    "frozen-elr": ("--model", "ELR", *_FROZEN),
    "tuned-ce": ("--config", "finetune_ce.yaml", *_TUNED),
    "tuned-gce": ("--config", "finetune_gce.yaml", *_TUNED),
    "tuned-elr": ("--config", "finetune_elr.yaml", *_TUNED),
}
"""Flags of ``noisylab fit``, to which the files and the folder are added."""


def write_photographs(source: Path | None, folder: Path, rows: int) -> np.ndarray[Any, Any]:
    """Write the first images of both parts and their tables, without the truth.

    Returns:
        (rows,) whether the given label is wrong, by file number.
    """
    images, people = source_arrays(source, "cifar10_jpeg"), source_arrays(source, "cifar_n_labels")
    names = [str(name) for name in images["class_names"]]
    given, true = people["c10_worse_label"][:rows], images["train_labels"][:rows]
    test = images["test_labels"][: min(rows, TEST_ROWS)]
    shutil.rmtree(folder, ignore_errors=True)
    for part, labels in (("train", given), ("test", test)):
        (folder / part).mkdir(parents=True)
        starts = images[f"{part}_offsets"]
        for row in range(len(labels)):
            content = images[f"{part}_bytes"][starts[row] : starts[row + 1]].tobytes()
            (folder / part / f"{row:05}.jpg").write_bytes(content)
        with (folder / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "label"), *((f"{n:05}.jpg", names[label]) for n, label in enumerate(labels))])
    wrong: np.ndarray[Any, Any] = given != true
    return wrong


def measure(name: str, folder: Path, wrong: np.ndarray[Any, Any], more: Sequence[str]) -> dict[str, Any]:
    """Run one setting in a process of its own, as a user would.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    run = folder / name
    files = {"data.images": "train", "data.labels_csv": "train.csv", "data.test_images": "test", "data.test_csv": "test.csv"}
    flags = [part for key, file in files.items() for part in (f"--{key}", str(folder / file))]
    command = ["fit", *SETTINGS[name], *flags, "--trainer.accelerator", "cpu", *more, "--run_dir", str(run), "--overwrite"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "noisylab", *command], check=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    with (run / "label_issues.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    places = [int(Path(row["file"]).stem) for row in listed]
    summary = json.loads((run / "summary.json").read_text())
    return {
        "setting": name,
        "command": "noisylab " + " ".join(command),
        "test_accuracy": summary["test"]["headline"]["last"],
        "auroc": float(roc_auc_score(wrong[places], [float(row["score"]) for row in listed])),
        "process_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files, run the settings, print a table and write it as JSON."""
    parser = argparse.ArgumentParser("finetune.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="training images (default: %(default)s)")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--short", action="store_true", help="200 images, one epoch, to see that it works; not to quote")
    parser.add_argument("--source", type=Path, help="folder of the source files (default: the variable NOISYLAB_DATA)")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/finetune"), help="for pictures and runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/finetune.json"), help="the JSON file")
    parser.add_argument("more", nargs="*", help="flags that each command gets, after --")
    options = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    rows = 200 if options.short else options.rows
    more = [*options.more, *(("--trainer.max_epochs", "1") if options.short else ())]
    wrong = write_photographs(options.source, options.folder, rows)
    found = []
    for name in options.settings:
        found.append(measure(name, options.folder, wrong, more))
        print(json.dumps(found[-1]), flush=True)
    facts = {"rows": rows, "wrong": float(wrong.mean()), "commit": commit(), "cores": cores(), "threads": options.threads}
    facts |= {"device": device_name(torch.device("cpu")), "versions": versions(), "settings": found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=1))
    print("| setting | test accuracy | AUROC | CPU seconds |\n|:--|--:|--:|--:|")
    for row in found:
        print(f"| {row['setting']} | {row['test_accuracy']:.3f} | {row['auroc']:.3f} | {row['process_seconds']:.0f} |")


if __name__ == "__main__":
    main()
