from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import train_batches
from webtrees import SYNSETS, write_ilsvrc, write_lines, write_webvision

from noisylab.data.named import WebVision
from noisylab.transforms.contrastive import random_region


def webvision(root: Path, **kwargs: Any) -> WebVision:
    return WebVision(str(root), **{"classes": 3, "verify": False, "resize": 18, "crop": 16, **kwargs})


def test_classes_beyond_the_first_are_skipped(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    data = webvision(tmp_path, batch_size=5)
    assert data.num_classes == 3
    data.setup()
    assert data.given_target.tolist() == [0, 1, 2] * 4
    assert data.source.names is not None
    assert data.source.names[1] == "google/q0001/a b0.jpg"
    assert data.clean_target.tolist() == [-1] * 12
    assert data.source.class_names == SYNSETS[:3]
    assert data.source.test_names == [f"val_images_256/val{place}{k}.jpg" for place in range(2) for k in range(3)]
    assert next(train_batches(data)).views[0].shape == (5, 3, 16, 16)


@pytest.mark.parametrize("layout", ["numbers", "list", "synsets"])
def test_imagenet_is_a_second_test_set_in_each_of_its_layouts(tmp_path: Path, layout: str) -> None:
    write_webvision(tmp_path, ilsvrc=layout)
    data = webvision(tmp_path)
    data.setup()
    loaders = data.test_dataloader()
    assert list(loaders) == ["test", "test_ilsvrc"]
    (batch,) = loaders["test_ilsvrc"]
    assert (batch.split, batch.target.tolist(), batch.index.tolist()) == ("test_ilsvrc", [0, 0, 1, 1, 2, 2], list(range(6)))
    other = data.source.other_tests["test_ilsvrc"]
    assert other.names is not None
    assert other.names[2].endswith("ILSVRC2012_val_01.JPEG")
    assert list(data.val_dataloader()) == ["test", "test_ilsvrc"]
    assert list(data.predict_dataloader()) == ["test"]


def test_the_first_class_is_the_first_synset(tmp_path: Path) -> None:
    write_webvision(tmp_path, ilsvrc="synsets")
    (tmp_path / "imagenet/val/n01440764").rename(tmp_path / "imagenet/val/n01440765")
    with pytest.raises(ValueError, match="has no folder for the class n01440764 as synset 0"):
        webvision(tmp_path).setup()


def test_a_list_whose_classes_are_in_another_order_is_refused(tmp_path: Path) -> None:
    write_webvision(tmp_path, ilsvrc="list")
    file = tmp_path / "imagenet/ILSVRC2012_val_label.txt"
    lines = file.read_text().replace(SYNSETS[1], "x").replace(SYNSETS[2], SYNSETS[1]).replace("x", SYNSETS[2])
    file.write_text(lines)
    with pytest.raises(ValueError, match="its classes are not in the order of their synsets"):
        webvision(tmp_path).setup()


def test_a_list_without_the_classes_that_are_read_is_refused(tmp_path: Path) -> None:
    write_webvision(tmp_path, ilsvrc="list")
    write_lines(tmp_path / "imagenet/ILSVRC2012_val_label.txt", ["a.JPEG 50", "b.JPEG 51"])
    with pytest.raises(ValueError, match=r"ILSVRC2012_val_label\.txt names no image of the classes 0 to 2"):
        webvision(tmp_path).setup()


def test_without_imagenet_there_is_one_test_set_and_what_is_asked_for_is_missed(tmp_path: Path) -> None:
    write_webvision(tmp_path, ilsvrc=None)
    data = webvision(tmp_path)
    data.setup()
    assert list(data.test_dataloader()) == ["test"]
    with pytest.raises(FileNotFoundError, match="ImageNet's validation images, in folders by class number"):
        webvision(tmp_path, ilsvrc=str(tmp_path / "nowhere")).setup()
    write_ilsvrc(tmp_path / "other", 3, "numbers")
    again = webvision(tmp_path, ilsvrc=str(tmp_path / "other"))
    again.setup()
    assert len(again.source.other_tests["test_ilsvrc"].target) == 6


def test_the_check_names_lists_lines_and_numbers(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    with (tmp_path / "info/train_filelist_google.txt").open("a") as file:
        file.write("google/q0001/y.jpg 1000\n../up.jpg 1\n")
    (tmp_path / "val_images_256/val12.jpg").unlink()
    text = WebVision.check_release(tmp_path).text()
    assert "line 17: 'google/q0001/y.jpg 1000' has the class 1000, outside 0..999" in text
    assert "line 18: '../up.jpg 1' leads out of the data by '..'" in text
    assert "val_images_256/val12.jpg: line 7" in text
    assert "validation images of 50 classes: 8, expected 2,500" in text
    assert "training images of 50 classes: 16 (not confirmed)" in text


def test_the_images_of_flickr_come_behind_those_of_google(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    write_lines(tmp_path / "info/train_filelist_flickr.txt", ["google/q0002/a b0.jpg 2"])
    data = webvision(tmp_path, flickr=True)
    data.setup()
    assert data.given_target.tolist() == [0, 1, 2] * 4 + [2]


def test_weak_regions_are_drawn_as_torchvision_draws_them() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    rng, picture, many = random.Random(0), Image.new("RGB", (426, 320)), 400

    def figures(boxes: list[tuple[int, int, int, int]]) -> tuple[float, float, float]:
        """Mean share of the area, mean width over height, mean left edge."""
        _, left, height, width = np.array(boxes, dtype=float).T
        return float((height * width).mean() / (426 * 320)), float((width / height).mean()), float(left.mean())

    ours = figures([random_region(426, 320, rng, 0.08) for _ in range(many)])
    theirs = figures([transforms.RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(many)])
    # standard deviations of one draw are about 0.24, 0.2 and 70
    assert np.allclose(ours, theirs, rtol=0, atol=[0.06, 0.05, 20])


def test_weak_views_are_parts_of_the_picture_scaled_to_the_square() -> None:
    view = WebVision("x", resize=40, crop=30).view_set()["weak"]
    # a picture whose red is its column and whose green is its row, so that a view shows where it was cut
    across, down = np.meshgrid(np.arange(80) * 255 / 79, np.arange(60) * 255 / 59)
    picture = Image.fromarray(np.stack([across, down, 0 * across], 2).round().astype(np.uint8))
    mean, std = torch.tensor(view.mean)[:, None, None], torch.tensor(view.std)[:, None, None]
    mirrored = 0
    for seed in range(20):
        red, green, blue = view(picture, random.Random(seed)) * std + mean
        assert red.shape == (30, 30)
        steps = red[0].diff()
        mirrored += int(steps.sum() < 0)
        assert bool((steps * steps.sum() >= -1e-6).all())  # in the order of the picture, or all mirrored
        assert bool((green[:, 0].diff() >= -1e-6).all())
        rng = random.Random(seed)
        top, left, height, width = random_region(53, 40, rng, 0.08)
        assert abs(float(red.mean()) - (left + width / 2) / 53) < 0.03
        assert abs(float(green.mean()) - (top + height / 2) / 40) < 0.03
        assert abs(float(blue.mean())) < 1e-5
    assert 4 < mirrored < 16
