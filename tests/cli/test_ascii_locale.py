"""Where the system's locale is ASCII: names of files and classes with accents are read, written and found again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisylab.cli.main import main


@pytest.mark.parametrize(("encoding", "again"), [("ascii", True), ("utf-8", False), ("iso8859-1", False)])
def test_the_command_begins_anew_in_utf8_where_file_names_are_ascii(
    encoding: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, list[str], str]] = []

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        begun.append((path, arguments, environment["PYTHONUTF8"]))

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    monkeypatch.setattr(sys, "argv", [__file__, "--version"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "noisylab", "--version"])
    assert main() == 0
    assert begun == (
        [(sys.executable, [sys.executable, "-X", "utf8", "-m", "noisylab", "--version"], "1")]
        if again and not sys.flags.utf8_mode
        else []
    )
    assert main(["--version"]) == 0 and len(begun) <= 1  # never within a program that calls it


@pytest.mark.slow
def test_class_folders_with_accents_are_named_and_found_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("caf\u00e9", "\u732b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for place in range(8):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "p" / name / f"{place}.png")
    bare: Any = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    flags = ["--backbone", "none", "--run_dir", "run", "--trainer.max_epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "noisylab", "issues", "--images", "p", *flags],
        cwd=tmp_path,
        env={**os.environ, **bare},
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "label_issues.csv").open(encoding="utf-8") as file:
        assert {row["given"] for row in csv.DictReader(file)} == {"caf\u00e9", "\u732b"}
    assert (tmp_path / "run" / "issues.html").exists()
