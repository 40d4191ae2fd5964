"""Few labels: which rows keep theirs, and that no method learns of the labels that are gone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import fit
from helpers.toy import PlainMLP, ToyData
from torch import Tensor

from noisylab.callbacks import Diagnostics, RunSummary
from noisylab.cli.main import main
from noisylab.data import Arrays, Digits
from noisylab.data.semi import LabelBudget, labeled_rows, study_split
from noisylab.issues import rank_labels
from noisylab.methods import CrossEntropy
from noisylab.noise import FromFile, Symmetric
from noisylab.transforms.draws import key_from
from noisylab.types import EpochPlan, Phase, PlanBatch, Stream

NAMES = ("a", "b", "c")
GIVEN = torch.tensor([0] * 20 + [1] * 12 + [2] * 9)[torch.randperm(41, generator=torch.Generator().manual_seed(3))]
ROWS = torch.arange(41)[torch.arange(41) % 7 != 0]


def chosen(rows: Tensor = ROWS, given: Tensor = GIVEN, **budget: Any) -> list[int]:
    return labeled_rows(rows, given, LabelBudget(**budget), NAMES).tolist()


def in_order(rows: Tensor, seed: int) -> list[int]:
    """The rows in the random order of all of them."""
    order = torch.randperm(len(GIVEN), generator=torch.Generator().manual_seed(key_from(seed, "labels"))).tolist()
    return [row for row in order if row in rows.tolist()]


@pytest.mark.parametrize(("per_class", "seed"), [(1, 0), (3, 5), (7, 1)])
def test_of_each_class_the_first_rows_of_a_random_order_keep_their_label(per_class: int, seed: int) -> None:
    kept, found = [], Counter[int]()
    for row in in_order(ROWS, seed):
        found[int(GIVEN[row])] += 1
        kept += [row] if found[int(GIVEN[row])] <= per_class else []
    assert chosen(per_class=per_class, seed=seed) == sorted(kept)


@pytest.mark.parametrize("total", [2, 9, 11, 20])
def test_a_total_goes_round_the_classes(total: int) -> None:
    queues = {k: [row for row in in_order(ROWS, 0) if GIVEN[row] == k] for k in range(3)}
    kept: list[int] = []
    while len(kept) < total:
        heads = sorted((queue.pop(0) for queue in queues.values() if queue), key=in_order(ROWS, 0).index)
        kept += heads[: total - len(kept)]
    assert chosen(total=total) == sorted(kept)


@pytest.mark.parametrize("total", [1, 8, 19, 30])
def test_shares_of_the_data_are_those_of_webster(total: int) -> None:
    sizes = torch.bincount(GIVEN[ROWS]).tolist()
    seats = [0, 0, 0]
    for _ in range(total):  # the next seat goes to the largest quotient; sizes differ, so that none is equal here
        seats[max(range(3), key=lambda k: sizes[k] / (2 * seats[k] + 1))] += 1
    assert torch.bincount(GIVEN[chosen(total=total, balanced=False)], minlength=3).tolist() == seats


def test_smaller_choices_lie_within_larger_ones() -> None:
    for budgets in (
        [{"per_class": n} for n in (2, 4, 6)],
        [{"total": n} for n in (5, 8, 17)],
        [{"total": n, "balanced": False} for n in range(4, 30)],
    ):
        sets = [set(chosen(**budget)) for budget in budgets]
        assert all(small < large for small, large in itertools.pairwise(sets))
    assert chosen(per_class=4) != chosen(per_class=4, seed=1)


def test_the_choice_of_a_row_does_not_depend_on_rows_of_other_classes() -> None:
    fewer = ROWS[(GIVEN[ROWS] != 0) | (ROWS % 2 == 0)]
    assert [row for row in chosen(per_class=4) if GIVEN[row]] == [row for row in chosen(fewer, per_class=4) if GIVEN[row]]


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"per_class": 9}, r"labels_per_class=9: fewer labeled training rows have the class c with 8; ask for at most 8 a class"),
        ({"total": 28}, r"labels_total=28, 9 of each class: fewer .* c with 8; .*labels_balanced false"),
        ({"total": 36}, r"labels_total=36, but there are 35 labeled training rows"),
        ({"total": 0}, "labels_total must be at least 1"),
        ({"per_class": 1, "total": 3}, "give one"),
        ({"per_class": 1, "balanced": False}, "belongs to labels_total"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_numbers(budget: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chosen(**budget)


def test_whole_clips_are_chosen_and_counted() -> None:
    clip, given = torch.arange(36) // 3, torch.arange(36) // 3 % 3
    kept = labeled_rows(torch.arange(36), given, LabelBudget(per_class=2), NAMES, clip)
    assert set(Counter(clip[kept].tolist()).values()) == {3}
    assert torch.bincount(given[kept]).tolist() == [6, 6, 6]


# ---- in a data module


class Both(CrossEntropy):
    """Sees labeled and unlabeled rows, and keeps what it is shown."""

    uses_unlabeled = True

    def epoch_plan(self, epoch: int) -> EpochPlan:
        unlabeled = Stream(self.info.unlabeled_rows, ("weak", "strong"), batch_size=7, endless=True)
        return EpochPlan((Phase(streams={"train": Stream(views=("weak",)), "unlabeled": unlabeled}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Any:
        seen = self.__dict__.setdefault("seen", [])
        seen += [(name, batch[name].index.clone(), batch[name].target.clone()) for name in ("train", "unlabeled")]
        return super().training_step(batch, batch_idx)


def test_no_truth_reaches_a_batch_or_what_a_method_may_know(tmp_path: Path) -> None:
    data = ToyData(60, labels_per_class=4, val_fraction=0.2, trusted_per_class=1, noise=Symmetric(0.4, seed=1))
    method = Both(3, PlainMLP)
    fit(method, data, tmp_path, 2)
    given, info = data.given_target, data.info
    assert [len(info.train_rows), len(info.unlabeled_rows), info.num_val, len(info.trusted_rows)] == [12, 34, 11, 3]
    assert torch.bincount(given[info.train_rows]).tolist() == [4, 4, 4]
    assert bool((given[info.train_rows] != data.clean_target[info.train_rows]).any()), "labeled rows may be wrong"
    assert bool((info.given_target >= 0).sum() == 12) and bool((given[data.split.val] >= 0).all())
    assert torch.equal(data.clean_target, torch.arange(60) % 3)
    tensors = [value for field in dataclasses.fields(info) if isinstance(value := getattr(info, field.name), Tensor)]
    assert len(tensors) == 5 and not any(torch.equal(value, data.clean_target) for value in tensors)
    rows = torch.cat([index for name, index, _ in method.seen if name == "unlabeled"]).unique()
    assert rows.tolist() == [row for row in info.unlabeled_rows.tolist() if row in rows.tolist()]
    for name, index, target in method.seen:
        assert torch.equal(target, given[index]) if name == "train" else bool((target == -1).all())


def test_noise_and_held_out_rows_do_not_depend_on_how_many_labels_are_kept() -> None:
    def ready(**kwargs: Any) -> ToyData:
        data = ToyData(60, val_fraction=0.2, noise=Symmetric(0.4, seed=1), **kwargs)
        data.setup()
        return data

    whole, few, fewer = ready(), ready(labels_per_class=5), ready(labels_per_class=3)
    assert whole.noisy is not None and few.noisy is not None
    kept = few.given_target >= 0
    assert torch.equal(few.split.val, whole.split.val) and torch.equal(few.given_target[kept], whole.given_target[kept])
    assert set(fewer.info.train_rows.tolist()) < set(few.info.train_rows.tolist()) < set(whole.info.train_rows.tolist())
    wrong = (few.given_target != few.clean_target)[kept].double().mean()
    assert few.noisy.measured_rate == pytest.approx(float(wrong)) and few.noisy.rate == 0.4


def test_a_subset_is_taken_before_labels_are_lost() -> None:
    data = ToyData(90, labels_per_class=4, subset=30)
    data.setup()
    assert [len(data.info.train_rows), len(data.info.unlabeled_rows), int((data.info.given_target >= 0).sum())] == [12, 18, 12]
    assert any("12 training rows keep their label, 18 are unlabeled" in line for line in data.source.account)


def test_a_class_may_be_without_a_labeled_row_and_it_is_said(tmp_path: Path) -> None:
    data = ToyData(60, labels_total=2)
    data.setup()
    (line,) = (line for line in data.source.account if "no labeled training row" in line)
    absent = ({0, 1, 2} - set(data.given_target[data.info.train_rows].tolist())).pop()
    assert f"the class blob{absent}," in line


def test_folds_lose_labels_in_training_rows_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(60, 4), y=np.arange(60) % 3)
    data = Arrays(str(tmp_path / "a.npz"), labels_per_class=4, folds=3, fold=1)
    data.setup()
    assert len(data.split.test) == 20 and bool((data.given_target[data.split.test] >= 0).all())
    assert [len(data.info.train_rows), len(data.info.unlabeled_rows)] == [12, 28]


def test_columns_are_measured_on_unlabeled_rows_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2)) * [1, 100]
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(60) % 3)
    whole, few = (Arrays(str(tmp_path / "a.npz"), **more) for more in ({}, {"labels_per_class": 2}))
    for data in (whole, few):
        data.setup()
    assert torch.equal(whole.source.train.values, few.source.train.values)  # type: ignore[union-attr]


def test_diagnostics_look_at_labeled_rows_alone(tmp_path: Path) -> None:
    data = ToyData(60, labels_per_class=6, val_fraction=0.2, noise=Symmetric(0.4, seed=1))
    method = Both(3, PlainMLP)
    fit(method, data, tmp_path, 2, last=(Diagnostics(),))
    rows = data.info.train_rows
    wrong = data.given_target[rows] != data.clean_target[rows]
    figures = method.epoch_metrics
    pred = method.memory["observed_pred"][rows].long()
    as_given = float((pred == data.given_target[rows])[wrong].double().mean())
    assert bool(wrong.any()) and figures["memorization_online/noisy_as_given"] == pytest.approx(as_given)
    table = rank_labels(method, data)
    assert table is not None and sorted(table.index.tolist()) == rows.tolist()
    assert all(0 <= value <= 1 for name, value in figures.items() if name.startswith("issues/") and "auroc" in name)


# ---- what is said


def test_a_method_that_leaves_unlabeled_rows_out_says_so_in_the_summary(tmp_path: Path) -> None:
    told = "CrossEntropy learns from labeled rows alone: 48 unlabeled rows are left out of training"
    for method, said in ((CrossEntropy(3, PlainMLP), 1), (Both(3, PlainMLP), 0)):
        data = ToyData(60, labels_per_class=4)
        if said:
            with pytest.warns(UserWarning, match=told):
                fit(method, data, tmp_path, 1, last=(RunSummary(tmp_path),))
        else:
            fit(method, data, tmp_path, 1, last=(RunSummary(tmp_path),))
        summary = json.loads((tmp_path / "summary.json").read_text())["data"]
        assert (summary["num_train_used"], summary["num_unlabeled"]) == (12, 48)
        assert summary["account"].count(told) == said


@pytest.mark.slow
def test_fit_and_the_dry_run_say_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning besides would be an error here."""
    command = [
        "fit",
        "--config",
        "ce_digits.yaml",
        "--data.labels_per_class",
        "10",
        "--data.subset",
        "200",
        "--data.noise",
        "null",
        "--trainer.max_epochs",
        "1",
    ]
    assert main([*command, "--trainer.accelerator", "cpu", "--run_dir", str(tmp_path / "r")]) == 0
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("learns from labeled rows alone: ") == 1
    assert main([*command, "--trainer.accelerator", "cpu", "--dry_run"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("labeled rows alone") + printed.out.count("labeled rows alone") == 1
    assert "100 training, 100 unlabeled left out (CrossEntropy learns from labeled rows alone)" in printed.out
    plain = Digits(labels_per_class=10, subset=200)
    plain.setup()
    again = Digits(noise=FromFile(tmp_path / "r" / "noise.npz"), subset=200)  # a run without noise keeps the choice, too
    again.setup()
    assert torch.equal(again.given_target, plain.given_target) and int((again.given_target >= 0).sum()) == 100


@pytest.mark.slow
def test_the_dry_run_of_a_method_that_uses_them_counts_both(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", "mixmatch_digits.yaml", "--data.subset", "200", "--trainer.accelerator", "cpu", "--dry_run"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "samples    100 labeled, 100 unlabeled, " in printed.out and "left out" not in printed.out + printed.err


# ---- the stand-in splits of the study


def test_study_split_permutes_each_class_by_one_generator() -> None:
    labels = torch.tensor([2, 0, 1] * 30)
    split = study_split(labels, 2, 5, 20, seed=4)
    generator = np.random.default_rng(4)
    for k in range(3):
        rows = generator.permutation(np.flatnonzero(labels.numpy() == k)).tolist()
        assert split.validation[2 * k : 2 * k + 2].tolist() == rows[:2]
        assert split.labeled[5 * k : 5 * k + 5].tolist() == rows[2:7]
        assert split.unlabeled[20 * k : 20 * k + 20].tolist() == rows[7:27]
    smaller = study_split(labels, 2, 5, 20, seed=4, keep=2)
    assert torch.equal(smaller.unlabeled, split.unlabeled) and torch.equal(
        smaller.labeled, split.labeled.view(3, 5)[:, :2].flatten()
    )
    with pytest.raises(ValueError, match="class 0 has 30 rows, but 31 are to be divided"):
        study_split(labels, 2, 5, 24)


@pytest.mark.realdata
@pytest.mark.skipif("NOISYLAB_DATA" not in os.environ, reason="NOISYLAB_DATA is not set")
@pytest.mark.parametrize(
    ("file", "sizes", "parts"),
    [
        (
            "tinyimagenet100_32",
            (50, 160, 290),
            {
                0: ([22908, 43797, 10678, 34496, 38388], [36516, 10895, 21558, 27527, 38726], [44679, 41373, 28232]),
                99: ([27412, 25156, 34978], [3943, 9392, 30559], []),
            },
        ),
        (
            "cifar10_jpeg",
            (100, 400, 1600),
            {0: ([22308, 12073, 2322], [28401, 22609, 32971], [30295, 20319, 5477]), 9: ([], [40722, 8458, 37667], [])},
        ),
    ],
)
def test_the_splits_of_the_study_are_the_printed_ones(
    file: str, sizes: tuple[int, int, int], parts: dict[int, tuple[list[int], list[int], list[int]]]
) -> None:
    with np.load(Path(os.environ["NOISYLAB_DATA"]) / file / f"{file}.npz") as arrays:
        split = study_split(torch.from_numpy(arrays["train_labels"]).long(), *sizes)
    for k, printed in parts.items():
        for part, size, first in zip((split.validation, split.labeled, split.unlabeled), sizes, printed, strict=True):
            assert part[k * size :][: len(first)].tolist() == first
    assert len(torch.cat([split.validation, split.labeled, split.unlabeled]).unique()) == sum(sizes) * (max(parts) + 1)


def test_digits_of_ten_labels_a_class() -> None:
    data = Digits(labels_per_class=10)
    data.setup()
    assert torch.bincount(data.info.given_target[data.info.train_rows]).tolist() == [10] * 10
    assert len(data.info.unlabeled_rows) == 1338
