"""timm networks (PyTorch Image Models) as noisylab networks."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.torchvision_net import fetch_verified, last_linear
from noisylab.reading import regular

__all__ = ["TimmNet"]

_SHOWN = 3


class TimmNet(BorrowedNetwork):
    """A network of timm, PyTorch Image Models, by its name, with a last layer of width K: EfficientNets, ResNets, ViTs.

    timm is a package of its own: ``pip install "noisylab[timm]"``. Nothing is downloaded unless asked for.

    Args:
        num_classes: K.
        name: as ``timm.list_models()`` has it, such as "efficientnet_b3", "resnet50" or "vit_small_patch16_224".
        weights: None for random ones; a file with timm's names of tensors (``.safetensors``, or what ``torch.save`` wrote of
            tensors alone); or "DEFAULT" for the file that timm names, downloaded to the ``checkpoints`` folder of
            `torch.hub.get_dir()` if it is not there; its name must hold the first digits of its SHA-256, which are checked. Every
            tensor but those of the last layer must fit; the last layer is always new.
        sha256: of a file given as `weights`, in hexadecimal digits; another file is refused. None to take any.
        freeze: what is not trained: "all_but_head", or the first parts of timm's parameter names, such as `[stem, stages.0]`.
        train_batchnorm: whether batch normalization in frozen parts is trained nevertheless. If not, it also keeps its running
            statistics: it stays in evaluation mode after `train()`.
        in_channels: channels of the image; pretrained weights are for 3.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: a name is unknown, weights do not fit, `freeze` matches nothing, or the network does not end in a linear one.
        FileNotFoundError: the weights are not on this machine and cannot be downloaded, or are damaged.

    Example:
        >>> net = TimmNet(num_classes=14, name="resnet18", freeze="all_but_head")  # doctest: +SKIP
        >>> net.embedding_width  # doctest: +SKIP
        512
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "efficientnet_b3",
        weights: str | None = None,
        sha256: str | None = None,
        freeze: Literal["all_but_head"] | list[str] | None = None,
        train_batchnorm: bool = True,
        in_channels: int = 3,
    ) -> None:
        super().__init__(num_classes)
        timm = _timm()
        if not timm.is_model(name):
            nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0)
            raise ValueError(f"name must be a network of timm, got {name!r}; nearest: {', '.join(nearest)}")
        if sha256 is not None and weights in (None, "DEFAULT"):
            raise ValueError(f"sha256 is of a file given as weights, got weights={weights!r}; leave it out")
        self.net: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
        head, _ = last_linear(self.net, name)
        if weights is not None:
            file = _default_file(self.net, name) if weights == "DEFAULT" else _given_file(weights, sha256)
            _load(self.net, head, file)
        self.freeze(freeze, head, train_batchnorm)


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'TimmNet needs the package timm, which is not installed ({error}): pip install "noisylab[timm]"', name="timm"
        ) from None
    return timm


def _default_file(net: nn.Module, name: str) -> Path:
    """The verified file that timm names for a network, downloaded first if it is missing."""
    known: Any = getattr(net, "pretrained_cfg", None) or {}
    url = str(known.get("url") or "")
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not re.search(r"-[0-9a-f]{8,}\.pth$", file.name):
        where = (
            f"model.safetensors of https://huggingface.co/{known['hf_hub_id']}" if known.get("hf_hub_id") else "a file of them"
        )
        raise FileNotFoundError(
            f"timm names no weights of {name!r} whose hash is known, so they are not downloaded; get {where} yourself and give "
            "its path as weights"
        )
    try:
        fetch_verified(url, file)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"the weights of {name!r} cannot be loaded ({error}); put the file {file.name} from {url} into {file.parent}"
        ) from error
    return file


def _given_file(weights: str, sha256: str | None) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"weights={weights!r} is no file; give the path of one, 'DEFAULT' for the file that timm names, or None for random "
            "ones"
        )
    if sha256 is not None:
        with regular(file).open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != sha256.lower():
            raise FileNotFoundError(f"{file} has the SHA-256 {digest}, not {sha256}: it is damaged or another file")
    return file


def _load(net: nn.Module, head: str, file: Path) -> None:
    """Take over every tensor but those of the last layer.

    Raises:
        ValueError: for a file that lacks some, or has others.
        FileNotFoundError: for one that holds more than tensors, or is damaged.
    """
    own = {key for key in net.state_dict() if not key.startswith(f"{head}.")}
    found = _tensors(file)
    theirs = {key: value for key, value in found.items() if not key.startswith(f"{head}.")}
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
