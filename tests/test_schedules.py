from __future__ import annotations

import pytest
import torch
from torch.optim import SGD

from noisylab.schedules import EpochValuesLR, act_plan, step_plan


def test_plan_of_the_paper() -> None:
    values = act_plan(0.01, 150, 50, 0.01, "cosine:20,5e-4,100")
    assert len(values) == 180
    expected = {49: 0.01, 50: 0.01, 51: 0.00999634, 60: 0.00963843, 99: 0.00360594, 100: 0.00343225}
    expected |= {129: 0.00050366, 149: 0.00050366}
    for epoch, value in expected.items():
        assert values[epoch] == pytest.approx(value, abs=5e-9), epoch


def test_plan_of_the_scripts_defaults() -> None:
    values = act_plan(0.001, 100, 20, 0.001, "cosine:20,5e-4,100")
    for epoch, value in {49: 0.00085466, 60: 0.00075, 99: 0.00050019}.items():
        assert values[epoch] == pytest.approx(value, abs=5e-9), epoch


def test_plan_of_food() -> None:
    values = act_plan(5e-4, 50, 5, 1e-3, "cosine:5,5e-5,50")
    assert values[:5] == [1e-3] * 5
    for epoch, value in {5: 5e-4, 20: 3.875e-4, 49: 5.055e-5}.items():
        assert values[epoch] == pytest.approx(value, rel=1e-4), epoch


def test_plan_before_and_after_the_cosine() -> None:
    values = act_plan(0.1, 12, 2, 0.5, "cosine:4,0.02,8")
    assert values[:4] == [0.5, 0.5, 0.1, 0.1]
    assert values[8:] == [values[7]] * 4 and len(values) == 12


@pytest.mark.parametrize(
    ("lr", "plan", "message"),
    [
        (5e-4, "cosine:20,5e-4,100", "must be below the learning rate"),
        (0.1, "linear:20,5e-4,100", "must read"),
        (0.1, "cosine:20,5e-4", "must read"),
        (0.1, "cosine:20,5e-4,20", "START < STOP"),
        (0.1, "cosine", "must read"),
    ],
)
def test_impossible_plan_is_refused(lr: float, plan: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act_plan(lr, 150, 50, 0.01, plan)


def test_baseline_plan_falls_tenfold_at_each_milestone() -> None:
    values = step_plan(0.08, 160)
    assert len(values) == 160
    for epoch, value in {0: 0.08, 59: 0.08, 60: 0.008, 119: 0.008, 120: 8e-4, 149: 8e-4, 150: 8e-5, 159: 8e-5}.items():
        assert values[epoch] == pytest.approx(value), epoch


def _schedule(values: list[float], groups: int = 1) -> tuple[SGD, EpochValuesLR]:
    optimizer = SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=7.0)
    return optimizer, EpochValuesLR(optimizer, values)


def _walk(optimizer: SGD, schedule: EpochValuesLR, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_schedule_reads_the_list_from_its_first_entry_and_keeps_the_last() -> None:
    assert _walk(*_schedule([0.3, 0.2, 0.1]), 5) == [0.3, 0.2, 0.1, 0.1, 0.1]


def test_schedule_sets_every_group() -> None:
    optimizer, _ = _schedule([0.3], groups=2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def test_restored_schedule_goes_on_with_the_longer_list_of_the_longer_run() -> None:
    optimizer, schedule = _schedule([0.4, 0.3])
    _walk(optimizer, schedule, 1)
    longer, resumed = _schedule([0.4, 0.3, 0.2, 0.1])
    longer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert _walk(longer, resumed, 3) == [0.3, 0.2, 0.1]
