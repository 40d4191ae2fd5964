"""Texts as tokens: one block of whole numbers for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.caches import progress_bar
from noisylab.models.text_encoders import need_transformers
from noisylab.transforms.base import to_device
from noisylab.transforms.words import SPECIAL, WORD_START

__all__ = ["TokenRows", "Tokenizing"]

_MULTIPLE = 8  # tokens to which a batch is padded: matrix products are fastest so, and fewer shapes occur
_TOGETHER = 1024  # texts tokenized at once
_NAMES = {"pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>"), "unknown": ("[UNK]", "<unk>")}


class TokenRows:
    """Texts as one block of tokens.

    Args:
        ids: (M,) int32 tokens of all texts, one after the other, with the marks of `noisylab.transforms.words`.
        starts: (N + 1,) int64 where each text begins; stays on the host, which must know how much to gather.
        longest: most tokens of a text.
    """

    def __init__(self, ids: Tensor, starts: Tensor, longest: int) -> None:
        self.ids, self.starts, self.longest = ids, starts, longest

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens."""
        return self.ids.nbytes

    @property
    def row_size(self) -> int:
        """Tokens of the longest text."""
        return self.longest

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        self.ids = self.ids.to(device)

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index` (B,) as (B, L) int32, -1 beyond the end of a text; L is the longest, rounded up to a multiple of 8."""
        counts = self.starts[index + 1] - self.starts[index]
        length = -(-int(counts.max() if len(counts) else 1) // _MULTIPLE) * _MULTIPLE
        place = torch.arange(length)
        source = self.starts[index][:, None] + place
        beyond = place >= counts[:, None]
        source, there = to_device(source.masked_fill(beyond, 0), self.ids.device), to_device(beyond, self.ids.device)
        return self.ids[source].masked_fill(there, -1) if len(self.ids) else torch.full(there.shape, -1, dtype=torch.int32)


class Tokenizing:
    """A fast tokenizer with a limit.

    Args:
        text: of the tokenizer, see `noisylab.models.text_encoders.TextEncoder.tokenizer_text`.
        max_length: most tokens of a text; what is longer is cut at its end.

    Raises:
        ValueError: the limit leaves no room for words.
    """

    def __init__(self, text: str, max_length: int) -> None:
        need_transformers("features: tokens")
        from tokenizers import Tokenizer

        self.text, self.max_length = text, max_length
        self._made: Any = Tokenizer.from_str(text)
        added = self._made.num_special_tokens_to_add(False)
        if max_length <= added:
            raise ValueError(f"max_length must be above the {added} tokens that the tokenizer adds, got {max_length}")
        self._made.no_padding()
        self._made.enable_truncation(max_length)
        self.pad = self._number("pad", 0)
        self.unknown = self._number("unknown", self.pad)
        self.mask = self._number("mask", self.unknown)
        self.vocabulary = int(self._made.get_vocab_size(with_added_tokens=True))

    def __call__(self, texts: Sequence[str], quiet: bool = False) -> tuple[TokenRows, int]:
        """The tokens of texts, and how many texts were cut. One without any token has the unknown one.

        Args:
            texts: N texts.
            quiet: without a bar.
        """
        blocks: list[NDArray[np.int32]] = []
        counts, cut = np.empty(len(texts), np.int64), 0
        with progress_bar(0 if quiet else len(texts), "tokens", "text") as advance:
            for start in range(0, len(texts), _TOGETHER):
                some, found = texts[start : start + _TOGETHER], []
                for place, encoded in enumerate(self._made.encode_batch(some), start):
                    ids = np.array(encoded.ids or [self.unknown], dtype=np.int32)
                    ids |= self._marks(encoded, len(ids))
                    counts[place] = len(ids)
                    found.append(ids)
                    cut += bool(encoded.overflowing)
                blocks.append(np.concatenate(found))
                advance(len(some))
        block = torch.from_numpy(np.concatenate(blocks)) if blocks else torch.empty(0, dtype=torch.int32)
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        return TokenRows(block, starts, int(counts.max()) if len(texts) else 1), cut

    def numbers(self, rows: Tensor) -> Tensor:
        """(B, L) int64 the tokens of rows that were gathered, without marks, the padding one beyond their end."""
        return torch.where(rows >= 0, rows & (WORD_START - 1), self.pad).long()

    def _number(self, what: str, otherwise: int) -> int:
        found = [number for name in _NAMES[what] if (number := self._made.token_to_id(name)) is not None]
        return int(found[0]) if found else otherwise

    def _marks(self, encoded: Any, length: int) -> NDArray[np.int32]:
        """(length,) int32: which tokens begin a word, and which were added."""
        words = encoded.word_ids
        if not words:
            return np.full(length, WORD_START, dtype=np.int32)
        number = np.array([-1 if word is None else word for word in words], dtype=np.int64)
        begins = np.concatenate([[True], number[1:] != number[:-1]]) & (number >= 0)
        added = np.array(encoded.special_tokens_mask, dtype=bool) | (number < 0)
        return np.where(added, SPECIAL, np.where(begins, WORD_START, 0)).astype(np.int32)
