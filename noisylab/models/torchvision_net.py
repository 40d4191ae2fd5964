"""The classifiers of torchvision, with the number of classes set and parts frozen as needed."""

from __future__ import annotations

import difflib
import hashlib
import pickle
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import nn

from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.pretrained import find_weights, names_a_place, take_weights, wanted
from noisylab.reading import regular

__all__ = ["TorchvisionNet", "build_classifier", "fetch_verified", "fetch_weights", "last_linear", "weights_file"]

_SEVERAL_OUTPUTS = ("googlenet", "inception_v3")


class TorchvisionNet(BorrowedNetwork):
    """A torchvision classifier whose last linear layer is replaced by a new one of width K.

    Args:
        num_classes: K.
        name: name of the network in torchvision, such as "resnet50", "vit_b_16".
        weights: name of pretrained weights, such as "DEFAULT" or "IMAGENET1K_V2"; `None` for random ones. They are read
            from the `checkpoints` folder of `torch.hub.get_dir()`, and downloaded to it when they are missing. A file whose
            SHA-256 does not begin with the digits in its name, or that holds anything but tensors, is refused. Or a file of your
            own with torchvision's names of tensors, an address ``https://...`` of one, or ``hf:owner/name/FILE@commit``, see
            `noisylab.models.pretrained.find_weights`; the last layer of it is left out.
        sha256: of a file or an address given as `weights`, 64 hexadecimal digits; another file is refused. None to take any; an
            address needs it.
        freeze: what is not trained: "all_but_head", or the first parts of torchvision's parameter names, such as
            `[conv1, bn1, layer1]`. The new head is always trained.
        train_batchnorm: whether batch normalization in frozen parts is trained nevertheless. If not, it also keeps its
            running statistics: it stays in evaluation mode after `train()`.
        head_init: "default" keeps PyTorch's initial values of a linear layer; "he" draws He-normal weights and sets the
            bias to zero (ACT).
        in_channels: channels of the image, 1 for a spectrogram. With another number than 3 the first convolution is a new one.
            Without pretrained weights its own are normal, with the standard deviation of those that they replace. Of pretrained
            weights one channel gets the sum over the colors, so that it does what the same gray picture in three channels did;
            several get those of the colors in turn, times 3 over their number.
        layer_decay: in (0, 1], factor of the learning rate from each block to the one before it; the head keeps the optimizer's
            rate. See `noisylab.models.layerwise.layer_numbers` for what a block is.
        lora: low-rank adapters, see `TimmNet`. Torch's attention has no layers that could get them.

    Raises:
        ValueError: a name is unknown, weights do not fit, `freeze` or `lora` match nothing, or the network does not end in a
            linear layer or, for another `in_channels`, does not begin with a convolution.
        FileNotFoundError: the weights are not on this machine and cannot be downloaded.

    Example:
        >>> net = TorchvisionNet(num_classes=14, name="resnet18", freeze=["conv1", "bn1", "layer1"])
        >>> sum(parameter.requires_grad for parameter in net.parameters()), net.num_classes
        (57, 14)
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "resnet50",
        weights: str | None = None,
        freeze: Literal["all_but_head"] | list[str] | None = None,
        train_batchnorm: bool = True,
        head_init: Literal["default", "he"] = "default",
        in_channels: int = 3,
        sha256: str | None = None,
        layer_decay: float = 1.0,
        lora: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes)
        if head_init not in ("default", "he"):
            raise ValueError(f"head_init must be 'default' or 'he', got {head_init!r}")
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        placed = weights is not None and names_a_place(weights)
        if sha256 is not None and not placed:
            raise ValueError(f"sha256 is of a file given as weights, got weights={weights!r}; leave it out")
        self.net = build_classifier(name, None if placed else weights)
        head_name, old = last_linear(self.net, name)
        if placed and wanted(weights) is not None:
            assert weights is not None
            take_weights(self.net, head_name, find_weights(weights, sha256))
        if in_channels != 3:
            _set_channels(self.net, name, in_channels, pretrained=weights is not None)
        head = nn.Linear(old.in_features, num_classes)
        if head_init == "he":
            nn.init.kaiming_normal_(head.weight)
            nn.init.zeros_(head.bias)
        self.net.set_submodule(head_name, head)
        self.tune(head_name, freeze, train_batchnorm, layer_decay, lora)


def build_classifier(name: str, weights: str | None = None) -> nn.Module:
    """A torchvision classifier with its original last layer.

    Args:
        name: see `TorchvisionNet`.
        weights: name of pretrained ones, likewise; not read in `noisylab.models.pretrained.weights_to_come`.

    Raises:
        ValueError: a name is unknown, or the network has several outputs.
        FileNotFoundError: the weights are not on this machine and cannot be downloaded.
    """
    from torchvision import models

    _check_name(models, name)
    if weights is None:
        return models.get_model(name)
    entry = _entry(models, name, weights)
    if wanted(weights) is None:
        # the one thing besides the weights that an entry decides: the size of the images of a vision transformer
        return models.get_model(name, **({"image_size": entry.meta["min_size"][0]} if name.startswith("vit_") else {}))
    fetch_weights(name, weights)
    return models.get_model(name, weights=entry)


def weights_file(name: str, weights: str = "DEFAULT") -> Path:
    """The path at which the file of pretrained weights is, or would be.

    Args:
        name: see `TorchvisionNet`.
        weights: name of pretrained weights.

    Raises:
        ValueError: a name is unknown.
    """
    from torchvision import models

    _check_name(models, name)
    url = _entry(models, name, weights).url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def fetch_weights(name: str, weights: str = "DEFAULT") -> Path:
    """The verified file of pretrained weights, downloaded first if it is missing.

    Args:
        name: see `TorchvisionNet`.
        weights: name of pretrained weights.

    Raises:
        ValueError: a name is unknown.
        FileNotFoundError: the weights are not on this machine and cannot be downloaded, or are damaged.
    """
    from torchvision import models

    file, url = weights_file(name, weights), _entry(models, name, weights).url
    try:
        fetch_verified(url, file)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"the weights {weights!r} of {name!r} cannot be loaded ({error}); put the file {file.name} from {url} into "
            f"{file.parent}"
        ) from error
    return file


def last_linear(net: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """The last linear layer of a network, which produces its outputs, and its name.

    Args:
        net: the network.
        name: its name in messages.

    Raises:
        ValueError: it has none.
    """
    linear = [(part, module) for part, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{name!r} does not end in a linear layer that could be replaced; use Wrap with a factory")
    return linear[-1]


@torch.no_grad()
def _set_channels(net: nn.Module, name: str, channels: int, pretrained: bool) -> None:
    """Give a network a first convolution for another number of channels, see `TorchvisionNet`."""
    old = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if old is None or old.in_channels != 3 or old.groups != 1:
        raise ValueError(f"in_channels={channels}: {name!r} does not begin with a convolution of three channels; leave it at 3")
    weight = torch.empty(old.out_channels, channels, *old.kernel_size)
    if not pretrained:
        weight.normal_(0, float(old.weight.std()))
    elif channels == 1:
        weight.copy_(old.weight.sum(1, keepdim=True))
    else:
        weight.copy_(old.weight[:, torch.arange(channels) % 3] * 3 / channels)
    old.in_channels, old.weight = channels, nn.Parameter(weight)


def _check_name(models: ModuleType, name: str) -> None:
    known = [model for model in models.list_models(module=models) if model not in _SEVERAL_OUTPUTS]
    if name in _SEVERAL_OUTPUTS:
        raise ValueError(f"name={name!r} has several outputs while it trains; use another network")
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0)
        raise ValueError(f"name must be a classifier of torchvision, got {name!r}; nearest: {', '.join(nearest)}")


def _entry(models: ModuleType, name: str, weights: str) -> Any:
    """What torchvision knows of some weights."""
    choices: dict[str, Any] = models.get_model_weights(name).__members__
    if weights not in choices:
        raise ValueError(f"weights of {name!r} must be one of {list(choices)} or None, got {weights!r}")
    return choices[weights]


def fetch_verified(url: str, file: Path) -> None:
    """Have a file of weights in its place, verified: torchvision unpickles whatever it finds there."""
    found = re.search(r"-([0-9a-f]{8,})\.", file.name)
    prefix = None if found is None else found.group(1)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), prefix, progress=False)
    with regular(file).open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if prefix is not None and not digest.startswith(prefix):
        raise OSError(f"{file} is damaged or another file: its SHA-256 begins with {digest[: len(prefix)]}; remove it")
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise OSError(f"{file} holds more than weights, or is damaged, and was not read; remove it") from error
