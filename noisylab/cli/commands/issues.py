"""The command issues: finds wrong labels and writes a list, a page, a report and a corrected label file."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.checkpoints.atomic import newest_readable
from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli.commands.crossfit import check_crossfit, crossfit, crossfit_number
from noisylab.cli.commands.dataset import (
    ROLES,
    check_roles,
    check_same_dataset,
)
from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import one_process
from noisylab.cli.commands.issue_defaults import choose_training
from noisylab.cli.commands.issues_apply import ANEW, OWN_DATA, class_name, fixed_name, quoted
from noisylab.cli.commands.own_data import SOURCES, Flags, check_free_flags, data_flags, data_of, read_as, tell
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import refuse_changed, same_path, shown
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.folder.claim import Claim, hold
from noisylab.cli.launch import first_process
from noisylab.cli.running.app import build_data
from noisylab.cli.running.resumed import check_stored
from noisylab.cli.running.session import claim_folder, quiet, say
from noisylab.cli.running.starting import refuse_start
from noisylab.data import Arrays
from noisylab.data.base import NoisyDataModule
from noisylab.data.exports import is_export
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
_SOURCES = (*SOURCES, "run")
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
        check_free_flags(options)
        flags = data_flags(options, stream)
        choice = None
        if not options.configs:
            data = data_of(flags, options.flags)
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
            rows = f"{len(data.info.train_rows):,} labels of {data.num_classes} classes{read_as(data)}"
            tell(f"{rows}; {choice.text(config)}", stream)
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
