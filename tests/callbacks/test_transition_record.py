"""The transition matrix that a method has, measured and kept by the diagnostics, written by the summary."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, SaveEveryBatch, ToyData, fit, make_trainer
from helpers.transitions import EstimatingToy
from torch import Tensor

from noisylab.callbacks import Curves, Diagnostics, RunSummary
from noisylab.data.base import Source
from noisylab.estimation import read_transition
from noisylab.methods import CrossEntropy
from noisylab.metrics import transition_metrics
from noisylab.noise import Symmetric

_ALONE = {"argmax_right", "condition", "min_entry", "row_sum"}
_COMPARED = {"error", "max_row", "diagonal"}


class _Truth(ToyData):
    """Data without noise of its own whose first `count` true labels are replaced: -1 is unknown, 3 a class outside."""

    def __init__(self, count: int, true: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.true = count, true

    def load(self) -> Source:
        source = super().load()
        assert source.clean is not None
        source.clean = source.clean.clone()
        source.clean[: self.count] = self.true
        return source


def _run(data: ToyData, folder: Path, epochs: int = 3, method: Any = EstimatingToy) -> tuple[Curves, Diagnostics]:
    curves, diagnostics = Curves(), Diagnostics(every_n_epochs=10)
    make_trainer(folder, epochs, (diagnostics, curves)).fit(method(3, PlainMLP), datamodule=data)
    return curves, diagnostics


def _logged(curves: Curves) -> dict[str, dict[int, float]]:
    names = {row[2] for row in curves.rows if row[2].startswith("transition/")}
    return {name.removeprefix("transition/"): dict(curves.series(name)) for name in names}


def _matrix(share: float) -> Tensor:
    return torch.full((3, 3), share / 2).fill_diagonal_(1 - share)


def test_every_epoch_with_an_estimate_is_measured_and_the_last_is_kept(tmp_path: Path) -> None:
    data = ToyData(num_train=60, noise=Symmetric(0.4))
    curves, diagnostics = _run(data, tmp_path)
    logged = _logged(curves)
    assert set(logged) == _ALONE | _COMPARED | {"anchor_right"}
    assert data.noisy is not None and data.noisy.transition_matrix is not None
    for epoch, share in ((1, 0.1), (2, 0.2)):
        expected = transition_metrics(_matrix(share), data.noisy.transition_matrix)
        assert {name: values[epoch] for name, values in logged.items() if name != "anchor_right"} == pytest.approx(expected)
    assert all(set(values) == {1, 2} for values in logged.values())
    record = diagnostics.transition
    assert record is not None and record["epoch"] == 2
    assert record["estimate"] == _matrix(0.2).double().tolist()
    assert record["truth"] == data.noisy.transition_matrix.tolist()
    assert record["metrics"] == {name: values[2] for name, values in logged.items()}


def test_anchors_are_judged_by_their_true_classes(tmp_path: Path) -> None:
    for seed in range(3):
        data = ToyData(num_train=60, noise=Symmetric(0.5, seed=seed))
        curves, _ = _run(data, tmp_path, 2)
        first = [data.given_target.tolist().index(label) for label in range(3)]
        right = [int(data.clean_target[row]) == label for label, row in enumerate(first)]
        assert _logged(curves)["anchor_right"][1] == pytest.approx(sum(right) / 3)


def test_an_anchor_of_an_outside_class_is_wrong_and_one_of_unknown_truth_does_not_count(tmp_path: Path) -> None:
    class Chosen(EstimatingToy):
        def anchor_rows(self) -> Tensor:
            return torch.tensor([0, *(int((self.info.given_target[20:] == label).nonzero()[0]) + 20 for label in (1, 2))])

    for true, expected in ((3, 2 / 3), (-1, 1.0)):
        curves, _ = _run(_Truth(20, true, num_train=60), tmp_path, 2, Chosen)
        assert _logged(curves)["anchor_right"][1] == pytest.approx(expected)


def test_an_estimate_is_kept_and_measured_alone_where_the_truth_is_not_known(tmp_path: Path) -> None:
    curves, diagnostics = _run(_Truth(60, -1, num_train=60), tmp_path)
    assert set(_logged(curves)) == _ALONE
    record = diagnostics.transition
    assert record is not None and record["truth"] is None and record["estimate"] == _matrix(0.2).double().tolist()


def test_a_method_without_an_estimate_logs_and_keeps_none(tmp_path: Path) -> None:
    curves, diagnostics = _run(ToyData(noise=Symmetric(0.4)), tmp_path, method=CrossEntropy)
    assert diagnostics.transition is None and not _logged(curves)


def test_a_second_fit_with_the_same_callback_forgets_the_estimate_of_the_first(tmp_path: Path) -> None:
    diagnostics = Diagnostics()
    make_trainer(tmp_path, 2, (diagnostics,)).fit(EstimatingToy(3, PlainMLP), datamodule=ToyData())
    assert diagnostics.transition is not None
    make_trainer(tmp_path, 2, (diagnostics,)).fit(CrossEntropy(3, PlainMLP), datamodule=ToyData())
    assert diagnostics.transition is None


def test_the_record_survives_a_checkpoint_that_holds_plain_values_only(tmp_path: Path) -> None:
    _, first = _run(ToyData(noise=Symmetric(0.4)), tmp_path)
    file, second = io.BytesIO(), Diagnostics()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert first.transition is not None and second.transition == first.transition
    second.load_state_dict({"peak": [0.5, 1], "histogram": {}})  # from before there were records
    assert second.transition is None


def test_a_resume_after_any_batch_gives_the_record_of_the_straight_run(tmp_path: Path) -> None:
    def run(folder: Path, resume: Path | None = None, *callbacks: Any) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        diagnostics = Diagnostics()
        data = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)
        fit(EstimatingToy(3, PlainMLP), data, folder, 3, resume=resume, callbacks=(*callbacks, diagnostics))
        return diagnostics.state_dict()

    saver = SaveEveryBatch(tmp_path)
    straight = run(tmp_path / "straight", None, saver)
    assert straight["transition"]["epoch"] == 2 and saver.files
    for file in saver.files:
        assert run(file.with_suffix(""), file) == straight, file.stem


def test_the_run_folder_has_the_record_in_its_summary_and_the_estimate_as_a_table(tmp_path: Path) -> None:
    diagnostics = Diagnostics()
    callbacks = (diagnostics, Curves(tmp_path), RunSummary(tmp_path))
    make_trainer(tmp_path, 3, callbacks).fit(EstimatingToy(3, PlainMLP), datamodule=ToyData(num_train=60, noise=Symmetric(0.4)))
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text)["transition"] == diagnostics.transition
    assert sum('"estimate"' in line and '"truth"' in line for line in text.splitlines()) == 1  # on one line
    assert torch.equal(read_transition(tmp_path / "transition.csv", 3), _matrix(0.2).double())


def test_the_run_folder_of_a_method_without_an_estimate_has_neither(tmp_path: Path) -> None:
    callbacks = (Diagnostics(), Curves(tmp_path), RunSummary(tmp_path))
    make_trainer(tmp_path, 2, callbacks).fit(CrossEntropy(3, PlainMLP), datamodule=ToyData(noise=Symmetric(0.4)))
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["transition"] is None
    assert not (tmp_path / "transition.csv").exists()
