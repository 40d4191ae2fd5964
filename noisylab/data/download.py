"""Downloads files and unpacks archives; the result is complete and verified, or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path

from noisylab.files import atomic_path, clear_partials

__all__ = ["download", "file_md5", "unpack"]

_TIMEOUT = 60  # seconds without an answer
_ABANDONED = 3600  # seconds without a write, after which a partial file is nobody's any more


def file_md5(path: Path) -> str:
    """MD5 of a file, in 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(url: str, path: Path, md5: str) -> None:
    """Download into a partial file beside `path`, verify it, and only then rename it to `path`.

    Args:
        url: where the file is.
        path: where it belongs; its folder is made.
        md5: the digest it must have.

    Raises:
        OSError: naming the address, the digest and the folder, when the file does not come or is another one.
    """
    clear_partials(path.parent, path.name, older_than=_ABANDONED)
    try:
        with atomic_path(path) as partial:
            request = urllib.request.Request(url, headers={"User-Agent": "noisylab"})
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
            found = file_md5(partial)
            if found != md5:
                raise OSError(f"the download is incomplete or a different file, with the md5 {found}")
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"could not download {url}: {error}. Try again, or fetch {path.name} by hand (md5 {md5}) and put it into the folder "
            f"{path.parent.absolute()}"
        ) from error


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
    clear_partials(folder, name, older_than=_ABANDONED)
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
