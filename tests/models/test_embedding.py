"""Every network shows what its head sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from noisylab.models import CNN13, MLP, ACTNet, FusionNet, Network, ShakeShake, SmallCNN, TorchvisionNet, WideResNet, Wrap

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """An outside network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(3, 5), nn.Linear(5, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.body(inputs))


NETWORKS: dict[str, tuple[Callable[[], Network], object, int]] = {
    "wide": (lambda: WideResNet(5, depth=10, width=1), IMAGE, 64),
    "shake": (lambda: ShakeShake(5, depth=8, width=4), IMAGE, 16),
    "cnn13": (lambda: CNN13(5), IMAGE[..., :12, :12], 128),
    "small": (lambda: SmallCNN(5, in_channels=3), IMAGE, 32),
    "act, two layers": (lambda: ACTNet(5), IMAGE, 256),
    "mlp": (lambda: MLP(5, in_features=3 * 32 * 32, hidden=(7,)), IMAGE, 7),
    "no hidden layer": (lambda: MLP(5, in_features=3, hidden=()), IMAGE[:, :, 0, 0], 3),
    "fusion": (lambda: FusionNet(5, {"a": 3, "b": 3}, embedding=6), {"a": IMAGE[:, :, 0, 0], "b": IMAGE[:, :, 1, 1]}, 6),
    "torchvision": (lambda: TorchvisionNet(5, "shufflenet_v2_x0_5"), IMAGE, 1024),
    "wrapped": (lambda: Wrap(5, Plain), IMAGE[:, :, 0, 0], 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_embedding_is_what_the_head_turns_into_the_logits(name: str) -> None:
    make, inputs, width = NETWORKS[name]
    net = make().eval()
    embedding, logits = net.embed(inputs)  # type: ignore[arg-type]
    assert embedding.shape == (2, width) == (2, net.embedding_width)
    torch.testing.assert_close(net.get_submodule(net.head_name)(embedding), logits)
    assert torch.equal(logits, net(inputs))
    assert not net.get_submodule(net.head_name)._forward_pre_hooks, "nothing is left behind"


def test_a_network_without_a_linear_layer_is_refused() -> None:
    net = Wrap(5, "torchvision.models.squeezenet1_1")
    with pytest.raises(ValueError, match="Wrap has no linear layer"):
        net.embed(torch.zeros(1, 3, 64, 64))
