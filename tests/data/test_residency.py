"""Where data lies is decided from the free memory, and changes nothing but the speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from samples import train_batches

from noisylab.data import Arrays
from noisylab.data.residency import Residency, resides
from noisylab.data.rows import DenseRows, MultiRows, SparseRows
from noisylab.data.transfer import ahead
from noisylab.transforms.base import to_device

GIB = 2**30


def test_half_of_the_free_memory_is_enough_for_the_data() -> None:
    assert resides("auto", 10 * GIB, 20 * GIB)
    with pytest.warns(UserWarning, match=r"the data takes 10\.00 GiB and the device has 19\.00 GiB free: it stays in the host's"):
        assert not resides("auto", 10 * GIB, 19 * GIB)


def test_what_is_forced_is_obeyed_or_refused() -> None:
    assert not resides("host", 1, 20 * GIB)
    assert resides("device", 19 * GIB, 20 * GIB)
    with pytest.raises(ValueError, match=r"residency='device': the data takes 21\.00 GiB .* use residency='auto' or 'host'"):
        resides("device", 21 * GIB, 20 * GIB)
    with pytest.raises(ValueError, match="residency must be auto, device or host, got 'gpu'"):
        Residency("gpu")  # type: ignore[arg-type]


def test_memory_of_the_host_itself_always_has_room() -> None:
    assert resides("auto", 100 * GIB, None)
    assert resides("device", 100 * GIB, None)


def test_stores_know_their_size() -> None:
    dense = DenseRows(torch.zeros(5, 3, 4, dtype=torch.uint8))
    sparse = SparseRows(torch.ones(2), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1, 2]), 7)
    assert (dense.nbytes, dense.row_size) == (60, 12)
    assert (sparse.nbytes, sparse.row_size) == (2 * 4 + 2 * 8, 7)
    both = MultiRows({"a": dense, "b": sparse})
    assert (both.nbytes, both.row_size) == (84, 19)


def test_the_same_batches_from_either_place(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_sound=features, x_image=pixels, y=np.arange(24) % 3)
    found = {}
    for place in ("device", "host"):
        data = Arrays(str(tmp_path / "a.npz"), batch_size=7, residency=place)
        found[place] = [view for batch in train_batches(data, ("weak", "strong")) for view in batch.views]
    for one, other in zip(found["device"], found["host"], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("sound", "image"))


class _Counted:
    """A batch that counts how many of its kind exist on their way."""

    started = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def to(self, device: torch.device, **kwargs: object) -> _Counted:
        type(self).started += 1
        return self


def test_every_batch_is_sent_once_and_in_order() -> None:
    sent = [batch.number for batch in ahead(map(_Counted, range(5)), torch.device("cpu"))]
    assert sent == list(range(5))
    assert _Counted.started == 5


def test_a_tensor_that_is_there_already_is_not_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor
