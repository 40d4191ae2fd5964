from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import BatchNormMLP, DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from noisylab.callbacks import Curves, Diagnostics
from noisylab.methods import JointOptimization
from noisylab.noise import Symmetric
from noisylab.types import Batch, DataInfo, PlanBatch

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 1])
ROWS = torch.tensor([4, 0, 2, 1])  # of six; row 5 is held out, row 3 is in no batch


def _met(**options: Any) -> JointOptimization:
    """The method as if a trainer had begun to fit it; the four samples are `ROWS`."""
    method = JointOptimization(3, PlainMLP, **{"relabel_epochs": 20, "warmup_epochs": 10, **options})
    given = torch.full((6,), -1)
    given[ROWS], given[3] = TARGET, 2
    method.info = DataInfo(3, 6, torch.arange(5), given, ("",) * 3, 4, 0, 1)
    method.memory.allocate(6)
    method._trainer = SimpleNamespace(world_size=1, current_epoch=0)  # type: ignore[assignment]
    method.log_epoch = method.epoch_metrics.update  # type: ignore[method-assign, assignment]
    method.prepare_epoch(0)
    method.begin_stage("relabel")
    return method


def _batch(epoch: int = 0, phase: str = "relabel", keep: int = 4) -> PlanBatch:
    samples = Batch((torch.zeros(keep, 2),), TARGET[:keep], ROWS[:keep])
    return PlanBatch(phase, {"train": samples}, epoch, 0, False, False)


def _epoch(method: JointOptimization, epoch: int, logits: Tensor) -> None:
    """One batch with the first samples of `ROWS`, and the end of the epoch."""
    method.loss("relabel", _batch(epoch, keep=len(logits)), logits)
    method.prepare_epoch(epoch + 1)


# ---- the loss, by the method's own


def test_loss_of_the_first_stage_by_hand() -> None:
    found = _met(alpha=1.2, beta=0.8).loss("relabel", _batch(), LOGITS).item()
    assert found == pytest.approx(3.0498264671406474 - 1.2 * math.log(3), abs=1e-6)
    parts = [_met(alpha=alpha, beta=beta).loss("relabel", _batch(), LOGITS).item() for alpha, beta in ((0, 0), (1, 0), (0, 1))]
    assert parts[0] == pytest.approx(0.9891293309430154, abs=1e-12)
    assert parts[1] - parts[0] == pytest.approx(0.05126239574629616, abs=1e-6)
    assert parts[2] - parts[0] == pytest.approx(0.8510593936254314, abs=1e-12)


def test_a_prior_weighs_the_classes() -> None:
    mean, prior = LOGITS.softmax(1).mean(0).tolist(), [0.5, 0.3, 0.2]
    losses = [_met(alpha=alpha, beta=0, prior=prior).loss("relabel", _batch(), LOGITS).item() for alpha in (0, 2)]
    divergence = sum(pi * math.log(pi / m) for pi, m in zip(prior, mean, strict=True))
    assert losses[1] - losses[0] == pytest.approx(2 * divergence, abs=1e-6)


def test_gradient_of_the_labels_part() -> None:
    logits = LOGITS.clone().requires_grad_()
    _met(alpha=0, beta=0).loss("relabel", _batch(), logits).backward()
    torch.testing.assert_close(logits.grad, (LOGITS.softmax(1) - torch.eye(3, dtype=torch.float64)[TARGET]) / 4)


def test_the_second_stage_has_nothing_but_the_cross_entropy_to_the_labels() -> None:
    for labels, target in (("soft", torch.tensor([0.2, 0.5, 0.3])), ("hard", torch.tensor([0.0, 1.0, 0.0]))):
        method = _met(alpha=5.0, beta=5.0, labels=labels)
        method.memory["label"][ROWS] = torch.tensor([0.2, 0.5, 0.3])
        recent = method.memory["recent"].clone()
        found = method.loss("train", _batch(0, "train"), LOGITS)  # a number of the epoch says nothing: only the stage does
        expected = -(target.double() * LOGITS.log_softmax(1)).sum(1).mean()
        assert found.item() == pytest.approx(expected.item(), abs=1e-7)
        assert torch.equal(method.memory["recent"], recent), "nothing is kept"


# ---- what is remembered


def test_labels_are_the_mean_of_ten_equal_predictions() -> None:
    method = _met()
    for epoch in range(10):
        assert method.corrected_target() is None
        _epoch(method, epoch, LOGITS)
    torch.testing.assert_close(method.memory["label"][ROWS], LOGITS.softmax(1).float())


def test_with_fewer_epochs_than_the_window_labels_sum_to_one() -> None:
    method = _met(warmup_epochs=5)
    for epoch in range(5):
        _epoch(method, epoch, LOGITS)
    torch.testing.assert_close(method.memory["label"][ROWS], LOGITS.softmax(1).float())
    assert method.memory["label"][ROWS].sum(1).tolist() == pytest.approx([1.0] * 4), "the authors' sum to 0.5"


def test_the_oldest_prediction_makes_room_for_the_newest() -> None:
    method = _met(warmup_epochs=2, window=3)
    predictions = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(7)]
    for epoch, logits in enumerate(predictions):
        _epoch(method, epoch, logits)
        if epoch >= 1:
            last = torch.stack([z.softmax(1) for z in predictions[max(epoch - 2, 0) : epoch + 1]])
            torch.testing.assert_close(method.memory["label"][ROWS], last.mean(0))


def test_a_row_that_an_epoch_leaves_out_keeps_the_prediction_of_one_window_before() -> None:
    first, later = torch.tensor([[2.0, 0, 0]] * 4), torch.tensor([[0.0, 0, 3]] * 4)
    method = _met(warmup_epochs=2, window=2)
    for epoch, logits in enumerate((first, later, first[:2] * 2)):  # a third epoch of two rows
        _epoch(method, epoch, logits)
    label = method.memory["label"][ROWS]
    torch.testing.assert_close(label[:2], (first * 2).softmax(1)[:2] / 2 + later.softmax(1)[:2] / 2)
    torch.testing.assert_close(label[2:], first.softmax(1)[2:] / 2 + later.softmax(1)[2:] / 2)


def test_a_row_with_fewer_predictions_has_the_mean_of_those_it_has() -> None:
    first, later = torch.tensor([[2.0, 0, 0]] * 4), torch.tensor([[0.0, 0, 3]] * 4)
    method = _met(warmup_epochs=2)
    _epoch(method, 0, first)
    _epoch(method, 1, later[:1])
    torch.testing.assert_close(method.memory["label"][ROWS[1:]], first.softmax(1)[1:])
    torch.testing.assert_close(method.memory["label"][ROWS[:1]], first.softmax(1)[:1] / 2 + later.softmax(1)[:1] / 2)


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_a_row_that_was_in_no_batch_keeps_its_given_label(labels: str) -> None:
    method = _met(warmup_epochs=1, labels=labels)
    _epoch(method, 0, LOGITS)
    assert method.memory["label"][3].tolist() == [0, 0, 1]
    corrected, mask, prob = method.corrected_target(), method.clean_mask(), method.clean_prob()
    assert corrected is not None and mask is not None and prob is not None
    assert int(corrected[3]) == 2 and bool(mask[3]) and float(prob[3]) == 1


def test_what_is_looked_at_by_hand() -> None:
    method = _met(warmup_epochs=1)
    assert method.corrected_target() is None and method.clean_mask() is None and method.clean_prob() is None
    _epoch(method, 0, LOGITS)
    corrected, mask, prob = method.corrected_target(), method.clean_mask(), method.clean_prob()
    assert corrected is not None and mask is not None and prob is not None
    assert corrected.dtype == torch.int64 and corrected.tolist() == [1, 0, 2, 2, 0, -1]  # of the samples 0, 1, 2, 0
    assert mask.tolist() == [True, False, True, True, True, False]
    own = LOGITS.softmax(1)[torch.arange(4), TARGET]
    assert prob[ROWS].tolist() == pytest.approx(own.tolist(), abs=1e-7) and float(prob[5]) == 0
    assert method.epoch_metrics["train/relabeled"] == pytest.approx(1 / 5)


def test_nothing_is_shown_without_data() -> None:
    method = JointOptimization(3, PlainMLP)
    assert method.corrected_target() is None and method.clean_mask() is None and method.clean_prob() is None


def test_predictions_are_kept_in_float32_whatever_the_network_gives() -> None:
    method = _met(warmup_epochs=1)
    _epoch(method, 0, LOGITS.bfloat16())
    torch.testing.assert_close(method.memory["label"][ROWS], LOGITS.bfloat16().float().softmax(1))


# ---- whole runs against a slow loop


class _Watch(L.Callback):
    """By epoch: the network before the first step, and at the end the labels and what the method shows."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.labels: list[Tensor] = []
        self.corrected: list[Tensor | None] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, JointOptimization)
        if batch.position == 0:
            self.starts.append(copy.deepcopy(pl_module.networks["network"].state_dict()))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, JointOptimization)
        self.labels.append(pl_module.memory["label"].clone())
        self.corrected.append(pl_module.corrected_target())


def _recorded(method: JointOptimization) -> list[PlanBatch]:
    batches: list[PlanBatch] = []
    step = method.training_step

    def training_step(batch: PlanBatch, batch_idx: int) -> None:
        batches.append(batch)
        step(batch, batch_idx)

    method.training_step = training_step  # type: ignore[method-assign]
    return batches


@pytest.mark.parametrize(("labels", "prior"), [("soft", None), ("hard", [0.5, 0.3, 0.2])])
def test_a_run_equals_a_slow_loop(labels: Any, prior: list[float] | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = JointOptimization(
        3,
        BatchNormMLP,
        relabel_epochs=12,
        warmup_epochs=10,
        alpha=1.2,
        beta=0.8,
        labels=labels,
        prior=prior,
        relabel_optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-4),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-4),
        scheduler=partial(StepLR, step_size=1, gamma=0.1),
    )
    network, batches = copy.deepcopy(method.networks["network"]), _recorded(method)
    data, curves, watch = ToyData(num_train=23, noise=Symmetric(0.4), val_fraction=0.3), Curves(), _Watch()
    make_trainer(tmp_path, 14, (curves, watch), limit_val_batches=0).fit(method, datamodule=data)

    pi = torch.tensor(prior if prior is not None else [1 / 3] * 3)
    rows, count = data.info.train_rows, 23
    soft = torch.zeros(count, 3)
    for row in rows.tolist():
        soft[row, data.given_target[row]] = 1
    results, ring = torch.zeros(count, 3), torch.zeros(count, 10, 3)
    first = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    second: Any = None
    losses, changed = [0.0] * 14, []
    for batch in batches:
        samples, finished = batch["train"], batch.epoch
        if finished == 12 and batch.position == 0:
            network.load_state_dict(watch.starts[12])
            second = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        if finished >= 12:
            second.param_groups[0]["lr"] = 0.1 * 0.1 ** (finished - 12)
        optimizer = first if finished < 12 else second
        s = torch.stack([torch.exp(z) / torch.exp(z).sum() for z in network(samples.views[0])])
        loss = torch.zeros(())
        for p, row in zip(s, samples.index.tolist(), strict=True):
            t = soft[row]
            if labels == "hard":
                t = torch.eye(3)[int(t.argmax())]
            loss = loss - (t * p.log()).sum() / len(s)
            if finished < 12:
                loss = loss - 0.8 * (p * p.log()).sum() / len(s)
                results[row] = p.detach()
        if finished < 12:
            loss = loss - 1.2 * (pi * s.mean(0).log()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        constant = 1.2 * float((pi * pi.log()).sum()) if finished < 12 else 0.0
        losses[finished] += (loss.item() + constant) * len(s) / len(rows)
        if batch.last_of_epoch and finished < 12:
            c = finished + 1
            ring[:, (c - 1) % 10] = results
            if c >= 10:
                soft = ring.mean(1)
                torch.testing.assert_close(watch.labels[c], soft, rtol=0, atol=2e-5)
                changed.append((soft.argmax(1) != data.given_target)[rows].double().mean().item())
    found = method.networks["network"].state_dict()
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(found[name], value, rtol=0, atol=2e-5)
    assert [value for _, value in curves.series("train/loss")] == pytest.approx(losses, abs=2e-5)
    relabeled = dict(enumerate(changed, 9))
    assert dict(curves.series("train/relabeled")) == pytest.approx(relabeled) and max(changed) > 0
    assert [batch.phase for batch in batches if batch.last_of_epoch] == ["relabel"] * 12 + ["train"] * 2


def test_labels_stay_as_they_are_in_the_second_stage_and_its_network_is_new(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = JointOptimization(3, BatchNormMLP, relabel_epochs=3, warmup_epochs=2, window=2)
    data, watch = ToyData(num_train=23, noise=Symmetric(0.4), val_fraction=0.3), _Watch()
    make_trainer(tmp_path, 6, (watch,)).fit(method, datamodule=data)
    assert not bool(watch.labels[1].any()) and watch.corrected[:2] == [None, None]
    assert not torch.equal(watch.labels[2], watch.labels[3]), "the last replacement follows the stage's last epoch"
    assert all(torch.equal(labels, watch.labels[3]) for labels in (*watch.labels[4:], method.memory["label"]))
    held = torch.ones(23, dtype=torch.bool)
    held[data.info.train_rows] = False
    assert int(held.sum()) == 7
    for field in ("label", "recent"):
        assert not bool(method.memory[field][held].any()), "held-out rows get no label"
    corrected, mask, prob = method.corrected_target(), method.clean_mask(), method.clean_prob()
    assert corrected is not None and bool((corrected[held] == -1).all()) and bool((corrected[~held] >= 0).all())
    assert mask is not None and not bool(mask[held].any()) and prob is not None and not bool(prob[held].any())
    new = watch.starts[3]
    means = [name for name in new if name.endswith("running_mean")]
    assert means and not any(bool(new[name].any()) for name in means), "its batch statistics are new, too"
    last = [name for name in new if name.endswith("weight")][-1]
    assert all(not torch.equal(new[last], watch.starts[epoch][last]) for epoch in range(3))


def test_a_run_cut_short_within_epochs_still_has_labels_that_sum_to_one(tmp_path: Path) -> None:
    method = JointOptimization(3, PlainMLP, relabel_epochs=2, warmup_epochs=2)
    data = ToyData(num_train=40, noise=Symmetric(0.4), val_fraction=0.1)
    make_trainer(tmp_path, 3, limit_train_batches=2).fit(method, datamodule=data)  # two of five batches an epoch
    label, rows = method.memory["label"], data.info.train_rows
    torch.testing.assert_close(label[rows].sum(1), torch.ones(36))
    unseen = rows[~method.memory["recent"][rows].any(2).any(1)]
    assert len(unseen) and torch.equal(label[unseen].argmax(1), data.given_target[unseen])


def test_labels_are_found_in_the_checkpoint_under_their_name(tmp_path: Path) -> None:
    method = JointOptimization(3, PlainMLP, relabel_epochs=2, warmup_epochs=1)
    fit(method, ToyData(noise=Symmetric(0.4)), tmp_path, 3)
    again = JointOptimization.load_from_checkpoint(tmp_path / "last.ckpt")
    assert bool(again.memory["label"].any()) and torch.equal(again.memory["label"], method.memory["label"])


def test_corrected_labels_are_judged_where_the_truth_is_known(tmp_path: Path) -> None:
    method, curves, watch = JointOptimization(3, PlainMLP, relabel_epochs=3, warmup_epochs=1), Curves(), _Watch()
    data = ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.2)
    make_trainer(tmp_path, 5, (Diagnostics(), curves, watch)).fit(method, datamodule=data)
    assert [epoch for epoch, _ in curves.series("labels/right")] == [1, 2, 3, 4]
    corrected = watch.corrected[4]
    assert corrected is not None
    triples = [(int(corrected[row]), int(data.given_target[row]), int(data.clean_target[row])) for row in data.info.train_rows]
    right = [c == true for c, given, true in triples if given == true]
    noisy = [c == true for c, given, true in triples if given != true]
    flips = [c == true for c, given, true in triples if c != given]
    expected = {
        "right": sum(right + noisy) / len(triples),
        "right_clean": sum(right) / len(right),
        "right_noisy": sum(noisy) / len(noisy),
        "flips": len(flips) / len(triples),
        "flips_right": sum(flips) / len(flips),
    }
    for name, value in expected.items():
        assert curves.series(f"labels/{name}")[-1][1] == pytest.approx(value), name


# ---- resume at and within every boundary


_MAKE: dict[str, Callable[[], JointOptimization]] = {
    labels: partial(
        JointOptimization,
        3,
        DropoutMLP,
        relabel_epochs=3,
        warmup_epochs=1,
        window=2,
        labels=labels,
        prior=[0.5, 0.3, 0.2],
        scheduler=partial(StepLR, step_size=1),
    )
    for labels in ("soft", "hard")
}


def _everything(method: JointOptimization, folder: Path, **kwargs: Any) -> dict[str, Any]:
    data = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.3, spread=2.0)
    found = fit(method, data, folder, 5, **kwargs)
    del found["file"]  # a finished run writes none in a new folder
    return {**found, "state": dict(method.state_dict()), "stage": method.stage}


@pytest.fixture(scope="module")
def straight_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], list[Path]]]:
    """Five epochs of three batches without an interruption, and the checkpoints after every batch."""
    found = {}
    for name, make in _MAKE.items():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        saver = SaveEveryBatch(folder)
        found[name] = _everything(make(), folder / "straight", callbacks=(saver,)), saver.files
    return found


# the first labels come after batch 2, the last ones and the new network after batch 8
@pytest.mark.parametrize(("name", "batch"), [("soft", batch) for batch in (0, 1, 2, 3, 5, 7, 8, 9, 11, 12)] + [("hard", 8)])
def test_resume_after_any_batch_equals_the_straight_run(
    name: str, batch: int, straight_runs: dict[str, tuple[dict[str, Any], list[Path]]]
) -> None:
    straight, files = straight_runs[name]
    assert len(files) == straight["step"] == 15
    torch.manual_seed(99)
    assert_same(_everything(_MAKE[name](), files[batch].with_suffix(""), resume=files[batch]), straight)


# ---- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_epochs": 0}, "warmup_epochs must be a whole number of at least 1, got 0"),
        ({"window": 0}, "window must be a whole number of at least 1, got 0"),
        ({"alpha": -0.1}, "alpha must be a number of 0 or more"),
        ({"beta": math.nan}, "beta must be a number of 0 or more, got nan"),
        ({"relabel_epochs": 69}, "warmup_epochs=70 is past the end of the first stage, relabel_epochs=69"),
        ({"labels": "firm"}, "labels must be 'soft' or 'hard', got 'firm'"),
        ({"prior": [0.5, 0.5]}, "prior must be 3 fractions"),
        ({"prior": [0.5, 0.4, 0.2]}, "sum to 1"),
        ({"prior": [1.5, -0.5, 0.0]}, "fractions from 0 to 1 that sum to 1"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JointOptimization(3, PlainMLP, **options)


def test_published_values_are_the_defaults() -> None:
    method = JointOptimization(3, PlainMLP)
    first, second = method.configure_optimizers()
    assert [optimizer.param_groups[0]["lr"] for optimizer in (first, second)] == [0.1, 0.2]
    assert all(o.param_groups[0]["momentum"] == 0.9 and o.param_groups[0]["weight_decay"] == 1e-4 for o in (first, second))
    assert (method.first_epoch(1), method.warmup_epochs, method.window, method.alpha, method.beta) == (200, 70, 10, 1.0, 0.5)
    assert not method.needs_validation
