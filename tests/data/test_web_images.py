from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from samples import train_batches, write_folders, write_image

from noisylab.data import WebImages
from noisylab.data.rows import FileRows
from noisylab.transforms import web_views


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folders(tmp_path / "train", ("b", "a"), each=4, size=(30, 20))
    write_folders(tmp_path / "val", ("a", "b"), each=2, size=(20, 30))
    return tmp_path


def test_train_is_noisy_of_unknown_truth_and_val_is_the_test_set(root: Path) -> None:
    data: Any = WebImages(str(root), resize=18, crop=16)
    assert data.num_classes == 2
    data.setup()
    assert isinstance(data.source.train, FileRows)
    assert data.given_target.tolist() == [0] * 4 + [1] * 4
    assert data.clean_target.tolist() == [-1] * 8
    assert data.source.test_target.tolist() == [0, 0, 1, 1]
    assert (data.source.names[0], data.source.test_names[0]) == ("train/a/0.png", "val/a/0.png")
    assert "val" not in data.val_dataloader()


def test_batches_are_cropped_squares(root: Path) -> None:
    data: Any = WebImages(str(root), resize=18, crop=16, batch_size=3)
    assert next(train_batches(data)).views[0].shape == (3, 3, 16, 16)
    (batch,) = data.test_dataloader()["test"]
    assert batch.inputs.shape == (4, 3, 16, 16)
    assert torch.equal(batch.target, data.source.test_target)


def test_the_published_sizes_are_the_defaults() -> None:
    assert WebImages("x").view_set() == web_views(448, 448)


def test_truncated_files_are_filled_up_unless_told_otherwise(root: Path) -> None:
    file = root / "train" / "a" / "cut.jpg"
    write_image(file, (30, 30))
    file.write_bytes(file.read_bytes()[:-300])
    assert sum(len(batch) for batch in train_batches(WebImages(str(root), resize=18, crop=16))) == 9
    with pytest.raises(ValueError, match=r"cannot read the image .*cut\.jpg"):
        list(train_batches(WebImages(str(root), resize=18, crop=16, allow_truncated=False)))


def test_missing_folders_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere/train"):
        WebImages(str(root / "nowhere")).setup()
    (root / "val").rename(root / "other")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/val"):
        WebImages(str(root)).setup()
