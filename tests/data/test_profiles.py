"""Color profiles in pictures, against the published colors of the spaces that they stand for."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from samples import write_folders

from noisylab.data import ImageFolder
from noisylab.data.pictures import Head, head_of, open_image
from noisylab.data.profiles import profile_of

D50 = (0.9642, 1.0, 0.8249)
# to XYZ under D50: Adobe RGB (1998), annex; sRGB, IEC 61966-2-1, both by Bradford's adaptation
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def icc(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """A profile of version 2, written by hand after ICC.1:2001-04."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = b"lcms" + struct.pack(">I", 0x02100000) + kind + space + pcs + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    whole = head + bytes(124 - len(head)) + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole) + 4) + whole


def xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def gamma(power: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(power * 256))


def named(name: bytes) -> dict[bytes, bytes]:
    text = name + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)
    return {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(D50)}


def three(matrix: Any, power: float, name: bytes = b"made") -> bytes:
    tags = named(name)
    for place, letter in enumerate((b"r", b"g", b"b")):
        tags[letter + b"XYZ"], tags[letter + b"TRC"] = xyz(matrix[:, place]), gamma(power)
    return icc(b"RGB ", tags)


def gray(power: float) -> bytes:
    return icc(b"GRAY", {**named(b"gray"), b"kTRC": gamma(power)})


def inks() -> bytes:
    """A printer whose cyan is Lab (50, -30, -40) and whose other inks are those of a light table: white Lab (100, 0, 0)."""
    corners = []
    for place in range(16):  # the first ink changes slowest
        cyan, magenta, yellow, black = (place >> 3) & 1, (place >> 2) & 1, (place >> 1) & 1, place & 1
        lab = [100.0, 0.0, 0.0]
        for ink, (dl, da, db) in zip((cyan, magenta, yellow), ((-50, -30, -40), (-45, 60, 0), (-10, 0, 70)), strict=True):
            lab = [lab[0] + ink * dl, lab[1] + ink * da, lab[2] + ink * db]
        lab = [0.0, 0.0, 0.0] if black else lab
        corners += [round(max(lab[0], 0) * 255 / 100), *(min(max(round(value + 128), 0), 255) for value in lab[1:])]
    line = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    return icc(b"CMYK", {**named(b"inks"), b"A2B0": lut + line * 4 + bytes(corners) + line * 3}, b"Lab ")


def linear_to_srgb(values: Any) -> Any:
    values = np.clip(values, 0, 1)
    return 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def from_adobe(colors: Any) -> Any:
    """8 bits of Adobe RGB as sRGB, by the definitions of both."""
    return linear_to_srgb((np.asarray(colors) / 255) ** (563 / 256) @ ADOBE.T @ np.linalg.inv(SRGB).T)


def from_lab(lab: tuple[float, float, float]) -> Any:
    """CIE Lab under D50 as sRGB."""
    middle = (lab[0] + 16) / 116
    parts = np.array([middle + lab[1] / 500, middle, middle - lab[2] / 200])
    white = np.array(D50) * np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29))
    return linear_to_srgb(white @ np.linalg.inv(SRGB).T)


COLORS = np.array([[[200, 100, 50], [30, 160, 90], [128, 128, 128], [250, 240, 20], [0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
ADOBE_RGB = three(ADOBE, 563 / 256, b"Adobe RGB (1998)")


def shown(path: Path, mode: str = "RGB") -> Any:
    return np.asarray(open_image(str(path), mode)).astype(int)


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_colors_of_adobe_rgb_become_srgb(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Image.fromarray(COLORS).save(path, icc_profile=ADOBE_RGB, lossless=True)
    assert np.abs(shown(path) - from_adobe(COLORS)).max() <= 1.5
    assert not np.allclose(from_adobe(COLORS), COLORS, atol=20), "the profile matters"
    assert "icc_profile" not in open_image(str(path)).info, "who saves it again says nothing of the other space"


def test_a_jpeg_with_a_profile_over_several_markers_is_converted(tmp_path: Path) -> None:
    many = icc(b"RGB ", {**named(b"long"), **{b"XXXX": bytes(150_000)}, **_tags(ADOBE, 563 / 256)})
    Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8)).save(tmp_path / "a.jpg", quality=100, icc_profile=many)
    assert np.abs(shown(tmp_path / "a.jpg")[8, 8] - from_adobe([200, 100, 50])).max() <= 3


def _tags(matrix: Any, power: float) -> dict[bytes, bytes]:
    letters = enumerate((b"r", b"g", b"b"))
    return {letter + end: data for n, letter in letters for end, data in ((b"XYZ", xyz(matrix[:, n])), (b"TRC", gamma(power)))}


def test_transparent_parts_and_palettes_keep_theirs(tmp_path: Path) -> None:
    alpha = np.array([[0, 128, 255, 255, 255, 255]], dtype=np.uint8)
    Image.fromarray(np.dstack([COLORS, alpha])).save(tmp_path / "a.png", icc_profile=ADOBE_RGB)
    there = alpha[..., None] / 255
    assert np.abs(shown(tmp_path / "a.png") - (from_adobe(COLORS) * there + 255 * (1 - there))).max() <= 2
    palette = Image.fromarray(COLORS).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    kept = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / "p.png", icc_profile=ADOBE_RGB)
    assert np.abs(shown(tmp_path / "p.png") - from_adobe(kept)).max() <= 1.5


@pytest.mark.parametrize("power", [1.8, 1.0])
def test_grays_go_by_the_curve_of_their_profile(tmp_path: Path, power: float) -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)[None]
    Image.fromarray(levels).save(tmp_path / "a.png", icc_profile=gray(power))
    for mode in ("L", "RGB"):
        found = shown(tmp_path / "a.png", mode).reshape(-1, 1 if mode == "L" else 3)
        assert np.abs(found - linear_to_srgb((levels / 255) ** power).reshape(-1, 1)).max() <= 1.5


def test_grays_with_a_profile_of_colors_and_sixteen_bits_are_converted_too(tmp_path: Path) -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)[None]
    Image.fromarray(levels).save(tmp_path / "a.png", icc_profile=three(SRGB, 1.0))
    assert np.abs(shown(tmp_path / "a.png", "L") - linear_to_srgb(levels / 255)).max() <= 1.5
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "b.png", icc_profile=gray(1.0))
    assert np.abs(shown(tmp_path / "b.png", "L") - linear_to_srgb(levels / 255)).max() <= 1.5


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_inks_are_those_of_their_profile_and_plain_ones_without(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    for ink, lab in {(255, 0, 0, 0): (50, -30, -40), (0, 0, 0, 0): (100, 0, 0), (0, 0, 0, 255): (0, 0, 0)}.items():
        picture = Image.new("CMYK", (16, 16), ink)
        picture.save(path, quality=100, icc_profile=inks())
        assert np.abs(shown(path)[8, 8] - from_lab(lab)).max() <= 4, ink
        picture.save(path, quality=100)
        plain = [(255 - ink[n]) * (255 - ink[3]) / 255 for n in range(3)]
        assert np.abs(shown(path)[8, 8] - plain).max() <= 2, "Adobe's JPEG files hold the inverse, as viewers know"


def test_srgb_changes_no_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=own)
    assert np.array_equal(shown(tmp_path / "a.png"), pixels)
    assert head_of(str(tmp_path / "a.png")) == Head(32, 32, "RGB", profile="srgb")
    assert profile_of({"icc_profile": three(SRGB, 2.2)}, "RGB") == "other", "its curve is another in the shadows"


@pytest.mark.parametrize(
    "profile", [b"no profile", ADOBE_RGB[:200], gray(1.0), inks(), ADOBE_RGB[:128] + b"\xff" * 100], ids=range(5)
)
def test_a_profile_that_cannot_be_used_is_ignored(tmp_path: Path, profile: bytes) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(shown(tmp_path / "a.png"), COLORS)
    assert head_of(str(tmp_path / "a.png")) == Head(6, 1, "RGB", profile="broken")


def test_a_damaged_chunk_of_a_png_is_ignored(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(COLORS).save(content, "png")
    data = b"iCCPmade\0\0" + b"no compressed data"
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    whole = content.getvalue()
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])  # behind the header
    assert np.array_equal(shown(tmp_path / "a.png"), COLORS)
    assert head_of(str(tmp_path / "a.png")) == Head(6, 1, "RGB", profile="broken")


def test_lists_count_pictures_with_profiles(tmp_path: Path) -> None:
    write_folders(tmp_path, size=(8, 8))
    pixels = np.zeros((8, 8, 3), np.uint8)
    for number, profile in enumerate((ADOBE_RGB, ADOBE_RGB, b"none")):
        Image.fromarray(pixels).save(tmp_path / "cat" / f"{number}.png", icc_profile=profile)
    data = ImageFolder(str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup()
    assert [line for line in data.source.account if "profile" in line] == [
        f"2 files of {tmp_path} with a color profile: shown in sRGB, as viewers do",
        f"1 file of {tmp_path} with a color profile that cannot be used: shown without it",
    ]
