from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from noisylab.data.download import download, file_md5, unpack
from noisylab.files import clear_partials


class Stalling(io.BytesIO):
    """An answer that breaks off after its first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise self.error
        return super().read(3)

    error: BaseException = ConnectionResetError("connection reset")


def serve(monkeypatch: pytest.MonkeyPatch, answer: io.BytesIO) -> None:
    def urlopen(request: Any, timeout: float) -> io.BytesIO:
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def test_the_file_gets_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, io.BytesIO(b"content"))
    target = tmp_path / "new" / "file"
    download("http://a.test/file", target, hashlib.md5(b"content").hexdigest())
    assert target.read_bytes() == b"content"
    assert file_md5(target) == hashlib.md5(b"content").hexdigest()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ConnectionResetError("connection reset"), TimeoutError("timed out")])
def test_a_connection_that_breaks_off_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answer = Stalling(b"content")
    answer.error = error
    serve(monkeypatch, answer)
    with pytest.raises(OSError, match=rf"could not download http://a.test/file: {error}.*md5 abc.*{tmp_path}"):
        download("http://a.test/file", tmp_path / "file", "abc")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Stalling(b"content")
    answer.error = KeyboardInterrupt()
    serve(monkeypatch, answer)
    with pytest.raises(KeyboardInterrupt):
        download("http://a.test/file", tmp_path / "file", "abc")
    assert list(tmp_path.iterdir()) == []


def test_a_file_from_before_stays_when_a_download_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    serve(monkeypatch, io.BytesIO(b"wrong"))
    with pytest.raises(OSError, match="incomplete or a different file, with the md5"):
        download("http://a.test/file", tmp_path / "file", "abc")
    assert (tmp_path / "file").read_text() == "old"


def test_an_archive_without_the_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("other"))
    with pytest.raises(ValueError, match="has no folder wanted"):
        unpack(tmp_path / "a.tar", "wanted", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("wanted/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../elsewhere"
        tar.addfile(link)
    with pytest.raises(ValueError, match="cannot unpack"):
        unpack(tmp_path / "a.tar", "wanted", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_what_was_left_by_processes_killed_while_unpacking_is_cleared_unless_one_may_be_at_work(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("wanted")
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    for name in (".wanted.old.partial", ".wanted.new.partial", ".other.old.partial"):
        (tmp_path / name / "wanted" / "deep").mkdir(parents=True)
        (tmp_path / name / "wanted" / "half").touch()
        if "old" in name:
            os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    unpack(tmp_path / "a.tar", "wanted", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.old.partial", ".wanted.new.partial", "a.tar", "wanted"]


def test_clearing_takes_files_folders_and_links_but_nothing_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / ".a.1.partial").touch()
    (tmp_path / ".b.1.partial" / "b").mkdir(parents=True)
    (tmp_path / ".c.1.partial").symlink_to(tmp_path / "kept")
    assert [path.name for path in clear_partials(tmp_path)] == [".a.1.partial", ".b.1.partial", ".c.1.partial"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept" / "file").is_file()
