"""What is a picture, a class, a part of the data, and what is said about the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, features
from samples import write_folders, write_image

from noisylab.data import ImageFolder
from noisylab.data.base import Source
from noisylab.data.folders import images_below, layout_of, list_images
from noisylab.data.imagelist import account_of, class_folders
from noisylab.data.imageparts import image_lists
from noisylab.data.pictures import suffixes
from noisylab.data.rows import DenseRows


def account(images: Path, test: Path | None = None) -> list[str]:
    train, tested = image_lists(str(images), None, None if test is None else str(test), None, None, None)
    return [line for part in (train, tested) if part is not None for line in account_of(part)]


def classes(images: Path) -> list[str]:
    return sorted(set(image_lists(str(images), None, None, None, None, None)[0].labels))


# ---- pictures


def test_every_ending_that_pillow_reads_here_is_a_picture(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for name, kind in (
        ("a.jfif", "JPEG"),
        ("b.JPE", "JPEG"),
        ("c.dib", "DIB"),
        ("d.tga", "TGA"),
        ("e.apng", "PNG"),
        ("f.Tif", "TIFF"),
    ):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "cat" / name, format=kind)
    assert ".jp2" not in suffixes() or features.check("jpg_2000")
    names = [path.name for path in images_below(tmp_path / "cat")]
    assert names == sorted(["0.png", "1.png", "2.png", "a.jfif", "b.JPE", "c.dib", "d.tga", "e.apng", "f.Tif"])
    data = ImageFolder(str(tmp_path))
    data.setup()
    assert data.source.train.values.shape[0] == 12  # type: ignore[union-attr]


def test_a_file_without_a_known_ending_is_told_by_its_content(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write_image(tmp_path / "cat" / "x.jpg")
    (tmp_path / "cat" / "x.jpg").rename(tmp_path / "cat" / "photo.jpg?w=640")
    write_image(tmp_path / "cat" / "y.png")
    (tmp_path / "cat" / "y.png").rename(tmp_path / "cat" / "IMG_0001")
    (tmp_path / "cat" / "README").write_text("text")
    assert {path.name for path in images_below(tmp_path / "cat")} == {"0.png", "1.png", "2.png", "photo.jpg?w=640", "IMG_0001"}
    assert account(tmp_path) == [f"{tmp_path}: 8 image files, 8 read; 2 classes: cat 5, dog 3; 1 file is no image: no ending 1"]


def test_what_is_left_out_is_counted_by_its_ending(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for name in ("a.heic", "b.HEIC", "c.cr2", "notes.txt", ".DS_Store", "Thumbs.db"):
        (tmp_path / "dog" / name).write_bytes(b"x")
    assert account(tmp_path) == [
        f"{tmp_path}: 9 image files, 6 read, 3 left out: .heic 2, .cr2 1; 2 classes: cat 3, dog 3; 1 file is no image: .txt 1"
    ]


def test_images_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write_image(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"x")
    assert account(tmp_path)[1:] == [f"left out of {tmp_path}: 2 images beside the class folders"]


def test_a_class_of_nothing_but_unreadable_endings_says_which(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"emu holds no image that can be read, but \.heic 1; save them as JPEG or PNG"):
        class_folders(tmp_path)


def test_many_classes_are_counted_together(tmp_path: Path) -> None:
    write_folders(tmp_path, tuple(f"c{n:02}" for n in range(11)), each=2)
    write_image(tmp_path / "c00" / "x.png")
    assert account(tmp_path) == [f"{tmp_path}: 23 image files, 23 read; 11 classes: 2 to 3 images each"]


def test_a_name_with_hidden_characters_is_written_out(tmp_path: Path) -> None:
    write_folders(tmp_path, ("cat", "dog\u200b"))
    assert r"'dog\u200b' 3" in account(tmp_path)[0]


def test_classes_that_are_probably_one_are_in_the_account_of_any_data() -> None:
    rows = DenseRows(torch.zeros(3, 1))
    source = Source(rows, torch.arange(3), ("Cafe\u0301", "Caf\u00e9", "hat"), account=["read"])
    assert source.account == ["read", r"probably one class, kept apart: 'Cafe\u0301' and 'Caf\xe9'"]
    assert replace(source, test=rows).account == source.account, "said once"


# ---- links, junk and runs


def test_links_to_folders_and_files_are_followed_once(tmp_path: Path) -> None:
    write_folders(tmp_path / "store", ("a", "b"))
    write_folders(tmp_path / "images", ("dog",))
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "images" / "dog" / "more").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "images" / "dog" / "again").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "images" / "dog" / "z.png").symlink_to(tmp_path / "store" / "a" / "0.png")
    (tmp_path / "images" / "dog" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = class_folders(tmp_path / "images")
    assert [name for name in found.names if name.startswith("cat")] == ["cat/0.png", "cat/1.png", "cat/2.png"]
    assert [name for name in found.names if name.startswith("dog")] == [
        *("dog/0.png", "dog/1.png", "dog/2.png", "dog/again/0.png", "dog/again/1.png", "dog/again/2.png", "dog/z.png")
    ]
    assert "broken links 1" in account_of(found)[0]


def test_a_link_that_leads_to_itself_is_a_broken_one(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "dog" / "loop").symlink_to("loop")
    assert "1 file is no image: broken links 1" in account_of(class_folders(tmp_path))[0]


@pytest.mark.parametrize(("names", "none"), [(("None", "dog", "cat"), "None"), (("-1", "0", "1"), "-1")])
def test_folders_that_may_hold_images_without_label_are_said_and_what_is_said_of_them_counts(
    tmp_path: Path, names: tuple[str, ...], none: str
) -> None:
    write_folders(tmp_path, names)
    assert f"'{none}' is taken for a class; if it stands for no label, say so: --data.missing" in account(tmp_path)[1]
    train, _ = image_lists(str(tmp_path), None, None, None, None, None, [none])
    assert sorted(set(train.classes)) == sorted(set(names) - {none})
    assert account_of(train)[1] == f"{tmp_path / none}: 3 images without a label"
    assert (train.names[-1].partition("/")[0], train.labels[-4:]) == (none, [max(set(names) - {none}), "", "", ""])


def test_a_folder_that_is_a_link_to_another_class_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "kitty").symlink_to(tmp_path / "cat")
    with pytest.raises(ValueError, match=r"cat and .*kitty are one folder, by a link; remove the link"):
        class_folders(tmp_path)


def test_what_programs_leave_behind_is_no_class(tmp_path: Path) -> None:
    write_folders(tmp_path, ("cat", "dog", "__MACOSX", "@eaDir", "lost+found", ".ipynb_checkpoints"))
    write_folders(tmp_path / "dog", ("@eaDir",))
    found = class_folders(tmp_path)
    assert sorted(set(found.labels)) == ["cat", "dog"]
    assert len(found) == 6
    assert account_of(found)[1:] == [
        f"left out of {tmp_path}: @eaDir (left by a program), __MACOSX (left by a program), lost+found (left by a program), "
        "@eaDir (left by a program)"
    ]


@pytest.mark.parametrize("place", ["runs/act/20260101-120000", "run"])
@pytest.mark.parametrize("marks", [("config.yaml", "metrics.csv"), (".noisylab",)])
def test_runs_in_the_folder_of_the_images_are_no_class(tmp_path: Path, place: str, marks: tuple[str, ...]) -> None:
    write_folders(tmp_path)
    write_image(tmp_path / place / "mixture.png")
    for mark in marks:
        (tmp_path / place / mark).write_text("x")
    found = class_folders(tmp_path)
    assert sorted(set(found.labels)) == ["cat", "dog"]
    assert "noisylab" in account_of(found)[1]
    assert len(images_below(tmp_path)) == 6


def test_an_empty_class_folder_is_refused_as_ever(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(ValueError, match="emu holds no image; add some or remove the folder"):
        class_folders(tmp_path)


# ---- parts of the data


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("TRAIN", "hold_out"), ("trn", "tst"), ("train2017", "val2017"), ("train_set", "dev")],
)
def test_parts_are_known_in_any_spelling(tmp_path: Path, train: str, test: str) -> None:
    write_folders(tmp_path / train)
    write_folders(tmp_path / test, each=1)
    write_folders(tmp_path / "__MACOSX" / train)
    (tmp_path / "annotations").mkdir()
    data = ImageFolder(str(tmp_path))
    data.setup()
    assert data.info.class_names == ("cat", "dog")
    assert (data.info.num_train, len(data.source.test_names or ())) == (6, 2)
    assert any("annotations" in line for line in data.source.account)


@pytest.mark.parametrize(("train", "test"), [("signs_train", "signs_test"), ("seg train", "seg dev")])
def test_parts_may_have_a_word_in_common(tmp_path: Path, train: str, test: str) -> None:
    write_folders(tmp_path / train)
    write_folders(tmp_path / test, each=1)
    lines = account(tmp_path)
    assert lines[0].startswith(f"{tmp_path}/{train}: 6 image files") and lines[1].startswith(f"{tmp_path}/{test}: 2 image files")
    write_image(tmp_path / "signs" / "0.png")
    with pytest.raises(ValueError, match="are parts of the data with class folders inside, beside signs"):
        account(tmp_path)


def test_classes_with_the_same_folders_inside_are_said(tmp_path: Path) -> None:
    """Folds, cameras, labeled and unlabeled: any words that are no known parts."""
    for name in ("prueba", "entrenamiento"):
        write_folders(tmp_path / name)
    assert classes(tmp_path) == ["entrenamiento", "prueba"]
    assert account(tmp_path)[1] == (
        f"entrenamiento and prueba in {tmp_path}: taken as classes, though each of them holds folders cat and dog; if these are "
        f"the classes, give one of the outer folders, {tmp_path}/entrenamiento for example"
    )
    write_folders(tmp_path / "deep" / "a", ("emu", "owl"))
    assert len(account(tmp_path)) == 1


def test_parts_within_each_class_are_said(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_folders(tmp_path / name, ("train", "test"))
    assert classes(tmp_path) == ["cat", "dog"]
    assert "each of them holds folders test and train, which by name are parts of the data: all of their" in account(tmp_path)[1]


def test_with_three_parts_validation_is_not_read_and_that_is_said(tmp_path: Path) -> None:
    for name, each in (("train", 3), ("valid", 2), ("test", 1)):
        write_folders(tmp_path / name, each=each)
    lines = account(tmp_path)
    assert lines[0] == f"{tmp_path}/train: 6 image files, 6 read; 2 classes: cat 3, dog 3"
    assert lines[1] == (
        f"{tmp_path}/valid (4 images) is not read: validation rows are held out of the training images (val_fraction)"
    )
    assert lines[2] == f"{tmp_path}/test: 2 image files, 2 read; 2 classes: cat 1, dog 1"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ("train/cat", "train/dog", "emu"),
            r"holds train, which by name .* is a part .* beside emu; keep the parts alone",
        ),
        (("cat", "dog", "test/cat", "valid/cat"), r"holds test and valid, .* are parts .* beside cat and dog"),
        (("train/cat", "training/cat"), r"holds train and training, which by name are the same part"),
        (("test/cat", "test/dog", "valid/cat"), r"holds test and valid, but no folder train"),
    ],
)
def test_a_folder_that_is_half_parts_and_half_classes_is_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for folder in folders:
        write_image(tmp_path / folder / "0.png")
    with pytest.raises(ValueError, match=message):
        layout_of(tmp_path)


def test_classes_may_be_called_like_parts_where_images_lie_in_them(tmp_path: Path) -> None:
    write_folders(tmp_path, ("train", "ship", "test"))
    assert classes(tmp_path) == ["ship", "test", "train"]
    assert account(tmp_path)[1] == f"test and train in {tmp_path}: taken as a class, though called like a part of a data set"


def test_a_test_part_without_labels_is_left_out(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_image(tmp_path / "test" / "1.png")
    assert account(tmp_path)[1] == f"{tmp_path}/test has no class folders: its 1 images have no labels and are not read"


def test_parts_are_seen_where_test_images_are_given_too(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_folders(tmp_path / "a" / name)
    write_folders(tmp_path / "b", each=1)
    lines = account(tmp_path / "a", tmp_path / "b")
    assert lines[1] == f"{tmp_path}/a/test is not read: test images are given"
    assert lines[2].startswith(f"{tmp_path}/b: 2 image files")


def test_classes_of_both_parts_are_compared_by_name(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", ("cat", "dog", "emu"))
    write_folders(tmp_path / "test", ("cat", "dog"))
    assert account(tmp_path)[-1] == f"{tmp_path}/test has no image of emu"
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "Dog")
    with pytest.raises(ValueError, match=r"test has 1 class that .*train lacks: Dog\. Dog is probably dog\. There are cat"):
        account(tmp_path)


def test_one_folder_around_all_others_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path / "dataset")
    with pytest.raises(ValueError, match=r"one class folder, dataset; .* give .*/dataset if its 2 folders are the classes"):
        class_folders(tmp_path)


def test_predict_lists_by_the_same_rules(tmp_path: Path) -> None:
    write_folders(tmp_path, ("a", "__MACOSX"))
    (tmp_path / "a" / "b.heic").write_bytes(b"x")
    listing = list_images(tmp_path)
    assert (len(listing.images), dict(listing.left), listing.skipped) == (3, {".heic": 1}, ["__MACOSX (left by a program)"])
