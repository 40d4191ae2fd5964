from __future__ import annotations

from itertools import chain, zip_longest

import pytest
import torch
from torch import Tensor

from noisylab.engine.plan_loader import PlanLoader, ResolvedPlan
from noisylab.types import EpochPlan, Phase, Stream, StreamRows

ROWS = torch.tensor([0, 2, 3, 5, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21])  # 17 rows with holes


def _plan(
    *phases: Phase, epoch: int = 0, seed: int = 0, rows: Tensor = ROWS, batch_size: int = 4, min_last: int = 2
) -> ResolvedPlan:
    plan = EpochPlan(phases) if phases else EpochPlan()
    return ResolvedPlan(plan, epoch=epoch, seed=seed, train_rows=rows, batch_size=batch_size, min_last=min_last)


def _index(plan: ResolvedPlan, name: str = "train") -> list[list[int]]:
    return [plan.rows(position, name)[0].tolist() for position in range(plan.steps)]


def _endless(size: int, rows: int = 5) -> Phase:
    return Phase("p", {"side": Stream(ROWS[:rows], batch_size=size, endless=True)}, steps=7)


def test_default_plan_visits_every_row_once() -> None:
    batches = _index(_plan())
    assert sorted(chain(*batches)) == ROWS.tolist()


@pytest.mark.parametrize(
    ("rows", "size", "min_last", "sizes"),
    [
        (17, 4, 2, [4, 4, 4, 5]),
        (16, 4, 2, [4, 4, 4, 4]),
        (14, 4, 2, [4, 4, 4, 2]),
        (14, 4, 4, [4, 4, 6]),
        (1, 4, 2, [1]),
        (3, 4, 2, [3]),
        (5, 1, 2, [1, 1, 1, 1, 1]),
    ],
)
def test_small_last_batch_joins_the_one_before(rows: int, size: int, min_last: int, sizes: list[int]) -> None:
    assert [len(b) for b in _index(_plan(rows=ROWS[:rows], batch_size=size, min_last=min_last))] == sizes


def test_sequential_order_is_that_of_the_rows() -> None:
    rows = ROWS.flip(0)
    plan = _plan(Phase(streams={"train": Stream(rows, order="sequential")}))
    assert list(chain(*_index(plan))) == rows.tolist()


def test_shuffled_order_is_named_by_seed_and_epoch() -> None:
    assert _index(_plan(epoch=3, seed=1)) == _index(_plan(epoch=3, seed=1))
    orders = [_index(_plan(epoch=e, seed=s)) for e, s in ((0, 0), (1, 0), (0, 1))]
    assert orders[0] != orders[1] and orders[0] != orders[2] and orders[1] != orders[2]


@pytest.mark.parametrize(("size", "rows"), [(8, 5), (3, 5), (5, 5), (13, 4), (4, 17)])
def test_endless_stream_yields_whole_batches_and_every_row_once_a_pass(size: int, rows: int) -> None:
    plan = _plan(_endless(size, rows))
    batches = _index(plan, "side")
    assert [len(batch) for batch in batches] == [size] * 7
    flat = list(chain(*batches))
    for start in range(0, len(flat) - rows + 1, rows):
        assert sorted(flat[start : start + rows]) == sorted(ROWS[:rows].tolist())


def test_passes_of_an_endless_stream_have_orders_of_their_own() -> None:
    flat = list(chain(*_index(_plan(_endless(17, 17)), "side")))
    assert flat[:17] != flat[17:34]


def test_endless_stream_does_not_depend_on_what_was_asked_before() -> None:
    straight = _index(_plan(_endless(8)), "side")
    plan = _plan(_endless(8))
    assert plan.rows(5, "side")[0].tolist() == straight[5]
    assert plan.rows(1, "side")[0].tolist() == straight[1]


def test_positions_count_the_samples_of_a_stream() -> None:
    for phase, name in ((Phase(), "train"), (_endless(8), "side")):
        plan = _plan(phase)
        positions = torch.cat([plan.rows(step, name)[1] for step in range(plan.steps)])
        assert positions.tolist() == list(range(len(positions)))


def test_phases_follow_one_another_and_mark_their_ends() -> None:
    plan = _plan(Phase("a", {"x": Stream(ROWS[:8])}), Phase("b", {"y": Stream(ROWS[:4])}))
    batches = [plan.batch(position) for position in range(plan.steps)]
    assert [(b.phase, list(b.streams), b.last_of_phase, b.last_of_epoch) for b in batches] == [
        ("a", ["x"], False, False),
        ("a", ["x"], True, False),
        ("b", ["y"], True, True),
    ]
    assert [b.position for b in batches] == [0, 1, 2]
    with pytest.raises(IndexError):
        plan.batch(3)


def test_every_phase_and_stream_has_a_key_of_its_own() -> None:
    phase = Phase("a", {"x": Stream(ROWS[:8]), "y": Stream(ROWS[:8])})
    plans = [_plan(phase, phase, epoch=epoch) for epoch in (0, 1)]
    keys = {plan.key(place, name) for plan in plans for place in (0, 1) for name in ("x", "y")}
    assert len(keys) == 8


@pytest.mark.parametrize("world_size", [2, 3])
def test_rank_shares_make_up_the_batch(world_size: int) -> None:
    plan = _plan()
    for position in range(plan.steps):
        whole = plan.batch(position).streams["train"]
        shares = [plan.batch(position, rank, world_size) for rank in range(world_size)]
        parts = [share.streams["train"] for share in shares]
        assert all(isinstance(part, StreamRows) for part in (whole, *parts))
        assert torch.cat([part.index for part in parts]).sort().values.tolist() == whole.index.sort().values.tolist()
        assert max(len(part.index) for part in parts) == shares[0].share["train"]
        assert sum(share.weight["train"] for share in shares) == pytest.approx(len(whole.index))
        for rank, part in enumerate(parts):
            assert part.position.tolist() == whole.position.tolist()[rank::world_size]


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (Phase("p", {"train": Stream(ROWS[:0])}), "has no rows"),
        (Phase("p", {"train": Stream(torch.tensor([0, 1]))}), "held out"),
        (Phase("p", {"train": Stream(torch.tensor([0, 99]))}), "do not exist"),
        (Phase("p", {"train": Stream(torch.tensor([-1, 0]))}), "do not exist"),
        (Phase("p", {"a": Stream(ROWS), "b": Stream(ROWS[:8])}), "unequal length"),
        (Phase("p", {"a": Stream(ROWS, endless=True)}), "give it steps"),
        (Phase("p", steps=5), "asks for 5 steps"),
    ],
)
def test_impossible_plan_is_refused(phase: Phase, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _plan(phase)


def test_loader_asks_for_the_plan_at_the_first_batch() -> None:
    asked: list[int] = []
    epoch = 0

    def resolve() -> ResolvedPlan:
        asked.append(epoch)
        return _plan(epoch=epoch, rows=ROWS[: 8 + 4 * epoch])

    loader = PlanLoader(resolve)
    iterator = iter(loader)
    assert asked == []
    epoch = 2
    assert [batch.epoch for batch in iterator] == [2, 2, 2, 2]
    assert len(loader) == 4


def test_loader_continues_at_a_saved_place() -> None:
    straight = [b.streams["train"].index.tolist() for b in PlanLoader(_plan)]  # type: ignore[union-attr]
    loader = PlanLoader(_plan)
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    state = loader.state_dict()
    assert state == {"epoch": 0, "position": 2}
    resumed = PlanLoader(_plan)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert [b.streams["train"].index.tolist() for b in resumed] == straight[2:]  # type: ignore[union-attr]
    assert [b.streams["train"].index.tolist() for b in resumed] == straight  # type: ignore[union-attr]


def test_loader_starts_another_epoch_at_its_beginning() -> None:
    loader = PlanLoader(lambda: _plan(epoch=1))
    loader.load_state_dict({"epoch": 0, "position": 2})
    assert [batch.position for batch in loader] == [0, 1, 2, 3]


def test_smallest_share_of_a_rank() -> None:
    def share(rows: int, size: int, ranks: int, **stream: object) -> int:
        plan = EpochPlan((Phase(streams={"a": Stream(**stream)}, steps=2 if stream else None),))  # type: ignore[arg-type]
        resolved = ResolvedPlan(plan, epoch=0, seed=0, train_rows=torch.arange(rows), batch_size=size, min_last=2)
        return resolved.smallest_share(ranks)

    assert share(26, 8, 2) == 1  # 8, 8, 8 and 2
    assert share(25, 8, 2) == 4  # 8, 8 and 9
    assert share(24, 8, 3) == 2
    assert share(6, 1, 2) == 0
    assert share(5, 8, 2, endless=True) == 4


# ---- labeled and unlabeled rows


LABELED, POOL = ROWS[:7], torch.arange(30, 41)


def _few_labels(labeled: int, unlabeled: int, epoch: int = 0, **stream: bool) -> ResolvedPlan:
    streams = {
        "labeled": Stream(LABELED, batch_size=labeled, **stream),  # type: ignore[arg-type]
        "unlabeled": Stream(POOL, ("weak", "strong"), batch_size=unlabeled, endless=True),
    }
    plan = EpochPlan((Phase("train", streams, steps=9 if stream.get("endless") else None),))
    return ResolvedPlan(plan, epoch=epoch, seed=0, train_rows=LABELED, other_rows=POOL, batch_size=64)


@pytest.mark.parametrize(("labeled", "unlabeled"), [(4, 4), (2, 5), (3, 7), (2, 14)])
@pytest.mark.parametrize("endless", [False, True])
def test_labeled_and_unlabeled_rows_have_batch_sizes_of_their_own(labeled: int, unlabeled: int, endless: bool) -> None:
    plan = _few_labels(labeled, unlabeled, epoch=2, endless=endless)
    sizes = [len(batch) for batch in _index(plan, "labeled")]
    assert sizes == ([labeled] * 9 if endless else {4: [4, 3], 2: [2, 2, 3], 3: [3, 4]}[labeled])
    pool = _index(plan, "unlabeled")
    assert [len(batch) for batch in pool] == [unlabeled] * len(sizes)  # whole, also where a batch is larger than the pool
    flat = list(chain(*pool))
    assert all(sorted(flat[start:][:11]) == POOL.tolist() for start in range(0, len(flat) - 10, 11))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_both_streams_go_on_from_any_step_under_any_number_of_ranks(ranks: int) -> None:
    straight = {name: _index(_few_labels(3, 7, endless=True), name) for name in ("labeled", "unlabeled")}
    loaders = [PlanLoader(lambda: _few_labels(3, 7, endless=True), rank=rank, world_size=ranks) for rank in range(ranks)]
    for loader in loaders:
        loader.load_state_dict({"epoch": 0, "position": 4})
    for step, batches in enumerate(zip(*loaders, strict=True), start=4):
        for name, whole in straight.items():
            parts = [batch.streams[name].index for batch in batches]  # type: ignore[union-attr]
            together = [row for row in chain(*zip_longest(*(part.tolist() for part in parts))) if row is not None]
            assert together == whole[step]
    assert step == 8


def test_the_smallest_share_of_two_streams_is_that_of_the_shorter_batch() -> None:
    assert _few_labels(3, 7, endless=True).smallest_share(2) == 1
    assert _few_labels(4, 28, endless=True).smallest_share(2) == 2


# ---- trusted rows


TRUSTED = torch.tensor([1, 4, 6, 10, 25])  # outside ROWS, the last one beyond all of them


def _trusted_plan(*phases: Phase, epoch: int = 0, batch_size: int = 4) -> ResolvedPlan:
    rows = {"train_rows": ROWS, "other_rows": TRUSTED}
    return ResolvedPlan(EpochPlan(phases), epoch=epoch, seed=0, batch_size=batch_size, **rows)


def test_a_stream_may_name_trusted_rows_and_one_that_names_none_has_none_of_them() -> None:
    plan = _trusted_plan(Phase(streams={"train": Stream(), "side": Stream(TRUSTED, endless=True)}))
    assert sorted(chain(*_index(plan))) == ROWS.tolist()
    assert set(chain(*_index(plan, "side"))) == set(TRUSTED.tolist())


@pytest.mark.parametrize("row", [17, 24, 26, -1])
def test_other_rows_are_refused_beside_trusted_ones(row: int) -> None:
    with pytest.raises(ValueError, match=r"held out or do not exist; use info\.train_rows, info\.unlabeled_rows and"):
        _trusted_plan(Phase(streams={"side": Stream(torch.tensor([1, row]))}))


def test_trusted_rows_must_be_said_to_be_there() -> None:
    with pytest.raises(ValueError, match="held out"):
        _plan(Phase(streams={"side": Stream(TRUSTED)}))


def test_endless_sequential_stream_goes_on_over_epochs() -> None:
    # 5 rows in batches of 3, two batches an epoch: the third epoch begins at place 12 = 2 * 5 + 2
    phase = Phase("p", {"side": Stream(TRUSTED, batch_size=3, order="sequential", endless=True)}, steps=2)
    found = [_index(_trusted_plan(phase, epoch=epoch), "side") for epoch in range(3)]
    assert found == [[[1, 4, 6], [10, 25, 1]], [[4, 6, 10], [25, 1, 4]], [[6, 10, 25], [1, 4, 6]]]


def test_batches_larger_than_an_endless_sequential_stream_repeat_it() -> None:
    phase = Phase("p", {"side": Stream(TRUSTED, batch_size=8, order="sequential", endless=True)}, steps=1)
    found = [_index(_trusted_plan(phase, epoch=epoch), "side")[0] for epoch in range(2)]
    assert found == [[1, 4, 6, 10, 25, 1, 4, 6], [10, 25, 1, 4, 6, 10, 25, 1]]


def test_rows_of_an_endless_sequential_stream_differ_by_one_use_at_most_over_a_run() -> None:
    phase = Phase("p", {"side": Stream(TRUSTED, batch_size=3, order="sequential", endless=True)}, steps=1)
    used = list(chain(*chain(*(_index(_trusted_plan(phase, epoch=epoch), "side") for epoch in range(7)))))
    assert sorted(used.count(row) for row in TRUSTED.tolist()) == [4, 4, 4, 4, 5]


def test_endless_sequential_stream_counts_the_steps_of_its_own_phase() -> None:
    side = Stream(TRUSTED, batch_size=2, order="sequential", endless=True)
    phases = (Phase("a", {"side": side}, steps=1), Phase("b", {"side": side}, steps=2))
    assert _index(_trusted_plan(*phases), "side") == [[1, 4], [1, 4], [6, 10]]
    assert _index(_trusted_plan(*phases, epoch=1), "side") == [[6, 10], [25, 1], [4, 6]]


def test_finite_sequential_stream_begins_anew_in_every_epoch() -> None:
    phase = Phase("p", {"side": Stream(TRUSTED, batch_size=2, order="sequential")})
    assert _index(_trusted_plan(phase, epoch=3), "side") == [[1, 4], [6, 10, 25]]


def test_rank_shares_of_an_endless_sequential_stream_make_up_its_batch_in_a_later_epoch() -> None:
    phase = Phase("p", {"side": Stream(TRUSTED, batch_size=3, order="sequential", endless=True)}, steps=2)
    plan = _trusted_plan(phase, epoch=1)
    parts = [plan.batch(1, rank, 2).streams["side"] for rank in range(2)]
    assert all(isinstance(part, StreamRows) for part in parts)
    assert [part.index.tolist() for part in parts] == [[25, 4], [1]]
