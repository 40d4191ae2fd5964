from __future__ import annotations

from pathlib import Path

import pytest
from webtrees import write_webfg

from noisylab.data.named import WebFG


@pytest.mark.parametrize("inside", ["", "web-bird"])
def test_the_root_is_the_set_or_the_folder_around_it(tmp_path: Path, inside: str) -> None:
    write_webfg(tmp_path)
    data = WebFG(str(tmp_path / inside), kind="bird", verify=False, resize=18, crop=16)
    assert data.num_classes == 3
    data.setup()
    assert data.given_target.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.source.test_target is not None
    assert data.source.test_target.tolist() == [0, 0, 1, 1, 2, 2]
    assert "images of web-bird/train: 12" in data.source.account


def test_the_number_of_classes_is_that_of_the_set(tmp_path: Path) -> None:
    write_webfg(tmp_path)
    write_webfg(tmp_path, "car")
    with pytest.raises(ValueError, match="classes of web-bird/train: 3, expected 200"):
        WebFG(str(tmp_path), kind="bird").setup()
    text = WebFG.check_release(tmp_path).text()
    assert "classes of web-car/val: 3, expected 196" in text
    assert "images of web-bird/train: 12 (not confirmed)" in text


def test_missing_parts_and_other_test_classes_are_named(tmp_path: Path) -> None:
    assert not WebFG.check_release(tmp_path).ok
    write_webfg(tmp_path)
    (tmp_path / "web-bird/val/001.Kind").rename(tmp_path / "web-bird/val/1.Kind")
    with pytest.raises(ValueError, match=r"train and val have other class folders \(001\.Kind, 1\.Kind in one alone\)"):
        WebFG(str(tmp_path), kind="bird", verify=False).setup()


def test_folders_that_programs_leave_behind_are_no_classes(tmp_path: Path) -> None:
    write_webfg(tmp_path)
    (tmp_path / "web-bird/train/__MACOSX").mkdir()
    data = WebFG(str(tmp_path), kind="bird", verify=False, resize=18, crop=16)
    data.setup()
    assert data.num_classes == 3 and "classes of web-bird/train: 3" in data.source.account


def test_the_check_knows_the_set_in_the_folder_where_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_webfg(tmp_path)
    monkeypatch.chdir(tmp_path / "web-bird")
    assert "images of web-bird/train: 12 (not confirmed)" in WebFG.check_release(Path()).text()
