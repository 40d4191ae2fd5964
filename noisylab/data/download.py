"""Files of releases: their digests, and archives unpacked completely or not at all; `noisylab.downloads` fetches them."""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from pathlib import Path

from noisylab.downloads import ABANDONED, download, file_digest
from noisylab.files import clear_partials

__all__ = ["download", "file_md5", "unpack"]


def file_md5(path: Path) -> str:
    """MD5 of a file, in 32 hexadecimal digits."""
    return file_digest(path, "md5")


def unpack(archive: Path, name: str, folder: Path) -> None:
    """Extract the folder `name` from a tar archive to `folder / name`, completely or not at all.

    Members that would land outside their folder are refused, as are links and devices that lead there. What processes killed
    while unpacking left is removed once it is old enough.

    Args:
        archive: a tar file, compressed or not.
        name: the folder inside it.
        folder: where it goes.

    Raises:
        ValueError: when the archive is damaged, holds a forbidden member, or has no such folder.
        OSError: when the disk is full or not writable.
    """
    clear_partials(folder, name, older_than=ABANDONED)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.", suffix=".partial") as partial:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(partial, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"cannot unpack {archive}: {error}; remove it and fetch it again") from error
        unpacked = Path(partial) / name
        if not unpacked.is_dir():
            raise ValueError(f"{archive} has no folder {name}; remove it and fetch the file from the data set's own page")
        try:
            unpacked.rename(folder / name)
        except OSError:
            if not (folder / name).is_dir():  # else another process was first
                raise
