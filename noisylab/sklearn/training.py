"""Trains a method in memory: nothing is written, and the random state of the caller stays as it was."""

from __future__ import annotations

import logging
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning

from noisylab.callbacks.progress import RunProgress
from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["own_randomness", "resolve_device", "train"]

# Networks and steps of a method draw from torch's global generator, and filters of warnings belong to the process
_LOCK = threading.RLock()
_LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
)


def resolve_device(asked: str) -> torch.device:
    """The device that a text names; "auto" is the first CUDA device or, without one, the CPU.

    Raises:
        ValueError: for a text that names no device that is there.
    """
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:<number>, got {asked!r}") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device={asked!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices; set device to auto or cpu"
        )
    return device


def train(
    build: Callable[[], NoisyLabelMethod], data: NoisyDataModule, *, epochs: int, device: torch.device, seed: int, verbose: bool
) -> NoisyLabelMethod:
    """A method that was built and trained.

    Fits of several threads of one process follow each other; those of several processes do not wait.

    Args:
        build: makes the method; its random weights are named by `seed`.
        data: what it trains on.
        epochs: at least 1.
        device: where.
        seed: names the weights; draws of the training have the data module's.
        verbose: whether to show a progress bar.
    """
    with own_randomness(seed, device), _quiet(), _interruptible():
        method = build()
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            logger=False,
            callbacks=[RunProgress()] if verbose else [],
            plugins=[LightningEnvironment()],  # the one process that fits, whatever cluster it runs on
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        trainer.fit(method, datamodule=data)
    return method


@contextmanager
def own_randomness(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Random states of Python, numpy and torch that begin at `seed` and are forgotten afterwards, in one thread at a time.

    Args:
        seed: at least 0.
        device: whose generator is meant besides the CPU's; `None` for no other.
    """
    gpus = [] if device is None or device.type == "cpu" else [device.index or 0]
    with _LOCK, torch.random.fork_rng(devices=gpus):
        before = random.getstate(), np.random.get_state()  # noqa: NPY002  # networks of one's own may draw from it
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs, too
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says about the machine, its loaders and the end of the run; noisylab's warnings are heard."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", message=r"GPU available but not used")
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning)
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.WARNING))
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is a `KeyboardInterrupt` again: Lightning would end the process, and ignore the next one."""
    main = threading.current_thread() is threading.main_thread()
    before: Any = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if main and before is not None:
            signal.signal(signal.SIGINT, before)
