from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from noisylab.reports import comparison_table, read_run

MakeRun = Callable[..., Path]


def _row(table: str, start: str) -> list[str]:
    return next(line for line in table.splitlines() if line.startswith(start)).split()


def test_numbers_are_percent_in_the_order_of_the_columns(make_run: MakeRun) -> None:
    table = comparison_table([read_run(make_run())])
    header = " ".join(_row(table, "method"))
    assert header == "method last by val max* mean of last 10 memorized precision recall F1"
    assert _row(table, "ELR") == ["ELR", "62.50", "71.88", "75.00", "62.50", "±", "10.21", "50.0", "90.0", "80.0", "84.7"]
    assert "All numbers in percent. digits, symmetric 40 % (39.8 % of labels wrong), seed 0." in table


def test_what_a_run_does_not_have_is_a_dash(make_run: MakeRun) -> None:
    folder = make_run(curves={"train/loss": [1.0]}, test={"headline": {"last": 0.5, "best_by_val": None}}, diagnostics={})
    assert _row(comparison_table([read_run(folder)]), "ELR") == ["ELR", "50.00", "-", "-", "-", "-", "-", "-", "-"]


def test_columns_line_up(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a", method="ELR")), read_run(make_run("b", method="CoTeaching", test={}))]
    lines = comparison_table(runs).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("method"))
    for heading, last_of_cell in (("last", "62.50"), ("memorized", "50.0"), ("F1", "84.7")):
        end = lines[start].index(heading) + len(heading)
        assert lines[start + 1][:end].endswith(last_of_cell)
        assert lines[start + 2][end - 1] != " "


def test_max_is_marked_as_no_protocol(make_run: MakeRun) -> None:
    assert "max*: highest of all epochs, chosen on the test set: an upper bound, not a protocol." in comparison_table(
        [read_run(make_run())]
    )


@pytest.mark.parametrize("count", [1, 2, 6])
def test_text_fits_100_columns(make_run: MakeRun, count: int) -> None:
    full = {"last": 1.0, "best_by_val": 1.0, "best": 1.0, "last10_mean": 1.0, "last10_std": 0.5}
    sure = dict.fromkeys(("memorization/noisy_as_given", "select/precision", "select/recall", "select/f1"), 1.0)
    runs = [
        read_run(
            make_run(
                str(number),
                method="ForwardCorrectionWithAnchorPoints" * (1 + number % 2),
                seed=number,
                noise={"kind": f"instance{number}", "rate": 0.45},
                protocol="best epoch by the given labels of held-out rows " * 4 + str(number),
                test={"headline": full},
                diagnostics=sure,
                complete=number != 1,
            )
        )
        for number in range(count)
    ]
    table = comparison_table(runs)
    assert max(len(line) for line in table.splitlines()) <= 100
    assert "100.00 ± 50.00" in table


def test_long_names_break_between_their_parts(make_run: MakeRun) -> None:
    runs = [
        read_run(make_run(str(seed), method="CrossEntropy", seed=seed, noise={"kind": "symmetric", "rate": 0.1 * seed}))
        for seed in (1, 2)
    ]
    lines = comparison_table(runs).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("CrossEntropy"))
    assert lines[start].startswith("CrossEntropy,  ")
    assert lines[start + 1] == "symmetric 10 %, seed 1"


def test_a_run_that_stopped_early_is_marked(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a", method="ACT", complete=False)), read_run(make_run("b"))]
    table = comparison_table(runs)
    assert "ACT †" in table
    assert "ELR †" not in table
    assert "†: stopped before its last epoch" in table


def test_differing_protocols_name_their_runs(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a", method="ACT", protocol="last epoch")), read_run(make_run("b"))]
    table = comparison_table(runs)
    assert "Protocol of ACT: last epoch." in table
    assert "Protocol of ELR: mean of the last ten epochs." in table


def test_short_runs_say_so(make_run: MakeRun) -> None:
    assert "or all of a shorter run" in comparison_table([read_run(make_run("a", epochs=3))])
    assert "or all of a shorter run" not in comparison_table([read_run(make_run("b", epochs=10))])


def test_markdown_has_the_same_cells(make_run: MakeRun) -> None:
    lines = comparison_table([read_run(make_run(method="A|B"))], form="markdown").splitlines()
    assert lines[2].count("|") == 10
    assert lines[3] == "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
    assert lines[4] == r"| A\|B | 62.50 | 71.88 | 75.00 | 62.50 ± 10.21 | 50.0 | 90.0 | 80.0 | 84.7 |"


def test_no_runs_is_an_error() -> None:
    with pytest.raises(ValueError, match="runs is empty; give at least one run"):
        comparison_table([])


def test_an_unknown_form_is_an_error(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="form='html' is not known; give 'text' or 'markdown'"):
        comparison_table([read_run(make_run())], form="html")  # type: ignore[arg-type]
