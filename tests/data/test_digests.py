"""Digests of inputs change with what they stand for and with nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from noisylab.data import digests
from noisylab.data.digests import content_digests, rows_digest, tensor_digest
from noisylab.data.rows import DenseRows, FileRows, MultiRows, SparseRows


def test_files_are_known_by_content_not_by_time_or_name(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"x" * 10_000)
    b.write_bytes(b"x" * 10_000)
    os.utime(b, ns=(1, 1))
    first, second = content_digests([str(a), str(b)])
    assert first == second
    b.write_bytes(b"x" * 5_000 + b"y" + b"x" * 4_999)
    assert content_digests([str(a)]) == [first] != content_digests([str(b)])


def test_of_large_collections_size_and_both_ends_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_WHOLE", 0)
    file = tmp_path / "a"
    found = []
    for content in (b"x" * 9000, b"x" * 9001, b"y" + b"x" * 8999, b"x" * 8999 + b"y"):
        file.write_bytes(content)
        found += content_digests([str(file)])
    assert len(set(found)) == 4


def test_rows_in_memory_are_known_by_every_value_and_their_order() -> None:
    values = torch.arange(60_000.0).view(3000, 20)
    changed = values.clone()
    changed[2999, 19] += 1
    assert rows_digest(DenseRows(values)) == rows_digest(DenseRows(values.clone()))
    different = [values, changed, values.flip(0), values.double(), values.view(1500, 40)]
    assert len({rows_digest(DenseRows(v)) for v in different}) == 5
    sparse = SparseRows(torch.ones(2), torch.tensor([0, 1]), torch.tensor([0, 1, 2]), 3)
    assert rows_digest(MultiRows({"a": sparse})) != rows_digest(MultiRows({"b": sparse}))
    assert tensor_digest(torch.empty(0)) != tensor_digest(torch.tensor(1.0))


def test_files_of_a_published_set_are_known_by_number_name_and_size(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    paths = [str(tmp_path / name) for name in "ab"]
    first = rows_digest(FileRows(paths, {}))
    (tmp_path / "b").write_bytes(b"xx")
    assert len({first, rows_digest(FileRows(paths, {})), rows_digest(FileRows(paths[:1], {}))}) == 3
