"""Each method against one of them, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence

from noisylab.reports.page.blocks import Block, Cell, Column, Table, Text
from noisylab.reports.page.chart import mark_style, strip
from noisylab.reports.page.content import Content, Group
from noisylab.reports.page.words import NONE, count, percents
from noisylab.reports.paired import PairedDifference, paired_difference, seeds_needed

__all__ = ["baseline_of", "differences"]

_PLAIN = ("CE", "CrossEntropy")  # what others are compared with where nobody named a baseline
_LEVEL = 0.95


def differences(content: Content) -> list[Block]:
    """A table of the paired differences to the baseline; nothing where no groups share a seed, or plain runs only one."""
    parts, names, few = [], [], 0
    for task in content.tasks:
        groups = content.of(task)
        baseline = baseline_of(content, groups)
        if baseline is None:
            continue
        theirs = _values(content, baseline)
        others = [group for group in groups if group is not baseline]
        found = [(group, paired_difference(_values(content, group), theirs, level=_LEVEL)) for group in others]
        known = [(group, each) for group, each in found if each is not None]
        if not known or (content.study is None and all(len(each.seeds) < 2 for _, each in known)):
            continue  # of one run each the table above says it all
        few += sum(each.too_few for _, each in known)
        names.append(baseline.label)
        reach = max(max(map(abs, each.differences)) for _, each in known)
        heading = f"{task}, to {baseline.label}" if len(content.tasks) > 1 else ""
        parts.append((heading, [_row(group, each, reach) for group, each in known]))
    if not parts:
        return []
    columns = [Column("method"), Column("each seed, 0 in the middle", picture=True), Column("mean difference", number=True)]
    columns += [Column(f"{100 * _LEVEL:g} % interval", number=True), Column("better on", number=True), Column("p", number=True)]
    caption = f"Differences to {' or '.join(dict.fromkeys(names))} on the same seeds, in points: {content.figure_name}"
    note = (
        "Interval: paired bootstrap over the seeds. p: exchanging the two methods' figures seed by seed, two-sided. Both are for "
        "one comparison at a time; of many, some look like a difference by chance."
    )
    blocks: list[Block] = [Table(columns, parts, caption), Text(note, "soft")]
    if few:
        needed = seeds_needed(_LEVEL)
        what = count(few, "comparison has", "comparisons have")
        blocks.append(Text(f"{what} fewer than the {needed} seeds that an interval takes: too few to tell.", "soft"))
    return blocks


def baseline_of(content: Content, groups: Sequence[Group]) -> Group | None:
    """What the groups of a task are compared with: the study's baseline, else cross-entropy, else the first; None of one."""
    if len(groups) < 2:
        return None
    if content.study is not None and content.study.baseline is not None:
        named = content.study.baseline
        return next((group for group in groups if named in (group.label, group.axes.get("method"))), None)
    return next((group for group in groups if group.runs[0].method in _PLAIN), groups[0])


def _values(content: Content, group: Group) -> dict[tuple[str, ...], float]:
    """The figure of each run by seed and fold."""
    found: dict[tuple[str, ...], float] = {}
    for run in group.runs:
        value, fold = content.figure(run), run.number("data", "fold")
        if value is not None and run.seed is not None:
            found[str(run.seed), "" if fold is None else f"{fold:g}"] = value
    return found


def _row(group: Group, found: PairedDifference, reach: float) -> list[Cell]:
    each = ", ".join(percents(value, 2, signed=True) for value in found.differences)
    picture = strip(found.differences, -reach, reach, mark_style(group.mark).color, f"{group.label}: {each}", zero=True)
    interval = "too few seeds"
    if found.interval is not None:
        interval = " to ".join(percents(end, 2, signed=True) for end in found.interval)
    ties = f", {found.ties} equal" if found.ties else ""
    return [
        Cell(group.name, mark=group.mark),
        Cell(svg=picture),
        Cell(percents(found.mean, 2, signed=True)),
        Cell(interval),
        Cell(f"{found.wins} of {len(found.seeds)}{ties}"),
        Cell(f"{found.p_value:.3f}" if len(found.seeds) > 1 else NONE),
    ]
