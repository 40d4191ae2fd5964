from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from samples import train_batches, write_image
from webtrees import write_clothing1m, write_lines

from noisylab.data.named import Clothing1M
from noisylab.data.rows import FileRows


def clothing(root: Path, **kwargs: Any) -> Clothing1M:
    return Clothing1M(str(root), verify=False, resize=18, crop=16, **kwargs)


@pytest.mark.parametrize(("lists", "inside"), [("", "images/"), ("annotations", "")])
def test_lists_and_pictures_are_found_in_either_place(tmp_path: Path, lists: str, inside: str) -> None:
    named = write_clothing1m(tmp_path, lists=lists, inside=inside)
    data = clothing(tmp_path, batch_size=7)
    data.setup()
    assert isinstance(data.source.train, FileRows)
    assert data.source.names is not None
    assert list(data.source.names[:56]) == [
        name.removeprefix("images/") if not inside else name for name, _ in named["noisy_train"]
    ]
    assert data.given_target[:56].tolist() == [k for _, k in named["noisy_train"]]
    assert data.info.class_names[:2] == ("garment0", "garment1")
    assert next(train_batches(data)).views[0].shape == (7, 3, 16, 16)


def test_labels_are_joined_by_name_and_the_truth_is_known_where_both_are(tmp_path: Path) -> None:
    named = write_clothing1m(tmp_path)
    data = clothing(tmp_path)
    data.setup()
    # every fourth noisy image has a checked label, right for the even ones of these
    expected = [-1] * 56
    for place, row in enumerate(range(0, 56, 4)):
        k = named["noisy_train"][row][1]
        expected[row] = k if place % 2 == 0 else (k + 3) % 14
    assert data.clean_target[:56].tolist() == expected
    assert any("14 of 56 training images have a checked label" in line for line in data.source.account)


def test_the_order_of_the_label_files_does_not_matter(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    before = clothing(tmp_path)
    before.setup()
    for name in ("noisy_label_kv.txt", "clean_label_kv.txt"):
        lines = (tmp_path / name).read_text().splitlines()
        write_lines(tmp_path / name, lines[::-1])
    after = clothing(tmp_path)
    after.setup()
    assert torch.equal(after.given_target, before.given_target)
    assert torch.equal(after.clean_target, before.clean_target)


def test_the_clean_validation_list_is_held_out(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    data = clothing(tmp_path)
    assert data.num_classes == 14
    assert "by given labels of the clean validation list" in data.protocol
    data.setup()
    assert data.info.train_rows.tolist() == list(range(56))
    assert data.info.given_target[56:].tolist() == [-1] * 14
    (val,) = data.val_dataloader()["val"]
    assert (val.target.tolist(), val.index.tolist()) == (list(range(14)), list(range(56, 70)))
    (test,) = data.test_dataloader()["test"]
    assert test.target.tolist() == list(range(14))
    assert data.source.test_names is not None
    assert data.source.test_names[3] == "images/1/03/clean_test3.jpg"
    assert len(clothing(tmp_path, val="none").held_out) == 0


def test_the_clean_list_is_trained_on_without_the_name_that_has_no_label(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    data = clothing(tmp_path, train="clean", val="none")
    data.setup()
    assert data.given_target.tolist() == data.clean_target.tolist() == list(range(14))
    assert any("1 names of clean_train_key_list.txt have no label" in line for line in data.source.account)


def test_images_with_both_labels_give_the_whole_truth(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    data = clothing(tmp_path, train="overlap", val="none")
    with pytest.raises(ValueError, match="no training sample has the class"):
        data.setup()  # seven of 14 classes: the files were read, and their labels are these
    source = data.load()
    assert source.clean is not None
    assert source.clean.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert source.given.tolist() == [1, 3, 5, 7, 9, 11, 13]


def test_faults_in_lists_are_named(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    with (tmp_path / "noisy_label_kv.txt").open("a") as file:
        file.write("images/0/00/x.jpg 14\nimages/0/00/shirt 0_0.jpg 5\n")
    (tmp_path / "images/0/03/shirt 1_3.jpg").unlink()
    report = Clothing1M.check_release(tmp_path)
    text = report.text()
    assert "noisy_label_kv.txt, line 64: 'images/0/00/x.jpg 14' has the class 14, outside 0..13" in text
    assert "noisy_label_kv.txt, line 65: images/0/00/shirt 0_0.jpg has the class 5 here and 0 before" in text
    assert "images/0/03/shirt 1_3.jpg: line 18" in text
    assert "names in noisy_train_key_list.txt: 56, expected 1,000,000" in text
    with pytest.raises(FileNotFoundError, match=r"1 of 56 noisy train images"):
        clothing(tmp_path).setup()


def test_missing_lists_are_all_named(tmp_path: Path) -> None:
    report = Clothing1M.check_release(tmp_path)
    assert [line.split(":")[0] for line in report.missing] == [
        *("noisy_label_kv.txt", "clean_label_kv.txt", "noisy_train_key_list.txt"),
        *("clean_train_key_list.txt", "clean_val_key_list.txt", "clean_test_key_list.txt"),
    ]


def test_other_lists_and_missing_pictures_change_what_a_checkpoint_records(tmp_path: Path) -> None:
    named = write_clothing1m(tmp_path)

    def record(**kwargs: Any) -> dict[str, Any]:
        data = clothing(tmp_path, **kwargs)
        data.setup()
        return data.fitted()

    whole = record()
    assert len(whole["measured"]["lists"]) == 7
    (tmp_path / named["noisy_train"][5][0]).unlink()
    less = record(allow_missing=True)
    assert less["train"]["rows"] == whole["train"]["rows"] - 1
    assert less["train"]["inputs"] != whole["train"]["inputs"]
    assert less["test"] == whole["test"]
    assert less["measured"] == whole["measured"]  # the lists are the same


def test_an_unreadable_picture_is_named_when_it_is_met(tmp_path: Path) -> None:
    named = write_clothing1m(tmp_path)
    bad = tmp_path / named["noisy_train"][30][0]
    bad.write_bytes(b"<html>not found</html>")
    data = clothing(tmp_path, batch_size=4)
    with pytest.raises(ValueError, match=r"cannot read the image .*shirt 2_2\.jpg: it is a web page"):
        list(train_batches(data))
    with pytest.raises(ValueError, match=r"row 31: .*shirt 2_2\.jpg it is a web page|row 31: .*shirt 2_2"):
        clothing(tmp_path, check="decoded").setup()


def test_only_a_release_with_its_numbers_is_read_unless_told_otherwise(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    with pytest.raises(ValueError, match=r"names in clean_val_key_list\.txt: 14, expected 14,313"):
        Clothing1M(str(tmp_path)).setup()
    write_lines(tmp_path / "category_names_eng.txt", ["only one"])
    with pytest.raises(ValueError, match=r"category_names_eng\.txt has 1 names"):
        clothing(tmp_path).setup()


def test_epoch_rows_are_balanced_new_each_epoch_and_the_same_on_every_rank(tmp_path: Path) -> None:
    # 14 classes with four images each, and one class with one more
    write_clothing1m(tmp_path)
    write_image(tmp_path / "images/0/00/more.jpg", (20, 18))
    for name, line in (("noisy_label_kv.txt", "images/0/00/more.jpg 0"), ("noisy_train_key_list.txt", "images/0/00/more.jpg")):
        with (tmp_path / name).open("a") as file:
            file.write(f"{line}\n")
    from noisylab.data.balanced import with_epoch_rows
    from noisylab.types import EpochPlan

    data = clothing(tmp_path)
    data.setup()

    def drawn(epoch: int, size: int = 28) -> list[int]:
        plan = with_epoch_rows(EpochPlan(), size, data.split, 14, data.seed, epoch)
        rows = plan.phases[0].streams["train"].rows
        assert rows is not None
        return rows.tolist()

    first, second = drawn(0), drawn(1)
    for rows in (first, second):
        assert torch.bincount(data.given_target[torch.tensor(rows)], minlength=14).tolist() == [2] * 14
        assert set(rows) <= set(data.info.train_rows.tolist())
    assert first != second
    assert drawn(1) == second
    with pytest.raises(ValueError, match="epoch_rows=13 leaves some of 14 classes out"):
        drawn(0, 13)


def test_an_image_of_two_lists_is_told(tmp_path: Path) -> None:
    named = write_clothing1m(tmp_path)
    clean = clothing(tmp_path)
    clean.setup()
    assert not any("are also" in line for line in clean.source.account)
    twice = named["noisy_train"][0][0]  # has a checked label, too
    with (tmp_path / "clean_test_key_list.txt").open("a") as file:
        file.write(f"{twice}\n")
    data = clothing(tmp_path)
    data.setup()
    assert f"1 training images are also test images, such as {twice}" in data.source.account
