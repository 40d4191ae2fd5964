"""Sums over the epochs of what training shows of every label. Resumes and ranks compare all memory fields in their own tests."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import PACKAGED, DropoutMLP, ToyData, fit, make_trainer
from helpers.read_backs import ReadBacks
from torch import Tensor

from noisylab.memory import SampleMemory
from noisylab.memory.label_signals import add_signals, declare_signals, label_signals
from noisylab.methods import NoisyLabelMethod
from noisylab.noise import Symmetric


def _memory(rows: int, classes: int) -> SampleMemory:
    memory = SampleMemory()
    declare_signals(memory, classes)
    memory.allocate(rows)
    return memory


def _add(memory: SampleMemory, index: Tensor, logits: Tensor, target: Tensor, peer: Tensor | None = None) -> None:
    add_signals(memory, index, logits, target, F.cross_entropy(logits, target, reduction="none"), peer)


class _Loop:
    """The means of one row after the other, in plain Python."""

    def __init__(self) -> None:
        self.seen: dict[int, list[list[float]]] = defaultdict(list)

    def add(self, row: int, logits: list[float], given: int, peer: list[float]) -> None:
        weights = [math.exp(z) for z in logits]
        probs = [w / sum(weights) for w in weights]
        margin = probs[given] - max(p for c, p in enumerate(probs) if c != given)
        agrees = float(logits.index(max(logits)) == peer.index(max(peer)))
        self.seen[row].append([-math.log(probs[given]), margin, agrees, *probs])

    def means(self, row: int) -> tuple[float, float, float, list[float]]:
        loss, margin, agreement, *probs = (sum(parts) / len(parts) for parts in zip(*self.seen[row], strict=True))
        return loss, margin, agreement, probs


@pytest.mark.parametrize("two_networks", [True, False])
def test_means_are_those_of_a_plain_loop_over_rows_and_epochs(two_networks: bool) -> None:
    rows, classes = 9, 4
    memory, loop, given = _memory(rows, classes), _Loop(), torch.arange(rows) % classes
    for epoch in range(4):
        order = [row for row in torch.randperm(rows).tolist() if row != 8 and (row, epoch) != (5, 1)]  # 8 never, 5 not always
        for part in (order[:3], order[3:]):
            index, logits, peer = torch.tensor(part), 2 * torch.randn(len(part), classes), torch.randn(len(part), classes)
            peer[0] = logits[0]  # some agree
            _add(memory, index, logits, given[index], peer if two_networks else None)
            for row, own, other in zip(part, logits.tolist(), peer.tolist(), strict=True):
                loop.add(row, own, int(given[row]), other)
    found = label_signals(memory)
    assert found.epochs.tolist() == [4, 4, 4, 4, 4, 3, 4, 4, 0]
    agreements = set()
    for row in range(8):
        loss, margin, agreement, probs = loop.means(row)
        assert float(found.loss[row]) == pytest.approx(loss, abs=1e-5)
        assert float(found.margin[row]) == pytest.approx(margin, abs=1e-5)
        assert found.probs[row].tolist() == pytest.approx(probs, abs=1e-6)
        if two_networks:
            assert float(found.agreement[row]) == pytest.approx(agreement)
            agreements.add(agreement)
        else:
            assert math.isnan(float(found.agreement[row]))
    assert not two_networks or len(agreements) > 2, "the shares must differ for this test to say something"


def test_rows_never_seen_have_no_signals() -> None:
    memory = _memory(3, 2)
    _add(memory, torch.tensor([1]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    found = label_signals(memory)
    assert found.epochs.tolist() == [0, 1, 0]
    for values in (found.loss, found.margin, found.agreement, found.probs[:, 0], found.probs[:, 1]):
        assert values.isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("peer", [None, torch.zeros(2, 3)])
def test_nothing_is_read_back(peer: Tensor | None) -> None:
    memory, logits, target = _memory(4, 3), torch.randn(2, 3), torch.tensor([2, 0])
    losses = F.cross_entropy(logits, target, reduction="none")
    with ReadBacks() as mode:
        add_signals(memory, torch.tensor([3, 1]), logits, target, losses, peer)
    assert mode.calls > 5 and not mode.found


def _watched(name: str, folder: Path, epochs: int) -> tuple[NoisyLabelMethod, dict[int, list[tuple[Tensor, Any]]], ToyData]:
    """A run, and (logits, whether a peer agreed) of each time that a row was observed."""
    method, data = PACKAGED[name](DropoutMLP), ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)
    original, seen = method.observe, defaultdict(list)

    def observe(index: Tensor, logits: Tensor, target: Tensor, peer_logits: Tensor | None = None) -> Tensor:
        for place, row in enumerate(index.tolist()):
            agreed = None if peer_logits is None else bool(logits[place].argmax() == peer_logits[place].argmax())
            seen[row].append((logits[place].detach().clone(), agreed))
        return original(index, logits, target, peer_logits)

    method.observe = observe  # type: ignore[method-assign]
    make_trainer(folder, epochs).fit(method, datamodule=data)
    return method, seen, data


@pytest.mark.parametrize("name", ["robustloss", "act", "dividemix", "coteaching", "iegdividemix"])
def test_a_run_adds_up_what_its_steps_observed_of_the_training_rows(name: str, tmp_path: Path) -> None:
    epochs = 1 if name == "iegdividemix" else 3  # its steps are slow
    method, seen, data = _watched(name, tmp_path, epochs)
    found, rows = label_signals(method.memory), data.info.train_rows.tolist()
    assert found.epochs.tolist() == [float(len(seen[row])) for row in range(29)]
    counts = [len(seen[row]) for row in rows]
    # unlabeled samples of DivideMix come as often as there are labeled ones to go with
    assert min(counts) >= 1 if name == "dividemix" else counts == [epochs] * len(rows)
    assert not any(seen[row] for row in set(range(29)) - set(rows)), "held-out and trusted rows"
    torch.testing.assert_close(found.probs[rows].sum(1), torch.ones(len(rows)), rtol=0, atol=1e-5)
    for row in rows:
        logits = torch.stack([entry[0] for entry in seen[row]])
        torch.testing.assert_close(found.probs[row], logits.softmax(1).mean(0), rtol=0, atol=1e-5)
        agreed = [entry[1] for entry in seen[row]]
        two = name not in ("robustloss", "dividemix")  # of DivideMix the other network is not in train mode
        assert [value is not None for value in agreed] == [two] * len(agreed)
        assert found.agreement[row].item() == pytest.approx(sum(agreed) / len(agreed) if two else math.nan, nan_ok=True)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_tables_are_float32_whatever_the_precision(precision: str, tmp_path: Path) -> None:
    method, data = PACKAGED["act"](DropoutMLP), ToyData(noise=Symmetric(0.4))
    fit(method, data, tmp_path, 3, precision=precision)
    assert next(method.networks.parameters()).dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
    found = label_signals(method.memory)
    assert {values.dtype for values in (found.epochs, found.loss, found.probs)} == {torch.float32}
    torch.testing.assert_close(found.probs.sum(1), torch.ones(40), rtol=0, atol=1e-6)  # bfloat16 would be off by 1e-3
