"""The short sounds and films of ``benchmarks/data/ravdess_toy.py``, from files to trained networks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from noisylab.cli import main

for _package in ("av", "scipy", "soundfile"):  # the extra [media]
    pytest.importorskip(_package)

DATA = "--data RAVDESS --data.root toy --data.classes 6 --data.frames_per_clip 3 --data.side 32 --data.val_actors [6]"
TRAINING = "--model CrossEntropy --model.optimizer Adam --model.optimizer.lr 3e-3 --trainer.accelerator cpu"
AUDIO = {"class_path": "SpectrogramCNN", "init_args": {"widths": [8, 16, 32]}}
IMAGE = {"class_path": "SmallCNN", "init_args": {"in_channels": 3}}


def accuracies(name: str, epochs: int, inputs: str, network: list[str]) -> tuple[float, float]:
    """Test accuracy by frame and by clip of the last epoch."""
    given = [*TRAINING.split(), *DATA.split(), "--data.test_actors", "[7,8]", "--data.batch_size", "16", "--data.inputs", inputs]
    assert main(["fit", *given, "--trainer.max_epochs", str(epochs), *network, "--run_dir", name]) == 0
    found = json.loads(Path(name, "summary.json").read_text())["test"]["headline"]
    return found["last"], found["acc_sample"]


@pytest.mark.slow
def test_spectrograms_frames_and_both_are_learned_from_raw_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "data"))
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    importlib.import_module("ravdess_toy").main(["--out", "toy"])
    assert len(list(Path("toy").rglob("*.wav"))) == len(list(Path("toy").rglob("*.mp4"))) == 48
    image = ["--model.network", "SmallCNN", "--model.network.in_channels", "3"]
    audio = ["--model.network", "SpectrogramCNN", "--model.network.widths", "[8,16,32]"]
    both = ["--model.network", "FusionNet", "--model.network.in_features", "{stats: 200}", "--model.network.hidden", "[]"]
    both += ["--model.network.encoders", json.dumps({"audio": AUDIO, "image": IMAGE})]
    both += ["--encoders_from.audio", "audio", "--encoders_from.image", "image"]
    found = {
        "audio": accuracies("audio", 8, "[audio]", audio),
        "image": accuracies("image", 8, "[image]", image),
        "fusion": accuracies("fusion", 2, "[image, audio, stats]", both),
    }
    assert all(frame > 0.6 and clip > 0.6 for frame, clip in found.values()), found  # chance is a sixth
