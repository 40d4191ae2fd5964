"""What holds in every training step: nothing is logged, nothing is read back, memories stay in float32."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PACKAGED, DropoutMLP, PhasedDummy, PlainMLP, SideStreamDummy, StagedDummy, ToyData, make_trainer
from helpers.read_backs import ReadBacks
from lightning.pytorch.plugins import MixedPrecision

import noisylab
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric
from noisylab.types import PlanBatch

_METHODS: dict[str, Any] = {
    **PACKAGED,
    "ce-others": partial(CrossEntropy, 3, DropoutMLP, label_smoothing=0.1, smoothing="others"),
    "act-web": partial(ACT, 3, DropoutMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3", variant="web", label_smoothing=0.35),
}


def _watched(method: NoisyLabelMethod, watch: Any) -> None:
    """Let `watch` wrap every training step."""
    original = method.training_step

    def training_step(batch: PlanBatch, batch_idx: int) -> Any:
        with watch():
            return original(batch, batch_idx)

    method.training_step = training_step  # type: ignore[method-assign]


@pytest.mark.parametrize("name", _METHODS)
def test_training_step_reads_nothing_back(name: str, tmp_path: Path) -> None:
    method, mode = _METHODS[name](), ReadBacks()
    _watched(method, lambda: mode)
    make_trainer(tmp_path, 2).fit(method, datamodule=ToyData(noise=Symmetric(0.4), val_fraction=0.2))
    assert mode.calls > 100
    assert dict(+mode.found) == {}


def test_the_counter_sees_a_read_back() -> None:
    with ReadBacks() as mode:
        torch.ones(3).sum().item()
        torch.ones(3)[torch.tensor([True, False, True])]
    assert mode.found["_local_scalar_dense"] == 1 and mode.found["index by mask"] == 1


@pytest.mark.parametrize("name", _METHODS)
def test_training_step_logs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = _METHODS[name]()
    inside = False

    class Inside:
        def __enter__(self) -> None:
            nonlocal inside
            inside = True

        def __exit__(self, *_: object) -> None:
            nonlocal inside
            inside = False

    logged = method.log

    def log(*args: Any, **kwargs: Any) -> None:
        assert not inside, "self.log in training_step costs 300 us a scalar; use self.means"
        logged(*args, **kwargs)

    monkeypatch.setattr(method, "log", log)
    _watched(method, Inside)
    make_trainer(tmp_path, 2).fit(method, datamodule=ToyData(val_fraction=0.2))
    assert "train/loss" in method.epoch_metrics


def test_no_method_file_logs_but_through_log_epoch() -> None:
    for file in sorted((Path(noisylab.__file__).parent / "methods").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        logged = [node.lineno for node in calls if node.attr in ("log", "log_dict") and ast.unparse(node.value) == "self"]
        assert len(logged) == (file.name == "evaluation.py"), f"{file.name}, lines {logged}"


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("cls", [PhasedDummy, StagedDummy, SideStreamDummy])  # methods: tests/engine/test_precision.py
def test_mixed_precision_trains_with_memories_in_float32(cls: Any, precision: str, tmp_path: Path) -> None:
    method = cls(3, PlainMLP)
    before = [p.detach().clone() for p in method.networks.parameters()]
    seen: list[torch.dtype] = []
    hook = method.networks[method.headline].head.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    # Lightning has no float16 for the CPU unless it is handed a scaler
    half = {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=64.0))]}
    options: dict[str, Any] = half if precision == "16-mixed" else {"precision": precision}
    make_trainer(tmp_path, 3, **options).fit(method, datamodule=ToyData(val_fraction=0.1))
    hook.remove()
    assert torch.bfloat16 in seen or torch.float16 in seen
    for name in method.memory:
        table = method.memory[name]
        assert table.dtype in (torch.float32, torch.int32, torch.int8), name
    trained = method.memory["observed_epoch"] >= 0
    losses = method.memory["observed_loss"][trained]
    assert bool(losses.isfinite().all()) and bool((losses != losses.bfloat16().float()).any())
    for old, new in zip(before, method.networks.parameters(), strict=True):
        assert bool(new.isfinite().all()) and not torch.equal(old, new)


def test_network_of_another_width_is_refused(tmp_path: Path) -> None:
    method = CrossEntropy(3, PlainMLP)
    method.networks["network"].head = torch.nn.Linear(8, 5)
    with pytest.raises(ValueError, match=r"returned \(8, 5\), expected \(batch, 3\)"):
        make_trainer(tmp_path, 1).fit(method, datamodule=ToyData())
