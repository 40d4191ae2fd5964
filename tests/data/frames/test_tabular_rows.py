"""Which rows a table learns its columns from, and other tables for a trained model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frametables import mixed, number, table, text

from noisylab.cli import main
from noisylab.data import Tabular
from noisylab.data.frames import Column, Columns
from noisylab.data.notes import DataNote


@pytest.fixture(autouse=True)
def _notes_are_no_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        yield


def ready(train: Columns, test: Columns | None = None, **given: Any) -> Tabular:
    data = Tabular.of(train, test, **given)
    data.setup()
    return data


def values(rows: Any) -> torch.Tensor:
    found: torch.Tensor = rows.values
    return found


def disturbed(columns: Columns, rows: list[int]) -> Columns:
    """The same table with other numbers and words in some rows, wild ones."""
    changed = {}
    for name, column in columns.columns.items():
        if name == "label":
            changed[name] = column
        elif isinstance(column.values, np.ndarray):
            new = column.values.copy()
            new[rows] = [(-1) ** place * 1e12 for place, _ in enumerate(rows)]
            changed[name] = replace(column, values=new)
        else:
            given = list(column.values)
            for row in rows:
                given[row] = f"new {row}"
            changed[name] = replace(column, values=given, missing=np.array([not word for word in given]))
    return replace(columns, columns=changed)


@pytest.mark.parametrize("held", [{"val_fraction": 0.25}, {"folds": 4, "fold": 1}])
def test_held_out_and_test_rows_change_no_training_input(held: dict[str, Any]) -> None:
    train, test = mixed(120, missing=0.1), None if "folds" in held else mixed(40, seed=1)
    before = ready(train, test, **held)
    kept = before.info.train_rows
    out = sorted(set(range(120)) - set(kept.tolist()))
    assert out
    after = ready(disturbed(train, out), None if test is None else disturbed(test, list(range(40))), **held)
    torch.testing.assert_close(values(after.source.train)[kept], values(before.source.train)[kept], rtol=0, atol=0)
    assert not torch.equal(values(after.source.train)[out], values(before.source.train)[out])
    assert any("values that no training row has" in line for line in after.source.account)


def test_true_labels_change_no_input() -> None:
    rows = mixed(60)
    with_truth = replace(rows, columns={**rows.columns, "truth": text(["high", "low"] * 30)})
    other = replace(rows, columns={**rows.columns, "truth": text(["low", "high"] * 30)})
    first, second = (ready(one, true_label="truth", val_fraction=0.2) for one in (with_truth, other))
    assert torch.equal(values(first.source.train), values(second.source.train))
    assert "truth" not in first.encoding.names


def test_a_record_prepares_other_tables_by_name_whatever_the_order() -> None:
    train, other = mixed(100, missing=0.1), mixed(30, seed=2)
    data = ready(train)
    stored = io.BytesIO()
    torch.save(data.fitted(), stored)
    stored.seek(0)
    blank = Tabular("gone.csv")
    blank.adopt(torch.load(stored, weights_only=True))
    blank.setup_blank()
    shuffled = {name: other.columns[name] for name in reversed(other.columns) if name != "label"}
    extra = Columns("new", {"more": number(range(30)), **shuffled})
    assert torch.equal(values(blank.prepared(extra)), values(data.prepared(other)))
    lacking = Columns("new", {name: column for name, column in other.columns.items() if name not in ("city", "wide")})
    with pytest.raises(ValueError, match="new lacks 'wide', 'city', which the model was trained on"):
        blank.prepared(lacking)
    vector = Column("vector", np.zeros((30, 2), dtype="f4"), np.zeros(30, dtype=bool))
    with pytest.raises(ValueError, match="the column calm of new holds vector values"):
        blank.prepared(Columns("new", {**other.columns, "calm": vector}))


def test_unseen_values_are_zero_or_rare_and_counted() -> None:
    train = table(k=text(["a", "b"] * 10), r=text(["u", "v"] * 9 + ["w", "w"]), label=text(["x", "y"] * 10))
    new = table(k=text(["a", "c", "d"]), r=text(["u", "new", None]), label=text(["x", "y", "x"]))
    data = ready(train, new, categories=["k", "r"], min_frequency=3)
    rows = values(data.source.test)
    assert rows.tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    account = "\n".join(data.source.account)
    assert "column k: 2 rows have values that no training row has, which are zero in all places: c and d" in account
    assert "column r: 2 rows have values that no training row has, which count as rare ones" in account


def test_a_number_missing_only_in_new_rows_is_the_median_and_said() -> None:
    data = ready(table(x=number([1, 2, 9]), label=text(["a", "b", "a"])), table(x=number([None]), label=text(["a"])))
    assert values(data.source.test).tolist() == [[pytest.approx((2 - 4) / np.std([1, 2, 9]))]]
    assert any("1 rows have no number, which no training row lacks" in line for line in data.source.account)


def test_text_in_a_column_of_numbers_of_another_table_counts_as_missing() -> None:
    data = ready(table(x=number([1, 2, None]), label=text(["a", "b", "a"])))
    with pytest.warns(DataNote, match="1 cells are no numbers and count as missing: far"):
        rows = values(data.prepared(table("new", x=text(["1", "far"]))))
    assert rows[1].tolist() == [0, 1]


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_tiny_tables_and_classes_of_one_row(rows: int) -> None:
    data = ready(table(x=number(np.arange(rows) ** 2), label=text(["a"] * (rows - 1) + ["alone"])))
    assert torch.isfinite(values(data.source.train)).all()


# ---- runs


def write(path: Path, columns: Columns) -> None:
    names = list(columns.columns)
    cells = zip(*(columns.columns[name].texts() for name in names), strict=True)
    path.write_text("\n".join(",".join(row) for row in [names, *cells]) + "\n", encoding="utf-8")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    tables = found.pop("memory._extra_state")
    return {**found, **{name: table for name, table in tables.items() if isinstance(table, torch.Tensor)}}


def test_runs_resume_bit_for_bit_and_predict_without_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", mixed(90, missing=0.1))
    write(tmp_path / "test.csv", mixed(30, seed=1, missing=0.1))
    flags = ["--config", "elr_table.yaml", "--data.table", "t.csv", "--data.test_table", "test.csv", "--data.val_fraction", "0.2"]
    flags += ["--trainer.accelerator", "cpu"]
    for run, epochs in (("straight", "4"), ("parts", "2"), ("parts", "4")):
        more = ["--resume"] if run == "parts" and epochs == "4" else []
        assert main(["fit", *flags, "--trainer.max_epochs", epochs, "--run_dir", run, *more]) == 0
    straight, parts = weights(tmp_path / "straight"), weights(tmp_path / "parts")
    torch.testing.assert_close(parts, straight, rtol=0, atol=0, equal_nan=True)
    (tmp_path / "t.csv").unlink()
    write(tmp_path / "t.csv", mixed(50, seed=3))  # other training rows: the record of the model prepares the test rows
    assert main(["predict", "--run_dir", "parts", "--out", "first.csv"]) == 0
    write(tmp_path / "t.csv", mixed(90, missing=0.1))
    assert main(["predict", "--run_dir", "parts", "--out", "second.csv"]) == 0
    assert (tmp_path / "first.csv").read_text() == (tmp_path / "second.csv").read_text()


def test_folds_differ_in_width_and_are_all_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = 40
    words = ["only here" if row == 0 else "ab"[row % 2] for row in range(rows)]
    columns = table(x=number(np.random.default_rng(0).normal(size=rows)), k=text(words), label=text(["u", "u", "v", "v"] * 10))
    write(tmp_path / "t.csv", columns)
    flags = ["--config", "elr_table.yaml", "--data.table", "t.csv", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert main(["folds", *flags, "--folds", "2", "--data.min_frequency", "1", "--run_dir", "F"]) == 0
    sizes = {weights(tmp_path / "F" / f"fold{fold}")["networks.network.body.1.weight"].shape[1] for fold in (0, 1)}
    assert sizes == {3, 4}
