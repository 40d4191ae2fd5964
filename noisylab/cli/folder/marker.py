"""The marker file that identifies a run folder and lists what is in it."""

from __future__ import annotations

import datetime
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

import noisylab
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.errors import UserError
from noisylab.cli.folder.job import noted_job
from noisylab.cli.folder.lock import LOCK
from noisylab.files import atomic_path
from noisylab.reading import regular

__all__ = [
    "MARKER",
    "PREDICTIONS",
    "RERUN",
    "content",
    "foreign_entries",
    "has_checkpoint",
    "is_part",
    "is_run",
    "is_series",
    "mark",
    "named",
    "read_marker",
    "won",
]

MARKER = ".noisylab"
PREDICTIONS = "predictions.csv"
RERUN = "rerun.json"
_FORMAT = 1
_LITTER = (".DS_Store", "Thumbs.db")  # of file managers
_LOGGERS = ("loggers.json", "mlflow.db", "mlflow.db-journal", "mlflow.db-shm", "mlflow.db-wal")
_FILES = (
    *(MARKER, LOCK, "config.yaml", "metrics.csv", "summary.json", "noise.npz", "folds.json", "predictions.csv"),
    *("label_issues.csv", "issues.html", "noise_report.json", "pred_probs.npy", "given_labels.npy", "held_out.npz"),
    "validation.npz",
    *("mixture.png", "transition.png", "unlabeled.png", "transition.csv", *_LITTER),
    *("annotators.csv", "annotators.json", "annotators.txt", RERUN),
    *_LOGGERS,
)
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-z_]+\.partial")
_SERIES = re.compile(r"fold\d+|crossfit")  # run folders within a run folder
_FOLDERS = {
    # the last form is that of Lightning's ModelCheckpoint; copies that a user keeps there under other names are the user's
    "checkpoints": re.compile(r"(last|best|label_wave)(-v\d+)?\.ckpt(\.previous)?|.+=.+\.ckpt"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..+|hparams\.yaml"),
    "wandb": re.compile(r"(offline-)?run-.+|latest-run|debug.*\.log|settings|media"),
}
# what is there before anything is won
_BEFORE = (
    *(MARKER, LOCK, "config.yaml", "noise.npz", "checkpoints", "tensorboard", "wandb"),
    *("annotators.csv", "annotators.json", "annotators.txt"),
    *_LOGGERS,
)
_HEADER = "epoch,step,name,value"
_SHOWN = 3  # foreign entries that are named


def foreign_entries(folder: Path) -> list[str]:
    """The entries of a run folder written neither by noisylab nor by its loggers, as relative paths."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            if _SERIES.fullmatch(name):
                found += [f"{name}/{inner}" for inner in foreign_entries(Path(entry.path))]
            elif name in _FOLDERS:
                ours, inside = _FOLDERS[name], sorted(path.name for path in Path(entry.path).iterdir())
                found += [f"{name}/{i}" for i in inside if not (ours.fullmatch(i) or i in _LITTER or _half_written(i))]
            elif not _half_written(name):
                found.append(f"{name}/")
        elif name not in _FILES and not _half_written(name) and not (entry.is_symlink() and name in _FOLDERS):
            found.append(name)
    return found


def _half_written(name: str) -> bool:
    """Whether a process of noisylab was killed while it wrote this."""
    found = _PARTIAL.fullmatch(name)
    if found is None:
        return False
    whole = found["name"]
    return whole in _FILES or any(pattern.fullmatch(whole) for pattern in (_SERIES, _FOLDERS["checkpoints"]))


def content(folder: Path) -> list[str]:
    """The entries, except those of a process that was killed before it could mark the folder."""
    return [path.name for path in folder.iterdir() if path.name != LOCK and not _half_written(path.name)]


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's marker; None if there is none."""
    file = folder / MARKER
    if file.is_symlink() or not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = (
        isinstance(found, dict) and isinstance(found.get("format"), int) and re.fullmatch(r"[0-9a-f]{32}", str(found.get("id")))
    )
    return found if good else None


def mark(folder: Path, command: str) -> dict[str, Any]:
    """Write the marker atomically, with a new random number, and return its content."""
    marker: dict[str, Any] = {
        "format": _FORMAT,
        "id": secrets.token_hex(16),
        "command": command,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": noisylab.__version__,
    }
    job = noted_job()
    if job is not None:
        marker["job"] = job
    with atomic_path(folder / MARKER) as partial:
        partial.write_text(json.dumps(marker) + "\n", encoding="utf-8")
    return marker


def is_run(folder: Path) -> bool:
    """Whether a folder is noisylab's: it has the marker or, from versions that wrote none, clearly holds a run."""
    return read_marker(folder) is not None or (not foreign_entries(folder) and _is_older_run(folder))


def _is_older_run(folder: Path) -> bool:
    if _SERIES.fullmatch(folder.name) is None and any(is_run(fold) for fold in folder.glob("fold*") if fold.is_dir()):
        return True
    try:
        summary = json.loads(regular(folder / "summary.json").read_text(encoding="utf-8"))
        if isinstance(summary, dict) and {"recipe", "method", "protocol", "versions"} <= set(summary):
            return "noisylab" in summary["versions"]
    except (OSError, ValueError, TypeError):
        pass
    try:
        with regular(folder / "metrics.csv").open(encoding="utf-8") as file:
            began = file.readline().strip() == _HEADER
        config = load_yaml(text_of(folder / "config.yaml"), "config.yaml") if began else None
    except (OSError, ValueError, UserError):
        return False
    return isinstance(config, dict) and {"seed_everything", "model", "data", "trainer", "speed", "checkpoint"} <= set(config)


def is_series(folder: Path) -> bool:
    """Whether the folder of a run holds those of several runs instead."""
    found = read_marker(folder)
    return (found is not None and found.get("command") == "folds") or any(
        re.fullmatch(r"fold\d+", p.name) for p in folder.iterdir()
    )


def is_part(folder: Path) -> bool:
    """Whether a folder has the name of a part of the run above it: a fold of a series, or the folds of a run."""
    above = read_marker(folder.parent)
    if above is None or _SERIES.fullmatch(folder.name) is None:
        return False
    return folder.name == "crossfit" or above.get("command") == "folds"


def won(folder: Path) -> bool:
    """Whether a run has produced anything worth keeping: a checkpoint, or the numbers of an epoch."""
    entries = [name for name in content(folder) if name not in _BEFORE and not _SERIES.fullmatch(name)]
    if entries == ["metrics.csv"]:
        with regular(folder / "metrics.csv").open("rb") as file:
            return len(file.read(64 << 10).splitlines()) > 1 or has_checkpoint(folder)
    return bool(entries) or has_checkpoint(folder) or any(won(f) for f in folder.iterdir() if _SERIES.fullmatch(f.name))


def has_checkpoint(folder: Path) -> bool:
    """Whether a run, or one of the runs of a series, has saved anything."""
    return any(True for pattern in ("checkpoints/[!.]*", "fold*/checkpoints/[!.]*") for _ in folder.glob(pattern))


def named(foreign: list[str]) -> str:
    """The first of some entries, for an error."""
    shown = ", ".join(map(repr, foreign[:_SHOWN])) + (", ..." if len(foreign) > _SHOWN else "")
    return f": {shown}" if foreign else ""
