"""What texts become: weights of words, vectors of an encoder, or tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from noisylab.data.rows import DenseRows, RowStore, SparseRows
from noisylab.data.text.embeddings import Embedding
from noisylab.data.text.tokens import Tokenizing, TokenRows
from noisylab.data.text.words import HashedWords, RawTexts, WordSettings, WordWeights
from noisylab.models.text_encoders import TextEncoder, find_encoder
from noisylab.transforms.features import FeatureIdentity
from noisylab.transforms.views import feature_views
from noisylab.transforms.words import DropTerms, PickStored, TokenView

__all__ = ["Preparation", "Tokens", "Vectors", "Words"]

_SIZE = 0.5  # root mean square of vectors as they are trained on, as `ImageFeatures` has it
_DROPPED_TERMS, _DROPPED_WORDS = 0.3, 0.1  # of rows of words and of tokens or copies of texts, see docs/text.md


class Preparation(Protocol):
    """One way to prepare texts: `begin` for all rows, `fit` on those that are trained on, `finish` for all."""

    def begin(self, texts: Sequence[str], where: str, training: bool) -> tuple[RowStore, list[str]]:
        """Rows of texts before anything is learned of them, and what the user is told."""
        ...

    def fit(self, store: RowStore, rows: Tensor, where: str) -> None:
        """Learn of some of the training rows what all rows need."""
        ...

    def finish(self, store: RowStore, where: str) -> tuple[RowStore, list[str]]:
        """Rows as they are trained on."""
        ...

    def text(self) -> str:
        """What is done, for the user."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which it is restored."""
        ...

    def blank(self) -> RowStore:
        """No rows."""
        ...

    def views(self) -> Mapping[str, Any]:
        """Transform by view name."""
        ...


class Words:
    """Weights of words, see `WordWeights` and `HashedWords`.

    Args:
        settings: how words are counted.
        hashed: whether columns are hashes, else terms of the training rows.
        dropped: probability with which the strong view leaves a term out; `None` for 0.3.
        state: of `state`, where a model's record prescribes it.
    """

    def __init__(self, settings: WordSettings, hashed: bool, dropped: float | None, state: Mapping[str, Any] | None) -> None:
        self.settings, self.hashed = settings, hashed
        self.dropped = _DROPPED_TERMS if dropped is None else dropped
        self._weights: WordWeights | HashedWords | None = HashedWords(settings) if hashed else None
        if state is not None:
            self.settings = WordSettings(**state["settings"])
            self._weights = HashedWords(self.settings) if hashed else WordWeights.of(dict(state), self.settings)

    @property
    def width(self) -> int:
        """D, columns of a row; known before the data are."""
        return self.settings.width

    @property
    def weights(self) -> WordWeights | HashedWords:
        """What was learned.

        Raises:
            RuntimeError: nothing was.
        """
        if self._weights is None:
            raise RuntimeError("nothing is known of the words yet; call setup() first")
        return self._weights

    def begin(self, texts: Sequence[str], where: str, training: bool) -> tuple[RowStore, list[str]]:
        """Texts as they are."""
        return RawTexts(texts, where), []

    def fit(self, store: RowStore, rows: Tensor, where: str) -> None:
        """Learn the terms of the rows that are trained on, unless they are known or hashed."""
        assert isinstance(store, RawTexts)
        if self._weights is None:
            self._weights = WordWeights.fit((store.texts[row] for row in rows.tolist()), self.settings, where)

    def finish(self, store: RowStore, where: str) -> tuple[SparseRows, list[str]]:
        """Sparse rows; those without a known word are told."""
        assert isinstance(store, RawTexts)
        rows = self.weights(store.texts)
        nothing = (rows.indptr.diff() == 0).nonzero().flatten()
        if not len(nothing):
            return rows, []
        what = "a word" if self.hashed else "a word that training rows have"
        said = f"{where}: {len(nothing):,} texts without {what} (the first: row {int(nothing[0])}) are rows of zeros"
        return rows, [said]

    def text(self) -> str:
        """What is done, for the user."""
        return self.weights.text()

    def state(self) -> dict[str, Any]:
        """The terms, unless they are hashed, and the settings."""
        weights = self.weights
        return {**(weights.state() if isinstance(weights, WordWeights) else {}), "settings": asdict(self.settings)}

    def blank(self) -> SparseRows:
        """No rows."""
        none = torch.empty(0, dtype=torch.int64)
        return SparseRows(torch.empty(0), none, torch.zeros(1, dtype=torch.int64), self.width)

    def views(self) -> Mapping[str, Any]:
        """The strong view leaves terms out."""
        same, strong = FeatureIdentity(), DropTerms(self.dropped)
        return {"weak": same, "strong": strong, "simclr": strong, "eval": same}


class Vectors:
    """Vectors of a frozen encoder, all divided by one number, so that their root mean square over the rows that are trained on is
    0.5.

    Args:
        encoder: the network.
        max_length: most tokens of a text; `None` for what the encoder takes.
        folder: where vectors are kept.
        copies: see `Embedding`.
        dropped: likewise; `None` for 0.1.
        state: of `state`, where a model's record prescribes it.

    Raises:
        ValueError: the encoder is another one than the model had.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        max_length: int | None,
        folder: Path | None,
        copies: int,
        dropped: float | None,
        state: Mapping[str, Any] | None,
    ) -> None:
        if max_length is not None and max_length > encoder.max_length:
            raise ValueError(f"max_length={max_length}: the encoder {encoder.name} takes at most {encoder.max_length} tokens")
        self.scale: float | None = None
        self.digest = encoder.digest  # now, as files may change
        length = max_length or encoder.max_length
        if state is not None:
            if self.digest != state["digest"]:
                raise ValueError(
                    f"the model was trained on vectors of {state['encoder']} with weights other than those now on this machine; "
                    "put those weights back, or train again"
                )
            length, self.scale = int(state["max_length"]), float(state["scale"])
        dropped = _DROPPED_WORDS if dropped is None else dropped
        self.encoder, self.embedding = encoder, Embedding(encoder, length, folder, copies, dropped)

    @property
    def width(self) -> int:
        """D, numbers of a vector; known before the data are."""
        return self.encoder.width

    def begin(self, texts: Sequence[str], where: str, training: bool) -> tuple[RowStore, list[str]]:
        """Vectors as the encoder gives them; of training rows with their copies."""
        rows, cut = self.embedding(texts, copies=training)
        return DenseRows(torch.from_numpy(rows)), cut_texts(cut, len(texts), self.embedding.max_length, where)

    def fit(self, store: RowStore, rows: Tensor, where: str) -> None:
        """Measure the size of the vectors that are trained on."""
        assert isinstance(store, DenseRows)
        if self.scale is None:
            seen = store.values[rows]
            first = seen if seen.ndim == 2 else seen[:, 0]
            size = float(first.double().square().mean().sqrt()) if first.numel() else 0.0
            self.scale = _SIZE / size if size else 1.0

    def finish(self, store: RowStore, where: str) -> tuple[RowStore, list[str]]:
        """Vectors of the common size."""
        assert isinstance(store, DenseRows) and self.scale is not None
        return DenseRows(store.values * self.scale), []

    def text(self) -> str:
        """What is done, for the user."""
        made, copies = self.embedding, self.embedding.copies
        with_copies = f", and of {copies} copies with {made.dropped:.0%} of the words left out" if copies else ""
        pooled = {"mean": "the mean of the tokens", "cls": "the first token"}[self.encoder.pooling]
        return f"{self.width} numbers a text, {pooled} of the encoder {self.encoder.name}{with_copies}"

    def state(self) -> dict[str, Any]:
        """The encoder, what it sees, and by what its vectors are multiplied."""
        length, scale = self.embedding.max_length, self.scale
        return {"encoder": self.encoder.name, "digest": self.digest, "max_length": length, "scale": scale}

    def blank(self) -> RowStore:
        """No rows."""
        return DenseRows(torch.empty(0, self.width))

    def views(self) -> Mapping[str, Any]:
        """The strong view is the vector of a copy without some words, or noise where there are no copies."""
        if not self.embedding.copies:
            return feature_views()
        first, other = PickStored("first"), PickStored("other")
        return {"weak": first, "strong": other, "simclr": other, "eval": first}


class Tokens:
    """Tokens for a network such as `TransformersNet`.

    Args:
        tokenizer: of an encoder, "minilm" or a folder.
        max_length: most tokens of a text; `None` for what the encoder takes.
        dropped: probability with which the strong view leaves a word out; `None` for 0.1.
        masked: probability with which it masks a word.
        state: of `state`, where a model's record prescribes it.
    """

    def __init__(
        self, tokenizer: str, max_length: int | None, dropped: float | None, masked: float, state: Mapping[str, Any] | None
    ) -> None:
        if state is not None:
            self.made = Tokenizing(state["tokenizer"], int(state["max_length"]))
        else:
            encoder = find_encoder(tokenizer)
            self.made = Tokenizing(encoder.tokenizer_text, max_length or encoder.max_length)
        self.dropped, self.masked = _DROPPED_WORDS if dropped is None else dropped, masked

    def begin(self, texts: Sequence[str], where: str, training: bool) -> tuple[RowStore, list[str]]:
        """Tokens; texts that are cut are told."""
        rows, cut = self.made(texts)
        return rows, cut_texts(cut, len(texts), self.made.max_length, where)

    def fit(self, store: RowStore, rows: Tensor, where: str) -> None:
        """Nothing is learned."""

    def finish(self, store: RowStore, where: str) -> tuple[RowStore, list[str]]:
        """The same rows."""
        return store, []

    def text(self) -> str:
        """What is done, for the user."""
        return f"tokens of a vocabulary of {self.made.vocabulary:,}, at most {self.made.max_length} a text"

    def state(self) -> dict[str, Any]:
        """The tokenizer itself."""
        return {"tokenizer": self.made.text, "max_length": self.made.max_length}

    def blank(self) -> RowStore:
        """No rows."""
        return TokenRows(torch.empty(0, dtype=torch.int32), torch.zeros(1, dtype=torch.int64), 1)

    def views(self) -> Mapping[str, Any]:
        """The strong view leaves words out and masks spans of words."""
        same = TokenView(self.made.pad, self.made.mask)
        strong = TokenView(self.made.pad, self.made.mask, self.dropped, self.masked)
        return {"weak": same, "strong": strong, "simclr": strong, "eval": same}


def cut_texts(cut: int, rows: int, length: int, where: str) -> list[str]:
    """What the user is told of texts that are longer than a network takes."""
    return [f"{where}: {cut:,} of {rows:,} texts are cut after {length} tokens"] if cut else []
