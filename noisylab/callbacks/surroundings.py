"""What a run keeps of where it ran: versions, machine and source files, so that a difference of a repetition can be explained."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import noisylab
from noisylab.reading import regular

__all__ = ["code_digests", "machine_facts", "versions"]

_DIGITS = 16  # of a digest of source files


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    names = ("noisylab", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = noisylab.__version__ if name == "noisylab" else "not installed"
    return found


def machine_facts(processes: int = 1) -> dict[str, Any]:
    """What of the machine decides in which order floating-point numbers are added.

    Args:
        processes: of the run.

    Returns:
        ``system`` ("Linux x86_64"), ``processor`` (its model, as far as the system says), ``cpu_capability`` (the instructions
        that PyTorch uses, such as "AVX2"), ``threads`` of PyTorch, ``processes``, and ``cuda`` and ``cudnn``, the versions that
        PyTorch was built for, `None` where it has none.
    """
    cudnn = torch.backends.cudnn.version() if torch.version.cuda is not None else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
    }


def code_digests(classes: Iterable[type]) -> dict[str, str]:
    """First 16 hexadecimal digits of the SHA-256 of source files: of all of noisylab's, and of each module of the user's own.

    A version number says nothing of a file that was edited since. Other installed packages have their `versions`.

    Args:
        classes: of the method, its networks, the data and the callbacks; the classes that they derive from count, too.
    """
    found = {"noisylab": _own_sources()}
    for name in sorted({above.__module__ for cls in classes for above in cls.__mro__}):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and file.endswith(".py") and _is_users(name, file):
            found[name] = hashlib.sha256(regular(file).read_bytes()).hexdigest()[:_DIGITS]
    return found


@functools.cache
def _own_sources() -> str:
    folder, digest = Path(noisylab.__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:_DIGITS]


def _is_users(module: str, file: str) -> bool:
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return module.partition(".")[0] != "noisylab" and not any(Path(file).is_relative_to(folder) for folder in installed)


def _processor() -> str:
    """The model of the processor; '' where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
