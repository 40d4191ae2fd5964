"""Every packaged recipe parses; those on files train on small trees written in the official layout."""

import json
from pathlib import Path

import pytest
from samples import write_cifar, write_folders

from noisylab.cli import main
from noisylab.cli.config import compose
from noisylab.cli.recipes import packaged

TINY = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
OVERLAYS = ("fast.yaml", "smoke.yaml")
RECIPES = [name for name in packaged() if name not in OVERLAYS]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_prints_its_config_from_any_directory(name, capsys, tmp_path):
    assert main(["fit", "--config", name, "--print_config"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    assert compose(["again.yaml"], []).config["recipe"] == name.removesuffix(".yaml")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_header_names_source_expectation_and_hardware(name):
    text = packaged()[name].read_text()
    for word in ("# Source: ", "# Expected: ", "# Hardware: "):
        assert word in text
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize(("name", "classes"), [("act_cifar100.yaml", 100), ("act_cifar80.yaml", 80)])
def test_act_trains_one_epoch_on_the_official_cifar100_layout(name, classes, tmp_path):
    write_cifar(tmp_path / "data", 100, 100, 100)
    flags = ["--data.root", "data", "--data.verify", "false", "--data.batch_size", "50", "--model.warmup_epochs", "0"]
    assert main(["fit", "--config", name, *TINY, *flags, "--run_dir", "R"]) == 0
    summary = json.loads(Path("R/summary.json").read_text())
    assert summary["data"]["num_classes"] == classes
    assert sum(map(sum, summary["test"]["robust"]["confusion"])) == classes
    assert summary["diagnostics"]["select/size"] >= 0


def test_cross_entropy_trains_one_epoch_on_the_official_cifar10_layout(tmp_path):
    write_cifar(tmp_path / "data", 10, 20, 10)
    flags = ["--data.root", "data", "--data.verify", "false", "--model.network", "SmallCNN", "--model.network.in_channels", "3"]
    assert main(["fit", "--config", "ce_cifar10.yaml", *TINY, *flags, "--run_dir", "R"]) == 0


def test_act_trains_one_epoch_on_the_web_layout(tmp_path):
    pytest.importorskip("randaugment")
    for split in ("train", "val"):
        write_folders(tmp_path / "web" / split, each=4, size=(40, 36))
    network = ["--model.network.name", "resnet18", "--model.network.weights", "null"]
    sizes = [
        "--data.root",
        "web",
        "--data.resize",
        "32",
        "--data.crop",
        "32",
        "--data.num_workers",
        "0",
        "--data.batch_size",
        "4",
    ]
    flags = ["--model.warmup_epochs", "0", "--trainer.precision", "32-true"]
    assert main(["fit", "--config", "act_web_aircraft.yaml", *TINY, *network, *sizes, *flags, "--run_dir", "R"]) == 0
    summary = json.loads(Path("R/summary.json").read_text())
    assert summary["noise"]["kind"] is None
    assert "memorization/clean_acc" not in summary["diagnostics"]
