"""Texts as vectors of a frozen encoder, computed once and kept in files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from noisylab.data.caches import progress_bar
from noisylab.data.digests import digest_of
from noisylab.data.rowfiles import read_rows, write_rows
from noisylab.data.text.tokens import Tokenizing
from noisylab.models.text_encoders import EncoderNet, TextEncoder

__all__ = ["Embedding", "word_dropped"]

_FORMAT = "noisylab text 1"  # another number where texts are read or encoded in another way
_PART = 4096  # texts of a file: what was computed before an interruption is kept by so many
_TOKENS = {"cpu": 4096, "cuda": 65536}  # of a batch; on a CPU its activations stay in the cache

Rows = NDArray[np.float32]


def word_dropped(text: str, p: float, copy: int) -> str:
    """A text in which each word is left out with probability `p`, one at least stays, and the others keep their order.

    Words are what lies between spaces. The draws depend on the text and on `copy` alone.

    Args:
        text: any.
        p: probability.
        copy: number of the copy, so that each differs.
    """
    words = text.split()
    drawn = random.Random(hashlib.sha256(f"{copy} {p} {text}".encode()).digest())
    numbers = [drawn.random() for _ in words]
    most = max(numbers, default=0.0)
    return " ".join(word for word, number in zip(words, numbers, strict=True) if number >= p or number == most)


class Embedding:
    """Vectors of texts, out of files where they are.

    A file holds the vectors of 4,096 texts and belongs to their content and order, the encoder with its weights and the
    settings. One that is damaged is computed again, with a warning.

    Args:
        encoder: the network.
        max_length: most tokens of a text.
        folder: of the files; `None` for no files.
        copies: vectors of each text besides its own, of copies in which words are left out; 0 for none.
        dropped: probability with which a word of a copy is left out.
    """

    def __init__(self, encoder: TextEncoder, max_length: int, folder: Path | None, copies: int, dropped: float) -> None:
        self.encoder, self.max_length, self.folder, self.copies, self.dropped = encoder, max_length, folder, copies, dropped
        self.tokenizing = Tokenizing(encoder.tokenizer_text, max_length)
        self._network: EncoderNet | None = None

    def __call__(self, texts: Sequence[str], copies: bool = True) -> tuple[Rows, int]:
        """(N, D) float32, or (N, 1 + copies, D) with those of copies after that of each text; and how many texts were cut.

        Args:
            texts: N texts.
            copies: whether copies are wanted.
        """
        many = self.copies if copies else 0
        rows = np.empty((len(texts), 1 + many, self.encoder.width), np.float32)
        cut = 0
        with progress_bar(len(texts) * (1 + many), f"vectors of {self.encoder.name}", "text") as advance:
            for start in range(0, len(texts), _PART):
                some = texts[start : start + _PART]
                for copy in range(1 + many):
                    changed = some if not copy else [word_dropped(text, self.dropped, copy) for text in some]
                    rows[start : start + _PART, copy], short = self._part(changed)
                    cut += 0 if copy else short
                    advance(len(some))
        return rows[:, 0] if not self.copies or not copies else rows, cut

    def _part(self, texts: Sequence[str]) -> tuple[Rows, int]:
        """Vectors of the texts of one file, and how many texts are cut, which is its last row."""
        file = None if self.folder is None else self.folder / f"{self._key(texts)}.npy"
        kept = None if file is None else read_rows(file, len(texts) + 1)
        if kept is None:
            kept = self._computed(texts)
            if file is not None:
                write_rows(file, kept)
        return kept[:-1], int(kept[-1, 0])

    def _key(self, texts: Sequence[str]) -> str:
        settings = (_FORMAT, self.encoder.digest, self.max_length)
        contents = [hashlib.sha256(text.encode()).digest() for text in texts]
        return digest_of(["\0".join(map(str, settings)).encode(), *contents])

    def _computed(self, texts: Sequence[str]) -> Rows:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self._network is None:
            self._network = self.encoder.load().to(device)
        tokens, cut = self.tokenizing(texts, quiet=True)
        counts = tokens.starts.diff()
        order = counts.argsort(descending=True, stable=True)
        rows = np.zeros((len(texts) + 1, self.encoder.width), np.float32)
        rows[-1, 0] = cut
        done = 0
        while done < len(order):
            size = max(1, _TOKENS[device.type] // int(counts[order[done]]))
            index = order[done : done + size]
            ids = tokens.gather(index)
            mask = (ids >= 0).long()
            vectors = self._network(self.tokenizing.numbers(ids).to(device), mask.to(device))
            rows[index.numpy()] = vectors.cpu().numpy()
            done += size
        return rows
