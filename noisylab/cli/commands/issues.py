"""The command issues: finds wrong labels and writes a list, a page, a report and a corrected label file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from noisylab.checkpoints.atomic import newest_readable
from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.commands.crossfit import check_crossfit, crossfit, crossfit_number
from noisylab.cli.commands.dataset import (
    ROLES,
    Dataset,
    check_dataset_labels,
    check_roles,
    check_same_dataset,
    dataset_of,
)
from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import one_process
from noisylab.cli.commands.issue_defaults import choose_backbone, choose_training
from noisylab.cli.commands.issues_apply import ANEW, OWN_DATA, class_name, fixed_name, quoted
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import refuse_changed, same_path, shown
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.folder.claim import Claim, hold
from noisylab.cli.launch import first_process
from noisylab.cli.running.app import build_data
from noisylab.cli.running.resumed import check_stored
from noisylab.cli.running.session import claim_folder, quiet, say
from noisylab.cli.running.starting import refuse_start
from noisylab.data import Arrays, TableImages
from noisylab.data.arrayfile import ArrayFile
from noisylab.data.base import NoisyDataModule
from noisylab.data.exports import is_export
from noisylab.data.imagelist import ImageList, Sieve
from noisylab.data.imageparts import image_lists, unlisted_images
from noisylab.data.labels import check_label_table, read_labels
from noisylab.data.missing import Missing
from noisylab.data.pictures import Head
from noisylab.issues import estimate_rate, read_issues
from noisylab.issues.contents import contents_of
from noisylab.issues.page import write_page
from noisylab.issues.report import noise_report, write_report
from noisylab.issues.table import LABEL_ISSUES, IssueTable
from noisylab.issues.truth import issue_metrics

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["find_issues"]

_PAGE, _REPORT = "issues.html", "noise_report.json"
_ROWS = 20_000  # in the page, which says so where there are more: a browser holds them all in memory
_PICTURES = 1000  # of the first rows, in the page: about 3 KB each
_PAIRS = 3  # confused pairs that are printed
_SOURCES = ("images", "arrays", "dataset", "run")
_KEYS = (
    "recipe",
    "seed_everything",
    "model",
    "data",
    "trainer",
    "speed",
    "checkpoint",
    "ckpt_path",
    "init_from",
    "encoders_from",
)  # parts of a recipe
_FLAGS = (*_SOURCES, *ROLES, "labels", "config", "run_dir", "resume", "backbone", "file_column", "label_column", "crossfit")

_FREE = ("recipe", "seed_everything", "trainer", "speed", "checkpoint")  # parts that do not depend on the data

_OF_TABLES = {"labels": "labels_csv", "file_column": "file_column", "label_column": "label_column"}  # flags and arguments

Flags = list[tuple[str, str | None]]

_ANY_MODEL: Flags = [("model", "CrossEntropy"), ("model.network", "MLP"), ("model.network.in_features", "1")]


def find_issues(options: Options) -> int:
    """Rank labels; returns the exit status.

    Raises:
        UserError: for what cannot be done, before anything is trained or written.
    """
    quiet()
    for key, _ in options.flags:
        if key.partition(".")[0].removesuffix("+") not in _KEYS:  # found before any data is read
            raise unknown("noisylab issues: flag", key, [*_FLAGS, *_KEYS])
    given = [name for name in _SOURCES if name in options.own]
    if "resume" not in options.own:
        check_roles(options.own)
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} exclude each other; give one")
    if not given and not options.configs and "resume" not in options.own:
        raise UserError(
            "noisylab issues needs data: --images DIR --labels labels.csv, --images DIR with a folder for each class,\n"
            "  --dataset TABLE, --arrays FILE.npz, --config RECIPE.yaml, or --run DIR of a finished run"
        )
    if "run" in options.own:
        extra = [name for name in options.own if name not in ("run", "pictures")]
        if extra or options.flags or options.configs or options.loggers:
            others = "config" if options.configs else options.flags[0][0] if options.flags else "logger"
            what = f"--{extra[0] if extra else others}"
            raise UserError(f"--run reads a finished run and trains nothing, so {what} cannot be given with it")
        folder = Path(options.own["run"])
        with hold(folder) if folder.is_dir() else contextlib.nullcontext():
            return _describe_finished(folder, _pictures(options))
    return _train(options)


def _pictures(options: Options) -> int:
    text = options.own.get("pictures", str(_PICTURES))
    if not text.isdecimal():
        raise UserError(f"--pictures: expected a whole number, 0 or more, got {text!r}")
    return int(text)


# ---- training


def _train(options: Options) -> int:
    pictures, folds = _pictures(options), crossfit_number(options)
    resume = "resume" in options.own
    if resume and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the run to continue")
    with contextlib.ExitStack() as stack:
        dry = bool({"dry_run", "print_config"} & set(options.own))
        claimed = None
        if "run_dir" in options.own and not dry:
            # before data is read, which takes long where there are features
            claimed = stack.enter_context(claim_folder(options, None))
        return _train_in(options, claimed, stack, pictures, folds)


def _train_in(options: Options, claimed: Claim | None, stack: contextlib.ExitStack, pictures: int, folds: int) -> int:
    own = {key: value for key, value in options.own.items() if key in ("overwrite", "resume", "dry_run", "print_config")}
    if "resume" in own:
        folder = Path(options.own["run_dir"])
        if not (folder / "config.yaml").is_file():
            raise UserError(f"--run_dir {folder}: there is no run to continue (no config.yaml); leave --resume out to start one")
        options = replace(options, configs=[str(check_stored(folder, ANEW))], row=None)  # all is in the run's own configuration
        flags: Flags = []
        began = compose(options.configs, options.flags).config
        _check_same(options, began)
        if folds:
            refuse_start(began, "--crossfit")
            flags += one_process(began)
            check_crossfit(build_data(began), folds)
    else:
        # a configuration that is printed stands alone
        stream = sys.stderr if "print_config" in own else sys.stdout
        _check_free_flags(options)
        flags = _data_flags(options, stream)
        choice = None
        if not options.configs:
            data = _data(flags, options.flags)
            choice = choose_training(data)
            flags += [*choice.flags, ("recipe", "issues")]
        config = compose(options.configs, [*flags, *options.flags], options.row).config
        if choice is None and folds:
            data = build_data(config)
        if folds:
            refuse_start(config, "--crossfit")
            flags += one_process(config)
            check_crossfit(data, folds)
        if choice is not None:
            rows = f"{len(data.info.train_rows):,} labels of {data.num_classes} classes{_read_as(data)}"
            _tell(f"{rows}; {choice.text(config)}", stream)
        if claimed is None and not {"dry_run", "print_config"} & set(own):
            claimed = stack.enter_context(claim_folder(options, config))
    if claimed is not None or "run_dir" in options.own:
        own["run_dir"] = options.own["run_dir"] if claimed is None else str(claimed.path)
    one = replace(options, command="fit", own=own, flags=[*flags, *options.flags])
    trained: list[NoisyDataModule] = []
    status = fit(one, claimed, done=lambda app: trained.append(app.datamodule))
    if not first_process():
        return status  # what is made of the run is the first one's to make
    if claimed is None:
        return status
    folder = claimed.path
    if status != 0 and (folder / "checkpoints").is_dir():
        say(f"with the list and the page at the end: noisylab issues --run_dir {quoted(folder)} --resume", sys.stderr)
    if status != 0:
        return status
    if not (folder / LABEL_ISSUES).is_file():
        raise UserError(f"{folder}: the method never saw an unmixed input, so there is nothing to rank; train without mixup")
    status = _describe(folder, pictures, _run_config(folder), trained[0])
    return crossfit(folder, folds, options) if status == 0 and folds else status


def _read_as(data: NoisyDataModule) -> str:
    """What the rows of an array with two sides were taken for, which is not always clear."""
    sides = data.read_as if isinstance(data, Arrays) else ""
    return f", {sides}" if sides else ""


def _tell(text: str, stream: TextIO) -> None:
    """Say it once, however many processes there are."""
    if first_process():
        say(text, stream)


def _check_same(options: Options, config: dict[str, Any]) -> None:
    """Refuse other data than the run was begun with."""
    arguments = config["data"]["init_args"]
    check_same_dataset(options.own, arguments)
    for name, key in (("arrays", "path"), ("images", "images"), ("labels", "labels_csv"), ("backbone", "backbone")):
        given, begun = options.own.get(name), arguments.get(key)
        file = name != "backbone" and begun is not None
        if given is not None and given not in (str(begun), "auto", "none") and not (file and same_path(given, begun)):
            was = shown(begun) if file else begun
            raise UserError(f"--{name} {given}: the run in --run_dir was started with {was}; leave it out, or start a new run")


def _data_flags(options: Options, stream: TextIO) -> Flags:
    """The data set that --images or --arrays stands for, said to `stream`; bad labels are refused here."""
    own = options.own
    if "dataset" in own:
        found = dataset_of(own)
        for text in found.said:
            _tell(text, stream)
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
    _tell(f"{len(labeled):,} images, trained on {words}" if backbone else f"{len(labeled):,} images, {words}", stream)
    flags: Flags = [("data", "ImageFolder" if backbone is None else "ImageFeatures"), ("data.images", own["images"])]
    flags += [("data.backbone", backbone)] if backbone is not None else []
    for name, key in _OF_TABLES.items():
        flags += [(f"data.{key}", own[name])] if name in own else []
    if len(labeled) < len(listed) and not options.configs and "model" not in dict(options.flags):
        flags.append(("data.use_unlabeled", "false"))  # the method chosen here has no use for them
    return [*flags, ("data.skip_unreadable", "true")] if "skip_unreadable" in own else flags


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
    _tell(f"{len(listed):,} images, trained on {words}" if backbone else f"{len(listed):,} images, {words}", stream)
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
    begin = others if options.configs else _ANY_MODEL  # the model of a file may be named by a flag
    told = [*begin, *data, *more]
    return dict(compose(options.configs, told, options.row).config["data"]["init_args"])


def _class_folders(listed: ImageList) -> list[str] | None:
    """The folders directly below the images' own, where at least half of them are named like labels; else None."""
    folders = {name.split("/")[0] for name in (*listed.names, *unlisted_images(listed)) if "/" in name}
    named = folders & set(listed.labels)
    return sorted(folders) if named and 2 * len(named) >= len(folders) else None


def _check_free_flags(options: Options) -> None:
    """Refuse what is wrong with flags that do not depend on the data, whose reading may take long."""
    free = [(key, text) for key, text in options.flags if key.partition(".")[0].removesuffix("+") in _FREE]
    compose([], [*_ANY_MODEL, ("data", "Arrays"), ("data.path", "x"), *free])


def _data(flags: Flags, more: Flags) -> NoisyDataModule:
    """The data of a command line, read, before there is a model for it."""
    told = [(key, text) for key, text in more if key in ("data", "seed_everything") or key.startswith("data.")]
    return build_data(compose([], [*_ANY_MODEL, *flags, *told]).config)


# ---- what is made of a finished run


def _run_config(folder: Path) -> dict[str, Any]:
    """The configuration of a finished run."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--run {folder}: there is no run (no config.yaml); give the folder that noisylab printed")
    config = compose([str(check_stored(folder, ANEW))], []).config
    config.pop("ckpt_path", None)
    return config


def _describe_finished(folder: Path, pictures: int) -> int:
    """Write page and report of a run that was trained before."""
    if not (folder / LABEL_ISSUES).is_file() and (folder / "config.yaml").is_file():
        raise UserError(
            f"--run {folder} has no {LABEL_ISSUES}: the run is not finished, or its method never saw an unmixed input\n"
            f"  finish it with: noisylab fit --run_dir {folder} --resume"
        )
    config, fitted = _run_config(folder), None
    with contextlib.suppress(OSError, ValueError):  # the list was written at the run's end; its checkpoints may be gone
        last, _ = newest_readable(folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt")
        fitted = fitted_in(last)
    return _describe(folder, pictures, config, build_data(config, fitted))


def _describe(folder: Path, pictures: int, config: dict[str, Any], data: NoisyDataModule) -> int:
    """Write page and report of a run, and print what they say.

    Args:
        folder: of the run, which holds the list of issues.
        pictures: how many of the first rows have a picture or a player in the page.
        config: of the run.
        data: of the run, after ``setup``.
    """
    table = read_issues(folder / LABEL_ISSUES, data.info.class_names, data.source.names)
    given = data.given_target.numpy()
    if len(table) and (table.index.max() >= len(given) or bool((given[table.index] != table.given).any())):
        raise UserError(
            f"--run {folder}: the labels of the data are no longer those of {LABEL_ISSUES}\n"
            "  put the data back as it was, or find the issues of the new data in a new run"
        )
    refuse_changed(data, f"--run {folder}")
    rate, interval = estimate_rate(table)
    report = noise_report(
        table,
        method=config["model"]["class_path"].rpartition(".")[2],
        recipe=str(config.get("recipe", "")),
        rate=rate,
        interval=interval,
        metrics=issue_metrics(table, data.judged_target),
    )
    write_report(folder / _REPORT, report)
    shown = table.head(_ROWS)
    write_page(folder / _PAGE, shown, report, contents_of(data, shown.index.tolist(), min(pictures, len(shown))))
    data.teardown()
    say(_words(folder, table, report, config), sys.stdout)
    return 0


def _words(folder: Path, table: IssueTable, report: dict[str, Any], config: dict[str, Any]) -> str:
    low, high = report["noise_rate_interval"]
    lines = [
        f"about {report['noise_rate']:.0%} of {len(table):,} labels look wrong (between {low:.0%} and {high:.0%}); "
        f"{report['num_issues']:,} have a better suggestion"
    ]
    pairs = [f"{pair['given']} -> {pair['suggested']} {pair['count']:,}" for pair in report["confused_pairs"][:_PAIRS]]
    if pairs:
        lines.append(f"most often: {', '.join(pairs)}")
    lines += [f"note: {warning}" for warning in report["warnings"]]
    lines.append(f"in {folder}: {LABEL_ISSUES}, {_REPORT} and {_PAGE}, which opens in any browser")
    data, arguments = class_name(config), config["data"]["init_args"]
    labels, source = arguments.get("labels_csv"), arguments.get("table")
    if data in OWN_DATA or source is not None:  # the labels of a published data set are not rewritten
        out = "fixed.npz" if data == Arrays.__name__ else f"labels_fixed.{'json' if labels and is_export(labels) else 'csv'}"
        out = out if source is None else fixed_name(str(source))
        lines += [
            "accept there what is wrong, download the list, and apply it:",
            f"  noisylab issues apply --run {quoted(folder)} --accepted accepted.csv --out {out}",
        ]
    return "\n".join(lines)
