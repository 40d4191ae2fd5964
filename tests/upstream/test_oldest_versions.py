"""The oldest versions that are tested are the oldest that are allowed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BOUND = re.compile(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)")
_INSTALLED = ("wandb", "tensorboard", "views", "features")  # the extras that make test-oldest installs
_RAISED = {"pyyaml": "6.0.1"}  # where the oldest of all does not install, as the file says


def _bounds() -> dict[str, str]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for name in _INSTALLED for requirement in project["optional-dependencies"][name]]
    matches = [_BOUND.match(requirement) for requirement in [*project["dependencies"], *extras]]
    return {match[1].lower(): match[2] for match in matches if match is not None}


def _tested() -> dict[str, str]:
    lines = (_ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("#")[0].strip().split("==") for line in lines if "==" in line.partition("#")[0]]
    return {name.lower(): version for name, version in pins}


@pytest.mark.parametrize("name", _bounds())
def test_the_oldest_allowed_version_is_the_one_that_is_tested(name: str) -> None:
    wanted, tested = _RAISED.get(name, _bounds()[name]), _tested()[name]
    assert tested.split(".") == [*wanted.split("."), "0", "0", "0"][: len(tested.split("."))], f"{name}: {tested}, bound {wanted}"


def test_every_dependency_has_a_lower_bound() -> None:
    assert {"torch", "lightning", "jsonargparse", "pillow", "tensorboard"} <= set(_bounds())
    assert set(_bounds()) <= set(_tested())
