"""Tasks of Label Studio: its JSON export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from noisylab.data.exports.export import Export, ExportRow, Vote, agreed, refuse_faults, some
from noisylab.data.exports.jsontext import JsonText
from noisylab.data.exports.values import value_of

__all__ = ["is_label_studio", "label_studio_controls", "label_studio_rows", "repeated_ids", "the_control"]

ADVICE = "Correct this in Label Studio and export again as JSON"
_CHOICES = "choices"
_BESIDE = frozenset({_CHOICES, "textarea", "rating", "number", "datetime", "ranker", "pairwise", "taxonomy"})  # of whole tasks


def is_label_studio(content: Any) -> bool:
    """Whether a JSON file holds a list of tasks with their data."""
    return isinstance(content, list) and any(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in content)


@dataclass
class _Found:
    """What the annotations of all tasks hold."""

    choices: Counter[str] = field(default_factory=Counter)
    others: Counter[tuple[str, str]] = field(default_factory=Counter)
    predicted: int = 0
    skipped: list[str] = field(default_factory=list)
    unlabeled: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    several: int = 0


def label_studio_rows(source: JsonText, label: str | None = None, value: str | None = None) -> Export:
    """The tasks of a JSON export.

    The label of a task is its choice. Cancelled (skipped) annotations do not count; of several, see `agreed`. Predictions are a
    model's and are not read.

    Args:
        source: the file.
        label: the name of the choices (``from_name``) that are the labels, where there are several.
        value: the entry of ``data`` that is labeled, where it is not clear.

    Raises:
        ValueError: listing tasks and annotations at fault; or there is no such choice, or several.
    """
    tasks = [task if isinstance(task, dict) else {} for task in source.content]
    faults = [
        f"entry {place + 1} of the list is no task with data"
        if not isinstance(task.get("data"), dict)
        else f"entry {place + 1} of the list has no id, which tasks of an export have"
        for place, task in enumerate(tasks)
        if not isinstance(task.get("data"), dict) or not _is_id(task.get("id"))
    ]
    refuse_faults(source, faults or [*repeated_ids("task", tasks), *_odd_annotations(tasks)], ADVICE)
    found = _look_through(tasks)
    control = the_control(found.choices, label, str(source.path), _no_choices(found))
    key, kind = value_of([task["data"] for task in tasks], value, str(source.path))
    rows, about = [], ""
    for place, task in enumerate(tasks):
        name, shown = str(task["id"]), task["data"].get(key)
        if not isinstance(shown, str) or not shown.strip():
            faults.append(f"task {name} has no {key!r} in its data")
            continue
        votes, wrong, over = _votes(place, task, control)
        faults += wrong
        about = about or over
        text, places = agreed(votes)
        rows.append(ExportRow(name, shown, text, places, place))
        found.several += len(votes) > 1
        if not text and not wrong:
            cancelled = any(one.get("was_cancelled") for one in task.get("annotations") or [])
            (found.undecided if votes else found.skipped if cancelled else found.unlabeled).append(name)
    refuse_faults(source, faults, ADVICE)
    return Export(
        source, "Label Studio", kind, "task", tuple(rows), control=(control, about), value_key=key, notes=_notes(found, control)
    )


def label_studio_controls(source: JsonText) -> list[str]:
    """The names of the choices of a JSON export."""
    tasks = [task for task in source.content if isinstance(task, dict)]
    return [] if _odd_annotations(tasks) else list(_look_through(tasks).choices)


def repeated_ids(what: str, items: Sequence[dict[str, Any]]) -> list[str]:
    """A fault for each id that several items have; 1 and "1" are one id, as rows go by their texts."""
    counts = Counter(str(item["id"]) for item in items)
    return [f"the {what} id {name} is there {many} times" for name, many in counts.items() if many > 1]


def the_control(choices: Counter[str], label: str | None, where: str, without: str) -> str:
    """The name of the choices that labels come from.

    Args:
        choices: how often each occurs.
        label: the one that a user names.
        where: the file, for messages.
        without: what is said where there is none.

    Raises:
        ValueError: there is none, no such one, or several and none is named.
    """
    if not choices:
        raise ValueError(f"{where} {without}")
    names = ", ".join(f"{name!r} ({many:,})" for name, many in choices.most_common())
    if label is not None and label not in choices:
        raise ValueError(f"{where} has no choices called {label!r} (the label column); it has {names}")
    if label is None and len(choices) > 1:
        raise ValueError(f"{where} has several choices, {names}; name the one that holds the labels as the label column")
    return label if label is not None else next(iter(choices))


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _odd_annotations(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """Tasks whose annotations have another form than those of an export."""
    faults, ids = [], Counter[Any]()
    for task in tasks:
        annotations = task.get("annotations", [])
        if "completions" in task:
            faults.append(f"task {task.get('id')} has completions, as before Label Studio 1.0; open it in a newer one")
        elif not isinstance(annotations, list):
            faults.append(f"task {task.get('id')}: its annotations are no list")
        elif any(not isinstance(one, dict) for one in annotations):
            faults.append(f"task {task.get('id')} has only the ids of its annotations; export whole annotations")
        elif any(not isinstance(one.get("result", []), list) for one in annotations):
            faults.append(f"task {task.get('id')}: the result of an annotation is no list")
        else:
            ids.update(one["id"] for one in annotations if _is_id(one.get("id")))
    return faults + [f"the annotation id {name!r} is there {many} times" for name, many in ids.items() if many > 1]


def _look_through(tasks: Sequence[dict[str, Any]]) -> _Found:
    found = _Found()
    for task in tasks:
        found.predicted += bool(task.get("predictions"))
        for annotation in task.get("annotations", []):
            for item in annotation.get("result", []):
                if isinstance(item, dict) and item.get("type") == _CHOICES:
                    found.choices[str(item.get("from_name"))] += 1
                elif isinstance(item, dict):
                    found.others[str(item.get("type")), str(item.get("from_name"))] += 1
    return found


def _no_choices(found: _Found) -> str:
    if found.others:
        kinds = ", ".join(sorted({kind for kind, _ in found.others}))
        return (
            f"holds annotations of Label Studio of the type {kinds}, but no choices, which are the labels of whole pictures, "
            "texts and clips. For boxes, cut each one out as a picture of its own, or export COCO if each picture has one"
        )
    predicted = f" ({found.predicted:,} have predictions: accept them there, and export again)" if found.predicted else ""
    return f"holds tasks of Label Studio without any annotation{predicted}; label some of them first"


def _votes(place: int, task: dict[str, Any], control: str) -> tuple[list[Vote], list[str], str]:
    """What each annotation of a task says, what is wrong with them, and the name of what they are about."""
    votes, faults, about = [], [], ""
    for number, annotation in enumerate(task.get("annotations") or []):
        if annotation.get("was_cancelled"):
            continue
        items = annotation.get("result", [])
        regions = {item.get("id") for item in items if isinstance(item, dict) and item.get("type") not in _BESIDE} - {None}
        mine = [
            (k, item)
            for k, item in enumerate(items)
            if isinstance(item, dict) and item.get("type") == _CHOICES and str(item.get("from_name")) == control
        ]
        where = f"task {task['id']}, annotation {annotation.get('id', number)}"
        if any(item.get("id") in regions for _, item in mine):
            faults.append(f"{where}: {control!r} is chosen for a region, not for the whole")
            continue
        if len(mine) > 1:
            faults.append(f"{where} has {len(mine)} results of {control!r}")
            continue
        for k, item in mine:
            value = item.get("value")
            chosen = value.get(_CHOICES) if isinstance(value, dict) else None
            if not isinstance(chosen, list) or any(not isinstance(one, str) or not one.strip() for one in chosen):
                faults.append(f"{where}: the value of {control!r} is no list of choices")
            elif len(chosen) > 1:
                faults.append(f"{where} chooses {' and '.join(map(repr, chosen))}; a label is one choice")
            elif chosen:
                about = about or str(item.get("to_name", ""))
                way = (place, "annotations", number, "result", k, "value", _CHOICES, 0)
                votes.append(Vote(chosen[0], way, truth=bool(annotation.get("ground_truth"))))
    return votes, faults, about


def _notes(found: _Found, control: str) -> tuple[str, ...]:
    others = [f"{name} ({kind})" for kind, name in found.others] + [name for name in found.choices if name != control]
    told = [
        (found.skipped, "skipped by the annotator, without a label"),
        (found.unlabeled, "without an annotation, without a label"),
        (found.undecided, "without a label: annotators disagree, and none is the ground truth or in the majority"),
    ]
    notes = [f"labels are the choices {control!r}"] if others else []
    notes += [f"not read, and left as they are: {', '.join(others)}"] if others else []
    notes += [f"{len(ids):,} {'are' if len(ids) > 1 else 'is'} {what} ({some('task', ids)})" for ids, what in told if ids]
    if found.several:
        notes.append(
            f"of several annotations (tasks with several: {found.several:,}) the ground truth counts, or else the majority"
        )
    if found.predicted:
        notes.append(f"predictions of a model are not read (tasks with some: {found.predicted:,})")
    return tuple(notes)
