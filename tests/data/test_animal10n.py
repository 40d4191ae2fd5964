from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from samples import train_batches, write_image
from webtrees import write_animal10n

from noisylab.data.named import Animal10N
from noisylab.data.rows import DenseRows


def test_flat_files_are_sorted_and_carry_their_class(tmp_path: Path) -> None:
    write_animal10n(tmp_path)
    data = Animal10N(str(tmp_path), size=16, batch_size=8)
    assert data.num_classes == 10
    data.setup()
    assert data.given_target.tolist() == [k for k in range(10) for _ in range(4)]
    assert data.source.names is not None
    assert list(data.source.names) == sorted(data.source.names)
    assert data.source.test_target is not None
    assert data.source.test_target.tolist() == list(range(10))
    assert data.clean_target.tolist() == [-1] * 40
    assert isinstance(data.source.train, DenseRows)
    assert data.source.train.values.dtype == torch.uint8
    assert next(train_batches(data)).views[0].shape == (8, 3, 16, 16)


def test_class_folders_are_the_other_form(tmp_path: Path) -> None:
    write_animal10n(tmp_path, flat=False)
    data = Animal10N(str(tmp_path), size=16)
    data.setup()
    assert data.source.class_names[:2] == ("animal0", "animal1")
    assert data.given_target.tolist() == [k for k in range(10) for _ in range(4)]
    (tmp_path / "test/animal3").rename(tmp_path / "test/animal03")
    with pytest.raises(ValueError, match=r"other class folders \(animal03, animal3 in one alone\)"):
        Animal10N(str(tmp_path)).setup()
    for part in ("train/animal3", "test/animal03"):
        shutil.rmtree(tmp_path / part)
    with pytest.raises(ValueError, match="class folders: 9, expected 10"):
        Animal10N(str(tmp_path), verify=False).setup()


def test_pictures_of_another_size_are_scaled(tmp_path: Path) -> None:
    write_animal10n(tmp_path)
    write_image(tmp_path / "training/0_0000.jpg", (32, 64))
    data = Animal10N(str(tmp_path), size=8)
    data.setup()
    assert isinstance(data.source.train, DenseRows)
    assert data.source.train.values.shape == (40, 3, 8, 8)


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train_batch").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    report = Animal10N.check_release(tmp_path)
    assert report.faults[0].startswith("train_batch: pickled batches are not read")
    with pytest.raises(FileNotFoundError, match="training and testing: pictures called <label>_<rest>"):
        Animal10N(str(tmp_path)).setup()


def test_files_without_a_class_and_broken_ones_are_named(tmp_path: Path) -> None:
    write_animal10n(tmp_path)
    broken, odd = tmp_path / "training/3_0001.jpg", tmp_path / "training/x_1.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match=r"1 of 40 images of .*training cannot be used:\n.*3_0001\.jpg: "):
        Animal10N(str(tmp_path), size=16).setup()
    broken.write_bytes(whole)
    odd.write_bytes(whole)
    with pytest.raises(ValueError, match=r"training/x_1\.jpg does not begin with a class, 0 to 9"):
        Animal10N(str(tmp_path), size=16).setup()
