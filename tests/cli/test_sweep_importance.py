"""Which of the searched values matters: said from enough trials on, and the same each time."""

from __future__ import annotations

import json
import math
from pathlib import Path

from noisylab.cli.options import parse
from noisylab.cli.sweeps.asked import asked_for
from noisylab.cli.sweeps.ledger import Ledger, open_ledger
from noisylab.cli.sweeps.plan import plan_of
from noisylab.cli.sweeps.results import write_results

WORDS = ["sweep", "--config", "elr_digits.yaml", "--search", "model.regularization=1..7"]
WORDS += ["--search", "model.target_momentum=0.5..0.9", "--trials", "12"]


def told(folder: Path, trials: int) -> Ledger:
    """A sweep in which the regularization alone matters."""
    plan = plan_of(asked_for(parse(WORDS)))[0]
    plan.write(folder)
    ledger = open_ledger(plan, folder)
    for _ in range(trials):
        trial = ledger.next()
        assert trial is not None
        ledger.finish(trial, float(ledger.values(trial)["model.regularization"]) / 10)
    return ledger


def test_the_value_that_decides_has_nearly_all_of_it(tmp_path: Path) -> None:
    ledger = told(tmp_path, 12)
    table = write_results(ledger, tmp_path)
    shares = json.loads((tmp_path / "sweep.json").read_text())["importance"]
    assert math.isclose(sum(shares.values()), 1.0)
    assert shares["model.regularization"] > 0.8
    assert "by fANOVA): regularization " in table
    assert write_results(ledger, tmp_path) == table


def test_with_few_trials_nothing_is_said_of_it(tmp_path: Path) -> None:
    table = write_results(told(tmp_path, 9), tmp_path)
    assert "importance: 9 finished trials are too few to say which of 2 values matters; 10 are needed" in table
    assert json.loads((tmp_path / "sweep.json").read_text())["importance"] is None
