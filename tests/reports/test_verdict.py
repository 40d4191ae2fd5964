"""What the table of a study says, in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.fake_runs import FakeCell, write_study

from noisylab.reports import read_study, verdict


def study(folder: Path, figures: dict[str, list[float | None]], *, held_out: bool = False, noise: str = "") -> Path:
    """A study of finished cells, a method a row and a figure a seed; None for one that has not begun."""
    cells = []
    for method, values in figures.items():
        for seed, value in enumerate(values):
            axes = {"method": method, **({"noise": noise} if noise else {}), "seed": str(seed)}
            state = "waiting" if value is None else "finished"
            cells.append(FakeCell(axes, acc=None if held_out else value, held_out=value, state=state))
    return write_study(folder / "S", cells)


def said(*arguments: Any, **more: Any) -> str:
    return verdict(read_study(study(*arguments, **more)))


def test_the_best_is_compared_with_the_baseline_and_the_next_one(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.7, 0.71, 0.72], "ELR": [0.9, 0.92, 0.94], "ACT": [0.91, 0.91, 0.92]})
    assert "ELR is ahead of CE (the baseline) by 21.0 points on average, on all 3 seeds; if the two were alike" in text
    assert "in 25% of all studies" in text
    assert "ELR is ahead of ACT (the next best) by 0.7 points on average, better on 2 of 3 seeds; so these 3 seeds" in text
    assert text.endswith("Compared by: test accuracy in the last epoch.\n")


def test_no_method_ahead_of_the_baseline_is_said(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.9, 0.9], "ELR": [0.8, 0.85]})
    assert text.startswith("no method is ahead of CE, the baseline. CE is ahead of ELR by 7.5 points on average, on both seeds;")


def test_six_seeds_have_an_interval(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.7] * 6, "ELR": [0.80, 0.81, 0.82, 0.83, 0.84, 0.85]})
    assert "on all 6 seeds, 95 % interval +" in text and "which tells them apart." in text


def test_an_interval_around_zero_tells_nothing(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.7] * 6, "ELR": [0.60, 0.81, 0.62, 0.83, 0.64, 0.85]})
    assert "better on 3 of 6 seeds, 95 % interval -" in text and "do not tell the two apart." in text


def test_one_seed_cannot_tell(tmp_path: Path) -> None:
    assert "on one seed; one seed cannot tell" in said(tmp_path, {"CE": [0.7], "ELR": [0.8]})


def test_without_test_rows_the_held_out_labels_are_named_for_what_they_are(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.5, 0.5], "ELR": [0.6, 0.6]}, held_out=True, noise="sym40")
    assert text.startswith("sym40: ELR is ahead of CE")
    assert "Compared by: accuracy on held-out rows, mean of the last ten epochs." in text
    assert "The labels of the held-out rows are as they were given, wrong ones included" in text


def test_runs_that_are_not_finished_are_counted(tmp_path: Path) -> None:
    text = said(tmp_path, {"CE": [0.7, 0.7], "ELR": [0.8, None]})
    assert "1 of 4 runs are not finished and not counted." in text
    assert "on one seed" in text


def test_one_method_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    assert said(tmp_path, {"CE": [0.7, 0.7]}) == ""
