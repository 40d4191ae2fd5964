"""noisylab dashboard wandb: what it sends, and what it says where it cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from noisylab.cli import main
from noisylab.cli.commands.dashboard import wandb_workspace
from noisylab.cli.running.loggers.panels import SECTIONS

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # inside wandb-workspaces

_NAMES = [section.title for section in SECTIONS]


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_dry_run_lists_sections_and_charts_without_server_or_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["dashboard", "wandb", "--project", "p", "--group", "g", "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "project p, runs of the group 'g'"
    assert [line for line in lines[1:] if not line.startswith(" ")] == ["Results", *_NAMES]
    assert "  Noisy rows, predicted as given: memorization/noisy_as_given" in lines


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "lays out a project of wandb, got nothing"),
        (["mlflow"], "got mlflow"),
        (["wandb"], "--entity NAME"),
        (["wandb", "--entity", "me", "--logger", "wandb"], "--logger belongs to"),
    ],
)
def test_what_is_missing_is_said(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", *argv]) == 2
    assert said in capsys.readouterr().err


def test_without_the_package_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["dashboard", "wandb", "--entity", "me"]) == 2
    assert 'pip install "noisylab[workspaces]"' in capsys.readouterr().err


def test_without_a_login_nothing_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces")
    assert main(["dashboard", "wandb", "--entity", "me"]) == 2
    assert "nobody is logged in" in capsys.readouterr().err


def test_the_view_has_the_sections_over_the_epoch_and_seeds_drawn_as_one() -> None:
    pytest.importorskip("wandb_workspaces")
    view: Any = wandb_workspace("me", "p", "six methods")
    assert (view.entity, view.project, view.name) == ("me", "p", "noisylab six methods")
    assert [section.name for section in view.sections] == ["Results", *_NAMES]
    for section, found in zip(SECTIONS, view.sections[1:], strict=True):
        assert [(chart.title, chart.x, tuple(chart.y)) for chart in found.panels] == [
            (panel.title, "epoch", panel.metrics) for panel in section.panels
        ]
    assert [group.name for group in view.runset_settings.groupby] == ["method", "noise", "noise_rate"]
    assert "six methods" in str(view.runset_settings.filters)
    assert wandb_workspace("me", "p").name == "noisylab"
