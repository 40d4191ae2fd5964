"""The commands and recipes that the documentation shows are accepted: commands, classes, keys and values."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from blocks import PAGES, ROOT, blocks, write_files

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import packaged
from noisylab.cli.configuration.studyfile import read_spec
from noisylab.cli.describe import describe
from noisylab.cli.options import parse
from noisylab.cli.studies.plan import make_plan


def commands(page: Path) -> list[list[str]]:
    """The noisylab commands of a page without "noisylab", those of workflow files included."""
    found = []
    for block in blocks(page):
        if block.language not in ("sh", "yaml"):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            line = re.sub(r"^\s*- run: ", "", line)
            words = shlex.split(line, comments=True) if "noisylab " in line else []
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and words[0] == "noisylab":
                found.append(words[1:])
    return found


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
_NOT_RECIPES = ("jobs:", "${args}")  # workflows; sweeps of W&B, see tests/cli/test_wandb_sweep_flags.py
RECIPES = [
    (page, block.text)
    for page in PAGES
    for block in blocks(page)
    if block.language == "yaml" and not any(word in block.text for word in _NOT_RECIPES)
]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.name}: {' '.join(words)[:80]}" for page, words in COMMANDS])
def test_command_is_accepted(page: Path, command: list[str], tmp_path: Path) -> None:
    if "--help" in command:
        assert describe(command[-1]).startswith(command[-1])
        return
    options = parse(command)
    if options.command != "fit" or (not options.configs and "resume" in options.own):
        return
    write_files(page, tmp_path)
    for config in options.configs:  # a recipe of the reader's own stands for any
        if config not in packaged():
            (tmp_path / config).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / config).write_text(packaged()["ce_digits.yaml"].read_text(encoding="utf-8"), encoding="utf-8")
    table = [("data", "Text"), ("data.table", options.own["dataset"])] if "dataset" in options.own else []
    try:
        config = compose(options.configs, [*table, *options.flags], options.row).config
    finally:
        for file in tmp_path.glob("*.py"):
            sys.modules.pop(file.stem, None)
    assert {"model", "data", "trainer"} <= set(config)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=[page.name for page, _ in RECIPES])
def test_recipe_is_accepted(page: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    if "methods" in yaml.safe_load(text):
        assert make_plan(read_spec(tmp_path / "shown.yaml")).cells
        return
    before = [] if "model" in yaml.safe_load(text) else ["act_digits.yaml"]
    assert compose([*before, "shown.yaml"], []).config["model"]["class_path"].startswith("noisylab.")


def test_workflow_is_yaml_with_steps() -> None:
    (text,) = [block.text for block in blocks(ROOT / "docs" / "ci.md") if "jobs:" in block.text]
    steps = yaml.safe_load(text)["jobs"]["smoke"]["steps"]
    assert all({"uses", "run"} & set(step) for step in steps)
    assert sum("noisylab fit" in step.get("run", "") for step in steps) == 4
