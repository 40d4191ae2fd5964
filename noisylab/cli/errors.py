"""Errors a user can act on: what, given, allowed, nearest, in at most five lines."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable

__all__ = ["UserError", "nearest", "short"]


class UserError(Exception):
    """A mistake in what the user asked for; printed without a traceback."""


def nearest(name: str, allowed: Iterable[str]) -> list[str]:
    """Up to three of `allowed` that look like `name`, best first.

    >>> nearest("batchsize", ["batch_size", "seed"])
    ['batch_size']
    """
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    found = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return [by_lower[match] for match in found]


def unknown(what: str, given: str, allowed: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not among those allowed."""
    names = sorted(allowed)
    lines = [f"{what}: {given!r} is not known"]
    match = nearest(given, names)
    if match:
        lines.append(f"  nearest: {', '.join(match)}")
    if names:
        lines.append(textwrap.shorten(f"allowed: {', '.join(names)}", 400, placeholder=" ...").join(["  ", ""]))
    if hint:
        lines.append(f"  {hint}")
    return UserError("\n".join(lines))


def short(error: BaseException, lines: int = 5) -> str:
    """The message of an error in at most `lines` lines of at most 500 characters."""
    text = str(error).strip() or type(error).__name__
    kept = [line[:500] for line in text.splitlines() if line.strip()]
    return "\n".join(kept[:lines])
