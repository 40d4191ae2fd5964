"""Errors that a user can act on: the argument, the value given, what is allowed and the nearest match, in five lines at most."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import noisylab
from noisylab.cli.wording import untyped

__all__ = [
    "UserError",
    "is_bug",
    "is_foreseen",
    "is_said_elsewhere",
    "leave_to_another",
    "message",
    "nearest",
    "reason",
    "report",
    "short",
    "training",
    "unknown",
]

_OURS = str(Path(noisylab.__file__).parent)
_TRAINING = "_noisylab_training"  # set on errors that come after training has begun
_SAID = "_noisylab_said"  # set on errors that another process of the run reports
_KEY = re.compile(r"^(?:Parser key|Key|key) \"([^\"]+)\":?$")
_FRAME = re.compile(
    r"^(Does not validate|Subtypes:|Errors:|Problem with given class_path|Given value|Expected a <class 'None"
    r"|Expected a <class 'list'>$|Not a valid subclass of|Subclass types expect one of|a class path |a dict with)"
)


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


def message(error: BaseException) -> str:
    """The message of an error as shown to the user.

    A mistake of the user has been looked for and named; data are refused with a list of up to ten rows and what to do about
    them. Of an error that nobody has foreseen the kind is said, too: KeyError: 'x' is more than 'x'.
    """
    if isinstance(error, UserError):
        return short(error, 5)
    if _is_misconfiguration(error):
        return f"trainer: {short(error, 4)}"
    if _is_out_of_memory(error):
        return (
            f"out of memory: {short(error, 2)}\n"
            "  make data.batch_size and data.eval_batch_size smaller, or the network; see docs/troubleshooting.md, Out of memory"
        )
    if isinstance(error, RecursionError):
        return f"something is nested too deeply ({short(error, 1)}); look at the configuration"
    if isinstance(error, ModuleNotFoundError):
        return f"{short(error, 2)}; install the package, or leave out what needs it"
    if isinstance(error, argparse.ArgumentError):
        return reason(str(error))
    if isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError):
        return short(error, 13)
    if isinstance(error, TypeError):
        return short(error, 4)
    return f"{type(error).__name__}: {short(error, 4)}"


def reason(text: str) -> str:
    r"""The innermost of jsonargparse's nested messages, below the key that it refers to.

    >>> print(reason('Key "model":\n  Errors:\n    - Key "network":\n        no such option\n    - Expected None'))
    model.network: no such option
    """
    above: list[tuple[int, str]] = []  # keys that the line is below, and how far each is indented
    deepest, where, found = -1, "", ""
    for line in text.splitlines():
        bare = line.strip().removeprefix("- ")
        depth = len(line) - len(line.lstrip())
        key = _KEY.match(bare)
        above = [(at, name) for at, name in above if at < depth]
        if key is not None:
            above.append((depth, key.group(1)))
        elif bare and depth > deepest and not _FRAME.match(bare):
            deepest, where, found = depth, ".".join(name for _, name in above), bare[:900]
    if not found:
        return untyped(short(ValueError(text), 13))
    return untyped(f"{where}: {found}" if where else found)


def is_foreseen(error: BaseException) -> bool:
    """Whether noisylab or Lightning raised an error on purpose; other errors may be bugs."""
    return isinstance(error, UserError) or _is_misconfiguration(error)


def is_bug(error: BaseException) -> bool:
    """Whether an error is a bug that only a traceback helps to find.

    That is an error that nobody foresaw, and that either came after training had begun or was raised in a file of the user's
    own: a method, a callback, a network. Before training, what noisylab and its libraries say of a configuration is a refusal.
    """
    begun = getattr(error, _TRAINING, False)
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not (begun or _is_users(frames[-1].filename)):
        return False
    if isinstance(error, UserError | OSError) or _is_misconfiguration(error) or _is_out_of_memory(error):
        return False
    # what is refused on purpose is raised by a line of its own, or was handed over by a worker process
    last = frames[-1]
    raised = (last.line or "").startswith("raise ") and (last.filename.startswith(_OURS) or not begun)
    handed_over = last.name == "reraise"
    return not (isinstance(error, ValueError | TypeError) and (raised or handed_over))


def report(error: BaseException) -> str:
    """The line below the traceback of a bug: whose code is probably at fault."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if _is_users(last.filename):
        return f"noisylab: this is an error in {Path(last.filename).name}, line {last.lineno}, not in what was asked for"
    return (
        f"noisylab {noisylab.__version__}: this is an error in the code; if no code of your own is above, please report it with "
        "the traceback and the command"
    )


def _is_users(file: str) -> bool:
    """Whether a file is neither noisylab's nor installed: the user's own."""
    if file.startswith((_OURS, "<")) or "site-packages" in file or "dist-packages" in file:
        return False
    return not any(file.startswith(folder) for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


@contextlib.contextmanager
def training(begun: Callable[[], bool], go_on: str) -> Iterator[None]:
    """Mark errors that occur after training has begun, and say how to continue after them.

    Args:
        begun: whether the first step was started.
        go_on: a command, for a note below the traceback.
    """
    try:
        yield
    except Exception as error:
        if begun():
            setattr(error, _TRAINING, True)
            if is_bug(error):
                error.add_note(f"noisylab: once the code is corrected, {go_on}")
        raise


def leave_to_another(error: Exception) -> None:
    """Mark an error that another process of the run reports, too."""
    setattr(error, _SAID, True)


def is_said_elsewhere(error: Exception) -> bool:
    """Whether another process reports it, so that this one need not."""
    return getattr(error, _SAID, False)


def _is_misconfiguration(error: BaseException) -> bool:
    from lightning.fabric.utilities.exceptions import MisconfigurationException  # imported late: it takes seconds

    return isinstance(error, MisconfigurationException)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch  # likewise

    short_of_it = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # as torch says it of the CPU's
    return short_of_it or isinstance(error, MemoryError | torch.OutOfMemoryError)
