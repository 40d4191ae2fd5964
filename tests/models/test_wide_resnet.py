import pytest
import torch
from torch import nn

from noisylab.models import WideResNet


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_it_has_the_published_number_of_parameters() -> None:
    # table 4 of the paper: 36.5 million for WRN-28-10; counted by hand for 10 classes
    with torch.device("meta"):
        assert parameters(WideResNet(10)) == 36_479_194


@pytest.mark.parametrize(("depth", "width", "count"), [(28, 2, 1_467_610), (10, 1, 77_850)])
def test_smaller_ones_have_the_counted_number_of_parameters(depth: int, width: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(WideResNet(10, depth, width)) == count


def test_slope_and_momentum_reach_every_layer_and_change_no_parameter() -> None:
    torch.manual_seed(0)
    plain = WideResNet(3, depth=10, width=1)
    torch.manual_seed(0)
    net = WideResNet(3, depth=10, width=1, leaky_slope=0.1, norm_momentum=0.001)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True))
    assert {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {0.001}
    assert {module.negative_slope for module in net.modules() if isinstance(module, nn.LeakyReLU)} == {0.1}
    assert not any(isinstance(module, nn.ReLU) for module in net.modules())
    norm = net.features[1].norm1
    x = torch.randn(8, 3, 8, 8)
    seen = net.features[0](x)
    net(x)
    torch.testing.assert_close(norm.running_mean, 0.001 * seen.mean((0, 2, 3)))


def test_depth_is_the_number_of_convolutions_on_the_long_way_and_the_last_layer() -> None:
    net = WideResNet(10, depth=16, width=2)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == 16 - 2  # the paper counts two of the three 1x1 shortcuts
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_dropout_draws_in_training_alone() -> None:
    torch.manual_seed(0)
    net, x = WideResNet(3, depth=10, width=1, dropout=0.5), torch.randn(4, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"depth": 12}, "depth"),
        ({"depth": 4}, "depth"),
        ({"width": 0}, "width"),
        ({"dropout": 1.0}, "dropout"),
        ({"leaky_slope": 1.0}, "leaky_slope"),
        ({"norm_momentum": 0.0}, "norm_momentum"),
    ],
)
def test_wrong_arguments_are_refused(given: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        WideResNet(3, **given)  # type: ignore[arg-type]
