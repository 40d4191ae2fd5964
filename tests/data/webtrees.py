"""Published sets of web images with few pictures, in their official layouts, faults included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from samples import write_image

CLOTHING_LISTS = ("noisy_train", "clean_train", "clean_val", "clean_test")
SYNSETS = ("n01440764", "n01443537", "n01484850", "n01491361")
FOODS = ("apple_pie", "hot_and_sour_soup", "filet_mignon")
STRAY = "a49e6fb26e356c6c41a37b5c18176355.jpg"  # listed under another class than it was verified in, as in the release


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def pictures(root: Path, names: Sequence[str], size: tuple[int, int] = (20, 18)) -> None:
    """A picture of its own for each name."""
    for place, name in enumerate(names):
        write_image(root / name, size, seed=place)


def write_clothing1m(root: Path, each: int = 4, lists: str = "", inside: str = "images/") -> dict[str, list[tuple[str, int]]]:
    """Clothing1M: 14 classes, `each` noisy images of a class, and a checked image of a class in every clean list.

    The given label of every image with an even place is right. The last checked training image has no label; every fourth noisy
    training image has a checked label.

    Args:
        root: where to.
        each: images of a class in the noisy list.
        lists: folder of the lists, "" or "annotations".
        inside: folder of the pictures, "images/" or "".

    Returns:
        Name and given label of each image, by list.
    """
    named = {
        "noisy_train": [(f"images/0/{k:02d}/shirt {place}_{k}.jpg", k) for place in range(each) for k in range(14)],
        **{part: [(f"images/1/{k:02d}/{part}{k}.jpg", k) for k in range(14)] for part in CLOTHING_LISTS[1:]},
    }
    checked = [pair for part in CLOTHING_LISTS[1:] for pair in named[part]]
    both = named["noisy_train"][::4] + named["clean_train"][::2]
    at = root / lists
    write_lines(
        at / "noisy_label_kv.txt",
        [f"{n} {k}" for n, k in named["noisy_train"]] + [f"{n} {(k + 1) % 14}" for n, k in named["clean_train"][::2]],
    )
    right = [(n, k if place % 2 == 0 else (k + 3) % 14) for place, (n, k) in enumerate(both[: len(named["noisy_train"][::4])])]
    write_lines(at / "clean_label_kv.txt", [f"{n} {k}" for n, k in [*checked, *right]])
    for part, pairs in named.items():
        extra = ["images/1/99/unlabeled.jpg"] if part == "clean_train" else []
        write_lines(at / f"{part}_key_list.txt", [n for n, _ in pairs] + extra)
    write_lines(at / "category_names_eng.txt", [f"garment{k}" for k in range(14)])
    pictures(root, [inside + n.removeprefix("images/") for pairs in named.values() for n, _ in pairs])
    return named


def write_webvision(root: Path, classes: int = 3, each: int = 4, ilsvrc: str | None = "numbers") -> None:
    """WebVision with images of one class more than `classes`, two validation images of each, and ImageNet's in one layout.

    Args:
        root: where to.
        classes: to read.
        each: training images of a class.
        ilsvrc: "numbers", "list" or "synsets", below ``root/imagenet``; `None` for none.
    """
    train = [(f"google/q{k:04d}/a b{place}.jpg", k) for place in range(each) for k in range(classes + 1)]
    val = [(f"val{place}{k}.jpg", k) for place in range(2) for k in range(classes + 1)]
    write_lines(root / "info/train_filelist_google.txt", [f"{n} {k}" for n, k in train])
    write_lines(root / "info/val_filelist.txt", [f"{n} {k}" for n, k in val])
    write_lines(root / "info/synsets.txt", [f"{s} some words" for s in SYNSETS[: classes + 1]])
    pictures(root, [n for n, _ in train] + [f"val_images_256/{n}" for n, _ in val])
    if ilsvrc is not None:
        write_ilsvrc(root / "imagenet", classes + 1, ilsvrc)


def write_ilsvrc(folder: Path, classes: int, layout: str) -> None:
    """ImageNet's validation images, two of each class, in a layout of `write_webvision`."""
    pairs = [(place, k) for k in range(classes) for place in range(2)]
    inside = {"numbers": lambda k: f"{k}/", "synsets": lambda k: f"{SYNSETS[k]}/", "list": lambda k: ""}[layout]
    names = [f"val/{inside(k)}ILSVRC2012_val_{place}{k}.JPEG" for place, k in pairs]
    pictures(folder, names)
    if layout == "list":
        lines = [f"{Path(n).name} {k} {SYNSETS[k]}" for n, (_, k) in zip(names, pairs, strict=True)]
        write_lines(folder / "ILSVRC2012_val_label.txt", lines)


def write_food101n(root: Path, each: int = 4, stray: bool = True) -> None:
    """Food-101N in ``root/Food-101N_release`` and Food-101 in ``root/food-101``: three classes, their names in no order.

    Of each class the first image was verified and found right, the second found wrong, the third was verified for validation and
    found right, the fourth for validation and found wrong. With `stray`, an image of filet_mignon was verified as soup.
    """
    own, test = root / "Food-101N_release", root / "food-101"
    keys = [f"{food}/{food[:3]}{place}.jpg" for food in FOODS for place in range(each)]
    keys += [f"filet_mignon/{STRAY}"] if stray else []
    write_lines(own / "meta/classes.txt", ["class_name", *FOODS])
    write_lines(own / "meta/imagelist.tsv", ["class_name/key", *keys])
    answers = {
        part: [f"{food}/{food[:3]}{at}.jpg\t{1 - at % 2}" for food in FOODS for at in places]
        for part, places in (("train", (0, 1)), ("val", (2, 3)))
    }
    answers["train"] += [f"hot_and_sour_soup/{STRAY}\t1"] if stray else []
    for part, lines in answers.items():
        write_lines(own / f"meta/verified_{part}.tsv", ["class_name/key\tverification_label", *lines])
    pictures(own, [f"images/{key}" for key in keys])
    tested = [f"{food}/{place}" for food in FOODS for place in range(2)]
    write_lines(test / "meta/classes.txt", FOODS)
    write_lines(test / "meta/test.txt", tested)
    pictures(test, [f"images/{key}.jpg" for key in tested])


def write_animal10n(root: Path, each: int = 4, flat: bool = True) -> None:
    """Animal-10N: `each` training images and one test image of each class, in flat files or in class folders."""
    names = []
    for part, many in (
        ((("training", "testing") if flat else ("train", "test"))[0], each),
        ((("training", "testing") if flat else ("train", "test"))[1], 1),
    ):
        names += [f"{part}/{k}_{n:04d}.jpg" if flat else f"{part}/animal{k}/{n}.jpg" for k in range(10) for n in range(many)]
    pictures(root, names, (16, 16))


def write_tiny_imagenet(root: Path, classes: int = 3, each: int = 4) -> None:
    """Tiny ImageNet: its synsets in no order, and two validation images of each."""
    synsets = SYNSETS[:classes]
    write_lines(root / "wnids.txt", reversed(synsets))
    write_lines(root / "words.txt", [f"{s}\tanimal{k}, beast{k}" for k, s in enumerate(synsets)])
    pictures(root, [f"train/{s}/images/{s}_{n}.JPEG" for s in synsets for n in range(each)], (16, 16))
    val = [(f"val_{n}{s[-1]}.JPEG", s) for n in range(2) for s in synsets]
    write_lines(root / "val/val_annotations.txt", [f"{name}\t{s}\t0\t0\t9\t9" for name, s in val])
    pictures(root, [f"val/images/{name}" for name, _ in val], (16, 16))


def write_webfg(root: Path, name: str = "bird", classes: int = 3, each: int = 4) -> None:
    """A set of WebFG-496."""
    names = [
        f"web-{name}/{part}/{k:03d}.Kind/{n}.jpg"
        for part, many in (("train", each), ("val", 2))
        for k in range(classes)
        for n in range(many)
    ]
    pictures(root, names)
