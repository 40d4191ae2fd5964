from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from noisylab.losses import cross_entropy, guess_loss, mixed_loss, pi_consistency, sharp_guess, weighted_mean

LOGITS = torch.tensor([[0, 0, 1], [1, -1, 0]], dtype=torch.float64)
GUESS = torch.tensor([[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]], dtype=torch.float64)
FIRST = torch.tensor([1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "rows", "batch", "selected"),
    [
        ("mse", [0.0250618, 0.0061168], 0.0125309, 0.0250618),
        ("ce", [0.751445, 1.007606], 0.375722, 0.751445),
    ],
)
def test_masked_loss_by_hand(kind: Any, rows: list[float], batch: float, selected: float) -> None:
    losses = guess_loss(LOGITS, GUESS, kind)
    assert losses.tolist() == pytest.approx(rows, abs=1e-6)
    assert weighted_mean(losses, FIRST).item() == pytest.approx(batch, abs=1e-6)
    assert weighted_mean(losses, FIRST, "selected").item() == pytest.approx(selected, abs=1e-6)


def test_weights_between_0_and_1_count_as_parts_of_a_row() -> None:
    losses, weight = torch.tensor([3.0, 5.0, 100.0]), torch.tensor([0.25, 0.125, 0.0])
    assert weighted_mean(losses, weight).item() == pytest.approx((0.75 + 0.625) / 3)
    assert weighted_mean(losses, weight, "selected").item() == pytest.approx((0.75 + 0.625) / 0.375)
    assert weighted_mean(losses, weight, size=torch.tensor(2.0)).item() == pytest.approx((0.75 + 0.625) / 2)


@pytest.mark.parametrize("kind", ["mse", "ce"])
@pytest.mark.parametrize("normalizer", ["batch", "selected"])
@pytest.mark.parametrize("size", [None, 0.0, torch.tensor(0.0)])
def test_without_a_row_that_passes_loss_and_gradient_are_0(kind: Any, normalizer: Any, size: Any) -> None:
    logits = torch.tensor([[math.inf, 0, 0], [1, 2, 3]], requires_grad=True)
    guess = torch.tensor([[0.5, 0.5, 0], [math.nan, 0, 0]])
    loss = weighted_mean(guess_loss(logits, guess, kind), torch.zeros(2), normalizer, size)
    assert loss.item() == 0
    finite = torch.tensor([[5.0, 0, 0], [1, 2, 3]], requires_grad=True)
    weighted_mean(guess_loss(finite, GUESS.float(), kind), torch.zeros(2), normalizer, size).backward()  # type: ignore[no-untyped-call]
    assert finite.grad is not None and bool((finite.grad == 0).all())


@pytest.mark.parametrize(
    ("epoch", "literal", "convex"),
    [(0, 1.879637, 1.879637), (5, 2.464236, 1.994327), (10, 3.048835, 2.109016), (20, 4.218032, 2.338394)],
)
def test_mixed_loss_by_hand(epoch: int, literal: float, convex: float) -> None:
    losses = guess_loss(LOGITS, GUESS, "mse")
    kept, whole = weighted_mean(losses, FIRST), losses.mean()
    assert (150 * mixed_loss(kept, whole, epoch / 20)).item() == pytest.approx(literal, abs=2e-6)
    assert (150 * mixed_loss(kept, whole, epoch / 20, "convex")).item() == pytest.approx(convex, abs=2e-6)


def test_consistency_of_rows_below_the_threshold_by_hand() -> None:
    other = torch.tensor([[0, 0.5, 1], [1, 0, 0]], dtype=torch.float64, requires_grad=True)
    own = LOGITS.clone().requires_grad_()
    loss = weighted_mean(pi_consistency(own, other), 1 - FIRST)
    assert loss.item() == pytest.approx(0.003980, abs=5e-7)
    loss.backward()  # type: ignore[no-untyped-call]
    for views in (own, other):
        assert views.grad is not None and bool((views.grad[0] == 0).all()) and bool((views.grad[1] != 0).all())
    assert torch.autograd.gradcheck(pi_consistency, (own, other))


@pytest.mark.parametrize("kind", ["mse", "ce"])
def test_gradient_of_a_masked_loss(kind: Any) -> None:
    def loss(logits: Tensor) -> Tensor:
        return weighted_mean(guess_loss(logits, GUESS, kind), FIRST + 0.5, "selected")

    assert torch.autograd.gradcheck(loss, (LOGITS.clone().requires_grad_(),))


def test_a_guess_is_sharpened_by_a_temperature_to_one_class_or_not_at_all() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.45, 0.45]])
    assert sharp_guess(probs, 0.5)[0].tolist() == pytest.approx([0.657895, 0.236842, 0.105263], abs=1e-6)
    assert sharp_guess(probs, "hard").tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.equal(sharp_guess(probs, None), probs)
    assert all(sharp_guess(probs.bfloat16(), how).dtype == torch.float32 for how in (0.5, "hard", None))


def test_two_dominant_classes_pass_a_sharpened_threshold_earlier() -> None:
    for averaged, sharpened in ((2 / 3, 0.8), (0.75, 0.9)):
        assert sharp_guess(torch.tensor([[averaged, 1 - averaged]]), 0.5).amax().item() == pytest.approx(sharpened)


def test_loss_of_a_rotation_head_by_hand() -> None:
    logits = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]])
    assert cross_entropy(logits, torch.tensor([0, 3])).item() == pytest.approx(1.542211, abs=1e-6)
