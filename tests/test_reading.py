"""Files that never end, that claim more than they hold, or that are something else: refused before they are read."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.checkpoints.atomic import AtomicCheckpointIO, damage
from noisylab.cli import main
from noisylab.data.arrayfile import ArrayFile
from noisylab.estimation import read_transition
from noisylab.issues.apply import read_accepted
from noisylab.noise.file import load_noise
from noisylab.reading import check_archive, check_arrays, gunzip, regular


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def endless(kind: str, name: str = "x") -> str:
    """Something whose reading would not come to an end."""
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    else:
        Path(name).symlink_to("/dev/zero")
    return name


@pytest.mark.parametrize(("kind", "said"), [("pipe", "named pipe"), ("socket", "socket"), ("device", "device")])
def test_what_never_ends_is_named(kind, said):
    with pytest.raises(OSError, match=f"is a {said}, not a file"):
        regular(endless(kind))


def test_files_folders_and_nothing_pass():
    Path("file").write_text("x")
    Path("link").symlink_to("file")
    assert [regular(name).name for name in ("file", "link", ".", "nothing")] == ["file", "link", "", "nothing"]


READERS = {
    "x.npz": lambda name: ArrayFile(name),
    "x.npy": lambda name: load_noise(name),
    "m.csv": lambda name: read_transition(name, 3),
    "m.npy": lambda name: read_transition(name, 3),
    "a.csv": lambda name: read_accepted(name),
    "c.ckpt": lambda name: AtomicCheckpointIO().load_checkpoint(name),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_every_reader_refuses_them(name, kind):
    with pytest.raises((OSError, ValueError), match=r"named pipe|device"):
        READERS[name](endless(kind, name))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_command_waits_for_them(kind, capsys):
    made = endless(kind)
    Path("pictures").mkdir()
    for argv in (
        ["fit", "--config", made],
        ["issues", "--arrays", made],
        ["issues", "--images", "pictures", "--labels", made],
        ["test", "--config", "ce_digits.yaml", "--ckpt_path", made],
    ):
        assert main(argv) == 2, argv
        said = capsys.readouterr().err
        assert "noisylab: error:" in said and "Traceback" not in said


# ---- arrays that claim more than they hold


def npy(shape: tuple[int, ...], content: bytes = b"", dtype: str = "<f8") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(name: str, **members: bytes) -> str:
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            file.writestr(member.replace("__", "."), content)
    return name


def test_a_header_that_claims_terabytes_is_refused_before_anything_is_allocated():
    Path("x.npy").write_bytes(npy((10**12,)))
    with pytest.raises(ValueError, match=r"claims 7,450 GiB|claims 7 TiB"):
        check_arrays("x.npy")
    with pytest.raises(ValueError, match=r"x\.npy' claims 7 TiB"):
        ArrayFile(archive("x.npz", x__npy=npy((10**12,))))["x"]
    Path("folder").mkdir()
    Path("folder/y.npy").write_bytes(npy((10**12,)))
    with pytest.raises(ValueError, match="claims 7 TiB"):
        ArrayFile("folder")["y"]


def test_an_archive_that_grows_out_of_proportion_is_refused_unread(monkeypatch):
    monkeypatch.setattr("noisylab.reading._LARGE", 1 << 16)
    zeros = npy((1 << 17,), bytes(1 << 20))
    bomb = archive("x.npz", x__npy=zeros, y__npy=npy((2,), bytes(16)))
    with pytest.raises(ValueError, match="would grow from"):
        ArrayFile(bomb)["x"]
    assert ArrayFile(bomb)["y"].tolist() == [0, 0], "the others can be read"
    with pytest.raises(ValueError, match="would grow from"):
        check_archive(bomb)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(bomb)
    with pytest.raises(ValueError, match="would grow"):
        gunzip(gzip.compress(bytes(1 << 20)))
    assert gunzip(gzip.compress(b"short")) == b"short"


def test_a_member_larger_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 10, raising=False)
    with pytest.raises(ValueError, match="this machine has 100 bytes"):
        check_archive(archive("x.npz", x__npy=bytes(101)))


def test_encrypted_and_foreign_members_are_named():
    made = bytearray(Path(archive("x.npz", x__npy=npy((1,), bytes(8)))).read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[made.index(signature) + place] |= 1  # the flag of encryption, in both copies of the header
    Path("x.npz").write_bytes(made)
    with pytest.raises(ValueError, match=r"x\.npy' is encrypted"):
        ArrayFile("x.npz")["x"]
    with pytest.raises(ValueError, match=r"x of foreign\.npz is not an array"):
        ArrayFile(archive("foreign.npz", x=b"just text"))["x"]
    with pytest.raises(ValueError, match="structured"):
        ArrayFile(archive("v3.npz", x__npy=b"\x93NUMPY\x03\x00" + bytes(20)))["x"]


def test_damaged_arrays_are_one_error(tmp_path):
    good = io.BytesIO()
    np.savez_compressed(good, x=np.arange(500.0), y=np.arange(500) % 2)
    content = good.getvalue()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        broken = bytearray(content)
        for place in generator.integers(0, len(broken), 3):
            broken[place] ^= 1 << int(generator.integers(8))
        Path("x.npz").write_bytes(broken)
        try:
            file = ArrayFile("x.npz")
            for name in file.names:
                file[name]
        except ValueError:
            refused += 1
    assert refused > 40


@pytest.mark.parametrize("content", [b"", b"just text\n", b"PK\x03\x04 and no more", bytes(1000)])
def test_another_file_is_no_checkpoint(content, capsys):
    Path("x.ckpt").write_bytes(content)
    assert damage("x.ckpt") is not None
    assert main(["test", "--config", "ce_digits.yaml", "--ckpt_path", "x.ckpt"]) == 2
    said = capsys.readouterr().err
    assert "x.ckpt is not a checkpoint" in said and "Traceback" not in said


def test_whole_checkpoints_pass():
    torch.save({"a": torch.zeros(1000)}, "x.ckpt")
    assert damage("x.ckpt") is None
    assert AtomicCheckpointIO().load_checkpoint("x.ckpt")["a"].shape == (1000,)


# ---- sparse arrays


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("x_data", np.array([1 + 2j, 3]), "real numbers"),
        ("x_indices", np.array([0.5, 1.0]), "whole numbers"),
        ("x_indptr", np.array([0.0, 1.0, 2.0]), "whole numbers"),
        ("x_shape", np.array([2.0, 3.5]), "whole numbers"),
        ("x_data", np.array(["a", "b"]), "real numbers"),
    ],
)
def test_parts_of_a_sparse_matrix_are_numbers_of_the_right_kind(part, value, said):
    from noisylab.data.arrayfile import read_views

    parts = {"x_data": np.ones(2), "x_indices": np.arange(2), "x_indptr": np.arange(3), "x_shape": np.array([2, 3])}
    np.savez("x.npz", **{**parts, part: value})
    with pytest.raises(ValueError, match=f"{part} in x.npz must hold {said}"):
        read_views(ArrayFile("x.npz"), "", None)
