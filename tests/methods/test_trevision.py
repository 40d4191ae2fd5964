from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import MultiStepLR

from noisylab.callbacks import Curves, Diagnostics
from noisylab.estimation import Anchors
from noisylab.methods import TRevision
from noisylab.noise import PairFlip, Symmetric
from noisylab.types import Batch, PlanBatch

LOGITS = torch.tensor([[2.0, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 1])
MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)
SLACK = torch.full((3, 3), 0.01)
SLACK[0, 0] = -0.02


class _OneProcess:
    world_size, current_epoch, global_rank = 1, 0, 0


def _made(slack: Tensor | None = None, **options: Any) -> TRevision:
    method = TRevision(3, PlainMLP, **options)
    method._trainer = _OneProcess()  # type: ignore[assignment]
    method.set_transition(MATRIX)
    if slack is not None:
        method.slack.data.copy_(slack)
    return method


def _loss(method: TRevision, stage: str, logits: Tensor = LOGITS) -> Tensor:
    samples = Batch((torch.zeros(4, 2),), TARGET, torch.arange(4))
    return method.loss(stage, PlanBatch(stage, {"train": samples}, 0, 0, False, False), logits)


# ---- losses and gradients, computed by hand


def test_loss_of_each_stage() -> None:
    ce = nn.functional.cross_entropy(LOGITS, TARGET).item()
    assert _loss(_made(), "estimate").item() == pytest.approx(ce, abs=1e-12)
    assert _loss(_made(), "reweight").item() == pytest.approx(0.619364306807986, abs=1e-7)
    assert _loss(_made(SLACK), "reweight").item() == pytest.approx(0.619364306807986, abs=1e-7), "fixed T alone"
    assert _loss(_made(), "revise").item() == pytest.approx(0.619364306807986, abs=1e-7)


def test_the_slack_is_added_once_unless_the_authors_fault_is_asked_for() -> None:
    assert _loss(_made(SLACK), "revise").item() == pytest.approx(0.6056761330368279, abs=1e-7)
    assert _loss(_made(SLACK, reference_cumulative=True), "revise").item() == pytest.approx(0.5751726815987501, abs=1e-7)


def test_projection_clips_at_zero_and_divides_each_row_by_its_sum() -> None:
    slack = torch.tensor([[0.1, -0.3, 0.0], [0.2, 0.2, 0.2], [-0.15, 0.0, 0.0]])
    revised = torch.tensor([[0.8 / 0.9, 0, 0.1 / 0.9], [0.3 / 1.6, 1.0 / 1.6, 0.3 / 1.6], [0, 0.25 / 0.85, 0.6 / 0.85]]).double()
    total = 0.0
    for z, y in zip(LOGITS, TARGET.tolist(), strict=True):
        p = z.softmax(0)
        total -= float(p[y] / (p @ revised)[y] * p[y].log())
    projected, plain = _made(slack, project=True), _made(slack)
    assert _loss(projected, "revise").item() == pytest.approx(total / 4, abs=1e-6)
    assert _loss(plain, "revise").item() != pytest.approx(total / 4, abs=1e-2)
    for method in (projected, plain):
        reported = method.transition_matrix()
        assert reported is not None
        torch.testing.assert_close(reported.double(), revised, rtol=0, atol=1e-6)


def test_gradient_of_the_slack_at_zero() -> None:
    method = _made()
    _loss(method, "revise").backward()
    expected = [[-0.0817, -0.5092, -0.1118], [-0.0111, -0.2210, -0.1118], [-0.0041, -0.3088, -0.3039]]
    torch.testing.assert_close(method.slack.grad, torch.tensor(expected), rtol=0, atol=6e-5)


@pytest.mark.parametrize(("stage", "expected"), [("reweight", [-0.0542, 0.0396, 0.0146]), ("revise", [-0.0524, 0.0385, 0.0140])])
def test_the_weights_have_a_gradient_in_the_last_stage_alone(stage: str, expected: list[float]) -> None:
    method, logits = _made(), LOGITS.clone().requires_grad_()
    _loss(method, stage, logits).backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx(expected, abs=6e-5)
    assert (method.slack.grad is None) == (stage == "reweight")


def test_largest_weight() -> None:
    beta, ce = [1.0, 0.9869, 1.0, 0.2943], [0.1698, 0.6803, 0.5514, 2.5550]  # 1.3870 and 1.4846 without a limit
    for stage in ("reweight", "revise"):
        expected = sum(b * c for b, c in zip(beta, ce, strict=True)) / 4
        assert _loss(_made(max_weight=1.0), stage).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select_by": "test_acc"}, "select_by must be"),
        ({"select_by": "oracle"}, "goes with oracle and sweep_every"),
        ({"select_by": "oracle", "sweep_every": 2}, "goes with oracle and sweep_every"),
        ({"select_by": "oracle", "oracle": Symmetric}, "goes with oracle and sweep_every"),
        ({"oracle": Symmetric, "sweep_every": 2}, "goes with oracle and sweep_every"),
        ({"select_by": "val_loss", "hand_over": "last"}, "leave one out"),
        ({"reference_cumulative": True, "project": True}, "leave one out"),
        ({"sweep_every": 0}, r"sweep_every must be in 1\.\.20"),
        ({"sweep_every": 21}, r"sweep_every must be in 1\.\.20"),
        ({"sweep_every": 5, "hand_over": "last"}, "needs hand_over='best' and an estimator"),
        ({"sweep_every": 5, "transition": "matrix.npy"}, "needs hand_over='best' and an estimator"),
        ({"max_weight": 0.0}, "max_weight must be a positive number"),
        ({"estimate_epochs": -1}, "estimate_epochs must be a whole number, at least 0"),
        ({"reweight_epochs": 0}, "reweight_epochs must be a whole number, at least 1"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRevision(3, PlainMLP, **options)


# ---- a whole run against a plain loop


class _Watch(L.Callback):
    """What each step was handed, and by epoch the weights at its first step and its end, and the matrix."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.starts: list[Tensor] = []
        self.ends: list[Tensor] = []
        self.matrices: list[Tensor] = []

    def _weights(self, module: L.LightningModule) -> Tensor:
        return torch.cat([p.detach().flatten() for p in module.networks["network"].parameters()])  # type: ignore[union-attr, index]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        if batch.position == 0:
            self.starts.append(self._weights(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TRevision)
        self.ends.append(self._weights(pl_module))
        self.matrices.append(pl_module.matrices["transition"].clone())


def _surest_but_outliers(probs: Tensor) -> Tensor:
    """The T-Revision paper's estimate, on a copy of each column: no sample at or above the 97th percentile."""
    table, rows = probs.numpy(), []
    for i in range(3):
        column = table[:, i].copy()
        column[column >= np.percentile(column, 97, method="higher")] = 0
        row = table[int(column.argmax())]
        rows.append(row / row.sum())
    return torch.tensor(np.stack(rows))


def _data() -> ToyData:
    return ToyData(num_train=61, noise=PairFlip(0.3), val_fraction=0.3, spread=1.8)


@pytest.mark.parametrize(("cumulative", "max_weight"), [(False, None), (True, 1.5)])
def test_a_run_equals_a_plain_loop(cumulative: bool, max_weight: float | None, tmp_path: Path) -> None:
    torch.manual_seed(1)
    method = TRevision(
        3,
        PlainMLP,
        estimate_epochs=3,
        reweight_epochs=3,
        estimate_optimizer=partial(SGD, lr=0.1, weight_decay=1e-3),
        reweight_optimizer=partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-3),
        reweight_scheduler=partial(MultiStepLR, milestones=[2]),
        revise_optimizer=partial(Adam, lr=0.01, weight_decay=1e-2),
        max_weight=max_weight,
        reference_cumulative=cumulative,
    )
    net, slack = copy.deepcopy(method.networks["network"]).double(), torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    data, watch, curves = _data(), _Watch(), Curves()
    make_trainer(tmp_path, 8, (watch, curves), precision="64-true").fit(method, datamodule=data)
    assert [batch.phase for batch in watch.batches[::6]] == ["estimate"] * 3 + ["reweight"] * 3 + ["revise"] * 2

    points, given, held = data.source.train.values.double(), data.given_target, data.split.val  # type: ignore[union-attr]
    matrix, best, chosen, accuracies, losses = torch.eye(3).double(), (-1.0, net), [], [], []
    for epoch in range(8):
        if epoch == 0:
            optimizer: torch.optim.Optimizer = SGD(net.parameters(), 0.1, weight_decay=1e-3)
        if epoch in (3, 6):
            net, best = copy.deepcopy(best[1]), (-1.0, net)
        if epoch == 3:
            with torch.no_grad():
                matrix = _surest_but_outliers(net(points[data.info.train_rows]).softmax(1)).float().double()
            optimizer = SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
        if epoch == 5:
            optimizer.param_groups[0]["lr"] = 0.005
        if epoch == 6:
            optimizer = Adam([*net.parameters(), slack], 0.01, weight_decay=1e-2)
        mean = 0.0
        for batch in watch.batches[6 * epoch : 6 * epoch + 6]:
            samples, total = batch["train"], torch.zeros((), dtype=torch.float64)
            for n, (z, y) in enumerate(zip(net(samples.views[0]), samples.target.tolist(), strict=True)):
                p = torch.exp(z) / torch.exp(z).sum()
                revised = matrix + ((n + 1) if cumulative else 1) * slack if epoch >= 6 else matrix
                beta = p[y] / sum(p[k] * revised[k, y] for k in range(3))
                if max_weight is not None and float(beta.detach()) > max_weight:
                    beta = torch.tensor(max_weight).double()
                beta = torch.ones(()).double() if epoch < 3 else beta.detach() if epoch < 6 else beta
                total = total - beta * torch.log(p[y])
            optimizer.zero_grad()
            (total / len(samples)).backward()
            optimizer.step()
            mean += float(total.detach()) / 43
        losses.append(mean)
        with torch.no_grad():
            probs = net(points[held]).softmax(1)
            if epoch >= 3:
                probs = probs @ (matrix + (slack if epoch >= 6 else 0))
        accuracies.append(float((probs.argmax(1) == given[held]).double().mean()))
        if accuracies[-1] > best[0]:
            best = accuracies[-1], copy.deepcopy(net)
            chosen.append(epoch)
    for found, expected in zip(method.networks["network"].parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(method.matrices["transition"].double(), matrix, rtol=0, atol=1e-7)
    torch.testing.assert_close(method.slack, slack, rtol=0, atol=2e-6)
    assert float(slack.detach().abs().min()) > 1e-3
    assert [value for _, value in curves.series("train/loss")] == pytest.approx(losses, abs=1e-6)
    assert [value for _, value in curves.series("val/acc")] == pytest.approx(accuracies)
    assert {2, 5} - set(chosen), "a stage whose best epoch is its last would not tell"


# ---- the sweep


def _swept(folder: Path, *callbacks: L.Callback, **options: Any) -> tuple[TRevision, _Watch, Curves]:
    torch.manual_seed(0)
    method, watch, curves = TRevision(3, PlainMLP, estimate_epochs=4, reweight_epochs=1, **options), _Watch(), Curves()
    make_trainer(folder, 5, (*callbacks, Diagnostics(), watch, curves)).fit(method, datamodule=_data())
    return method, watch, curves


class _Plan(L.Callback):
    """Other figures of validation than the real ones."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, [*values, 0.0, 0.0]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.epoch_metrics[self.name] = self.values[trainer.current_epoch]  # type: ignore[union-attr, operator, index]


@pytest.mark.parametrize(
    ("name", "values", "options", "chosen"),
    [
        ("val/acc", [0.2, 0.1, 0.9, 0.8], {}, 2),
        ("val/acc", [0.9, 0.1, 0.9, 0.1], {"sweep_every": 2}, 1),
        ("val/acc", [0.9, 0.1, 0.9, 0.2], {"sweep_every": 2}, 3),
        ("val/acc", [0.9, 0.1, 0.2, 0.9], {"sweep_every": 3}, 2),
        ("val/loss", [0.1, 0.5, 0.0, 0.4], {"sweep_every": 2, "select_by": "val_loss"}, 3),
        ("val/loss", [0.1, 0.4, 0.0, 0.5], {"sweep_every": 2, "select_by": "val_loss"}, 1),
        ("val/loss", [0.1, 0.5, 0.1, 0.4], {"select_by": "val_loss"}, 0),
    ],
)
def test_the_best_of_the_epochs_that_can_be_chosen_estimates(
    name: str, values: list[float], options: dict[str, Any], chosen: int, tmp_path: Path
) -> None:
    method, watch, curves = _swept(tmp_path, _Plan(name, values), **options)
    assert torch.equal(watch.starts[4], watch.ends[chosen])
    every = options.get("sweep_every")
    swept = [] if every is None else [epoch for epoch in range(4) if (epoch + 1) % every == 0]
    for epoch in range(4):
        changed = not torch.equal(watch.matrices[epoch], watch.matrices[epoch - 1] if epoch else torch.zeros(3, 3))
        assert changed == (epoch in swept), epoch
    assert [int(epoch) for epoch, _ in curves.series("transition/error")] == list(range(min(swept, default=4), 5))
    if swept:  # the chosen network gives the matrix that it gave in its epoch
        assert torch.equal(method.matrices["transition"], watch.matrices[chosen])


@pytest.mark.parametrize(("shares", "chosen"), [((0.9, 0.2, 0.0, 0.3), 1), ((0.0, 0.5, 0.1, 0.4), 3), ((1.0, 0.3, 1.0, 0.3), 1)])
def test_the_oracle_chooses_the_smallest_true_error(
    shares: tuple[float, ...], chosen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, uniform = PairFlip(0.3).transition_matrix(3), torch.full((3, 3), 1 / 3, dtype=torch.float64)
    asked = []

    def estimate(self: TRevision, estimator: str) -> Anchors:
        asked.append(self.current_epoch)
        share = (*shares, shares[chosen])[self.current_epoch]
        return Anchors(share * uniform + (1 - share) * truth, torch.arange(3))

    monkeypatch.setattr(TRevision, "estimate", estimate)
    _, watch, curves = _swept(tmp_path, sweep_every=2, select_by="oracle", oracle=partial(PairFlip, rate=0.3))
    assert asked == [1, 3, 4]
    assert torch.equal(watch.starts[4], watch.ends[chosen])
    full = float((uniform - truth).abs().sum() / 3)
    expected = [shares[1] * full, shares[1] * full, shares[3] * full, shares[chosen] * full]
    assert [value for _, value in curves.series("transition/error")] == pytest.approx(expected, abs=1e-6)


# ---- what is given in a file


def test_a_matrix_from_a_file_replaces_the_estimate_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "matrix.npy", MATRIX.numpy())
    method, watch = TRevision(3, PlainMLP, str(tmp_path / "matrix.npy"), estimate_epochs=1, reweight_epochs=1), _Watch()
    make_trainer(tmp_path, 3, (watch,)).fit(method, datamodule=_data())
    assert [batch.phase for batch in watch.batches[::6]] == ["estimate", "reweight", "revise"]
    torch.testing.assert_close(method.matrices["transition"], MATRIX.float())
    assert method.anchor_rows() is None


@pytest.mark.parametrize("content", [None, "0.5,0.5\n0.5,0.5\n", "0.5,0.5,0\n0,1,0\n0,0,2\n"])
def test_a_file_that_holds_no_such_matrix_is_known_before_the_first_step(content: str | None, tmp_path: Path) -> None:
    path, watch = tmp_path / "matrix.csv", _Watch()
    if content is not None:
        path.write_text(content)
    with pytest.raises((OSError, ValueError), match=r"matrix\.csv"):
        make_trainer(tmp_path, 3, (watch,)).fit(TRevision(3, PlainMLP, str(path)), datamodule=_data())
    assert not watch.batches


# ---- a finished run


def test_checkpoint_of_a_finished_run_is_validated_by_the_revised_matrix(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = TRevision(3, PlainMLP, estimate_epochs=1, reweight_epochs=1, revise_optimizer=partial(SGD, lr=0.5))
    data, trainer = _data(), make_trainer(tmp_path, 3)
    trainer.fit(method, datamodule=data)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    again = TRevision.load_from_checkpoint(tmp_path / "end.ckpt")
    assert again.stage == "revise"
    make_trainer(tmp_path, 1).validate(again, datamodule=data, verbose=False)
    with torch.no_grad():
        probs = method.eval()(data.source.train.values[data.split.val]).softmax(1)  # type: ignore[union-attr]
        q = probs @ (method.matrices["transition"] + method.slack)
    given = data.given_target[data.split.val]
    assert again.epoch_metrics["val/acc"] == pytest.approx(float((q.argmax(1) == given).double().mean()))
    expected = -(q / q.sum(1, keepdim=True)).gather(1, given[:, None]).log().mean()  # the slack's rows need not sum to 0
    assert again.epoch_metrics["val/loss"] == pytest.approx(float(expected), abs=1e-5)
    for name in ("val/acc", "val/loss"):
        assert again.epoch_metrics[name] == pytest.approx(method.epoch_metrics[name], abs=1e-6)


def test_symmetric_noise_leaves_the_oracle_out_of_training(tmp_path: Path) -> None:
    """An oracle that only chooses changes nothing where there is one epoch to choose from."""
    weights = []
    for rate in (0.2, 0.6):
        torch.manual_seed(0)
        oracle = {"oracle": partial(Symmetric, rate=rate), "select_by": "oracle", "sweep_every": 2}
        method = TRevision(3, PlainMLP, estimate_epochs=2, reweight_epochs=1, **oracle)  # type: ignore[arg-type]
        make_trainer(tmp_path, 4).fit(method, datamodule=_data())
        weights.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    assert torch.equal(*weights)
