"""Views of texts: words that are left out or masked, in rows of word weights and in rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisylab.transforms.base import View
from noisylab.transforms.draws import Draws

__all__ = ["ID_BITS", "SPECIAL", "WORD_START", "DropTerms", "PickStored", "TokenView"]

ID_BITS = 28
"""Bits of the number of a token; above them lie two marks. A place beyond the end of a text is -1."""
WORD_START = 1 << 28
"""Marks the first token of a word."""
SPECIAL = 1 << 29
"""Marks a token that the tokenizer adds, such as [CLS]; it belongs to no word and is never changed."""

_LONGEST, _STOP = 10, 0.2  # words of a span: geometric with this probability to end after each, cut at the longest (SpanBERT)


@dataclass(frozen=True)
class DropTerms(View):
    """Leaves out each term of a row of term weights with probability `p` and brings the row to its length again.

    Of TF-IDF, it is what the text without these words would have. A row that would lose all its terms keeps them. Word dropout:
    Iyyer et al., Deep Unordered Composition Rivals Syntactic Methods for Text Classification, ACL 2015, with p = 0.3.

    Args:
        p: probability, in [0, 1).

    Raises:
        ValueError: for another `p`.

    >>> DropTerms(0.5)(torch.tensor([[0.6, 0.8, 0.0]]), Draws(0, torch.arange(1))).norm().round(decimals=4).item()
    1.0
    """

    p: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise ValueError(f"DropTerms(p={self.p}): p must lie in [0, 1).")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        x = x.float()
        left = x.masked_fill(draws.bernoulli(self.p, tuple(x.shape[1:])), 0)
        length, whole = left.norm(dim=1, keepdim=True), x.norm(dim=1, keepdim=True)
        return torch.where(length > 0, left * (whole / length.clamp_min(1e-12)), x)


@dataclass(frozen=True)
class PickStored(View):
    """One of several vectors that are stored of each sample.

    Args:
        which: "first" for that of the sample as it is; "other" draws one of the others.
    """

    which: str = "first"

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32 of (B, 1 + V, D); rows of one vector (B, D) have no other."""
        if x.ndim == 2:
            return x.float()
        if self.which == "first" or x.shape[1] == 1:
            return x[:, 0].float()
        place = draws.integers(1, x.shape[1])
        return x[torch.arange(len(x), device=x.device), place].float()


@dataclass(frozen=True)
class TokenView:
    """The inputs of a network of language, ``input_ids`` and ``attention_mask``, for rows of tokens.

    Words may be left out or masked.

    Words, not parts of them, are drawn. A word that is left out is not attended to, and its place stays empty, so that the
    others keep their positions; the last word that is left always stays. Spans of words are masked as in SpanBERT (Joshi et al.,
    TACL 2020): a span has 3.8 words on average, geometric, at most ten. Here spans begin at each word with one probability,
    chosen so that every word is masked with probability `masked`, where the paper draws spans until so many are.

    Args:
        pad: number of the token beyond the end of a text.
        mask: number of the token in the place of a masked word.
        dropped: probability with which a word is left out, in [0, 1); 0.1 in EDA (Wei and Zou, EMNLP 2019).
        masked: probability with which a word is masked, in [0, 1); 0.15 in SpanBERT.

    Raises:
        ValueError: an argument lies outside its range.

    >>> row = torch.tensor([[SPECIAL | 101, WORD_START | 7, 8, WORD_START | 9, SPECIAL | 102, -1]])
    >>> seen = TokenView(pad=0, mask=103)(row, Draws(0, torch.arange(1)))
    >>> seen["input_ids"].tolist(), seen["attention_mask"].tolist()
    ([[101, 7, 8, 9, 102, 0]], [[1, 1, 1, 1, 1, 0]])
    """

    pad: int
    mask: int
    dropped: float = 0.0
    masked: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("dropped", self.dropped), ("masked", self.masked)):
            if not 0 <= value < 1:
                raise ValueError(f"TokenView({name}={value}): a probability must lie in [0, 1).")

    def __call__(self, x: Tensor, draws: Draws) -> dict[str, Tensor]:
        """(B, L) int64 each.

        Args:
            x: (B, L) int32 numbers of tokens with their marks, -1 beyond the end.
            draws: of these B samples; how many are made does not depend on L.
        """
        there = x >= 0
        seen, ids = there, torch.where(there, x & (WORD_START - 1), self.pad).long()
        if self.dropped or self.masked:
            word = (there & (x & WORD_START > 0)).cumsum(1) - 1  # a place before the first word has -1
            inside = there & (x & SPECIAL == 0) & (word >= 0)
            word = word.clamp_min(0)
            if self.masked:
                ids = ids.masked_fill(self._spans(x.shape[1], draws).gather(1, word) & inside, self.mask)
            if self.dropped:
                drawn = draws.uniform(shape=(x.shape[1],)).gather(1, word)
                most = drawn.masked_fill(~inside, -1).amax(1, keepdim=True)
                seen = there & ~(inside & (drawn < self.dropped) & (drawn < most))
        return {"input_ids": ids, "attention_mask": seen.long()}

    def _spans(self, words: int, draws: Draws) -> Tensor:
        """(B, words) bool: which words are masked. Spans may begin before the first word, so that all are masked alike."""
        begins = draws.bernoulli(_start_rate(self.masked), (words + _LONGEST - 1,))
        lengths = _length(draws.uniform(shape=(words + _LONGEST - 1,)))
        covered = torch.zeros_like(begins[:, :words])
        for back in range(_LONGEST):
            first = _LONGEST - 1 - back
            covered |= begins[:, first : first + words] & (lengths[:, first : first + words] > back)
        return covered


def _length(uniform: Tensor) -> Tensor:
    """Words of a span: geometric, at most `_LONGEST`; by inversion of the distribution function."""
    steps = torch.log1p(-uniform) / torch.log1p(torch.tensor(-_STOP))
    return steps.floor().long().clamp(max=_LONGEST - 1) + 1


def _start_rate(masked: float) -> float:
    """The probability with which a span begins at a word, by bisection: ``1 - prod_k (1 - q P(length > k)) = masked``."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        spared = 1.0
        for back in range(_LONGEST):
            spared *= 1 - middle * (1 - _STOP) ** back
        low, high = (middle, high) if 1 - spared < masked else (low, middle)
    return high
