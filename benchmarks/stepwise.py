"""A Trainer that runs some steps and then stands still, so that several can take turns within one process."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self

import lightning as L
import torch
from timing import clock

from noisylab.callbacks import Speed

__all__ = ["StepwiseFit", "add_switches", "speed", "switches"]


def speed(channels_last: bool = False, compile: bool = False, cuda_graphs: bool = False) -> list[L.Callback]:
    """The callback `noisylab.callbacks.Speed` with these switches; nothing where all are off."""
    return [Speed(channels_last, compile, cuda_graphs)] if channels_last or compile or cuda_graphs else []


def add_switches(parser: argparse.ArgumentParser) -> None:
    """Options for further rows."""
    parser.add_argument("--compile", action="store_true", help="add a row of noisylab with compiled networks")
    parser.add_argument("--cuda_graphs", action="store_true", help="add a row of noisylab with CUDA graphs (with --compile: two)")


def switches(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, dict[str, bool]]:
    """What the options of `add_switches` ask for: arguments of `speed` by name."""
    if options.cuda_graphs and options.device.type != "cuda":
        parser.error("--cuda_graphs needs --device cuda")
    asked = {"compile": options.compile, "cuda_graphs": options.cuda_graphs}
    found = {name: {name: True} for name, on in asked.items() if on}
    return {**found, "compile, cuda_graphs": asked} if all(asked.values()) else found


class _Closed(Exception):
    """Ends the fit of a run that is no longer needed."""


class StepwiseFit(L.Callback):
    """One fit in a thread of its own, which moves only while `turn` waits for it.

    What a turn times is whole cycles of Lightning's loop, from one end of a batch (or epoch) to a later one: the next batch,
    hooks, forward, backward, update, callbacks. The device is waited for only at the two ends of a turn. The first turn also
    sets the fit up: leave it out.

    Args:
        module: the method.
        data: its data; one epoch must last for all turns if steps are counted.
        device: to train on.
        unit: what a turn counts.
        callbacks: of the Trainer, beside this one.
        **trainer: further arguments of the Trainer.
    """

    def __init__(
        self,
        module: L.LightningModule,
        data: L.LightningDataModule | None,
        device: torch.device,
        *,
        unit: Literal["step", "epoch"] = "step",
        callbacks: Sequence[L.Callback] = (),
        **trainer: Any,
    ) -> None:
        self.module, self.data, self.device, self.unit = module, data, device, unit
        self._callbacks, self._options = list(callbacks), trainer
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._left, self._started, self._seconds = 0, 0.0, 0.0
        self._closing = False
        self._error: BaseException | None = None
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self, units: int = 1) -> float:
        """Go on for some steps or epochs.

        Returns:
            Seconds of one, on average.

        Raises:
            RuntimeError: if the fit ended before; whatever the fit raised.
        """
        if not self._thread.is_alive():
            raise RuntimeError("this run has ended")
        self._left = units
        self._go.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error
        return self._seconds / units

    def close(self) -> None:
        """End the fit where it stands."""
        self._closing = True
        self._go.release()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def on_train_batch_end(self, *_: Any) -> None:
        """A step is done."""
        if self.unit == "step":
            self._count()

    def on_train_epoch_end(self, *_: Any) -> None:
        """An epoch is done."""
        if self.unit == "epoch":
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left:
            return
        self._seconds = clock(self.device) - self._started
        self._stopped.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._closing:
            raise _Closed
        self._started = clock(self.device)

    def _run(self) -> None:
        try:
            self._wait()
            torch.set_num_threads(self._threads)  # a new thread has the number of the environment
            self._fit()
            self._error = RuntimeError(f"the fit ended {self._left} {self.unit}s before the turn: it needs more rows or epochs")
        except _Closed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._stopped.release()

    def _fit(self) -> None:
        trainer = L.Trainer(
            **{
                "max_epochs": 1 if self.unit == "step" else 10**6,
                "accelerator": self.device.type,
                "devices": 1,
                "logger": False,
                "callbacks": [*self._callbacks, self],
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "limit_val_batches": 0,
                "num_sanity_val_steps": 0,
                **self._options,
            }
        )
        trainer.fit(self.module, datamodule=self.data)
