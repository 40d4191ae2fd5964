"""Each policy over several steps against a loop over rows written apart: weights agree, and so must what is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import plain_loops as loops
import pytest
import torch

from noisylab.selection import (
    AdaMatchThreshold,
    DashThreshold,
    FlexMatchThreshold,
    FreeMatchThreshold,
    LabeledThreshold,
    PercentileThreshold,
    SCRThreshold,
    SCSThreshold,
    SoftMatchThreshold,
    ThresholdPolicy,
)

_K, _U = 4, 12
_ACCURACIES = [0.0, 0.29, 0.57, 0.6, 0.83, 1.0]

_PAIRS: dict[str, tuple[Callable[[], ThresholdPolicy], Callable[[], Callable[..., list[float]]]]] = {
    "flexmatch": (lambda: FlexMatchThreshold(_K, 0.6), lambda: loops.flexmatch(_K, _U, 0.6)),
    "flexmatch, no warm-up": (lambda: FlexMatchThreshold(_K, 0.6, warmup=False), lambda: loops.flexmatch(_K, _U, 0.6, False)),
    "freematch": (lambda: FreeMatchThreshold(_K, 0.6), lambda: loops.freematch(_K, 0.6)),
    "freematch, quantile": (lambda: FreeMatchThreshold(_K, 0.6, 0.8, True), lambda: loops.freematch(_K, 0.6, 0.8, True)),
    "softmatch": (lambda: SoftMatchThreshold(_K, momentum=0.6), lambda: loops.softmatch(_K, 0.6)),
    "softmatch, unaligned": (
        lambda: SoftMatchThreshold(_K, 1.5, 0.6, aligned=False),
        lambda: loops.softmatch(_K, 0.6, 1.5, aligned=False),
    ),
    "softmatch, per class": (
        lambda: SoftMatchThreshold(_K, momentum=0.6, per_class=True),
        lambda: loops.softmatch(_K, 0.6, per_class=True),
    ),
    "dash": (lambda: DashThreshold(_K, rho=1.0, warmup_epochs=0, interval=1, gamma=1.27), lambda: loops.dash(1.0, 1)),
    "dash, hard": (
        lambda: DashThreshold(_K, rho=0.01, rho_min=0.3, warmup_epochs=0),
        lambda: loops.dash(0.01, 10, 0.3),
    ),
    "adamatch": (lambda: AdaMatchThreshold(_K, momentum=0.6), lambda: loops.adamatch(_K, 0.6)),
    "labeled, mean": (lambda: LabeledThreshold(_K), lambda: loops.labeled_rule(None)),
    "labeled, quantile": (lambda: LabeledThreshold(_K, 0.3), lambda: loops.labeled_rule(0.3)),
    "percentile": (lambda: PercentileThreshold(_K), lambda: loops.percentile(_ACCURACIES)),
    "percentile, factor": (lambda: PercentileThreshold(_K, factor=1.5), lambda: loops.percentile(_ACCURACIES, 1.5)),
}


@pytest.mark.parametrize("name", _PAIRS)
@pytest.mark.parametrize("size", [1, 2, 16])
def test_weights_are_those_of_a_loop_over_rows(name: str, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    policy, loop = _PAIRS[name][0](), _PAIRS[name][1]()
    policy.allocate(_U)
    seen: set[float] = set()
    for step, accuracy in enumerate(_ACCURACIES):
        logits = 3 * torch.randn(size, _K, generator=generator)
        labeled = (2 * torch.randn(5, _K, generator=generator)).softmax(1)
        target = labeled.argmax(1) if step % 2 else torch.randint(_K, (5,), generator=generator)
        index = torch.randint(_U, (size,), generator=generator)
        probs = logits.softmax(1)
        policy.begin_epoch(step, acc_train=torch.tensor(accuracy))
        found = policy(probs, index, step, labeled, target, logits)
        rows: dict[str, Any] = {"logits": logits.tolist(), "labeled": labeled.tolist(), "target": target.tolist()}
        wanted = loop(probs.tolist(), index=index.tolist(), epoch=step, **rows)
        assert found.weight.tolist() == pytest.approx(wanted, abs=2e-5), f"step {step}"
        assert found.probs.shape == probs.shape and found.weight.dtype == torch.float32
        seen |= set(wanted)
    assert size < 16 or len(seen) > 1, "the check would pass with one weight for all"


def test_the_rules_of_sed_are_those_of_a_loop_over_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    select, weigh, loop = SCSThreshold(_K, 0.7), SCRThreshold(_K, 0.7), loops.scs(_K, 0.7)
    mu, var = [1 / _K] * _K, [1.0] * _K
    for _ in range(3):
        probs = (2 * torch.randn(40, _K, generator=generator) + torch.tensor([1.0, 0, 0, -9])).softmax(1)
        given = torch.randint(_K, (40,), generator=generator)
        assert select.end_epoch(probs, given).tolist() == loop(probs.tolist(), given.tolist())
        best = [loops.largest(row) for row in probs.tolist()]
        for k in range(_K):
            own = [confidence for confidence, found in best if found == k]
            several = len(own) > 1
            mu[k] = 0.7 * mu[k] + 0.3 * (loops.mean(own) if several else 0)
            var[k] = 0.7 * var[k] + 0.3 * (loops.variance(own) if several else 1)
        wanted = [math.exp(-(min(c - mu[k], 0) ** 2) * 4 / (2 * var[k])) for c, k in best]
        assert weigh.end_epoch(probs).tolist() == pytest.approx(wanted, abs=1e-5)
