"""Texts as weights of words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from textables import reviews, table

from noisylab.data import Text
from noisylab.data.notes import DataNote
from noisylab.data.text.words import words_in


def dense(data: Text, rows: object = None) -> np.ndarray:
    store = data.source.train if rows is None else rows
    return store.gather(torch.arange(len(store))).numpy()


def test_weights_are_those_of_scikit_learn_on_the_training_rows_alone() -> None:
    data = Text.of(reviews(40), features="tfidf", width=64, val_fraction=0.25)
    data.setup()
    texts = data.tables[0].columns["review"].texts()
    kept = [texts[row] for row in data.info.train_rows.tolist()]
    reference = TfidfVectorizer(sublinear_tf=True, tokenizer=str.split, token_pattern=None).fit(kept)
    wanted = reference.transform(texts).toarray()
    terms = reference.get_feature_names_out().tolist()
    assert data.measured()["terms"] == terms
    np.testing.assert_allclose(dense(data)[:, : len(terms)], wanted, rtol=1e-6)
    assert not dense(data)[:, len(terms) :].any()


@pytest.mark.parametrize("folds", [False, True])
def test_words_of_held_out_rows_are_not_in_the_vocabulary(folds: bool) -> None:
    texts = [f"shared own{row}" for row in range(20)]
    options = {"folds": 4, "fold": 1} if folds else {"val_fraction": 0.25}
    data = Text.of(table(texts, ["a", "b"] * 10), features="tfidf", width=64, **options)
    data.setup()
    kept = set(data.info.train_rows.tolist())
    assert len(kept) == 15
    assert set(data.measured()["terms"]) == {"shared", *(f"own{row}" for row in kept)}


def test_of_too_many_terms_the_most_frequent_of_the_training_rows_are_kept() -> None:
    data = Text.of(table(["a b c", "a b", "a d", "a b"], ["x", "y"] * 2), features="tfidf", width=2)
    data.setup()
    assert data.measured()["terms"] == ["a", "b"]
    assert dense(data).shape == (4, 2)


def test_hashed_rows_are_those_of_scikit_learn() -> None:
    data = Text.of(reviews(10), features="hashed", width=32)
    data.setup()
    texts = data.tables[0].columns["review"].texts()
    wanted = HashingVectorizer(n_features=32, tokenizer=str.split, token_pattern=None).transform(texts).toarray()
    np.testing.assert_allclose(dense(data), wanted, rtol=1e-6)


def test_series_of_words_are_terms_where_they_are_asked_for() -> None:
    data = Text.of(table(["not good", "good"], ["x", "y"]), features="tfidf", width=8, ngrams=2)
    data.setup()
    assert data.measured()["terms"] == ["good", "not", "not good"]


def test_words_of_many_scripts() -> None:
    assert words_in("Ärger über мир_2, it's") == ["ärger", "über", "мир_2", "it", "s"]
    assert words_in("元気です good🙂🙂") == ["元", "気", "で", "す", "good", "🙂", "🙂"]
    assert words_in(" ...!?\n") == []


def test_rows_without_a_known_word_are_zero_and_told() -> None:
    texts = ["good film", "bad film", "the and of", "", "good", "bad"]
    with pytest.warns(DataNote) as told:
        data = Text.of(table(texts, ["x", "y"] * 3), features="tfidf", width=8, stop_words="english")
        data.setup()
    assert dense(data)[2:4].any(1).tolist() == [False, False]
    assert data.measured()["terms"] == ["bad", "film", "good"]
    said = [str(one.message) for one in told]
    assert any("2 texts without a word that training rows have (the first: row 2) are rows of zeros" in line for line in said)
    assert set(said) <= set(data.source.account)


def test_training_texts_without_any_word_are_refused() -> None:
    data = Text.of(table(["the", "and"], ["x", "y"]), features="tfidf", stop_words="english")
    with pytest.raises(ValueError, match=r"no training text of toy has a word besides stop words \(english\)"):
        data.setup()


def test_a_text_of_many_characters_keeps_all_its_words() -> None:
    long = " ".join(f"w{place}" for place in range(20_000))
    assert len(long) > 10**5
    data = Text.of(table([long, "other"], ["x", "y"]), features="hashed", width=2**15)
    data.setup()
    counts = data.source.train.indptr.diff().tolist()
    assert counts[0] > 12_000 and counts[1] == 1  # 20,000 words share 32,768 columns


def test_a_model_prepares_other_texts_with_what_its_training_rows_taught_it() -> None:
    data = Text.of(reviews(20), features="tfidf", width=32)
    data.setup()
    again = Text.of(reviews(20), features="hashed", width=16)  # arguments of the moment do not count
    again.adopt(torch_round_trip(data.fitted()))
    again.setup_blank()
    other = reviews(7, seed=3)
    np.testing.assert_array_equal(dense(data, data.prepared(other)), dense(again, again.prepared(other)))


def torch_round_trip(record: dict) -> dict:
    """As a checkpoint holds it: only tensors and plain values."""
    import io

    file = io.BytesIO()
    torch.save(record, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_test_rows_are_prepared_alike() -> None:
    data = Text.of(reviews(20), reviews(6, seed=1), features="tfidf", width=32)
    data.setup()
    np.testing.assert_array_equal(dense(data, data.source.test), dense(data, data.prepared(reviews(6, seed=1))))
