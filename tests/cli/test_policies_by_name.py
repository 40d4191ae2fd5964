"""Threshold policies in recipes, on the command line and in checkpoints: by short name, within lists, within each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from noisylab.cli import main
from noisylab.cli.configuration.compose import Composed, compose
from noisylab.cli.describe import describe
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import config_text
from noisylab.methods import CrossEntropy
from noisylab.models import MLP
from noisylab.models.network import NetFactory
from noisylab.selection import AllOf, FixedThreshold, LinearThreshold, PolicyFactory, StagedThreshold, ThresholdPolicy
from noisylab.specs import as_factory

_HOME = "noisylab.selection.thresholds"
_RECIPE = """
model:
  class_path: PolicyToy
  init_args:
    network: {class_path: MLP, init_args: {in_features: 4}}
    policy:
      class_path: StagedThreshold
      init_args:
        last_epoch: 2
        first: FixedThreshold
        then:
          class_path: AllOf
          init_args:
            policies:
              - class_path: LinearThreshold
                init_args: {start: 0.8, epochs: 4}
              - FixedThreshold
data: Digits
"""


class PolicyToy(CrossEntropy):
    """Cross-entropy that has a policy and does not use it."""

    def __init__(self, num_classes: int, network: NetFactory, policy: PolicyFactory | None = None, **given: Any) -> None:
        super().__init__(num_classes, network, **given)
        self.policy = None if policy is None else as_factory(policy, ThresholdPolicy, "policy")(num_classes)


def _composed(tmp_path: Path, *flags: tuple[str, str]) -> Composed:
    (tmp_path / "staged.yaml").write_text(_RECIPE)
    return compose([str(tmp_path / "staged.yaml")], list(flags))


def _policy(composed: Composed) -> Any:
    return composed.config["model"]["init_args"]["policy"]


def test_a_recipe_names_policies_shortly_also_in_a_list(tmp_path: Path) -> None:
    found = _policy(_composed(tmp_path))
    linear = {"class_path": f"{_HOME}.fixed.LinearThreshold", "init_args": {"start": 0.8, "epochs": 4}}
    fixed = {"class_path": f"{_HOME}.fixed.FixedThreshold", "init_args": {}}
    every = {"class_path": f"{_HOME}.combined.AllOf", "init_args": {"policies": [linear, fixed]}}
    assert found["class_path"] == f"{_HOME}.combined.StagedThreshold"
    assert found["init_args"] == {"last_epoch": 2, "first": fixed, "then": every}


def test_flags_reach_into_policies_and_lists(tmp_path: Path) -> None:
    flags = (("model.policy.first.threshold", "0.7"), ("model.policy.then.policies.1.threshold", "0.6"))
    arguments = _policy(_composed(tmp_path, *flags))["init_args"]
    assert arguments["first"]["init_args"] == {"threshold": 0.7}
    assert [item["init_args"] for item in arguments["then"]["init_args"]["policies"]] == [
        {"start": 0.8, "epochs": 4},
        {"threshold": 0.6},
    ]
    replaced = _policy(_composed(tmp_path, ("model.policy.then.policies", "[NoThreshold, {class_path: FixedThreshold}]")))
    names = [item["class_path"].rpartition(".")[2] for item in replaced["init_args"]["then"]["init_args"]["policies"]]
    assert names == ["NoThreshold", "FixedThreshold"]
    other = _policy(_composed(tmp_path, ("model.policy", "FixedThreshold"), ("model.policy.threshold", ".9")))
    assert other == {"class_path": f"{_HOME}.fixed.FixedThreshold", "init_args": {"threshold": 0.9}}


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("model.policy.then.policies.2.threshold", "0.6", "model.policy.then.policies.2: there is no such place in the list"),
        ("model.policy.then.policies", "FixedThreshold", "expected a list of classes"),
        ("model.policy.then.policies", "[FixedTreshold]", "nearest: FixedThreshold"),
        ("model.policy.then.policies", "[null]", "model.policy.then.policies.0: expected a class, got nothing"),
        ("model.policy.then.policies", "[AllOf]", "model.policy.then.policies.0.policies: AllOf needs it"),
        ("model.policy.then.policies.0.begin", "0.6", "model.policy.then.policies.0.begin: key of LinearThreshold"),
        ("model.policy.then", "MLP", "model.policy.then"),
        ("model.policy.then.policies.1.threshold", "high", "model.policy.then.policies.1.threshold: wrong value"),
        ("model.policy.then.policies.1.num_classes", "3", "model.policy.then.policies.1.num_classes"),
    ],
)
def test_mistakes_name_the_place(flag: str, value: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        _composed(tmp_path, (flag, value))
    assert told in str(caught.value)


def test_the_configuration_of_a_run_is_one_that_gives_the_run_again(tmp_path: Path) -> None:
    config = _composed(tmp_path, ("model.policy.then.policies.1.threshold", "0.6")).config
    text = config_text(config, skip="default")
    (tmp_path / "again.yaml").write_text(text.replace(f"{__name__}.PolicyToy", "PolicyToy"))  # which no file may import
    again = compose([str(tmp_path / "again.yaml")], []).config
    assert config_text({**again, "recipe": "staged"}, skip="default") == text


def test_help_names_the_arguments() -> None:
    assert "threshold: a fraction in [0, 1]; 0.95 by default" in describe("FixedThreshold")
    assert "policies" in describe("AllOf") and "num_classes" not in describe("AllOf").partition("arguments:")[2]


@pytest.mark.slow
def test_a_checkpoint_holds_a_policy_and_builds_it_again(tmp_path: Path) -> None:
    (tmp_path / "staged.yaml").write_text(_RECIPE.replace("in_features: 4", "in_features: 64"))
    run = tmp_path / "run"
    assert main(["fit", "--config", str(tmp_path / "staged.yaml"), "--trainer.max_steps", "1", "--run_dir", str(run)]) == 0
    written = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["policy"]
    assert written["init_args"]["then"]["init_args"]["policies"][0]["init_args"]["start"] == 0.8
    method = PolicyToy.load_from_checkpoint(next((run / "checkpoints").glob("*.ckpt")))
    assert isinstance(method.policy, StagedThreshold) and isinstance(method.policy.then, AllOf)
    assert isinstance(method.policy.first, FixedThreshold)


def test_policies_given_in_python_are_stored_as_data() -> None:
    given = partial(AllOf, policies=[FixedThreshold, partial(LinearThreshold, start=0.7)])
    method = PolicyToy(3, partial(MLP, in_features=2), policy=given)
    spec = method.hparams["policy"]
    assert spec["init_args"]["policies"] == [
        {"class_path": f"{_HOME}.fixed.FixedThreshold"},
        {"class_path": f"{_HOME}.fixed.LinearThreshold", "init_args": {"start": 0.7}},
    ]
    again = PolicyToy(3, partial(MLP, in_features=2), policy=spec)
    assert again.hparams["policy"] == spec and str(again.policy) == str(method.policy)
    assert list(again.policy.state_dict()) == list(method.policy.state_dict())
    torch.testing.assert_close(again.policy.policies[1].start, 0.7)
