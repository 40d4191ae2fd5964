"""JSON files in which values are replaced: every other byte stays."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from noisylab.data.exports.jsontext import JsonPath, read_json


def test_only_the_bytes_of_a_value_change(tmp_path: Path) -> None:
    raw = b'\xef\xbb\xbf [ {"a" : "x\\u00e9\\"]" ,\r\n\t"n":1.50e+3, "a\\u0062":[ 1,{"":"old" } ]}, null ]\n\n'
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    new = read_json(path).replaced({(0, "ab", 1, ""): "né"})
    assert new == raw.replace(b'"old"', b'"n\\u00e9"')
    assert read_json(path).replaced({}) == raw
    with pytest.raises(KeyError, match="no value"):
        read_json(path).replaced({(0, "b"): 1})


def test_letters_are_written_as_the_file_writes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"a": "ü", "b": 1}'.encode())
    assert read_json(path).replaced({("b",): "狗"}) == '{"a": "ü", "b": "狗"}'.encode()


def _value(draw: random.Random, depth: int) -> Any:
    kind = draw.randrange(7 if depth else 5)
    if kind == 5:
        return [_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 6:
        return {draw.choice(['a"', "b\\", "ü", "{", "k,"]) + str(n): _value(draw, depth - 1) for n in range(draw.randrange(4))}
    return [draw.random() * 1e20, draw.randrange(-9, 9), None, True, draw.choice(['"', "]}", "\\", "é\n", ""])][kind]


def _paths(value: Any, path: JsonPath = ()) -> list[JsonPath]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path and not isinstance(value, (dict, list)) else []
    return found + [one for key, item in inner for one in _paths(item, (*path, key))]


@pytest.mark.parametrize("seed", range(40))
def test_any_value_of_any_file_can_be_replaced(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = [_value(draw, 4) for _ in range(5)]
    paths = draw.sample(_paths(content), k=min(3, len(_paths(content))))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content, indent=draw.choice([None, 0, 3]), ensure_ascii=draw.random() < 0.5), "utf-8")
    expected = json.loads(path.read_text("utf-8"))
    for way in paths:
        target = expected
        for key in way[:-1]:
            target = target[key]
        target[way[-1]] = f"new {way[-1]}"
    assert json.loads(read_json(path).replaced({way: f"new {way[-1]}" for way in paths})) == expected
