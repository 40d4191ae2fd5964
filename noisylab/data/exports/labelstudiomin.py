"""Tasks of Label Studio: its shorter export, JSON-MIN."""

from __future__ import annotations

from collections import Counter
from typing import Any

from noisylab.data.exports.export import Export, ExportRow, Vote, agreed, refuse_faults, some
from noisylab.data.exports.jsontext import JsonText
from noisylab.data.exports.labelstudio import ADVICE, the_control
from noisylab.data.exports.values import value_of

__all__ = ["is_json_min", "json_min_controls", "json_min_rows"]

_OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")


def is_json_min(content: Any) -> bool:
    """Whether a JSON file holds a list of annotations as JSON-MIN has them."""
    return isinstance(content, list) and any(
        isinstance(record, dict) and {"id", "annotator", "annotation_id", "lead_time"} <= {*record} for record in content
    )


def json_min_controls(source: JsonText) -> list[str]:
    """The names of the choices of a JSON-MIN export."""
    return list(_controls([one for one in source.content if isinstance(one, dict) and "id" in one]))


def json_min_rows(source: JsonText, label: str | None = None, value: str | None = None) -> Export:
    """The tasks of a JSON-MIN export, which has one record for each annotation and none for what was skipped.

    Args:
        source: the file.
        label: the name of the choices that are the labels, where there are several.
        value: the entry that is labeled, where it is not clear.

    Raises:
        ValueError: listing records at fault; or there is no such choice, or several.
    """
    faults = [
        f"record {place + 1} of the list has no id"
        for place, record in enumerate(source.content)
        if not isinstance(record, dict) or not isinstance(record.get("id"), (int, str))
    ]
    records: list[dict[str, Any]] = [] if faults else source.content
    twice = Counter(record["annotation_id"] for record in records if record.get("annotation_id") is not None)
    faults += [f"the annotation id {name!r} is there {many} times" for name, many in twice.items() if many > 1]
    refuse_faults(source, faults, ADVICE)
    controls = _controls(records)
    control = the_control(controls, label, str(source.path), "holds annotations of Label Studio (JSON-MIN) without a choice")
    data = [{name: one for name, one in record.items() if name not in (*_OWN, *controls)} for record in records]
    key, kind = value_of(data, value, str(source.path))
    votes: dict[str, list[Vote]] = {}
    shown: dict[str, tuple[str, int]] = {}
    for place, record in enumerate(records):
        name, where = str(record["id"]), f"task {record['id']}, annotation {record.get('annotation_id', '(without an id)')}"
        said, its = record.get(control), record.get(key)
        if not isinstance(its, str) or not its.strip():
            faults.append(f"{where} has no {key!r}")
            continue
        if shown.setdefault(name, (its, place))[0] != its:
            faults.append(f"{where} has another {key!r} than the task's first record")
        if isinstance(said, dict) and isinstance(said.get("choices"), list) and len(said["choices"]) > 1:
            faults.append(f"{where} chooses {' and '.join(map(repr, said['choices']))}; a label is one choice")
        elif said is not None and not isinstance(said, str):
            faults.append(f"{where}: {control!r} is no choice")
        votes.setdefault(name, []).extend([Vote(said, (place, control))] if isinstance(said, str) and said.strip() else [])
    refuse_faults(source, faults, ADVICE)
    rows = [ExportRow(name, its, *agreed(votes[name]), place) for name, (its, place) in shown.items()]
    without = [row.row_id for row in rows if not row.label]
    several = sum(len(said) > 1 for said in votes.values())
    notes = [f"labels are {control!r}; {', '.join(set(controls) - {control})} not read"] if len(controls) > 1 else []
    notes += [f"{len(without):,} without a label, or without a majority for one ({some('task', without)})"] if without else []
    notes += [f"of several annotations (tasks with several: {several:,}) the majority counts"] if several else []
    return Export(
        source, "Label Studio (JSON-MIN)", kind, "task", tuple(rows), control=(control, ""), value_key=key, notes=tuple(notes)
    )


def _controls(records: list[dict[str, Any]]) -> Counter[str]:
    """Entries with what was chosen: Label Studio writes them between the id and the annotator."""
    found: Counter[str] = Counter()
    for record in records:
        names = list(record)
        end = next((names.index(name) for name in ("annotator", "annotation_id") if name in record), len(names))
        found.update(
            name
            for name in names[names.index("id") + 1 : end]
            if isinstance(record[name], str) or (isinstance(record[name], dict) and "choices" in record[name])
        )
    return found
