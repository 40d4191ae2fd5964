import pytest
import torch
from torch import nn

from noisylab.models import WideResNet


def test_it_has_the_published_number_of_parameters() -> None:
    # table 4 of the paper: 36.5 million for WRN-28-10; counted by hand for 10 classes
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in WideResNet(10).parameters()) == 36_479_194


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
    [({"depth": 12}, "depth"), ({"depth": 4}, "depth"), ({"width": 0}, "width"), ({"dropout": 1.0}, "dropout")],
)
def test_wrong_arguments_are_refused(given: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        WideResNet(3, **given)  # type: ignore[arg-type]
