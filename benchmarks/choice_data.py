"""The data sets of `choice_regret.py`: small, as vectors, with clean test rows.

Those of ``NOISYLAB_DATA`` are described in docs/data.md.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

Tables = dict[str, Any]


def digits() -> Tables:
    """1,000 images of 8 x 8 pixels for training, 797 for the test."""
    X, y = load_digits(return_X_y=True)
    return divided((X / 16).astype(np.float32), y, 1000)


def mnist() -> Tables:
    """2,000 images for training, 2,000 of the test set, of 14 x 14 pixels."""
    with np.load(folder() / "mnist" / "mnist.npz") as found:
        parts = {name: found[name] for name in found.files}
    tables: Tables = {}
    for prefix, split in (("", "train"), ("test_", "test")):
        rows = stratified(parts[f"y_{split}"], 2000)
        small = parts[f"x_{split}"][rows].reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255
        tables |= {
            f"{prefix}x": small.reshape(len(rows), -1).astype(np.float32),
            f"{prefix}y": parts[f"y_{split}"][rows].astype(np.int64),
        }
    return tables


def cifar10() -> Tables:
    """2,000 images for training, 2,000 of the test set: 128 principal components of a pretrained network's features."""
    import torch
    from PIL import Image

    from noisylab.models.backbones import find_backbone

    with np.load(folder() / "cifar10_jpeg" / "cifar10_jpeg.npz") as found:
        parts = {name: found[name] for name in found.files}
    with np.load(folder() / "cifar_n_labels" / "cifar_n_labels.npz") as found:
        human = found["c10_worse_label"].astype(np.int64)
    network = find_backbone("efficientnet_lite0").load(96)
    tables: Tables = {}
    for prefix, split in (("", "train"), ("test_", "test")):
        labels = parts[f"{split}_labels"].astype(np.int64)
        rows = stratified(labels, 2000)
        features = []
        for start in range(0, len(rows), 100):
            pictures = []
            for row in rows[start : start + 100]:
                first, last = parts[f"{split}_offsets"][row : row + 2]
                picture = Image.open(io.BytesIO(parts[f"{split}_bytes"][first:last].tobytes())).convert("RGB")
                pictures.append(np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC)))
            features.append(network(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)).numpy())
        tables |= {f"{prefix}x": np.concatenate(features), f"{prefix}y": labels[rows]}
        if split == "train":
            tables["human"] = human[rows]
    reduced = PCA(128, random_state=0).fit(tables["x"])
    return tables | {name: reduced.transform(tables[name]).astype(np.float32) for name in ("x", "test_x")}


def reuters() -> Tables:
    """960 documents for training, 240 for the test: five languages beside each other, in 100 dimensions."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.decomposition import TruncatedSVD

    with np.load(folder() / "reuters_multiview" / "reuters_1200.npz") as found:
        y = found["labels"].astype(np.int64)
        views = [
            csr_matrix((found[f"v{v}_data"], found[f"v{v}_indices"].astype("i4"), found[f"v{v}_indptr"]), shape=(1200, 2000))
            for v in range(5)
        ]
    X = hstack(views).tocsr()
    train, test = train_test_split(np.arange(len(y)), train_size=960, stratify=y, random_state=0)
    reduced = TruncatedSVD(100, random_state=0).fit(X[train])
    x, test_x = (reduced.transform(X[part]).astype(np.float32) for part in (train, test))
    return {"x": x, "y": y[train], "test_x": test_x, "test_y": y[test]}


def table() -> Tables:
    """2,000 made-up rows of 14 numbers and two categories for training, 2,000 for the test, seven classes."""
    X, y = make_classification(
        4000, 30, n_informative=10, n_redundant=4, n_classes=7, n_clusters_per_class=2, class_sep=1.5, flip_y=0, random_state=7
    )
    rng = np.random.default_rng(7)
    soil, area = (y * 5 + rng.integers(0, 15, 4000)) % 40, rng.integers(0, 4, 4000)
    X = np.hstack([(X - X.mean(0)) / X.std(0), np.eye(40)[soil], np.eye(4)[area]])
    return divided(X.astype(np.float32), y, 2000)


def folder() -> Path:
    return Path(os.environ["NOISYLAB_DATA"])


def stratified(labels: Any, count: int) -> Any:
    rows, _ = train_test_split(np.arange(len(labels)), train_size=count, stratify=labels, random_state=0)
    return np.sort(rows)


def divided(X: Any, y: Any, count: int) -> Tables:
    x, test_x, target, test_y = train_test_split(X, y.astype(np.int64), train_size=count, stratify=y, random_state=0)
    return {"x": x, "y": target, "test_x": test_x, "test_y": test_y}


DATA: dict[str, Callable[[], Tables]] = {
    "digits": digits,
    "MNIST": mnist,
    "CIFAR-10": cifar10,
    "Reuters": reuters,
    "table": table,
}
