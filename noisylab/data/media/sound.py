"""Reads the sound of wav files and films, as one channel at the rate of the front end."""

from __future__ import annotations

import io
import math

import numpy as np

from noisylab.data.media.faults import UnreadableMedia, needed
from noisylab.data.media.frontend import FRAME_RATE, HOP, RATE, WINDOW, Array, log_mel, mfcc_statistics, stored, trimmed

__all__ = ["film_sound", "resampled", "spectrogram_of", "wav_sound"]

_LEAST = WINDOW + HOP  # samples of two frames


def wav_sound(content: bytes) -> Array:
    """(n,) float64 at 16 kHz in [-1, 1]: the mean of the channels of a wav file.

    Raises:
        UnreadableMedia: saying why it cannot be read.
        ModuleNotFoundError: without the extra `media`.
    """
    soundfile = needed("soundfile")
    try:
        values, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise UnreadableMedia(f"is no sound that can be read ({error})") from error
    return resampled(values.mean(1), int(rate))


def film_sound(content: bytes) -> Array:
    """(n,) float64 at 16 kHz: the mean of the channels of a film's sound.

    Raises:
        UnreadableMedia: for a film without sound, or saying why it cannot be read.
        ModuleNotFoundError: without the extra `media`.
    """
    av = needed("av")
    try:
        with av.open(io.BytesIO(content)) as container:
            if not container.streams.audio:
                raise UnreadableMedia("is a film without sound")
            stream = container.streams.audio[0]
            flat = av.AudioResampler(format="fltp")  # only the form of the numbers; channels and rate stay
            parts = [part.to_ndarray() for frame in container.decode(stream) for part in flat.resample(frame)]
            rate = int(stream.rate)
    except av.FFmpegError as error:
        raise UnreadableMedia(f"has sound that cannot be decoded ({error})") from error
    if not parts:
        raise UnreadableMedia("is a film whose sound is empty")
    return resampled(np.concatenate(parts, 1).astype(np.float64).mean(0), rate)


def resampled(samples: Array, rate: int) -> Array:
    """Sound at 16 kHz, by a polyphase filter.

    Args:
        samples: (n,) float64.
        rate: samples a second.
    """
    common = math.gcd(rate, RATE)
    if rate == RATE or not len(samples):
        return samples
    needed("scipy")
    from scipy.signal import resample_poly

    return resample_poly(samples, RATE // common, rate // common)


def spectrogram_of(samples: Array) -> dict[str, Array]:
    """What is kept of a sound at 16 kHz: "mel", (T, 64) uint8 as `stored`; "stats", (200,) float32 as `mfcc_statistics`; "start",
    the time in seconds at which the trimmed sound begins.

    Raises:
        UnreadableMedia: for one that is shorter than 35 ms, silent, or not finite.
    """
    if len(samples) < _LEAST:
        raise UnreadableMedia(
            f"has {len(samples) / RATE * 1000:.0f} ms of sound, and at least {_LEAST / RATE * 1000:.0f} are needed"
        )
    if not np.isfinite(samples).all():
        raise UnreadableMedia("has sound with NaN or infinite values")
    if not samples.any():
        raise UnreadableMedia("is silent: every sample of its sound is zero")
    part = trimmed(samples)
    values = log_mel(samples[part])
    return {"mel": stored(values), "stats": mfcc_statistics(values), "start": np.array(part.start / HOP / FRAME_RATE)}
