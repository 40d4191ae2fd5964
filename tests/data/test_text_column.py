"""Many texts in one block: every row reads as it was written, after pickling, mapping and in workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from noisylab.data.imagelist import ImageList
from noisylab.data.imagerows import file_rows
from noisylab.data.textcolumn import TextColumn

TEXTS = ["", "a.png", "größe/ü.png", b"no\xffutf8".decode("utf-8", "surrogateescape"), "", "z" * 300]


@pytest.mark.parametrize("form", ["memory", "pickled", "file", "pickled file"])
def test_texts_read_as_written(tmp_path: Path, form: str) -> None:
    column = TextColumn.of(iter(TEXTS), prefix="in/")
    if "file" in form:
        assert len(column.save(tmp_path / "names")) == 2
        column = TextColumn.open(tmp_path / "names", prefix="in/")
    if "pickled" in form:
        column = pickle.loads(pickle.dumps(column))
    wanted = [f"in/{text}" for text in TEXTS]
    assert (list(column), [column[place] for place in range(len(TEXTS))], column[-1], column[1:3]) == (
        wanted,
        wanted,
        wanted[-1],
        wanted[1:3],
    )
    assert column == wanted and column != wanted[:-1]
    with pytest.raises(IndexError, match="row 6 of 6"):
        column[6]


def test_a_pickled_column_in_files_holds_no_text(tmp_path: Path) -> None:
    TextColumn.of(["x" * 1000] * 100).save(tmp_path / "names")
    assert len(pickle.dumps(TextColumn.open(tmp_path / "names"))) < 500


def test_ten_million_paths_would_take_less_than_six_tenths_of_a_gigabyte() -> None:
    rows = 2000
    names = [f"train/n{row % 1000:08d}/n{row % 1000:08d}_{row:08d}.JPEG" for row in range(rows)]
    assert TextColumn.of(names, prefix="/data/of/someone/").nbytes * 10**7 / rows < 0.6e9


def test_places_beyond_four_gigabytes_fit() -> None:
    ends = torch.tensor([1, 2**33 + 1], dtype=torch.int64)
    column = TextColumn(torch.zeros(1, dtype=torch.uint8), ends)
    assert column[0] == "\0" and column._ends[1] == 2**33 + 1


def test_names_with_folders_of_their_own_keep_them(tmp_path: Path) -> None:
    listed = ImageList(tmp_path, ["a.png", "/elsewhere/b.png"], ["x", "y"], "here")
    assert list(file_rows(listed, {}, 0, False).paths) == [str(tmp_path / "a.png"), "/elsewhere/b.png"]
