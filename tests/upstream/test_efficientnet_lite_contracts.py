"""What noisylab relies on in efficientnet_lite_pytorch, which names its layers privately."""

from __future__ import annotations

import pytest
import torch
from helpers.contracts import contract
from torch import nn

from noisylab.upstream.efficientnet_lite import without_head_and_norms

package = pytest.importorskip("efficientnet_lite_pytorch")


def test_the_network_without_its_norms_finds_the_same_features() -> None:
    net = package.EfficientNet.from_name("efficientnet-lite0").eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # not the ones and zeros of a new network
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net.extract_features(images)
    with contract("efficientnet_lite_pytorch.EfficientNet._blocks._expand_conv", without_head_and_norms):
        bare = without_head_and_norms(net)
        with torch.no_grad():
            torch.testing.assert_close(bare.extract_features(images), before, rtol=1e-3, atol=1e-4)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in bare.modules())
    with contract("efficientnet_lite_pytorch.EfficientNet._fc", without_head_and_norms):
        assert not any(isinstance(module, nn.Linear) for module in bare.modules())
