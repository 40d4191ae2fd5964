"""COCO files: one category a picture, or a named reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.exports import KINDS, coco, write_json

from noisylab.data.exports import read_export


@pytest.mark.parametrize("boxes", [False, True])
def test_each_picture_has_the_category_of_its_annotation(tmp_path: Path, boxes: bool) -> None:
    export = read_export(write_json(tmp_path / "coco.json", coco(tmp_path, boxes=boxes)))
    labels = {row.row_id: row.label for row in export.rows}
    expected = {str(100 + row): KINDS[(row % 3 + (row % 5 == 0)) % 3] for row in range(50)} | {"107": ""}
    assert labels == expected
    assert export.labels == sorted(KINDS)
    assert any("without an annotation have no label (image 107)" in note for note in export.notes)
    assert any("boxes are not looked at" in note for note in export.notes) == boxes


def test_several_annotations_of_one_category_count_once_and_change_together(tmp_path: Path) -> None:
    content = coco(tmp_path)
    content["annotations"].append({**content["annotations"][0], "id": 5})
    export = read_export(write_json(tmp_path / "coco.json", content))
    assert len(export.rows[0].places) == 2
    assert any("count once (image 100)" in note for note in export.notes)


def _second(content: dict[str, Any]) -> None:
    first = content["annotations"][1]
    content["annotations"].append({**first, "id": 5, "category_id": 10 if first["category_id"] != 10 else 20})


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (_second, r"image 101 \(001.png\) has the categories"),
    (lambda c: c["annotations"][3].update(category_id=99), "annotation 897 of image 103 has the category 99, which is not there"),
    (lambda c: c["annotations"][3].update(image_id=[1]), r"annotation 897 is of the image \[1\], which is not there"),
    (lambda c: c["annotations"][3].pop("category_id"), "annotation 897 of image 103 has the category None"),
    (lambda c: c["images"][3].update(id=100), "the image id 100 is there 2 times"),
    (lambda c: c["annotations"][3].update(id=900), "the annotation id 900 is there 2 times"),
    (lambda c: c["categories"][1].update(name=KINDS[0]), "2 categories are called"),
    (lambda c: c["images"][3].pop("file_name"), "image 103 has no file_name"),
    (lambda c: c.pop("categories"), "no list of categories"),
    (lambda c: c.update(annotations=[]), "without an annotation"),
    (lambda c: c.update(annotations=[{"image_id": 100, "id": 1, "segments_info": []}]), "panoptic segmentation"),
    (lambda c: c.update(annotations=[{"image_id": 100, "id": 1, "caption": "a dog"}]), "a COCO file of captions"),
]


@pytest.mark.parametrize(("edit", "said"), BAD)
def test_what_gives_no_label_is_named(tmp_path: Path, edit: Callable[[dict[str, Any]], Any], said: str) -> None:
    content = coco(tmp_path)
    edit(content)
    with pytest.raises(ValueError, match=said):
        read_export(write_json(tmp_path / "coco.json", content))


def test_a_file_of_outlines_with_several_categories_a_picture_is_refused(tmp_path: Path) -> None:
    content = coco(tmp_path, boxes=True)
    for one in content["annotations"]:
        one["segmentation"] = [[0, 0, 1, 0, 1, 1]]
    path = write_json(tmp_path / "coco.json", content)
    assert any("boxes and outlines are not looked at" in note for note in read_export(path).notes)
    others = [{**one, "id": one["id"] + 1000, "category_id": 10 + one["category_id"] % 30} for one in content["annotations"]]
    content["annotations"] += others
    with pytest.raises(ValueError, match="cut each box out as a picture of its own"):
        read_export(write_json(path, content))


def test_columns_of_a_table_are_no_choice_here(tmp_path: Path) -> None:
    path = write_json(tmp_path / "coco.json", coco(tmp_path))
    with pytest.raises(ValueError, match="has no label column to name"):
        read_export(path, label="species")
