import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from noisylab.models import ACTNet


@pytest.fixture(scope="module")
def net() -> ACTNet:
    torch.manual_seed(0)
    return ACTNet(num_classes=100)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def linears(net: ACTNet) -> list[nn.Linear]:
    return [module for module in net.head.children() if isinstance(module, nn.Linear)]


def flops(module: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops()


def unused_head_of_the_authors() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128))


def test_layers_are_those_of_the_paper(net: ACTNet) -> None:
    kinds = [type(module).__name__ for module in net.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 3 + ["Flatten"]
    convolutions = [module for module in net.features if isinstance(module, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels) for conv in convolutions] == [
        (3, 64),
        (64, 64),
        (64, 128),
        (128, 128),
        (128, 196),
        (196, 16),
    ]
    assert all(conv.bias is not None and conv.kernel_size == (3, 3) for conv in convolutions)
    assert [type(module).__name__ for module in net.head.children()] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [(linear.in_features, linear.out_features) for linear in linears(net)] == [(256, 512), (512, 100)]


def test_number_of_parameters(net: ACTNet) -> None:
    assert parameters(net) == 699_488
    assert round((parameters(net) + parameters(unused_head_of_the_authors())) / 1e6, 2) == 0.80


def test_number_of_entries_with_one_linear_layer() -> None:
    net = ACTNet(num_classes=100, head="linear")
    entries = sum(tensor.numel() for tensor in net.state_dict().values())
    # weights and biases of the convolutions; scale, shift, two statistics and a counter of each normalization; 256 -> 100
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 196), (196, 16)]
    assert entries == sum(a * b * 9 + b + 4 * b + 1 for a, b in pairs) + 256 * 100 + 100 == 542_478
    assert sum(tensor.numel() for tensor in ACTNet(num_classes=100).state_dict().values()) == 701_711
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_one_linear_layer_has_the_default_initial_values() -> None:
    head = ACTNet(num_classes=10, head="linear").head
    assert isinstance(head, nn.Linear)
    assert head.weight.abs().max() <= 1 / math.sqrt(256) and head.bias.abs().max() > 0


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head must be 'mlp' or 'linear', got 'none'"):
        ACTNet(num_classes=10, head="none")  # type: ignore[arg-type]


def test_flops_of_a_forward_pass(net: ACTNet) -> None:
    own = flops(net, 3, 32, 32)
    assert own == 225_161_216
    assert round((own + flops(unused_head_of_the_authors(), 256)) / 1e6, 1) == 225.4


def test_head_is_he_normal_with_zero_bias(net: ACTNet) -> None:
    for linear in linears(net):
        assert not linear.bias.any()
        assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / linear.in_features), rel=0.02)


def test_convolutions_keep_the_default_initial_values(net: ACTNet) -> None:
    conv = net.features[3]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    bound = 1 / math.sqrt(64 * 9)
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert conv.bias.abs().max() > 0


def test_forward_and_backward_reach_every_parameter() -> None:
    net = ACTNet(num_classes=7, in_channels=1, image_size=16)
    logits = net(torch.randn(4, 1, 16, 16))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_another_image_size_is_refused(net: ACTNet) -> None:
    with pytest.raises(ValueError, match=r"built for 32x32 images, got shape \(2, 3, 28, 28\); set image_size"):
        net(torch.zeros(2, 3, 28, 28))
    with pytest.raises(ValueError, match="image_size must be at least 8 pixels, got 4"):
        ACTNet(num_classes=10, image_size=4)


def test_a_dict_of_views_is_refused(net: ACTNet) -> None:
    with pytest.raises(TypeError, match=r"ACTNet takes one tensor, got a dict of \['audio', 'image'\]"):
        net({"image": torch.zeros(2, 3, 32, 32), "audio": torch.zeros(2, 4)})


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        ACTNet(num_classes=0)
