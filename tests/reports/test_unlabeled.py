"""The figure and the columns of what methods did with rows without a label, and the table of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_runs import CURVES
from matplotlib.figure import Figure
from PIL import Image

from noisylab.cli.commands.compare import compare
from noisylab.cli.folder.marker import foreign_entries
from noisylab.cli.running.figures import draw
from noisylab.reports import comparison_table, read_run, unlabeled_figure
from reports.conftest import MakeRun

UNLABELED = {
    **CURVES,
    "unlabeled/used": [0.0, 0.5, 0.75],
    "unlabeled/used_right": [float("nan"), 0.875, 0.9375],
    "unlabeled/confidence": [0.25, 0.5, 0.75],
    "unlabeled/weighted_loss": [0.0, 0.5, 0.25],
    "train/labeled_loss": [2.0, 1.0, 0.5],
}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: (figures.append(self), save(self, *args, **kwargs))[1])
    return figures


def test_each_run_has_its_shares_its_losses_and_its_confidence(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    runs = [read_run(make_run(time=str(number), curves=UNLABELED)) for number in range(5)]
    unlabeled_figure(runs, tmp_path / "u.png")
    axes = [axis for axis in saved[0].axes if axis.axison]
    assert len(axes) == 3 * len(runs)
    drawn = [[list(line.get_ydata()) for line in axis.get_lines()] for axis in axes]
    assert drawn.count([UNLABELED["unlabeled/confidence"]]) == 5  # no threshold was logged
    assert [UNLABELED["train/labeled_loss"], UNLABELED["unlabeled/weighted_loss"]] in drawn
    assert any(UNLABELED["unlabeled/used"] in panel and UNLABELED["test/acc"] in panel for panel in drawn)
    assert "threshold" not in [text.get_text() for text in saved[0].legends[0].get_texts()]
    with Image.open(tmp_path / "u.png") as image:
        assert image.info["Software"] == "noisylab"


def test_a_run_without_unlabeled_rows_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no unlabeled/used in metrics\.csv"):
        unlabeled_figure([read_run(make_run())], tmp_path / "u.png")


def test_compare_shows_what_was_used_only_where_a_run_used_some(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, learned = make_run("ce"), make_run("fixmatch", curves=UNLABELED)
    assert compare([str(plain), str(learned)], str(tmp_path / "c.png")) == 0
    said = capsys.readouterr().out
    heads = said.splitlines()
    assert "unlabeled" in heads[2] and heads[3].split()[-2:] == ["used", "right"]
    assert [line.split()[-2:] for line in heads if " 62.50 " in line] == [["-", "-"], ["75.0", "93.8"]]
    assert f"figure: {tmp_path / 'c-unlabeled.png'}" in said and (tmp_path / "c-unlabeled.png").is_file()
    assert max(map(len, said.split("figure")[0].splitlines())) <= 100
    assert "unlabeled" not in comparison_table([read_run(plain)])


def test_a_run_that_used_unlabeled_rows_gets_the_figure_into_its_folder(make_run: MakeRun) -> None:
    plain, learned = make_run("ce"), make_run("fixmatch", curves=UNLABELED, diagnostics={"unlabeled/used": 0.75})
    for folder in (plain, learned):
        draw(folder)
    assert (learned / "unlabeled.png").is_file() and not (plain / "unlabeled.png").exists()
    assert not foreign_entries(learned)
