"""Data sets of Hugging Face, data frames and data sets of torch that are in memory."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import lightning as L
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from noisylab import CrossEntropy, Symmetric, from_dataframe, from_dataset, from_torch
from noisylab.checkpoints.fitted import fitted_in
from noisylab.data import TableImages, Tabular
from noisylab.data.frames.dataframes import columns_of_dataframe
from noisylab.data.rows import DenseRows
from noisylab.models import MLP


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 60)
    x = rng.normal(size=60) + label
    kind = pd.Categorical(np.array(["low", "mid", "high"])[label], categories=["low", "mid", "high"])
    return pd.DataFrame({"x": x, "z": rng.normal(size=60), "y": kind}, index=[f"row{row}" for row in range(60)])


# ---- data frames


def test_pandas_and_polars_say_the_same(frame: pd.DataFrame) -> None:
    one = columns_of_dataframe(frame, "<f>")
    other = columns_of_dataframe(pl.DataFrame({name: frame[name].to_list() for name in ("x", "z")}), "<f>")
    assert one.ids == list(frame.index) and other.ids is None
    assert one.columns["y"].names == ("low", "mid", "high") and one.columns["y"].texts() == list(frame["y"])
    for name in ("x", "z"):
        np.testing.assert_array_equal(one.columns[name].values, frame[name].to_numpy())
        np.testing.assert_array_equal(other.columns[name].values, frame[name].to_numpy())


def test_polars_keeps_the_order_of_its_categories() -> None:
    kinds = pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["b", "a"]))
    table = columns_of_dataframe(pl.DataFrame({"k": kinds, "t": ["x", None, "", "y"], "v": [[1.0, 2.0]] * 4}), "<f>")
    assert (table.columns["k"].kind, table.columns["k"].names) == ("class", ("b", "a"))
    assert table.columns["t"].missing.tolist() == [False, True, False, False]
    assert table.columns["v"].kind == "vector"


def test_a_lazy_frame_is_refused() -> None:
    with pytest.raises(TypeError, match=r"LazyFrame is no data frame of pandas or polars; collect\(\) it first"):
        from_dataframe(pl.DataFrame({"a": [1]}).lazy())
    with pytest.raises(TypeError, match="list is no data frame"):
        from_dataframe([1, 2])


def test_an_index_that_counts_from_0_names_no_rows(frame: pd.DataFrame) -> None:
    assert columns_of_dataframe(frame.reset_index(drop=True), "<f>").ids is None
    assert columns_of_dataframe(frame.reset_index(drop=True)[1:], "<f>").ids == [str(row) for row in range(1, 60)]
    indexed = frame.set_index(["x", "z"])
    assert columns_of_dataframe(indexed, "<f>").ids == [f"{x}/{z}" for x, z in indexed.index]


def test_columns_of_several_types_and_of_pictures_are_known() -> None:
    pictures = [Image.new("RGB", (4, 3), (row, 0, 0)) for row in range(3)]
    table = columns_of_dataframe(pd.DataFrame({"mixed": [1, "a", None], "picture": pictures}), "<f>")
    assert {name: column.kind for name, column in table.columns.items()} == {"mixed": "other", "picture": "image"}
    assert any("the column mixed mixes" in line for line in table.account)
    contents = [media.content for media in table.columns["picture"].values]
    assert [Image.open(io.BytesIO(content)).getpixel((0, 0)) for content in contents] == [(row, 0, 0) for row in range(3)]


def test_columns_of_one_name_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="<data frame> has the column 'x' 2 times"):
        from_dataframe(pd.concat([frame, frame[["x"]]], axis=1), label="y")


def test_an_index_with_repetitions_is_refused(frame: pd.DataFrame) -> None:
    data = from_dataframe(pd.concat([frame, frame[:1]]), label="y", features=["x", "z"])
    with pytest.raises(ValueError, match="has the row id 'row0' 2 times"):
        data.setup()


# ---- data sets of Hugging Face


def test_splits_are_used_by_name_and_guesses_are_said(frame: pd.DataFrame) -> None:
    kinds = {"x": datasets.Value("float64"), "z": datasets.Value("float32")}
    features = datasets.Features({**kinds, "label": datasets.ClassLabel(names=["low", "mid", "high"])})
    codes = frame["y"].cat.codes.to_list()
    rows = datasets.Dataset.from_dict({"x": frame["x"], "z": frame["z"], "label": codes}, features=features)
    whole = datasets.DatasetDict(train=rows.select(range(40)), test=rows.select(range(40, 60)), validation=rows.select([0]))
    with pytest.warns(UserWarning, match="label: the column label; features: the columns x, z"):
        data = from_dataset(whole, noise=Symmetric(rate=0.2))
    assert isinstance(data, Tabular)
    data.setup()
    assert data.source.class_names == ("low", "mid", "high")
    assert data.clean_target.tolist() == codes[:40] and data.source.test_target is not None
    assert data.source.test_target.tolist() == codes[40:]
    assert any("other splits are not read: validation (1 rows)" in line for line in data.source.account)
    assert any("label: the column label" in line for line in data.source.account)
    with pytest.raises(ValueError, match="test and test_split='validation' both name the test rows"):
        from_dataset(whole, test=rows, test_split="validation")


def test_selected_and_shuffled_rows_are_those_that_are_read() -> None:
    rows = datasets.Dataset.from_dict({"x": [0.0, 1.0, 2.0, 3.0], "label": ["a", "b", "a", "b"]}).select([3, 0, 2, 1])
    data = from_dataset(rows, label="label", features=["x"])
    assert np.asarray(data.tables[0].columns["x"].values).tolist() == [3.0, 0.0, 2.0, 1.0]


def test_a_stream_is_refused() -> None:
    stream = datasets.Dataset.from_dict({"x": [1]}).to_iterable_dataset()
    with pytest.raises(TypeError, match=r"IterableDataset is no datasets.Dataset .* without streaming=True"):
        from_dataset(stream)


def test_classes_of_a_test_split_in_another_order_are_matched_by_name() -> None:
    def rows(names: list[str], labels: list[int]) -> datasets.Dataset:
        features = datasets.Features({"x": datasets.Value("float64"), "label": datasets.ClassLabel(names=names)})
        return datasets.Dataset.from_dict({"x": [0.5, 0.25, 1.0, 0.75][: len(labels)], "label": labels}, features=features)

    data = from_dataset(
        datasets.DatasetDict(train=rows(["a", "b", "c"], [0, 1, 1, 2]), test=rows(["c", "b", "a"], [0, 2, 1])),
        label="label",
        features=["x"],
    )
    data.setup()
    assert data.source.test_target is not None and data.source.test_target.tolist() == [2, 0, 1]


# ---- data sets of torch


class Pictures(Dataset[Any]):
    """Pictures as torchvision has them."""

    classes = ("cat", "dog")

    def __init__(self, form: str = "pil", noise: float = 0.0) -> None:
        self.form, self.noise = form, noise
        self.pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> tuple[Any, int]:
        pixels = self.pixels[row]
        tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        inputs = {
            "pil": lambda: Image.fromarray(pixels),
            "uint8": lambda: tensor,
            "float": lambda: tensor.float() / 255,
            "normalized": lambda: tensor.float() / 128 - 1,
            "random": lambda: tensor.float() / 255 + self.noise * torch.rand(()),
            "array": lambda: pixels,
        }[self.form]()
        return inputs, row % 2


@pytest.mark.parametrize("form", ["pil", "uint8", "float", "array"])
def test_pictures_of_torch_come_to_the_last_bit(form: str) -> None:
    data = from_torch(Pictures(form), flip=0.0, test=Subset(Pictures(form), [3, 2]))
    assert isinstance(data, TableImages)
    data.setup()
    assert isinstance(data.source.train, DenseRows) and isinstance(data.source.test, DenseRows)
    wanted = torch.from_numpy(Pictures().pixels.transpose(0, 3, 1, 2).copy())
    assert torch.equal(data.source.train.values, wanted)
    assert torch.equal(data.source.test.values, wanted[[3, 2]])
    assert data.source.class_names == ("cat", "dog") and data.source.given.tolist() == [0, 1] * 4


def test_items_that_are_no_pictures_or_change_are_refused() -> None:
    with pytest.raises(ValueError, match=r"input of row 0, 3x5x6 of float32, is no picture: .* normalization and augmentation"):
        from_torch(Pictures("normalized"))
    with pytest.raises(ValueError, match=r"item 0 of <torch data set> \(Pictures\) differs each time it is read"):
        from_torch(Pictures("random", noise=1.0))


def test_vectors_records_and_texts_of_torch() -> None:
    vectors = torch.randn(6, 4)
    data = from_torch(TensorDataset(vectors, torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6)))
    table = data.tables[0]
    found = {name: column.kind for name, column in table.columns.items()}
    assert found == {"input": "vector", "label": "number", "part2": "number"}
    np.testing.assert_array_equal(np.asarray(table.columns["input"].values), vectors.numpy())
    records = [{"x": 0.5 * row, "y": "ab"[row % 2]} for row in range(6)]
    data = from_torch(records, label="y", features=["x"])
    data.setup()
    assert data.source.given.tolist() == [0, 1] * 3
    named = from_torch([(row, 0.1 * row, "ab"[row % 2]) for row in range(4)], names=["n", "x", "y"], label="y", features=["x"])
    assert list(named.tables[0].columns) == ["n", "x", "y"]


def test_what_has_no_rows_by_number_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(TypeError, match="Stream has no rows by number"):
        from_torch(Stream())
    with pytest.raises(ValueError, match=r"\(list\) is empty"):
        from_torch([])
    with pytest.raises(ValueError, match="has the parts a, item 0 has b"):
        from_torch([{"b": 1}, {"a": 1}], label="a")
    with pytest.raises(ValueError, match="has 2 parts, but names has 1"):
        from_torch([(1, 2)], names=["x"])


# ---- what was promised


def trained(data: L.LightningDataModule, folder: Path, epochs: int, checkpoint: str | None = None) -> tuple[nn.Module, str]:
    L.seed_everything(1)
    method = CrossEntropy(num_classes=3, network=partial(MLP, in_features=2))
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=folder, **quiet)
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return method, str(folder / f"{epochs}.ckpt")


def test_data_in_memory_resume_exactly_and_predict_from_the_checkpoint(frame: pd.DataFrame, tmp_path: Path) -> None:
    def data() -> Any:
        columns: dict[str, Any] = {"label": "y", "features": ["x", "z"]}
        return from_dataframe(frame[:40], test=frame[40:], noise=Symmetric(rate=0.2), batch_size=8, **columns)

    straight, _ = trained(data(), tmp_path / "straight", 4)
    _, half = trained(data(), tmp_path / "half", 2)
    resumed, last = trained(data(), tmp_path / "resumed", 4, half)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    record = fitted_in(last)
    assert record is not None
    blank = Tabular("<data frame>", label="y", columns=["x", "z"])
    blank.adopt(record)
    blank.setup_blank()
    prepared, source = blank.prepared(columns_of_dataframe(frame[40:], "<f>")), data()
    source.setup()
    assert isinstance(prepared, DenseRows) and isinstance(source.source.test, DenseRows)
    assert torch.equal(prepared.values, source.source.test.values)


def test_data_in_memory_cannot_be_named_in_a_file() -> None:
    with pytest.raises(FileNotFoundError, match="<data frame> is a table in memory, which no file describes"):
        Tabular("<data frame>").setup()


def test_a_table_of_pyarrow_is_a_data_frame() -> None:
    data = from_dataframe(pa.table({"x": [0.0, 1.0, 2.0, 3.0], "y": ["a", "a", "b", "b"]}), label="y", features=["x"])
    assert data.num_classes == 2
