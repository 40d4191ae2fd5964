"""Packs: rows read back as they were, orders that stay, and files at fault named before training."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import KeepEpoch, assert_same, fit
from PIL import Image
from torch import Tensor

from noisylab.data import Arrays, ImageFolder, Shards, unlabeled_images
from noisylab.data.rows import DenseRows
from noisylab.data.shards.manifest import MANIFEST, Manifest, PackError
from noisylab.data.shards.packing import pack_arrays, pack_source
from noisylab.data.shards.reader import ShardReader
from noisylab.data.shards.store import PackFiles
from noisylab.methods import ELR
from noisylab.models import SmallCNN
from noisylab.noise import Symmetric
from noisylab.types import EpochPlan

ROWS, CLASSES = 60, 3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))


def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (ROWS, 3, 8, 8), dtype=np.uint8)


def labels() -> Tensor:
    return torch.arange(ROWS) % CLASSES


def packed(tmp_path: Path, name: str = "pack", shard_bytes: int = 2000, **more: Any) -> Path:
    blocks = (part for part in np.array_split(pixels(), 7))
    return pack_arrays(blocks, labels(), ("a", "b", "c"), tmp_path / name, shard_bytes=shard_bytes, **more)


def pictures(tmp_path: Path) -> Path:
    for row, image in enumerate(np.random.default_rng(1).integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)):
        file = tmp_path / "images" / "train" / "xyz"[row % 3] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
        if row < 4:
            test = tmp_path / "images" / "test" / "xyz"[row % 3] / f"{row}.jpg"
            test.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(test)
    return tmp_path / "images"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_come_back_as_they_were_and_as_litdata_reads_them(tmp_path: Path, dtype: str) -> None:
    rows = pixels().astype(dtype)
    folder = pack_arrays([rows[:1], rows[1:50], rows[50:]], labels(), ("a", "b", "c"), tmp_path / "pack", shard_bytes=5000)
    data = Shards(str(folder), flip=0.0)
    data.setup()
    index = torch.tensor([59, 0, 31, 31, 7, 30])
    for store in (data.source.train, pickle.loads(pickle.dumps(data.source.train))):
        assert store.gather(index).equal(torch.from_numpy(rows)[index])
    assert len(PackFiles(str(folder)).manifest.shards) > 2
    from litdata import StreamingDataset

    theirs = StreamingDataset(str(folder))
    assert len(theirs) == ROWS and all(bytes(theirs[int(row)]) == rows[row].tobytes() for row in index)
    found = PackFiles(str(folder)).manifest.measured
    scaled = rows.astype(np.float64) / (255 if dtype == "uint8" else 1)
    assert np.allclose(found["mean"], scaled.mean((0, 2, 3))) and np.allclose(found["std"], scaled.std((0, 2, 3)))


def test_statistics_of_features_far_from_zero_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = np.stack([1e4 + 0.1 * rng.normal(size=600), np.full(600, 1e4 + 1 / 3), rng.normal(size=600)], 1).astype(np.float32)
    pack_arrays(np.array_split(rows, 7), torch.arange(600) % 2, ("a", "b"), tmp_path / "pack")
    found, exact = PackFiles(str(tmp_path / "pack")).manifest.measured, rows.astype(np.float64)
    assert np.allclose(found["mean"], exact.mean(0), rtol=1e-12)
    assert np.allclose(found["std"], [exact[:, 0].std(), 1.0, exact[:, 2].std()], rtol=1e-5), "1 for what does not vary"


@pytest.mark.parametrize("left", [0, 3, 10, 70])
def test_a_shard_that_was_cut_short_since_it_was_checked_is_named(left: int, tmp_path: Path) -> None:
    folder = packed(tmp_path)
    shard = folder / "chunk-0-0.bin"
    shard.write_bytes(shard.read_bytes()[:left])
    reader = ShardReader(PackFiles(str(folder)))
    with pytest.raises(PackError, match=r"chunk-0-0.bin of the pack .* (is damaged|cannot be read)"):
        reader.content(0)


def test_a_pack_divides_and_trains_as_the_same_rows_in_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=pixels(), y=labels().numpy(), class_names=np.array(["a", "b", "c"]))
    options: dict[str, Any] = {"noise": Symmetric(0.4), "val_fraction": 0.2, "labels_per_class": 4, "batch_size": 8, "flip": 0.5}
    ours = Shards(str(packed(tmp_path)), shuffle_blocks=None, **options)
    theirs = Arrays(str(tmp_path / "rows.npz"), **options)
    for data in (ours, theirs):
        data.setup()
    assert ours.info.given_target.equal(theirs.info.given_target) and ours.info.train_rows.equal(theirs.info.train_rows)
    assert ours.split.val.equal(theirs.split.val) and ours.info.unlabeled_rows.equal(theirs.info.unlabeled_rows)
    mine, other = (first_batch(data) for data in (ours, theirs))
    assert mine[0].equal(other[0]) and torch.allclose(mine[1], other[1], atol=1e-6)


def first_batch(data: Any) -> tuple[Tensor, Tensor]:
    from noisylab.data.planned import planned

    plan = planned(EpochPlan(), 0, 0, data.split, data.view_set(), data.batch_size)
    batch = next(iter(data.batches(plan, torch.device("cpu")))).streams["train"]
    return batch.index, batch.views[0]


def test_an_epoch_reads_a_window_of_shards_at_a_time(tmp_path: Path) -> None:
    data = Shards(str(packed(tmp_path)), shuffle_blocks=2, batch_size=8, flip=0.0)
    data.setup()
    from noisylab.data.planned import planned

    starts = data.source.blocks.starts  # type: ignore[union-attr]
    plan = planned(EpochPlan(), 0, 0, data.split, data.view_set(), 8)
    rows = torch.cat([batch.streams["train"].index for batch in plan.batches()])
    assert sorted(rows.tolist()) == list(range(ROWS))
    shard = torch.bucketize(rows, starts, right=True) - 1
    first = [int((shard == number).nonzero()[0]) for number in range(len(starts))]
    last = [int((shard == number).nonzero()[-1]) for number in range(len(starts))]
    # at most a window's shards are between their first and last row at any place of the order
    assert max(sum(a <= place <= b for a, b in zip(first, last, strict=True)) for place in range(ROWS)) == 2


def test_pictures_are_packed_as_files_and_opened_by_name(tmp_path: Path) -> None:
    source = ImageFolder(str(pictures(tmp_path)), load="files").load()
    pack_source(source, tmp_path / "pack", shard_bytes=1500)
    data = Shards(str(tmp_path / "pack"), size=8, flip=0.0, num_workers=2, batch_size=4)
    data.setup()
    assert data.source.names is not None and data.source.test_names is not None and len(data.source.test_names) == 4
    moved = np.load(tmp_path / "pack" / "source_rows.npy")
    assert sorted(moved.tolist()) == list(range(12)) and moved.tolist() != list(range(12))
    for row, before in enumerate(moved.tolist()):
        assert data.source.names[row] == source.names[before]  # type: ignore[index]
        assert data.source.given[row] == source.given[before]
        stored = data.source.train.paths[row]  # type: ignore[union-attr]
        assert stored.content == (tmp_path / "images" / stored).read_bytes()
    plain = ImageFolder(str(tmp_path / "images"), load="files", size=8, flip=0.0)
    plain.setup()
    rows = torch.arange(12)
    there = {
        int(row): image
        for batch in plain.evaluation_batches(rows, torch.device("cpu"))
        for row, image in zip(batch.index, batch.inputs, strict=True)
    }  # type: ignore[arg-type]
    for batch in data.evaluation_batches(rows, torch.device("cpu")):
        for row, image in zip(batch.index.tolist(), batch.inputs, strict=True):  # type: ignore[arg-type]
            assert image.equal(there[int(moved[row])])
    data.teardown()


def faults() -> Iterator[tuple[str, Any, str]]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / "chunk-0-1.bin").read_bytes())
        content[-1] ^= 1
        (folder / "chunk-0-1.bin").write_bytes(bytes(content))

    def other(folder: Path) -> None:
        packed(folder.parent, "other", shard_bytes=3000)
        shutil.copy(folder.parent / "other" / "chunk-0-1.bin", folder / "chunk-0-1.bin")

    def shorter(folder: Path) -> None:
        np.save(folder / "given.npy", np.zeros(ROWS - 1, np.int32))
        manifest = Manifest.read(folder / MANIFEST, "")
        content = (folder / "given.npy").read_bytes()
        part = manifest.columns["given"]
        manifest.columns["given"] = type(part)(part.file, len(content), hashlib.sha256(content).hexdigest())
        manifest.write(folder)

    def version(folder: Path) -> None:
        text = (folder / MANIFEST).read_text().replace('"version": 1', '"version": 9')
        (folder / MANIFEST).write_text(text)

    def changed(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text())
        content["class_names"] = ["b", "a", "c"]
        (folder / MANIFEST).write_text(json.dumps(content))

    yield "missing", lambda folder: (folder / "chunk-0-1.bin").unlink(), r"1 of \d+ files .*chunk-0-1.bin is missing"
    yield "damaged", damage, r"chunk-0-1.bin has the SHA-256 \w+\.\.\. instead of \w+\.\.\.: it is damaged, or of another pack"
    yield "of another pack", other, r"chunk-0-1.bin has [\d,]+ bytes instead of [\d,]+: it is damaged, or of another pack"
    yield "labels too few", shorter, r"given.npy of the pack .* has 59 entries for 60 rows"
    yield "version", version, r"version 9, and this noisylab reads 'noisylab shards', version 1"
    yield "manifest changed", changed, "manifest.json was changed after the pack was written"

    def elsewhere(folder: Path) -> None:
        found = Manifest.read(folder / MANIFEST, "here")
        moved = tuple(replace(shard, file=f"../{shard.file}") for shard in found.shards)
        replace(found, shards=moved).write(folder)  # whose id is right

    yield "a file elsewhere", elsewhere, "manifest.json names the file '../chunk-0-0.bin', which is not in the pack's own folder"
    yield "no manifest", lambda folder: (folder / MANIFEST).unlink(), "there is no pack at .* has no manifest.json"


@pytest.mark.parametrize(("harm", "said"), [pytest.param(harm, said, id=name) for name, harm, said in faults()])
def test_what_is_wrong_with_a_pack_is_named_before_training(tmp_path: Path, harm: Any, said: str) -> None:
    folder = packed(tmp_path)
    Shards(str(folder), flip=0.0).setup()  # digests found right once do not hide a later change
    harm(folder)
    with pytest.raises((PackError, FileNotFoundError), match="(?s)" + said):
        Shards(str(folder), flip=0.0).setup()


@pytest.mark.parametrize(("rows", "names", "said"), [(59, None, "60 rows, but given has 59"), (60, 3, "60 rows, but 3 names")])
def test_labels_and_names_of_another_length_are_refused_and_leave_nothing(
    tmp_path: Path, rows: int, names: int | None, said: str
) -> None:
    with pytest.raises(PackError, match=said):
        pack_arrays(
            [pixels()], labels()[:rows], ("a", "b", "c"), tmp_path / "pack", names=None if names is None else ["n"] * names
        )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_pack_leaves_nothing_that_looks_like_one(tmp_path: Path) -> None:
    def stops() -> Iterator[Any]:
        yield pixels()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_arrays(stops(), labels(), ("a", "b", "c"), tmp_path / "pack", shard_bytes=2000)
    assert list(tmp_path.iterdir()) == []
    packed(tmp_path)
    with pytest.raises(FileExistsError, match="is there already"):
        packed(tmp_path)


def test_shards_of_few_classes_are_noted(tmp_path: Path) -> None:
    rows, given = pixels(), labels().sort().values
    folder = pack_arrays([rows], given, ("a", "b", "c"), tmp_path / "sorted", shard_bytes=2000)
    data = Shards(str(folder), shuffle_blocks=2, flip=0.0)
    data.setup()
    assert any("batches will hold few classes" in line for line in data.source.account)
    mixed = Shards(str(packed(tmp_path)), shuffle_blocks=2, flip=0.0)
    mixed.setup()
    assert not any("few classes" in line for line in mixed.source.account)


def test_a_pack_elsewhere_is_fetched_once_and_compared(tmp_path: Path) -> None:
    folder = packed(tmp_path)
    address = f"local:{folder}"
    data = Shards(address, flip=0.0)
    data.setup()
    index = torch.tensor([3, 59])
    assert data.source.train.gather(index).equal(torch.from_numpy(pixels())[index])  # type: ignore[union-attr]
    here = PackFiles(address).folder
    assert here != folder and (here / "chunk-0-0.bin").exists() and not (here / "chunk-0-1.bin").exists()
    shard = PackFiles(address).manifest.shards[1]
    (folder / shard.file).write_bytes(bytes(shard.size))
    reader = ShardReader(PackFiles(address))
    with pytest.raises(PackError, match=r"chunk-0-1.bin of the pack local:.* has the SHA-256"):
        reader.content(int(reader.starts[1]))
    assert not (here / "chunk-0-1.bin").exists()


def test_a_picture_whose_shard_is_gone_in_mid_epoch_is_named_by_a_worker(tmp_path: Path) -> None:
    source = ImageFolder(str(pictures(tmp_path)), load="files").load()
    pack_source(source, tmp_path / "pack", shard_bytes=1500, shuffle_seed=None)
    data = Shards(str(tmp_path / "pack"), size=8, flip=0.0, num_workers=1, batch_size=4)
    data.setup()
    (tmp_path / "pack" / "chunk-0-2.bin").unlink()
    with pytest.raises(ValueError, match=r"cannot read the image train/\w/\d+.png: chunk-0-2.bin of the pack .* cannot be read"):
        list(data.evaluation_batches(torch.arange(12), torch.device("cpu")))
    data.teardown()


def test_new_pictures_are_brought_to_the_form_of_packed_ones(tmp_path: Path) -> None:
    data = Shards(str(packed(tmp_path)), flip=0.0)
    data.setup()
    rows, names = unlabeled_images(pictures(tmp_path), data)
    assert isinstance(rows, DenseRows) and rows.values.shape == (16, 3, 8, 8) and len(names) == 16


@pytest.mark.slow
def test_a_killed_run_on_a_pack_goes_on_as_the_straight_one(tmp_path: Path) -> None:
    folder = str(packed(tmp_path))

    def run(name: str, resume: Path | None = None, last: tuple[Any, ...] = ()) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        data = Shards(folder, shuffle_blocks=2, noise=Symmetric(0.4), val_fraction=0.2, batch_size=16, flip=0.5)
        method = ELR(CLASSES, partial(SmallCNN, in_channels=3))
        return fit(method, data, tmp_path / name, 2, resume=resume, last=last)

    keep = KeepEpoch(0, tmp_path / "straight")
    straight = run("straight", last=(keep,))
    assert_same(run(keep.kept.relative_to(tmp_path).as_posix(), resume=keep.kept / "last.ckpt"), straight)
