"""Tiny data sets in the layouts that the data modules read, and their training batches without a Trainer."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import struct
import wave
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisylab.data import NoisyDataModule
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.types import EpochPlan, Phase, Stream


def write_cifar(root: Path, classes: int, rows: int, test_rows: int, protocol: int = 2) -> Path:
    """The Python release of CIFAR-10 or CIFAR-100 with few rows; row i of a part has the class i mod `classes`. Five fine classes
    in turn are a coarse one.

    Returns:
        The folder.
    """
    ten = classes == 10
    folder = root / ("cifar-10-batches-py" if ten else "cifar-100-python")
    folder.mkdir(parents=True)
    labels_key = "labels" if ten else "fine_labels"
    parts = {f"data_batch_{n}": rows // 5 for n in range(1, 6)} if ten else {"train": rows}
    parts["test_batch" if ten else "test"] = test_rows
    place = 0
    for name, size in parts.items():
        if name.startswith("test"):
            place = 0
        index = np.arange(place, place + size)
        pixels = np.random.default_rng(place).integers(0, 256, (size, 3072), dtype=np.uint8)
        batch = {"data": pixels, labels_key: (index % classes).tolist(), "filenames": [f"{i}.png" for i in index]}
        if not ten:
            batch["coarse_labels"] = (index % classes // 5).tolist()
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
        place += size
    names = [f"class{c}" for c in range(classes)]
    meta = (
        {"label_names": names}
        if ten
        else {"fine_label_names": names, "coarse_label_names": [f"coarse{c}" for c in range(classes // 5)]}
    )
    (folder / ("batches.meta" if ten else "meta")).write_bytes(pickle.dumps(meta, protocol=protocol))
    return folder


def write_cifarn(root: Path, classes: int, rows: int, test_rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """CIFAR-10N or CIFAR-100N with few rows: the images as `write_cifar` writes them, and the label file.

    Row i has the class i mod `classes`. The rows 0, 7, 14, ... are wrong by one class in the labels of people, and the rows 0, 3,
    6, ... in the worse labels.

    Returns:
        What the label file holds.
    """
    write_cifar(root, classes, rows, test_rows)
    clean = np.arange(rows) % classes
    people, worse = ((clean + (np.arange(rows) % n == 0)) % classes for n in (7, 3))
    if classes == 10:
        held = {"clean_label": clean, "aggre_label": people, "worse_label": worse}
        held |= {f"random_label{n}": people for n in (1, 2, 3)}
    else:
        held = {"clean_label": clean, "noisy_label": people, "clean_coarse_label": clean // 5, "noisy_coarse_label": people // 5}
    torch.save(held, root / f"CIFAR-{classes}_human.pt")
    return held


def write_packed(path: Path, classes: int, rows: int, test_rows: int, side: int = 8) -> None:
    """Images packed into one file; row i of a part has the class i mod `classes`."""
    stored: dict[str, Any] = {"class_names": np.array([f"class{c}" for c in range(classes)])}
    for part, count in (("train", rows), ("test", test_rows)):
        files = []
        for row in range(count):
            pixels = np.random.default_rng(row).integers(0, 256, (side, side, 3), dtype=np.uint8)
            with io.BytesIO() as file:
                Image.fromarray(pixels).save(file, format="PNG")
                files.append(file.getvalue())
        stored[f"{part}_bytes"] = np.frombuffer(b"".join(files), dtype=np.uint8)
        stored[f"{part}_offsets"] = np.cumsum([0, *map(len, files)])
        stored[f"{part}_labels"] = (np.arange(count) % classes).astype(np.uint8)
    np.savez(path, **stored)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """An IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, rows: int, test_rows: int, packed: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """The four files of MNIST or Fashion-MNIST with few rows; row i of a part has the class i mod 10.

    Returns:
        The arrays by the name of their file, without ``.gz``.
    """
    folder.mkdir(parents=True)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for part, size in (("train", rows), ("t10k", test_rows)):
        images = np.random.default_rng(size).integers(0, 256, (size, 28, 28), dtype=np.uint8)
        arrays |= {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": np.arange(size) % 10}
    for name, array in arrays.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return arrays


def write_ravdess(root: Path, actors: Iterable[int] = (1, 2, 3, 4), films: bool = False, seconds: float = 0.5) -> None:
    """A clip of each actor in each of six emotions under the names of RAVDESS: a tone in a wav file and, with `films`, a film
    without sound whose gray is that of the emotion."""
    for actor in actors:
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for emotion in range(1, 7):
            name = f"01-{emotion:02d}-01-01-01-{actor:02d}"
            time = np.arange(round(seconds * 16000)) / 16000
            write_wave(folder / f"03-{name}.wav", 0.3 * np.sin(2 * np.pi * (200 * emotion + 10 * actor) * time), 16000)
            if films:
                write_film(folder / f"02-{name}.mp4", [np.full((32, 48, 3), 30 * emotion + 2 * (actor - 1), dtype=np.uint8)] * 5)


def write_wave(path: Path, sound: np.ndarray[Any, Any], rate: int) -> None:
    """A wav file of 16 bits; sound is (n,) or (n, channels), in [-1, 1]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())


def write_film(
    path: Path, frames: Sequence[np.ndarray[Any, Any]], rate: int = 25, sound: np.ndarray[Any, Any] | None = None
) -> None:
    """An mp4 file of (H, W, 3) uint8 frames and, if given, of sound (channels, n) at 48 kHz in [-1, 1]."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "10"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        layout = "mono" if sound is None or len(sound) == 1 else "stereo"
        voice = None if sound is None else film.add_stream("aac", rate=48000, layout=layout)
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode(None))
        if voice is not None and sound is not None:
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, dtype=np.float32), format="fltp", layout=layout)
            heard.sample_rate = 48000
            film.mux(voice.encode(heard))
            film.mux(voice.encode(None))


def write_xrmb(root: Path, **changed: Any) -> Path:
    """Both files of XRMB, of few rows in no order: ten training speakers with the numbers 11, 13, ..., two of tune and two of
    test, each of whom says each of 40 classes once.

    Args:
        root: folder.
        **changed: by the name of a variable, what becomes of it; None leaves it out.

    Returns:
        The folder.
    """
    import scipy.io

    rng = np.random.default_rng(0)
    files: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    parts = {"train": (("X1", "X2"), range(11, 31, 2)), "tune": (("XV1", "XV2"), (40, 41)), "test": (("XTe1", "XTe2"), (50, 51))}
    for part, (names, speakers) in parts.items():
        order = rng.permutation(40 * len(speakers))
        label, who = np.tile(np.arange(40), len(speakers))[order], np.repeat(list(speakers), 40)[order]
        for name, width, file in zip(names, (273, 112), files, strict=True):
            rows = rng.normal(size=(len(label), width)) * 3 + who[:, None] + 5 * (label[:, None] == np.arange(width) % 40)
            file[name] = rows.astype(np.float32)
        files[1][f"{part}Label"], files[1][f"{part}ID"] = label[:, None].astype(np.uint8), who[:, None].astype(np.uint8)
    for name, change in changed.items():
        file = files[name in files[1]]
        value = file.pop(name)
        file |= {} if change is None else {name: change(value)}
    for number, file in enumerate(files, 1):
        scipy.io.savemat(root / f"XRMBf2KALDI_window7_single{number}.mat", file, do_compression=True)
    return root


def write_reuters(
    root: Path, each: int, views: Sequence[str] = ("EN", "FR"), original: str = "EN", packed: bool = False
) -> dict[str, list[dict[int, float]]]:
    """Index files of Reuters with few documents and terms up to 11,000; line n has the class n mod 6, every seventh no terms.

    Returns:
        By language the weights of each document by their term, as they are written.
    """
    classes, written = ("C15", "CCAT", "E21", "ECAT", "GCAT", "M11"), {}
    for view in views:
        rng = np.random.default_rng(sum(view.encode()))
        documents: list[dict[int, float]] = []
        for n in range(6 * each):
            terms = sorted(rng.choice(11_000, size=0 if n % 7 == 6 else 4 + n % 5, replace=False) + 1)
            documents.append({int(term): round(float(rng.exponential()) + 0.01, 6) for term in terms})
        lines = [
            " ".join([classes[n % 6], *(f"{term}:{weight:.6f}" for term, weight in document.items())]) + " \n"
            for n, document in enumerate(documents)
        ]
        path = root / view / f"Index_{original}-{view}{'.gz' * packed}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("".join(lines).encode()) if packed else "".join(lines).encode())
        written[view] = documents
    return written


def write_image(path: Path, size: tuple[int, int] = (8, 8), seed: int = 0, mode: str = "RGB") -> None:
    """One image file of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def write_folders(
    root: Path, classes: Iterable[str] = ("cat", "dog"), each: int = 3, size: tuple[int, int] = (8, 8), **kwargs: Any
) -> None:
    """``root/<class>/<n>.png``."""
    for place, name in enumerate(classes):
        for n in range(each):
            write_image(root / name / f"{n}.png", size, seed=10 * place + n, **kwargs)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A comma-separated table; returns its path."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def train_batches(data: NoisyDataModule, views: Sequence[str] = ("weak",), epoch: int = 0, start: int = 0) -> Iterator[Any]:
    """The `Batch`es of an epoch from number `start` on, as a training step gets them."""
    data.setup()
    plan = ResolvedPlan(
        EpochPlan((Phase("train", {"train": Stream(views=tuple(views))}),)),
        epoch=epoch,
        seed=data.seed,
        train_rows=data.info.train_rows,
        batch_size=data.batch_size,
    )
    for batch in data.batches(plan, torch.device("cpu"), start):
        yield batch["train"]
