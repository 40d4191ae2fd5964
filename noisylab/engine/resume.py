"""Checkpoints that can be trusted: whose they are, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

__all__ = ["AtomicCheckpointIO", "atomic_path", "check_stamp", "newest_readable", "stamp"]


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there replaces `path` at the end, or is removed on an error.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as partial:
    ...         _ = partial.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def stamp(method: str, num_classes: int, class_names: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {"method": method, "num_classes": num_classes, "class_names": list(class_names)}


def check_stamp(checkpoint: dict[str, Any], method: str, num_classes: int) -> None:
    """Refuse another method's checkpoint, or one for another number of classes.

    Raises:
        ValueError: naming both.
    """
    theirs = checkpoint.get("noisylab", {})
    if (theirs.get("method"), theirs.get("num_classes")) != (method, num_classes):
        whose = f"of {theirs['method']} with {theirs['num_classes']} classes" if theirs else "not one of noisylab"
        raise ValueError(
            f"the checkpoint is {whose}, this is {method} with {num_classes} classes; "
            "use the class and the data that wrote the checkpoint"
        )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, checks that it reads back, and only then replaces the one before, which is kept as
    ``<name>.previous``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write, flush to disk, read back, rename.

        Raises:
            OSError: when the disk is full or not writable, or what was written does not read back; the checkpoint before is
                still in place.
        """
        path = Path(path)
        try:
            with atomic_path(path) as partial:
                torch.save(checkpoint, partial)
                torch.load(partial, map_location="meta", weights_only=True)
                if path.exists():
                    with atomic_path(previous(path)) as copy:
                        copy.unlink(missing_ok=True)
                        try:
                            os.link(path, copy)
                        except OSError:  # a file system without hard links
                            shutil.copyfile(path, copy)
        except (pickle.UnpicklingError, EOFError) as error:
            reason = next((line.strip() for line in str(error).splitlines() if "Unsupported" in line), type(error).__name__)
            raise OSError(
                f"could not save {path}: it does not read back ({reason}); the state of methods and callbacks must be tensors, "
                "numbers, strings, lists and dicts. If it is, the disk is at fault: choose another --run_dir"
            ) from error
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"could not save {path}: {error}; free some disk space or choose another --run_dir, then continue with --resume"
            ) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and the one kept before it."""
        for file in (Path(path), previous(Path(path))):
            file.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def newest_readable(path: str | Path) -> tuple[Path, str | None]:
    """`path`, or the one kept before it where `path` is damaged.

    Returns:
        The checkpoint to load, and what was wrong with `path` if it is not that.

    Raises:
        FileNotFoundError: when there is neither.
        ValueError: when both are damaged.
    """
    path = Path(path)
    candidates = [file for file in (path, previous(path)) if file.exists()]
    if not candidates:
        raise FileNotFoundError(f"there is no checkpoint at {path}; start the run without --resume")
    damage = []
    for file in candidates:
        try:
            torch.load(file, map_location="meta", weights_only=True)
        except Exception as error:  # whatever a damaged file raises
            damage.append(f"{file.name} is damaged ({type(error).__name__})")
        else:
            return file, "; ".join(damage) or None
    raise ValueError(f"no readable checkpoint in {path.parent}: {'; '.join(damage)}; start again in a new --run_dir")
