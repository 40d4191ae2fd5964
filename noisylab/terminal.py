"""Makes untrusted text, such as file names, labels and class names, safe to print on a terminal."""

from __future__ import annotations

import contextlib
import os
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

__all__ = ["silence", "take_any_text", "visible", "visible_warnings"]

_BREAKS = "\n\t"
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a character that is none, other kinds of line ends
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # these reorder what is shown


def visible(text: str) -> str:
    r"""`text` with all terminal control characters escaped, except line ends and tabs.

    >>> visible("cat\x1b[31m.png")
    'cat\\x1b[31m.png'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(character) for character in text)


def _written_out(character: str) -> str:
    if character in _BREAKS:
        return character
    if character in _DIRECTION or unicodedata.category(character) in _HIDDEN:
        return ascii(character)[1:-1]
    return character


@contextlib.contextmanager
def visible_warnings() -> Iterator[None]:
    """Show warnings through `visible` for a while, because they may name files and classes."""
    usual = warnings.formatwarning

    def shown(*arguments: Any, **more: Any) -> str:
        return visible(usual(*arguments, **more))

    warnings.formatwarning = shown
    try:
        yield
    finally:
        warnings.formatwarning = usual


def take_any_text(*streams: Any) -> None:
    """Make the streams escape characters that their encoding lacks, instead of raising an error in the middle of a run.

    Args:
        *streams: of text; those that cannot be changed stay as they are.
    """
    for stream in streams:
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Discard a stream's buffered and future output after its reader has gone, on which Python would fail at exit."""
    with contextlib.suppress(OSError, ValueError):  # some streams have no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
