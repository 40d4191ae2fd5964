from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from samples import train_batches, write_cifar

from noisylab.data import CIFAR10, CIFAR100
from noisylab.noise import OpenSet, PairFlip, Symmetric
from noisylab.transforms import CIFAR100_MEAN, IMAGENET_MEAN, IMAGENET_STD


class Evil:
    """Would run a command when unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def own(kind: type[CIFAR10] | type[CIFAR100], root: Path, **kwargs: Any) -> Any:
    data = kind(str(root), verify=False, **kwargs)
    data.setup()
    return data


def pack(folder: Path, archive: Path) -> str:
    """Makes a tar.gz of a folder and returns its md5."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return hashlib.md5(archive.read_bytes()).hexdigest()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CIFAR-10 archive at the address and with the digests that torchvision names."""
    folder = write_cifar(tmp_path / "server", 10, 20, 10)
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    official = torchvision.datasets.CIFAR10
    monkeypatch.setattr(official, "tgz_md5", pack(folder, archive))
    monkeypatch.setattr(official, "url", archive.as_uri())
    md5 = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(official, "train_list", [[name, md5[name]] for name, _ in official.train_list])
    monkeypatch.setattr(official, "test_list", [[name, md5[name]] for name, _ in official.test_list])
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": md5["batches.meta"]})
    return archive


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_rows_are_in_the_order_of_the_files(tmp_path: Path, protocol: int) -> None:
    write_cifar(tmp_path, 10, 20, 10, protocol)
    data = own(CIFAR10, tmp_path)
    assert data.clean_target.tolist() == [row % 10 for row in range(20)]
    assert data.source.train.values.shape == (20, 3, 32, 32)
    held = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_2").read_bytes())["data"]
    assert torch.equal(data.source.train.values[4].flatten(), torch.from_numpy(held[0]))
    assert data.info.class_names[:2] == ("class0", "class1")


def test_the_number_of_classes_needs_no_files() -> None:
    assert CIFAR10("nowhere").num_classes == 10
    assert CIFAR100("nowhere", noise=OpenSet(0.2)).num_classes == 80
    assert CIFAR100("nowhere", noise=OpenSet(0.2, open_ratio=0)).num_classes == 100


def test_open_set_noise_leaves_eighty_classes_and_their_test_images(tmp_path: Path) -> None:
    write_cifar(tmp_path, 100, 300, 200)
    data = own(CIFAR100, tmp_path, noise=OpenSet(0.2))
    assert data.num_classes == len(data.info.class_names) == 80
    assert len(data.given_target) == 300
    assert int(data.given_target.max()) < 80
    assert sorted(set(data.clean_target.tolist())) == list(range(100))
    rows = torch.cat([batch.index for batch in data.test_dataloader()["test"]])
    assert len(rows) == 160
    assert int(data.source.test_target[rows].max()) == 79
    assert bool(((data.clean_target >= 80) <= (data.given_target != data.clean_target)).all())


@pytest.mark.parametrize("noise", [Symmetric(0.4, sampler="legacy"), PairFlip(0.4, sampler="legacy")])
def test_closed_noise_keeps_all_classes_and_draws_as_the_published_files_did(tmp_path: Path, noise: Symmetric | PairFlip) -> None:
    write_cifar(tmp_path, 10, 20, 10)
    data = own(CIFAR10, tmp_path, noise=noise)
    published = {
        Symmetric: [0, 1, 2, 2, 8, 2, 9, 7, 8, 5, 0, 1, 2, 3, 4, 2, 1, 7, 8, 9],
        PairFlip: [0, 2, 2, 3, 5, 6, 6, 8, 8, 0, 0, 1, 2, 4, 5, 6, 7, 8, 9, 9],
    }
    assert data.given_target.tolist() == published[type(noise)]
    assert len(data.split.test) == 10


def test_normalize_chooses_the_statistics(tmp_path: Path) -> None:
    write_cifar(tmp_path, 100, 100, 100)
    data = own(CIFAR100, tmp_path, normalize="imagenet")
    assert (data.view_set()["eval"].mean, data.view_set()["eval"].std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert CIFAR100(str(tmp_path)).view_set()["eval"].mean == CIFAR100_MEAN
    with pytest.raises(ValueError, match="normalize must be 'cifar', 'imagenet' or 'none', got 'half'"):
        CIFAR10(normalize="half")  # type: ignore[arg-type]


def pixels(data: CIFAR10, view: str) -> torch.Tensor:
    """An image whose pixels are 0 but for one of 255, through a view."""
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[0, :, 16, 16] = 255
    return data.view_set()[view](image, None)


def test_without_normalization_pixels_lie_between_zero_and_one() -> None:
    assert pixels(CIFAR10(normalize="none"), "eval").unique().tolist() == [0.0, 1.0]


def test_mean_and_std_take_the_place_of_the_named_ones() -> None:
    half = (0.5, 0.5, 0.5)
    assert pixels(CIFAR10(mean=half, std=half), "eval").unique().tolist() == [-1.0, 1.0]
    theirs = CIFAR100(mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276)).view_set()["eval"]
    assert (theirs.mean, theirs.std) == ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))


def test_padding_is_that_of_the_crop() -> None:
    assert "padding=2" in repr(CIFAR10(padding=2).view_set()["weak"])
    assert "padding=4" in repr(CIFAR10().view_set()["weak"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std are given together"),
        ({"mean": (0.5,), "std": (0.5,)}, "mean must be three numbers"),
        ({"mean": (0.5, 0.5, float("nan")), "std": (1.0, 1.0, 1.0)}, "mean must be three numbers"),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)}, "std must be three positive numbers"),
        ({"padding": -1}, "padding must be a whole number of pixels, 0 or more, got -1"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR10(**options)


def test_both_views_of_a_training_batch_are_built(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, 20, 10)
    batch = next(train_batches(own(CIFAR10, tmp_path, batch_size=8), ("weak", "strong")))
    assert [view.shape for view in batch.views if isinstance(view, torch.Tensor)] == [(8, 3, 32, 32)] * 2


def test_other_files_than_the_official_ones_are_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, 20, 10)
    with pytest.raises(ValueError, match=r"batches\.meta has the md5 .* 5ff9c542aee3614f3951f8cda6e48888.*verify=False"):
        CIFAR10(str(tmp_path)).setup()


def test_a_pickle_that_would_run_code_is_refused_even_unverified(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, 10, 20, 10)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": Evil(tmp_path / "proof")}))
    with pytest.raises(ValueError, match=r"cannot read .*data_batch_1: it asks for \w+\.mkdir"):
        own(CIFAR10, tmp_path)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read .*data_batch_3"),
        (pickle.dumps([1, 2]), "holds a list where a dictionary belongs"),
        (pickle.dumps({"data": [1]}), "must hold 'data'"),
    ],
)
def test_a_damaged_batch_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_cifar(tmp_path, 10, 20, 10)
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        own(CIFAR10, tmp_path)


def test_a_missing_batch_file_is_named(tmp_path: Path) -> None:
    (write_cifar(tmp_path, 10, 20, 10) / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_batch is missing; remove the folder .* and set download=True"):
        own(CIFAR10, tmp_path)


def test_without_files_the_error_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        CIFAR10(str(tmp_path)).setup()
    for part in ("download=True", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", str(tmp_path)):
        assert part in str(error.value)


def test_an_archive_in_root_is_unpacked_once_and_verified(tmp_path: Path, published: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / published.name).write_bytes(published.read_bytes())
    CIFAR10(str(root)).setup()
    assert (root / "cifar-10-batches-py").is_dir()
    (root / published.name).unlink()
    CIFAR10(str(root)).setup()
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


def test_another_archive_is_refused_before_it_is_opened(tmp_path: Path, published: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / published.name).write_bytes(b"not it")
    with pytest.raises(ValueError, match=r"cifar-10-python\.tar\.gz has the md5 .*it is damaged or a different file"):
        CIFAR10(str(root)).setup()
    with pytest.raises(ValueError, match="cannot unpack"):
        CIFAR10(str(root), verify=False).setup()
    assert [path.name for path in root.iterdir()] == [published.name]


def test_a_download_ends_verified_and_in_place(tmp_path: Path, published: Path) -> None:
    data = CIFAR10(str(tmp_path / "new" / "root"), download=True)
    data.prepare_data()
    data.setup()
    assert data.info.num_train == 20
    assert sorted(path.name for path in data.root.iterdir()) == ["cifar-10-batches-py", published.name]


def test_a_failed_download_names_address_digest_and_folder(tmp_path: Path, published: Path) -> None:
    published.unlink()
    root = tmp_path / "root"
    with pytest.raises(OSError, match=r"could not download file:///.*") as error:
        CIFAR10(str(root), download=True).prepare_data()
    for part in (torchvision.datasets.CIFAR10.url, torchvision.datasets.CIFAR10.tgz_md5, str(root)):
        assert part in str(error.value)


def test_a_damaged_download_leaves_nothing_behind(tmp_path: Path, published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-7])
    root = tmp_path / "root"
    with pytest.raises(OSError, match="incomplete or a different file"):
        CIFAR10(str(root), download=True).prepare_data()
    assert list(root.iterdir()) == []


def test_members_outside_the_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("../../evil")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(ValueError, match="cannot unpack"):
        CIFAR10(str(root), verify=False).setup()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-python.tar.gz", "root"]
