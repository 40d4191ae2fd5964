"""Images packed into one file, divided as in a study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import train_batches, write_packed

from noisylab.data import PackedImages
from noisylab.data.semi import study_split
from noisylab.noise import Symmetric


@pytest.fixture
def path(tmp_path: Path) -> str:
    write_packed(tmp_path / "p.npz", classes=3, rows=60, test_rows=9)
    return str(tmp_path / "p.npz")


def ready(path: str, **kwargs: Any) -> PackedImages:
    data = PackedImages(path, **kwargs)
    data.setup()
    return data


def pixels(rows: list[int]) -> list[Any]:
    return [np.random.default_rng(row).integers(0, 256, (8, 8, 3), dtype=np.uint8).transpose(2, 0, 1).tolist() for row in rows]


def test_all_rows_are_read_in_the_order_of_the_file(path: str) -> None:
    data = ready(path, val_fraction=0.2, labels_per_class=5, test_rows=6)
    assert data.source.train.values.tolist() == pixels(list(range(60)))  # type: ignore[union-attr]
    assert (data.clean_target.tolist(), len(data.split.test)) == ([row % 3 for row in range(60)], 6)
    assert [len(data.info.train_rows), len(data.info.unlabeled_rows), data.info.num_val] == [15, 33, 12]
    batch = next(train_batches(data, ("weak", "strong")))
    assert all(view.shape[1:] == (3, 8, 8) for view in batch.views)  # type: ignore[union-attr]


@pytest.mark.parametrize("keep", [None, 2])
def test_rows_are_divided_as_in_the_study(path: str, keep: int | None) -> None:
    data = ready(path, labeled=4, unlabeled=7, validation=3, keep=keep, split_seed=5)
    labels = torch.arange(60) % 3
    split = study_split(labels, 3, 4, 7, 5, keep)
    used = torch.cat([split.validation, split.labeled, split.unlabeled]).sort().values
    assert data.source.train.values.tolist() == pixels(used.tolist())  # type: ignore[union-attr]
    parts = {"train": data.info.train_rows, "unlabeled": data.info.unlabeled_rows, "val": data.split.val}
    found = {name: used[rows].tolist() for name, rows in parts.items()}
    wanted = {"train": split.labeled, "unlabeled": split.unlabeled, "val": split.validation}
    assert found == {name: rows.sort().values.tolist() for name, rows in wanted.items()}
    assert data.clean_target.tolist() == labels[used].tolist()
    assert bool((data.info.given_target >= 0).sum() == len(split.labeled))
    assert data.protocol.startswith("test accuracy in the best epoch by given labels of 3 held-out rows of each class;")
    each = "2" if keep else "4"
    assert f"{len(used)} of 60 rows, {each} labeled, 7 unlabeled and 3 validation rows of each class" in data.source.account[0]


def test_labeled_rows_may_be_wrong_and_validation_rows_compare_with_either_label(path: str) -> None:
    noise = Symmetric(0.5, seed=2)
    data = ready(path, labeled=8, unlabeled=4, validation=5, noise=noise, val_labels="clean")
    rows = data.info.train_rows
    assert bool((data.given_target[rows] != data.clean_target[rows]).any())
    assert torch.equal(data.split.val_target[data.split.val], data.clean_target[data.split.val])
    assert set(data.given_target[data.info.unlabeled_rows].tolist()) == {-1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"unlabeled": 3}, "belong to labeled"),
        ({"labeled": 0}, "labeled must be"),
        ({"labeled": 10, "unlabeled": 11}, "class 0 has 20 rows, but 21 are to be divided"),
        ({"labeled": 4, "keep": 5}, r"keep must be in 1\.\.4"),
        ({"labeled": 4, "validation": 2, "val_fraction": 0.1}, "holds 6 rows out for validation itself"),
    ],
)
def test_what_cannot_be_divided_is_refused(path: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ready(path, **arguments)


def test_damaged_files_are_refused(path: str) -> None:
    with np.load(path) as arrays:
        stored = dict(arrays)
    stored["train_bytes"] = stored["train_bytes"].copy()
    stored["train_bytes"][stored["train_offsets"][7] :][:9] = 0
    np.savez(path, **stored)
    with pytest.raises(ValueError, match=r"train image 7 of .* cannot be read"):
        ready(path)
    np.savez(path, **{**stored, "train_bytes": stored["train_bytes"][:90]})
    with pytest.raises(ValueError, match=r"train_bytes of .* as long as train_offsets says"):
        ready(path)


@pytest.mark.realdata
@pytest.mark.skipif("NOISYLAB_DATA" not in os.environ, reason="NOISYLAB_DATA is not set")
@pytest.mark.slow
def test_the_real_files_are_read(tmp_path: Path) -> None:
    file = Path(os.environ["NOISYLAB_DATA"]) / "cifar10_jpeg" / "cifar10_jpeg.npz"
    data = ready(str(file), labeled=400, unlabeled=1600, validation=100, keep=4, test_rows=100)
    assert [len(data.info.train_rows), len(data.info.unlabeled_rows), data.info.num_val] == [40, 16_000, 1_000]
    assert data.info.class_names[:2] == ("airplane", "automobile")
