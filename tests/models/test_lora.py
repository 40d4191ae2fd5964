from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ToyData, fit
from torch import nn
from torch.optim import SGD

from noisylab.methods import CrossEntropy
from noisylab.models import TimmNet, TorchvisionNet
from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.lora import check_lora

pytest.importorskip("peft")


class Adapted(BorrowedNetwork):
    """Three linear layers and batch normalization, with adapters."""

    def __init__(self, num_classes: int, lora: dict[str, Any] | None = None, layer_decay: float = 1.0) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, num_classes)
        )
        self.tune("5", layer_decay=layer_decay, lora=lora)


def trained(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in network.named_parameters() if p.requires_grad}


def test_adapters_and_head_are_all_that_is_trained() -> None:
    assert trained(Adapted(3, {"rank": 2})) == {
        "net.0.lora_A.default.weight": (2, 2),
        "net.0.lora_B.default.weight": (8, 2),
        "net.3.lora_A.default.weight": (2, 8),
        "net.3.lora_B.default.weight": (6, 2),
        "net.5.weight": (3, 6),
        "net.5.bias": (3,),
    }


def test_the_number_of_trained_weights_of_a_transformer() -> None:
    pytest.importorskip("timm")
    net = TimmNet(5, "vit_tiny_patch16_224", lora={"rank": 4, "target_modules": ["qkv"]})
    # 12 blocks, width 192: A 4 x 192 and B 576 x 4 each; the head 192 x 5 + 5
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 12 * (4 * 192 + 576 * 4) + 192 * 5 + 5


def test_at_first_the_network_computes_what_it_did() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    plain = TimmNet(5, "vit_tiny_patch16_224").eval()
    torch.manual_seed(0)
    adapted = TimmNet(5, "vit_tiny_patch16_224", lora={"rank": 4, "dropout": 0.5}).eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(adapted(images), plain(images))
    assert adapted.head_name == "net.head" and adapted.embedding_width == 192


def test_convolutions_get_adapters_where_no_layer_is_linear() -> None:
    net = TorchvisionNet(3, "mobilenet_v2", lora={"rank": 1})
    wrapped = {name.partition(".lora_A")[0] for name in trained(net) if "lora_A" in name}
    assert "net.features.0.0" in wrapped and "net.features.2.conv.1.0" not in wrapped  # the second is grouped
    assert not any(module.training for module in net.train().modules() if isinstance(module, nn.BatchNorm2d))


def test_layers_that_torch_reads_without_calling_are_left_alone() -> None:
    with torch.device("meta"):
        net = TorchvisionNet(3, "vit_b_32", lora={"rank": 1})
    adapted = {name for name in trained(net) if "lora_A" in name}
    assert len(adapted) == 24 and all(".mlp." in name for name in adapted)
    with pytest.raises(ValueError, match="target_modules names 'out_proj'"), torch.device("meta"):
        TorchvisionNet(3, "vit_b_32", lora={"target_modules": ["out_proj"]})


@pytest.mark.filterwarnings("ignore:Found 1 module.s. in eval mode")  # the batch normalization, as it should be
def test_training_leaves_the_weights_of_the_base_and_the_checkpoint_is_enough(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = partial(Adapted, lora={"rank": 2, "alpha": 4, "dropout": 0.1}, layer_decay=0.5)
    method = CrossEntropy(3, network, optimizer=partial(SGD, lr=0.1))
    before = {name: value.clone() for name, value in method.networks.state_dict().items()}
    fit(method, ToyData(), tmp_path, 2)
    changed = {name for name, value in method.networks.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"network.{name}" for name in trained(Adapted(3, {"rank": 2}))}
    again = CrossEntropy.load_from_checkpoint(tmp_path / "last.ckpt").eval()
    inputs = torch.randn(5, 2)
    assert torch.equal(again(inputs), method.eval()(inputs))
    rates = {p.shape: group["lr"] for group in method.trainer.optimizers[0].param_groups for p in group["params"]}
    assert rates[(3, 6)] == pytest.approx(0.1)  # the head
    assert rates[(6, 2)] == pytest.approx(0.05) and rates[(2, 2)] == pytest.approx(0.025)  # adapters of the layers before it


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"r": 4}, "lora takes rank, alpha, dropout, target_modules, got r"),
        ({"rank": 0}, r"lora\.rank must be a whole number"),
        ({"alpha": -1.0}, r"lora\.alpha must be a positive number"),
        ({"dropout": 1.0}, r"lora\.dropout must be a fraction"),
        ({"target_modules": "qkv"}, r"lora\.target_modules must be a list"),
        ({"target_modules": ["qkv"]}, r"lora\.target_modules names 'qkv'.*there are \['0', '3'\]"),
    ],
)
def test_wrong_arguments_are_named(lora: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Adapted(3, lora)


def test_freeze_and_lora_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="lora freezes all but its adapters"):
        TorchvisionNet(3, "resnet18", freeze="all_but_head", lora={"rank": 2})


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "noisylab\[lora\]"'):
        check_lora({})
