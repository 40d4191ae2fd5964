"""Values of the right type that cannot be meant: refused by the configuration alone."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
from helpers.toy import PlainMLP, ToyData

from noisylab.cli import main
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import packaged
from noisylab.cli.configuration.recipetable import lines_of
from noisylab.cli.errors import UserError
from noisylab.data import Arrays, ImageFolder
from noisylab.methods import ACT, CrossEntropy, VolMinNet


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


REFUSED = [
    (["--trainer.max_steps", "0"], "trainer.max_steps: must be 1 or more, or -1"),
    (["--trainer.max_steps", "-2"], "trainer.max_steps"),
    (["--trainer.max_epochs", "-2"], "trainer.max_epochs: must be 0 or more"),
    (["--trainer.max_epochs", "-1"], "would never end"),
    (["--trainer.max_epochs", "null"], "a thousand epochs"),
    (["--trainer.check_val_every_n_epoch", "-1"], "trainer.check_val_every_n_epoch: must be 1 or more"),
    (["--trainer.check_val_every_n_epoch", "0"], "trainer.check_val_every_n_epoch: must be 1 or more"),
    (["--trainer.limit_train_batches", "0"], "trainer.limit_train_batches: must be more than 0"),
    (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val"),
    (["--trainer.gradient_clip_val", ".nan"], "trainer.gradient_clip_val: must be a finite number"),
    (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches"),
    (["--trainer.log_every_n_steps", "-5"], "trainer.log_every_n_steps"),
    (["--trainer.val_check_interval", "0"], "trainer.val_check_interval"),
    (["--trainer.num_nodes", "0"], "trainer.num_nodes"),
    (["--trainer.num_nodes", "2"], "would wait for each other forever"),
    (["--trainer.devices", "999999"], "trainer.devices: 999999 processes on the CPU"),
    (["--data.noise.rate", ".inf"], "data.noise.rate: must be a finite number, got inf"),
    (["--model.optimizer.lr", ".nan"], "model.optimizer.lr: must be a finite number, got nan"),
    (["--model.optimizer.lr", "-0.1"], "model.optimizer: SGD cannot be built: Invalid learning rate"),
    (["--model.optimizer.momentum", "-1"], "model.optimizer: SGD cannot be built"),
    (
        ["--model.scheduler", "noisylab.schedules.LinearDecay", "--model.scheduler.start", "5", "--model.scheduler.stop", "1"],
        "0 <= start < stop",
    ),
    (["--recipe", "../../../x"], "recipe: '../../../x'"),
    (["--recipe", "a/b"], "recipe: 'a/b'"),
    (["--recipe", ".."], "recipe: '..'"),
    (["--recipe", "x" * 101], "at most 100 characters"),
    (["--seed_everything", "4294967296"], "seed_everything"),
    (["--checkpoint.every_n_minutes", ".inf"], "checkpoint.every_n_minutes"),
]


@pytest.mark.parametrize(("flags", "said"), REFUSED, ids=[" ".join(flags)[:60] for flags, _ in REFUSED])
def test_values_that_cannot_be_meant_are_refused(flags, said):
    pairs = [(flags[place].removeprefix("--"), flags[place + 1]) for place in range(0, len(flags), 2)]
    with pytest.raises(UserError) as caught:
        compose(["ce_digits.yaml"], pairs)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        [("trainer.max_epochs", "-1"), ("trainer.max_steps", "5")],
        [("trainer.max_epochs", "null"), ("trainer.max_time", "00:00:01:00")],
        [("trainer.max_epochs", "0")],
        [("trainer.devices", "2")],
        [("trainer.devices", "auto")],
        [("recipe", "my run (2)")],
        [("model.optimizer.lr", "0")],
        [("trainer.limit_val_batches", "0")],
    ],
)
def test_values_that_can_be_meant_pass(flags):
    compose(["ce_digits.yaml"], flags)


def test_machines_that_know_of_each_other_pass(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    compose(["ce_digits.yaml"], [("trainer.num_nodes", "2")])


def test_a_schedule_of_an_optimizer_that_only_the_method_knows_is_left_to_it():
    flags = [("model.scheduler", "noisylab.schedules.LinearDecay"), ("model.scheduler.start", "1"), ("model.scheduler.stop", "4")]
    compose(["coteaching_cifar10.yaml"], [*flags, ("model.scheduler.beta1", "0.1")])


_LINES = [(name, line.row) for name, path in packaged().items() for line in lines_of(path)]


@pytest.mark.parametrize(("name", "row"), _LINES)
def test_every_packaged_recipe_and_row_passes(name, row):
    compose([name], [], None if row == "-" else row)


def test_it_is_refused_before_data_is_read(capsys):
    for source in (["--arrays", "nothing.npz"], ["--images", "nothing"]):
        assert main(["issues", *source, "--trainer.max_steps", "0"]) == 2
        assert "trainer.max_steps" in capsys.readouterr().err
    Path("c.yaml").write_text("data: {class_path: Arrays, init_args: {path: nothing.npz}}\n")
    assert main(["fit", "--config", "ce_digits.yaml", "--config", "c.yaml", "--trainer.max_steps", "0"]) == 2
    assert "trainer.max_steps" in capsys.readouterr().err


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
def test_methods_refuse_rates_out_of_range(value):
    for cls, name in ((ACT, "warmup_lr"), (ACT, "lr_standard"), (CrossEntropy, "mixup_alpha"), (CrossEntropy, "cutmix_alpha")):
        with pytest.raises(ValueError, match=f"{name} must"):
            cls(3, PlainMLP, **{name: value})
    if not math.isfinite(value):
        for cls, name in ((ACT, "gate_threshold"), (VolMinNet, "initial_weight")):
            with pytest.raises(ValueError, match=f"{name} must be a finite"):
                cls(3, PlainMLP, **{name: value})


@pytest.mark.parametrize("value", [-1, 1025])
def test_a_number_of_workers_has_bounds(value):
    with pytest.raises(ValueError, match=r"num_workers must be in 0\.\.1024"):
        ToyData(num_workers=value)


@pytest.mark.parametrize("cls", [partial(Arrays, "x.npz"), partial(ImageFolder, "x")])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"padding": -1}, "padding must be 0 or more"),
        ({"flip": 1.5}, "flip must be a probability"),
        ({"flip": math.nan}, "flip must be a probability"),
        ({"mean": [0.5], "std": [0.0]}, "std must hold positive numbers"),
        ({"mean": [math.inf], "std": [1.0]}, "mean must hold finite numbers"),
    ],
)
def test_data_refuse_what_no_picture_is_normalized_or_cropped_with(cls, arguments, said):
    with pytest.raises(ValueError, match=said):
        cls(**arguments)


def test_a_shorter_side_is_at_least_a_pixel():
    with pytest.raises(ValueError, match="resize must be at least 1 pixel"):
        ImageFolder("x", resize=0)
