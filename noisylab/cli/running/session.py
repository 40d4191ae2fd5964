"""What every command that trains or evaluates shares: its folder, its loggers and its messages."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from noisylab.cli.configuration.origin import notes_on
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.folder.claim import Claim, claim, new_default_folder
from noisylab.cli.launch import first_process
from noisylab.cli.running.loggers import LOGGERS, check_installed
from noisylab.cli.running.meeting import current_meeting
from noisylab.cli.running.nodes import one_folder
from noisylab.data.base import NoisyDataModule
from noisylab.data.notes import DataNote
from noisylab.terminal import silence, visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options


__all__ = ["claim_folder", "logger_names", "quiet", "say", "tell_account", "tell_changes"]

_QUIET = (
    "does not have many workers",  # batches are built on the device
    "Checkpoint directory",  # the run folder is ours and was checked
    "The number of training batches",  # nothing is logged per step
    "You're resuming from a checkpoint that ended before the epoch ended",  # exact here, see docs/reliability.md
    "Detected KeyboardInterrupt",
    "Total length of `dict` across ranks is zero",  # no validation and no test rows, which the plan says
    "callbacks used to create the checkpoint need to be provided",  # evaluation needs the weights alone
    "isinstance(treespec, LeafSpec)",  # inside torch
    "in eval mode at the start of training",
)


def quiet() -> None:
    """Silence messages that are not news, or that the account of the data already contains."""
    import logging

    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)
    for message in _QUIET:
        warnings.filterwarnings("ignore", f".*{re.escape(message)}")
    warnings.filterwarnings("ignore", category=DataNote)


def logger_names(options: Options) -> tuple[str, ...]:
    """The loggers beside the CSV file that is always written."""
    for name in options.loggers:
        if name not in ("csv", *LOGGERS):
            raise unknown("--logger", name, ("csv", *LOGGERS))
        if name != "csv":
            check_installed(name)
    return tuple(name for name in options.loggers if name != "csv")


def claim_folder(options: Options, config: dict[str, Any] | None, *, series: bool = False) -> Claim:
    """The folder of a command; without ``--run_dir`` a new one named for the recipe or method of `config`."""
    ways = {"resume": "resume" in options.own, "overwrite": "overwrite" in options.own, "series": series}
    first, meeting = first_process(), current_meeting()
    if meeting is not None and not first:
        return one_folder(meeting, None, options.command)
    if "run_dir" in options.own:
        claimed = claim(Path(options.own["run_dir"]), options.command, first=first, **ways)
    else:
        assert config is not None
        if first:
            name = config.get("recipe") or config["model"]["class_path"].rpartition(".")[2].lower()
            os.environ["NOISYLAB_RUN_DIR"] = str(new_default_folder(name))  # for the processes that Lightning starts
        elif "NOISYLAB_RUN_DIR" not in os.environ:
            raise UserError(
                "the first process of the run names its folder, and this one does not hear of it: give --run_dir DIR, or start "
                "all processes with torchrun or srun"
            )
        claimed = claim(Path(os.environ["NOISYLAB_RUN_DIR"]), options.command, first=first, made=True, **ways)
    if meeting is None:
        return claimed
    try:
        return one_folder(meeting, claimed, options.command)
    except BaseException:
        claimed.release()
        raise


def say(text: str, stream: TextIO) -> None:
    """Print at the end of a run, even if the reader of the output is gone."""
    try:
        print(visible(text), file=stream, flush=True)
    except OSError:
        silence(stream)


def tell_account(account: Sequence[str]) -> None:
    """Print once, before training, what was read and what was left out; standard output is for results."""
    for line in account if first_process() else ():
        say(line, sys.stderr)


def tell_changes(data: NoisyDataModule, stage: str) -> None:
    """Say how the data has changed since training; refuse what would give a wrong result."""
    for note in notes_on(data, stage) if first_process() else ():
        say(f"note: {note}", sys.stderr)
