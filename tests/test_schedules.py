from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam

from noisylab.schedules import (
    CosineRestarts,
    EpochValuesLR,
    LinearDecay,
    act_plan,
    forget_rates,
    linear_rampup,
    sigmoid_rampup,
    step_plan,
)


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
        (5e-4, "linear:20,5e-4,100", "must be below the learning rate"),
        (0.1, "parabola:20,5e-4,100", "must read"),
        (0.1, "step:60,120", "must read"),
        (0.1, "step:0.1", "must read"),
        (0.1, "step:80,40,0.1", "must read"),
        (0.1, "linear:20,nan,100", "must read"),
        (0.1, "cosine:20,5e-4", "must read"),
        (0.1, "cosine:20,5e-4,20", "START < STOP"),
        (0.1, "cosine", "must read"),
    ],
)
def test_impossible_plan_is_refused(lr: float, plan: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act_plan(lr, 150, 50, 0.01, plan)


def test_linear_plan_reaches_its_end_and_stays_there() -> None:
    values = act_plan(0.1, 8, 1, 0.5, "linear:2,0.02,7")
    assert values == pytest.approx([0.5, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02, 0.02])


def test_half_a_cosine_begins_halfway() -> None:
    values = act_plan(0.1, 6, 0, 0.5, "halfcosine:1,0.02,5")
    # 0.02 + 0.08 (1 + cos x) / 2 at x = 90, 112.5, 135 and 157.5 degrees
    assert values == pytest.approx([0.1, 0.06, 0.0446927, 0.0317157, 0.0230448, 0.0230448], abs=1e-7)


def test_step_plan_with_a_warm_up_falls_at_each_epoch() -> None:
    assert act_plan(1.0, 7, 2, 0.3, "step:1,4,6,0.1") == pytest.approx([0.3, 0.3, 0.1, 0.1, 0.01, 0.01, 0.001])
    assert act_plan(1.0, 0, 2, 0.3, "step:1,0.5") == [0.3, 0.3]


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


@pytest.mark.parametrize(("step", "value"), [(0, 0.006738), (10_000, 0.060055), (20_000, 0.286505), (40_000, 1), (90_000, 1)])
def test_ramp_rises_from_almost_nothing_to_one(step: int, value: float) -> None:
    assert sigmoid_rampup(step, 40_000) == pytest.approx(value, abs=5e-7)


def test_ramp_of_no_length_is_one_at_once() -> None:
    assert sigmoid_rampup(0, 0) == sigmoid_rampup(7, 0) == 1.0


@pytest.mark.parametrize(("step", "length"), [(-1, 10), (3, -1)])
def test_impossible_ramp_is_refused(step: int, length: int) -> None:
    with pytest.raises(ValueError, match="step and length must be 0 or more"):
        sigmoid_rampup(step, length)


# ---- Co-teaching


def test_forget_rate_rises_to_the_rate_and_stays() -> None:
    rates = forget_rates(0.2, ramp_epochs=10)
    assert len(rates) == 11
    assert rates == pytest.approx([*(0.2 * e / 9 for e in range(10)), 0.2])
    assert [round(rate, 4) for rate in rates[:3]] == [0, 0.0222, 0.0444] and rates[9] == rates[10] == 0.2


def test_forget_rate_jumps_after_a_ramp_with_an_exponent() -> None:
    assert forget_rates(0.25, ramp_epochs=3, exponent=0.5) == [0, 0.25, 0.5, 0.25]
    assert forget_rates(0.5, ramp_epochs=3, exponent=2) == [0, 0.125, 0.25, 0.5]


def test_ramp_of_one_epoch_forgets_nothing_in_it() -> None:
    assert forget_rates(0.4, ramp_epochs=1) == [0, 0.4]


@pytest.mark.parametrize(
    ("rate", "ramp_epochs", "exponent", "message"),
    [
        (1.0, 10, 1.0, r"forget_rate must be a fraction in \[0, 1\), got 1.0"),
        (-0.1, 10, 1.0, "forget_rate must be"),
        (float("nan"), 10, 1.0, "forget_rate must be"),
        (0.2, 0, 1.0, "ramp_epochs must be a whole number, at least 1, got 0"),
        (0.2, 10, 0.0, "exponent must be a positive number"),
    ],
)
def test_impossible_forget_rates_are_refused(rate: float, ramp_epochs: int, exponent: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forget_rates(rate, ramp_epochs, exponent)


def _adam(**kwargs: Any) -> tuple[Adam, LinearDecay]:
    optimizer = Adam([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)], lr=0.001)
    return optimizer, LinearDecay(optimizer, **{"start": 80, "stop": 200, **kwargs})


def _settings(optimizer: Adam, schedule: LinearDecay, epochs: int) -> list[tuple[float, float]]:
    """(rate, beta1) of each epoch, the same in every group."""
    found = []
    for _ in range(epochs):
        first, second = ((group["lr"], *group["betas"]) for group in optimizer.param_groups)
        assert first == second and first[2] == 0.999
        found.append(first[:2])
        optimizer.step()
        schedule.step()
    return found


def test_linear_decay_of_the_paper() -> None:
    found = _settings(*_adam(beta1=0.1), 205)
    for epoch, rate in {
        0: 1e-3,
        79: 1e-3,
        80: 1e-3,
        81: 119e-3 / 120,
        140: 5e-4,
        199: 8.3333e-6,
        200: 8.3333e-6,
        204: 8.3333e-6,
    }.items():
        assert found[epoch][0] == pytest.approx(rate, rel=1e-4), epoch
    assert [beta1 for _, beta1 in found] == [0.9] * 80 + [0.1] * 125


def test_linear_decay_leaves_the_momentum_alone_unless_told() -> None:
    assert {beta1 for _, beta1 in _settings(*_adam(start=1, stop=3), 4)} == {0.9}


def test_linear_decay_that_starts_at_once() -> None:
    assert _settings(*_adam(start=0, stop=2, beta1=0.5), 3) == [(1e-3, 0.5), (5e-4, 0.5), (5e-4, 0.5)]


@pytest.mark.parametrize("saved", [1, 2, 3, 5])
def test_restored_linear_decay_goes_on(saved: int, tmp_path: Path) -> None:
    settings = {"start": 2, "stop": 5, "beta1": 0.1}
    expected = _settings(*_adam(**settings), 7)
    optimizer, schedule = _adam(**settings)
    _settings(optimizer, schedule, saved)
    torch.save([optimizer.state_dict(), schedule.state_dict()], tmp_path / "saved")
    states = torch.load(tmp_path / "saved", weights_only=True)
    optimizer, schedule = _adam(**settings)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    assert _settings(optimizer, schedule, 7 - saved) == expected[saved:]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"start": 5, "stop": 5}, "start and stop must be epochs with 0 <= start < stop, got 5 and 5"),
        ({"start": -1, "stop": 5}, "got -1 and 5"),
        ({"start": 0, "stop": 5, "beta1": 1.0}, r"beta1 must be in \[0, 1\), got 1.0"),
        ({"start": 0, "stop": 5, "beta1": 0.1}, r"beta1=0.1 needs an optimizer with betas, such as Adam; SGD has none"),
    ],
)
def test_impossible_linear_decay_is_refused(kwargs: dict[str, Any], message: str) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=message):
        LinearDecay(optimizer, **kwargs)


def test_cosine_restarts_follow_tensorflow_s_rule() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    schedule = CosineRestarts(optimizer, first=4, stretch=1.5, peak=0.5)
    found = []
    for _ in range(21):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    def expected(step: int) -> float:  # tf.train.cosine_decay_restarts, in closed form
        done = step / 4
        cycle = math.floor(math.log(1 - done * (1 - 1.5)) / math.log(1.5) + 1e-12)
        share = (done - (1 - 1.5**cycle) / (1 - 1.5)) / 1.5**cycle
        return 0.2 * 0.5**cycle * 0.5 * (1 + math.cos(math.pi * share))

    assert found == pytest.approx([expected(step) for step in range(21)])
    assert found[0] == 0.2 and found[4] == pytest.approx(0.1) and found[10] == pytest.approx(0.05)


@pytest.mark.parametrize(
    "given", [{"first": 0}, {"first": 5, "stretch": 0.9}, {"first": 5, "peak": 0.0}, {"first": 5, "peak": 1.1}]
)
def test_cosine_restarts_refuse_what_is_no_cycle(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="first and stretch"):
        CosineRestarts(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0), (0.5, 0.03662), (16, 1.17188), (512, 37.5), (1024, 75), (2000, 75)])
def test_weight_of_the_unlabeled_loss_rises_in_a_line(epoch: float, weight: float) -> None:
    assert 75 * linear_rampup(epoch, 1024) == pytest.approx(weight, abs=6e-6)


def test_a_line_without_length_is_at_its_end() -> None:
    assert linear_rampup(0, 0) == 1
    with pytest.raises(ValueError, match="0 or more"):
        linear_rampup(-1, 10)
