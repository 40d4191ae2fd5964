"""Weights from files, addresses and the hub, for every borrowed network alike."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import ToyData
from torch import Tensor

from noisylab.methods import CrossEntropy
from noisylab.models import TimmNet, TorchvisionNet
from noisylab.models.pretrained import find_weights, names_a_place, weights_to_come

SMALL = "shufflenet_v2_x0_5"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which torch keeps weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def saved(file: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = TorchvisionNet(5, SMALL).net.state_dict()
    torch.save(state, file)
    return state


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[str]:
    asked: list[str] = []

    def urlopen(request: Any, timeout: float) -> io.BytesIO:
        asked.append(request.full_url)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def assert_taken(net: TorchvisionNet, state: dict[str, Tensor]) -> None:
    for name, value in net.net.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, state[name]), name
    assert net.net.fc.weight.shape[0] == net.num_classes


def test_a_file_gives_torchvision_all_but_the_last_layer(tmp_path: Path) -> None:
    state = saved(tmp_path / "w.pth")
    assert_taken(TorchvisionNet(7, SMALL, weights=str(tmp_path / "w.pth"), sha256=digest_of(tmp_path / "w.pth")), state)
    gray = TorchvisionNet(7, SMALL, weights=str(tmp_path / "w.pth"), in_channels=1)
    torch.testing.assert_close(gray.net.conv1[0].weight, state["conv1.0.weight"].sum(1, keepdim=True))
    with pytest.raises(FileNotFoundError, match="has the SHA-256"):
        TorchvisionNet(7, SMALL, weights=str(tmp_path / "w.pth"), sha256="0" * 64)
    with pytest.raises(ValueError, match="is not of this network"):
        TorchvisionNet(7, "resnet18", weights=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="sha256 is of a file"):
        TorchvisionNet(7, SMALL, weights="DEFAULT", sha256="0" * 64)
    with pytest.raises(ValueError, match=r"must be one of .* got 'IMAGENET9'"):
        TorchvisionNet(7, SMALL, weights="IMAGENET9")


def test_an_address_is_fetched_once_and_verified(tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = saved(tmp_path / "w.pth")
    sha256 = digest_of(tmp_path / "w.pth")
    asked = serve(monkeypatch, (tmp_path / "w.pth").read_bytes())
    for _ in range(2):
        assert_taken(TorchvisionNet(7, SMALL, weights="https://a.test/x/w.pth", sha256=sha256.upper()), state)
    assert asked == ["https://a.test/x/w.pth"]
    assert [file.name for file in hub.iterdir()] == [f"{sha256[:16]}-w.pth"]
    next(hub.iterdir()).write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError, match="it is damaged or another file"):
        TorchvisionNet(7, SMALL, weights="https://a.test/x/w.pth", sha256=sha256)


def test_another_file_at_an_address_is_not_kept(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, b"something else")
    with pytest.raises(FileNotFoundError, match="a different file, with the sha256"):
        find_weights("https://a.test/w.pth", "0" * 64)
    assert not list(hub.iterdir())


def test_an_address_without_its_digest_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, b"")
    with pytest.raises(ValueError, match=r"weights='https://a\.test/w\.pth' is an address.*give its sha256"):
        TorchvisionNet(3, SMALL, weights="https://a.test/w.pth")
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits, got 'abc'"):
        find_weights("https://a.test/w.pth", "abc")
    assert not asked


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        (f"hf:timm/a.b_c@{COMMIT}", ("timm/a.b_c", "model.safetensors", COMMIT)),
        (f"hf:timm/a/sub/w.pth@{COMMIT}", ("timm/a", "sub/w.pth", COMMIT)),
    ],
)
def test_the_hub_is_asked_for_a_file_at_a_commit(
    weights: str, wanted: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[tuple[str, ...]] = []

    def fetch(repository: str, file: str, revision: str) -> str:
        asked.append((repository, file, revision))
        return str(tmp_path / "w.pth")

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    (tmp_path / "w.pth").write_bytes(b"x")
    assert find_weights(weights) == tmp_path / "w.pth"
    assert asked == [wanted]


@pytest.mark.parametrize("weights", ["hf:timm/a", "hf:timm/a@main", "hf:timm@" + COMMIT, f"hf:timm/a@{COMMIT[:12]}"])
def test_a_place_on_the_hub_without_its_commit_is_refused(weights: str) -> None:
    with pytest.raises(ValueError, match="must be hf:owner/name@commit"):
        find_weights(weights)


def test_without_a_network_the_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"hf download timm/a model.safetensors --revision {COMMIT}"):
        find_weights(f"hf:timm/a@{COMMIT}")


def test_names_of_published_weights_are_told_from_places() -> None:
    assert not any(map(names_a_place, ["DEFAULT", "IMAGENET1K_V2", "IMAGENET1K_SWAG_E2E_V1"]))
    assert all(map(names_a_place, ["w.pth", "a/b", "hf:a/b@c", "https://a.test/w", "./w.safetensors", "~/w.bin"]))


def test_a_checkpoint_is_enough_where_the_weights_of_the_start_are_gone(tmp_path: Path) -> None:
    saved(tmp_path / "w.pth")
    method = CrossEntropy(3, partial(TorchvisionNet, name=SMALL, weights=str(tmp_path / "w.pth")))
    trainer = L.Trainer(
        max_epochs=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(method, datamodule=ToyData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "w.pth").unlink()
    again = CrossEntropy.load_from_checkpoint(tmp_path / "last.ckpt").eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(again(images), method.eval()(images))


def test_published_weights_are_not_read_before_a_checkpoint(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is fetched")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with weights_to_come(), torch.device("meta"):
        assert TorchvisionNet(3, "resnet18", weights="DEFAULT").num_classes == 3
        large = TorchvisionNet(3, "vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1")
    assert large.net.encoder.pos_embedding.shape[1] == (384 // 16) ** 2 + 1
    pytest.importorskip("timm")
    with weights_to_come():
        TimmNet(3, "resnet10t", weights=str(hub / "gone.safetensors"))
