"""Every method learns, predicts, remembers and comes back; a new one meets these tests without being entered anywhere."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PACKAGED, DropoutMLP, PhasedDummy, ToyData, assert_same, fit, make_trainer
from helpers.packaged import Selections, assert_sound, makers, method_classes
from torch import Tensor

import noisylab.methods
from noisylab.callbacks import Diagnostics
from noisylab.cli.running.loggers.panels import SELECTION, SHARED
from noisylab.methods import NoisyLabelMethod
from noisylab.noise import Symmetric

_ROOT = Path(__file__).parents[2]
_NETWORK = partial(DropoutMLP, hidden=(32,))
_ROWS = 240


@dataclass
class Run:
    """A short training on easy data and what it left."""

    method: NoisyLabelMethod
    data: ToyData
    folder: Path
    state: dict[str, Any]
    selections: list[tuple[Tensor | None, Tensor | None]]


def _learn(method: NoisyLabelMethod, folder: Path) -> Run:
    data, selections = ToyData(_ROWS, num_test=60, spread=0.6, noise=Symmetric(0.1), val_fraction=0.1), Selections()
    state = fit(method, data, folder, 3, callbacks=(selections, Diagnostics()))
    return Run(method, data, folder, state, selections.found)


@pytest.fixture(scope="module", params=PACKAGED)
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.manual_seed(0)
    return _learn(PACKAGED[request.param](_NETWORK), tmp_path_factory.mktemp(request.param))


def _last(run: Run, name: str) -> float:
    return [value for epoch, _, found, value in run.state["curves"] if found == name and epoch == 2][-1]


def test_three_epochs_teach_easy_classes(learned: Run) -> None:
    assert _last(learned, "test/acc") > 0.8  # a third by chance
    assert _last(learned, "val/acc") > 0.6  # a tenth of its labels are wrong
    assert_sound(learned.method, learned.state["curves"])


def test_its_runs_fall_on_the_charts_of_all_methods(learned: Run) -> None:
    """What the dashboards show has one name in every method; those of a selection where there is one."""
    epochs = {name: sorted({epoch for epoch, _, found, _ in learned.state["curves"] if found == name}) for name in SHARED}
    assert epochs == {name: [0, 1, 2] for name in SHARED}
    logged = {name for _, _, name, _ in learned.state["curves"]} & set(SELECTION)
    masks, probs = ([pair[place] for pair in learned.selections if pair[place] is not None] for place in (0, 1))
    assert logged == {*(SELECTION[:3] if masks else ()), *(SELECTION[3:] if probs else ())}


def test_predictions_are_probabilities_of_every_row_in_order(learned: Run) -> None:
    found = make_trainer(learned.folder, 1).predict(learned.method, datamodule=learned.data)
    probs, index, target = (torch.cat([batch[name] for batch in found]) for name in ("probs", "index", "target"))
    assert index.tolist() == list(range(60)) and probs.shape == (60, 3) and probs.dtype == torch.float32
    assert bool((probs >= 0).all())
    torch.testing.assert_close(probs.sum(1), torch.ones(60))
    assert float((probs.argmax(1) == target).float().mean()) == pytest.approx(_last(learned, "test/acc"))


def test_weights_memories_and_logits_are_float32(learned: Run) -> None:
    """In other precisions: tests/engine/test_precision.py."""
    with torch.no_grad():
        logits = learned.method.all_logits(learned.data.source.test.gather(torch.arange(8)))
    assert {value.dtype for value in (*learned.method.networks.parameters(), *logits.values())} == {torch.float32}
    for field in learned.method.memory:
        assert learned.method.memory[field].dtype not in (torch.bfloat16, torch.float16, torch.float64), field


def test_the_memory_has_a_row_a_sample(learned: Run) -> None:
    assert len(learned.method.memory) == _ROWS
    assert {name: len(table) for name, table in learned.state["memory"].items()} == dict.fromkeys(learned.method.memory, _ROWS)


def test_the_checkpoint_alone_rebuilds_the_method(learned: Run) -> None:
    again = type(learned.method).load_from_checkpoint(learned.folder / "last.ckpt")
    assert again.hparams == learned.method.hparams
    assert_same(dict(again.networks.state_dict()), learned.state["networks"])
    assert_same({name: again.memory[name] for name in again.memory}, learned.state["memory"])


def test_what_is_selected_has_a_row_a_sample(learned: Run) -> None:
    assert len(learned.selections) == 3
    for mask, prob in learned.selections:
        if mask is not None:
            assert mask.shape == (_ROWS,) and mask.dtype == torch.bool
        if prob is not None:
            assert prob.shape == (_ROWS,) and prob.is_floating_point()
            assert bool(((prob >= 0) & (prob <= 1)).all())


def test_every_method_can_be_imported_from_the_package() -> None:
    for cls in method_classes():
        assert getattr(noisylab.methods, cls.__name__, None) is cls and cls.__name__ in noisylab.methods.__all__, cls


# ---- the matrix grows by itself


@pytest.fixture
def newcomer() -> Iterator[type[NoisyLabelMethod]]:
    """The method of docs/add_a_method.md, as if it were in a file of its own in the package."""
    page = (_ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
    # under a name of its own: the tests of the page leave a class of that name behind
    code = page.split('```python title="smallloss.py"\n', 1)[1].split("```", 1)[0].replace("SmallLoss", "Newcomer")
    module = sys.modules["noisylab.methods.new"] = types.ModuleType("noisylab.methods.new")
    exec(code, module.__dict__)
    cls = module.__dict__["Newcomer"]
    yield cls
    del sys.modules["noisylab.methods.new"]
    cls.__module__ = __name__  # a class is known as long as it lives: from now on as one of the tests


def test_a_new_method_is_in_the_matrix(newcomer: type[NoisyLabelMethod], tmp_path: Path) -> None:
    assert newcomer in method_classes()
    method = makers(method_classes())["newcomer"](_NETWORK)
    assert type(method) is newcomer and method.hparams["warmup_epochs"] == 1
    run = _learn(method, tmp_path)
    assert _last(run, "test/acc") > 0.8
    assert [mask is None for mask, _ in run.selections] == [True, False, False]


def test_a_method_that_requires_more_is_named() -> None:
    class Needy(NoisyLabelMethod):
        def __init__(self, num_classes: int, network: Any, noise_rate: float) -> None:
            super().__init__(num_classes)

    with pytest.raises(TypeError, match=r"Needy requires noise_rate: enter values for it in helpers\.packaged\.TOYS"):
        makers([Needy])["needy"]()


def test_methods_of_the_tests_are_not_in_the_matrix() -> None:
    assert PhasedDummy not in method_classes()
    assert {cls.__module__.split(".")[0] for cls in method_classes()} == {"noisylab"}
