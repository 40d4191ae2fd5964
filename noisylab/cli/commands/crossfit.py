"""Out-of-sample probabilities for every row, from one run per fold that never saw the rows of that fold."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisylab.cli.commands.folds import fit_folds
from noisylab.cli.configuration.compose import compose
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import build_data
from noisylab.cli.running.session import say
from noisylab.data.base import NoisyDataModule
from noisylab.files import atomic_path

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["check_crossfit", "crossfit", "crossfit_number"]

_PROBS, _LABELS = "pred_probs.npy", "given_labels.npy"


def crossfit_number(options: Options) -> int:
    """The K of ``--crossfit K``; 0 without it."""
    text = options.own.get("crossfit")
    if text is None:
        return 0
    if not text.isdecimal() or int(text) < 2:
        raise UserError(f"--crossfit: expected a number of folds, 2 or more, got {text!r}")
    return int(text)


def check_crossfit(data: NoisyDataModule, folds: int) -> None:
    """Refuse data that cannot give probabilities for every labeled row, before hours of training.

    Args:
        data: after ``setup``, without folds.
        folds: K, at least 2.

    Raises:
        UserError: for data with test rows of its own, with labeled rows that are left out, or with fewer of them than folds.
    """
    rows, tested = data.info.num_train, data.source.test_target
    if tested is not None and len(tested):
        raise UserError(
            f"--crossfit {folds} turns the training rows into test sets, but this data has {len(tested)} test rows of its own\n"
            "  give the folder or file with only the training rows, or leave --crossfit out"
        )
    if data.label_budget is not None:
        raise UserError(
            f"--crossfit {folds} ranks the labels of all rows, and {data.label_budget} takes those of most away\n"
            "  leave out data.labels_per_class and data.labels_total, or leave --crossfit out"
        )
    labeled = int((data.given_target >= 0).sum())
    left = labeled - len(data.info.train_rows)
    if left:
        raise UserError(
            f"--crossfit {folds} writes one row of pred_probs.npy for each label, but {left} of {rows} rows are left out of "
            "training\n  leave out data.val_fraction, data.subset, data.folds and trusted rows, or leave --crossfit out"
        )
    if folds > labeled:
        raise UserError(f"--crossfit {folds}: there are only {labeled} {'labeled ' * (labeled < rows)}rows; give fewer folds")


def crossfit(folder: Path, folds: int, options: Options) -> int:
    """Train the run in `folder` once more for each fold; write ``pred_probs.npy`` and ``given_labels.npy`` there.

    Args:
        folder: of a finished run; the folds go into its folder crossfit.
        folds: K, at least 2.
        options: of the command, for ``--overwrite`` and ``--resume``.

    Returns:
        The exit status.
    """
    series = folder / "crossfit"
    own = {"run_dir": str(series), "folds": str(folds)}
    if series.exists() and any(series.iterdir()):
        began = any(series.glob("fold*/config.yaml"))  # else a kill came before anything of the series was written
        own |= {"resume": "true"} if "resume" in options.own and began else {"overwrite": "true"}
    flags: list[tuple[str, str | None]] = [
        ("data.fold_labels", "given"),
        ("trainer.callbacks+", "{class_path: noisylab.callbacks.HeldOutProbabilities}"),
    ]
    config = str(folder / "config.yaml")
    say(f"{folds} more runs; their test accuracy is measured on the given labels of the fold", sys.stdout)
    status = fit_folds(replace(options, command="folds", own=own, configs=[config], flags=flags, places=[], row=None))
    if status == 0:
        _collect(folder, series, folds, config)
    return status


def _collect(folder: Path, series: Path, folds: int, config: str) -> None:
    data = build_data(compose([config], []).config)
    given = data.given_target.numpy()
    probs = np.full((len(given), data.num_classes), np.nan, dtype=np.float32)
    for fold in range(folds):
        held = series / f"fold{fold}" / "held_out.npz"
        if not held.is_file():
            raise UserError(
                f"{held.parent} has no {held.name}: it was interrupted, or nothing is evaluated after its epochs\n"
                f"  remove the folder and continue with: noisylab issues --run_dir {folder} --resume --crossfit {folds}"
            )
        with np.load(held, allow_pickle=False) as found:
            probs[found["index"]] = found["probs"]
    data.teardown()
    missing = np.flatnonzero(np.isnan(probs).any(1) & (given >= 0))
    if len(missing):
        raise UserError(
            f"{len(missing)} of {len(given)} rows were in no fold, the first is {missing[0]}; give data without held-out, "
            "trusted or left-out rows, because pred_probs.npy has one row for each label"
        )
    for name, values in ((_PROBS, probs), (_LABELS, given)):
        with atomic_path(folder / name) as partial, partial.open("wb") as file:
            np.save(file, values)
    without = int((given < 0).sum())
    rest = f"; {without:,} unlabeled rows have nan and -1 there" if without else ""
    ranked = f"out-of-sample probabilities of {len(given) - without:,} rows"
    say(f"{ranked}: {folder / _PROBS}, labels: {folder / _LABELS}{rest}", sys.stdout)
