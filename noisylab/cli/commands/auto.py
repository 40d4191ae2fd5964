"""The command auto: chooses a method for the user's data without clean labels, and trains it on all rows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped, unused-ignore]  # the stubs come with the dev extra

from noisylab.cli.commands.compare_ground import Ground, check_values, find_ground
from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import let_go, one_process
from noisylab.cli.commands.study import study_folder
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.studyfile import spec_of
from noisylab.cli.configuration.studyplan import RECIPES, Plan, stored_plan
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import build_data
from noisylab.cli.running.session import logger_names, quiet, say
from noisylab.cli.studies.choice import Choice, NoiseGuess, decide, record_of, standard_error, write_rows_to_check
from noisylab.cli.studies.choice_words import choice_text, ladder_text
from noisylab.cli.studies.comparison import Asked, asked_for
from noisylab.cli.studies.halving import Candidate, Rung, ladder, starts_after
from noisylab.cli.studies.methodset import MethodPlan, method_set
from noisylab.cli.studies.plan import make_plan
from noisylab.cli.studies.race import FINAL, Race, readable, train_final
from noisylab.cli.studies.state import state_of
from noisylab.files import atomic_path
from noisylab.issues import estimate_rate, read_issues
from noisylab.issues.report import looks_paired
from noisylab.issues.table import LABEL_ISSUES
from noisylab.reports.paired_rows import read_held_out

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["choose_method"]

_NAME = "auto"
_RECORD, _TEXT = "auto.json", "auto.txt"
_FEWEST = 30  # held-out rows; with fewer, one standard error is 9 points
_ETA = "2"


@dataclass(frozen=True)
class _Asked:
    """What a race is, as the plan of its study keeps it.

    Args:
        candidates: that take part.
        eta: of n methods, n / eta go on at each rung.
        kept: whether the held-out rows stay out of the final run.
        seed: of all runs.
        budget: epochs, or epochs of cross-entropy.
        compute: whether all runs cost the same.
        words: the data and the network.
    """

    candidates: tuple[Candidate, ...]
    eta: int
    kept: bool
    seed: int
    budget: int
    compute: bool
    words: str

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Where they are compared."""
        return ladder(self.candidates, self.eta)

    def spec(self) -> dict[str, Any]:
        """As plain values."""
        return {"command": "auto", **asdict(self), "candidates": [asdict(each) for each in self.candidates]}

    @staticmethod
    def of(spec: Mapping[str, Any], folder: Path) -> _Asked:
        """From plain values.

        Raises:
            UserError: for those of another command.
        """
        if spec.get("command") != "auto":
            raise UserError(
                f"--run_dir {folder} holds a study that noisylab auto did not begin\n"
                f"  continue it with: noisylab study --run_dir {folder} --resume; or name another folder"
            )
        values = {key: value for key, value in spec.items() if key not in ("command", "candidates")}
        return _Asked(candidates=tuple(Candidate(**each) for each in spec["candidates"]), **values)


def choose_method(options: Options) -> int:
    """Race methods against each other by successive halving, choose by held-out rows with their given labels, and train the
    winner on all rows; returns the exit status.

    Raises:
        UserError: for what cannot be done, before anything is trained or written.
    """
    quiet()
    logger_names(options)
    if "resume" in options.own:
        plan, asked = _continued(options)
    else:
        asked, plan = _begun(options)
        say(ladder_text(asked.candidates, asked.rungs, asked.words, asked.budget, asked.compute), sys.stdout)
        if "dry_run" in options.own:
            return 0
    with study_folder(plan, options) as (folder, kept_plan, begin):
        return _run(kept_plan, folder, asked, options, begin)


# ---- what was asked for


def _continued(options: Options) -> tuple[Plan, _Asked]:
    if "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the choice to continue")
    others = [name for name in options.own if name not in ("run_dir", "resume")]
    given = [*(f"--{name}" for name in others), *["--config"] * bool(options.configs), *(f"--{key}" for key, _ in options.flags)]
    if given:
        raise UserError(
            f"--resume continues the choice as it began, and takes no {', '.join(given)}\n"
            "  leave that out, or start another in another --run_dir"
        )
    folder = Path(options.own["run_dir"])
    plan = stored_plan(folder)
    return plan, _Asked.of(plan.spec, folder)


def _begun(options: Options) -> tuple[_Asked, Plan]:
    """The race of a command line, and the study that it is."""
    seed = dict(options.flags).get("seed_everything") or "0"
    if not seed.isdecimal():
        raise UserError(f"--seed_everything: expected a whole number, got {seed!r}")
    options = replace(options, flags=[(key, text) for key, text in options.flags if key != "seed_everything"])
    eta = options.own.get("eta", _ETA)
    if not eta.isdecimal() or int(eta) < 2:
        raise UserError(f"--eta: of n methods, n / eta go on at each rung; expected 2 or more, got {eta!r}")
    check_values(options)
    own = {key: text for key, text in options.own.items() if key in ("methods", "compute", "epochs")}
    named = asked_for({**own, "seeds": f"{seed},"})
    if len(named.methods) < 2:
        raise UserError(
            f"--methods {named.methods[0]}: a choice needs two methods or more\n"
            "  to train one: noisylab fit, or noisylab compare-methods, which has the same settings"
        )
    ground = find_ground(options, sys.stdout)
    _check_held_out(ground)
    budget = named.budget or ground.epochs
    plans = method_set(named.methods, ground.setup, budget, compute=named.compute)
    candidates = tuple(
        Candidate(name, plan.epochs, starts_after(plan.model), plan.passes / plan.epochs) for name, plan in plans.items()
    )
    kept = "keep_held_out" in options.own
    asked = _Asked(candidates, int(eta), kept, int(seed), budget, named.compute, ground.words)
    plan = _plan(asked, ground, named, plans)
    ground.data.teardown()
    return asked, plan


def _check_held_out(ground: Ground) -> None:
    held, rows = ground.data.info.num_val, ground.setup.rows
    if ground.data.val_labels == "clean":
        raise UserError(
            "data.val_labels=clean: auto is for data without clean labels, and chooses by the given ones\n"
            "  leave it out; with clean held-out rows: noisylab compare-methods, whose val column is then the true accuracy"
        )
    if not held:
        raise UserError(
            "no rows are held out, and a method is chosen by rows that none was trained on\n"
            "  leave --val_fraction out for a tenth of the rows, or give a share, as --val_fraction 0.2"
        )
    if held < _FEWEST:
        error = 100 * standard_error(0.5, held)
        share = min(_FEWEST / (rows + held), 0.5)
        more = (
            f"write --val_fraction {share:.2f} or more"
            if 0.5 * (rows + held) >= _FEWEST
            else "with so few rows, compare several seeds instead: noisylab compare-methods --seeds 10"
        )
        raise UserError(
            f"only {held} of {rows + held} rows are held out: an accuracy near 50 % would have a standard error of {error:.0f} "
            f"points, too much to choose by; at least {_FEWEST} are needed\n  {more}"
        )


def _plan(asked: _Asked, ground: Ground, named: Asked, plans: Mapping[str, MethodPlan]) -> Plan:
    """The study of the race, with the recipe of each method on all rows, too."""
    study = make_plan(spec_of(ground.study(named, plans, asked.budget), _NAME, _NAME))
    data = {**ground.config["data"], "init_args": {**ground.config["data"]["init_args"], "val_fraction": 0.0}}
    # a method of several stages has no held-out rows to choose a network by then
    setup = replace(ground.setup, rows=ground.setup.rows + ground.data.info.num_val, validation=False)
    whole = replace(ground, config={**ground.config, "data": data}, setup=setup)
    finals = method_set(named.methods, setup, asked.budget, compute=asked.compute)
    texts = dict(study.recipes)
    for name, text in make_plan(spec_of(whole.study(named, finals, asked.budget), _NAME, _NAME)).recipes.items():
        recipe = {**yaml.safe_load(text), "recipe": f"{FINAL}-{Path(name).stem}"}
        texts[f"{FINAL}-{name}"] = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=1000)
    return replace(study, spec=asked.spec(), recipes=texts)


# ---- the race


def _run(plan: Plan, folder: Path, asked: _Asked, options: Options, begin: Any) -> int:
    first = compose([str(folder / plan.cells[0].configs[0])], []).config
    one_process(first, "auto")
    os.environ["NOISYLAB_STUDY"] = plan.name  # for loggers, which group its runs
    go_on = f"continue the choice with: noisylab auto --run_dir {folder} --resume"
    race = Race(plan, folder, asked.candidates, asked.rungs, options, fit, let_go=let_go, on_begin=begin, go_on=go_on)
    status = race.run()
    if status:
        return status
    choice = _conclude(race, asked)
    if asked.kept:
        final = race.run_of(choice.method)
    else:
        flags = next(cell.flags for cell in plan.cells if cell.axes["method"] == choice.method)
        status = train_final(folder, choice.method, flags, options, fit, let_go, go_on)
        if status:
            return status
        final = folder / FINAL
    _note_final(folder, final)
    return 0


def _conclude(race: Race, asked: _Asked) -> Choice:
    """Choose, say why, and keep it."""
    folder, last = race.folder, race.standings[-1]
    order = [each.method for each in last]
    found = {name: read_held_out(race.run_of(name)) for name in order[:2]}
    run = readable(race.run_of(order[0]))
    classes = [] if run is None else [str(name) for name in (run.summary.get("data") or {}).get("class_names", [])]
    noise = _noise(race, order[0], len(classes))
    choice = decide(order, found, asked.candidates, noise)
    rows = len(found[order[0]].index)
    failed = {
        cell.axes["method"]: state_of(folder, cell).message
        for cell in race.plan.cells
        if state_of(folder, cell).state == "failed"
    }
    if len(choice.disagree):
        data = build_data(compose([str(folder / RECIPES / f"{order[0]}.yaml")], [("seed_everything", str(asked.seed))]).config)
        write_rows_to_check(folder, choice, found, classes, data.source.names, data.row_names)
        data.teardown()
    text = choice_text(choice, asked.candidates, race.rungs, race.standings, noise, rows, failed, asked.kept, asked.compute)
    record = record_of(choice, noise, race.standings, [rung.share for rung in race.rungs], rows)
    _write(folder / _TEXT, text)
    _write(folder / _RECORD, json.dumps({**record, "failed": failed, "final": None}, indent=2) + "\n")
    say(f"\n{text}", sys.stdout)
    return choice


def _noise(race: Race, best: str, classes: int) -> NoiseGuess | None:
    """An estimate of the share of wrong labels from the ranked list of the best run, where it has one; and whether the list of
    any run looks like confused pairs: one that has learned the wrong labels by heart does not show them."""
    tables = {}
    for cell in race.plan.cells:
        file = race.folder / cell.folder / LABEL_ISSUES
        table = read_issues(file) if file.is_file() else None
        if table is not None and len(table):
            tables[cell.axes["method"]] = table
    if classes < 2 or best not in tables:
        return None
    paired = tuple(name for name, table in tables.items() if looks_paired(table))
    return NoiseGuess(*estimate_rate(tables[best]), classes, paired)


def _note_final(folder: Path, final: Path) -> None:
    run = readable(final)
    record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    test = None if run is None else run.number("test", "headline", "last")
    used = None if run is None else run.number("data", "num_train_used")
    name = str(final.relative_to(folder))
    record["final"] = {"folder": name, "rows": None if used is None else int(used), "test_accuracy": test}
    _write(folder / _RECORD, json.dumps(record, indent=2) + "\n")
    shown = "" if test is None else f" (accuracy on the test rows, which chose nothing: {test:.4f})"
    say(f"chosen: {record['chosen']}, {final}{shown}\nthe choice: {folder / _TEXT}, {folder / _RECORD}", sys.stdout)


def _write(file: Path, text: str) -> None:
    with atomic_path(file) as partial:
        partial.write_text(text, encoding="utf-8")
