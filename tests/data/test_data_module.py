"""What every data module does with the rows it has read."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from samples import train_batches
from torch import nn

from noisylab.data import CIFAR100, Arrays, Digits, ImageFolder, NoisyDataModule, WebImages
from noisylab.engine.sync_norm import SyncNorm
from noisylab.noise import OpenSet, PairFlip, Symmetric
from noisylab.types import Batch, EpochPlan, Phase, Stream

CLASSES, ROWS = 4, 120
TRUTH = np.arange(ROWS) % CLASSES


@pytest.fixture
def path(tmp_path: Path) -> str:
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    np.savez(tmp_path / "a.npz", x=x, y=TRUTH, group=np.arange(ROWS) // 10, test_x=x[:40], test_y=TRUTH[:40])
    return str(tmp_path / "a.npz")


def ready(path: str, **kwargs: Any) -> Any:
    data = Arrays(path, **kwargs)
    data.setup()
    return data


def parse(*arguments: str) -> NoisyDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(NoisyDataModule, "data")
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    data = instantiate(parser.parse_args(list(arguments))).data
    assert isinstance(data, NoisyDataModule)
    return data


@pytest.mark.parametrize(
    ("batch_norm", "ranks", "together", "sizes"),
    [
        (False, 2, False, [8, 8, 2]),
        (True, 1, False, [8, 8, 2]),
        (True, 2, False, [8, 10]),
        (True, 4, False, [8, 10]),
        (True, 4, True, [8, 8, 2]),
    ],
)
def test_a_last_batch_too_short_for_the_ranks_joins_the_one_before_unless_they_normalize_together(
    batch_norm: bool, ranks: int, together: bool, sizes: list[int], path: str
) -> None:
    data = ready(path, batch_size=8)
    phase = Phase(streams={"train": Stream(torch.arange(18))})
    network = nn.BatchNorm1d(3) if batch_norm else nn.Linear(3, 3)
    method = SimpleNamespace(epoch_plan=lambda epoch: EpochPlan((phase,)), modules=network.modules)
    strategy = SimpleNamespace(_layer_sync=SyncNorm() if together else None)
    data.trainer = SimpleNamespace(world_size=ranks, lightning_module=method, strategy=strategy)
    plan = data.resolved_plan(0)
    assert [len(plan.rows(position, "train")[0]) for position in range(plan.steps)] == sizes


# ---- promise 1: the truth never reaches training


def test_a_training_batch_holds_inputs_given_labels_and_rows_only(path: str) -> None:
    assert [field.name for field in dataclasses.fields(Batch)] == ["views", "target", "index"]
    data = ready(path, noise=PairFlip(0.45, seed=3))
    batches = list(train_batches(data, ("weak", "strong")))
    assert sum(len(batch) for batch in batches) == ROWS
    for batch in batches:
        assert torch.equal(batch.target, data.given_target[batch.index])
        assert not torch.equal(batch.target, data.clean_target[batch.index])


def test_what_a_method_may_know_has_no_true_label(path: str) -> None:
    data = ready(path, noise=Symmetric(0.4, seed=1), val_fraction=0.25)
    held = data.info.given_target == -1
    assert int(held.sum()) == 30
    assert torch.equal(data.info.given_target[~held], data.given_target[~held])
    names = {field.name for field in dataclasses.fields(data.info)}
    assert not any("clean" in name or "true" in name or "noise" in name for name in names)


# ---- noise


@pytest.mark.parametrize(
    "other", [{"val_fraction": 0.3}, {"subset": 40}, {"seed": 9}, {"split_seed": 9}, {"val_fraction": 0.2, "val_by": "group"}]
)
def test_noise_does_not_depend_on_splits_subsets_or_the_run(path: str, other: dict[str, Any]) -> None:
    given = ready(path, noise=Symmetric(0.4, seed=5)).given_target
    assert torch.equal(ready(path, noise=Symmetric(0.4, seed=5), **other).given_target, given)
    assert not torch.equal(ready(path, noise=Symmetric(0.4, seed=6), **other).given_target, given)


def test_noise_never_touches_the_test_labels(path: str) -> None:
    assert ready(path, noise=Symmetric(0.9)).source.test_target.tolist() == TRUTH[:40].tolist()


def test_drawn_noise_is_drawn_from_the_labels_of_the_data(path: str) -> None:
    data = ready(path, noise=PairFlip(0.4))
    assert data.clean_target.tolist() == TRUTH.tolist()
    assert data.noisy is not None
    assert data.noisy.measured_rate == pytest.approx(float((data.given_target != data.clean_target).double().mean()))


# ---- splits


def test_splits_are_disjoint_and_stratified_by_the_given_label(path: str) -> None:
    data = ready(path, noise=Symmetric(0.4, seed=2), val_fraction=0.25)
    train, val = set(data.info.train_rows.tolist()), set(data.split.val.tolist())
    assert not train & val
    assert len(train | val) == ROWS
    shares = [
        torch.bincount(data.given_target[rows], minlength=CLASSES) / len(rows) for rows in (data.info.train_rows, data.split.val)
    ]
    torch.testing.assert_close(*shares, atol=0.03, rtol=0)


def test_a_class_of_one_stays_in_training(tmp_path: Path) -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2])
    np.savez(tmp_path / "a.npz", x=np.eye(21), y=labels)
    data = ready(str(tmp_path / "a.npz"), val_fraction=0.5)
    assert 20 in data.info.train_rows
    assert 9 <= len(data.split.val) <= 10


def test_groups_are_not_torn_apart(path: str) -> None:
    data = ready(path, val_fraction=0.3, val_by="group")
    group = data.source.group
    assert group is not None
    assert not set(group[data.info.train_rows].tolist()) & set(group[data.split.val].tolist())
    assert len(data.split.val) == 40


def test_a_subset_shrinks_every_part_and_keeps_original_rows(path: str) -> None:
    data = ready(path, subset=20, val_fraction=0.25)
    assert [len(rows) for rows in (data.info.train_rows, data.split.val, data.split.test)] == [20, 20, 20]
    assert data.info.num_train == ROWS
    assert torch.bincount(data.given_target[data.info.train_rows]).tolist() == [5] * CLASSES
    assert set(data.info.train_rows.tolist()) < set(ready(path, val_fraction=0.25).info.train_rows.tolist())
    for batch in train_batches(data):
        assert set(batch.index.tolist()) <= set(data.info.train_rows.tolist())


def test_validation_compares_with_given_or_true_labels(path: str) -> None:
    for labels in ("given", "clean"):
        data = ready(path, noise=PairFlip(0.45), val_fraction=0.5, val_labels=labels)
        (batch,) = data.val_dataloader()["val"]
        expected = data.given_target if labels == "given" else data.clean_target
        assert torch.equal(batch.target, expected[batch.index])


def test_an_open_class_has_no_right_answer_in_validation(path: str) -> None:
    data = ready(path, noise=OpenSet(0.2, open_ratio=0.5), val_fraction=0.5, val_labels="clean")
    assert data.num_classes == 2
    assert set(data.split.val_target[data.clean_target >= 2].tolist()) == {-1}
    assert data.info.class_names == ("0", "1")


def test_setup_twice_changes_nothing(path: str) -> None:
    data = ready(path, noise=Symmetric(0.4), val_fraction=0.2)
    before = data.source, data.given_target.clone()
    data.setup("test")
    assert data.source is before[0]
    assert torch.equal(data.given_target, before[1])


def test_a_data_module_can_be_sent_to_another_process(path: str) -> None:
    data = pickle.loads(pickle.dumps(ready(path, noise=Symmetric(0.4))))
    assert len(list(train_batches(data))) == 1


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 1.0}, r"val_fraction must be in \[0, 1\), got 1.0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        ({"subset": 0}, r"subset must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)


def test_groups_and_true_labels_must_be_there_to_be_used() -> None:
    with pytest.raises(ValueError, match="this data has none; use val_by='sample'"):
        Digits(val_fraction=0.2, val_by="group").setup()


def test_clean_validation_needs_true_labels(path: str) -> None:
    with pytest.raises(ValueError, match="val_labels='clean' needs true labels"):
        ready(path, val_fraction=0.2, val_labels="clean")


def test_what_needs_setup_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"Digits\.setup\(\) has not run"):
        _ = Digits().info


# ---- the command line


def test_every_argument_of_the_base_is_open_on_the_command_line() -> None:
    data = parse(
        "--data", "Arrays", "--data.path", "x", "--data.batch_size", "3", "--data.noise", "Symmetric", "--data.noise.rate", "0.2"
    )
    assert isinstance(data, Arrays)
    assert (data.path, data.batch_size) == ("x", 3)
    assert isinstance(data.noise, Symmetric)
    assert data.noise.rate == 0.2


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (
            Arrays,
            ("--data.path", "x", "--data.views", "[a, b]", "--data.mean", "[0.1]", "--data.std", "[0.2]", "--data.flip", "0"),
        ),
        (CIFAR100, ("--data.root", "x", "--data.normalize", "imagenet", "--data.noise", "OpenSet", "--data.noise.rate", "0.2")),
        (Digits, ("--data.subset", "10")),
        (ImageFolder, ("--data.images", "x", "--data.labels_csv", "y", "--data.size", "32", "--data.load", "files")),
        (WebImages, ("--data.root", "x", "--data.resize", "256", "--data.crop", "224", "--data.num_workers", "2")),
    ],
)
def test_every_data_module_parses(kind: type[NoisyDataModule], arguments: tuple[str, ...]) -> None:
    assert isinstance(parse("--data", kind.__name__, *arguments), kind)
