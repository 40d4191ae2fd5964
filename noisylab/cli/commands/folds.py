"""The command folds: one run with each fold as the test set, then the mean and standard deviation."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.commands.dataset import with_dataset
from noisylab.cli.commands.fit import fit
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import absolute_paths
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import Claim, hold, paths_in
from noisylab.cli.running.app import build, config_text
from noisylab.cli.running.figures import draw
from noisylab.cli.running.loggers import end_runs
from noisylab.cli.running.resumed import check_stored
from noisylab.cli.running.session import claim_folder, quiet, say
from noisylab.cli.running.starting import refuse_start
from noisylab.engine.precision import check_trainable
from noisylab.files import atomic_path
from noisylab.reports import RunFolder, SeedResults, Spread, aggregate, group_by_seed, read_run
from noisylab.reports.table import percent, plus_minus

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["fit_folds", "let_go", "one_process"]

_FIGURES = {"last": "last", "last10_mean": "mean of last 10", "best_by_val": "best by val"}  # key of the summary: column
_RESULT = "folds.json"
_ANEW = "delete the folder of that fold, which is then trained anew"


def fit_folds(options: Options) -> int:
    """Train once for each fold, one run after the other, in the folders fold0, fold1, ... of one folder.

    Args:
        options: as for ``fit``, and ``--folds``.

    Returns:
        The exit status: that of a run that was stopped, 0 otherwise.

    Raises:
        UserError: for what cannot be run, before any data is read; for folds of another series in the folder.
    """
    quiet()
    options = with_dataset(options)
    resume = "resume" in options.own
    if resume and "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the folds to continue")
    if resume and "overwrite" in options.own:
        raise UserError("--resume and --overwrite exclude each other; give one")
    with contextlib.ExitStack() as stack:
        if resume:  # first of all, as that may put a series back which a kill has caught half-replaced
            folder = stack.enter_context(claim_folder(options, None, series=True))
            begun = _started(folder.path)
            if not begun:
                raise UserError(f"--run_dir {folder.path} holds no fold to continue; leave --resume out to start")
            if not options.configs and "model" not in dict(options.flags):
                options = replace(options, configs=[str(check_stored(begun[0], _ANEW))])
        config = compose(options.configs, options.flags, options.row).config
        number = _number(options, config)
        refuse_start(config, "noisylab folds")
        options = replace(options, flags=[*options.flags, *one_process(config), ("data.folds", str(number))])
        if "print_config" in options.own or "dry_run" in options.own:
            return _show(options, number)
        config = compose(options.configs, options.flags, options.row).config
        check_trainable(config["trainer"].get("precision"))
        if not resume:
            folder = stack.enter_context(claim_folder(options, config, series=True))
        return _run(options, folder, number, config)


def _run(options: Options, folder: Claim, number: int, config: dict[str, Any]) -> int:
    finished: set[int] = set()
    if "resume" in options.own:
        finished = _finished(folder.path, number, config)
    elif folder.replaces:
        folder.spare([*options.configs, *paths_in(config)])
        data = build("fit", config, folder=None).datamodule
        data.prepare_data()
        data.setup("fit")  # a mistake in the data leaves what was there in place
    folder.prepare()
    status = _train(options, folder, number, finished)
    if status == 0:
        _conclude(folder.path, number)
    return status


def _started(series: Path) -> list[Path]:
    """The folders of the folds that were begun, in their order."""
    found = [path.parent for path in series.glob("fold*/config.yaml") if path.parent.name.removeprefix("fold").isdigit()]
    return sorted(found, key=_fold_of)


def _fold_of(folder: Path) -> int:
    return int(folder.name.removeprefix("fold"))


def _number(options: Options, config: Mapping[str, Any]) -> int:
    """How many folds are asked for, by ``--folds`` or by the recipe."""
    keys = {key.replace(".init_args", "") for key, _ in options.flags}
    if "data.fold" in keys:
        raise UserError("--data.fold: noisylab folds trains on every fold; leave it out, or train on one with noisylab fit")
    text = options.own.get("folds")
    if text is None:
        number = config["data"]["init_args"].get("folds", 0)
        if number < 2:
            raise UserError(f"noisylab folds needs --folds K, at least 2: the recipe's data.folds is {number}")
        return int(number)
    if "data.folds" in keys:
        raise UserError("--folds and --data.folds mean the same; give one")
    if not text.isdecimal() or int(text) < 2:
        raise UserError(f"--folds: expected a whole number, 2 or more, got {text!r}")
    return int(text)


def one_process(config: Mapping[str, Any], command: str = "folds") -> list[tuple[str, str | None]]:
    """The flags that make all runs use one process.

    Lightning starts further processes with the command line of this one; each would go through the runs by itself.

    Args:
        config: of the first run.
        command: "folds" or "study", for the error.
    """
    trainer = config["trainer"]
    devices, nodes = trainer.get("devices", "auto"), trainer.get("num_nodes", 1)
    one = devices in ("auto", None, 1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not one or nodes != 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if command != "folds":
            raise UserError(
                f"noisylab {command} trains in one process, got trainer.devices={devices} and {nodes} nodes\n"
                "  with several, train each run by itself: noisylab fit --config RECIPE --row ROW --seed_everything SEED"
            )
        raise UserError(
            f"noisylab folds trains in one process, got trainer.devices={devices} and {nodes} nodes\n"
            "  with several, train each fold by itself: noisylab fit ... --data.folds K --data.fold 0 --run_dir DIR/fold0\n"
            "  and then print the table: noisylab folds --run_dir DIR --resume --trainer.devices 1"
        )
    return [("trainer.devices", "1")] if devices in ("auto", None) else []


def _show(options: Options, number: int) -> int:
    """Print the configuration or the plan of the first fold."""
    own: dict[str, str] = {key: "true" for key in ("print_config", "dry_run") if key in options.own}
    if "run_dir" in options.own:
        own["run_dir"] = str(Path(options.own["run_dir"]) / "fold0")
    status = fit(replace(options, command="fit", own=own, flags=[*options.flags, ("data.fold", "0")]))
    if "print_config" not in own:
        print(f"{'folds':<11}{number} such runs, one after the other, in the folders fold0 to fold{number - 1} of one folder")
    return status


def _finished(series: Path, number: int, config: dict[str, Any]) -> set[int]:
    """The folds whose run has come to its end.

    Raises:
        UserError: where a fold belongs to another series than that of this command.
    """
    finished = set()
    now = load_yaml(config_text(config), "this command")
    absolute_paths(now["data"])
    for folder in _started(series):
        stored = load_yaml(text_of(check_stored(folder, _ANEW)), str(folder / "config.yaml"))
        said = (((stored or {}).get("data") or {}).get("init_args")) or {}
        if (said.get("folds"), said.get("fold")) != (number, _fold_of(folder)):
            raise UserError(
                f"{folder} has fold {said.get('fold')} of {said.get('folds')}, not fold {_fold_of(folder)} of {number}\n"
                "  resume with the number of folds it was started with, or name another --run_dir"
            )
        if not (folder / "summary.json").is_file():
            continue
        run = read_run(folder)
        if not run.complete:
            continue
        absolute_paths(run.config["data"])
        if run.seed != now["seed_everything"] or len(group_by_seed([_as_seed(run), _as_seed(replace(run, config=now))])) > 1:
            raise UserError(
                f"{folder} was trained with a configuration that differs from this command's; all folds must share one\n"
                f"  resume with the one that it has: noisylab folds --run_dir {series} --resume"
            )
        finished.add(_fold_of(folder))
    return finished


def _train(options: Options, claimed: Claim, number: int, finished: set[int]) -> int:
    """Run what is not finished; the exit status of the first run that was stopped, 0 if none was."""
    series = claimed.path
    go_on = f"continue the folds with: noisylab folds --run_dir {series} --resume"
    for fold in range(number):
        folder = series / f"fold{fold}"
        if fold in finished:
            with hold(folder):
                draw(folder)  # what comes after the summary, which may have been the last thing before a kill
            say(f"fold {fold} of 0..{number - 1} is finished: {folder}", sys.stdout)
            continue
        say(f"fold {fold} of 0..{number - 1}", sys.stdout)
        own = {"run_dir": str(folder)}
        if any((folder / "checkpoints").glob("*.ckpt*")):
            own["resume"] = "true"
        elif folder.exists() and any(folder.iterdir()):
            own["overwrite"] = "true"  # stopped before the first checkpoint: there is nothing to continue from
        try:
            one = replace(options, command="fit", own=own, flags=[*options.flags, ("data.fold", str(fold))])
            status = fit(one, begun=claimed.begin)
        except BaseException as error:
            if _started(series):  # else nothing was trained yet, and the error says all
                how = "was interrupted;" if isinstance(error, KeyboardInterrupt) else "ended with an error; once that is fixed,"
                say(f"fold {fold} of 0..{number - 1} {how} {go_on}", sys.stderr)
            raise
        finally:
            let_go(options)
        if status:
            say(go_on, sys.stderr)
            return status
    return 0


def let_go(options: Options) -> None:
    """Let the next run of this process begin as the first did."""
    gc.collect()  # a trainer and its parts hold each other, and with them the memory of the device
    end_runs(options.loggers)


def _as_seed(run: RunFolder) -> RunFolder:
    """The run of a fold as one of several seeds, of which `aggregate` takes the mean: the fold has the place of the seed."""
    data = run.summary["data"]
    fold, folds = data.get("fold"), data.get("folds")
    settings = {**run.config["data"], "init_args": {k: v for k, v in run.config["data"]["init_args"].items() if k != "fold"}}
    tested = f"fold {fold} of 0..{(folds or 0) - 1} of the training rows"
    protocol = run.protocol.replace(tested, f"each of {folds} parts of the training rows in turn")
    summary = {**run.summary, "seed": fold, "protocol": f"{protocol}; seed {run.seed}"}
    return replace(run, config={**run.config, "data": settings}, summary=summary)


def _conclude(series: Path, number: int) -> None:
    """Print the table of all folds and write ``folds.json``."""
    runs = [read_run(series / f"fold{fold}") for fold in range(number)]
    try:
        results = aggregate([_as_seed(run) for run in runs])
    except ValueError as error:
        raise UserError(f"the results of the folds cannot be combined: {error}") from error
    spreads = {"last": results.last, "last10_mean": results.last10, "best_by_val": results.best_by_val}
    record = {
        "recipe": results.recipe,
        "method": results.method,
        "data": results.data,
        "noise": results.noise,
        "protocol": results.protocol,
        "seed": runs[0].seed,
        "folds": number,
        "runs": [{"fold": fold, "folder": run.path.name, **_figures(run)} for fold, run in enumerate(runs)],
        **{key: spread and {"mean": spread.mean, "std": spread.std, "n": number} for key, spread in spreads.items()},
    }
    with atomic_path(series / _RESULT) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    say(f"\n{_table(results, spreads, runs)}\n\nfolds: {series / _RESULT}", sys.stdout)


def _figures(run: RunFolder) -> dict[str, float | None]:
    return {key: run.number("test", "headline", key) for key in _FIGURES}


def _table(results: SeedResults, spreads: Mapping[str, Spread | None], runs: Sequence[RunFolder]) -> str:
    shown = {key: spread for key, spread in spreads.items() if spread is not None}
    rows = [["fold", *(_FIGURES[key] for key in shown)]]
    rows += [[str(fold), *(percent(_figures(run)[key]) for key in shown)] for fold, run in enumerate(runs)]
    rows.append(["mean", *(plus_minus(spread.mean, spread.std) for spread in shown.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        [
            f"{results.method}, {results.data}, {results.noise}: test accuracy in percent.",
            "",
            *lines,
            "",
            "mean: over the folds, ± population standard deviation.",
            "mean of last 10: over the last ten epochs, or all of a shorter run.",
            f"Protocol: {results.protocol}.",
        ]
    )
