"""Tables of every format, compared with what pandas, pyarrow and datasets read."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import feather, parquet

from noisylab.data.frames import Columns
from noisylab.data.frames.hub import address_of
from noisylab.data.frames.reading import read_tables, splits_of


def only(path: Path) -> Columns:
    tables = read_tables(str(path))
    assert list(tables) == ["train"]
    return tables["train"]


def kinds(table: Columns) -> dict[str, str]:
    return {name: column.kind for name, column in table.columns.items()}


@pytest.fixture
def frame() -> pd.DataFrame:
    """A column of each kind, each with a missing value."""
    return pd.DataFrame(
        {
            "number": [1.5, np.nan, np.inf, -3.0],
            "whole": pd.array([1, None, 2**60 + 1, -7], dtype="Int64"),
            "yes": pd.array([True, None, False, True], dtype="boolean"),
            "text": ["a", "", None, "\N{SNOWMAN} " * 3],
            "class": pd.Categorical(["cat", "dog", None, "cat"], categories=["dog", "cat"]),
            "date": pd.to_datetime(["2024-02-29 12:30", None, "1969-12-31 00:00", "2100-01-01 00:00"]),
            "vector": [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]],
            "other": [[1.0], [2.0, 3.0], None, []],
        },
        index=["r0", "r1", "r2", "r3"],
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame)
    {
        ".parquet": lambda: parquet.write_table(table, path),
        ".feather": lambda: feather.write_feather(table, str(path)),
        ".arrow": lambda: pa.ipc.new_stream(str(path), table.schema).write_table(table),
    }[path.suffix]()


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow"])
def test_columnar_files_hold_what_pandas_put_in(frame: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"t.{ending}"
    write(frame, file)
    table = only(file)
    assert kinds(table) == {name: {"whole": "number", "yes": "bool"}.get(name, name) for name in frame}
    assert table.ids == ["r0", "r1", "r2", "r3"]
    for name, column in table.columns.items():
        there = [isinstance(value, list) or not pd.isna(value) for value in frame[name]]
        assert (~column.missing).tolist() == there, name
    assert table.columns["number"].values.tolist()[2:] == [np.inf, -3.0]  # type: ignore[union-attr]
    assert table.columns["whole"].values.dtype == np.int64  # type: ignore[union-attr]
    assert table.columns["whole"].texts() == ["1", "", str(2**60 + 1), "-7"]
    assert table.columns["text"].texts() == ["a", "", "", "\N{SNOWMAN} " * 3]
    assert table.columns["class"].names == ("dog", "cat")
    assert table.columns["class"].texts() == ["cat", "dog", "", "cat"]
    dates = table.columns["date"].values
    assert [str(dates[row])[:16] for row in (0, 2)] == ["2024-02-29T12:30", "1969-12-31T00:00"]
    assert np.asarray(table.columns["vector"].values)[[0, 1, 3]].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert table.columns["other"].values[1] == [2.0, 3.0]


def test_a_table_by_a_column_of_numbers_keeps_it_and_names_no_rows(tmp_path: Path) -> None:
    pd.DataFrame({"id": [7, 8], "x": [1, 2]}).to_parquet(tmp_path / "t.parquet")
    table = only(tmp_path / "t.parquet")
    assert table.ids is None and table.columns["id"].texts() == ["7", "8"]


def test_several_indices_name_rows_together(tmp_path: Path) -> None:
    pd.DataFrame({"who": ["a", "a"], "n": [1, 2], "x": [3, 4]}).set_index(["who", "n"]).to_parquet(tmp_path / "t.parquet")
    assert only(tmp_path / "t.parquet").ids == ["a/1", "a/2"]


def test_large_texts_and_numbers_of_all_widths_come_whole(tmp_path: Path) -> None:
    long = "x\N{GRINNING FACE}" * 50_000
    columns = {
        "long": pa.array([long, None], pa.large_string()),
        "huge": pa.array([2**64 - 1, 1], pa.uint64()),
        "small": pa.array([2**63 - 1, None], pa.uint64()),
        "half": pa.array(np.array([0.5, 2.0], np.float16)),
        "cents": pa.array([1, 2], pa.int64()).cast(pa.decimal128(21, 2)),
        "day": pa.array([0, 1], pa.date32()),
        "zone": pa.array([0, 3600], pa.timestamp("s", "Europe/Berlin")),
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = only(tmp_path / "t.parquet")
    assert table.columns["long"].texts() == [long, ""]
    assert (table.columns["huge"].kind, table.columns["huge"].texts()) == ("text", [str(2**64 - 1), "1"])
    assert table.columns["small"].texts() == [str(2**63 - 1), ""]
    assert table.columns["half"].values.tolist() == [0.5, 2.0]  # type: ignore[union-attr]
    assert table.columns["cents"].values.tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    assert [table.columns[name].kind for name in ("day", "zone")] == ["date", "date"]
    assert any("huge: its numbers do not fit into 64 bits" in text for text in table.account)
    assert any("zone: times are in UTC" in text for text in table.account)


def test_categories_that_are_about_one_a_row_are_text(tmp_path: Path) -> None:
    texts = [f"review {row}" for row in range(300)]
    pd.DataFrame({"t": pd.Categorical(texts), "n": pd.Categorical([3, 1] * 150)}).to_parquet(tmp_path / "t.parquet")
    table = only(tmp_path / "t.parquet")
    assert (table.columns["t"].kind, table.columns["t"].texts()) == ("text", texts)
    assert (table.columns["n"].kind, table.columns["n"].texts()[:2]) == ("number", ["3", "1"])


# ---- text


def test_cells_are_numbers_only_if_all_of_them_are(tmp_path: Path) -> None:
    header = "id,n,f,mixed,yes,day,bad day,text,words,big,exact,label"
    rows = [
        "007,1,1.5,1,true,2024-01-31,2024-13-01,1,1,123456789012345678901,9007199254740993,1.0",
        "008,-2,1e3,x,FALSE,2024-02-29 10:00,2024-01-01,two,NA,1,1,2",
        "012,,inf,2,,,,,nan,2,2,1.0",
    ]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    table = only(tmp_path / "t.csv")
    assert kinds(table) == {
        **dict.fromkeys(("id", "mixed", "text", "big", "bad day"), "text"),
        **dict.fromkeys(("n", "f", "words", "exact", "label"), "number"),
        "yes": "bool",
        "day": "date",
    }
    assert table.columns["id"].texts() == ["007", "008", "012"]
    assert table.columns["n"].values.tolist()[:2] == [1, -2]  # type: ignore[union-attr]
    assert table.columns["n"].missing.tolist() == [False, False, True]
    assert table.columns["f"].values.tolist() == [1.5, 1000.0, np.inf]  # type: ignore[union-attr]
    assert table.columns["words"].missing.tolist() == [False, True, True]
    assert table.columns["exact"].values[0] == 2**53 + 1
    assert table.columns["label"].texts() == ["1.0", "2", "1.0"], "labels are those of the file, to the letter"
    assert any("words: 2 cells with 'NA', 'nan' are missing numbers" in text for text in table.account)
    assert any("big: its largest numbers cannot be held exactly" in text for text in table.account)


def test_texts_may_have_commas_quotes_and_lines(tmp_path: Path) -> None:
    texts = ['say "no", twice', "two\nlines, three\nlines", "", "ünï"]
    frame = pd.DataFrame({"text": texts, "label": ["a", "b", "a", "b"]})
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    assert only(tmp_path / "t.csv.gz").columns["text"].texts() == texts
    frame.to_csv(tmp_path / "i.csv")
    assert only(tmp_path / "i.csv").ids == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("name", "packed"), [("t.jsonl", False), ("t.json", False), ("t.json.gz", True)])
def test_records_a_line_are_read_whatever_the_file_is_called(tmp_path: Path, name: str, packed: bool) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "f": [0.5, None, 2.0], "t": ["a\u2028b", "", "c"], "y": [True, False, True]})
    content = frame.to_json(orient="records", lines=True).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    table = only(tmp_path / name)
    assert kinds(table) == {"n": "number", "f": "number", "t": "text", "y": "bool"}
    assert table.columns["t"].texts() == frame["t"].tolist()
    assert table.columns["f"].missing.tolist() == [False, True, False]


@pytest.mark.parametrize("shape", ["records", "columns", "inside", "lists"])
def test_json_in_the_shapes_that_people_write(tmp_path: Path, shape: str) -> None:
    frame = pd.DataFrame({"n": [1, 2], "t": ["a", "b"]}, index=["x", "y"])
    records = frame.to_dict("records")
    content: Any = {
        "records": records,
        "columns": frame.to_dict(),
        "inside": {"version": "1", "data": records},
        "lists": frame.to_dict("list"),
    }[shape]
    (tmp_path / "t.json").write_text(json.dumps(content), encoding="utf-8")
    table = only(tmp_path / "t.json")
    assert (table.columns["n"].texts(), table.columns["t"].texts()) == (["1", "2"], ["a", "b"])
    assert table.ids == (["x", "y"] if shape == "columns" else None)


def test_values_of_several_types_are_told_apart(tmp_path: Path) -> None:
    records = [{"a": 1, "v": [1, 2], "d": "2024-01-01"}, {"a": "x", "v": [3, None], "d": "2024-01-02"}, {"a": None, "v": None}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    table = only(tmp_path / "t.jsonl")
    assert kinds(table) == {"a": "other", "v": "vector", "d": "date"}
    assert any("the column a mixes" in text and "text in 1 rows (the first is row 1)" in text for text in table.account)
    np.testing.assert_array_equal(np.asarray(table.columns["v"].values)[:2], [[1, 2], [3, np.nan]])


def test_half_a_letter_is_replaced_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"t": "a\\ud83d", "y": 0}\n{"t": "b", "y": 1}\n', encoding="utf-8")
    table = only(tmp_path / "t.jsonl")
    assert table.columns["t"].texts() == ["a\ufffd", "b"]
    assert any("halves of letters (first row 0)" in text for text in table.account)


# ---- several files


def test_a_folder_is_divided_by_the_names_of_its_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(6), "y": list("ababab")})
    (tmp_path / "data").mkdir()
    frame[:2].to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", index=False)
    frame[2:4].to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", index=False)
    frame[4:].to_parquet(tmp_path / "data" / "validation-00000-of-00001-0123456789abcdef.parquet", index=False)
    frame[:1].to_parquet(tmp_path / "data" / "unsupervised-00000-of-00001.parquet", index=False)
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    (tmp_path / "dataset_infos.json").write_text("{}", encoding="utf-8")
    tables = read_tables(str(tmp_path))
    assert {name: table.columns["x"].texts() for name, table in tables.items()} == {
        "train": ["0", "1", "2", "3"],
        "validation": ["4", "5"],
        "unsupervised": ["0"],
    }


def test_files_without_such_names_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("x,y\n007,b\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("x,y\n1,a\n", encoding="utf-8")
    table = only(tmp_path)
    assert (table.columns["x"].kind, table.columns["x"].texts()) == ("text", ["1", "007"]), "all parts say what a column holds"
    assert "its 2 files are parts of one table" in table.account[0]


def test_the_table_of_a_folder_of_pictures_names_its_files(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n", encoding="utf-8")
    tables = read_tables(str(tmp_path))
    assert list(tables) == ["train", "test"]
    column = tables["test"].columns["file_name"]
    assert (column.kind, tables["test"].folder) == ("image", tmp_path / "test")


def test_a_column_of_splits_divides_a_table_and_keeps_the_numbers_of_the_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y,split\n1,a,train\n2,b,test\n3,b,train\n4,a,Validation\n", encoding="utf-8")
    tables = read_tables(str(tmp_path / "t.csv"))
    assert {name: (table.columns["x"].texts(), table.ids) for name, table in tables.items()} == {
        "train": (["1", "3"], ["0", "2"]),
        "test": (["2"], ["1"]),
        "val": (["4"], ["3"]),
    }
    assert all("split" not in table for table in tables.values())


# ---- the package datasets


@pytest.fixture
def dataset() -> datasets.Dataset:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "image": datasets.Image(),
            "emb": datasets.Sequence(datasets.Value("float32"), length=2),
        }
    )
    rows = {
        "text": ["a", "b", "c", "d"],
        "label": [1, 0, None, -1],
        "image": [*(Image.new("RGB", (3, 2), (50 * row, 0, 0)) for row in range(3)), None],
        "emb": [[row, row + 0.5] for row in range(4)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("how", ["parquet", "saved", "splits"])
def test_saved_data_sets_keep_their_classes_and_pictures(dataset: datasets.Dataset, tmp_path: Path, how: str) -> None:
    if how == "parquet":
        dataset.to_parquet(tmp_path / "s.parquet")
        table = only(tmp_path / "s.parquet")
    elif how == "saved":
        dataset.save_to_disk(tmp_path / "s")
        table = only(tmp_path / "s")
    else:
        shuffled = dataset.select([3, 2, 1, 0])
        datasets.DatasetDict(train=dataset, test=shuffled).save_to_disk(tmp_path / "s")
        tables = read_tables(str(tmp_path / "s"))
        assert tables["test"].columns["text"].texts() == ["d", "c", "b", "a"]
        table = tables["train"]
    assert kinds(table) == {"text": "text", "label": "class", "image": "image", "emb": "vector"}
    assert table.columns["label"].names == ("neg", "pos")
    assert table.columns["label"].texts() == ["pos", "neg", "", ""]
    plain = dataset.cast_column("image", datasets.Image(decode=False))
    assert [media.content for media in table.columns["image"].values][:3] == [row["bytes"] for row in plain["image"][:3]]
    assert table.columns["image"].missing.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(np.asarray(table.columns["emb"].values), dataset.with_format("numpy")["emb"][:])


def test_bytes_of_pictures_and_of_sound_are_known_without_notes(tmp_path: Path, dataset: datasets.Dataset) -> None:
    contents = [row["bytes"] for row in dataset.cast_column("image", datasets.Image(decode=False))["image"][:3]]
    columns = {"raw": contents, "wave": [b"RIFF....WAVEfmt ", None, None], "bytes": [b"\x00\x01", b"", None]}
    columns["record"] = [{"bytes": content, "path": None} for content in contents]  # type: ignore[misc]
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert kinds(only(tmp_path / "t.parquet")) == {"raw": "image", "wave": "audio", "bytes": "other", "record": "image"}


def test_a_data_set_of_the_hub_is_loaded_by_name_and_revision(
    dataset: datasets.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def load(name: str, config: str | None, **kwargs: Any) -> datasets.DatasetDict:
        asked.append((name, config, kwargs))
        return datasets.DatasetDict(train=dataset, validation=dataset)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)
    tables = read_tables("owner/name:small@abc")
    assert asked == [("owner/name", "small", {"revision": "abc"})] and list(tables) == ["train", "validation"]
    unpinned = read_tables("hf://owner/name")["train"]
    assert any("owner/name@REVISION pins it" in text for text in unpinned.account)


def test_names_of_the_hub_are_addresses_where_there_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "reviews").mkdir()
    given = ["owner/name@v1", "here/reviews", "data/missing.parquet", "./owner/name", "hf://owner/name", "one"]
    assert [address_of(path) for path in given] == ["hf://owner/name@v1", *given[1:]]


def test_without_a_network_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("Couldn't reach the Hugging Face Hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(FileNotFoundError, match=r"owner/name is no file or folder here.*Couldn't reach.*save_to_disk"):
        read_tables("owner/name")


@pytest.mark.parametrize(
    ("package", "file", "extra"), [("pyarrow", "t.parquet", "tables"), ("datasets", "owner/name", "datasets")]
)
def test_what_is_missing_is_said_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, file: str, extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf'pip install "noisylab\[{extra}\]"'):
        read_tables(file)


# ---- which splits are used


def tables_of(**labels: list[str]) -> dict[str, Columns]:
    from noisylab.data.frames import Column

    return {
        name: Columns(name, {"y": Column("text", values, np.array([not value for value in values]))})
        for name, values in labels.items()
    }


def test_a_split_without_labels_is_not_tested_on() -> None:
    tables = tables_of(train=["a", "b"], test=["", ""], validation=["a", "b"], unsupervised=["", ""])
    with pytest.warns(UserWarning, match="is the test set, as"), pytest.warns(UserWarning, match="test has no labels"):
        train, test = splits_of(tables, None, None, None, "y")
    assert test is tables["validation"]
    assert train.account == [
        "test has no labels, so it is not tested on",
        "validation: validation is the test set, as no other split is called test and has labels",
    ]


def test_splits_that_are_not_read_are_said() -> None:
    train, test = splits_of(tables_of(train=["a", "b"], test=["b"], dev=["a"]), None, None, None, "y")
    assert test is not None and test.where == "test"
    assert "other splits are not read: dev (1 rows); validation rows are held out" in train.account[0]


def test_splits_that_are_not_there_are_refused() -> None:
    tables = tables_of(train=["a", "b"], test=["b"])
    with pytest.raises(ValueError, match="split='all' is none of the splits, which are train, test"):
        splits_of(tables, None, "all", None, "y")
    with pytest.raises(ValueError, match="test_split='dev' is none"):
        splits_of(tables, None, None, "dev", "y")
