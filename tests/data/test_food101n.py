from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from webtrees import FOODS, STRAY, write_food101n, write_lines

from noisylab.data.named import Food101N

_NAMES = sorted(FOODS)
# as write_food101n lists them: apple_pie, hot_and_sour_soup, filet_mignon, then the stray filet_mignon
_GIVEN = [0] * 4 + [2] * 4 + [1] * 5


def food(root: Path, **kwargs: Any) -> Food101N:
    return Food101N(str(root), **{"verify": False, "resize": 18, "crop": 16, **kwargs})


def test_classes_are_the_sorted_names_without_the_header(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    data = food(tmp_path)
    assert data.num_classes == 3
    data.setup()
    assert list(data.source.class_names) == _NAMES
    assert data.given_target.tolist() == _GIVEN
    assert data.source.test_target is not None
    assert data.source.test_target.tolist() == [0, 0, 2, 2, 1, 1]
    assert data.source.test_names is not None
    assert data.source.test_names[2] == "images/hot_and_sour_soup/0.jpg"


def test_a_verified_label_is_true_and_one_found_wrong_leaves_the_truth_open(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    data = food(tmp_path)
    data.setup()
    assert data.clean_target.tolist() == [0, -1, 0, -1, 2, -1, 2, -1, 1, -1, 1, -1, -1]
    # what is reported about labels counts the wrong ones as of no class
    assert data.judged_target.tolist() == [0, 3, 0, 3, 2, 3, 2, 3, 1, 3, 1, 3, -1]
    assert any("12 labels are verified, 6 of them wrong (50.0%)" in line for line in data.source.account)


def test_the_image_listed_under_another_class_is_counted_and_not_joined(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    data = food(tmp_path)
    data.setup()
    assert data.clean_target[-1] == -1
    assert data.source.names is not None
    assert data.source.names[-1] == f"images/filet_mignon/{STRAY}"
    miss = f"1 of 7 images of meta/verified_train.tsv are not in meta/imagelist.tsv under that class (hot_and_sour_soup/{STRAY})"
    assert any(miss in line for line in data.source.account)


def test_more_such_images_than_the_release_has_are_a_fault(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    with (tmp_path / "Food-101N_release/meta/verified_val.tsv").open("a") as file:
        file.write("apple_pie/a.jpg\t1\napple_pie/b.jpg\t0\napple_pie/b.jpg\tyes\n")
    faults = Food101N.check_release(tmp_path).faults
    assert any("2 of 8 images of meta/verified_val.tsv are not in meta/imagelist.tsv" in line for line in faults)
    assert any(
        "verified_val.tsv, line 10: 'apple_pie/b.jpg\\tyes' is not class/file, a tab and 0 or 1" in line for line in faults
    )


def test_the_verified_validation_list_can_be_held_out(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    data = food(tmp_path, val="verified")
    data.setup()
    assert data.info.train_rows.tolist() == [0, 1, 2, 3, 4, 5, 6]  # six of the list are gone from training
    (val,) = data.val_dataloader()["val"]
    assert val.target.tolist() == [0, 2, 1]
    assert data.judged_target.tolist() == [0, 3, 2, 3, 1, 3, -1, 0, 2, 1]
    kept = food(tmp_path, val="verified", drop_verified_val=False)
    kept.setup()
    assert len(kept.info.train_rows) == 10  # those found wrong are trained on
    assert not set(data.source.names[:7]) & set(data.source.names[7:])  # type: ignore[index]


def test_both_sets_must_name_the_same_classes(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    write_lines(tmp_path / "food-101/meta/classes.txt", [*FOODS, "waffles"])
    with pytest.raises(ValueError, match=r"has other classes than Food-101N \(waffles\)"):
        food(tmp_path).setup()


def test_bad_lines_and_what_is_missing_are_named(tmp_path: Path) -> None:
    write_food101n(tmp_path)
    own = tmp_path / "Food-101N_release"
    with (own / "meta/imagelist.tsv").open("a") as file:
        file.write("waffles/x.jpg\napple_pie/app0.jpg\n/apple_pie/x.jpg\n")
    (own / "images/apple_pie/app1.jpg").unlink()
    text = Food101N.check_release(tmp_path).text()
    assert "meta/imagelist.tsv, line 15: 'waffles/x.jpg' is of the class 'waffles', which meta/classes.txt lacks" in text
    assert "line 16: 'apple_pie/app0.jpg' is listed twice" in text
    assert "line 17: '/apple_pie/x.jpg' is an absolute path" in text
    assert "images/apple_pie/app1.jpg: line 3" in text
    assert "images in imagelist.tsv: 13, expected 310,009" in text
    with pytest.raises(FileNotFoundError, match="Food-101, whose test images are the test set"):
        food(own, food101=str(tmp_path / "nowhere")).setup()
