"""XRMB from files in the layout of the release, of a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from samples import write_xrmb

from noisylab.data.named import XRMB

FIRST, SECOND = "XRMBf2KALDI_window7_single1.mat", "XRMBf2KALDI_window7_single2.mat"
PARTS = {"train": ("X1", "X2"), "tune": ("XV1", "XV2"), "test": ("XTe1", "XTe2")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xrmb(tmp_path_factory.mktemp("xrmb"))


def prepared(rows: np.ndarray, speakers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Centered row by row with the mean of the speaker, written apart from the loader."""
    means = {who: rows[speakers == who].astype(np.float64).mean(0) for who in set(speakers.tolist())}
    return np.stack([row - means[who] for row, who in zip(rows, speakers.tolist(), strict=True)]) / scale


def test_official_parts_of_the_eight_smallest_speakers(root: Path) -> None:
    data = XRMB(str(root))
    assert data.num_classes == 40 and data.held_out == "rows of the tune speakers"
    data.setup()
    kept = {name: value for file in (FIRST, SECOND) for name, value in scipy.io.loadmat(root / file).items()}
    speakers = kept["trainID"][:, 0]
    chosen = speakers < 27
    assert len(data.info.train_rows) == chosen.sum() == 320 and data.info.num_val == 80
    group = data.source.group
    assert group is not None and group.tolist() == [*speakers[chosen].tolist(), *kept["tuneID"][:, 0].tolist()]
    assert data.given_target.tolist() == [*kept["trainLabel"][chosen, 0].tolist(), *kept["tuneLabel"][:, 0].tolist()]
    for view, names, width in zip(("acoustic", "articulatory"), zip(*PARTS.values(), strict=True), (273, 112), strict=True):
        train = prepared(kept[names[0]][chosen], speakers[chosen], np.ones(width))
        scale = train.std(0)
        found = data.source.train.gather(torch.arange(320))[view]
        np.testing.assert_allclose(found.numpy(), train / scale, rtol=1e-4, atol=1e-5)
        assert found.dtype == torch.float32
        for part, name in (("tune", names[1]), ("test", names[2])):
            store, first = (data.source.train, 320) if part == "tune" else (data.source.test, 0)
            rows = store.gather(torch.arange(first, first + 80))
            expected = prepared(kept[name], kept[f"{part}ID"][:, 0], scale)
            np.testing.assert_allclose(rows[view].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert "320 train rows, 80 tune rows, 80 test rows; 40 classes; training speakers 11, 13, 15" in data.source.account[0]


def test_speakers_are_held_out_whole_and_one_view_makes_plain_batches(root: Path) -> None:
    data = XRMB(str(root), views=("articulatory",), speakers="all", split="speaker", folds=5, fold=1, val_fraction=0.25)
    data.setup()
    group = data.source.group
    assert group is not None and data.source.test is data.source.train
    parts = [set(group[rows].tolist()) for rows in (data.split.train, data.split.val, data.split.fold)]
    assert [len(part) for part in parts] == [6, 2, 2] and not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
    (batch,) = [next(iter(data.val_dataloader()["test"]))]
    assert isinstance(batch.inputs, torch.Tensor) and batch.inputs.shape[1] == 112
    assert data.fitted()["views"] == ["articulatory"]
    trained = data.source.train.gather(data.split.train)
    assert isinstance(trained, torch.Tensor)
    torch.testing.assert_close(trained.std(0, correction=0), torch.ones(112), rtol=1e-3, atol=1e-3)


def test_named_speakers_and_only_what_is_needed_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, loadmat = [], scipy.io.loadmat

    def counted(file: str, variable_names: list[str]) -> Any:
        read.extend(variable_names)
        return loadmat(file, variable_names=variable_names)

    monkeypatch.setattr(scipy.io, "loadmat", counted)
    data = XRMB(str(root), views=("acoustic",), speakers=[29, 11], split="speaker")
    data.setup()
    group = data.source.group
    assert group is not None and set(group.tolist()) == {11, 29} and len(group) == 80
    labels = [f"{part}{kind}" for part in PARTS for kind in ("Label", "ID")]
    assert sorted(read) == sorted([*labels, "X1"]), "each once, and none of the other view or parts"


def test_speakers_on_both_sides_are_told(tmp_path: Path) -> None:
    data = XRMB(str(write_xrmb(tmp_path, testID=lambda who: np.where(who == 50, 13, who).astype(np.uint8))))
    data.setup()
    assert data.source.account[1].endswith("training speakers that are also in the test part: 13")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"X2": lambda rows: rows[1:]}, r"rows of the train part differ in number: X1 in .* 400, X2 in .* 399"),
        ({"tuneID": None}, "lacks the variable tuneID"),
        ({"XTe1": None}, "lacks the variable XTe1; it has X1, XV1"),
        ({"XV2": lambda rows: rows[:, 1:]}, r"XV2 in .* has the shape \(80, 111\), expected \(rows, 112\)"),
        ({"testLabel": lambda rows: rows + 2}, "labels in .* are numbers from 0 to 41, and XRMB has 38 to 41 classes"),
        ({"trainLabel": lambda rows: np.maximum(rows, 1)}, "no training row of the speakers .* has the class 0 of 0..39"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    data = XRMB(str(write_xrmb(tmp_path, **changed)))
    with pytest.raises(ValueError, match=told):
        data.setup()
    assert bool(XRMB.check_release(tmp_path).faults) == ("trainLabel" not in changed)


def test_other_kinds_of_files_are_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no file .*{FIRST}"):
        XRMB(str(tmp_path)).setup()
    for name in (FIRST, SECOND):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    for left, told in ((5000, "lacks the variable trainLabel; it has X2: get the file again"), (-40, "cannot be read")):
        (tmp_path / SECOND).write_bytes((root / SECOND).read_bytes()[:left])
        with pytest.raises(ValueError, match=f"{SECOND} {told}"):
            XRMB(str(tmp_path)).setup()
    (tmp_path / FIRST).write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"is a MATLAB 7\.3 file \(HDF5\).*option -v7"):
        XRMB(str(tmp_path)).setup()


def test_a_file_that_does_not_fit_into_memory_is_not_called_damaged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(scipy.io, "loadmat", full)
    with pytest.raises(MemoryError, match=r"single2\.mat does not fit into memory; name fewer speakers"):
        XRMB(str(root)).setup()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"views": ("sound",)}, "views must be one or both of acoustic, articulatory"),
        ({"speakers": 0}, "speakers must be a whole number of at least 1, 'all'"),
        ({"split": "random"}, "split must be"),
        ({"split": "speaker", "val_by": "sample"}, "neighboring rows of XRMB share frames"),
    ],
)
def test_arguments_are_checked(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        XRMB("nowhere", **given)


def test_speakers_that_are_not_there_are_named(root: Path) -> None:
    for speakers, told in (
        (11, "there are 10 training speakers"),
        ([11, 12], r"names \[12\]; the training speakers are 11, 13"),
    ):
        with pytest.raises(ValueError, match=told):
            XRMB(str(root), speakers=speakers).setup()


def test_the_check_counts_rows_speakers_and_classes(root: Path, tmp_path: Path) -> None:
    report = XRMB.check_release(root)
    assert ("rows of the train part", 400, 1_429_236) in report.counts and ("classes", 40, None) in report.counts
    assert ("speakers of the train part", 10, None) in report.counts and not report.faults and not report.ok
    assert [file for file, *_ in report.digests] == [FIRST, SECOND]
    assert [line.partition(":")[0] for line in XRMB.check_release(tmp_path).missing] == [FIRST, SECOND]
