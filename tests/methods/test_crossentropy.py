from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import PlainMLP, ToyData, make_trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from noisylab.data import Arrays
from noisylab.methods import CrossEntropy, crossentropy
from noisylab.models import FusionNet, SmallCNN
from noisylab.noise import Symmetric
from noisylab.specs import as_factory
from noisylab.transforms.mixing import cutmix_box
from noisylab.types import PlanBatch


class _Recording(CrossEntropy):
    """Keeps the batches of every epoch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches: list[PlanBatch] = []

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return super().training_step(batch, batch_idx)


def _assert_close(found: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize(("smoothing", "convention"), [(0.0, "torch"), (0.2, "torch"), (0.2, "others")])
def test_run_equals_a_plain_loop(smoothing: float, convention: str, tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = partial(CosineAnnealingLR, T_max=3)
    options = {"label_smoothing": smoothing, "smoothing": convention, "optimizer": sgd, "scheduler": schedule}
    method = _Recording(num_classes=3, network=PlainMLP, **options)
    network = copy.deepcopy(method.networks["network"])
    data = ToyData(num_train=41, noise=Symmetric(0.4), val_fraction=0.1)
    make_trainer(tmp_path, 3).fit(method, datamodule=data)

    optimizer = sgd(network.parameters())
    scheduler = schedule(optimizer)
    last: dict[int, tuple[float, int]] = {}
    for place, batch in enumerate(method.batches):
        samples = batch["train"]
        assert torch.equal(samples.target, data.given_target[samples.index])
        logits = network(samples.views[0])
        labels = torch.eye(3)[samples.target]
        rest = torch.full_like(labels, 1 / 3) if convention == "torch" else (1 - labels) / 2
        targets = (1 - smoothing) * labels + smoothing * rest
        optimizer.zero_grad()
        (-(targets * logits.log_softmax(1)).sum(1)).mean().backward()
        optimizer.step()
        if batch.last_of_epoch:
            scheduler.step()
        plain = F.cross_entropy(logits.detach(), samples.target, reduction="none")
        entries = zip(plain.tolist(), logits.argmax(1).tolist(), strict=True)
        last |= dict(zip(samples.index.tolist(), entries, strict=True))
        assert batch.epoch == place // 5
    _assert_close(method.networks["network"], network)
    assert sorted(last) == data.info.train_rows.tolist(), "every row was seen"
    for row, (loss, pred) in last.items():
        assert float(method.memory["observed_loss"][row]) == pytest.approx(loss, abs=1e-4)
        assert int(method.memory["observed_pred"][row]) == pred
        assert int(method.memory["observed_epoch"][row]) == 2


def test_held_out_rows_are_never_remembered(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(val_fraction=0.3)
    make_trainer(tmp_path, 1).fit(method, datamodule=data)
    held = torch.ones(40, dtype=torch.bool)
    held[data.info.train_rows] = False
    assert bool(method.memory["observed_loss"][held].isnan().all()) and int(held.sum()) == 12
    assert bool((method.memory["observed_epoch"][held] == -1).all())


def _step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lam: float, **options: Any) -> None:
    """Train one batch with a known mixing, against the formula."""
    order = torch.tensor([2, 0, 1, 3, 4])
    name = "mixup" if "mixup_alpha" in options else "cutmix"
    asked: list[float] = []

    def mix(inputs: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
        asked.append(alpha)
        return lam * inputs + (1 - lam) * inputs[order], order, lam

    monkeypatch.setattr(crossentropy, name, mix)
    method = _Recording(num_classes=3, network=PlainMLP, optimizer=partial(torch.optim.SGD, lr=1.0), **options)
    network = copy.deepcopy(method.networks["network"])
    make_trainer(tmp_path, 1).fit(method, datamodule=ToyData(num_train=5))
    (samples,) = (batch["train"] for batch in method.batches)
    x, y = samples.views[0], torch.eye(3)[samples.target]
    assert isinstance(x, Tensor)
    logits = network(lam * x + (1 - lam) * x[order])
    loss = -((lam * y + (1 - lam) * y[order]) * logits.log_softmax(1)).sum(1).mean()
    loss.backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    _assert_close(method.networks["network"], network)
    assert asked == [0.7]
    assert bool(method.memory["observed_loss"].isnan().all()), "no unmixed input was seen"


@pytest.mark.parametrize("name", ["mixup_alpha", "cutmix_alpha"])
def test_mixed_batches_are_learned_with_mixed_labels(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _step(monkeypatch, tmp_path, 0.3, **{name: 0.7})


def test_cutmix_trains_on_images(tmp_path: Path) -> None:
    class Images(ToyData):
        def load(self) -> Any:
            source = super().load()
            for rows in (source.train, source.test):
                rows.values = rows.values.view(-1, 1, 8, 8)  # type: ignore[union-attr]
            return source

    method = CrossEntropy(3, partial(SmallCNN, width=4), cutmix_alpha=1.0)
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(method, datamodule=Images(num_train=16, features=64))
    assert 0 < float(trainer.callback_metrics["train/loss"]) < 10


def test_box_of_cutmix() -> None:
    rows, columns, lam = cutmix_box(32, 32, 0.5, (28, 4))
    assert (columns.start, columns.stop, rows.start, rows.stop) == (0, 15, 17, 32)
    assert lam == pytest.approx(0.7802734, abs=1e-7)


def test_nesterov_step() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    given = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    optimizer = as_factory(given, torch.optim.Optimizer, "optimizer")([weight])
    for expected in (0.619905, 0.077806):
        weight.grad = torch.tensor([2.0])
        optimizer.step()
        assert weight.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be a fraction in \[0, 1\), got 1.0"),
        ({"mixup_alpha": 1.0, "cutmix_alpha": 0.5}, "choose one, set the other to 0"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(**{"num_classes": 3, "network": PlainMLP, **kwargs})


def test_a_run_with_compared_views_equals_a_plain_loop(tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    method = _Recording(num_classes=3, network=PlainMLP, jsd_weight=12.0, optimizer=sgd)
    network = copy.deepcopy(method.networks["network"])
    make_trainer(tmp_path, 1).fit(method, datamodule=ToyData(num_train=30, noise=Symmetric(0.4)))
    optimizer = sgd(network.parameters())
    for batch in method.batches:
        samples = batch["train"]
        assert len(samples.views) == 3 and not torch.equal(samples.views[1], samples.views[2])
        logits = network(torch.cat(samples.views)).split(len(samples))
        loss = F.cross_entropy(logits[0], samples.target)
        probs = [z.softmax(1) for z in logits]
        mixture = (sum(probs) / 3).clamp(1e-7, 1).log()
        for p in probs:
            loss = loss + 12 * F.kl_div(mixture, p, reduction="batchmean") / 3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _assert_close(method.networks["network"], network)
    assert int((method.memory["observed_epoch"] == 0).sum()) == 30


def test_compared_views_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"jsd_weight=12.0 compares views that are not mixed; set mixup_alpha=0.2"):
        CrossEntropy(3, PlainMLP, jsd_weight=12.0, mixup_alpha=0.2)


def test_a_run_with_the_soft_hgr_of_views_equals_a_plain_loop(tmp_path: Path) -> None:
    draw, y = np.random.default_rng(0), np.arange(44) % 3
    widths = {"left": 2, "right": 3, "third": 2}
    np.savez(tmp_path / "views.npz", y=y, **{f"x_{name}": draw.normal(size=(44, width)) for name, width in widths.items()})
    make = partial(FusionNet, in_features=widths, hidden=(), embedding=4)
    method = _Recording(num_classes=3, network=make, fusion_h=0.3, optimizer=partial(torch.optim.SGD, lr=0.1))
    network = copy.deepcopy(method.networks["network"])
    make_trainer(tmp_path, 1).fit(method, datamodule=Arrays(str(tmp_path / "views.npz"), val_fraction=0.25, batch_size=16))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for batch in method.batches:  # the last of one sample, which has no covariance
        samples = batch["train"]
        found = [encode(samples.views[0][name]) for encode, name in zip(network.encoders, widths, strict=True)]
        loss = F.cross_entropy(network.head(sum(found).relu()), samples.target)
        for first, second in ((0, 1), (0, 2), (1, 2)) if len(samples) > 1 else ():
            f, g = (found[place] - found[place].mean(0) for place in (first, second))
            rows = len(samples) - 1
            loss = loss - 0.3 / 3 * ((f * g).sum() / rows - ((f.T @ f / rows) @ (g.T @ g / rows)).trace() / 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _assert_close(method.networks["network"], network)
    assert int((method.memory["observed_epoch"] == 0).sum()) == 33 and "train/soft_hgr" in method.epoch_metrics


@pytest.mark.parametrize(
    ("network", "kwargs", "message"),
    [
        (PlainMLP, {}, "fusion_h=0.1 compares the embeddings of the views of a FusionNet, got PlainMLP; choose"),
        (partial(FusionNet, in_features={"one": 2}), {}, "got FusionNet of one view; choose a FusionNet of several views"),
        (partial(FusionNet, in_features={"a": 2, "b": 2}), {"mixup_alpha": 1.0}, "takes samples as they are, in one view; set"),
    ],
)
def test_soft_hgr_without_views_is_refused(network: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(3, network, fusion_h=0.1, **kwargs)
