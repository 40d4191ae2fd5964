"""Each rule at numbers worked out by hand, and the order of updating and weighing over two steps."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from noisylab.selection import (
    AdaMatchThreshold,
    AllOf,
    DashThreshold,
    FixedThreshold,
    FlexMatchThreshold,
    FreeMatchThreshold,
    LabeledThreshold,
    LinearThreshold,
    NoThreshold,
    PercentileThreshold,
    SCRThreshold,
    SCSThreshold,
    SoftMatchThreshold,
    StagedThreshold,
    ThresholdPolicy,
    Weighted,
    align,
)

PROBS = torch.tensor([[0.97, 0.02, 0.01], [0.60, 0.30, 0.10], [0.10, 0.80, 0.10], [0.05, 0.05, 0.90]])
TEN = [0.95, 0.90, 0.85, 0.82, 0.70, 0.60, 0.55, 0.45, 0.40, 0.30]


def near(*values: float, abs: float = 5e-7) -> object:
    return pytest.approx(list(values), abs=abs)


def run(policy: ThresholdPolicy, probs: Tensor = PROBS, index: list[int] | None = None) -> Weighted:
    return policy(probs, torch.tensor(index or list(range(len(probs)))), 0)


def of_confidence(*values: float) -> Tensor:
    """Rows of 20 classes with these confidences, for class 0."""
    return torch.tensor([[value, *[(1 - value) / 19] * 19] for value in values])


def test_none_and_fixed() -> None:
    assert run(NoThreshold(3)).weight.tolist() == [1, 1, 1, 1]
    assert run(FixedThreshold(3, 0.8)).weight.tolist() == [1, 0, 1, 1]
    assert run(FixedThreshold(3)).weight.tolist() == [1, 0, 0, 0]
    assert run(FixedThreshold(20, 0.95), of_confidence(0.95, 0.949)).weight.tolist() == [1, 0]  # equality counts


@pytest.mark.parametrize(
    ("epochs", "checks"),
    [
        (20, {0: 0.9, 5: 0.8, 10: 0.7, 20: 0.5, 30: 0.5}),
        (300, {0: 0.9, 75: 0.8, 150: 0.7, 300: 0.5, 400: 0.5}),
        (100, {0: 0.9, 50: 0.7, 75: 0.6, 100: 0.5, 300: 0.5}),
        (30, {15: 0.7, 30: 0.5}),
    ],
)
def test_linear(epochs: int, checks: dict[int, float]) -> None:
    policy, by_step = LinearThreshold(3, epochs=epochs), LinearThreshold(3, steps=epochs)
    for epoch, wanted in checks.items():
        policy.begin_epoch(epoch)
        assert run(policy).threshold.item() == pytest.approx(wanted)
        assert by_step(PROBS, torch.arange(4), epoch).threshold.item() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("accuracy", "least", "kept", "threshold"),
    [
        (0.80, 0, 8, 0.45),
        (0.80, 0.5, 7, 0.5),
        (0.60, 0.5, 6, 0.60),
        (0.05, 0, 0, math.nan),
        (1.0, 0.5, 7, 0.5),
        (0.63, 0, 6, 0.6),
    ],
)
def test_percentile_with_and_without_minimum(accuracy: float, least: float, kept: int, threshold: float) -> None:
    policy = AllOf(20, [PercentileThreshold, partial(FixedThreshold, threshold=least)] if least else [PercentileThreshold])
    policy.begin_epoch(1, acc_train=torch.tensor(accuracy))
    found = run(policy, of_confidence(*TEN))
    assert found.weight.tolist() == [1.0] * kept + [0.0] * (10 - kept)
    assert found.threshold.item() == pytest.approx(threshold, nan_ok=True)


@pytest.mark.parametrize(("rows", "accuracy", "kept"), [(75, 0.69, 51), (50, 0.739, 36), (75, 0.7, 52), (75, 0.4, 30), (0, 1, 0)])
def test_percentile_counts_rows_downwards(rows: int, accuracy: float, kept: int) -> None:
    policy = PercentileThreshold(20)
    policy.begin_epoch(1, acc_train=torch.tensor(accuracy))
    assert run(policy, of_confidence(*torch.linspace(0.2, 0.9, rows).tolist()).view(-1, 20)).weight.sum() == kept


def test_an_accuracy_that_float32_cannot_hold_loses_no_row() -> None:
    for total in (50, 64, 100):
        policy, probs = PercentileThreshold(20), of_confidence(*torch.linspace(0.1, 0.9, total).tolist())
        for right in range(total + 1):
            policy.begin_epoch(1, acc_train=torch.tensor(float(right)) / total)
            assert run(policy, probs).weight.sum() == right


def test_equal_confidences_are_kept_in_their_order_up_to_the_count() -> None:
    policy = PercentileThreshold(20)
    policy.begin_epoch(1, acc_train=torch.tensor(0.5))
    assert run(policy, of_confidence(0.9, 0.9, 0.9, 0.1)).weight.tolist() == [1, 1, 0, 0]
    assert run(policy, of_confidence(0.1, 0.9, 0.9, 0.9)).weight.tolist() == [0, 1, 1, 0]


def test_accuracies_of_the_percentile() -> None:
    train, val = torch.tensor(0.4), torch.tensor(0.8)
    for by, factor, kept in (("train", 1, 4), ("validation", 1, 8), ("mean", 1, 6), ("mean", 1.5, 9), ("validation", 2, 10)):
        policy = PercentileThreshold(20, by=by, factor=factor)  # type: ignore[arg-type]
        assert run(policy, of_confidence(*TEN)).weight.sum() == 0  # nothing is known yet
        policy.begin_epoch(1, acc_train=train, acc_val=val)
        assert run(policy, of_confidence(*TEN)).weight.sum() == kept
        policy.begin_epoch(2)  # no newer one is known
        assert run(policy, of_confidence(*TEN)).weight.sum() == kept
    for by in ("epoch", "step"):
        policy = PercentileThreshold(20, by=by, start=0.2, end=0.8, length=4)  # type: ignore[arg-type]
        for at, kept in ((0, 2), (2, 5), (4, 8), (9, 8)):
            policy.begin_epoch(at if by == "epoch" else 0)
            assert policy(of_confidence(*TEN), torch.arange(10), at if by == "step" else 0).weight.sum() == kept


def test_stages_by_epoch_and_by_accuracy() -> None:
    fixed = partial(FixedThreshold, threshold=0.8)
    by_epoch = StagedThreshold(3, NoThreshold, fixed, last_epoch=5)
    for epoch, kept in ((0, 4), (5, 4), (6, 3), (7, 3)):
        by_epoch.begin_epoch(epoch)
        assert run(by_epoch).weight.sum() == kept
    by_accuracy = StagedThreshold(3, NoThreshold, fixed, accuracy=0.2)
    for epoch, (accuracy, kept) in enumerate(((0.0, 4), (0.19, 4), (0.2, 3), (0.1, 3))):  # for good
        by_accuracy.begin_epoch(epoch, acc_train=torch.tensor(accuracy))
        assert run(by_accuracy).weight.sum() == kept


@pytest.mark.parametrize(("quantile", "wanted"), [(None, 0.8225), (0.5, 0.85), (0.2, 0.72)])
def test_labeled(quantile: float | None, wanted: float) -> None:
    labeled = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.01, 0.99], [0.7, 0.3]])
    policy, rows = LabeledThreshold(2, quantile), torch.tensor([[0.95, 0.05], [0.2, 0.8]])
    assert policy(rows, torch.arange(2), 0, labeled, 1 - labeled.argmax(1)).threshold.item() == pytest.approx(0.95)
    found = policy(rows, torch.arange(2), 1, labeled, torch.tensor([0, 1, 0, 1, 1]))
    assert found.threshold.item() == pytest.approx(wanted)
    assert policy(rows, torch.arange(2), 2, labeled, 1 - labeled.argmax(1)).threshold.item() == pytest.approx(wanted)


def test_flexmatch() -> None:
    policy = FlexMatchThreshold(3)
    policy.allocate(6)
    assert run(policy, torch.full((2, 3), 1 / 3), [4, 5]).weight.tolist() == [1, 1]  # while nothing is learned, all pass
    rows = torch.tensor([[0.96, 0.02, 0.02]] * 3 + [[0.02, 0.96, 0.02]])
    run(policy, rows, [0, 1, 2, 3])
    assert policy["selected"].tolist() == [0, 0, 0, 1, -1, -1]
    assert policy["learned"].tolist() == near(1, 1 / 3, 0)
    found = run(policy, index=[1, 3, 4, 5])
    assert found.threshold.tolist() == near(0.95, 0.19, 0)
    assert found.weight.tolist() == [1, 0, 1, 1]
    assert policy["selected"].tolist() == [0, 0, 0, 1, -1, -1] and policy["learned"].tolist() == near(1, 1 / 3, 0)
    policy.put("learned", torch.tensor([1, 0.5, 0]))
    assert run(policy).threshold.tolist() == near(0.95, 0.316667, 0, abs=1e-6)


def test_flexmatch_weighs_before_it_learns() -> None:
    policy = FlexMatchThreshold(2)
    policy.allocate(2)
    rows = torch.tensor([[0.96, 0.04], [0.6, 0.4]])
    assert run(policy, rows).weight.tolist() == [1, 1]  # by a beta of 0, though afterwards it is 1
    assert policy["learned"].tolist() == [1, 0]
    assert run(policy, rows).weight.tolist() == [1, 0]


def test_flexmatch_takes_the_last_of_a_row_that_is_there_twice() -> None:
    policy = FlexMatchThreshold(2)
    policy.allocate(3)
    run(policy, torch.tensor([[0.99, 0.01], [0.01, 0.99], [0.9, 0.1]]), [1, 1, 1])
    assert policy["selected"].tolist() == [-1, 1, -1]


@pytest.mark.parametrize(
    ("momentum", "level", "thresholds"),
    [(0.999, 0.3338175, (0.3338175, 0.33367984, 0.33366482)), (0.9, 0.38175, (0.38175, 0.36644661, 0.36477715))],
)
def test_freematch(momentum: float, level: float, thresholds: tuple[float, ...]) -> None:
    policy = FreeMatchThreshold(3, momentum)
    found = run(policy)
    assert policy["confidence"].item() == pytest.approx(level, abs=1e-7)
    assert found.threshold.tolist() == near(*thresholds)
    assert found.weight.tolist() == [1, 1, 1, 1]
    if momentum == 0.999:
        assert policy.mean_probs.tolist() == near(0.33343, 0.3332925, 0.3332775, abs=1e-7)
        assert policy.histogram.tolist() == near(0.3335, 0.33325, 0.33325, abs=1e-7)


def test_freematch_by_quantile_clipped_and_scaled_by_class() -> None:
    by_quantile = FreeMatchThreshold(3, quantile=0.8)
    assert run(by_quantile) and by_quantile["confidence"].item() == pytest.approx(0.333928, abs=1e-6)
    clipped = FreeMatchThreshold(2, momentum=0.0, clip=True)
    run(clipped, torch.tensor([[0.99, 0.01]]))
    assert clipped["confidence"].item() == pytest.approx(0.95)
    scaled = FreeMatchThreshold(3, momentum=1 - 1e-9)
    scaled.put("confidence", torch.tensor(0.9))
    scaled.put("mean_probs", torch.tensor([0.5, 0.3, 0.2]))
    assert run(scaled).threshold.tolist() == near(0.9, 0.54, 0.36)


def test_freematch_learns_before_it_weighs() -> None:
    policy = FreeMatchThreshold(2, momentum=0.0)
    high, low = torch.tensor([[0.99, 0.01], [0.9, 0.1]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]])
    assert run(policy, high).weight.tolist() == [1, 0]  # by this step's mean, 0.945, not by 1/2
    assert run(policy, low).weight.tolist() == [0, 1]  # likewise 0.65, not 0.945


def test_softmatch() -> None:
    policy = SoftMatchThreshold(3, momentum=0.9, aligned=False)
    assert run(policy).weight.tolist() == near(1, 1, 1, 1)
    assert policy["mean"].item() == pytest.approx(0.38175) and policy["variance"].item() == pytest.approx(0.9025892)
    still = SoftMatchThreshold(3, momentum=1 - 1e-9, aligned=False)
    still.put("mean", torch.tensor(0.85))
    still.put("variance", torch.tensor(0.01))
    assert run(still).weight.tolist() == pytest.approx([1, 3.7267e-6, 0.6065307, 1], rel=2e-4)


def test_alignment() -> None:
    aligned = align(PROBS, torch.full((3,), 1 / 3), torch.tensor([0.5, 0.3, 0.2]))
    assert aligned[0].tolist() == near(0.943274, 0.032415, 0.024311, abs=1e-6)
    assert aligned[1].tolist() == near(0.444445, 0.370370, 0.185185, abs=1e-6)


def test_softmatch_aligns_to_the_first_step_and_then_moves() -> None:
    policy = SoftMatchThreshold(3, momentum=0.9)
    found = run(policy)
    assert policy["mean_probs"].tolist() == near(0.43, 0.2925, 0.2775)
    assert found.probs.equal(PROBS)  # pseudo-labels are of the unaligned ones
    run(policy, PROBS[:1])
    assert policy["mean_probs"].tolist() == near(0.9 * 0.43 + 0.097, 0.9 * 0.2925 + 0.002, 0.9 * 0.2775 + 0.001)


def test_softmatch_learns_before_it_weighs() -> None:
    policy = SoftMatchThreshold(2, momentum=0.0, aligned=False)
    high, low = torch.tensor([[0.99, 0.01], [0.9, 0.1]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]])
    fall = math.exp(-(0.045**2) * 4 / (2 * 2 * 0.045**2))  # of two rows the variance is twice the squared half distance
    assert run(policy, high).weight.tolist() == near(1, fall, abs=1e-5)
    assert run(policy, low).weight.tolist() == near(fall, 1, abs=1e-5)


def test_softmatch_of_one_row_changes_nothing() -> None:
    policy = SoftMatchThreshold(3, momentum=0.5, aligned=False)
    assert run(policy, PROBS[:1]).weight.tolist() == [1]
    assert policy["mean"].item() == pytest.approx(1 / 3) and policy["variance"].item() == 1


def test_dash_falls_and_ends() -> None:
    policy, logits = DashThreshold(3, rho=2.0, warmup_epochs=2), torch.tensor([[4.0, 0, 0], [1, 0, 0], [0, 6, 0]])
    rows = (logits.softmax(1), torch.arange(3), 0)
    for epoch, rho in (
        (0, math.nan),
        (1, math.nan),
        (2, 2.0002),
        (12, 1.5749606),
        (52, 0.6054173),
        (152, 0.0554648),
        (162, 0.05),
    ):
        policy.begin_epoch(epoch)
        found = policy(*rows, logits=logits)
        assert found.threshold.item() == pytest.approx(rho, nan_ok=True, abs=1e-6)
        wanted = [0, 0, 0] if epoch < 2 else [1, rho > 0.7644587, 1]
        assert found.weight.tolist() == wanted
    assert found.probs.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_the_losses_of_dash() -> None:
    logits = torch.tensor([[4.0, 0, 0], [1, 0, 0], [0, 6, 0]])
    for hard, losses in ((False, (0.0386582, 0.7644587, 0.0050190)), (True, (0.0359763, 0.5514447, 0.0049453))):
        for rho in (loss + off for loss in losses for off in (-1e-6, 1e-6)):
            policy = DashThreshold(3, rho=rho, C=1, rho_min=rho if hard else 1e-6, warmup_epochs=0)
            found = policy(logits.softmax(1), torch.arange(3), 0, logits=logits)
            assert found.weight.tolist() == [loss <= rho for loss in losses]


def test_dash_begins_with_the_loss_on_held_out_rows() -> None:
    policy = DashThreshold(3, warmup_epochs=1)
    assert policy.needs_validation and not DashThreshold(3, rho=1).needs_validation
    policy.begin_epoch(0)
    with pytest.raises(RuntimeError, match="the loss on held-out rows, and none is known"):
        policy.begin_epoch(1)
    policy.reset()
    policy.begin_epoch(0)
    policy.note_loss(torch.tensor(2.0))
    policy.begin_epoch(1)
    policy.note_loss(torch.tensor(0.1))  # of later epochs, which counts for nothing
    policy.begin_epoch(11)
    found = policy(PROBS, torch.arange(4), 0, logits=PROBS.log())
    assert found.threshold.item() == pytest.approx(1.5749606)


def test_adamatch() -> None:
    labeled, target = torch.tensor([[0.9, 0.05, 0.05], [0.6, 0.2, 0.2]]), torch.tensor([0, 0])
    policy = AdaMatchThreshold(3)
    found = policy(PROBS, torch.arange(4), 0, labeled, target)
    assert found.threshold.item() == pytest.approx(0.7125)
    assert found.weight.tolist() == [1, 0, 1, 1]
    assert found.probs[1].tolist() == near(0.502149, 0.368410, 0.129441, abs=1e-6)
    with pytest.raises(ValueError, match="AdaMatchThreshold needs labeled_probs"):
        policy(PROBS, torch.arange(4), 0)
    none = policy(PROBS, torch.arange(4), 1, labeled[:0], target[:0])
    assert none.weight.tolist() == [0, 0, 0, 0] and not none.probs.isnan().any()


def test_adamatch_aligns_before_it_weighs_by_this_step() -> None:
    policy, labeled = AdaMatchThreshold(2, threshold=0.9, momentum=0.0), torch.tensor([[0.5, 0.5]])
    rows = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    for _ in range(2):  # aligned: 0.9, 0.1 to 0.794, 0.206 and 0.5, 0.5 to 0.3, 0.7
        found = policy(rows, torch.arange(2), 0, labeled, torch.tensor([0]))
        assert found.probs.tolist() == [near(0.794118, 0.205882, abs=1e-5), near(0.3, 0.7, abs=1e-5)]
        assert found.weight.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("momentum", "level", "thresholds"),
    [(0.999, 0.333928, (0.333928, 0.333790, 0.333775)), (0.9, 0.3928, (0.3928, 0.377054, 0.375336))],
)
def test_selection_of_sed(momentum: float, level: float, thresholds: tuple[float, ...]) -> None:
    rule = SCSThreshold(3, momentum)
    assert rule.end_epoch(PROBS, torch.tensor([0, 1, 1, 2])).tolist() == [1, 0, 1, 1]
    assert rule["confidence"].item() == pytest.approx(level, abs=1e-6)
    assert rule.thresholds.tolist() == near(*thresholds, abs=1e-6)
    before = rule.thresholds
    assert run(rule).weight.tolist() == [1, 1, 1, 1] and rule.thresholds.equal(before)


def test_weights_of_sed() -> None:
    rule = SCRThreshold(3, momentum=0.9)
    weights = rule.end_epoch(PROBS)
    assert rule["mean"].tolist() == near(0.3785, 0.3, 0.3)
    assert rule["variance"].tolist() == near(0.906845, 1, 1)
    assert weights.tolist() == [1, 1, 1, 1]
    fast = SCRThreshold(3, momentum=0.0)
    assert fast.end_epoch(PROBS).tolist() == near(1, math.exp(-(0.185**2) * 4 / (2 * 0.06845)), 1, 1, abs=1e-5)
    assert run(fast).weight.tolist() == fast.end_epoch(PROBS).tolist()


def test_the_rules_of_sed_learn_before_they_weigh() -> None:
    select, weigh = SCSThreshold(2, momentum=0.0), SCRThreshold(2, momentum=0.0)
    for rows in (torch.tensor([[0.99, 0.01], [0.9, 0.1]]), torch.tensor([[0.7, 0.3], [0.6, 0.4]])):
        assert select.end_epoch(rows, torch.tensor([0, 0])).tolist() == [1, 0]
        assert weigh.end_epoch(rows).tolist() == near(1, math.exp(-1), abs=1e-4)
