"""COCO files of which every picture has one category: classification, or one box a picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from noisylab.data.exports.export import Export, ExportRow, refuse_faults, some
from noisylab.data.exports.jsontext import JsonText
from noisylab.data.exports.labelstudio import repeated_ids

__all__ = ["coco_rows", "is_coco"]

_ADVICE = "Correct the file, or export it again"
_PARTS = ("images", "annotations", "categories")


def is_coco(content: Any) -> bool:
    """Whether a JSON file is an object with pictures and annotations."""
    return isinstance(content, dict) and "images" in content and ("annotations" in content or "categories" in content)


def coco_rows(source: JsonText) -> Export:
    """The pictures of a COCO file, each with the category of its annotations.

    Boxes and outlines are not looked at: the whole picture is what is labeled.

    Args:
        source: the file.

    Raises:
        ValueError: listing up to ten pictures with several categories, annotations without one or of unknown pictures, and
            repeated ids.
    """
    content = source.content
    absent = [name for name in _PARTS if not isinstance(content.get(name), list)]
    if absent:
        raise ValueError(f"{source.path} looks like a COCO file, but has no list of {' and none of '.join(absent)}")
    odd = [
        f"entry {place + 1} of {name} has no id"
        for name in _PARTS
        for place, item in enumerate(content[name])
        if not isinstance(item, dict) or not isinstance(item.get("id"), (int, str))
        if name != "annotations" or not isinstance(item, dict)
    ]
    refuse_faults(source, odd, _ADVICE)
    if any("segments_info" in one for one in content["annotations"]):
        raise ValueError(f"{source.path} is a COCO file of panoptic segmentation, which labels parts of pictures, not pictures")
    if any("caption" in one and "category_id" not in one for one in content["annotations"]):
        raise ValueError(f"{source.path} is a COCO file of captions, which has no categories")
    images, categories = content["images"], content["categories"]
    faults = [*repeated_ids("image", images), *repeated_ids("category", categories)]
    faults += repeated_ids("annotation", [one for one in content["annotations"] if "id" in one])
    faults += [f"the category {one['id']} has no name" for one in categories if not _is_text(one.get("name"))]
    names = Counter(one.get("name") for one in categories)
    faults += [f"{many} categories are called {name!r}" for name, many in names.items() if many > 1]
    faults += [f"image {one['id']} has no file_name" for one in images if not _is_text(one.get("file_name"))]
    refuse_faults(source, faults, _ADVICE)
    called = {one["id"]: str(one["name"]) for one in categories}
    known = {one["id"] for one in images}
    places: dict[Any, list[int]] = defaultdict(list)
    for place, one in enumerate(content["annotations"]):
        image, category, name = one.get("image_id"), one.get("category_id"), one.get("id", f"(entry {place + 1})")
        if not isinstance(image, (int, str)) or image not in known:
            faults.append(f"annotation {name} is of the image {image!r}, which is not there")
        elif not isinstance(category, (int, str)) or category not in called:
            faults.append(f"annotation {name} of image {image} has the category {category!r}, which is not there")
        else:
            places[image].append(place)
    rows, mixed, several = [], 0, []
    for number, one in enumerate(images):
        labels = sorted({called[content["annotations"][place]["category_id"]] for place in places[one["id"]]})
        if len(labels) > 1:
            mixed += 1
            faults.append(f"image {one['id']} ({one['file_name']}) has the categories {', '.join(labels)}")
        several += [str(one["id"])] if len(places[one["id"]]) > 1 else []
        ways = tuple(("annotations", place, "category_id") for place in places[one["id"]])
        rows.append(ExportRow(str(one["id"]), one["file_name"], labels[0] if labels else "", ways, number))
    cut = "; each picture needs one category: cut each box out as a picture of its own, or keep the pictures of one"
    refuse_faults(source, faults, _ADVICE + cut * bool(mixed))
    if not any(row.label for row in rows):
        raise ValueError(f"{source.path} is a COCO file without an annotation, so there is no label")
    written = {name: key for key, name in called.items()}
    return Export(source, "COCO", "image", "image", tuple(rows), written, notes=_notes(content, rows, several))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _notes(content: dict[str, Any], rows: list[ExportRow], several: list[str]) -> tuple[str, ...]:
    without = [row.row_id for row in rows if not row.label]
    drawn = {key for one in content["annotations"] for key in ("bbox", "segmentation") if one.get(key)}
    parts = [name for name, key in (("boxes", "bbox"), ("outlines", "segmentation")) if key in drawn]
    unused = len(content["categories"]) - len({row.label for row in rows} - {""})
    notes = [f"{' and '.join(parts)} are not looked at: a label is that of the whole picture"] if parts else []
    if several:
        notes.append(f"{len(several):,} have several annotations of one category, which count once ({some('image', several)})")
    notes += [f"{len(without):,} without an annotation have no label ({some('image', without)})"] if without else []
    return (*notes, *([f"{unused:,} categories have no picture"] if unused else []))
