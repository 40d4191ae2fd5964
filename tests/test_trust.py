"""Files name classes; only what the user trusts is imported for them. What is typed is the user's own wish."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import PlainMLP, ToyData, fit

from noisylab import trust
from noisylab.cli.main import main
from noisylab.methods import CrossEntropy
from noisylab.models import Wrap

_MODULE = """
from pathlib import Path
from torch import nn
from lightning.pytorch.callbacks import Callback
from noisylab.methods import CrossEntropy
from noisylab.models import SmallCNN

Path(__file__).with_name("ran").touch()


class Mine(CrossEntropy):
    pass


class Net(SmallCNN):
    pass


class Watch(Callback):
    pass


def make(num_classes, **kwargs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def hook(*args):
    pass
"""
_RECIPE = """
model: {class_path: CrossEntropy, init_args: {network: {class_path: SmallCNN}}}
data: {class_path: Digits, init_args: {subset: 60}}
trainer: {max_epochs: 1}
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module that says when it has run, and settings of its own."""
    (tmp_path / "stranger.py").write_text(_MODULE)
    (tmp_path / "recipe.yaml").write_text(_RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLAB_SETTINGS", str(tmp_path / "settings"))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(Path.cwd()))])
    monkeypatch.setattr(trust, "_session", {})
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("stranger", None)


def _recipe(folder: Path, **changes: str) -> str:
    lines = _RECIPE.splitlines()
    parts = {line.partition(":")[0]: line for line in lines if line}
    parts |= {key: f"{key}: {value}" for key, value in changes.items()}
    (folder / "asked.yaml").write_text("\n".join(parts.values()))
    return str(folder / "asked.yaml")


def _wrapped(arguments: str) -> dict[str, str]:
    """A recipe's model: a network of `Wrap` with these arguments."""
    return {"model": f"{{class_path: CrossEntropy, init_args: {{network: {{class_path: Wrap, init_args: {{{arguments}}}}}}}}}"}


_HOOKED = "{{callbacks: [{{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {{on_fit_start: {}}}}}]}}"
_IN_OTHER_WORDS = {  # all of which jsonargparse reads
    "a callback as JSON": '{callbacks: \'{"class_path": "stranger.Watch"}\'}',
    "callbacks as YAML in a text": "{callbacks: '[stranger.Watch]'}",
    "callbacks in a block of text": '{callbacks: "- stranger.Watch\\n"}',
    "callbacks in a file": "{callbacks: callbacks.yaml}",
    "a callback in a file": "{callbacks: [callback.yaml]}",
    "arguments in a file": "{callbacks: [{class_path: lightning.pytorch.callbacks.Timer, init_args: callback.yaml}]}",
    "a profiler as text": "{profiler: '{class_path: stranger.Profiler}'}",
    "plugins as text": "{plugins: '[{class_path: stranger.Plugin}]'}",
    "a strategy in a file": "{strategy: callback.yaml}",
    "a hook as text": _HOOKED.format("'{class_path: stranger.Watch}'"),
    "a hook in a file": _HOOKED.format("hook.yaml"),
}
_NAMED = {
    "a loader as a hook": {
        "trainer": _HOOKED.format("{class_path: torch.hub.load, init_args: {repo_or_dir: ., source: local, model: make}}")
    },
    "a loader as a callback": {"trainer": "{callbacks: {class_path: torch.hub.load, init_args: {repo_or_dir: ., model: make}}}"},
    "arguments that a constructor does not name": {
        "trainer": "{callbacks: [{class_path: lightning.pytorch.callbacks.Timer, dict_kwargs: {a: {class_path: stranger.Net}}}]}"
    },
    "a method": {"model": "{class_path: stranger.Mine, init_args: {network: {class_path: SmallCNN}}}"},
    "a network": {"model": "{class_path: CrossEntropy, init_args: {network: stranger.Net}}"},
    "a data set": {"data": "stranger.Data"},
    "an optimizer": {
        "model": "{class_path: CrossEntropy, init_args: {network: SmallCNN, optimizer: {class_path: stranger.SGD}}}"
    },
    "a factory": _wrapped("factory: stranger.make"),
    "a factory with a colon": _wrapped("factory: 'stranger:make'"),
    "a callback": {"trainer": "{callbacks: [{class_path: stranger.Watch}]}"},
    "a callback by its name alone": {"trainer": "{callbacks: [stranger.Watch]}"},
    "one callback": {"trainer": "{callbacks: {class_path: stranger.Watch}}"},
    "more callbacks": {"trainer": "{callbacks+: {class_path: stranger.Watch}}"},
    "a hook of a callback": {"trainer": _HOOKED.format("stranger.hook")},
    "a strategy": {"trainer": "{strategy: {class_path: stranger.Strategy}}"},
    "an accelerator": {"trainer": "{accelerator: {class_path: stranger.Accelerator}}"},
    "a profiler": {"trainer": "{profiler: stranger.Profiler}"},
    "a plugin": {"trainer": "{plugins: [stranger.Plugin]}"},
    "a compiler": {"speed": "{compile: true, backend: stranger.hook}"},
    "an argument of a factory": _wrapped("factory: torchvision.models.resnet18, norm_layer: {class_path: stranger.Net}"),
    "torch.hub": _wrapped("factory: torch.hub.load, repo_or_dir: ., source: local, model: make"),
    "eval": _wrapped("factory: builtins.eval"),
    "a compiler of C++": _wrapped("factory: torch.utils.cpp_extension.load"),
    "a process": _wrapped("factory: subprocess.Popen"),
}


@pytest.mark.parametrize("named", list(_NAMED), ids=str)
def test_a_file_that_names_foreign_code_is_refused_and_nothing_of_it_runs(
    stranger: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _recipe(stranger, **_NAMED[named])
    for call in (["--print_config"], ["--dry_run"], ["--run_dir", "run"]):
        assert main(["fit", "--config", recipe, *call]) == 2
        said = capsys.readouterr().err
        assert "--trust" in said and recipe in said, said
    assert not (stranger / "ran").exists() and "stranger" not in sys.modules
    assert not (stranger / "run").exists()


@pytest.mark.parametrize("named", list(_IN_OTHER_WORDS), ids=str)
def test_classes_in_text_or_in_further_files_are_not_read(stranger: Path, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    (stranger / "callbacks.yaml").write_text("[{class_path: stranger.Watch}]")
    (stranger / "callback.yaml").write_text("{class_path: stranger.Watch}")
    (stranger / "hook.yaml").write_text("stranger.hook")
    sys.path.append(str(stranger))
    assert main(["fit", "--config", _recipe(stranger, trainer=_IN_OTHER_WORDS[named]), "--print_config"]) == 2
    assert "keys and values" in capsys.readouterr().err
    assert not (stranger / "ran").exists() and "stranger" not in sys.modules


@pytest.mark.parametrize("name", ["_api.register_model", "get_model_weights", "vision_transformer.interpolate_embeddings"])
def test_not_all_that_lies_beside_networks_builds_one(name: str) -> None:
    with pytest.raises(trust.Untrusted, match="only build a network"):
        trust.check_builder(f"torchvision.models.{name}", "here")
    trust.check_builder("torchvision.models.get_model", "here")


@pytest.mark.parametrize("command", ["test", "validate", "predict", "fit", "issues"])
def test_a_run_folder_runs_no_foreign_code(stranger: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = stranger / "run"
    assert main(["fit", "--config", str(stranger / "recipe.yaml"), "--run_dir", str(run)]) == 0
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"noisylab\S*SmallCNN", "stranger.Net", text))
    capsys.readouterr()
    flags = {"issues": ["--run", str(run)], "fit": ["--run_dir", str(run), "--resume"]}
    assert main([command, *flags.get(command, ["--run_dir", str(run)])]) == 2
    assert "--trust stranger" in capsys.readouterr().err
    assert not (stranger / "ran").exists()


def test_a_module_is_trusted_once_and_for_all_commands(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = _recipe(stranger, **_NAMED["a method"])
    assert main(["fit", "--config", recipe, "--run_dir", "run", "--trust", "stranger"]) == 0
    assert "stranger.py" in capsys.readouterr().err
    assert (stranger / "ran").exists()
    assert main(["test", "--run_dir", "run"]) == 0
    assert json.loads(trust.settings_file().read_text())["modules"] == {"stranger": str(stranger / "stranger.py")}


def test_a_module_of_the_same_name_elsewhere_is_another(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe(stranger, **_NAMED["a network"])
    assert main(["fit", "--config", recipe, "--print_config", "--trust", "stranger"]) == 0
    elsewhere = stranger / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "stranger.py").write_text(_MODULE)
    sys.modules.pop("stranger")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(stranger)])
    monkeypatch.chdir(elsewhere)
    importlib.invalidate_caches()
    assert main(["fit", "--config", recipe, "--print_config"]) == 2
    assert not (elsewhere / "ran").exists()


def test_what_is_typed_is_trusted_and_remembered(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", "stranger.Mine", "--model.network", "SmallCNN", "--data", "Digits", "--data.subset", "60"]
    assert main(["fit", *flags, "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    assert "stranger" in capsys.readouterr().err
    assert main(["test", "--run_dir", "run"]) == 0


def test_settings_that_cannot_be_written_do_not_stop_a_command(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stranger / "file").touch()
    monkeypatch.setenv("NOISYLAB_SETTINGS", str(stranger / "file" / "below"))
    recipe = _recipe(stranger, **_NAMED["a network"])
    assert main(["fit", "--config", recipe, "--print_config", "--trust", "stranger"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not of the form"),
        ('{"modules": [1, 2]}', "is not of the form"),
        ('{"modules": {"mynet": 1}}', "is not of the form"),
    ],
)
def test_damaged_settings_are_told_in_words(stranger: Path, text: str, said: str) -> None:
    (stranger / "settings").mkdir()
    trust.settings_file().write_text(text)
    with pytest.raises(ValueError, match=f"the list of trusted modules, {said}") as caught:
        trust.trusted()
    assert "remove the file, and say again with --trust" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("Expecting", "indices", "sequence", "recursion"))


def test_unreadable_settings_are_named(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stranger / "settings").mkdir()
    trust.settings_file().write_text("[")
    assert main(["fit", "--config", _recipe(stranger, **_NAMED["a network"]), "--print_config"]) == 2
    assert str(trust.settings_file()) in capsys.readouterr().err


def test_a_module_that_is_not_there_cannot_be_trusted(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "ce_digits", "--print_config", "--trust", "strangr"]) == 2
    assert "strangr" in capsys.readouterr().err


def test_a_misspelled_name_is_unknown_not_untrusted(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", _recipe(stranger, model="noislab.methods.ACT"), "--print_config"]) == 2
    said = capsys.readouterr().err
    assert "is not known" in said and "--trust" not in said


def test_classes_and_builders_of_known_packages_pass(stranger: Path) -> None:
    model = (
        "{class_path: CrossEntropy, init_args: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}, "
        "network: {class_path: noisylab.models.Wrap, init_args: {factory: torchvision.models.squeezenet1_1}}}}"
    )
    callbacks = "{callbacks: [{class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/acc}}]}"
    assert main(["fit", "--config", _recipe(stranger, model=model, trainer=callbacks), "--print_config"]) == 0


def test_a_file_named_like_a_module_is_data(stranger: Path) -> None:
    data = "{class_path: Arrays, init_args: {path: stranger.npz}}"
    network = "{class_path: CrossEntropy, init_args: {network: {class_path: MLP, init_args: {in_features: 4}}}}"
    assert main(["fit", "--config", _recipe(stranger, model=network, data=data), "--print_config"]) == 0
    assert not (stranger / "ran").exists()


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained_cfg", "trust_remote_code"])
def test_a_builder_may_not_read_pickles_or_code_from_elsewhere(name: str) -> None:
    trust.check_builder("torchvision.models.resnet18", "here")
    with pytest.raises(trust.Untrusted, match=name):
        trust.check_builder("torchvision.models.resnet18", "here", {name: "elsewhere"})


def test_a_folder_of_the_working_directory_is_not_a_known_package(stranger: Path) -> None:
    if importlib.util.find_spec("transformers") is not None:
        pytest.skip("transformers is installed")
    (stranger / "transformers.py").write_text(_MODULE)
    importlib.invalidate_caches()
    assert main(["fit", "--config", _recipe(stranger, model="transformers.Mine"), "--print_config"]) == 2
    assert not (stranger / "ran").exists()


def test_a_checkpoint_runs_no_foreign_code(stranger: Path) -> None:
    fit(CrossEntropy(3, PlainMLP), ToyData(), stranger, 1)
    checkpoint = torch.load(stranger / "last.ckpt", weights_only=True)
    for network in (
        {"class_path": "stranger.Net"},
        {"class_path": "noisylab.models.wrap.Wrap", "init_args": {"factory": "stranger.make"}},
        {"class_path": "noisylab.models.wrap.Wrap", "init_args": {"factory": "torch.hub.load", "source": "local"}},
    ):
        checkpoint["hyper_parameters"]["network"] = network
        torch.save(checkpoint, stranger / "bad.ckpt")
        with pytest.raises(trust.Untrusted, match="trust"):
            CrossEntropy.load_from_checkpoint(stranger / "bad.ckpt")
        assert not (stranger / "ran").exists()


def test_a_checkpoint_of_a_network_of_ones_own_loads_where_its_module_is_imported_or_trusted(stranger: Path) -> None:
    trust.allow(["stranger"])
    network = partial(Wrap, factory="stranger.make")
    fit(CrossEntropy(3, network), ToyData(features=64), stranger, 1)
    sys.modules.pop("stranger")
    CrossEntropy.load_from_checkpoint(stranger / "last.ckpt")
