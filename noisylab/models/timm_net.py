"""timm networks (PyTorch Image Models) as noisylab networks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import nn

from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.pretrained import find_weights, take_weights, wanted
from noisylab.models.torchvision_net import fetch_verified, last_linear

__all__ = ["TimmNet"]


class TimmNet(BorrowedNetwork):
    """A network of timm, PyTorch Image Models, by its name, with a last layer of width K: EfficientNets, ResNets, ViTs.

    timm is a package of its own: ``pip install "noisylab[timm]"``. Nothing is downloaded unless asked for.

    Args:
        num_classes: K.
        name: as ``timm.list_models()`` has it, such as "efficientnet_b3", "resnet50" or "vit_small_patch16_224".
        weights: None for random ones; a file with timm's names of tensors (``.safetensors``, or what ``torch.save`` wrote of
            tensors alone), an address ``https://...`` of one, or ``hf:owner/name@commit`` on the Hugging Face hub, see
            `noisylab.models.pretrained.find_weights`; or "DEFAULT" for the file that timm names, downloaded to the
            ``checkpoints`` folder of `torch.hub.get_dir()` if it is not there; its name must hold the first digits of its
            SHA-256, which are checked. Every tensor but those of the last layer must fit; the last layer is always new.
        sha256: of what is given as `weights`, 64 hexadecimal digits; another file is refused. None to take any; an address needs
            it.
        freeze: what is not trained: "all_but_head", or the first parts of timm's parameter names, such as `[stem, stages.0]`.
        train_batchnorm: whether batch normalization in frozen parts is trained nevertheless. If not, it also keeps its running
            statistics: it stays in evaluation mode after `train()`.
        in_channels: channels of the image; pretrained weights are for 3.
        layer_decay: in (0, 1], factor of the learning rate from each layer to the one before it; the head keeps the optimizer's.
            Layers are those of `timm.optim.param_groups_layer_decay`. BEiT was fine-tuned with 0.65 to 0.75.
        lora: low-rank adapters in place of the layers' own weights: `rank` (8), `alpha` (twice the rank), `dropout` (0), and
            `target_modules`, the ends of names of layers, such as `[qkv, proj]` (every linear layer before the head, or where
            there is none every convolution without groups). Only they and the head are trained, and batch normalization stays in
            evaluation mode. Needs the extra ``lora``. None to train the weights themselves.

    Raises:
        ModuleNotFoundError: timm is not installed, or what `weights` or `lora` need.
        ValueError: a name is unknown, weights do not fit, `freeze` or `lora` match nothing, or the network does not end in a
            linear one.
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
        layer_decay: float = 1.0,
        lora: dict[str, Any] | None = None,
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
        weights = wanted(weights)
        if weights is not None:
            take_weights(self.net, head, _default_file(self.net, name) if weights == "DEFAULT" else find_weights(weights, sha256))
        self.tune(head, freeze, train_batchnorm, layer_decay, lora)

    def layer_numbers(self, head: str) -> dict[str, int]:
        """The layer of each parameter of `net`, by timm's table for it; as in other networks where timm has none."""
        matcher: Any = getattr(self.net, "group_matcher", None)
        if matcher is None:
            return super().layer_numbers(head)
        from timm.models import group_parameters

        found: dict[str, int] = group_parameters(self.net, matcher(coarse=False), reverse=True)
        last = max(found.values())
        return {name: last if name.startswith(f"{head}.") else layer for name, layer in found.items()}


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
