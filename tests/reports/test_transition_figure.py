from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from noisylab.reports import transition_figure


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved, with nothing written but an empty file."""
    figures: list[Figure] = []

    def save(figure: Figure, path: Path, **_: object) -> None:
        path.touch()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def _symmetric(classes: int, rate: float) -> NDArray[np.float64]:
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def _summary(classes: int = 3, *, truth: bool = True, rate: float = 0.4, names: list[str] | None = None) -> dict[str, Any]:
    record = {
        "epoch": 7,
        "estimate": _symmetric(classes, rate).tolist(),
        "truth": _symmetric(classes, 0.2).tolist() if truth else None,
        "metrics": {"error": 0.4, "condition": 2.0} if truth else {"condition": 2.0},
    }
    return {
        "method": "TRevision",
        "transition": record,
        "data": {"class_names": names or [f"class {place}" for place in range(classes)]},
    }


def _panels(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_xlabel() == "given label"]


def _matrix(axis: Axes) -> NDArray[np.float64]:
    return np.asarray(axis.images[0].get_array())


def _ticks(axis: Axes, which: str) -> list[str]:
    return [label.get_text() for label in getattr(axis, f"get_{which}ticklabels")()]


@pytest.mark.parametrize("truth", [True, False])
def test_the_file_is_a_png_and_alone(tmp_path: Path, truth: bool) -> None:
    target = tmp_path / "new" / "transition.png"
    assert transition_figure(_summary(truth=truth), target) == target
    with Image.open(target) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
        assert (image.size[0] > 2 * image.size[1]) == truth
    assert [path.name for path in target.parent.iterdir()] == ["transition.png"]


def test_estimate_truth_and_difference_are_drawn_with_rows_downwards(tmp_path: Path, saved: list[Figure]) -> None:
    summary = _summary()
    summary["transition"]["estimate"] = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]
    transition_figure(summary, tmp_path / "a.png")
    panels = _panels(saved[0])
    assert [axis.get_title(loc="left") for axis in panels] == ["estimate", "truth", "estimate - truth"]
    estimate, truth, difference = (_matrix(axis) for axis in panels)
    assert np.array_equal(estimate, summary["transition"]["estimate"])
    assert np.array_equal(truth, summary["transition"]["truth"])
    assert np.allclose(difference, estimate - truth)
    assert all(axis.images[0].origin == "upper" for axis in panels)
    assert panels[0].get_ylabel() == "true class"


def test_estimate_and_truth_have_one_scale_and_the_difference_one_around_zero(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(rate=0.5), tmp_path / "a.png")
    estimate, truth, difference = (axis.images[0] for axis in _panels(saved[0]))
    assert estimate.get_clim() == truth.get_clim() == (0.0, 0.8)
    assert difference.get_clim() == pytest.approx((-0.3, 0.3))
    assert estimate.get_cmap().name == truth.get_cmap().name != difference.get_cmap().name


def test_small_differences_look_small_and_negative_entries_are_on_the_scale(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(rate=0.2001), tmp_path / "a.png")
    assert _panels(saved[0])[2].images[0].get_clim() == pytest.approx((-0.08, 0.08))
    summary = _summary()
    summary["transition"]["estimate"][0][2] = -0.05
    transition_figure(summary, tmp_path / "a.png")
    assert _panels(saved[1])[0].images[0].get_clim() == (-0.05, 0.8)


def test_the_title_gives_method_epoch_and_error(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(), tmp_path / "a.png")
    transition_figure(_summary(truth=False), tmp_path / "a.png")
    assert [figure.get_suptitle() for figure in saved] == [
        "TRevision, epoch 7: error 0.4000",
        "TRevision, epoch 7: true matrix not known",
    ]


def test_the_estimate_stands_alone_where_the_truth_is_not_known(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(truth=False), tmp_path / "a.png")
    (panel,) = _panels(saved[0])
    assert panel.get_title(loc="left") == "estimate" and _ticks(panel, "y") == ["class 0", "class 1", "class 2"]


def test_cells_hold_their_numbers_up_to_twelve_classes(tmp_path: Path, saved: list[Figure]) -> None:
    for classes in (2, 12, 13):
        transition_figure(_summary(classes), tmp_path / "a.png")
    assert [[len(axis.texts) for axis in _panels(figure)] for figure in saved] == [[4] * 3, [144] * 3, [0] * 3]
    texts = [{text.get_position(): text.get_text() for text in axis.texts} for axis in _panels(saved[0])]
    assert texts[0] == {(0, 0): "0.60", (1, 0): "0.40", (0, 1): "0.40", (1, 1): "0.60"}
    assert texts[2] == {(0, 0): "-0.20", (1, 0): "+0.20", (0, 1): "+0.20", (1, 1): "-0.20"}


def test_a_number_stands_in_the_column_of_its_given_label_and_nothing_is_minus_zero(tmp_path: Path, saved: list[Figure]) -> None:
    summary = _summary(2)
    summary["transition"]["estimate"] = [[0.7, 0.3], [-0.001, 1.001]]
    transition_figure(summary, tmp_path / "a.png")
    texts = {text.get_position(): text.get_text() for text in _panels(saved[0])[0].texts}
    assert texts == {(0, 0): "0.70", (1, 0): "0.30", (0, 1): "0", (1, 1): "1.00"}


def test_numbers_are_told_from_the_color_behind_them(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(5, rate=0.6), tmp_path / "a.png")

    def luminance(color: NDArray[np.float64]) -> float:
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for axis in _panels(saved[0]):
        colors = axis.images[0].to_rgba(_matrix(axis))
        for text in axis.texts:
            column, row = (int(place) for place in text.get_position())
            behind, own = luminance(colors[row, column, :3]), 1.0 if text.get_color() == "white" else 0.0
            assert (max(behind, own) + 0.05) / (min(behind, own) + 0.05) > 3, text


def test_axes_hold_the_names_up_to_twenty_classes_and_then_some_places(tmp_path: Path, saved: list[Figure]) -> None:
    for classes in (3, 20, 21, 100, 1000):
        transition_figure(_summary(classes), tmp_path / "a.png")
    ticks = [_ticks(_panels(figure)[0], "x") for figure in saved]
    assert ticks[0] == ["class 0", "class 1", "class 2"] and len(ticks[1]) == 20
    assert ticks[2] == ["0", "5", "10", "15", "20"]
    assert ticks[3] == [str(place) for place in range(0, 100, 10)]
    assert ticks[4] == [str(place) for place in range(0, 1000, 100)]
    assert _ticks(_panels(saved[3])[0], "y") == ticks[3]


def test_long_names_are_cut_and_missing_ones_are_places(tmp_path: Path, saved: list[Figure]) -> None:
    transition_figure(_summary(2, names=["a name of eighteen", "a name of more than that"]), tmp_path / "a.png")
    summary = _summary(2)
    del summary["data"]
    transition_figure(summary, tmp_path / "a.png")
    assert _ticks(_panels(saved[0])[0], "x") == ["a name of eighteen", "a name of more th…"]
    assert _ticks(_panels(saved[1])[0], "x") == ["0", "1"]


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("classes", [2, 6, 10, 20, 100])
def test_nothing_overlaps_or_is_cut_off(tmp_path: Path, saved: list[Figure], classes: int, truth: bool) -> None:
    transition_figure(_summary(classes, truth=truth), tmp_path / "a.png")
    figure = saved[0]
    figure.draw_without_rendering()
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    boxes = [figure._suptitle.get_window_extent(), *(axis.get_tightbbox() for axis in _panels(figure))]  # type: ignore[attr-defined]
    for position, box in enumerate(boxes):
        assert box is not None
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        for other in boxes[:position]:
            assert other is not None and not box.overlaps(other)
    cell = _panels(figure)[0].get_window_extent().width / classes
    widest = [text.get_window_extent().width for axis in _panels(figure) for text in axis.texts]
    assert all(width < cell for width in widest)


@pytest.mark.parametrize("summary", [{"method": "ELR"}, {"method": "ELR", "transition": None}])
def test_a_run_without_an_estimate_is_an_error_that_names_it(tmp_path: Path, summary: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"this run of ELR has no transition matrix in its summary.*give the summary of a run"):
        transition_figure(summary, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_another_ending_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pdf' does not end in \.png"):
        transition_figure(_summary(), tmp_path / "a.pdf")
