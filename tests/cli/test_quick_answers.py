"""Help, mistakes and lists are answered before anything that takes seconds is imported; each command has a help of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from noisylab.cli import main
from noisylab.cli.flags import COMMANDS, FLAGS, flags_of
from noisylab.cli.usage import completion, help_of

SLOW = ("torch", "lightning", "jsonargparse", "numpy", "matplotlib", "sklearn", "torchvision", "PIL")
QUICK = {
    "help": (["--help"], 0, "usage: noisylab COMMAND"),
    "nothing": ([], 0, "usage: noisylab COMMAND"),
    "version": (["--version"], 0, "0."),
    "recipes": (["recipes"], 0, "act_digits"),
    "help of a command": (["compare", "--help"], 0, "usage: noisylab compare"),
    "help of a group of commands": (["data"], 0, "data check"),
    "misspelled command of a group": (["data", "chek", "CIFAR10"], 2, "nearest: data check"),
    "misspelled command": (["fitt", "--config", "act_digits.yaml"], 2, "nearest: fit"),
    "misspelled recipe": (["fit", "--config", "act_digit.yaml"], 2, "nearest: act_digits.yaml"),
    "misspelled row of a study": (["study", "--config", "semi_digits.yaml", "--rows", "fixmach"], 2, "nearest: fixmatch"),
    "flag of another command": (["fit", "--images", "photos"], 2, "--images belongs to noisylab issues"),
    "unknown flag": (["compare", "--ot", "x.png"], 2, "nearest: out"),
}
PROGRAM = """
import json, sys
from noisylab.cli import main
status = main(json.loads(sys.argv[1]))
print(json.dumps([status, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))
"""


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.replace(" ", "-"))
def test_the_answer_needs_no_library_that_takes_seconds(case: str) -> None:
    argv, status, said = QUICK[case]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(argv), json.dumps(SLOW)], capture_output=True, text=True, check=True
    )
    *output, last = ran.stdout.splitlines()
    assert json.loads(last) == [status, []]
    assert said in "\n".join([*output, ran.stderr])


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_with_its_own_flags_and_no_others(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert said == help_of(name) + "\n"
    assert COMMANDS[name].example in said
    shown = {word.strip(",") for word in said.split("options:")[1].split() if word.startswith("--")}
    own = {f"--{flag}" for flag in flags_of(name)}
    assert own <= shown and not (shown & {f"--{flag}" for flag in FLAGS}) - own - {"--config", "--accepted"}


def test_every_flag_belongs_to_a_command() -> None:
    assert {flag for command in COMMANDS.values() for flag in command.flags} == set(FLAGS)


def test_the_help_of_issues_apply_is_found_from_either_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["issues", "apply", "--help"]) == 0
    first = capsys.readouterr().out
    assert main(["help", "issues", "apply"]) == 0
    assert capsys.readouterr().out == first
    assert "--accepted" in first and "--backbone" not in first


def test_a_class_is_described_for_any_command_that_takes_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folds", "--help", "Trainer"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Trainer\n\nCustomize every aspect of training") and "max_epochs = None" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_flags_and_recipes(shell: str) -> None:
    pytest.importorskip("shtab")
    script = completion(shell)
    assert all(word in script for word in ("predict", "skip_unreadable", "apply"))
    assert shell == "tcsh" or "act_digits.yaml" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fi"], "fit"),
        (["fit", "--over"], "--overwrite"),
        (["fit", "--config", "act_dig"], "act_digits.yaml"),
        (["issues", "ap"], "apply"),
    ],
    ids=["command", "flag", "recipe", "command below a command"],
)
def test_bash_completes(words: list[str], expected: str) -> None:
    pytest.importorskip("shtab")
    typed = " ".join(f"'{word}'" for word in ["noisylab", *words])
    ask = f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_noisylab; echo "${{COMPREPLY[@]}}"'
    ran = subprocess.run(["bash", "-c", f"{completion('bash')}\n{ask}"], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [expected]


def test_an_unknown_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "powershel"]) == 2
    assert "allowed:" in capsys.readouterr().err
    assert main(["completion"]) == 2
    assert "needs the name of one shell" in capsys.readouterr().err
