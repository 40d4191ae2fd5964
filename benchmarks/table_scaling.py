"""How numbers of tables are brought to one size: `Tabular` beside scikit-learn's ways, with 30 % of the labels wrong.

Three tables of scikit-learn and three that are drawn: an ordinary one, the same with ten of its columns lognormal, and with 2 %
of its numbers replaced by outliers. A perceptron (256 hidden units, dropout 0.5) learns with generalized cross-entropy, as in
`noisylab issues`, for 30 epochs. Printed are the accuracy in percent on the 30 % of the rows that are held out with right labels,
its standard deviation over the seeds, and the AUROC of one minus the probability of the given label of training rows.

    python benchmarks/table_scaling.py [--seeds 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, RobustScaler, StandardScaler
from torch import nn

from noisylab.data.frames import Column, Columns
from noisylab.data.tabular.cells import Cells
from noisylab.data.tabular.fields import NumberField
from noisylab.losses import GCE

_WRONG, _EPOCHS, _BATCH = 0.3, 30, 128


class Ours:
    """What `Tabular` makes of columns of numbers, as a transformer."""

    def fit(self, rows: np.ndarray[Any, Any]) -> Ours:
        """Learn from rows (N, D)."""
        cells, every = _cells(rows), np.arange(len(rows))
        self.fields = [NumberField.fit(name, cells, every) for name in cells.table.columns]
        return self

    def transform(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(N, D) float32."""
        cells, out = _cells(rows), np.zeros(rows.shape, dtype=np.float32)
        for place, field in enumerate(self.fields):
            field.fill(cells, out[:, place : place + 1])
        return out


def _cells(rows: np.ndarray[Any, Any]) -> Cells:
    none = np.zeros(len(rows), dtype=bool)
    return Cells(Columns("rows", {str(place): Column("number", column, none) for place, column in enumerate(rows.T)}))


def ways(rows: int) -> dict[str, Any]:
    """Transformers by name, for so many training rows."""
    return {
        "Tabular": Ours(),
        "StandardScaler": StandardScaler(),
        "RobustScaler": RobustScaler(),
        "QuantileTransformer": QuantileTransformer(n_quantiles=min(1000, rows), output_distribution="normal", random_state=0),
        "PowerTransformer": PowerTransformer(),
    }


def tables() -> Iterator[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Name, rows and labels."""
    yield "breast cancer", *load_breast_cancer(return_X_y=True)
    yield "wine", *load_wine(return_X_y=True)
    rows, values = load_diabetes(return_X_y=True, scaled=False)
    yield "diabetes, thirds", rows, np.digitize(values, np.quantile(values, [1 / 3, 2 / 3]))
    rows, labels = make_classification(3000, 20, n_informative=10, n_classes=4, random_state=0)
    yield "drawn", rows, labels
    tails, outliers, rng = rows.copy(), rows.copy(), np.random.default_rng(0)
    tails[:, :10] = np.exp(2 * tails[:, :10] / tails[:, :10].std(0))
    yield "ten columns lognormal", tails, labels
    far = rng.random(rows.shape) < 0.02
    outliers[far] = rng.standard_cauchy(far.sum()) * 100
    yield "2 % outliers", outliers, labels


def measure(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], way: str, seed: int) -> tuple[float, float]:
    """Accuracy on right labels, and AUROC of the wrong ones."""
    classes, rng = len(np.unique(labels)), np.random.default_rng(seed)
    train, test, true, test_labels = train_test_split(rows, labels, test_size=0.3, random_state=seed, stratify=labels)
    wrong = rng.random(len(true)) < _WRONG
    given = np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)
    transformer = ways(len(train))[way].fit(train)
    inputs, test_inputs = (torch.tensor(transformer.transform(part), dtype=torch.float32) for part in (train, test))
    target, loss = torch.tensor(given), GCE()
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(rows.shape[1], 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, classes))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(inputs)).split(min(_BATCH, max(len(inputs) // 8, 2))):
            optimizer.zero_grad()
            loss(network(inputs[batch]), target[batch]).mean().backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        accuracy = float((network(test_inputs).argmax(1).numpy() == test_labels).mean())
        probability = network(inputs).softmax(1)[torch.arange(len(target)), target]
    return accuracy, float(roc_auc_score(wrong, 1 - probability.numpy()))


def main() -> None:
    """Print one row a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    seeds = parser.parse_args().seeds
    names = list(ways(10))
    print("| table |", " | ".join(names), "|")
    print("|---" * (len(names) + 1) + "|")
    for name, rows, labels in tables():
        cells = []
        for way in names:
            found = np.array([measure(rows, labels, way, seed) for seed in range(seeds)])
            cells.append(f"{100 * found[:, 0].mean():.1f} ± {100 * found[:, 0].std():.1f} / {found[:, 1].mean():.3f}")
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
