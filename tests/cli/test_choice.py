"""The choice between two finalists, its words, and the rows to check."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from noisylab.cli.studies.choice import NoiseGuess, Standing, decide, difference_error, record_of, write_rows_to_check
from noisylab.cli.studies.choice_words import choice_text
from noisylab.cli.studies.halving import Candidate, ladder
from noisylab.reports.paired_rows import HeldOutRows

CANDIDATES = (Candidate("A", 20, 5, 5.0), Candidate("B", 40, 0, 1.0))
GUESS = NoiseGuess(0.4, (0.3, 0.5), 10)


def pair(both: int, only_a: int, only_b: int, neither: int = 0) -> dict[str, HeldOutRows]:
    """Predictions of A and B, right together or alone so often; where neither is right, both say the same."""
    rows = both + only_a + only_b + neither
    given = np.arange(rows) % 10
    wrong = (given + 1) % 10
    a, b = given.copy(), given.copy()
    a[both + only_a : both + only_a + only_b] = wrong[both + only_a : both + only_a + only_b]
    b[both : both + only_a] = wrong[both : both + only_a]
    if neither:
        a[-neither:], b[-neither:] = wrong[-neither:], wrong[-neither:]
    index = 1000 + np.arange(rows)
    return {name: HeldOutRows(index, given, said, Path(name)) for name, said in (("A", a), ("B", b))}


def test_a_difference_below_its_standard_error_is_level_and_the_cheaper_is_taken() -> None:
    # (12 - 9) / 100 = 0.03; its standard error sqrt((0.21 - 0.0009) / 100) = 0.0457
    choice = decide(["A", "B"], pair(40, 12, 9, 39), CANDIDATES, GUESS)
    assert (choice.method, choice.best, choice.other, choice.sure) == ("B", "A", "A", "level")
    assert choice.pair is not None
    assert difference_error(choice.pair) == pytest.approx(math.sqrt((0.21 - 0.03**2) / 100))
    assert choice.finalists == ("A", "B") and len(choice.disagree) == 21


def test_a_level_pair_of_which_the_better_is_the_cheaper_stays_as_it_is() -> None:
    choice = decide(["B", "A"], pair(40, 9, 12, 39), CANDIDATES, None)
    assert (choice.method, choice.best, choice.other, choice.sure) == ("B", "B", "A", "level")


@pytest.mark.parametrize(("only_a", "only_b", "sure"), [(30, 5, "clear"), (20, 12, "likely")])
def test_the_better_is_taken_where_it_leads_by_more_than_that(only_a: int, only_b: int, sure: str) -> None:
    choice = decide(["A", "B"], pair(50, only_a, only_b, 100 - 50 - only_a - only_b), CANDIDATES, GUESS)
    assert (choice.method, choice.other, choice.sure) == ("A", "B", sure)
    assert choice.pair is not None and (choice.pair.interval[0] > 0) == (sure == "clear")


def test_a_method_alone_is_chosen_for_want_of_another() -> None:
    choice = decide(["A"], pair(1, 1, 1), CANDIDATES, GUESS)
    assert (choice.method, choice.sure, choice.finalists, len(choice.disagree)) == ("A", "alone", ("A",), 0)


def test_other_rows_are_not_compared() -> None:
    found = pair(5, 3, 2)
    found["B"] = HeldOutRows(found["B"].index + 1, found["B"].given, found["B"].predicted, Path("B"))
    with pytest.raises(ValueError, match="about different rows"):
        decide(["A", "B"], found, CANDIDATES, None)


def test_accuracy_in_clean_units_is_that_of_the_notes() -> None:
    # K 10, r 0.4: 0.9 of the true labels are 0.544444 of the given ones, the slope 0.555556
    assert GUESS.slope == pytest.approx(0.555556, abs=1e-6)
    assert GUESS.clean(0.544444) == pytest.approx(0.9, abs=1e-5)
    assert not NoiseGuess(0.9, (0.8, 1.0), 10).usable


def test_the_number_of_rows_to_check_grows_as_the_lead_shrinks() -> None:
    # 20 of 32 disagreeing rows against 12: a noisy lead of 8 rows, of 8 / 0.5556 = 14.4 true ones, 0.45 of the 32
    found = decide(["A", "B"], pair(50, 20, 12, 18), CANDIDATES, GUESS)
    lead = 8 / GUESS.slope / 32
    assert found.checks == math.ceil((1.959964 + 0.841621) ** 2 * (1 - lead**2) / lead**2)
    smaller = decide(["A", "B"], pair(50, 17, 15, 18), CANDIDATES, GUESS).checks
    assert smaller is not None and smaller > 10 * found.checks
    assert decide(["A", "B"], pair(50, 16, 16, 18), CANDIDATES, GUESS).checks is None, "no lead, no number"


def test_the_rows_to_check_do_not_say_whose_prediction_is_whose(tmp_path: Path) -> None:
    found = pair(5, 3, 2)
    choice = decide(["A", "B"], found, CANDIDATES, None)
    names = [f"{row}.png" for row in range(2000)]
    write_rows_to_check(tmp_path, choice, found, [f"c{label}" for label in range(10)], names, "file")
    with (tmp_path / "to_check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == [1005, 1006, 1007, 1008, 1009]
    for row in rows:
        given = int(row["index"]) - 1000
        assert row["file"] == f"{row['index']}.png" and row["given"] == f"c{given}" and row["true"] == ""
        assert {row["one_says"], row["other_says"]} == {f"c{given}", f"c{(given + 1) % 10}"}
    columns = [row["one_says"] < row["other_says"] for row in rows]
    assert all(columns), "in the order of the classes, whoever said it"
    write_rows_to_check(tmp_path, choice, found, [f"c{label}" for label in range(10)], None, "file")
    assert (tmp_path / "to_check.csv").read_text().splitlines()[0] == "index,given,one_says,other_says,true"


def words(found: dict[str, HeldOutRows], order: list[str], noise: NoiseGuess | None, **more: object) -> str:
    choice = decide(order, found, CANDIDATES, noise)
    rungs = ladder(CANDIDATES)
    right = {name: float((rows.predicted == rows.given).mean()) for name, rows in found.items()}
    standings = [[Standing(name, 20, right[name], True) for name in order]]
    record_of(choice, noise, standings, [1.0], len(found["A"].index))
    failed = {"C": "it diverged\n  lower the rate"} if more.get("failed") else {}
    text = choice_text(choice, CANDIDATES, rungs, standings, noise, len(found["A"].index), failed, bool(more.get("kept")))
    return " ".join(text.split())


def test_the_words_say_what_why_and_how_sure() -> None:
    text = words(pair(50, 30, 5, 15), ["A", "B"], GUESS)
    assert text.startswith("Chosen A.")
    assert "A predicts best the given labels of 100 rows that no method was trained on: 80.00 ± 4.00 %; B" in text
    assert "A alone agrees with the label on 30, B alone on 5: +25.00 points" in text and "The interval leaves 0 out" in text
    assert "a point of accuracy on given labels is 1.80 points of true accuracy: A 136.00 ± 7.20 %" in text
    assert "more than there is, by chance or because fewer labels are wrong" in text
    assert "can put two methods the wrong way round" in text and "(symmetric noise)" in text
    assert "predict different classes on 35 of the 100 held-out rows" in text


def test_the_words_warn_of_labels_that_are_confused_in_pairs() -> None:
    assert "WARNING" not in words(pair(50, 30, 5, 15), ["A", "B"], GUESS)
    told = words(pair(50, 30, 5, 15), ["A", "B"], NoiseGuess(0.4, (0.3, 0.5), 10, ("B",)))
    assert "WARNING: by the lists of B, most classes here are mistaken for one other class each" in told


def test_the_words_say_level_and_what_is_cheaper() -> None:
    text = words(pair(40, 12, 9, 39), ["A", "B"], None, failed=True, kept=True)
    assert "the two are level. Of two that are level the cheaper is taken: B is taken, as an epoch of it costs 1.0" in text
    assert "The share of wrong labels could not be estimated" in text
    assert "C ended with an error and was out: it diverged" in text
    assert "as --keep_held_out says: the run that won, of B, is the final one" in text
