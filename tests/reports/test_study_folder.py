from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.fake_runs import FakeCell, write_study

from noisylab.reports import RunFolderError, read_study
from noisylab.reports.studyfolder import StudyCell, StudyFolder


def axes(method: str, seed: int, noise: str = "sym40") -> dict[str, str]:
    return {"method": method, "noise": noise, "seed": str(seed)}


def one(study: StudyFolder, name: str) -> StudyCell:
    return next(cell for cell in study.cells if cell.name == name)


def test_every_cell_has_its_state_message_and_epochs(tmp_path: Path) -> None:
    cells = [
        FakeCell(axes("CE", 0)),
        FakeCell(axes("ELR", 0), state="running", epochs=2),
        FakeCell(axes("CE", 1), state="stopped", epochs=1),
        FakeCell(axes("ELR", 1), state="failed", message="it has diverged\nin epoch 1", epochs=1),
        FakeCell(axes("CE", 2), state="waiting"),
    ]
    study = read_study(write_study(tmp_path / "S", cells))
    assert (study.name, study.baseline, study.spec) == ("which", "CE", {"name": "which"})
    assert study.rows == (("CE",), ("ELR",))
    assert study.noises == ("sym40",)
    told = [(cell.name, cell.state, cell.epochs, cell.max_epochs, cell.attempts) for cell in study.cells]
    assert told == [
        ("CE/sym40/seed0", "finished", 3, 3, 1),
        ("ELR/sym40/seed0", "running", 2, 3, 1),
        ("CE/sym40/seed1", "stopped", 1, 3, 1),
        ("ELR/sym40/seed1", "failed", 1, 3, 1),
        ("CE/sym40/seed2", "waiting", None, None, 0),
    ]
    assert [cell.message for cell in study.cells] == ["", "", "", "it has diverged\nin epoch 1", ""]
    assert [cell.run is not None for cell in study.cells] == [True, False, False, False, False]
    assert study.cells[0].run is not None and study.cells[0].run.method == "CE"
    assert str(study.cells[1]) == "ELR, sym40, seed 0"


def test_a_complete_summary_counts_more_than_an_old_state(tmp_path: Path) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0), state="running")])
    finished = write_study(tmp_path / "T", [FakeCell(axes("CE", 0))])
    summary = (finished / "CE/sym40/seed0/summary.json").read_text()
    (place / "CE/sym40/seed0/summary.json").write_text(summary)
    assert read_study(place).cells[0].state == "finished"


@pytest.mark.parametrize(("state", "has_run"), [("stopped", True), ("running", False)])
def test_a_run_that_was_paused_is_stopped_and_can_be_read(tmp_path: Path, state: str, has_run: bool) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0), summary={"complete": False, "ended_by": "Pause"})])
    record = place / ".cells" / "CE--sym40--seed0" / "state.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"state": state, "attempts": 2}))
    cell = read_study(place).cells[0]
    assert (cell.state, cell.attempts, cell.run is not None) == (state, 2, has_run)


def test_the_line_that_a_running_cell_is_writing_does_not_count(tmp_path: Path) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0), state="running", epochs=2)])
    with (place / "CE/sym40/seed0/metrics.csv").open("a") as file:
        file.write("2,30,train/loss_step,0.5\n2,30,train/lo")
    assert read_study(place).cells[0].epochs == 2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("summary.json", '{"complete": tr', "summary.json is not whole JSON"),
        ("summary.json", "[]", "summary.json does not hold a mapping"),
        ("metrics.csv", "epoch,step,name,value\n0,1,test/acc,0.", "metrics.csv is cut short"),
        ("config.yaml", "{", "config.yaml is not valid YAML"),
    ],
)
def test_what_cannot_be_read_is_damaged_and_the_others_are_read(tmp_path: Path, name: str, content: str, told: str) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", seed)) for seed in (0, 1)])
    (place / "CE/sym40/seed0" / name).write_text(content)
    first, second = read_study(place).cells
    assert (first.state, second.state) == ("damaged", "finished")
    assert told in first.message and first.run is None


@pytest.mark.parametrize("content", ["{", '{"state": "asleep"}', "[]"])
def test_a_state_that_noisylab_did_not_write_is_damaged(tmp_path: Path, content: str) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0), state="failed")])
    record = place / ".cells" / "CE--sym40--seed0" / "state.json"
    record.write_text(content)
    cell = read_study(place).cells[0]
    assert cell.state == "damaged" and str(record) in cell.message and "delete it" in cell.message


def test_an_unreadable_state_does_not_matter_to_a_finished_cell(tmp_path: Path) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0))])
    record = place / ".cells" / "CE--sym40--seed0" / "state.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    assert read_study(place).cells[0].state == "finished"


def test_a_finished_cell_whose_folder_is_gone_waits(tmp_path: Path) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", 0), state="waiting")])
    record = place / ".cells" / "CE--sym40--seed0" / "state.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"state": "finished", "attempts": 1}')
    assert read_study(place).cells[0].state == "waiting"


def test_a_plan_of_rows_from_before_there_were_cells_is_read(tmp_path: Path) -> None:
    place = write_study(tmp_path / "S", [FakeCell({"method": "plain", "seed": "3"}, summary={"method": "ELR"})])
    (place / "study.yaml").write_text("configs: [two.yaml]\nrows: [plain, small]\nseeds: [3]\nflags: []\n")
    first, second = read_study(place).cells
    assert (first.name, first.state, dict(first.axes)) == ("plain/seed3", "finished", {"method": "plain", "seed": "3"})
    assert (second.name, second.state) == ("small/seed3", "waiting")


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="does not exist; give the folder of a study"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"it has no study.yaml; give the --run_dir"):
        read_study(tmp_path)


def _folder(plan: dict[str, Any], folder: str) -> None:
    plan["cells"][0]["folder"] = folder


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plan: plan.pop("format"), "names no format, and this version of noisylab reads format 2"),
        (lambda plan: plan.update(format=3), "has format 3"),
        (lambda plan: plan.pop("cells"), "has no entry 'cells' that is a list"),
        (lambda plan: plan["cells"][0].pop("axes"), "has no 'folder' and 'axes' for cell 1"),
        (lambda plan: plan["cells"][0]["axes"].update(size="2"), "has the axis 'size' for cell 1"),
        (lambda plan: plan["cells"][1]["axes"].update(fold="2"), "the axes method, noise, seed, fold, and others method"),
        (lambda plan: plan["cells"].append(plan["cells"][0]), "names cell 3 .* a second time"),
        (lambda plan: plan["cells"].clear(), "names no runs"),
        (lambda plan: plan["cells"][1]["axes"].pop("seed"), "has no axis 'seed' for cell 2"),
        (lambda plan: plan["cells"].append({**plan["cells"][0], "folder": "other"}), "names cell 3 .other. a second time"),
        (lambda plan: _folder(plan, "../else"), "not within the study"),
        (lambda plan: _folder(plan, "/else"), "not within the study"),
    ],
)
def test_a_plan_that_noisylab_did_not_write_is_refused(tmp_path: Path, change: Any, told: str) -> None:
    place = write_study(tmp_path / "S", [FakeCell(axes("CE", seed)) for seed in (0, 1)])
    plan = yaml.safe_load((place / "study.yaml").read_text())
    change(plan)
    (place / "study.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(RunFolderError, match=told):
        read_study(place)
