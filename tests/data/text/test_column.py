"""Columns of text: which one, and what is unusual in it."""

from __future__ import annotations

import numpy as np
import pytest
from textables import reviews, table

from noisylab.data import Text
from noisylab.data.frames import Column, Columns
from noisylab.data.notes import DataNote

NONE = np.zeros(2, bool)
LABEL = Column("text", ["x", "y"], NONE)


def test_the_only_column_of_text_beside_the_label_is_found() -> None:
    assert Text.of(reviews(4)).input_columns(reviews(4)) == ["review"]


def test_columns_with_another_use_are_not_taken_for_the_texts() -> None:
    both = Columns("toy", {"id": LABEL, "words": LABEL, "label": LABEL})
    assert Text.of(both, id_column="id").input_columns(both) == ["words"]
    with pytest.raises(ValueError, match=r"several: id, words\. Name it: text"):
        Text.of(both).input_columns(both)


def test_a_table_without_text_says_what_it_has() -> None:
    numbers = Columns("toy", {"age": Column("number", np.arange(2), NONE), "label": LABEL})
    with pytest.raises(ValueError, match=r"none; it has age \(number\), label \(text\)"):
        Text.of(numbers).input_columns(numbers)


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        (Column("number", np.arange(2), NONE), "holds number values, not text; Tabular learns from numbers"),
        (Column("date", np.array(["2020-01-01", "2021-01-01"], "datetime64[D]"), NONE), "holds date values, not text"),
    ],
)
def test_columns_of_other_kinds_are_refused(column: Column, advice: str) -> None:
    one = Columns("toy", {"it": column, "label": LABEL})
    with pytest.raises(ValueError, match=advice):
        Text.of(one, text="it").input_columns(one)


def test_a_misspelled_name_has_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'review'"):
        Text.of(reviews(4), text="reviw").input_columns(reviews(4))
    with pytest.raises(ValueError, match="for another use"):
        Text.of(reviews(4), text="label").input_columns(reviews(4))


def told(texts: list[str | None]) -> tuple[Text, list[str]]:
    data = Text.of(table(texts, ["x", "y"] * (len(texts) // 2)), features="hashed", width=16)
    with pytest.warns(DataNote) as notes:
        data.setup()
    said = [str(note.message) for note in notes]
    assert set(said) <= set(data.source.account)  # what is said is kept
    assert len(data.source.train) == len(texts)  # and no row is lost
    return data, said


def test_missing_and_empty_texts_are_counted_and_stay() -> None:
    _, said = told(["good", None, "", "  \n", None, "bad"])
    assert "the column review of toy: 2 rows without a text (the first: 1) count as empty ones" in said
    assert "the column review of toy: 2 rows with an empty text stay" in said


def test_half_a_surrogate_pair_is_replaced_and_told() -> None:
    data, said = told(["good \ud83d film", "bad 🙂"])
    assert "the column review of toy: 1 row with half a surrogate pair, which is no character (the first: 0)" in said[0]
    (wanted,) = (
        Text.of(table(["good film"], ["x"]), features="hashed", width=16).preparation.begin(["good film"], "", True)[0].texts
    )
    assert data.preparation.weights([wanted]).data.tolist() == data.source.train.data[:2].tolist()


def test_a_column_of_numbers_as_text_is_noticed() -> None:
    assert "the column review of toy holds numbers; each is a word of its own here" in told(["1", "2.5", "3", ""])[1][-2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"ngrams": 0}, "ngrams must be at least 1"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"word_dropout": 1.0}, r"word_dropout must be a probability in \[0, 1\), got 1.0"),
        ({"span_mask": -0.1}, "span_mask must be a probability"),
        ({"stop_words": "german"}, "stop_words must be 'english' or left out, got 'german'"),
        ({"copies": 2, "features": "tfidf"}, "copies=2 are for vectors of an encoder"),
    ],
)
def test_wrong_arguments_are_refused_before_the_table_is_read(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Text("nowhere.csv", **given)


def test_an_encoder_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(FileNotFoundError, match="neither minilm nor a folder with config"):
        _ = Text("nowhere.csv", features="nowhere").num_features
