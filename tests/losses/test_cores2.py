from __future__ import annotations

import math

import pytest
import torch

from noisylab.losses import cores2, cores2_keeps, cores2_weight, cross_entropy

Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
PRIOR = torch.tensor([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 3], -2.413437), ([1, 2, 0], -1.080104)])
def test_values(labels: list[int], expected: float) -> None:
    assert float(cores2(Z, torch.tensor(labels), PRIOR, weight=2.0)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_agrees_with_a_slow_sum(scale: float) -> None:
    logits, target = scale * torch.randn(20, 4, dtype=torch.float64), torch.randint(4, (20,))
    expected, prior = [], PRIOR.double()
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        probs = [1 / sum(math.exp(other - z) for other in row) for z in row]
        mean = sum(w * -math.log(p + 1e-8) for w, p in zip(prior.tolist(), probs, strict=True))
        expected.append(-math.log(probs[label]) - 1.5 * mean)
    found = cores2(logits, target, prior, weight=1.5, reduction="none")
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("labels", "kept"), [([1, 0], [False, False]), ([0, 3], [True, True])])
def test_the_sieve_on_known_samples(labels: list[int], kept: list[bool]) -> None:
    assert cores2_keeps(Z[[0, 2]], torch.tensor(labels)).tolist() == kept


def test_the_sieve_compares_with_the_mean_loss_over_all_labels() -> None:
    logits, target = torch.randn(200, 5, dtype=torch.float64), torch.randint(5, (200,))
    own = cross_entropy(logits, target, reduction="none")
    mean = torch.stack([cross_entropy(logits, torch.full_like(target, c), reduction="none") for c in range(5)]).mean(0)
    kept = cores2_keeps(logits, target)
    assert torch.equal(kept, own <= mean) and 0 < int(kept.sum()) < 200


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_logits_are_kept_whatever_their_value(dtype: torch.dtype) -> None:
    logits = torch.tensor([0.1, -7.3, 1e3, 1 / 3], dtype=dtype)[:, None].expand(4, 7)
    assert cores2_keeps(logits, torch.tensor([0, 2, 4, 6])).all()


def test_the_prior_has_no_gradient() -> None:
    prior = PRIOR.clone().requires_grad_()
    cores2(Z.clone().requires_grad_(), torch.tensor([0, 1, 3]), prior, weight=2.0).backward()
    assert prior.grad is None


def test_weights_of_the_benchmark() -> None:
    table = [0.0] * 10 + torch.linspace(0, 2, 30, dtype=torch.float64).tolist() + [2.0] * 60
    assert [cores2_weight(epoch) for epoch in range(100)] == pytest.approx(table)
    expected = {9: 0, 11: 0.06897, 25: 1.03448, 39: 2}
    assert {epoch: round(cores2_weight(epoch), 5) for epoch in expected} == expected
