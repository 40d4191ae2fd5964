"""Decides whose code a file may run: recipes, run folders and checkpoints name classes, and that imports their modules.

What a user types is the user's choice. A file may come from a stranger: it may name classes of the packages below and
classes of modules that the user trusts, and nothing else. Trust covers a module in one place on the disk: a module of the
same name in a stranger's folder is not covered.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from noisylab.files import atomic_path
from noisylab.reading import regular

__all__ = ["PACKAGES", "Untrusted", "allow", "check", "check_builder", "looks_like_path", "settings_file", "trusted"]

PACKAGES = ("noisylab", "torch", "torchvision", "timm", "transformers", "lightning", "pytorch_lightning")
# arguments of such builders that read weights by pickle, or code, from a place that the file names
_LOADS = ("trust_remote_code", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
_ELSEWHERE = ("local-dir:", "local_dir:", "hf-hub:", "hf_hub:")  # schemes of timm's model names

_PATH = re.compile(r"[^\W\d]\w*([.:][^\W\d]\w*)+")
_MEND = "remove the file, and say again with --trust which modules you trust"
_session: dict[str, str] = {}  # where the settings cannot be written


class Untrusted(ValueError):
    """A file names code of a module that the user has not said to trust."""


def looks_like_path(text: str) -> bool:
    """Whether a text could be the import path of something: ``package.module.name``."""
    return _PATH.fullmatch(text) is not None


def settings_file() -> Path:
    """The list of trusted modules, ``trusted.json`` in ``$NOISYLAB_SETTINGS``, else in the user's folder of settings."""
    folder = os.environ.get("NOISYLAB_SETTINGS")
    if folder:
        return Path(folder) / "trusted.json"
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA") or "~/.config"
    return Path(base).expanduser() / "noisylab" / "trusted.json"


def trusted() -> dict[str, str]:
    """The modules that the user trusts, each with the place on the disk that is meant.

    Raises:
        ValueError: when the list cannot be read.
    """
    path = settings_file()
    if not os.path.lexists(path):
        return dict(_session)
    try:
        found = json.loads(regular(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}, the list of trusted modules, cannot be read: {error.strerror or error}; {_MEND}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, the list of trusted modules, is not JSON; {_MEND}") from error
    modules = found.get("modules") if isinstance(found, dict) else None
    if not isinstance(modules, dict) or not all(isinstance(place, str) for place in modules.values()):
        raise ValueError(f'{path}, the list of trusted modules, is not of the form {{"modules": {{NAME: PLACE}}}}; {_MEND}')
    return {**modules, **_session}


def allow(modules: Iterable[str]) -> list[str]:
    """Trust modules from now on, in this process and those to come.

    Args:
        modules: names such as ``mynet`` or ``torch.hub``; a name stands for what is below it, too.

    Returns:
        What was not trusted before, each with its place, as text.

    Raises:
        ValueError: for a module that cannot be found.
    """
    known, new = trusted(), {}
    for module in modules:
        place = _place(module.partition(".")[0]) if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module) else None
        if place is None:
            raise ValueError(
                f"trust: there is no module {module!r}, neither installed nor in {Path.cwd()}; give the name before the "
                "dot in the class path, such as mynet for mynet.MyNet"
            )
        _reach(module.partition(".")[0])
        if known.get(module) != place:
            new[module] = place
    if new:
        try:
            with atomic_path(settings_file()) as partial:
                partial.write_text(json.dumps({"modules": {**known, **new}}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            _session.update(new)
            alone = f"for this command alone, as {settings_file()} cannot be written: {error.strerror}"
            return [f"{module} ({place}), {alone}" for module, place in new.items()]
    return [f"{module} ({place})" for module, place in new.items()]


def check(path: str, where: str) -> None:
    """Refuse a class or function named in a file unless its module is trusted; nothing is imported before that is known.

    Args:
        path: its import path.
        where: the file and the key that name it, for the message.

    Raises:
        Untrusted: naming the module, and how to trust it.
    """
    root = re.split("[.:]", path)[0]
    place = _place(root)
    if place is None or (root in PACKAGES and not _beside_the_user(root, place)):
        return  # what does not exist runs nothing, and is reported as unknown by whoever wants it
    if not _is_trusted(path):
        raise Untrusted(
            f"{where} names {path}, and would run the code of the module {root} ({place})\n"
            f"  if you trust it, add --trust {root} once; noisylab remembers it in {settings_file()}"
        )
    _reach(root)


def check_builder(path: str, where: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Refuse a function or class named in a file to be called, unless it builds a network and nothing else, or is trusted.

    Args:
        path: its import path.
        where: as for `check`.
        arguments: what it will be called with.

    Raises:
        Untrusted: for another function, such as ``torch.hub.load``, and for arguments by which a builder reads code or pickled
            weights from a place that the file names.
    """
    check(path, where)
    if _is_trusted(path):
        return
    try:
        made = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return  # reported as unknown by whoever wants it
    module = path.replace(":", ".").rpartition(".")[0]
    home = f"{getattr(made, '__module__', None)}.{getattr(made, '__qualname__', '')}"
    if not _builds(made, home):
        raise Untrusted(
            f"{where} names {path}, which is not one of the classes and functions that only build a network\n"
            f"  if you know what it does and want it, add --trust {module} once; noisylab remembers it in {settings_file()}"
        )
    for name, value in (arguments or {}).items():
        if (name in _LOADS and value) or (isinstance(value, str) and value.startswith(_ELSEWHERE)):
            raise Untrusted(
                f"{where} calls {path} with {name}={value!r}, which reads code or pickled weights from elsewhere\n"
                f"  if you trust the source, add --trust {module} once; noisylab remembers it in {settings_file()}"
            )


def _builds(made: Any, home: str) -> bool:
    """Whether something does nothing but build a network: the packages have loaders and converters beside such functions."""
    from torch import nn  # imported late: the command looks at what it is asked before that

    root, name = home.split(".")[0], home.rpartition(".")[2]
    if inspect.isclass(made):
        return issubclass(made, nn.Module) and root in PACKAGES
    if _below(home, "torchvision.models"):
        return name == "get_model" or name in importlib.import_module("torchvision.models").list_models()
    if _below(home, "timm.models"):
        return name == "create_model" or bool(importlib.import_module("timm.models").is_model(name))
    return root == "transformers" and inspect.ismethod(made) and name in ("from_pretrained", "from_config", "_from_config")


def _is_trusted(path: str) -> bool:
    parts = re.split("[.:]", path)
    place = _place(parts[0])
    known = trusted()
    return place is not None and any(known.get(".".join(parts[:end])) == place for end in range(1, len(parts) + 1))


def _below(path: str, parent: str) -> bool:
    return path == parent or path.startswith(f"{parent}.")


def _place(root: str) -> str | None:
    """Where a top-level module lies, found without running any of it; None where there is none."""
    module = sys.modules.get(root)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    if module is not None and spec is None:
        return str(getattr(module, "__file__", None) or root)
    if spec is None:
        try:
            spec = importlib.util.find_spec(root) or PathFinder.find_spec(root, [str(Path.cwd())])
        except (ImportError, ValueError):
            return None
    if spec is None:
        return None
    if spec.has_location and spec.origin:
        return os.path.realpath(spec.origin)
    folders = list(spec.submodule_search_locations or [])
    return os.path.realpath(folders[0]) if folders else str(spec.origin or root)


def _beside_the_user(root: str, place: str) -> bool:
    """Whether a package of ours to trust is, in truth, a file or folder of that name in the working directory."""
    folder = Path(place).parent
    return root != "noisylab" and Path.cwd().resolve() in (folder, folder.parent) and "site-packages" not in folder.parts


def _reach(root: str) -> None:
    """Let a module of the working directory be imported; what is installed comes first."""
    here = str(Path.cwd())
    if root not in sys.modules and importlib.util.find_spec(root) is None and here not in sys.path:
        sys.path.append(here)
