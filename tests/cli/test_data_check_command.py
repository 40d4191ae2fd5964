"""`noisylab data check`: what it says of a folder, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import write_cifar, write_idx, write_reuters

from noisylab.cli import main
from noisylab.data import Reuters
from noisylab.data.named import ReleaseReport

_XRMB = ["XRMBf2KALDI_window7_single1.mat", "XRMBf2KALDI_window7_single2.mat"]

CIFAR10_META = "5ff9c542aee3614f3951f8cda6e48888"


def report(root: Path = Path("nowhere"), **found: object) -> ReleaseReport:
    return ReleaseReport("Made", root, **found)  # type: ignore[arg-type]


def test_a_folder_without_the_files_names_each_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "CIFAR10", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"CIFAR10 in {tmp_path}: 1 problem\n") and "missing: cifar-10-python.tar.gz: " in said


def test_other_files_than_the_published_ones_are_named_with_both_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_cifar(tmp_path, 10, 20, 10) / "test_batch").unlink()
    assert main(["data", "check", "CIFAR10", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "missing: cifar-10-batches-py/test_batch: " in said and said.count(", expected md5 ") == 6
    assert f"expected md5 {CIFAR10_META}: damaged or a different file" in said


def test_files_of_mnist_are_found_packed_or_not_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", 20, 10)
    (tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    assert main(["data", "check", "FashionMNIST", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "1 problem\n" in said and "missing: FashionMNIST/raw/t10k-labels-idx1-ubyte.gz" in said
    assert said.count("(not confirmed)") == 3, "digests of the unpacked files are not known"
    write_idx(tmp_path / "flat", 20, 10)
    assert main(["data", "check", "MNIST", "--root", str(tmp_path / "flat")]) == 1
    assert capsys.readouterr().out.count("damaged or a different file") == 4


def test_documents_of_reuters_are_counted_in_each_file(tmp_path: Path) -> None:
    write_reuters(tmp_path, 2, views=("EN", "FR"), packed=True)
    (tmp_path / "FR" / "Index_EN-FR.gz").write_bytes(b"not packed")
    found = Reuters.check_release(tmp_path)
    assert found.counts == [("EN/Index_EN-EN.gz: documents", 12, 18758)]
    assert len(found.missing) == 23 and "cannot unpack" in found.faults[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["CIFAR1"], "nearest: CIFAR10"),
        ([], "needs the name of one data set"),
        (["CIFAR10"], "needs --root DIR"),
        (["CIFAR10", "--root", "nowhere"], "--root nowhere is not there"),
        (["CIFAR10", "--rot", "x"], "nearest: root"),
    ],
)
def test_a_mistake_is_said_with_the_remedy(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "ok"),
    [
        ({"counts": [("rows", 3, None)], "digests": [("f", "md5 0", None)], "notes": ["n"]}, True),
        ({"counts": [("rows", 3, 3)], "digests": [("f", "md5 0", "md5 0")]}, True),
        ({"counts": [("rows", 3, 4)]}, False),
        ({"digests": [("f", "md5 0", "md5 1")]}, False),
        ({"missing": ["f: it"]}, False),
        ({"faults": ["f, row 3: bad"]}, False),
    ],
)
def test_only_what_differs_from_a_known_figure_is_wrong(found: dict[str, object], ok: bool) -> None:
    assert report(**found).ok is ok
    assert ("complete" in report(**found).text()) is ok


def test_a_figure_that_is_not_known_is_called_so() -> None:
    said = report(counts=[("rows", 1234, None), ("test rows", 5, 5)], digests=[("f", "md5 0", None)]).text().splitlines()
    assert said == ["Made in nowhere: complete", "  rows: 1,234 (not confirmed)", "  test rows: 5", "  f: md5 0 (not confirmed)"]


def test_what_the_check_calls_wrong_is_refused_with_the_command() -> None:
    report(counts=[("rows", 3, None)]).refuse()
    with pytest.raises(ValueError, match=r"(?s)rows: 3, expected 4.*noisylab data check Made --root nowhere"):
        report(counts=[("rows", 3, 4)]).refuse()
    with pytest.raises(FileNotFoundError, match=r"(?s)missing: f: it.*and 3 more"):
        report(missing=["f: it"], faults=["x"] * 7).refuse()


@pytest.mark.parametrize(("name", "files"), [("CIFAR10", ["cifar-10-python.tar.gz"]), ("XRMB", _XRMB)])
def test_what_cannot_be_read_is_a_fault_of_the_files(
    name: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in files:
        (tmp_path / file).mkdir()
    assert main(["data", "check", name, "--root", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert all(f"{file} cannot be read (Is a directory); fetch it again" in shown for file in files)
