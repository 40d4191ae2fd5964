"""Texts as tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from textables import reviews, table, write_encoder

pytest.importorskip("transformers")

from noisylab.data import Text
from noisylab.data.notes import DataNote
from noisylab.data.text.tokens import Tokenizing, TokenRows
from noisylab.models.text_encoders import find_encoder
from noisylab.transforms.words import SPECIAL, WORD_START


@pytest.fixture
def tokenizing(tmp_path: Path) -> Tokenizing:
    return Tokenizing(find_encoder(str(write_encoder(tmp_path / "e"))).tokenizer_text, 10)


def test_tokens_are_those_of_the_tokenizer_with_marks(tokenizing: Tokenizing) -> None:
    rows, cut = tokenizing(["good playly", "🙂", ""])
    row = rows.gather(torch.tensor([0]))[0]
    ids = (row[row >= 0] & (WORD_START - 1)).tolist()
    assert ids == [2, 5, 22, 21, 3] and cut == 0  # [CLS] good play ##ly [SEP]
    assert [bool(token & SPECIAL) for token in row[:5].tolist()] == [True, False, False, False, True]
    assert [bool(token & WORD_START) for token in row[:5].tolist()] == [False, True, True, False, False]
    assert tokenizing.numbers(rows.gather(torch.tensor([1, 2])))[:, :3].tolist() == [[2, 1, 3], [2, 3, 0]]


def test_batches_are_padded_to_their_longest_text(tokenizing: Tokenizing) -> None:
    rows, cut = tokenizing(["good", "good " * 7, "good " * 20])
    assert rows.ids.dtype == torch.int32 and len(rows.ids) == 3 + 9 + 10 and cut == 1
    assert rows.gather(torch.tensor([0])).shape == (1, 8)
    found = rows.gather(torch.tensor([2, 0]))
    assert found.shape == (2, 16)
    assert (found >= 0).sum(1).tolist() == [10, 3]
    assert TokenRows(torch.empty(0, dtype=torch.int32), torch.zeros(1, dtype=torch.int64), 1).gather(torch.arange(0)).shape == (
        0,
        8,
    )


def test_a_limit_without_room_for_words_is_refused(tokenizing: Tokenizing) -> None:
    with pytest.raises(ValueError, match="max_length must be above the 2 tokens"):
        Tokenizing(tokenizing.text, 2)


def test_the_model_keeps_the_tokenizer(tmp_path: Path) -> None:
    import shutil

    folder = write_encoder(tmp_path / "e")
    data = Text.of(reviews(8), features="tokens", tokenizer=str(folder))
    data.setup()
    shutil.rmtree(folder)
    again = Text.of(reviews(8), features="auto")
    again.adopt(data.fitted())
    again.setup_blank()
    assert again.prepared(reviews(3)).ids.tolist() == data.prepared(reviews(3)).ids.tolist()


def test_cut_texts_are_told(tmp_path: Path) -> None:
    data = Text.of(
        table(["good " * 9, "bad"], ["x", "y"]), features="tokens", tokenizer=str(write_encoder(tmp_path / "e")), max_length=6
    )
    with pytest.warns(DataNote, match="1 of 2 texts are cut after 6 tokens"):
        data.setup()
    with pytest.raises(ValueError, match="tokens are no feature vectors"):
        _ = data.num_features
