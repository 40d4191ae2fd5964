"""The file and the forms that the page about sweeps shows are accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blocks import ROOT, blocks

from noisylab.cli.options import parse
from noisylab.cli.sweeps.asked import Settings, asked_for
from noisylab.cli.sweeps.plan import plan_of
from noisylab.cli.sweeps.space import dimension

PAGE = ROOT / "docs" / "sweeps.md"


def test_the_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = [block.text for block in blocks(PAGE) if "\nsearch:" in block.text]
    Path("elr.yaml").write_text(text)
    plan, notes = plan_of(asked_for(parse(["sweep", "elr.yaml"])))
    assert [searched.key for searched in plan.space] == [
        "model.optimizer.lr",
        "model.regularization",
        "model.target_momentum",
    ]
    assert plan.starting_point() == ({"model.optimizer.lr": 0.02, "model.regularization": 3.0, "model.target_momentum": 0.7}, [])
    assert any("data.val_fraction is set to 0.1" in note for note in notes)


def test_the_forms_are_accepted() -> None:
    lines = PAGE.read_text(encoding="utf-8").partition("| form |")[2].partition("\n\n")[0].splitlines()[2:]
    forms = [form for line in lines for form in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(forms) == 7
    for form in forms:
        assert dimension("model.x", form).probes()


def test_the_defaults_are_those_of_the_page() -> None:
    page, settings = PAGE.read_text(encoding="utf-8"), Settings()
    shown = dict(re.findall(r"^\| `(\w+)` \| `?([\w/]+)`? \|", page, re.M))
    for name in ("trials", "objective", "average", "direction", "sampler", "startup", "pruner", "seed", "storage"):
        assert shown[name] == str(getattr(settings, name)), name
