"""The mixtures that a method fitted, kept by the diagnostics, written by the summary."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, SaveEveryBatch, ToyData, fit, make_trainer
from helpers.mixtures import FittedToy

from noisylab.callbacks import Curves, Diagnostics, RunSummary
from noisylab.data.base import Source
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.metrics import MixtureRecord
from noisylab.noise import Symmetric
from noisylab.selection.mixture import fit_mixture, normalize
from noisylab.selection.mixture_fit import MixtureFit


def _run(data: ToyData, folder: Path, epochs: int = 3, method: Any = FittedToy, **options: Any) -> tuple[Curves, Diagnostics]:
    curves, diagnostics = Curves(), Diagnostics(**options)
    make_trainer(folder, epochs, (diagnostics, curves)).fit(method(3, PlainMLP), datamodule=data)
    return curves, diagnostics


class _Seen(FittedToy):
    """Remembers its fits, as the diagnostics are handed them."""

    def __init__(self, num_classes: int, network: Any) -> None:
        super().__init__(num_classes, network)
        self.fits: list[MixtureFit] = []

    def mixture_fit(self) -> dict[str, MixtureFit]:
        found = super().mixture_fit()
        self.fits += found.values()
        return found


def test_each_fit_is_kept_with_the_losses_of_right_and_wrong_labels(tmp_path: Path) -> None:
    method, data = _Seen(3, PlainMLP), ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.2)
    diagnostics = Diagnostics(every_n_epochs=3)  # rare scoring passes
    make_trainer(tmp_path, 5, (diagnostics,)).fit(method, datamodule=data)
    records = diagnostics.mixtures["network"]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    right = data.given_target == data.clean_target
    for record, fitted in zip(records, method.fits, strict=True):
        expected = {"right": [0] * 64, "wrong": [0] * 64}
        for row, value in zip(fitted.rows.tolist(), fitted.values.tolist(), strict=True):
            expected["right" if right[row] else "wrong"][min(int(value * 64), 63)] += 1
        assert record["histogram"] == expected
        assert sum(map(sum, expected.values())) == len(data.info.train_rows) == 48
        assert tuple(record["means"]) == fitted.mixture.means and tuple(record["weights"]) == fitted.mixture.weights
        assert tuple(record["variances"]) == fitted.mixture.variances
        assert (record["converged"], record["iterations"]) == (fitted.mixture.converged, fitted.mixture.iterations)


def test_components_and_auroc_are_logged_by_network(tmp_path: Path) -> None:
    curves, diagnostics = _run(ToyData(num_train=60, noise=Symmetric(0.4)), tmp_path)
    logged = {name: curves.series(name) for name in {row[2] for row in curves.rows} if name.startswith("mixture/")}
    assert set(logged) == {f"mixture/network_{name}" for name in ("low_mean", "high_mean", "low_weight", "auroc")}
    for record in diagnostics.mixtures["network"]:
        assert dict(logged["mixture/network_low_mean"])[record["epoch"]] == pytest.approx(record["means"][0])
        assert dict(logged["mixture/network_high_mean"])[record["epoch"]] == pytest.approx(record["means"][1])
        assert dict(logged["mixture/network_low_weight"])[record["epoch"]] == pytest.approx(record["weights"][0])
    # the fitted losses are those that training saw, of which the online figures tell the same
    online = dict(curves.series("memorization_online/loss_auroc")[1:])
    assert dict(logged["mixture/network_auroc"]) == pytest.approx(online)


class _Truth(ToyData):
    """Data whose first `count` true labels are replaced: -1 is unknown, 3 is a class outside the three."""

    def __init__(self, count: int, true: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.true = count, true

    def load(self) -> Source:
        source = super().load()
        assert source.clean is not None
        source.clean = source.clean.clone()
        source.clean[: self.count] = self.true
        return source


def _sums(record: MixtureRecord) -> dict[str, int]:
    return {name: sum(counts) for name, counts in record["histogram"].items()}


def test_open_set_samples_count_as_wrong(tmp_path: Path) -> None:
    _, diagnostics = _run(_Truth(10, 3), tmp_path)
    assert [_sums(record) for record in diagnostics.mixtures["network"]] == [{"right": 30, "wrong": 10}] * 2


def test_samples_of_unknown_truth_are_left_out_of_the_histogram(tmp_path: Path) -> None:
    _, diagnostics = _run(_Truth(10, -1), tmp_path)
    assert [_sums(record) for record in diagnostics.mixtures["network"]] == [{"right": 30, "wrong": 0}] * 2


def test_without_any_truth_the_components_are_logged_and_all_rows_counted(tmp_path: Path) -> None:
    curves, diagnostics = _run(_Truth(40, -1), tmp_path)
    assert [_sums(record) for record in diagnostics.mixtures["network"]] == [{"unknown": 40}] * 2
    names = {row[2] for row in curves.rows if row[2].startswith("mixture/")}
    assert names == {"mixture/network_low_mean", "mixture/network_high_mean", "mixture/network_low_weight"}


def test_a_method_without_a_mixture_keeps_and_logs_none(tmp_path: Path) -> None:
    curves, diagnostics = _run(ToyData(noise=Symmetric(0.4)), tmp_path, method=CrossEntropy)
    assert diagnostics.mixtures == {} and not [row for row in curves.rows if row[2].startswith("mixture/")]


def test_a_second_run_with_the_same_callback_starts_its_own_history(tmp_path: Path) -> None:
    diagnostics = Diagnostics()
    for epochs in (4, 3):
        make_trainer(tmp_path, epochs, (diagnostics,)).fit(FittedToy(3, PlainMLP), datamodule=ToyData())
    assert [record["epoch"] for record in diagnostics.mixtures["network"]] == [1, 2]


def test_the_history_survives_a_checkpoint_that_holds_plain_values_only(tmp_path: Path) -> None:
    _, first = _run(ToyData(noise=Symmetric(0.4)), tmp_path)
    file, second = io.BytesIO(), Diagnostics()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert len(first.mixtures["network"]) == 2 and second.mixtures == first.mixtures
    second.mixtures["network"].clear()
    assert len(first.state_dict()["mixtures"]["network"]) == 2


def test_the_counts_of_a_mixture_are_one_text_in_the_checkpoint_and_come_back_equal() -> None:
    def record(epoch: int, histogram: dict[str, list[int]]) -> MixtureRecord:
        fitted = {"means": [0.1, 0.7], "variances": [0.01, 0.02], "weights": [0.75, 0.25], "converged": True, "iterations": 9}
        return {"epoch": epoch, "histogram": histogram, **fitted}  # type: ignore[typeddict-item]

    diagnostics, again = Diagnostics(), Diagnostics()
    # the truth of some rows became known in between
    diagnostics.mixtures["network"] = [record(1, {"unknown": [5, 2]}), record(2, {"right": [4, 1], "wrong": [0, 2]})]
    state = diagnostics.state_dict()
    packed = [record["histogram"] for record in state["mixtures"]["network"]]
    assert packed == [{"unknown": "5 2"}, {"right": "4 1", "wrong": "0 2"}]
    again.load_state_dict(state)
    assert again.mixtures == diagnostics.mixtures
    again.load_state_dict({**state, "mixtures": diagnostics.mixtures})  # of an older version
    assert again.mixtures == diagnostics.mixtures


def test_a_checkpoint_from_before_there_were_mixtures_loads(tmp_path: Path) -> None:
    diagnostics = Diagnostics()
    diagnostics.load_state_dict({"peak": [0.5, 1], "histogram": {}})
    assert diagnostics.mixtures == {}


def test_three_hundred_epochs_of_two_networks_take_a_few_hundred_kilobytes() -> None:
    generator, diagnostics = torch.Generator().manual_seed(0), Diagnostics()
    values = normalize(torch.rand(2000, generator=generator))
    mixture = fit_mixture(values)
    for network in ("first", "second"):
        diagnostics.mixtures[network] = [
            {
                "epoch": epoch,
                "histogram": {name: torch.randint(300, 1200, (64,), generator=generator).tolist() for name in ("right", "wrong")},
                "means": list(mixture.means),
                "variances": list(mixture.variances),
                "weights": list(mixture.weights),
                "converged": True,
                "iterations": 10,
            }
            for epoch in range(300)
        ]
    file = io.BytesIO()
    torch.save(diagnostics.state_dict(), file)
    assert file.tell() < 400_000


def test_a_resume_after_any_batch_gives_the_history_of_the_straight_run(tmp_path: Path) -> None:
    def run(folder: Path, resume: Path | None = None, *callbacks: Any) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        diagnostics = Diagnostics()
        data = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)
        fit(FittedToy(3, PlainMLP), data, folder, 3, resume=resume, callbacks=(*callbacks, diagnostics))
        return diagnostics.state_dict()

    saver = SaveEveryBatch(tmp_path)
    straight = run(tmp_path / "straight", None, saver)
    assert [record["epoch"] for record in straight["mixtures"]["network"]] == [1, 2]
    assert len(saver.files) == 9
    for file in saver.files:
        assert run(file.with_suffix(""), file) == straight, file.stem


def _summary(folder: Path, method: NoisyLabelMethod) -> tuple[str, Diagnostics]:
    diagnostics = Diagnostics()
    callbacks = (diagnostics, Curves(folder), RunSummary(folder))
    make_trainer(folder, 3, callbacks).fit(method, datamodule=ToyData(num_train=60, noise=Symmetric(0.4)))
    return (folder / "summary.json").read_text(encoding="utf-8"), diagnostics


def test_the_summary_lists_the_mixtures_one_line_an_epoch(tmp_path: Path) -> None:
    text, diagnostics = _summary(tmp_path, FittedToy(3, PlainMLP))
    summary = json.loads(text)
    assert summary["mixture"] == diagnostics.mixtures
    assert [record["epoch"] for record in summary["mixture"]["network"]] == [1, 2]
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    assert [json.loads(line) for line in lines if line.startswith('{"epoch"')] == diagnostics.mixtures["network"]
    assert summary["diagnostics"]["mixture/network_low_mean"] == pytest.approx(diagnostics.mixtures["network"][-1]["means"][0])
    assert len(text.splitlines()) < 150


def test_the_summary_of_a_method_without_a_mixture_says_so(tmp_path: Path) -> None:
    assert json.loads(_summary(tmp_path, CrossEntropy(3, PlainMLP))[0])["mixture"] == {}
