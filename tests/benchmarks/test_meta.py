"""The benchmark of the meta step: its steps are those of the methods, its forms agree, its bytes are counted right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import meta
import pytest
import torch
from madeup import RandomFeatures
from memory import SavedBytes, peak_bytes
from meta import DOUBLE, IEG, PLAIN, SHARED, TWO, Learner, Samples
from stepwise import StepwiseFit

from noisylab import methods
from noisylab.methods import NoisyLabelMethod
from noisylab.models import MLP
from noisylab.types import PlanBatch

Run = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")
network = partial(MLP, in_features=6, hidden=(8,), batch_norm=True)


class Batches(L.Callback):
    """Keeps the samples of each batch."""

    def __init__(self) -> None:
        self.found: list[Samples] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: PlanBatch, batch_idx: int) -> None:
        train, trusted = batch["train"], batch["trusted"]
        x, trusted_x = train.views[0], trusted.views[0]
        assert isinstance(x, torch.Tensor) and isinstance(trusted_x, torch.Tensor)
        self.found.append(Samples(x.clone(), train.target.clone(), trusted_x.clone(), trusted.target.clone()))


def trained(method: NoisyLabelMethod, steps: int) -> tuple[Learner, list[Samples]]:
    """A learner that starts where the method started, and the batches that it was trained on."""
    learner, seen = Learner(copy.deepcopy(method.networks["main"])), Batches()
    with StepwiseFit(
        method, RandomFeatures(8 * steps + 12, 3, 6, batch_size=8, trusted_per_class=4), CPU, callbacks=[seen]
    ) as fit:
        fit.turn(steps)
    return learner, seen.found


SGD = partial(torch.optim.SGD, lr=meta.RATE, momentum=meta.MOMENTUM, weight_decay=meta.DECAY)


def test_the_step_is_that_of_l2r() -> None:
    method = methods.L2R(3, network, optimizer=SGD)
    learner, batches = trained(method, 3)
    assert len(batches) == 3
    for samples in batches:
        meta.ROWS[SHARED].step(learner, samples, None)
    torch.testing.assert_close(dict(method.networks["main"].state_dict()), dict(learner.network.state_dict()))


def test_the_meta_step_is_that_of_ieg() -> None:
    method = methods.IEG(3, network, second_view=None, consistency="none", optimizer=SGD)
    learner, (samples,) = trained(method, 1)
    for parameter in learner.network.parameters():  # as if there were none
        learner.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    row = meta.ROWS[IEG]
    weights = row.step(learner, samples, row.before(learner, samples))
    rows = method.info.train_rows
    torch.testing.assert_close(method.memory["weight_main"][rows].sort().values, weights.sort().values)
    assert weights.sum() == pytest.approx(1, abs=1e-3)


def test_all_forms_of_a_step_give_the_weights_and_the_update_of_double_backward() -> None:
    torch.manual_seed(0)
    start, generator = network(3).double(), torch.Generator().manual_seed(1)
    x, trusted_x = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    y, trusted_y = torch.randint(3, (2, 8), generator=generator)
    ends: dict[str, dict[str, torch.Tensor]] = {}
    for name, row in meta.ROWS.items():
        if name in (PLAIN, IEG):
            continue
        learner = Learner(copy.deepcopy(start))
        weights = row.step(learner, Samples(x, y, trusted_x, trusted_y), None)
        ends[name] = {**learner.network.state_dict(), "weights": weights.double()}
    assert 0 < int((ends[DOUBLE]["weights"] > 0).sum()) < 8
    for name, end in ends.items():
        close = {"rtol": 1e-4, "atol": 1e-6} if "difference" in name else {"rtol": 1e-6, "atol": 1e-8}
        torch.testing.assert_close(end, ends[DOUBLE], **close, msg=lambda text, name=name: f"{name}: {text}")


def test_program_writes_time_memory_and_claims(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run(meta, "--repeats", 2, "--networks", "SmallCNN", "--batch", 4)
    rows = {row["row"]: row for row in facts["rows"]}
    assert list(rows) == list(meta.ROWS) and facts["batch"] == 4
    assert rows[SHARED]["saved_bytes"] == rows[PLAIN]["saved_bytes"], "tangents are not recorded"
    assert rows[DOUBLE]["saved_bytes"] > 2 * rows[PLAIN]["saved_bytes"] and rows[TWO]["weights_apart"] == 0
    for row in rows.values():
        assert row["summed_bytes"] >= row["saved_bytes"] > 0 and row["peak_bytes"] > 0
    assert rows[SHARED]["weights_apart"] < 1e-5 and rows[PLAIN]["weights_apart"] is None
    assert [claim["bound"] for claim in facts["claims"]] == [3.0, None, 1.5, 0.35, None, None]
    saved = rows[SHARED]["saved_bytes"] / rows[DOUBLE]["saved_bytes"]
    assert facts["claims"][3]["median"] == pytest.approx(saved)
    assert "MiB" in capsys.readouterr().out


def test_wrong_sizes_are_refused(run: Run) -> None:
    for arguments in (("--batch", 1), ("--steps", 0)):
        with pytest.raises(SystemExit):
            run(meta, *arguments)


def test_saved_storages_count_once_and_saved_tensors_each_time() -> None:
    saved = SavedBytes()
    x = torch.ones(1000, requires_grad=True)
    with saved.recording():
        first = x.exp()  # saves its result, 4000 bytes
        second = first * first  # saves it twice
        half = second[:500].sin()  # saves the first half of another storage of 4000 bytes
    assert (saved.peak, saved.summed) == (8000, 4000 + 8000 + 2000)
    half.sum().backward()
    with saved.recording():
        third = x.exp()
    assert saved.peak == 8000, "what the backward pass has let go of is not counted any more"
    del first, second, half, third


def test_saved_bytes_take_tensors_without_storage() -> None:
    saved = SavedBytes()
    with saved.recording():
        held = saved._pack(torch._efficientzerotensor(10))
    assert (saved.peak, saved.summed) == (0, 0) and held.tensor._is_zerotensor()


def test_peak_is_that_of_the_worst_moment() -> None:
    def work() -> None:
        a = torch.zeros(1_000_000)
        b = a + 1
        del a
        b = b * 2  # the third one, when the first is gone

    assert 8_000_000 <= peak_bytes(work, CPU) < 8_100_000
