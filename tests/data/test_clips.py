"""Rows that are frames of clips: checks, held-out clips, wrong labels by row or by clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noisylab.data import Arrays
from noisylab.noise import FromFile, Symmetric, save_noise

CLIPS, CLASSES = 40, 4
CLIP = np.random.default_rng(0).permutation(np.repeat(np.arange(CLIPS), np.arange(CLIPS) % 3 + 2)) + 100
LABELS = CLIP % CLASSES
ROWS = len(CLIP)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Saves arrays with clips and returns the data module that reads them, after its setup."""

    def build(changes: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        x = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
        np.savez(tmp_path / "mine.npz", **{"x": x, "y": LABELS, "clip": CLIP, **(changes or {})})
        data = Arrays(str(tmp_path / "mine.npz"), **kwargs)
        data.setup()
        return data

    return build


def rows_of(data: Any, name: str) -> set[int]:
    return set(CLIP[data.split.val if name == "val" else data.split.train].tolist())


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_held_out_clips_are_whole_and_stratified(make: Any, fraction: float) -> None:
    data = make(val_fraction=fraction)
    held = rows_of(data, "val")
    assert not held & rows_of(data, "train")
    assert len(data.split.val) + len(data.split.train) == ROWS
    assert len(held) == round(fraction * CLIPS)
    counts = np.bincount(np.array(sorted(held)) % CLASSES, minlength=CLASSES)
    assert counts.max() - counts.min() <= 1


def test_the_split_seed_names_the_held_out_clips(make: Any) -> None:
    first, again, other = (rows_of(make(val_fraction=0.3, split_seed=seed), "val") for seed in (0, 0, 1))
    assert first == again != other


def test_held_out_groups_take_their_clips_along(make: Any) -> None:
    data = make({"group": CLIP % 7}, val_fraction=0.3, val_by="group")
    assert not rows_of(data, "val") & rows_of(data, "train")
    assert not {clip % 7 for clip in rows_of(data, "val")} & {clip % 7 for clip in rows_of(data, "train")}


# ---- noise


def test_wrong_labels_of_a_clip_are_one_label(make: Any) -> None:
    noise = Symmetric(0.5, seed=3)
    data = make(noise=noise, noise_unit="clip")
    by_clip = {int(clip): set(data.given_target[torch.from_numpy(clip == CLIP)].tolist()) for clip in set(CLIP.tolist())}
    assert all(len(labels) == 1 for labels in by_clip.values())
    drawn = noise(torch.arange(100, 100 + CLIPS) % CLASSES, CLASSES).given_target.tolist()
    assert [by_clip[100 + number] for number in range(CLIPS)] == [{label} for label in drawn]
    assert data.clean_target.tolist() == LABELS.tolist()
    wrong = float((data.given_target != data.clean_target).double().mean())
    assert data.noisy.measured_rate == wrong > 0.2
    assert data.noisy.rate == 0.5


def test_wrong_labels_of_rows_are_those_of_data_without_clips(make: Any) -> None:
    noise = Symmetric(0.5, seed=3)
    data = make(noise=noise, noise_unit="row")
    assert torch.equal(data.given_target, noise(torch.from_numpy(LABELS), CLASSES).given_target)


def test_what_noise_is_drawn_for_must_be_said(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"frames of clips; set noise_unit to say whether .* 'row' or for each 'clip'"):
        make(noise=Symmetric(0.5))
    with pytest.raises(ValueError, match="noise_unit must be 'row' or 'clip', got 'frame'"):
        make(noise_unit="frame")
    np.savez(tmp_path / "plain.npz", x=np.eye(8, 3), y=np.arange(8) % 2)
    with pytest.raises(ValueError, match="noise_unit='clip' needs clips, and this data has none"):
        Arrays(str(tmp_path / "plain.npz"), noise=Symmetric(0.5), noise_unit="clip").setup()


@pytest.mark.parametrize("unit", [None, "row", "clip"])
def test_labels_of_a_file_belong_to_rows(make: Any, tmp_path: Path, unit: str | None) -> None:
    first = make(noise=Symmetric(0.5, seed=3), noise_unit="row")
    save_noise(tmp_path / "noise.npz", first.noisy, "symmetric", 3)
    assert torch.equal(make(noise=FromFile(tmp_path / "noise.npz"), noise_unit=unit).given_target, first.given_target)


# ---- which splits have clips to judge


def test_validation_clips_have_a_label_unless_their_rows_differ(make: Any) -> None:
    settings = {"val_fraction": 0.3, "noise": Symmetric(0.5, seed=3)}
    assert make(**settings, noise_unit="row").clips("val") is None
    assert make(**settings, noise_unit="row", val_labels="clean").clips("val").tolist() == CLIP.tolist()
    assert make(**settings, noise_unit="clip").clips("val").tolist() == CLIP.tolist()


def test_test_clips_are_those_of_the_test_rows(make: Any) -> None:
    test = {"test_x": np.zeros((5, 3)), "test_y": [0, 0, 1, 1, 1]}
    assert make({**test, "test_clip": [8, 8, 3, 3, 5]}).clips("test").tolist() == [8, 8, 3, 3, 5]
    assert make({**test, "test_clip": np.array(["b", "b", "a", "a", "c"])}).clips("test").tolist() == [1, 1, 0, 0, 2]
    assert make(test).clips("test") is None


# ---- what does not fit


def changed(values: Any, row: int, value: int) -> Any:
    copy = np.array(values)
    copy[row] = value
    return copy


SECOND = int(np.flatnonzero(CLIP[0] == CLIP)[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": changed(LABELS, SECOND, (LABELS[0] + 1) % CLASSES)}, rf"rows 0 and {SECOND} of clip {CLIP[0]} have '\d' and '\d'"),
        ({"group": changed(CLIP % 7, SECOND, 99)}, rf"share one of their groups, but rows 0 and {SECOND} of clip {CLIP[0]} have"),
        ({"clip": CLIP[:5]}, rf"different lengths: x {ROWS}, y {ROWS}, clip 5"),
        ({"clip": CLIP / 2}, "clip in .* must be one row of whole numbers or text, got float64"),
        (
            {"test_x": np.zeros((4, 3)), "test_y": [0, 1, 2, 2], "test_clip": [6, 5, 5, 6]},
            r"rows 0 and 3 of test_clip 6 have '0' and '2'; number the clips so that each is one recording",
        ),
        ({"test_x": np.zeros((4, 3)), "test_y": [0, 1, 2, 2], "test_clip": [6, 5]}, "test_y 4, test_clip 2"),
    ],
)
def test_clips_that_do_not_fit_are_named(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(changes)


def test_wrong_given_labels_within_a_clip_are_no_error_where_the_truth_is_known(make: Any) -> None:
    given = changed(LABELS, SECOND, (LABELS[0] + 1) % CLASSES)
    data = make({"y": given, "y_true": changed(LABELS, 0, -1)})
    assert data.given_target.tolist() == given.tolist()
    with pytest.raises(ValueError, match="of clip"):
        make({"y": LABELS, "y_true": given})
