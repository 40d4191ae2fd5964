"""The top of a page: what was compared, the large figures, and what to beware of."""

from __future__ import annotations

from collections.abc import Sequence

from noisylab.reports.page.blocks import Block, Lines, Terms
from noisylab.reports.page.content import Content
from noisylab.reports.page.protocol import protocol_of
from noisylab.reports.page.results import accuracy_of, comparable
from noisylab.reports.page.words import NONE, count, distinct, duration, listed, percents, some
from noisylab.reports.runs import RunFolder
from noisylab.reports.studyfigures import row_name

__all__ = ["overview", "title_of"]

_MOST_NAMES, _MOST_TASKS = 8, 4
_DATA = ("inputs", "labels", "test_inputs", "test_labels")  # digests that are the same under all seeds


def title_of(content: Content) -> tuple[str, str]:
    """The heading, and a line on what was compared."""
    labels = distinct(group.label for group in content.groups)
    data = listed(distinct(run.data for run in content.runs))
    methods = distinct(group.runs[0].method for group in content.groups)
    compared = labels[0] if len(labels) == 1 else count(len(labels), "method")
    if len(methods) == 1 and len(labels) > 1:
        compared = f"{count(len(labels), 'setting')} of {methods[0]}"
    title = content.study.name if content.study is not None else f"{compared}{f' on {data}' if data else ''}"
    tasks = listed(content.tasks) if len(content.tasks) <= _MOST_TASKS else f"{len(content.tasks)} kinds of noise"
    facts = [some(labels, _MOST_NAMES), data if content.study is not None else "", tasks]
    return title, " · ".join(fact for fact in facts if fact)


def overview(content: Content) -> list[Block]:
    """Cards with the highest mean of each task, the runs and their time; then warnings."""
    runs = content.runs
    times = [seconds for run in runs if (seconds := run.number("wall_time_s")) is not None]
    finished = sum(run.complete for run in runs)
    done = f"{finished:,} of {content.planned:,}" if content.planned != finished else f"{finished:,}"
    cards = [_leader(content, task) for task in content.tasks[:_MOST_TASKS]]
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    repeats = count(len(seeds), "seed") if seeds else ""
    cards.append(("Runs finished", done, ", ".join(part for part in (count(len(content.groups), "group"), repeats) if part)))
    if times:
        devices = listed(distinct(str(run.summary.get("device") or "") for run in runs))
        cards.append(
            ("Training time", duration(sum(times)), f"all runs together, on {devices}" if devices else "all runs together")
        )
    beware = warnings(content)
    return [Terms(cards, "cards"), *([Lines(beware, "warning")] if beware else [])]


def _leader(content: Content, task: str) -> tuple[str, str, str]:
    groups = comparable(content.of(task))
    means = [(mean, -place, group) for place, group in enumerate(groups) if (mean := group.spread(content.figure)[0]) is not None]
    ranked = sorted(means, reverse=True)
    where = f", {task}" if len(content.tasks) > 1 else ""
    what = accuracy_of(content).capitalize()
    if not ranked:
        return f"{what}{where}", NONE, "no figure"
    best = ranked[0][2]
    figure = best.spread(content.figure)[1]
    if len(ranked) == 1:
        return f"{what}{where}", f"{figure} %", best.name
    lead = percents(ranked[0][0] - ranked[1][0], 2)
    return f"Highest mean{where}", best.name, f"{figure} %; {lead} points above {ranked[1][2].name}"


def warnings(content: Content) -> list[str]:
    """What makes the figures less than they seem."""
    found = []
    if content.unfinished:
        states = [each.state for each in content.unfinished]
        parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        found.append(
            f"{count(len(states), 'run is', 'runs are')} not in the figures: {', '.join(parts)}. See Not finished, below."
        )
    found += _none_finished(content)
    stopped = [group.label for group in content.groups if not group.complete]
    if stopped:
        found.append(
            f"Stopped before the last epoch, and not to be compared until resumed: {some(distinct(stopped), _MOST_NAMES)}."
        )
    found += _uneven(content) + _other_labels(content) + _other_data(content) + _twice(content)
    for what, values in (("devices", _all(content.runs, "device")), ("precisions", _all(content.runs, "precision"))):
        if len(values) > 1:
            found.append(f"The runs used several {what}: {listed(values)}.")
    versions = [str((run.summary.get("versions") or {}).get("noisylab") or "") for run in content.runs]
    if len(distinct(versions)) > 1:
        found.append(f"The runs are of several versions of noisylab: {listed(distinct(versions))}.")
    return found


def _none_finished(content: Content) -> list[str]:
    """Methods of a study that have no place on the page yet."""
    if content.study is None:
        return []
    shown = {group.label for group in content.groups}
    missing = [label for row in content.study.rows if (label := row_name(row)) not in shown]
    return [f"No run of {listed(missing)} is finished."] if missing and shown else []


def _all(runs: Sequence[RunFolder], key: str) -> list[str]:
    return distinct(str(run.summary.get(key) or "") for run in runs)


def _uneven(content: Content) -> list[str]:
    """Groups of one task that have other seeds or other lengths."""
    found = []
    for task in content.tasks:
        groups = content.of(task)
        where = f" under {task}" if len(content.tasks) > 1 else ""
        seeds = {tuple(sorted(run.seed for run in group.runs if run.seed is not None)) for group in groups}
        if len(seeds) > 1:
            found.append(f"Not all methods{where} have the same seeds: their means are over other runs.")
        protocols = distinct(protocol_of(run) for group in groups for run in group.runs)
        if len(protocols) > 1:
            found.append(f"The figures{where} were not chosen by one protocol: {'; '.join(protocols)}.")
    return found


def _other_labels(content: Content) -> list[str]:
    """Seeds under which methods of one task were given other labels, though their noise has one name."""
    found = []
    for task in content.tasks:
        digests: dict[int, set[str]] = {}
        for group in content.of(task):
            for run in group.runs:
                digest = (run.summary.get("noise") or {}).get("digest")
                if run.seed is not None and digest:
                    digests.setdefault(run.seed, set()).add(str(digest))
        other = [str(seed) for seed, those in sorted(digests.items()) if len(those) > 1]
        if other:
            where = f" under {task}" if len(content.tasks) > 1 else ""
            found.append(f"Not all methods{where} were given the same labels, by their digests: seed {listed(other)}.")
    return found


def _other_data(content: Content) -> list[str]:
    """Tasks whose runs read other data, though they have one name."""
    found = []
    for task in content.tasks:
        runs = [run for group in content.of(task) for run in group.runs]
        known = [digests for run in runs if (digests := run.summary["data"].get("digests"))]
        fixed = (
            _DATA[:2] if any(run.number("data", "fold") is not None for run in runs) else _DATA
        )  # a fold has its own test rows
        other = [name for name in fixed if len({str(digests.get(name)) for digests in known}) > 1]
        if other:
            where = f" under {task}" if len(content.tasks) > 1 else ""
            found.append(f"Not all runs{where} read the same data, by their digests: {listed(other).replace('_', ' ')}.")
    return found


def _twice(content: Content) -> list[str]:
    twice = []
    for group in content.groups:
        keys = [(run.seed, run.number("data", "fold")) for run in group.runs]
        if len(set(keys)) < len(keys):
            twice.append(group.label)
    return [f"Some seeds are there twice: {listed(distinct(twice))}."] if twice else []
