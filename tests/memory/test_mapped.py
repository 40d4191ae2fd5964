"""What is remembered of the samples, in a file: the same values, the same run, also after a kill, and nothing left behind."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import DropoutMLP, KeepEpoch, ToyData, assert_same, fit

from noisylab.checkpoints import atomic
from noisylab.memory import SampleMemory
from noisylab.methods import ELR
from noisylab.noise import Symmetric


def mapped_names() -> list[str]:
    """Files that this process has mapped under the name of a table, deleted ones included."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if ".samples." in line]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux which files are mapped")
def test_tables_above_the_limit_lie_in_a_file_without_a_name(tmp_path: Path) -> None:
    small, large = SampleMemory(), SampleMemory()
    for memory, limit in ((small, 160), (large, 159)):
        memory.add("target", 3, fill=0.25)
        memory.add("seen", dtype=torch.int32, fill=-1)
        before = len(mapped_names())
        memory.allocate(10, limit / 2**30, tmp_path / "run")
        assert len(mapped_names()) - before == (2 if memory is large else 0)
        memory.write("target", torch.tensor([4, 0]), torch.eye(3)[:2])
        memory.accumulate("seen", torch.tensor([9]), 3)
    assert list((tmp_path / "run").iterdir()) == []
    assert_same(large.get_extra_state(), small.get_extra_state())
    before = large["target"].data_ptr()
    large.set_extra_state({name: table + 1 for name, table in small.get_extra_state().items()})
    large.allocate(10, 159 / 2**30, tmp_path / "run")
    assert large["target"].data_ptr() == before and large["target"].equal(small["target"] + 1)


def run(folder: Path, epochs: int, limit: float | None, resume: Path | None = None, last: tuple[KeepEpoch, ...] = ()) -> dict:  # type: ignore[type-arg]
    torch.manual_seed(0 if resume is None else 99)
    data = ToyData(num_train=29, noise=Symmetric(0.4), seed=5, memory_limit=limit)
    return fit(ELR(3, partial(DropoutMLP)), data, folder, epochs, resume=resume, last=last)


def test_a_killed_run_with_mapped_tables_goes_on_as_the_straight_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run(tmp_path / "memory", 3, None)
    keep = KeepEpoch(0, tmp_path / "file")
    assert_same(run(tmp_path / "file", 3, 0, last=(keep,))["memory"], straight["memory"])
    monkeypatch.setattr(atomic, "_LARGE", 0)  # and the checkpoint is mapped, not read
    assert_same(run(keep.kept, 3, 0, resume=keep.kept / "last.ckpt"), straight)


def test_a_folder_that_takes_no_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    memory = SampleMemory()
    memory.add("target", 3)
    with pytest.raises(OSError, match=r"more than data.memory_limit, and cannot be kept in a file in .*run"):
        memory.allocate(10, 0, tmp_path / "run")


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_limit must be 0 or more GiB, got -1"):
        ToyData(memory_limit=-1)


@pytest.mark.parametrize("says", ["nothing", "minus one"])
def test_where_the_system_does_not_tell_its_memory_tables_stay_in_it(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says == "nothing":
        monkeypatch.delattr("os.sysconf", raising=False)  # as on Windows
    else:
        monkeypatch.setattr("os.sysconf", lambda name: -1, raising=False)
    memory = SampleMemory()
    memory.add("seen")
    memory.allocate(10, None, tmp_path / "run")
    assert memory["seen"].tolist() == [0] * 10 and not (tmp_path / "run").exists(), "no file was made for them"
