"""The contents of an image folder: which files are images, and which folders are classes, parts of the data, or neither."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from noisylab.data.missing import Missing, unlabeled_names
from noisylab.data.pictures import looks_like_image, suffixes

__all__ = [
    "Layout",
    "Listing",
    "images_below",
    "layout_of",
    "list_images",
    "listed",
    "parts_among",
    "require_folder",
    "same_folders",
    "same_inside",
    "shown",
    "sub_folders",
]

# folders that programs leave behind, in lower case
_JUNK = {"__macosx", "@eadir", "lost+found", "#recycle", "$recycle.bin", "system volume information", "__pycache__"}
_JUNK |= {"wandb", "lightning_logs"}
_JUNK_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"}
_RUN = ("metrics.csv", "checkpoints", "label_issues.csv")  # beside config.yaml, in a run of noisylab
# endings of pictures that cannot be read here, unless the Pillow of this machine can
_PICTURES = {
    ".heic",
    ".heif",
    ".hif",
    ".avif",
    ".avifs",
    ".jxl",
    ".jp2",
    ".j2k",
    ".jxr",
    ".bpg",
    ".svg",
    ".eps",
    ".ai",
    ".wmf",
    ".emf",
}
_PICTURES |= {".psd", ".psb", ".xcf", ".exr", ".hdr", ".dds", ".icns", ".cur", ".xpm", ".xbm", ".djvu", ".dcm", ".dicom", ".fits"}
_PICTURES |= {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"}
_SPLITS = {
    "train": {"train", "training", "trn", "traindata", "trainingdata", "trainset", "trainingset", "trainimages"},
    "val": {"val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation", "valset", "devset"}
    | {"validset", "validationset", "valdata", "validationdata", "valimages"},
    "test": {"test", "testing", "tst", "holdout", "heldout", "testset", "testingset", "testdata", "testimages"},
}
_NOT_A_LETTER = re.compile(r"[\W_]+")
_NAMED = 5  # names in a sentence


@dataclass
class Listing:
    """The files below a folder.

    Args:
        images: image files that can be read here, sorted.
        left: image files that cannot, by their ending.
        other: files that are no images, by their ending; hidden ones are not counted.
        skipped: folders that were left out, each with the reason.
    """

    images: list[Path] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    runs: int = 0

    def add(self, other: Listing) -> None:
        """Add files that are elsewhere."""
        self.images += other.images
        self.left += other.left
        self.other += other.other
        self.skipped += other.skipped
        self.runs += other.runs


class Layout(NamedTuple):
    """A folder whose subfolders are parts of the data.

    Args:
        train: name of the folder of the training images.
        test: of the test images, or `None`.
        notes: what is said about the others.
        unlabeled: of images without a label to train on besides, or `None`.
    """

    train: str
    test: str | None
    notes: tuple[str, ...]
    unlabeled: str | None = None


def require_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless the folder exists."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; check the path")


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and its sub-folders, sorted; see `list_images`."""
    return list_images(folder).images


def list_images(folder: Path, *, deep: bool = True) -> Listing:
    """The files in a folder and its sub-folders.

    A file is an image by its ending, in capitals or not, if `suffixes` has it; one without an ending, or with something after it
    (``photo.jpg?w=640``), by its first bytes. Links are followed, and no folder is read twice. Hidden files and folders, what
    programs leave behind (``__MACOSX``, ``@eaDir``) and runs of noisylab are left out.

    Args:
        folder: where to look.
        deep: also in its sub-folders.

    Raises:
        OSError: for a folder that cannot be read.
    """
    found, readable = Listing(), suffixes()
    seen = {_identity(path) for path in folder.resolve().parents}  # a link back to one of them would bring in other classes
    waiting = [folder]
    links: list[Path] = []
    while waiting or links:  # links last: a folder counts where it lies rather than where a link to it is
        here = waiting.pop() if waiting else links.pop(0)
        identity = _identity(here)
        if identity in seen:
            continue
        seen.add(identity)
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.lower() in _JUNK_FILES:
                continue
            path = here / entry.name
            if path.is_dir():  # False also for a link that leads to itself
                reason = _no_place(path)
                if reason:
                    found.skipped.append(f"{path.relative_to(folder).as_posix()} ({reason})")
                    found.runs += reason == _RUN_REASON
                elif deep:
                    (links if entry.is_symlink() else waiting).append(path)
            else:
                _sort_in(path, readable, found)
    found.images.sort()
    found.skipped.sort()
    return found


def sub_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """The folders in a folder, sorted, and a text about those that are left out."""
    require_folder(folder)
    here = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    reasons = {path: _no_place(path) for path in sorted(here)}
    return [path for path, reason in reasons.items() if not reason], [f"{p.name} ({why})" for p, why in reasons.items() if why]


def same_folders(folders: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first two folders that are the same because of a link."""
    seen: dict[tuple[int, int], Path] = {}
    for folder in folders:
        other = seen.setdefault(_identity(folder), folder)
        if other is not folder:
            return other, folder
    return None


def layout_of(root: Path, missing: Missing = "auto") -> Layout | None:
    """Which folders of `root` are the training and the test part; `None` if the folders are classes.

    Parts may be called train, training or trn; test, testing, tst or holdout; val, valid, validation, dev or eval; in any
    spelling, also with one and the same word before or behind it (``signs_train`` and ``signs_test``). With a test part, the
    validation part is not read; without, it is the test part. Beside them there may be a folder of images without a label.

    Args:
        root: the folder.
        missing: which folder that is, see `noisylab.data.missing.unlabeled_names`.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: when some folders are parts and others are not, when two are the same part, or when none is for training.
    """
    folders, _ = sub_folders(root)
    parts: dict[str, list[str]] = {}
    for name, kind in parts_among([path.name for path in folders]).items():
        parts.setdefault(kind, []).append(name)
    if not parts:
        return None
    names = [name for found in parts.values() for name in found]
    others = [path for path in folders if path.name not in names]
    nested = [name for name in names if _holds_classes(root / name)]
    bare = sorted(unlabeled_names([path.name for path in others if _holds_image(path)], missing)) if nested else []
    others = [path for path in others if path.name not in bare[:1]]
    empty = [path.name for path in others if not _holds_image(path)] if nested else []
    others = [path for path in others if path.name not in empty]
    if not nested and (others or "train" not in parts):
        return None  # pictures of trains, for example
    given = parts.get("train", names)[0]
    advice = (
        f"keep the parts alone in {root}, or give {root / given} as images and, if there is one, the test folder as test_images"
    )
    if others:
        raise ValueError(
            f"{root} holds {listed(nested)}, which by name and content {'is a part' if len(nested) == 1 else 'are parts'} of the "
            f"data with class folders inside, beside {listed([p.name for p in others])}; {advice}"
        )
    for found in parts.values():
        if len(found) > 1:
            raise ValueError(f"{root} holds {listed(found)}, which by name are the same part of the data; {advice}")
    if "train" not in parts:
        raise ValueError(f"{root} holds {listed(names)}, but no folder train; {advice}")
    notes = [f"{name} in {root} holds no image and is left out" for name in empty]
    test = next((parts[kind][0] for kind in ("test", "val") if kind in parts), None)
    if "test" in parts and "val" in parts:
        name = parts["val"][0]
        size = len(images_below(root / name))
        notes.append(
            f"{root / name} ({size:,} images) is not read: validation rows are held out of the training images (val_fraction)"
        )
    if test is not None and not sub_folders(root / test)[0]:
        size = len(images_below(root / test))
        notes.append(f"{root / test} has no class folders: its {size:,} images have no labels and are not read")
        test = None
    return Layout(parts["train"][0], test, tuple(notes), bare[0] if bare else None)


def shown(name: str) -> str:
    """A name for use in a sentence, with invisible characters written out."""
    return name if name.isprintable() and name == name.strip() else ascii(name)


def listed(names: Sequence[str]) -> str:
    """Up to five names in a sentence, sorted, and how many more there are."""
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    each = [*map(shown, sorted(names)[:_NAMED]), *more]
    return " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)


_RUN_REASON = "a run of noisylab"


def _no_place(folder: Path) -> str:
    """Why a folder is no place for the images of a data set; empty for one that is."""
    if folder.name.lower() in _JUNK:
        return "left by a program"
    if (folder / ".noisylab").exists():
        return _RUN_REASON
    if (folder / "config.yaml").is_file() and any((folder / name).exists() for name in _RUN):
        return _RUN_REASON
    return ""


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _sort_in(path: Path, readable: frozenset[str], found: Listing) -> None:
    """Count a file as what it is."""
    ending = path.suffix.lower()
    if not path.exists():
        found.other["broken links"] += 1
    elif ending in readable:
        found.images.append(path)  # also a pipe, which is refused by name
    elif ending in _PICTURES:
        found.left[ending] += 1
    elif _maybe(ending, readable) and _starts_like_image(path):
        found.images.append(path)
    else:
        found.other[ending if len(ending) > 1 else "no ending"] += 1


def _maybe(ending: str, readable: frozenset[str]) -> bool:
    """Whether only the content can tell."""
    return len(ending) < 2 or " " in ending or any(ending.startswith(known) for known in readable)


def _starts_like_image(path: Path) -> bool:
    if not stat.S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as file:
        return looks_like_image(file.read(32))


def part_of_data(name: str) -> str | None:
    """The part of a data set that a folder's name means: train, val or test; `None` for any other name."""
    bare = _NOT_A_LETTER.sub("", name.lower()).rstrip("0123456789")  # train2017
    return next((kind for kind, spellings in _SPLITS.items() if bare in spellings), None)


def parts_among(names: Sequence[str]) -> dict[str, str]:
    """The folders whose names mean parts of a data set, and which parts; see `part_of_data`.

    Where none is called like a part alone, a training part and another may have a word in common that no part of data is called.

    >>> parts_among(["signs_train", "signs_test", "notes"]), parts_among(["toy_train", "plane"])
    ({'signs_train': 'train', 'signs_test': 'test'}, {})
    """
    alone = {name: kind for name in names if (kind := part_of_data(name))}
    if alone:
        return alone
    common: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = tuple(_NOT_A_LETTER.split(name.lower()))
        for word, others in ((words[0], ("", *words[1:])), (words[-1], (*words[:-1], ""))):
            if len(words) > 1 and (kind := part_of_data(word)):
                common.setdefault(others, {})[name] = kind
    return max((found for found in common.values() if {"train"} < set(found.values())), key=len, default={})


def same_inside(folders: Sequence[Path]) -> list[str]:
    """Names of subfolders that all given folders share; empty if there are fewer than two such names or folders."""
    inside = [{path.name for path in sub_folders(folder)[0]} for folder in folders] if len(folders) > 1 else []
    names = sorted(set.intersection(*inside)) if inside else []
    return names if len(names) > 1 else []


def _walk(folder: Path) -> Iterator[Path]:
    """Image files by name alone, one after the other, without looking for all."""
    readable = suffixes()
    for here, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".") and not _no_place(Path(here) / name)]
        yield from (Path(here) / name for name in files if Path(name).suffix.lower() in readable and not name.startswith("."))


def _holds_image(folder: Path) -> bool:
    return next(_walk(folder), None) is not None


def _holds_classes(folder: Path) -> bool:
    """Whether there are folders with images in it, and no images beside them."""
    return not list_images(folder, deep=False).images and any(_holds_image(path) for path in sub_folders(folder)[0])
