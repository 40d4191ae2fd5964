"""Reliable checkpoint files: written completely or not at all, with a fallback when one is damaged."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from noisylab.files import atomic_path
from noisylab.reading import check_archive

_WRITER = ("inline_container", "PytorchStreamWriter")  # torch's own words for a disk that takes no more
_OURS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # say nothing of the file

_LARGE = 2**30  # bytes from which a checkpoint is mapped, not read into memory beside what it is copied to

__all__ = ["AtomicCheckpointIO", "check_checkpoint", "damage", "newest_readable"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file, verifies its checksums, and only then replaces the previous one, which is
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
                f"could not save {path}: it cannot be read back ({reason}); methods and callbacks must keep state in tensors, "
                "numbers, strings, lists and dicts. If they do, the disk is at fault: choose another --run_dir"
            ) from error
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(part in str(error) for part in _WRITER):
                raise
            reason = str(error) if isinstance(error, OSError) else "the file could not be written to its end"
            raise OSError(
                f"could not save {path}: {reason}; free some disk space or choose another --run_dir, then continue with --resume"
            ) from error
        self._whole.add(path)

    def _keep(self, path: Path) -> None:
        """Keep the checkpoint at `path` as the previous one, unless it is damaged: then the previous one is the better."""
        if not path.exists() or (path not in self._whole and damage(path) is not None):
            return
        with atomic_path(previous(path)) as copy:
            copy.unlink()  # a second name of the file, rather than a copy, takes no time and no space
            try:
                os.link(path, copy)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, copy)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint at `path`; its pickle may contain only tensors and plain values, whatever `weights_only` says."""
        if "://" not in str(path):
            check_checkpoint(path)
            if Path(path).stat().st_size > _LARGE:  # read piece by piece, as it is copied to where it belongs
                return dict(torch.load(path, map_location=map_location, weights_only=True, mmap=True))
        return super().load_checkpoint(path, map_location=map_location, weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and the previous one kept with it."""
        for file in (Path(path), previous(Path(path))):
            file.unlink(missing_ok=True)


def check_checkpoint(path: str | Path) -> None:
    """Refuse a file that cannot be a checkpoint, before torch guesses what else it might be; its tensors are not read.

    Raises:
        FileNotFoundError: without the file.
        ValueError: saying what it is.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}; check the path")
    try:
        check_archive(path)
    except Exception as error:  # whatever a foreign file raises
        raise ValueError(f"{path} is not a checkpoint: {error}; give a file that noisylab fit wrote") from error


def previous(path: Path) -> Path:
    """The path at which the checkpoint before `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def _verify(path: Path) -> None:
    """Read a checkpoint completely; torch itself compares no checksums."""
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"the checksum of {broken} differs")
    torch.load(path, map_location="meta", weights_only=True)


def damage(path: str | Path) -> str | None:
    """A description of the damage to a checkpoint file; None if every byte of its content is intact.

    Raises:
        OSError: when that cannot be found out: no permission, no memory, too many open files.
    """
    try:
        _verify(Path(path))
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file raises
        if isinstance(error, OSError) and error.errno in _OURS:
            raise
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return None


def newest_readable(path: str | Path, *others: str | Path) -> tuple[Path, str | None]:
    """`path` or, if it is damaged or absent, the readable checkpoint with the most steps.

    Args:
        path: the checkpoint that is wanted.
        *others: further ones that would do; beside each, the one kept before it would do, too.

    Returns:
        The checkpoint to load, and what was wrong with damaged ones, if any.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when all are damaged.
    """
    path = Path(path)
    candidates = [file for place in (path, *map(Path, others)) for file in (place, previous(place)) if file.exists()]
    if not candidates:
        raise FileNotFoundError(f"there is no checkpoint at {path}: the run was stopped before its first one; start it again")
    found: list[str] = []
    readable: list[tuple[int, Path]] = []
    for file in candidates:
        wrong = damage(file)
        if wrong is not None:
            found.append(f"{file.name} is damaged ({wrong})")
        elif file == path:
            return file, None
        else:
            readable.append((torch.load(file, map_location="meta", weights_only=True).get("global_step", 0), file))
    if not readable:
        raise ValueError(f"no readable checkpoint in {path.parent}: {'; '.join(found)}; start again in a new --run_dir")
    best = max(steps for steps, _ in readable)
    return next(file for steps, file in readable if steps == best), "; ".join(found) or None
