"""Encoders learned without labels, and the probe beside them."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor

from noisylab.callbacks import Curves
from noisylab.checkpoints.warm_start import warm_start
from noisylab.data import Digits
from noisylab.losses import nt_xent
from noisylab.methods import DMI, CrossEntropy, DivideMix, LinearProbe, NoisyLabelMethod, RotNet, SimCLR, TRevision
from noisylab.models import SmallCNN
from noisylab.noise import Symmetric
from noisylab.schedules import WarmupCosine
from noisylab.types import Batch, PlanBatch

_NET = partial(SmallCNN, width=4)
_SLOW = partial(torch.optim.SGD, lr=0.05)


def encoder(method: NoisyLabelMethod) -> dict[str, Tensor]:
    return {name: value for name, value in method.networks["network"].state_dict().items() if not name.startswith("head.")}


def test_labels_do_not_reach_the_encoder(tmp_path: Path) -> None:
    found = []
    for rate in (0.0, 0.5):
        torch.manual_seed(0)
        method = SimCLR(3, PlainMLP, optimizer=_SLOW)
        start = {name: value.clone() for name, value in encoder(method).items()}
        fit(method, ToyData(unlabel=False, noise=Symmetric(rate)), tmp_path / str(rate), 1)
        found.append((encoder(method), method.networks["network"].head.weight))
    assert_same(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1]), "the probe learns them"
    assert not torch.equal(start["body.1.weight"], found[0][0]["body.1.weight"])


def test_every_row_is_trained_on_with_a_label_or_without(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watched(SimCLR):
        def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
            seen.extend(batch["train"].index.tolist())
            return super().training_step(batch, batch_idx)

    method, data = Watched(3, PlainMLP, optimizer=_SLOW), ToyData()
    fit(method, data, tmp_path, 1)
    assert len(data.info.unlabeled_rows) == 20 and sorted(seen) == list(range(40))
    assert not bool((method.memory["observed_epoch"] >= 0).any())


def batch_of(*views: Tensor, target: Tensor) -> PlanBatch:
    samples = Batch(views, target, torch.arange(len(target)))
    return PlanBatch("train", {"train": samples}, 0, 0, False, False)


def attached(method: NoisyLabelMethod, folder: Path) -> NoisyLabelMethod:
    """A method that has met its data, without a step."""
    make_trainer(folder, 0).fit(method, datamodule=ToyData(unlabel=False))
    method.memory.allocate(40)
    return method


def test_a_step_of_simclr_is_the_loss_of_its_two_views_plus_that_of_a_detached_probe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = attached(SimCLR(3, PlainMLP, temperature=0.3, base_temperature=0.07), tmp_path)
    draw = torch.Generator().manual_seed(1)
    first, second, target = (
        torch.randn(6, 2, generator=draw),
        torch.randn(6, 2, generator=draw),
        torch.tensor([0, 1, -1, 2, 0, -1]),
    )
    method.training_step(batch_of(first, second, target=target.clamp(min=0)), 0)  # without unlabeled rows all are observed
    net, plain = method.network, copy.deepcopy(method)
    features = [plain.network.body(view) for view in (first, second)]
    projected = [F.normalize(plain.projection(h), dim=1) for h in features]
    known = target >= 0
    probe = F.cross_entropy(plain.network.head(features[0].detach())[known], target[known])
    (nt_xent(*projected, 0.3, 0.07) + probe).backward()
    method.info = replace(method.info, unlabeled_rows=torch.tensor([1]))
    method.training_step(batch_of(first, second, target=target), 0).backward()
    for (name, ours), theirs in zip(net.named_parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    torch.testing.assert_close(method.projection[0].weight.grad, plain.projection[0].weight.grad)


def test_head_and_encoder_have_rates_of_their_own_and_one_schedule() -> None:
    method = SimCLR(3, PlainMLP, probe_lr=0.2, scheduler=partial(WarmupCosine, total=10, warmup=2))
    found = method.configure_optimizers()
    groups = found["optimizer"].param_groups
    assert [len(group["params"]) for group in groups] == [2 + 4, 2]
    schedule = found["lr_scheduler"]["scheduler"]
    target = 0.5 * (1e-3 + (1 - 1e-3) * (1 + torch.cos(torch.tensor(torch.pi * 0.2)).item()) / 2)
    assert groups[0]["lr"] == pytest.approx(0.01 + (target - 0.01) / 4)
    assert groups[1]["lr"] == pytest.approx(0.4 * groups[0]["lr"])
    found["optimizer"].step()
    for _ in range(9):
        schedule.step()
    assert groups[0]["lr"] == pytest.approx(0.0005) and groups[1]["lr"] == pytest.approx(0.0002)


# ---- RotNet


def digits(**kwargs: Any) -> Digits:
    return Digits(**{"batch_size": 16, "subset": 48, "seed": 0, "noise": Symmetric(0.2), "val_fraction": 0.2, **kwargs})


def test_rotnet_learns_all_four_turns_of_each_image_and_probes_the_upright_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = attached(RotNet(3, _NET), tmp_path).eval()
    assert isinstance(method, RotNet)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss, upright = method.task(batch_of(images, target=torch.tensor([0, 1, 2])))
    losses = []
    for image in images:
        for quarters in range(4):
            logits = method.rotation_head(method.network.features(image.rot90(quarters, (1, 2))[None]))
            losses.append(F.cross_entropy(logits, torch.tensor([quarters])))
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    torch.testing.assert_close(upright, method.network.features(images))


def test_rotnet_resumes_exactly_after_any_batch(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    torch.manual_seed(0)
    straight = fit(RotNet(10, _NET, optimizer=_SLOW), digits(), tmp_path / "straight", 2, last=(saver,))
    assert len(saver.files) == 6
    for file in saver.files[1:5:3]:
        torch.manual_seed(9)
        resumed = fit(RotNet(10, _NET, optimizer=_SLOW), digits(), tmp_path / file.stem, 2, resume=file)
        for part in ("networks", "memory", "optimizers", "step", "epoch"):
            assert_same(resumed[part], straight[part], part)


def test_rotnet_takes_images_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="square"):
        fit(RotNet(3, PlainMLP), ToyData(), tmp_path, 1)


# ---- what comes after


def test_the_encoder_of_a_pretraining_starts_both_networks_of_another_method(tmp_path: Path) -> None:
    old = RotNet(10, _NET, optimizer=_SLOW)
    fit(old, digits(), tmp_path, 1)
    new = DivideMix(10, _NET)
    started = warm_start(new, tmp_path / "last.ckpt")
    assert [(item.loaded, item.left) for item in started] == [(24, ("head.weight", "head.bias"))] * 2
    assert "RotNet learns no labels" in str(started[0])
    theirs = old.networks["network"].state_dict()
    for network in new.networks.values():
        same = {name for name, value in network.state_dict().items() if torch.equal(value, theirs[name])}
        assert same == set(theirs) - {"head.weight", "head.bias"}


def test_a_linear_probe_moves_the_head_and_nothing_else(tmp_path: Path) -> None:
    probe = LinearProbe(10, _NET)
    before = {name: value.clone() for name, value in probe.networks.state_dict().items()}
    make_trainer(tmp_path, 1).fit(probe, datamodule=digits())
    moved = {name for name, value in probe.networks.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.head.weight", "network.head.bias"}


@pytest.mark.parametrize(
    ("make", "stages"),
    [
        (lambda: DMI(3, PlainMLP, pretrain_epochs=0, optimizer=partial(torch.optim.SGD, lr=0.0)), [1.0, 1.0]),
        (lambda: TRevision(3, PlainMLP, estimate_epochs=0, reweight_epochs=1, hand_over="last"), [1.0, 2.0]),
    ],
)
def test_a_saved_epoch_stands_for_the_first_stage(make: Any, stages: list[float], tmp_path: Path) -> None:
    old = CrossEntropy(3, PlainMLP)
    fit(old, ToyData(), tmp_path, 2)
    with pytest.raises(ValueError, match=r"_epochs=0 leaves out the stage that trains the network first"):
        make_trainer(tmp_path, 2).fit(make(), datamodule=ToyData())
    method, curves = make(), Curves()
    warm_start(method, tmp_path / "last.ckpt")
    make_trainer(tmp_path, 2, (curves,)).fit(method, datamodule=ToyData())
    assert [value for _, value in curves.series("train/stage")] == stages
    if isinstance(method, DMI):  # its rate is 0
        assert not method.needs_validation
        assert_same(dict(method.networks.state_dict()), dict(old.networks.state_dict()))
