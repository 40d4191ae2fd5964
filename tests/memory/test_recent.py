from __future__ import annotations

import pytest
import torch

from noisylab.memory.recent import RecentValues


def test_mean_is_that_of_the_last_values() -> None:
    recent, values = RecentValues(3), [1.0, 5.0, 0.5, 2.0, 7.0]
    assert recent.mean().item() == 0
    for number, value in enumerate(values, 1):
        assert recent.full == (number > 3)
        recent.add(torch.tensor(value, requires_grad=True))
        last = values[max(0, number - 3) : number]
        assert recent.mean().item() == pytest.approx(sum(last) / len(last))


def test_a_checkpoint_goes_on_and_the_type_stays() -> None:
    recent, again = RecentValues(3), RecentValues(3)
    for value in (0.1, 0.2, 0.3, 0.4):
        recent.add(torch.tensor(value, dtype=torch.bfloat16))
    again.load_state_dict(recent.to(torch.bfloat16).state_dict())
    for each in (recent, again):
        each.add(torch.tensor(1.0))
    assert again.mean().dtype == torch.float32 and torch.equal(again.mean(), recent.mean()) and again.full
    with pytest.raises(ValueError, match="keeps the last 3 values, this method 4"):
        RecentValues(4).load_state_dict(recent.state_dict())
    recent.reset()
    assert not recent.full and recent.mean().item() == 0
