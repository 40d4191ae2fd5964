"""Each program runs end to end in a tiny form and writes what it says."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import checkpoints
import epoch
import floor
import lightning as L
import loaders
import loop
import meta
import mixture
import pytest
import scaling
import signals
import torch
import view_differences
import views
from madeup import RandomImages, one_epoch
from plain import PlainACT
from samples import write_packed
from stepwise import StepwiseFit
from torch.utils.data import DataLoader
from usual import UsualACT, UsualData, UsualImages

from noisylab.models import SmallCNN
from noisylab.types import Batch

Run = Callable[..., dict[str, Any]]
PROGRAMS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.py"))


def by_row(facts: dict[str, Any]) -> dict[str, Any]:
    return {row["row"]: row for row in facts["rows"]}


def test_checkpoints(run: Run, tmp_path: Path) -> None:
    facts = run(checkpoints, "--repeats", 2, "--rows", 4000, "--classes", 10, "--folder", tmp_path)
    assert list(by_row(facts)) == ["plain", "atomic", "verify", "load"]
    sizes = {row["group"].split(",")[0]: row["bytes_a_sample"] for row in facts["rows"]}
    # observed loss, prediction, epoch, four sums and ten probabilities for the list of labels; ACT also times and epoch of
    # selection and ten label probabilities; 4 bytes each
    assert abs(sizes["CrossEntropy"] - 68) < 1 and abs(sizes["ACT"] - 116) < 1
    assert not list(tmp_path.glob("tmp*")), "the files are removed"


def test_saves_of_a_longer_run(run: Run, tmp_path: Path) -> None:
    facts = run(checkpoints, "--epochs", 3, "--folder", tmp_path)
    for name in ("CrossEntropy", "DivideMix"):
        found = facts[f"growth of {name}"]
        assert found["epochs"] == 3 and found["ms"]["last"] > 0
    sizes = facts["growth of CrossEntropy"]["bytes"]
    assert abs(sizes["last"] - sizes["first"]) < 1000


def test_views(run: Run) -> None:
    pytest.importorskip("randaugment")
    facts = run(views, "--repeats", 2, "--rows", 64, "--pil_rows", 32, "--batch", 16)
    assert set(by_row(facts)) == {"PIL weak", "PIL weak + strong", "noisylab weak", "noisylab weak + strong"}
    assert [claim["bound"] for claim in facts["claims"]] == [35, 35, 6]
    assert all(claim["met"] in (True, False) for claim in facts["claims"])
    assert "CIFAR10Policy" in facts["strong PIL view"]


def test_views_of_other_policies(run: Run) -> None:
    pytest.importorskip("randaugment")
    facts = run(views, "--repeats", 2, "--rows", 32, "--pil_rows", 16, "--batch", 16, "--policies")
    assert {name for name in by_row(facts) if "Mix" in name or "Rand" in name} == {
        f"{side} weak + {policy}" for side in ("PIL", "noisylab") for policy in ("RandAugment", "AugMix")
    }


def test_loop_overhead(run: Run) -> None:
    facts = run(loop, "--repeats", 2, "--groups", "act", "ce", "--network", "SmallCNN", "--batch", 8, "--steps", 2)
    rows = [(row["group"].split(",")[0], row["row"]) for row in facts["rows"]]
    assert rows == [(kind, row) for kind in ("ACT", "CE") for row in ("plain loop", "noisylab", "batches alone")]
    assert [claim["bound"] for claim in facts["claims"]] == [None, None]  # that of ACTNet does not hold for other networks


def test_loop_tiny_has_diagnostics_and_a_bound(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    facts = run(loop, "--short", "--repeats", 2, "--groups", "tiny", "--batch", 8, "--steps", 3, "--width", 8)
    assert facts["tiny_width"] == 8 and set(by_row(facts)) == {"plain loop", "noisylab", "batches alone"}
    assert [claim["bound"] for claim in facts["claims"]] == [1.10]
    assert "benchmark:" not in capfd.readouterr().err  # the progress bar goes nowhere


def test_loop_tuning_finds_a_width() -> None:
    assert loop.tuned_width(torch.device("cpu"), 8, target=0) == loop.WIDTHS[0]


def test_loop_bf16(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "has_amx", lambda: True)
    facts = run(loop, "--repeats", 2, "--groups", "bf16", "--network", "SmallCNN", "--batch", 8, "--steps", 2)
    assert set(by_row(facts)) == {"float32", "bf16-mixed, channels_last"}
    assert [(claim["bound"], claim["direction"]) for claim in facts["claims"]] == [(4, "at least")]


def test_loop_bf16_needs_matrix_units(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "has_amx", lambda: False)
    facts = run(loop, "--repeats", 2, "--groups", "bf16")
    (claim,) = facts["claims"]
    assert facts["rows"] == [] and claim["met"] is None and "AMX" in claim["why"]


def test_cuda_graphs_need_cuda(run: Run) -> None:
    for program in (loop, epoch):
        with pytest.raises(SystemExit):
            run(program, "--cuda_graphs")


def test_epoch(run: Run) -> None:
    pytest.importorskip("randaugment")
    facts = run(epoch, "--repeats", 2, "--rows", 24, "--batch", 8, "--network", "SmallCNN", "--workers", 1)
    rows = by_row(facts)
    assert set(rows) == {"the usual way", "noisylab, float32", "noisylab, bf16-mixed, channels_last"}
    assert rows["the usual way"]["images_per_s"] == pytest.approx(24_000 / rows["the usual way"]["ms"])
    assert (facts["workers"], facts["rows_an_epoch"], facts["memory"]) == (1, 24, {})
    assert facts["claims"][-1]["claim"] == epoch.MEMORY_CLAIM and "CUDA" in facts["claims"][-1]["why"]


def test_usual_way_selects_and_fills_its_tables() -> None:
    pytest.importorskip("randaugment")
    data = RandomImages(16, 4, batch_size=8)
    data.setup("fit")
    nets = [SmallCNN(4, in_channels=3) for _ in range(2)]
    module = UsualACT(*nets, data.given_target, 4)
    loader = UsualData(UsualImages(data.inputs(), data.given_target), 8, num_workers=0)
    with StepwiseFit(module, loader, torch.device("cpu"), unit="epoch") as run_of_it:
        run_of_it.turn(2)
    assert torch.allclose(module.label_table.sum(1), torch.ones(16))
    assert not torch.equal(module.label_table.argmax(1).float(), module.label_table.max(1).values)
    assert all(bool(parameter.isfinite().all()) for parameter in nets[0].parameters())


def test_usual_way_is_the_same_algorithm() -> None:
    data, cpu = RandomImages(24, 4, batch_size=8), torch.device("cpu")
    data.setup("fit")
    nets = [SmallCNN(4, in_channels=3) for _ in range(2)]
    usual, loop_nets = UsualACT(*copy.deepcopy(nets), data.given_target, 4), copy.deepcopy(nets)
    plain_loop = PlainACT(*loop_nets, data.given_target, 4)
    batches = [batch["train"] for batch in one_epoch(data, cpu, plain_loop.views)]
    with StepwiseFit(usual, SameBatches(batches), cpu) as run_of_it:
        run_of_it.turn(3)
    for batch in batches:
        plain_loop.step(batch, 0)
    torch.testing.assert_close(usual.label_table, plain_loop.label_table)
    assert usual.times_selected.tolist() == plain_loop.times_selected.tolist()
    for theirs, ours in zip((usual.robust, usual.standard), loop_nets, strict=True):
        torch.testing.assert_close(theirs.state_dict(), ours.state_dict())


class SameBatches(L.LightningDataModule):
    """Batches that are there already, as the usual way takes them."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Any]:
        tuples: Any = [(*batch.views, batch.target, batch.index) for batch in self.batches]
        return DataLoader(tuples, batch_size=None)


@pytest.mark.slow
def test_floor(run: Run) -> None:
    facts = run(floor, "--repeats", 2, "--short", "--batch", 2)
    assert {row["row"] for row in facts["rows"]} == {"float32 product", "bf16 product", "copy"}
    # 672 MFLOP an image, forward and backward, without the first layer's gradient with respect to the image
    assert facts["flops of a step"] == pytest.approx(3 * 2 * 672e6, rel=0.01)
    expected = 1000 * facts["flops of a step"] / facts["flops a second"]["float32 product"]
    assert facts["floors"]["ACT step in float32, ms"] == pytest.approx(expected)


@pytest.mark.slow
def test_scaling(run: Run) -> None:
    facts = run(scaling, "--repeats", 2, "--sizes", 64, 128, "--classes", 3, "--batch", 32, "--turn_rows", 128)
    small, large = facts["rows"]
    assert [(row["n"], row["k"]) for row in (small, large)] == [(64, 3), (128, 3)]
    # observed loss, prediction and epoch, times selected, selected epoch, four sums: 4 bytes each; 3 floats of the label table
    # and 3 of the summed probabilities
    assert (small["memories_bytes"], large["memories_bytes"]) == (64 * 60, 128 * 60)
    assert small["tables_bytes"]["label_table"] == 64 * 12
    assert small["peak_growth_bytes"] > 0 and small["epoch_s"] == pytest.approx(64e-6 * small["us_a_sample"])
    assert [claim["bound"] for claim in facts["claims"]] == [None]


def test_scaling_needs_a_sample_of_every_class(run: Run) -> None:
    with pytest.raises(SystemExit):
        run(scaling, "--sizes", 10, "--classes", 11)


@pytest.mark.slow
def test_loaders(run: Run) -> None:
    facts = run(loaders, "--repeats", 2, "--workers", 1, "--images", 8, "--batch", 4, "--pictures", "60x45", "--sizes", 16)
    walls, cpu = facts["rows"][:5], facts["rows"][5:]
    assert [row["row"] for row in walls] == ["torchvision", "pil", "device", "workers", "decode"]
    assert [row["row"] for row in cpu] == [row["row"] for row in walls] and cpu[0]["group"].endswith("CPU time")
    assert all(row["images_per_s"] == pytest.approx(1000 / row["ms"]) for row in walls)
    assert facts["cores"] >= 1 and facts["kilobytes"]["60 x 45"] > 0
    assert [claim["bound"] for claim in facts["claims"]] == [None, 2.0, 2.0, None, None, None, None]


@pytest.mark.slow
def test_view_differences(run: Run, tmp_path: Path) -> None:
    write_packed(tmp_path / "a.npz", classes=2, rows=8, test_rows=4, side=32)
    few = ("--pictures", 2, "--accuracy", tmp_path / "a.npz", "--train", 8, "--test", 4, "--epochs", 1, "--seeds", 1)
    facts = run(view_differences, "--short", "--repeats", 2, *few)
    operations = facts["operations"].values()
    assert all(found["ours"]["most"] == 0 for found in operations) and any(found["kornia"]["most"] > 9 for found in operations)
    assert len(facts["policies"]) == 5 and len(facts["decoding"]) == 3
    assert all(len(values) == 1 and 0 <= values[0] <= 1 for values in facts["accuracy"].values())


def test_mixture(run: Run) -> None:
    facts = run(mixture, "--repeats", 3, "--sizes", 40, 700)
    rows = [(row["group"], row["row"]) for row in facts["rows"]]
    assert rows == [(f"N = {size}", row) for size in (40, 700) for row in ("scikit-learn", "noisylab")]
    assert [(claim["bound"], claim["direction"]) for claim in facts["claims"]] == [(None, "at least")] * 2  # 5 is for 10^6
    for found in facts["differences"].values():
        assert 0 <= found["scikit-learn's spread"] < 0.5 and 0 <= found["farthest from scikit-learn"] < 0.5


def test_signals(run: Run) -> None:
    facts = run(signals, "--short", "--repeats", 2)
    assert [row["row"] for row in facts["rows"]] == ["step", "sums"]
    assert [(claim["bound"], claim["direction"]) for claim in facts["claims"]] == [(0.03, "at most")]


def test_mixture_bound_is_that_of_a_million_losses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "CLAIMED", 700)
    facts = run(mixture, "--repeats", 2, "--sizes", 699, 700)
    assert [claim["bound"] for claim in facts["claims"]] == [None, 5]


@pytest.mark.parametrize("program", [views, loop, epoch, scaling, loaders, meta, mixture, signals, view_differences])
def test_program_says_what_is_timed_and_how_to_read_it(program: ModuleType) -> None:
    text = " ".join((program.__doc__ or "").split())
    assert "imed is" in text and "How to read it" in text and f"python benchmarks/{program.__name__}.py" in text


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs_are_documented_and_short(path: Path) -> None:
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)) and len(source.splitlines()) <= 350
