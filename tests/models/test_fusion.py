from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from helpers import assert_same, fit
from torch import Tensor, nn
from torch.optim import SGD

from noisylab.data import Arrays
from noisylab.methods import CrossEntropy
from noisylab.models import MLP, FrameLSTM, FusionNet, SmallCNN
from noisylab.models.fusion import LowRankProduct
from noisylab.noise import Symmetric

Fusion = Literal["sum", "concat", "bilinear"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
WIDTHS = {"left": 4, "right": 6}
fusions = pytest.mark.parametrize("fusion", FUSIONS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def views(rows: int = 5, **given: Any) -> dict[str, Tensor]:
    return {name: torch.randn(rows, width, **given) for name, width in WIDTHS.items()}


# ---- the low-rank product


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 3])
def test_product_is_the_full_outer_product_contracted_with_the_weight_tensor(number: int, rank: int) -> None:
    width, rows = 3, 4
    product = LowRankProduct(number, width, rank).double()
    nn.init.normal_(product.bias)
    embeddings = [torch.randn(rows, width, dtype=torch.float64) for _ in range(number)]
    # matrices W_v^r, each width x (width + 1), as the paper writes them
    matrices = [
        np.concatenate([weight.reshape(rank, width, width), bias.reshape(rank, width, 1)], 2)
        for weight, bias in zip(product.weight.detach().numpy(), product.bias.detach().numpy(), strict=True)
    ]
    expected = np.zeros((rows, width))
    for row, out in itertools.product(range(rows), range(width)):
        for entry in itertools.product(range(width + 1), repeat=number):  # of the tensors, with V indices
            weight = sum(np.prod([m[r, out, i] for m, i in zip(matrices, entry, strict=True)]) for r in range(rank))
            outer = np.prod([[*h[row].tolist(), 1.0][i] for h, i in zip(embeddings, entry, strict=True)])
            expected[row, out] += weight * outer
    np.testing.assert_allclose(product(embeddings).detach().numpy(), expected, rtol=1e-12)


def test_product_of_numbers_worked_out_by_hand() -> None:
    product = LowRankProduct(views=2, width=1, rank=2)
    with torch.no_grad():
        product.weight.copy_(torch.tensor([[[2.0], [1.0]], [[3.0], [-1.0]]]))  # view, term
        product.bias.copy_(torch.tensor([[1.0, 0.0], [-1.0, 4.0]]))
    # (2 * 1 + 1)(3 * 2 - 1) + (1 * 1 + 0)(-1 * 2 + 4)
    assert product([torch.tensor([[1.0]]), torch.tensor([[2.0]])]).item() == 3 * 5 + 1 * 2


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_size_of_the_initial_product_is_as_the_docstring_says(number: int, rank: int) -> None:
    def mean_square(size: float) -> float:
        found = []
        for _ in range(40):
            embeddings = [size**0.5 * torch.randn(128, 32) for _ in range(number)]
            found.append(LowRankProduct(number, 32, rank)(embeddings).detach().square().mean())
        return float(torch.stack(found).mean())

    for size in (0.0, 1.0, 2.0):
        expected = ((number - 1 + size) / number) ** number
        assert expected <= np.exp(size - 1) + 1e-12
        assert mean_square(size) == pytest.approx(expected, rel=0.15, abs=1e-12), size


def test_every_view_has_the_same_say_at_the_start() -> None:
    shares = torch.zeros(5)
    for _ in range(20):
        embeddings = [torch.randn(64, 32, requires_grad=True) for _ in range(5)]
        LowRankProduct(5, 32)(embeddings).square().sum().backward()
        shares += torch.stack([e.grad.square().sum() for e in embeddings if e.grad is not None])
    assert float(shares.max() / shares.min()) < 1.5


def test_gradients_of_the_product_are_right() -> None:
    product = LowRankProduct(3, 2, 2).double()
    embeddings = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda *h: product(h), embeddings)


def test_product_and_its_gradient_read_nothing_back() -> None:
    embeddings = [torch.zeros(3, 4, requires_grad=True) for _ in range(3)]
    # a dispatch mode would not do: under one torch.prod goes another way
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        LowRankProduct(3, 4)(embeddings).sum().backward()
    ran = {event.name for event in profile.events()}
    assert "aten::mul" in ran and not {"aten::item", "aten::_local_scalar_dense", "aten::nonzero"} & ran


def test_product_is_computed_in_float32_under_autocast() -> None:
    product = LowRankProduct(3, 8)
    embeddings = [torch.randn(4, 8).bfloat16() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        found = product(embeddings)
    assert found.dtype == torch.float32
    assert torch.equal(found, product([embedding.float() for embedding in embeddings]))


def test_product_with_bfloat16_weights_is_rounded_once() -> None:
    product = LowRankProduct(3, 8).bfloat16()
    embeddings = [torch.randn(4, 8).bfloat16() for _ in range(3)]
    found = product(embeddings)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, product.float()([embedding.float() for embedding in embeddings]).bfloat16())


def test_arguments_of_the_product_below_one_are_refused() -> None:
    for name in ("views", "width", "rank"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            LowRankProduct(**{"views": 2, "width": 2, "rank": 2, name: 0})


# ---- the network


def test_sum_and_concat_of_numbers_worked_out_by_hand() -> None:
    inputs = {"a": torch.tensor([[3.0]]), "b": torch.tensor([[2.0]])}
    found = []
    for fusion in ("sum", "concat"):
        net = FusionNet(1, {"a": 1, "b": 1}, hidden=(), embedding=1, fusion=fusion)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(1.0)
            net.encoders[1].head.weight.fill_(-1.0)  # type: ignore[union-attr, operator]
        found.append(net(inputs).item())
    # h_a = 3 + 1, h_b = -2 + 1: ReLU(4 - 1) + 1, and ReLU(4) + ReLU(-1) + 1
    assert found == [4.0, 5.0]


@pytest.mark.parametrize("batch_norm", [False, True])
@fusions
def test_one_view_makes_an_mlp(fusion: Fusion, batch_norm: bool) -> None:
    net = FusionNet(3, {"only": 6}, (8,), embedding=5, fusion=fusion, dropout=0.3, batch_norm=batch_norm)
    state = net.state_dict()
    if fusion == "bilinear":  # one linear layer more, and two linear layers are one
        weight = state.pop("product.weight")[0].unflatten(0, (3, 5)).sum(0)
        bias = state.pop("product.bias")[0].unflatten(0, (3, 5)).sum(0)
        state["encoders.0.head.bias"] = weight @ state["encoders.0.head.bias"] + bias
        state["encoders.0.head.weight"] = weight @ state["encoders.0.head.weight"]
    mlp = MLP(3, 6, hidden=(8, 5), dropout=0.3, batch_norm=batch_norm)
    mlp.load_state_dict(dict(zip(mlp.state_dict(), state.values(), strict=True)))
    inputs = torch.randn(7, 6)
    for training in (True, False):  # batch statistics and dropout, too
        torch.manual_seed(1)
        expected = mlp.train(training)(inputs)
        torch.manual_seed(1)
        torch.testing.assert_close(net.train(training)({"only": inputs}), expected)


@fusions
def test_views_are_told_apart_by_name_and_others_are_ignored(fusion: Fusion) -> None:
    net, inputs = FusionNet(3, WIDTHS, fusion=fusion), views()
    backwards = {"more": torch.randn(5, 9), **dict(reversed(inputs.items()))}
    assert torch.equal(net(backwards), net(inputs))
    assert not torch.allclose(net({**inputs, "right": torch.randn(5, 6)}), net(inputs))


@pytest.mark.parametrize(("fusion", "mixes"), [("sum", True), ("concat", False), ("bilinear", True)])
def test_views_change_what_another_says_unless_they_are_concatenated(fusion: Fusion, mixes: bool) -> None:
    net, one, other = FusionNet(3, WIDTHS, fusion=fusion).double(), *(views(dtype=torch.float64) for _ in range(2))
    # what another left view does to the logits, beside each of two right views
    first, second = (
        net({"left": other["left"], "right": right}) - net({"left": one["left"], "right": right})
        for right in (one["right"], other["right"])
    )
    assert torch.allclose(first, second) != mixes


@fusions
def test_backward_reaches_every_parameter_and_shapes_are_flattened(fusion: Fusion) -> None:
    net = FusionNet(3, {"image": 64, "text": 6}, fusion=fusion, batch_norm=True)
    images, text = torch.randn(6, 1, 8, 8), torch.randn(6, 6)
    logits = net({"image": images, "text": text})
    assert logits.shape == (6, 3)
    torch.testing.assert_close(logits, net({"image": images.flatten(1), "text": text}))
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_names_that_a_module_has_itself_can_be_views() -> None:
    names = ("type", "keys", "a.b", "", "forward")
    net = FusionNet(2, dict.fromkeys(names, 3), fusion="bilinear")
    assert net({name: torch.randn(2, 3) for name in names}).shape == (2, 2)


@fusions
def test_precisions_agree(fusion: Fusion) -> None:
    net, inputs = FusionNet(3, WIDTHS, fusion=fusion), views()
    expected = net(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(inputs)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, rtol=0.05, atol=0.05)
    mixed.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())
    double = net.double()({name: view.double() for name, view in inputs.items()})
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected)
    half = net.bfloat16()({name: view.bfloat16() for name, view in inputs.items()})
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)


def test_inputs_that_do_not_fit_are_refused() -> None:
    net, inputs = FusionNet(3, WIDTHS), views()
    with pytest.raises(ValueError, match=r"dict of views by name, got one tensor of shape \(2, 4\); use data of the views"):
        net(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"a view 'right'.*which the inputs lack; they have left, other: name only these"):
        net({"left": inputs["left"], "other": inputs["right"]})
    with pytest.raises(ValueError, match="which the inputs lack; they have none"):
        net({})
    with pytest.raises(ValueError, match=r"6 numbers in a sample of view 'right', .* \(2, 7\); set in_features\['right'\]=14"):
        net({"left": inputs["left"], "right": torch.zeros(5, 2, 7)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"in_features": {}}, "in_features must name at least one view.*got {}; or name views in encoders"),
        ({"encoders": {"left": SmallCNN}}, "in_features and encoders both name the view 'left'"),
        ({"in_features": {"a": 4, "b": 0}}, "in_features must .* at least 1 number, got {'a': 4, 'b': 0}"),
        ({"hidden": (8, 0)}, r"hidden must hold widths of at least 1, got \(8, 0\)"),
        ({"embedding": 0}, "embedding must be a width of at least 1, got 0"),
        ({"fusion": "product"}, "fusion must be one of sum, concat, bilinear, got 'product'"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be a probability in \[0, 1\), got 1"),
    ],
)
def test_arguments_outside_their_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusionNet(**{"num_classes": 2, "in_features": WIDTHS, **given})


def test_one_number_for_all_views_is_refused() -> None:
    with pytest.raises(TypeError, match=r"in_features must be a dict .* got 64; write in_features={'name': numbers}"):
        FusionNet(2, 64)  # type: ignore[arg-type]


# ---- encoders of other kinds


def test_the_form_with_numbers_alone_draws_and_names_its_tensors_as_ever() -> None:
    net = FusionNet(3, WIDTHS, hidden=(8,), embedding=5, fusion="bilinear")
    torch.manual_seed(0)
    parts = {
        "encoders.0": MLP(5, 4, (8,)),
        "encoders.1": MLP(5, 6, (8,)),
        "product": LowRankProduct(2, 5),
        "head": nn.Linear(5, 3),
    }
    expected = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    assert_same(dict(net.state_dict()), expected)


def test_any_network_encodes_a_view() -> None:
    net = FusionNet(
        3,
        {"stats": 4},
        (),
        5,
        "concat",
        encoders={"sound": partial(SmallCNN, width=4), "film": partial(FrameLSTM, frame=SmallCNN)},
    )
    inputs = {"film": torch.randn(2, 3, 1, 8, 8), "stats": torch.randn(2, 4), "sound": torch.randn(2, 1, 8, 12)}
    stats, sound, film = net.encoders
    assert isinstance(stats, MLP) and isinstance(sound, SmallCNN) and isinstance(film, FrameLSTM)
    views, seen, logits = net.eval().embed_views(inputs)
    each = {"stats": stats(inputs["stats"]), "sound": sound(inputs["sound"]), "film": film(inputs["film"])}
    z = torch.cat(list(each.values()), 1).relu()
    assert_same(views, each)
    assert torch.equal(seen, z) and torch.equal(logits, net.head(z)) and torch.equal(logits, net(inputs))
    assert net.encoder_of("film") == "encoders.2" and net.embed(inputs)[0].equal(seen)
    net(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_encoders_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match="encoders must be a dict of networks by view name"):
        FusionNet(2, encoders=SmallCNN)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"encoders\['a'\] must be a Network class"):
        FusionNet(2, encoders={"a": lambda classes: SmallCNN(classes)})
    net = FusionNet(2, embedding=5, encoders={"a": partial(NarrowCNN, width=4)})
    with pytest.raises(ValueError, match=r"encoder of the view 'a' returned \(2, 4\), expected \(2, 5\)"):
        net({"a": torch.zeros(2, 1, 8, 8)})
    with pytest.raises(ValueError, match=r"a view 'a' \(encoders\), which the inputs lack; they have b"):
        net({"b": torch.zeros(2, 1, 8, 8)})


class NarrowCNN(SmallCNN):
    """Has one output too few."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(num_classes - 1, width=width)


# ---- in a run


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
@fusions
def test_a_checkpoint_rebuilds_the_network_of_a_run(fusion: Fusion, precision: Any, tmp_path: Path) -> None:
    rng, y = np.random.default_rng(0), np.arange(48) % 3
    arrays = {f"x_{name}": rng.normal(size=(48, width)) + 3 * (y[:, None] == 0) for name, width in WIDTHS.items()}
    np.savez(tmp_path / "two.npz", y=y, **arrays)
    data = Arrays(str(tmp_path / "two.npz"), noise=Symmetric(0.2, own_class=False), val_fraction=0.25, batch_size=12)
    network = partial(FusionNet, in_features=WIDTHS, hidden=(8,), embedding=6, fusion=fusion, dropout=0.2, batch_norm=True)
    method = CrossEntropy(3, network, optimizer=partial(SGD, lr=0.05))
    before = {name: parameter.clone() for name, parameter in method.networks.named_parameters()}
    fit(method, data, tmp_path, 2, precision=precision)
    trained = dict(method.networks.named_parameters())
    for name in (name for name in trained if name.endswith("weight")):  # batch normalization takes the biases away
        assert not torch.equal(before[name].to(trained[name].dtype), trained[name]), name
    again = CrossEntropy.load_from_checkpoint(tmp_path / "last.ckpt").eval()  # float32, as every new module
    method.float().eval()
    assert_same(dict(again.networks.state_dict()), dict(method.networks.state_dict()))
    inputs = views()
    assert torch.equal(again(inputs), method(inputs))
