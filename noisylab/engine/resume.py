"""Checkpoints that can be trusted: whose they are, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from noisylab.files import atomic_path

__all__ = ["AtomicCheckpointIO", "check_stamp", "damage", "newest_readable", "stamp"]


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
    """Writes a checkpoint beside its place, reads it back against its checksums, and only then replaces the one before, which is
    kept as ``<name>.previous``. Reads nothing but tensors and plain values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole: set[Path] = set()  # written or verified by this process

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write, read back, flush to disk, rename.

        Raises:
            OSError: when the disk is full or not writable, or what was written does not read back; the checkpoint before is
                still in place.
        """
        path = Path(path)
        try:
            with atomic_path(path) as partial:
                torch.save(checkpoint, partial)
                _verify(partial)
                self._keep(path)
        except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
            reason = next((line.strip() for line in str(error).splitlines() if "Unsupported" in line), type(error).__name__)
            raise OSError(
                f"could not save {path}: it does not read back ({reason}); the state of methods and callbacks must be tensors, "
                "numbers, strings, lists and dicts. If it is, the disk is at fault: choose another --run_dir"
            ) from error
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"could not save {path}: {error}; free some disk space or choose another --run_dir, then continue with --resume"
            ) from error
        self._whole.add(path)

    def _keep(self, path: Path) -> None:
        """Keep the checkpoint at `path` as the previous one, unless it is damaged: then the previous one is the better."""
        if not path.exists() or (path not in self._whole and damage(path) is not None):
            return
        with atomic_path(previous(path)) as copy:
            try:
                os.link(path, copy)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, copy)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint at `path`; its pickle may name tensors and plain values only, whatever `weights_only` says."""
        return super().load_checkpoint(path, map_location=map_location, weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and the one kept before it."""
        for file in (Path(path), previous(Path(path))):
            file.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def _verify(path: Path) -> None:
    """Read a checkpoint completely; torch itself compares no checksums."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"the checksum of {broken} differs")
    torch.load(path, map_location="meta", weights_only=True)


def damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint file; None if every byte of its content is as it was written."""
    try:
        _verify(Path(path))
    except Exception as error:  # whatever a damaged file raises
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return None


def newest_readable(path: str | Path, *others: str | Path) -> tuple[Path, str | None]:
    """`path`, or the first readable of those that come after it: the one kept before it, then the `others`, each followed by the
    one kept before it.

    Returns:
        The checkpoint to load, and what was wrong with the ones before it, if any.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when all are damaged.
    """
    path = Path(path)
    candidates = [file for place in (path, *map(Path, others)) for file in (place, previous(place)) if file.exists()]
    if not candidates:
        raise FileNotFoundError(f"there is no checkpoint at {path}; start the run without --resume")
    found: list[str] = []
    for file in candidates:
        wrong = damage(file)
        if wrong is None:
            return file, "; ".join(found) or None
        found.append(f"{file.name} is damaged ({wrong})")
    raise ValueError(f"no readable checkpoint in {path.parent}: {'; '.join(found)}; start again in a new --run_dir")
