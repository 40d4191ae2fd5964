"""Accuracy on clean test rows of classifiers trained on wrong labels: `NoisyLabelClassifier` beside others.

    python benchmarks/sklearn_tables.py --out build/sklearn_tables.csv           # a line is written as it is measured
    python benchmarks/sklearn_tables.py --out build/sklearn_tables.csv --table   # the table of docs/sklearn.md

The others are scikit-learn's, trained plainly and within cleanlab's CleanLearning. In the table, (n) says that only n of the
seeds were measured. A run that was stopped goes on where it was. Every classifier has its default settings; none was chosen by
these tables. A seed names the division into training and test rows (half and half, stratified by true label), the wrong labels
and the classifier.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noisylab.sklearn import NoisyLabelClassifier

SEEDS = 5
FIELDS = ("data", "noise", "seed", "classifier", "accuracy", "wrong", "seconds")


def synthetic(rows: int) -> tuple[Any, Any]:
    """A table like those of forest covers: seven classes, ten numbers that interact, two noisy categories as indicators."""
    X, y = make_classification(
        rows, 30, n_informative=10, n_redundant=4, n_classes=7, n_clusters_per_class=2, class_sep=1.5, flip_y=0, random_state=7
    )
    rng = np.random.default_rng(7)
    soil, area = (y * 5 + rng.integers(0, 15, rows)) % 40, rng.integers(0, 4, rows)
    cross = X[:, :1] * X[:, 1:2]
    return np.hstack([X, cross, np.eye(40)[soil], np.eye(4)[area]]), y


DATA: dict[str, Callable[[], tuple[Any, Any]]] = {
    "wine": lambda: load_wine(return_X_y=True),
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "synthetic 1,000": lambda: synthetic(1000),
    "synthetic 4,000": lambda: synthetic(4000),
}


def symmetric(X: Any, y: Any, rate: float, rng: Any) -> Any:
    """Each label becomes another one, drawn uniformly, with probability `rate`."""
    K, wrong = int(y.max()) + 1, rng.random(len(y)) < rate
    return np.where(wrong, (y + rng.integers(1, K, len(y))) % K, y)


def by_input(X: Any, y: Any, rate: float, rng: Any) -> Any:
    """The rows whose projection on a random direction is largest become the next class: a region is wrong, not a row here and
    there."""
    Z = (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)
    side = Z @ rng.normal(size=X.shape[1])
    side = side + side.std() * rng.normal(size=len(y))  # the region has no sharp border
    wrong = side > np.quantile(side, 1 - rate)
    return np.where(wrong, (y + 1) % (int(y.max()) + 1), y)


NOISE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "symmetric 20 %": lambda X, y, rng: symmetric(X, y, 0.2, rng),
    "symmetric 40 %": lambda X, y, rng: symmetric(X, y, 0.4, rng),
    "by input 30 %": lambda X, y, rng: by_input(X, y, 0.3, rng),
}


def cleaned(model: Any, seed: int) -> Any:
    from cleanlab.classification import CleanLearning

    return CleanLearning(model, seed=seed)


def classifiers(seed: int) -> dict[str, Callable[[], Any]]:
    linear = lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))  # noqa: E731
    boosted = lambda: HistGradientBoostingClassifier(random_state=seed)  # noqa: E731
    return {
        "LogisticRegression": linear,
        "RandomForest": lambda: RandomForestClassifier(random_state=seed),
        "HistGradientBoosting": boosted,
        "CleanLearning(LogisticRegression)": lambda: cleaned(linear(), seed),
        "NoisyLabelClassifier(ce)": lambda: NoisyLabelClassifier("ce", random_state=seed),
        "NoisyLabelClassifier(elr)": lambda: NoisyLabelClassifier("elr", random_state=seed),
        "CleanLearning(HistGradientBoosting)": lambda: cleaned(boosted(), seed),
    }


def measure(data: str, noise: str, seed: int, make: Callable[[], Any]) -> tuple[float, float, float]:
    """Accuracy on clean test rows, share of wrong training labels, seconds of processor time in `fit`."""
    X, y = DATA[data]()
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    given = NOISE[noise](X, y, np.random.default_rng(seed))
    start = time.process_time()
    model = make().fit(X, given)
    seconds = time.process_time() - start
    return float((model.predict(X_test) == y_test).mean()), float((given != y).mean()), seconds


def missing(done: set[tuple[str, str, str, str]], seeds: int) -> Iterator[tuple[str, str, int, str]]:
    """What is still to be measured; the slowest classifier last."""
    for names in (list(classifiers(0))[:-1], list(classifiers(0))[-1:]):
        for seed in range(seeds):
            for data in DATA:
                for noise in NOISE:
                    for name in names:
                        if (data, noise, str(seed), name) not in done:
                            yield data, noise, seed, name


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: mean and standard deviation over the seeds that were measured, in percent."""
    names = [name for name in classifiers(0) if any(row["classifier"] == name for row in rows)]
    lines = [f"| data | noise | wrong | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for data in DATA:
        for noise in NOISE:
            mine = [row for row in rows if (row["data"], row["noise"]) == (data, noise)]
            found = {name: [float(row["accuracy"]) for row in mine if row["classifier"] == name] for name in names}
            best = max((float(np.mean(values)) for values in found.values() if values), default=0.0)
            cells = [_cell(values, best) for values in found.values()]
            wrong = 100 * np.mean([float(row["wrong"]) for row in mine]) if mine else 0.0
            lines.append(f"| {data} | {noise} | {wrong:.0f} % | {' | '.join(cells)} |")
    each = {name: [float(row["seconds"]) for row in rows if row["classifier"] == name] for name in names}
    lines.append(f"| seconds of a fit, mean | | | {' | '.join(f'{np.mean(values):.1f}' for values in each.values())} |")
    return "\n".join(lines)


def _cell(values: list[float], best: float) -> str:
    if not values:
        return "-"
    text = f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"
    text = f"**{text}**" if np.mean(values) == best else text
    return text if len(values) == SEEDS else f"{text} ({len(values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="build/sklearn_tables.csv", type=Path, help="where each measurement is appended")
    parser.add_argument("--seeds", default=SEEDS, type=int)
    parser.add_argument("--table", action="store_true", help="print what has been measured, and measure nothing")
    given = parser.parse_args()
    rows = list(csv.DictReader(given.out.open())) if given.out.exists() else []
    if given.table:
        print(table(rows))
        return
    warnings.filterwarnings("ignore")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["data"], row["noise"], row["seed"], row["classifier"]) for row in rows}
    with given.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for data, noise, seed, name in missing(done, given.seeds):
            accuracy, wrong, seconds = measure(data, noise, seed, classifiers(seed)[name])
            writer.writerow(dict(zip(FIELDS, (data, noise, seed, name, accuracy, wrong, f"{seconds:.3f}"), strict=True)))
            file.flush()


if __name__ == "__main__":
    main()
