from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from noisylab.models import TimmNet

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def net() -> TimmNet:
    torch.manual_seed(0)
    return TimmNet(5, "resnet10t")


def test_the_last_layer_is_as_wide_as_the_classes_and_shows_its_embedding(net: TimmNet) -> None:
    net.eval()
    embedding, logits = net.embed(torch.randn(2, 3, 32, 32))
    assert embedding.shape == (2, 512) and logits.shape == (2, 5)
    torch.testing.assert_close(net.net.fc(embedding), logits)
    net.train()


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_file_gives_all_but_the_last_layer(net: TimmNet, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"weights.{kind}"
    if kind == "pt":
        torch.save({"state_dict": net.net.state_dict()}, file)
    else:
        pytest.importorskip("safetensors.torch").save_file(net.net.state_dict(), file)
    new = TimmNet(7, "resnet10t", weights=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    old = net.net.state_dict()
    for name, value in new.net.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, old[name]), name
    assert new.net.fc.weight.shape == (7, 512)
    with pytest.raises(FileNotFoundError, match="has the SHA-256"):
        TimmNet(7, "resnet10t", weights=str(file), sha256="0" * 64)
    with pytest.raises(ValueError, match="is not of this network, or of another number of channels: conv1"):
        TimmNet(7, "resnet10t", weights=str(file), in_channels=1)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no file; give the path of one"):
        TimmNet(3, "resnet10t", weights=str(tmp_path / "no.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FileNotFoundError, match="holds more than weights, or is damaged"):
        TimmNet(3, "resnet10t", weights=str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match="holds no tensors by name"):
        TimmNet(3, "resnet10t", weights=str(tmp_path / "list.pth"))


def test_default_weights_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    wanted = []

    def download(url: str, file: str, prefix: str, progress: bool) -> None:
        wanted.append((url, prefix))
        Path(file).write_bytes(b"something else")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(FileNotFoundError, match="is damaged or another file: its SHA-256 begins with"):
        TimmNet(3, "resnet18", weights="DEFAULT")
    assert len(wanted) == 1 and len(wanted[0][1]) == 8 and wanted[0][1] in wanted[0][0]
    with pytest.raises(FileNotFoundError, match=r"get model\.safetensors of https://huggingface\.co/timm/vit_tiny"):
        TimmNet(3, "vit_tiny_patch16_224", weights="DEFAULT")


def test_frozen_parts_are_not_trained_and_keep_their_statistics() -> None:
    net = TimmNet(3, "resnet10t", freeze="all_but_head", train_batchnorm=False)
    assert [name for name, parameter in net.net.named_parameters() if parameter.requires_grad] == ["fc.weight", "fc.bias"]
    assert not any(module.training for module in net.train().modules() if isinstance(module, nn.BatchNorm2d))
    part = TimmNet(3, "resnet10t", freeze=["layer1"])
    frozen = {name.split(".")[0] for name, parameter in part.net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"layer1"}
    with pytest.raises(ValueError, match="freeze names 'layer9'"):
        TimmNet(3, "resnet10t", freeze=["layer9"])


def test_wrong_names_and_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="nearest: resnet50"):
        TimmNet(3, "resnet5O")
    with pytest.raises(ValueError, match="sha256 is of a file"):
        TimmNet(3, "resnet10t", sha256="0" * 64)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "noisylab\[timm\]"'):
        TimmNet(3)
