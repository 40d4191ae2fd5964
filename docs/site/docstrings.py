"""How mkdocstrings reads the docstrings of noisylab, which are in Google's style with two habits of their own.

An example stands under ``Example:``, which mkdocstrings knows as ``Examples:``; and examples without a heading, lines of ``>>>``
after the text, would be quotations in Markdown.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["HouseStyle"]

_BARE = re.compile(r"(?<=\n\n)(>>> .*?)(?=\n\n|\Z)", re.S)


class HouseStyle(griffe.Extension):
    """Brings docstrings into the form that mkdocstrings expects, before they are parsed."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Called with every module, class, function and attribute that is read."""
        if obj.docstring is not None:
            obj.docstring.value = expected_form(obj.docstring.value)


def expected_form(docstring: str) -> str:
    """The docstring with examples under ``Examples:`` or in a fence."""
    text = re.sub(r"^Example:$", "Examples:", docstring, flags=re.M)
    return _BARE.sub(lambda match: f"```python\n{match[1].rstrip()}\n```", text)
