"""Pictures are mirrored only where a test finds that it does not change their class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from noisylab.data import Arrays, ImageFolder
from noisylab.data.mirrored import mirroring, small_pictures, some_rows

NAMES = ("left", "right", "top")


def bars(count: int, wrong: float = 0.0, mirrored: bool = True) -> tuple[Tensor, Tensor]:
    """Pictures with a bright half; without `mirrored`, left and right are one class, and the other one is dark."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, count)
    x = rng.integers(0, 60, (count, 3, 16, 16), dtype=np.uint8)
    for row, k in enumerate(label):
        side = k if mirrored else rng.integers(0, 2) if k == 0 else k
        part = {0: np.s_[:, 4:12, :8], 1: np.s_[:, 4:12, 8:] if mirrored or k == 0 else np.s_[:, 12:], 2: np.s_[:, :4]}[int(side)]
        x[row][part] = 220
    bad = rng.random(count) < wrong
    label[bad] = (label[bad] + rng.integers(1, 3, bad.sum())) % 3
    return torch.from_numpy(x), torch.from_numpy(label)


@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_classes_that_are_mirror_images_are_found_among_wrong_labels(wrong: float) -> None:
    x, given = bars(300, wrong)
    found = mirroring(small_pictures(x), given, NAMES)
    assert found.flip == 0 and found.text == "mirroring is off: mirrored pictures of left look like right"


@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_classes_that_hold_their_own_mirror_images_may_be_mirrored(wrong: float) -> None:
    x, given = bars(300, wrong, mirrored=False)
    assert mirroring(small_pictures(x), given, NAMES).flip == 0.5


def test_what_cannot_be_decided_is_not_mirrored() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (100, 3, 16, 16), dtype=np.uint8))
    given = torch.arange(100) % 3
    assert "cannot tell the classes apart" in mirroring(small_pictures(noise), given, NAMES).text
    few = mirroring(small_pictures(noise[:39]), given[:39], NAMES)
    assert few.flip == 0 and "39 pictures are too few" in few.text


def test_answers_are_those_of_fits_without_the_row() -> None:
    """Against kernel ridge regression solved anew for each row."""
    from noisylab.data.mirrored import _answers

    x = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.nn.functional.one_hot(torch.arange(20) % 3, 3).float()
    flat, mirror = x.flatten(1) - x.flatten(1).mean(0), x.flip(3).flatten(1) - x.flatten(1).mean(0)
    width = torch.cdist(flat, flat).square().median()
    centered = targets - targets.mean(0)
    for found, points in zip(_answers(x, x.flip(3), targets), (flat, mirror), strict=True):
        for row in range(20):
            rest = torch.arange(20) != row
            kernel = torch.exp(-torch.cdist(flat[rest], flat[rest]).square() / width) + torch.eye(19)
            at = torch.exp(-torch.cdist(points[row : row + 1], flat[rest]).square() / width)
            assert int((at @ torch.linalg.solve(kernel, centered[rest])).argmax()) == int(found[row])


def test_the_same_rows_are_looked_at_every_time() -> None:
    rows = some_rows(torch.arange(5000))
    assert len(rows) == 1000 and torch.equal(rows, some_rows(torch.arange(5000)))
    assert torch.equal(some_rows(torch.arange(7)), torch.arange(7))


def test_arrays_say_and_keep_what_was_decided(tmp_path: Path) -> None:
    x, given = bars(120)
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=np.array(NAMES)[given.numpy()])
    data = Arrays(str(tmp_path / "a.npz"))
    data.setup()
    assert "Flip" not in repr(data.view_set()["weak"])
    assert data.source.account == ["mirroring is off: mirrored pictures of left look like right"]
    assert data.fitted()["measured"][""]["flip"] == 0
    for asked in (0.3, 0.0):
        told = Arrays(str(tmp_path / "a.npz"), flip=asked)
        told.setup()
        assert told.fitted()["measured"][""]["flip"] == asked and told.source.account == []
    swapped = Arrays(str(tmp_path / "a.npz"))
    swapped.adopt({**data.fitted(), "measured": {"": {**data.fitted()["measured"][""], "flip": 0.5}}})
    swapped.setup()
    assert "Flip" in repr(swapped.view_set()["weak"])


@pytest.mark.parametrize("load", ["memory", "files"])
def test_image_files_are_tested_too(tmp_path: Path, load: str) -> None:
    x, given = bars(90)
    for row, k in enumerate(given.tolist()):
        folder = tmp_path / NAMES[k]
        folder.mkdir(exist_ok=True)
        Image.fromarray(x[row].permute(1, 2, 0).numpy()).save(folder / f"{row}.png")
    data = ImageFolder(str(tmp_path), load=load, size=16)  # type: ignore[arg-type]
    data.setup()
    assert data.measured()["flip"] == 0
    assert "mirroring is off: mirrored pictures of left look like right" in data.source.account
