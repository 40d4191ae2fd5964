"""The statistics that all benchmarks share, against numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timing
import torch
from timing import Claim, Report, interleave, parse, parser_for, summarize, verdict


def test_rows_take_turns_and_every_other_repeat_is_reversed() -> None:
    seen: list[str] = []

    def turn(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    found = interleave({name: lambda name=name: turn(name) for name in "abc"}, 3)
    assert "".join(seen) == "abccbaabc"
    assert found == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_summary_of_ratios() -> None:
    base, row = summarize({"base": [2.0, 4.0, 1.0, 2.0, 2.0], "row": [2.0, 8.0, 3.0, 8.0, 10.0]}, "base", "group")
    # ratios 1, 2, 3, 4, 5
    assert (row["ratio"], row["quartiles"], row["range"]) == (3, [2, 4], [1, 5])
    assert row["ratio_of_fastest"] == 2.0 / 1.0
    assert (row["ms"], row["group"], row["baseline"]) == (8000, "group", "base")
    assert (base["ratio"], base["quartiles"], base["ms"]) == (1, [1, 1], 2000)


def test_quartiles_lie_between_the_values() -> None:
    assert timing.spread([4.0, 1.0, 2.0, 3.0]) == (1.75, 2.5, 3.25)
    assert timing.spread([7.0]) == (7, 7, 7)


@pytest.mark.parametrize(
    ("direction", "bound", "met"),
    [
        ("at most", 5.0, True),
        ("at most", 2.0, True),  # the lower quartile
        ("at most", 1.9, False),
        ("at least", 1.0, True),
        ("at least", 4.0, True),  # the upper quartile
        ("at least", 4.1, False),
    ],
)
def test_claim_is_met_when_the_middle_half_reaches_the_bound(direction: timing.Direction, bound: float, met: bool) -> None:
    found = verdict("x", [1.0, 2.0, 3.0, 4.0, 5.0], bound, direction)
    assert (found["median"], found["interval"], found["met"]) == (3, [2, 4], met)


def test_claim_says_so_when_only_the_spread_reaches_the_bound() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert "within the spread only" in timing.claim_text(verdict("x", values, 2.5, "at most"))
    assert timing.claim_text(verdict("x", values, 3.5, "at most")).endswith(", met")
    assert timing.claim_text(verdict("x", values, 1.0, "at most")).endswith(", NOT met")
    assert timing.claim_text(verdict("x", values, None, "at most")).endswith("2 to 4")


def test_time_is_bounded_above_and_speed_below() -> None:
    found = {"slow": [4.0, 8.0, 4.0], "fast": [1.0, 2.0, 1.0]}
    assert Claim("x", "slow", "fast", 4.0, "at most").judge(found)["median"] == 4
    speed = Claim("x", "fast", "slow", 4.0, "at least").judge(found)
    assert (speed["median"], speed["met"], speed["row"], speed["against"]) == (4, True, "fast", "slow")
    assert Claim("x", "fast", None, 1.5, "at most").judge(found)["median"] == 1  # seconds


def test_what_could_not_be_measured_is_neither_met_nor_missed() -> None:
    found = verdict("x", [], 1.0, "at most", why="no such device")
    assert (found["median"], found["interval"], found["met"]) == (None, None, None)
    assert timing.claim_text(found) == "x (at most 1): not measured, no such device"


def test_report_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "folder" / "x.json"
    options = parse(parser_for("views", "A program.\n\nMore.", repeats=9), ["--short", "--device", "cpu", "--out", str(out)])
    assert (options.repeats, options.device, torch.get_num_threads()) == (3, torch.device("cpu"), 1)
    report = Report(options, "a step", {"more": 1})
    ticks = iter(range(1, 100))
    report.measure(
        {"a": lambda: 2.0, "b": lambda: float(next(ticks))}, "a", group="g", claims=[Claim("c", "b", "a", 1.0, "at most")]
    )
    report.write()
    facts = json.loads(out.read_text())
    assert [(row["row"], row["unit"], row["seconds"]) for row in facts["rows"]] == [
        ("a", "step", [2.0] * 3),
        ("b", "step", [1.0, 2.0, 3.0]),
    ]
    assert (facts["claims"][0]["median"], facts["claims"][0]["met"], facts["more"]) == (1, True, 1)
    assert facts["command"] == f"python benchmarks/views.py --short --device cpu --out {out}"
    assert [path.name for path in out.parent.iterdir()] == ["x.json"]
    assert "c (at most 1): 1, middle half 0.75 to 1.25, met" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--repeats", "1"], ["--threads", "0"], ["--device", "tpu"]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(parser_for("views", "A program.", repeats=9), arguments)


def test_durations_have_a_fitting_unit() -> None:
    text = timing.table_text(summarize({"a": [2e-6, 2e-6], "b": [0.004, 0.004], "c": [3.0, 3.0]}, "a"), "image")
    assert "2 us" in text and "4 ms" in text and "3 s" in text and "images/s" in text
