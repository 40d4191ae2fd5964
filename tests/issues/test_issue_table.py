"""The ranked list and its file."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisylab.issues import IssueTable, read_issues

NAMES = ["a,b.png", 'the "first".png', "line\nbreak.png", "naïve/犬 🐕.png", " spaces .png"]
CLASSES = ("10", "2", "1.0", "cat, big")
HEADER = "given,suggested,score,is_issue,confidence,mean_loss,mean_margin,clean_prob,agreement"


def _table(names: list[str] | None = NAMES) -> IssueTable:
    nan = float("nan")
    return IssueTable(
        index=np.array([4, 0, 3, 1, 2]),
        names=names,
        class_names=CLASSES,
        given=np.array([0, 1, 2, 3, 0]),
        suggested=np.array([1, 3, 0, 3, 0]),
        score=np.array([0.98765432, 0.75, 0.5000004, 0.25, 0.0]),
        is_issue=np.array([True, True, True, False, False]),
        confidence=np.array([0.9, 0.75, 0.5, 1 / 3, 1.0]),
        signals={"mean_loss": np.array([12.5, 1.0, nan, 0.25, 0.0]), "agreement": np.array([nan, 0.0, 1.0, 2 / 3, nan])},
    )


def _same(found: IssueTable, expected: IssueTable) -> None:
    assert (found.names, found.class_names) == (expected.names, expected.class_names)
    for name in ("index", "given", "suggested", "is_issue"):
        values, wanted = getattr(found, name), getattr(expected, name)
        assert values.dtype == wanted.dtype and values.tolist() == wanted.tolist(), name
    for name in ("score", "confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=5e-7)
    for name, values in found.signals.items():
        wanted = expected.signals.get(name, np.full(len(expected), np.nan))
        np.testing.assert_allclose(values, wanted, rtol=0, atol=5e-7, err_msg=name)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    files = [NAMES[place] for place in (1, 3, 4, 2, 0)]  # in the order of the training set
    _table().write(tmp_path / "t.csv")
    found = read_issues(tmp_path / "t.csv", CLASSES, files)
    _same(found, _table())
    assert found.keys == NAMES and len(found) == 5
    found.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_the_file_is_what_the_columns_say(tmp_path: Path) -> None:
    _table().head(3).write(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes().decode("utf-8").split("\r\n") == [
        f"file,{HEADER}",
        '"a,b.png",10,2,0.987654,True,0.900000,12.500000,,,',
        '"the ""first"".png",2,"cat, big",0.750000,True,0.750000,1.000000,,,0.000000',
        '"line\nbreak.png",1.0,10,0.500000,True,0.500000,,,,1.000000',
        "",
    ]


def test_rows_without_files_keep_their_numbers(tmp_path: Path) -> None:
    _table(None).write(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == f"index,{HEADER}"
    found = read_issues(tmp_path / "t.csv", CLASSES)
    _same(found, _table(None))
    assert found.keys == ["4", "0", "3", "1", "2"]


def test_without_class_names_those_that_occur_are_taken_in_the_order_of_their_text(tmp_path: Path) -> None:
    _table().write(tmp_path / "t.csv")
    found = read_issues(tmp_path / "t.csv")
    assert found.class_names == ("1.0", "10", "2", "cat, big")
    assert [found.class_names[c] for c in found.given] == ["10", "2", "1.0", "cat, big", "10"]
    assert found.index.tolist() == [0, 1, 2, 3, 4]


def test_columns_of_others_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    lines = ["file,note,given,suggested,score,is_issue,confidence", "a.png,?,cat,dog,0.9,True,0.8"]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    found = read_issues(tmp_path / "t.csv")
    assert found.names == ["a.png"] and found.score.tolist() == [0.9]
    assert all(np.isnan(values).all() for values in found.signals.values())


@pytest.mark.parametrize(
    ("column", "text", "told"),
    [
        ("score", "high", "row 4: .*'high'"),
        ("confidence", "", "row 4: "),
        ("is_issue", "yes", "row 4: 'yes'"),
        ("given", "owl", "row 4: 'owl'"),
        ("suggested", "owl", "row 4: 'owl'"),
        ("mean_loss", "-", "row 4: .*'-'"),
        ("index", "1.5", "row 4: .*'1.5'"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named_by_its_row(column: str, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    _table(None).write(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[2][column] = text  # the header is row 1
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(ValueError, match=told) as caught:
        read_issues(path, CLASSES)
    assert str(path) in str(caught.value)


def test_a_file_that_the_data_does_not_know_is_named(tmp_path: Path) -> None:
    _table().write(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"row 6: ' spaces \.png'"):
        read_issues(tmp_path / "t.csv", CLASSES, NAMES[:4])


def test_rows_cut_short_are_named(tmp_path: Path) -> None:
    _table(None).write(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*text[:2], text[2][:8]]))
    with pytest.raises(ValueError, match="row 3"):
        read_issues(tmp_path / "t.csv", CLASSES)


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,given,suggested,is_issue,confidence\na,b,b,False,1\n")
    with pytest.raises(ValueError, match="has no column score"):
        read_issues(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_issues(tmp_path / "nowhere.csv")


def test_an_error_while_writing_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    _table().write(path)
    before = path.read_bytes()
    broken = replace(_table(), given=np.array([0, 1, 2, 9, 0]))  # there is no class 9; rows above it are written first
    with pytest.raises(IndexError):
        broken.write(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["t.csv"]
    with pytest.raises(IndexError):
        broken.write(tmp_path / "new.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_the_first_rows_are_a_table_of_their_own() -> None:
    head = _table().head(2)
    assert len(head) == 2 and head.keys == NAMES[:2] and head.class_names == CLASSES
    assert {len(values) for values in (head.index, head.given, head.suggested, head.score, head.is_issue, head.confidence)} == {2}
    assert head.signals["mean_loss"].tolist() == [12.5, 1.0]
    assert len(_table().head(9)) == 5
