from __future__ import annotations

import copy
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, ToyData, make_trainer
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from noisylab.callbacks import Curves, Diagnostics
from noisylab.methods import Backward, Forward
from noisylab.models.network import Network
from noisylab.noise import Asymmetric, FromFile, Noise, OpenSet, PairFlip, Symmetric
from noisylab.transforms.draws import key_from
from noisylab.types import Batch, Inputs, PlanBatch

LOGITS = torch.tensor([[2.0, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0])
MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)


def _batch(target: Tensor = TARGET, phase: str = "corrected") -> PlanBatch:
    samples = Batch((torch.zeros(len(target), 2),), target, torch.arange(len(target)))
    return PlanBatch(phase, {"train": samples}, 0, 0, False, False)


class _OneProcess:
    world_size, current_epoch = 1, 0


def _with_matrix(method: Forward, matrix: Tensor = MATRIX) -> Forward:
    method._trainer = _OneProcess()  # type: ignore[assignment]
    method.set_transition(matrix)
    return method


# ---- losses, computed by hand


def test_forward_and_backward_loss_of_four_samples() -> None:
    forward, backward = _with_matrix(Forward(3, PlainMLP)), _with_matrix(Backward(3, PlainMLP))
    assert forward.loss("corrected", _batch(), LOGITS).item() == pytest.approx(0.7207788077678906, abs=1e-7)
    assert backward.loss("corrected", _batch(), LOGITS).item() == pytest.approx(-0.2712873357236512, abs=1e-6)
    plain = nn.functional.cross_entropy(LOGITS, TARGET).item()
    for method in (forward, backward):
        assert method.loss("warmup", _batch(), LOGITS).item() == pytest.approx(plain, abs=1e-12)


def test_cap_limits_what_a_sample_costs() -> None:
    backward = _with_matrix(Backward(3, PlainMLP, cap=0.25))
    each = [-1.0635, 0.25, -0.2486, -0.1784]  # the second is 0.4053 without a cap
    assert backward.loss("corrected", _batch(), LOGITS).item() == pytest.approx(sum(each) / 4, abs=1e-4)
    for cap in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="cap must be a positive number, or None for no limit"):
            Backward(3, PlainMLP, cap=cap)


def test_backward_clips_probabilities_unless_told_not_to() -> None:
    matrix, sure = torch.tensor([[0.6, 0.4, 0], [0.4, 0.6, 0], [0, 0, 1]]), torch.tensor([[0.0, 60.0, 0.0]])
    batch = _batch(torch.tensor([1]))
    clipped, plain = (_with_matrix(Backward(3, PlainMLP, least_probability=clip), matrix) for clip in (1e-7, None))
    assert _with_matrix(Backward(3, PlainMLP), matrix).loss("corrected", batch, sure).item() == pytest.approx(-32.2362, abs=1e-4)
    assert clipped.loss("corrected", batch, sure).item() == pytest.approx(-32.2362, abs=1e-4)
    assert plain.loss("corrected", batch, sure).item() == pytest.approx(-120, abs=1e-4)
    for clip in (0.0, -1e-7, 0.5, float("nan")):
        with pytest.raises(ValueError, match=r"least_probability must be a fraction in \(0, 0.5\), or None for no limit"):
            Backward(3, PlainMLP, least_probability=clip)


def test_backward_loss_is_on_average_that_of_the_true_label() -> None:
    backward = _with_matrix(Backward(3, PlainMLP))
    for true in range(3):
        costs = [backward.loss("corrected", _batch(torch.full((4,), given)), LOGITS) for given in range(3)]
        expected = nn.functional.cross_entropy(LOGITS, torch.full((4,), true))
        assert float(sum(MATRIX[true, given] * costs[given] for given in range(3))) == pytest.approx(float(expected), abs=1e-6)


# ---- whole runs against plain loops


class _Batches(L.Callback):
    """What each training step was handed."""

    def __init__(self) -> None:
        self.found: list[PlanBatch] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.found.append(batch)


def _rows_of_T(probs: Tensor, outliers: bool) -> Tensor:
    """Row i: the prediction of the sample surest of class i, of those below the 97th percentile of its probability."""
    table, chosen = probs.numpy(), []
    for i in range(3):
        limit = np.percentile(table[:, i], 97, method="higher") if not outliers else np.inf
        best = None
        for n in range(len(table)):
            if table[n, i] < limit and (best is None or table[n, i] > table[best, i]):
                best = n
        assert best is not None
        chosen.append([value / table[best].sum() for value in table[best]])
    return torch.tensor(np.array(chosen))


def _through_the_predicted_class(probs: Tensor, given: Tensor, transition: Tensor) -> Tensor:
    counts = [[0.0] * 3 for _ in range(3)]
    for row, label in zip(probs, given.tolist(), strict=True):
        counts[int(row.argmax())][label] += 1
    shares = [[c / sum(line) for c in line] if sum(line) else [float(j == i) for j in range(3)] for i, line in enumerate(counts)]
    return transition @ torch.tensor(shares, dtype=torch.float64)


def _sample_losses(kind: type, logits: Tensor, target: Tensor, transition: Tensor | None) -> list[Tensor]:
    found = []
    inverse = None if transition is None else torch.linalg.inv(transition.double()).float().double()
    for z, y in zip(logits, target.tolist(), strict=True):
        p = torch.exp(z) / torch.exp(z).sum()
        if transition is None or inverse is None:
            found.append(-torch.log(p[y]))
        elif kind is Backward:
            found.append(sum((-inverse[y, j] * torch.log(p[j]) for j in range(3)), torch.zeros(())))
        else:
            found.append(-torch.log(sum((p[k] * transition.float().double()[k, y] for k in range(3)), torch.zeros(()))))
    return found


def _assert_close(found: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("cls", "transition", "restart", "network"),
    [
        (Forward, "anchor", True, PlainMLP),
        (Forward, "anchor97", False, BatchNormMLP),
        (Forward, "dual97", False, PlainMLP),
        (Backward, "anchor97", True, PlainMLP),
        (Backward, "anchor", False, PlainMLP),
    ],
)
def test_a_run_equals_a_plain_loop(cls: type[Forward], transition: str, restart: bool, network: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    halved = partial(StepLR, step_size=1, gamma=0.5)
    method = cls(
        3,
        network,
        transition=transition,
        warmup_epochs=3,
        restart=restart,
        clip_norm=2.0 if cls is Backward else None,
        warmup_optimizer=partial(SGD, lr=0.2, momentum=0.9, weight_decay=1e-3),
        warmup_scheduler=halved,
        optimizer=partial(SGD, lr=0.1, momentum=0.5, weight_decay=1e-2),
        scheduler=halved,
    )
    net, batches, curves = copy.deepcopy(method.networks["network"]).double(), _Batches(), Curves()
    data = ToyData(num_train=61, noise=PairFlip(0.3), val_fraction=0.3, spread=1.8)
    trainer = make_trainer(tmp_path, 5, (batches, curves), precision="64-true")
    trainer.fit(method, datamodule=data)
    assert [batch.phase for batch in batches.found] == ["warmup"] * 18 + ["corrected"] * 12

    points = data.source.train.values.double()  # type: ignore[union-attr]
    given, held = data.given_target, data.split.val
    matrix: Tensor | None = None
    best, best_net, accuracies = -1.0, net, []
    for epoch in range(5):
        if epoch in (0, 3):
            rate = 0.2 if epoch == 0 else 0.1
            if epoch == 3:
                rows = data.info.train_rows
                with torch.no_grad():
                    probs = best_net.eval()(points[rows]).softmax(1)
                matrix = _rows_of_T(probs, outliers=not transition.endswith("97"))
                if transition.startswith("dual"):
                    matrix = _through_the_predicted_class(probs, given[rows], matrix)
                net = copy.deepcopy(best_net)
                if restart:  # the draws of a new network are keyed; which they are is another test's
                    start = torch.random.get_rng_state()
                    torch.manual_seed(key_from(0, "fresh", "corrected"))
                    net = network(3).double()
                    torch.random.set_rng_state(start)
            optimizer = SGD(net.parameters(), rate, 0.9 if epoch == 0 else 0.5, weight_decay=1e-3 if epoch == 0 else 1e-2)
        optimizer.param_groups[0]["lr"] = (0.2, 0.1, 0.05, 0.1, 0.05)[epoch]
        net.train()
        for batch in batches.found[6 * epoch : 6 * epoch + 6]:
            samples = batch["train"]
            losses = _sample_losses(cls, net(samples.views[0]), samples.target, matrix)
            optimizer.zero_grad()
            (sum(losses, torch.zeros(())) / len(losses)).backward()
            if cls is Backward:
                norm = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
                for p in net.parameters():
                    assert p.grad is not None
                    p.grad.mul_(min(1.0, float(2.0 / (norm + 1e-6))))
            optimizer.step()
        with torch.no_grad():
            probs = net.eval()(points[held]).softmax(1)
            if matrix is not None:
                probs = probs @ matrix
        accuracies.append(float((probs.argmax(1) == given[held]).double().mean()))
        if epoch < 3 and accuracies[-1] > best:
            best, best_net = accuracies[-1], copy.deepcopy(net)
    _assert_close(method.networks["network"], net)
    assert matrix is not None
    torch.testing.assert_close(method.matrices["transition"], matrix.float(), rtol=0, atol=1e-6)
    assert [value for _, value in curves.series("val/acc")] == pytest.approx(accuracies)


def test_the_estimate_names_its_samples_by_their_rows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method, data = Forward(3, PlainMLP, "anchor", warmup_epochs=3, restart=False, hand_over="last"), ToyData(val_fraction=0.3)
    trainer = make_trainer(tmp_path, 3)
    trainer.fit(method, datamodule=data)
    assert method.transition_matrix() is None and method.anchor_rows() is None, "before the corrected stage there is none"
    method.begin_stage("corrected")
    rows = method.anchor_rows()
    assert rows is not None and not set(rows.tolist()) & set(data.split.val.tolist())
    with torch.no_grad():
        probs = method.eval()(data.source.train.values[rows]).softmax(1)  # type: ignore[union-attr]
    torch.testing.assert_close(method.matrices["transition"], probs)


# ---- a matrix that is given


@pytest.mark.parametrize(
    ("oracle", "noise", "classes"),
    [
        (partial(Symmetric, rate=0.3), Symmetric(0.3), 3),
        (partial(Symmetric, rate=0.3, own_class=True), Symmetric(0.3, own_class=True), 3),
        (partial(PairFlip, rate=0.4), PairFlip(0.4), 3),
        (partial(Asymmetric, rate=0.3, mapping={0: 2}), Asymmetric(0.3, {0: 2}), 3),
        (partial(Asymmetric, rate=0.2, mapping={"blob1": "blob0"}), Asymmetric(0.2, {"blob1": "blob0"}), 3),
        (partial(OpenSet, rate=0.2, open_ratio=0.4), OpenSet(0.2, 0.4), 5),
        (partial(OpenSet, rate=0.2, open_ratio=0.7, closed="asymmetric"), OpenSet(0.2, 0.7, "asymmetric"), 10),
    ],
    ids=str,
)
@pytest.mark.parametrize("cls", [Forward, Backward])
def test_oracle_takes_the_matrix_of_the_noise_from_the_first_epoch(
    cls: type[Forward], oracle: Any, noise: Noise, classes: int, tmp_path: Path
) -> None:
    method, batches, curves = (
        cls(3, PlainMLP, oracle=oracle, clip_norm=1.0, optimizer=partial(SGD, lr=1e-3)),
        _Batches(),
        Curves(),
    )
    data = ToyData(num_train=30, classes=classes, noise=noise)
    make_trainer(tmp_path, 1, (batches, Diagnostics(), curves)).fit(method, datamodule=data)
    assert data.noisy is not None and data.noisy.transition_matrix is not None
    truth = data.noisy.transition_matrix[:3, :3]
    torch.testing.assert_close(method.matrices["transition"], truth.float(), rtol=0, atol=0)
    assert method.optimizer_names == ("corrected",) and {batch.phase for batch in batches.found} == {"corrected"}
    assert curves.series("transition/error")[-1][1] == pytest.approx(0.0, abs=1e-6)


def test_noise_that_knows_no_matrix_is_no_oracle(tmp_path: Path) -> None:
    method = Forward(3, PlainMLP, oracle=partial(FromFile, path="labels.npz"))
    with pytest.raises(ValueError, match=r"labels\.npz holds labels, not the matrix they were drawn from"):
        make_trainer(tmp_path, 1).fit(method, datamodule=ToyData())


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_a_file_gives_the_matrix_without_a_warm_up(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"matrix.{ending}"
    if ending == "npy":
        np.save(path, MATRIX.numpy())
    else:
        np.savetxt(path, MATRIX.numpy(), delimiter=",")
    method = Forward(3, PlainMLP, transition=str(path))
    make_trainer(tmp_path, 1).fit(method, datamodule=ToyData())
    assert method.optimizer_names == ("corrected",)
    torch.testing.assert_close(method.matrices["transition"], MATRIX.float())


# ---- an inverse that blows up


@pytest.mark.parametrize("bad", ["oracle", "estimate"])
def test_an_ill_conditioned_matrix_is_warned_of_once_with_the_epoch(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"optimizer": partial(SGD, lr=1e-3)}
    if bad == "oracle":
        method = Backward(3, PlainMLP, oracle=partial(Symmetric, rate=2 / 3), **options)
    else:
        method = Backward(3, PlainMLP, transition="anchor", warmup_epochs=2, hand_over="last", **options)
        alike = torch.tensor([[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
        monkeypatch.setattr(method, "score_probs", lambda: (alike, torch.arange(3)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(tmp_path, 4).fit(method, datamodule=ToyData(noise=Symmetric(0.4)))
    said = [str(warning.message) for warning in caught if "condition number" in str(warning.message)]
    assert len(said) == 1 and said[0].startswith(f"epoch {0 if bad == 'oracle' else 2}: ") and "pseudo-inverse" in said[0]
    expected = torch.linalg.pinv(method.matrices["transition"].double(), rtol=1e-4)
    torch.testing.assert_close(method.matrices["inverse"].double(), expected, rtol=0, atol=1e-5)


# ---- what validation looks at


class _Table(Network):
    """The inputs are the logits."""

    def forward(self, inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return inputs + 0 * self.unused

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.unused = nn.Parameter(torch.zeros(()))


def test_given_labels_are_predicted_through_the_matrix_once_there_is_one() -> None:
    shift = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], dtype=torch.float64)
    for cls in (Forward, Backward):
        method = _with_matrix(cls(3, _Table), shift)
        assert torch.equal(method.given_logits(LOGITS), LOGITS), "in the warm-up"
        method._begun = 2
        torch.testing.assert_close(method.given_logits(LOGITS).exp(), LOGITS.softmax(1) @ shift, rtol=0, atol=1e-7)
