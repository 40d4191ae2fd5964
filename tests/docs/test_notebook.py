"""The notebooks run from top to bottom, and show what their text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from blocks import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def executed(name: str, folder: Path) -> tuple[str, int]:
    """What a notebook prints, and how many figures it draws."""
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "notebooks" / name, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs: list[Any] = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    return printed, sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_train_and_compare(tmp_path: Path) -> None:
    printed, figures = executed("quickstart.ipynb", tmp_path)
    assert "equal predictions: True" in printed
    assert figures == 2


@pytest.mark.slow
def test_find_and_repair_wrong_labels(tmp_path: Path) -> None:
    printed, figures = executed("find_wrong_labels.ipynb", tmp_path)
    before, after = map(float, re.findall(r"right before: ([\d.]+)%, after \d+ corrections: ([\d.]+)%", printed)[0])
    (found,) = map(int, re.findall(r"(\d+)% of the first 100 labels are wrong", printed))
    assert before == 75 and after > 90 and found > 90
    assert figures == 1


@pytest.mark.slow
def test_write_a_method(tmp_path: Path) -> None:
    printed, _ = executed("write_a_method.ipynb", tmp_path)
    assert "equal weights: True" in printed
    (difference,) = map(float, re.findall(r"largest difference of the training losses: (\S+)", printed))
    assert difference < 1e-5
    memorized = {name: float(value) for name, value in re.findall(r"(\S+) +test accuracy .* memorized ([\d.]+)%", printed)}
    # the accuracies of so short a run come in either order, depending on the machine
    assert memorized["mine"] < memorized["cross-entropy"]


def test_the_method_of_the_notebook_has_forty_lines() -> None:
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "write_a_method.ipynb", as_version=4)
    (file,) = [cell.source for cell in notebook.cells if cell.source.startswith("%%writefile")]
    method = file[file.index("class MyGCE") :]
    assert len(method.splitlines()) <= 40
