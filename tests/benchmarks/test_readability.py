"""How much there is to read: the bounds that the documented paths keep, and the counting itself."""

from __future__ import annotations

import ast
from pathlib import Path

import readability

ROOT = Path(__file__).resolve().parents[2]
BOUNDS = {"ACT": 500, "DivideMix": 700, "IEG": 900}


def test_documented_paths_are_as_short_as_they_are_said_to_be() -> None:
    table = readability.paths(ROOT)
    assert table.keys() == BOUNDS.keys()
    for name, (files, stated) in table.items():
        counted = sum(readability.lines(ROOT / "noisylab" / file) for file in files)
        assert counted < BOUNDS[name], f"{name}: split what has nothing to do with how it learns from the files of its path"
        assert abs(counted - stated) <= 0.05 * counted, f"{name}: docs/methods.md says {stated}, there are {counted}"


def test_the_base_of_methods_is_read_in_five_minutes() -> None:
    assert readability.lines(ROOT / "noisylab" / "methods" / "base.py") < 200


def test_constructors_do_not_grow_back() -> None:
    inside, total = readability.constructors(ROOT / "noisylab" / "methods")
    assert inside / total < 0.23


def test_files_of_a_room_do_not_import_one_another_in_a_circle() -> None:
    assert readability.circles(ROOT / "noisylab") == {}


def test_circles_are_found_within_functions_too(tmp_path: Path) -> None:
    room = tmp_path / "house" / "room"
    room.mkdir(parents=True)
    (room / "__init__.py").write_text("from house.room.a import x\n")
    (room / "a.py").write_text("def f():\n    from house.room import b\n    return b\n")
    (room / "b.py").write_text("from house.room.c import y\n")
    (room / "c.py").write_text("import house.room.a\n")
    (room / "d.py").write_text("from house.room.a import f\n")
    assert readability.circles(room.parent) == {"room": [["house.room.a", "house.room.b", "house.room.c"]]}


def test_private_names_are_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from torch.x import _far\n\ndef _near(a):\n    return a._deep, getattr(a, '_got'), a.__len__\n"
    )
    (tmp_path / "two.py").write_text("from one import _near\n\n_near(1)._near\n")
    assert readability.private_names(tmp_path) == {"_deep": ["one.py"], "_far": ["one.py"], "_got": ["one.py"]}


def test_docstrings_and_comments_are_no_code(tmp_path: Path) -> None:
    text = 'class A:\n    """A."""\n\n    # why\n    def __init__(self):\n        """Make\n        it."""\n        self.a = 1\n'
    (tmp_path / "a.py").write_text(text)
    assert ast.parse(text) and readability.constructors(tmp_path) == (2, 3)


def test_recipes_are_counted_without_comments(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# head\n\nmodel: A  # ours\nseed: 0\n")
    (tmp_path / "b.yaml").write_text("model: A\nseed: 1\n")
    assert readability.recipes(tmp_path) == (2, 4, 3)
