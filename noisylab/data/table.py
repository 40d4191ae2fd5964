"""Tables of labels: comma-separated text with a header; no row is dropped silently."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from noisylab.data.missing import Missing, Unlabeled, doubtful, unlabeled
from noisylab.data.notes import note
from noisylab.data.tableparts import parts_of
from noisylab.reading import gunzip, regular

__all__ = [
    "LabelTable",
    "Record",
    "Records",
    "cell_of",
    "check_swallowed",
    "files_on_disk",
    "read_label_table",
    "read_records",
    "separated",
    "text_of",
]

_MEANT = {  # what tables of others call the columns, for messages
    "file": ("filename", "file_name", "filepath", "path", "image", "image_path", "img", "name", "id"),
    "label": ("labels", "class", "classes", "category", "target", "noisy_label", "given_label", "given", "tag", "y"),
}
_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_CELL = re.compile(r'(?:"(?:[^"]|"")*"?)?[^,]*')  # one cell as written, as the csv module takes it
_SAVE = "save the table as comma-separated text in UTF-8"


class Record(NamedTuple):
    """A row of a table: its text as in the file, including the line end, its cells, and the number of its first line, from 1."""

    raw: str
    cells: list[str]
    line: int

    @property
    def written(self) -> list[str]:
        """The cells as they are written, quotes included."""
        body, start, found = self.raw.rstrip("\r\n"), 0, []
        while start <= len(body):
            cell = _CELL.match(body, start)
            assert cell is not None  # the pattern takes anything
            found.append(cell[0])
            start = cell.end() + 1
        return found

    def with_cell(self, column: int, text: str) -> str:
        """The text of the row with one cell replaced; quotes are kept, and added if needed."""
        written = self.written
        end = self.raw[len(self.raw.rstrip("\r\n")) :]
        written += [""] * (column + 1 - len(written))
        quoted = written[column].startswith('"') or any(mark in text for mark in ',"\r\n')
        written[column] = '"' + text.replace('"', '""') + '"' if quoted else text
        return ",".join(written) + end


class Records(NamedTuple):
    """A table as written: its byte order mark, if any, and its rows, including the header."""

    mark: bytes
    records: list[Record]

    def split(self, path: Path) -> tuple[list[str], list[tuple[int, Record]]]:
        """Names of the columns, and the rows that are not blank with their numbers, the header being row 1.

        Raises:
            ValueError: for a table without a row.
        """
        if not self.records:
            raise ValueError(f"{path} is empty; it needs a header and rows")
        rows = [
            (number, record)
            for number, record in enumerate(self.records[1:], start=2)
            if any(cell.strip() for cell in record.cells)
        ]
        return [name.strip() for name in self.records[0].cells], rows


def read_records(path: Path) -> Records:
    """The rows of a comma-separated table, both as written and as parsed.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the line: when it is no text, see `text_of`, or a quote stands where none can.
    """
    mark, text = text_of(path)
    return Records(mark, list(_parsed(text, path)))


def text_of(path: Path) -> tuple[bytes, str]:
    """The text of a file in UTF-8, unpacked where its name ends in .gz, and its byte order mark, if it has one.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the line: when it is no text in UTF-8, or holds a zero byte.
    """
    try:
        content = regular(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"there is no table {path}; check the path") from error
    if path.suffix.lower() == ".gz":
        try:
            content = gunzip(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked: {error}; it is no gzip file, or a part of one") from error
    wide = next((name for start, name in _WIDE.items() if content.startswith(start)), None)
    if wide is not None:
        raise ValueError(f"{path} is text in {wide}, not in UTF-8; {_SAVE} (in a spreadsheet: CSV UTF-8)")
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    try:
        text = content[len(mark) :].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(path, content[len(mark) :], error.start)) from error
    if "\0" in text:
        line = len(re.findall("\r\n|\r|\n", text[: text.index("\0")])) + 1
        raise ValueError(f"{path} is not a text table: line {line} holds a zero byte; {_SAVE}")
    return mark, text


def _not_utf8(path: Path, content: bytes, place: int) -> str:
    """What is said of bytes that are no UTF-8; which letters they stand for cannot be known for certain."""
    start = max(content.rfind(b"\n", 0, place), content.rfind(b"\r", 0, place)) + 1
    line = len(re.findall(b"\r\n|\r|\n", content[:place])) + 1
    shown = content[start:].splitlines()[0][:60].decode("cp1252", errors="replace")
    return (
        f"{path} is no table in UTF-8: line {line} has the byte 0x{content[place]:02x}. If that line reads {shown!r}, it "
        f"is in Latin-1 or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8; {_SAVE}"
    )


def _parsed(text: str, path: Path) -> Iterator[Record]:
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader, first = csv.reader(lines(), strict=True), 1
    while True:
        try:
            cells = next(reader, None)  # reads as many lines as a row has, no more
        except csv.Error as error:
            raise ValueError(_broken(path, first, reader.line_num, str(error))) from error
        if cells is None:
            return
        record = Record("".join(taken), cells, first)
        if '"' in record.raw:
            blank = next((cell for cell in record.written if cell[:1].isspace() and cell.lstrip().startswith('"')), None)
            if blank is not None:
                raise ValueError(
                    f"{path}, line {first}: a space precedes the quote of {blank.strip()!r}, so the quotes would be part of "
                    "the text; remove the spaces after commas"
                )
        yield record
        taken.clear()
        first = reader.line_num + 1


def _broken(path: Path, first: int, last: int, reason: str) -> str:
    where = f"line {first}" if last <= first else f"lines {first} to {last}"
    if "field limit" in reason:
        limit = csv.field_size_limit()
        return f"{path}, {where}: a cell has more than {limit:,} characters; is a quote missing, or does a column hold files?"
    if "unexpected end" in reason:
        return f"{path}, line {first}: a quote that opens in this row is never closed; remove it, or write it twice if it is text"
    return (
        f"{path}, {where}: text follows a closing quote ({reason}), so a quote in line {first} is one too many or one too few; "
        "correct it, or write it twice if it is text"
    )


def check_swallowed(path: Path, header: Sequence[str], rows: Sequence[tuple[int, Record]], used: Sequence[int]) -> None:
    """Refuse a file or label cell that spans several lines, or any cell whose lines look like rows.

    Args:
        path: the table, for messages.
        header: names of its columns.
        rows: numbered rows, see `Records.split`.
        used: numbers of the columns that are read, that of the files first.
    """
    several = [(number, record) for number, record in rows if any("\n" in cell or "\r" in cell for cell in record.cells)]
    if not several:
        return
    ends = {_end(record.cells[used[0]]) for _, record in rows if used[0] < len(record.cells)} - {""}
    for _, record in several:
        for column, cell in enumerate(record.cells):
            inner = cell.splitlines()[1:]
            like_rows = [
                line for line in inner if line.count(",") >= len(header) - 1 and len(header) > 1 and _first_file(line, ends)
            ]
            if (column in used and len(cell.strip().splitlines()) > 1) or like_rows:
                last = record.line + len(re.findall("\r\n|\r|\n", record.raw.rstrip("\r\n")))
                raise ValueError(
                    f"{path}, lines {record.line} to {last}: a quote that opens in line {record.line} makes these lines one "
                    f"cell, but they look like separate rows; remove the quote, or close it on its line"
                )


def _first_file(line: str, ends: set[str]) -> bool:
    return any(_end(part.strip(' "')) in ends for part in line.split(","))


def _end(name: str) -> str:
    return PurePosixPath(name.strip()).suffix.lower()


class LabelTable(NamedTuple):
    """Files and labels of N rows.

    Args:
        names: (N) files, those of unlabeled rows last.
        labels: (N) labels as written, empty for an unlabeled row.
        true_labels: (N) true labels, empty where unknown; `None` without such a column.
        rows: (N) number of each row in the table, the header being row 1 as in a spreadsheet.
        faults: (N) why a row cannot be used; empty for one that can.
        left_out: files of rows without a label in parts that are not trained on, which are not among the N.
        notes: what a user is told of rows without a label.
        parts: (N) "train", "val" or "test", where a column says so; else `None`.
        part_column: that column.
    """

    names: list[str]
    labels: list[str]
    true_labels: list[str] | None
    rows: list[int]
    faults: list[str]
    left_out: list[str]
    notes: list[str]
    parts: list[str] | None = None
    part_column: str = ""


def read_label_table(
    path: Path, file_column: str | None = None, label_column: str | None = None, missing: Missing = "auto"
) -> LabelTable:
    """The rows of a comma-separated table with the columns ``file``, ``label`` and perhaps ``true_label`` and ``split``.

    Training rows without a label come after all others, in their order, so that those keep their places whatever is added; in
    other parts of the data such rows are left out.

    Args:
        path: the table, in UTF-8, with a header.
        file_column: the column of the files, if it has another name.
        label_column: the column of the labels, likewise.
        missing: see `noisylab.data.missing.Missing`; how many there are is said in a warning.

    Raises:
        FileNotFoundError: when the table does not exist.
        ValueError: when it is no table, a column is missing or there twice, all rows are without a label, or for parts of the
            data that cannot be told apart, see `parts_of`.
    """
    file_column, label_column = file_column or "file", label_column or "label"
    if file_column == label_column:
        raise ValueError(f"file_column and label_column are both {file_column!r}; name two columns")
    table = read_records(path)
    columns = [name.strip() for name in table.records[0].cells] if table.records else []
    wanted = {"file": file_column, "label": label_column, "true_label": "true_label"}
    absent = {use: name for use, name in wanted.items() if name not in columns and use != "true_label"}
    if absent:
        raise ValueError(_absent(path, columns, absent, file_column, label_column))
    twice = [name for name in wanted.values() if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]} {columns.count(twice[0])} times; rename or remove the others")
    _, rows = table.split(path)
    if not rows:
        raise ValueError(f"{path} has a header but no rows; list one image per row")
    check_swallowed(path, columns, rows, [columns.index(name) for name in wanted.values() if name in columns])
    cells = {use: [cell_of(record, columns.index(name)) for _, record in rows] for use, name in wanted.items() if name in columns}
    names = [os.path.normpath(name).replace(os.sep, "/") if name else "" for name in cells["file"]]
    labels, where = cells["label"], f"the column {label_column} of {path}"
    other = {name: column for column, name in enumerate(columns) if name and name not in wanted.values()}
    others = {name: [cell_of(record, column) for _, record in rows] for name, column in other.items()}
    parted = parts_of(str(path), others, [number for number, _ in rows])
    parts = parted.parts or [""] * len(rows)
    bare = {
        part
        for part in {*parts} - {"", "train"}
        if not any(label for label, one in zip(labels, parts, strict=True) if one == part)
    }
    bare = bare if {*parts} - bare - {""} else set()
    gone, unread = unlabeled(labels, missing, where), np.array([part in bare for part in parts], dtype=bool)
    without = gone.mask | unread
    count = Counter(names)
    faults = [
        "has no file"
        if not name
        else f"{name} has no label"
        if not label and not out
        else f"{name} has {len(record.cells)} cells where the header has {len(columns)}: put text with a comma in quotes"
        if any(cell.strip() for cell in record.cells[len(columns) :])
        else f"{name} is listed more than once"
        if count[name] > 1
        else f"{name} has nothing in the column {parted.column}, which names the part of the data"
        if parted.parts is not None and not part and not out
        else ""
        for name, label, out, part, (_, record) in zip(names, labels, without.tolist(), parts, rows, strict=True)
    ]
    kept = [place for place, out in enumerate(without.tolist()) if not out or faults[place]]
    if not kept:
        raise ValueError(f"{path} has no row with a label; is {label_column} the column of the labels?")
    pool = [place for place in gone.mask.nonzero()[0].tolist() if parts[place] in ("", "train") and not faults[place]]
    away = sorted({*without.nonzero()[0].tolist()} - {*kept, *pool})
    read = (~unread).nonzero()[0].tolist()
    counted = Unlabeled(gone.mask[read], Counter(labels[place] for place in read if gone.mask[place]))
    notes = [*_told(counted, labels, missing, where), *parted.notes]
    lost = Counter(parts[place] for place in away if not unread[place])
    notes += [f"{many:,} {part} rows of {path} without a label are left out" for part, many in sorted(lost.items())]
    notes += [
        f"the {parts.count(part):,} {part} rows of {path} have no labels and are not read; predict --images reads such pictures"
        for part in sorted(bare)
    ]
    kept += pool
    parts = ["train" if part == "" and without[place] else part for place, part in enumerate(parts)]
    truth = cells.get("true_label")
    return LabelTable(
        names=[names[place] for place in kept],
        labels=["" if without[place] else labels[place] for place in kept],
        true_labels=None if truth is None else [truth[place] for place in kept],
        rows=[rows[place][0] for place in kept],
        faults=[faults[place] for place in kept],
        left_out=[names[place] for place in away],
        notes=notes,
        parts=None if parted.parts is None else [parts[place] for place in kept],
        part_column=parted.column,
    )


def _told(gone: Unlabeled, labels: Sequence[str], missing: Missing, where: str) -> list[str]:
    """What a user is told of rows without a label, and of labels that may be none."""
    perhaps = doubtful(sorted(set(labels) - set(gone.words)), where) if missing in ("auto", "all") else []
    notes = [*gone.told(where), *perhaps]
    for text in notes:
        note(text)
    return notes


def files_on_disk(names: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """Names as the files are called, where a table writes the same letters in another Unicode form or the disk in Latin-1.

    Args:
        names: (N) files of a table, relative to `folder`.
        folder: where they are.

    Returns:
        (N) names, those of files that are nowhere as they were; and what a user is told.
    """
    found, changed = list(names), []
    for place, name in enumerate(names):
        if name.isascii() or os.path.lexists(folder / name):
            continue
        others = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
        others += [os.fsdecode(other.encode("latin-1")) for other in others if max(map(ord, other)) < 256]
        on_disk = next((other for other in others if os.path.lexists(folder / other)), None)
        if on_disk is not None:
            found[place] = on_disk
            changed.append(name)
    if not changed:
        return found, []
    return found, [
        f"{len(changed):,} file names are written with other bytes on the disk than in the table ({changed[0]!r} first)"
    ]


def _absent(path: Path, columns: Sequence[str], absent: dict[str, str], file_column: str, label_column: str) -> str:
    """What is said of a table without a column that is needed."""
    near = [f"{use}_column={found}" for use, name in absent.items() if (found := _near(use, name, columns))]
    hint = f" If the names differ, say so: {' and '.join(near)}." if near else ""
    if len(columns) == 1:
        marks = [name for mark, name in _MARKS.items() if mark in columns[0]]
        hint = f" Its columns seem to be separated by {marks[0]}: {_SAVE}. Separate columns by commas." if marks else hint
        if columns[0].startswith("#"):
            hint = " Remove the comments above the header."
    elif columns and columns[0].lower() == "sep=":
        hint = " Remove the line sep=."
    elif any(
        _end(name) and _end(name) in {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"} for name in columns
    ):
        hint = f" That looks like a row: write {file_column},{label_column} above it."
    return (
        f"{path} has no column {' and no column '.join(absent.values())}; its first line has "
        f"{', '.join(columns) or 'nothing'}; it needs {file_column}, {label_column} and optionally true_label.{hint}"
    )


def cell_of(record: Record, column: int) -> str:
    """A cell without surrounding blanks; empty if the row is too short."""
    return record.cells[column].strip() if column < len(record.cells) else ""


def separated(columns: Sequence[str]) -> str:
    """A hint for the error about a table whose header uses a separator other than commas; else empty."""
    marks = [name for mark, name in _MARKS.items() if len(columns) == 1 and mark in columns[0]]
    return f". Its columns seem to be separated by {marks[0]}: {_SAVE}. Separate columns by commas" if marks else ""


def _near(use: str, name: str, columns: Sequence[str]) -> str | None:
    """The column that may be meant by a name that is not there."""
    by_name = {column.lower(): column for column in reversed(columns) if column}
    found = difflib.get_close_matches(name.lower(), by_name, n=1)
    return next((by_name[meant] for meant in (name.lower(), *_MEANT[use], *found) if meant in by_name), None)
