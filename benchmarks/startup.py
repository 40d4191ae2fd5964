"""CPU seconds until the command answers what needs no training: help, lists, mistakes.

python benchmarks/startup.py [--repeats 5] [--out startup.json]

Each is a process of its own; what is printed is the smallest of the repeats, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BOUNDS = {"import noisylab": 0.1}  # of all others 0.5
BOUND = 0.5
ASKED: dict[str, list[str]] = {
    "import noisylab": ["-c", "import noisylab"],
    **{
        f"noisylab {' '.join(words)}": ["-m", "noisylab", *words]
        for words in (
            ["--help"],
            ["--version"],
            ["recipes"],
            ["compare", "--help"],
            ["issues", "--help"],
            ["fitt"],
            ["fit", "--config", "act_digit.yaml"],
        )
    },
}


def cpu_seconds(arguments: Sequence[str]) -> float:
    """User and system time of a Python process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each; exit with 1 where a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    python = cpu_seconds(["-c", ""])
    found = {name: min(cpu_seconds(arguments) for _ in range(options.repeats)) for name, arguments in ASKED.items()}
    print(f"Python itself: {python:.2f} s")
    for name, seconds in found.items():
        bound = BOUNDS.get(name, BOUND)
        print(f"{name}: {seconds:.2f} s of CPU time, bound {bound} s{'' if seconds <= bound else ', not kept'}")
    if options.out:
        options.out.write_text(json.dumps({"python": python, "seconds": found}, indent=2) + "\n")
    return int(any(seconds > BOUNDS.get(name, BOUND) for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
