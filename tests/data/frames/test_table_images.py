"""Pictures in a column of a table, compared with the same pictures in a folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import train_batches

from noisylab.data import ImageFeatures, ImageFolder, TableImages, frozen, unlabeled_images
from noisylab.data.frames import Column, Columns, Media
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.storedpictures import StoredPictures
from noisylab.issues.thumbnails import thumbnails
from noisylab.models.backbones import Backbone

_CLASSES = ("cat", "dog")


class Means(Backbone):
    """The mean of each channel and a constant."""

    num_features = 4  # type: ignore[assignment]

    def load(self, image_size: int) -> Any:
        def network(pixels: torch.Tensor) -> torch.Tensor:
            return torch.cat([pixels.float().mean((2, 3)), torch.full((len(pixels), 1), 7.0)], 1)

        network.to = lambda device: network  # type: ignore[attr-defined]
        return network


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"1")
    monkeypatch.setattr(frozen, "find_backbone", lambda name: Means(name, tmp_path / "weights.pth"))
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))


def files(tmp_path: Path, size: tuple[int, int] = (40, 36), ending: str = "png", rows: int = 6, **save: Any) -> list[Path]:
    """Noise in class folders, half of the files in each."""
    made = []
    for row in range(rows):
        file = tmp_path / "photos" / _CLASSES[2 * row // rows] / f"{row}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, **save)
        made.append(file)
    return made


def table_of(paths: list[Path], folder: Path, how: str, ids: list[str] | None = None) -> Columns:
    """The files as a table that names them ("text", "path") or holds them ("bytes")."""
    missing = np.zeros(len(paths), dtype=bool)
    names = [path.relative_to(folder).as_posix() for path in paths]
    column = {
        "text": lambda: Column("text", names, missing),
        "path": lambda: Column("image", [Media(name) for name in names], missing),
        "bytes": lambda: Column("image", [Media(None, path.read_bytes()) for path in paths], missing),
    }[how]()
    labels = Column("text", [path.parent.name for path in paths], missing)
    return Columns("t.parquet", {"image": column, "label": labels}, ids, folder)


def ready(table: Columns, test: Columns | None = None, **kwargs: Any) -> TableImages:
    data = TableImages.of(table, test, **kwargs)
    data.setup()
    return data


def same_batches(data: Any, other: Any) -> None:
    one, two = (next(train_batches(one, ("weak", "strong"))) for one in (data, other))
    assert one.index.tolist() == two.index.tolist() and one.target.tolist() == two.target.tolist()
    for mine, theirs in zip(one.views, two.views, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("how", ["text", "path", "bytes"])
def test_small_pictures_are_those_of_a_folder(tmp_path: Path, how: str) -> None:
    paths = files(tmp_path)
    data = ready(table_of(paths, tmp_path / "photos", how), batch_size=6)
    folder = ImageFolder(str(tmp_path / "photos"), batch_size=6)
    folder.setup()
    assert isinstance(data.source.train, DenseRows) and isinstance(folder.source.train, DenseRows)
    assert torch.equal(data.source.train.values, folder.source.train.values)
    assert data.measured() == folder.measured()
    same_batches(data, folder)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["path", "bytes"])
def test_large_pictures_are_opened_when_needed_as_those_of_a_folder(tmp_path: Path, how: str, workers: int) -> None:
    paths = files(tmp_path, (100, 80), "jpg")
    settings: dict[str, Any] = {"size": 32, "load": "files", "batch_size": 6, "num_workers": workers}
    data = ready(table_of(paths, tmp_path / "photos", how), **settings)
    folder = ImageFolder(str(tmp_path / "photos"), **settings)
    folder.setup()
    assert isinstance(data.source.train, FileRows)
    try:
        same_batches(data, folder)
    finally:
        data.teardown()
        folder.teardown()


@pytest.mark.parametrize("how", ["path", "bytes"])
def test_features_are_those_of_a_folder(tmp_path: Path, how: str) -> None:
    paths = files(tmp_path)
    data = ready(table_of(paths, tmp_path / "photos", how), backbone="auto")
    folder = ImageFeatures(str(tmp_path / "photos"))
    folder.setup()
    assert isinstance(data.source.train, DenseRows) and isinstance(folder.source.train, DenseRows)
    torch.testing.assert_close(data.source.train.values, folder.source.train.values, rtol=0, atol=0)
    assert data.num_features == 4 and data.digests() == folder.digests()
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1, "features are kept by content, not by place"


def test_pictures_are_shown_as_viewers_show_them(tmp_path: Path) -> None:
    turned, clear, deep = (tmp_path / name for name in ("turned.jpg", "clear.png", "deep.png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.repeat(np.uint8([[[255, 0, 0]], [[0, 0, 255]]]), 8, 0).repeat(32, 1)).save(turned, exif=exif, quality=100)
    Image.new("RGBA", (16, 32), (9, 9, 9, 0)).save(clear)
    Image.fromarray(np.full((32, 16), 40_000, np.uint16)).save(deep)
    column = Column("image", [Media(None, path.read_bytes()) for path in (turned, clear, deep)], np.zeros(3, dtype=bool))
    label = Column("text", ["a", "b", "a"], np.zeros(3, dtype=bool))
    data = ready(Columns("t", {"image": column, "label": label}), load="memory", flip=0.0)
    assert isinstance(data.source.train, DenseRows)
    values = data.source.train.values
    assert values.shape == (3, 3, 32, 16)
    assert values[0, :, 5, 2].argmax() == 2 and values[0, :, 5, 13].argmax() == 0, "the upper row has become the right column"
    assert bool((values[1] == 255).all())
    assert values[2].unique().tolist() == [156]
    assert any("more than 8 bits" in line for line in data.source.account)


def test_rows_keep_their_ids_and_test_rows_are_read(tmp_path: Path) -> None:
    paths = files(tmp_path)
    whole = table_of(paths, tmp_path / "photos", "bytes", [f"r{row}" for row in range(6)])
    data = ready(whole.take(np.array([5, 0, 3, 1])), whole.take(np.array([2, 3])), flip=0.0)
    assert (data.source.names, data.source.test_names) == (["r5", "r0", "r3", "r1"], ["r2", "r3"])
    assert data.source.test_target is not None and data.source.test_target.tolist() == [0, 1]
    assert any("1 of 2 test images are training images, too (r3 first)" in line for line in data.source.account)
    shown = thumbnails(data, [1], 36)
    assert shown is not None and Image.open(io.BytesIO(shown[0])).size[1] <= 36


def test_bad_pictures_are_named_by_their_rows(tmp_path: Path) -> None:
    paths = files(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    paths[2].write_bytes(b"")
    paths[4].write_bytes(b"%PDF-1.4")
    with pytest.raises(ValueError, match=r"(?s)2 of 6 images of the column image of t.parquet cannot be used.*"):
        ready(table_of(paths, tmp_path / "photos", "bytes"))
    with pytest.raises(ValueError, match=r"(?s)row 2: cat/2.png is empty.*row 4: dog/4.png is a PDF document"):
        ready(table_of(paths, tmp_path / "photos", "path"))


@pytest.mark.parametrize("backbone", ["none", "auto"])
def test_bad_pictures_may_be_left_out_and_the_others_keep_their_numbers(tmp_path: Path, backbone: str) -> None:
    paths = files(tmp_path, rows=8)
    table = table_of(paths, tmp_path / "photos", "bytes")
    values = list(table.columns["image"].values)
    values[0], values[5] = Media(), Media(None, b"nothing")
    values[6] = Media(None, values[6].content[:1500])
    missing = np.array([row == 0 for row in range(8)])
    table = Columns("t.parquet", {**table.columns, "image": Column("image", values, missing)})
    with pytest.warns(UserWarning, match="images cannot be read and are left out"):
        data = ready(table, skip_unreadable=True, backbone=backbone, flip=0.0)
    assert data.source.names == ["1", "2", "3", "4", "7"]
    assert data.source.given.tolist() == [0, 0, 0, 1, 1]
    assert data.skipped == ["image 0", "image 5", "image 6"]
    assert any("row 0: image 0 has no image" in line for line in data.source.account)


@pytest.mark.parametrize("settings", [{}, {"load": "files", "size": 16}, {"backbone": "auto"}])
def test_another_table_is_prepared_by_the_record_of_the_model(tmp_path: Path, settings: dict[str, Any]) -> None:
    paths = files(tmp_path)
    table = table_of(paths, tmp_path / "photos", "bytes")
    data = ready(table, flip=0.0, **settings)
    blank = TableImages("not there", flip=0.0, **settings)
    blank.adopt(data.fitted())
    blank.setup_blank()
    other = table.take(np.array([4, 1]))
    rows, again = data.prepared(other), blank.prepared(other)
    if isinstance(rows, DenseRows):
        assert isinstance(again, DenseRows) and isinstance(data.source.train, DenseRows)
        assert torch.equal(rows.values, data.source.train.values[[4, 1]]) and torch.equal(again.values, rows.values)
    else:
        assert isinstance(again, FileRows) and [str(path) for path in again.paths] == ["of row 0", "of row 1"]
        assert str(data.view_set()) == str(blank.view_set())
    found, names = unlabeled_images(tmp_path / "photos" / "dog", data)
    assert len(found) == 3 and names == ["3.png", "4.png", "5.png"]


def test_the_classes_are_counted_without_a_picture(tmp_path: Path) -> None:
    table = Columns(
        "t",
        {
            "image": Column("image", [Media("not there.png")] * 3, np.zeros(3, dtype=bool)),
            "label": Column("class", np.array([2, 0, 2]), np.zeros(3, dtype=bool), ("x", "y", "z")),
        },
    )
    assert TableImages.of(table).num_classes == 2
    with pytest.raises(ValueError, match="holds no images or paths of images; its columns of images are image"):
        ready(table, image="label")
    with pytest.raises(ValueError, match=r"(?s)row 0: not there.png does not exist"):
        ready(table)


def test_pictures_of_a_table_are_one_block() -> None:
    from noisylab.data.pictures import StoredPicture

    pictures = StoredPictures.of([StoredPicture("a", b"123"), "path.png", StoredPicture("b", b"4")])
    assert [(str(one), getattr(one, "content", None)) for one in pictures] == [("a", b"123"), ("path.png", None), ("b", b"4")]
    assert getattr(pictures[-1], "content", None) == b"4" and len(pictures[0:2]) == 2
