from __future__ import annotations

import copy
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import ToyData, make_trainer
from helpers.toy import BatchNormMLP
from torch import Tensor

from noisylab.methods import MixMatch, mixmatch
from noisylab.selection.thresholds import FixedThreshold
from noisylab.types import PlanBatch

_LAM = 0.3
_ADAM = partial(torch.optim.Adam, lr=0.01)


def _method(network: Any = BatchNormMLP, **kwargs: Any) -> MixMatch:
    torch.manual_seed(3)
    return MixMatch(3, network, **{"lambda_u": 20.0, "rampup_steps": 6, "optimizer": _ADAM, "ema_decay": 0.9, **kwargs})


class _Record(L.Callback):
    """Every batch, and the state of the network and its average after its step."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.after: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, MixMatch)
        average = pl_module.average("network").network
        self.after.append({k: v.clone() for k, v in (*_named(pl_module.network), *_named(average, "average."))})


def _named(network: Any, prefix: str = "") -> list[tuple[str, Tensor]]:
    return [(prefix + name, value) for name, value in network.state_dict().items()]


def _fit(method: MixMatch, folder: Path, epochs: int = 2, data: Any = None, **kwargs: Any) -> _Record:
    record = _Record()
    data = data or ToyData(num_train=45, spread=1.5)
    make_trainer(folder, epochs, (record,), **{"precision": "64-true", **kwargs}).fit(method, datamodule=data)
    return record


# ---- an independent slow reference, row by row


def _sharp(p: list[float], temperature: Any) -> list[float]:
    if temperature == "hard":
        return [float(c == p.index(max(p))) for c in range(len(p))]
    if temperature is None:
        return p
    powers = [value ** (1 / temperature) for value in p]
    return [value / sum(powers) for value in powers]


def _swapped(rows: list[Any], size: int) -> list[Any]:
    """The authors' interleaving; what is left over stays."""
    rows, chunks = list(rows), len(rows) // size
    sizes = [size // chunks] * chunks
    for place in range(size - sum(sizes)):
        sizes[-place - 1] += 1
    for chunk in range(1, chunks):
        start = sum(sizes[:chunk])
        for row in range(start, start + sizes[chunk]):
            rows[row], rows[chunk * size + row] = rows[chunk * size + row], rows[row]
    return rows


class _Reference:
    """The algorithm, given the batches; the permutation is all rows in reverse order, lam is 0.7."""

    def __init__(self, method: MixMatch, **given: Any) -> None:
        self.net = copy.deepcopy(method.network).double()
        self.average = copy.deepcopy(self.net)
        self.opt = _ADAM(self.net.parameters())
        self.lambda_u, self.ramp, self.temperature, self.threshold = 20.0, 6, 0.5, 0.0
        self.criterion, self.mask_on, self.passes, self.decay = "mse", "before", "interleaved", 4e-5
        self.mixed: str | None = None
        self.kept: dict[str, Tensor] = {}
        self.switch: int | None = None
        self.consistency, self.normalizer, self.views = 0.0, "batch", 2
        for name, value in given.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def step(self, batch: PlanBatch) -> None:
        self.net.train()
        self.opt.zero_grad()
        self._loss(batch).backward()  # type: ignore[no-untyped-call]
        self.opt.step()
        self.net.load_state_dict(self.kept, strict=False)
        with torch.no_grad():
            for mine, other in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                mine.copy_(0.9 * mine + 0.1 * other if mine.is_floating_point() else other)
                if other.is_floating_point():
                    other.mul_(1 - self.decay)

    def _loss(self, batch: PlanBatch) -> Tensor:
        x, u = batch["labeled"], batch["unlabeled"]
        with torch.no_grad():
            probs = [self.net(view).softmax(1) for view in u.views[: self.views]]
        rows: list[Any] = list(x.views[0])
        targets = [[float(c == int(y)) for c in range(3)] for y in x.target]
        passed = [True] * len(x)
        for view in u.views[-self.views :]:
            for i in range(len(u)):
                p = [float(sum(q[i, c] for q in probs)) / self.views for c in range(3)]
                rows.append(view[i])  # type: ignore[index]
                targets.append(_sharp(p, self.temperature))
                passed.append(max(p) >= self.threshold)
        if self.mask_on == "before":
            partner = {}
            for side in (True, False):
                places = [i for i, ok in enumerate(passed) if ok == side]
                partner |= dict(zip(places, reversed(places), strict=True))
        else:
            partner = {i: len(rows) - 1 - i for i in range(len(rows))}
        lam = 1 - _LAM
        mixed = [lam * rows[i] + (1 - lam) * rows[partner[i]] for i in range(len(rows))]
        logits = self._forward(mixed, len(x), len(u))
        ramp = min((batch.epoch * batch.steps + batch.step) / self.ramp, 1)
        switched = self.switch is not None and batch.epoch >= self.switch
        kept, every, weights, labeled = [], [], 0.0, []
        for i, z in enumerate(logits):
            own, other = targets[i], targets[partner[i]]
            mask_own, mask_other = (passed[i], passed[partner[i]]) if self.mask_on == "components" else (True, True)
            target = [mask_own * lam * a + mask_other * (1 - lam) * b for a, b in zip(own, other, strict=True)]
            ce = -sum(t * z.log_softmax(0)[c] for c, t in enumerate(target))
            mse = sum((z.softmax(0)[c] - t) ** 2 for c, t in enumerate(target)) / 3
            if i < len(x):
                labeled.append(ce)
                continue
            loss = ce if switched or self.criterion == "ce" else mse
            weight = float(passed[i] or self.mask_on == "components")
            kept.append(weight * loss)
            every.append(loss)
            weights += weight
        size = len(every) if self.normalizer == "batch" else max(weights, 1e-300)
        masked, whole = sum(kept) / size, sum(every) / len(every)
        factor = 1.0 if switched else self.lambda_u
        if self.mixed == "literal":
            part = factor * masked + factor * ramp * whole
        elif self.mixed == "convex":
            part = factor * ((1 - ramp) * masked + ramp * whole)
        else:
            part = factor * ramp * masked
        loss = sum(labeled) / len(labeled) + part
        if self.consistency:
            first, second = self.net(torch.cat(u.views[:2])).softmax(1).split(len(u))  # type: ignore[arg-type]
            apart = [((first[i] - second[i]) ** 2).mean() for i in range(len(u)) if not passed[len(x) + i]]
            loss = loss + self.consistency * ramp * sum(apart) / len(u)
        assert isinstance(loss, Tensor)
        return loss

    def _forward(self, rows: list[Tensor], labeled: int, unlabeled: int) -> list[Tensor]:
        if self.passes == "joint":
            return list(self.net(torch.stack(rows)))
        if self.passes == "interleaved":
            chunks = len(rows) // labeled
            bounds = [labeled * c for c in range(chunks)] + [len(rows)]
            swapped = _swapped(rows, labeled)
            found = [z for a, b in pairwise(bounds) for z in self.net(torch.stack(swapped[a:b]))]
            return _swapped(found, labeled)
        found = list(self.net(torch.stack(rows[:labeled])))
        buffers = {name: value.clone() for name, value in self.net.named_buffers()}
        for start in range(labeled, len(rows), unlabeled):
            found += list(self.net(torch.stack(rows[start : start + unlabeled])))
        if self.passes == "labeled":  # once gradients are taken
            self.kept = buffers
        return found


@pytest.fixture
def fixed_mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.randperm
    monkeypatch.setattr(mixmatch, "mix_weight", lambda alpha: _LAM)

    def reverse(n: int, *, generator: Any = None, device: Any = None) -> Tensor:
        return torch.arange(n, device=device).flip(0) if generator is None else real(n, generator=generator)

    monkeypatch.setattr(torch, "randperm", reverse)


_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "reference": ({}, {}),
    "filtered before mixing": (
        {"threshold": 0.5, "criterion": "ce", "passes": "joint", "temperature": None, "normalizer": "selected"},
        {"ratio": 2.5},
    ),
    "mixed by the larger component": (
        {"threshold": 0.6, "mask_on": "dominant", "mixed": "literal", "temperature": "hard"},
        {"ratio": 0.75},
    ),
    "mixed, convex": ({"threshold": 0.6, "mixed": "convex", "decay": 0.0}, {"ratio": 1.6, "state_decay": 0.0}),
    "components": ({"threshold": 0.5, "criterion": "ce", "mask_on": "components", "passes": "labeled"}, {}),
    "consistency, then cross-entropy": (
        {"threshold": 0.5, "consistency": 30.0, "switch": 1, "passes": "separate"},
        {"below": "consistency", "consistency_weight": 30.0},
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_training_follows_the_algorithm(case: str, fixed_mixing: None, tmp_path: Path) -> None:
    both, own = _CASES[case]
    names = {"threshold": None, "consistency": None, "switch": "switch_epoch", "decay": None}
    given = {names.get(name, name): value for name, value in both.items()}
    if "threshold" in both:
        given["policy"] = partial(FixedThreshold, threshold=both["threshold"])
    method = _method(**{name: value for name, value in given.items() if name}, **own)
    reference = _Reference(method, **both)
    record = _fit(method, tmp_path)
    assert {batch.epoch for batch in record.batches} == {0, 1}
    weights = method.memory["unlabeled_weight"][method.memory["unlabeled_epoch"] >= 0]
    assert "threshold" not in both or 0 < int(weights.sum()) < len(weights), "some rows pass and some do not"
    for number, batch in enumerate(record.batches):
        reference.step(batch)
        for key, value in (*_named(reference.net), *_named(reference.average, "average.")):
            torch.testing.assert_close(record.after[number][key], value, rtol=1e-6, atol=1e-6, msg=f"{number} {key}")
