"""The training and the test images of folders and of tables, and images that are in neither."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from noisylab.data.exports import export_images, is_export
from noisylab.data.folders import images_below, layout_of, listed, shown
from noisylab.data.imagelist import ImageList, class_folders, read_table, with_unlabeled
from noisylab.data.labels import twins
from noisylab.data.missing import Missing

__all__ = ["image_lists", "split_folders", "unlisted_images"]


def image_lists(
    images: str,
    labels_csv: str | None,
    test_images: str | None,
    test_csv: str | None,
    file_column: str | None,
    label_column: str | None,
    missing: Missing = "auto",
    use_unlabeled: bool = True,
) -> tuple[ImageList, ImageList | None]:
    """The training and the test images, as `ImageFolder` finds them by its arguments of these names.

    Training images without a label come after the others; test images without one are left out.
    """

    def table(path: str, folder: str) -> ImageList:
        read = export_images if is_export(path) else read_table
        return read(Path(path), Path(folder), file_column, label_column, missing)

    train, test = _found(images, labels_csv, test_images, test_csv, table, missing)
    train, test = train if use_unlabeled else train.labeled(), None if test is None else test.labeled()
    others = [test] if test is not None else []
    if labels_csv is not None:
        train = _counted_unlisted(train, *others)
    if test is not None and test_csv is not None and not test.folder.resolve().is_relative_to(train.folder.resolve()):
        test = _counted_unlisted(test, train)
    return train, test


def _found(
    images: str,
    labels_csv: str | None,
    test_images: str | None,
    test_csv: str | None,
    table: Callable[[str, str], ImageList],
    missing: Missing,
) -> tuple[ImageList, ImageList | None]:
    """The lists of `image_lists`, before it is counted which images no table names.

    Args:
        images: see there, as for the next three.
        labels_csv: likewise.
        test_images: likewise.
        test_csv: likewise.
        table: reads a table about a folder.
        missing: which folders are no classes.
    """
    root = Path(images)
    if labels_csv is not None:
        train, tested = _by_parts(table(labels_csv, images), test_given=test_images is not None or test_csv is not None)
        if tested is not None:
            return train, tested
    else:
        layout = layout_of(root, missing)
        train = class_folders(root, "" if layout is None else layout.train, missing=missing)
        if layout is not None and layout.unlabeled is not None:
            train = with_unlabeled(train, root / layout.unlabeled, missing)
        test = None if layout is None or layout.test is None else layout.test
        if layout is not None and test is not None and (test_images is not None or test_csv is not None):
            train = train.noted(*layout.notes, f"{root / test} is not read: test images are given")
        elif layout is not None:
            train = train.noted(*layout.notes)
            return train, None if test is None else _of_classes(train, class_folders(root, test, least=1, missing=missing))
    if test_csv is not None:
        return train, _tested(table(test_csv, images if test_images is None else test_images))
    if test_images is None:
        return train, None
    return train, _of_classes(train, class_folders(Path(test_images), least=1, missing=missing))


def _by_parts(images: ImageList, test_given: bool) -> tuple[ImageList, ImageList | None]:
    """The training and perhaps the test images of a table that tells parts of the data apart, as folders do, see `layout_of`."""
    counts = Counter(images.parts or ())
    if len(counts) < 2:
        only = next(iter(counts), "train")
        note = f"all rows of {images.where} are {only} rows by its column {images.part_column}; they are trained on"
        return replace(images if only == "train" else images.noted(note), parts=None), None
    by = f"{images.where}, by its column {images.part_column}:"
    notes = [f"{by} {', '.join(f'{counts[part]:,} {part} rows' for part in ('train', 'val', 'test') if counts[part])}"]
    test = None if test_given else "test" if counts["test"] else "val"
    if test_given:
        others = [part for part in ("val", "test") if counts[part]]
        notes.append(f"the {' and the '.join(others)} rows of {images.where} are not read: test images are given")
    elif counts["val"] and test == "test":
        notes.append(
            f"the val rows of {images.where} are not read: validation rows are held out of the training rows (val_fraction)"
        )
    if test is None:
        return images.part("train").noted(*notes), None
    tested = images.part(test)
    return images.part("train", test).noted(*notes), replace(tested, notes=(), left_out=())


def _tested(images: ImageList) -> ImageList:
    """The rows to test on of a table of test images."""
    counts = Counter(images.parts or ())
    kind = next((part for part in ("test", "val", "train") if counts[part]), None)
    if kind is None or (len(counts) == 1 and kind != "train"):
        return replace(images, parts=None)
    others = [f"{counts[part]:,} {part} rows" for part in ("train", "val") if counts[part] and part != kind]
    said = f"{' and '.join(others)} are not read" if others else "all rows are train rows; they are tested on"
    return images.part(kind).noted(f"{images.where}, by its column {images.part_column}: {said}")


def split_folders(root: Path, missing: Missing = "auto") -> tuple[str, str | None] | None:
    """Names of the training and the test folder, if the folders of `root` are parts of the data; see `layout_of`."""
    layout = layout_of(root, missing)
    return None if layout is None else (layout.train, layout.test)


def _of_classes(train: ImageList, test: ImageList) -> ImageList:
    """The test images, if their classes are those of the training images."""
    known, asked = set(train.classes), set(test.classes)
    unknown = sorted(asked - known)
    if unknown:
        near = [f"{shown(there)} is probably {shown(here)}. " for here, there in _pairs(known, unknown)][:1]
        raise ValueError(
            f"{test.where} has {len(unknown)} class{'es' * (len(unknown) > 1)} that {train.where} lacks: {listed(unknown)}. "
            f"{''.join(near)}There are {listed(sorted(known))} to train on; rename the folders so that each class has one name"
        )
    absent = sorted(known - asked)
    return test.noted(f"{test.where} has no image of {listed(absent)}") if absent else test


def _pairs(known: Collection[str], unknown: Sequence[str]) -> list[tuple[str, str]]:
    """Names of two folders that are probably one class."""
    groups = [set(group) for group in twins([*known, *unknown])]
    return [
        (next(iter(group & set(known))), name) for name in unknown for group in groups if name in group and group & set(known)
    ]


def unlisted_images(images: ImageList, *others: ImageList) -> list[str]:
    """The image files below the folder of a list that no list names, sorted, relative to the folder."""
    folders: dict[str, str] = {}

    def real(path: str) -> str:
        above, name = os.path.split(path)
        if above not in folders:
            folders[above] = os.path.realpath(above)
        path = os.path.join(folders[above], name)  # noqa: PTH118
        return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114

    named = {real(str(one.folder / name)) for one in (images, *others) for name in (*one.names, *one.left_out)}
    below = images.folder.resolve()
    if below == below.parent:  # names with the whole path: all pictures of a machine are not meant
        below = Path(os.path.commonpath([os.path.dirname(name) for name in named])) if named else below  # noqa: PTH120
    found = [path for path in images_below(below) if real(str(path)) not in named]
    return [path.relative_to(below).as_posix() for path in found]


def _counted_unlisted(images: ImageList, *others: ImageList) -> ImageList:
    """A list out of a table with a note of the images that are in no table."""
    extra = unlisted_images(images, *others)
    if not extra:
        return images
    many = f"{len(extra):,} image{'s' * (len(extra) > 1)} of {images.folder}"
    return images.noted(f"{many} {'are' if len(extra) > 1 else 'is'} not in {images.where} and left out ({listed(extra)})")
