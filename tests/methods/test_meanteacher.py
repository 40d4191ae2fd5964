"""Mean Teacher, and the Pi-model that it extends."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import ToyData, make_trainer
from helpers.semi import Shown, alone, record, step_of
from helpers.toy import BatchNormMLP, PlainMLP
from torch import Tensor

from noisylab.methods import MeanTeacher, PiModel
from noisylab.types import PlanBatch

_SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


# ---- whole epochs against a loop written apart


class _Plain:
    """Both methods; the teacher is a plain copy, or nobody."""

    def __init__(self, network: Any, *, teacher: bool, bn: str = "train", every: bool = False, both: bool = False) -> None:
        self.student, self.teacher = network, copy.deepcopy(network) if teacher else None
        self.optimizer, self.bn, self.every, self.both, self.taken = _SGD(network.parameters()), bn, every, both, 0

    def step(self, batch: PlanBatch, weight: float, total: bool) -> float:
        x, u = batch["labeled"], batch["unlabeled"]
        first, second = u.views
        views: list[Any] = [x.views[0], first]
        if self.teacher is None:
            views += [second, *(x.views[1:] if self.every else ())]
        outputs = self.student(torch.cat(views)).split([len(view) for view in views])
        p = [z.softmax(1) for z in outputs[1:2]] + ([outputs[0].softmax(1)] if self.every else [])
        if self.teacher is None:
            q = [z.softmax(1) for z in outputs[2:]]
        else:
            self.teacher.train(self.bn == "train")
            with torch.no_grad():
                taught = self.teacher(torch.cat([second, *(x.views[1:] if self.every else ())]))  # type: ignore[list-item]
            q = list(taught.softmax(1).split([len(u), len(x)] if self.every else [len(u)]))
        q = q if self.both else [t.detach() for t in q]
        squares = torch.cat([(a - b) ** 2 for a, b in zip(p, q, strict=True)]).sum(1)
        apart = squares.mean() if total else squares.mean() / 3
        loss = F.cross_entropy(outputs[0], x.target) + weight * apart
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.taken += 1
        if self.teacher is not None:
            a = min(1 - 1 / (self.taken + 1), 0.7)
            with torch.no_grad():
                for mine, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                    mine.copy_(a * mine + (1 - a) * other)
                if self.bn == "eval":
                    for mine, other in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
                        mine.copy_(other)
        return float(apart.detach())


@pytest.mark.parametrize(
    ("teacher", "given"),
    [
        (True, {}),
        (True, {"teacher_bn": "eval", "consistency_on": "all", "distance": "sum"}),
        (False, {"gradient": "both", "consistency_on": "all", "ramp": "sigmoid"}),
        (False, {}),
    ],
)
def test_whole_epochs_are_those_of_a_plain_loop(teacher: bool, given: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(2)
    make: Any = partial(MeanTeacher, ema_decay=0.7) if teacher else PiModel
    method = make(3, BatchNormMLP, consistency=3.0, ramp_share=0.5, optimizer=_SGD, second_view="strong", ratio=1.5, **given)
    steps = record(method, tmp_path)
    every = given.get("consistency_on") == "all"
    plain = _Plain(
        steps.network, teacher=teacher, bn=given.get("teacher_bn", "train"), every=every, both=given.get("gradient") == "both"
    )
    for place, (batch, state, average) in enumerate(zip(steps.batches, steps.states, steps.averages, strict=True)):
        passed = min(place / 4, 1)  # half of the 8 steps
        weight = 3 * (math.exp(-5 * (1 - passed) ** 2) if given.get("ramp") else passed)
        apart = plain.step(batch, weight, given.get("distance") == "sum")
        assert apart > 0 or (teacher and place == 0)
        for key, value in plain.student.state_dict().items():
            torch.testing.assert_close(value, state[key], rtol=0, atol=1e-12)
        if plain.teacher is not None:
            for key, value in plain.teacher.state_dict().items():
                torch.testing.assert_close(value, average[key], rtol=0, atol=1e-12)


# ---- numbers


@pytest.mark.parametrize(("distance", "expected"), [("mean", 0.0222329), ("sum", 0.0666987)])
def test_the_distance_of_two_predictions(distance: Any, expected: float) -> None:
    method = PiModel(3, Shown, distance=distance)
    assert method.apart(torch.tensor([[1.0, 0, 0]]), torch.tensor([[2.0, 0, 0]])).item() == pytest.approx(expected, abs=1e-7)


def test_the_share_of_the_old_weights_rises() -> None:
    method = MeanTeacher(2, Shown, ema_decay=0.99)
    teacher = method.average("network")
    teacher.network.factor.zero_()  # type: ignore[operator, union-attr]
    found = []
    for taken in (1, 2, 3):
        teacher.update(method.network, method.decay(taken))
        found.append(round(float(teacher.network.factor), 6))  # type: ignore[arg-type]
    assert found == [0.5, 0.666667, 0.75]
    assert method.decay(500) == 0.99


@pytest.mark.parametrize(
    ("ramp", "expected"), [("sigmoid", [0.006738, 0.060055, 0.286505, 1, 1]), ("linear", [0, 0.25, 0.5, 1, 1])]
)
def test_the_ramp_in_epochs_and_their_parts(ramp: Any, expected: list[float]) -> None:
    method = PiModel(3, Shown, consistency=1.0, ramp=ramp, ramp_epochs=8)
    places = [(0, 0), (2, 0), (3, 10), (8, 0), (9, 3)]
    rows = torch.zeros(1, 3)
    found = [
        method.factor(step_of((rows,), torch.zeros(1, dtype=torch.int64), (rows, rows), epoch=epoch, step=step))
        for epoch, step in places
    ]
    assert found == pytest.approx(expected, abs=1e-6)


# ---- what the public port gets wrong


def _differing() -> tuple[MeanTeacher, PlanBatch]:
    method = alone(MeanTeacher(3, Shown, ramp_epochs=0))
    assert isinstance(method, MeanTeacher)
    method.average("network").network.factor.fill_(0.5)  # type: ignore[operator, union-attr]
    shown = torch.tensor([[2.0, 0, 0], [0, 1, 0]])
    return method, step_of((shown[:1],), torch.tensor([0]), (shown, shown))


def test_a_student_that_differs_from_the_teacher_is_drawn_to_it() -> None:
    method, batch = _differing()
    loss = method.objective(batch)
    found = method.means.compute()
    assert found["unlabeled/loss"] > 0
    assert found["unlabeled/weighted_loss"] == pytest.approx(50 * found["unlabeled/loss"])
    rest = loss - F.cross_entropy(batch["labeled"].views[0] * method.network.factor, torch.tensor([0]))  # type: ignore[operator]
    (slope,) = torch.autograd.grad(rest, [method.network.factor])  # type: ignore[list-item]
    assert float(slope) > 0  # from 1 down to 0.5


def test_the_teacher_is_in_no_optimizer_and_has_no_gradient(tmp_path: Path) -> None:
    method = MeanTeacher(3, PlainMLP)
    trainer = make_trainer(tmp_path, 1)
    trainer.fit(method, datamodule=ToyData())
    owned = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert owned == {id(p) for p in method.network.parameters()}
    assert all(not p.requires_grad and p.grad is None for p in method.average("network").parameters())
    assert trainer.global_step == method.run_length
    moved = [
        bool((a != b).any()) for a, b in zip(method.network.parameters(), method.average("network").parameters(), strict=True)
    ]
    assert any(moved)


def test_gradients_through_both_views_are_for_the_pi_model() -> None:
    with pytest.raises(ValueError, match="the teacher has no gradient"):
        MeanTeacher(3, PlainMLP, gradient="both")


def test_weights_of_nothing_stay_nothing() -> None:
    """A weight of 0 at the start of the ramp gives 0 and no gradient, whatever the distance."""
    method, batch = _differing()
    method.ramp_epochs = 5.0
    loss = method.objective(batch)
    assert loss.item() == pytest.approx(float(F.cross_entropy(batch["labeled"].views[0], torch.tensor([0]))), abs=1e-6)  # type: ignore[arg-type]


def test_labeled_rows_are_told_apart_from_the_policys() -> None:
    method = alone(PiModel(3, Shown, consistency_on="all", ramp_epochs=0, consistency=1.0))
    a, b, c = torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]), torch.tensor([[2.0, 0, 0]])
    method.objective(step_of((a, b), torch.tensor([0]), (b, c)))
    p: list[Tensor] = [x.softmax(1) for x in (a, b, c)]
    expected = (((p[0] - p[1]) ** 2).mean() + ((p[1] - p[2]) ** 2).mean()) / 2
    assert method.means.compute()["unlabeled/loss"] == pytest.approx(float(expected), abs=1e-7)
