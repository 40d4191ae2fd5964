"""Whether values fit the types of the arguments that they are given to."""

from __future__ import annotations

import inspect
from typing import Any

import jsonargparse

from noisylab.cli.configuration.registry import class_kind, item_kind, named_kind
from noisylab.cli.errors import UserError
from noisylab.cli.wording import in_words

__all__ = ["fits", "wrong_value"]


def wrong_value(where: str, value: Any, hint: Any) -> UserError:
    """The error for a value that an argument does not accept.

    Args:
        where: the key.
        value: as it was given.
        hint: the argument's type.
    """
    return UserError(f"{where}: wrong value\n  given: {value!r}\n  allowed: {in_words(hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether jsonargparse takes `value` for a type hint; classes given by name are checked where they are resolved."""
    if hint in (Any, inspect.Parameter.empty) or any(kind(hint) is not None for kind in (class_kind, item_kind, named_kind)):
        return True
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=hint)
    except (ValueError, TypeError):  # a hint that jsonargparse does not know is left to the constructor
        return True
    try:
        parser.parse_object({"value": value})
    except (jsonargparse.ArgumentError, ValueError, TypeError):
        return False
    # whole-number text or a boolean is not what a number asks for
    return not (isinstance(value, bool) and hint in (int, float))
