from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import train_batches, write_cifar, write_folders, write_image, write_table

from noisylab.data import CIFAR10, Arrays, Digits, ImageFolder, unlabeled_images
from noisylab.data.rows import DenseRows, FileRows
from noisylab.noise import Symmetric
from noisylab.transforms import IMAGENET_MEAN, Normalize
from noisylab.transforms.pil import PILEval, PILTrain

HEADER = ("file", "label", "true_label")


def read(images: Path, **kwargs: Any) -> Any:
    data = ImageFolder(str(images), **kwargs)
    data.setup()
    return data


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Six images a0 ... a5 in one folder."""
    for n in range(6):
        write_image(tmp_path / "images" / f"a{n}.png", seed=n)
    return tmp_path / "images"


def table(folder: Path, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = HEADER) -> str:
    return write_table(folder.parent / "labels.csv", header[: len(rows[0])] if header is HEADER else header, rows)


# ---- where images and labels come from


def test_class_folders_give_sorted_names_and_labels(tmp_path: Path) -> None:
    write_folders(tmp_path, ("dog", "cat"))
    write_image(tmp_path / "cat" / "more" / "x.JPG")
    write_image(tmp_path / "cat" / ".hidden" / "x.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = read(tmp_path)
    assert data.info.class_names == ("cat", "dog")
    assert data.source.names == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/more/x.JPG", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert data.given_target.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert data.clean_target.tolist() == [-1] * 7
    assert data.source.test is None


@pytest.mark.parametrize("test", ["test", "val"])
def test_folders_for_training_and_test_are_found(tmp_path: Path, test: str) -> None:
    write_folders(tmp_path / "train", ("cat", "dog"))
    write_folders(tmp_path / test, ("dog", "cat"), each=1)
    data = read(tmp_path)
    assert (data.info.num_train, data.source.test_target.tolist()) == (6, [0, 1])
    assert data.source.names[0] == "train/cat/0.png"
    assert data.source.test_names == [f"{test}/cat/0.png", f"{test}/dog/0.png"]


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    write_folders(tmp_path, ("train", "test", "ship"))
    assert read(tmp_path).info.class_names == ("ship", "test", "train")


def test_test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    write_folders(tmp_path / "a")
    write_folders(tmp_path / "b", each=1)
    data = read(tmp_path / "a", test_images=str(tmp_path / "b"))
    assert data.source.test_names == ["cat/0.png", "dog/0.png"]


def test_a_table_gives_files_labels_and_true_labels(flat: Path) -> None:
    rows = [("a3.png", "yes", "yes"), ("./a0.png", "no", "yes"), ("a1.png", "yes", ""), ("", "", "")]
    data = read(flat, labels_csv=table(flat, rows), test_csv=write_table(flat.parent / "t.csv", HEADER[:2], [("a5.png", "no")]))
    assert data.source.names == ["a3.png", "a0.png", "a1.png"]
    assert data.given_target.tolist() == [1, 0, 1]
    assert data.clean_target.tolist() == [1, 1, -1]
    assert (data.source.test_names, data.source.test_target.tolist()) == (["a5.png"], [0])
    with Image.open(flat / "a0.png") as image:
        assert np.array_equal(data.source.train.values[1].permute(1, 2, 0).numpy(), np.asarray(image))


def test_a_table_may_have_a_byte_order_mark_and_other_columns(flat: Path) -> None:
    (flat.parent / "l.csv").write_text("\ufeffid,file , label\n1,a0.png,x\n2,a1.png,y\n", encoding="utf-8")
    assert read(flat, labels_csv=str(flat.parent / "l.csv")).given_target.tolist() == [0, 1]


def test_the_number_of_classes_needs_no_image(flat: Path) -> None:
    labels = table(flat, [("gone.png", "b"), ("gone2.png", "a"), ("gone3.png", "c")])
    assert ImageFolder(str(flat), labels_csv=labels).num_classes == 3


# ---- in memory or from files


def test_small_images_are_held_in_memory_with_their_own_statistics(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(8, 6))
    data = read(tmp_path)
    images = data.source.train.values
    assert (images.shape, images.dtype) == ((6, 3, 6, 8), torch.uint8)
    assert data.view_set()["eval"].mean == pytest.approx((images / 255.0).mean((0, 2, 3)).tolist(), abs=1e-6)
    assert next(train_batches(data, ("weak", "strong"))).views[1].shape == (6, 3, 6, 8)


def test_gray_images_keep_one_channel(tmp_path: Path) -> None:
    write_folders(tmp_path, mode="L")
    assert read(tmp_path).source.train.values.shape == (6, 1, 8, 8)
    write_image(tmp_path / "cat" / "color.png")
    assert read(tmp_path).source.train.values.shape == (7, 3, 8, 8)


def test_large_or_unequal_images_stay_in_files(tmp_path: Path) -> None:
    write_folders(tmp_path / "large", size=(80, 70))
    data = read(tmp_path / "large", size=16, resize=20, load="files", batch_size=4)
    assert isinstance(data.source.train, FileRows)
    assert next(train_batches(data)).views[0].shape == (4, 3, 16, 16)
    write_folders(tmp_path / "unequal")
    write_image(tmp_path / "unequal" / "cat" / "x.png", (9, 8))
    views = read(tmp_path / "unequal").view_set()
    assert views["eval"] == PILEval(256, 224, IMAGENET_MEAN, views["eval"].std)


def test_size_brings_images_into_memory(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(80, 70))
    assert isinstance(read(tmp_path).source.train, FileRows)
    data = read(tmp_path, size=12)
    assert data.source.train.values.shape == (6, 3, 12, 12)
    assert read(tmp_path, load="memory").source.train.values.shape == (6, 3, 70, 80)


def test_flip_reaches_both_kinds_of_views(tmp_path: Path) -> None:
    write_folders(tmp_path)
    weak = read(tmp_path, load="files", flip=0.0).view_set()["weak"]
    assert isinstance(weak, PILTrain)
    assert weak.flip == 0
    assert "RandomCrop(" in repr(read(tmp_path, flip=0.0).view_set()["weak"])


def test_memory_with_unequal_images_asks_for_a_size(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write_image(tmp_path / "cat" / "x.png", (9, 8))
    with pytest.raises(ValueError, match=r"load='memory' needs one size, the images have 2 \(8 x 8, 9 x 8 \.\.\.\); set size"):
        read(tmp_path, load="memory")


def test_a_truncated_jpeg_is_named_or_filled_up(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(32, 32))
    whole = tmp_path / "cat" / "z.jpg"
    write_image(whole, (32, 32))
    whole.write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(ValueError, match=rf"cannot read the image {whole}: image file is truncated"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"z\.jpg: image file is truncated"):
        list(train_batches(read(tmp_path, load="files", size=16)))
    assert read(tmp_path, allow_truncated=True).source.train.values[3, :, -1, -1].tolist() == [128, 128, 128]
    assert len(list(train_batches(read(tmp_path, load="files", size=16, allow_truncated=True)))) == 1


# ---- errors


def test_all_bad_rows_of_a_table_are_listed(flat: Path) -> None:
    (flat / "text.png").write_text("not an image")
    labels = table(flat, [("a0.png", "x"), ("gone.png", "y"), ("a1.png", "y"), ("text.png", "x")])
    with pytest.raises(ValueError, match=r"2 of 4 images of .*labels\.csv cannot be used") as error:
        read(flat, labels_csv=labels)
    assert "row 3: gone.png does not exist\n" in str(error.value)
    assert "row 5: text.png is not an image\n" in str(error.value)
    assert str(flat) in str(error.value)


def test_rows_without_file_or_label_and_duplicates_are_listed(flat: Path) -> None:
    rows = [("a0.png", "x"), ("a1.png", ""), ("", "x"), ("./a0.png", "y"), ("a2.png", "y")]
    with pytest.raises(ValueError, match="4 of 5 images") as error:
        read(flat, labels_csv=table(flat, rows), missing="none")
    for line in ("row 2: a0.png is listed more than once", "row 3: a1.png has no label", "row 4: has no file", "row 5: a0.png"):
        assert line in str(error.value)


def test_ten_bad_rows_are_enough(flat: Path) -> None:
    labels = table(flat, [(f"gone{n}.png", "xy"[n % 2]) for n in range(25)])
    with pytest.raises(ValueError, match="25 of 25 images") as error:
        read(flat, labels_csv=labels)
    assert "gone9.png" in str(error.value)
    assert "gone10.png" not in str(error.value)
    assert "and 15 more" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na0.png,x\n", "no column file and no column label; its first line has name, class; it needs file, label"),
        ("file;label\na0.png;x\n", "first line has file;label.*Separate columns by commas"),
        ("", "its first line has nothing"),
        ("file,label\n", "has a header but no rows"),
        ("file,label\na0.png,x\na1.png,x\n", "has 1 different classes in 1 names"),
        ("file,label,true_label\na0.png,x,z\na1.png,y,\n", "true_label of .* the first is 'z' of a0.png"),
    ],
)
def test_a_table_that_does_not_fit_is_explained(flat: Path, text: str, message: str) -> None:
    (flat.parent / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(flat, labels_csv=str(flat.parent / "labels.csv"))


def test_a_table_in_another_encoding_is_explained(flat: Path) -> None:
    (flat.parent / "labels.csv").write_bytes("file,label\na0.png,Käse\n".encode("latin1"))
    with pytest.raises(ValueError, match="is no table in UTF-8"):
        read(flat, labels_csv=str(flat.parent / "labels.csv"))


def test_folders_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no class folder; put the images of each class into a folder of its own"):
        read(tmp_path)
    write_image(tmp_path / "cat" / "a.png")
    with pytest.raises(ValueError, match="has one class folder, cat"):
        read(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"the class folder .*dog holds no image"):
        read(tmp_path)
    (tmp_path / "dog" / "b.png").write_text("text")
    with pytest.raises(ValueError, match=r"1 of 2 images of .*\n  dog/b.png is not an image"):
        read(tmp_path)


def test_a_missing_table_is_named(flat: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no table .*nowhere\.csv"):
        read(flat, labels_csv=str(flat / "nowhere.csv"))


def test_a_test_class_without_training_images_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "test", ("cat", "emu"))
    with pytest.raises(ValueError, match=r"test has 1 class that .*train lacks: emu\. There are cat and dog to train on"):
        read(tmp_path)


def test_noise_on_labels_that_are_already_wrong_is_refused(flat: Path) -> None:
    labels = table(flat, [("a0.png", "x", "y"), ("a1.png", "y", "y")])
    with pytest.raises(ValueError, match="1 of 2 labels already differ from the true ones"):
        read(flat, labels_csv=labels, noise=Symmetric(0.5))


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="load must be 'auto', 'memory' or 'files', got 'disk'"):
        ImageFolder("x", load="disk")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        ImageFolder("x", size=0)
    with pytest.raises(ValueError, match="mean and std go together"):
        ImageFolder("x", mean=[0.5])


# ---- images to predict


def test_unlabeled_images_look_as_the_training_images_do(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", size=(8, 8))
    write_image(tmp_path / "new" / "b" / "2.png", (8, 8), seed=3)
    write_image(tmp_path / "new" / "1.png", (30, 20))
    rows, names = unlabeled_images(tmp_path / "new", read(tmp_path / "train"))
    assert names == ["1.png", "b/2.png"]
    assert isinstance(rows, DenseRows)
    assert rows.values.shape == (2, 3, 8, 8)
    with Image.open(tmp_path / "new" / "b" / "2.png") as image:
        assert np.array_equal(rows.values[1].permute(1, 2, 0).numpy(), np.asarray(image))


def test_unlabeled_images_of_a_file_data_set_use_its_evaluation_view(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(40, 40))
    data = read(tmp_path, load="files", size=16)
    rows, names = unlabeled_images(tmp_path, data)
    assert isinstance(rows, FileRows)
    assert (rows.views, len(rows), names[0]) == (data.view_set(), 6, "cat/0.png")


def test_unlabeled_images_fit_any_data_set_of_pixels(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, 20, 10)
    write_image(tmp_path / "new" / "a.png", (50, 40))
    cifar = CIFAR10(str(tmp_path), verify=False)
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 9, 7)), y=[0, 1, 0, 1])
    arrays = Arrays(str(tmp_path / "a.npz"))
    for data, shape in ((cifar, (1, 3, 32, 32)), (arrays, (1, 1, 9, 7))):
        data.setup()
        rows, _ = unlabeled_images(tmp_path / "new", data)
        assert isinstance(rows, DenseRows)
        assert rows.values.shape == shape
        assert isinstance(data.view_set()["eval"], Normalize)


def test_unlabeled_images_need_images(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    data = read(tmp_path / "train")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        unlabeled_images(tmp_path / "nowhere", data)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("text")
    with pytest.raises(
        ValueError, match=r"no image can be read there: .*empty: 0 image files, 0 read; 1 file is no image: \.txt 1"
    ):
        unlabeled_images(tmp_path / "empty", data)
    (tmp_path / "empty" / "a.png").write_text("text")
    with pytest.raises(ValueError, match=r"a\.png is not an image"):
        unlabeled_images(tmp_path / "empty", data)


def test_unlabeled_images_are_refused_where_training_had_no_such_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    digits = Digits()
    digits.setup()
    with pytest.raises(ValueError, match=r"Digits does not hold images with pixels 0\.\.255"):
        unlabeled_images(tmp_path, digits)
