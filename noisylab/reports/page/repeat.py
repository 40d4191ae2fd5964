"""What one needs to make the figures again: settings that differ, a command for each run, versions and devices."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from noisylab.reports.page.blocks import Block, Cell, Column, Fold, Section, Table, Terms, Text
from noisylab.reports.page.content import Content, Group, Unfinished
from noisylab.reports.page.settings import differing
from noisylab.reports.page.words import NONE, count, distinct, duration, listed, percents
from noisylab.reports.runs import RunFolder

__all__ = ["machine_section", "repeat_section", "settings_section", "unfinished_section"]

_MOST_OPEN = 12  # rows of a table that is not folded away


def settings_section(content: Content) -> Section:
    """The settings that differ between the groups, and no others."""
    found = differing([group.runs for group in content.groups])
    rows = [
        [
            Cell(group.name, note=group.task if len(content.tasks) > 1 else "", mark=group.mark),
            Cell(_pairs(settings), kind="chips"),
        ]
        for group, settings in zip(content.groups, found, strict=True)
    ]
    if not any(found):
        same = "All settings but the seeds are the same." if len(content.groups) > 1 else ""
        return Section("settings", "Settings that differ", [Text(same, "soft")] if same else [])
    note = (
        "Named as the flags of noisylab fit. What is not listed is the same in all runs, apart from seeds; what only some "
        "methods have, each of them lists, unless it is null."
    )
    rows = _merged(content.groups, found) or rows
    table = Table([Column("method"), Column("settings")], [("", rows)], "Settings that are not the same in all groups of runs")
    body: list[Block] = [table] if len(rows) <= _MOST_OPEN else [Fold(count(len(rows), "group") + " of runs", [table])]
    return Section("settings", "Settings that differ", [Text(note, "soft"), *body])


def _merged(groups: Sequence[Group], found: Sequence[Mapping[str, str]]) -> list[list[Cell]]:
    """One row a method and one a task where settings belong to one of both; nothing where they do not come apart so."""
    labels, tasks = list(dict.fromkeys(g.label for g in groups)), list(dict.fromkeys(g.task for g in groups))
    if len(labels) < 2 or len(tasks) < 2 or len(groups) < len(labels) + len(tasks):
        return []
    by_label: dict[str, dict[str, str]] = {label: {} for label in labels}
    by_task: dict[str, dict[str, str]] = {task: {} for task in tasks}
    for key in dict.fromkeys(key for each in found for key in each):
        of_labels = {(g.label, each.get(key)) for g, each in zip(groups, found, strict=True)}
        of_tasks = {(g.task, each.get(key)) for g, each in zip(groups, found, strict=True)}
        if len(of_tasks) == len(tasks):
            by_task |= {task: by_task[task] | ({key: value} if value is not None else {}) for task, value in of_tasks}
        elif len(of_labels) == len(labels):
            by_label |= {label: by_label[label] | ({key: value} if value is not None else {}) for label, value in of_labels}
        else:
            return []
    marks = {group.label: group.mark for group in groups}
    rows = [[Cell(label, mark=marks[label]), Cell(_pairs(each), kind="chips")] for label, each in by_label.items() if each]
    return rows + [[Cell(task), Cell(_pairs(each), kind="chips")] for task, each in by_task.items() if each]


def _pairs(settings: Mapping[str, str]) -> str:
    return "\n".join(f"{key} {value}" for key, value in settings.items())


def repeat_section(content: Content) -> Section:
    """The command line that repeats each run, beside the figure that it must give."""
    note = (
        "Each command trains the run again in a new folder, with its seed and every setting that it had; it must give the same "
        "figure on the same machine under the same versions. noisylab rerun DIR does so and "
        "says whether every number is equal. Paths are as the report was asked for."
    )
    blocks: list[Block] = [Text(note, "soft")]
    columns = [
        Column("run"),
        Column("seed", number=True),
        Column("figure, %", number=True),
        Column("time", number=True),
        Column("command"),
    ]
    parts = []
    for task in content.tasks:
        rows = [_repeat_row(content, group, run) for group in content.of(task) for run in group.runs]
        parts.append((task if len(content.tasks) > 1 else "", rows))
    total = sum(len(rows) for _, rows in parts)
    table = Table(columns, parts, f"How to repeat each run, and its figure: {content.figure_name}")
    blocks.append(table if total <= _MOST_OPEN else Fold(f"The commands of {count(total, 'run')}", [table]))
    return Section("repeat", "How to repeat each number", blocks)


def _repeat_row(content: Content, group: Group, run: RunFolder) -> list[Cell]:
    fold = run.number("data", "fold")
    command = f"noisylab fit --config {shlex.quote(str(run.path / 'config.yaml'))}"
    return [
        Cell(group.name if fold is None else f"{group.name}, fold {fold:g}", mark=group.mark),
        Cell("none" if run.seed is None else str(run.seed)),
        Cell(percents(content.figure(run), 2)),
        Cell(duration(run.number("wall_time_s"))),
        Cell(command, kind="code"),
    ]


def machine_section(content: Content) -> Section:
    """Versions, devices and digests of the code, each with the number of runs it is true of where they differ."""
    runs = content.runs
    terms = [(key, [str(run.summary.get(key) or "") for run in runs]) for key in ("device", "precision")]
    for key, words in (("versions", "{}"), ("machine", "{}"), ("code", "code of {}")):
        parts = [run.summary.get(key) or {} for run in runs]
        names = dict.fromkeys(name for part in parts for name in part)
        terms += [(words.format(name), ["" if part.get(name) is None else str(part[name]) for part in parts]) for name in names]
    resumed = sum(bool(run.summary.get("resumes")) for run in runs)
    terms += [("resumed", [count(resumed, "run")] * len(runs))] if resumed else []
    found = [(name, _shares(values), "") for name, values in terms if any(values)]
    return Section("machine", "Versions and device", [Terms(found)] if found else [])


def _shares(values: Sequence[str]) -> str:
    found = distinct(values)
    if len(found) == 1 and all(values):
        return found[0]
    return listed(f"{value or 'not known'} ({count(list(values).count(value), 'run')})" for value in dict.fromkeys(values))


def unfinished_section(content: Content) -> Section:
    """The runs that the figures are without, each with its state and message."""
    if not content.unfinished:
        return Section("unfinished", "Not finished")
    columns = [Column("run"), Column("state"), Column("epochs"), Column("starts", number=True), Column("message")]
    alike: dict[tuple[str, str], list[Unfinished]] = {}
    for each in content.unfinished:
        alike.setdefault((each.state, each.message), []).append(each)
    rows = [_unfinished_row(*key, members) for key, members in alike.items()]
    number = len(content.unfinished)
    table = Table(columns, [("", rows)], f"{count(number, 'run')} of {content.planned:,} that no figure of this page contains")
    fold = Fold(count(number, "run"), [table], open=True)
    return Section("unfinished", "Not finished", [table if number <= _MOST_OPEN else fold])


def _unfinished_row(state: str, message: str, members: Sequence[Unfinished]) -> list[Cell]:
    """The runs of one state and message, a line each."""
    return [
        Cell("\n".join(each.name for each in members)),
        Cell(state, kind="bad" if state in ("failed", "damaged") else ""),
        Cell("\n".join(each.progress or NONE for each in members)),
        Cell("\n".join(str(each.attempts) if each.attempts else NONE for each in members)),
        Cell(message or NONE),
    ]
