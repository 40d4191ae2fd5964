"""Downloads a file; the result is complete and verified, or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.request
from pathlib import Path
from typing import Literal

from noisylab.files import atomic_path, clear_partials

__all__ = ["ABANDONED", "download", "file_digest"]

_TIMEOUT = 60  # seconds without an answer
ABANDONED = 3600  # seconds without a write, after which a partial file is nobody's any more

Algorithm = Literal["md5", "sha256"]


def file_digest(path: Path, algorithm: Algorithm = "sha256") -> str:
    """The digest of a file, in hexadecimal digits.

    Args:
        path: of the file.
        algorithm: "md5", which releases of data sets still give, or "sha256".
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def download(url: str, path: Path, digest: str, algorithm: Algorithm = "md5") -> None:
    """Download into a partial file beside `path`, verify it, and only then rename it to `path`.

    Args:
        url: where the file is.
        path: where it belongs; its folder is made.
        digest: that it must have, in hexadecimal digits.
        algorithm: of the digest.

    Raises:
        OSError: naming the address, the digest and the folder, when the file does not come or is another one.
    """
    clear_partials(path.parent, path.name, older_than=ABANDONED)
    try:
        with atomic_path(path) as partial:
            request = urllib.request.Request(url, headers={"User-Agent": "noisylab"})
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
            found = file_digest(partial, algorithm)
            if found != digest:
                raise OSError(f"the download is incomplete or a different file, with the {algorithm} {found}")
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"could not download {url}: {error}. Try again, or fetch {path.name} by hand ({algorithm} {digest}) and put it into "
            f"the folder {path.parent.absolute()}"
        ) from error
