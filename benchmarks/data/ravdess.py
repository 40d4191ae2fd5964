"""RAVDESS speech to feature arrays for `Arrays`; the test rows are all clips of some actors, `group` is the actor.

A row is a clip, with its MFCC statistics (200 columns), or with --frames a part of a clip, with statistics of its log-mel
spectrogram (192 columns); `clip` then says which one. The columns have very different scales: use `Arrays` with
``standardize: true``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from converting import Array, arguments, read, some_rows, write_arrays

from noisylab.data.splits import group_holdout

_SIX = ("neutral", "calm", "happy", "sad", "angry", "fearful")  # the order that the mapping "ravdess6" of `Asymmetric` means
_FRAMES, _HOP = 64, 32  # spectrogram frames of 10 ms: 0.64 s, every 0.32 s


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--test-share", type=float, default=1 / 6, help="share of the actors in the test set (default: 1/6, four)"
    )
    parser.add_argument("--classes", type=int, choices=(6, 8), default=8, help=f"6 keeps {', '.join(_SIX)} (default: all 8)")
    parser.add_argument("--frames", action="store_true", help="rows are parts of clips; --limit still counts clips")
    options = parser.parse_args(argv)
    clips = read(options.source, "ravdess/ravdess_features.npz")
    names = clips["emotion_names"] if options.classes == 8 else np.array(_SIX)
    place = {name: number for number, name in enumerate(names.tolist())}
    spoken = clips["emotion_names"][clips["emotion"]]
    kept = np.flatnonzero(np.isin(spoken, names))
    emotion = np.array([place[name] for name in spoken[kept].tolist()], dtype=np.int64)
    actor = clips["actor"].astype(np.int64)[kept]
    everyone = torch.arange(len(kept))
    test = group_holdout(everyone, torch.from_numpy(actor), options.test_share, options.seed).numpy()
    train = np.setdiff1d(everyone.numpy(), test)
    arrays: dict[str, Array] = {"class_names": names}
    for part, chosen in (("", train), ("test_", test)):
        chosen = chosen[some_rows(emotion[chosen], options.limit, options.seed)]
        clip = chosen
        if options.frames:
            parts = [segments(clips["mel"][slice(*clips["offsets"][row : row + 2])]) for row in kept[chosen]]
            clip = np.repeat(chosen, [len(rows) for rows in parts])
            arrays |= {f"{part}x": np.concatenate(parts), f"{part}clip": kept[clip]}
        else:
            arrays[f"{part}x"] = clips["mfcc_stats"][kept[clip]]
        arrays[f"{part}y"] = emotion[clip]
        if part == "":
            arrays["group"] = actor[clip]
    write_arrays(options.out, **arrays)


def segments(mel: Array) -> Array:
    """(S, 3 D) float32: of every segment of a clip the mean and the standard deviation of each band, and the mean absolute
    difference of neighboring frames.

    Args:
        mel: (T, D) log-mel spectrogram; one shorter than a segment is one segment.
    """
    values = mel.astype(np.float32)
    starts = range(0, max(len(values) - _FRAMES, 0) + 1, _HOP)
    cut = [values[start : start + _FRAMES] for start in starts]
    return np.stack([np.concatenate([s.mean(0), s.std(0), np.abs(np.diff(s, axis=0)).mean(0)]) for s in cut])


if __name__ == "__main__":
    main()
