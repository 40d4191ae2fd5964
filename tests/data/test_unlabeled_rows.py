"""Arrays in which some rows have no label: it is said how many, and all rows keep their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noisylab.cli.main import main
from noisylab.data import Arrays
from noisylab.data.labels import read_labels
from noisylab.issues.apply import apply_to_arrays
from noisylab.issues.table import IssueTable
from noisylab.noise import FromFile, Symmetric, save_noise


def arrays(tmp_path: Path, y: Any, missing: Any = "auto", more: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    y = np.array(y)
    np.savez(tmp_path / "a.npz", x=np.arange(len(y) * 2, dtype="f4").reshape(-1, 2), y=y, **(more or {}))
    data = Arrays(str(tmp_path / "a.npz"), missing=missing, **kwargs)
    data.setup()
    return data


LABELS = [2, -1, 0, 1, -1, 2, 0, 1]


def test_rows_of_minus_one_are_not_trained_on_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"2 of 8 rows have no label \('-1' 2\), 6 are labeled; if that is"):
        data = arrays(tmp_path, LABELS)
    assert (data.num_classes, data.info.class_names) == (3, ("0", "1", "2"))
    assert data.info.train_rows.tolist() == [0, 2, 3, 5, 6, 7]
    assert data.info.unlabeled_rows.tolist() == [1, 4]
    assert data.given_target.tolist() == data.info.given_target.tolist() == LABELS
    assert [("2 of 8 rows" in line) for line in data.source.account] == [True, False]  # and how columns are scaled


@pytest.mark.parametrize(
    ("y", "classes", "rows"),
    [
        ([2.0, np.nan, 0.0, 1.0, 0.0], ("0", "1", "2"), [0, 2, 3, 4]),
        (["b", "nan", "a", "NA", "a"], ("a", "b"), [0, 2, 4]),
        (["2", "-1", "10", "0", "2"], ("0", "2", "10"), [0, 2, 3, 4]),
    ],
)
def test_other_ways_to_write_no_label(tmp_path: Path, y: list[Any], classes: tuple[str, ...], rows: list[int]) -> None:
    with pytest.warns(UserWarning, match="rows have no label"):
        data = arrays(tmp_path, y)
    assert (data.info.class_names, data.info.train_rows.tolist()) == (classes, rows)


def test_what_is_a_class_can_be_said(tmp_path: Path) -> None:
    assert arrays(tmp_path, LABELS, missing="none").info.class_names == ("-1", "0", "1", "2")
    assert arrays(tmp_path, [-1, 1, -1, 1], missing="none").info.class_names == ("-1", "1")
    with pytest.warns(UserWarning, match="'2' 2"):
        assert arrays(tmp_path, LABELS, missing=["-1", "2"]).info.class_names == ("0", "1")
    assert arrays(tmp_path, ["NA", "EU", "NA", "EU"], more={"class_names": np.array(["EU", "NA"])}).num_classes == 2


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([-1, 1, -1, 1], "-1 may be a class or stand for no label"),
        ([-2, 0, 1, 2], r"labels below 0 \(-2\)"),
        ([0.5, 1.0, 0.0, 1.0], r"the label 0\.5 in row 0, which is not a whole number \(1 such labels\)"),
        ([np.inf, 1.0, 0.0, 1.0], "inf in row 0"),
        ([np.nan, np.nan], "has no label; 2 of 2 rows are without one"),
    ],
)
def test_labels_that_may_mean_two_things_are_refused(tmp_path: Path, y: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        arrays(tmp_path, y)


def test_nan_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 labels that are nan, the first in row 1; nan is not a class"):
        read_labels(np.array([1.0, np.nan, 0.0]), "y", "none")


def test_with_class_names_minus_one_is_never_a_class(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'-1' 1"):
        data = arrays(tmp_path, [0, -1, 1, 0], more={"class_names": np.array(["cat", "dog"])})
    assert (data.info.class_names, data.info.train_rows.tolist()) == (("cat", "dog"), [0, 2, 3])


@pytest.mark.filterwarnings("ignore:.*rows have no label")
def test_rows_without_a_label_are_in_no_split(tmp_path: Path) -> None:
    y = np.tile(LABELS, 5)
    split = arrays(tmp_path, y, val_fraction=0.25)
    rows = torch.cat([split.info.train_rows, split.split.val]).sort().values
    assert rows.tolist() == np.flatnonzero(y >= 0).tolist()
    tested = torch.cat([arrays(tmp_path, y, folds=5, fold=k).split.test for k in range(5)]).sort().values
    assert tested.tolist() == np.flatnonzero(y >= 0).tolist()
    more = {"test_x": np.zeros((4, 2), "f4"), "test_y": np.array([0, -1, 2, 1])}
    assert arrays(tmp_path, y, more=more).split.test.tolist() == [0, 2, 3]


@pytest.mark.filterwarnings("ignore:.*rows have no label")
def test_noise_is_drawn_for_labeled_rows_as_if_there_were_no_others(tmp_path: Path) -> None:
    y = np.tile(LABELS, 5)
    data, labeled = arrays(tmp_path, y, noise=Symmetric(0.4)), torch.from_numpy(y >= 0)
    alone = arrays(tmp_path, y[y >= 0], noise=Symmetric(0.4))
    assert torch.equal(data.given_target[labeled], alone.given_target) and set(data.given_target[~labeled].tolist()) == {-1}
    assert data.noisy.measured_rate == alone.noisy.measured_rate > 0 and torch.equal(data.clean_target, torch.from_numpy(y))
    with pytest.raises(ValueError, match="noise needs true labels for all labeled rows"):
        arrays(tmp_path, y, noise=Symmetric(0.4), more={"y_true": np.where(np.arange(40) == 3, -1, y)})


@pytest.mark.filterwarnings("ignore:.*rows have no label")
def test_a_file_of_labels_carries_which_rows_have_none(tmp_path: Path) -> None:
    y = np.tile(LABELS, 5)
    few = arrays(tmp_path, y, labels_per_class=4, noise=Symmetric(0.4))
    save_noise(tmp_path / "n.npz", few.noisy, "symmetric", 0, few.info.class_names)
    again = arrays(tmp_path, y, noise=FromFile(tmp_path / "n.npz"))
    assert torch.equal(again.given_target, few.given_target) and again.noisy.measured_rate == few.noisy.measured_rate
    assert torch.equal(again.info.unlabeled_rows, few.info.unlabeled_rows) and len(again.info.train_rows) == 12
    assert "18 of 40 training rows have no label in the file of the labels" in again.source.account
    with pytest.raises(ValueError, match="made for other true labels"):
        arrays(tmp_path, np.roll(y, 1), noise=FromFile(tmp_path / "n.npz"))


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"y": np.array(["b", "", "a", "b"])}, [1, -1, 0, 1]),
        ({"y": np.array([1, -1, 0, 1]), "class_names": np.array(["b", "a"])}, [0, -1, 1, 0]),
        ({"y": np.array([1, -1, 0, 1])}, [1, -1, 0, 1]),
    ],
)
def test_files_of_others_may_leave_rows_without_a_label(tmp_path: Path, stored: dict[str, Any], read: list[int]) -> None:
    np.savez(tmp_path / "l.npz", **stored)
    noise = FromFile(tmp_path / "l.npz", "y", check_digest=False)
    noisy = noise(torch.tensor([1, 0, 0, 1]), 2, class_names=("a", "b"))
    assert noisy.given_target.tolist() == read
    assert noisy.measured_rate == pytest.approx(sum(r != t for r, t in zip(read, [1, 0, 0, 1], strict=True) if r >= 0) / 3)
    np.savez(tmp_path / "l.npz", y=np.array([1, -2, 0, 1]))
    with pytest.raises(ValueError, match="got -2 at row 1"):
        noise(torch.tensor([1, 0, 0, 1]), 2)


@pytest.mark.filterwarnings("ignore:.*rows have no label")
def test_a_class_may_be_without_a_labeled_row(tmp_path: Path) -> None:
    data = arrays(tmp_path, [0, -1, 1, 0], more={"class_names": np.array(["cat", "dog", "owl"])})
    assert data.num_classes == 3
    assert "no labeled training row has the class owl, which can hardly be learned" in data.source.account


@pytest.mark.filterwarnings("ignore:.*rows have no label")
def test_corrections_leave_rows_without_a_label_as_they_are(tmp_path: Path) -> None:
    arrays(tmp_path, LABELS)
    ranked, classes = np.array([0, 2, 3, 5, 6, 7]), ("0", "1", "2")
    given = np.array(LABELS)[ranked]
    floats, flags = np.linspace(1, 0, 6), np.zeros(6, dtype=bool)
    table = IssueTable(ranked, None, classes, given, given, floats, flags, floats)
    applied = apply_to_arrays(tmp_path / "a.npz", table, {"5": ("0", "2")}, tmp_path / "b.npz")
    assert (applied.changed, applied.emptied) == (1, ())
    with np.load(tmp_path / "b.npz") as new:
        assert new["y"].tolist() == [2, -1, 0, 1, -1, 0, 0, 1]


def test_the_command_line_says_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning besides would be an error here."""
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(40, 2)).astype("f4"), y=np.tile(LABELS, 5))
    run = ["--run_dir", str(tmp_path / "run")]
    data = ["--data", "Arrays", "--data.path", str(tmp_path / "a.npz"), "--data.val_fraction", "0.25"]
    model = ["--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "2"]
    for command in (["fit", *model, *data, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"], ["validate"]):
        assert main([*command, *run]) == 0
        assert capsys.readouterr().err.count("10 of 40 rows have no label") == 1
