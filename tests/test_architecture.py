"""Imports point down, as the design says; read from the source, so that imports inside functions count, too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import noisylab

_ROOT = Path(noisylab.__file__).parent
_FILES = sorted(_ROOT.rglob("*.py"))

# a room may import rooms of a smaller number, and itself
_LEVELS: dict[str, int] = {
    "cli": 9,
    "__main__": 10,
    "__init__": 10,
    "callbacks": 7,
    "issues": 7,
    "methods": 6,
    "data": 6,
    "engine": 5,
    "memory": 4,
    "metrics": 4,
    "checkpoints": 3,
    "estimation": 3,
    "best_network": 3,
    "meta": 3,
    "ema": 3,
    "schedules": 3,
    "losses": 2,
    "selection": 2,
    "noise": 2,
    "transforms": 2,
    "models": 2,
    "specs": 1,
    "crowd": 1,
    "renamed": 1,
    "terminal": 1,
    "types": 1,
    "arguments": 0,
    "trust": 0,
    "downloads": 0,
    "files": -1,
    "reading": -1,
    "machine": -2,
    "upstream": -1,
    "reports": 8,
    "sklearn": 9,
}
_BESIDE = {("issues", "callbacks"), ("callbacks", "issues")}  # one level, and they meet the methods and the data
_REPORTS_MAY_IMPORT = {"reports", "files", "reading"}


def _room(file: Path) -> str:
    return file.relative_to(_ROOT).parts[0].removesuffix(".py")


def _imports(file: Path) -> list[tuple[int, str]]:
    """(line, room) of every import of noisylab's own, those for type checking alone included."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write the import out, from noisylab"
            modules = [node.module or ""]
            if node.module == "noisylab":
                modules = [f"noisylab.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == "noisylab" and len(parts) > 1 and not parts[1].startswith("__"):
                found.append((node.lineno, parts[1]))
    return found


@pytest.mark.parametrize("file", _FILES, ids=lambda file: str(file.relative_to(_ROOT)))
def test_imports_point_down(file: Path) -> None:
    room = _room(file)
    wrong = []
    for line, other in _imports(file):
        if other == room or (room, other) in _BESIDE:
            continue
        if _LEVELS.get(other, 99) >= _LEVELS[room]:
            wrong.append(f"line {line} imports {other}")
    assert not wrong, wrong


def test_every_room_has_its_place() -> None:
    assert {_room(file) for file in _FILES} <= set(_LEVELS), "a new room: give it a place in _LEVELS above"


# within the command line likewise; "main" is what the command runs
_CLI_LEVELS = {
    "wording": -1,
    "flags": 0,
    "errors": 0,
    "options": 1,
    "launch": 1,
    "configuration": 2,
    "folder": 3,
    "running": 4,
    "studies": 5,
    "sweeps": 5,
    "commands": 6,
    "usage": 7,
    "describe": 7,
    "main": 8,
    "__init__": 9,
}


def _module(file: Path) -> str:
    return ".".join(("noisylab", *file.relative_to(_ROOT).with_suffix("").parts)).removesuffix(".__init__")


_MODULES = {_module(file): file for file in _FILES}


def _imported(file: Path) -> set[str]:
    """Modules of noisylab's own that a file imports, wherever in it, for type checking, too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in _MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & set(_MODULES)) - {"noisylab", _module(file)}


def test_imports_within_the_command_line_point_down() -> None:
    wrong = []
    for name, file in _MODULES.items():
        if not name.startswith("noisylab.cli"):
            continue
        room = [*name.split("."), "__init__"][2]
        for other in _imported(file):
            if other.startswith("noisylab.cli"):
                below = [*other.split("."), "__init__"][2]
                if below != room and _CLI_LEVELS[below] >= _CLI_LEVELS[room]:
                    wrong.append(f"{name} imports {other}")
    assert not wrong, wrong


def test_no_imports_go_round_in_a_circle() -> None:
    left = {name: _imported(file) for name, file in _MODULES.items()}
    while True:  # take away who imports nothing that is left
        free = {name for name, others in left.items() if not others & set(left)}
        if not free:
            break
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"among these modules there is a circle: {sorted(left)}"


def test_methods_and_data_never_import_each_other() -> None:
    for file in _FILES:
        forbidden = {"methods": "data", "data": "methods"}.get(_room(file))
        assert forbidden not in {room for _, room in _imports(file)}, file


def test_reports_import_no_other_room() -> None:
    for file in _FILES:
        if _room(file) == "reports":
            assert {room for _, room in _imports(file)} <= _REPORTS_MAY_IMPORT, file


def test_the_loop_knows_methods_and_data_by_protocols_alone() -> None:
    for file in _FILES:
        if _room(file) == "engine":
            assert not {room for _, room in _imports(file)} & {"data", "methods"}, file


def test_there_is_no_room_for_everything() -> None:
    names = {part for file in _FILES for part in file.relative_to(_ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    for file in _FILES:
        assert len(file.read_text().splitlines()) <= 500, file
