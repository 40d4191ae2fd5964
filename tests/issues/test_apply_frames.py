"""Corrections of tables in the format that they came in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from noisylab.issues.apply_frames import apply_to_frame

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

ROWS = [("a", "cat", 1.5), ("b", "dog", None), ("c", "cat", 2.0), ("d", "dog", 3.0)]


def labels_of(table: Any, label: str = "label") -> list[Any]:
    return list(table.column(label).to_pylist())


def test_a_comma_separated_table_keeps_every_other_byte(tmp_path: Path) -> None:
    source, out = tmp_path / "t.csv", tmp_path / "new.csv"
    source.write_bytes(b'\xef\xbb\xbfkey,note,label\r\na,"x, ""y""",cat\r\nb, z ,"dog"\r\nc,,cat\r\nd,q,dog\r\n')
    applied = apply_to_frame(str(source), {"a": ("dog", "cat"), "b": ("cat", "dog")}, out, label="label", id_column="key")
    assert (applied.changed, applied.same) == (2, 0)
    assert out.read_bytes() == b'\xef\xbb\xbfkey,note,label\r\na,"x, ""y""",dog\r\nb, z ,"cat"\r\nc,,cat\r\nd,q,dog\r\n'


def test_numbers_are_written_as_other_rows_have_them(tmp_path: Path) -> None:
    source, out = tmp_path / "t.csv", tmp_path / "new.csv"
    source.write_text("x,y\n5,0\n6,0\n7,1\n8,1\n")
    apply_to_frame(str(source), {"0": ("1", "0")}, out, label="y")
    assert out.read_text() == "x,y\n5,1\n6,0\n7,1\n8,1\n"


def test_a_parquet_file_keeps_schema_metadata_and_the_other_columns(tmp_path: Path) -> None:
    from pyarrow import parquet

    schema = pa.schema(
        [
            pa.field("key", pa.string()),
            pa.field("label", pa.dictionary(pa.int8(), pa.string()), metadata={b"note": b"by hand"}),
            pa.field("x", pa.float32()),
        ],
        metadata={b"origin": b"here"},
    )
    table = pa.table({name: [row[at] for row in ROWS] for at, name in enumerate(("key", "label", "x"))}, schema=schema)
    source, out = tmp_path / "t.parquet", tmp_path / "new.parquet"
    parquet.write_table(table, source, row_group_size=3, compression="zstd")
    apply_to_frame(str(source), {"c": ("dog", "cat")}, out, label="label", id_column="key")
    new = parquet.read_table(out)
    assert new.schema.equals(parquet.read_table(source).schema, check_metadata=True)
    assert labels_of(new) == ["cat", "dog", "dog", "dog"]
    assert new.drop_columns(["label"]).equals(parquet.read_table(source).drop_columns(["label"]))
    details = parquet.ParquetFile(out).metadata
    assert (details.num_row_groups, details.row_group(0).column(0).compression) == (2, "ZSTD")


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_json_keeps_every_other_byte(tmp_path: Path, name: str) -> None:
    lines = [
        '{"label": "cat",  "n": 1.50e1, "deep": {"label": "dog"}, "t": "\\u00e9"}',
        '{"n": 2, "label":"dog", "t": "}{"}',
        '{"label": "cat"}',
        '{"t": "é", "label": "dog"}',
    ]
    text = "\n".join(lines) + "\n" if name == "t.jsonl" else "[\n" + ",\n ".join(lines) + "]\n"
    source, out = tmp_path / name, tmp_path / f"new_{name}"
    source.write_text(text, encoding="utf-8")
    apply_to_frame(str(source), {"0": ("dog", "cat"), "1": ("cat", "dog")}, out, label="label")
    wanted = text.replace('{"label": "cat",  ', '{"label": "dog",  ').replace('"label":"dog"', '"label":"cat"')
    assert out.read_text(encoding="utf-8") == wanted


def test_a_saved_data_set_is_saved_anew_with_its_features_and_other_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    part = datasets.Dataset.from_dict({"text": list("abcd"), "label": [0, 1, 0, 1]}, features=features)
    source, out = tmp_path / "saved", tmp_path / "new"
    datasets.DatasetDict({"train": part, "test": part.select([0, 1])}).save_to_disk(str(source))
    apply_to_frame(str(source), {"0": ("pos", "neg")}, out, label="label")
    new = datasets.load_from_disk(str(out))
    assert new["train"].features == features
    assert (new["train"]["label"][:], new["test"]["label"][:]) == ([1, 1, 0, 1], [0, 1])
    assert new["train"]["text"][:] == list("abcd")


def test_labels_alone_go_into_a_table_of_their_own(tmp_path: Path) -> None:
    from pyarrow import parquet

    source, out = tmp_path / "t.parquet", tmp_path / "new.csv"
    parquet.write_table(pa.table({"key": list("abcd"), "label": ["x", "y", "x", "y"]}), source)
    apply_to_frame(str(source), {"a": ("y", None)}, out, label="label", id_column="key")
    assert out.read_text().splitlines() == ["id,label", "a,y", "b,y", "c,x", "d,y"]


def test_nothing_is_written_over_the_source_or_where_fixes_do_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text("".join(json.dumps({"label": label}) + "\n" for label in ("x", "y", "x", "y")))
    before = source.read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        apply_to_frame(str(source), {"0": ("y", None)}, source, label="label")
    for fixes, message in (
        ({"9": ("y", None)}, "do not occur"),
        ({"0": ("z", None)}, "no class"),
        ({"0": ("y", "q")}, "other labels"),
    ):
        with pytest.raises(ValueError, match=message):
            apply_to_frame(str(source), fixes, tmp_path / "new.jsonl", label="label")
    with pytest.raises(ValueError, match=r"must end in \.jsonl"):
        apply_to_frame(str(source), {"0": ("y", None)}, tmp_path / "new.parquet", label="label")
    assert source.read_bytes() == before and list(tmp_path.iterdir()) == [source]
