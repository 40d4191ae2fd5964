"""Broken image files are found before training, however many processes read them later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import train_batches, write_folders, write_image

from noisylab.data import ImageFolder, WebImages, caches, examined, unlabeled_images
from noisylab.data.examined import common_depth, examine
from noisylab.data.imagelist import Sieve, class_folders
from noisylab.data.notes import DataNote
from noisylab.data.pictures import Depth, UnreadableImage, open_image
from noisylab.data.unlabeled import unlabeled_rows
from noisylab.issues.thumbnails import thumbnails


@pytest.fixture(autouse=True)
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cache of its own, and the names of the files that were decoded."""
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    names: list[str] = []
    look = examined.depth_of

    def counted(path: str, **kwargs: Any) -> Depth | None:
        names.append(Path(path).name)
        return look(path, **kwargs)

    monkeypatch.setattr(examined, "depth_of", counted)
    monkeypatch.setattr(caches, "_MOMENT", 0.0)  # files are taken as they are, though they have just been written
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folders(tmp_path / "images", size=(32, 32))
    write_image(tmp_path / "images" / "dog" / "z.jpg", (40, 32))
    return tmp_path / "images"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def read(folder: Path, **kwargs: Any) -> Any:
    data = ImageFolder(str(folder), load="files", size=16, **kwargs)
    data.setup()
    return data


def test_a_broken_file_is_named_in_setup(folder: Path) -> None:
    cut(folder / "dog" / "z.jpg")
    with pytest.raises(ValueError, match=r"1 of 7 images .*\n  cannot read the image .*z\.jpg: .* truncated.*\n.*--skip_unread"):
        read(folder, num_workers=2)
    with pytest.warns(UserWarning, match="1 images cannot be read and are left out"):
        data = read(folder, skip_unreadable=True)
    first, second = data.source.account[:2]
    assert first == f"{folder}: 7 image files, 6 read, 1 left out: unreadable 1; 2 classes: cat 3, dog 3"
    assert second.startswith(f"left out: cannot read the image {folder}/dog/z.jpg: image file is truncated")


def test_good_files_are_decoded_once_and_again_when_they_change(folder: Path, decoded: list[str]) -> None:
    images = class_folders(folder)
    assert [seen.fault for seen in examine(images, False)] == [""] * 7
    assert len(decoded) == 7
    examine(images, False)
    assert len(decoded) == 7
    os.utime(folder / "cat" / "0.png", (1, 1))
    examine(images, False)
    assert decoded[7:] == ["0.png"]
    examine(images, True)  # a file may be whole under one rule and broken under the other
    assert len(decoded) == 15


def test_a_file_that_changed_a_moment_ago_is_not_remembered(
    folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "_MOMENT", 600.0)  # it could be damaged now within the time to which file systems round
    for times in (1, 2):
        examine(class_folders(folder), False)
        assert len(decoded) == 7 * times


def test_a_broken_file_is_looked_at_again_each_time(folder: Path, decoded: list[str]) -> None:
    cut(folder / "dog" / "z.jpg")
    for times in (1, 2):
        assert "truncated" in examine(class_folders(folder), False)[-1].fault
        assert decoded.count("z.jpg") == times


def test_a_damaged_or_impossible_cache_costs_time_and_nothing_else(
    folder: Path, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(class_folders(folder), False)
    (cache,) = (tmp_path / "cache" / "images").iterdir()
    cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    assert [seen.fault for seen in examine(class_folders(folder), False)] == [""] * 7
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "file"))
    assert [seen.fault for seen in examine(class_folders(folder), False)] == [""] * 7
    assert len(decoded) == 21


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_file_that_breaks_during_training_is_named_in_one_line(folder: Path, num_workers: int) -> None:
    data = read(folder, num_workers=num_workers)
    cut(folder / "dog" / "z.jpg")
    with pytest.raises(UnreadableImage) as error:
        list(train_batches(data))
    assert str(error.value).startswith(f"cannot read the image {folder}/dog/z.jpg: image file is truncated")
    assert "skip_unreadable" in str(error.value)
    assert "\n" not in str(error.value)


def test_images_to_predict_are_decoded_before_any_is_predicted(folder: Path, tmp_path: Path) -> None:
    data = read(folder)
    write_image(tmp_path / "new" / "a.jpg", (40, 32))
    cut(tmp_path / "new" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: image file is truncated"):
        unlabeled_images(tmp_path / "new", data)


def test_images_from_the_web_are_decoded_too(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_folders(tmp_path / part, size=(32, 32))
    write_image(tmp_path / "train" / "cat" / "z.png", (40, 32))
    cut(tmp_path / "train" / "cat" / "z.png")
    with pytest.raises(ValueError, match=r"z\.png"):
        WebImages(str(tmp_path), resize=16, crop=16).setup()


def test_large_images_are_decoded_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examined, "_LARGE", 1200)  # z.jpg has 1,280 pixels, the others 1,024
    cut(folder / "dog" / "z.jpg")
    cut(folder / "cat" / "1.png")
    images = class_folders(folder)
    _, heads = Sieve().heads(images)
    assert [bool(seen.fault) for seen in examine(images, False, heads)] == [False, True, False, False, False, False, True]


# ---- more than 8 bits


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Gray images of 16 bits, of which one class takes 9 and the other 12."""
    for name, top in (("dark", 400), ("light", 4000)):
        (tmp_path / "deep" / name).mkdir(parents=True)
        for n in range(3):
            Image.fromarray(np.full((8, 8), top - n, dtype=np.uint16)).save(tmp_path / "deep" / name / f"{n}.png")
    return tmp_path / "deep"


def test_all_images_of_a_data_set_are_scaled_alike(deep: Path, decoded: list[str]) -> None:
    seen = examine(class_folders(deep), False)
    assert common_depth(seen) == Depth(whole=12)
    assert examine(class_folders(deep), False) == seen, "remembered, too"
    assert len(decoded) == 6
    memory, files = ImageFolder(str(deep)), ImageFolder(str(deep), load="files")
    for data in (memory, files):
        data.setup()
        assert data.depth == Depth(whole=12)
        assert data.source.account[1].endswith("with more than 8 bits: scaled alike, by the 12 bits of the largest value")
    pixels: Any = memory.source.train
    assert pixels.values[:, 0, 0, 0].tolist() == [25, 24, 24, 250, 249, 249], "the dark ones stay darker"
    rows: Any = files.source.train
    for place, path in enumerate(files.image_paths):
        same = np.asarray(open_image(path, "L", depth=rows.depth))
        assert np.array_equal(same, pixels.values[place, 0].numpy()), "from memory and from files"
    few = thumbnails(files, [0])
    assert few is not None
    (Path(deep).parent / "thumb.png").write_bytes(few[0])
    assert open_image(str(Path(deep).parent / "thumb.png")).getpixel((0, 0)) == (25, 25, 25)


def test_images_to_predict_are_scaled_as_those_of_training(deep: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((8, 8), 400, dtype=np.uint16)).save(tmp_path / "new" / "a.png")
    data = ImageFolder(str(deep))
    data.setup()
    rows, _ = unlabeled_images(tmp_path / "new", data)
    assert rows.values.unique().tolist() == [25]  # type: ignore[union-attr]


@pytest.mark.parametrize("kwargs", [{}, {"load": "files", "size": 8}])
def test_pictures_brighter_than_those_of_training_are_said_once(deep: Path, tmp_path: Path, kwargs: Any) -> None:
    for name, level in {"a": 2**12, "b": 2**16 - 1, "c": 2**12 - 1}.items():
        for folder in ("new", "test/dark"):
            (tmp_path / folder).mkdir(exist_ok=True, parents=True)
            Image.fromarray(np.full((8, 8), level, dtype=np.uint16)).save(tmp_path / folder / f"{name}.png")
    data = ImageFolder(str(deep), test_images=str(tmp_path / "test"), **kwargs)
    said = r"^2 images of .*test have values beyond the 12 bits that the training images use, shown white: scale"
    with pytest.warns(DataNote, match=said) as caught:
        data.setup()
    assert len(caught) == 1 and str(caught[0].message) in data.source.account
    with pytest.warns(DataNote, match="^2 images of .*new have values beyond the 12 bits") as caught:
        found = unlabeled_rows(tmp_path / "new", data)
    assert len(caught) == 1 and str(caught[0].message) in found.account
    # the model's data have become brighter
    Image.fromarray(np.full((8, 8), 2**14, dtype=np.uint16)).save(next((deep / "dark").iterdir()))
    model = ImageFolder(str(deep), **kwargs)
    model.adopt(data.fitted())
    with pytest.warns(DataNote, match="^1 image of .*deep has values beyond the 12 bits"):
        model.setup()
    assert not any("scaled alike" in line for line in model.source.account)


def test_deep_pictures_for_a_model_of_eight_bits_and_fractions_for_one_of_numbers_are_said(tmp_path: Path) -> None:
    write_folders(tmp_path / "plain", size=(8, 8))
    for name in ("cat", "dog"):
        (tmp_path / "numbers" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 300.5, dtype=np.float32)).save(tmp_path / "numbers" / name / "0.tif")
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((8, 8), 300, dtype=np.uint16)).save(tmp_path / "new" / "deep.png")
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint16)).save(tmp_path / "new" / "not_so_deep.png")
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(tmp_path / "new" / "fraction.tif")
    for folder, said in {
        "plain": ["1 image of NEW has more than 8 bits, unlike the training images: each is scaled by its own largest value"],
        "numbers": [
            "1 image of NEW has values beyond the 9 bits",
            "1 image of NEW has fractions of 1, shown black",
        ],
    }.items():
        data = ImageFolder(str(tmp_path / folder))
        data.setup()
        with pytest.warns(DataNote) as caught:
            unlabeled_rows(tmp_path / "new", data)
        told = [str(one.message).replace(str(tmp_path / "new"), "NEW") for one in caught]
        assert [line[: len(start)] for line, start in zip(told, said, strict=True)] == said


@pytest.mark.parametrize("kwargs", [{}, {"load": "files", "size": 8}])
def test_pictures_to_predict_that_cannot_be_read_are_left_out_where_that_is_asked(tmp_path: Path, kwargs: Any) -> None:
    write_folders(tmp_path / "train", size=(8, 8))
    for n in range(4):
        write_image(tmp_path / "new" / f"{n}.jpg", (64, 64), seed=n)
    (tmp_path / "new" / "1.jpg").write_bytes((tmp_path / "new" / "1.jpg").read_bytes()[:-300])
    (tmp_path / "new" / "2.jpg").write_text("no picture")
    data = ImageFolder(str(tmp_path / "train"), **kwargs)
    data.setup()
    with pytest.raises(ValueError, match=r"predict: --skip_unreadable"):
        unlabeled_rows(tmp_path / "new", data)
    found = unlabeled_rows(tmp_path / "new", data, skip=True)
    assert (len(found.rows), found.names, sorted(found.skipped)) == (2, ["0.jpg", "3.jpg"], ["1.jpg", "2.jpg"])
    assert found.account[0].endswith("4 image files, 2 read, 2 left out: unreadable 2")
    assert any("2.jpg is not an image" in line for line in found.account)


def test_a_turned_picture_is_the_same_from_memory_and_from_files(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(12, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.arange(96, dtype=np.uint8).reshape(12, 8)  # stored with 8 columns, shown with 12
    Image.fromarray(wide).convert("RGB").save(tmp_path / "cat" / "0.png", exif=exif)
    data = ImageFolder(str(tmp_path))
    data.setup()
    store: Any = data.source.train
    assert store.values.shape[2:] == (8, 12)
    assert np.array_equal(store.values[0, 0].numpy(), np.rot90(wide, -1))
