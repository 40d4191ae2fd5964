"""Private names of other libraries are used in noisylab/upstream alone, each with its reason and a test of its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from helpers.contracts import contract
from helpers.private_names import PrivateUse, Sources, is_private, overridden

import noisylab
from noisylab.upstream.lightning import detects_anomalies

_ROOT = Path(noisylab.__file__).parent
_ROOMS = sorted(path.stem for path in (_ROOT / "upstream").glob("*.py") if path.stem != "__init__")


@cache
def _sources() -> Sources:
    return Sources.of(_ROOT)


@cache
def _uses() -> tuple[PrivateUse, ...]:
    return (*_sources().uses(), *overridden(_sources()))


def _fenced(use: PrivateUse) -> bool:
    return use.file.startswith("upstream/")


def test_private_names_of_other_libraries_stand_in_upstream_alone() -> None:
    stray = [str(use) for use in _uses() if not _fenced(use)]
    advice = "use public names, or put these into a small function of noisylab/upstream with its reason:"
    assert not stray, "\n".join([advice, *stray])


def test_every_private_name_has_a_contract() -> None:
    kept = set()
    for file in Path(__file__).parent.glob("test_*_contracts.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "contract":
                assert isinstance(node.args[0], ast.Constant)
                kept |= set(str(node.args[0].value).split("."))
    without = sorted({use.name for use in _uses() if _fenced(use)} - kept)
    assert not without, f"write a test with contract(...) for {', '.join(without)}"


@pytest.mark.parametrize("room", _ROOMS)
def test_every_function_of_upstream_names_what_it_uses_and_why(room: str) -> None:
    module = importlib.import_module(f"noisylab.upstream.{room}")
    own = [getattr(module, name) for name in module.__all__]
    for made in (one for one in own if one.__module__ == module.__name__):
        text = inspect.getdoc(made) or ""
        for part in ("Private: ", "Why: ", "Since: ", "Without it: "):
            assert part in text, f"{room}.{made.__name__} does not say {part.strip()}"


def test_docstrings_name_the_private_names_that_the_code_below_uses() -> None:
    for room in _ROOMS:
        file = _ROOT / "upstream" / f"{room}.py"
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in (part for part in tree.body if isinstance(part, ast.FunctionDef | ast.ClassDef)):
            said = set(re.findall(r"\b_\w+", ast.get_docstring(node) or ""))
            last = max(inner.lineno for inner in ast.walk(node) if hasattr(inner, "lineno"))
            used = {use.name for use in _uses() if use.file == f"upstream/{room}.py" and node.lineno <= use.line <= last}
            assert used <= said, f"{room}.{node.name} uses {used - said} and does not say so"


def test_a_broken_contract_names_the_version_the_name_and_the_place() -> None:
    words = r"lightning \d+\.\d+\.\d+ changed lightning.Trainer._gone; see noisylab/upstream/lightning.py: detects_anomalies\n"
    with pytest.raises(pytest.fail.Exception, match=words), contract("lightning.Trainer._gone", detects_anomalies):
        raise AttributeError("no such attribute")


# ---- what counts as private


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch\ntorch._foreach_lerp_(a, b, 1)", ["_foreach_lerp_"]),
        ("from torch._inductor.runtime import cache_dir", ["_inductor"]),
        ("from torch.nn.modules.batchnorm import _BatchNorm as Norm", ["_BatchNorm"]),
        ("import torch._C", ["_C"]),
        ("trainer._signal_connector.received = True", ["_signal_connector"]),
        ("getattr(trainer.strategy, '_layer_sync', None)", ["_layer_sync"]),
        ("importlib.import_module('torch._dynamo')", ["_dynamo"]),
        ("class A(Other):\n    def f(self):\n        return self._theirs", ["_theirs"]),
        ("class A(Other):\n    def f(self):\n        return super()._theirs()", ["_theirs"]),
        (
            "class A(Other):\n    def __setattr__(self, name, value):\n        if name == '_theirs':\n            pass",
            ["_theirs"],
        ),
        # the package's own
        ("class A:\n    def _mine(self): ...\nclass B(A):\n    def f(self):\n        return self._mine()", []),
        ("class Mixin:\n    def f(self):\n        return self._mine\nclass B(Mixin):\n    _mine = 1", []),
        ("class A:\n    def __init__(self):\n        self._mine = 1\n    def f(self, other):\n        return other._mine", []),
        ("from noisylab.cli import _mine", []),
        ("from __future__ import annotations", []),
        # Python's
        ("for _ in range(3): pass", []),
        ("value.__class__", []),
        ("point._replace(x=1)", []),
    ],
)
def test_private_names_are_found_in_source(source: str, names: list[str]) -> None:
    assert [use.name for use in Sources({"file.py": source}).uses()] == names


def test_a_name_of_another_file_is_not_one_of_this_class() -> None:
    one, other = "class A:\n    def f(self):\n        return self._x", "class B:\n    _x = 1"
    assert [use.name for use in Sources({"one.py": one, "other.py": other}).uses()] == ["_x"]
    assert Sources({"one.py": one.replace("class A:", "class A(B):"), "other.py": other}).uses() == []


def test_overridden_private_names_are_found() -> None:
    assert {use.name for use in overridden(_sources())} >= {"_apply", "_run_subcommand", "_apply_batch_transfer_handler"}


@pytest.mark.parametrize(("name", "private"), [("_x", True), ("__x", True), ("__x__", False), ("_", False), ("x_", False)])
def test_private_means_one_underscore_before(name: str, private: bool) -> None:
    assert is_private(name) is private
