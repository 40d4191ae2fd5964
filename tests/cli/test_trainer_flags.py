"""Every flag of Lightning's Trainer works, or is refused by name with the reason before data is read."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.trainer import FLAGS, check_trainer, not_logged
from noisylab.cli.errors import UserError
from noisylab.cli.main import main
from noisylab.cli.running.app import config_text

FIT = ["fit", "--config", "ce_digits.yaml", "--data.subset", "60", "--data.batch_size", "20", "--trainer.accelerator", "cpu"]


def _composed(*flags: tuple[str, str]) -> dict[str, Any]:
    return compose(["ce_digits.yaml"], list(flags)).config["trainer"]


def test_every_flag_of_the_trainer_is_decided_upon() -> None:
    assert set(FLAGS) == set(inspect.signature(L.Trainer).parameters), "say in trainer_flags.py what a new flag does here"


def test_the_recipes_page_has_every_flag() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert [name for name, flag in FLAGS.items() if f"| `{name}` | {flag.use} |" not in page] == []


def test_the_trainers_own_defaults_are_never_refused() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(L.Trainer).parameters.items()}
    check_trainer({**defaults, "max_epochs": 3})


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("accelerator", "tpu", "has never run on one"),
        ("accelerator", "hpu", "no such accelerator"),
        ("devices", "[0,1]", "number of processes"),
        ("strategy", "deepspeed", "network whole in every process"),
        ("strategy", "fsdp", "network whole in every process"),
        ("strategy", "ddp_spawn", "use ddp"),
        ("val_check_interval", "00:00:10:00", "by the clock"),
        ("overfit_batches", "2", "draws its batches anew"),
        ("enable_checkpointing", "false", "a run folder is its checkpoints"),
        ("barebones", "true", "turns checkpoints"),
        ("plugins", "lightning.pytorch.plugins.io.AsyncCheckpointIO", "noisylab's own"),
        ("reload_dataloaders_every_n_epochs", "2", "plan and loaders of its own"),
        ("default_root_dir", "here", "--run_dir"),
        ("model_registry", "name", "uploads"),
        ("logger", "true", "--logger"),
        ("max_time", "00:00:00:00", "no time to train"),
        ("max_time", "soon", "as 00:08:00:00"),
        ("devices", "abc", "write auto, or the number of processes"),
        ("devices", "1.5", "write auto, or the number of processes"),
        ("devices", "0", "1 or more"),
        ("devices", "-3", "1 or more"),
        ("devices", "-1", "there is none"),
        ("callbacks", "lightning.pytorch.callbacks.BatchSizeFinder", "what config.yaml says"),
    ],
)
def test_what_does_not_work_is_refused_by_name(
    flag: str, value: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"--trainer.{flag}", value]
    assert main([*FIT, *given, "--run_dir", "r"]) == 2
    error = capsys.readouterr().err
    assert f"trainer.{flag}={value.replace(chr(44), chr(44) + chr(32))}: " in error
    assert reason in error and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("max_epochs", "0"),
        ("logger", "false"),
        ("strategy", "ddp_find_unused_parameters_false"),
        ("reload_dataloaders_every_n_epochs", "1"),
        ("val_check_interval", "0.5"),
        ("enable_progress_bar", "false"),
        ("num_nodes", "1"),
    ],
)
def test_what_works_is_taken(flag: str, value: str) -> None:
    check_trainer(_composed((f"trainer.{flag}", value)))


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("max_time", "{days: -1}", "{'days': -1}"),
        ("callbacks", "[{class_path: lightning.pytorch.callbacks.LearningRateFinder}]", "lightning.*LearningRateFinder"),
    ],
)
def test_what_is_refused_is_found_below_keys_and_in_lists(flag: str, value: str, shown: str) -> None:
    with pytest.raises(UserError, match=f"trainer.{flag}={shown}: "):
        _composed((f"trainer.{flag}", value))


def test_a_run_without_an_end_needs_another_limit() -> None:
    for other in (("trainer.max_steps", "3"), ("trainer.max_time", "00:00:00:20")):
        assert _composed(("trainer.max_epochs", "null"), other)["max_epochs"] is None


def test_nothing_is_trained_for_no_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--trainer.max_epochs", "0", "--run_dir", "r"]) == 0
    summary = json.loads(Path("r/summary.json").read_text())
    assert (summary["epochs"], summary["complete"], summary["ended_by"]) == (0, True, "max_epochs")
    assert summary["headline"] is None and summary["test"]["headline"]["balanced_acc"] is None and summary["images_per_s"] is None
    assert "nothing was trained" in capfd.readouterr().err and not list(Path("r").glob("checkpoints/*"))


def test_a_development_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--trainer.fast_dev_run", "2", "--run_dir", "r"]) == 0
    assert "fast_dev_run: 2 steps trained, test accuracy" in capfd.readouterr().out and not list(tmp_path.iterdir())


def test_an_early_stop_completes_the_run_and_the_summary_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stop = "{class_path: EarlyStopping, init_args: {monitor: val/acc, mode: max, min_delta: 1.0, patience: 9}}"
    flags = ["--data.val_fraction", "0.2", "--trainer.callbacks+", stop, "--trainer.callbacks.patience", "1", "--run_dir", "r"]
    assert main([*FIT, "--trainer.max_epochs", "5", *flags]) == 0
    summary = json.loads(Path("r/summary.json").read_text())
    assert (summary["epochs"], summary["complete"], summary["ended_by"]) == (2, True, "EarlyStopping")


def test_steps_end_a_run_that_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--trainer.max_epochs", "5", "--trainer.max_steps", "2", "--run_dir", "r"]) == 0
    summary = json.loads(Path("r/summary.json").read_text())
    assert (summary["complete"], summary["ended_by"]) == (True, "max_steps")


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback",
    [
        "{class_path: Timer, init_args: {duration: '00:00:01:00'}}",
        "{class_path: ModelCheckpoint, init_args: {monitor: val/acc, mode: max, train_time_interval: '0:10:00'}}",
        "{class_path: EarlyStopping, init_args: {monitor: val/loss}}",
        "{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.01}}",
        "{class_path: EMAWeightAveraging}",
        "{class_path: GradientAccumulationScheduler, init_args: {scheduling: {2: 2}}}",
        "RichProgressBar",
    ],
)
def test_a_callback_of_lightning_is_in_the_configuration_and_read_back(callback: str, tmp_path: Path) -> None:
    config = compose(["ce_digits.yaml"], [("data.val_fraction", "0.2"), ("trainer.callbacks+", callback)]).config
    text = config_text(config)
    (tmp_path / "config.yaml").write_text(text)
    again = compose([str(tmp_path / "config.yaml")], []).config
    assert config_text(again) == text and callback.partition("class_path: ")[2].partition(",")[0].strip("}") in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([("trainer.callbacks", "{class_path: EarlyStopping, init_args: {monitor: val_loss}}")], "perhaps: val/loss"),
        ([("trainer.callbacks", "{class_path: EarlyStopping, init_args: {monitor: val/acc}}")], "set data.val_fraction"),
        ([("trainer.callbacks", "LearningRateMonitor")], "add --logger tensorboard"),
    ],
)
def test_a_callback_that_would_fail_later_is_refused_before(
    flags: list[tuple[str, str]], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [part for key, value in flags for part in (f"--{key}", value)]
    assert main([*FIT, *arguments, "--run_dir", "r"]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["last", "best"])
def test_words_for_a_checkpoint_are_no_files(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--ckpt_path", word]) == 2
    assert "--run_dir DIR --resume" in capsys.readouterr().err


def test_a_name_that_this_run_does_not_log_is_named() -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    with pytest.raises(RuntimeError) as caught:
        EarlyStopping("val/accuracy")._validate_condition_metric({"val/acc": 0.5, "train/loss": 1.0})  # type: ignore[dict-item]
    said = str(not_logged(caught.value))
    assert "monitors 'val/accuracy'" in said and "nearest: val/acc" in said
    assert not_logged(RuntimeError("CUDA error")) is None


def test_spellings_of_lightnings_command_line(tmp_path: Path) -> None:
    (tmp_path / "trainer.yaml").write_text("max_epochs: 7\ncallbacks: [EarlyStopping]\n")
    flags = [("trainer", str(tmp_path / "trainer.yaml")), ("trainer.callbacks.init_args.patience", "4")]
    flags += [("model.class_path", "CrossEntropy"), ("model.init_args.label_smoothing", "0.1")]
    config = compose(["act_digits.yaml"], flags).config
    assert config["trainer"]["max_epochs"] == 7
    assert config["trainer"]["callbacks"] == [{"class_path": "EarlyStopping", "init_args": {"patience": 4}}]
    assert config["model"]["class_path"].endswith("CrossEntropy")
    for key, where in (("optimizer", "model.optimizer"), ("lr_scheduler.gamma", "model.scheduler.gamma")):
        with pytest.raises(UserError, match=where):
            compose(["ce_digits.yaml"], [(key, "0.1")])
    with pytest.raises(UserError, match="has no such part"):
        compose(["ce_digits.yaml"], [("trainer.max_epochs.x", "1")])


def test_forms_of_the_printed_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--print_config"]) == 0
    whole = capsys.readouterr().out
    assert main([*FIT, "--print_config=skip_null"]) == 0
    without = capsys.readouterr().out
    assert "max_time: null" in whole and "null" not in without and "max_epochs: 60" in without
    assert main([*FIT, "--print_config=comments"]) == 2
    assert "skip_null" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"devices": "0,1"}, "write 2 for two of them"),
        ({"max_time": {"ours": 1}}, "as {hours: 8}"),
        ({"max_time": {"hours": 0}}, "no time"),
    ],
)
def test_values_of_another_form_are_refused_with_the_right_one(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_trainer({"accelerator": "cpu", **given})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("BackboneFinetuning", "trains a module of the method called backbone, and CrossEntropy has none"),
        ("RunCheckpoint", "every run has a RunCheckpoint of its own"),
    ],
)
def test_a_callback_that_has_nothing_to_do_here_is_refused_before_there_is_a_folder(
    callback: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--trainer.callbacks", callback, "--run_dir", "run"]) == 2
    told = capsys.readouterr().err
    assert f"trainer.callbacks: {callback}" in told or f"trainer.callbacks: {said}" in told
    assert said in told and not Path("run").exists()


@pytest.mark.slow
def test_lightnings_own_progress_bar_takes_the_place_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, "--trainer.callbacks", "TQDMProgressBar", "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    told = capsys.readouterr()
    assert "Epoch 0" in told.out + told.err and "ce_digits:" not in told.err
