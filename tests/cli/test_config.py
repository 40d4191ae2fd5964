"""Composition and checks of configurations: no data is read, nothing is built."""

import pytest

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import find_config, load_yaml, packaged
from noisylab.cli.configuration.recipetable import recipes_table
from noisylab.cli.errors import UserError, nearest
from noisylab.cli.options import parse

DIGITS = ["act_digits.yaml"]


def lines_of(flags, files=DIGITS):
    with pytest.raises(UserError) as caught:
        compose(list(files), flags)
    text = str(caught.value)
    assert len(text.splitlines()) <= 5
    return text


def test_a_recipe_resolves_to_full_class_paths():
    config = compose(DIGITS, []).config
    assert config["model"]["class_path"] == "noisylab.methods.act.ACT"
    assert config["model"]["init_args"]["network"]["class_path"] == "noisylab.models.small_cnn.SmallCNN"
    assert config["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 5e-4
    assert config["recipe"] == "act_digits"


def test_short_names_and_nested_flags():
    flags = [
        ("model", "CrossEntropy"),
        ("model.network", "SmallCNN"),
        ("data", "Digits"),
        ("data.noise", "PairFlip"),
        ("data.noise.rate", "0.3"),
    ]
    config = compose([], flags).config
    assert config["data"]["init_args"]["noise"] == {"class_path": "noisylab.noise.pairflip.PairFlip", "init_args": {"rate": 0.3}}


def test_later_files_and_flags_win(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("data:\n  batch_size: 7\n  noise: {init_args: {rate: 0.1}}\ntrainer: {max_epochs: 2}\n")
    config = compose([*DIGITS, str(overlay)], [("trainer.max_epochs", "3")]).config
    assert config["data"]["init_args"]["batch_size"] == 7
    assert config["data"]["init_args"]["noise"]["init_args"]["rate"] == 0.1
    assert config["data"]["init_args"]["noise"]["init_args"]["own_class"] is False
    assert config["trainer"]["max_epochs"] == 3
    assert config["recipe"] == "act_digits"


def test_swapping_a_class_says_what_is_kept_and_dropped():
    composed = compose(DIGITS, [("model", "CrossEntropy")])
    assert composed.notes == ["model: ACT -> CrossEntropy; kept: network, optimizer; dropped: warmup_epochs, lr_plan"]
    assert set(composed.config["model"]["init_args"]) == {"network", "optimizer"}


def test_swapping_the_noise_keeps_what_fits():
    composed = compose(DIGITS, [("data.noise", "PairFlip")])
    assert composed.config["data"]["init_args"]["noise"]["init_args"] == {"rate": 0.4, "seed": 0}
    assert "dropped: own_class" in composed.notes[0]


def test_none_removes_the_noise():
    assert compose(DIGITS, [("data.noise", "null")]).config["data"]["init_args"]["noise"] is None


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("model.warmup_epoch", "3", ["warmup_epoch", "nearest: warmup_epochs"]),
        ("model.warmup_epochs", "many", ["model.warmup_epochs", "'many'", "a whole number"]),
        ("model.warmup_epochs", "1.5", ["model.warmup_epochs", "1.5", "a whole number"]),
        ("model.mining", "perhaps", ["model.mining", "true or false"]),
        ("model.lr_plan_standard", "foo", ["same", "own_cosine", "baseline"]),
        ("model.num_classes", "3", ["model.num_classes", "taken from the data"]),
        ("model", "ATC", ["ATC", "nearest: ACT"]),
        ("data.noise", "Symetric", ["data.noise", "nearest: Symmetric"]),
        ("data.noise.rat", "0.1", ["data.noise.rat", "nearest: rate"]),
        ("data.batchsize", "3", ["data.batchsize", "nearest: batch_size"]),
        ("model.optimizer.momentun", "0.1", ["nearest: momentum"]),
        ("model.network", "torch.nn.Linear", ["not a Network"]),
        ("model.network", "no.such.Class", ["no.such.Class"]),
        ("trainer.max_epoch", "3", ["nearest: max_epochs"]),
        ("trainer.max_epochs", "soon", ["trainer.max_epochs", "'soon'"]),
        ("trainr.max_epochs", "3", ["trainr", "nearest: trainer"]),
        ("seed_everything", "true", ["seed_everything", "whole number"]),
        ("seed_everything.x", "1", ["seed_everything"]),
        ("data.noise.rate", "[1", ["data.noise.rate", "YAML"]),
    ],
)
def test_mistakes_name_key_value_and_way_out(flag, value, told):
    text = lines_of([(flag, value)])
    for part in told:
        assert part in text


def test_logger_key_points_to_the_flag():
    assert "--logger" in lines_of([("trainer.logger", "x")])


def test_missing_parts_are_named():
    assert "--model CLASS" in lines_of([("data", "Digits")], files=[])
    assert "--data.noise CLASS" in lines_of([("data", "Digits"), ("data.noise.rate", "0.1")], files=[])


def test_unknown_config_lists_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"nearest: act_digits\.yaml"):
        find_config("act_digit.yaml")


def test_working_directory_comes_before_packaged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("act_digits").name == "act_digits.yaml"
    (tmp_path / "act_digits.yaml").write_text("model: CrossEntropy\n")
    assert find_config("act_digits.yaml").read_text() == "model: CrossEntropy\n"


def test_yaml_numbers_and_errors():
    assert load_yaml("a: 5e-4", "x") == {"a": 5e-4}
    assert load_yaml("a: 1e3", "x") == {"a": 1000.0}
    assert load_yaml("a: e5", "x") == {"a": "e5"}
    with pytest.raises(UserError, match="line 2"):
        load_yaml("a: 1\nb: [", "x")


def test_recipes_table_has_every_recipe_with_a_method():
    listed = {line.split()[0] for line in recipes_table().splitlines()[2:]}
    without = {"fast", "smoke", "digits", "mnist", "mnist_flipped", "semi_c10", "cifar10n_small", "table", "text"}
    assert listed == {name.removesuffix(".yaml") for name in packaged()} - without


def test_command_line_is_taken_apart():
    options = parse(["fit", "-c", "a.yaml", "--config=b.yaml", "--data.noise.rate", "-0.5", "--resume", "--x", "--run_dir", "d"])
    assert options.configs == ["a.yaml", "b.yaml"]
    assert options.flags == [("data.noise.rate", "-0.5"), ("x", None)]
    assert options.own == {"resume": "true", "run_dir": "d"}


@pytest.mark.parametrize("argv", [["fti"], ["fit", "stray"], ["fit", "--run_dir"], ["fit", "--resume=yes"]])
def test_malformed_command_lines(argv):
    with pytest.raises(UserError):
        parse(argv)


def test_nearest_ignores_case():
    assert nearest("act", ["ACT", "CrossEntropy"]) == ["ACT"]


def test_speed_switches_are_plain_keys(tmp_path):
    overlay = tmp_path / "fast.yaml"
    overlay.write_text("speed: {channels_last: true}\n")
    config = compose([*DIGITS, str(overlay)], [("speed.compile", "true"), ("speed.channels_last", "false")]).config
    assert config["speed"] == {"channels_last": False, "compile": True}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (("speed.chanels_last", "true"), "nearest: channels_last"),
        (("speed.compile", "3"), "allowed: true or false"),
        (("speed.backend", "nope"), "speed: backend must be one of"),
        (("speed.compile.x", "true"), "speed.compile has no parts"),
        (("speed", "fast"), "expected keys and values, got 'fast'"),
    ],
)
def test_a_wrong_speed_switch_is_named(flag, expected):
    assert expected in lines_of([flag])
