"""``--encoders_from``, and networks by names among the arguments of a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import load_yaml
from noisylab.cli.errors import UserError
from noisylab.cli.main import main
from noisylab.methods import CrossEntropy
from noisylab.models import FusionNet, SmallCNN

BASE = [("model", "CrossEntropy"), ("model.network", "FusionNet"), ("data", "Digits")]
DATA = ["--data", "Arrays", "--data.path", "two.npz", "--data.batch_size", "20", "--trainer.accelerator", "cpu"]
CNN = "{class_path: SmallCNN, init_args: {width: 4}}"


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    draw, y = np.random.default_rng(0), np.arange(60) % 3
    sound = draw.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez("two.npz", x_sound=sound, x_stats=draw.normal(size=(60, 3)) + 2 * np.eye(3)[y], y=y)


@pytest.mark.slow
def test_a_fusion_starts_from_single_views_and_resumes_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    single = ["fit", "--model", "CrossEntropy", "--model.network", CNN, *DATA, "--data.views", "[sound]"]
    assert main([*single, "--trainer.max_epochs", "1", "--run_dir", "sound"]) == 0
    network = ["--model.network", "FusionNet", "--model.network.in_features", "{stats: 3}", "--model.network.embedding", "5"]
    named = ["--model.network.encoders.sound", "SmallCNN", "--model.network.encoders.sound.width", "4"]
    still = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0"]
    fit = [
        "fit",
        "--model",
        "CrossEntropy",
        *network,
        *named,
        *still,
        *DATA,
        "--encoders_from.sound",
        "sound",
        "--run_dir",
        "both",
    ]
    capsys.readouterr()
    assert main([*fit, "--trainer.max_epochs", "1"]) == 0
    assert "network.encoders.1: loaded 24 of 26 tensors from 'network' of sound/checkpoints/last.ckpt" in capsys.readouterr().err
    config = load_yaml(Path("both/config.yaml").read_text(), "")
    (start,) = config["init_from"]
    assert (start["run"], start["encoders"], len(start["sha256"])) == (str(Path.cwd() / "sound"), ["sound"], 64)
    method, old = (CrossEntropy.load_from_checkpoint(f"{run}/checkpoints/last.ckpt") for run in ("both", "sound"))
    net = method.networks["network"]
    assert isinstance(net, FusionNet) and isinstance(net.encoders[1], SmallCNN)
    assert torch.equal(net.encoders[1].features[0].weight, old.networks["network"].features[0].weight)

    Path("sound").rename("elsewhere")  # a resume does not read it
    assert main([*fit, "--trainer.max_epochs", "2", "--resume"]) == 0
    assert json.loads(Path("both/summary.json").read_text())["epochs"] == 2
    assert load_yaml(Path("both/config.yaml").read_text(), "")["init_from"] == config["init_from"]
    Path("elsewhere").rename("sound")
    assert (
        main([*fit[:-1], "noisy", "--data.noise", "Symmetric", "--data.noise.rate", "0.2", "--data.noise.own_class", "false"])
        == 2
    )
    assert "sound was trained on other labels or rows than this run" in capsys.readouterr().err
    assert not Path("noisy").exists()


def test_an_encoder_that_cannot_take_its_view_is_named_with_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--model.network", "FusionNet", "--model.network.in_features", "{stats: 3}"]
    wrong = ["--model.network.encoders.sound", "SmallCNN", "--model.network.encoders.sound.in_channels", "3"]
    assert main(["fit", "--model", "CrossEntropy", *network, *wrong, *DATA, "--run_dir", "both"]) == 2
    said = capsys.readouterr().err
    assert "the encoder SmallCNN cannot take the view sound of a sample, 1 channel of 8x8" in said
    assert "set model.network.encoders.sound.in_channels to 1" in said and not Path("both").exists()


def test_it_is_short_for_entries_of_init_from() -> None:
    sound, stats = {"run": "a", "encoders": ["sound"]}, {"run": "b", "encoders": ["stats"]}
    for flags, expected in (
        ([("encoders_from", "{sound: a, stats: b}")], [sound, stats]),
        ([("encoders_from.sound", "a"), ("encoders_from.stats", "b")], [sound, stats]),
        ([("encoders_from.sound", "x"), ("encoders_from.stats", "b"), ("encoders_from.sound", "a")], [stats, sound]),
        ([("encoders_from", "7")], [{"run": "7", "encoders": []}]),
        ([("encoders_from", "c"), ("encoders_from", "{sound: a}")], [sound]),
        ([("init_from", "c"), ("encoders_from", "{sound: a}")], [{"run": "c"}, sound]),
        ([("encoders_from", "{sound: a}"), ("encoders_from.sound", "null")], None),
        ([("init_from", "{run: a, encoders: sound}")], [sound]),
    ):
        assert compose([], [*BASE, *flags]).config["init_from"] == expected, flags
    for flags, told in (
        ([("encoders_from.sound.part", "a")], "encoders_from.sound has no parts"),
        ([("encoders_from", "{sound: {run: a}}")], "encoders_from.sound: expected the folder of a run"),
        ([("encoders_from", "[a, b]")], "encoders_from: expected the folder of a run"),
        ([("init_from", "{run: a, into: encoders.0, encoders: [sound]}")], "into='encoders.0' and encoders="),
    ):
        with pytest.raises(UserError, match=told):
            compose([], [*BASE, *flags])


def test_networks_by_names_are_merged_and_checked_as_others_are() -> None:
    def encoders(*flags: tuple[str, str]) -> dict[str, object]:
        return compose([], [*BASE, *flags]).config["model"]["init_args"]["network"]["init_args"]["encoders"]

    at = "model.network.encoders"
    cnn, lstm = "noisylab.models.small_cnn.SmallCNN", "noisylab.models.frame_lstm.FrameLSTM"
    one = {"class_path": cnn, "init_args": {"width": 4}}
    assert encoders((at, "{a: {class_path: SmallCNN, init_args: {width: 4}}}")) == {"a": one}
    assert encoders((f"{at}.a", "SmallCNN"), (f"{at}.a.width", "4")) == {"a": one}
    assert encoders((f"{at}.a", "FrameLSTM"), (f"{at}.a.frame", "SmallCNN"), (f"{at}.a.frame.width", "4")) == {
        "a": {"class_path": lstm, "init_args": {"frame": one}}
    }
    for flags, told in (
        ([(at, "SmallCNN")], "expected classes by names"),
        ([(at, "{a: null}")], "encoders.a: expected a class, got nothing"),
        ([(f"{at}.a", "SmalCNN")], r"model.network.encoders.a: .*\n.*nearest: SmallCNN"),
        ([(f"{at}.a", "SmallCNN"), (f"{at}.a.widht", "4")], "nearest: width"),
        ([(f"{at}.a", "FrameLSTM")], "model.network.encoders.a.frame: FrameLSTM needs it"),
    ):
        with pytest.raises(UserError, match=told):
            compose([], [*BASE, *flags])
