"""What methods cost, and how many epochs of each a budget pays for."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from noisylab import methods
from noisylab.cli.errors import UserError
from noisylab.cli.studies.costs import COSTS, LABELED_SHARE, NOT_COMPARABLE, cost_of, epochs_for, passes_of
from noisylab.data.matrix import Matrix
from noisylab.methods import NoisyLabelMethod
from noisylab.models import MLP

_PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_every_method_has_a_cost_or_a_reason() -> None:
    known = {name for name in methods.__all__ if inspect.isclass(getattr(methods, name)) and name != NoisyLabelMethod.__name__}
    priced = {name.partition(",")[0] for name in COSTS}
    assert priced | set(NOT_COMPARABLE) == known
    assert not priced & set(NOT_COMPARABLE)


@pytest.mark.parametrize(
    ("row", "method", "part", "times"),
    [
        ("ACT, warm-up", "ACT", "measured_warmup", 1),
        ("ACT, after warm-up", "ACT", "measured", 1),
        ("Co-teaching", "CoTeaching", "measured", 1),
        ("Co-teaching+", "CoTeachingPlus", "measured", 1),
        ("DivideMix, warm-up (twice the samples, one network)", "DivideMix", "measured_warmup", 1),
        ("DivideMix, after warm-up", "DivideMix", "measured", 2 * LABELED_SHARE),
        ("ELR", "ELR", "measured", 1),
        ("ELR+ (one network)", "ELRPlus", "measured", 2),
        ("JoCoR", "JoCoR", "measured", 1),
        ("VolMinNet", "VolMinNet", "measured", 1),
        ("RobustLoss with SCE", "RobustLoss", "measured", 1),
    ],
)
def test_measured_costs_are_those_of_the_documentation(row: str, method: str, part: str, times: float) -> None:
    found = re.search(rf"^\| {re.escape(row)} \| ([0-9.]+) \|", _PERFORMANCE.read_text(), re.M)
    assert found is not None, row
    assert getattr(COSTS[method], part) == pytest.approx(times * float(found[1]))


def test_counted_and_measured_costs_agree_within_a_third() -> None:
    for name, cost in COSTS.items():
        for counted, measured in ((cost.main, cost.measured), (cost.warmup, cost.measured_warmup)):
            if counted is not None and measured is not None:
                assert counted == pytest.approx(measured, rel=1 / 3), name


class _Counting(MLP):
    """Counts rows that pass with and without a gradient to be taken."""

    rows: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Any:
        _Counting.rows.append((len(x), torch.is_grad_enabled()))
        return super().forward(x)


@pytest.mark.parametrize("name", ["CrossEntropy", "ELR", "CoTeaching", "JoCoR", "ACT", "ELRPlus", "DivideMix"])
def test_an_epoch_passes_as_many_rows_as_its_cost_says(name: str) -> None:
    from functools import partial

    import lightning as L

    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.randn(64, 4, generator=generator) + 2 * y[:, None]
    cls: Any = getattr(methods, name)
    method = cls(2, partial(_Counting, in_features=4), **({"warmup_epochs": 0} if name in ("ACT", "DivideMix") else {}))
    data = Matrix(x.numpy(), y.numpy(), batch_size=8)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    _Counting.rows.clear()
    trainer.fit(method, datamodule=data)
    passes = sum(rows if learns else rows / 3 for rows, learns in _Counting.rows) / 64
    expected = cost_of(name).main
    if name == "DivideMix":  # by the share that it took as clean, and four unlabeled views a row only where there are some
        labeled = float(method.clean_mask().float().mean())
        assert 0 < labeled < 1
        expected = 2 * labeled * 6 + 2 / 3
    assert passes == pytest.approx(expected, rel=0.15 if name == "DivideMix" else 0.01)


def test_epochs_cost_what_the_budget_is() -> None:
    assert epochs_for("CrossEntropy", 60) == 60
    assert epochs_for("CoTeaching", 60) == 30
    assert epochs_for("ACT", 110, warmup=0.25) == 40
    assert passes_of("ACT", 40, 10) == 10 * 2 + 30 * 3
    assert epochs_for("ELRPlus", 8) == 3


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("budget", [20, 61, 300])
def test_no_budget_is_missed_by_more_than_half_an_epoch(name: str, budget: int) -> None:
    epochs = epochs_for(name, budget)
    assert abs(epochs * COSTS[name].main - budget) <= COSTS[name].main / 2 + 1e-9


def test_a_method_that_cannot_be_compared_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"L2R cannot be compared.*known to be right"):
        cost_of("L2R")
    with pytest.raises(UserError, match="nearest: DivideMix"):
        cost_of("DivdeMix")
