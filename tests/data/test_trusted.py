"""Rows with labels known to be right: which they are, what they are taken out of, and that no noise reaches them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import PlainMLP, ToyData, fit
from samples import train_batches, write_image, write_table
from torch import Tensor

from noisylab.callbacks.summary import RunSummary
from noisylab.checkpoints.stamp import check_data_stamp, data_stamp
from noisylab.cli import main
from noisylab.data import Arrays, ImageFolder, NoisyDataModule
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.source import Source
from noisylab.data.trusted import TrustedRows, draw_trusted, read_trusted
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.methods import CrossEntropy
from noisylab.noise import OpenSet, PairFlip, Symmetric
from noisylab.types import Batch, EpochPlan, Phase, Stream

CLASSES, ROWS = 4, 120
TRUTH = torch.arange(ROWS) % CLASSES
CPU = torch.device("cpu")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Features without test rows, row i of the class i mod 4."""
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    np.savez(tmp_path / "a.npz", x=x, y=TRUTH.numpy(), y_true=TRUTH.numpy(), group=np.arange(ROWS) // 10)
    return str(tmp_path / "a.npz")


def ready(path: str, **kwargs: Any) -> Any:
    data = Arrays(path, **kwargs)
    data.setup()
    return data


def trusted_batch(data: NoisyDataModule) -> Batch:
    """All trusted rows in order, as a method gets them."""
    info = data.info
    plan = EpochPlan((Phase(streams={"trusted": Stream(info.trusted_rows, order="sequential")}),))
    rows = {"train_rows": info.train_rows, "other_rows": info.trusted_rows}
    (batch,) = data.batches(ResolvedPlan(plan, epoch=0, seed=0, batch_size=256, **rows), CPU)
    return batch["trusted"]


# ---- drawn rows


def test_drawn_rows_have_the_classes_in_turn_and_no_row_twice(path: str) -> None:
    data = ready(path, trusted_per_class=3)
    rows = data.info.trusted_rows
    assert data.clean_target[rows].tolist() == [0, 1, 2, 3] * 3
    assert len(set(rows.tolist())) == 12


def test_without_the_arguments_no_row_is_set_apart(path: str) -> None:
    data = ready(path)
    assert not data.has_trusted and data.info.trusted_rows.tolist() == []
    assert data.info.train_rows.tolist() == list(range(ROWS))
    assert Arrays("nowhere.npz", trusted_per_class=1).has_trusted  # known before data is read
    assert Arrays("nowhere.npz", trusted_labels="x.csv").has_trusted


def test_labels_without_trusted_rows_are_the_given_ones_themselves() -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert TrustedRows(none, none).put_into(TRUTH) is TRUTH
    given = TRUTH.clone()
    assert TrustedRows(torch.tensor([5, 2]), torch.tensor([3, 0])).put_into(given)[:6].tolist() == [0, 1, 0, 3, 0, 3]
    assert torch.equal(given, TRUTH), "the given labels are not written to"


def test_the_draw_is_named_by_the_split_seed_alone(path: str) -> None:
    def drawn(**kwargs: Any) -> list[int]:
        rows: list[int] = ready(path, trusted_per_class=3, **kwargs).info.trusted_rows.tolist()
        return rows

    first = drawn()
    for other in (
        {},
        {"seed": 9},
        {"subset": 20},
        {"noise": PairFlip(0.4)},
        {"noise": Symmetric(0.6, seed=3)},
        {"batch_size": 7},
    ):
        assert drawn(**other) == first, other
    assert drawn(split_seed=1) != first
    # held-out rows are stratified by given label and so differ; the drawn rows leave them
    assert drawn(val_fraction=0.3, noise=PairFlip(0.4)) == drawn(val_fraction=0.3, noise=Symmetric(0.6, seed=3)) == first


@pytest.mark.parametrize(
    "other", [{"val_fraction": 0.25}, {"val_fraction": 0.2, "val_by": "group"}, {"folds": 3, "fold": 1, "val_fraction": 0.25}]
)
def test_drawn_rows_are_neither_training_nor_validation_nor_test_rows(path: str, other: dict[str, Any]) -> None:
    data = ready(path, noise=Symmetric(0.4), trusted_per_class=3, **other)
    loaders = data.val_dataloader()
    parts = [data.info.train_rows, data.info.trusted_rows, *(loader.rows for loader in loaders.values())]
    assert sorted(torch.cat(parts).tolist()) == list(range(ROWS))
    assert ("test" in loaders) == ("folds" in other)


def test_a_subset_keeps_all_drawn_rows(path: str) -> None:
    data = ready(path, trusted_per_class=3, subset=8)
    assert (len(data.info.train_rows), len(data.info.trusted_rows)) == (8, 12)


@pytest.mark.parametrize("noise", [None, PairFlip(0.49), Symmetric(0.9)])
def test_trusted_batches_have_the_true_labels_whatever_the_noise(path: str, noise: Any) -> None:
    data = ready(path, noise=noise, trusted_per_class=20)
    batch = trusted_batch(data)
    assert batch.index.tolist() == data.info.trusted_rows.tolist()
    assert torch.equal(batch.target, TRUTH[batch.index])
    assert noise is None or not torch.equal(data.given_target[batch.index], batch.target)
    for other in train_batches(data):
        assert torch.equal(other.target, data.given_target[other.index])
        assert not torch.isin(other.index, batch.index).any()


def test_what_a_method_may_know_has_no_label_of_a_trusted_row(path: str) -> None:
    data = ready(path, noise=Symmetric(0.4), trusted_per_class=3, val_fraction=0.1)
    hidden = (data.info.given_target == -1).nonzero().flatten().tolist()
    assert sorted(hidden) == sorted([*data.info.trusted_rows.tolist(), *data.val_dataloader()["val"].rows.tolist()])
    assert 0 < data.info.num_val == len(hidden) - 12


def test_image_files_in_workers_have_trusted_labels_too(tmp_path: Path) -> None:
    lines = []
    for n in range(8):
        write_image(tmp_path / "images" / f"{n}.png", seed=n)
        lines.append((f"{n}.png", "cat" if n % 4 < 2 else "dog", "dog" if n % 2 else "cat"))  # half of the labels are wrong
    table = write_table(tmp_path / "l.csv", ("file", "label", "true_label"), lines)
    data = ImageFolder(
        str(tmp_path / "images"), labels_csv=table, load="files", size=8, resize=8, num_workers=1, trusted_per_class=3
    )
    data.setup()
    assert isinstance(data.source.train, FileRows)
    try:
        batch = trusted_batch(data)
        (other,) = train_batches(data)
    finally:
        data.teardown()
    assert batch.target.tolist() == [0, 1] * 3 == (batch.index % 2).tolist()
    assert set(batch.index.tolist()) | set(other.index.tolist()) == set(range(8)) and len(other) == 2
    assert torch.equal(other.target, (other.index % 4 >= 2).long())
    assert data.info.given_target[batch.index].tolist() == [-1] * 6


def test_drawing_needs_all_true_labels() -> None:
    rows, unknown = torch.arange(ROWS), TRUTH.clone()
    unknown[7] = -1
    with pytest.raises(ValueError, match=r"1 training rows have none; name rows .* trusted_labels=FILE.csv"):
        draw_trusted(unknown, rows, 2, CLASSES, 0)
    kept = rows[rows != 7]
    assert len(draw_trusted(unknown, kept, 2, CLASSES, 0).rows) == 8, "a row that is held out anyway need not be known"
    assert len(draw_trusted(torch.full_like(TRUTH, -1), rows, 0, CLASSES, 0).rows) == 0


def test_every_class_keeps_a_training_row(path: str) -> None:
    assert len(ready(path, trusted_per_class=29).info.train_rows) == CLASSES
    with pytest.raises(ValueError, match="no training row of class 0, which has 30; choose at most 29"):
        ready(path, trusted_per_class=30)


def test_rows_of_classes_that_the_model_does_not_have_are_not_chosen(path: str) -> None:
    data = ready(path, noise=OpenSet(0.3, open_ratio=0.5), trusted_per_class=20)
    assert data.num_classes == 2
    assert data.clean_target[data.info.trusted_rows].tolist() == [0, 1] * 20
    assert trusted_batch(data).target.tolist() == [0, 1] * 20


@pytest.mark.parametrize("arguments", [{"trusted_per_class": -1}, {"trusted_per_class": 2, "trusted_labels": "x.csv"}])
def test_rows_are_drawn_or_named_and_not_both(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="trusted_per_class must be at least 0, and 0 when trusted_labels is given"):
        Arrays("a.npz", **arguments)


# ---- named rows


def source(**kwargs: Any) -> Source:
    """Six rows of three classes, with the files a.png ... f.png."""
    names = [f"{letter}.png" for letter in "abcdef"]
    given = {"class_names": ("cat", "dog", "two words"), "names": names, **kwargs}
    return Source(DenseRows(torch.zeros(6, 1)), torch.arange(6) % 3, **given)


def read(folder: Path, text: str | bytes, num_classes: int = 3, **kwargs: Any) -> list[tuple[int, int]]:
    """(row, label) of each row that a table names, in order."""
    table = folder / "checked.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read_trusted(str(table), source(**kwargs), num_classes)
    assert (found.rows.dtype, found.target.dtype) == (torch.int64, torch.int64)
    return list(zip(found.rows.tolist(), found.target.tolist(), strict=True))


IN_TURN = [(2, 0), (3, 1), (0, 2), (5, 0), (1, 0)]  # cats are 2, 5 and 1, in the order of the table


@pytest.mark.parametrize(
    "text",
    [
        "row,label\n2,cat\n3,dog\n5,cat\n0,two words\n1,cat\n",
        "\ufefflabel , row,why\n cat , 2 ,\ndog,3,seen\n\ncat,5,\n two words,0,\ncat,1",  # as spreadsheets write it
        "file,label\r\nc.png,cat\r\nd.png,dog\r\nf.png,cat\r\na.png,two words\r\nb.png,cat\r\n",
        "file,label\n./c.png,cat\n,\nx/../d.png,dog\n  ,  \nf.png,cat\na.png,two words\nb.png,cat\n",
        'row,file,label\n9,"c.png",cat\n9,d.png,dog\n9,f.png,cat\n9,a.png,"two words"\n9,b.png,cat\n',  # files go first
    ],
    ids=["rows", "byte order mark, spaces, another column", "files", "paths and empty lines", "files and rows"],
)
def test_a_table_names_rows_or_files_and_the_classes_take_turns(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == IN_TURN


def test_files_are_found_in_whatever_unicode_form_they_are_written(tmp_path: Path) -> None:
    names = ["caf\u00e9.png", "u\u0308ber.png", "c.png", "d.png", "e.png", "f.png"]
    text = "file,label\ncafe\u0301.png,cat\n\u00fcber.png,dog\nc.png,two words\n"
    assert read(tmp_path, text, names=names) == [(0, 0), (1, 1), (2, 2)]


def test_rows_count_where_the_data_has_no_files(tmp_path: Path) -> None:
    assert read(tmp_path, "row,file,label\n0,x.png,cat\n1,y.png,dog\n2,z.png,two words\n", names=None) == [(0, 0), (1, 1), (2, 2)]


def test_a_table_of_all_rows_leaves_none_to_train_on(path: str, tmp_path: Path) -> None:
    table = write_table(tmp_path / "checked.csv", ("row", "label"), [(str(row), str(row % CLASSES)) for row in range(ROWS)])
    with pytest.raises(ValueError, match="leave no row to train on"):
        ready(path, trusted_labels=table)


def test_labels_that_are_numbers_are_those_of_the_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(6), y=np.array([3, 7, 3, 7, 3, 7]))
    table = write_table(tmp_path / "checked.csv", ("row", "label"), [("1", "3"), ("4", "7")])
    data = ready(str(tmp_path / "a.npz"), trusted_labels=table)
    assert (data.info.trusted_rows.tolist(), trusted_batch(data).target.tolist()) == ([1, 4], [0, 1])
    assert data.info.train_rows.tolist() == [0, 2, 3, 5]
    assert data.given_target.tolist() == [0, 1] * 3


def test_files_of_an_image_folder_are_named_as_in_the_folder(tmp_path: Path) -> None:
    for name in ("cat/0.png", "cat/more/1.png", "dog/0.png", "dog/1.png"):
        write_image(tmp_path / "images" / name)
    table = write_table(tmp_path / "checked.csv", ("file", "label"), [("cat/more/1.png", "dog"), ("dog/1.png", "cat")])
    data = ImageFolder(str(tmp_path / "images"), trusted_labels=table)
    data.setup()
    assert (data.info.trusted_rows.tolist(), trusted_batch(data).target.tolist()) == ([3, 1], [0, 1])


def test_noise_does_not_touch_checked_labels(path: str, tmp_path: Path) -> None:
    # labels need not be those that the noise takes for the truth
    lines = [(str(row), str((row + 1) % CLASSES)) for row in range(40)]
    table = write_table(tmp_path / "checked.csv", ("row", "label"), lines)
    data = ready(path, noise=Symmetric(0.8), trusted_labels=table)
    batch = trusted_batch(data)
    assert len(batch) == 40 and torch.equal(batch.target, (batch.index + 1) % CLASSES)
    assert torch.equal(data.given_target, ready(path, noise=Symmetric(0.8)).given_target)


def test_checked_rows_are_not_held_out(path: str, tmp_path: Path) -> None:
    held: Tensor = ready(path, val_fraction=0.25).val_dataloader()["val"].rows
    named = [*held[:4].tolist(), *(row for row in range(ROWS) if row not in held)][:8]
    table = write_table(tmp_path / "checked.csv", ("row", "label"), [(str(row), str(n % CLASSES)) for n, row in enumerate(named)])
    data = ready(path, val_fraction=0.25, trusted_labels=table)
    left = data.val_dataloader()["val"].rows.tolist()
    assert not set(left) & set(named)
    assert data.info.num_val == len(left) == 28  # a quarter of the other 112
    assert sorted([*left, *named, *data.info.train_rows.tolist()]) == list(range(ROWS))


def test_a_checked_row_of_a_held_out_group_leaves_validation(path: str, tmp_path: Path) -> None:
    by_group: dict[str, Any] = {"val_fraction": 0.25, "val_by": "group"}
    held: list[int] = ready(path, **by_group).val_dataloader()["val"].rows.tolist()
    named = held[:CLASSES]
    table = write_table(tmp_path / "checked.csv", ("row", "label"), [(str(row), str(n)) for n, row in enumerate(named)])
    assert ready(path, **by_group, trusted_labels=table).val_dataloader()["val"].rows.tolist() == held[CLASSES:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs a header and rows"),
        ("row;label\n0;cat\n", "has the columns row;label; it needs label, and row or file. Its columns .* by semicolons"),
        ("row,class\n0,cat\n", "has the columns row, class; it needs"),
        ("label\ncat\n", "has the columns label; it needs"),
        ("row,label\n0,cat\n1,dog\n6,two words\n", "line 4: row '6' is not among the 6 training rows"),
        ("row,label\n-1,cat\n", "line 2: row '-1' is not among"),
        ("row,label\n1.0,cat\n", r"line 2: row '1\.0' is not among"),
        ("row,label\n,cat\n", "line 2: row '' is not among"),
        ("file,label\ng.png,cat\n", "line 2: file 'g.png' is not among the 6 training rows"),
        ("row,label\n0,cat\n1,dog\n2,two words\n0,dog\n", "line 5: row '0' is named twice"),
        ("row,label\n0,cat\n1,fish\n2,two words\n", "line 3: 'fish' is none of the classes cat, dog, two words"),
        ("row,label\n0\n", "line 2: '' is none of the classes"),
        ("row,label\n0,cat\n1,cat\n", "no line for the class dog, two words; check at least one sample of each class"),
        ("row,label\n", "no line for the class cat, dog, two words"),
        ("row,label\n0,cät\n".encode("latin-1"), "is no table in UTF-8: .*; save the table as comma-separated"),
        ('row,label\n0,cat\n1,"dog\n2,two words\n3,dog"\n', "lines 3 to 5: .* look like separate rows"),
        ('row,label\n0,cat\n1,"dog\n', "line 3: a quote that opens in this row is never closed"),
        ('row, label\n0, "cat"\n', "line 2: a space precedes the quote"),
        ("row,label\n0,cat,dog\n1,dog\n2,two words\n", "line 2: 3 cells where the header has 2"),
        ("row,label,label\n0,cat,dog\n", "has the column label 2 times"),
        ("row,label\n0,cat\n1,d\0og\n", "line 3 holds a zero byte"),
        ("row,label\n0,cat\n".encode("utf-16"), "is text in UTF-16"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)trusted_labels: .*checked.csv[ ,].*{message}"):
        read(tmp_path, text)


def test_a_table_that_is_not_there_is_named(path: str, tmp_path: Path) -> None:
    for missing in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"trusted_labels: there is no file {missing}; check the path"):
            ready(path, trusted_labels=str(missing))


def test_files_cannot_be_named_where_rows_have_none(path: str, tmp_path: Path) -> None:
    table = write_table(tmp_path / "checked.csv", ("file", "label"), [("a.png", "0")])
    with pytest.raises(ValueError, match="names files, but the rows of this data have none; give a column row, from 0"):
        ready(path, trusted_labels=table)


def test_labels_are_among_the_classes_that_the_model_has(tmp_path: Path) -> None:
    assert read(tmp_path, "row,label\n4,dog\n0,cat\n", num_classes=2) == [(0, 0), (4, 1)]
    with pytest.raises(ValueError, match=r"'two words' is none of the classes cat, dog$"):
        read(tmp_path, "row,label\n4,dog\n0,cat\n1,two words\n", num_classes=2)


def test_ten_faults_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, "row,label\n" + "".join(f"{row},cat\n" for row in range(6, 19)))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [f"line {number}" for number in range(2, 12)]
    assert lines[-1].strip() == "and 3 more"


# ---- runs


def test_a_run_is_not_continued_with_other_trusted_rows(path: str, tmp_path: Path) -> None:
    # the same rows leave the training rows; only which of them is looked at first differs
    tables = [
        write_table(tmp_path / f"{name}.csv", ("row", "label"), [(str(row), str(label)) for row, label in enumerate(labels)])
        for name, labels in {"a": (0, 1, 2, 3), "b": (1, 0, 2, 3)}.items()
    ]
    infos = [ready(path, trusted_labels=table).info for table in tables]
    assert torch.equal(infos[0].train_rows, infos[1].train_rows) and torch.equal(infos[0].given_target, infos[1].given_target)
    assert check_data_stamp(data_stamp(infos[0]), data_stamp(infos[0])) == []
    with pytest.raises(ValueError, match="trained on other labels or rows"):
        check_data_stamp(data_stamp(infos[0]), data_stamp(infos[1]))


def test_a_run_is_not_continued_with_other_labels_of_its_trusted_rows(path: str, tmp_path: Path) -> None:
    rows = [("0", "0"), ("1", "1"), ("2", "2"), ("3", "3"), ("4", "0")]
    tables = [write_table(tmp_path / f"{last}.csv", ("row", "label"), [*rows, ("5", last)]) for last in "12"]
    infos = [ready(path, trusted_labels=table).info for table in tables]
    assert sorted(infos[0].trusted_rows.tolist()) == sorted(infos[1].trusted_rows.tolist())
    with pytest.raises(ValueError, match="trained on other labels or rows"):
        check_data_stamp(data_stamp(infos[0]), data_stamp(infos[1]))


def test_a_resume_with_other_trusted_rows_is_refused(tmp_path: Path) -> None:
    data = [ToyData(num_train=24, num_test=6, trusted_per_class=2, split_seed=seed) for seed in (0, 1)]
    fit(CrossEntropy(3, PlainMLP), data[0], tmp_path, 1)
    with pytest.raises(ValueError, match="trained on other labels or rows"):
        fit(CrossEntropy(3, PlainMLP), data[1], tmp_path, 2, resume=tmp_path / "last.ckpt")


def test_a_method_without_need_of_trusted_rows_does_not_train_on_them(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(num_train=24, num_test=6, trusted_per_class=2)
    fit(method, data, tmp_path, 1)
    unseen = (method.memory["observed_epoch"] < 0).nonzero().flatten()
    assert sorted(unseen.tolist()) == sorted(data.info.trusted_rows.tolist()) and len(unseen) == 6


@pytest.mark.parametrize("arguments", [{}, {"trusted_per_class": 2}])
def test_the_summary_counts_trusted_rows(tmp_path: Path, arguments: dict[str, Any]) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(num_train=24, num_test=6, **arguments)
    fit(method, data, tmp_path, 1, last=(RunSummary(tmp_path),))
    summary = json.loads((tmp_path / "summary.json").read_text())["data"]
    assert (summary["num_trusted"], summary["num_train_used"]) == ((6, 18) if arguments else (0, 24))


def test_a_dry_run_counts_trusted_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    command = [
        "fit",
        "--config",
        "ce_digits.yaml",
        "--data.subset",
        "20",
        "--data.batch_size",
        "10",
        "--model.network.width",
        "2",
    ]
    assert main([*command, "--data.trusted_per_class", "3", "--data.val_fraction", "0.1", "--dry_run"]) == 0
    assert "20 training, 30 trusted, 20 held out, 20 test; 10 classes" in capsys.readouterr().out
