"""Promise 6 for every method: nothing is NaN by accident, and what is degenerate still resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, KeepEpoch, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit
from helpers.packaged import VARIANTS, Selections, assert_sound
from torch import Tensor, nn

from noisylab.callbacks import Diagnostics
from noisylab.data.base import Source
from noisylab.data.rows import DenseRows
from noisylab.data.trusted import TrustedRows
from noisylab.methods import NoisyLabelMethod
from noisylab.models import Network
from noisylab.models.network import NetFactory
from noisylab.noise import Symmetric
from noisylab.types import Inputs

_VAL = {"val_fraction": 0.15}  # without it the plateau schedule would have nothing to follow


class Contrary(Network):
    """Surely predicts another class than the one in its inputs, whatever its few weights have learned."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.head = nn.Linear(num_classes, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        x = self._tensor(inputs)
        return 100 * x.roll(1, 1) + 0.01 * self.head(x)


class Indifferent(Network):
    """Predicts all classes alike, whatever it is shown."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.bias = nn.Parameter(torch.randn(num_classes))

    def forward(self, inputs: Inputs) -> Tensor:
        return self.bias.mean().expand(len(self._tensor(inputs)), self.num_classes)


class Changed(ToyData):
    """Toy data with something done to it before noise and splits."""

    def __init__(self, change: Callable[[Source], Source], **kwargs: Any) -> None:
        super().__init__(**{**_VAL, **kwargs})
        self.change = change

    def load(self) -> Source:
        return self.change(super().load())


def _show_labels(source: Source) -> Source:
    """Inputs that are the given label; every third label is wrong."""
    wrong = torch.arange(len(source.given)) % 3 == 0
    shown = [DenseRows(torch.eye(3)[labels]) for labels in (source.given, source.test_target)]
    return replace(source, train=shown[0], test=shown[1], clean=torch.where(wrong, (source.given + 1) % 3, source.given))


def _all_wrong(source: Source) -> Source:
    return replace(source, given=(source.given + 1) % 3)


def _one_member(source: Source) -> Source:
    """Two classes and a single sample of the third; every fifth label is wrong."""
    rows = torch.arange(len(source.given))
    clean = rows % 2
    clean[5] = 2
    given = torch.where((rows % 5 == 0) & (rows != 5), 1 - clean, clean)
    return replace(source, given=given, clean=clean)


def _times(factor: float, source: Source) -> Source:
    train, test = source.train, source.test
    assert isinstance(train, DenseRows) and isinstance(test, DenseRows)
    return replace(source, train=DenseRows(train.values * factor), test=DenseRows(test.values * factor))


def _with_trusted(data: ToyData) -> ToyData:
    """The same data with six more rows that are trusted: the cases have none to spare."""
    load = data.load

    def more() -> Source:
        source = load()
        assert isinstance(source.train, DenseRows)
        rows = torch.randn(6, source.train.values.shape[1], generator=torch.Generator().manual_seed(1))
        labels = torch.arange(6) % 3
        clean = None if source.clean is None else torch.cat([source.clean, labels])
        return replace(
            source, train=DenseRows(torch.cat([source.train.values, rows])), given=torch.cat([source.given, labels]), clean=clean
        )

    def set_apart(stage: str | None, source: Source, clean: Tensor, fold: Tensor, rows: Tensor) -> TrustedRows:
        return TrustedRows(torch.arange(6) + len(source.given) - 6, torch.arange(6) % 3)

    data.load, data._set_apart = more, set_apart  # type: ignore[method-assign]
    data.trusted_labels = "the last six rows"
    return data


def _rows(train_rows: int, num_val: int, **kwargs: Any) -> ToyData:
    """Data with exactly so many rows to train on and to validate with."""
    total = train_rows + num_val
    return ToyData(total, **{"val_fraction": num_val / total, "noise": Symmetric(0.4), **kwargs})


CASES: dict[str, tuple[Callable[[], ToyData], NetFactory]] = {
    "nothing to agree on": (lambda: Changed(_show_labels, features=3, weak=0.02), Contrary),
    "constant losses": (lambda: ToyData(noise=Symmetric(0.4), **_VAL), Indifferent),
    "all labels wrong": (lambda: Changed(_all_wrong), DropoutMLP),
    "a class of one": (lambda: Changed(_one_member), DropoutMLP),
    "one row left over": (lambda: _rows(17, 3), DropoutMLP),
    "three rows in twos, one to evaluate": (
        lambda: _rows(3, 1, batch_size=2, eval_batch_size=1, num_test=1, noise=None),
        DropoutMLP,
    ),
    "one row a batch": (lambda: _rows(5, 1, batch_size=1, num_test=1, noise=None), PlainMLP),
    "huge inputs": (lambda: Changed(partial(_times, 1e4), noise=Symmetric(0.4)), DropoutMLP),
    "zero inputs": (lambda: Changed(partial(_times, 0.0), weak=0.0, noise=Symmetric(0.4)), DropoutMLP),
}


def _train(
    name: str,
    case: str,
    folder: Path,
    epochs: int,
    resume: Path | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    last: tuple[L.Callback, ...] = (),
) -> tuple[NoisyLabelMethod, dict[str, Any]]:
    make_data, network = CASES[case]
    if network is Indifferent and PACKAGED[name].args[0].needs_embedding:  # type: ignore[attr-defined]
        pytest.skip("the network does not end in a linear layer, which this method refuses")
    torch.manual_seed(0 if resume is None else 99)
    method = PACKAGED[name](network)
    data = _with_trusted(make_data()) if method.needs_trusted else make_data()
    return method, fit(method, data, folder, epochs, resume=resume, callbacks=(*callbacks, Diagnostics()), last=last)


_BY_TURNS = [
    pytest.param(case, name, marks=pytest.mark.slow if name in VARIANTS else ())
    for place, case in enumerate(CASES)
    for number, name in enumerate(PACKAGED)
    if name not in VARIANTS or (place + number) % 2  # every method meets all cases, every variant of one half of them
]


@pytest.mark.filterwarnings(r"ignore:epoch \d+:UserWarning")  # what a method says of a split without one part, for instance
@pytest.mark.parametrize(("case", "name"), _BY_TURNS, ids=lambda value: value)
def test_degenerate_data_trains_and_resumes(case: str, name: str, tmp_path: Path) -> None:
    # killed after the first epoch or the second, by turns over methods and cases
    keep = KeepEpoch((list(PACKAGED).index(name) + list(CASES).index(case)) // 2 % 2, tmp_path)
    method, straight = _train(name, case, tmp_path, 3, last=(keep,))
    assert_sound(method, straight["curves"])
    assert straight["epoch"] == 3 and {epoch for epoch, _, found, _ in straight["curves"] if found == "train/loss"} == {0, 1, 2}
    _, resumed = _train(name, case, keep.kept, 3, keep.kept / "last.ckpt")
    assert_same(resumed, straight)


def test_the_cases_are_what_they_say(tmp_path: Path) -> None:
    selections = Selections()
    method, state = _train("act", "nothing to agree on", tmp_path, 3, callbacks=(selections,))
    seen = method.memory["observed_epoch"] == 2
    given = method.trainer.datamodule.given_target  # type: ignore[attr-defined]
    assert int(seen.sum()) == 34 and not bool((method.memory["observed_pred"] == given)[seen].any())
    assert [mask is None or int(mask.sum()) for mask, _ in selections.found] == [True, 0, 0]
    assert [value for _, _, name, value in state["curves"] if name == "select/size"] == [0.0, 0.0]
    method, _ = _train("ce", "constant losses", tmp_path, 1)
    assert len(set(method.memory["observed_loss"][method.memory["observed_epoch"] == 0].tolist())) == 1
    for case, sizes in {
        "one row left over": [8, 9],
        "three rows in twos, one to evaluate": [3],
        "one row a batch": [1] * 5,
    }.items():
        method, _ = _train("ce", case, tmp_path, 1)
        plan = method.trainer.datamodule.resolved_plan(0)  # type: ignore[attr-defined]
        assert [len(batch.streams["train"].index) for batch in plan.batches()] == sizes
    wrong = Changed(_all_wrong)
    wrong.setup()
    assert not bool((wrong.given_target == wrong.clean_target).any())
    lonely = Changed(_one_member)
    lonely.setup()
    assert int((lonely.given_target[lonely.info.train_rows] == 2).sum()) == 1


# ---- a value that is none


def _poison(train: tuple[int, ...], test: tuple[int, ...], value: float, source: Source) -> Source:
    for store, rows in ((source.train, train), (source.test, test)):
        assert isinstance(store, DenseRows)
        store.values[list(rows), 1] = value
    return source


class _Order(L.Callback):
    """Keeps the rows that were trained on, in the order in which their views are built: stream by stream, in one chunk."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, str, str], list[int]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        for name, samples in batch.streams.items():
            self.streams.setdefault((batch.epoch, batch.phase, name), []).extend(samples.index.tolist())

    @property
    def rows(self) -> list[int]:
        return [row for rows in self.streams.values() for row in rows]


def _poisoned(
    name: str,
    folder: Path,
    *callbacks: L.Callback,
    train: tuple[int, ...] = (),
    test: tuple[int, ...] = (),
    value: float = float("nan"),
) -> None:
    method = PACKAGED[name](DropoutMLP)
    poison = partial(_poison, train, test, value)
    trusted = 2 if method.needs_trusted else 0
    data = Changed(poison, noise=Symmetric(0.4), trusted_per_class=trusted, unlabel=method.uses_unlabeled)
    data.setup()
    assert set(train) <= {*data.info.train_rows.tolist(), *data.info.unlabeled_rows.tolist()}
    fit(method, data, folder, 2, callbacks=callbacks)


def _tensors(node: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Path and value of every tensor, however deep it lies."""
    if isinstance(node, Tensor):
        yield path, node
    elif isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _tensors(value, f"{path}.{key}")


def _assert_only_finite_checkpoints(name: str, folder: Path) -> None:
    """Of the memory of method `name`, rows that were never written may be NaN if that is what their field begins with."""
    fills = {field: fill for field, (_, _, fill) in PACKAGED[name](PlainMLP).memory.fields().items()}
    for file in folder.rglob("*.ckpt*"):
        checkpoint = torch.load(file, weights_only=True)
        memory = checkpoint["state_dict"].pop("memory._extra_state")
        assert set(memory) == set(fills)
        seen = memory["observed_epoch"] >= 0
        for field, table in memory.items():
            unwritten = table.isnan() if fills[field] != fills[field] else torch.zeros_like(table, dtype=torch.bool)
            if field == "observed_loss":  # of which it is known where it was written
                unwritten &= ~seen
            assert bool((table.isfinite() | unwritten).all()), f"{file.name}: memory {field}"
        found = dict(_tensors(checkpoint["state_dict"], "state_dict"))
        assert any("networks." in path for path in found)
        for path, value in (*found.items(), *_tensors(checkpoint["optimizer_states"], "optimizer_states")):
            assert bool(value.isfinite().all()), f"{file.name}: {path}"


@pytest.mark.parametrize(("scored", "value"), [(False, float("nan")), (True, float("inf"))])
@pytest.mark.parametrize("name", PACKAGED)
def test_a_bad_value_in_a_training_sample_is_named(name: str, scored: bool, value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)(?=.*training sample 17\b)(?=.*(nan|NaN) or infinite)"):
        _poisoned(name, tmp_path, *((Diagnostics(),) if scored else ()), train=(17,), value=value)
    _assert_only_finite_checkpoints(name, tmp_path)


@pytest.mark.parametrize("name", PACKAGED)
def test_of_two_bad_samples_the_first_in_the_epoch_is_named(name: str, tmp_path: Path) -> None:
    order, bad = _Order(), (5, 17)
    with pytest.raises(ValueError, match="training sample") as caught:
        _poisoned(name, tmp_path, order, Diagnostics(), train=bad)
    first = min(bad, key=order.rows.index)
    assert f"training sample {first}" in str(caught.value)


@pytest.mark.parametrize("name", PACKAGED)
def test_no_save_within_the_epoch_keeps_what_a_bad_value_spoilt(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training sample 17"):
        _poisoned(name, tmp_path, SaveEveryBatch(tmp_path), train=(17,))
    _assert_only_finite_checkpoints(name, tmp_path)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_bad_value_in_a_test_sample_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test sample 3"):
        _poisoned(name, tmp_path, Diagnostics(), test=(3,))


@pytest.mark.filterwarnings(r"ignore:epoch \d+:UserWarning")  # as above
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("name", PACKAGED)
def test_a_run_that_diverges_says_so_and_keeps_no_broken_weights(name: str, scored: bool, tmp_path: Path) -> None:
    method = PACKAGED[name](PlainMLP)
    data = Changed(partial(_times, 1e15), noise=Symmetric(0.4))
    diverged = False
    try:
        state = fit(method, data, tmp_path, 3, callbacks=(Diagnostics(),) if scored else ())
    except ValueError as error:
        diverged = "training diverged" in str(error)
        assert diverged, error
    else:
        assert_sound(method, state["curves"])  # a limit on the gradient may have saved it
    assert diverged or name != "ce"
    _assert_only_finite_checkpoints(name, tmp_path)
