"""What noisylab relies on in Lightning beyond its public names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from helpers.contracts import contract
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from noisylab.engine.sync_norm import SyncNorm
from noisylab.upstream.lightning import (
    QuickModule,
    SetUpOnlyCLI,
    default_ddp_option,
    detects_anomalies,
    layer_sync,
    leave_sigterm_to_callbacks,
    set_layer_sync,
    set_received_sigterm,
    subcommand_parser,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*number of training batches")


def trainer(**kwargs: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(**{"accelerator": "cpu", "max_epochs": 1, **quiet, **kwargs})


class Stop(L.Callback):
    """Ends the run after its first batch."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        set_received_sigterm(trainer, True)


def test_a_run_that_is_told_of_sigterm_ends_after_the_batch(tmp_path: Path) -> None:
    with contract("lightning.pytorch.Trainer._signal_connector", set_received_sigterm):
        made = trainer(callbacks=[Stop()], limit_train_batches=5, limit_val_batches=0, default_root_dir=tmp_path)
        assert not made.received_sigterm
        set_received_sigterm(made, False)
        with pytest.raises(SystemExit):
            made.fit(BoringModel())
        assert made.received_sigterm and made.global_step == 1


def test_ranks_exchange_sigterm_before_every_batch_unless_switched_off() -> None:
    name = "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop._broadcast_sigterm_tensor"
    with contract("lightning._TrainingEpochLoop._broadcast_sigterm_tensor", leave_sigterm_to_callbacks):
        assert "self._broadcast_sigterm_tensor()" in inspect.getsource(_TrainingEpochLoop.advance), f"{name} is not called"
        made = trainer()
        assert isinstance(made.fit_loop.epoch_loop, _TrainingEpochLoop)
        leave_sigterm_to_callbacks(made)
        assert made.fit_loop.epoch_loop._broadcast_sigterm_tensor() is None


@pytest.mark.parametrize("wanted", [False, True])
def test_the_trainer_knows_whether_it_detects_anomalies(wanted: bool) -> None:
    with contract("lightning.pytorch.Trainer._detect_anomaly", detects_anomalies):
        assert detects_anomalies(trainer(detect_anomaly=wanted)) is wanted


@pytest.mark.parametrize(("given", "used"), [({}, True), ({"find_unused_parameters": False}, False)])
def test_ddp_gets_an_option_that_the_user_has_not_given(
    given: dict[str, bool], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("lightning.pytorch.strategies.ddp.DistributedDataParallel", lambda **kwargs: seen.update(kwargs))
    with contract("lightning.pytorch.strategies.DDPStrategy._ddp_kwargs", default_ddp_option):
        strategy = DDPStrategy(parallel_devices=[torch.device("cpu")], cluster_environment=LightningEnvironment(), **given)
        default_ddp_option(strategy, "find_unused_parameters", True)
        strategy.model = BoringModel()
        strategy.configure_ddp()
        assert seen["find_unused_parameters"] is used


def test_strategies_of_several_devices_know_what_synchronizes_layers() -> None:
    with contract("lightning.pytorch.strategies.ParallelStrategy._layer_sync", layer_sync):
        several = {"devices": 2, "strategy": "ddp"}
        assert layer_sync(trainer(**several, sync_batchnorm=True)) is not None
        assert layer_sync(trainer(**several)) is None
        assert layer_sync(trainer()) is None


def test_what_synchronizes_layers_is_applied_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[Any] = []
    with contract("lightning.pytorch.strategies.ParallelStrategy._layer_sync", set_layer_sync):
        made = trainer(devices=2, strategy="ddp", sync_batchnorm=True)
        sync = SyncNorm()
        monkeypatch.setattr(sync, "apply", lambda model: applied.append(model) or model)
        set_layer_sync(made, sync)
        assert layer_sync(made) is sync
        assert "self._layer_sync.apply(self.model)" in inspect.getsource(DDPStrategy.setup), "DDPStrategy does not apply it"


class Watched(QuickModule, BoringModel):
    """Counts Lightning's calls of what is overridden."""

    plain_batches = (torch.Tensor,)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.calls.append(str(vars(self).get("_current_fx_name")))
        return super().training_step(batch, batch_idx)

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        self.calls.append("before")
        return super()._on_before_batch_transfer(batch, dataloader_idx)

    def _apply_batch_transfer_handler(self, batch: Any, device: Any = None, dataloader_idx: int = 0) -> Any:
        self.calls.append("transfer")
        return super()._apply_batch_transfer_handler(batch, device, dataloader_idx)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.calls.append("hook")
        return batch


@pytest.mark.parametrize(("plainly", "hooks"), [(True, 0), (False, 2)])
def test_every_batch_is_transferred_by_the_overridden_methods(plainly: bool, hooks: int, tmp_path: Path) -> None:
    with contract("lightning.LightningModule._on_before_batch_transfer", QuickModule):
        module = Watched()
        module.transfers_plainly = plainly
        trainer(limit_train_batches=2, limit_val_batches=0, default_root_dir=tmp_path).fit(module)
        assert module.calls.count("before") == 2 and module.calls.count("hook") == hooks
    with contract("lightning.LightningModule._apply_batch_transfer_handler", QuickModule):
        assert module.calls.count("transfer") == 2


def test_the_name_of_the_running_hook_is_set_as_a_plain_attribute(tmp_path: Path) -> None:
    with contract("lightning.LightningModule._current_fx_name", QuickModule):
        module = Watched()
        trainer(limit_train_batches=1, limit_val_batches=0, default_root_dir=tmp_path).fit(module)
        assert "training_step" in module.calls


class Sized(BoringModel):
    """With an argument."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.width = width


class Ready(SetUpOnlyCLI):
    """Two epochs, unless told otherwise."""


def _cli(cls: type[LightningCLI], folder: Path) -> LightningCLI:
    checkpoint = folder / "other.ckpt"
    torch.save({"hyper_parameters": {"width": 7}}, checkpoint)
    arguments = {"subcommand": "fit", "fit": {"model": {"width": 3}, "ckpt_path": str(checkpoint)}}
    return cls(
        Sized,
        BoringDataModule,
        args=arguments,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults={"logger": False},
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:LightningCLI's args parameter")
def test_the_command_line_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with contract("lightning.pytorch.cli.LightningCLI._run_subcommand", SetUpOnlyCLI):
        assert hasattr(LightningCLI, "_run_subcommand"), "it is gone: perhaps its like has another name"
        assert _cli(Ready, tmp_path).trainer.state.fn is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:LightningCLI's args parameter")
def test_the_command_line_beats_the_arguments_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with contract("lightning.pytorch.cli.LightningCLI._parse_ckpt_path", SetUpOnlyCLI):
        assert hasattr(LightningCLI, "_parse_ckpt_path"), "it is gone: perhaps its like has another name"
        assert _cli(Ready, tmp_path).model.width == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:LightningCLI's args parameter")
def test_a_subcommands_parser_writes_its_part_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with contract("lightning.pytorch.cli.LightningCLI._subcommand_parsers", subcommand_parser):
        cli = _cli(Ready, tmp_path)
        text = subcommand_parser(cli, "fit").dump(cli.config["fit"], skip_validation=True)
        assert yaml.safe_load(text)["model"] == {"width": 3}
