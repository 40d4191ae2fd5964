"""What the agent of a W&B sweep puts in place of ${args} is understood: --model.optimizer.lr=1e-05."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisylab.cli.configuration.compose import compose
from noisylab.cli.errors import UserError
from noisylab.cli.options import parse

utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")

_PAGE = Path(__file__).parents[2] / "docs" / "dashboards.md"


def _composed(command: list[str], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the command that the agent starts with these values of the parameters."""
    flags = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})["args"]
    words = [word for part in command for word in (flags if part == "${args}" else [part])]
    assert words[0] == "noisylab"
    options = parse(words[1:])
    assert options.loggers == ["wandb"]
    return dict(compose(options.configs, options.flags, options.row).config)


_COMMAND = ["noisylab", "fit", "--config", "elr_digits.yaml", "--logger", "wandb", "${args}"]


@pytest.mark.parametrize(
    ("values", "where", "expected"),
    [
        ({"model.target_momentum": 0.9}, ("model", "init_args", "target_momentum"), 0.9),
        ({"model.scheduler.eta_min": 1e-05}, ("model", "init_args", "scheduler", "init_args", "eta_min"), 1e-05),
        ({"model.network.width": 8}, ("model", "init_args", "network", "init_args", "width"), 8),
        ({"data.noise.exact": True}, ("data", "init_args", "noise", "init_args", "exact"), True),
        ({"data.noise.exact": False}, ("data", "init_args", "noise", "init_args", "exact"), False),
        ({"trainer.gradient_clip_val": "null"}, ("trainer", "gradient_clip_val"), None),
        ({"seed_everything": 3}, ("seed_everything",), 3),
        (
            {"data.noise": {"class_path": "Symmetric", "init_args": {"rate": 0.3}}},
            ("data", "init_args", "noise", "init_args", "rate"),
            0.3,
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_arrive_as_they_were_chosen(values: dict[str, Any], where: tuple[str, ...], expected: Any) -> None:
    found: Any = _composed(_COMMAND, values)
    for key in where:
        found = found[key]
    assert found == expected and type(found) is type(expected)


def test_a_float_for_a_whole_number_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size: wrong value"):
        _composed(_COMMAND, {"data.batch_size": 64.0})  # of q_uniform; int_uniform draws whole numbers


def test_the_sweep_of_the_page_can_be_started() -> None:
    block = _PAGE.read_text(encoding="utf-8").partition('```yaml title="sweep.yaml"\n')[2].partition("```")[0]
    sweep = yaml.safe_load(block)
    assert sweep["metric"] == {"name": "val/acc", "goal": "maximize"}
    drawn = {
        name: part["values"][0] if "values" in part else part["min"] if "min" in part else part["value"]
        for name, part in sweep["parameters"].items()
    }
    command = [word for part in sweep["command"] if part != "${env}" for word in [part]]
    config = _composed(command, drawn)
    assert config["data"]["init_args"]["val_fraction"] > 0  # else there is no val/acc
