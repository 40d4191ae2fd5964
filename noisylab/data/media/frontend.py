"""The front end for speech: log-mel spectrograms of sound at 16 kHz, and statistics of the cepstral coefficients of a clip.

The stored form, whole numbers v with log10 power = v / 20 - 8, and the statistics are those of the feature file that
``benchmarks/data/ravdess.py`` reads. That file does not say its FFT length, mel formula and filters, so spectrograms of one's own
sound are close to it, not equal.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "BANDS",
    "FRAME_RATE",
    "HOP",
    "RATE",
    "STATISTICS",
    "WINDOW",
    "log_mel",
    "log_power",
    "mel_edges",
    "mel_filters",
    "mfcc_statistics",
    "stored",
    "trimmed",
]

Array: TypeAlias = np.ndarray[Any, Any]

RATE = 16_000  # samples a second
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
FRAME_RATE = RATE / HOP  # frames of a spectrogram a second
BANDS, LOW, HIGH = 64, 20.0, 7600.0  # Hz
COEFFICIENTS = 40
STATISTICS = 5 * COEFFICIENTS
_FLOOR = 1e-8
_STEPS, _ZERO = 20, 8  # v = 20 (log10 power + 8)
_QUIET = 1e-4  # of the loudest frame's power: 40 dB below it
_KEPT = RATE // 10  # samples that are kept around what is louder: 100 ms


def mel_edges() -> Array:
    """(66,) float64 corners of the 64 bands in Hz, equally far apart on the HTK mel scale, 2595 log10(1 + f / 700).

    Example:
        >>> [round(float(edge), 3) for edge in mel_edges()[:4]]
        [20.0, 47.596, 76.25, 106.002]
    """
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOW, HIGH))
    return 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)


@cache
def mel_filters() -> Array:
    """(64, 257) float64 weights of the FFT's frequencies in each band: triangles of height 1, not normalized."""
    edges, hertz = mel_edges(), np.arange(FFT // 2 + 1) * RATE / FFT
    low, middle, high = (edges[k : k + BANDS, None] for k in range(3))
    filters = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(min=0)
    filters.setflags(write=False)
    return filters


def log_mel(samples: Array) -> Array:
    """(T, 64) float64 log10 of the power in each band, at least -8, every 10 ms; T = 1 + (n - 400) // 160, without padding.

    Args:
        samples: (n,) float sound at 16 kHz in [-1, 1], n at least 400.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(_frames(samples) * hann, FFT, axis=1)) ** 2
    return np.log10(np.maximum(power @ mel_filters().T, _FLOOR))


def _frames(samples: Array) -> Array:
    """(T, 400) view of the windows."""
    return np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]


def trimmed(samples: Array) -> slice:
    """The part of a sound without silence at its ends, with 100 ms of what comes before and after it.

    Silence is where frames of 25 ms have less than a ten-thousandth of the power of the loudest one (40 dB below).

    Args:
        samples: (n,) float, n at least 400, not all zero.
    """
    power = (_frames(samples) ** 2).mean(1)
    loud = np.flatnonzero(power >= _QUIET * power.max())
    return slice(max(int(loud[0]) * HOP - _KEPT, 0), min(int(loud[-1]) * HOP + WINDOW + _KEPT, len(samples)))


def stored(values: Array) -> Array:
    """uint8 form of log10 power: 20 (x + 8), rounded, so in steps of 0.05 from -8 to 4.75."""
    return np.rint(_STEPS * (values + _ZERO)).clip(0, 255).astype(np.uint8)


def log_power(values: Array) -> Array:
    """float64 log10 power of the `stored` form."""
    return values / _STEPS - _ZERO


@cache
def _cosines() -> Array:
    """(64, 40) float64: the first 40 rows of the orthonormal DCT-II over the bands, transposed."""
    band, order = np.arange(BANDS)[:, None] + 0.5, np.arange(COEFFICIENTS)
    table = np.sqrt(2 / BANDS) * np.cos(np.pi * band * order / BANDS)
    table[:, 0] /= np.sqrt(2)
    return table


def mfcc_statistics(values: Array) -> Array:
    """(200,) float32 statistics of 40 cepstral coefficients over a clip, in blocks of 40: mean; standard deviation; standard
    deviation of the central difference of frames; minimum; maximum.

    A coefficient is one of the orthonormal DCT-II of the natural logarithm of power over the bands. Standard deviations are of
    the population. The difference at frame t is half of that between t + 1 and t - 1, at the two ends that of two neighbors.

    Args:
        values: (T, 64) log10 power, T at least 2.
    """
    cepstrum = np.log(10) * values @ _cosines()
    difference = np.gradient(cepstrum, axis=0)
    blocks = (cepstrum.mean(0), cepstrum.std(0), difference.std(0), cepstrum.min(0), cepstrum.max(0))
    return np.concatenate(blocks).astype(np.float32)
