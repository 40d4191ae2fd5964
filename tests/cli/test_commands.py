"""The commands, as a user types them."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dashboards import read_wandb

from noisylab.cli import main
from noisylab.noise import load_noise

TINY = ["--data.subset", "80", "--data.batch_size", "32", "--trainer.max_epochs", "3"]
ACT = ["fit", "--config", "act_digits.yaml", *TINY, "--model.warmup_epochs", "1", "--model.network.width", "4"]
CE = ["fit", "--config", "ce_digits.yaml", *TINY, "--model.network.width", "4"]


@pytest.fixture(scope="module")
def act_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "X"
    assert main([*ACT, "--run_dir", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_run_folder_is_complete(act_run):
    files = {".noisylab", "config.yaml", "metrics.csv", "checkpoints", "noise.npz", "summary.json", "label_issues.csv"}
    assert {path.name for path in act_run.iterdir()} == files
    summary = json.loads((act_run / "summary.json").read_text())
    assert (summary["recipe"], summary["method"], summary["seed"], summary["complete"]) == ("act_digits", "ACT", 0, True)
    assert set(summary["test"]) == {"headline", "robust", "standard", "ensemble"}
    assert summary["headline"] == summary["test"]["headline"]["last10_mean"] == summary["test"]["robust"]["last10_mean"]
    assert summary["test"]["headline"]["best_by_val"] is None
    assert sum(map(sum, summary["test"]["headline"]["confusion"])) == 80
    assert 0 <= summary["diagnostics"]["memorization/noisy_as_given"] <= 1
    noise = load_noise(act_run / "noise.npz")
    assert noise.kind == "symmetric"
    assert summary["noise"]["measured_rate"] == pytest.approx(noise.measured_rate)


def test_headline_statistics_follow_from_the_curves(act_run):
    rows = read_csv(act_run / "metrics.csv")
    values = [float(row["value"]) for row in rows if row["name"] == "test/acc"]
    headline = json.loads((act_run / "summary.json").read_text())["test"]["headline"]
    mean = sum(values) / len(values)
    assert len(values) == 3
    assert headline["last"] == values[-1]
    assert headline["last10_mean"] == pytest.approx(mean)
    assert headline["last10_std"] == pytest.approx((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5)


def test_the_same_recipe_twice_gives_the_same_curves(act_run):
    assert main([*ACT, "--run_dir", "Y"]) == 0
    assert Path("Y/metrics.csv").read_text() == (act_run / "metrics.csv").read_text()


def test_the_saved_config_repeats_the_run(act_run):
    assert main(["fit", "--config", str(act_run / "config.yaml"), "--run_dir", "Z"]) == 0
    assert Path("Z/metrics.csv").read_text() == (act_run / "metrics.csv").read_text()
    assert Path("Z/config.yaml").read_text() == (act_run / "config.yaml").read_text()


@pytest.mark.parametrize("kill_at", [2, 4])
def test_killed_and_resumed_equals_undisturbed(act_run, kill_at, monkeypatch):
    from noisylab.callbacks import RunCheckpoint

    class Killed(Exception):
        pass

    save = RunCheckpoint.on_train_batch_end

    def save_then_die(self, trainer, pl_module, outputs, batch, batch_idx):
        self.every_n_steps = 1
        save(self, trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == kill_at:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RunCheckpoint, "on_train_batch_end", save_then_die)
        with pytest.raises(Killed):
            main([*ACT, "--run_dir", "K"])
    assert main(["fit", "--run_dir", "K", "--resume"]) == 0
    assert Path("K/metrics.csv").read_text() == (act_run / "metrics.csv").read_text()
    first, second = (torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True) for folder in ("K", act_run))
    for name, value in first["state_dict"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second["state_dict"][name]), name


def test_a_damaged_checkpoint_falls_back_to_the_one_before(act_run, capsys):
    shutil.copytree(act_run, "D")
    last = Path("D/checkpoints/last.ckpt")
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert main(["fit", "--run_dir", "D", "--resume"]) == 0
    assert "damaged" in capsys.readouterr().err
    assert Path("D/metrics.csv").read_text() == (act_run / "metrics.csv").read_text()


def test_a_stand_in_for_a_damaged_checkpoint_is_said(act_run, capsys):
    shutil.copytree(act_run, "E")
    last = Path("E/checkpoints/last.ckpt")
    last.write_bytes(b"PK damaged")
    assert main(["test", "--run_dir", "E"]) == 0
    assert "using last.ckpt.previous, which is older" in capsys.readouterr().err
    shutil.rmtree("E/checkpoints")
    assert main(["fit", "--run_dir", "E", "--resume"]) == 2
    assert "--overwrite in place of --resume" in capsys.readouterr().err


def test_the_first_of_several_processes_guards_the_folder(act_run, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    before = (act_run / "metrics.csv").read_text()
    assert main([*ACT, "--run_dir", str(act_run)]) == 2
    assert "is not empty" in capsys.readouterr().err and (act_run / "metrics.csv").read_text() == before


def test_a_summary_that_a_kill_prevented_is_made_up_for(act_run):
    shutil.copytree(act_run, "F")
    Path("F/summary.json").unlink()
    assert main(["fit", "--run_dir", "F", "--resume"]) == 0
    found, straight = (json.loads(Path(folder, "summary.json").read_text()) for folder in ("F", act_run))
    for summary in (found, straight):
        del summary["wall_time_s"], summary["images_per_s"], summary["resumes"]
    assert found == straight


def test_a_used_folder_is_refused(act_run, capsys):
    assert main([*ACT, "--run_dir", str(act_run)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_overwrite_with_a_mistake_keeps_the_run_before(act_run, tmp_path):
    shutil.copytree(act_run, tmp_path / "O")
    for flags in (
        ["--data.noise.rate", "1.5"],
        ["--model.warmup_epoch", "1"],
        ["--data", "Arrays", "--data.path", "nowhere.npz"],
    ):
        assert main([*ACT, *flags, "--run_dir", "O", "--overwrite"]) == 2
        assert (tmp_path / "O" / "metrics.csv").read_text() == (act_run / "metrics.csv").read_text()
    assert main([*CE, "--run_dir", "O", "--overwrite"]) == 0
    assert json.loads((tmp_path / "O" / "summary.json").read_text())["method"] == "CrossEntropy"


def test_two_runs_of_one_process_have_folders_of_their_own(tmp_path):
    assert main([*CE, "--trainer.max_epochs", "1"]) == main([*CE, "--trainer.max_epochs", "1"]) == 0
    assert len(list((tmp_path / "runs" / "ce_digits").iterdir())) == 2


def test_overwrite_spares_a_folder_that_is_no_run(tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("keep")
    assert main([*CE, "--run_dir", "home", "--overwrite"]) == 2
    assert (tmp_path / "home" / "letter.txt").read_text() == "keep"
    assert "no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data.noise.rate", "1.5"], "rate"),
        (["--model.warmup_epoch", "1"], "warmup_epochs"),
        (["--model.warmup_epochs", "-1"], "warmup_epochs"),
        (["--data.val_fraction", "1.0"], "val_fraction"),
        (["--model.optimizer.lr", "1e-6"], "lr_plan"),
        (["--trainer.precision", "16-true"], "use 16-mixed or bf16-true"),
        (["--trainer.gradient_clip_val", "0.5"], "ACT steps its networks itself; set model.clip_norm to 0.5"),
        (["--trainer.accumulate_grad_batches", "2"], "ACT steps its networks itself; leave it out"),
        (["--checkpoint.every_n_steps", "0"], "every_n_steps must be positive"),
        (["--checkpoint.every_n_hours", "1"], "allowed: every_n_minutes, every_n_steps"),
    ],
)
def test_mistakes_stop_before_any_data_is_read(flags, told, capsys, tmp_path, monkeypatch):
    from noisylab.data import Digits

    monkeypatch.setattr(Digits, "load", lambda self: pytest.fail("data was read"))
    assert main([*ACT, *flags, "--run_dir", "R"]) == 2
    text = capsys.readouterr().err
    assert told in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 6
    assert not (tmp_path / "R").exists()


FORWARD = ["fit", "--config", "forward_digits.yaml", *TINY, "--model.warmup_epochs", "1", "--model.network.width", "4"]
TREVISION = ["fit", "--config", "trevision_digits.yaml", *TINY, "--model.estimate_epochs", "1", "--model.reweight_epochs", "1"]


def test_choosing_by_validation_without_held_out_rows_stops_before_data_is_read(capsys, tmp_path, monkeypatch):
    from noisylab.data import Digits

    with monkeypatch.context() as patched:
        patched.setattr(Digits, "load", lambda self: pytest.fail("data was read"))
        for flags, name in ((FORWARD, "Forward"), (TREVISION, "TRevision")):
            assert main([*flags, "--data.val_fraction", "0", "--run_dir", "R"]) == 2
            text = capsys.readouterr().err
            assert f"{name} continues with the network of its best epoch" in text and "Traceback" not in text
            assert "set data.val_fraction to 0.1, or model.hand_over to last" in text
            assert not (tmp_path / "R").exists()
    assert main([*FORWARD, "--data.val_fraction", "0", "--model.hand_over", "last", "--dry_run"]) == 0


def test_oracle_on_the_command_line_and_validation_of_its_run(tmp_path, capsys):
    flags = [*FORWARD, "--data.noise", "PairFlip", "--data.noise.rate", "0.4", "--trainer.max_epochs", "1"]
    assert main([*flags, "--model.oracle", "PairFlip", "--model.oracle.rate", "0.4", "--run_dir", "R"]) == 0
    summary = json.loads(Path("R/summary.json").read_text())
    expected = 0.6 * np.eye(10) + 0.4 * np.roll(np.eye(10), 1, axis=1)
    assert summary["transition"]["estimate"] == pytest.approx(expected, abs=1e-6)
    assert summary["transition"]["metrics"]["error"] == pytest.approx(0.0, abs=1e-6)
    rows = read_csv(tmp_path / "R" / "metrics.csv")
    assert {float(row["value"]) for row in rows if row["name"] == "train/stage"} == {0.0}, "there is no warm-up"
    last = {row["name"]: float(row["value"]) for row in rows}
    capsys.readouterr()
    assert main(["validate", "--run_dir", "R"]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    for name in ("val/acc", "val/loss"):
        assert float(shown[name]) == pytest.approx(last[name], abs=1e-4)
    assert main(["fit", "--config", "R/config.yaml", "--run_dir", "S"]) == 0
    assert Path("S/metrics.csv").read_text() == Path("R/metrics.csv").read_text()


@pytest.mark.parametrize("content", [None, "0.5,0.5\n0.5,0.5\n"])
@pytest.mark.parametrize("method", [FORWARD, TREVISION], ids=["Forward", "TRevision"])
def test_a_transition_file_that_is_missing_or_wrong_stops_before_the_training(method, content, capsys, tmp_path):
    if content is not None:
        Path("matrix.csv").write_text(content)
    assert main([*method, "--model.transition", "matrix.csv", "--run_dir", "R"]) == 2
    text = capsys.readouterr().err
    assert "matrix.csv" in text and "Traceback" not in text
    assert (
        "matrix.csv: no such transition matrix file"
        if content is None
        else "has shape (2, 2); for 10 classes it must be (10, 10)"
    ) in text
    assert not list(tmp_path.glob("R/**/*.ckpt"))


def test_an_unknown_estimator_is_told_the_known_ones(capsys):
    assert main([*FORWARD, "--model.transition", "anchors", "--run_dir", "R"]) == 2
    assert "transition must be one of anchor, anchor97, dual, dual97, or a file" in capsys.readouterr().err


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    assert main([*ACT, "--dry_run"]) == 0
    text = capsys.readouterr().out
    for part in ("act_digits", "ACT", "80 training", "asked 40.00%", "measured", "3 epochs of 3 steps", "cpu", "runs/act_digits"):
        assert part in text
    assert list(tmp_path.iterdir()) == []


def test_print_config_is_a_config(tmp_path, capsys):
    assert main([*CE, "--print_config"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert main(["fit", "--config", "c.yaml", "--run_dir", "R"]) == 0


def test_default_run_folder_is_named_after_the_recipe(tmp_path):
    assert main(CE) == 0
    (folder,) = (tmp_path / "runs" / "ce_digits").iterdir()
    assert (folder / "summary.json").is_file()


def test_validation_split_chooses_the_best_epoch(tmp_path):
    assert main([*CE, "--data.val_fraction", "0.2", "--run_dir", "V"]) == 0
    summary = json.loads((tmp_path / "V" / "summary.json").read_text())
    assert summary["headline"] == summary["test"]["headline"]["best_by_val"] is not None
    assert (tmp_path / "V" / "checkpoints" / "best.ckpt").is_file()
    rows = read_csv(tmp_path / "V" / "metrics.csv")
    val = [float(row["value"]) for row in rows if row["name"] == "val/acc"]
    test = [float(row["value"]) for row in rows if row["name"] == "test/acc"]
    assert summary["headline"] == test[val.index(max(val))]


def test_the_validation_loss_chooses_the_best_epoch_on_request(tmp_path, capsys):
    flags = ["--data.val_fraction", "0.2", "--checkpoint.monitor", "val/loss", "--run_dir", "V"]
    assert main([*CE, *flags]) == 0
    assert "monitor: val/loss" in (tmp_path / "V" / "config.yaml").read_text()
    summary = json.loads((tmp_path / "V" / "summary.json").read_text())
    assert "in the epoch of the lowest loss by given labels of 20% held-out rows" in summary["protocol"]
    rows = read_csv(tmp_path / "V" / "metrics.csv")
    losses = [float(row["value"]) for row in rows if row["name"] == "val/loss"]
    test = [float(row["value"]) for row in rows if row["name"] == "test/acc"]
    best = losses.index(min(losses))
    assert summary["headline"] == summary["test"]["headline"]["best_by_val"] == test[best]
    assert torch.load(tmp_path / "V" / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == best
    assert main(["fit", *CE[1:], *flags[:-2], "--dry_run"]) == 0
    assert "lowest loss by given labels" in capsys.readouterr().out
    again = ["fit", "--run_dir", "V", "--resume", "--trainer.max_epochs", "3"]
    assert main([*again, "--checkpoint.monitor", "val/acc"]) != 0
    assert "chosen by val/loss, but monitor is 'val/acc'" in capsys.readouterr().err
    assert main(again) == 0


def test_test_and_predict_a_finished_run(act_run, tmp_path, capsys):
    assert main(["test", "--run_dir", str(act_run)]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    expected = json.loads((act_run / "summary.json").read_text())["test"]["headline"]["last"]
    assert float(shown["test/acc"]) == pytest.approx(expected, abs=1e-4)
    assert main(["predict", "--run_dir", str(act_run), "--out", "p.csv"]) == 0
    rows = read_csv(tmp_path / "p.csv")
    assert len(rows) == 80
    assert sum(row["given"] == row["predicted"] for row in rows) / 80 == pytest.approx(expected)
    assert all(0.1 <= float(row["probability"]) <= 1 for row in rows)


def test_a_checkpoint_of_another_method_is_refused(act_run, capsys):
    assert main([*CE, "--ckpt_path", str(act_run / "checkpoints" / "last.ckpt"), "--run_dir", "R"]) == 2
    assert "ACT" in capsys.readouterr().err


def test_the_command_line_beats_the_checkpoint(act_run, tmp_path):
    checkpoint = str(act_run / "checkpoints" / "last.ckpt")
    assert (
        main([*ACT, "--ckpt_path", checkpoint, "--model.label_smoothing", "0.1", "--trainer.max_epochs", "4", "--run_dir", "R"])
        == 0
    )
    stored = torch.load(tmp_path / "R" / "checkpoints" / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert stored["label_smoothing"] == 0.1


def test_compare_prints_both_runs_and_draws(act_run, tmp_path, capsys):
    assert main([*CE, "--run_dir", "C"]) == 0
    assert main(["compare", "C", str(act_run), "--out", "c.png"]) == 0
    text = capsys.readouterr().out
    assert "CrossEntropy" in text and "ACT" in text
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_smoke_overlay(tmp_path):
    assert main(["fit", "--config", "ce_digits.yaml", "--config", "smoke.yaml", "--run_dir", "S"]) == 0
    assert json.loads((tmp_path / "S" / "summary.json").read_text())["data"]["num_train_used"] == 64


@pytest.mark.parametrize(
    "argv", [[], ["--help"], ["--version"], ["recipes"], ["fit", "--help"], ["fit", "--help", "ACT"], ["fit", "--help", "Speed"]]
)
def test_help_and_recipes(argv, capsys):
    assert main(argv) == 0
    assert capsys.readouterr().out


def test_offline_wandb_run_has_config_and_both_series_in_one_section(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main([*CE, "--logger", "wandb", "--run_dir", "W"]) == 0
    wandb.finish()
    wandb.teardown()  # the service writes the file's last block only as it ends: finish alone may return before
    (stored,) = (tmp_path / "W").glob("wandb/offline-run-*/run-*.wandb")
    found = read_wandb(stored)
    assert {"memorization/clean_acc", "memorization/noisy_as_given", "test/acc"} <= {key for row in found.history for key in row}
    assert found.config["model"]["class_path"] == "noisylab.methods.crossentropy.CrossEntropy"


def test_tensorboard_logger_writes_events(tmp_path):
    pytest.importorskip("tensorboard")
    assert main([*CE, "--logger", "tensorboard", "--run_dir", "T"]) == 0
    assert list((tmp_path / "T" / "tensorboard").glob("events*"))


def test_required_arguments_are_asked_for(capsys):
    assert main(["fit", "--model", "CrossEntropy", "--data", "Digits"]) == 2
    assert "model.network: CrossEntropy needs it" in capsys.readouterr().err
    assert main([*CE, "--model.network", "MLP"]) == 2
    assert "model.network.in_features: MLP needs it" in capsys.readouterr().err


def test_an_absent_accelerator_is_one_clear_error(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([*CE, "--trainer.accelerator", "gpu", "--run_dir", "R"]) == 2
    assert "trainer" in capsys.readouterr().err


def test_terminated_run_says_so_and_resumes_exactly(act_run, capsys, monkeypatch):
    from noisylab.callbacks import RunSummary

    count = RunSummary.on_train_batch_end

    def ask_to_stop(self, trainer, *rest):
        count(self, trainer, *rest)
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(RunSummary, "on_train_batch_end", ask_to_stop)
        assert main([*ACT, "--run_dir", "K"]) == 143
    assert "--resume" in capsys.readouterr().err
    assert not Path("K/summary.json").exists()
    assert main(["fit", "--run_dir", "K", "--resume"]) == 0
    assert Path("K/metrics.csv").read_text() == (act_run / "metrics.csv").read_text()


def test_data_without_a_test_set_reports_validation(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(60, 4)).astype("f4"), y=np.arange(60) % 3)
    flags = ["--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "4", "--data", "Arrays"]
    flags += ["--data.path", "a.npz", "--data.val_fraction", "0.2", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    assert main(["fit", *flags, "--run_dir", "R"]) == 0
    summary = json.loads(Path("R/summary.json").read_text())
    assert summary["test"]["headline"]["last"] is None
    assert summary["headline"] == summary["val"]["last10_mean"] is not None
    assert "no test set" in summary["protocol"]
    assert main(["predict", "--run_dir", "R"]) == 2
    assert main(["test", "--run_dir", "R"]) == 2
    assert main(["compare", "R", "--out", "c.png"]) == 0
    assert "--images" in capsys.readouterr().err
