"""The losses that stand in a training step never wait for the device: tensors without values go through them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from noisylab.estimation import VolumeMinimizing
from noisylab.losses import (
    backward_loss,
    dmi_loss,
    forward_loss,
    given_log_probs,
    joint_matrix,
    log_volume,
    reweighted_loss,
)

_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "forward": forward_loss,
    "given": lambda z, y, t: given_log_probs(z, t).sum(),
    "backward": lambda z, y, t: backward_loss(z, y, t, cap=1.0),
    "reweight": lambda z, y, t: reweighted_loss(z, y, t, detach_weights=True),
    "revise": lambda z, y, t: reweighted_loss(z, y, t, detach_weights=False, max_weight=2.0),
    "volume": lambda z, y, t: forward_loss(z, y, t) + log_volume(t),
    "dmi": lambda z, y, t: dmi_loss(joint_matrix(z, y)),
}


@pytest.mark.parametrize("name", _LOSSES)
def test_a_loss_and_its_gradient_read_nothing_back(name: str) -> None:
    with FakeTensorMode():
        logits, target = torch.zeros(4, 3, requires_grad=True), torch.zeros(4, dtype=torch.long)
        transition = VolumeMinimizing(3)
        loss = _LOSSES[name](logits, target, transition())
        loss.backward()
        assert loss.shape == () and logits.grad is not None
        with pytest.raises(DataDependentOutputException):
            loss.item()
