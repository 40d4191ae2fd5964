"""What the programs beside it share: turns, ratios, claims, a table and a JSON file.

Rows take turns: each repeat measures every row once, every other repeat in reverse order, and each row is divided by the
baseline row of the same repeat, so that a change in the machine's load meets all rows. What is reported of the ratios is their
median, the middle half (first to third quartile) and the range. ``by fastest`` is the ratio of the two fastest repeats: on a
machine with slow spells it says more than the median. A claim is a bound on such a ratio; it is met when the middle half reaches
the bound.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

import noisylab
from noisylab.callbacks.surroundings import versions
from noisylab.files import atomic_path

__all__ = [
    "Claim",
    "Report",
    "clock",
    "device_name",
    "interleave",
    "parse",
    "parser_for",
    "quiet",
    "ratios",
    "spread",
    "summarize",
    "table_text",
    "verdict",
]

Direction = Literal["at most", "at least"]


def clock(device: torch.device) -> float:
    """Seconds, read after the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def interleave(rows: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each row's function returns, one number a repeat; odd repeats go through the rows backwards."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(repeats):
        for name in rows if repeat % 2 == 0 else reversed(list(rows)):
            found[name].append(rows[name]())
    return found


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """(first quartile, median, third quartile), interpolated between the values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else list(values) * 3
    return low, middle, high


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The quotient in each repeat."""
    return [mine / base for mine, base in zip(above, below, strict=True)]


def summarize(found: Mapping[str, Sequence[float]], baseline: str, group: str = "") -> list[dict[str, Any]]:
    """One entry a row: its time, and its time over the baseline's of the same repeat.

    Args:
        found: seconds of a unit (step, image, epoch), one number a repeat, by row.
        baseline: the row to divide by.
        group: which rows belong together.
    """
    table = []
    for name, seconds in found.items():
        quotients = ratios(seconds, found[baseline])
        low, middle, high = spread(quotients)
        entry = {"group": group, "row": name, "baseline": baseline, "ms": 1000 * statistics.median(seconds), "ratio": middle}
        entry |= {"quartiles": [low, high], "range": [min(quotients), max(quotients)]}
        table.append({**entry, "ratio_of_fastest": min(seconds) / min(found[baseline]), "seconds": list(seconds)})
    return table


def _duration(seconds: float) -> str:
    factor, unit = next((pair for pair in ((1.0, "s"), (1e3, "ms")) if seconds * pair[0] >= 1), (1e6, "us"))
    return f"{seconds * factor:.4g} {unit}"


def table_text(table: Sequence[Mapping[str, Any]], unit: str = "step") -> str:
    """The entries of `summarize`, aligned."""
    width = max(len(str(entry["row"])) for entry in table)
    head = (f"a {unit}", f"{unit}s/s", "time ratio", "middle half", "range", "by fastest")
    lines = [f"{'':{width}}  {head[0]:>10}  {head[1]:>10}  {head[2]:>10}  {head[3]:>17}  {head[4]:>17}  {head[5]:>10}"]
    for entry in table:
        half, whole = (f"{low:.3g} to {high:.3g}" for low, high in (entry["quartiles"], entry["range"]))
        seconds, ratio, fastest = entry["ms"] / 1000, entry["ratio"], entry["ratio_of_fastest"]
        timed = f"{_duration(seconds):>10}  {1 / seconds:10.4g}"
        lines.append(f"{entry['row']:{width}}  {timed}  {ratio:10.4g}  {half:>17}  {whole:>17}  {fastest:10.4g}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Claim:
    """A bound on one row against another.

    Args:
        text: what is claimed.
        row: the row it is about.
        against: the row to compare with; None bounds the row's own seconds.
        bound: the bound; None only reports the ratio.
        direction: "at most" bounds the row's time over the other's; "at least" the speed-up, the other's time over the row's.
    """

    text: str
    row: str
    against: str | None
    bound: float | None
    direction: Direction

    def judge(self, found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """The verdict on measured seconds."""
        mine = found[self.row]
        base = [1.0] * len(mine) if self.against is None else found[self.against]
        values = ratios(mine, base) if self.direction == "at most" else ratios(base, mine)
        return verdict(self.text, values, self.bound, self.direction, row=self.row, against=self.against)


def verdict(
    text: str, values: Sequence[float], bound: float | None, direction: Direction, *, why: str | None = None, **more: Any
) -> dict[str, Any]:
    """Whether values, one a repeat, keep a bound: the middle half must reach it.

    Args:
        text: what is claimed.
        values: what is bounded; empty where it could not be measured.
        bound: the bound, or None.
        direction: which side of it is good.
        why: why there is nothing to judge.
        **more: kept in the result.

    Returns:
        claim, bound, direction, median, interval (the quartiles), met (None where there is nothing to judge), why.
    """
    result = {"claim": text, **more, "bound": bound, "direction": direction, "median": None, "interval": None, "met": None}
    if values:
        low, middle, high = spread(values)
        result |= {"median": middle, "interval": [low, high]}
        if bound is not None:
            result["met"] = low <= bound if direction == "at most" else high >= bound
    return {**result, "why": why}


def claim_text(claim: Mapping[str, Any]) -> str:
    """A verdict in one line."""
    bound = "" if claim["bound"] is None else f" ({claim['direction']} {claim['bound']:.4g})"
    if claim["median"] is None:
        return f"{claim['claim']}{bound}: not measured, {claim['why']}"
    low, high = claim["interval"]
    said = {None: "", True: ", met", False: ", NOT met"}[claim["met"]]
    if claim["met"] and not (
        claim["median"] <= claim["bound"] if claim["direction"] == "at most" else claim["median"] >= claim["bound"]
    ):
        said = ", within the spread only"
    return f"{claim['claim']}{bound}: {claim['median']:.4g}, middle half {low:.4g} to {high:.4g}{said}"


def commit() -> str | None:
    """The commit of the checkout, marked when files differ from it; None outside of one."""
    folder = Path(noisylab.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """What it is sold as, where that can be found out."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return model or platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quiet() -> None:
    """Only tables: no messages of Lightning, no warnings."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def parser_for(program: str, doc: str | None, *, repeats: int, short_repeats: int = 3) -> argparse.ArgumentParser:
    """The options that every program has.

    Args:
        program: name of the file, without ``.py``.
        doc: its docstring, the first line of which is shown.
        repeats: how often each row is measured.
        short_repeats: the same with ``--short``.
    """
    parser = argparse.ArgumentParser(prog=f"python benchmarks/{program}.py", description=(doc or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a small form, to see that it works; not to quote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, help=f"turns of each row, at least 2 (default: {repeats}; short: {short_repeats})")
    parser.add_argument(
        "--threads", type=int, help="CPU threads of the main process (default: 1 on the CPU, torch's own on CUDA)"
    )
    parser.add_argument("--out", default=f"runs/benchmarks/{program}.json", help="the JSON file to write (default: %(default)s)")
    parser.set_defaults(program=program, full_repeats=repeats, short_repeats=short_repeats)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options, set the threads, silence Lightning and warnings.

    Returns:
        The options, with ``device`` a `torch.device`, ``repeats`` and ``command`` filled in.

    Raises:
        SystemExit: for a wrong option, or ``--device cuda`` without one.
    """
    options = parser.parse_args(argv)
    options.repeats = (
        options.repeats if options.repeats is not None else (options.short_repeats if options.short else options.full_repeats)
    )
    if options.repeats < 2:
        parser.error(f"--repeats must be at least 2, got {options.repeats}")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads must be at least 1, got {options.threads}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    options.device = torch.device(options.device)
    if options.threads is not None or options.device.type == "cpu":
        torch.set_num_threads(options.threads or 1)
    arguments = sys.argv[1:] if argv is None else argv
    options.command = " ".join([parser.prog, *arguments])
    quiet()
    return options


@dataclass
class Report:
    """Collects rows and claims of one program; prints as it goes, writes at the end.

    Args:
        options: what `parse` returned.
        what: what is timed.
        more: further facts for the file.
    """

    options: argparse.Namespace
    what: str
    more: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def measure(
        self,
        rows: Mapping[str, Callable[[], float]],
        baseline: str,
        *,
        group: str = "",
        unit: str = "step",
        claims: Sequence[Claim] = (),
        repeats: int | None = None,
    ) -> dict[str, list[float]]:
        """Let the rows take turns; see `interleave`.

        Returns:
            Seconds by row.
        """
        found = interleave(rows, repeats or self.options.repeats)
        self.add(found, baseline, group=group, unit=unit, claims=claims)
        return found

    def add(
        self,
        found: Mapping[str, Sequence[float]],
        baseline: str,
        *,
        group: str = "",
        unit: str = "step",
        claims: Sequence[Claim] = (),
    ) -> None:
        """Take measured seconds, print their table and what becomes of the claims."""
        table = summarize(found, baseline, group)
        self.rows += [{**entry, "unit": unit} for entry in table]
        print(f"\n{group}\n{table_text(table, unit)}" if group else table_text(table, unit), flush=True)
        for claim in claims:
            self.judged(claim.judge(found))

    def judged(self, claim: dict[str, Any]) -> None:
        """Take and print a verdict."""
        self.claims.append(claim)
        print(claim_text(claim), flush=True)

    def facts(self) -> dict[str, Any]:
        """All that the file says."""
        options = self.options
        return {
            "what": self.what,
            "command": options.command,
            "commit": commit(),
            "device": device_name(options.device),
            "cpu": device_name(torch.device("cpu")),
            "cores": cores(),
            "threads": torch.get_num_threads(),
            "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "versions": versions(),
            "repeats": options.repeats,
            "short": options.short,
            **self.more,
            "rows": self.rows,
            "claims": self.claims,
        }

    def write(self) -> None:
        """Write the file, whole or not at all."""
        if self.options.short:
            print("short: too few steps to quote")
        with atomic_path(self.options.out) as partial:
            partial.write_text(json.dumps(self.facts(), indent=2, allow_nan=False) + "\n")
        print(f"written: {self.options.out}")
