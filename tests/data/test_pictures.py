"""A picture is read as a viewer shows it: pixels computed by hand."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from noisylab.data import pictures
from noisylab.data.pictures import Depth, UnreadableImage, depth_of, head_of, looks_like_image, open_image, suffixes

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def png16(path: Path, values: Any, kind: int, extra: bytes = b"") -> None:
    """A PNG of 16 bits a channel: `kind` 0 gray, 2 RGB, 4 gray with alpha, 6 RGBA; values (H, W, C)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    body = (chunk(b"tRNS", extra) if extra else b"") + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)


def tiff16(path: Path, values: Any, order: str, kind: int, samples: int = 1) -> None:
    """An uncompressed TIFF of 16 bits a channel in one strip, `kind` 0 white is zero, 1 black is zero, 2 RGB."""
    height, width = values.shape[:2]
    data = values.astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, None), (259, 1), (262, kind), (273, None), (277, samples), (278, height)]
    tags += [(279, len(data))]
    end = 8 + 2 + 12 * len(tags) + 4
    out = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, value in tags:
        if tag == 258:
            field = (3, samples, struct.pack(f"{order}I", end) if samples == 3 else struct.pack(f"{order}HH", 16, 0))
        else:
            field = (4, 1, struct.pack(f"{order}I", end + 8 if value is None else value))
        out += struct.pack(f"{order}HHI", tag, *field[:2]) + field[2]
    path.write_bytes(out + struct.pack(f"{order}I", 0) + struct.pack(f"{order}HHH", 16, 16, 16) + b"\0\0" + data)


def shown(path: Path, mode: str = "RGB", **kwargs: Any) -> Any:
    return np.asarray(open_image(str(path), mode, **kwargs))


# ---- orientation

# where the corners of [[1, 2], [3, 4]] are shown, for each EXIF orientation
TURNED = {
    1: [[1, 2], [3, 4]],
    2: [[2, 1], [4, 3]],
    3: [[4, 3], [2, 1]],
    4: [[3, 4], [1, 2]],
    5: [[1, 3], [2, 4]],
    6: [[3, 1], [4, 2]],
    7: [[4, 2], [3, 1]],
    8: [[2, 4], [1, 3]],
}


def quarters(corners: list[list[int]], height: int, width: int) -> Any:
    """Gray 50 times each number, in four parts."""
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return (np.array(corners)[rows][:, columns] * 50).astype(np.uint8)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_picture_is_turned_as_its_exif_orientation_asks(tmp_path: Path, suffix: str, orientation: int) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(quarters(TURNED[1], 32, 64)).convert("RGB")
    options: dict[str, Any] = {".webp": {"lossless": True}, ".jpg": {"quality": 95}, ".avif": {"quality": 100}}.get(suffix, {})
    stored.save(tmp_path / f"a{suffix}", exif=exif, **options)
    size = (64, 32) if orientation < 5 else (32, 64)
    assert head_of(str(tmp_path / f"a{suffix}"))[:2] == size
    pixels = shown(tmp_path / f"a{suffix}", "L")
    assert pixels.shape == size[::-1]
    assert np.abs(pixels.astype(int) - quarters(TURNED[orientation], *size[::-1])).max() <= 8


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.array([[[0] * 3, [65535] * 3, [0] * 3]], dtype=np.uint16)
    png16(tmp_path / "a.png", values, 2)
    content = (tmp_path / "a.png").read_bytes()
    block = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    assert shown(tmp_path / "a.png")[..., 0].tolist() == [[0], [255], [0]]


def test_a_damaged_exif_block_is_no_reason_to_refuse_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff")
    assert shown(tmp_path / "a.png")[0, 0].tolist() == [255, 0, 0]


# ---- transparency and color models


def test_transparent_parts_show_white_and_half_transparent_ones_half(tmp_path: Path) -> None:
    pixels = np.array([[[9, 8, 7, 0], [200, 100, 0, 255], [255, 0, 0, 128]]], dtype=np.uint8)
    for name in ("a.png", "a.webp", "a.tif"):
        Image.fromarray(pixels).save(tmp_path / name, lossless=True, exact=True)
        seen = shown(tmp_path / name)
        assert seen[0, :2].tolist() == [[255, 255, 255], [200, 100, 0]]
        assert np.abs(seen[0, 2].astype(int) - [255, 127, 127]).max() <= 1  # 255 * (1 - 128/255) = 127
    gray = np.array([[[9, 0], [100, 255]]], dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert head_of(str(tmp_path / "gray.png")).gray  # type: ignore[union-attr]
    assert shown(tmp_path / "gray.png", "L").tolist() == [[255, 100]]
    assert shown(tmp_path / "gray.png").tolist() == [[[255] * 3, [100] * 3]], "one channel and three agree"


def test_a_palette_may_have_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    image.save(tmp_path / "a.gif", transparency=0)
    for name in ("a.png", "a.gif"):
        assert shown(tmp_path / name).tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize(("mode", "clear"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_one_color_may_be_named_as_transparent(tmp_path: Path, mode: str, clear: Any) -> None:
    image = Image.new(mode, (2, 1), 255 if mode != "RGB" else RED)
    image.putpixel((0, 0), clear)
    image.save(tmp_path / "a.png", transparency=clear)
    assert shown(tmp_path / "a.png")[0].tolist() == [[255] * 3, [255, 0, 0] if mode == "RGB" else [255] * 3]


def test_other_color_models_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(shown(tmp_path / "a.jpg")[0, 0].astype(int) - RED).max() <= 4
    Image.new("1", (2, 1), 1).save(tmp_path / "b.png")
    assert shown(tmp_path / "b.png").tolist() == [[[255] * 3] * 2]
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "c.tif")
    assert np.abs(shown(tmp_path / "c.tif")[0, 0].astype(int) - 255).max() <= 2, "L* of 100 is white"


# ---- more than 8 bits


def test_sixteen_bits_are_scaled_by_the_bits_in_use(tmp_path: Path) -> None:
    values = np.array([[0, 16, 4095, 2048]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert shown(tmp_path / name, "L").tolist() == [[0, 1, 255, 128]], "4,096 levels by 16"
        assert shown(tmp_path / name)[..., 2].tolist() == [[0, 1, 255, 128]]
        assert depth_of(str(tmp_path / name)) == Depth(whole=12)
        assert shown(tmp_path / name, "L", depth=Depth(whole=16)).tolist() == [[0, 0, 15, 8]]
        assert shown(tmp_path / name, "L", depth=Depth(whole=8)).tolist() == [[0, 16, 255, 255]], "brighter than white is white"
    Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16)).save(tmp_path / "b.png")
    assert shown(tmp_path / "b.png", "L").tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colors_of_sixteen_bits_keep_their_levels(tmp_path: Path, channels: int) -> None:
    values = np.zeros((1, 400, channels), dtype=np.uint16)
    values[..., : channels - 1 if channels != 3 else 3] = np.arange(400)[:, None] * 10
    if channels != 3:
        values[..., -1] = 65535
    png16(tmp_path / "a.png", values, {2: 4, 3: 2, 4: 6}[channels])
    assert head_of(str(tmp_path / "a.png")).deep  # type: ignore[union-attr]
    assert depth_of(str(tmp_path / "a.png")) == Depth(whole=12)
    assert shown(tmp_path / "a.png")[0, :, 0].tolist() == [n * 10 // 16 for n in range(400)], "250 levels, not 16"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_sixteen_bits_is_read_in_either_order_of_bytes(tmp_path: Path, order: str) -> None:
    colors = np.array([[[1000, 2000, 3000], [0, 5, 1023]]], dtype=np.uint16)
    tiff16(tmp_path / "a.tif", colors, order, 2, samples=3)
    assert shown(tmp_path / "a.tif").tolist() == [[[62, 125, 187], [0, 0, 63]]], "divided by 16, since 3000 takes 12 bits"
    tiff16(tmp_path / "b.tif", np.array([[0, 1023]], dtype=np.uint16), "<", 0)
    assert shown(tmp_path / "b.tif", "L").tolist() == [[255, 0]], "white is zero"


def test_a_value_of_sixteen_bits_may_be_named_as_transparent(tmp_path: Path) -> None:
    png16(tmp_path / "a.png", np.array([[[300], [511]]]), 0, struct.pack(">H", 300))
    assert shown(tmp_path / "a.png", "L").tolist() == [[255, 255]]
    png16(tmp_path / "b.png", np.array([[[300, 300, 300], [301, 300, 511]]]), 2, struct.pack(">HHH", 300, 300, 300))
    assert shown(tmp_path / "b.png").tolist() == [[[255, 255, 255], [150, 150, 255]]]


def test_fractions_are_white_at_one_and_other_numbers_by_the_bits_in_use(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert shown(tmp_path / "a.tif", "L").tolist() == [[0, 128, 255]]
    Image.fromarray(np.array([[0.0, 512.0, 1000.0]], dtype=np.float32)).save(tmp_path / "b.tif")
    assert shown(tmp_path / "b.tif", "L").tolist() == [[0, 128, 250]]
    assert (depth_of(str(tmp_path / "a.tif")), depth_of(str(tmp_path / "b.tif"))) == (Depth(), Depth(real=10))


@pytest.mark.parametrize(("value", "reason"), [(-1.0, "brightness cannot be below 0"), (np.nan, "nan or infinite")])
def test_values_that_are_no_brightness_are_refused(tmp_path: Path, value: float, reason: str) -> None:
    Image.fromarray(np.array([[0.0, value]], dtype=np.float32)).save(tmp_path / "a.tif")
    for read in (open_image, depth_of):
        with pytest.raises(UnreadableImage, match=rf"a\.tif: .*{reason}"):
            read(str(tmp_path / "a.tif"))


# ---- frames and sizes


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLUE)]
    for name in ("a.gif", "a.tif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert head_of(str(tmp_path / name)).frames  # type: ignore[union-attr]
        assert shown(tmp_path / name)[0, 0].tolist() == list(RED)
    frames[0].save(tmp_path / "b.gif")
    assert not head_of(str(tmp_path / "b.gif")).frames  # type: ignore[union-attr]


def test_a_huge_jpeg_is_decoded_smaller_and_other_huge_files_are_refused_with_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_LARGE", 1000)
    monkeypatch.setattr(pictures, "_LARGEST", 2000)
    image = Image.new("RGB", (80, 48), BLUE)  # 3,840 pixels
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "a.png")
    image.resize((40, 40)).save(tmp_path / "b.png")
    assert head_of(str(tmp_path / "a.jpg"))[:2] == (80, 48)
    assert open_image(str(tmp_path / "a.jpg")).size == (40, 24)
    assert open_image(str(tmp_path / "b.png")).size == (40, 40), "between the two"
    with pytest.raises(UnreadableImage, match=r"a\.png: it has 80 x 48 pixels, .* are not decoded; save it smaller"):
        open_image(str(tmp_path / "a.png"))


def test_pillows_own_limit_neither_warns_nor_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("RGB", (40, 40), BLUE).save(tmp_path / "a.png")
    assert open_image(str(tmp_path / "a.png")).size == (40, 40)
    assert head_of(str(tmp_path / "a.png"))[:2] == (40, 40)


# ---- what is no picture


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"hello", "is not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC image, which cannot be read here; save it as JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!doctype html><html>", "web page"),
        (b"%PDF-1.4", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "is not an image"),
    ],
)
def test_what_a_file_holds_instead_is_said(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert what in str(head_of(str(tmp_path / "a.jpg")))
    with pytest.raises(UnreadableImage, match=r"cannot read the image .*a\.jpg: .*skip_unreadable"):
        open_image(str(tmp_path / "a.jpg"))


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert head_of(str(tmp_path / "a.jpg")) == "is not a regular file"
    with pytest.raises(UnreadableImage, match="not a regular file"):
        open_image(str(tmp_path / "a.jpg"), allow_truncated=True)


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert shown(tmp_path / "a.jpg")[0, 0].tolist() == list(RED)
    assert looks_like_image((tmp_path / "a.jpg").read_bytes()[:16])
    assert not looks_like_image(b"hello")
    assert not looks_like_image(b"")


@pytest.mark.parametrize("cut", [1, 100])
def test_a_cut_file_is_found_by_the_quick_look_too(tmp_path: Path, cut: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png", "a.gif", "a.bmp", "a.tif", "a.webp"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert depth_of(str(tmp_path / name)) is None
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[: -cut if name == "a.jpg" else -300])
        with pytest.raises(UnreadableImage, match=r"cannot read the image"):
            depth_of(str(tmp_path / name))


def test_pictures_of_phones_with_several_frames_are_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 8), color) for color in (RED, BLUE)]
    exif = Image.Exif()
    exif[0x0112] = 8
    frames[0].save(tmp_path / "a.mpo", format="MPO", save_all=True, append_images=frames[1:], exif=exif)
    assert ".mpo" in suffixes()
    assert head_of(str(tmp_path / "a.mpo"))[:2] == (8, 16)
    assert np.abs(shown(tmp_path / "a.mpo").astype(int) - RED).max() <= 2


def test_the_usual_suffixes_are_readable() -> None:
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"} <= suffixes()
    assert {".ppm", ".pgm", ".pnm", ".tga"} <= suffixes()
    assert (".avif" in suffixes()) == features.check("avif")
    assert not suffixes() & {".txt", ".eps", ".pdf", ".h5", ".mpg", ".svg", ".heic"}
