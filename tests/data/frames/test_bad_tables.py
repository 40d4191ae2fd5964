"""Tables that are not what they should be: each is refused by name, or taken as the documentation says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from noisylab.data import Tabular
from noisylab.data.frames.reading import read_tables


def labels_of(content: dict[str, Any], tmp_path: Path, **kwargs: Any) -> Tabular:
    """Data of a parquet file with a column x and labels."""
    rows = len(next(iter(content.values())))
    parquet.write_table(pa.table({"x": [0.5 * (row % 7) for row in range(rows)], **content}), tmp_path / "t.parquet")
    data = Tabular(str(tmp_path / "t.parquet"), columns=["x"], **kwargs)
    data.setup()
    return data


def written(tmp_path: Path, name: str, content: str | bytes) -> str:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


# ---- files


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow", "t.csv", "t.jsonl", "t.json"])
def test_files_of_no_bytes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is empty"):
        read_tables(written(tmp_path, name, b""))


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow"])
@pytest.mark.parametrize("left", [3, 200, -20])
def test_files_that_end_early(tmp_path: Path, name: str, left: int) -> None:
    frame = pd.DataFrame({"x": np.arange(500.0), "t": [str(row) for row in range(500)]})
    if name == "t.parquet":
        frame.to_parquet(tmp_path / name)
    elif name == "t.feather":
        frame.to_feather(tmp_path / name)
    else:
        table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(str(tmp_path / name), table.schema) as file:
            file.write_table(table)
    whole = (tmp_path / name).read_bytes()
    if name == "t.arrow" and left == -20:
        left = -200  # a stream without its last bytes, which only say that it ends, is whole
    with pytest.raises(ValueError, match=rf"{name} is no (parquet|Arrow) file, or a part of one"):
        read_tables(written(tmp_path, name, whole[:left]))


def test_packed_files_that_end_early(tmp_path: Path) -> None:
    whole = gzip.compress(("x,y\n" + "".join(f"{row},a\n" for row in range(5000))).encode())
    with pytest.raises(ValueError, match=r"t.csv.gz cannot be unpacked: .* a part of one"):
        read_tables(written(tmp_path, "t.csv.gz", whole[:900]))
    with pytest.raises(ValueError, match=r"t.json.gz cannot be unpacked"):
        read_tables(written(tmp_path, "t.json.gz", b"[]"))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json"])
def test_text_that_is_not_utf_8(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 has the byte 0xfc.*Latin-1 or Windows-1252"):
        read_tables(written(tmp_path, name, "x,y\nf\u00fcr,1\n".encode("latin-1")))
    with pytest.raises(ValueError, match="is text in UTF-16"):
        read_tables(written(tmp_path, name, "x,y\n1,2\n".encode("utf-16")))


def test_text_that_is_not_utf_8_in_parquet(tmp_path: Path) -> None:
    raw = pa.array([b"f\xfcr", b"x"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    parquet.write_table(pa.table({"t": broken}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"the column t of .*t.parquet holds text that is not UTF-8"):
        read_tables(str(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": 2\n', r"line 2: not JSON .* each line is one record"),
        ('{"a": 1}\n[1]\n', r"line 2: not a record {\.\.\.} but '\[1\]'"),
        ('{"a": 1, "a": 2}\n', r"line 1: a record has the name 'a' twice"),
        ("\n\n", "is empty"),
        ("{}\n{}\n", "has records without any value"),
    ],
)
def test_lines_that_are_no_records(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tables(written(tmp_path, "t.jsonl", content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}, {"a":', "line 1: not JSON .* is a part of the file missing"),
        ('[{"a": 1}, 2]', r"entry 1 of the list is not a record {\.\.\.} but '2'"),
        ("[]", "holds no records"),
        ('{"a": [1, 2], "b": [1]}', "it is no list of records"),
        ("3", "it is no list of records"),
    ],
)
def test_json_that_holds_no_records(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tables(written(tmp_path, "t.json", content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n", r"has columns \(x, y\) but no rows"),
        ("x,y,x\n1,2,3\n", "has the column 'x' 2 times; rename or remove the others"),
        ("x,,\n1,2,3\n", "has 2 columns without a name"),
        ("x;y\n1;2\n", "has one column, 'x;y'. Its columns seem to be separated by semicolons"),
        ("x,y\n1,2,3\n", r"row 2 \(line 2\) has 3 cells where the header has 2: put text with a comma in quotes"),
        ('x,y\n"1,2\n3,4\n', "a quote that opens in this row is never closed"),
    ],
)
def test_text_tables_that_are_no_tables(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tables(written(tmp_path, "t.csv", content))


def test_columns_of_one_name_and_tables_without_rows_in_parquet(tmp_path: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="has the column 'x' 2 times"):
        read_tables(str(tmp_path / "t.parquet"))
    parquet.write_table(pa.table({"x": pa.array([], pa.int64()), "t": pa.array([], pa.string())}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"has columns \(x, t\) but no rows"):
        read_tables(str(tmp_path / "t.parquet"))


def test_folders_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"holds no table: no file whose name ends in .csv, .json"):
        read_tables(str(tmp_path))
    written(tmp_path, "a.csv", "x\n1\n")
    written(tmp_path, "b.jsonl", '{"x": 1}\n')
    with pytest.raises(ValueError, match=r"holds tables of several formats \(.csv, .jsonl\)"):
        read_tables(str(tmp_path))
    (tmp_path / "b.jsonl").unlink()
    written(tmp_path, "b.csv", "z\n1\n")
    with pytest.raises(ValueError, match=r"b.csv has the columns z, and .*a.csv has x"):
        read_tables(str(tmp_path))
    with pytest.raises(ValueError, match="is no table that can be read, by its ending"):
        read_tables(str(tmp_path / "photo.jpg"))


def test_parts_of_a_table_that_differ(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1], "y": ["a"]}), tmp_path / "part-000.parquet")
    parquet.write_table(pa.table({"y": ["b"], "x": [2.5]}), tmp_path / "part-001.parquet")
    assert read_tables(str(tmp_path))["train"].columns["x"].texts() == ["1.0", "2.5"]
    parquet.write_table(pa.table({"y": ["b"], "x": [["c"]]}), tmp_path / "part-002.parquet")
    with pytest.raises(ValueError, match=r"the parts of .* differ in a column"):
        read_tables(str(tmp_path))
    parquet.write_table(pa.table({"y": ["b"]}), tmp_path / "part-002.parquet")
    with pytest.raises(ValueError, match=r"part-002.parquet has the columns y, and .*part-000.parquet has x, y"):
        read_tables(str(tmp_path))


def test_saved_data_sets_of_which_something_is_missing(tmp_path: Path) -> None:
    dataset = datasets.Dataset.from_dict({"x": [1, 2]})
    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(tmp_path / "s")
    (tmp_path / "s" / "test" / "state.json").unlink()
    with pytest.raises(ValueError, match="lacks the split test; save the data set again"):
        read_tables(str(tmp_path / "s"))
    dataset.save_to_disk(tmp_path / "one")
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no table .*arrow"):
        read_tables(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}', encoding="utf-8")
    with pytest.raises(ValueError, match="names no files of this folder"):
        read_tables(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not what Dataset.save_to_disk writes"):
        read_tables(str(tmp_path / "one"))


def test_a_column_of_splits_with_gaps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 rows have nothing in the column split, .* the first is row 1"):
        read_tables(written(tmp_path, "t.csv", "x,split\n1,train\n2,\n3,test\n"))
    with pytest.raises(ValueError, match=r"names .*train.*, which are parts of the data, and .*spam"):
        read_tables(written(tmp_path, "t.csv", "x,split\n1,train\n2,spam\n3,test\n"))


# ---- labels


def test_labels_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label='y': .*t.parquet has no such column; it has x, label"):
        labels_of({"label": ["a", "b"]}, tmp_path, label="y")
    with pytest.raises(ValueError, match=r"the column label of .*t.parquet has no label in any of 3 rows"):
        labels_of({"label": pa.array([None, None, None], pa.string())}, tmp_path)
    with pytest.raises(ValueError, match="has no label in any of 2 rows"):
        labels_of({"label": pa.array([None, None])}, tmp_path)
    with pytest.raises(ValueError, match=r"has 1 different classes in 1 names \(a\)"):
        labels_of({"label": ["a", "a", "a"]}, tmp_path)
    with pytest.raises(ValueError, match=r"all 4 labels of .* are different, so every class has one row"):
        labels_of({"label": [10, 12, 14, 16]}, tmp_path)
    with pytest.raises(ValueError, match=r"has the label 0.5 in row 1, which is not a whole number"):
        labels_of({"label": [1.0, 0.5, 1.0]}, tmp_path)


@pytest.mark.parametrize(
    ("labels", "holds"),
    [
        ([["a"], ["b"], []], "holds lists, records, or values of several types"),
        ([{"a": 1}, {"a": 2}], "holds lists, records, or values of several types"),
        ([[1.0, 0.0], [0.0, 1.0]], "holds lists of numbers"),
        (pa.array([0, 1], pa.date32()), "holds dates"),
    ],
)
def test_labels_of_no_use(tmp_path: Path, labels: Any, holds: str) -> None:
    with pytest.raises(ValueError, match=f"{holds}; labels are whole numbers, text or classes. Name another column"):
        labels_of({"label": labels}, tmp_path)


def test_labels_with_gaps_are_unlabeled_rows_and_said(tmp_path: Path) -> None:
    labels: list[Any] = [0, 1, None, 1, 0, 1] * 3
    with pytest.warns(UserWarning, match="3 of 18 rows have no label"):
        data = labels_of({"label": labels}, tmp_path)
    assert data.given_target.tolist() == [-1 if label is None else label for label in labels]
    assert data.source.class_names == ("0", "1")


def test_words_that_mean_no_label_elsewhere_are_classes_where_they_are_named(tmp_path: Path) -> None:
    kinds = pd.Categorical(["NA", "EU", "NA", None, "EU", "NA"], categories=["NA", "EU", "unused"])
    pd.DataFrame({"x": [0.1, 0.2, 0.3, 0.4, 0.3, 0.1], "label": kinds}).to_parquet(tmp_path / "t.parquet")
    data = Tabular(str(tmp_path / "t.parquet"), columns=["x"])
    with pytest.warns(UserWarning) as said:
        data.setup()
    texts = [str(one.message) for one in said]
    assert any("no row that is trained on has the class unused, so there is none" in text for text in texts)
    assert any("1 of 6 rows have no label" in text for text in texts)
    assert (data.source.class_names, data.given_target.tolist()) == (("NA", "EU"), [0, 1, 0, -1, 1, 0])


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    noted = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pa.table({"x": [1.0, 2.0], "label": [0, 2]}).replace_schema_metadata({"huggingface": json.dumps(noted)})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="has the class 2 in row 1, but names 2 classes, 0 to 1"):
        read_tables(str(tmp_path / "t.parquet"))


def test_classes_of_the_test_rows_that_nobody_trained_on_are_refused(tmp_path: Path) -> None:
    for name, labels in (("train", ["a", "b", "a"]), ("test", ["a", "c"])):
        pd.DataFrame({"x": [0.1, 0.2, 0.3][: len(labels)], "label": labels}).to_parquet(tmp_path / f"{name}.parquet")
    data = Tabular(str(tmp_path), columns=["x"])
    with pytest.raises(ValueError, match=r"split test are not in the 2 classes \(a, b\); the first is 'c' in row 1"):
        data.setup()


def test_columns_that_the_test_rows_lack_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"x": [0.1, 0.2, 0.3, 0.4], "label": list("abab")}).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame({"X": [0.1, 0.2], "label": list("ab")}).to_parquet(tmp_path / "test.parquet")
    data = Tabular(str(tmp_path), columns=["x"])
    with pytest.raises(ValueError, match=r"split test has no.*such column|split test.*x"):
        data.setup()


# ---- ids and numbers


def test_ids_that_are_there_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has the row id '7' 2 times, so corrections could not find back"):
        labels_of({"label": ["a", "b", "a"], "id": [7, 8, 7]}, tmp_path, id_column="id")


def test_ids_of_any_size_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    ids = [2**53 + 1, 2**53, 2**63 - 1]
    data = labels_of({"label": ["a", "b", "a"], "id": ids}, tmp_path, id_column="id")
    assert data.source.names == [str(number) for number in ids]
    with_gap = pa.array([2**53 + 1, None, 5])
    parquet.write_table(pa.table({"id": with_gap}), tmp_path / "g.parquet")
    assert read_tables(str(tmp_path / "g.parquet"))["train"].columns["id"].texts() == [str(2**53 + 1), "", "5"]


def test_nan_is_missing_and_infinity_is_a_number(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([float("nan"), float("inf"), None, -0.0])})
    parquet.write_table(table, tmp_path / "t.parquet")
    column = read_tables(str(tmp_path / "t.parquet"))["train"].columns["x"]
    assert column.missing.tolist() == [True, False, True, False] and column.values[1] == np.inf
    (tmp_path / "t.jsonl").write_text('{"x": NaN}\n{"x": Infinity}\n{"x": null}\n{"x": 1}\n', encoding="utf-8")
    column = read_tables(str(tmp_path / "t.jsonl"))["train"].columns["x"]
    assert column.missing.tolist() == [True, False, True, False] and column.values[1] == np.inf
