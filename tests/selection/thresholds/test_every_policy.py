"""What holds for every policy: its tables, its checkpoint, its shapes, and that nothing is read back from the device."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.read_backs import ReadBacks
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from noisylab import selection
from noisylab.cli.configuration.registry import known_classes
from noisylab.selection import (
    AllOf,
    DashThreshold,
    FixedThreshold,
    FlexMatchThreshold,
    FreeMatchThreshold,
    LinearThreshold,
    NoThreshold,
    PercentileThreshold,
    PolicyFactory,
    StagedThreshold,
    ThresholdPolicy,
    Weighted,
)

_K, _U = 3, 20
_NEEDED: dict[str, dict[str, Any]] = {
    "AllOf": {"policies": [PercentileThreshold, partial(LinearThreshold, epochs=3), FlexMatchThreshold]},
    "StagedThreshold": {"first": FreeMatchThreshold, "then": partial(FlexMatchThreshold, threshold=0.6), "accuracy": 0.5},
    "DashThreshold": {"rho": 1.0, "warmup_epochs": 1, "interval": 1},
    "FlexMatchThreshold": {"threshold": 0.6},
    "SoftMatchThreshold": {"per_class": True},
}
POLICIES: dict[str, PolicyFactory] = {
    name: partial(cls, **_NEEDED.get(name, {}))  # type: ignore[misc]
    for name, cls in known_classes(ThresholdPolicy).items()
    if cls.__module__.startswith("noisylab.")
}
every = pytest.mark.parametrize("name", POLICIES)


class Holder(nn.Module):
    """A module with a policy, as a method is one."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.policy = POLICIES[name](_K)
        self.policy.allocate(_U)

    def steps(self, start: int, end: int, dtype: torch.dtype = torch.float32) -> list[Weighted]:
        """Steps with rows keyed by the step, two an epoch; the state of one epoch before is known at the start of the next."""
        found = []
        for step in range(start, end):
            if step % 2 == 0:
                self.policy.begin_epoch(step // 2, torch.tensor(min(step / 5, 1.0)), torch.tensor(0.4))
            found.append(self.policy(*rows(step, dtype), **labeled(step, dtype)))
        return found


def rows(step: int, dtype: torch.dtype = torch.float32, size: int = 6) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(step)
    probs = (3 * torch.randn(size, _K, generator=generator)).softmax(1)
    return probs.to(dtype), torch.randperm(_U, generator=generator)[:size], step


def labeled(step: int, dtype: torch.dtype = torch.float32, size: int = 6) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(100 + step)
    probs = torch.randn(4, _K, generator=generator).softmax(1).to(dtype)
    return {"labeled_probs": probs, "labeled_target": probs.argmax(1), "logits": rows(step, dtype, size)[0].log()}


def same(first: list[Weighted], second: list[Weighted]) -> bool:
    pairs = [pair for one, other in zip(first, second, strict=True) for pair in zip(one, other, strict=True)]
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in pairs)


def test_all_are_here() -> None:
    assert len(POLICIES) == len([name for name in selection.__all__ if name.endswith("Threshold")]) + 1  # and AllOf


@every
@pytest.mark.parametrize("at", [2, 3])  # at an epoch's start and within one
def test_a_checkpoint_goes_on_bit_for_bit(name: str, at: int, tmp_path: Path) -> None:
    straight = Holder(name)
    straight.steps(0, at)
    torch.save(straight.state_dict(), tmp_path / "policy.pt")
    resumed = Holder(name)
    resumed.load_state_dict(torch.load(tmp_path / "policy.pt", weights_only=True))
    assert same(resumed.steps(at, 6), straight.steps(at, 6))


@every
def test_a_new_fit_begins_afresh(name: str) -> None:
    policy = Holder(name)
    first = policy.steps(0, 4)
    policy.policy.allocate(_U)  # changes nothing
    policy.policy.reset()
    assert same(policy.steps(0, 4), first)


@every
def test_tables_keep_their_type_and_are_no_buffers(name: str) -> None:
    holder = Holder(name)
    before = holder.steps(0, 2)
    holder.half()
    assert not list(holder.parameters()) and not list(holder.buffers())
    tables = [table for part in holder.modules() if isinstance(part, ThresholdPolicy) for table in part._tables.values()]
    assert {table.dtype for table in tables} <= {torch.float32, torch.int64, torch.bool}
    assert all(part.dtype == torch.float32 for found in [*before, *holder.steps(2, 4, torch.bfloat16)] for part in found)


@every
def test_nothing_is_read_back(name: str) -> None:
    holder = Holder(name)
    holder.steps(0, 2)
    step, more = rows(2), labeled(2)
    with ReadBacks() as mode:
        holder.policy(*step, **more)
    assert mode.calls and not mode.found


@every
def test_tables_follow_to_another_device(name: str) -> None:
    with FakeTensorMode():
        holder = Holder(name).to("cuda")
        probs, index = torch.rand(6, _K, device="cuda"), torch.zeros(6, dtype=torch.int64, device="cuda")
        target = torch.zeros(6, dtype=torch.int64, device="cuda")
        holder.policy.begin_epoch(0, torch.zeros((), device="cuda"), torch.zeros((), device="cuda"))
        found = holder.policy(probs, index, 0, probs, target, probs)  # tensors of two devices would be an error
        assert {part.device.type for part in found} == {"cuda"}
        holder.policy.reset()


@every
def test_one_row_none_and_rows_of_no_confidence(name: str) -> None:
    holder = Holder(name)
    holder.policy.begin_epoch(1, torch.tensor(0.5), torch.tensor(0.5))
    for probs in (torch.full((1, _K), 1 / _K), torch.full((0, _K), 1.0), torch.full((5, _K), 1 / _K)):
        index, more = torch.arange(len(probs)), {**labeled(0), "logits": probs.log()}
        state = copy.deepcopy(holder.state_dict())
        found = holder.policy(probs, index, 0, **more)
        assert found.weight.shape == (len(probs),) and found.probs.shape == probs.shape
        assert bool(((found.weight >= 0) & (found.weight <= 1)).all())
        assert not found.probs.isnan().any()
        if len(probs) == 0:
            assert str(holder.state_dict()) == str(state), "a step without rows is no step"
    tables = [table for part in holder.modules() if isinstance(part, ThresholdPolicy) for key, table in part._tables.items()]
    assert name == "DashThreshold" or not any(table.isnan().any() for table in tables)


def test_no_row_passes() -> None:
    low = torch.tensor([[0.4, 0.35, 0.25]] * 4)
    for policy in (FixedThreshold(3), PercentileThreshold(3), LinearThreshold(3), AllOf(3, [NoThreshold, FixedThreshold])):
        found = policy(low, torch.arange(4), 0)
        assert found.weight.tolist() == [0, 0, 0, 0]


def test_what_is_known_is_used_and_gradients_are_not() -> None:
    probs = rows(0)[0].requires_grad_()
    found = NoThreshold(_K)(probs, torch.arange(6), 0)
    assert not found.probs.requires_grad and not found.weight.requires_grad


def test_combinations_need_what_their_parts_need() -> None:
    policy = AllOf(_K, [NoThreshold, partial(StagedThreshold, first=POLICIES["AdaMatchThreshold"], then=FixedThreshold)])
    assert policy.needs_labeled and not policy.needs_logits and not policy.needs_validation
    assert AllOf(_K, [partial(PercentileThreshold, by="validation")]).needs_validation
    assert AllOf(_K, [partial(DashThreshold, rho=1.0)]).needs_logits and AllOf(_K, [DashThreshold]).soft_labels


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FixedThreshold(3, 1.5), r"threshold must be a fraction in \[0, 1\], got 1.5"),
        (lambda: FreeMatchThreshold(3, 1.0), r"momentum must be a fraction in \[0, 1\), got 1.0"),
        (lambda: PercentileThreshold(3, by="test"), "by must be one of 'train', 'validation', 'mean', 'epoch', 'step', got"),
        (lambda: AllOf(3, []), "policies must name at least one policy"),
        (lambda: AllOf(3, [lambda k: NoThreshold(k)]), r"policies\[0\] must be a ThresholdPolicy class"),
        (lambda: StagedThreshold(3, POLICIES["DashThreshold"], NoThreshold), "one has soft labels"),
        (lambda: NoThreshold(0), "num_classes must be at least 1"),
        (lambda: FlexMatchThreshold(3)(*rows(0)), r"call allocate\(num_unlabeled\) first"),
    ],
)
def test_mistakes_are_told(make: Any, told: str) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError), match=told):
        make()


def test_another_policys_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="go on with the policy that the run began with"):
        FixedThreshold(3).set_extra_state(FreeMatchThreshold(3).get_extra_state())
