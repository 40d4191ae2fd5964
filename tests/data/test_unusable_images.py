"""Images and tables that cannot be used: refused by row, or left out where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from samples import train_batches, write_folders, write_image, write_table

from noisylab.data import ImageFeatures, ImageFolder, NoisyDataModule, frozen
from noisylab.data.examined import unreadable
from noisylab.data.imagelist import class_folders, read_table
from noisylab.data.imageparts import unlisted_images
from noisylab.data.labels import check_label_table
from noisylab.models.backbones import Backbone


class Fake(Backbone):
    """The mean of each channel; counts the images that it sees."""

    num_features = 3  # type: ignore[assignment]
    seen: list[int] = []

    def load(self, image_size: int) -> Any:
        def network(pixels: torch.Tensor) -> torch.Tensor:
            self.seen.append(len(pixels))
            return pixels.float().mean((2, 3))

        network.to = lambda device: network  # type: ignore[attr-defined]
        return network


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"1")
    monkeypatch.setattr(frozen, "find_backbone", lambda name: Fake(name, tmp_path / "weights.pth"))
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Fake, "seen", [])


def in_memory(images: Path, **kwargs: Any) -> NoisyDataModule:
    return ImageFolder(str(images), **kwargs)


def in_files(images: Path, **kwargs: Any) -> NoisyDataModule:
    return ImageFolder(str(images), load="files", size=8, **kwargs)


def as_features(images: Path, **kwargs: Any) -> NoisyDataModule:
    return ImageFeatures(str(images), image_size=32, **kwargs)


KINDS = pytest.mark.parametrize("kind", [in_memory, in_files, as_features])
Kind = Callable[..., NoisyDataModule]


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Ten rows: a gap (row 4), a text (row 6) and two images that end early (rows 8 and 9) among six good images."""
    folder = tmp_path / "images"
    for n in range(10):
        write_image(folder / f"{n}.jpg", (32, 32), seed=n)
    (folder / "2.jpg").unlink()
    (folder / "4.jpg").write_text("no image")
    for n in (6, 7):
        (folder / f"{n}.jpg").write_bytes((folder / f"{n}.jpg").read_bytes()[:-300])
    return write_table(tmp_path / "labels.csv", ("file", "label"), [(f"{n}.jpg", "ab"[n % 2]) for n in range(10)])


@KINDS
def test_unreadable_images_are_left_out_and_named(kind: Kind, table: str, tmp_path: Path) -> None:
    data: Any = kind(tmp_path / "images", labels_csv=table, skip_unreadable=True, batch_size=6)
    with pytest.warns(UserWarning, match="4 images cannot be read and are left out:") as caught:
        data.setup()
    (warning,) = caught
    for line in ("row 4: 2.jpg does not exist", "row 6: 4.jpg is not an image", "row 8: cannot read", "row 9: cannot read"):
        assert line in str(warning.message)
    assert sorted(data.skipped) == ["2.jpg", "4.jpg", "6.jpg", "7.jpg"]
    assert data.source.names == ["0.jpg", "1.jpg", "3.jpg", "5.jpg", "8.jpg", "9.jpg"]
    assert data.image_paths == [str(tmp_path / "images" / name) for name in data.source.names]
    assert data.given_target.tolist() == [0, 1, 1, 1, 0, 1]
    batch = next(train_batches(data))
    assert sorted(batch.index.tolist()) == list(range(6))
    good = write_table(tmp_path / "good.csv", ("file", "label"), [(f"{n}.jpg", "ab"[n % 2]) for n in (0, 1, 3, 5, 8, 9)])
    same: Any = kind(tmp_path / "images", labels_csv=good, batch_size=6)
    assert torch.equal(next(train_batches(same)).views[0], batch.views[0]), "a row keeps its own image"


@KINDS
def test_without_asking_they_are_refused(kind: Kind, table: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 of 10 images of .*cannot be used") as error:
        kind(tmp_path / "images", labels_csv=table).setup()
    assert "row 4: 2.jpg does not exist\n  row 6: 4.jpg is not an image\n" in str(error.value)


@pytest.mark.parametrize("kind", [in_memory, as_features])
def test_images_that_end_early_are_all_listed_at_once(kind: Kind, table: str, tmp_path: Path) -> None:
    for name in ("2.jpg", "4.jpg"):
        write_image(tmp_path / "images" / name, (32, 32))
    with pytest.raises(ValueError, match=r"2 of 10 images of .*cannot be used") as error:
        kind(tmp_path / "images", labels_csv=table).setup()
    for row, name in ((8, "6.jpg"), (9, "7.jpg")):
        assert f"row {row}: cannot read the image {tmp_path / 'images' / name}: image file is truncated" in str(error.value)
    whole: Any = kind(tmp_path / "images", labels_csv=table, allow_truncated=True)
    whole.setup()
    assert len(whole.given_target) == 10


def test_features_of_the_good_images_are_kept_for_the_run_that_leaves_the_others_out(table: str, tmp_path: Path) -> None:
    for name in ("2.jpg", "4.jpg"):
        write_image(tmp_path / "images" / name, (32, 32))
    with pytest.raises(ValueError, match="2 of 10 images"):
        as_features(tmp_path / "images", labels_csv=table).setup()
    assert sum(Fake.seen) == 8
    for _ in range(2):
        data: Any = as_features(tmp_path / "images", labels_csv=table, skip_unreadable=True)
        with pytest.warns(UserWarning, match=r"2 images cannot be read and are left out:\n  row 8: .*\n  row 9: "):
            data.setup()
        assert data.source.train.values.shape == (8, 3)
    assert sum(Fake.seen) == 8


@KINDS
def test_a_class_without_a_readable_image_is_refused(kind: Kind, tmp_path: Path) -> None:
    write_folders(tmp_path / "images", size=(32, 32))
    for n in range(3):
        (tmp_path / "images" / "dog" / f"{n}.png").write_text("text")
    with pytest.warns(UserWarning, match="3 images"), pytest.raises(ValueError, match="no training sample has the class dog"):
        kind(tmp_path / "images", skip_unreadable=True).setup()


@KINDS
def test_nothing_but_unreadable_images_is_refused(kind: Kind, tmp_path: Path) -> None:
    rows = [(f"{n}.png", "ab"[n % 2]) for n in range(12)]
    (tmp_path / "images").mkdir()
    labels = write_table(tmp_path / "l.csv", ("file", "label"), rows)
    with pytest.raises(ValueError, match=r"12 of 12 images .*\n  row 2: 0\.png does not exist[\s\S]*\n  and 2 more"):
        kind(tmp_path / "images", labels_csv=labels, skip_unreadable=True).setup()


@KINDS
def test_where_all_images_are_good_nothing_is_said(kind: Kind, tmp_path: Path) -> None:
    write_folders(tmp_path / "images", size=(32, 32))
    data: Any = kind(tmp_path / "images", skip_unreadable=True)
    data.setup()
    assert (data.skipped, len(data.given_target)) == ([], 6)


def test_unreadable_test_images_are_left_out_too(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "test")
    (tmp_path / "test" / "cat" / "1.png").write_text("text")
    data = ImageFolder(str(tmp_path), skip_unreadable=True)
    with pytest.warns(UserWarning, match="test/cat/1.png is not an image"):
        data.setup()
    assert (len(data.source.test_names or ()), data.source.test_target.tolist()) == (5, [0, 0, 1, 1, 1])  # type: ignore[union-attr]


def test_every_image_is_decoded_to_its_end(table: str, tmp_path: Path) -> None:
    faults = unreadable(read_table(Path(table), tmp_path / "images"), allow_truncated=False)
    assert [place for place, fault in enumerate(faults) if fault] == [2, 4, 6, 7]
    assert "remove it from the data" not in faults[6]
    faults = unreadable(read_table(Path(table), tmp_path / "images"), allow_truncated=True)
    assert [place for place, fault in enumerate(faults) if fault] == [2, 4]


# ---- tables


def test_images_that_a_table_does_not_list_are_found(tmp_path: Path) -> None:
    write_folders(tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    labels = write_table(tmp_path / "l.csv", ("file", "label"), [("cat/0.png", "a"), ("./dog/1.png", "b")])
    found = unlisted_images(read_table(Path(labels), tmp_path / "images"))
    assert found == ["cat/1.png", "cat/2.png", "dog/0.png", "dog/2.png"]
    assert unlisted_images(class_folders(tmp_path / "images")) == []


@KINDS
def test_a_table_may_have_other_names_of_columns(kind: Kind, tmp_path: Path) -> None:
    write_folders(tmp_path / "images", size=(32, 32))
    rows = [("x", "cat/0.png", "1", "tom"), ("y", "dog/0.png", "0", "rex")]
    labels = write_table(tmp_path / "l.csv", ("label", "image", "kind", "pet"), rows)
    data = kind(tmp_path / "images", labels_csv=labels, file_column="image", label_column="pet")
    data.setup()
    assert (data.source.names, data.info.class_names) == (["cat/0.png", "dog/0.png"], ("rex", "tom"))
    assert data.given_target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("header", "given", "message"),
    [
        ("filename,class", {}, r"no column file and no column label; .* say so: file_column=filename and label_column=class\."),
        ("file,Noisy_Label", {}, r"no column label; .* say so: label_column=Noisy_Label\."),
        ("File,labl", {}, r"say so: file_column=File and label_column=labl\."),
        ("u,v", {}, r"it needs file, label and optionally true_label\.$"),
        ("file,kind", {"label_column": "kinds"}, r"no column kinds; .* it needs file, kinds .* label_column=kind\."),
        ("file,label,label", {}, r"has the column label 2 times; rename or remove the others"),
        ("file,label", {"label_column": "file"}, r"file_column and label_column are both 'file'; name two columns"),
    ],
)
def test_columns_that_are_not_there_are_told_from_near_ones(
    tmp_path: Path, header: str, given: dict[str, str], message: str
) -> None:
    (tmp_path / "l.csv").write_text(f"{header}\na.png,x,y\n")
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "l.csv", tmp_path, **given)


# ---- labels


def check(labels: str, known: str | None = None, rows: bool = True) -> None:
    names = [f"{n}.png" for n in range(len(labels))]
    numbers = [n + 2 for n in range(len(labels))] if rows else None
    check_label_table(list(labels), names, "l.csv", numbers, None if known is None else list(known))


def test_labels_among_which_wrong_ones_can_be_found_pass() -> None:
    check("aabb")
    check("aabb", known="ab")


@pytest.mark.parametrize(
    ("labels", "known", "message"),
    [
        ("", None, "l.csv has no row; at least two classes are needed"),
        ("aaa", None, "l.csv has only one class, a; at least two classes are needed. Check that the label column"),
        (
            "abcdefghijklm",
            None,
            r"all 13 labels of l.csv are different.* right one\?\n  row 2: 0.png is a\n(.*\n){9}  and 3 more\nName the col",
        ),
        (
            "aabbcc",
            "ab",
            r"2 of 6 labels .* not among the 2 classes .* \(a, b\):\n  row 6: 4.png is c\n  row 7: 5.png is c",
        ),
        ("aabb", "abcd", r"2 of the classes that have image folders are not labels of l.csv:\n  c\n  d\nAdd"),
        (
            ["a", "a", "", "b", "b"],
            None,
            r"l.csv has 1 labels without text, the first of 2.png; name them, or take the rows for unlabeled ones",
        ),
        ("aabbcdd", None, r"1 of 4 classes of l.csv have a single sample, .*\n  row 6: 4.png is c\nAdd samples"),
    ],
    ids=["empty", "one class", "all unique", "no folder", "no label", "no text", "single"],
)
def test_labels_that_cannot_be_judged_are_refused_by_row(labels: str, known: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(labels, known)


def test_labels_of_folders_are_named_by_file_alone() -> None:
    with pytest.raises(ValueError, match=r"\n  4.png is c\n"):
        check("aabbc", rows=False)


def test_names_that_begin_with_the_folder_are_told_from_missing_files(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"photos/{number}.png,{'ab'[number % 2]}\n" for number in range(3)))
    with pytest.raises(ValueError, match=r"All names begin with photos/: give the folder above, ") as caught:
        ImageFolder(str(folder), labels_csv=str(table)).setup("fit")
    assert f"give the folder above, {tmp_path}, or take" in str(caught.value)
    table.write_text("file,label\nphotos/0.png,a\nphotos/9.png,b\n")
    with pytest.raises(ValueError) as caught:
        ImageFolder(str(folder), labels_csv=str(table)).setup("fit")
    assert "All names begin" not in str(caught.value), "the folder above would not do either"
