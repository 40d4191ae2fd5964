"""The page that helps to choose a method shows measured figures only, and those of the method it names."""

from __future__ import annotations

import re

import pytest
import yaml
from blocks import ROOT

PAGE = (ROOT / "docs" / "which_method.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
COSTS = yaml.safe_load((ROOT / "docs" / "results.yaml").read_text(encoding="utf-8"))["costs"]
_FIGURE = re.compile(r"\d+\.\d+(?: ± \d+\.\d+)?")


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows."""
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")]


MEASURED = [row for row in rows(RESULTS) if row[0] != "method"]
SHOWN = [row for row in rows(PAGE) if row[0].startswith("[")]


@pytest.mark.parametrize("row", SHOWN, ids=[f"{row[0].partition(']')[0][1:]}-{row[1]}" for row in SHOWN])
def test_a_row_has_measured_figures_of_its_method(row: list[str]) -> None:
    match = re.match(r"\[(\w+)\]\(methods/\w+\.md\)(?:, (.*))?", row[0])
    assert match is not None
    name, variant = match.groups()
    mine = [cells for cells in MEASURED if cells[0] == name]
    if name == "RobustLoss":
        mine = [cells for cells in mine if variant in cells]
    measured = {cell for cells in mine for cell in cells} | {COSTS.get(name, {}).get("value")}
    assert not [cell for cell in row[1:] if _FIGURE.match(cell) and cell not in measured]


def test_figures_in_the_text_are_measured() -> None:
    text = "\n".join(line for line in PAGE.splitlines() if not line.startswith("| "))
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    figures = _FIGURE.findall(text)
    assert len(figures) > 8
    assert not [figure for figure in figures if figure not in RESULTS]
