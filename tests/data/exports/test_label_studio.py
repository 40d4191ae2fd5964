"""Label Studio's exports: which label a task has, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.exports import KINDS, annotation, choice, label_studio, task, write_json

from noisylab.data.exports import read_export, read_label_studio
from noisylab.data.imageparts import image_lists
from noisylab.data.notes import DataNote


def read(tmp_path: Path, tasks: Any, **how: Any) -> Any:
    return read_export(write_json(tmp_path / "export.json", tasks), **how)


def texts(*labels: str) -> list[dict[str, Any]]:
    return [task(n, {"text": f"text {n}"}, [annotation(50 + n, [choice(label)], n)]) for n, label in enumerate(labels, start=1)]


def test_each_task_has_the_choice_of_its_annotations(tmp_path: Path) -> None:
    export = read(tmp_path, label_studio(tmp_path), label="species")
    labels = {row.row_id: row.label for row in export.rows}
    expected = {str(row): KINDS[(row % 3 + (row % 5 == 0)) % 3] for row in range(50)}
    expected |= {"7": "", "17": "", "27": "", "35": "", "25": KINDS[25 % 3]}
    assert labels == expected
    assert export.kind == "image"
    assert export.control == ("species", "photo")
    notes = " ".join(export.notes)
    assert "2 are skipped by the annotator, without a label (tasks 7, 17)" in notes
    assert "1 is without an annotation, without a label (task 27)" in notes
    assert "annotators disagree, and none is the ground truth or in the majority (task 35)" in notes
    assert "comment (textarea), quality" in notes
    assert "predictions of a model are not read (tasks with some: 1)" in notes


def test_pictures_are_listed_with_unlabeled_ones_last(tmp_path: Path) -> None:
    path = write_json(tmp_path / "export.json", label_studio(tmp_path))
    with pytest.warns(DataNote) as told:
        listed, test = image_lists(str(tmp_path / "photos"), str(path), None, None, None, "species")
    assert any("skipped" in str(one.message) for one in told)
    assert test is None
    assert listed.labels[-4:] == [""] * 4
    assert all(listed.labels[:-4])
    assert listed.names[0] == f"{KINDS[0][0]} 00.png"
    assert listed.rows is not None
    assert listed.rows[0] == "task 0"
    assert list(listed.rows[-4:]) == ["task 7", "task 17", "task 27", "task 35"]


def test_several_choices_have_to_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"several choices, 'species' \(55\), 'quality' \(49\)"):
        read(tmp_path, label_studio(tmp_path))
    with pytest.raises(ValueError, match="no choices called 'specie'"):
        read(tmp_path, label_studio(tmp_path), label="specie")


def test_texts_and_recordings_are_rows_too(tmp_path: Path) -> None:
    export = read_label_studio(write_json(tmp_path / "t.json", texts("a", "b", "a")))
    assert [(row.row_id, row.value, row.label) for row in export.rows] == [
        ("1", "text 1", "a"),
        ("2", "text 2", "b"),
        ("3", "text 3", "a"),
    ]
    clips = [task(1, {"audio": "/data/upload/2/0a1b2c3d-a.wav", "speaker": "x"}, [annotation(5, [choice("hum")], 1)])]
    assert read(tmp_path, clips).kind == "audio"


def test_the_shorter_export_has_the_same_rows(tmp_path: Path) -> None:
    records = [
        {
            "text": f"text {n}",
            "source": "mail",
            "id": n,
            "tone": label,
            "annotator": 1,
            "annotation_id": 70 + k,
            "lead_time": 1.5,
        }
        for k, (n, label) in enumerate([(1, "a"), (2, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b")])
    ]
    export = read(tmp_path, records)
    assert export.tool == "Label Studio (JSON-MIN)"
    assert [(row.row_id, row.label, len(row.places)) for row in export.rows] == [("1", "a", 1), ("2", "b", 2), ("3", "", 0)]
    records[0]["tone"] = {"choices": ["a", "b"]}
    with pytest.raises(ValueError, match="task 1, annotation 70 chooses 'a' and 'b'"):
        read(tmp_path, records)


def _boxes() -> list[dict[str, Any]]:
    value = {"x": 5.0, "y": 2.0, "width": 10.0, "height": 4.0, "rotation": 0, "rectanglelabels": ["cat"]}
    box = {"id": "b1", "from_name": "tag", "to_name": "img", "type": "rectanglelabels", "value": value}
    return [task(1, {"image": "1.png"}, [annotation(2, [box], 1)])]


def _region() -> list[dict[str, Any]]:
    tasks = _boxes()
    tasks[0]["annotations"][0]["result"].append({**choice("cat"), "id": "b1"})
    return tasks


def _many() -> list[dict[str, Any]]:
    tasks = texts("a", "b")
    tasks[1]["annotations"][0]["result"][0]["value"]["choices"] = ["a", "b"]
    return tasks


def _without_text() -> list[dict[str, Any]]:
    tasks = texts("a", "b")
    tasks[1]["data"] = {"text": " "}
    return tasks


def _predicted() -> list[dict[str, Any]]:
    return [task(1, {"text": "x"}, [], predictions=[{"result": [choice("a")]}])]


BAD: list[tuple[Any, str]] = [
    (texts("a", "b") + texts("a"), "the task id 1 is there 2 times"),
    ([*texts("a"), task(9, {"text": "y"}, [annotation(51, [choice("a")], 9)])], "the annotation id 51 is there 2 times"),
    (_without_text(), "task 2 has no 'text' in its data"),
    (_many(), "task 2, annotation 52 chooses 'a' and 'b'; a label is one choice"),
    (_boxes(), "of the type rectanglelabels, but no choices"),
    (_region(), "task 1, annotation 2: 'species' is chosen for a region"),
    (_predicted(), r"without any annotation \(1 have predictions: accept them there"),
    ([*texts("a"), {"id": 3}], "entry 2 of the list is no task with data"),
    ([*texts("a"), {"data": {"text": "x"}}], "entry 2 of the list has no id"),
    ([task(1, {"text": "x"}, []) | {"annotations": [4]}], "task 1 has only the ids of its annotations"),
    ({"data": {"text": "x"}, "id": 1}, "a single task of Label Studio; export the whole project"),
    ([], "an empty list"),
    ([{"a": 1}], "a list of objects with 'a'"),
    (["a"], "a list of values"),
]


@pytest.mark.parametrize(("tasks", "said"), BAD)
def test_what_cannot_be_a_label_is_named(tmp_path: Path, tasks: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path, tasks)


def test_files_that_are_no_whole_json_are_named(tmp_path: Path) -> None:
    whole = json.dumps(texts("é", "b"), ensure_ascii=False, indent=1)
    for name, raw, said in (
        ("early", whole[:-40].encode(), "ends early"),
        ("latin", whole.encode("latin-1"), "is not in UTF-8: line 10 has the byte 0xef"),
        ("wide", whole.encode("utf-16"), "UTF-16"),
        ("comma", whole.replace('"id": 1,', '"id": 1').encode(), "is no JSON"),
        ("deep", b"[" * 200_000, "nested too deeply"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=said):
            read_export(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_export(tmp_path / "none.json")
