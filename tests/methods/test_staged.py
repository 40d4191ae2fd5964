from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from helpers import DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from noisylab.callbacks import Curves
from noisylab.losses import cross_entropy
from noisylab.methods import DMI, Backward, Forward, NoisyLabelMethod, TRevision, VolMinNet
from noisylab.methods.staged import HandOver, Stage, StagedMethod
from noisylab.models.network import NetFactory
from noisylab.noise import Symmetric
from noisylab.specs import Factory
from noisylab.types import PlanBatch


class Stages(StagedMethod):
    """Cross-entropy for two epochs, for three, and for all others; each rate is halved by every epoch of its stage."""

    def __init__(self, num_classes: int, network: NetFactory, hand_over: HandOver = "last", fresh: bool = False) -> None:
        super().__init__(num_classes, hand_over)
        self.save_hyperparameters()
        halved: Any = Factory(StepLR, {"step_size": 1, "gamma": 0.5})
        rates: dict[str, Any] = {
            "first": Factory(SGD, {"lr": 0.1, "momentum": 0.9}),
            "second": Factory(Adam, {"lr": 0.01}),
            "third": Factory(SGD, {"lr": 0.2, "momentum": 0.5}),
        }
        lengths = {"first": 2, "second": 3, "third": None}
        self.add_stages(network, *(Stage(name, lengths[name], rates[name], halved, fresh and name == "second") for name in rates))
        self.planned: list[float | None] | None = None
        self.begun: dict[str, dict[str, Tensor]] = {}

    def begin_stage(self, stage: str) -> None:
        self.begun[stage] = weights(self)

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        return self.mean(cross_entropy(logits, batch["train"].target, reduction="none"))

    def score_epoch(self, epoch: int) -> float | None:
        return super().score_epoch(epoch) if self.planned is None else self.planned[epoch]


def weights(method: NoisyLabelMethod) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.networks["network"].state_dict().items()}


class Watch(L.Callback):
    """By epoch: the phase, the network before the first step and after the last one, rates, and which optimizers have a state."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.starts: list[dict[str, Tensor]] = []
        self.ends: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []
        self.used: list[list[bool]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch.position == 0:
            assert isinstance(pl_module, NoisyLabelMethod)
            self.phases.append(batch.phase)
            self.starts.append(weights(pl_module))
            self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        self.ends.append(weights(pl_module))
        self.used.append([bool(optimizer.state) for optimizer in trainer.optimizers])


def _data(**kwargs: Any) -> ToyData:
    return ToyData(**{"num_train": 29, "noise": Symmetric(0.4), "val_fraction": 0.3, "spread": 2.0, **kwargs})  # three batches


def _watched(folder: Path, epochs: int, method: StagedMethod, **kwargs: Any) -> tuple[Watch, Curves]:
    watch, curves = Watch(), Curves()
    make_trainer(folder, epochs, (watch, curves)).fit(method, datamodule=_data(**kwargs))
    return watch, curves


def _differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


# ---- the order of the stages


def test_every_epoch_belongs_to_the_stage_that_its_number_says() -> None:
    method = Stages(3, PlainMLP)
    assert [method.stage_number(epoch) for epoch in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [method.first_epoch(number) for number in range(3)] == [0, 2, 5]
    assert [method.best_since(epoch) for epoch in range(8)] == [0, 0, 2, 2, 2, 5, 5, 5]
    resting = []
    for epoch in (1, 2, 5):
        method._trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        resting.append(method.resting)
    assert resting == [("second", "third"), ("first", "third"), ("first", "second")]


def test_each_stage_steps_its_own_optimizer_and_leaves_no_state(tmp_path: Path) -> None:
    method = Stages(3, PlainMLP)
    watch, curves = _watched(tmp_path, 7, method)
    assert watch.phases == ["first"] * 2 + ["second"] * 3 + ["third"] * 2
    assert watch.used == [[number == stage for number in range(3)] for stage in (0, 0, 1, 1, 1, 2, 2)]
    assert [value for _, value in curves.series("train/stage")] == [0, 0, 1, 1, 1, 2, 2]


def test_a_schedule_counts_from_the_start_of_its_stage_and_then_stands_still(tmp_path: Path) -> None:
    watch, curves = _watched(tmp_path, 7, Stages(3, PlainMLP))
    first, second, third = ([row[place] for row in watch.rates] for place in range(3))
    assert first == pytest.approx([0.1, 0.05] + [0.025] * 5)
    assert second == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.0025, 0.00125, 0.00125])
    assert third == pytest.approx([0.2] * 6 + [0.1])
    logged = {name: [(int(epoch), rate) for epoch, rate in curves.series(f"lr/{name}")] for name in ("first", "second", "third")}
    for number, (name, rates) in enumerate(zip(logged, (first, second, third), strict=True)):
        own = [epoch for epoch in range(7) if (epoch >= 2) + (epoch >= 5) == number]
        assert [epoch for epoch, _ in logged[name]] == own
        assert [rate for _, rate in logged[name]] == pytest.approx([rates[epoch] for epoch in own])


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [([0.5, 0.5, math.nan, 0.9, None], (0, 3)), ([0.1, 0.4, 0.7, 0.2, 0.7], (1, 2)), ([-2.0, -3.0, None, -1.0, -0.5], (0, 4))],
)
def test_a_stage_goes_on_with_the_first_of_the_best_networks(
    scores: list[float | None], chosen: tuple[int, int], tmp_path: Path
) -> None:
    method = Stages(3, PlainMLP, "best")
    method.planned = scores
    watch, _ = _watched(tmp_path, 6, method)
    assert_same(watch.starts[2], watch.ends[chosen[0]])
    assert_same(watch.starts[5], watch.ends[chosen[1]])
    assert_same(method.begun["third"], watch.starts[5])
    assert all(_differ(one, other) for place, one in enumerate(watch.ends) for other in watch.ends[:place])


def test_the_last_network_is_handed_over_on_request_and_needs_no_validation(tmp_path: Path) -> None:
    method, watch = Stages(3, PlainMLP, "last"), Watch()
    make_trainer(tmp_path, 6, (watch,)).fit(method, datamodule=_data(val_fraction=0.0))
    for epoch in range(1, 6):
        assert_same(watch.starts[epoch], watch.ends[epoch - 1])


def test_a_stage_without_a_score_stops_the_run(tmp_path: Path) -> None:
    method = Stages(3, PlainMLP, "best")
    method.planned = [None, math.nan]
    with pytest.raises(ValueError, match=r"no epoch was scored.*validate once per stage or more"):
        make_trainer(tmp_path, 3).fit(method, datamodule=_data())


def test_choosing_by_validation_without_held_out_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Stages continues with.*set data\.val_fraction to 0\.1, or model\.hand_over to last"):
        make_trainer(tmp_path, 3).fit(Stages(3, PlainMLP, "best"), datamodule=_data(val_fraction=0.0))


def test_wrong_settings_of_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="hand_over must be 'best' or 'last', got 'first'"):
        Stages(3, PlainMLP, "first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="warmup_epochs must be a whole number, at least 1, got 0"):
        Forward(3, PlainMLP, warmup_epochs=0)
    with pytest.raises(ValueError, match=r"transition must be one of anchor, anchor97, dual, dual97, or a file.*got 'anchors'"):
        Forward(3, PlainMLP, transition="anchors")


def test_a_new_network_is_keyed_by_the_seed_of_the_run_alone(tmp_path: Path) -> None:
    starts = []
    for torch_seed, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(torch_seed)
        method = Stages(3, PlainMLP, fresh=True)
        before = weights(method)
        watch, _ = _watched(tmp_path, 3, method, seed=seed)
        assert _differ(watch.starts[2], before) and _differ(watch.starts[2], watch.ends[1])
        assert_same(method.begun["second"], watch.ends[1])  # the matrix is estimated from the old network
        starts.append(watch.starts[2])
    assert_same(starts[0], starts[1])
    assert _differ(starts[0], starts[2])


def test_the_kept_network_is_neither_trained_nor_counted_among_the_parameters_of_an_optimizer() -> None:
    method = Stages(3, PlainMLP, "best")
    assert method.best is not None and not any(p.requires_grad for p in method.best.parameters())
    kept = {id(p) for p in method.best.parameters()}
    for optimizer in method.configure_optimizers()[0]:
        assert not kept & {id(p) for group in optimizer.param_groups for p in group["params"]}


# ---- promise 3: resume at and within every stage


_RESUMED: dict[str, Callable[[], StagedMethod]] = {
    "forward": lambda: Forward(3, DropoutMLP, warmup_epochs=2, scheduler=partial(StepLR, step_size=1)),
    "backward": lambda: Backward(3, DropoutMLP, transition="anchor97", warmup_epochs=2, restart=False, clip_norm=1.0),
    "trevision": lambda: TRevision(
        3,
        DropoutMLP,
        estimate_epochs=2,
        reweight_epochs=1,
        sweep_every=1,
        select_by="val_loss",
        reweight_scheduler=partial(StepLR, step_size=1),
        revise_optimizer=partial(Adam, lr=0.01),
    ),
}


def _everything(method: StagedMethod, folder: Path, epochs: int, **kwargs: Any) -> dict[str, Any]:
    found = fit(method, _data(), folder, epochs, **kwargs)
    del found["file"]  # a finished run writes none in a new folder
    return {**found, "state": dict(method.state_dict()), "stage": method.stage}


@pytest.fixture(scope="module")
def straight_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], list[Path]]]:
    """Four epochs of three batches without an interruption, and the checkpoints after every batch."""
    found = {}
    for name, make in _RESUMED.items():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        saver = SaveEveryBatch(folder)
        found[name] = _everything(make(), folder / "straight", 4, callbacks=(saver,)), saver.files
    return found


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 6, 8, 10])  # 2, 5 and 8 are the last of their epochs
@pytest.mark.parametrize("name", _RESUMED)
def test_resume_after_any_batch_equals_the_straight_run(
    name: str, batch: int, straight_runs: dict[str, tuple[dict[str, Any], list[Path]]]
) -> None:
    straight, files = straight_runs[name]
    assert len(files) == straight["step"] == 12
    torch.manual_seed(99)
    assert_same(_everything(_RESUMED[name](), files[batch].with_suffix(""), 4, resume=files[batch]), straight)


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("name", ["forward", "trevision"])
def test_a_run_that_was_to_end_with_an_epoch_goes_on_as_if_it_had_not(
    name: str, epochs: int, straight_runs: dict[str, tuple[dict[str, Any], list[Path]]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    ended = _everything(_RESUMED[name](), tmp_path / "ended", epochs)
    assert ended["step"] == 3 * epochs
    torch.manual_seed(99)
    assert_same(
        _everything(_RESUMED[name](), tmp_path / "ended", 4, resume=tmp_path / "ended" / "last.ckpt"), straight_runs[name][0]
    )


def test_a_finished_stage_is_forgotten_by_the_checkpoint_too(tmp_path: Path) -> None:
    _everything(_RESUMED["trevision"](), tmp_path, 4)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert [bool(state["state"]) for state in checkpoint["optimizer_states"]] == [False, False, True]


def test_a_second_fit_begins_with_the_first_stage(tmp_path: Path) -> None:
    method = Stages(3, PlainMLP, "best")
    for _ in range(2):
        watch, _ = _watched(tmp_path, 3, method)
        assert watch.phases == ["first", "first", "second"] and method.stage == "second"


# ---- promise 1: the truth never reaches training


class Poisoned(ToyData):
    """Says, once the noise is drawn, that other labels and another matrix are the true ones."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        assert self.noisy is not None and self._source is not None and self._source.test_target is not None
        object.__setattr__(self.noisy, "clean_target", (self.noisy.given_target + 1) % 3)
        object.__setattr__(self.noisy, "transition_matrix", torch.eye(3, dtype=torch.float64))
        object.__setattr__(self._source, "clean", (self.noisy.given_target + 1) % 3)
        object.__setattr__(self._source, "test_target", torch.zeros_like(self._source.test_target))


@pytest.mark.parametrize("name", [*_RESUMED, "volminnet"])
def test_true_labels_are_not_read_by_training(name: str, tmp_path: Path) -> None:
    make: dict[str, Callable[[], NoisyLabelMethod]] = {**_RESUMED, "volminnet": lambda: VolMinNet(3, DropoutMLP)}
    states = []
    for cls in (ToyData, Poisoned):
        torch.manual_seed(0)
        method, curves = make[name](), Curves()
        data = cls(num_train=29, noise=Symmetric(0.4), val_fraction=0.3)
        make_trainer(tmp_path, 4, (curves,)).fit(method, datamodule=data)
        states.append(({**method.state_dict()}, curves.series("val/acc"), curves.series("val/loss"), curves.series("test/acc")))
    assert_same(states[0][:3], states[1][:3])
    assert states[0][3] != states[1][3], "the poison works"


# ---- what makes an epoch the best of its stage


class _Figures(L.Callback):
    """Says what validation found in each epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        pl_module.epoch_metrics["val/acc"] = [0.9, 0.1, 0.2, 0.0][trainer.current_epoch]
        pl_module.epoch_metrics["val/loss"] = [0.5, 0.4, 0.9, 0.0][trainer.current_epoch]


@pytest.mark.parametrize(("select_by", "chosen"), [("val_acc", 0), ("val_loss", 1)])
@pytest.mark.parametrize("name", ["forward", "backward", "dmi"])
def test_a_stage_hands_over_its_best_network_by_the_figure_asked_for(
    name: str, select_by: Any, chosen: int, tmp_path: Path
) -> None:
    make: dict[str, Callable[[], StagedMethod]] = {
        "forward": lambda: Forward(3, PlainMLP, "anchor", warmup_epochs=3, restart=False, select_by=select_by),
        "backward": lambda: Backward(3, PlainMLP, transition="anchor", warmup_epochs=3, restart=False, select_by=select_by),
        "dmi": lambda: DMI(3, PlainMLP, pretrain_epochs=3, select_by=select_by),
    }
    watch = Watch()
    make_trainer(tmp_path, 4, (_Figures(), watch)).fit(make[name](), datamodule=_data())
    assert_same(watch.starts[3], watch.ends[chosen])


def test_wrong_choices_of_the_best_epoch_are_refused() -> None:
    with pytest.raises(ValueError, match="select_by must be 'val_acc' or 'val_loss', got 'oracle'"):
        Forward(3, PlainMLP, select_by="oracle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hand_over='last' takes the last; leave one out"):
        DMI(3, PlainMLP, select_by="val_loss", hand_over="last")
