"""Arguments that take several classes, each with arguments of its own: a list, or classes by names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from noisylab.cli.configuration.scalars import key_text, plain, read
from noisylab.cli.errors import UserError

__all__ = ["merge_items", "merge_named", "nodes_in"]


def merge_items(
    items: list[Any] | None, path: list[str], value: Any, where: str, merge: Callable[[Any, list[str], Any, str], Any]
) -> list[Any] | None:
    """A list of classes with a value put in: a whole new list, or one at a place in it, as in ``policies.0.threshold 0.8``.

    Args:
        items: the list as it is; None where there is none yet.
        path: empty for the whole list, else the place, counted from 0, and what follows it.
        value: a tree of values or what was typed.
        where: the key, for messages.
        merge: makes an item from the item before, the rest of the path, the value and the place in words.

    Raises:
        UserError: for what is no list, an item that is nothing, or a place that the list does not have.
    """
    if path:
        place, known = path[0], list(items or [])
        if not place.isdecimal() or int(place) >= len(known):
            places = f"its places are 0..{len(known) - 1}" if known else "it is empty"
            raise UserError(f"{where}.{place}: there is no such place in the list; {places}; give a new list whole, as {where}")
        known[int(place)] = merge(known[int(place)], path[1:], value, place)
        return known
    found = read(value)
    if plain(found) is None:
        return None
    if not isinstance(found, list):
        raise UserError(f"{where}: expected a list of classes, as in [FirstClass, SecondClass], got {plain(found)!r}")
    for number, item in enumerate(found):
        if plain(item) is None:
            raise UserError(f"{where}.{number}: expected a class, got nothing; take the item out of the list")
    return [merge(None, [], item, str(number)) for number, item in enumerate(found)]


def merge_named(
    classes: dict[str, Any] | None, path: list[str], value: Any, where: str, merge: Callable[[Any, list[str], Any, str], Any]
) -> dict[str, Any] | None:
    """Classes by names with a value put in: all of them anew, or one of a name, as in ``encoders.image.width 16``.

    Args:
        classes: as they are; None where there are none yet.
        path: empty for all of them, else the name and what follows it.
        value: a tree of values or what was typed.
        where: the key, for messages.
        merge: makes a class with arguments from the one before, the rest of the path, the value and the name.

    Raises:
        UserError: for what is no mapping.
    """
    known = dict(classes or {})
    if path:
        made = merge(known.get(path[0]), path[1:], value, path[0])
        return {**known, path[0]: made} if made is not None else {name: item for name, item in known.items() if name != path[0]}
    found = read(value)
    if plain(found) is None:
        return None
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected classes by names, as in {{image: SmallCNN}}, got {plain(found)!r}")
    for name, item in found.items():
        if plain(item) is None:
            raise UserError(f"{where}.{key_text(name)}: expected a class, got nothing; take the name out")
    return {key_text(name): merge(None, [], item, key_text(name)) for name, item in found.items()}


def nodes_in(value: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, class with arguments) of the value of an argument: the value itself, or each item of a list or of a mapping.

    Args:
        value: of the argument.
        name: the argument's.
    """
    if isinstance(value, dict) and "class_path" in value:
        yield name, value
    elif isinstance(value, list | dict):
        for place, item in enumerate(value) if isinstance(value, list) else value.items():
            if isinstance(item, dict) and "class_path" in item:
                yield f"{name}.{place}", item
