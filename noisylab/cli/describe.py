"""The arguments of a class, as text for ``noisylab fit --help CLASS``."""

from __future__ import annotations

import inspect
import textwrap

import lightning as L
import torch

from noisylab.arguments import argument_lines, arguments, split_docstring
from noisylab.callbacks import RunCheckpoint, Speed
from noisylab.checkpoints.warm_start import WarmStart
from noisylab.cli.configuration.registry import known_classes, parameters
from noisylab.cli.errors import unknown
from noisylab.data.base import NoisyDataModule
from noisylab.losses import Criterion
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import Network
from noisylab.noise import Noise
from noisylab.selection.thresholds import ThresholdPolicy
from noisylab.transforms import StrongView

__all__ = ["describe"]


def describe(name: str) -> str:
    """The docstring and arguments of a class that a recipe can name.

    Raises:
        UserError: for an unknown name.
    """
    ours = (NoisyLabelMethod, NoisyDataModule, Noise, Network, Criterion, ThresholdPolicy, StrongView)
    kinds = (*ours, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    known: dict[str, type] = {short: cls for kind in kinds for short, cls in known_classes(kind).items()}
    known |= {"Speed": Speed, "RunCheckpoint": RunCheckpoint, "Trainer": L.Trainer, "WarmStart": WarmStart}
    if name not in known:
        raise unknown("--help: class", name, known)
    cls = known[name]
    about = inspect.getdoc(cls) or inspect.getdoc(inspect.getattr_static(cls, "__init__")) or ""  # Lightning's is on the latter
    before, _, after = split_docstring(about)
    taken = parameters(cls)
    rows = [
        "\n".join([f"  {key}: {what}", *textwrap.wrap(text, 110, initial_indent="      ", subsequent_indent="      ")])
        for key, what, text in argument_lines(cls, leave_out=arguments(cls).keys() - taken.keys())
    ]
    return "\n".join([name, "", before, "", "arguments:", *rows, *(["", after] if after else [])])
