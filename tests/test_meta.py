"""Derivatives of the logits along a direction, against gradients of gradients and differences taken apart from the package."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from noisylab.engine.modes import forward_aside
from noisylab.meta import Form, choose_form, derivative, gradient, look_ahead, loss_derivative, tangent_forward
from noisylab.models import FusionNet
from noisylab.selection import sum_to_one
from noisylab.types import Inputs, map_inputs

Y, YV = torch.tensor([0, 2, 1, 1, 0, 2]), torch.tensor([1, 0, 2, 2, 1])
_WIDE = torch.float64


# ---- networks


def _mlp(*, batch_norm: bool = False, dropout: float = 0.0) -> nn.Module:
    norm = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Linear(4, 8), *norm, nn.Tanh(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(8, 3))


def _conv(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    first = [nn.Conv2d(3, 8, 3, padding=1, bias=False), norm(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    second = [nn.Conv2d(8, 8, 3, padding=1), norm(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.LayerNorm(32), nn.Linear(32, 3))


class Attention(nn.Module):
    """Embedded tokens that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(5, 8), nn.LayerNorm(8)
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.norm(self.embed(tokens))
        return self.head((h + self.attend(h, h, h, need_weights=False)[0]).mean(1))


class _Cube(torch.autograd.Function):
    """Has no rule for tangents."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x * x * grad


class Cubed(nn.Module):
    """A function of its own between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(_Cube.apply(self.first(x).tanh()))


class Tied(nn.Module):
    """One matrix in two layers, and changes in place of values that depend on it and of views of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(x).tanh()) + 0
        h[:, 0].mul_(2)
        h[:, 1:3] = h[:, 2:].exp()
        return self.head(h + h.detach().exp())


class Writing(nn.Module):
    """Writes values that depend on the weights into a tensor that has not depended on them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.first, self.head = how, nn.Linear(4, 4), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).tanh()
        into = F.pad(x, (1, 1)).clone()
        if self.how == "slice":
            into[:, 1:5] = h
        elif self.how == "copy":
            into = torch.empty_like(into).copy_(F.pad(h, (1, 1)))
        elif self.how == "zeros":
            into = torch.zeros_like(F.pad(h, (1, 1))).add_(F.pad(h, (1, 1)))
        else:
            into += F.pad(h, (1, 1))
        return self.head(into)


class Recurrent(nn.Module):
    """The last state of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.view(len(x), 2, 2))[0][:, -1])


def _normalized_weights() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3))


def _vectors(count: int) -> Tensor:
    return torch.randn(count, 4, dtype=_WIDE)


def _images(count: int) -> Tensor:
    return torch.randn(count, 3, 6, 6, dtype=_WIDE)


def _views(count: int) -> dict[str, Tensor]:
    return {"sound": torch.randn(count, 5, dtype=_WIDE), "image": torch.randn(count, 2, 2, dtype=_WIDE)}


def _fusion() -> nn.Module:
    return FusionNet(3, {"sound": 5, "image": 4}, (6,), 4, "bilinear", batch_norm=True)


_Case = tuple[Callable[[], nn.Module], Callable[[int], Inputs]]
CASES: dict[str, _Case] = {
    "mlp": (_mlp, _vectors),
    "mlp-bn": (partial(_mlp, batch_norm=True), _vectors),
    "conv-bn-pool": (_conv, _images),
    "conv-gn": (partial(_conv, lambda width: nn.GroupNorm(2, width)), _images),
    "attention": (Attention, lambda count: torch.randint(5, (count, 4))),
    "fusion": (_fusion, _views),
    "own-function": (Cubed, _vectors),
    "tied": (Tied, _vectors),
    "weight-norm": (_normalized_weights, _vectors),
}
EXACT = [name for name in CASES if name != "weight-norm"]


def _case(name: str) -> tuple[nn.Module, Inputs, Inputs]:
    """A network in float64 and train mode, six training samples and five trusted ones."""
    make, draw = CASES[name]
    return make().double(), draw(6), draw(5)


# ---- slow references


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def _textbook(network: nn.Module, x: Inputs, xv: Inputs, rate: float, shift: dict[str, Tensor] | None = None) -> Tensor:
    """``-dV/d eps`` (B,) at eps = 0 by differentiating through a virtual step; `shift` moves the point it leads to."""
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    eps = torch.zeros(len(Y), dtype=_WIDE, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        losses = -functional_call(network, _buffers(network), (x,)).log_softmax(1)[torch.arange(len(Y)), Y]
        slopes = torch.autograd.grad((eps * losses).sum(), list(parameters.values()), create_graph=True)
        moved = {name: value - rate * slope for (name, value), slope in zip(parameters.items(), slopes, strict=True)}
        moved = {name: value - (shift or {}).get(name, torch.zeros(())) for name, value in moved.items()}
        trusted = functional_call(network, {**moved, **_buffers(network)}, (xv,)).log_softmax(1)
        return -torch.autograd.grad(-trusted[torch.arange(len(YV)), YV].mean(), eps)[0]


def _difference(network: nn.Module, x: Inputs, direction: dict[str, Tensor], length: float = 1e-5) -> Tensor:
    """d/dt (B, K) of the logits of a network in float64."""
    ends = []
    for sign in (1, -1):
        moved = {name: value + sign * length * direction[name] for name, value in network.named_parameters()}
        ends.append(functional_call(network, {**moved, **_buffers(network)}, (x,)).detach())
    return (ends[0] - ends[1]) / (2 * length)


def _along(network: nn.Module, direction: dict[str, Tensor], x: Inputs) -> Tensor:
    """The derivative (B, K) of the logits by differentiating a gradient by what it is linear in."""
    parameters = dict(network.named_parameters())
    logits = functional_call(network, _buffers(network), (x,))
    seed = torch.zeros_like(logits, requires_grad=True)
    slopes = torch.autograd.grad(logits, list(parameters.values()), seed, create_graph=True, allow_unused=True)
    terms = [(s * direction[n]).sum() for n, s in zip(parameters, slopes, strict=True) if s is not None and n in direction]
    return torch.autograd.grad(sum(terms, torch.zeros((), dtype=logits.dtype)), seed)[0]


def _random_direction(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn_like(value) for name, value in network.named_parameters()}


def _scores(logits: Tensor, tangent: Tensor) -> Tensor:
    return loss_derivative(logits, tangent, Y).clamp(min=0)


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(F.cosine_similarity(first.double(), second.double(), 0))


# ---- the meta-gradient of L2R


@pytest.mark.parametrize("name", EXACT)
def test_one_pass_with_tangents_gives_what_a_gradient_of_a_gradient_gives(name: str) -> None:
    network, x, xv = _case(name)
    expected = _textbook(network, x, xv, rate=0.1)
    assert bool((expected.abs() > 1e-4).all()), "nothing to compare"
    direction, loss = gradient(network, xv, YV)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        assert loss.item() == pytest.approx(F.cross_entropy(functional_call(network, _buffers(network), (xv,)), YV).item())
    aside = loss_derivative(*derivative(network, x, direction), Y)
    within = loss_derivative(*tangent_forward(network, x, direction), Y)
    for found in (aside, within):
        torch.testing.assert_close(0.1 * found, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(sum_to_one(found), sum_to_one(expected), rtol=0, atol=1e-10)
    assert choose_form(network, x, direction, _scores) == (Form(), "")


def test_rate_and_scale_of_the_trusted_loss_leave_weights_as_they_are() -> None:
    network, x, xv = _case("mlp-bn")
    direction, _ = gradient(network, xv, YV)
    weights = sum_to_one(loss_derivative(*derivative(network, x, direction), Y))
    for rate in (0.1, 1.0):
        torch.testing.assert_close(sum_to_one(_textbook(network, x, xv, rate)), weights, rtol=0, atol=1e-12)
    doubled = {name: 2 * slope for name, slope in direction.items()}
    scores = loss_derivative(*derivative(network, x, doubled), Y)
    torch.testing.assert_close(sum_to_one(scores), weights, rtol=0, atol=1e-12)


def test_without_batch_statistics_it_is_the_inner_product_with_the_gradient_of_each_sample() -> None:
    network, x, xv = _case("mlp")
    assert isinstance(x, Tensor)
    direction, _ = gradient(network, xv, YV)
    found = loss_derivative(*derivative(network, x, direction), Y)
    for i, one in enumerate(found):
        slopes = torch.autograd.grad(F.cross_entropy(network(x[i : i + 1]), Y[i : i + 1]), list(network.parameters()))
        expected = sum(float((slope * along).sum()) for slope, along in zip(slopes, direction.values(), strict=True))
        assert one.item() == pytest.approx(expected, abs=1e-12)


def test_with_batch_statistics_samples_belong_together() -> None:
    network, x, xv = _case("mlp-bn")
    assert isinstance(x, Tensor)
    direction, _ = gradient(network, xv, YV)
    whole = loss_derivative(*derivative(network, x, direction), Y)
    half = loss_derivative(*derivative(network, x[:3], direction), Y[:3])
    assert not torch.allclose(whole[:3], half, atol=1e-4)


def test_look_ahead_with_momentum_and_decay_moves_the_point_of_the_trusted_gradient() -> None:
    network, x, xv = _case("mlp-bn")
    velocity = _random_direction(network)
    velocity.pop("0.bias")  # not stepped yet
    decay = {"0.weight": 0.05, "3.weight": 0.05}
    parameters = dict(network.named_parameters())
    still = {name: torch.zeros_like(value) for name, value in parameters.items()}
    ahead = look_ahead(parameters, still, rate=0.1, momentum=0.9, velocity=velocity, decay=decay)
    shift = {
        name: 0.1 * (0.9 * velocity.get(name, still[name]) + decay.get(name, 0) * parameters[name].detach()) for name in still
    }
    direction, _ = gradient(network, xv, YV, at=ahead)
    found = 0.1 * loss_derivative(*derivative(network, x, direction), Y)
    torch.testing.assert_close(found, _textbook(network, x, xv, 0.1, shift), rtol=0, atol=1e-10)
    assert not torch.allclose(found, _textbook(network, x, xv, 0.1), atol=1e-4)


def test_look_ahead_of_one_number() -> None:
    theta, slope = {"w": torch.tensor([2.0]), "b": torch.tensor([1.0])}, {"w": torch.tensor([0.5]), "b": torch.tensor([-1.0])}
    moved = look_ahead(theta, slope, rate=0.1, momentum=0.9, velocity={"w": torch.tensor([3.0])}, decay={"w": 0.01, "b": 0.0})
    assert moved["w"].item() == pytest.approx(2 - 0.1 * (0.9 * 3 + 0.5 + 0.01 * 2))
    assert moved["b"].item() == pytest.approx(1.1)
    plain = look_ahead(theta, slope, rate=0.1)
    assert [plain[name].item() for name in ("w", "b")] == pytest.approx([1.95, 1.1])
    assert theta["w"].item() == 2 and not plain["w"].requires_grad


def test_derivative_of_the_loss_of_three_samples() -> None:
    logits = torch.tensor([[0.0, 0, 0], [1, 0, -1], [2, 2, -100]])
    tangent = torch.tensor([[3.0, 0, 0], [0, 1, 2], [-4, 2, 7]])
    p = [0.665241, 0.244728, 0.090031]  # softmax of the second row
    expected = [1 - 3, p[1] + 2 * p[2] - 1, -1 - 2]
    found = loss_derivative(logits, tangent, torch.tensor([0, 1, 1]))
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert loss_derivative(logits.bfloat16(), tangent.bfloat16(), torch.tensor([0, 1, 1])).dtype == torch.float32
    assert loss_derivative(logits.double(), tangent.double(), torch.tensor([0, 1, 1])).dtype == torch.float64


def test_a_copy_of_the_trusted_sample_has_the_square_of_its_gradient() -> None:
    network, x, _ = _case("mlp")
    assert isinstance(x, Tensor)
    direction, _ = gradient(network, x[2:3], Y[2:3])
    found = loss_derivative(*derivative(network, x, direction), Y)
    assert found[2].item() == pytest.approx(sum(float(slope.square().sum()) for slope in direction.values()), rel=1e-12)
    assert found[2].item() > 0


def test_a_copy_with_a_wrong_label_in_a_linear_model() -> None:
    network = nn.Linear(4, 3, bias=False).double()
    x = _vectors(1)
    direction, _ = gradient(network, x, torch.tensor([0]))
    p, eye = network(x)[0].detach().softmax(0), torch.eye(3, dtype=_WIDE)
    for wrong in (1, 2):
        found = loss_derivative(*derivative(network, x, direction), torch.tensor([wrong]))
        expected = x.square().sum() * ((p - eye[wrong]) * (p - eye[0])).sum()
        assert found.item() == pytest.approx(expected.item(), abs=1e-12)


# ---- gradients


def test_gradient_is_that_of_the_mean_cross_entropy() -> None:
    network, _, xv = _case("conv-bn-pool")
    other = copy.deepcopy(network)
    F.cross_entropy(other(xv), YV).backward()
    found, loss = gradient(network, xv, YV)
    assert list(found) == [name for name, _ in network.named_parameters()] and not loss.requires_grad
    for name, parameter in other.named_parameters():
        assert not found[name].requires_grad
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-14)
    tenth, part = gradient(network, xv, YV, count=50)
    torch.testing.assert_close(tenth["0.weight"], found["0.weight"] / 10)
    torch.testing.assert_close(part, loss / 10)


def test_gradient_for_distributions_and_at_another_point() -> None:
    network, _, xv = _case("mlp-bn")
    probs = torch.rand(5, 3, dtype=_WIDE).softmax(1)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3)
    (-(probs * other(xv).log_softmax(1)).sum(1)).mean().backward()
    found, _ = gradient(network, xv, probs, at={name: value.detach() + 0.3 for name, value in network.named_parameters()})
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-12)


class _Spare(nn.Module):
    """A frozen layer, a trained one and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.head, self.spare = nn.Linear(4, 6).requires_grad_(False), nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.frozen(x).tanh())


def test_frozen_parameters_stand_still_and_unused_ones_have_a_gradient_of_zero() -> None:
    network, x = _Spare().double(), _vectors(6)
    direction, _ = gradient(network, _vectors(5), YV)
    assert list(direction) == ["head.weight", "head.bias", "spare.weight", "spare.bias"]
    assert not bool(direction["spare.weight"].any()) and bool(direction["head.bias"].any())
    expected = F.linear(network.frozen(x).tanh(), direction["head.weight"], direction["head.bias"])
    for rule, tolerance in (("forward", 1e-12), ("difference", 1e-6)):
        _, found = derivative(network, x, direction, Form("training", rule))  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(tangent_forward(network, x, direction)[1], expected, rtol=0, atol=1e-12)


# ---- nothing is left behind


@pytest.mark.parametrize("name", ["conv-bn-pool", "weight-norm"])
def test_network_optimizer_and_random_state_stay_as_they_are(name: str) -> None:
    network, x, xv = _case(name)
    network.append(nn.Dropout(0.5)).append(nn.Linear(3, 3).double())  # type: ignore[operator]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(network(x), Y).backward()
    optimizer.step()

    def everything() -> list[Tensor]:
        slopes = [parameter.grad for parameter in network.parameters()]
        velocities = [state["momentum_buffer"] for state in optimizer.state.values()]
        return [value.clone() for value in (*network.state_dict().values(), *slopes, *velocities) if value is not None]

    before, random = everything(), torch.get_rng_state()
    direction, _ = gradient(network, xv, YV)
    for form in (Form(), Form("float32"), Form("training", "difference"), Form("float32", "difference")):
        if form.rule == "difference" or name == "conv-bn-pool":
            derivative(network, x, direction, form)
    torch.set_rng_state(random)
    choose_form(network, x, direction, _scores)
    choose_form(network, x, direction, _scores, scaled=True)
    assert torch.equal(torch.get_rng_state(), random)
    for now, then in zip(everything(), before, strict=True):
        assert torch.equal(now, then)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())


def _passed(network: nn.Module, forward: Callable[[nn.Module], Tensor]) -> tuple[Tensor, nn.Module, list[Any]]:
    """Logits, the copy of the network that gave them, and what was saved for backward: shapes, types, bytes."""
    used, saved = copy.deepcopy(network), []

    def note(tensor: Tensor) -> Tensor:
        saved.append((tensor.shape, tensor.dtype, tensor.untyped_storage().nbytes()))
        return tensor

    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        return forward(used), used, saved


@pytest.mark.parametrize("name", ["conv-bn-pool", "conv-gn", "fusion", "own-function", "tied", "dropout"])
def test_logits_have_the_graph_and_the_cost_of_an_ordinary_pass(name: str) -> None:
    network, x, _ = (_mlp(batch_norm=True, dropout=0.4).double(), _vectors(6), None) if name == "dropout" else _case(name)
    direction = _random_direction(network)
    plain, one, saved = _passed(network, lambda used: used(x))
    logits, other, saved_along = _passed(network, lambda used: tangent_forward(used, x, direction)[0])
    assert torch.equal(plain, logits) and logits.requires_grad
    assert saved_along == saved and saved, "kept for backward"
    for used, values in ((one, plain), (other, logits)):
        F.cross_entropy(values, Y).backward()
        assert all(parameter.grad is not None for parameter in used.parameters())
    for expected, found in zip(one.parameters(), other.parameters(), strict=True):
        assert expected.grad is not None and found.grad is not None and torch.equal(expected.grad, found.grad)
    for (where, before), now in zip(one.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(before, now), where
    if name == "conv-bn-pool":
        assert not torch.equal(one.get_buffer("1.running_mean"), network.get_buffer("1.running_mean"))


def test_a_pass_aside_has_gradients_and_leaves_batch_statistics() -> None:
    network, x, _ = _case("conv-bn-pool")
    ordinary, before = copy.deepcopy(network), _buffers(network)
    logits, expected = forward_aside(network, x), ordinary(x)
    assert torch.equal(logits, expected)
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name])
    F.cross_entropy(logits, Y).backward()
    F.cross_entropy(expected, Y).backward()
    for found, other in zip(network.parameters(), ordinary.parameters(), strict=True):
        assert found.grad is not None and other.grad is not None and torch.equal(found.grad, other.grad)


def test_tangents_carry_no_graph() -> None:
    network, x, xv = _case("conv-bn-pool")
    direction, _ = gradient(network, xv, YV)
    for logits, tangent in (tangent_forward(network, x, direction), derivative(network, x, direction)):
        assert not tangent.requires_grad and tangent.shape == logits.shape
    assert not derivative(network, x, direction)[0].requires_grad


def test_without_a_direction_the_derivative_is_zero() -> None:
    network, x, _ = _case("mlp-bn")
    logits, tangent = tangent_forward(network, x, {})
    assert logits.requires_grad and tangent.shape == (6, 3) and not bool(tangent.any())
    still = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    for precision in (torch.float64, torch.float32):
        used, direction = copy.deepcopy(network).to(precision), {name: value.to(precision) for name, value in still.items()}
        inputs = map_inputs(partial(Tensor.to, dtype=precision), x)
        for rule in ("forward", "difference"):
            assert not bool(derivative(used, inputs, direction, Form("training", rule))[1].any())


# ---- random masks, and layers without a rule


class _Masked(nn.Module):
    """`_mlp` with dropout whose mask is given."""

    def __init__(self, network: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self.first, _, _, self.last = network.children()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)) * self.mask)


@pytest.mark.parametrize("how", ["shared", "forward", "difference"])
def test_value_and_derivative_have_one_dropout_mask(how: str) -> None:
    network, x = _mlp(dropout=0.5).double(), _vectors(6)
    direction = _random_direction(network)
    torch.manual_seed(3)
    mask = F.dropout(torch.ones(6, 8, dtype=_WIDE), 0.5)
    after_one_pass = torch.get_rng_state()
    frozen = _Masked(network, mask)
    names = dict(zip([name for name, _ in frozen.named_parameters()], direction.values(), strict=True))
    torch.manual_seed(3)
    if how == "shared":
        logits, found = tangent_forward(network, x, direction)
    else:
        logits, found = derivative(network, x, direction, Form("training", how))  # type: ignore[arg-type]
    tolerance = 1e-6 if how == "difference" else 1e-12
    torch.testing.assert_close(found, _along(frozen, names, x), rtol=0, atol=tolerance)
    torch.testing.assert_close(logits.detach(), frozen(x).detach(), rtol=0, atol=tolerance)
    assert torch.equal(torch.get_rng_state(), after_one_pass)


def test_tangents_of_a_function_without_a_rule_agree_with_differences() -> None:
    network, x, _ = _case("own-function")
    direction = _random_direction(network)
    expected = _difference(network, x, direction)
    for _, found in (tangent_forward(network, x, direction), derivative(network, x, direction)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("how", ["slice", "copy", "zeros", "add"])
def test_what_is_written_into_a_constant_is_never_lost(how: str) -> None:
    network, x = Writing(how).double(), _vectors(6)
    direction = _random_direction(network)
    form, _ = choose_form(network, x, direction, _scores)
    _, found = derivative(network, x, direction, form)
    torch.testing.assert_close(found, _along(network, direction, x), rtol=0, atol=1e-6)
    if form.shares:
        torch.testing.assert_close(tangent_forward(network, x, direction)[1], found, rtol=0, atol=1e-12)


def test_a_layer_without_a_rule_is_measured_by_a_difference() -> None:
    network, x, xv = _case("weight-norm")
    direction, _ = gradient(network, xv, YV)
    with pytest.raises(NotImplementedError):
        tangent_forward(network, x, direction)
    form, reason = choose_form(network, x, direction, _scores)
    assert form == Form("training", "difference") and "weight_norm" in reason and "\n" not in reason
    found = 0.1 * loss_derivative(*derivative(network, x, direction, form), Y)
    torch.testing.assert_close(found, _textbook(network, x, xv, 0.1), rtol=0, atol=1e-8)
    assert choose_form(network, x, direction, _scores, scaled=True)[0] == Form("float32", "difference")
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_form(network, x, direction, _scores)[0] == Form("float32", "difference")


@pytest.mark.parametrize("make", [_mlp, partial(_mlp, batch_norm=True), _normalized_weights, Recurrent])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.float64, 1e-6)])
def test_accuracy_of_the_difference(make: Callable[[], nn.Module], dtype: torch.dtype, tolerance: float) -> None:
    network, x = make().to(dtype), _vectors(6).to(dtype)
    for size in (1e-4, 1.0, 1e4):
        direction = {name: size * value for name, value in _random_direction(network).items()}
        wide = copy.deepcopy(network).double()
        expected = _along(wide, {name: value.double() for name, value in direction.items()}, x.double())
        _, found = derivative(network, x, direction, Form("training", "difference"))
        assert found.dtype == dtype
        assert float((found - expected).norm() / expected.norm()) < tolerance


def test_an_lstm_is_measured_in_a_form_that_is_right() -> None:
    network, x = Recurrent(), _vectors(6).float()
    direction = _random_direction(network)
    form, reason = choose_form(network, x, direction, _scores)
    assert form.precision == "training" and bool(reason) == (form.rule == "difference")
    wide = copy.deepcopy(network).double()
    expected = _along(wide, {name: value.double() for name, value in direction.items()}, x.double())
    _, found = derivative(network, x, direction, form)
    assert float((found - expected).norm() / expected.norm()) < 2e-3


def test_memory_that_runs_out_is_no_reason_for_another_form() -> None:
    class Full(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("out of memory")

    network, x = Full(), _vectors(6).float()
    for scope in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        with scope, pytest.raises(torch.OutOfMemoryError):
            choose_form(network, x, _random_direction(network), _scores)


# ---- precision


def _narrow_case(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> tuple[nn.Module, Tensor, dict[str, Tensor]]:
    """A network in float32, its inputs and the gradient of a trusted batch."""
    network, x = _conv(norm), _images(6).float()
    return network, x, gradient(network, _images(5).float(), YV)[0]


def test_without_autocast_float32_needs_nothing_else() -> None:
    network, x, direction = _narrow_case()
    assert choose_form(network, x, direction, _scores) == (Form(), "")
    wide = copy.deepcopy(network).double()
    expected = _along(wide, {name: value.double() for name, value in direction.items()}, x.double())
    _, found = derivative(network, x, direction)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda width: nn.GroupNorm(2, width)])
def test_weights_under_autocast_agree_with_float32(norm: Callable[[int], nn.Module]) -> None:
    network, x, direction = _narrow_case(norm)
    exact = _scores(*derivative(network, x, direction))
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_form(network, x, direction, _scores) == (Form(), "")
        logits, tangent = derivative(network, x, direction)
        assert logits.dtype == tangent.dtype == torch.bfloat16
        assert not torch.equal(_scores(logits, tangent), exact)
        assert _cosine(_scores(logits, tangent), exact) >= 0.999
        again = _scores(*derivative(network, x, direction, Form("float32")))
    assert torch.equal(again, exact), "float32 means that autocast is off"


def test_statistics_that_stand_still_need_float32_under_autocast() -> None:
    network, x, direction = _narrow_case()
    network.eval()
    exact = _scores(*derivative(network, x, direction))
    with torch.autocast("cpu", torch.bfloat16):
        form, reason = choose_form(network, x, direction, _scores)
        found = _scores(*derivative(network, x, direction, form))
    assert _cosine(found, exact) >= 0.999
    assert (form == Form()) == (not reason) and (form == Form() or form == Form("float32"))


def test_casts_of_an_earlier_pass_do_not_hide_the_weights() -> None:
    network, x, direction = _narrow_case()
    with torch.autocast("cpu", torch.bfloat16):
        _, expected = tangent_forward(network, x, direction)
    with torch.autocast("cpu", torch.bfloat16):
        network(x).sum().backward()
        _, within = tangent_forward(network, x, direction)
        network(x)
        _, aside = derivative(network, x, direction)
        logits = network(x)
        logits.sum().backward()  # casts of the passes before would have no graph, or a used one
    assert bool(expected.any()) and torch.equal(within, expected) and torch.equal(aside, expected)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_weights_of_16_bits() -> None:
    network, x, _ = _narrow_case()
    network, x = network.bfloat16(), x.bfloat16()
    direction, _ = gradient(network, _images(5).bfloat16(), YV)
    form, reason = choose_form(network, x, direction, _scores)
    logits, tangent = derivative(network, x, direction, Form("float32"))
    assert logits.dtype == tangent.dtype == torch.float32
    assert form.rule == "forward" and (form == Form()) == (not reason)
    assert _cosine(_scores(*derivative(network, x, direction, form)), _scores(logits, tangent)) >= 0.999
    wide, _ = gradient(network, x, Y, form=Form("float32"))
    assert {value.dtype for value in wide.values()} == {torch.float32}
    assert {value.dtype for value in network.state_dict().values()} == {torch.bfloat16, torch.int64}


def test_16_bits_that_do_not_agree_give_way_to_float32() -> None:
    network, x, direction = _narrow_case()

    def weights(logits: Tensor, tangent: Tensor) -> Tensor:
        return torch.tensor([1.0, 1.0] if logits.dtype == torch.float32 else [1.0, 0.9])

    with torch.autocast("cpu", torch.bfloat16):
        form, reason = choose_form(network, x, direction, weights)
        assert form == Form("float32") and "0.9986" in reason  # 1.9 / sqrt(2 * 1.81)
    assert choose_form(network, x, direction, weights, scaled=True)[0] == Form("float32")
    assert "float16" in choose_form(network, x, direction, _scores, scaled=True)[1]


def test_only_the_cheapest_form_shares_the_pass_of_the_update() -> None:
    shared = [Form(p, r).shares for p in ("training", "float32") for r in ("forward", "difference")]
    assert shared == [True, False, False, False]
