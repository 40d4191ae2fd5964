from __future__ import annotations

import math

import pytest
import torch

from noisylab.losses import cores2, cores2_keeps, cores2_weight

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


def _slow_difference(row: list[float], label: int) -> float:
    """What the authors' code compares with 0, summed by hand: the mean over the labels is capped, the cross-entropy is not."""
    log_total = max(row) + math.log(sum(math.exp(z - max(row)) for z in row))
    capped = [-math.log(math.exp(z - log_total) + 1e-8) for z in row]
    return log_total - row[label] - sum(capped) / len(row)


def test_a_sample_is_dropped_whose_loss_exceeds_a_mean_of_capped_terms() -> None:
    row = [0.0, -17.0, *[-20.0] * 8]
    assert _slow_difference(row, 1) == pytest.approx(17 - 16.265, abs=1e-3)
    assert sum(row) / 10 - row[1] < 0, "without the cap of 18.42 a term the sample would be kept"
    assert cores2_keeps(torch.tensor([row]), torch.tensor([1])).tolist() == [False]
    assert cores2_keeps(torch.tensor([row]), torch.tensor([0])).tolist() == [True]


@pytest.mark.parametrize("scale", [1.0, 6.0, 15.0, 60.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sieve_agrees_with_a_slow_sum(scale: float, dtype: torch.dtype) -> None:
    logits, target = (scale * torch.randn(400, 5, dtype=torch.float64)).to(dtype), torch.randint(5, (400,))
    expected = [_slow_difference(row, label) for row, label in zip(logits.tolist(), target.tolist(), strict=True)]
    clear = [abs(value) > 1e-5 for value in expected]  # the others are a matter of rounding
    kept = cores2_keeps(logits, target).tolist()
    assert [k for k, c in zip(kept, clear, strict=True) if c] == [v <= 0 for v, c in zip(expected, clear, strict=True) if c]
    assert sum(clear) > 395 and 0 < sum(kept) < 400


def test_the_cap_changes_what_sure_networks_drop_and_nothing_else() -> None:
    target = torch.randint(5, (400,))
    for scale, differ in ((2.0, False), (30.0, True)):
        logits = scale * torch.randn(400, 5, dtype=torch.float64)
        uncapped = (logits - logits.gather(1, target[:, None])).mean(1) <= 0
        assert bool((cores2_keeps(logits, target) != uncapped).any()) == differ


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_logits_are_kept_whatever_their_value(dtype: torch.dtype) -> None:
    logits = torch.tensor([0.1, -7.3, 1e3, 1 / 3], dtype=dtype)[:, None].expand(4, 7)
    assert cores2_keeps(logits, torch.tensor([0, 2, 4, 6])).all()


def test_gradients_are_those_of_the_formula() -> None:
    logits = (4 * torch.randn(12, 5, dtype=torch.float64)).requires_grad_()
    prior = torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: cores2(z, torch.arange(12) % 5, prior, weight=2.0, reduction="none"), (logits,))
    sure = torch.tensor([[0.0, -60.0, -60.0]], dtype=torch.float64, requires_grad=True)
    cores2(sure, torch.tensor([1]), prior[:3] / prior[:3].sum(), weight=2.0).backward()
    assert sure.grad is not None
    assert sure.grad[0].tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-6), "a class beyond the cap has no gradient of its own"


def test_the_prior_has_no_gradient() -> None:
    prior = PRIOR.clone().requires_grad_()
    cores2(Z.clone().requires_grad_(), torch.tensor([0, 1, 3]), prior, weight=2.0).backward()
    assert prior.grad is None


def test_weights_of_the_benchmark() -> None:
    table = [0.0] * 10 + torch.linspace(0, 2, 30, dtype=torch.float64).tolist() + [2.0] * 60
    assert [cores2_weight(epoch) for epoch in range(100)] == pytest.approx(table)
    expected = {9: 0, 11: 0.06897, 25: 1.03448, 39: 2}
    assert {epoch: round(cores2_weight(epoch), 5) for epoch in expected} == expected
