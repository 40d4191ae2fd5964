"""Clips of sound as spectrograms of one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.caches import folder_of
from noisylab.data.frames.clipfolders import SUFFIXES
from noisylab.data.frames.columns import Columns
from noisylab.data.frames.module import FrameData
from noisylab.data.media.cache import Decoded
from noisylab.data.media.frontend import BANDS, FRAME_RATE
from noisylab.data.media.rows import WindowRows, level_of
from noisylab.data.notes import in_lines, note
from noisylab.data.rows import RowStore
from noisylab.data.sound.clips import decode_clips, faults_of
from noisylab.transforms.base import Compose, View
from noisylab.transforms.image import Normalize
from noisylab.transforms.recordings import SpectrogramMask, TimeShift

__all__ = ["Sound"]

_SHORTEST = 16  # frames that the four poolings of `SpectrogramCNN` leave one of
_LONGEST = 4.0  # seconds that are taken of a clip if nothing is said
_LENGTHS = 0.9  # quantile of the lengths of the training clips that a row has


class Sound(FrameData):
    """Clips of sound, each a log-mel spectrogram of 64 bands: (B, 1, 64, W), 100 frames a second.

    A clip is averaged over its channels, brought to 16 kHz, and cut to what is not silent (40 dB below its loudest frame) with
    100 ms around it. Of a longer clip than the rows are, the middle is used; a shorter one is followed by silence. Spectrograms
    are computed once, kept in a cache that verifies itself, and lie in memory, on the training device if there is room, as one
    byte for each band and frame. The network `SpectrogramCNN` is made for them.

    Views: "weak" begins up to `shift` seconds earlier or later, "strong" also masks bands and times (SpecAugment), "eval" changes
    nothing. All are normalized by the mean and deviation of the rows that are trained on.

    Args:
        table: a table with a column of files, relative to its folder, or of encoded sound; or a folder with one folder of clips
            for each class, and perhaps with such folders in ``train`` and ``test``. See `FrameData` for it and the arguments that
            are not listed here.
        audio: the column of the clips: of sound or of names of files; `None` for the only column of sound or, without one, the
            only column of texts that end like names of clips.
        seconds: length of a row, at least 0.16; `None` for that of nine in ten training clips, and at most 4.
        shift: of the weak view, in seconds, at least 0.
        skip_unreadable: leave out the rows whose clip is silent, too short or unreadable, with a note, instead of refusing
            the data.
        cache: folder for what was decoded; "auto" for ``$NOISYLAB_CACHE/media`` or, without that variable,
            ``~/.cache/noisylab/media``; `None` keeps nothing.
        **kwargs: see `FrameData`.

    Raises:
        FileNotFoundError: in ``setup``, without the table or folder.
        ModuleNotFoundError: in ``setup``, without the extra `audio`.
        ValueError: in ``setup``, naming the rows whose clips cannot be used.
    """

    shown_as: ClassVar[Literal["cells", "text", "image", "sound"]] = "sound"

    def __init__(
        self,
        table: str,
        audio: str | None = None,
        seconds: float | None = None,
        shift: float = 0.08,
        skip_unreadable: bool = False,
        cache: str | None = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(table, **kwargs)
        if seconds is not None and not seconds >= _SHORTEST / FRAME_RATE:
            raise ValueError(
                f"seconds must be at least {_SHORTEST / FRAME_RATE}, got {seconds}; leave it out to take it from the clips"
            )
        if not 0 <= shift < float("inf"):
            raise ValueError(f"shift must be a number of seconds, at least 0, got {shift}")
        self.audio, self.seconds, self.shift, self.skip_unreadable, self.cache = audio, seconds, shift, skip_unreadable, cache
        self._measured: dict[str, Any] = {}

    # ---- the clips

    def read(self) -> tuple[Columns, Columns | None]:
        """The tables of the training and the test clips, without the rows that `skip_unreadable` leaves out."""
        train, test = self._read
        if not self.skip_unreadable:
            return train, test
        return self._readable(train, 0), None if test is None else self._readable(test, 1)

    @cached_property
    def _read(self) -> tuple[Columns, Columns | None]:
        return super().read()

    @cached_property
    def _decoded(self) -> list[list[Decoded]]:
        return [
            decode_clips(table, self.input_columns(table)[0], folder_of(self.cache, "media"))
            for table in self._read
            if table is not None
        ]

    def _readable(self, table: Columns, place: int) -> Columns:
        """A table without the rows whose clip cannot be used."""
        decoded = self._decoded[place]
        faults = faults_of(table, decoded)
        if not faults:
            return table
        kept = np.array([row for row, one in enumerate(decoded) if not one.fault], dtype=np.int64)
        self._decoded[place] = [one for one in decoded if not one.fault]
        text = f"{table.where}: {len(faults):,} of {len(table):,} clips cannot be used and are left out:{in_lines(faults)}"
        note(text)
        return replace(table.take(kept), account=[*table.account, text])

    def prepare_data(self) -> None:
        """Decode once for all processes of a machine."""
        if self.cache is not None and self._source is None:
            _ = self._decoded

    def input_columns(self, table: Columns) -> list[str]:
        """The column of the clips."""
        if self.audio is not None:
            column = table.named(self.audio, "audio")
            if column.kind not in ("audio", "text"):
                raise ValueError(f"audio={self.audio!r} holds {column.kind} values; name a column of sound or of names of files")
            return [self.audio]
        found = table.of_kind("audio") or [
            name for name in table.of_kind("text") if name != self.label and _names_clips(table.columns[name].texts())
        ]
        if len(found) != 1:
            what = f"several columns of clips, {', '.join(found)}" if found else "no column of clips"
            raise ValueError(f"{table.where} has {what}; name one of {', '.join(table.columns)} with audio")
        return found

    def load(self) -> Source:
        """Decode the clips and read their labels."""
        self._measured = {} if self.adopted is None else dict(self.adopted["measured"])
        _ = self.tables
        faults = [
            line for table, decoded in zip(self._tables_there, self._decoded, strict=True) for line in faults_of(table, decoded)
        ]
        if faults:
            raise ValueError(
                f"{len(faults):,} clips cannot be used:{in_lines(faults)}\nReplace these files or remove the rows; "
                "skip_unreadable=true (--data.skip_unreadable true) leaves them out"
            )
        if "frames" not in self._measured:
            self._measured["frames"] = self._frames([len(one.arrays["mel"]) for one in self._decoded[0]])
        source = super().load()
        del self._decoded  # the rows hold the spectrograms
        source.account.append(f"rows are spectrograms of {self._measured['frames'] / FRAME_RATE:.2f} s")
        return source

    @property
    def _tables_there(self) -> list[Columns]:
        return [table for table in self.tables if table is not None]

    def _frames(self, lengths: Sequence[int]) -> int:
        """Frames of a row."""
        if self.seconds is not None:
            return round(self.seconds * FRAME_RATE)
        most = round(_LONGEST * FRAME_RATE)
        return min(max(int(np.quantile(lengths, _LENGTHS)), _SHORTEST), most)

    def rows_of(self, table: Columns) -> RowStore:
        """Spectrograms of the clips of a table."""
        place = next((place for place, known in enumerate(self._tables_there) if known is table), None)
        return self._rows(self._decoded[place] if place is not None else self._other(table))

    def prepared(self, table: Columns) -> RowStore:
        """See `FrameData.prepared`."""
        return self._rows(self._other(table))

    def _other(self, table: Columns) -> list[Decoded]:
        decoded = decode_clips(table, self.input_columns(table)[0], folder_of(self.cache, "media"))
        faults = faults_of(table, decoded)
        if faults:
            raise ValueError(f"{len(faults):,} of {len(table):,} clips of {table.where} cannot be used:{in_lines(faults)}")
        return decoded

    def _rows(self, decoded: Sequence[Decoded]) -> WindowRows:
        length = int(self._measured["frames"])
        mels = [_middle(one.arrays["mel"], length) for one in decoded]
        values = np.concatenate(mels) if mels else np.empty((0, BANDS), dtype=np.uint8)
        return WindowRows(torch.from_numpy(values), torch.arange(len(mels)) * length, length)

    # ---- what is measured, and views

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Measure the spectrograms that are trained on, unless a model's record prescribes it."""
        assert isinstance(source.train, WindowRows)
        if "mean" not in self._measured:
            self._measured |= level_of(source.train, rows)

    def noise_inputs(self, source: Source) -> Tensor | None:
        """(N, 64) mean of each band."""
        assert isinstance(source.train, WindowRows)
        return source.train.values.view(-1, source.train.length, BANDS).float().mean(1)

    def measured(self) -> dict[str, Any]:
        """Frames of a row; mean and deviation of spectrograms."""
        return self._measured

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        return self._rows([])

    def view_set(self) -> Mapping[str, Any]:
        """Views of spectrograms, known once they are measured."""
        if "mean" not in self._measured:
            raise RuntimeError("the views depend on the spectrograms, which are not read yet; call setup() first")
        normalize = Normalize((self._measured["mean"] / 255,), (self._measured["std"] / 255,))
        shift = TimeShift(round(self.shift * FRAME_RATE))
        weak: View = Compose(shift, normalize)
        strong = Compose(shift, normalize, SpectrogramMask())
        return {"weak": weak, "strong": strong, "simclr": strong, "eval": normalize}


def _middle(mel: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """(W, 64) of the middle of a spectrogram, or all of it with silence after it."""
    if len(mel) < length:
        return np.pad(mel, ((0, length - len(mel)), (0, 0)))
    start = (len(mel) - length) // 2
    return mel[start : start + length]


def _names_clips(texts: Sequence[str]) -> bool:
    return all(Path(text).suffix.lower() in SUFFIXES for text in texts if text) and any(texts)
