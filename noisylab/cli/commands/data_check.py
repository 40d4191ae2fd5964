"""The command data check: whether the files of a published data set are complete and the right ones."""

from __future__ import annotations

from pathlib import Path

from noisylab.cli.configuration.registry import known_classes
from noisylab.cli.errors import UserError, unknown
from noisylab.data import NoisyDataModule
from noisylab.data.named import NamedRelease
from noisylab.terminal import visible

__all__ = ["check_data"]


def check_data(names: list[str], root: str | None) -> int:
    """Print what a data set's class says of the files in a folder.

    Args:
        names: the class of the data set, and nothing else.
        root: the folder.

    Returns:
        0 if all is there and right, else 1.

    Raises:
        UserError: without a name or a folder, and for a class that is not known.
    """
    known: dict[str, type[NamedRelease]] = {
        name: cls for name, cls in known_classes(NoisyDataModule).items() if hasattr(cls, "check_release")
    }
    if len(names) != 1:
        raise UserError(
            f"noisylab data check needs the name of one data set: {', '.join(sorted(known))}\n"
            "  for images or arrays of your own, a dry run reads them: noisylab fit ... --dry_run"
        )
    if names[0] not in known:
        raise unknown("noisylab data check: data set", names[0], known)
    if root is None:
        raise UserError(f"noisylab data check {names[0]} needs --root DIR, the folder of the data set's files")
    if not Path(root).is_dir():
        raise UserError(
            f"--root {root} is {'not a folder' if Path(root).exists() else 'not there'}; name the folder of the files"
        )
    report = known[names[0]].check_release(Path(root))
    print(visible(report.text()))
    return 0 if report.ok else 1
