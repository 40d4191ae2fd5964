from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from noisylab.memory import SampleMemory


def _memory(rows: int | None = 5) -> SampleMemory:
    memory = SampleMemory()
    memory.add("loss", fill=float("nan"))
    memory.add("count", dtype=torch.int32)
    memory.add("table", 3)
    if rows is not None:
        memory.allocate(rows)
    return memory


def _in_step(*ranks: Callable[[Callable[[Tensor], Tensor]], None]) -> None:
    """Run functions as ranks of one group; each is handed an all-gather."""
    barrier, box = threading.Barrier(len(ranks)), [torch.zeros(0)] * len(ranks)
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        def all_gather(tensor: Tensor) -> Tensor:
            box[rank] = tensor.clone()
            barrier.wait(5)
            stack = torch.stack(box)
            barrier.wait(5)
            return stack

        try:
            ranks[rank](all_gather)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(ranks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def test_rows_never_written_hold_the_fill_value() -> None:
    memory = _memory()
    assert bool(memory["loss"].isnan().all()) and memory["count"].tolist() == [0] * 5
    assert memory["table"].shape == (5, 3) and len(memory) == 5
    assert (memory["loss"].dtype, memory["count"].dtype) == (torch.float32, torch.int32)


def test_write_sets_rows_detached_and_in_the_fields_type() -> None:
    memory = _memory()
    values = torch.tensor([1.5, 2.5], dtype=torch.float64, requires_grad=True)
    memory.write("loss", torch.tensor([4, 1]), values)
    assert memory["loss"][[1, 4]].tolist() == [2.5, 1.5] and int(memory["loss"].isnan().sum()) == 3
    assert not memory["loss"].requires_grad and memory["loss"].dtype == torch.float32


def test_accumulate_adds_masks_and_numbers() -> None:
    memory = _memory()
    memory.accumulate("count", torch.tensor([0, 2, 3]), torch.tensor([True, False, True]))
    memory.accumulate("count", torch.tensor([3]), 1)
    assert memory["count"].tolist() == [1, 0, 0, 2, 0]


def test_reset_forgets_everything() -> None:
    memory = _memory()
    memory.write("loss", torch.tensor([0]), torch.tensor([1.0]))
    memory.accumulate("count", torch.tensor([0]), 3)
    memory.reset()
    assert bool(memory["loss"].isnan().all()) and int(memory["count"].sum()) == 0


def test_tables_are_neither_parameters_nor_buffers_but_in_the_state() -> None:
    module = nn.Module()
    module.memory = _memory()
    assert list(module.parameters()) == [] and list(module.buffers()) == []
    assert list(module.state_dict()) == ["memory._extra_state"]


@pytest.mark.parametrize("convert", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double()])
def test_a_change_of_precision_leaves_the_tables(convert: Callable[[nn.Module], nn.Module]) -> None:
    memory = _memory()
    memory.write("loss", torch.tensor([0]), torch.tensor([1 + 2**-20]))
    convert(nn.ModuleList([memory]))
    assert memory["loss"].dtype == torch.float32 and float(memory["loss"][0]) == 1 + 2**-20
    assert memory["count"].dtype == torch.int32


def test_tables_follow_the_module_to_another_device() -> None:
    memory = nn.ModuleList([_memory()]).to("meta")[0]
    assert isinstance(memory, SampleMemory)
    assert memory["loss"].device.type == "meta"
    memory.allocate(7)
    assert memory["count"].device.type == "meta"


def test_copy_shares_nothing() -> None:
    memory = _memory()
    other = copy.deepcopy(memory)
    other.write("loss", torch.tensor([0]), torch.tensor([1.0]))
    other.add("more")
    assert bool(memory["loss"].isnan().all()) and list(memory) == ["loss", "count", "table"]


@pytest.mark.parametrize("rows", [None, 2, 9])
def test_loading_brings_the_checkpoints_size(rows: int | None) -> None:
    saved = _memory(4)
    saved.write("loss", torch.tensor([3]), torch.tensor([0.5]))
    memory = _memory(rows)
    memory.load_state_dict(saved.state_dict())
    assert len(memory) == 4 and float(memory["loss"][3]) == 0.5
    saved.write("loss", torch.tensor([3]), torch.tensor([9.0]))
    assert float(memory["loss"][3]) == 0.5, "a copy, not the checkpoint's tensor"


def test_allocating_again_keeps_rows_of_the_same_number() -> None:
    memory = _memory(4)
    memory.write("loss", torch.tensor([1]), torch.tensor([0.5]))
    memory.allocate(4)
    assert float(memory["loss"][1]) == 0.5
    memory.allocate(6)
    assert len(memory) == 6 and bool(memory["loss"].isnan().all())


def test_state_before_allocation_loads() -> None:
    memory = _memory(None)
    memory.load_state_dict(_memory(None).state_dict())
    assert len(memory) == 0 and "loss" not in memory


def test_wrong_use_is_refused() -> None:
    memory = _memory(None)
    with pytest.raises(RuntimeError, match="no rows yet"):
        memory["loss"]
    with pytest.raises(KeyError, match="declared: count, loss, table"):
        memory["other"]
    with pytest.raises(ValueError, match="declared twice"):
        memory.add("loss")
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match="float32 or integers"):
            memory.add("half", dtype=dtype)


def test_another_methods_checkpoint_is_refused() -> None:
    other = SampleMemory()
    other.add("weight")
    other.allocate(4)
    with pytest.raises(ValueError, match="holds weight per sample, this method count, loss, table"):
        _memory().load_state_dict(other.state_dict())


def test_another_number_of_classes_is_refused() -> None:
    other = SampleMemory()
    other.add("loss")
    other.add("count", dtype=torch.int32)
    other.add("table", 5)
    other.allocate(4)
    with pytest.raises(ValueError, match=r"shape \(5,\) in the checkpoint and \(3,\) here; the number of classes"):
        _memory().load_state_dict(other.state_dict())


def test_ranks_exchange_the_rows_that_each_wrote() -> None:
    memories = [_memory(), _memory()]
    shares = [torch.tensor([4, 0, 2]), torch.tensor([1, 3])]

    def rank(place: int) -> Callable[[Callable[[Tensor], Tensor]], None]:
        def work(all_gather: Callable[[Tensor], Tensor]) -> None:
            index, memory = shares[place], memories[place]
            memory.write("loss", index, index.float())
            memory.write("table", index, index[:, None] * torch.ones(3))
            memory.gather_rows(index, 3, all_gather)

        return work

    _in_step(rank(0), rank(1))
    for memory in memories:
        assert memory["loss"].tolist() == [0, 1, 2, 3, 4]
        assert memory["table"][:, 2].tolist() == [0, 1, 2, 3, 4]
        assert memory["count"].tolist() == [0] * 5


def test_a_row_that_ranks_wrote_in_different_fields_keeps_both() -> None:
    memories = [_memory(), _memory()]

    def first(all_gather: Callable[[Tensor], Tensor]) -> None:
        index = torch.tensor([1, 2])
        before = memories[0].rows(index)
        memories[0].write("loss", index[:1], torch.tensor([0.5]))
        memories[0].gather_rows(index, 2, all_gather, before)

    def second(all_gather: Callable[[Tensor], Tensor]) -> None:
        index = torch.tensor([2, 1])
        before = memories[1].rows(index)
        memories[1].write("table", index, torch.ones(2, 3))
        memories[1].accumulate("count", index[1:], 7)
        memories[1].gather_rows(index, 2, all_gather, before)

    _in_step(first, second)
    for memory in memories:
        assert memory["loss"].nan_to_num(-1).tolist() == [-1, 0.5, -1, -1, -1]
        assert memory["table"].sum(1).tolist() == [0, 3, 3, 0, 0]
        assert memory["count"].tolist() == [0, 7, 0, 0, 0]


def test_sharing_takes_over_what_changed_since_the_watch_and_happens_once() -> None:
    memories = [_memory(), _memory()]
    gathers = []

    def rank(place: int) -> Callable[[Callable[[Tensor], Tensor]], None]:
        def work(all_gather: Callable[[Tensor], Tensor]) -> None:
            def counted(tensor: Tensor) -> Tensor:
                gathers.append(place)
                return all_gather(tensor)

            memories[place].share(counted)
            index = torch.tensor([place, 4])
            memories[place].watch(index, 2)
            memories[place].write("loss", index[:1], torch.ones(1))
            memories[place].share(counted)
            memories[place].share(counted)

        return work

    _in_step(rank(0), rank(1))
    assert len(gathers) == 2 * (1 + 3), "the rows, and each of three tables"
    for memory in memories:
        assert memory["loss"].nan_to_num(-1).tolist() == [1, 1, -1, -1, -1]


def test_row_zero_survives_the_padding_of_unequal_shares() -> None:
    memories = [_memory(), _memory()]

    def rank(place: int, index: Tensor) -> Callable[[Callable[[Tensor], Tensor]], None]:
        def work(all_gather: Callable[[Tensor], Tensor]) -> None:
            before = memories[place].rows(index)
            memories[place].write("loss", index, torch.full((len(index),), 1.0 + place))
            memories[place].gather_rows(index, 3, all_gather, before)

        return work

    _in_step(rank(0, torch.tensor([0])), rank(1, torch.tensor([2, 3, 4])))
    for memory in memories:
        assert memory["loss"].nan_to_num(-1).tolist() == [1, -1, 2, 2, 2]


def test_a_row_that_ranks_wrote_in_one_field_is_equal_afterwards() -> None:
    memories = [_memory(), _memory()]

    def rank(place: int) -> Callable[[Callable[[Tensor], Tensor]], None]:
        def work(all_gather: Callable[[Tensor], Tensor]) -> None:
            index = torch.tensor([3, 3])
            before = memories[place].rows(index)
            memories[place].write("loss", index, torch.full((2,), float(place)))
            memories[place].gather_rows(index, 2, all_gather, before)

        return work

    _in_step(rank(0), rank(1))
    assert [float(memory["loss"][3]) for memory in memories] == [1.0, 1.0]


def _write_over_ranks(streams: list[list[int]], ranks: int, padded: bool) -> tuple[SampleMemory, list[SampleMemory]]:
    """Rows at their positions in a batch are written their position: by one process in order, and by ranks."""
    one, memories = _memory(10), [_memory(10) for _ in range(ranks)]
    batch = [(row, float(position)) for position, row in enumerate(row for stream in streams for row in stream)]
    firsts = [sum(len(stream) for stream in streams[:place]) for place in range(len(streams))]
    shares = [-(-len(stream) // ranks) for stream in streams]

    def write(memory: SampleMemory, row: int, value: float) -> None:
        memory.write("loss", torch.tensor([row]), torch.tensor([value]))
        memory.write("table", torch.tensor([row]), torch.tensor([[value, -value, 1]]))

    def rank(place: int) -> Callable[[Callable[[Tensor], Tensor]], None]:
        def work(all_gather: Callable[[Tensor], Tensor]) -> None:
            index = []
            for stream, share in zip(streams, shares, strict=True):
                mine = stream[place::ranks]
                index += mine + [-1] * (share - len(mine) if padded else 0)
            memories[place].watch(torch.tensor(index, dtype=torch.int64), sum(shares))
            for stream, first in zip(streams, firsts, strict=True):
                for row, value in batch[first : first + len(stream)][place::ranks]:
                    write(memories[place], row, value)
            memories[place].share(all_gather)

        return work

    for row, value in batch:
        write(one, row, value)
    _in_step(*(rank(place) for place in range(ranks)))
    return one, memories


def test_a_row_at_several_positions_of_a_batch_is_that_of_the_last_position() -> None:
    one, memories = _write_over_ranks([[0, 1, 2, 9, 4, 5, 9, 7]], ranks=2, padded=False)
    assert [float(memory["loss"][9]) for memory in (one, *memories)] == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("sizes", [[8], [7], [1], [7, 5, 4], [4, 10, 1]], ids=str)
def test_ranks_leave_repeated_rows_as_one_process_does(ranks: int, sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    for _ in range(5):
        streams = [torch.randint(10, (size,), generator=generator).tolist() for size in sizes]
        one, memories = _write_over_ranks(streams, ranks, padded=len(sizes) > 1)
        for memory in memories:
            for name in one:
                torch.testing.assert_close(memory[name], one[name], rtol=0, atol=0, equal_nan=True)


def test_streams_that_are_not_filled_up_still_leave_the_ranks_equal() -> None:
    _, memories = _write_over_ranks([[9, 8, 9], [8, 9, 9], [9]], ranks=2, padded=False)
    assert torch.equal(memories[0]["table"], memories[1]["table"])
