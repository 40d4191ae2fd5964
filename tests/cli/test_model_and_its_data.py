"""A model belongs to the data it was trained on, whatever has become of the folder since."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from noisylab.checkpoints.fitted import fitted_in
from noisylab.cli import main

pytestmark = pytest.mark.slow
GREY = {"ant": 40, "bee": 200}
SHORT = ("--trainer.accelerator", "cpu", "--data.batch_size", "8")
NETWORK = ("--model", "CrossEntropy", "--model.network", "SmallCNN", "--model.network.width", "4")
FAST = ("--model.optimizer", "Adam", "--model.optimizer.lr", "1e-2")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


def write(folder: str, gray: int, numbers: range) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng(number).normal(gray, 10, (8, 8)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(Path(folder) / f"{number}.png")


def folders(images: str = "train", tested: str | None = "held") -> None:
    for name, gray in GREY.items():
        write(f"{images}/{name}", gray, range(12))
        if tested is not None:
            write(f"{tested}/{name}", gray, range(20, 24))
    write("new", GREY["ant"], range(30, 34))


def fit(*argv: str, run: str = "run") -> int:
    data = ("--data", "ImageFolder", "--data.images", "train", "--data.test_images", "held")
    return main(["fit", *NETWORK, *FAST, *data, *SHORT, "--trainer.max_epochs", "6", "--run_dir", run, *argv])


def predicted(out: str) -> list[tuple[str, str]]:
    assert main(["predict", "--run_dir", "run", "--images", "new", "--out", out]) == 0
    with Path(out).open() as file:
        return [(row["predicted"], row["probability"]) for row in csv.DictReader(file)]


def test_predictions_depend_on_the_model_alone(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    first = predicted("1.csv")
    assert {name for name, _ in first} == {"ant"}
    write("train/bee", 250, range(40, 70))
    assert predicted("2.csv") == first
    Path("train/ant").rename("train/wasp")  # now the second class by name
    assert predicted("3.csv") == first
    shutil.rmtree("train")
    assert predicted("4.csv") == first
    assert "note" not in capsys.readouterr().err


def test_broken_pictures_have_no_prediction_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    Path("new/31.png").write_text("no picture")
    command = ["predict", "--run_dir", "run", "--images", "new", "--out", "p.csv"]
    assert main(command) == 2
    assert "predict: --skip_unreadable" in capsys.readouterr().err and not Path("p.csv").exists()
    assert main([*command, "--skip_unreadable"]) == 0
    said = capsys.readouterr().err
    assert "left out: 31.png is not an image" in said and "1 picture has no prediction, its cells are empty: 31.png" in said
    with Path("p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["30.png", "31.png", "32.png", "33.png"]
    assert [bool(row["predicted"]) and bool(row["probability"]) for row in rows] == [True, False, True, True]
    assert main(["predict", "--run_dir", "run", "--skip_unreadable"]) == 2
    assert "belongs to --images" in capsys.readouterr().err


def test_pictures_opened_as_needed_are_predicted_without_the_training_folder() -> None:
    folders()
    assert fit("--data.load", "files", "--data.size", "8", "--model.network.in_channels", "3") == 0
    first = predicted("1.csv")
    shutil.rmtree("train")
    assert predicted("2.csv") == first


def test_evaluation_refuses_other_classes_and_says_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    capsys.readouterr()
    assert main(["test", "--run_dir", "run"]) == 0
    unchanged = capsys.readouterr()
    assert "note" not in unchanged.err
    write("train/bee", 250, range(40, 50))
    assert main(["test", "--run_dir", "run"]) == 0
    grown = capsys.readouterr()
    assert grown.out == unchanged.out  # the statistics of training
    assert "the training data have 34 rows now and had 24 when the model was trained" in grown.err
    write("held/bee", 250, range(40, 41))
    assert main(["test", "--run_dir", "run"]) == 0
    assert "the test data have 9 rows now and had 8" in capsys.readouterr().err
    for part in ("train", "held"):
        Path(part, "ant").rename(Path(part, "wasp"))
    for command in (["test"], ["validate"]):
        assert main([*command, "--run_dir", "run"]) == 2
        assert "trained on the classes ant, bee; the data are now without ant and with wasp besides" in capsys.readouterr().err


def test_held_out_rows_of_changed_data_are_not_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit("--data.val_fraction", "0.25") == 0
    write("train/bee", 250, range(40, 50))
    capsys.readouterr()
    assert main(["validate", "--run_dir", "run"]) == 2
    assert "it is no longer known which rows the model has seen" in capsys.readouterr().err


def test_a_relative_path_means_the_folder_of_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders()
    assert fit() == 0
    capsys.readouterr()
    assert main(["test", "--run_dir", "run"]) == 0
    there = capsys.readouterr().out
    Path("other").mkdir()
    monkeypatch.chdir("other")
    folders()
    for part in ("train", "held"):  # the same names with the pictures exchanged
        Path(part, "ant").rename("t")
        Path(part, "bee").rename(Path(part, "ant"))
        Path("t").rename(Path(part, "bee"))
    assert main(["test", "--run_dir", "../run"]) == 0
    assert capsys.readouterr().out == there
    shutil.move("../run", "moved")
    assert main(["test", "--run_dir", "moved"]) == 0
    assert capsys.readouterr().out == there
    assert main(["fit", "--config", "moved/config.yaml", "--run_dir", "again"]) == 0
    assert Path("again/metrics.csv").read_text() == Path("moved/metrics.csv").read_text()


def test_a_run_with_other_pictures_of_the_same_labels_is_not_continued(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    shutil.copytree("train", "copy")
    write("train/bee", 100, range(3, 4))
    go_on = ["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs", "7"]
    capsys.readouterr()
    assert main(go_on) == 2
    assert "the inputs of the training data are no longer those that the model was trained with" in capsys.readouterr().err
    shutil.rmtree("train")
    shutil.copytree("copy", "train", copy_function=shutil.copyfile)  # other times of change, the same content
    assert main(go_on) == 0


def test_issues_of_a_run_whose_inputs_or_names_changed_are_not_described(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    page = Path("run/issues.html")
    write("train/bee", 100, range(3, 4))
    capsys.readouterr()
    assert main(["issues", "--run", "run"]) == 2
    assert "the inputs of the training data are no longer" in capsys.readouterr().err and not page.exists()
    write("train/bee", GREY["bee"], range(3, 4))
    assert main(["issues", "--run", "run"]) == 0 and page.exists()
    for part in ("train", "held"):
        Path(part, "ant").rename(Path(part, "wasp"))
    assert main(["issues", "--run", "run"]) == 2
    assert "without ant and with wasp besides" in capsys.readouterr().err


def test_a_checkpoint_without_a_record_takes_the_data_as_they_are_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit() == 0
    for name in ("last", "best"):
        file = Path("run/checkpoints") / f"{name}.ckpt"
        if file.exists():
            content = torch.load(file, weights_only=True)
            del content["noisylab"]["fitted"]
            torch.save(content, file)
    assert fitted_in("run/checkpoints/last.ckpt") is None and fitted_in("run/config.yaml") is None
    capsys.readouterr()
    assert main(["test", "--run_dir", "run"]) == 0
    assert "an older noisylab wrote this checkpoint" in capsys.readouterr().err


def test_files_of_noise_and_data_are_absolute_in_the_config_and_not_in_a_printed_one(capsys: pytest.CaptureFixture[str]) -> None:
    folders()
    assert fit("--data.noise", "Symmetric", "--data.noise.rate", "0.2") == 0
    again = ("--data.noise", "FromFile", "--data.noise.path", "run/noise.npz")
    assert fit(*again, run="second") == 0
    data = yaml.safe_load(Path("second/config.yaml").read_text())["data"]["init_args"]
    assert data["images"] == str(Path.cwd() / "train") and data["test_images"] == str(Path.cwd() / "held")
    assert data["noise"]["init_args"]["path"] == str(Path.cwd() / "run/noise.npz") and data["labels_csv"] is None
    capsys.readouterr()
    assert fit("--print_config") == 0
    assert "images: train\n" in capsys.readouterr().out
