"""The page on recipes names what a run leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from blocks import ROOT

from noisylab.cli import main
from noisylab.metrics import MixtureRecord

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "act"
    smoke = ["--config", "act_digits.yaml", "--config", "smoke.yaml", "--model.warmup_epochs", "1", "--data.val_fraction", "0.1"]
    assert main(["fit", *smoke, "--model.network.width", "4", "--run_dir", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_every_file_is_named(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file() and not path.name.endswith("ckpt.previous")]
    missing = [path.name for path in files if f"`{path.relative_to(run).as_posix()}`" not in PAGE]
    assert not missing


@pytest.mark.slow
def test_every_key_of_the_summary_is_named(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    keys = [*summary, *summary["data"], *summary["noise"], *summary["test"]["headline"], *summary["loss_histogram"]]
    assert not [key for key in keys if f"`{key}`" not in PAGE]


@pytest.mark.slow
def test_every_kind_of_curve_is_named(run: Path) -> None:
    with (run / "metrics.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    table = PAGE.partition("### metrics.csv")[2].partition("### summary.json")[0]
    missing = []
    for name in names:
        group, _, what = name.partition("/")
        open_end = group in ("train", "lr", "memorization_online", "mixture") or what.startswith("acc_")
        words = (f"`{group}/",) if open_end else (f"`{group}/", what.removesuffix("_median"))
        if not all(word in table for word in words):
            missing.append(name)
    assert not missing


def test_every_key_of_a_mixture_is_named() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `mixture` |"))
    assert not [key for key in (*MixtureRecord.__annotations__, "right", "wrong", "unknown") if f"`{key}`" not in row]
    assert "| `mixture.png` |" in PAGE
    table = PAGE.partition("### metrics.csv")[2].partition("### summary.json")[0]
    assert all(word in table for word in ("`mixture/<network>_low_mean`", "_high_mean`", "_low_weight`", "<network>_auroc`"))
