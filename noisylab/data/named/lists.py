"""Lists of image files as published data sets hold them: one file a line, with or without the number of its class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from noisylab.data.folders import list_images, sub_folders
from noisylab.data.imagelist import ImageList
from noisylab.data.release import ReleaseReport
from noisylab.reading import regular

__all__ = ["ListedFiles", "files_in", "folder_names", "keep_present", "read_label_list", "read_lines", "read_name_list"]

_SHOWN = 10  # lines of a list, or files, in a report


@dataclass(frozen=True)
class ListedFiles:
    """Image files in the order of a list, with their classes.

    Args:
        where: the list's name in messages.
        folder: what `names` are relative to.
        names: (N) files, with "/" between folders.
        labels: (N) int64 class of each, in 0..K-1; -1 where the list says none.
        lines: (N) line of each in the list, from 1; empty where there is no list.
        truth: (N) int64 true class, -1 where unknown; `None` when nothing is known.
    """

    where: str
    folder: Path
    names: list[str]
    labels: Tensor
    lines: list[int]
    truth: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, kept: Sequence[int]) -> ListedFiles:
        """The files at some positions."""
        rows = torch.tensor(kept, dtype=torch.int64)
        return replace(
            self,
            names=[self.names[place] for place in kept],
            labels=self.labels[rows],
            lines=[self.lines[place] for place in kept] if self.lines else [],
            truth=None if self.truth is None else self.truth[rows],
        )

    def images(self) -> ImageList:
        """The same as other parts of the library take it."""
        return ImageList(self.folder, self.names, [""] * len(self), self.where, rows=self.lines or None)

    def digest(self) -> bytes:
        """SHA-256 of the names and classes, in their order."""
        found = hashlib.sha256("\n".join(self.names).encode("utf-8", "surrogateescape"))
        found.update(self.labels.numpy().tobytes())
        return found.digest()


def read_lines(report: ReleaseReport, file: str, what: str, header: str = "") -> list[tuple[int, str]] | None:
    """The lines of a text file that hold anything, stripped, with their numbers from 1; `None` if it cannot be read.

    The file's SHA-256 goes into the report, and what is wrong, too.

    Args:
        report: receives what was found.
        file: relative to the report's folder.
        what: what the file is, in a message.
        header: how the first line begins, which names the columns; empty for a file that begins with its first entry.
    """
    if not report.has(file, what):
        return None
    try:
        content = regular(report.root / file).read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        report.faults.append(f"{file} cannot be read as text ({error}); fetch it again")
        return None
    report.digests.append((file, f"sha256 {hashlib.sha256(content).hexdigest()}", None))
    lines = [(number, line) for number, raw in enumerate(text.split("\n"), 1) if (line := raw.strip())]
    if header:
        if not lines or not lines[0][1].startswith(header):
            report.faults.append(
                f"{file}, line 1: {lines[0][1] if lines else ''!r}, where the header {header} should be; restore the line, or "
                "every number would be off by one"
            )
        else:
            lines = lines[1:]
    if not lines:
        report.faults.append(f"{file} names nothing; fetch it again")
        return None
    return lines


def read_label_list(
    report: ReleaseReport, file: str, what: str, classes: int, folder: Path, keep: int | None = None, inside: str = ""
) -> ListedFiles | None:
    """A list of lines ``name class``, divided at the last blank, since names may hold blanks.

    Args:
        report: receives the lines at fault: names that lead out of the folder, classes that are no number in 0..K-1.
        file: the list, relative to the report's folder.
        what: what it is, in a message.
        classes: K.
        folder: of the images.
        keep: only files of the classes below are kept; `None` for all.
        inside: put before each name.
    """
    lines = read_lines(report, file, what)
    if lines is None:
        return None
    names, labels, numbers, faults = [], [], [], []
    for number, line in lines:
        parts = line.rsplit(None, 1)
        fault = "has no class behind the name" if len(parts) < 2 else path_fault(parts[0]) or _class_fault(parts[1], classes)
        if fault:
            faults.append(f"{file}, line {number}: {line!r} {fault}")
        elif keep is None or int(parts[1]) < keep:
            names.append(inside + parts[0])
            labels.append(int(parts[1]))
            numbers.append(number)
    report.faults += _some(faults, f"lines of {file} at fault")
    return ListedFiles(f"{report.root / file}", folder, names, torch.tensor(labels, dtype=torch.int64), numbers)


def read_name_list(report: ReleaseReport, file: str, what: str) -> tuple[list[str], list[int]] | None:
    """The names of a list that has one in each line, and the number of each line."""
    lines = read_lines(report, file, what)
    if lines is None:
        return None
    names: list[str] = []
    numbers: list[int] = []
    faults = []
    for number, name in lines:
        fault = path_fault(name)
        if fault:
            faults.append(f"{file}, line {number}: {name!r} {fault}")
        else:
            names.append(name)
            numbers.append(number)
    report.faults += _some(faults, f"lines of {file} at fault")
    return names, numbers


def path_fault(name: str) -> str:
    """Why a name is not one of a file inside the data; empty if it is."""
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "is an absolute path; give paths within the data"
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        return "leads out of the data by '..'; give paths within them"
    return ""


def _class_fault(text: str, classes: int) -> str:
    try:
        number = int(text)
    except ValueError:
        return f"ends with {text!r}, which is no class number"
    return "" if 0 <= number < classes else f"has the class {number}, outside 0..{classes - 1}; correct or remove the line"


def keep_present(report: ReleaseReport, files: ListedFiles, what: str, allow_missing: bool) -> ListedFiles:
    """The files that are there.

    Each folder is read once, which takes seconds for a million files.

    Args:
        report: receives the missing ones, each with its line, or a note of their number if they are allowed and others remain.
        files: the list.
        what: what the files are, in a message.
        allow_missing: leave missing files out.
    """
    there: dict[str, frozenset[str]] = {}
    kept: list[int] = []
    gone: list[int] = []
    for place, name in enumerate(files.names):
        folder, _, file = name.rpartition("/")
        if folder not in there:
            there[folder] = _files_of(files.folder / folder)
        (kept if file in there[folder] else gone).append(place)
    if not gone:
        return files
    named = [f"{_shown(report, files, place)}{_line(files, place)}" for place in gone]
    if allow_missing and kept:
        few = ", ".join(named[:3]) + (", ..." if len(gone) > 3 else "")
        report.notes.append(f"{len(gone):,} of {len(files):,} {what} are not there and left out ({few}); {len(kept):,} remain")
    else:
        advice = "fetch them, or leave them out with allow_missing: true" if kept else "none of them is there; fetch them"
        report.missing.append(f"{len(gone):,} of {len(files):,} {what} named by {files.where}; {advice}")
        report.missing += named
    return files.take(kept)


def _shown(report: ReleaseReport, files: ListedFiles, place: int) -> str:
    path = files.folder / files.names[place]
    return path.relative_to(report.root).as_posix() if path.is_relative_to(report.root) else str(path)


def _line(files: ListedFiles, place: int) -> str:
    return f": line {files.lines[place]}" if files.lines else ""


def _files_of(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def files_in(folder: Path, root: Path) -> list[str]:
    """The pictures of `list_images` in a folder, not in its sub-folders, relative to `root`; none if it is not there."""
    found = list_images(folder, deep=False).images if folder.is_dir() else []
    return [path.relative_to(root).as_posix() for path in found]


def folder_names(folder: Path) -> list[str]:
    """The names of the `sub_folders` of a folder; none if it is not there."""
    return [path.name for path in sub_folders(folder)[0]] if folder.is_dir() else []


def _some(faults: Sequence[str], what: str) -> Iterable[str]:
    """The first of many faults, and how many more there are."""
    return [*faults[:_SHOWN], *([f"and {len(faults) - _SHOWN:,} more {what}"] if len(faults) > _SHOWN else [])]
