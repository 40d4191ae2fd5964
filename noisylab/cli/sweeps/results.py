"""What a sweep found: its table, its files and the recipe of the best trial."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from noisylab.cli.configuration.compose import compose
from noisylab.cli.sweeps.ledger import Ledger
from noisylab.cli.sweeps.plan import BASE, SweepPlan, recipe_text
from noisylab.cli.sweeps.trial import folder_of
from noisylab.files import atomic_path
from noisylab.reports import RunFolderError, read_run
from noisylab.reports.paired_rows import compare_rows, read_held_out

__all__ = ["BEST", "TrialRow", "trial_line", "trial_rows", "write_results"]

BEST = "best.yaml"
"""The file in a sweep's folder with the recipe of the best trial."""

_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
_ENOUGH = 10  # finished trials from which an importance means anything, and so many more for each value that is searched
_EACH = 3
_LONGEST = 200  # characters of a message in the table


@dataclass(frozen=True)
class TrialRow:
    """A trial as the table has it.

    Args:
        trial: its number.
        state: "finished", "pruned", "failed", "running" or "waiting".
        value: the objective; of a pruned trial that of its last epoch; None where there is none.
        error: standard error of an accuracy on the held-out rows; None for another objective, and where rows are not known.
        epochs: that were trained; None where that is not known.
        seconds: of training.
        attempts: how often training began or went on.
        values: what was searched, by key.
        message: why it failed.
    """

    trial: int
    state: str
    value: float | None
    error: float | None
    epochs: int | None
    seconds: float | None
    attempts: int
    values: Mapping[str, Any]
    message: str


def trial_rows(ledger: Ledger, folder: Path) -> list[TrialRow]:
    """The trials, finished ones first, the best of them on top; those that wait are left out.

    Args:
        ledger: of the sweep.
        folder: likewise.
    """
    found = [_row(trial, folder, ledger.plan) for trial in ledger.trials() if trial.state != TrialState.WAITING]
    sign = -1 if ledger.plan.settings.direction == "maximize" else 1
    order = list(_STATES.values())

    def place(row: TrialRow) -> tuple[int, float, int]:
        return order.index(row.state), sign * row.value if row.value is not None else math.inf, row.trial

    return sorted(found, key=place)


def _row(trial: FrozenTrial, folder: Path, plan: SweepPlan) -> TrialRow:
    value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    error = epochs = seconds = None
    if value is not None:
        place = folder_of(folder, trial.number)
        with contextlib.suppress(RunFolderError):  # its folder was deleted: what the storage knows is shown
            run = read_run(place)
            epochs, seconds = run.summary.get("epochs"), run.number("wall_time_s")
            if plan.settings.objective == "val/acc":
                error = math.sqrt(max(value * (1 - value), 0.0) / len(read_held_out(place).index))
    return TrialRow(
        trial.number,
        _STATES[trial.state.name],
        value,
        error,
        epochs,
        seconds,
        Ledger.attempts(trial),
        dict(trial.params),
        Ledger.message(trial),
    )


def trial_line(ledger: Ledger, number: int, seconds: float) -> str:
    """What is printed when a trial ends.

    Args:
        ledger: of the sweep.
        number: of the trial.
        seconds: that this process spent on it.
    """
    trials = ledger.trials()
    trial = next(found for found in trials if found.number == number)
    ended = sum(found.state.is_finished() for found in trials)
    values = ", ".join(f"{_short_key(key, trial.params)} {_shown(value)}" for key, value in trial.params.items())
    state = _STATES[trial.state.name]
    if trial.state == TrialState.FAIL:
        what = Ledger.message(trial).splitlines()[0] if Ledger.message(trial) else ""
    else:
        what = f"{ledger.plan.settings.objective} {_number(trial.value)}"
    return f"trial {number} {state} in {seconds:.0f} s: {what} ({values}); {ended} of {len(trials)} have ended"


def write_results(ledger: Ledger, folder: Path) -> str:
    """Write ``sweep.txt``, ``sweep.csv``, ``sweep.json`` and ``best.yaml``, each atomically; returns the table.

    Args:
        ledger: of the sweep.
        folder: likewise.
    """
    rows = trial_rows(ledger, folder)
    importance, why = _importance(ledger)
    table = _table(ledger.plan, rows, importance, why, folder, len(ledger.trials()))
    record = {
        "name": ledger.plan.name,
        "objective": ledger.plan.settings.objective,
        "average": ledger.plan.settings.average,
        "direction": ledger.plan.settings.direction,
        "trials": [asdict(row) for row in rows],
        "importance": importance or None,
        "best": rows[0].trial if rows and rows[0].state == "finished" else None,
    }
    content = {"sweep.txt": table + "\n", "sweep.csv": _csv(ledger.plan, rows), "sweep.json": json.dumps(record, indent=2) + "\n"}
    if record["best"] is not None:
        content[BEST] = _best(ledger, rows, folder)
    for name, text in content.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return table


def _importance(ledger: Ledger) -> tuple[dict[str, float], str]:
    """The share of the objective's variance that each value explains, or why that is not said."""
    finished, keys = len(ledger.trials(TrialState.COMPLETE)), len(ledger.plan.space)
    needed = max(_ENOUGH, _EACH * keys)
    if keys < 2:
        return {}, "importance: one value was searched, so there is nothing to compare it with"
    if finished < needed:
        return (
            {},
            f"importance: {finished} finished trials are too few to say which of {keys} values matters; {needed} are needed",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features
        try:
            judge = FanovaImportanceEvaluator(seed=ledger.plan.settings.seed)
            return dict(get_param_importances(ledger.study, evaluator=judge, normalize=True)), ""
        except (ValueError, RuntimeError) as error:
            return {}, f"importance: not known ({error})"


def _table(
    plan: SweepPlan, rows: Sequence[TrialRow], importance: Mapping[str, float], why: str, folder: Path, planned: int
) -> str:
    keys = [searched.key for searched in plan.space]
    short = [_short_key(key, keys) for key in keys]
    percent = plan.settings.objective.rpartition("/")[2].startswith("acc")
    head = ["trial", "state", plan.settings.objective + (" %" if percent else ""), "±", "epochs", "s", *short]
    lines = [head]
    for row in rows:
        value = "-" if row.value is None else f"{100 * row.value:.2f}" if percent else f"{row.value:.4g}"
        error = "" if row.error is None else f"{100 * row.error:.2f}"
        seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
        epochs = "-" if row.epochs is None else str(row.epochs)
        lines.append([str(row.trial), row.state, value, error, epochs, seconds, *(_shown(row.values.get(key)) for key in keys)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in _STATES.values() if state in states)
    last = f"mean of the last {plan.settings.average} epochs" if plan.settings.average > 1 else "last epoch"
    words = [
        f"{plan.name}: {planned} trials ({counts}).",
        f"{plan.settings.objective} of a finished trial: {last}; of a pruned one: its last epoch.",
        "",
        *text,
        "",
        *[f"trial {row.trial} failed: {_cut(row.message)}" for row in rows if row.state == "failed" and row.message],
    ]
    if importance:
        shares = ", ".join(f"{_short_key(key, keys)} {100 * share:.0f} %" for key, share in importance.items())
        words.append(f"importance (share of the variance of the objective that a value explains, by fANOVA): {shares}")
    elif why:
        words.append(why)
    return "\n".join([*words, *_caution(plan, rows, folder)])


def _caution(plan: SweepPlan, rows: Sequence[TrialRow], folder: Path) -> list[str]:
    finished = [row for row in rows if row.state == "finished" and row.value is not None]
    if not finished:
        return ["no trial has finished, so there is no best one"]
    best = finished[0]
    lines = [f"best: trial {best.trial}; recipe: {folder / BEST}"]
    if best.error is not None and best.value is not None:
        near = sum(abs((row.value or 0.0) - best.value) <= best.error for row in finished) - 1
        lines.append(
            f"±: standard error of an accuracy on the held-out rows, in percentage points; {near} of the other "
            f"{len(finished) - 1} finished trials are within one of the best"
        )
    lines += _against_the_recipe(plan, best, finished, folder)
    if len(finished) > 1:
        lines += [
            f"The best of {len(finished)} trials is optimistic: it was chosen for its value on these held-out rows. Before you",
            f"quote or compare it, train it again with fresh seeds: noisylab fit --config {folder / BEST} --seed_everything 1",
        ]
    return lines


def _against_the_recipe(plan: SweepPlan, best: TrialRow, finished: Sequence[TrialRow], folder: Path) -> list[str]:
    """The best trial beside the first one, where that has the recipe's own values."""
    if plan.starting_point()[1] or best.trial == 0 or all(row.trial != 0 for row in finished):
        return []
    with contextlib.suppress(RunFolderError, ValueError):  # a folder was deleted or changed
        one, other = (read_held_out(folder_of(folder, number)) for number in (best.trial, 0))
        return [f"against the recipe's own values (trial 0), last epoch, on the rows that chose it: {compare_rows(one, other)}"]
    return []


def _csv(plan: SweepPlan, rows: Sequence[TrialRow]) -> str:
    keys = [searched.key for searched in plan.space]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "state", plan.settings.objective, "standard_error", "epochs", "seconds", "attempts", *keys, "message"]
    )
    for row in rows:
        plain = [row.trial, row.state, row.value, row.error, row.epochs, row.seconds, row.attempts]
        writer.writerow(["" if cell is None else cell for cell in (*plain, *(row.values.get(key) for key in keys), row.message)])
    return text.getvalue()


def _best(ledger: Ledger, rows: Sequence[TrialRow], folder: Path) -> str:
    """The recipe of the best trial: that of the sweep with its values."""
    best, plan = rows[0], ledger.plan
    flags: list[tuple[str, str | None]] = [(searched.key, searched.text(best.values[searched.key])) for searched in plan.space]
    config = compose([str(folder / BASE)], flags).config
    finished = sum(row.state == "finished" for row in rows)
    error = "" if best.error is None else f" ± {best.error:.4f} (standard error)"
    comment = [
        f"# The best of {finished} finished trials of the sweep {plan.name}: trial {best.trial}, "
        f"{plan.settings.objective} {_number(best.value)}{error}.",
        "# That value is optimistic, as it chose the trial; train with fresh seeds: --seed_everything 1",
        *[f"# searched: {key} = {text}" for key, text in flags],
    ]
    return "\n".join(comment) + "\n" + recipe_text(config)


def _short_key(key: str, keys: Any) -> str:
    """The last part of a key where no other has it, too."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cut(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= _LONGEST else first[:_LONGEST] + " ..."
