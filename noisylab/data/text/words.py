"""Texts as weights of their words, by a vocabulary of the training rows or by hashing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.data.rows import SparseRows

__all__ = ["HashedWords", "RawTexts", "WordSettings", "WordWeights", "words_in"]

# of scripts without spaces, each character is a word; so is each pictograph; all else is runs of letters, digits and underscores
_ALONE = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PICTOGRAPHS = r"\u2600-\u27bf\U0001f000-\U0001faff"
_WORD = re.compile(rf"[{_ALONE}{_PICTOGRAPHS}]|[^\W{_ALONE}]+")


def words_in(text: str) -> list[str]:
    """The words of a text in lower case; see `WordWeights`.

    >>> words_in("It's 5 o'clock 🙂 元気")
    ['it', 's', '5', 'o', 'clock', '🙂', '元', '気']
    """
    return _WORD.findall(text.lower())


class RawTexts:
    """Rows that are texts still: what they become is learned of the rows that are trained on.

    Args:
        texts: (N) one of each row.
        where: what messages call them.
    """

    row_size = 1

    def __init__(self, texts: Sequence[str], where: str) -> None:
        self.texts, self.where = texts, where

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def nbytes(self) -> int:
        """Characters of all texts."""
        return sum(map(len, self.texts))

    def settle(self, device: torch.device) -> None:
        """Nothing: no network takes texts."""

    def gather(self, index: Tensor) -> Tensor:
        """Refused.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("texts become numbers in setup(), which has not run")


@dataclass(frozen=True)
class WordSettings:
    """How words are counted.

    Args:
        width: columns of a row.
        ngrams: the longest series of neighboring words that counts as a term.
        stop_words: words left out, "english" or None for none.
        sublinear: whether a word that occurs n times counts 1 + log n instead of n.
    """

    width: int = 16384
    ngrams: int = 1
    stop_words: Literal["english"] | None = None
    sublinear: bool = True

    def arguments(self) -> dict[str, Any]:
        """Of scikit-learn's vectorizers."""
        return {
            "tokenizer": words_in,
            "token_pattern": None,
            "lowercase": False,
            "ngram_range": (1, self.ngrams),
            "stop_words": self.stop_words,
            "dtype": np.float32,
        }


class WordWeights:
    """TF-IDF: rows of term weights ``(1 + log n) * (1 + log((1 + M) / (1 + m)))`` brought to unit length, where n counts a term
    in a text and m the texts that have it of the M that were learned from (scikit-learn's ``TfidfVectorizer``).

    Args:
        terms: of the columns, at most ``settings.width``; further columns are empty.
        idf: (T,) float64, the weight of each.
        settings: how words are counted.
    """

    kind: ClassVar[str] = "tfidf"

    def __init__(self, terms: Sequence[str], idf: Tensor, settings: WordSettings) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.terms, self.idf, self.settings = list(terms), idf, settings
        numbered = {term: place for place, term in enumerate(self.terms)}
        self._made = TfidfVectorizer(**settings.arguments(), sublinear_tf=settings.sublinear, vocabulary=numbered)
        self._made.idf_ = idf.numpy()

    @classmethod
    def fit(cls, texts: Iterable[str], settings: WordSettings, where: str) -> WordWeights:
        """Learn the terms and their weights of some texts; of too many terms the most frequent are kept.

        Raises:
            ValueError: no text has a word.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        made = TfidfVectorizer(**settings.arguments(), sublinear_tf=settings.sublinear, max_features=settings.width)
        try:
            made.fit(texts)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            stop = f" besides stop words ({settings.stop_words})" if settings.stop_words else ""
            raise ValueError(f"no training text of {where} has a word{stop}; name another column as text") from None
        return cls(made.get_feature_names_out().tolist(), torch.from_numpy(np.asarray(made.idf_, dtype=np.float64)), settings)

    def __call__(self, texts: Iterable[str]) -> SparseRows:
        """The rows of texts."""
        return _rows(self._made.transform(texts), self.settings.width)

    def text(self) -> str:
        """What was learned, for the user."""
        return f"TF-IDF of {len(self.terms):,} terms of the training rows"

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `of` restores it."""
        return {"terms": self.terms, "idf": self.idf}

    @classmethod
    def of(cls, state: dict[str, Any], settings: WordSettings) -> WordWeights:
        """The inverse of `state`."""
        return cls(state["terms"], state["idf"], settings)


class HashedWords:
    """Rows of term counts of unit length, in the column of each term's hash, with a sign of its own (scikit-learn's
    ``HashingVectorizer``): nothing is learned, and different terms may share a column.

    Args:
        settings: how words are counted.
    """

    kind: ClassVar[str] = "hashed"

    def __init__(self, settings: WordSettings) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.settings = settings
        self._made = HashingVectorizer(n_features=settings.width, **settings.arguments())

    def __call__(self, texts: Iterable[str]) -> SparseRows:
        """The rows of texts."""
        return _rows(self._made.transform(texts), self.settings.width)

    def text(self) -> str:
        """What is done, for the user."""
        return f"counts of terms, hashed into {self.settings.width:,} columns"


def _rows(matrix: Any, width: int) -> SparseRows:
    matrix.sort_indices()
    return SparseRows(
        torch.from_numpy(np.asarray(matrix.data, dtype=np.float32)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        num_columns=width,
    )
