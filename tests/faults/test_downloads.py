"""A download that is interrupted by whatever comes leaves the old file, or none."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.nursery import child, wait_for

from noisylab.data.download import download

CONTENT = bytes(range(256)) * 4096
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Server(http.server.ThreadingHTTPServer):
    """Sends the content, or half of it and then nothing more until it is released."""

    daemon_threads = True
    whole = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.half_sent, self.go_on = threading.Event(), threading.Event()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.server.whole:
                self.wfile.write(CONTENT)
                return
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            self.server.half_sent.set()
            self.server.go_on.wait(30)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def _address(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/set.tar.gz"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("old", [None, b"an older file"])
def test_a_killed_download_never_looks_like_a_file(number: int, old: bytes | None, server: _Server, tmp_path: Path) -> None:
    target, server.whole = tmp_path / "set.tar.gz", False
    if old is not None:
        target.write_bytes(old)
    with child(download, tmp_path / "out", _address(server), target, MD5) as process:
        assert server.half_sent.wait(60)
        wait_for(process, lambda: any(file.stat().st_size for file in tmp_path.glob(".*.partial")), "the first bytes on disk", 60)
        os.kill(process.pid, number)
        process.join(30)
        assert process.exitcode not in (None, 0)
    assert (target.read_bytes() if target.exists() else None) == old
    server.whole = True
    for file in tmp_path.glob(".*.partial"):
        os.utime(file, (0, 0))  # long ago
    download(_address(server), target, MD5)
    assert target.read_bytes() == CONTENT
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set.tar.gz"], "what the killed one left is cleared away"


def test_a_partial_file_of_another_process_is_left_alone(server: _Server, tmp_path: Path) -> None:
    other = tmp_path / ".set.tar.gz.12345.partial"
    other.write_bytes(b"being written")
    download(_address(server), tmp_path / "set.tar.gz", MD5)
    assert other.exists()


def test_a_connection_that_ends_early_leaves_nothing(server: _Server, tmp_path: Path) -> None:
    server.whole = False
    server.go_on.set()
    with pytest.raises(OSError, match=r"incomplete or a different file|IncompleteRead"):
        download(_address(server), tmp_path / "set.tar.gz", MD5)
    assert list(tmp_path.iterdir()) == []
