from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image

from noisylab.reports import mixture_figure
from noisylab.reports.mixture_picture import _averaged_gaussian, _equal_posterior, _spaced


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures saved, with nothing written but an empty file."""
    figures: list[Figure] = []

    def save(figure: Figure, path: Path, **_: object) -> None:
        path.touch()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def _record(epoch: int, **changes: Any) -> dict[str, Any]:
    right, wrong = [0] * 64, [0] * 64
    right[4], right[8], wrong[40] = 40, 20, 40
    record = {
        "epoch": epoch,
        "histogram": {"right": right, "wrong": wrong},
        "means": [0.1, 0.64],
        "variances": [0.002, 0.01],
        "weights": [0.6, 0.4],
        "converged": True,
        "iterations": 4,
    }
    return {**record, **changes}


def _summary(epochs: int = 3, **mixture: Any) -> dict[str, Any]:
    return {"method": "DivideMix", "mixture": mixture or {"first": [_record(epoch) for epoch in range(10, 10 + epochs)]}}


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("epochs", "width", "height"), [(1, 915, 570), (4, 1815, 525), (30, 1815, 900)])
def test_the_file_is_a_png_of_the_size_of_its_panels_and_alone(tmp_path: Path, epochs: int, width: int, height: int) -> None:
    target = tmp_path / "new" / "mixture.png"
    assert mixture_figure(_summary(epochs), target) == target
    with Image.open(target) as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == pytest.approx((width, height), abs=2)
    assert [path.name for path in target.parent.iterdir()] == ["mixture.png"]


def test_a_failure_leaves_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"\x89PNG half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", fail)
    target = tmp_path / "mixture.png"
    target.write_bytes(b"old")
    with pytest.raises(OSError, match="no space left"):
        mixture_figure(_summary(), target)
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "summary", [{"method": "ELR"}, {"method": "ELR", "mixture": {}}, {"method": "ELR", "mixture": {"a": []}}]
)
def test_a_run_without_a_mixture_is_an_error_that_names_it(tmp_path: Path, summary: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"this run of ELR has no mixture in its summary.*give the summary of a run that has one"
    ):
        mixture_figure(summary, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_another_network_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="network='third' has no mixture in this run; those that have: first, second"):
        mixture_figure(_summary(first=[_record(1)], second=[_record(1)]), tmp_path / "a.png", network="third")


def test_another_ending_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pdf' does not end in \.png"):
        mixture_figure(_summary(), tmp_path / "a.pdf")


def test_panels_are_the_first_the_last_and_evenly_spaced_epochs(tmp_path: Path, saved: list[Figure]) -> None:
    mixture_figure(_summary(71), tmp_path / "a.png")
    titles = [axis.get_title(loc="left") for axis in saved[0].axes]
    assert titles == [f"epoch {epoch}" for epoch in range(10, 81, 10)]
    assert [record["epoch"] for record in _spaced([_record(epoch) for epoch in range(9)], 8)] == [0, 1, 2, 3, 5, 6, 7, 8]


def test_the_network_shown_is_the_first_or_the_one_asked_for(tmp_path: Path, saved: list[Figure]) -> None:
    summary = _summary(first=[_record(1)], second=[_record(2)])
    mixture_figure(summary, tmp_path / "a.png")
    mixture_figure(summary, tmp_path / "a.png", network="second")
    mixture_figure(_summary(network=[_record(3)]), tmp_path / "a.png")
    assert [figure.get_suptitle() for figure in saved] == ["DivideMix, network first", "DivideMix, network second", "DivideMix"]
    assert [figure.axes[0].get_title(loc="left") for figure in saved] == ["epoch 1", "epoch 2", "epoch 3"]


def test_both_histograms_are_on_one_scale_of_total_area_one(tmp_path: Path, saved: list[Figure]) -> None:
    mixture_figure(_summary(1), tmp_path / "a.png")
    right, wrong = (patch for patch in saved[0].axes[0].patches if isinstance(patch, StepPatch))
    heights, edges, _ = right.get_data()
    assert list(edges) == [place / 64 for place in range(65)]
    assert {place: heights[place] for place in np.flatnonzero(heights)} == pytest.approx({4: 0.4 * 64, 8: 0.2 * 64})
    heights, _, _ = wrong.get_data()
    assert {place: heights[place] for place in np.flatnonzero(heights)} == pytest.approx({40: 0.4 * 64})


def test_groups_differ_in_color_and_without_it(tmp_path: Path, saved: list[Figure]) -> None:
    mixture_figure(_summary(1), tmp_path / "a.png")
    right, wrong = (patch for patch in saved[0].axes[0].patches if isinstance(patch, StepPatch))
    assert to_rgba(right.get_facecolor())[:3] == to_rgba("#0072B2")[:3] and not right.get_hatch()
    assert to_rgba(wrong.get_edgecolor()) == to_rgba("#D55E00") and wrong.get_hatch() and wrong.get_facecolor()[3] == 0


def test_components_have_the_area_of_their_weights_and_peak_at_their_means(tmp_path: Path, saved: list[Figure]) -> None:
    mixture_figure(_summary(1), tmp_path / "a.png")
    low, high, _ = saved[0].axes[0].get_lines()
    assert low.get_linestyle() != high.get_linestyle()
    for line, mean, weight in ((low, 0.1, 0.6), (high, 0.64, 0.4)):
        places, density = (np.asarray(data) for data in line.get_data())
        area = float(((density[1:] + density[:-1]) / 2 * np.diff(places)).sum())
        assert area == pytest.approx(weight, rel=0.02)  # the low one goes on below 0
        assert places[density.argmax()] == pytest.approx(mean, abs=1 / 1024)


@pytest.mark.parametrize("variance", [0.04, 5e-4, 1e-8])
def test_a_gaussian_averaged_over_a_width_agrees_with_a_fine_sum(variance: float) -> None:
    places, width, steps = np.array([0.2, 0.29, 0.3, 0.31, 0.7]), 1 / 64, 200_000
    found = _averaged_gaussian(places, 0.3, variance, width)
    for place, value in zip(places.tolist(), found.tolist(), strict=True):
        inside = place + width * ((np.arange(steps) + 0.5) / steps - 0.5)
        slow = np.exp(-((inside - 0.3) ** 2) / (2 * variance)).mean() / math.sqrt(2 * math.pi * variance)
        assert value == pytest.approx(slow, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(
    ("means", "variances", "weights"),
    [
        ((0.2, 0.6), (0.01, 0.01), (0.5, 0.5)),
        ((0.1, 0.6), (0.002, 0.04), (0.7, 0.3)),
        ((0.4, 0.5), (0.0005, 0.06), (0.5, 0.5)),  # two places
        ((0.4, 0.5), (0.05, 0.06), (0.95, 0.05)),  # none
        ((0.02, 0.9), (0.0005, 0.0005), (0.9, 0.1)),
    ],
)
def test_thresholds_are_where_the_posterior_crosses_one_half(means: Any, variances: Any, weights: Any) -> None:
    places = np.linspace(0, 1, 200_001)
    low, high = (
        math.log(w) - 0.5 * math.log(v) - (places - m) ** 2 / (2 * v) for m, v, w in zip(means, variances, weights, strict=True)
    )
    crossings = places[1:][np.diff(low > high)]
    assert _equal_posterior(means, variances, weights) == pytest.approx(list(crossings), abs=1e-5)


def test_one_gaussian_alone_has_no_threshold_and_no_second_line(tmp_path: Path, saved: list[Figure]) -> None:
    alone = _record(0, means=[0.3, 0.3], variances=[0.01, 0.01], weights=[1.0, 0.0])
    mixture_figure(_summary(network=[alone]), tmp_path / "a.png")
    assert len(saved[0].axes[0].get_lines()) == 1
    assert _legend(saved[0]) == ["right labels", "wrong labels", "low-loss component"]
    assert _equal_posterior((0.3, 0.3), (0.01, 0.01), (0.5, 0.5)) == []


def test_labels_of_unknown_truth_have_a_name_of_their_own(tmp_path: Path, saved: list[Figure]) -> None:
    mixture_figure(_summary(network=[_record(0, histogram={"unknown": [1] * 64})]), tmp_path / "a.png")
    assert _legend(saved[0]) == ["all labels, truth unknown", "low-loss component", "high-loss component", "posterior 0.5"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 8])
def test_axes_are_labeled_and_nothing_overlaps_or_is_cut_off(tmp_path: Path, saved: list[Figure], epochs: int) -> None:
    mixture_figure(_summary(epochs), tmp_path / "a.png")
    figure = saved[0]
    figure.draw_without_rendering()
    panels = [axis for axis in figure.axes if axis.axison]
    assert len(panels) == epochs
    assert panels[0].get_ylabel() == "density" and panels[-1].get_xlabel() == "normalized loss"
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    boxes = [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]  # type: ignore[attr-defined]
    boxes += [axis.get_tightbbox() for axis in panels]
    for position, box in enumerate(boxes):
        assert box is not None
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        for other in boxes[:position]:
            assert other is not None and not box.overlaps(other)
    for axis in panels:
        top = axis.get_ylim()[1]
        assert all(float(np.max(line.get_ydata())) < top for line in axis.get_lines() if len(line.get_xdata()) > 2)
        assert all(float(np.max(patch.get_data().values)) < top for patch in axis.patches if isinstance(patch, StepPatch))
