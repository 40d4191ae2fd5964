from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from noisylab.checkpoints import atomic
from noisylab.checkpoints.atomic import AtomicCheckpointIO, damage, newest_readable
from noisylab.checkpoints.stamp import check_data_stamp, check_stamp, data_stamp, stamp
from noisylab.files import atomic_path, clear_partials
from noisylab.types import DataInfo


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every save writes half of its bytes and then finds the disk full."""
    save = torch.save

    def half(value: Any, path: Path) -> None:
        save(value, path)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.torch, "save", half)


def _files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _value(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["w"])


def _save(path: Path, value: float) -> None:
    AtomicCheckpointIO().save_checkpoint({"w": torch.tensor(value)}, path)


def test_save_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    for value in (1.0, 2.0, 3.0):
        _save(path, value)
    assert _files(path.parent) == ["last.ckpt", "last.ckpt.previous"]
    assert (_value(path), _value(path.with_name("last.ckpt.previous"))) == (3.0, 2.0)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_before_the_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="free some disk space"):
        _save(tmp_path / "last.ckpt", 1.0)
    assert _files(tmp_path) == []


def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "last.ckpt"
    _save(path, 1.0)
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match=r"could not save .*No space left"):
        _save(path, 2.0)
    assert _files(tmp_path) == ["last.ckpt"]
    assert _value(path) == 1.0


def test_file_that_does_not_read_back_never_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    _save(path, 1.0)
    monkeypatch.setattr(atomic.torch, "save", lambda value, path: Path(path).write_bytes(b"PK half of it"))
    with pytest.raises(OSError, match="could not save"):
        _save(path, 2.0)
    assert _files(tmp_path) == ["last.ckpt"] and _value(path) == 1.0


def test_checkpoint_that_needs_pickle_is_refused_when_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot be read back .*PosixPath"):
        AtomicCheckpointIO().save_checkpoint({"path": tmp_path}, tmp_path / "last.ckpt")
    assert _files(tmp_path) == []


def test_file_system_without_hard_links_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(atomic.os, "link", refuse)
    for value in (1.0, 2.0):
        _save(tmp_path / "last.ckpt", value)
    assert _value(tmp_path / "last.ckpt.previous") == 1.0 and len(_files(tmp_path)) == 2


def test_removing_takes_the_kept_one_along(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        _save(tmp_path / "a.ckpt", value)
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "a.ckpt")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "a.ckpt")
    assert _files(tmp_path) == []


def test_truncated_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for value in (1.0, 2.0):
        _save(path, value)
    assert newest_readable(path) == (path, None)
    path.write_bytes(path.read_bytes()[:-200])
    found, damage = newest_readable(path)
    assert _value(found) == 1.0 and damage is not None and "last.ckpt is damaged" in damage


def test_missing_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for value in (1.0, 2.0):
        _save(path, value)
    path.unlink()
    assert _value(newest_readable(path)[0]) == 1.0


def test_no_readable_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*start it again"):
        newest_readable(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no readable checkpoint in .*last.ckpt is damaged"):
        newest_readable(tmp_path / "last.ckpt")


def test_atomic_path_removes_the_partial_file_after_an_error(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert _files(tmp_path) == ["a.txt"] and target.read_text() == "old"


def test_stamp_is_compared_by_method_and_classes() -> None:
    checkpoint = {"noisylab": stamp("ACT", 3, ["a", "b", "c"])}
    check_stamp(checkpoint, "ACT", 3)
    with pytest.raises(ValueError, match="of ACT with 3 classes, this is CrossEntropy with 3"):
        check_stamp(checkpoint, "CrossEntropy", 3)
    with pytest.raises(ValueError, match="this is ACT with 4 classes"):
        check_stamp(checkpoint, "ACT", 4)
    with pytest.raises(ValueError, match="not one of noisylab"):
        check_stamp({}, "ACT", 3)


def test_a_flipped_bit_in_a_tensor_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"w": torch.arange(1000)}, path)
    assert damage(path) is None
    content = bytearray(path.read_bytes())
    place = content.find(torch.arange(500, 502).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["w"][500] == 501, "torch itself does not notice"
    assert "checksum" in str(damage(path))


def test_a_damaged_checkpoint_never_becomes_the_kept_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for value in (1.0, 2.0):
        _save(path, value)
    path.write_bytes(b"damaged")
    _save(path, 3.0)  # as the first save after a resume from the one before
    assert (_value(path), _value(path.with_name("last.ckpt.previous"))) == (3.0, 1.0)


def test_best_is_there_when_both_of_the_last_are_damaged(tmp_path: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        for value in (1.0, 2.0):
            _save(tmp_path / name, value)
    for name in ("last.ckpt", "last.ckpt.previous"):
        (tmp_path / name).write_bytes(b"PK damaged")
    found, wrong = newest_readable(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert found == tmp_path / "best.ckpt" and str(wrong).count("is damaged") == 2


def test_what_killed_processes_left_is_cleared(tmp_path: Path) -> None:
    for name in (".last.ckpt.17.partial", ".best.ckpt.18.partial", "last.ckpt"):
        (tmp_path / name).touch()
    assert clear_partials(tmp_path, older_than=60) == []
    assert clear_partials(tmp_path, "best.ckpt") == [tmp_path / ".best.ckpt.18.partial"]
    assert clear_partials(tmp_path) == [tmp_path / ".last.ckpt.17.partial"]
    assert _files(tmp_path) == ["last.ckpt"]
    assert clear_partials(tmp_path / "absent") == []


def test_of_several_stand_ins_the_one_with_most_steps_is_taken(tmp_path: Path) -> None:
    for name, steps in (("last.ckpt.previous", 8), ("best.ckpt", 10), ("best.ckpt.previous", 5)):
        torch.save({"global_step": steps}, tmp_path / name)
    (tmp_path / "last.ckpt").write_bytes(b"PK damaged")
    assert newest_readable(tmp_path / "last.ckpt", tmp_path / "best.ckpt")[0] == tmp_path / "best.ckpt"


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "not yours"), OSError(errno.EMFILE, "too many"), MemoryError()])
def test_what_says_nothing_of_the_file_is_not_damage(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    _save(tmp_path / "last.ckpt", 1.0)
    monkeypatch.setattr(atomic.torch, "load", refuse)
    with pytest.raises(type(error)):
        newest_readable(tmp_path / "last.ckpt")


def test_an_error_of_somebody_else_is_not_blamed_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(atomic.torch, "save", fail)
    with pytest.raises(RuntimeError, match="a worker was killed"):
        _save(tmp_path / "last.ckpt", 1.0)


def test_data_of_a_checkpoint_are_compared() -> None:
    info = DataInfo(3, 4, torch.tensor([0, 1, 3]), torch.tensor([0, 1, -1, 2]), ("a", "b", "c"), 8, 0)
    ours = data_stamp(info)
    assert check_data_stamp(ours, ours) == [] == check_data_stamp({}, ours)  # a checkpoint from before there were stamps
    assert check_data_stamp(data_stamp(replace(info, seed=5, batch_size=4)), ours) == ["seed 5, now 0", "batch_size 4, now 8"]
    for other in (replace(info, given_target=torch.tensor([0, 2, -1, 2])), replace(info, train_rows=torch.tensor([0, 1]))):
        with pytest.raises(ValueError, match="other labels or rows"):
            check_data_stamp(data_stamp(other), ours)
