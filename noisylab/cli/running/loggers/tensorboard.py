"""TensorBoard: the sections as custom scalars, the settings in the HPARAMS tab, and no number twice after a resume."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from noisylab.cli.running.loggers.base import Dashboard
from noisylab.cli.running.loggers.naming import RunLabel, flat
from noisylab.cli.running.loggers.panels import SECTIONS

__all__ = ["RunTensorBoard"]

_FOLDER = "tensorboard"
# what the table of the HPARAMS tab is sorted by, beside the settings
_JUDGED_BY = ("outcome/headline", "outcome/last", "val/acc", "test/acc", "memorization/noisy_as_given")
_COLUMNS = ("model.", "data.batch_size", "trainer.max_epochs", "trainer.precision")


class RunTensorBoard(Dashboard, TensorBoardLogger):
    """The events of a run folder.

    Args:
        folder: of the run.
        label: its row in the HPARAMS tab.
    """

    def __init__(self, folder: Path, label: RunLabel) -> None:
        self._label = label
        super().__init__(folder, name="", version=_FOLDER)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Register the settings for the HPARAMS tab and lay out the charts; the metrics come with the numbers."""
        from torch.utils.tensorboard.summary import hparams

        settings = vars(params) if isinstance(params, Namespace) else params
        self.hparams = {**self.hparams, **settings}  # for hparams.yaml
        experiment, started, _ = hparams(_columns(self._label, settings), dict.fromkeys(_JUDGED_BY, 0.0))
        self.experiment.file_writer.add_summary(experiment)
        self.experiment.file_writer.add_summary(started)
        self.experiment.add_custom_scalars(_layout())

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Have TensorBoard forget what a killed run logged at `step` or later."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        if any(Path(self.log_dir).glob("events.out.tfevents.*")):
            restart = Event(step=step, session_log=SessionLog(status=SessionLog.START))
            for _ in range(2):  # TensorBoard takes the first that it meets for the beginning of the run
                self.experiment.file_writer.add_event(restart, step)

    @rank_zero_only
    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Log them below ``outcome``, and that the run has come to its end."""
        from torch.utils.tensorboard.summary import hparams

        for name, value in figures.items():
            self.experiment.add_scalar(f"outcome/{name}", value, step)
        self.experiment.file_writer.add_summary(hparams({}, {})[2])
        self.experiment.close()  # Lightning has closed it at the end of fit; this opened it again

    @rank_zero_only
    def show(self, name: str, picture: Path, step: int) -> None:
        """Log a picture."""
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        self.experiment.add_image(name, pixels, step, dataformats="HWC")
        self.experiment.close()


def _layout() -> dict[str, dict[str, list[Any]]]:
    """The sections, as the CUSTOM SCALARS tab takes them: names there are regular expressions."""
    return {
        section.title: {panel.title: ["Multiline", [f"^{name}$" for name in panel.metrics]] for panel in section.panels}
        for section in SECTIONS
    }


def _columns(label: RunLabel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the HPARAMS tab: what tells the run from others, and what its method is set to."""
    found = flat(settings).items()
    # the label names the classes in a word; the tab shows only a few columns unless asked for more
    chosen = {name: value for name, value in found if name.startswith(_COLUMNS) and not name.endswith(".class_path")}
    plain = {name: value for name, value in chosen.items() if isinstance(value, bool | int | float | str)}
    return {**plain, **label.facts}
