"""Where the pretrained weights of a borrowed network come from: a file, an address with its digest, the Hugging Face hub."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from noisylab.downloads import download, file_digest
from noisylab.reading import regular

__all__ = ["find_weights", "names_a_place", "take_weights", "wanted", "weights_to_come"]

_SHOWN = 3
_HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:/([\w./-]+))?@([0-9a-f]{40})")
_HUB_FILE = "model.safetensors"
_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors")
_TO_COME = contextvars.ContextVar("_TO_COME", default=False)


@contextmanager
def weights_to_come() -> Iterator[None]:
    """Networks that are built in this context read no pretrained weights, since a checkpoint brings all of theirs.

    So a checkpoint is enough to predict where the file that the training began with is not.
    """
    token = _TO_COME.set(True)
    try:
        yield
    finally:
        _TO_COME.reset(token)


def wanted(weights: str | None) -> str | None:
    """The pretrained weights that a network's constructor should read: those it was given, or None in `weights_to_come`."""
    return None if _TO_COME.get() else weights


def names_a_place(weights: str) -> bool:
    """Whether a text says where weights are, by a path, an address or a place on the hub, and is no name of published ones."""
    return weights.startswith("hf:") or "/" in weights or "\\" in weights or weights.lower().endswith(_SUFFIXES)


def find_weights(weights: str, sha256: str | None = None) -> Path:
    """The file of pretrained weights on this machine, fetched first if it is elsewhere.

    Args:
        weights: the path of a file; an address ``https://...``, whose file is kept in the folder `checkpoints` of
            `torch.hub.get_dir()`; or ``hf:owner/name@commit``, the file ``model.safetensors`` of a repository of the Hugging
            Face hub at a commit of 40 digits, ``hf:owner/name/FILE@commit`` for another file of it.
        sha256: of the file, 64 hexadecimal digits; another file is refused. An address needs it.

    Raises:
        ValueError: an address without its digest, a place on the hub without its commit, a digest of another form.
        FileNotFoundError: the file is not there, cannot be fetched, or is another one.
        ModuleNotFoundError: the hub is asked and `huggingface_hub` is not installed.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}; sha256sum FILE prints them")
    if re.match("https?://", weights):
        return _from_address(weights, sha256)
    file = _from_hub(weights) if weights.startswith("hf:") else Path(weights).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"weights={weights!r} is no file; give the path of one, an address https://... with its sha256, "
            "hf:owner/name@commit, or None for random ones"
        )
    if sha256 is not None:
        _check_digest(file, sha256)
    return file


def _check_digest(file: Path, sha256: str) -> None:
    digest = file_digest(regular(file))
    if digest != sha256.lower():
        raise FileNotFoundError(f"{file} has the SHA-256 {digest}, not {sha256}: it is damaged or another file")


def _from_address(url: str, sha256: str | None) -> Path:
    if sha256 is None:
        raise ValueError(
            f"weights={url!r} is an address, whose file may change: give its sha256, too; whoever publishes it names the "
            "digest, or fetch it yourself, look at it, and take what sha256sum FILE prints"
        )
    name = Path(urlparse(url).path).name or "weights"
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"{sha256[:16].lower()}-{name}"
    if not file.is_file():
        try:
            download(url, file, sha256.lower(), "sha256")
        except OSError as error:
            raise FileNotFoundError(str(error)) from error
    _check_digest(file, sha256)
    return file


def _from_hub(weights: str) -> Path:
    found = _HUB.fullmatch(weights)
    if found is None:
        raise ValueError(
            f"weights={weights!r} must be hf:owner/name@commit or hf:owner/name/FILE@commit, with a commit of 40 hexadecimal "
            "digits: what a branch or tag names may change; the page 'Files and versions' of the repository lists its commits"
        )
    repository, file, commit = found[1], found[2] or _HUB_FILE, found[3]
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"weights={weights!r} needs the package huggingface_hub, which is not installed ({error}): "
            'pip install "noisylab[timm]"',
            name="huggingface_hub",
        ) from None
    try:
        return Path(hf_hub_download(repository, file, revision=commit))
    except OSError as error:  # of the network and of the hub alike
        raise FileNotFoundError(
            f"{file} of {repository} at {commit[:8]} is not on this machine and cannot be fetched ({error}). Where there is a "
            f"network, call: hf download {repository} {file} --revision {commit}; then copy the file and give its path as weights"
        ) from error


def take_weights(net: nn.Module, head: str, file: Path) -> None:
    """Take over every tensor of a file but those of the last layer, which is new.

    Args:
        net: changed in place.
        head: name of its last layer.
        file: with the network's own names of tensors.

    Raises:
        ValueError: for a file that lacks some, or has others.
        FileNotFoundError: for one that holds more than tensors, or is damaged.
    """
    own = {key for key in net.state_dict() if not key.startswith(f"{head}.")}
    theirs = {key: value for key, value in _tensors(file).items() if not key.startswith(f"{head}.")}
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    wrong = sorted(own ^ set(theirs)) or [key for key in theirs if tuple(theirs[key].shape) != shapes[key]]
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
        raise ValueError(
            f"{file} is not of this network, or of another number of channels: {shown} are not in both or differ in shape; give "
            "the name with which its weights were saved"
        )
    net.load_state_dict(theirs, strict=False)


def _tensors(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content: Any = torch.load(regular(file), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file raises
        raise FileNotFoundError(f"{file} holds more than weights, or is damaged, and was not read ({error})") from error
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FileNotFoundError(f"{file} holds no tensors by name; give a file of weights")
    return content
