"""Classes with arguments that only ``**kwargs`` accept, in the form that jsonargparse takes."""

from __future__ import annotations

from typing import Any

from noisylab.cli.configuration.registry import accepts_any, locate, parameters

__all__ = ["with_dict_kwargs"]


def with_dict_kwargs(node: Any) -> Any:
    """A class as jsonargparse takes it: arguments that only ``**kwargs`` accept, as in `Wrap`, are under a separate key."""
    if not (isinstance(node, dict) and isinstance(node.get("init_args"), dict)):
        return node
    arguments = {key: _items_with_dict_kwargs(value) for key, value in node["init_args"].items()}
    cls = locate(node["class_path"])
    more = set(arguments) - set(parameters(cls)) if accepts_any(cls) else set()
    if not more:
        return {**node, "init_args": arguments}
    named = {key: value for key, value in arguments.items() if key not in more}
    return {**node, "init_args": named, "dict_kwargs": {key: arguments[key] for key in arguments if key in more}}


def _items_with_dict_kwargs(value: Any) -> Any:
    if isinstance(value, list):
        return [with_dict_kwargs(item) for item in value]
    if isinstance(value, dict) and "class_path" not in value:
        return {key: with_dict_kwargs(item) for key, item in value.items()}
    return with_dict_kwargs(value)
