"""A study that is continued with its file: it may have grown, and nothing of it may have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.studyplan import RECIPES, Plan
from noisylab.cli.errors import UserError

__all__ = ["changed_file", "grown"]

_SHOWN = 4  # differences that are named


def grown(folder: Path, before: Plan, now: Plan) -> int:
    """How many cells a study file has added to the study in a folder.

    Args:
        folder: of the study.
        before: its plan.
        now: that of the file.

    Raises:
        UserError: where cells of the study would change or go, naming the values.
    """
    cells = {cell.folder: cell for cell in now.cells}
    wrong = []
    for cell in before.cells:
        other = cells.get(cell.folder)
        if other is None or other != cell or any(_changed(folder, name, now) for name in cell.configs):
            wrong.append(cell)
    if wrong:
        changes = [f"{key}: {old}, now {new}" for key, old, new in _differences(before.spec, now.spec)]
        shown = "; ".join(changes[:_SHOWN]) or "the recipes that it names"
        more = f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise UserError(
            f"{folder} holds a study that began with other values than {now.file or 'this command'} has now: {shown}{more}\n"
            f"  {len(wrong)} of its {len(before.cells)} runs would change or go, the first is {wrong[0]}\n"
            f"  to continue it as it began: noisylab study --run_dir {folder} --resume; methods, noises and seeds may be added;\n"
            "  for other values start another study in another --run_dir"
        )
    return len(now.cells) - len(before.cells)


def changed_file(plan: Plan) -> str | None:
    """What to tell where a study is continued as it began, and its file has changed since; None otherwise."""
    if plan.file is None or not Path(plan.file).is_file():
        return None
    try:
        now = load_yaml(text_of(Path(plan.file)), plan.file)
    except UserError:
        return f"{plan.file} cannot be read any more; the study goes on as it began"
    changes = _differences(plan.spec, now or {})
    changes = [change for change in changes if change[0].partition(".")[0] not in ("flags", "seeds")]  # of the command line
    if not changes:
        return None
    key, old, new = changes[0]
    return (
        f"{plan.file} has changed since the study began ({key}: {old}, now {new}), and it goes on as it began; to add what "
        "is new in the file, name it, too"
    )


def _changed(folder: Path, name: str, now: Plan) -> bool:
    """Whether a recipe of the study is another one now."""
    if not name.startswith(f"{RECIPES}/"):
        return False
    kept = folder / name
    text = now.recipes.get(name.removeprefix(f"{RECIPES}/"))
    return text is None or not kept.is_file() or load_yaml(text_of(kept), str(kept)) != load_yaml(text, name)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, value before, value now) of all that differs."""
    before, now = dict(_flat(old)), dict(_flat(new))
    none = "nothing"
    return [(key, before.get(key, none), now.get(key, none)) for key in {**before, **now} if before.get(key) != now.get(key)]


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{at}.{key}".lstrip("."))
    else:
        yield at, value
