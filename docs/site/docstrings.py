"""How mkdocstrings reads the classes and docstrings of noisylab.

Docstrings are in Google's style with two habits of their own. An example stands under ``Example:``, which mkdocstrings knows as
``Examples:``; and examples without a heading, lines of ``>>>`` after the text, would be quotations in Markdown.

A child lists its own arguments alone and passes the others on by ``**name``; shown are those of its parents, too, with what their
docstrings say of them. `noisylab.arguments` finds the same at run time; here nothing is imported.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import griffe

__all__ = ["HouseStyle", "expected_form"]

_BARE = re.compile(r"(?<=\n\n)(>>> .*?)(?=\n\n|\Z)", re.S)
_ARGS = re.compile(r"^Args:\n((?: {4}.*\n?|\n(?= {4}))+)", re.M)
_ITEM = re.compile(r"^ {4}(\*{0,2}\w+): .*\n?(?:^ {5,}.*\n?)*", re.M)


class HouseStyle(griffe.Extension):
    """Brings docstrings into the form that mkdocstrings expects, and adds the arguments of parents."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Called with every module, class, function and attribute that is read."""
        if obj.docstring is not None:
            obj.docstring.value = expected_form(obj.docstring.value)

    def on_package(self, *, pkg: Any, **kwargs: Any) -> None:
        """Called once all modules are read."""
        found = [(cls, list(_constructors(cls))) for cls in _classes(pkg)]
        for cls, constructors in found:
            _add_inherited(cls, constructors)


def expected_form(docstring: str) -> str:
    """The docstring with examples under ``Examples:`` or in a fence."""
    text = re.sub(r"^Example:$", "Examples:", docstring, flags=re.M)
    return _BARE.sub(lambda match: f"```python\n{match[1].rstrip()}\n```", text)


def _classes(place: Any) -> Iterator[Any]:
    for member in place.members.values():
        if not member.is_alias and (member.is_module or member.is_class):
            if member.is_class:
                yield member
            yield from _classes(member)


def _constructors(cls: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The classes whose constructors the arguments of `cls` reach, each with the parameters that are its own and can be given."""
    known = {"self"}
    for owner in (cls, *cls.mro()):
        init = owner.members.get("__init__")
        if init is None or init.is_alias or not init.is_function:
            continue
        yield owner, [p for p in init.parameters if p.name not in known and p.kind is not griffe.ParameterKind.var_keyword]
        known |= {p.name for p in init.parameters} | _handed_on(init)
        if not any(p.kind is griffe.ParameterKind.var_keyword for p in init.parameters):
            return


def _handed_on(init: Any) -> set[str]:
    """Names that a constructor itself gives to its parent's."""
    calls = [node for node in ast.walk(ast.parse(textwrap.dedent(init.source))) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
    return {keyword.arg for call in ours for keyword in call.keywords if keyword.arg}


def _add_inherited(cls: Any, constructors: list[tuple[Any, list[Any]]]) -> None:
    if len(constructors) < 2:
        return
    parameters = [parameter for _, found in constructors for parameter in found]
    own = cls.members.get("__init__")
    if own is not None:
        first = next(iter(own.parameters))  # self
        own.parameters = griffe.Parameters(first, *parameters)
    if cls.docstring is not None:
        texts: dict[str, str] = {}
        for owner in (cls, *cls.mro()):
            texts = {**(argument_items(owner.docstring.value) if owner.docstring else {}), **texts}
        shown = [texts[parameter.name] for parameter in parameters if parameter.name in texts]
        cls.docstring.value = with_arguments(cls.docstring.value, shown)


def argument_items(docstring: str) -> dict[str, str]:
    """What stands under ``Args:``, by argument."""
    section = _ARGS.search(docstring)
    return {} if section is None else {item[1]: item[0].rstrip("\n") for item in _ITEM.finditer(section[1])}


def with_arguments(docstring: str, items: list[str]) -> str:
    """A docstring with these lines under ``Args:``."""
    section = "Args:\n" + "\n".join(items) + "\n"
    if not _ARGS.search(docstring):
        return f"{docstring.rstrip()}\n\n{section}"
    return _ARGS.sub(lambda match: section + "\n" * (len(match[1]) - len(match[1].rstrip("\n")) - 1), docstring, count=1)
