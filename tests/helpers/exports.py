"""Labeling tools' files in the formats that their documentation gives, with tiny pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

KINDS = ("Eule 🦉", "chat noir", "狗")


def write_picture(path: Path, kind: int, seed: int) -> None:
    """A gray picture of 8 pixels a side with a bright band that says its kind."""
    pixels = np.random.default_rng(seed).integers(0, 60, (8, 8), dtype=np.uint8)
    pixels[2 * kind : 2 * kind + 3] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def choice(label: str, name: str = "species", number: int = 0) -> dict[str, Any]:
    """One result of the control `Choices`."""
    return {
        "value": {"choices": [label]},
        "id": f"r{number:04x}",
        "from_name": name,
        "to_name": "photo",
        "type": "choices",
        "origin": "manual",
    }


def annotation(number: int, results: Sequence[dict[str, Any]], task: int, **more: Any) -> dict[str, Any]:
    """One annotation as an export has it."""
    return {
        "id": number,
        "completed_by": {"id": 1 + number % 2, "email": "ann@example.org", "first_name": "Anaïs"},
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "prediction": {},
        "result_count": len(results),
        "unique_id": f"u-{number}",
        "task": task,
        "parent_prediction": None,
        **more,
    }


def task(number: int, data: dict[str, Any], annotations: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One task as an export has it."""
    return {
        "id": number,
        "annotations": list(annotations),
        "file_upload": None,
        "drafts": [],
        "predictions": [],
        "data": data,
        "meta": {"é": [1.50, 1e3]},
        "inner_id": number,
        "total_annotations": len(annotations),
        "comment_authors": [],
        **more,
    }


def label_studio(folder: Path, number: int = 50, wrong: int = 5) -> list[dict[str, Any]]:
    """Tasks with pictures, two choices and a comment, of which every `wrong`-th label is another kind's.

    Tasks 7 and 17 were skipped, 27 has no annotation; 5 and 15 have three annotations, two of which agree; 25 has two different
    ones of which one is the ground truth; 35 two that disagree; 9 has a prediction and a draft.
    """
    tasks = []
    for row in range(number):
        kind = row % 3
        name = f"photos/{KINDS[kind][0]} {row:02d}.png"
        write_picture(folder / name, kind, row)
        said = KINDS[(kind + (row % wrong == 0)) % 3]
        comment = {
            "value": {"text": ["nicht „sicher“"]},
            "id": f"c{row}",
            "from_name": "comment",
            "to_name": "photo",
            "type": "textarea",
        }
        results = [choice("good", "quality", row), choice(said, number=row), comment]
        first = annotation(1000 + row, results, row)
        more: dict[str, Any] = {}
        annotations = [first]
        if row in (7, 17):
            annotations = [annotation(1000 + row, results, row, was_cancelled=True)]
        elif row == 27:
            annotations = []
        elif row in (5, 15):
            others = [annotation(n * 1000 + row, [choice(said if n == 2 else KINDS[kind])], row) for n in (2, 3)]
            annotations = [first, *others]
        elif row == 25:
            annotations = [first, annotation(2025, [choice(KINDS[kind])], row, ground_truth=True)]
        elif row == 35:
            annotations = [first, annotation(2035, [choice(KINDS[kind])], row)]
        elif row == 9:
            guess = {"model_version": "v1", "score": 0.25, "result": [choice(KINDS[0])]}
            more = {"predictions": [guess], "drafts": [{"result": [choice("gone")]}]}
        data = {"photo": f"/data/local-files/?d={quote('store/' + name)}", "camera": "Kamera Ä"}
        tasks.append(task(row, data, annotations, **more))
    return tasks


def coco(folder: Path, number: int = 50, wrong: int = 5, boxes: bool = False) -> dict[str, Any]:
    """Pictures of three categories whose ids are not in order; every `wrong`-th has another kind's; image 107 has none."""
    ids = (30, 10, 20)
    images, annotations = [], []
    for row in range(number):
        kind = row % 3
        name = f"{row:03d}.png"
        write_picture(folder / name, kind, row)
        images.append({"license": 1, "file_name": name, "height": 8, "width": 8, "id": 100 + row})
        if row != 7:
            one: dict[str, Any] = {"id": 900 - row, "image_id": 100 + row, "category_id": ids[(kind + (row % wrong == 0)) % 3]}
            if boxes:
                one |= {"bbox": [0.0, 1.50, 8.0, 4.25], "area": 34.0, "iscrowd": 0, "segmentation": []}
            annotations.append(one)
    return {
        "info": {"description": "Übung", "version": 1.0},
        "licenses": [{"id": 1, "name": "CC"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"supercategory": "animal", "id": i, "name": name} for i, name in zip(ids, KINDS, strict=True)],
    }


def write_json(path: Path, content: Any, **how: Any) -> Path:
    """Write a file as Label Studio does, or with other arguments of `json.dumps`."""
    path.write_bytes(json.dumps(content, **{"ensure_ascii": False, "indent": 2, **how}).encode())
    return path
