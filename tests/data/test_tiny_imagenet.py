from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from webtrees import SYNSETS, write_tiny_imagenet

from noisylab.data.named import TinyImageNet
from noisylab.data.named import pixels as pixels_module
from noisylab.data.rows import DenseRows
from noisylab.noise import Symmetric


def tiny(root: Path, **kwargs: Any) -> TinyImageNet:
    return TinyImageNet(str(root), **{"size": 16, "verify": False, **kwargs})


def test_classes_are_the_sorted_synsets_called_by_their_words(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    data = tiny(tmp_path)
    assert data.num_classes == 3
    data.setup()
    assert data.source.class_names == ("animal0", "animal1", "animal2")
    assert data.given_target.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.source.test_target is not None
    assert data.source.test_target.tolist() == [0, 1, 2, 0, 1, 2]
    train = data.source.train
    assert isinstance(train, DenseRows)
    assert data.source.names is not None
    for place in (0, 7, 11):  # each row is the picture of its name
        expected = np.asarray(Image.open(tmp_path / data.source.names[place]).convert("RGB")).transpose(2, 0, 1)
        assert (train.values[place].numpy() == expected).all()


def test_labels_are_true_and_noise_can_be_drawn(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    data = tiny(tmp_path, noise=Symmetric(rate=0.5, seed=1))
    data.setup()
    assert data.clean_target.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert 0 < int((data.given_target != data.clean_target).sum()) < 12


def test_without_words_synsets_are_the_names(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    (tmp_path / "words.txt").unlink()
    data = tiny(tmp_path)
    data.setup()
    assert data.source.class_names == SYNSETS[:3]


def test_bad_lines_missing_files_and_numbers_are_named(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    with (tmp_path / "val/val_annotations.txt").open("a") as file:
        file.write("val_9.JPEG\tn00000000\t0\t0\t1\t1\n")
    (tmp_path / "val/images/val_14.JPEG").unlink()
    text = TinyImageNet.check_release(tmp_path).text()
    assert "line 7: 'val_9.JPEG\\tn00000000\\t0\\t0\\t1\\t1' is not a file, a tab and a synset" in text
    assert "val/images/val_14.JPEG: line 4" in text
    assert "training images: 12, expected 100,000" in text
    assert "train/n01440764/images: not 500 images" in text


def test_what_does_not_fit_into_memory_is_said_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_imagenet(tmp_path)
    monkeypatch.setattr(pixels_module, "_free_memory", lambda: 9000)
    with pytest.raises(ValueError, match=r"12 pictures of 16 x 16 pixels take 0\.0 GiB of memory, and 0\.0 GiB are free"):
        tiny(tmp_path).setup()


def test_a_test_set_without_a_picture_is_refused_even_if_some_may_be_missing(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    shutil.rmtree(tmp_path / "val/images")
    with pytest.raises(FileNotFoundError, match=r"6 of 6 validation images .* none of them is there"):
        tiny(tmp_path, allow_missing=True).setup()
