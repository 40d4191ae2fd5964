"""Batches are made on a GPU, which is only pretended, without waiting for it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pretended_gpu import CUDA, PretendedGPU, pretended_gpu

from noisylab.data import Arrays, NoisyDataModule
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.types import EpochPlan, Phase, Stream

N = 96


def _arrays(tmp_path: Path, kind: str, **kwargs: Any) -> NoisyDataModule:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    features = random.normal(size=(N, 5)).astype(np.float32)
    indptr = np.arange(N + 1)
    sparse = {
        "x_text_data": np.ones(N, np.float32),
        "x_text_indices": np.arange(N) % 7,
        "x_text_indptr": indptr,
        "x_text_shape": np.array([N, 7]),
    }
    inputs = {"pixels": {"x": pixels}, "several": {"x_image": pixels, "x_sound": features, **sparse}}[kind]
    np.savez(tmp_path / "a.npz", y=np.arange(N) % 3, **inputs)
    data = Arrays(str(tmp_path / "a.npz"), batch_size=8, chunk_size=24, **kwargs)
    data.setup()
    return data


def _chunks(data: NoisyDataModule, gpu: PretendedGPU) -> list[int]:
    """Copies to the device that each chunk of three batches takes."""
    plan = ResolvedPlan(
        EpochPlan((Phase(streams={"train": Stream(views=("weak", "strong"))}),)),
        epoch=0,
        seed=0,
        train_rows=data.info.train_rows,
        batch_size=8,
    )
    gpu.constants_allowed = True  # the first chunk brings the data, labels and settings
    batches = data.batches(plan, CUDA)
    copies = []
    for place, batch in enumerate(batches):
        if place % 3 == 0:
            copies.append(gpu.copies)
        gpu.constants_allowed = False
        samples = batch["train"]
        views = [part for view in samples.views for part in (view.values() if isinstance(view, dict) else (view,))]
        assert all(tensor.device == CUDA and len(tensor) == 8 for tensor in (*views, samples.target, samples.index))
    return [after - before for before, after in itertools.pairwise(copies)]


@pytest.mark.parametrize("kind", ["pixels", "several"])
def test_data_on_the_device(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**33, 2**34))
    data = _arrays(tmp_path, kind)
    with pretended_gpu() as gpu:
        copies = _chunks(data, gpu)
    # rows to gather (one list for each kind of input), positions, the plan of AutoAugment, row numbers
    assert copies == [4 if kind == "pixels" else 6] * 3


@pytest.mark.parametrize("kind", ["pixels", "several"])
def test_data_on_the_host(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**33, 2**34))
    data = _arrays(tmp_path, kind, residency="host")
    with pretended_gpu() as gpu:
        copies = _chunks(data, gpu)
    assert copies == [4 if kind == "pixels" else 6] * 3


def test_too_little_room_on_the_device_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 2**34))
    data = _arrays(tmp_path, "pixels")
    with pytest.warns(UserWarning, match="it stays in the host's memory") as caught, pretended_gpu() as gpu:
        _chunks(data, gpu)
    assert len(caught) == 1
