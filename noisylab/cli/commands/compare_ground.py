"""What the methods of a comparison have in common: the data, the network, the optimizer, the batches and the budget."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from noisylab.cli.commands.dataset import ROLES, check_roles
from noisylab.cli.commands.issue_defaults import choose_training
from noisylab.cli.commands.own_data import ANY_MODEL, SOURCES, Flags, check_free_flags, data_flags, read_as
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipefile import choose
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.running.app import build_data
from noisylab.cli.studies.comparison import Asked
from noisylab.cli.studies.methodset import MethodPlan, Setup
from noisylab.data.base import NoisyDataModule

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Ground", "check_values", "find_ground"]

_KEYS = ("seed_everything", "model", "data", "trainer", "speed", "checkpoint")  # parts of a recipe
_HELD_OUT = 0.1  # share of the rows unless it is given
_MORE_COMPUTE = 4  # times the epochs of `noisylab issues`: the most expensive method of the default set then has enough
_SET_HERE = {
    "model": "--model names one method; name those to compare with --methods",
    "seed_everything": "--seed_everything is one seed; give the seeds of the runs with --seeds",
    "trainer.max_epochs": "--trainer.max_epochs: give the budget with --compute, or --epochs for as many of each method",
    "data.noise.seed": "--data.noise.seed: the seed of the noise is that of the run, so that all methods see the same labels",
}


@dataclass(frozen=True)
class Ground:
    """What all methods train on, and with.

    Args:
        config: a whole configuration, of cross-entropy.
        setup: what settings depend on.
        epochs: of cross-entropy, the budget unless another is given.
        words: the data and the network, for the user.
        data: after ``setup``.
    """

    config: dict[str, Any]
    setup: Setup
    epochs: int
    words: str
    data: NoisyDataModule

    @property
    def tested(self) -> int:
        """Test rows."""
        return sum(len(loader.rows) for loader in self.data.test_dataloader().values())

    def study(self, asked: Asked, plans: Mapping[str, MethodPlan], budget: int) -> dict[str, Any]:
        """The comparison as the content of a study file, with every value written out.

        Args:
            asked: the flags.
            plans: of each method.
            budget: epochs, or epochs of cross-entropy.
        """
        parts: dict[str, Any] = {
            key: copy.deepcopy(self.config[key]) for key in ("data", "trainer", "speed") if key in self.config
        }
        switches = {f"checkpoint.{key}": value for key, value in self.config.get("checkpoint", {}).items()}
        methods = {
            label: {
                **copy.deepcopy(plan.model),
                "epochs": plan.epochs,
                **({"set": {"data.batch_size": plan.batch_size}} if plan.batch_size != self.setup.batch_size else {}),
            }
            for label, plan in plans.items()
        }
        return {
            **parts,
            **({"set": switches} if switches else {}),
            "methods": methods,
            **({"noise": dict(asked.noises)} if asked.noises else {}),
            "seeds": list(asked.seeds),
            "budget": {"compute" if asked.compute else "epochs": budget},
            "baseline": asked.baseline,
        }


def check_values(options: Options) -> None:
    """Refuse what is wrong with flags, whatever the data.

    Raises:
        UserError: naming the flag.
    """
    for key, _ in options.flags:
        if key.partition(".")[0].removesuffix("+") not in _KEYS:
            raise unknown(f"noisylab {options.command}: flag", key, [*options.own, *SOURCES, *ROLES, *_KEYS])
        if key in _SET_HERE:
            raise UserError(_SET_HERE[key])
        if key.startswith("model.") and not key.startswith(("model.network", "model.optimizer")):
            raise UserError(
                f"--{key}: all methods share a network and an optimizer, and have settings of their own\n"
                "  settings of one method belong in a STUDY.yaml: noisylab study"
            )
    check_roles(options.own)
    given = [name for name in SOURCES if name in options.own]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} exclude each other; give one")
    named = "data" in dict(options.flags)
    if given and named:
        raise UserError(f"--{given[0]} and --data exclude each other; give one")
    if not given and not named and not options.configs:
        raise UserError(
            f"noisylab {options.command} needs data: --images DIR --labels labels.csv, --dataset TABLE, --arrays FILE.npz,\n"
            "  --data CLASS with its arguments, or --config RECIPE.yaml"
        )
    check_free_flags(options)


def find_ground(options: Options, stream: TextIO) -> Ground:
    """Read the data and choose what all methods share, as `noisylab issues` chooses it; guesses are said to `stream`.

    A network and an optimizer that a recipe or a flag names stay as they are, and so do its batches and its epochs.

    Raises:
        UserError: if the data or the flags are wrong.
    """
    own = data_flags(options, stream) if any(name in options.own for name in SOURCES) else []
    named = _names_network(options)
    held = _held_out(options)
    model: Flags = [("model", "CrossEntropy")]
    first = compose(options.configs, [*(model if named else ANY_MODEL), *own, *options.flags, *held], options.row).config
    data = build_data(first)
    choice = choose_training(data)
    if named:
        config, words = first, "the network of the recipe"
    else:
        batches = [] if options.configs and "batch_size" in first["data"]["init_args"] else choice.of_data
        if not own:  # a class of data that is named has shifts of its own, or none
            batches = [flag for flag in batches if flag[0] == "data.batch_size"]
        named_data = [flag for flag in options.flags if flag[0] == "data"]
        flags = [*model, *choice.of_network, *own, *named_data, *batches, *options.flags, *held]
        config, words = compose(options.configs, flags, options.row).config, choice.network
    arguments = config["model"]["init_args"]
    setup = Setup(
        kind="features" if choice.features else "images",
        network=arguments["network"],
        num_classes=data.num_classes,
        rows=len(data.info.train_rows),
        batch_size=int(config["data"]["init_args"].get("batch_size") or data.batch_size),
        validation=data.info.num_val > 0,
        optimizer=arguments.get("optimizer"),
    )
    if named and isinstance(arguments["network"], dict):
        words = str(arguments["network"]["class_path"]).rpartition(".")[2]
    epochs = config["trainer"].get("max_epochs") or _MORE_COMPUTE * choice.epochs
    config = {**config, "trainer": {**config["trainer"], "max_epochs": epochs}}
    rows = f"{setup.rows:,} rows to train on, {data.info.num_val:,} held out, of {data.num_classes} classes{read_as(data)}"
    return Ground(config, setup, int(epochs), f"{rows}; {words}, batches of {setup.batch_size}", data)


def _names_network(options: Options) -> bool:
    """Whether a recipe or a flag names the network."""
    if any(key.startswith("model.network") for key, _ in options.flags):
        return True
    files = [chosen.file for chosen in choose(options.configs, options.row)]
    return any("model" in part.values for file in files for part in (file, file.base) if part is not None)


def _held_out(options: Options) -> Flags:
    """The share of the rows that are held out: that of the flag, of the recipe, or a tenth."""
    if "val_fraction" in options.own:
        return [("data.val_fraction", options.own["val_fraction"])]
    if any(key == "data.val_fraction" for key, _ in options.flags):
        return []
    for chosen in choose(options.configs, options.row):
        for part in (chosen.file, chosen.file.base):
            data = None if part is None else part.values.get("data")
            if isinstance(data, dict) and "val_fraction" in (data.get("init_args") or {}):
                return []
    return [("data.val_fraction", str(_HELD_OUT))]
