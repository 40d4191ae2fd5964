"""Numbers, lists and times as a page says them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

__all__ = ["NONE", "count", "distinct", "duration", "listed", "mean_std", "percents", "setting", "some"]

NONE = "\N{EN DASH}"
"""Stands where there is no value."""

_MINUS = "\N{MINUS SIGN}"


def count(number: int, one: str, several: str = "") -> str:
    """A number with its noun.

    Example:
        >>> count(1, "run"), count(1200, "run"), count(2, "class", "classes")
        ('1 run', '1,200 runs', '2 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words as a sentence lists them; with semicolons where they have commas themselves.

    Example:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"]), listed(["a, 1", "a, 2"])
        ('a', 'a and b', 'a, b and c', 'a, 1; and a, 2')
    """
    found = list(words)
    mark = _mark(found)
    if len(found) < 2:
        return "".join(found)
    return f"{f'{mark} '.join(found[:-1])}{mark * (mark == ';')} {last} {found[-1]}"


def _mark(words: Sequence[str]) -> str:
    return ";" if any("," in word for word in words) else ","


def some(words: Sequence[str], most: int) -> str:
    """Words as a sentence lists them, of many the first.

    Example:
        >>> some(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    return listed(words) if len(words) <= most else f"{f'{_mark(words)} '.join(words[:most])} and {len(words) - most} more"


def distinct(values: Iterable[str]) -> list[str]:
    """The texts in order of appearance, each once, empty ones left out."""
    return [value for value in dict.fromkeys(values) if value]


def percents(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction in percent, without the sign %; an en dash where there is none.

    Example:
        >>> percents(0.9134), percents(None), percents(-0.02, signed=True)
        ('91.3', '–', '−2.0')
    """
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", _MINUS)


def mean_std(values: Sequence[float | None], digits: int = 2) -> tuple[float | None, str]:
    """Mean of some fractions, and it with the population standard deviation in percent; nothing where one is missing.

    A mean over some of the runs would pass for one over all of them.

    Example:
        >>> mean_std([0.5, 0.75]), mean_std([0.5]), mean_std([0.5, None])
        ((0.625, '62.50 ± 12.50'), (0.5, '50.00'), (None, '–'))
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not values or len(known) < len(values):
        return None, NONE
    mean = statistics.fmean(known)
    spread = f" ± {percents(statistics.pstdev(known), digits)}" if len(known) > 1 else ""
    return mean, f"{percents(mean, digits)}{spread}"


def duration(seconds: float | None) -> str:
    """A time as one reads it.

    Example:
        >>> [duration(t) for t in (None, 3.21, 75, 3600 * 5.5)]
        ['–', '3.2 s', '1 min 15 s', '5 h 30 min']
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def setting(value: object) -> str:
    """A value of a configuration as YAML writes it in a line.

    Example:
        >>> [setting(v) for v in (None, True, 0.1, "a", [1, None], {})]
        ['null', 'true', '0.1', 'a', '[1, null]', '{}']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(setting(each) for each in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {setting(each)}" for key, each in value.items()) + "}"
    return str(value)
