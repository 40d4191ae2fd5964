"""The parent of the data sets that are image files named by the lists of their release."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import digest_of
from noisylab.data.examined import unreadable
from noisylab.data.imagelist import Sieve
from noisylab.data.imagerows import file_rows
from noisylab.data.named.lists import ListedFiles
from noisylab.data.release import NamedRelease, ReleaseReport
from noisylab.data.rows import RowStore
from noisylab.data.source import OtherTest

__all__ = ["ListedImages", "ReleaseParts"]


@dataclass
class ReleaseParts:
    """What a release says its rows are.

    Args:
        classes: K names.
        train: rows to train on.
        test: rows to test on, or `None`.
        held: rows that the release holds out for validation, with their labels, or `None`.
        others: further test sets by the name of their split, such as "test_ilsvrc".
        wrong: (N) bool, training rows whose given label is known to be wrong although the true one is not; `None` for none.
    """

    classes: tuple[str, ...]
    train: ListedFiles
    test: ListedFiles | None = None
    held: ListedFiles | None = None
    others: dict[str, ListedFiles] = field(default_factory=dict)
    wrong: Tensor | None = None

    @property
    def lists(self) -> list[ListedFiles]:
        """All of them."""
        return [self.train, *(part for part in (self.test, self.held, *self.others.values()) if part is not None)]


class ListedImages(NoisyDataModule, NamedRelease, ABC):
    """What data sets of listed image files share: lists that are checked, pictures opened in workers, digests of the lists.

    A level of its own between them and the base, so that a set says what its release looks like and nothing else.

    Args:
        root: folder of the release.
        allow_missing: leave out pictures that a list names and that are not there, and report their number, instead of refusing
            the data.
        verify: refuse numbers of images other than those of the release, where these are confirmed.
        check: whether every picture is "decoded" once before training, as `WebImages` does, or only known to "exist": a million
            take half an hour of CPU time or more to decode. Pictures that are held in memory are decoded in any case.
        allow_truncated: fill up JPEG files that end early with gray instead of refusing them.
        **kwargs: see `NoisyDataModule`; set `num_workers`.
    """

    path_arguments: ClassVar[tuple[str, ...]] = ("root",)

    def __init__(
        self,
        root: str,
        allow_missing: bool = False,
        verify: bool = True,
        check: Literal["exist", "decoded"] = "exist",
        allow_truncated: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if check not in ("exist", "decoded"):
            raise ValueError(f"check must be 'exist' or 'decoded', got {check!r}")
        self.root, self.allow_missing, self.verify, self.check = Path(root), allow_missing, verify, check
        self.allow_truncated = allow_truncated
        self._transforms: Mapping[str, Any] = {}  # by the subclass
        self._lists: dict[str, str] = {}

    # ---- what a subclass says

    @abstractmethod
    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """Read the lists of the release.

        Args:
            report: receives what is missing, counted or wrong.

        Returns:
            The rows; `None` if a file is missing without which nothing can be said.
        """

    # ---- what follows from it

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Look at the lists and for every picture that they name; see `NamedRelease.check_release`."""
        report = ReleaseReport(cls.__name__, root)
        cls(root=str(root)).read(report)
        return report

    def counted(self, report: ReleaseReport, what: str, found: int, expected: int | None) -> None:
        """Enter a number of what the lists name; what is expected counts if `verify` is set."""
        report.counts.append((what, found, expected if self.verify else None))

    def load(self) -> Source:
        """Read the lists, refuse a release that is not complete, and open no picture unless ``check="decoded"``."""
        report = ReleaseReport(type(self).__name__, self.root)
        parts = self.read(report)
        report.refuse()
        assert parts is not None, "what is missing is refused"
        report.notes += shared_files(parts)
        if self.check == "decoded":
            for part in parts.lists:
                Sieve().keep(part.images(), unreadable(part.images(), self.allow_truncated))
        self._lists = {file: digest for file, digest, _ in report.digests}
        self._folder = parts.train.folder
        self._named = {"train": b"".join(part.digest() for part in (parts.train, parts.held) if part is not None)}
        self._named["test"] = b"" if parts.test is None else parts.test.digest()
        source = self._source_of(parts)
        source.account += [f"{what}: {found:,}" for what, found, _ in report.counts] + report.notes
        return source

    def store(self, files: ListedFiles) -> RowStore:
        """The pictures as rows."""
        return file_rows(files.images(), self._transforms, self.num_workers, self.allow_truncated)

    def _source_of(self, parts: ReleaseParts) -> Source:
        train, held = parts.train, None
        if parts.held is not None:
            held = torch.arange(len(train), len(train) + len(parts.held))
            train = joined(train, parts.held)
        source = Source(
            train=self.store(train),
            given=train.labels,
            clean=train.truth,
            class_names=parts.classes,
            names=train.names,
            held=held,
        )
        if parts.wrong is not None:
            source.wrong = torch.zeros(len(train), dtype=torch.bool)
            source.wrong[: len(parts.wrong)] = parts.wrong
        if parts.test is not None:
            source.test, source.test_target = self.store(parts.test), parts.test.labels
            source.test_names = parts.test.names
        source.other_tests = {name: OtherTest(self.store(part), part.labels, part.names) for name, part in parts.others.items()}
        return source

    def digests(self) -> tuple[str, str | None]:
        """Of the names and labels on the lists and of the files' sizes, see `noisylab.data.digests.rows_digest`."""
        train, test = super().digests()
        return digest_of([self._named["train"], train.encode()]), test and digest_of([self._named["test"], test.encode()])

    def measured(self) -> dict[str, Any]:
        """SHA-256 of each list that was read."""
        return {"lists": dict(self._lists)} if self.adopted is None else dict(self.adopted["measured"])

    @property
    def image_paths(self) -> list[str]:
        """(N) files of the training images. Needs ``setup``."""
        return [str(self._folder / name) for name in self.source.names or ()]

    def view_set(self) -> Mapping[str, Any]:
        """Views of large images."""
        return self._transforms


def shared_files(parts: ReleaseParts) -> list[str]:
    """A sentence about files that are in two parts of a release, such as training images that are also tested on."""
    named = {"training": parts.train, "validation": parts.held, "test": parts.test, **parts.others}
    files = {what: (part.folder, set(part.names)) for what, part in named.items() if part is not None}
    return [
        f"{len(shared):,} {one} images are also {other} images, such as {min(shared)}"
        for (one, (here, first)), (other, (there, second)) in combinations(files.items(), 2)
        if here == there and (shared := first & second)
    ]


def joined(first: ListedFiles, second: ListedFiles) -> ListedFiles:
    """The files of two lists of one folder, one list after the other."""
    assert first.folder == second.folder
    truth = None
    if first.truth is not None or second.truth is not None:
        truth = torch.cat([torch.full_like(part.labels, -1) if part.truth is None else part.truth for part in (first, second)])
    return ListedFiles(
        first.where,
        first.folder,
        [*first.names, *second.names],
        torch.cat([first.labels, second.labels]),
        [],
        truth,
    )
