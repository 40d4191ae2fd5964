"""What ``from noisylab import ...`` offers, and that asking for nothing costs nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import noisylab

ROOMS = ("callbacks", "data", "data.named", "issues", "losses", "methods", "models", "noise")


def test_every_public_name_is_that_of_its_home() -> None:
    for home, names in noisylab._HOMES.items():
        module = importlib.import_module(home)
        for name in names.split():
            assert getattr(noisylab, name) is getattr(module, name)
            assert name in module.__all__, f"{home}.{name} is not public there"


def test_type_checkers_are_told_the_same_names() -> None:
    stub = Path(noisylab.__file__).with_suffix(".pyi")
    told = {
        alias.asname: node.module
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == noisylab._HOME_OF, "noisylab/__init__.pyi and _HOMES in noisylab/__init__.py name different things"


@pytest.mark.parametrize("room", ROOMS)
def test_no_public_class_of_a_room_is_forgotten(room: str) -> None:
    module = importlib.import_module(f"noisylab.{room}")
    classes = {name for name in module.__all__ if inspect.isclass(getattr(module, name)) and not name.endswith("File")}
    forgotten = classes - set(noisylab.__all__)
    assert not forgotten, f"enter {sorted(forgotten)} in _HOMES of noisylab/__init__.py and in noisylab/__init__.pyi"


def test_what_is_not_there_is_said_as_python_says_it() -> None:
    with pytest.raises(AttributeError, match="module 'noisylab' has no attribute 'Act'"):
        noisylab.Act  # noqa: B018
    assert {"ACT", "__version__"} <= set(dir(noisylab))


def test_importing_noisylab_imports_no_library() -> None:
    program = "import sys, noisylab; print(sorted({'torch', 'lightning', 'numpy', 'yaml'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
