from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

import noisylab.reports
from noisylab.reports import curves_figure, read_run
from noisylab.reports.spacing import spread

MakeRun = Callable[..., Path]


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved, with nothing written but an empty file."""
    figures: list[Figure] = []

    def save(figure: Figure, path: Path, **_: object) -> None:
        path.touch()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def test_the_file_is_a_png_and_alone(make_run: MakeRun, tmp_path: Path) -> None:
    target = tmp_path / "new" / "curves.png"
    assert curves_figure([read_run(make_run())], target) == target
    with Image.open(target) as image:
        image.verify()
        assert image.format == "PNG"
    assert [path.name for path in target.parent.iterdir()] == ["curves.png"]


def test_a_failure_leaves_the_old_file_and_no_half_one(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"\x89PNG half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", fail)
    target = tmp_path / "out" / "curves.png"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(OSError, match="no space left"):
        curves_figure([read_run(make_run())], target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_curves_are_percent_over_epochs_trained(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    curves_figure([read_run(make_run())], tmp_path / "a.png")
    lines = {line.get_color(): line for line in saved[0].axes[0].get_lines()}
    assert len(lines) == 4
    assert list(lines["#000000"].get_xdata()) == [1, 2, 3]
    assert list(lines["#000000"].get_ydata()) == [50.0, 75.0, 62.5]
    assert list(lines["#D55E00"].get_ydata()) == [12.5, 25.0, 50.0]


def test_panels_are_titled_share_axes_and_have_one_legend(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    runs = [read_run(make_run("a", method="ACT")), read_run(make_run("b", complete=False))]
    curves_figure(runs, tmp_path / "a.png")
    first, second = saved[0].axes
    assert [axis.get_title(loc="left") for axis in (first, second)] == ["ACT", "ELR"]
    assert "digits · symmetric 40 % · 39.8 % wrong" in [text.get_text() for text in first.texts]
    assert "stopped early" in " ".join(text.get_text() for text in second.texts)
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim() == second.get_xlim() == (0, 3)
    assert first.get_legend() is None
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == [
        "test accuracy",
        "correct labels fitted",
        "wrong labels: truth recovered",
        "wrong labels memorized",
    ]


def test_the_legend_lies_above_the_panels(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    curves_figure([read_run(make_run())], tmp_path / "a.png")
    figure = saved[0]
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().y0 >= figure.axes[0].get_window_extent().y1


@pytest.mark.parametrize(("warmup", "marked"), [(2, True), (0, False), (30, False)])
def test_the_end_of_the_warmup_is_marked_where_it_was_reached(
    make_run: MakeRun, tmp_path: Path, saved: list[Figure], warmup: int, marked: bool
) -> None:
    run = read_run(make_run(config={"model": {"init_args": {"warmup_epochs": warmup}}}))
    curves_figure([run], tmp_path / "a.png")
    positions = [list(line.get_xdata()) for line in saved[0].axes[0].get_lines()]
    assert ([warmup, warmup] in positions) == marked
    assert ("end of the warm-up" in [text.get_text() for text in saved[0].legends[0].get_texts()]) == marked


def test_undefined_and_missing_curves_are_left_out(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    nan = float("nan")
    folder = make_run(curves={"test/acc": [0.5, 0.625], "memorization/noisy_as_given": [nan, nan]})
    curves_figure([read_run(folder)], tmp_path / "a.png")
    assert len(saved[0].axes[0].get_lines()) == 1


def test_five_runs_take_two_rows(make_run: MakeRun, tmp_path: Path, saved: list[Figure]) -> None:
    curves_figure([read_run(make_run(str(number), seed=number)) for number in range(5)], tmp_path / "a.png")
    visible = [axis for axis in saved[0].axes if axis.axison]
    assert len(visible) == 5
    assert visible[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="runs is empty"):
        curves_figure([], tmp_path / "a.png")


def test_another_ending_is_an_error(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pdf' does not end in \.png"):
        curves_figure([read_run(make_run())], tmp_path / "a.pdf")


def test_a_run_without_curves_is_an_error_that_names_it(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(curves={"train/loss": [1.0]})
    with pytest.raises(ValueError, match=r"has none of the curves test/acc.*leave it out") as caught:
        curves_figure([read_run(folder)], tmp_path / "a.png")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("values", [[99.0, 98.0, 97.5, 99.5], [0.0, 0.1, 0.2, 0.0], [50.0], [], [10.0, 90.0]])
def test_numbers_at_the_ends_keep_apart_and_in_order(values: list[float]) -> None:
    heights = spread(values, 5.5)
    order = sorted(range(len(values)), key=lambda position: values[position])
    assert all(heights[upper] - heights[lower] >= 5.5 - 1e-9 for lower, upper in pairwise(order))
    assert all(0 <= height <= 100 for height in heights)


def test_reports_import_no_other_room_and_matplotlib_only_when_drawing() -> None:
    for path in Path(next(iter(noisylab.reports.__path__))).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        own = {name for name in names if name.startswith("noisylab") and not name.startswith("noisylab.reports")}
        assert own <= {"noisylab.files", "noisylab.reading"}  # which need the standard library and numpy
        assert not any(name.startswith(("torch", "lightning", "matplotlib.pyplot")) for name in names)
        top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not any((name or "").startswith("matplotlib") for name in top)
