"""What a method's checkpoint holds besides the networks, and the checks made when a run is resumed."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, ClassVar, Self

from lightning.pytorch.utilities import rank_zero_warn

from noisylab.arguments import check_arguments, signature
from noisylab.checkpoints.fitted import check_unchanged
from noisylab.checkpoints.stamp import check_data_stamp, check_stamp, data_stamp, stamp
from noisylab.engine.divergence import refuse_diverged
from noisylab.memory import SampleMemory
from noisylab.methods.evaluation import Predictor
from noisylab.metrics.running import RunningMeans
from noisylab.models.pretrained import weights_to_come
from noisylab.specs import constructor_arguments
from noisylab.types import DataInfo

__all__ = ["Checkpointed"]


class Checkpointed(Predictor):
    """The checkpoint of a method: its constructor arguments, its identity, its training data, and the epoch's numbers so far.

    Args:
        num_classes: K, at least 2.

    Attributes:
        memory: per-sample tables.
        means: of the epoch so far.
        started_from: what `noisylab.checkpoints.warm_start.warm_start` loaded of earlier runs, plain values.
        learns_labels: whether the networks' heads learn the given labels; the head of a pre-training is handed to no other run.
        mixes_by: names of attributes, any of which above 0 makes the method mix inputs with each other.
    """

    learns_labels: ClassVar[bool] = True
    mixes_by: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.__signature__ = signature(cls)  # type: ignore[attr-defined]  # with the arguments of parents

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.memory = SampleMemory()
        self.means = RunningMeans()
        self.started_from: list[dict[str, Any]] = []
        self._data: dict[str, dict[str, Any]] = {}  # of this fit: "data", its stamp, and "fitted", what a model of it needs
        self._data_then: dict[str, dict[str, Any]] = {"data": {}, "fitted": {}}  # the same of the checkpoint

    def save_hyperparameters(self, *_: Any, **__: Any) -> None:
        """Keep the constructor's arguments, callables as ``class_path`` and ``init_args``, so that a checkpoint rebuilds them.

        Raises:
            ValueError: for one that is out of the range that its type declares, see `noisylab.arguments`.
            TypeError: for one that a checkpoint cannot store.
        """
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        given = constructor_arguments(self, caller)
        check_arguments(type(self), given)
        super().save_hyperparameters(given, frame=caller, logger=False)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """The method that a checkpoint holds, its networks and memory included; only tensors and plain values are unpickled.

        Pretrained weights that its networks started from are not read again, see `noisylab.models.pretrained.weights_to_come`.

        Args:
            checkpoint_path: the file.
            *args: see Lightning's ``LightningModule.load_from_checkpoint``.
            **kwargs: the same; ``weights_only`` is always true.
        """
        with weights_to_come():
            return super().load_from_checkpoint(checkpoint_path, *args, **{**kwargs, "weights_only": True})

    def refuse_nonfinite(self) -> None:
        """Raise an error before a bad input or a diverged network is trained on or saved; waits for the device.

        Raises:
            ValueError: naming the first training sample whose input is NaN or infinite, else what of the method's state is.
        """
        self.refuse_bad_inputs("train")
        # a field that starts as NaN may hold it in rows that were never written
        fields = [name for name, (_, dtype, fill) in self.memory.fields().items() if dtype.is_floating_point and fill == fill]
        tables = {name: self.memory[name] for name in fields if name in self.memory}
        refuse_diverged(dict(self.networks.items()), tables, self.current_epoch, str(self.trainer.precision))

    def weights_replaced(self, names: Collection[str]) -> None:
        """Called when networks were given other weights than they were built with, before the first fit.

        Args:
            names: of these networks.
        """

    def note_data(self, info: DataInfo, fitted: dict[str, Any] | None = None) -> None:
        """Record which data this is, for later checkpoints.

        Args:
            info: of the data.
            fitted: what a model of them needs, where they are fitted (`NoisyDataModule.fitted`).
        """
        self.info = info
        self._data = {**self._data, "data": data_stamp(info), **({} if fitted is None else {"fitted": fitted})}

    def check_data(self) -> None:
        """Compare the data with that of the checkpoint that a fit continues; warn about permitted changes.

        Raises:
            ValueError: if the checkpoint remembers another number of samples than the data has, or other labels.
        """
        if len(self.memory) != self.info.num_train:
            raise ValueError(
                f"the checkpoint holds {len(self.memory)} training samples, the data has {self.info.num_train}; "
                "resume with the data that the run began with"
            )
        changed = check_data_stamp(self._data_then["data"], self._data["data"])
        then = self._data_then["fitted"]
        for note in check_unchanged(then, self._data["fitted"]) if then else ():
            rank_zero_warn(f"{note}; the run goes on with them as they are")
        if changed:
            rank_zero_warn(f"the run goes on with another {' and '.join(changed)}: it is not the one that was stopped")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the method's identity and the epoch's numbers so far."""
        # callbacks save before on_train_batch_end; the tables in the checkpoint are written in place
        if isinstance(getattr(self, "info", None), DataInfo) and self.trainer.datamodule is not None:  # type: ignore[attr-defined]
            self.equalize_ranks()
            self.refuse_nonfinite()
        names = self.info.class_names if hasattr(self, "info") else ()
        about: dict[str, Any] = {
            "headline": self.headline,
            "learns_labels": self.learns_labels,
            "started_from": self.started_from,
        }
        checkpoint["noisylab"] = stamp(type(self).__name__, self.num_classes, names, **self._data, **about)
        checkpoint["noisylab_means"] = self.means.state(self.sum_over_ranks)
        checkpoint["noisylab_metrics"] = dict(self.epoch_metrics)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another method's checkpoint, or one for another number of classes, with a ValueError."""
        check_stamp(checkpoint, type(self).__name__, self.num_classes)
        self._data_then = {part: dict(checkpoint["noisylab"].get(part, {})) for part in ("data", "fitted")}
        self.started_from = list(checkpoint["noisylab"].get("started_from", []))
        self.means.load(checkpoint["noisylab_means"], mine=self.global_rank == 0)
        self.epoch_metrics = dict(checkpoint["noisylab_metrics"])
