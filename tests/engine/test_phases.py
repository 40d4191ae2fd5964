"""Dummy methods against plain loops over the rows they were handed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from helpers import PhasedDummy, PlainMLP, SideStreamDummy, StagedDummy, ToyData, make_trainer

from noisylab.methods import NoisyLabelMethod
from noisylab.noise import Symmetric


def _train(method: NoisyLabelMethod, folder: Path, epochs: int) -> tuple[NoisyLabelMethod, ToyData]:
    """Train on unchanged inputs; returns the untrained method, too."""
    untrained = copy.deepcopy(method)
    data = ToyData(num_train=34, noise=Symmetric(0.4), val_fraction=0.15)
    make_trainer(folder, epochs).fit(method, datamodule=data)
    return untrained, data


def _assert_close(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-5, msg=name)


def test_phases_train_one_network_after_the_other_on_the_rows_of_the_scoring_pass(tmp_path: Path) -> None:
    method = PhasedDummy(3, PlainMLP, view="plain")
    untrained, data = _train(method, tmp_path, 3)
    x, y = data.source.train.values, data.given_target  # type: ignore[union-attr]
    train = data.info.train_rows
    networks = dict(untrained.networks.items())
    optimizers = {name: torch.optim.SGD(net.parameters(), 0.05, momentum=0.9) for name, net in networks.items()}
    visits = torch.zeros(34, dtype=torch.int32)
    lengths: list[int] = []
    for epoch in range(3):
        with torch.no_grad():
            losses = F.cross_entropy(networks["first"](x[train]), y[train], reduction="none")
        inside = train[losses.argsort(stable=True)[: 12 + 9 * epoch]]
        outside = {int(row) for row in train} - {int(row) for row in inside}
        steps = [entry for entry in method.seen if entry[0] == epoch]
        lengths.append(len(steps))
        assert [entry[1] for entry in steps] == list(range(len(steps)))
        for phase in ("first", "second"):
            rows = [row for entry in steps if entry[2] == phase for row in entry[3]["clean"]]
            assert sorted(rows) == sorted(inside.tolist()), "each row once a phase"
        assert [entry[2] for entry in steps] == sorted(entry[2] for entry in steps), "first, then second"
        for _, _, phase, rows in steps:
            clean = torch.tensor(rows["clean"])
            loss = F.cross_entropy(networks[phase](x[clean]), y[clean])
            if phase == "first" and outside:
                assert len(rows["noisy"]) == 8 and set(rows["noisy"]) <= outside, "endless streams give whole batches"
                noisy = torch.tensor(rows["noisy"])
                loss = loss + 0.1 * F.cross_entropy(networks[phase](x[noisy]), y[noisy])
            optimizers[phase].zero_grad()
            loss.backward()
            optimizers[phase].step()
            visits[clean] += 1
    assert lengths == [2 + 3, 3 + 5, 4 + 7], "no epoch is cut to the length of the first"
    _assert_close(method.networks, untrained.networks)
    assert torch.equal(method.memory["visits"], visits)


def test_stages_hand_the_network_from_one_optimizer_to_the_next(tmp_path: Path) -> None:
    method = StagedDummy(3, PlainMLP, view="plain")
    untrained, data = _train(method, tmp_path, 4)
    x, y = data.source.train.values, data.given_target  # type: ignore[union-attr]
    network: Any = untrained.networks["network"]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(network.parameters(), 0.05, momentum=0.9),
        torch.optim.Adam(network.parameters(), 0.005 * 0.9),
        torch.optim.SGD(network.head.parameters(), 0.05 * 0.9**2),
    ]
    lengths = []
    for epoch in range(4):
        stage = min(epoch, 2)
        steps = [entry for entry in method.seen if entry[0] == epoch]
        lengths.append(len(steps))
        if epoch == 3:
            optimizers[2].param_groups[0]["lr"] = 0.05 * 0.9**3
        for _, _, _, rows in steps:
            index = torch.tensor(rows["train"])
            network.zero_grad()
            F.cross_entropy(network(x[index]), y[index]).backward()
            optimizers[stage].step()
    assert lengths == [4, 6, 2, 2], "29 rows in batches of 8, 5, 16 and 16"
    _assert_close(method.networks, untrained.networks)
    assert set(method.memory["stage"].tolist()) == {-1, 2}


def test_endless_side_stream_of_fewer_rows_than_a_batch_gives_whole_batches(tmp_path: Path) -> None:
    method = SideStreamDummy(3, PlainMLP, view="plain")
    untrained, data = _train(method, tmp_path, 2)
    x, y = data.source.train.values, data.given_target  # type: ignore[union-attr]
    side = data.info.train_rows[2:7].tolist()
    network = untrained.networks["network"]
    optimizer = torch.optim.Adam(network.parameters(), 0.005)
    for _, _, _, rows in method.seen:
        assert len(rows["side"]) == 8 and set(rows["side"]) == set(side)
        loss = sum(F.cross_entropy(network(x[index]), y[index]) for index in map(torch.tensor, rows.values()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
    _assert_close(method.networks, untrained.networks)
    assert sorted(set((method.memory["side_step"] >= 0).nonzero().flatten().tolist())) == sorted(side)
