from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from noisylab.meta.tangents import tangent_forward
from noisylab.models import MLP, FrameLSTM, SmallCNN


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_it_is_torchs_lstm_over_the_embeddings_of_the_frames() -> None:
    net = FrameLSTM(3, partial(SmallCNN, width=4), embedding=5, hidden=6).double().eval()
    films = torch.randn(2, 4, 1, 8, 8, dtype=torch.float64)
    lstm = nn.LSTM(5, 6, batch_first=True).double()
    lstm.load_state_dict({f"{name}_l0": value for name, value in net.cell.state_dict().items()})
    frames = torch.stack([torch.stack([net.frame(films[row, t : t + 1])[0] for t in range(4)]) for row in range(2)])
    states, _ = lstm(frames)
    torch.testing.assert_close(net(films), net.head(states[:, -1]))


def test_it_has_second_derivatives_and_those_of_forward_mode() -> None:
    net = FrameLSTM(2, partial(MLP, in_features=3, hidden=()), embedding=2, hidden=2).double()
    films = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(net, films, atol=1e-4)
    weights = dict(net.named_parameters())
    direction = {name: torch.randn_like(value) for name, value in weights.items()}
    _, tangent = tangent_forward(net, films.detach(), direction)
    ahead, behind = (
        functional_call(net, {name: value + step * direction[name] for name, value in weights.items()}, (films,)).detach()
        for step in (1e-6, -1e-6)
    )
    torch.testing.assert_close(tangent, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-8)


def test_one_frame_trains_every_weight_and_what_is_no_film_is_refused() -> None:
    net = FrameLSTM(2, partial(SmallCNN, width=4), embedding=3, hidden=2)
    net(torch.randn(3, 1, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    for shape in ((2, 8), (2, 0, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"films of shape \(B, F, \.\.\.\)"):
            net(torch.zeros(shape))
    with pytest.raises(ValueError, match="hidden must be a width of at least 1, got 0"):
        FrameLSTM(2, SmallCNN, hidden=0)
