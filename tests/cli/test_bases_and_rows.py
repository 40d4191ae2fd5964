"""A recipe may start from another one and hold rows, variants of a few values; old names stand for rows now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisylab.cli import main
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import packaged
from noisylab.cli.configuration.recipetable import lines_of, recipes_table
from noisylab.cli.configuration.renamed import RENAMED
from noisylab.cli.errors import UserError, nearest

MODEL = "model: {class_path: CrossEntropy, init_args: {network: SmallCNN}}\n"


def value(config: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, ``init_args`` left out; of a class its short name."""
    node: Any = config
    for part in key.split("."):
        node = node.get("init_args", node)[part]
    return node["class_path"].rpartition(".")[2] if isinstance(node, dict) and "class_path" in node else node


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(files: list[str], row: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        compose(files, [], row)
    assert len(str(caught.value).splitlines()) <= 5
    return str(caught.value)


# ---- base


def test_a_base_is_merged_as_a_file_before_would_be(in_tmp: Path) -> None:
    own = MODEL + "data: {init_args: {batch_size: 7, noise: {init_args: {rate: 0.3}}}}\ntrainer: {max_epochs: 3}\n"
    write(in_tmp, alone=own, mine="base: digits.yaml\n" + own)
    merged, expected = compose(["mine.yaml"], []), compose(["digits.yaml", "alone.yaml"], [])
    assert merged.config == {**expected.config, "recipe": "mine"}
    assert [value(merged.config, key) for key in ("data.batch_size", "data.noise.rate", "data.noise.own_class")] == [
        7,
        0.3,
        False,
    ]
    assert merged.config["trainer"] == {"max_epochs": 3, "accelerator": "cpu"}


def test_a_class_of_the_base_that_is_swapped_leaves_what_the_new_one_knows_and_is_no_news(in_tmp: Path) -> None:
    write(in_tmp, mine="base: ce_cifar10\nmodel: {class_path: ELR, init_args: {target_momentum: 0.9}}\n")
    write(in_tmp, flip="base: digits\n" + MODEL + "data: {init_args: {noise: {class_path: PairFlip}}}\n")
    composed = compose(["mine.yaml"], [])
    assert value(composed.config, "model") == "ELR" and value(composed.config, "model.network") == "ResNet34"
    assert composed.notes == []
    assert compose(["flip.yaml"], []).config["data"]["init_args"]["noise"]["init_args"] == {"rate": 0.4, "seed": 0}


def test_a_base_lies_beside_the_recipe_wherever_the_command_runs(in_tmp: Path) -> None:
    (in_tmp / "there" / "more").mkdir(parents=True)
    write(in_tmp / "there", base="recipe: theirs\nseed_everything: 5\n", mine="base: base.yaml\n" + MODEL + "data: Digits\n")
    write(in_tmp / "there" / "more", mine="base: ../base.yaml\n" + MODEL + "data: Digits\n")
    for path in ("there/mine.yaml", str(in_tmp / "there" / "more" / "mine.yaml")):
        config = compose([path], []).config
        assert (config["seed_everything"], config["recipe"]) == (5, "mine"), "the name of the base is not taken over"


def test_print_config_shows_a_recipe_that_stands_alone(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(in_tmp, mine="base: digits.yaml\n" + MODEL + "rows: {low: {set: {data.noise.rate: 0.1}, expected: 90}}\n")
    assert main(["fit", "--config", "mine.yaml", "--row", "low", "--print_config"]) == 0
    text = capsys.readouterr().out
    shown = yaml.safe_load(text)
    assert not {"base", "rows", "row"} & set(shown)
    assert shown["recipe"] == "mine-low" and shown["data"]["init_args"]["noise"]["init_args"]["rate"] == 0.1
    write(in_tmp, again=text)
    assert main(["fit", "--config", "again.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("digit.yaml", "mine.yaml: base: no file 'digit.yaml' in"),
        ("digit.yaml", "nearest: digits.yaml"),
        ("other.yaml", "other.yaml has a base itself, digits.yaml, and one level is allowed"),
        ("mine.yaml", "mine.yaml is this file itself"),
        ("./mine", "is this file itself"),
        ("[digits.yaml]", "expected the name of one file, as digits.yaml, got ['digits.yaml']"),
        ("null", "expected the name of one file"),
        ("a" * 300, "base: no file 'aaa"),
        ('"a\\0b"', "base: no file 'a\\x00b'"),
        ("..", "base: no file '..'"),
        ("list.yaml", "list.yaml: expected keys and values, got list"),
        ("broken.yaml", "broken.yaml: not valid YAML in line 2"),
        ("key.yaml", "key.yaml: key: 'modell' is not known"),
        ("wrong.yaml", "data.batch_size: wrong value"),
        ("foreign.yaml", "foreign.yaml: model names base_of_a_stranger.Net, and would run the code of the module"),
    ],
)
def test_a_base_that_cannot_be_is_refused_by_its_own_name(in_tmp: Path, base: str, said: str) -> None:
    write(
        in_tmp,
        mine=f"base: {base}\n" + MODEL,
        other="base: digits.yaml\n",
        list="- 1\n",
        broken="seed_everything: 1\nseed_everything: 2\n",
    )
    write(in_tmp, key="modell: x\n", wrong="data: {class_path: Digits, init_args: {batch_size: many}}\n")
    write(in_tmp, foreign="model: base_of_a_stranger.Net\n")
    (in_tmp / "base_of_a_stranger.py").write_text("raise SystemExit('it was run')\n")
    assert said in refused(["mine.yaml"])


# ---- rows


ROWS = """
rows:
  low: {set: {data.noise.rate: 0.1}, expected: 90.10, measured: "90.2 ± 0.1", source: a paper}
  as_it_is: {}
  flip:
    set:
      data.noise: {class_path: PairFlip, init_args: {rate: 0.45}}
      trainer: {max_epochs: 4, gradient_clip_val: null}
"""


@pytest.fixture
def rows(in_tmp: Path) -> str:
    write(
        in_tmp,
        mine="# Source: ours\n# Expected: 80\nbase: digits.yaml\n" + MODEL + ROWS,
        over="data: {init_args: {noise: {init_args: {rate: 0.6}}}}\n",
    )
    return "mine.yaml"


def test_a_row_changes_its_values_and_the_name(rows: str) -> None:
    plain, low, flip = (compose([rows], [], row).config for row in (None, "low", "flip"))
    assert [value(config, "data.noise.rate") for config in (plain, low, flip)] == [0.4, 0.1, 0.45]
    assert [config["recipe"] for config in (plain, low, flip)] == ["mine", "mine-low", "mine-flip"]
    assert value(flip, "data.noise") == "PairFlip" and flip["trainer"]["max_epochs"] == 4
    assert {key for key in plain if plain[key] != low[key]} == {"recipe", "data"}


def test_the_row_that_sets_nothing_is_the_recipe_as_it_stands(rows: str) -> None:
    assert compose([rows], [], "as_it_is").config == compose([rows], []).config


def test_later_files_and_flags_win_over_a_row(rows: str) -> None:
    assert value(compose([rows, "over.yaml"], [], "low").config, "data.noise.rate") == 0.6
    assert value(compose([rows], [("data.noise.rate", "0.7")], "low").config, "data.noise.rate") == 0.7
    assert compose([rows], [("recipe", "other")], "low").config["recipe"] == "other"


def test_rows_are_listed_with_their_figures(rows: str) -> None:
    found = {line.row: line for line in lines_of(Path(rows))}
    assert list(found) == ["as_it_is", "low", "flip"]
    assert [found[row].expected for row in found] == ["80", "90.10", "-"]
    assert [found[row].measured for row in found] == ["not yet", "90.2 ± 0.1", "not yet"]
    assert [found[row].source for row in found] == ["ours", "a paper", "ours"]
    assert found["low"].noise == "Symmetric(rate 0.1, own_class False)" and found["flip"].noise == "PairFlip(rate 0.45)"


@pytest.mark.parametrize(
    ("files", "row", "said"),
    [
        (["mine.yaml"], "lwo", "nearest: low"),
        (["mine.yaml"], "x", "allowed: as_it_is, flip, low"),
        (["ce_digits.yaml", "over.yaml"], "low", "--row low: there are no rows in ce_digits.yaml, over.yaml"),
        (["mine.yaml", "mine.yaml"], "low", "each have a row of that name"),
        (["dividemix_cifar10_sym80"], "sym20", "for another row write --config dividemix_cifar10.yaml --row sym20"),
    ],
)
def test_a_row_that_is_not_there_is_refused(rows: str, files: list[str], row: str, said: str) -> None:
    assert said in refused(files, row)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "rows: expected rows by name"),
        ("{a/b: {}}", "rows: 'a/b' becomes part of a folder's name"),
        ("{a: 1}", "rows.a: expected set, expected, measured or source, got 1"),
        ("{a: {data.noise.rate: 0.1}}", "values of the recipe go below set"),
        ("{a: {set: [1]}}", "rows.a.set: expected values by key"),
        ("{a: {expected: [1]}}", "rows.a.expected: expected a line of text"),
        ("{a: {}, b: {}}", "a and b set nothing"),
        ("{a: {set: {recipe: b}}}", "rows.a.set: recipe is no value of a run"),
        ("{a: {set: {data.noise.rat: 0.1}}}", "nearest: rate"),
        ("{a: {set: {dat.noise.rate: 0.1}}}", "mine.yaml: rows.a.set: key: 'dat' is not known"),
        ("{a: {set: {data.noise: stranger.Noise}}}", "mine.yaml: data.noise names stranger.Noise"),
    ],
)
def test_rows_that_cannot_be_are_refused(in_tmp: Path, text: str, said: str) -> None:
    write(in_tmp, mine="base: digits.yaml\n" + MODEL + f"rows: {text}\n")
    (in_tmp / "stranger.py").write_text("raise SystemExit('it was run')\n")
    assert said in refused(["mine.yaml"], "a")


def test_a_row_needs_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--row", "low", "--model", "CrossEntropy"]) == 2
    assert "--row low is a row of a recipe: name that, too, with --config" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["fit"], ["folds", "--folds", "2"], ["issues"]], ids=" ".join)
def test_every_command_that_trains_takes_a_row(command: list[str], rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--config", rows, "--row", "low", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["recipe"], shown["data"]["init_args"]["noise"]["init_args"]["rate"]) == ("mine-low", 0.1)


def test_a_run_of_a_row_bears_its_name(rows: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", rows, "--config", "smoke.yaml", "--row", "low", "--trainer.max_epochs", "1"]) == 0
    (folder,) = (in_tmp / "runs").iterdir()
    assert folder.name == "mine-low"
    (run,) = folder.iterdir()
    assert yaml.safe_load((run / "config.yaml").read_text())["recipe"] == "mine-low"
    capsys.readouterr()
    assert main(["test", "--run_dir", str(run)]) == 0
    assert main(["fit", "--run_dir", str(run), "--resume", "--config", rows, "--config", "smoke.yaml", "--row", "flip"]) == 2
    assert "this command changes" in capsys.readouterr().err


# ---- packaged recipes


KNOWN = [  # chosen by hand from the tables of the papers and from the recipes before there were rows
    (
        "act_cifar100",
        "sym80",
        {"model": "ACT", "data": "CIFAR100", "data.noise": "Symmetric", "data.noise.rate": 0.8, "trainer.max_epochs": 150},
        "40.74",
    ),
    ("act_cifar100", "pair40", {"data.noise": "PairFlip", "data.noise.rate": 0.4, "data.noise.sampler": "legacy"}, "63.48"),
    (
        "act_cifar80",
        "asym40",
        {"data": "CIFAR100", "data.noise": "OpenSet", "data.noise.closed": "asymmetric", "data.noise.open_ratio": 0.2},
        "64.40",
    ),
    ("coteaching_cifar10", "pair45", {"model.forget_rate": 0.45, "data.noise": "PairFlip", "data.noise.rate": 0.45}, "72.85"),
    (
        "coteaching_cifar100",
        "sym20",
        {"data": "CIFAR100", "model.forget_rate": 0.2, "model.scheduler.start": 100, "model.network.dropout": 0},
        "54.36",
    ),
    (
        "jocor_cifar100",
        "sym20",
        {"model": "JoCoR", "model.network": "ACTNet", "model.network.head": "linear", "data.noise.rate": 0.2},
        "53.01",
    ),
    (
        "dividemix_cifar10",
        "sym90",
        {"model.lambda_u": 50, "model.threshold": 0.6, "model.average_epochs": 5, "data.noise.rate": 0.9},
        "76.0 best, 75.4 last",
    ),
    (
        "dividemix_cifar10",
        "asym40",
        {"model.lambda_u": 0, "model.confidence_penalty": True, "data.noise.exact": True},
        "93.4 best, 92.1 last",
    ),
    (
        "dividemix_cifar100",
        "sym80",
        {"data": "CIFAR100", "model.warmup_epochs": 30, "model.lambda_u": 150, "data.batch_size": 64},
        "60.2 best",
    ),
    (
        "elr_cifar10",
        "asym40_steps",
        {"model.target_momentum": 0.9, "model.scheduler.milestones": [40, 80], "trainer.max_epochs": 120},
        "90.12",
    ),
    (
        "elr_cifar100",
        "sym60",
        {"data": "CIFAR100", "model.scheduler": "MultiStepLR", "data.noise.rate": 0.6, "data.val_fraction": 0.1},
        "59.28",
    ),
]


@pytest.mark.parametrize(("name", "row", "values", "expected"), KNOWN, ids=[f"{name}-{row}" for name, row, *_ in KNOWN])
def test_a_row_of_a_paper_has_its_values_and_its_figure(name: str, row: str, values: dict[str, Any], expected: str) -> None:
    config = compose([name], [], row).config
    assert {key: value(config, key) for key in values} == values
    (line,) = [line for line in lines_of(packaged()[f"{name}.yaml"]) if line.row == row]
    assert line.expected.split(" (")[0] == expected
    assert any(shown.startswith(name) and f" {row} " in shown and expected in shown for shown in recipes_table().splitlines())


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_stands_for_the_recipe_and_row_and_says_so(old: str) -> None:
    name, row = RENAMED[old]
    composed = compose([f"{old}.yaml"], [])
    assert composed.config == compose([name], [], row).config
    assert composed.notes == [f"{old} is now --config {name}.yaml --row {row}; the old name works in this version alone"]


def test_a_file_of_the_users_own_may_have_an_old_name(in_tmp: Path) -> None:
    write(in_tmp, dividemix_cifar10_sym20=MODEL + "data: Digits\n")
    composed = compose(["dividemix_cifar10_sym20.yaml"], [])
    assert value(composed.config, "data") == "Digits" and composed.notes == []
    assert nearest("dividemix_cifar10_sym2", RENAMED)
