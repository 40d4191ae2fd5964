"""Private names of Lightning."""

from __future__ import annotations

from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.layer_sync import LayerSync

__all__ = [
    "QuickModule",
    "SetUpOnlyCLI",
    "default_ddp_option",
    "detects_anomalies",
    "layer_sync",
    "leave_sigterm_to_callbacks",
    "set_layer_sync",
    "set_received_sigterm",
    "subcommand_parser",
]


# ---- the Trainer


def set_received_sigterm(trainer: L.Trainer, received: bool) -> None:
    """Let Lightning end the run, on this rank, as after SIGTERM: with a ``SystemExit`` at the end of the batch or epoch.

    Private: ``Trainer._signal_connector``, whose ``received_sigterm`` can be read as ``Trainer.received_sigterm`` but not set.
    Why: ``Trainer.should_stop`` would end the run as a complete one.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: SIGTERM and Ctrl-C end a run by no clean save, or as if it were complete.
    """
    trainer._signal_connector.received_sigterm = received


def leave_sigterm_to_callbacks(trainer: L.Trainer) -> None:
    """Switch off Lightning's own exchange about SIGTERM between ranks; who calls this lets the ranks agree in another way.

    Private: ``_TrainingEpochLoop._broadcast_sigterm_tensor``, called before every batch of a run with several ranks.
    Why: it waits for the device in every step, and stops all ranks before the callbacks have saved anything.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: runs on several ranks are slower, and a SIGTERM loses what was trained since the last save.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def detects_anomalies(trainer: L.Trainer) -> bool:
    """Whether the run will look for NaN in the backward pass, ``Trainer(detect_anomaly=True)``.

    Private: ``Trainer._detect_anomaly``.
    Why: ``torch.is_anomaly_enabled()`` says so only once training has begun, and CUDA graphs are prepared before.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: steps are recorded as CUDA graphs, in which anomaly detection sees nothing.
    """
    return trainer._detect_anomaly


# ---- strategies


def default_ddp_option(strategy: Any, name: str, value: Any) -> None:
    """Set an option of torch's ``DistributedDataParallel`` unless the user has.

    Private: ``DDPStrategy._ddp_kwargs``.
    Why: the options are arguments of ``DDPStrategy``, which the Trainer makes of a name such as "auto" or "ddp".
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: methods of several networks stop with an error about unused parameters under the strategy "ddp".
    """
    strategy._ddp_kwargs.setdefault(name, value)


def layer_sync(trainer: Any) -> LayerSync | None:
    """What makes layers work on the whole batch of all ranks, ``Trainer(sync_batchnorm=True)``; None where nothing does.

    Private: ``ParallelStrategy._layer_sync``; the strategies for one device have no such attribute.
    Why: the Trainer does not tell how it was called.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: batch statistics that are common already count as those of each rank, and the last batch is joined to another.
    """
    found: LayerSync | None = getattr(trainer.strategy, "_layer_sync", None)
    return found


def set_layer_sync(trainer: L.Trainer, sync: LayerSync) -> None:
    """Put another one in the place of what `layer_sync` returns.

    Private: ``ParallelStrategy._layer_sync``.
    Why: whether the strategy is one of DDP is known when the Trainer is there, and then ``Trainer(plugins=...)`` is over.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: ``sync_batchnorm`` is torch's own, which works on CUDA devices alone and does not reach averaged networks.
    """
    trainer.strategy._layer_sync = sync  # type: ignore[attr-defined]


# ---- the module


class QuickModule(L.LightningModule):
    """A LightningModule with less work in every step, where nothing is lost by it.

    Private: ``LightningModule._current_fx_name``, ``LightningModule._on_before_batch_transfer`` and
    ``LightningModule._apply_batch_transfer_handler``.
    Why: Lightning looks for transfer hooks anew for every batch, and notes the name of every hook by way of
    ``torch.nn.Module.__setattr__``. There is no public switch for either.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: every step takes longer; results are the same.

    Attributes:
        transfers_plainly: whether nobody overrides a transfer hook, so that batches of the types below go to the device by
            their own ``to(device)``.
        plain_batches: those types.
    """

    plain_batches: ClassVar[tuple[type, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.transfers_plainly = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # set twice a hook; a module's own way takes microseconds
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        return batch if self.transfers_plainly else super()._on_before_batch_transfer(batch, dataloader_idx)

    def _apply_batch_transfer_handler(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        if self.transfers_plainly and isinstance(batch, self.plain_batches):
            moved: Any = batch
            return moved.to(self.device if device is None else device)
        return super()._apply_batch_transfer_handler(batch, device, dataloader_idx)


# ---- the command line


class SetUpOnlyCLI(LightningCLI):
    """A LightningCLI with subcommands that builds everything, runs nothing, and believes the command line.

    Private: ``LightningCLI._run_subcommand`` and ``LightningCLI._parse_ckpt_path``, both called by the constructor.
    Why: ``LightningCLI(run=False)`` has no subcommands, and so neither their arguments nor their part of the configuration. That
    a checkpoint's hyperparameters replace those of the command line cannot be switched off.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: the constructor trains at once, before the command line is ready for it; and a run that starts from a checkpoint
    with other arguments gets the checkpoint's.
    """

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def _parse_ckpt_path(self) -> None:
        pass


def subcommand_parser(cli: LightningCLI, subcommand: str) -> LightningArgumentParser:
    """The parser of a subcommand, by which its part of the configuration can be written as YAML.

    Private: ``LightningCLI._subcommand_parsers``.
    Why: the public ``LightningCLI.parser`` is that of all subcommands together.
    Since: noisylab 0.1, Lightning 2.6.0.
    Without it: there is no ``config.yaml`` in the run folder, and no ``--print_config``.
    """
    return cli._subcommand_parsers[subcommand]
