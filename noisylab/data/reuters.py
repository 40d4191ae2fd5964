"""Reuters documents in five languages, from the index files of their release."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.labels import Array
from noisylab.data.release import ReleaseReport
from noisylab.data.rows import MultiRows, SparseRows
from noisylab.data.splits import stratified_subset
from noisylab.reading import gunzip, regular
from noisylab.transforms.draws import key_from
from noisylab.transforms.views import feature_views

__all__ = ["Reuters"]

_NAME = "Reuters RCV1 RCV2 Multilingual, Multiview Text Categorization Test collection"
_ARCHIVE = "rcv1rcv2aminigoutte"  # the folder that the archive unpacks to
_TERMS = {"EN": 21531, "FR": 24893, "GR": 34279, "IT": 15506, "SP": 11547}  # size of each vocabulary
_DOCUMENTS = {"EN": 18758, "FR": 26648, "GR": 29953, "IT": 24039, "SP": 12342}  # by the language that they were written in
_CLASSES = ("C15", "CCAT", "E21", "ECAT", "GCAT", "M11")
_NOISE = 0.25  # of the strong view, in units of the root mean square of all numbers of a view

# What a file may hold is checked line by line before numpy reads the numbers of all lines at once. scikit-learn's
# load_svmlight_file would do both, but it takes no text as label and no terms out of order, names no line in its errors, and
# needs longer than both steps together.
_TERM = re.compile(rb"[0-9]+:[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LINE = re.compile(rb"\s*+(%s)((?:\s++%s)*+)\s*+" % ("|".join(_CLASSES).encode(), _TERM.pattern))


class Reuters(NoisyDataModule):
    """Newswire of Reuters in six classes and five languages, as term weights: one view a language (Amini, Usunier, Goutte, NIPS
    2009).

    Of each document, written in the language `original`, there are machine translations into the other four languages. The
    documents originally in English are 18,758, in French 26,648, in German (GR) 29,953, in Italian 24,039, in Spanish 12,342;
    the vocabularies have 21,531 (EN), 24,893 (FR), 34,279 (GR), 15,506 (IT) and 11,547 (SP) terms. Those are the columns of the
    views, whether or not a term occurs.

    `root` holds the folders EN, FR, GR, IT and SP, or the folder ``rcv1rcv2aminigoutte`` of the archive with them. The archive
    has the file ``Index_EN-FR``, English documents in French, in the folder FR, of the language of the text; it is found in the
    folder EN as well, and packed with gzip (``.gz``). Each line is a document, ``CLASS term:weight term:weight ...``; line n of
    ``Index_EN-EN`` and of ``Index_EN-FR`` is the same document. Terms are numbered from 1; from 0 in a file that has a term 0.

    Rows stay sparse until a batch is built. Several views make batches of one (B, D) float32 input for each, by the name of its
    language; one view makes plain batches. The other documents than those of the test set are the training rows, in the order
    of the files; their index counts them alone. Validation rows have the given labels unless ``val_labels="clean"``.

    Views: "weak" and "eval" are the weights; "strong" has a random factor of 0.8 to 1.2 for each document and adds to each weight
    noise of a quarter of the root mean square of all weights of the training rows, zeros included, in which noise and document
    are in the proportion of 1 to 4 in length.

    Args:
        root: folder of the folders.
        views: languages of the text, in this order.
        original: language in which the documents were written.
        per_class: a balanced part with so many documents of each class, training and test rows together, keyed by `split_seed`;
            `None` for all documents.
        test_fraction: share of these documents in the test set, stratified by class, in [0, 1); 0 has no test set. The choice
            has a seed of its own: only `per_class` makes it depend on `split_seed`.
        normalize: bring the weights of each document and language to unit Euclidean length; a document without terms stays zero.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, when a file is not there.
        ValueError: in ``setup``, naming the file and the line that is wrong, or the class that has too few documents.

    Example:
        >>> Reuters("nowhere", views=("EN", "FR", "GR")).num_classes
        6
    """

    path_arguments = ("root",)

    def __init__(
        self,
        root: str = "data",
        views: tuple[str, ...] = ("EN", "FR"),
        original: str = "EN",
        per_class: int | None = None,
        test_fraction: float = 0.2,
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, language in (("original", original), *(("views", view) for view in views)):
            if language not in _TERMS:
                raise ValueError(f"{name} names the language {language!r}; there are {', '.join(_TERMS)}")
        if not views or len(set(views)) < len(views):
            raise ValueError(f"views must name at least one language and none twice, got {list(views)}; choose of {list(_TERMS)}")
        if per_class is not None and per_class < 1:
            raise ValueError(f"per_class must be at least 1, got {per_class}; leave it out for all documents")
        if not 0 <= test_fraction < 1:
            raise ValueError(f"test_fraction must be in [0, 1), got {test_fraction}")
        self.root, self.views, self.original = Path(root), tuple(views), original
        self.per_class, self.test_fraction, self.normalize = per_class, test_fraction, normalize
        self._transforms: dict[str, Any] | None = None

    @property
    def source_classes(self) -> int:
        """Six, known without the files."""
        return len(_CLASSES)

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether the 25 files are there, with as many documents as were published; see `NamedRelease`. Terms are not read."""
        report = ReleaseReport(cls.__name__, root)
        for original, documents in _DOCUMENTS.items():
            data = cls(str(root), original=original)
            for view in _TERMS:
                try:
                    path = data._find(view)
                    lines = len(_unpacked(path).rstrip().splitlines())
                    report.counts.append((f"{path.relative_to(root).as_posix()}: documents", lines, documents))
                except FileNotFoundError:
                    report.missing.append(
                        f"{view}/Index_{original}-{view}: documents of {original} in {view}, packed (.gz) or not"
                    )
                except (OSError, ValueError) as error:
                    report.faults.append(str(error))
        return report

    def load(self) -> Source:
        """Read a file for each view and choose documents."""
        rows, labels = self._read()
        kept = torch.arange(len(labels)) if self.per_class is None else self._balanced(labels)
        test = stratified_subset(kept, labels[kept], round(self.test_fraction * len(kept)), seed=0)
        train = kept[~torch.isin(kept, test)]
        inputs = {view: _take(matrix, train) for view, matrix in rows.items()}
        self._transforms = _views_of(inputs)
        return Source(
            train=_store(inputs),
            given=labels[train],
            clean=labels[train],
            test=_store({view: _take(matrix, test) for view, matrix in rows.items()}) if len(test) else None,
            test_target=labels[test] if len(test) else None,
            class_names=_CLASSES,
        )

    def view_set(self) -> Mapping[str, Any]:
        """Views of features; the noise of the strong one is known once the files are read."""
        if self._transforms is None:
            raise RuntimeError("the strong view depends on the weights, which are not read yet; call setup() first")
        return self._transforms

    def _read(self) -> tuple[dict[str, SparseRows], Tensor]:
        """The matrix of each view and the (N,) int64 labels, on which all files agree."""
        rows: dict[str, SparseRows] = {}
        labels, first = torch.empty(0, dtype=torch.int64), Path()
        for view in self.views:
            path = self._find(view)
            found, rows[view] = _parse(_unpacked(path), path, _TERMS[view], self.normalize)
            if view == self.views[0]:
                labels, first = found, path
            again = "line n of both must be the same document: unpack both again from one archive"
            if len(found) != len(labels):
                raise ValueError(f"{first} has {len(labels)} lines, but {path} has {len(found)}; {again}")
            other = (found != labels).nonzero().flatten()
            if len(other):
                line = int(other[0])
                raise ValueError(
                    f"{path}, line {line + 1}: the class is {_CLASSES[found[line]]}, but {_CLASSES[labels[line]]} in the same "
                    f"line of {first}; {again}"
                )
        return rows, labels

    def _find(self, view: str) -> Path:
        name = f"Index_{self.original}-{view}"
        folders = [base / language for base in (self.root, self.root / _ARCHIVE) for language in (view, self.original)]
        for path in (folder / file for folder in folders for file in (name, f"{name}.gz")):
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"there is no file {folders[0] / name}, nor {name}.gz, nor either in {_ARCHIVE}/{view}. root must hold the folders "
            f"{', '.join(_TERMS)} as the archive has them. The data is for research only and is not downloaded: get "
            f'"{_NAME}" from the UCI machine learning repository, and unpack it into {self.root.absolute()}'
        )

    def _balanced(self, labels: Tensor) -> Tensor:
        """Rows of `per_class` documents of each class, sorted."""
        counts = torch.bincount(labels, minlength=len(_CLASSES))
        if self.per_class is not None and self.per_class > int(counts.min()):
            scarce = int(counts.argmin())
            raise ValueError(
                f"per_class={self.per_class}, but the class {_CLASSES[scarce]} has {int(counts[scarce])} of the {len(labels)} "
                f"documents; ask for at most that many, or leave per_class out"
            )
        generator = torch.Generator().manual_seed(key_from(self.split_seed, "per_class"))
        order = torch.randperm(len(labels), generator=generator)
        chosen = [order[labels[order] == c][: self.per_class] for c in range(len(_CLASSES))]
        return torch.cat(chosen).sort().values


def _unpacked(path: Path) -> bytes:
    content = regular(path).read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gunzip(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"cannot unpack {path}: {error}; replace the file") from error


def _parse(content: bytes, path: Path, terms: int, normalize: bool) -> tuple[Tensor, SparseRows]:
    """Labels (N,) int64 and weights of the N lines of a file.

    Args:
        content: of the file, unpacked.
        path: its name, for messages.
        terms: size of the vocabulary.
        normalize: see `Reuters`.

    Raises:
        ValueError: naming the file and the first line that is no document.
    """
    lines = content.rstrip().splitlines()
    if not lines:
        raise ValueError(f"{path} is empty; unpack it again: it has one document per line")
    number = {name.encode(): place for place, name in enumerate(_CLASSES)}
    labels, counts, texts = np.empty(len(lines), np.int64), np.empty(len(lines), np.int64), []
    for place, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if match is None:
            _refuse(line, f"{path}, line {place + 1}")
        labels[place], counts[place] = number[match[1]], match[2].count(b":")
        texts.append(match[2])
    pairs = np.fromstring(b"".join(texts).replace(b":", b" "), sep=" ").reshape(-1, 2)
    assert len(pairs) == counts.sum()  # so says the form of each line
    row = np.repeat(np.arange(len(lines)), counts)
    columns = _columns(pairs[:, 0], row, path, terms)
    values = pairs[:, 1]
    with np.errstate(over="ignore"):
        large = np.flatnonzero(~np.isfinite(values.astype(np.float32)))
    if len(large):
        raise ValueError(
            f"{path}, line {row[large[0]] + 1}: the weight {values[large[0]]:g} is too large for 32 bits; replace the file"
        )
    if normalize:
        length = np.sqrt(np.bincount(row, values**2, len(lines)))
        values = values / np.where(length > 0, length, 1)[row]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    matrix = SparseRows(
        torch.from_numpy(values.astype(np.float32)), torch.from_numpy(columns), torch.from_numpy(indptr), num_columns=terms
    )
    return torch.from_numpy(labels), matrix


def _columns(numbers: Array, row: Array, path: Path, terms: int) -> Array:
    """(nnz,) int64 columns, from 0, of terms by their number in a file, from 1 or, where there is a 0, from 0."""
    first = 1 if numbers.all() else 0
    beyond = np.flatnonzero(numbers >= terms + first)
    if len(beyond):
        raise ValueError(
            f"{path}, line {row[beyond[0]] + 1}: the term {numbers[beyond[0]]:.0f} is beyond the vocabulary of this language, "
            f"{terms} terms, numbered {first}..{terms - 1 + first} in this file; check that its name is right, or replace it"
        )
    columns = numbers.astype(np.int64) - first
    place = row * terms + columns
    if not bool((np.diff(place) > 0).all()):  # out of order, which does no harm, or twice
        order = np.argsort(place, kind="stable")
        twice = order[1:][np.diff(place[order]) == 0]
        if len(twice):
            at = twice.min()
            raise ValueError(f"{path}, line {row[at] + 1}: the term {numbers[at]:.0f} is there twice; replace the file")
    return columns


def _refuse(line: bytes, where: str) -> NoReturn:
    """Say what makes a line no document."""
    allowed = f"a line is CLASS term:weight term:weight ..., with a class of {', '.join(_CLASSES)}; replace the file"
    name, *terms = line.split() or [b""]
    if not name:
        raise ValueError(f"{where} is empty; {allowed}")
    if name.decode(errors="replace") not in _CLASSES:
        raise ValueError(f"{where}: {_shown(name)} is not a class; {allowed}")
    wrong = next(term for term in terms if not _TERM.fullmatch(term))
    raise ValueError(f"{where}: {_shown(wrong)} is not a term with its weight; {allowed}")


def _shown(token: bytes) -> str:
    return repr(token[:40].decode(errors="replace"))


def _take(rows: SparseRows, index: Tensor) -> SparseRows:
    """Rows `index` (M,) as a matrix of their own."""
    start, counts = rows.indptr[index], rows.indptr[index + 1] - rows.indptr[index]
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    place = torch.arange(int(indptr[-1])) + torch.repeat_interleave(start - indptr[:-1], counts)
    return SparseRows(rows.data[place], rows.indices[place], indptr, rows.num_columns)


def _store(views: Mapping[str, SparseRows]) -> SparseRows | MultiRows:
    return MultiRows(views) if len(views) > 1 else next(iter(views.values()))


def _views_of(inputs: Mapping[str, SparseRows]) -> dict[str, Any]:
    """Transform by view name; with several languages, a mapping with the transform of each."""
    each: dict[str, Mapping[str, Any]] = {}
    for language, rows in inputs.items():
        mean_square = float(rows.data.double().square().sum()) / max(len(rows) * rows.num_columns, 1)
        each[language] = feature_views(std=_NOISE * mean_square**0.5)
    first = next(iter(each.values()))
    return dict(first) if len(each) == 1 else {name: {k: views[name] for k, views in each.items()} for name in first}
