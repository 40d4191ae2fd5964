"""The Lightning command line of noisylab, given a configuration that has been checked already."""

from __future__ import annotations

import copy
import os
import warnings
from enum import Enum
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.strategies import DDPStrategy

from noisylab.callbacks import Curves, Diagnostics, HeldOutLabels, LabelIssues, RunCheckpoint, RunProgress, RunSummary, Speed
from noisylab.cli.configuration.compose import switches
from noisylab.cli.configuration.keywords import with_dict_kwargs
from noisylab.cli.configuration.origin import absolute_paths
from noisylab.cli.configuration.registry import class_kind, item_kind, locate, parameters, takes_factory
from noisylab.cli.configuration.scalars import dump, put_back
from noisylab.cli.configuration.starts import absolute_starts
from noisylab.cli.configuration.trainer import check_callbacks, check_machine, check_monitors
from noisylab.cli.configuration.trainer_classes import explained
from noisylab.cli.errors import UserError
from noisylab.cli.launch import how_started
from noisylab.cli.running.again import leave_requeueing
from noisylab.cli.running.loggers import log_settings, make_logger
from noisylab.cli.running.widths import asks_for_width, with_width
from noisylab.data.base import NoisyDataModule
from noisylab.data.trusted import require_table
from noisylab.engine.ranks import may_leave_out
from noisylab.engine.sync_norm import SyncNorm
from noisylab.files import atomic_path
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.readiness import refuse_mixing
from noisylab.noise import Noise
from noisylab.transforms import StrongView
from noisylab.upstream.lightning import SetUpOnlyCLI, default_ddp_option, layer_sync, set_layer_sync, subcommand_parser

__all__ = ["App", "build", "build_data", "config_text", "write_config"]


class App(SetUpOnlyCLI):
    """LightningCLI in subclass mode with noisylab's links, callbacks and run folder.

    Args:
        args: the configuration under the name of the subcommand.
        folder: run folder; None writes nothing.
        loggers: names among `noisylab.cli.running.loggers.LOGGERS`.
        fitted: record of the model whose data these are, see `NoisyDataModule.adopt`; None for a new model.
        data: those of the configuration, where they have been read already.
        asked: the method's part of the configuration as the run folder keeps it; None for that of `args`.
        **kwargs: of LightningCLI.
    """

    def __init__(
        self,
        args: dict[str, Any],
        *,
        folder: Path | None = None,
        loggers: tuple[str, ...] = (),
        fitted: dict[str, Any] | None = None,
        data: NoisyDataModule | None = None,
        asked: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.folder, self.loggers, self.fitted, self._data, self._asked = folder, loggers, fitted, data, asked
        self.requeues = False
        self._running: str = args["subcommand"]
        super().__init__(
            NoisyLabelMethod,
            NoisyDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # methods store their own arguments, however they were made
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": 100,  # Lightning's own default, a thousand, is never meant
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
                "logger": False,
            },
            args=args,
            **kwargs,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static
        """The one that runs: the parsers of the others take as long to make, and nobody sees them."""
        return {self._running: super().subcommands()[self._running]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The recipe's name; the switches of speed and checkpoints; classes and seed from one place."""
        parser.add_lightning_class_args(Speed, "speed")
        for name, switch in switches("checkpoint").items():
            parser.add_argument(f"--checkpoint.{name}", type=switch.hint, default=switch.default)
        parser.add_argument("--recipe", type=str, default="", help="name of the recipe, for the run folder and the summary")
        parser.add_argument("--init_from", type=list[dict[str, Any]] | None, help="runs whose weights this one starts from")
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        # before the number of classes is asked for
        parser.add_instantiator(self._instantiate_data, NoisyDataModule, subclasses=True)

    def _instantiate_data(self, cls: type[NoisyDataModule], *args: Any, **kwargs: Any) -> NoisyDataModule:
        if self._data is not None:
            return self._data
        data = cls(*args, **kwargs)
        if self.fitted is not None:
            data.adopt(self.fitted)
        return data

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, then restore every text exactly as it was given."""
        super().parse_arguments(parser, args)
        self._given: dict[str, Any] = args[args["subcommand"]]
        put_back(self.config[args["subcommand"]], self._given)

    def config_text(self, skip: str = "", absolute: bool = False) -> str:
        """The whole configuration as YAML, including every default except what `skip` names; see `config_text`.

        Args:
            skip: see `config_text`.
            absolute: whether files and folders of the data are named by absolute paths.
        """
        assert self.subcommand is not None
        parser = subcommand_parser(self, self.subcommand)
        config = self.config[self.subcommand].clone()
        if absolute:
            absolute_paths(config["data"])
            absolute_starts(config)
            # where it trained is no part of the run, which may be tested on one machine, or go on on another number of them
            config["trainer.num_nodes"] = 1
            if how_started().outside:
                config["trainer.devices"] = "auto"
        if not config.get("init_from"):
            config.pop("init_from", None)
        # what belongs to one call, not to the experiment
        for key in (
            "ckpt_path",
            "weights_only",
            "return_predictions",
            "verbose",
            "trainer.logger",
            "trainer.enable_progress_bar",
        ):
            if key in config:
                del config[key]
        config.update(_plain(config))
        text = parser.dump(config, skip_none=skip == "null", skip_default=skip == "default", skip_validation=True)
        dumped = yaml.safe_load(text)
        put_back(dumped, self._given if self._asked is None else {**self._given, "model": self._asked})
        return dump(dumped)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with noisylab's callbacks, loggers and strategy."""
        assert self.subcommand is not None
        made, written = self.config_init[self.subcommand], self.config[self.subcommand]
        config = made.get("trainer", {})
        given = config.get("callbacks") or []
        callbacks = list(given) if isinstance(given, list) else [given]
        check_callbacks(callbacks, bool(self.loggers), self.model, config.get("max_epochs"))
        if not any(isinstance(callback, Diagnostics) for callback in callbacks):
            callbacks.append(Diagnostics())
        self.speed: Speed = made.get("speed")
        if not any(isinstance(callback, Speed) for callback in callbacks):
            callbacks.append(self.speed)
        recipe = str(written.get("recipe") or "")
        another = any(isinstance(callback, ProgressBar) for callback in callbacks)  # Lightning's own, in place of ours
        shown = config.get("enable_progress_bar") is not False
        config["enable_progress_bar"] = shown and another
        if self.folder is not None:
            config["default_root_dir"] = self.folder
            if shown and not another and not any(isinstance(callback, RunProgress) for callback in callbacks):
                callbacks.append(RunProgress(recipe or "fit"))
            curves = Curves(self.folder, every_n_steps=config.get("log_every_n_steps") or None)
            intervals = {name: written.get(f"checkpoint.{name}") for name in switches("checkpoint")}
            self.checkpoint = RunCheckpoint(self.folder / "checkpoints", **intervals)
            self.summary, self.issues = RunSummary(self.folder, recipe), LabelIssues(self.folder)
            # the summary says that a run is finished, so it comes after all else that the end of a run writes
            callbacks += [curves, self.issues, HeldOutLabels(self.folder), self.summary, self.checkpoint]
        config["callbacks"] = callbacks
        if self.folder is not None:
            config["logger"] = [
                make_logger(name, self.folder, recipe, self.model, self.datamodule) for name in self.loggers
            ] or False
        self.requeues = leave_requeueing(config)
        trainer = L.Trainer(**{**config, **kwargs})
        _choose_strategy(trainer, self.model)
        return trainer


def _plain(value: Any) -> Any:
    """With texts for what YAML cannot write and callbacks have as defaults: members of an enumeration, devices."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, Namespace):
        return Namespace(**{key: _plain(item) for key, item in vars(value).items()})
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _choose_strategy(trainer: L.Trainer, method: NoisyLabelMethod | None = None) -> None:
    """Let DDP look for unused parameters where there may be some; batch normalization over all ranks, on the CPU, too.

    Raises:
        UserError: for such normalization with a method that differentiates its own steps.
    """
    method = method or trainer.lightning_module  # type: ignore[assignment]
    if isinstance(trainer.strategy, DDPStrategy):
        unused = not isinstance(method, NoisyLabelMethod) or may_leave_out(method)
        default_ddp_option(trainer.strategy, "find_unused_parameters", unused)
        if layer_sync(trainer) is not None:
            if isinstance(method, NoisyLabelMethod) and method.needs_trusted:
                raise UserError(
                    f"trainer.sync_batchnorm=true: {type(method).__name__} differentiates its own steps, which this does not "
                    "reach; leave it out"
                )
            set_layer_sync(trainer, SyncNorm())


class _Parsed(App):
    """The configuration with its defaults, nothing built."""

    def instantiate_classes(self) -> None:
        """Nothing."""


def build(
    subcommand: str,
    config: dict[str, Any],
    *,
    folder: Path | None,
    loggers: tuple[str, ...] = (),
    fitted: dict[str, Any] | None = None,
) -> App:
    """Parse and instantiate, without running.

    Args:
        subcommand: "fit", "validate", "test" or "predict".
        config: checked configuration.
        folder: run folder; None writes nothing.
        loggers: see `App`.
        fitted: likewise.
    """
    if not asks_for_width(config["model"]):
        _preflight(subcommand, config, fitted, None)
        return _parse(App, subcommand, config, folder=folder, loggers=loggers, fitted=fitted)
    if fitted is not None and subcommand != "fit":
        read, data = _blank_data(config, fitted), None  # the record knows the width, whatever has become of the data
    else:
        read = data = build_data(config, fitted)
    filled = {**config, "model": with_width(config["model"], read)}
    _preflight(subcommand, filled, fitted, data)
    return _parse(App, subcommand, filled, folder=folder, loggers=loggers, fitted=fitted, data=data, asked=config["model"])


def _blank_data(config: dict[str, Any], fitted: dict[str, Any]) -> NoisyDataModule:
    data: NoisyDataModule = _construct(config["data"])
    data.adopt(fitted)
    data.setup_blank()
    return data


def build_data(config: dict[str, Any], fitted: dict[str, Any] | None = None) -> NoisyDataModule:
    """The data of a checked configuration, read, without a method or a trainer.

    Args:
        config: checked configuration.
        fitted: see `App`.
    """
    check_machine(config.get("trainer", {}))
    data: NoisyDataModule = _construct(config["data"], seed=int(config.get("seed_everything") or 0))
    if fitted is not None:
        data.adopt(fitted)
    data.prepare_data()
    data.setup("fit")
    return data


def config_text(config: dict[str, Any], skip: str = "") -> str:
    """A checked configuration as YAML, every default included.

    Args:
        config: see `noisylab.cli.configuration.compose.compose`.
        skip: "null" leaves out what is not set, "default" what is as it would be anyway.
    """
    return _parse(_Parsed, "fit", config).config_text(skip)


def _parse(cls: type[App], subcommand: str, config: dict[str, Any], **kwargs: Any) -> App:
    # Lightning calls jsonargparse by names that it has since renamed; nothing the user could do about it
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        parser_kwargs = {subcommand: {"exit_on_error": False}, "exit_on_error": False}
        given = {key: with_dict_kwargs(value) if key in ("model", "data") else value for key, value in config.items()}
        trainer = copy.deepcopy(given.get("trainer") or {})  # which the parser changes
        try:
            return cls({"subcommand": subcommand, subcommand: given}, parser_kwargs=parser_kwargs, **kwargs)
        except Exception as error:
            told = explained(error, trainer)
            if told is error:
                raise
            raise told from error


def _preflight(subcommand: str, config: dict[str, Any], fitted: dict[str, Any] | None, data: NoisyDataModule | None) -> None:
    """Build data and method once, so that what a constructor refuses is said in its own words: jsonargparse would wrap it."""
    check_machine(config.get("trainer", {}))
    if data is None:
        data = _construct(config["data"])
        if fitted is not None:
            data.adopt(fitted)
    method = _construct(config["model"], num_classes=data.num_classes)
    if subcommand == "fit":
        if data.trusted_labels is not None:
            require_table(data.trusted_labels)
        validated = config.get("trainer", {}).get("limit_val_batches") not in (0, 0.0)
        refuse_mixing(method, data)
        method.check_ready(bool(data.held_out) and validated, data.has_trusted)
        check_monitors(config.get("trainer", {}), bool(data.held_out))
    # Lightning would advise to switch to automatic optimization, which nobody who runs a recipe can
    for name, nothing in (("gradient_clip_val", 0), ("accumulate_grad_batches", 1)):
        value = config.get("trainer", {}).get(name)
        if value not in (None, nothing) and not method.automatic_optimization:
            own = name == "gradient_clip_val" and "clip_norm" in parameters(type(method))
            instead = f"set model.clip_norm to {value}" if own else "leave it out"
            raise ValueError(f"trainer.{name}={value}: {type(method).__name__} steps its networks itself; {instead}")


def _construct(node: dict[str, Any], **handed: Any) -> Any:
    cls = locate(node["class_path"])
    arguments: dict[str, Any] = {}
    for name, value in node["init_args"].items():
        hint = parameters(cls)[name].hint if name in parameters(cls) else None
        kind = class_kind(hint)
        if isinstance(value, dict) and "class_path" in value and kind is not None:
            # networks, optimizers and schedules are handed over as factories, the data's noise and strong view as objects
            factory = takes_factory(hint) or not issubclass(kind, Noise | StrongView)
            value = {**value, "init_args": dict(value["init_args"])} if factory else _construct(value)
        elif isinstance(value, list) and item_kind(hint) is StrongView:
            value = [_construct(item) for item in value]
        arguments[name] = value
    return cls(**{**arguments, **handed})


def write_config(app: App, folder: Path) -> None:
    """Write ``config.yaml`` into the run folder, with absolute paths of the data, and hand it to the loggers."""
    text = app.config_text(absolute=True)
    with atomic_path(folder / "config.yaml") as partial:
        partial.write_text(text, encoding="utf-8")
    log_settings(yaml.safe_load(text), app.trainer, app.model, app.datamodule)
