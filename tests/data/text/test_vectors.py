"""Texts as vectors of an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from textables import reviews, table, write_encoder

pytest.importorskip("transformers")

from noisylab.data import Text
from noisylab.data.notes import DataNote
from noisylab.data.text.embeddings import Embedding, word_dropped
from noisylab.models.text_encoders import MINILM, available_encoder, find_encoder


def by_hand(folder: str, text: str, pooling: str, normalize: bool) -> np.ndarray:
    """One text without padding, through BertModel itself, pooled token by token in float64."""
    from tokenizers import Tokenizer
    from transformers import BertModel

    ids = Tokenizer.from_file(f"{folder}/tokenizer.json").encode(text).ids
    net = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        hidden = net(torch.tensor([ids])).last_hidden_state[0].double().numpy()
    vector = hidden[0] if pooling == "cls" else sum(hidden) / len(ids)
    return vector / (np.sqrt((vector**2).sum()) if normalize else 1)


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("mean", False), ("cls", False)])
def test_vectors_are_those_computed_text_by_text(tmp_path: Path, pooling: str, normalize: bool) -> None:
    said = {f"pooling_mode_{'cls_token' if pooling == 'cls' else 'mean_tokens'}": True, "pooling_mode_max_tokens": False}
    folder = str(write_encoder(tmp_path / "e", said, normalize))
    texts = ["good movie", "the plot was very very bad and ugly", "", "playly so"]
    rows, cut = Embedding(find_encoder(folder), 32, None, 0, 0.1)(texts)
    assert cut == 0
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_allclose(row, by_hand(folder, text, pooling, normalize), atol=2e-6)


@pytest.mark.skipif(not available_encoder(), reason="the extra text")
def test_minilm_has_the_weights_and_the_pooling_of_its_authors() -> None:
    encoder = find_encoder(MINILM)
    assert (encoder.width, encoder.max_length, encoder.pooling, encoder.normalize) == (384, 256, "mean", True)
    rows, _ = Embedding(encoder, 256, None, 0, 0.1)(
        ["A man is eating food.", "A man is eating a piece of bread.", "Prime numbers"]
    )
    np.testing.assert_allclose((rows**2).sum(1), 1, rtol=1e-5)
    alike = rows @ rows.T
    assert alike[0, 1] == pytest.approx(0.7553, abs=2e-4)  # as the documentation of sentence-transformers has it
    assert alike[0, 2] < 0.2


def test_a_part_after_the_encoder_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "e")
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ValueError, match="has the part Dense after its encoder"):
        _ = find_encoder(str(folder)).pooling
    (folder / "modules.json").unlink()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ValueError, match="pools by max_tokens"):
        _ = find_encoder(str(folder)).pooling


def test_vectors_are_computed_once_for_the_same_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = str(write_encoder(tmp_path / "e")), tmp_path / "cache"
    monkeypatch.setattr("noisylab.data.text.embeddings._PART", 4)
    texts = [f"good movie {'very ' * place}" for place in range(10)]
    first, cut = Embedding(find_encoder(folder), 8, cache, 0, 0.1)(texts)
    assert len(list(cache.iterdir())) == 3 and cut == 5

    again = Embedding(find_encoder(folder), 8, cache, 0, 0.1)
    monkeypatch.setattr(again, "_computed", lambda texts: pytest.fail("computed again"))
    kept, cut = again(texts)
    assert kept.tobytes() == first.tobytes() and cut == 5

    files = sorted(cache.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-40] + b"\0" * 40)
    with pytest.warns(UserWarning, match="is damaged: the features are computed again"):
        repaired, _ = Embedding(find_encoder(folder), 8, cache, 0, 0.1)(texts)
    assert repaired.tobytes() == first.tobytes()
    assert len({file.name for file in cache.iterdir()}) == 3
    Embedding(find_encoder(folder), 9, cache, 0, 0.1)(texts)  # another length: other files
    assert len(list(cache.iterdir())) == 6


def test_the_size_is_measured_on_training_rows_and_part_of_the_model(tmp_path: Path) -> None:
    folder = str(write_encoder(tmp_path / "e"))
    data = Text.of(reviews(20), features=folder, val_fraction=0.25, cache=None)
    data.setup()
    rows = data.source.train.values
    kept = data.info.train_rows
    assert float(rows[kept].square().mean().sqrt()) == pytest.approx(0.5, rel=1e-6)
    assert float(rows.square().mean().sqrt()) != pytest.approx(0.5, rel=1e-6)

    again = Text.of(reviews(20), features="tfidf", cache=None)
    again.adopt(data.fitted())
    again.setup_blank()
    other = reviews(5, seed=2)
    torch.testing.assert_close(again.prepared(other).values, data.prepared(other).values)
    torch.testing.assert_close(data.prepared(reviews(20)).values, rows)


def test_a_model_refuses_an_encoder_with_other_weights(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "e")
    data = Text.of(reviews(8), features=str(folder), cache=None)
    data.setup()
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    again = Text.of(reviews(8), features=str(folder), cache=None)
    again.adopt(data.fitted())
    with pytest.raises(ValueError, match="other than those now on this machine"):
        again.setup()


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    folder = str(write_encoder(tmp_path / "e"))
    texts = ["good movie", "very bad", "good " * 20_000, "awful"]
    assert len(texts[2]) == 10**5
    data = Text.of(table(texts, ["x", "y"] * 2), features=folder, cache=None)
    with pytest.warns(DataNote, match="1 of 4 texts are cut after 32 tokens"):
        data.setup()
    with pytest.raises(ValueError, match="takes at most 32 tokens"):
        Text.of(table(texts, ["x", "y"] * 2), features=folder, max_length=33, cache=None).setup()


def test_the_strong_view_is_the_vector_of_a_text_without_some_words(tmp_path: Path) -> None:
    folder = str(write_encoder(tmp_path / "e"))
    data = Text.of(reviews(6), reviews(4, seed=1), features=folder, copies=3, word_dropout=0.5, cache=None)
    data.setup()
    assert data.source.train.values.shape == (6, 4, 16) and data.source.test.values.shape == (4, 16)
    texts = data.tables[0].columns["review"].texts()
    scale = data.measured()["scale"]
    copies = [[word_dropped(text, 0.5, copy) for copy in (1, 2, 3)] for text in texts]
    wanted = np.array([[by_hand(folder, copy, "mean", False) for copy in row] for row in copies]) * scale
    np.testing.assert_allclose(data.source.train.values[:, 1:], wanted, atol=5e-6)
    from noisylab.transforms.draws import Draws

    views = data.view_set()
    rows = torch.arange(6)
    torch.testing.assert_close(views["weak"](data.source.train.values, Draws(0, rows)), data.source.train.values[:, 0])
    drawn = torch.stack([views["strong"](data.source.train.values, Draws(key, rows)) for key in range(40)])
    for row in range(6):
        seen = {tuple(vector) for vector in drawn[:, row].tolist()}
        assert seen == {tuple(vector) for vector in data.source.train.values[row, 1:].tolist()}


def test_word_dropped_texts_keep_one_word_and_the_order() -> None:
    text = "a b c d e f g h"
    copies = [word_dropped(text, 0.9, copy) for copy in range(50)]
    assert all(copy and copy.split() == sorted(copy.split()) for copy in copies) and len(set(copies)) > 8
    assert word_dropped(text, 0.9, 1) == copies[1] and word_dropped("", 0.5, 1) == ""
    kept = np.mean([len(word_dropped(f"{text} {place}", 0.3, 1).split()) / 9 for place in range(500)])
    assert kept == pytest.approx(0.7, abs=0.03)
