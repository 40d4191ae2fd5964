"""The pages of the methods are made from the package and are up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from blocks import ROOT


@pytest.fixture(scope="module")
def make_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_up_to_date(make_pages: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_pages.main(["--check"]) == 0, capsys.readouterr().out + "run: python docs/make_pages.py"


def test_check_finds_missing_pages_and_writes_nothing(make_pages: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "methods"
    assert make_pages.main(["--check", "--folder", str(folder)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert make_pages.main(["--folder", str(folder)]) == 0
    assert make_pages.main(["--check", "--folder", str(folder)]) == 0
    assert {"README.md", "act.md", "crossentropy.md"} <= {page.name for page in folder.iterdir()}
    (tmp_path / "results.md").unlink()
    assert make_pages.main(["--check", "--folder", str(folder)]) == 1


def test_every_method_has_a_page_with_its_recipes(make_pages: ModuleType) -> None:
    entries = {entry["name"]: entry for entry in make_pages.entries()}
    assert next(iter(entries)) == "CrossEntropy"
    assert entries["ACT"]["networks"] == 2
    assert "configs/act_digits.yaml" in [recipe["path"] for recipe in entries["ACT"]["recipes"]]
    assert "configs/smoke.yaml" not in [recipe["path"] for recipe in entries["ACT"]["recipes"]]
    (row,) = [
        recipe
        for recipe in entries["ACT"]["recipes"]
        if (recipe["path"], recipe["row"]) == ("configs/act_cifar100.yaml", "sym80")
    ]
    assert row["cells"]["expected"] == "40.74"


ROW = """
results:
  - {method: ACT, recipe: act_digits, figure: "97.40", measure: last ten, seeds: [0, 1],
     command: noisylab fit, commit: abc, device: cpu}
costs:
  ACT: {value: "3.8", command: python benchmarks/methods.py, commit: abc, device: cpu}
"""


def test_a_measured_row_and_a_cost_reach_the_page(make_pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "results.yaml").write_text(ROW)
    entries = {entry["name"]: entry for entry in make_pages.entries(tmp_path / "results.yaml")}
    (row,) = entries["ACT"]["results"]
    assert (row["percent"], row["seeds"], row["command"]) == ("97.40", "0, 1", "`noisylab fit`")
    assert entries["ACT"]["cost"] == "3.8"
    assert entries["CrossEntropy"]["results"] == []


TABLE = ROW.replace("commit: abc, device: cpu}\ncosts", "commit: abc, device: cpu, table: easy, more: {best: '98.1'}}\ncosts")
TABLE += "tables: {easy: {title: Easy data, text: Three classes.}}\n"


def test_rows_of_a_table_stand_on_the_page_of_results(make_pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "results.yaml").write_text(TABLE)
    text = make_pages.results_page(tmp_path / "results.yaml")
    assert "## Easy data\n\nThree classes.\n\n| method | last ten | best | seeds | commit |" in text
    assert "| ACT | 97.40 | 98.1 | 0, 1 | abc |" in text and "ACT: noisylab fit" in text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [("table: easy", "table: hard", "'hard'"), ("title: Easy data, ", "", "needed"), (", table: easy", "", "has no rows")],
)
def test_a_wrong_table_is_refused(make_pages: ModuleType, old: str, new: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "results.yaml").write_text(TABLE.replace(old, new))
    with pytest.raises(ValueError, match=told):
        make_pages.results_page(tmp_path / "results.yaml")


@pytest.mark.parametrize(("old", "new", "told"), [("method: ACT", "method: ATC", "ATC"), ("commit: abc, ", "", "needed")])
def test_a_wrong_row_is_refused(make_pages: ModuleType, old: str, new: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "results.yaml").write_text(ROW.replace(old, new))
    with pytest.raises(ValueError, match=told):
        make_pages.entries(tmp_path / "results.yaml")


def test_oracle_arguments_are_inputs(make_pages: ModuleType) -> None:
    arguments = "    Args:\n        num_classes: K.\n        rate: noise rate (oracle).\n        lr: rate.\n"
    docstring = f"Trains.\n\n{arguments}\n    Example:\n        oracle"
    assert make_pages.inputs_needed(docstring) == "rate (oracle)"
    assert make_pages.inputs_needed("Trains.") == "none"
