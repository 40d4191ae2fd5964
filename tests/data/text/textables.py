"""Small tables of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisylab.data.frames import Column, Columns

GOOD, BAD = ("good", "great", "fine", "lovely"), ("bad", "awful", "poor", "ugly")
FILL = ("the", "movie", "was", "and", "plot", "very", "so", "actor")


def table(texts: Sequence[str | None], labels: Sequence[str], name: str = "review") -> Columns:
    """A table in memory."""
    missing = np.array([text is None for text in texts])
    column = Column("text", ["" if text is None else text for text in texts], missing)
    return Columns("toy", {name: column, "label": Column("text", list(labels), np.zeros(len(labels), bool))})


def reviews(rows: int, seed: int = 0) -> Columns:
    """Texts with a word that says their class."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(rows):
        words = [*rng.choice(FILL, rng.integers(2, 9)), *rng.choice((BAD, GOOD)[row % 2], 2)]
        rng.shuffle(words)
        texts.append(" ".join(words))
        labels.append(("neg", "pos")[row % 2])
    return table(texts, labels)


def write_encoder(folder: Path, pooling: dict[str, object] | None = None, normalize: bool = False) -> Path:
    """A BERT of random weights with a tokenizer of the words above, as transformers saves it."""
    import json

    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *FILL, "##ly", "play"]
    tokens = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    tokens.save(str(folder / "tokenizer.json"))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if normalize:
        parts = ["Transformer", "Pooling", "Normalize"]
        (folder / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{part}"} for part in parts]))
    return folder
