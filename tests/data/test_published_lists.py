"""What the readers of all published lists share: lines, names that lead out, files that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from webtrees import pictures, write_lines

from noisylab.data.named.lists import ListedFiles, files_in, folder_names, keep_present, read_label_list, read_lines
from noisylab.data.release import ReleaseReport


@pytest.fixture
def report(tmp_path: Path) -> ReleaseReport:
    return ReleaseReport("Toy", tmp_path)


def test_names_are_stripped_and_may_hold_blanks(report: ReleaseReport, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf  a/my dress 2.jpg 1 \r\n\r\nb.jpg\t0\n")
    files = read_label_list(report, "list.txt", "images", 2, tmp_path)
    assert files is not None
    assert (files.names, files.labels.tolist(), files.lines) == (["a/my dress 2.jpg", "b.jpg"], [1, 0], [1, 3])
    assert report.ok
    assert report.digests[0][1].startswith("sha256 ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/etc/passwd 0", "is an absolute path"),
        ("a/../../b.jpg 0", r"leads out of the data by '\.\.'"),
        ("C:\\b.jpg 0", "is an absolute path"),
        ("b.jpg 3", r"has the class 3, outside 0\.\.2"),
        ("b.jpg -1", "has the class -1"),
        ("b.jpg x", "ends with 'x', which is no class number"),
        ("b.jpg", "has no class behind the name"),
    ],
)
def test_a_line_at_fault_is_named_with_its_number(report: ReleaseReport, tmp_path: Path, line: str, said: str) -> None:
    write_lines(tmp_path / "list.txt", ["a.jpg 0", line])
    read_label_list(report, "list.txt", "images", 3, tmp_path)
    with pytest.raises(ValueError, match=rf"list\.txt, line 2: .*{said}"):
        report.refuse()


def test_a_header_is_asked_for_and_skipped(report: ReleaseReport, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.txt", ["class_name", "cat"])
    write_lines(tmp_path / "b.txt", ["cat", "dog"])
    assert read_lines(report, "a.txt", "classes", "class_name") == [(2, "cat")]
    assert report.ok
    read_lines(report, "b.txt", "classes", "class_name")
    with pytest.raises(ValueError, match=r"b\.txt, line 1: 'cat', where the header class_name should be"):
        report.refuse()


def test_missing_lists_and_empty_ones_are_named(report: ReleaseReport, tmp_path: Path) -> None:
    write_lines(tmp_path / "empty.txt", [])
    assert read_lines(report, "gone.txt", "names") is None
    assert read_lines(report, "empty.txt", "names") is None
    assert report.missing == ["gone.txt: names"]
    assert report.faults == ["empty.txt names nothing; fetch it again"]


def test_missing_files_stop_unless_they_may_be_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, ["a/1.jpg", "b/2.jpg"])
    files = ListedFiles("list", tmp_path, ["b/2.jpg", "a/3.jpg", "a/1.jpg"], torch.tensor([1, 2, 0]), [4, 5, 6])
    strict, loose = ReleaseReport("Toy", tmp_path), ReleaseReport("Toy", tmp_path)
    keep_present(strict, files, "images", allow_missing=False)
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images named by list.*allow_missing: true\n.*a/3\.jpg: line 5"):
        strict.refuse()
    kept = keep_present(loose, files, "images", allow_missing=True)
    assert (kept.names, kept.labels.tolist(), kept.lines) == (["b/2.jpg", "a/1.jpg"], [1, 0], [4, 6])
    assert loose.ok
    assert loose.notes == ["1 of 3 images are not there and left out (a/3.jpg: line 5); 2 remain"]
    assert kept.digest() != files.digest()


def test_all_files_may_not_be_left_out(tmp_path: Path) -> None:
    files = ListedFiles("list", tmp_path, ["b/2.jpg", "a/3.jpg"], torch.tensor([1, 0]), [4, 5])
    report = ReleaseReport("Toy", tmp_path)
    keep_present(report, files, "images", allow_missing=True)
    with pytest.raises(FileNotFoundError, match=r"2 of 2 images named by list; none of them is there; fetch them"):
        report.refuse()


def test_a_folder_is_listed_in_the_order_of_its_names(tmp_path: Path) -> None:
    pictures(tmp_path / "d", ["b.jpg", "a.JPEG", "c.png"])
    (tmp_path / "d/notes.txt").write_text("")
    (tmp_path / "d/e").mkdir()
    (tmp_path / "d/__MACOSX").mkdir()
    assert files_in(tmp_path / "d", tmp_path) == ["d/a.JPEG", "d/b.jpg", "d/c.png"]
    assert folder_names(tmp_path / "d") == ["e"]
    assert files_in(tmp_path / "f", tmp_path) == folder_names(tmp_path / "f") == []
