from __future__ import annotations

import gc
import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image
from samples import train_batches, write_folders, write_image

from noisylab.data import ImageFolder
from noisylab.data.rows import DenseRows, FileRows, MultiRows, SparseRows, build_views, open_image
from noisylab.transforms import FeatureIdentity, FeatureNoise


def sparse_rows(matrix: scipy.sparse.csr_matrix) -> SparseRows:
    parts = (torch.from_numpy(matrix.indices.astype(np.int64)), torch.from_numpy(matrix.indptr.astype(np.int64)))
    return SparseRows(torch.from_numpy(matrix.data.astype(np.float32)), *parts, matrix.shape[1])


# ---- in memory


def test_sparse_rows_are_scipys_dense_rows() -> None:
    dense = np.random.default_rng(0).normal(size=(20, 13)).clip(min=0.8) - 0.8
    dense[[3, 7, 19]] = 0
    matrix = scipy.sparse.csr_matrix(dense)
    rows = sparse_rows(matrix)
    assert len(rows) == 20
    for index in ([5, 5, 0, 3], [19], [3, 7], [], list(range(20))):
        expected = matrix[index].toarray().astype(np.float32).reshape(-1, 13)
        assert np.array_equal(rows.gather(torch.tensor(index, dtype=torch.int64)).numpy(), expected)


def test_an_entry_given_twice_counts_twice() -> None:
    rows = SparseRows(torch.tensor([1.0, 2.0]), torch.tensor([1, 1]), torch.tensor([0, 2]), 3)
    assert rows.gather(torch.tensor([0])).tolist() == [[0, 3, 0]]


def test_multi_rows_gather_every_view() -> None:
    first, second = torch.arange(6.0).view(3, 2), scipy.sparse.csr_matrix(np.eye(3))
    rows = MultiRows({"a": DenseRows(first), "b": sparse_rows(second)})
    gathered = rows.gather(torch.tensor([2, 0]))
    assert len(rows) == 3
    assert gathered["a"].tolist() == [[4, 5], [0, 1]]
    assert gathered["b"].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_each_input_may_have_a_transform_of_its_own() -> None:
    rows = MultiRows({"a": DenseRows(torch.zeros(4, 3)), "b": DenseRows(torch.zeros(4, 3))})
    where = torch.arange(4)
    views = {"weak": {"a": FeatureIdentity(), "b": FeatureNoise(1.0)}, "strong": FeatureNoise(1.0)}
    weak, strong = build_views(rows.gather(where), where, ("weak", "strong"), 0, views)
    assert isinstance(weak, dict)
    assert isinstance(strong, dict)
    assert not weak["a"].any()
    assert weak["b"].all()
    assert not torch.equal(strong["a"], strong["b"])


# ---- in files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folders(tmp_path, ("a", "b"), each=7, size=(20, 18))
    return tmp_path


def images(folder: Path, num_workers: int = 0) -> ImageFolder:
    return ImageFolder(str(folder), load="files", size=12, resize=14, batch_size=4, num_workers=num_workers)


def test_workers_do_not_change_the_views(folder: Path) -> None:
    alone, helped = images(folder), images(folder, num_workers=2)
    for epoch in (0, 1):
        pairs = list(
            zip(train_batches(alone, ("weak", "weak"), epoch), train_batches(helped, ("weak", "weak"), epoch), strict=True)
        )
        assert len(pairs) == 4
        for one, other in pairs:
            assert torch.equal(one.index, other.index)
            assert torch.equal(one.target, other.target)
            for place in (0, 1):
                assert torch.equal(one.views[place], other.views[place])
            assert not torch.equal(one.views[0], one.views[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_views_are_the_same_from_any_starting_position(folder: Path, num_workers: int) -> None:
    straight = list(train_batches(images(folder), epoch=3))
    data = images(folder, num_workers)
    for start in (1, 3):
        for one, other in zip(straight[start:], train_batches(data, epoch=3, start=start), strict=True):
            assert torch.equal(one.index, other.index)
            assert torch.equal(one.views[0], other.views[0])


def test_an_epoch_that_was_left_early_does_not_disturb_the_next(folder: Path) -> None:
    data = images(folder, num_workers=2)
    next(train_batches(data))
    for one, other in zip(train_batches(images(folder), epoch=1), train_batches(data, epoch=1), strict=True):
        assert torch.equal(one.views[0], other.views[0])


def test_workers_stop_with_their_rows_even_in_a_cycle(folder: Path) -> None:
    data = images(folder, num_workers=1)
    list(train_batches(data))
    store = data.source.train
    assert isinstance(store, FileRows)
    (_, loader), store.own = store._pools["train", False], store  # type: ignore[attr-defined]
    (worker,) = loader._iterator._workers  # type: ignore[union-attr]
    stopped = weakref.ref(loader)
    del data, store, loader
    gc.collect()
    assert stopped() is None
    assert worker.exitcode == 0, "it was waited for in vain, then terminated"


def test_epochs_and_seeds_draw_other_views(folder: Path) -> None:
    def first_row(epoch: int, seed: int) -> Any:
        data = images(folder)
        data.seed = seed
        return next(b.views[0][b.index == 0] for b in train_batches(data, epoch=epoch) if 0 in b.index)

    assert not torch.equal(first_row(0, 0), first_row(1, 0))
    assert not torch.equal(first_row(0, 0), first_row(0, 1))


def test_workers_leave_global_random_state_alone(folder: Path) -> None:
    state, torch_state = random.getstate(), torch.get_rng_state()
    list(train_batches(images(folder), ("weak",)))
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_evaluation_opens_files_in_order_without_draws(folder: Path) -> None:
    data = images(folder, num_workers=2)
    data.setup()
    batches: list[Any] = list(data.evaluation_batches(torch.tensor([9, 2, 4, 4, 0]), torch.device("cpu")))
    again: list[Any] = list(data.evaluation_batches(torch.tensor([2, 9]), torch.device("cpu")))
    assert [batch.index.tolist() for batch in batches] == [[9, 2, 4, 4, 0]]
    assert batches[0].target.tolist() == [1, 0, 0, 0, 0]
    assert torch.equal(batches[0].inputs[[1, 0]], again[0].inputs)


# ---- opening an image


@pytest.mark.parametrize("cut", [60, 500])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_filled_up_only_on_request(tmp_path: Path, cut: int, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90, progressive=progressive)
    whole = np.asarray(open_image(str(path)))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=rf"cannot read the image {path}: image file is truncated.*replace the file"):
        open_image(str(path))
    filled = np.asarray(open_image(str(path), allow_truncated=True))
    assert filled.shape == whole.shape
    if not progressive:
        assert np.array_equal(filled[:8], whole[:8])


def test_what_is_no_image_is_refused_in_any_case(tmp_path: Path) -> None:
    for name, content in (("a.jpg", b"\xff\xd8 no image"), ("b.png", b"text"), ("c.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"cannot read the image .*{name}"):
            open_image(str(tmp_path / name), allow_truncated=True)
    with pytest.raises(ValueError, match=r"cannot read the image .*gone"):
        open_image(str(tmp_path / "gone.jpg"), allow_truncated=True)


def test_a_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    assert open_image(str(tmp_path / "a.png")).getpixel((0, 0)) == (10, 20, 30)


def test_gray_images_can_be_read_as_gray(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", mode="L")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(open_image(str(tmp_path / "a.png"), "L")), np.asarray(image))
