from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from samples import idx, train_batches, write_idx

from noisylab.data import MNIST, FashionMNIST, mnist
from noisylab.transforms.draws import Draws
from noisylab.transforms.image import Normalize

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
realdata = pytest.mark.realdata
needs_data = pytest.mark.skipif("NOISYLAB_DATA" not in os.environ, reason="NOISYLAB_DATA is not set")


def own(kind: type[MNIST] | type[FashionMNIST], root: Path, **kwargs: Any) -> Any:
    data = kind(str(root), verify=False, **kwargs)
    data.setup()
    return data


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, mirrors: list[str]) -> None:
    """Make the packed files of a folder the official ones."""
    files = torchvision.datasets.MNIST.resources
    known = [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name, _ in files]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", known)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_rows_are_in_the_order_of_the_files(tmp_path: Path, kind: type[MNIST], flat: bool, packed: bool) -> None:
    folder = tmp_path / "root" if flat else tmp_path / "root" / kind.__name__ / "raw"
    arrays = write_idx(folder, 30, 20, packed)
    data = own(kind, tmp_path / "root")
    assert data.clean_target.tolist() == [row % 10 for row in range(30)]
    assert np.array_equal(data.source.train.values[:, 0].numpy(), arrays[IMAGES])
    assert np.array_equal(data.source.test.values[:, 0].numpy(), arrays["t10k-images-idx3-ubyte"])
    assert data.source.test_target.tolist() == [row % 10 for row in range(20)]


def test_torchvision_reads_the_same_rows(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST" / "raw", 30, 20)
    theirs = torchvision.datasets.MNIST(str(tmp_path))
    ours = own(MNIST, tmp_path)
    assert torch.equal(ours.source.train.values[:, 0], theirs.data)
    assert torch.equal(ours.given_target, theirs.targets)


def test_the_folder_of_the_data_set_comes_before_the_root(tmp_path: Path) -> None:
    write_idx(tmp_path / "root", 30, 20, packed=True)
    arrays = write_idx(tmp_path / "root" / "MNIST" / "raw", 40, 20)
    assert np.array_equal(own(MNIST, tmp_path / "root").source.train.values[:, 0].numpy(), arrays[IMAGES])


def test_classes_have_names_before_any_file_is_read() -> None:
    assert MNIST("nowhere").num_classes == FashionMNIST("nowhere").num_classes == 10
    assert tuple(torchvision.datasets.FashionMNIST.classes) == FashionMNIST._names
    assert MNIST._names == tuple("0123456789")


def test_views_shift_and_mirror_as_asked_for(tmp_path: Path) -> None:
    write_idx(tmp_path / "root", 30, 20)
    images = own(MNIST, tmp_path / "root").source.train.values
    plain, shifted = MNIST().view_set(), MNIST(padding=2).view_set()
    expected = (images.double() / 255 - 0.1307) / 0.3081
    for name in ("weak", "eval"):
        torch.testing.assert_close(plain[name](images, Draws(0, torch.arange(30))), expected.float())
    moved = shifted["weak"](images, Draws(0, torch.arange(30)))
    framed = torch.nn.functional.pad(expected.float(), (2, 2, 2, 2), value=-0.1307 / 0.3081)
    crops = torch.stack([framed[..., y : y + 28, x : x + 28] for y in range(5) for x in range(5)])
    assert bool((moved - crops).abs().amax((2, 3, 4)).amin(0).lt(1e-5).all())
    assert not torch.allclose(moved, expected.float())
    clothes = (images.double() / 255 - 0.2860) / 0.3530
    mirrored = FashionMNIST(flip=1.0).view_set()["weak"](images, Draws(0, torch.arange(30)))
    torch.testing.assert_close(mirrored, clothes.flip(3).float())


def test_both_views_of_a_training_batch_are_built(tmp_path: Path) -> None:
    write_idx(tmp_path / "root", 30, 20)
    batch = next(train_batches(own(FashionMNIST, tmp_path / "root", batch_size=8, padding=1, flip=0.5), ("weak", "strong")))
    assert [view.shape for view in batch.views if isinstance(view, torch.Tensor)] == [(8, 1, 28, 28)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"), [({"padding": -1}, "padding must be at least 0"), ({"flip": 2.0}, r"flip must be")]
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FashionMNIST(**arguments)


# ---- files that are not right

GOOD = idx(np.zeros((30, 28, 28)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", r"begins with nothing, but an IDX file of this kind with 00000803"),
        (
            IMAGES,
            idx(np.zeros(30)),
            r"begins with 00000801, but an IDX file of this kind with 00000803; remove it and set download",
        ),
        (LABELS, GOOD, r"begins with 00000803, but an IDX file of this kind with 00000801"),
        (IMAGES, bytes([0, 0, 9, 3]) + GOOD[4:], r"begins with 00000903"),
        (IMAGES, GOOD[:10], r"has 10 bytes, but needs a header of 16: it is truncated"),
        (IMAGES, GOOD[:-1], r"has 23535 bytes, but needs 23536 bytes for 30 x 28 x 28 values: it is truncated"),
        (IMAGES, GOOD + b"x", r"has 23537 bytes, but needs 23536"),
        (IMAGES, idx(np.zeros((30, 28, 27))), r"must hold images of 28 x 28 pixels .* got images of shape \(30, 28, 27\)"),
        (LABELS, idx(np.zeros(29)), r"shape \(30, 28, 28\) and 29 labels"),
        (f"{IMAGES}.gz", gzip.compress(GOOD, mtime=0)[:-9], rf"cannot unpack .*{IMAGES}\.gz: .*remove it and set download=True"),
        (f"{IMAGES}.gz", GOOD, r"cannot unpack"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_idx(tmp_path / "root", 30, 20)
    (tmp_path / "root" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        own(MNIST, tmp_path / "root")
    assert str(tmp_path / "root" / "train-") in str(error.value)


@pytest.mark.parametrize("packed", [False, True])
def test_other_files_than_the_official_ones_are_refused(tmp_path: Path, packed: bool) -> None:
    write_idx(tmp_path / "root", 30, 20, packed)
    official = "f68b3c2dcbeaaa9fbdd348bbdeb94873" if packed else "6bbc9ace898e44ae57da46a324031adb"
    with pytest.raises(ValueError, match=rf"train-images.* has the md5 .*official file has {official}.*verify=False"):
        MNIST(str(tmp_path / "root")).setup()


def test_unpacked_files_of_fashion_mnist_are_known_by_their_sizes(tmp_path: Path) -> None:
    write_idx(tmp_path / "root", 30, 20)
    with pytest.raises(
        ValueError, match=r"must hold 60,000 images of 28 x 28 pixels .*\(30, 28, 28\) and 30 labels.*verify=False"
    ):
        FashionMNIST(str(tmp_path / "root")).setup()


def test_files_of_mnist_are_not_taken_for_clothes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "root", 30, 20)
    found = hashlib.md5((tmp_path / "root" / IMAGES).read_bytes()).hexdigest()
    monkeypatch.setitem(mnist._MNIST_MD5, IMAGES, found)
    with pytest.raises(ValueError, match=rf"{IMAGES} is a file of MNIST, not of FashionMNIST"):
        FashionMNIST(str(tmp_path / "root")).setup()


def test_without_files_the_error_says_where_they_come_from_and_where_they_belong(tmp_path: Path) -> None:
    write_idx(tmp_path / "root", 30, 20)
    (tmp_path / "root" / LABELS).unlink()
    with pytest.raises(FileNotFoundError) as error:
        MNIST(str(tmp_path / "root")).setup()
    url = f"https://ossci-datasets.s3.amazonaws.com/mnist/{LABELS}.gz (md5 d53e105ee54ea40749a09fcbcd1e9432)"
    for part in (f"holds no {LABELS}.gz,", "no mnist.npz", "download=True", url, str(tmp_path / "root" / "MNIST" / "raw")):
        assert part in str(error.value)
    assert IMAGES not in str(error.value)
    with pytest.raises(FileNotFoundError, match="FashionMNIST/raw") as error:
        FashionMNIST(str(tmp_path / "root")).setup()
    assert "25c81989df183df01b3e8a0aad5dffbe" in str(error.value) and "npz" not in str(error.value)


# ---- downloads


def test_missing_files_come_from_the_first_mirror_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, root = tmp_path / "server", tmp_path / "root"
    write_idx(server, 30, 20, packed=True)
    publish(monkeypatch, server, [f"{(tmp_path / 'gone').as_uri()}/", f"{server.as_uri()}/"])
    (root / "MNIST" / "raw").mkdir(parents=True)
    kept = root / "MNIST" / "raw" / f"{LABELS}.gz"
    kept.write_bytes((server / kept.name).read_bytes())
    (server / kept.name).unlink()
    data: Any = MNIST(str(root), download=True)
    data.prepare_data()
    assert sorted(path.name for path in data.folder.iterdir()) == sorted([kept.name, *(path.name for path in server.iterdir())])
    for path in server.iterdir():
        assert (data.folder / path.name).read_bytes() == path.read_bytes()


def test_downloaded_files_of_the_official_digests_are_read_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "server"
    write_idx(server, 30, 20, packed=True)
    publish(monkeypatch, server, [f"{server.as_uri()}/"])
    monkeypatch.setattr(mnist, "_PARTS", {"train": 30, "t10k": 20})
    data = MNIST(str(tmp_path / "root"), download=True)
    data.setup()
    assert data.info.num_train == 30
    path = data.folder / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="it is damaged or a different file"):
        MNIST(str(tmp_path / "root"), download=True).setup()


def test_a_failed_download_names_every_mirror_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, root = tmp_path / "server", tmp_path / "root"
    write_idx(server, 30, 20, packed=True)
    gone = (tmp_path / "gone").as_uri()
    publish(monkeypatch, server, [f"{gone}/", f"{server.as_uri()}/"])
    broken = server / f"{IMAGES}.gz"
    broken.write_bytes(broken.read_bytes()[:-3])
    with pytest.raises(OSError, match="incomplete or a different file") as error:
        MNIST(str(root), download=True).prepare_data()
    for part in (f"{gone}/{IMAGES}.gz", f"{server.as_uri()}/{IMAGES}.gz", str(root)):
        assert part in str(error.value)
    assert [path for path in root.rglob("*") if path.is_file()] == []


# ---- Keras' array file


def write_npz(path: Path, **changes: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    np.savez(path, **{"x_train": pixels, "y_train": labels, "x_test": pixels[:20], "y_test": labels[:20], **changes})


def test_an_array_file_serves_where_the_official_files_are_not_all_there(tmp_path: Path) -> None:
    write_npz(tmp_path / "mnist.npz")
    data = own(MNIST, tmp_path)
    with np.load(tmp_path / "mnist.npz") as arrays:
        assert np.array_equal(data.source.train.values[:, 0].numpy(), arrays["x_train"])
    assert (data.given_target.tolist(), len(data.source.test_target)) == ([row % 10 for row in range(30)], 20)
    arrays = write_idx(tmp_path / "MNIST" / "raw", 40, 20)
    assert np.array_equal(own(MNIST, tmp_path).source.train.values[:, 0].numpy(), arrays[IMAGES])
    (tmp_path / "MNIST" / "raw" / LABELS).unlink()
    assert own(MNIST, tmp_path).info.num_train == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"mnist\.npz must hold 60,000 images .*\(30, 28, 28\) and 30 labels"),
        ({"x_train": np.zeros((30, 28, 28))}, r"must hold x_train, uint8 images, .* got float64 of shape \(30, 28, 28\)"),
        ({"y_train": np.zeros((30, 10), dtype=int)}, r"uint8 of shape \(30, 28, 28\) and int64 of shape \(30, 10\)"),
    ],
)
def test_an_array_file_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_npz(tmp_path / "mnist.npz", **changes)
    with pytest.raises(ValueError, match=message):
        MNIST(str(tmp_path)).setup()


def test_arrays_of_another_layout_are_not_taken_for_the_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x=np.zeros((30, 28, 28), dtype=np.uint8), y=np.arange(30) % 10)
    with pytest.raises(ValueError, match="has no array 'x_train'; it holds x, y"):
        MNIST(str(tmp_path)).setup()


@realdata
@needs_data
def test_the_real_images_have_the_stated_statistics_and_digest() -> None:
    data: Any = MNIST(str(Path(os.environ["NOISYLAB_DATA"]) / "mnist"))
    data.setup()
    pixels = data.source.train.values
    assert hashlib.md5(idx(pixels[:, 0].numpy())).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    normalize = data.view_set()["eval"]
    assert isinstance(normalize, Normalize)
    assert float(pixels.double().mean() / 255) == pytest.approx(normalize.mean[0], abs=5e-5)
    assert float(pixels.double().std() / 255) == pytest.approx(normalize.std[0], abs=5e-5)
    assert len(data.source.test_target) == 10_000
