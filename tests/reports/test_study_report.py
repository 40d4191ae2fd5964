"""The table of a study, on hand-made figures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_runs import FakeCell, write_study

from noisylab.reports import StudyReport, read_study, study_report

GIVEN = {"protocol": "test accuracy in the best epoch by given labels of 10% held-out rows; last epoch beside it"}


def cells(accuracies: dict[str, list[float]], noise: str = "", **more: Any) -> list[FakeCell]:
    """Seed by seed, as a study trains them."""
    named = {"noise": noise} if noise else {}
    return [
        FakeCell({"method": method, **named, "seed": str(seed)}, acc=values[seed], **more)
        for seed in range(len(next(iter(accuracies.values()))))
        for method, values in accuracies.items()
    ]


def report(folder: Path, found: list[FakeCell], **options: Any) -> StudyReport:
    named = "CE" if any(cell.axes["method"] == "CE" for cell in found) else None
    return study_report(read_study(write_study(folder / "S", found, baseline=named)), **options)


def lines(text: str, start: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith(start)]


def row(found: StudyReport, method: str, noise: str = "") -> Any:
    return next(each for each in found.record["rows"] if (each["method"], each["noise"]) == (method, noise))


THREE = {"CE": [0.80, 0.82, 0.84], "ELR": [0.81, 0.82, 0.87]}


def test_mean_population_deviation_difference_and_wins(tmp_path: Path) -> None:
    # CE: mean 82, squared deviations 4 + 0 + 4; ELR: mean 83 1/3; differences 1, 0 and 3 points
    found = report(tmp_path, cells(THREE, held_out=None))
    assert lines(found.text, "CE") == ["CE 82.00 ± 1.63 90.0 1 3"]
    assert lines(found.text, "ELR") == ["ELR 83.33 ± 2.62 +1.33 2/3 ? 90.0 1.00 3"]
    assert "? too few seeds to tell: a 95 % interval needs 6. Seed by seed: ELR: +1.0 +0.0 +3.0." in found.text
    record = row(found, "ELR")
    assert record["figures"]["last"]["values"] == {"0": 0.81, "1": 0.82, "2": 0.87}
    assert record["figures"]["last"]["std"] == pytest.approx(math.sqrt((5.4444 + 1.7778 + 13.4444) / 3) / 100, abs=1e-6)
    assert record["difference"]["differences"] == pytest.approx([0.01, 0.0, 0.03])
    assert (record["difference"]["wins"], record["difference"]["ties"], record["difference"]["interval"]) == (2, 1, None)
    assert record["difference"]["too_few"] is True and row(found, "CE")["difference"] is None


def test_six_seeds_have_an_interval(tmp_path: Path) -> None:
    values = {"CE": [0.8] * 6, "ELR": [0.81, 0.82, 0.83, 0.81, 0.82, 0.83]}
    found = report(tmp_path, cells(values, held_out=None))
    low, high = row(found, "ELR")["difference"]["interval"]
    assert 0.01 <= low < 0.02 < high <= 0.03
    assert lines(found.text, "ELR")[0].startswith(f"ELR 82.00 ± 0.82 +2.00 [+{100 * low:.2f}, +{100 * high:.2f}] 6/6 ")
    assert "too few" not in found.text


def test_noises_are_columns_of_one_table_a_quantity(tmp_path: Path) -> None:
    both = [
        *cells(THREE, "none", summary=GIVEN),
        *cells({"CE": [0.5, 0.6, 0.7], "ELR": [0.6] * 3}, "sym40", summary=GIVEN),
    ]
    found = report(tmp_path, both)
    titles = [line for line in found.text.splitlines() if line.endswith(("percent", "seeds won", "Cost"))]
    assert titles == [
        "Test accuracy in the last epoch, percent",
        "Difference from CE, points [95 % interval], seeds won",
        "Test accuracy in the best epoch by held-out rows, percent",
        "Accuracy on held-out rows by given labels in the last epoch, percent",
        "Cost",
    ]
    assert lines(found.text, "method")[0] == "method none sym40"
    assert lines(found.text, "ELR")[0] == "ELR 83.33 ± 2.62 60.00 ± 0.00"
    assert lines(found.text, "ELR")[1] == "ELR +1.33 2/3 ? +0.00 1/3 ?"
    assert "sym40: symmetric 40 %; 39.8 % of the training labels are wrong." in found.text
    assert "| ELR | 83.33 ± 2.62 | 60.00 ± 0.00 |" in found.markdown


def test_many_noises_are_divided_to_fit_the_page(tmp_path: Path) -> None:
    found = report(tmp_path, [cell for rate in range(12) for cell in cells(THREE, f"sym{rate}", summary=GIVEN)])
    assert max(map(len, found.text.splitlines())) <= 120
    first = found.text.partition("Difference from")[0]
    assert [lines(first, "CE"), lines(first, "method")[1].split()[-1]] == [
        ["CE" + " 82.00 ± 1.63" * 8, "CE" + " 82.00 ± 1.63" * 4],
        "sym11",
    ]


def test_failed_and_missing_cells_are_marked_and_do_not_count(tmp_path: Path) -> None:
    def study(noise: str) -> list[FakeCell]:
        named = {"noise": noise} if noise else {}
        failed = FakeCell({"method": "ELR", **named, "seed": "1"}, state="failed", message="it has diverged\nin epoch 3")
        return [cell for cell in cells(THREE, noise) if cell.axes != failed.axes] + [failed]

    one = report(tmp_path / "one", study(""))
    assert lines(one.text, "ELR")[0].startswith("ELR 84.00 ± 3.00 +2.00 2/2 ?")
    assert lines(one.text, "ELR")[0].endswith(" 2 of 3, 1 failed")
    assert one.text.startswith("which on digits: 5 of 6 runs finished, 1 failed\n")
    assert "ELR, seed 1 failed: it has diverged\n" in one.text and "in epoch 3" not in one.text
    several = report(tmp_path / "two", [*study("none"), *study("sym40")])
    assert lines(several.text, "ELR")[0] == "ELR 84.00 ± 3.00 (2 of 3, 1 failed) 84.00 ± 3.00 (2 of 3, 1 failed)"
    record = row(one, "ELR")
    assert (record["seeds"], record["missing"]) == (["0", "2"], ["1"])
    assert {"folder": "ELR/seed1", "state": "failed", "message": "it has diverged\nin epoch 3"} in record["cells"]


def test_a_study_in_which_nothing_is_finished_has_a_table(tmp_path: Path) -> None:
    found = report(tmp_path, cells(THREE, state="waiting"))
    assert found.text.startswith("which: 0 of 6 runs finished, 6 waiting\n")
    assert lines(found.text, "ELR") == ["ELR - - - - 0 of 3"]


def test_folds_are_averaged_within_their_seed(tmp_path: Path) -> None:
    def folds(method: str, values: list[list[float]]) -> list[FakeCell]:
        found = []
        for seed, each in enumerate(values):
            for fold, acc in enumerate(each):
                told = f"last epoch on test; the test set is fold {fold} of 0..1 of the training rows"
                axes = {"method": method, "seed": str(seed), "fold": str(fold)}
                found.append(FakeCell(axes, acc=acc, held_out=None, summary={"protocol": told}))
        return found

    # seeds 0.7 and 0.9: mean 0.8, deviation 0.1; over all four values it would be 0.1118
    found = report(tmp_path / "a", [*folds("CE", [[0.65, 0.75], [0.85, 0.95]]), *folds("ELR", [[0.75, 0.75], [0.95, 0.95]])])
    assert lines(found.text, "CE")[0].startswith("CE 80.00 ± 10.00 ")
    assert lines(found.text, "ELR")[0].startswith("ELR 85.00 ± 10.00 +5.00 2/2 ?")
    assert "over the seeds, of each the mean over its folds" in found.text
    assert "Protocol: last epoch on test; the test set is each of 2 folds in turn of the training rows." in found.text
    # of a single seed, the deviation is over the folds: 0.05 around 0.7
    one = report(tmp_path / "b", [*folds("CE", [[0.65, 0.75]]), *folds("ELR", [[0.75, 0.75]])])
    assert lines(one.text, "CE")[0].startswith("CE 70.00 ± 5.00 ")
    assert "mean ± population standard deviation over the folds" in one.text
    # a seed without all of its folds does not count
    half = folds("CE", [[0.65, 0.75], [0.85, 0.95]])
    half[3] = FakeCell(half[3].axes, state="waiting")
    assert lines(report(tmp_path / "c", half).text, "CE")[0].startswith("CE 70.00 ± 5.00 ")


def test_the_figure_is_the_one_that_the_protocol_names(tmp_path: Path) -> None:
    def figure(name: str, **more: Any) -> tuple[str, str]:
        found = report(tmp_path / name, cells({"CE": [0.5, 0.75]}, **more))
        return found.record["figure"], found.text.splitlines()[2]

    curves = {"test/acc": [0.25] * 12, "unlabeled/used": [0.5] * 12}
    assert figure("held_out")[0] == "last"
    assert figure("test_only", held_out=None) == ("last10", "method  mean of last 10  seconds  seeds")
    assert figure("unlabeled", held_out=None, curves=curves, epochs=12)[0] == "last"
    no_test = cells({"CE": [0.0]}, summary={"protocol": "no test set: mean of the last ten epochs by given labels of 10% rows"})
    found = report(tmp_path / "no_test", [FakeCell(no_test[0].axes, acc=None, held_out=0.625, summary=no_test[0].summary)])
    assert found.record["figure"] == "held_out_last10"
    assert " ".join(found.text.splitlines()[2].split()) == (
        "method held-out, last 10, given labels held-out, given labels seconds seeds"
    )


def test_the_best_test_epoch_is_shown_when_asked_and_marked(tmp_path: Path) -> None:
    without = report(tmp_path / "a", cells(THREE))
    assert "hosen on the test set" not in without.text and "best" not in without.csv
    assert "best_chosen_on_test" not in row(without, "CE")["figures"]
    found = report(tmp_path / "b", cells(THREE), best=True)
    assert lines(found.text, "method")[0].endswith(" best* seconds x CE seeds")
    assert "*chosen on the test set: an upper bound, not a protocol." in found.text
    assert ",best_chosen_on_test_mean," in found.csv.splitlines()[0]
    assert "88.25 ± 1.63" in lines(found.text, "CE")[0]  # each 6.25 points above the last epoch


def test_rows_that_learn_from_unlabeled_rows_show_how(tmp_path: Path) -> None:
    curves = {
        "test/acc": [0.0] * 18 + [0.5, 0.75],
        "test/top5": [0.0] * 18 + [0.75, 1.0],
        "unlabeled/used": [0.0] * 18 + [0.25, 0.75],
        "unlabeled/used_right": [0.0] * 18 + [math.nan, 0.875],
    }
    found = report(tmp_path, cells({"fixmatch": [0.75]}, held_out=None, curves=curves, epochs=20))
    # the last tenth is two epochs; an epoch in which nothing was used says nothing about what was right
    assert " ".join(found.text.splitlines()[2].split()) == (
        "method last epoch last tenth top-5, last epoch top-5, last tenth used right among used seconds seeds"
    )
    assert lines(found.text, "fixmatch") == ["fixmatch 75.00 62.50 100.00 87.50 50.00 87.50 90.0 1"]
    assert "last tenth: mean over the last tenth of the epochs, at least one.\n" in found.text
    assert "used: mean weight of the unlabeled rows in the last tenth" in found.text


def test_a_figure_that_one_seed_lacks_is_not_averaged(tmp_path: Path) -> None:
    found = report(tmp_path, [*cells({"CE": [0.5]}), FakeCell({"method": "CE", "seed": "1"}, acc=0.7, held_out=None)])
    assert set(row(found, "CE")["figures"]) >= {"last"} and "held_out" not in row(found, "CE")["figures"]


def test_the_cost_is_of_the_runs_that_both_have(tmp_path: Path) -> None:
    study = [
        FakeCell({"method": "CE", "seed": "0"}, seconds=100.0),
        FakeCell({"method": "CE", "seed": "1"}, seconds=300.0),
        FakeCell({"method": "ELR", "seed": "0"}, seconds=150.0, epochs=2),
        FakeCell({"method": "ELR", "seed": "1"}, state="waiting"),
    ]
    found = report(tmp_path, study)
    assert lines(found.text, "CE")[0].endswith(" 200 1 3 2")
    assert lines(found.text, "ELR")[0].endswith(" 150 1.50 2 1 of 2")


def test_a_row_without_a_finished_run_makes_no_column_of_epochs(tmp_path: Path) -> None:
    study = [FakeCell({"method": "CE", "seed": "0"}), FakeCell({"method": "ELR", "seed": "0"}, state="waiting")]
    assert " epochs " not in f"{lines(report(tmp_path, study).text, 'method')[0]} "


def test_settings_have_rows_of_their_own_and_the_baseline_may_be_one(tmp_path: Path) -> None:
    study = [
        FakeCell({"method": method, "setting": setting, "seed": str(seed)}, acc=acc + 0.01 * seed)
        for seed in (0, 1)
        for method, setting, acc in (("CE", "", 0.5), ("ELR", "slow", 0.6), ("ELR", "fast", 0.7))
    ]
    found = report(tmp_path / "a", study)
    assert [line.split("  ")[0] for line in found.text.splitlines()[2:6]] == ["method", "CE", "ELR, slow", "ELR, fast"]
    assert "+10.00 2/2 ?" in lines(found.text, "ELR, slow")[0]
    place = read_study(tmp_path / "a" / "S")
    assert "-20.00 0/2 ?" in lines(study_report(place, baseline="ELR, fast").text, "CE")[0]
    assert "-10.00 0/2 ?" in lines(study_report(place, baseline="ELR").text, "CE")[0]  # its first setting
    with pytest.raises(ValueError, match=r"baseline='DMI': the study has no such method; it has CE; ELR, slow; ELR, fast"):
        study_report(place, baseline="DMI")


def test_the_files_have_every_figure(tmp_path: Path) -> None:
    found = report(tmp_path, [*cells(THREE, "none"), *cells(THREE, "sym40")])
    rows = list(csv.DictReader(found.csv.splitlines()))
    assert [(each["method"], each["noise"]) for each in rows] == [
        ("CE", "none"),
        ("ELR", "none"),
        ("CE", "sym40"),
        ("ELR", "sym40"),
    ]
    second = rows[1]
    assert (second["seeds"], second["planned"], second["finished"], second["failed"]) == ("0 1 2", "3", "3", "0")
    assert float(second["last_mean"]) == pytest.approx(0.8333333, abs=1e-6)
    assert (second["wins"], second["ties"], second["losses"], second["too_few"], second["low"]) == ("2", "1", "0", "true", "")
    assert float(second["sign_flip_p"]) == 0.5  # of eight choices of signs, four reach 4 points: the zero counts twice
    assert rows[0]["difference"] == ""
    assert json.loads(json.dumps(found.record, allow_nan=False))["baseline"] == "CE"
