"""Which underscore names of other libraries the package uses, read from its source; run as a program it prints them."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["PrivateUse", "Sources", "is_private", "members", "overridden"]

_BY_NAME = ("getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller")  # take attributes as text
_BY_PATH = ("import_module", "__import__", "resolve_name", "find_spec")  # and modules
_WATCHERS = ("__setattr__", "__getattr__", "__getattribute__", "__delattr__")  # compare names of attributes
_DOCUMENTED = {"_replace", "_asdict", "_fields", "_make", "_exit"}  # of named tuples and os, public by their documentation


def is_private(name: str) -> bool:
    """Whether a name begins with an underscore, and is neither a placeholder nor one of Python's own ``__names__``."""
    return name.startswith("_") and name.strip("_") != "" and not name.endswith("__")


@dataclass(frozen=True)
class PrivateUse:
    """A place where a private name of another library stands.

    Args:
        file: relative to the package.
        line: in it.
        name: the last part, which begins with an underscore.
        text: the source.
    """

    file: str
    line: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def _bound(nodes: list[ast.AST]) -> set[str]:
    """Names that a piece of source gives a meaning to: definitions, assignments, and attributes of ``self``."""
    found = set()
    for inner in nodes:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
        elif isinstance(inner, ast.arg):
            found.add(inner.arg)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and _own_object(inner.value):
            found.add(inner.attr)
    return found


def members(node: ast.ClassDef) -> set[str]:
    """Names that the source of a class defines in it: methods, attributes of the class, attributes of ``self``."""
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    own = {part.name for part in methods}
    for part in node.body:
        if isinstance(part, ast.Assign | ast.AnnAssign):
            own |= {name.id for name in ast.walk(part) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    stores = (part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store))
    return own | {part.attr for part in stores if _own_object(part.value)}


def _own_object(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _last(node: ast.expr) -> str:
    """``Parent`` of ``module.Parent`` and of ``Parent[int]``."""
    return ast.unparse(node).partition("[")[0].rpartition(".")[2]


class Sources:
    """The modules of a package as source.

    Args:
        texts: source by the file's name, relative to the package.
        package: what its own imports begin with.
    """

    def __init__(self, texts: dict[str, str], package: str = "noisylab") -> None:
        self.package = package
        self.trees = {name: ast.parse(text) for name, text in texts.items()}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._relatives: dict[str, set[str]] = {}
        self._parents: dict[str, set[str]] = {}
        self._own: dict[str, set[str]] = {}
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, []).append(node)

    @classmethod
    def of(cls, root: Path) -> Sources:
        """Of the package in a folder."""
        return cls({str(file.relative_to(root)): file.read_text(encoding="utf-8") for file in sorted(root.rglob("*.py"))})

    def uses(self) -> list[PrivateUse]:
        """Every use of a private name that the package itself does not define."""
        return [use for name, tree in self.trees.items() for use in self._of_file(name, tree)]

    def _of_file(self, file: str, tree: ast.Module) -> Iterator[PrivateUse]:
        nodes = list(ast.walk(tree))
        in_file = _bound(nodes)
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        own_class = {id(inner): node for node in classes for inner in ast.walk(node)}
        watchers = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name in _WATCHERS]
        watched = {id(inner) for node in watchers for inner in ast.walk(node)}
        for node in nodes:
            for name in self._names(node, in_file, own_class.get(id(node)), id(node) in watched):
                yield PrivateUse(file, getattr(node, "lineno", 0), name, ast.unparse(node))

    def _names(self, node: ast.AST, in_file: set[str], owner: ast.ClassDef | None, watched: bool) -> list[str]:
        found: list[str] = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] not in (self.package, "__future__"):
            found = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            found = [part for alias in node.names if alias.name != self.package for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            self_like = _own_object(node.value) or ast.unparse(node.value) == "super()"
            own = self.relatives(owner) if self_like and owner is not None else in_file
            found = [node.attr] if node.attr not in own | _DOCUMENTED else []
        elif (isinstance(node, ast.Call) and _last(node.func) in (*_BY_NAME, *_BY_PATH)) or (
            isinstance(node, ast.Compare) and watched
        ):
            parts = node.args if isinstance(node, ast.Call) else ast.walk(node)
            texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            found = [name for text in texts for name in text.split(".") if name not in in_file]
        return [name for name in found if is_private(name)]

    def relatives(self, node: ast.ClassDef) -> set[str]:
        """Names bound in a class or in one of the package's that it derives from; and in those that derive from it, with all that
        they derive from, since a mixin may use what the class beside it defines."""
        if node.name not in self._relatives:
            below = {name for name in self.classes if node.name in self._above(name)}
            family = {node.name}.union(*(self._above(name) | {name} for name in {node.name, *below}))
            self._relatives[node.name] = {name for member in family for name in self._members(member)}
        return self._relatives[node.name]

    def _members(self, name: str) -> set[str]:
        if name not in self._own:
            self._own[name] = {member for node in self.classes[name] for member in members(node)}
        return self._own[name]

    def _above(self, name: str) -> set[str]:
        """The package's classes that one of this name derives from."""
        if name in self._parents:
            return self._parents[name]
        found = self._parents[name] = set()
        waiting = [name]
        while waiting:
            bases = {_last(base) for node in self.classes[waiting.pop()] for base in node.bases}
            new = (bases & set(self.classes)) - found
            found |= new  # in place
            waiting += new
        return found


def overridden(sources: Sources) -> list[PrivateUse]:
    """Every private name of another library's class that a class of the package, which derives from it, defines anew.

    So it is where a hook is overridden on purpose, and where an attribute of ours happens to have the name of one of theirs.
    """
    found = []
    for file, tree in sources.trees.items():
        module = ".".join([sources.package, *Path(file).with_suffix("").parts]).removesuffix(".__init__")
        for node in (part for part in tree.body if isinstance(part, ast.ClassDef)):
            made = getattr(importlib.import_module(module), node.name)
            for base in made.__mro__[1:-1]:
                if base.__module__.partition(".")[0] != sources.package:
                    names = sorted(name for name in members(node) & _names_of(base) if is_private(name))
                    found += [PrivateUse(file, node.lineno, name, f"{node.name}.{name} of {base.__name__}") for name in names]
    return found


@cache
def _names_of(base: type) -> frozenset[str]:
    """Names that a class defines, as far as its source can be read; of one in C those in its namespace."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
    except (OSError, TypeError, SyntaxError):
        return frozenset(vars(base))
    node = tree.body[0]
    return frozenset(vars(base)) | (members(node) if isinstance(node, ast.ClassDef) else set())


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "noisylab")
    every = Sources.of(root).uses()
    fenced = [use for use in every if use.file.startswith("upstream")]
    for use in every:
        print(use)
    outside = len(every) - len(fenced)
    print(f"{outside} uses outside {root}/upstream; {len(fenced)} within, of {len({use.name for use in fenced})} names")
