"""Distributions over the classes as targets: what several annotators said of a row."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor

from noisylab.checkpoints.stamp import data_stamp
from noisylab.data.notes import DataNote
from noisylab.losses import cross_entropy, smoothed, soft_cross_entropy
from noisylab.methods import ELR, CoTeaching, CrossEntropy, LinearProbe, MixMatch
from noisylab.methods.base import NoisyLabelMethod
from noisylab.noise import FromAnnotators
from noisylab.types import PlanBatch


def crowd_of(folder: Path, people: int) -> str:
    """A table in which the first annotator is right about the rows of `ToyData`, and the others are wrong now and then."""
    with (folder / "crowd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "annotator", "label"])
        writer.writerows((row, who, (row + (who > 0) * (row % (who + 2) == 0)) % 3) for row in range(40) for who in range(people))
    return str(folder / "crowd.csv")


METHODS: list[partial[NoisyLabelMethod]] = [
    partial(CrossEntropy),
    partial(CrossEntropy, label_smoothing=0.2, smoothing="others"),
    partial(CrossEntropy, label_smoothing=0.2),
    partial(CrossEntropy, mixup_alpha=1.0),
    partial(CrossEntropy, jsd_weight=2.0),
    partial(ELR),
    partial(LinearProbe),
    partial(MixMatch, lambda_u=1.0),
]


@pytest.mark.parametrize("make", METHODS, ids=str)
def test_soft_labels_that_are_certain_train_as_classes_do(make: partial[NoisyLabelMethod], tmp_path: Path) -> None:
    path, states = crowd_of(tmp_path, 1), []
    for aggregate in ("vote", "soft"):
        torch.manual_seed(0)
        method = make(3, PlainMLP)
        data = ToyData(noise=FromAnnotators(path, aggregate=aggregate), val_fraction=0.1)  # type: ignore[arg-type]
        make_trainer(tmp_path, 1, precision="64-true").fit(method, datamodule=data)
        assert (data.info.soft_target is not None) == (aggregate == "soft")
        states.append({name: value.clone() for name, value in method.networks.state_dict().items()})
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-9, msg=name)


class _Recording(CrossEntropy):
    """Keeps the batches."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches: list[PlanBatch] = []

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return super().training_step(batch, batch_idx)


def test_cross_entropy_to_the_shares_of_the_labels_is_a_plain_loop(tmp_path: Path) -> None:
    method = _Recording(num_classes=3, network=PlainMLP, optimizer=partial(torch.optim.SGD, lr=0.1))
    network = copy.deepcopy(method.networks["network"])
    path = crowd_of(tmp_path, 4)
    data = ToyData(noise=FromAnnotators(path, aggregate="soft"))
    make_trainer(tmp_path, 1).fit(method, datamodule=data)
    shares = torch.zeros(40, 3)
    for row, _, label in list(csv.reader(Path(path).read_text().splitlines()))[1:]:
        shares[int(row), int(label)] += 0.25
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for batch in method.batches:
        samples = batch["train"]
        assert torch.equal(samples.target, data.given_target[samples.index]), "a batch has the consensus"
        loss = torch.stack(
            [
                -(shares[row] * logits.log_softmax(0)).sum()
                for row, logits in zip(samples.index.tolist(), network(samples.views[0]), strict=True)
            ]
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(method.networks["network"].state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_method_that_learns_from_classes_says_that_it_uses_the_consensus(tmp_path: Path) -> None:
    data = ToyData(noise=FromAnnotators(crowd_of(tmp_path, 3), aggregate="soft"))
    method = CoTeaching(3, PlainMLP, forget_rate=0.2)
    with pytest.warns(DataNote, match="CoTeaching learns from classes alone: it uses the consensus"):
        make_trainer(tmp_path, 1).fit(method, datamodule=data)


def test_other_soft_labels_are_other_data_to_a_resumed_run(tmp_path: Path) -> None:
    data = ToyData(noise=FromAnnotators(crowd_of(tmp_path, 3), aggregate="soft"))
    data.setup()
    info = data.info
    assert info.soft_target is not None
    assert data_stamp(info) == data_stamp(replace(info, soft_target=info.soft_target.clone()))
    assert data_stamp(info) != data_stamp(replace(info, soft_target=info.soft_target.flip(1)))


def test_smoothed_soft_labels_of_one_class_are_smoothed_labels() -> None:
    logits, target = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]]), torch.tensor([2, 0])
    conventions: tuple[Literal["torch", "others"], ...] = ("torch", "others")
    for convention in conventions:
        soft = soft_cross_entropy(logits, smoothed(torch.eye(3)[target], 0.3, convention), reduction="none")
        plain = cross_entropy(logits, target, smoothing=0.3, convention=convention, reduction="none")
        torch.testing.assert_close(soft, plain)
