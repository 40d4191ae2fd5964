"""The command compare-methods: several methods with sound settings on the user's own data, at equal compute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noisylab.cli.commands.compare_ground import Ground, check_values, find_ground
from noisylab.cli.commands.dry_run import time_steps
from noisylab.cli.commands.issues_apply import quoted
from noisylab.cli.commands.study import run_plan
from noisylab.cli.configuration.studyfile import asked_of, spec_of
from noisylab.cli.configuration.studyplan import Plan
from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import new_default_folder
from noisylab.cli.launch import first_process
from noisylab.cli.running.app import build
from noisylab.cli.running.session import quiet, say
from noisylab.cli.studies.comparison import Asked, Timing, asked_for, jobs_of, plan_words
from noisylab.cli.studies.methodset import method_set
from noisylab.cli.studies.plan import make_plan
from noisylab.reports import read_study, verdict

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["compare_methods"]

_NAME = "compare-methods"


def compare_methods(options: Options) -> int:
    """Plan a comparison, say what it is, and train it as a study; returns the exit status.

    Raises:
        UserError: for what cannot be done, before anything is trained or written.
    """
    quiet()
    if "resume" in options.own:
        return _continue(options)
    check_values(options)
    asked = asked_for(options.own)
    jobs = jobs_of(options.own)
    ground = find_ground(options, sys.stdout)
    _check(asked, ground)
    budget = asked.budget or ground.epochs
    plans = method_set(asked.methods, ground.setup, budget, compute=asked.compute)
    study = make_plan(spec_of(ground.study(asked, plans, budget), _NAME, "compare-methods"))
    say(plan_words(asked, plans, budget, _timing(ground, jobs), ground.words, _protocol(ground)), sys.stdout)
    ground.data.teardown()
    if "dry_run" in options.own:
        return 0
    if "run_dir" not in options.own:
        options.own["run_dir"] = str(new_default_folder(_NAME))
    return _train(study, options)


def _continue(options: Options) -> int:
    """Go on with the study in the folder."""
    asked = asked_of(replace(options, places=[]))
    assert isinstance(asked, Plan)
    return _train(asked, options)


def _train(study: Plan, options: Options) -> int:
    folder = Path(options.own["run_dir"])
    own = {key: value for key, value in options.own.items() if key in ("run_dir", "resume", "jobs")}
    status = run_plan(study, replace(options, own=own, configs=[], flags=[], row=None))
    if first_process() and status in (0, 1):
        said = verdict(read_study(folder))
        if said:
            say(f"\n{said}report: noisylab report {quoted(folder)}", sys.stdout)
    return status


def _check(asked: Asked, ground: Ground) -> None:
    """Refuse noise where it cannot be added, and data on which nothing could be compared."""
    data, names = ground.data, ",".join(asked.noises)
    if asked.noises and data.noise is not None:
        raise UserError(f"--noise {names}: the data have a noise already, {data.noise!r}\n  leave one of the two out")
    clean, given = data.clean_target, data.given_target
    wrong = int(((clean >= 0) & (given >= 0) & (clean != given)).sum())
    if wrong and any(node is not None for node in asked.noises.values()):
        raise UserError(f"--noise {names}: {wrong} of {len(given)} labels already differ from the true ones; leave --noise out")
    if not ground.tested and not data.info.num_val:
        raise UserError(
            "there are no test rows and none are held out, so nothing could be compared\n"
            "  give --val_fraction 0.1, or test rows: --data.test_path, --data.test_csv or --data.test_table"
        )


def _timing(ground: Ground, jobs: int) -> Timing:
    """Train cross-entropy for a few steps."""
    app = build("fit", ground.config, folder=None)
    seconds, _ = time_steps(app, ground.config)
    evaluated = (ground.tested + ground.data.info.num_val + ground.setup.rows) / ground.setup.batch_size
    return Timing(seconds, ground.setup.steps, evaluated, jobs)


def _protocol(ground: Ground) -> list[str]:
    """How the methods are measured, in sentences."""
    held, rows = ground.data.info.num_val, ground.setup.rows
    sentences = []
    if held:
        what = "labels known to be true" if ground.data.val_labels == "clean" else "the labels they have"
        sentences.append(f"{held:,} of {rows + held:,} rows are held out, with {what}: one split, the same for all runs")
    if ground.tested:
        sentences.append(f"reported: accuracy on {ground.tested:,} test rows after the last epoch, never the best test epoch")
    else:
        sentences += [
            "no test rows: reported is, after the last epoch, the accuracy on the held-out rows by their given labels,",
            "wrong ones included; it ranks methods, and lies below the true accuracy",
        ]
    return [*sentences, "all methods have the same network, optimizer and decay of its rate, unless a remark says otherwise"]
