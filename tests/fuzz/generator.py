"""Malformed commands and files, drawn from a seed."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Case", "cases", "plant"]

TINY = ("--data.subset", "40", "--data.batch_size", "20", "--trainer.max_epochs", "1", "--model.network.width", "2")
FIT = ("fit", "--config", "ce_digits.yaml", *TINY, "--run_dir", "new")
ARRAYS = ("issues", "--arrays", "x.npz", "--trainer.max_epochs", "1", "--pictures", "0", "--run_dir", "new")
TABLE = ("issues", "--images", "photos", "--labels", "t.csv", "--trainer.max_epochs", "1", "--pictures", "0", "--run_dir", "new")

Make = Callable[[Path], object]


@dataclass
class Case:
    """A command in a folder.

    Args:
        name: what is wrong, for messages.
        argv: of the command.
        wrong: whether the command must be refused, with status 2; else it may also succeed.
        files: written into the working directory first, by name.
        make: further preparation.
    """

    name: str
    argv: tuple[str, ...]
    wrong: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    make: Make | None = None


def plant(folder: Path) -> None:
    """What a careless program might destroy: files of the user in the working directory."""
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.tex").write_text("words")
    (folder / "curves.png").write_text("mine")
    (folder / "predictions.csv").write_text("mine")
    (folder / "config.yaml").write_text("mine: true\n")


# ---- commands

VALUES = ("", " ", "0", "-1", "-0.5", "1e309", ".nan", ".inf", "null", "true", "[]", "{}", "[1, 2", "{a: b}", "a b", "\x1b[31m")
VALUES += (
    "../../x",
    "/dev/null",
    "é",
    "999999999999999999999",
    "!!python/object:os.system {}",
    "*x",
    "&a [*a]",
    "1: 2",
    "-",
    "--",
)
KEYS = (
    *("data.batch_size", "data.val_fraction", "data.num_workers", "data.subset", "data.split_seed", "data.folds", "data.fold"),
    *("data.noise", "data.noise.rate", "data.noise.seed", "data.val_labels", "data.val_by", "data.residency", "data.chunk_size"),
    *("model", "model.network", "model.network.width", "model.network.in_channels", "model.optimizer", "model.optimizer.lr"),
    *("model.optimizer.momentum", "model.scheduler", "model.label_smoothing", "model.mixup_alpha", "data", "seed_everything"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.check_val_every_n_epoch"),
    *("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.precision", "trainer.accelerator", "trainer.devices"),
    *(
        "trainer.gradient_clip_val",
        "trainer.accumulate_grad_batches",
        "trainer.strategy",
        "trainer.callbacks",
        "trainer.profiler",
    ),
    *("trainer.overfit_batches", "trainer.val_check_interval", "trainer.num_nodes", "trainer.deterministic", "trainer.plugins"),
    *("speed.channels_last", "checkpoint.every_n_steps", "checkpoint.every_n_minutes", "recipe", "ckpt_path", "trainer", "speed"),
)
WRONG = (
    *(
        ("--images", "photos"),
        ("--run", "x"),
        ("--labels", "t.csv"),
        ("--arrays", "x.npz"),
        ("--out", "x"),
        ("--checkpoint", "best"),
    ),
    *(("--top", "5%"), ("--folds", "3"), ("--crossfit", "3"), ("--nonsense", "1"), ("--data.nonsense", "1"), ("--nonsense",)),
    *(("--trainer.nonsense", "1"), ("--model.nonsense", "1"), ("stray",), ("--",), ("--run_dir",), ("--config",), ("--=x",)),
    *(("--data.num_workers", "-1"), ("--trainer.max_steps", "0"), ("--trainer.check_val_every_n_epoch", "-1")),
    *(("--trainer.max_epochs", "null"), ("--trainer.max_epochs", "-1"), ("--recipe", "../../../x"), ("--recipe", "a/b")),
    *(("--data.noise.rate", "inf"), ("--data.noise.rate", ".inf"), ("--data.noise.rate", ".nan"), ("--data.noise.rate", "1.5")),
    *(("--model.optimizer.lr", "-1"), ("--model.optimizer.lr", ".inf"), ("--model.optimizer.lr", ".nan")),
    *(
        ("--trainer.devices", "999999"),
        ("--trainer.devices", "0"),
        ("--trainer.num_nodes", "2"),
        ("--trainer.accelerator", "tpu"),
    ),
    *(("--model.network.in_channels", "3"), ("--model.network.in_channels", "0"), ("--model.network.in_channels", "-1")),
    *(("--model.network", "MLP", "--model.network.in_features", "63"), ("--model.network", "Wrap"), ("--model", "Nothing")),
    *(("--model.network", "Wrap", "--model.network.factory", "no.such.thing"), ("--data.noise", "FromFile")),
    *(("--trainer.limit_train_batches", "0"), ("--trainer.gradient_clip_val", "-1"), ("--trainer.precision", "7")),
    *(
        ("--config", "nothing.yaml"),
        ("--config", "thesis"),
        ("--config", "/dev/zero"),
        ("--config", "pipe"),
        ("--run_dir", "other"),
    ),
    *(("--ckpt_path", "curves.png"), ("--ckpt_path", "nothing"), ("--ckpt_path", "pipe"), ("--ckpt_path", "/dev/zero")),
    *(("--resume",), ("--resume", "--overwrite"), ("--logger", "nothing"), ("--overwrite=1",), ("--seed_everything", "-1")),
    *(
        ("--data.trusted_labels", "pipe"),
        ("--data.trusted_labels", "nothing"),
        ("--data.batch_size", "1.5"),
        ("--data", "Arrays"),
    ),
    *(("--data.noise", "FromFile", "--data.noise.path", "pipe"), ("--data.noise", "FromFile", "--data.noise.path", "curves.png")),
)
WHOLE = (
    *(
        ("fitt",),
        ("fitt", "--help"),
        ("compare",),
        ("compare", "nothing"),
        ("compare", "thesis", "--nonsense", "1"),
        ("recipes", "x"),
    ),
    *(
        ("compare", "thesis"),
        ("compare", "--config", "x"),
        ("recipes", "--out", "x"),
        ("validate",),
        ("test", "--run_dir", "thesis"),
    ),
    *(("predict",), ("predict", "--run_dir", "nothing"), ("folds",), ("folds", "--config", "ce_digits.yaml", "--folds", "1")),
    *(("study",), ("study", "--config", "semi_digits.yaml", "--rows", "x"), ("study", "--run_dir", "nothing", "--resume")),
    *(("folds", "--config", "ce_digits.yaml", "--folds", "x"), ("folds", "--config", "ce_digits.yaml", "--data.fold", "1")),
    *(
        ("issues",),
        ("issues", "apply"),
        ("issues", "apply", "--run", "thesis", "--top", "5%", "--out", "o.csv"),
        ("issues", "aply"),
    ),
    *(
        ("issues", "--images", "thesis"),
        ("issues", "--images", "nothing"),
        ("issues", "--arrays", "pipe"),
        ("issues", "--run", "thesis"),
    ),
    *(("issues", "--arrays", "/dev/zero"), ("issues", "--images", "photos", "--labels", "pipe"), ("fit",), ("fit", "--resume")),
    *(
        ("issues", "--images", "photos", "--labels", "/dev/zero"),
        ("issues", "--arrays", "curves.png"),
        ("fit", "--help", "Nothing"),
    ),
    *(
        ("test", "--config", "ce_digits.yaml", "--ckpt_path", "curves.png"),
        ("test", "--config", "ce_digits.yaml", "--images", "x"),
    ),
)


def _wrong_flags(rng: random.Random) -> Case:
    flags = rng.choice(WRONG)
    return Case(f"fit with {' '.join(flags)}", (*FIT, *flags), wrong=True)


def _whole_commands(rng: random.Random) -> Case:
    argv = rng.choice(WHOLE)
    return Case(" ".join(argv), argv, wrong=True)


def _any_values(rng: random.Random) -> Case:
    flags = [part for _ in range(rng.choice((1, 1, 2))) for part in (f"--{rng.choice(KEYS)}", rng.choice(VALUES))]
    show = rng.choice(((), (), ("--dry_run",), ("--print_config",)))
    return Case(f"fit with {flags} {show}", (*FIT, *flags, *show))


def _misspelled(rng: random.Random) -> Case:
    key = rng.choice([key for key in KEYS if len(key) > 8])
    place = rng.randrange(len(key) - 3, len(key))
    wrong = key[:place] + rng.choice("xqz_") + key[place + 1 :] + "q"
    return Case(f"fit with --{wrong}", (*FIT, f"--{wrong}", "1"), wrong=True)


# ---- configuration files

RECIPE = """model:
  class_path: CrossEntropy
  init_args:
    network: {class_path: SmallCNN, init_args: {width: 2}}
data:
  class_path: Digits
  init_args: {subset: 40, batch_size: 20}
trainer: {max_epochs: 1, accelerator: cpu}
"""
DEEP = "x: " + "[" * 5000 + "]" * 5000
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
BAD_YAML = (
    *(
        b"5: x\n",
        b"? [a, b]\n: c\n",
        b"- a\n- b\n",
        b"text\n",
        b"{",
        b"\x00",
        b"\xff\xfe\x00",
        b"a: b: c\n",
        b"\tx: 1\n",
        b"&a [*a]\n",
    ),
    *(
        b"model: 5\n",
        b"data: []\n",
        b"trainer: 7\n",
        b"trainer: {5: x}\n",
        b"model: {class_path: [1]}\n",
        b"<<: 5\n",
        b"x: !!binary x\n",
    ),
    *(
        DEEP.encode(),
        BOMB.encode(),
        b"trainer: " + BOMB.replace("\n", "\n  ").encode(),
        b"!!python/object/apply:os.system ['x']\n",
    ),
    *(
        b"model: {class_path: CrossEntropy, init_args: {network: {class_path: 5}}}\n",
        b"data: {init_args: {5: x}}\n",
        b"null: 1\n",
    ),
    *(b"trainer: {max_epochs: 2024-13-45}\n", b"seed_everything: []\n", b"recipe: ../../../x\n", b"model: {dict_kwargs: 5}\n"),
    *(
        b"base: ../\n",
        b"base: c.yaml\n",
        b"base: [act_digits.yaml]\n",
        b"base: act_digits.yaml\n",
        b"base: " + b"a" * 300 + b"\n",
    ),
    *(b"rows: [1]\n", b"rows: {a/b: {}}\n", b"rows: {a: {set: 1}}\n", b"rows: {a: 1}\n", b"rows: {a: {measured: {b: 1}}}\n"),
    *(b"trainer: {callbacks: [5]}\n", b"trainer: {callbacks: 5}\n", b"trainer: {callbacks: {class_path: os.system}}\n"),
)


def _bad_overlays(rng: random.Random) -> Case:
    content = rng.choice(BAD_YAML)
    return Case(f"overlay {content[:60]!r}", (*FIT, "--config", "c.yaml"), wrong=True, files={"c.yaml": content})


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, left out, doubled or put in."""
    broken = bytearray(content)
    for _ in range(rng.choice((1, 2, 5))):
        place = rng.randrange(len(broken)) if broken else 0
        how = rng.randrange(4)
        if how == 0 and broken:
            broken[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del broken[place : place + rng.choice((1, 5, 50))]
        elif how == 2:
            broken[place:place] = rng.choice(
                (b'"', b"{", b"[", b": ", b"\n", b"\x00", b"\x1b", b"&a ", b"*a", b"- ", b",", b"'", b"#")
            )
        else:
            broken[place:place] = broken[place : place + 10]
    return bytes(broken)


def _damaged_recipes(rng: random.Random) -> Case:
    flags = ("--trainer.max_epochs", "1", "--data.batch_size", "20", "--data.subset", "40")
    return Case(
        "a damaged recipe",
        ("fit", "--config", "c.yaml", *flags, "--run_dir", "new"),
        files={"c.yaml": _damaged(RECIPE.encode(), rng)},
    )


# ---- arrays


def _npy(shape: tuple[int, ...], content: bytes = b"", dtype: str = "<f8") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _zip(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def _npz(**arrays: object) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)  # type: ignore[arg-type]
    return made.getvalue()


X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
SPARSE = {"x_data": np.ones(40), "x_indices": np.zeros(40, int), "x_indptr": np.arange(41), "x_shape": np.array([40, 3])}


def _bad_arrays() -> dict[str, bytes]:
    good = {"x": X, "y": Y}
    bad: dict[str, dict[str, object]] = {
        "no y": {"x": X},
        "no x": {"y": Y},
        "lengths": {"x": X, "y": Y[:30]},
        "objects": {"x": X, "y": np.array([[1], "a"] * 20, dtype=object)},
        "complex": {"x": X.astype(complex), "y": Y},
        "nan": {"x": np.where(X > 2, np.nan, X), "y": Y} if (X > 2).any() else {"x": X * np.nan, "y": Y},
        "inf": {"x": X / 0.0 if False else np.full_like(X, np.inf), "y": Y},
        "empty": {"x": X[:0], "y": Y[:0]},
        "scalar": {"x": np.array(1.0), "y": Y},
        "one class": {"x": X, "y": Y * 0},
        "fractional labels": {"x": X, "y": Y + 0.5},
        "2-d labels": {"x": X, "y": np.stack([Y, Y], 1)},
        "dates": {"x": X, "y": Y.astype("datetime64[D]")},
        "text inputs": {"x": X.astype(str), "y": Y},
        "five dimensions": {"x": np.zeros((40, 1, 2, 2, 2)), "y": Y},
        "sparse complex": {**SPARSE, "x_data": np.ones(40, complex), "y": Y},
        "sparse fractional": {**SPARSE, "x_indices": np.full(40, 0.5), "y": Y},
        "sparse outside": {**SPARSE, "x_indices": np.full(40, 7), "y": Y},
        "sparse half": {"x_data": np.ones(40), "x_indices": np.zeros(40, int), "y": Y},
    }
    found = {name: _npz(**arrays) for name, arrays in bad.items()}
    found |= {
        "terabytes": _zip({"x.npy": _npy((10**12, 3)), "y.npy": _npy((40,), Y.astype("<i8").tobytes(), "<i8")}),
        "negative": _zip({"x.npy": _npy((-5, 3)), "y.npy": _npy((40,), Y.astype("<i8").tobytes(), "<i8")}),
        "foreign": _zip({"x": b"text", "y": b"text"}),
        "not npy": _zip({"x.npy": b"text", "y.npy": b""}),
        "deep header": _zip({"x.npy": b"\x93NUMPY\x01\x00\x00\x20" + b"(" * 8192, "y.npy": b""}),
        "text": b"no archive at all",
        "nothing": b"",
        "pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
        "single": _npy((2,), bytes(16)),
    }
    encrypted = bytearray(_npz(**good))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := encrypted.find(signature, start + 1)) >= 0:
            encrypted[start + place] |= 1
    return {**found, "encrypted": bytes(encrypted)}


BAD_ARRAYS = _bad_arrays()


def _arrays(rng: random.Random) -> Case:
    name = rng.choice(sorted(BAD_ARRAYS))
    return Case(f"arrays: {name}", ARRAYS, wrong=True, files={"x.npz": BAD_ARRAYS[name]})


def _damaged_arrays(rng: random.Random) -> Case:
    return Case("damaged arrays", ARRAYS, files={"x.npz": _damaged(_npz(x=X, y=Y), rng)})


# ---- tables

ROWS = "file,label\n" + "".join(f"{n:02}.png,{'cat' if n % 2 else 'dog'}\n" for n in range(12))
BAD_TABLES = (
    *(
        b"",
        b"\n",
        b"file\n",
        b"file,label\n",
        b"a,b\n1,2\n",
        b"file;label\n00.png;cat\n",
        b"\x00\x01",
        b"\xff\xfe",
        b"label,file\ncat,x.png\n",
    ),
    *(
        b'file,label\n"00.png,cat\n',
        ROWS.replace("cat", "dog").encode(),
        ROWS.encode() + b"missing.png,cat\n",
        b"file,file,label\n",
    ),
    ROWS.encode() + b"00.png," + b"x" * 200_000 + b"\n",
    ROWS.encode() + b"/etc/passwd,cat\n../../x,dog\n",
)


def _tables(rng: random.Random) -> Case:
    content = rng.choice(BAD_TABLES)
    return Case(f"table {content[:40]!r}", TABLE, wrong=True, files={"t.csv": content})


def _damaged_tables(rng: random.Random) -> Case:
    return Case("a damaged table", TABLE, files={"t.csv": _damaged(ROWS.encode(), rng)})


# ---- run folders

PARTS = ("config.yaml", "summary.json", "metrics.csv", "label_issues.csv", "checkpoints/last.ckpt")
READERS = (
    *(("test", "--run_dir", "run"), ("validate", "--run_dir", "run"), ("predict", "--run_dir", "run", "--out", "p.csv")),
    *(
        ("compare", "run", "--out", "c.png"),
        ("issues", "--run", "run", "--pictures", "0"),
        ("fit", "--run_dir", "run", "--resume"),
    ),
    *(("fit", "--config", "run/config.yaml", "--run_dir", "new"), ("test", "--run_dir", "run", "--checkpoint", "best")),
)


def _run_folders(rng: random.Random) -> Case:
    part, how, argv = rng.choice(PARTS), rng.randrange(6), rng.choice(READERS)
    seed = rng.random()

    def make(folder: Path) -> None:
        path = folder / "run" / part
        content = path.read_bytes()
        path.unlink()
        if how == 0:
            os.mkfifo(path)
        elif how == 1:
            path.write_bytes(content[: len(content) // 2])
        elif how == 2:
            path.write_bytes(b"just text")
        elif how == 3:
            path.mkdir()
        elif how == 4:
            path.write_bytes(_damaged(content, random.Random(seed)))

    what = ("a pipe", "cut off", "text", "a folder", "damaged", "missing")[how]
    return Case(f"{part} of the run is {what}: {' '.join(argv)}", argv, make=make)


KINDS: tuple[tuple[Callable[[random.Random], Case], int], ...] = (
    (_wrong_flags, 5),
    (_whole_commands, 3),
    (_any_values, 5),
    (_misspelled, 1),
    (_bad_overlays, 3),
    (_damaged_recipes, 3),
    (_arrays, 3),
    (_damaged_arrays, 2),
    (_tables, 2),
    (_damaged_tables, 2),
    (_run_folders, 5),
)


def cases(seed: int, count: int) -> Iterator[Case]:
    """So many cases; the first of a longer series are those of a shorter one."""
    rng = random.Random(seed)
    kinds, weights = zip(*KINDS, strict=True)
    for _ in range(count):
        yield rng.choices(kinds, weights)[0](rng)
