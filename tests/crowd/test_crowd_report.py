import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from crowd.samples_of_crowds import LABELS

from noisylab.crowd import (
    Annotations,
    confusion_text,
    crowd_lines,
    dawid_skene,
    majority_vote,
    pairwise_agreement,
    read_annotations,
    write_crowd,
)


def test_pairs_of_labels_that_agree_are_counted() -> None:
    # by hand, agreeing pairs of all: 1/3, 3/3, 1/1, 0/1, 1/1, 1/3, 1/1, 3/3
    assert pairwise_agreement(Annotations.of_matrix(LABELS)) == pytest.approx(11 / 16)
    assert math.isnan(pairwise_agreement(Annotations.of_matrix([[0, -1], [-1, 1]])))


def test_what_is_told_before_training() -> None:
    lines = crowd_lines(majority_vote(Annotations.of_matrix([[0, 0, 1], [1, 1, 2], [0, -1, -1]])))
    assert (
        lines[0] == "7 labels of 3 items by 3 annotators: 1 to 3 an item, 2.33 on average; 33.3% of the items have a single label"
    )
    assert lines[2] == "two labels of one item agree in 33.3% of the pairs"
    assert "no item is left in the class 2 by the consensus" in lines[3]
    assert lines[4].startswith("agreement with the consensus of the annotators: lowest 2 0.00, ")
    counts = crowd_lines(majority_vote(Annotations.of_counts([[2, 0], [0, 2]])))
    assert counts[0] == "4 labels of 2 items by annotators who are not told apart: 2 an item" and len(counts) == 2


def test_confusion_matrices_are_written_to_be_read(tmp_path: Path) -> None:
    said = Annotations.of_matrix([[0, 0], [0, 0], [0, 1], [1, 1]])
    vote = majority_vote(said)  # item 2 is tied: the rarer class is 1, so the first annotator took a 1 for a 0
    assert confusion_text(vote, "0").splitlines() == [
        "0: 4 labels, quality 0.750; rows true, columns given, in percent",
        "        0     1",
        "  0   100     0",
        "  1    50    50",
    ]
    write_crowd(tmp_path, vote)
    with (tmp_path / "annotators.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["annotator"] for row in rows] == ["0", "1"] and rows[0]["confused"] == "1 -> 0 0.50"
    assert confusion_text(vote, "1") in (tmp_path / "annotators.txt").read_text()
    content = json.loads((tmp_path / "annotators.json").read_text())
    assert content["method"] == "vote" and content["annotators"][0]["confusion"] == [[1.0, 0.0], [0.5, 0.5]]
    with pytest.raises(ValueError, match="there is no annotator 'x'; there are 0, 1"):
        confusion_text(vote, "x")


def test_counts_have_figures_but_no_annotators(tmp_path: Path) -> None:
    write_crowd(tmp_path, majority_vote(Annotations.of_counts([[2, 0], [0, 2]])))
    assert [path.name for path in tmp_path.iterdir()] == ["annotators.json"]
    assert json.loads((tmp_path / "annotators.json").read_text())["annotators"] == []


def test_of_many_classes_the_most_frequent_mistakes_are_listed() -> None:
    labels = np.repeat(np.arange(20), 5)[:, None].repeat(3, 1)
    labels[:3, 2] = 7
    text = confusion_text(dawid_skene(Annotations.of_matrix(labels), smoothing=0), "2").splitlines()
    assert text[1:] == ["  0 -> 7 0.60"]


def test_reading_warns_and_matrices_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("item,annotator,label\na,x,1\na,x,2\nb,x,10\n")
    with pytest.warns(UserWarning, match="1 labels were given again"):
        said = read_annotations(tmp_path / "t.csv")
    assert said.class_names == ("2", "10") and said.items == ("a", "b")
    for labels, message in (([0, 1], "shape"), ([[0.5]], "whole numbers"), ([[3]], r"in 0\.\.1")):
        with pytest.raises(ValueError, match=message):
            Annotations.of_matrix(labels, 2)
    with pytest.raises(ValueError, match="counts must be whole numbers, 0 or more, got -1 in row 0, column 1"):
        Annotations.of_counts([[1, -1]])


def test_parquet_files_need_pandas_and_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"item": ["a", "b"], "x": [1.0, float("nan")], "y": [2.0, 0.0]})
    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setattr(pandas, "read_parquet", lambda path: frame)
    said = read_annotations(tmp_path / "t.parquet")
    assert said.counts().tolist() == [[0, 1, 1], [1, 0, 0]] and said.annotators == ("x", "y")

    def missing(path: Path) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pandas, "read_parquet", missing)
    with pytest.raises(ValueError, match="pandas needs pyarrow to read parquet files: pip install pyarrow"):
        read_annotations(tmp_path / "t.parquet")
