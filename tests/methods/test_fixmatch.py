from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.semi import Shown, alone, record, step_of
from helpers.toy import BatchNormMLP, PlainMLP
from torch import Tensor

from noisylab.methods import FixMatch
from noisylab.schedules import CosineDecay
from noisylab.selection.thresholds import AdaMatchThreshold, FixedThreshold, FlexMatchThreshold, FreeMatchThreshold
from noisylab.types import PlanBatch

# ---- whole epochs against a loop written apart


class _Plain:
    """FixMatch as its ports write it, row by row: a threshold of its own for each class, by `rule`."""

    def __init__(self, network: Any, total: int, rule: Any, fairness: float = 0.0) -> None:
        self.network, self.average = network, copy.deepcopy(network)
        named = list(network.named_parameters())
        groups = [
            {"params": [p for n, p in named if "weight" in n and p.ndim == 2]},
            {"params": [p for n, p in named if not ("weight" in n and p.ndim == 2)], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
        self.total, self.rule, self.fairness, self.done, self.kept = total, rule, fairness, 0, 0

    def step(self, batch: PlanBatch) -> None:
        x, (weak, strong) = batch["labeled"], batch["unlabeled"].views
        z = self.network(torch.cat([x.views[0], weak, strong]))  # type: ignore[list-item]
        z_x, z_w, z_s = z.split([len(x), len(weak), len(weak)])
        loss = F.cross_entropy(z_x, x.target)
        probs = z_w.detach().float().softmax(1)
        keep = self.rule(probs, [int(row) for row in batch["unlabeled"].index])
        for i, wanted in enumerate(keep):
            if wanted:
                loss = loss - z_s[i].log_softmax(0)[int(probs[i].argmax())] / len(keep)
        self.kept += sum(keep)
        if self.fairness and any(keep):
            loss = loss + self.fairness * self.rule.unfair(z_s[torch.tensor(keep)].softmax(1))
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = 0.03 * max(0.0, math.cos(7 * math.pi * self.done / (16 * self.total)))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.done += 1
        with torch.no_grad():
            for mine, other in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mine.copy_(0.999 * mine + 0.001 * other)
            for mine, other in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mine.copy_(other)


def _fixed(probs: Tensor, rows: list[int]) -> list[bool]:
    return [max(p) >= 0.6 for p in probs.tolist()]


class _Flex:
    def __init__(self, unlabeled: list[int]) -> None:
        self.selected = dict.fromkeys(unlabeled, -1)
        self.beta = [0.0] * 3

    def __call__(self, probs: Tensor, rows: list[int]) -> list[bool]:
        keep, beta = [], self.beta
        for p in probs.tolist():
            k = p.index(max(p))
            keep.append(max(p) >= 0.45 * beta[k] / (2 - beta[k]))
        for p, row in zip(probs.tolist(), rows, strict=True):
            if max(p) >= 0.45:
                self.selected[row] = p.index(max(p))
        found = list(self.selected.values())
        counts = [found.count(k) for k in range(3)]
        self.beta = [n / max(*counts, found.count(-1)) for n in counts]
        return keep


class _Free:
    def __init__(self, _: list[int]) -> None:
        self.t, self.p, self.h = 1 / 3, torch.full((3,), 1 / 3), torch.full((3,), 1 / 3)

    def __call__(self, probs: Tensor, rows: list[int]) -> list[bool]:
        self.t = 0.9 * self.t + 0.1 * sum(max(p) for p in probs.tolist()) / len(probs)
        self.p = 0.9 * self.p + 0.1 * probs.mean(0)
        self.h = 0.9 * self.h + 0.1 * torch.bincount(probs.argmax(1), minlength=3) / len(probs)
        return [max(p) >= self.t * float(self.p[p.index(max(p))] / self.p.max()) for p in probs.tolist()]

    def unfair(self, strong: Tensor) -> Tensor:
        shares = torch.bincount(strong.argmax(1), minlength=3) / len(strong)
        a = self.p / self.h
        b = strong.mean(0) * torch.tensor([1 / share if share else 0.0 for share in shares.tolist()])
        return ((a / a.sum()) * (b / b.sum() + 1e-12).log()).sum()


@pytest.mark.parametrize(
    ("policy", "rule", "fairness"),
    [
        (partial(FixedThreshold, threshold=0.6), lambda rows: _fixed, 0.0),
        (partial(FlexMatchThreshold, threshold=0.45), _Flex, 0.0),
        (partial(FreeMatchThreshold, momentum=0.9), _Free, 0.3),
    ],
)
def test_whole_epochs_are_those_of_a_plain_loop(policy: Any, rule: Any, fairness: float, tmp_path: Path) -> None:
    torch.manual_seed(1)
    method = FixMatch(3, BatchNormMLP, policy=policy, fairness_weight=fairness, scheduler=CosineDecay, ratio=2.0)
    steps = record(method, tmp_path)
    assert len(steps.batches) == 2 * math.ceil(15 / 4) == method.run_length
    plain = _Plain(steps.network, 8, rule(method.unlabeled_rows().tolist()), fairness)
    for batch, state, average in zip(steps.batches, steps.states, steps.averages, strict=True):
        plain.step(batch)
        for found, expected in ((plain.network, state), (plain.average, average)):
            for key, value in found.state_dict().items():
                torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-9 if fairness else 1e-12)
    assert 0 < plain.kept < 64


# ---- numbers


def _step(method: FixMatch, z: list[list[float]], weak: list[list[float]], strong: list[list[float]]) -> tuple[Tensor, Any]:
    alone(method, len(z), len(weak))
    batch = step_of((torch.tensor(z),), torch.zeros(len(z), dtype=torch.int64), (torch.tensor(weak), torch.tensor(strong)))
    loss = method.objective(batch)
    return loss, method.means.compute()


def test_a_step_by_hand() -> None:
    weak, strong = [[4.0, 0, 0], [1, 0, 0], [0, 6, 0]], [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    method = FixMatch(3, Shown)
    loss, found = _step(method, [[2.0, 0, 0]], weak, strong)
    assert method.memory["unlabeled_weight"].tolist() == [0, 1, 0, 1]
    assert method.memory["unlabeled_pred"].tolist() == [-1, 0, 0, 1]
    assert found["train/labeled_loss"] == pytest.approx(0.239545, abs=1e-6)
    assert found["unlabeled/loss"] == pytest.approx(0.700963, abs=1e-6)
    assert found["unlabeled/confidence"] == pytest.approx((0.964663 + 0.576117 + 0.995067) / 3, abs=1e-6)
    assert found["unlabeled/used"] == pytest.approx(2 / 3) and found["unlabeled/threshold"] == pytest.approx(0.95)
    assert loss.item() == pytest.approx(0.239545 + 0.700963, abs=1e-6)
    _, found = _step(FixMatch(3, Shown, normalizer="selected", lambda_u=2.0), [[2.0, 0, 0]], weak, strong)
    assert found["unlabeled/loss"] == pytest.approx(0.700963 * 3 / 2, abs=1e-5)
    assert found["unlabeled/weighted_loss"] == pytest.approx(0.700963 * 3, abs=1e-5)


@pytest.mark.parametrize("normalizer", ["batch", "selected"])
def test_where_no_row_passes_the_unlabeled_loss_is_zero(normalizer: Any) -> None:
    method = FixMatch(3, Shown, normalizer=normalizer, policy=FreeMatchThreshold, fairness_weight=1.0)
    method.policy.put("confidence", torch.tensor(2000.0))  # type: ignore[operator]
    _, found = _step(method, [[2.0, 0, 0]], [[1.0, 0, 0]] * 2, [[float("inf"), 0, 0]] * 2)
    assert found["unlabeled/loss"] == 0 and found["unlabeled/used"] == 0 and found["train/fairness_loss"] == 0
    loss, _ = _step(method, [[2.0, 0, 0]], [[1.0, 0, 0]] * 2, [[1.0, 0, 0]] * 2)
    (slope,) = torch.autograd.grad(loss, [method.network.factor])  # type: ignore[list-item]
    assert bool(slope.isfinite())


def test_the_interleaving_of_the_port_changes_nothing_in_one_pass() -> None:
    def interleave(x: Tensor, size: int) -> Tensor:
        return x.reshape(-1, size, *x.shape[1:]).transpose(0, 1).flatten(0, 1)

    assert interleave(torch.arange(10), 5).tolist() == [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]
    network, x = BatchNormMLP(3).double(), torch.randn(10, 2, dtype=torch.float64)
    other = copy.deepcopy(network)
    torch.testing.assert_close(interleave(other(interleave(x, 5)), 2), network(x), rtol=0, atol=1e-12)
    for mine, theirs in zip(network.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_aligned_and_soft_pseudo_labels() -> None:
    p = torch.tensor([[0.97, 0.02, 0.01], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]])
    strong = [[1.0, 0.5, 0.0]] * 4
    method = FixMatch(3, Shown, policy=AdaMatchThreshold, labels="soft", temperature=0.5)
    _, found = _step(method, [[2.0, 0, 0]], p.log().tolist(), strong)
    policy = AdaMatchThreshold(3)
    expected = policy(p, torch.arange(4), 0, torch.tensor([[2.0, 0, 0]]).softmax(1), torch.tensor([0]))
    sharp = expected.probs**2 / (expected.probs**2).sum(1, keepdim=True)
    losses = -(sharp * torch.tensor(strong).log_softmax(1)).sum(1)
    assert found["unlabeled/loss"] == pytest.approx(float((expected.weight * losses).mean()), abs=1e-6)


def test_the_fairness_term_needs_its_policy() -> None:
    with pytest.raises(ValueError, match=r"fairness_weight=0\.01 .*FixedThreshold; set policy to FreeMatchThreshold"):
        FixMatch(3, PlainMLP, fairness_weight=0.01)
