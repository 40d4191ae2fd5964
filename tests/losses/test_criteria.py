"""What holds of every criterion, and what each refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from noisylab.cli.configuration.registry import known_classes
from noisylab.losses import (
    CORES2,
    GCE,
    GLS,
    MAE,
    RCE,
    SCE,
    ActivePassive,
    Bootstrap,
    Criterion,
    FDivergence,
    Focal,
    PeerLoss,
    TruncatedGCE,
    active_passive,
    bootstrap,
    cores2,
    cores2_weight,
    cross_entropy,
    f_divergence,
    focal,
    gce,
    gls,
    mae,
    peer_loss,
    peer_weight,
    rce,
    sce,
    truncated_gce,
)

CASES: dict[str, Criterion] = {
    "mae": MAE(),
    "mae-reduced": MAE("reduced"),
    "gce": GCE(),
    "gce-small-q": GCE(0.01),
    "truncated": TruncatedGCE(),
    "rce": RCE(),
    "sce": SCE(),
    "nce+rce": ActivePassive(),
    "nfl+mae": ActivePassive("focal", "mae"),
    "ngce+rce": ActivePassive("gce", "rce", 2.0, 0.5, q=0.4),
    "focal": Focal(),
    "gls": GLS(),
    "bootstrap-hard": Bootstrap(),
    "bootstrap-soft": Bootstrap("soft", detach=False),
    "peer": PeerLoss([2.0]),
    "cores2": CORES2([2.0]),
    **{f"f-{name}": FDivergence(name) for name in ("total_variation", "kl", "jensen_shannon", "pearson")},  # type: ignore[arg-type]
}
PRIOR = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64)


def _whole(criterion: Criterion, logits: Tensor, target: Tensor) -> Tensor:
    """All parts, with the batch's own inputs and other labels as pairs."""
    losses = criterion(logits, target) + criterion.of_prior(logits, PRIOR, 7)
    return losses + criterion.of_pairs(logits.flip(0), target.roll(1), 7)


def test_every_packaged_criterion_is_tested() -> None:
    packaged = {cls for cls in known_classes(Criterion).values() if cls.__module__.startswith("noisylab.")}
    assert packaged == {type(criterion) for criterion in CASES.values()}, "enter each packaged criterion in CASES above"


@pytest.mark.parametrize("criterion", CASES.values(), ids=CASES)
def test_gradients_agree_with_finite_differences(criterion: Criterion) -> None:
    logits, target = 2 * torch.randn(5, 4, dtype=torch.float64), torch.randint(4, (5,))
    assert torch.autograd.gradcheck(lambda z: _whole(criterion, z, target), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("criterion", CASES.values(), ids=CASES)
def test_sure_predictions_have_finite_losses_and_gradients(criterion: Criterion, dtype: torch.dtype) -> None:
    logits = torch.tensor([[6e4, -6e4, 0, 0], [-6e4, 6e4, 6e4, 0], [0, 0, 0, 20]], dtype=dtype, requires_grad=True)
    losses = _whole(criterion, logits, torch.tensor([0, 0, 3]))
    losses.sum().backward()
    assert losses.dtype == torch.float32 and bool(losses.isfinite().all())
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("criterion", CASES.values(), ids=CASES)
def test_16_bit_logits_are_taken_at_their_float32_values(criterion: Criterion, dtype: torch.dtype) -> None:
    logits, target = torch.randn(20, 4).to(dtype), torch.randint(4, (20,))
    assert torch.equal(_whole(criterion, logits, target), _whole(criterion, logits.float(), target))
    assert torch.equal(criterion.keeps(logits, target), criterion.keeps(logits.float(), target))


@pytest.mark.parametrize("criterion", CASES.values(), ids=CASES)
def test_a_batch_of_none_has_no_losses(criterion: Criterion) -> None:
    logits, target = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    assert _whole(criterion, logits, target).shape == criterion.keeps(logits, target).shape == (0,)


Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Y = torch.tensor([0, 1, 3])


@pytest.mark.parametrize(
    ("criterion", "function"),
    [
        (MAE("reduced"), lambda z, y: mae(z, y, form="reduced")),
        (GCE(0.3), lambda z, y: gce(z, y, q=0.3)),
        (TruncatedGCE(0.3, 0.2), lambda z, y: truncated_gce(z, y, q=0.3, k=0.2)),
        (RCE(), rce),
        (SCE(3.0, 0.4), lambda z, y: sce(z, y, alpha=3.0, beta=0.4)),
        (
            ActivePassive("gce", "mae", 3.0, 0.4, 0.2),
            lambda z, y: active_passive(z, y, active="gce", passive="mae", alpha=3.0, beta=0.4, q=0.2),
        ),
        (
            ActivePassive("focal", gamma=3.0),
            lambda z, y: active_passive(z, y, active="focal", gamma=3.0),
        ),
        (Focal(2.0), lambda z, y: focal(z, y, gamma=2.0)),
        (GLS(0.3), lambda z, y: gls(z, y, rate=0.3)),
        (Bootstrap(beta=0.5), lambda z, y: bootstrap(z, y, beta=0.5)),
        (Bootstrap("soft"), lambda z, y: bootstrap(z, y, kind="soft", beta=0.95)),
        (Bootstrap(), lambda z, y: bootstrap(z, y, kind="hard", beta=0.8)),
    ],
)
def test_arguments_reach_the_function(criterion: Criterion, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.testing.assert_close(criterion(Z, Y).mean(), function(Z, Y))
    assert not criterion.pairs_in(500) and not criterion.sieves_in(500) and not criterion.uses_prior


def test_peer_loss_is_the_sum_of_its_parts() -> None:
    for criterion, weight in ((PeerLoss(), peer_weight(50)), (PeerLoss([0.0, 0.7]), 0.7)):
        whole = criterion(Z, Y).mean() + criterion.of_pairs(Z[:2], Y[1:], 50).mean()
        torch.testing.assert_close(whole, peer_loss(Z, Y, Z[:2], Y[1:], weight=weight))
    assert [PeerLoss().pairs_in(epoch) for epoch in (0, 20, 21, 500)] == [False, False, True, True]
    assert [PeerLoss([1.0, 0.0]).pairs_in(epoch) for epoch in (0, 1, 2)] == [True, False, False]


def test_cores2_is_the_sum_of_its_parts() -> None:
    prior = PRIOR.float()
    for criterion, weight in ((CORES2(), cores2_weight(20)), (CORES2([3.0]), 3.0)):
        whole = (criterion(Z, Y) + criterion.of_prior(Z, prior, 20)).mean()
        torch.testing.assert_close(whole, cores2(Z, Y, prior, weight=weight))
    assert [CORES2().sieves_in(epoch) for epoch in (0, 30, 31, 99)] == [False, False, True, True]


@pytest.mark.parametrize("name", ["total_variation", "kl", "jensen_shannon", "pearson"])
def test_an_f_divergence_is_the_sum_of_its_parts(name: Any) -> None:
    criterion = FDivergence(name)
    whole = criterion(Z, Y).mean() + criterion.of_pairs(Z[:2], Y[1:], 0).mean()
    torch.testing.assert_close(whole, f_divergence(Z, Y, Z[:2], Y[1:], divergence=name))
    assert criterion.pairs_in(0)


def test_truncated_gce_keeps_what_is_likelier_than_k() -> None:
    assert TruncatedGCE(k=0.2).keeps(Z, Y).tolist() == [True, True, False]  # 0.71, 0.25 and 0.11
    assert TruncatedGCE(k=0.5).keeps(Z, Y).tolist() == [True, False, False]
    chosen = [epoch for epoch in range(71) if TruncatedGCE().scores_before(epoch)]
    assert chosen == [40, 50, 60, 70]


class Plain(Criterion):
    """A user's own: nothing but a loss."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, reduction="none")


def test_what_a_criterion_does_not_state_changes_nothing() -> None:
    plain = Plain()
    assert torch.equal(_whole(plain, Z, Y), cross_entropy(Z, Y, reduction="none"))
    assert plain.keeps(Z, Y).all() and plain.selection == "none"
    assert not (plain.pairs_in(0) or plain.sieves_in(0) or plain.scores_before(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MAE("half"), "form must be one of full, reduced, got 'half'"),  # type: ignore[arg-type]
        (lambda: GCE(0.0), r"q must be in \(0, 1\], got 0.0"),
        (lambda: GCE(1.1), "q must be"),
        (lambda: TruncatedGCE(k=1.0), "k must be a probability"),
        (lambda: TruncatedGCE(first=0), "first must be"),
        (lambda: TruncatedGCE(every=0), "every must be"),
        (lambda: SCE(-0.1), "alpha must be a number of 0 or more, got -0.1"),
        (lambda: SCE(0.0, 0.0), "both 0"),
        (lambda: ActivePassive("bce"), "active must be one of ce, focal, gce"),  # type: ignore[arg-type]
        (lambda: ActivePassive(passive="mse"), "passive must be one of rce, mae"),  # type: ignore[arg-type]
        (lambda: ActivePassive(beta=math.inf), "beta must be"),
        (lambda: Focal(-1.0), "gamma must be"),
        (lambda: GLS(1.0), "rate must be a number below 1"),
        (lambda: GLS(-math.inf), "rate must be"),
        (lambda: Bootstrap("medium"), "kind must be"),  # type: ignore[arg-type]
        (lambda: Bootstrap(beta=1.5), "beta must be a fraction"),
        (lambda: PeerLoss([]), "at least one epoch's weight"),
        (lambda: PeerLoss([1.0, -1.0]), "weights must be"),
        (lambda: CORES2(first_sieved=-1), "first_sieved must be"),
        (lambda: FDivergence("hellinger"), "divergence must be one of total_variation"),  # type: ignore[arg-type]
    ],
)
def test_arguments_out_of_range_are_refused(make: Callable[[], Criterion], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
