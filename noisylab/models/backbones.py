"""Frozen pretrained networks that turn images into feature vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisylab.models.lite_net import (
    LITE_MIDDLE,
    LITE_NETWORKS,
    LITE_SCALE,
    LITE_WIDTH,
    lite_network,
    lite_weights,
    missing_packages,
)
from noisylab.models.torchvision_net import build_classifier, fetch_weights, last_linear, weights_file
from noisylab.reading import regular
from noisylab.upstream.efficientnet_lite import without_head_and_norms

__all__ = ["Backbone", "FeatureNet", "available_backbone", "find_backbone"]

_LITE = "efficientnet_lite0"
_TORCHVISION, _FALLBACK = "torchvision:", "resnet18"
_INSTALL = 'pip install "noisylab[features]"'


class FeatureNet(nn.Module):
    """A network without its classifier, in evaluation mode, with the scaling of pixels that it was trained with.

    Args:
        body: gives (B, D) features of scaled images.
        middle: per channel, subtracted from pixels 0..255.
        scale: per channel, by which the difference is divided.
    """

    middle: Tensor
    scale: Tensor

    def __init__(self, body: nn.Module, middle: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("middle", torch.tensor(middle).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, D) float32 features, detached, of images (B, 3, S, S) uint8."""
        with torch.inference_mode():
            scaled = (pixels.float() - self.middle) / self.scale
            return self.body(scaled.contiguous(memory_format=torch.channels_last)).float()


@dataclass(frozen=True)
class Backbone:
    """A pretrained network whose weights are on this machine.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite2", or "torchvision:" and a name of torchvision.
        weights: their file.
    """

    name: str
    weights: Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights' file, in hexadecimal digits."""
        with regular(self.weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def num_features(self) -> int:
        """D, without reading the weights."""
        if self.name in LITE_NETWORKS:
            return LITE_WIDTH
        name = self.name.removeprefix(_TORCHVISION)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return last_linear(build_classifier(name), name)[1].in_features

    def load(self, image_size: int) -> FeatureNet:
        """The network for images of `image_size` pixels a side. Does not change the random state.

        Raises:
            ValueError: the network does not take images of this size.
            FileNotFoundError: the file of the weights is not the one that it should be.
        """
        with torch.random.fork_rng(devices=[]):  # networks draw initial weights before they read theirs
            net = self._lite(image_size) if self.name in LITE_NETWORKS else self._torchvision()
        try:
            net(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the backbone {self.name} cannot take images of {image_size} pixels a side ({error}); set another image_size, "
                "such as 224"
            ) from error
        return net.to(memory_format=torch.channels_last)

    def _lite(self, image_size: int) -> FeatureNet:
        found = re.search(r"-([0-9a-f]{8,})\.", self.weights.name)
        if found is not None and not self.digest.startswith(found.group(1)):
            package = LITE_NETWORKS[self.name][0]
            raise FileNotFoundError(
                f"{self.weights} is damaged: its SHA-256 begins with {self.digest[:8]}; install {package} again"
            )
        net = lite_network(self.name, image_size=image_size)
        net.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
        return FeatureNet(_LiteBody(net.eval()), (LITE_MIDDLE,) * 3, (LITE_SCALE,) * 3)

    def _torchvision(self) -> FeatureNet:
        from torchvision import models

        name = self.name.removeprefix(_TORCHVISION)
        net = build_classifier(name, "DEFAULT")
        net.set_submodule(last_linear(net, name)[0], nn.Identity())
        preset: Any = models.get_model_weights(name)["DEFAULT"].transforms()
        return FeatureNet(net, [255 * value for value in preset.mean], [255 * value for value in preset.std])


def available_backbone() -> str | None:
    """The backbone that "auto" means if it is on this machine; `None` if something would have to be fetched. Fetches nothing."""
    if not missing_packages(_LITE):
        return _LITE
    return f"{_TORCHVISION}{_FALLBACK}" if weights_file(_FALLBACK).is_file() else None


def find_backbone(name: str = "auto") -> Backbone:
    """A pretrained network; its weights are fetched if they are not on this machine.

    Args:
        name: "efficientnet_lite0" or "efficientnet_lite2", the 1280 averaged outputs before the classifier (Apache-2.0; weights
            and code are Python packages, the extra `features`); "torchvision:<name>", what a classifier of torchvision gives its
            last layer, with its default weights; or "auto", efficientnet_lite0 if it is there, else torchvision's resnet18.

    Raises:
        ValueError: there is no such network.
        FileNotFoundError: its weights cannot be had.
    """
    chosen = available_backbone() or f"{_TORCHVISION}{_FALLBACK}" if name == "auto" else name
    if chosen in LITE_NETWORKS:
        return Backbone(chosen, lite_weights(chosen, check=False))  # when it is loaded
    if not chosen.startswith(_TORCHVISION):
        raise ValueError(
            f"backbone must be auto, {', '.join(LITE_NETWORKS)}, or {_TORCHVISION} and a name from torchvision, got {name!r}"
        )
    network = chosen.removeprefix(_TORCHVISION)
    try:
        weights = fetch_weights(network)
    except FileNotFoundError as error:
        if name != "auto":
            raise
        raise FileNotFoundError(f"there is no pretrained backbone; {_INSTALL} installs one. Otherwise: {error}") from error
    backbone = Backbone(chosen, weights)
    _ = backbone.num_features  # refuses a network without a last linear layer before anything is computed with it
    return backbone


class _LiteBody(nn.Module):
    """EfficientNet-Lite up to its averaged features, its batch normalization put into the convolutions: a third faster on a CPU.

    The network's own `forward` prints what it does and gives logits.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = without_head_and_norms(net)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1280) for images (B, 3, S, S)."""
        return self.net.extract_features(images).mean((2, 3))
