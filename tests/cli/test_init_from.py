"""``--init_from``: a run that starts from the weights of another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import load_yaml
from noisylab.cli.errors import UserError
from noisylab.cli.main import main

DATA = ["--data", "Arrays", "--data.path", "a.npz", "--data.batch_size", "20", "--trainer.accelerator", "cpu"]
NETWORK = ["--model.network", "MLP", "--model.network.in_features", "3", "--model.network.hidden", "[4]"]
FIT = ["fit", "--model", "CrossEntropy", *NETWORK, *DATA, "--trainer.max_epochs", "1"]
STILL = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0"]
BASE = [("model", "CrossEntropy"), ("model.network", "SmallCNN"), ("data", "Digits")]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    draw = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez("a.npz", x=(draw.normal(size=(60, 3)) + 2 * np.eye(3)[y]).astype(np.float32), y=y)


def weights(run: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("networks.")}


@pytest.mark.slow
def test_another_method_starts_from_a_run_says_so_and_resumes_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--run_dir", "old"]) == 0
    begun = ["fit", "--model", "ELR", *NETWORK, *DATA, *STILL, "--init_from", "old", "--run_dir", "new"]
    capsys.readouterr()
    assert main([*begun, "--trainer.max_epochs", "1"]) == 0
    assert "network: loaded 4 of 4 tensors from 'network' of old/checkpoints/last.ckpt (CrossEntropy, epoch 1)" in (
        capsys.readouterr().err
    )
    old, new = weights("old"), weights("new")
    assert all(torch.equal(old[name], new[name]) for name in old)
    config, summary = load_yaml(Path("new/config.yaml").read_text(), ""), json.loads(Path("new/summary.json").read_text())
    digest = hashlib.sha256(Path("old/checkpoints/last.ckpt").read_bytes()).hexdigest()
    assert config["init_from"] == [{"run": str(Path.cwd() / "old"), "sha256": digest}]
    assert summary["started_from"][0]["sha256"] == digest and summary["started_from"][0]["method"] == "CrossEntropy"

    Path("old").rename("elsewhere")  # a resume does not read it
    assert main([*begun, "--trainer.max_epochs", "2", "--resume"]) == 0
    again = json.loads(Path("new/summary.json").read_text())
    assert load_yaml(Path("new/config.yaml").read_text(), "")["init_from"] == config["init_from"]
    assert again["epochs"] == 2 and again["started_from"] == summary["started_from"]
    assert main(["fit", "--run_dir", "new", "--resume", "--init_from", "elsewhere", "--trainer.max_epochs", "3"]) == 2
    assert "changes init_from" in capsys.readouterr().err

    assert main(["fit", "--config", "new/config.yaml", "--run_dir", "repeated"]) == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    Path("elsewhere").rename("old")
    assert main([*FIT, "--run_dir", "old", "--overwrite", "--seed_everything", "1"]) == 0
    assert main(["fit", "--config", "new/config.yaml", "--run_dir", "repeated"]) == 2
    assert "the run was trained further or replaced" in capsys.readouterr().err
    assert not Path("repeated").exists()
    assert "init_from" not in Path("old/config.yaml").read_text()


def test_every_way_to_write_it_means_the_same() -> None:
    whole = [{"run": "a", "source": "first", "networks": ["second"]}]
    for flags in (
        [("init_from", "a"), ("init_from.source", "first"), ("init_from.networks", "second")],
        [("init_from", "{run: a, source: first, networks: [second]}")],
        [("init_from", "[{run: a, source: first, networks: second}]")],
    ):
        assert compose([], [*BASE, *flags]).config["init_from"] == whole
    assert compose([], [*BASE, ("init_from", "[a, {run: 7, into: encoders.1}]")]).config["init_from"] == [
        {"run": "a"},
        {"run": "7", "into": "encoders.1"},
    ]
    assert compose([], [*BASE, ("init_from", "a"), ("init_from+", "b")]).config["init_from"] == [{"run": "a"}, {"run": "b"}]
    assert compose([], [*BASE, ("init_from", "a"), ("init_from", "null")]).config["init_from"] is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([("init_from.source", "first")], "give the run first"),
        ([("init_from", "{source: first}")], "run is missing"),
        ([("init_from", "a"), ("init_from.sources", "x")], "nearest: source"),
        ([("init_from", "a"), ("init_from.part", "body")], "init_from.part: wrong value"),
        ([("init_from", "a"), ("init_from.part.x", "body")], "has no parts"),
        ([("init_from", "{run: ' '}")], "init_from: run must be the folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(flags: list[tuple[str, str | None]], told: str) -> None:
    with pytest.raises(UserError, match=told):
        compose([], [*BASE, *flags])


def test_folds_cannot_start_from_a_run_that_may_have_seen_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folds", *FIT[1:], "--folds", "2", "--init_from", "old", "--run_dir", "series"]) == 2
    assert "noisylab folds tests every row with a network that never saw it" in capsys.readouterr().err
    assert not Path("series").exists()
