"""One recipe under several seeds: mean and population standard deviation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisylab.reports.runs import RunFolder
from noisylab.reports.table import markdown_table, plus_minus

__all__ = ["SeedResults", "Spread", "aggregate", "group_by_seed", "result_row", "results_table"]

# Keys of a config that differ between seeds or machines without making another experiment.
_NOT_THE_EXPERIMENT = {"seed", "noise_seed", "split_seed", "root", "num_workers"}
_TRAINER_KEYS = ("max_epochs", "max_steps", "precision", "gradient_clip_val", "accumulate_grad_batches")


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation of one number over the seeds, both fractions."""

    mean: float
    std: float


@dataclass(frozen=True)
class SeedResults:
    """The results of one experiment over its seeds.

    Args:
        method: the method's name.
        recipe: the recipe's file name without folder and suffix, or ''.
        data: the name of the data set.
        noise: kind and rate in words.
        protocol: the evaluation protocol, or ''.
        seeds: the run seeds, in rising order.
        headline: the number the protocol names.
        last: test accuracy in the last epoch; None, as below, where a run has none.
        best_by_val: test accuracy in the epoch with the best validation accuracy, or loss where the protocol says so.
        last10: mean test accuracy of the last ten epochs.
        wall_time_s: mean wall time of a run, seconds.
        devices: the devices the runs used.
        versions: the versions they ran under, in words; several where they differ.
    """

    method: str
    recipe: str
    data: str
    noise: str
    protocol: str
    seeds: tuple[int, ...]
    headline: Spread
    last: Spread | None
    best_by_val: Spread | None
    last10: Spread | None
    wall_time_s: float | None
    devices: tuple[str, ...]
    versions: tuple[str, ...]


def aggregate(runs: Sequence[RunFolder]) -> SeedResults:
    """Mean and population standard deviation over runs that differ only in their seeds.

    They may also differ in the seed of the noise or of the split, the place of the data and the number of workers.

    Args:
        runs: at least one, in any order.

    Raises:
        ValueError: no runs; a run without seed or headline, or stopped early; a seed given twice; runs that differ in
            more than seeds. The message names the runs.
    """
    if not runs:
        raise ValueError("runs is empty; give the runs of one recipe under several seeds")
    seeds: dict[int, RunFolder] = {}
    for run in runs:
        if not run.complete:
            raise ValueError(f"run {run.path} stopped before its last epoch; resume it or leave it out")
        if run.number("headline") is None:
            raise ValueError(f"run {run.path} has no 'headline' in summary.json; test it again or leave it out")
        if run.seed is None:
            raise ValueError(f"run {run.path} has no 'seed' in summary.json; start it again with seed_everything set")
        if run.seed in seeds:
            raise ValueError(f"seed {run.seed} is given twice, by {seeds[run.seed].path} and {run.path}; leave one out")
        seeds[run.seed] = run
        difference = _difference(runs[0], run)
        if difference:
            raise ValueError(
                f"runs {runs[0].path} and {run.path} differ in more than seeds: {difference}; "
                "give the runs of one experiment, or split them with group_by_seed"
            )
    ordered = [seeds[seed] for seed in sorted(seeds)]
    first = ordered[0]
    headline = _spread([run.number("headline") for run in ordered])
    assert headline is not None  # every run was found to have one
    times = [run.number("wall_time_s") for run in ordered]
    known_times = [seconds for seconds in times if seconds is not None]
    return SeedResults(
        method=first.method,
        recipe=first.recipe,
        data=first.data,
        noise=first.noise,
        protocol=first.protocol,
        seeds=tuple(sorted(seeds)),
        headline=headline,
        last=_spread([run.number("test", "headline", "last") for run in ordered]),
        best_by_val=_spread([run.number("test", "headline", "best_by_val") for run in ordered]),
        last10=_spread([run.number("test", "headline", "last10_mean") for run in ordered]),
        wall_time_s=statistics.fmean(known_times) if len(known_times) == len(times) else None,
        devices=_distinct(run.summary.get("device") for run in ordered),
        versions=_distinct(_versions(run) for run in ordered),
    )


def group_by_seed(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """The runs in groups whose members differ only in seeds, in the order in which the groups first appear.

    Each group can be given to `aggregate`, provided its runs are complete and no seed is in it twice.
    """
    groups: list[list[RunFolder]] = []
    for run in runs:
        for group in groups:
            if not _difference(group[0], run):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def result_row(results: SeedResults) -> dict[str, str]:
    """One row of `results_table`, from column to cell, in percent; also used for the results on the page of a method."""
    return {
        "method": results.method,
        "data": results.data,
        "noise": results.noise,
        "seeds": ", ".join(str(seed) for seed in results.seeds),
        "headline": _cell(results.headline, results.seeds),
        "last": _cell(results.last, results.seeds),
        "best by val": _cell(results.best_by_val, results.seeds),
        "mean of last 10": _cell(results.last10, results.seeds),
        "time a run": _duration(results.wall_time_s),
        "device": ", ".join(results.devices) or "-",
    }


def results_table(results: Sequence[SeedResults]) -> str:
    """A Markdown table, one row per experiment, with protocol, recipe and versions below it.

    Args:
        results: from `aggregate`, at least one.

    Raises:
        ValueError: `results` is empty.
    """
    if not results:
        raise ValueError("results is empty; give at least one aggregate(runs)")
    rows = [result_row(each) for each in results]
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows])
    notes = ["Test accuracy in percent: mean ± population standard deviation over the seeds."]
    for each in results:
        where = f"{each.method}, {each.data}, {each.noise}"
        facts = [
            f"protocol {each.protocol}" if each.protocol else "protocol not named",
            f"recipe `{each.recipe}`" if each.recipe else "no recipe",
            *each.versions,
        ]
        notes.append(f"{where}: {'; '.join(facts)}.")
    return table + "\n" + "".join(f"- {note}\n" for note in notes)


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # a mean over some of the seeds would pass for one over all
        return None
    return Spread(statistics.fmean(known), statistics.pstdev(known))


def _cell(spread: Spread | None, seeds: Sequence[int]) -> str:
    if spread is None:
        return "-"
    return plus_minus(spread.mean, spread.std if len(seeds) > 1 else None)  # one run has no spread over seeds


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _distinct(values: Iterator[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))


def _versions(run: RunFolder) -> str:
    versions = run.summary.get("versions")
    if isinstance(versions, Mapping):
        return ", ".join(f"{name} {version}" for name, version in versions.items())
    return str(versions or "")


def _difference(first: RunFolder, other: RunFolder) -> str:
    """The first thing but seeds in which two runs differ, in words, or ''."""
    mine, theirs = _experiment(first), _experiment(other)
    for key in [*mine, *theirs]:
        if mine.get(key) != theirs.get(key):
            return f"{key} is {mine.get(key)} in one and {theirs.get(key)} in the other"
    return ""


def _experiment(run: RunFolder) -> dict[str, Any]:
    """What makes a run that experiment: summary entries and the flattened config, without seeds."""
    facts: dict[str, Any] = {"method": run.method, "recipe": run.recipe, "data": run.data}
    facts |= {"noise": run.noise, "protocol": run.protocol, "epochs": run.number("epochs")}
    for section in ("model", "data"):
        facts |= dict(_flat(run.config.get(section), f"config {section}"))
    trainer = run.config.get("trainer")
    if isinstance(trainer, Mapping):
        facts |= {f"config trainer.{key}": trainer.get(key) for key in _TRAINER_KEYS}
    return facts


def _flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in _NOT_THE_EXPERIMENT:
                yield from _flat(value, f"{name}.{key}")
    elif not (isinstance(node, float) and math.isnan(node)):  # NaN differs from itself
        yield name, node
