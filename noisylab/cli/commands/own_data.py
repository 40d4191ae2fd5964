"""The user's own data, as --images, --arrays or --dataset name it: the values of a recipe that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from noisylab.cli.commands.dataset import Dataset, check_dataset_labels, dataset_of
from noisylab.cli.commands.issue_defaults import choose_backbone
from noisylab.cli.configuration.compose import compose
from noisylab.cli.errors import UserError
from noisylab.cli.launch import first_process
from noisylab.cli.running.app import build_data
from noisylab.cli.running.session import say
from noisylab.data import Arrays, TableImages
from noisylab.data.arrayfile import ArrayFile
from noisylab.data.base import NoisyDataModule
from noisylab.data.imagelist import ImageList, Sieve
from noisylab.data.imageparts import image_lists, unlisted_images
from noisylab.data.labels import check_label_table, read_labels
from noisylab.data.missing import Missing
from noisylab.data.pictures import Head

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["ANY_MODEL", "SOURCES", "Flags", "check_free_flags", "data_flags", "data_of", "read_as", "tell"]

SOURCES = ("images", "arrays", "dataset")
"""Flags of which one names the data."""

_OF_TABLES = {"labels": "labels_csv", "file_column": "file_column", "label_column": "label_column"}  # flags and arguments

Flags = list[tuple[str, str | None]]
"""(dotted key, text), as on the command line."""

_FREE = ("recipe", "seed_everything", "trainer", "speed", "checkpoint")  # parts that do not depend on the data

ANY_MODEL: Flags = [("model", "CrossEntropy"), ("model.network", "MLP"), ("model.network.in_features", "1")]
"""A model for a configuration of which only the data matter."""


def data_flags(options: Options, stream: TextIO) -> Flags:
    """The data set that --images or --arrays stands for, said to `stream`; bad labels are refused here."""
    own = options.own
    if "dataset" in own:
        found = dataset_of(own)
        for text in found.said:
            tell(text, stream)
        told = _arguments(options, [*found.flags])
        check_dataset_labels(found, told.get("missing", "auto"))
        return [*found.flags, *_picture_flags(found, told, own.get("backbone", "auto"), stream)]
    if "arrays" in own:
        for name in ("labels", "backbone", "skip_unreadable", "file_column", "label_column"):
            if name in own:
                raise UserError(f"--{name} belongs to --images; the arrays of --arrays hold their labels as y")
        file, where = ArrayFile(own["arrays"], habits=True), f"y in {own['arrays']}"
        names = file["class_names"] if "class_names" in file.names else None
        missing: Missing = _arguments(options, [("data", "Arrays"), ("data.path", own["arrays"])]).get("missing", "auto")
        labels, gone = read_labels(file["y"], where, missing, names)
        texts = [(row, str(label)) for row, label in enumerate(labels.tolist()) if not gone.mask[row]]
        check_label_table([text for _, text in texts], [f"row {row}" for row, _ in texts], where)
        return [("data", "Arrays"), ("data.path", own["arrays"])]
    if "images" not in own:
        for name in ("labels", "backbone", "skip_unreadable", "file_column", "label_column"):
            if name in own:
                raise UserError(f"--{name} belongs to --images DIR; give the folder of the images")
        return []
    said = _arguments(options, [("data", "ImageFolder"), ("data.images", own["images"])])
    said |= {key: own[name] for name, key in _OF_TABLES.items() if name in own}
    table = said.get("labels_csv")
    if table is None and ("file_column" in own or "label_column" in own):
        raise UserError("--file_column and --label_column name columns of --labels FILE; give that table")
    tested = said.get("test_images"), said.get("test_csv")
    columns = said.get("file_column"), said.get("label_column")
    listed, _ = image_lists(own["images"], table, *tested, *columns, said.get("missing", "auto"))
    labeled = listed.labeled()
    known = _class_folders(labeled) if table is not None else None
    check_label_table(labeled.labels, labeled.names, labeled.where, labeled.rows, known)
    readable, heads = Sieve(True).heads(labeled)  # unreadable ones are named by the data set itself
    if "skip_unreadable" in own or said.get("skip_unreadable"):
        check_label_table(readable.labels, readable.names, f"{listed.where}, without unreadable images,", readable.rows, known)
    backbone, words = _backbone(heads, own.get("backbone", "auto"))
    tell(f"{len(labeled):,} images, trained on {words}" if backbone else f"{len(labeled):,} images, {words}", stream)
    flags: Flags = [("data", "ImageFolder" if backbone is None else "ImageFeatures"), ("data.images", own["images"])]
    flags += [("data.backbone", backbone)] if backbone is not None else []
    for name, key in _OF_TABLES.items():
        flags += [(f"data.{key}", own[name])] if name in own else []
    if len(labeled) < len(listed) and not options.configs and "model" not in dict(options.flags):
        flags.append(("data.use_unlabeled", "false"))  # the method chosen here has no use for them
    return [*flags, ("data.skip_unreadable", "true")] if "skip_unreadable" in own else flags


def data_of(flags: Flags, more: Flags) -> NoisyDataModule:
    """The data of a command line, read, before there is a model for it."""
    told = [(key, text) for key, text in more if key in ("data", "seed_everything") or key.startswith("data.")]
    return build_data(compose([], [*ANY_MODEL, *flags, *told]).config)


def read_as(data: NoisyDataModule) -> str:
    """What the rows of an array with two sides were taken for, which is not always clear."""
    sides = data.read_as if isinstance(data, Arrays) else ""
    return f", {sides}" if sides else ""


def tell(text: str, stream: TextIO) -> None:
    """Say it once, however many processes there are."""
    if first_process():
        say(text, stream)


def _backbone(heads: Sequence[Head], asked: str) -> tuple[str | None, str]:
    """What pictures are trained on, and why; see `choose_backbone`."""
    sides = sorted(min(head.width, head.height) for head in heads)
    return choose_backbone(asked, sides[len(sides) // 2] if sides else 0, not all(head.gray for head in heads))


def _picture_flags(found: Dataset, told: dict[str, Any], asked: str, stream: TextIO) -> Flags:
    """For a table of pictures, the pretrained network whose features are trained on, said to `stream`."""
    if ("data", TableImages.__name__) not in found.flags or told.get("backbone", "none") != "none":
        return []
    listed = TableImages.of(found.table, label=told["label"], image=told["image"]).listed(found.table)
    _, heads = Sieve(True).heads(listed)
    backbone, words = _backbone(heads, asked)
    tell(f"{len(listed):,} images, trained on {words}" if backbone else f"{len(listed):,} images, {words}", stream)
    return [] if backbone is None else [("data.backbone", backbone)]


def _arguments(options: Options, data: Flags) -> dict[str, Any]:
    """What files and flags say of the data, before it is chosen what it is trained as.

    Args:
        options: of the command.
        data: a class of data that takes such arguments, and the argument for what is read.
    """
    kept = [f"data.{name}" for name in ("missing", "skip_unreadable", "test_images", "test_csv", *_OF_TABLES.values())]
    more = [(key, text) for key, text in options.flags if key in kept]
    others = [(key, text) for key, text in options.flags if key.partition(".")[0] != "data"]
    begin = others if options.configs else ANY_MODEL  # the model of a file may be named by a flag
    told = [*begin, *data, *more]
    return dict(compose(options.configs, told, options.row).config["data"]["init_args"])


def _class_folders(listed: ImageList) -> list[str] | None:
    """The folders directly below the images' own, where at least half of them are named like labels; else None."""
    folders = {name.split("/")[0] for name in (*listed.names, *unlisted_images(listed)) if "/" in name}
    named = folders & set(listed.labels)
    return sorted(folders) if named and 2 * len(named) >= len(folders) else None


def check_free_flags(options: Options) -> None:
    """Refuse what is wrong with flags that do not depend on the data, whose reading may take long."""
    free = [(key, text) for key, text in options.flags if key.partition(".")[0].removesuffix("+") in _FREE]
    compose([], [*ANY_MODEL, ("data", "Arrays"), ("data.path", "x"), *free])
