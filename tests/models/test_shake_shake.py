import pytest
import torch
from torch import Tensor, nn

from noisylab.models import ShakeShake
from noisylab.models.shake_shake import Shake, mixed


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_it_has_the_counted_number_of_parameters() -> None:
    with torch.device("meta"):
        counts = {width: parameters(ShakeShake(10, width=width)) for width in (16, 32, 64, 96)}
    assert counts == {16: 735_498, 32: 2_923_146, 64: 11_653_962, 96: 26_192_906}


def test_output_and_gradients_have_shares_of_their_own() -> None:
    first, second = torch.tensor([2.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    output = mixed(first, second, torch.tensor(0.25), torch.tensor(0.6))
    output.sum().backward()
    torch.testing.assert_close(output, torch.tensor([3.5]))
    torch.testing.assert_close(torch.stack([first.grad, second.grad]), torch.tensor([[0.6], [0.4]]))  # type: ignore[list-item]


def shares(shake: Shake, rows: int = 64) -> tuple[Tensor, Tensor]:
    """The shares of the first branch in a training pass, by row: in the output and in the gradient."""
    first, second = torch.ones(rows, 2, 3, 3, requires_grad=True), torch.zeros(rows, 2, 3, 3, requires_grad=True)
    output = shake(first, second)
    output.sum().backward()
    assert isinstance(first.grad, Tensor) and isinstance(second.grad, Tensor)
    torch.testing.assert_close(first.grad + second.grad, torch.ones_like(output))
    for value in (output, first.grad):
        assert torch.equal(value, value[:, :1, :1, :1].expand_as(value)), "a share belongs to a whole image"
    return output[:, 0, 0, 0].detach(), first.grad[:, 0, 0, 0]


@pytest.mark.parametrize("level", ["image", "batch"])
@pytest.mark.parametrize("forward", ["even", "shake"])
@pytest.mark.parametrize("backward", ["even", "shake", "keep"])
def test_every_form_draws_what_it_says(level: str, forward: str, backward: str) -> None:
    torch.manual_seed(0)
    a, b = shares(Shake(forward, backward, level))  # type: ignore[arg-type]
    several = {"image": 64, "batch": 1}[level]
    assert len(a.unique()) == (several if forward == "shake" else 1)
    assert len(b.unique()) == (several if backward == "shake" or (backward, forward) == ("keep", "shake") else 1)
    assert forward == "shake" or (a == 0.5).all()
    if backward == "keep":
        torch.testing.assert_close(a, b)
    elif "shake" in (forward, backward):
        assert not torch.allclose(a, b, atol=1e-3), "the two directions are drawn independently"


def test_evaluation_takes_the_mean_and_draws_nothing() -> None:
    shake = Shake().eval()
    state = torch.get_rng_state()
    assert shake(torch.tensor([[2.0]]), torch.tensor([[4.0]])).item() == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_shares_are_uniform_and_follow_the_generator() -> None:
    torch.manual_seed(3)
    a, b = shares(Shake(), 4000)
    assert abs(a.mean() - 0.5) < 0.02 and abs(b.var() - 1 / 12) < 0.01 and abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.06
    torch.manual_seed(3)
    again, _ = shares(Shake(), 4000)
    assert torch.equal(a, again)


def test_the_second_way_of_a_shortcut_is_shifted_by_one_pixel() -> None:
    net = ShakeShake(2, depth=8, width=4, in_channels=1)
    shortcut = next(module for module in net.modules() if type(module).__name__ == "_Shortcut" and module.stride == 2)
    for conv in (shortcut.conv1, shortcut.conv2):
        nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0] = 1
    image = torch.zeros(1, 4, 4, 4)
    image[0, 0] = torch.arange(16.0).view(4, 4)
    shortcut.norm = nn.Identity()
    ways = shortcut(image)[0]
    assert ways[0].tolist() == [[0, 2], [8, 10]] and ways[len(ways) // 2].tolist() == [[5, 7], [13, 15]]


@pytest.mark.parametrize(("given", "named"), [({"depth": 25}, "depth"), ({"width": 3}, "width"), ({"level": "row"}, "level")])
def test_wrong_arguments_are_refused(given: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ShakeShake(3, **given)  # type: ignore[arg-type]
