"""What `noisylab data check` says of the files of a published data set, and what a data set of that kind can be asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from noisylab.reading import regular

__all__ = ["NamedRelease", "ReleaseReport"]

_SHOWN = 20  # lines of a kind in the text
_REFUSED = 5  # in the error that `refuse` raises


@dataclass
class ReleaseReport:
    """Whether the files of a published data set are all there and are those that were published.

    Args:
        name: class of the data set.
        root: folder that was looked at.
        missing: files and folders relative to `root` that the release must have, each with what it is: ``"meta/classes.txt: names
            of the classes"``.
        counts: (what, found, expected), the last `None` where the number is not confirmed.
        digests: (file, digest found, expected), as ``"md5 96644db5..."`` or ``"sha256 ..."``; the last `None` likewise.
        faults: what else is wrong, each naming file, row and what to do.
        notes: what is worth knowing and not wrong.
    """

    name: str
    root: Path
    missing: list[str] = field(default_factory=list)
    counts: list[tuple[str, int, int | None]] = field(default_factory=list)
    digests: list[tuple[str, str, str | None]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or at fault, and no count or digest is other than expected."""
        return not self._problems()

    def has(self, file: str, what: str) -> bool:
        """Whether a file or folder is there; enters it among the missing ones otherwise.

        Args:
            file: relative to `root`, with "/" between folders.
            what: what it is, for the report.
        """
        there = (self.root / file).exists()
        if not there:
            self.missing.append(f"{file}: {what}")
        return there

    def digest(self, file: str, expected: str | None, kind: str = "md5") -> bool:
        """Enter the digest of a file, or that it cannot be read; return whether it is the expected one (or none is known).

        Args:
            file: relative to `root`.
            expected: in hexadecimal digits, or `None` where it is not known.
            kind: "md5" or "sha256".
        """
        try:
            with regular(self.root / file).open("rb") as opened:
                found = hashlib.file_digest(opened, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        except OSError as error:
            self.faults.append(f"{file} cannot be read ({error.strerror or error}); fetch it again")
            return False
        self.digests.append((file, f"{kind} {found}", None if expected is None else f"{kind} {expected}"))
        return expected is None or found == expected

    def text(self) -> str:
        """The report for people: a line of what was found, then what is wrong, then what was counted."""
        problems = self._problems()
        verdict = "complete" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        good = [
            *(f"{what}: {found:,}{' (not confirmed)' if expected is None else ''}" for what, found, expected in self.counts),
            *(
                f"{file}: {found} ({'not confirmed' if expected is None else 'as published'})"
                for file, found, expected in self.digests
                if expected in (None, found)
            ),
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join([f"{self.name} in {self.root}: {verdict}", *_some(problems, _SHOWN), *_some(good, 2 * _SHOWN)])

    def refuse(self) -> None:
        """Do nothing for files that are as they should be.

        Raises:
            FileNotFoundError: a file or folder is missing.
            ValueError: something else is wrong. Both name the first few problems and the command that lists all.
        """
        problems = self._problems()
        if not problems:
            return
        lines = [f"{self.name}: the files in {self.root} are not the release:", *_some(problems, _REFUSED)]
        text = "\n".join([*lines, f"noisylab data check {self.name} --root {self.root} lists all; correct these files"])
        raise FileNotFoundError(text) if self.missing else ValueError(text)

    def _problems(self) -> list[str]:
        return [
            *(f"missing: {line}" for line in self.missing),
            *(
                f"{what}: {found:,}, expected {expected:,}"
                for what, found, expected in self.counts
                if expected is not None and found != expected
            ),
            *(
                f"{file}: {found}, expected {expected}: damaged or a different file; fetch it again"
                for file, found, expected in self.digests
                if expected is not None and found != expected
            ),
            *self.faults,
        ]


class NamedRelease:
    """A data set that is published as certain files; `noisylab data check` asks its class about them."""

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Look at the files of the release, without training on them.

        Args:
            root: the folder that the argument `root` of the class names.

        Returns:
            What is there, what is missing and what is wrong; nothing is raised for files that are bad.
        """
        raise NotImplementedError


def _some(lines: list[str], number: int) -> list[str]:
    more = [f"  and {len(lines) - number:,} more"] if len(lines) > number else []
    return [*(f"  {line}" for line in lines[:number]), *more]
