"""`noisylab data pack`: from files to a finished run, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisylab.cli import main


def arrays(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (48, 3, 8, 8), dtype=np.uint8), np.arange(48) % 3
    np.savez(tmp_path / "mine.npz", x=x, y=y, test_x=x[:12], test_y=y[:12])
    return tmp_path / "mine.npz"


@pytest.mark.slow
def test_arrays_are_packed_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "pack", "--arrays", str(arrays(tmp_path)), "--out", "pack", "--keep_order"]) == 0
    run = ["fit", "--config", "ce_digits.yaml", "--data", "Shards", "--data.path", "pack", "--data.noise.rate", "0.2"]
    run += ["--model.network", "SmallCNN", "--model.network.in_channels", "3", "--trainer.max_epochs", "1"]
    assert main([*run, "--data.batch_size", "16", "--run_dir", "run"]) == 0
    assert len((tmp_path / "run" / "label_issues.csv").read_text().splitlines()) == 49
    assert main(["test", "--run_dir", "run"]) == 0


def test_pictures_of_a_table_are_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["file,label"]
    for row in range(6):
        Image.new("RGB", (9, 9), (40 * row, 0, 0)).save(tmp_path / f"{row}.png")
        rows.append(f"{row}.png,{'ab'[row % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    out = tmp_path / "pack"
    words = ["data", "pack", "--images", str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--out", str(out)]
    assert main([*words, "--shard_mb", "1"]) == 0
    assert f"{out}: 6 pictures in 1 shards; train with --data Shards --data.path {out}" in capsys.readouterr().out
    assert main(words) == 2 and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x"], "needs --images DIR"),
        (["--images", "a", "--arrays", "b", "--out", "x"], "one of them"),
        (["--images", "a"], "needs --out DIR"),
        (["--arrays", "b", "--labels", "c", "--out", "x"], "--labels belongs to --images"),
        (["--arrays", "b", "--out", "x", "--shard_mb", "0"], "in 1..2047, got '0'"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", *words]) == 2 and said in capsys.readouterr().err
