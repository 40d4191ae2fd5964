"""noisylab report: where the page is written, what it never replaces, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from noisylab.cli.main import main


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Path:
    folder = Path("runs/elr/1")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"class_path": "ELR"}, "trainer": {"max_epochs": 2}}))
    (folder / "metrics.csv").write_text("epoch,step,name,value\n0,1,test/acc,0.5\n1,2,test/acc,0.6\n")
    summary = {
        "method": "ELR",
        "seed": 0,
        "headline": 0.6,
        "data": {"name": "digits"},
        "noise": {},
        "test": {"headline": {"last": 0.6}},
        "complete": True,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_the_page_has_a_free_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    assert Path("report.html").is_file() and Path("report-2.html").is_file()
    assert capsys.readouterr().out.splitlines() == ["report: report.html (1 run)", "report: report-2.html (1 run)"]


def test_only_reports_are_replaced_and_only_on_request(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--out", "a.html"]) == 0
    assert main(["report", str(run), "--out", "a.html"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["report", str(run), "--out", "a.html", "--overwrite"]) == 0
    Path("mine.html").write_text("<p>mine")
    assert main(["report", str(run), "--out", "mine.html", "--overwrite"]) == 2
    assert "is not one of the reports" in capsys.readouterr().err
    assert Path("mine.html").read_text() == "<p>mine"


def test_markdown_does_not_replace_a_picture_of_someone_else(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--out", "a.md"]) == 0
    assert {path.name for path in Path().glob("a*")} == {"a.md", "a-curves.png", "a-methods.png"}
    Path("a-curves.png").write_bytes(b"\x89PNG mine")
    assert main(["report", str(run), "--out", "a.md", "--overwrite"]) == 2
    assert "is not one of the figures" in capsys.readouterr().err
    assert Path("a-curves.png").read_bytes() == b"\x89PNG mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report"], "noisylab report needs run folders or a study"),
        (["report", "nowhere"], "run folder nowhere does not exist"),
        (["report", "runs/elr/1", "--out", "page.pdf"], "ends in neither .html nor .md"),
        (["report", "half"], "summary.json is missing"),
        (["report", "runs/elr/1", "half"], "summary.json is missing"),
        (["report", "empty"], "is no run folder and holds none"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_written(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    shutil.copytree(run, "half")
    Path("half/summary.json").unlink()
    Path("empty").mkdir()
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(Path().glob("*.html"))


def test_unfinished_runs_below_a_folder_are_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, "runs/elr/2")
    Path("runs/elr/2/summary.json").unlink()
    assert main(["report", "runs", "--best"]) == 0
    assert capsys.readouterr().out == "report: report.html (1 of 2 runs finished)\n"
