"""JSON files of which single values are replaced while all other bytes stay as they are."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from noisylab.reading import regular

__all__ = ["JsonPath", "JsonText", "begins_as_json", "read_json"]

JsonPath: TypeAlias = tuple[str | int, ...]
"""Keys and positions that lead from the top of a JSON file to a value."""

_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE = re.compile(r"[ \t\r\n]*")
_LOOK = 4096  # bytes at the beginning of a file


@dataclass(frozen=True)
class JsonText:
    """A JSON file.

    Args:
        path: the file.
        mark: its byte order mark, if any.
        text: what is written in it, without that.
        content: the same, as Python values.
    """

    path: Path
    mark: bytes
    text: str
    content: Any

    def replaced(self, new: Mapping[JsonPath, Any]) -> bytes:
        """The content of the file with some values replaced; all other bytes, blanks and line ends included, are the same.

        Text is written as the file writes its own: letters that are not ASCII as ``\\u`` escapes where it has none.

        Args:
            new: the value for each place.

        Raises:
            KeyError: there is no value at a place.
        """
        places = _places(self.text, new) if new else {}
        absent = [path for path in new if path not in places]
        if absent:
            raise KeyError(f"{self.path} has no value at {absent[0]}")
        pieces, last = [], 0
        for path, (start, end) in sorted(places.items(), key=lambda item: item[1]):
            pieces += [self.text[last:start], _written(new[path], plain=self.text.isascii())]
            last = end
        return self.mark + "".join([*pieces, self.text[last:]]).encode("utf-8")


def begins_as_json(path: Path) -> bool:
    """Whether a file begins with an object or a list, as JSON does and no table of labels; False if it cannot be read."""
    try:
        with regular(path).open("rb") as file:
            start = file.read(_LOOK)
    except OSError:
        return False
    text = start.removeprefix(codecs.BOM_UTF8)
    for mark, name in zip(_WIDE, ("utf-32", "utf-32", "utf-16", "utf-16"), strict=True):
        if start.startswith(mark):
            text = start.decode(name, errors="ignore").encode("utf-8", "replace")
            break
    return text.lstrip()[:1] in (b"[", b"{")


def read_json(path: str | Path) -> JsonText:
    """Read a JSON file in UTF-8.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not in UTF-8, ends early or is no JSON, with the line.
    """
    path = regular(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    if raw.startswith(_WIDE):
        raise ValueError(f"{path} is JSON in UTF-16 or UTF-32, not in UTF-8; export it again, or convert it with iconv -t UTF-8")
    mark = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
    try:
        text = raw[len(mark) :].decode("utf-8")
    except UnicodeDecodeError as error:
        place = len(mark) + error.start
        line = 1 + raw.count(b"\n", 0, place)
        raise ValueError(
            f"{path} is not in UTF-8: line {line} has the byte 0x{raw[place]:02x}; export it again, or "
            "convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        early = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        what = "ends early, so it was not written or fetched to its end" if early else f"is no JSON: {error.msg}"
        raise ValueError(f"{path} {what} (line {error.lineno}, column {error.colno}); export it again") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be an export of labels; is it the right file?") from None
    except ValueError as error:  # a number with thousands of digits
        raise ValueError(f"{path} cannot be read as JSON ({error}); is it the right file?") from error
    return JsonText(path, mark, text, content)


def _written(value: Any, *, plain: bool) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if not plain:
        try:
            text.encode("utf-8")
            return text
        except UnicodeEncodeError:  # half of a pair, which an escape can stand for
            pass
    return json.dumps(value)


def _places(text: str, wanted: Iterable[JsonPath]) -> dict[JsonPath, tuple[int, int]]:
    """Where values begin and end in the text of a valid JSON file."""
    ways: dict[str | int, Any] = {}
    for path in wanted:
        node = ways
        for key in path:
            node = node.setdefault(key, {})
    found: dict[JsonPath, tuple[int, int]] = {}
    decoder = json.JSONDecoder()

    def after(place: int) -> int:
        end = _SPACE.match(text, place)
        assert end is not None  # the pattern takes anything
        return end.end()

    def value(place: int, way: dict[str | int, Any] | None, path: JsonPath) -> int:
        """The end of the value at a place, of which what lies on the way is noted."""
        if way and text[place] in "[{":
            return inside(place, way, path)
        end: int = decoder.raw_decode(text, place)[1]
        if way is not None and not way:
            found[path] = place, end
        return end

    def inside(place: int, way: dict[str | int, Any], path: JsonPath) -> int:
        named, number = text[place] == "{", 0
        place = after(place + 1)
        while text[place] not in "]}":
            key: str | int = number
            if named:
                key, place = decoder.raw_decode(text, place)
                place = after(after(place) + 1)  # behind the colon
            place, number = after(value(place, way.get(key), (*path, key))), number + 1
            if text[place] == ",":
                place = after(place + 1)
        return place + 1

    value(after(0), ways, ())
    return found
