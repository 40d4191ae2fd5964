"""Writes short sounds and films under the names of RAVDESS, for trying `RAVDESS` out where the release is not at hand.

Of each actor there is a clip for each of six emotions: a wav file and a film of one second. The emotion decides how the tone goes
and which shape moves; the actor shifts the pitch by up to a tenth and has a gray of his own. What a method reaches on them says
that files are read rightly, and nothing about emotions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw

_RATE, _FILM_RATE = 48_000, 30
_WIDTH, _HEIGHT = 128, 72
_EMOTIONS = 6

Array = np.ndarray[Any, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder; Actor_01 and so on are made in it")
    parser.add_argument("--actors", type=int, default=8, help="number of actors, from 1 (default: 8, so 48 clips)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(options.seed)
    for actor in range(1, options.actors + 1):
        folder = options.out / f"Actor_{actor:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for emotion in range(1, _EMOTIONS + 1):
            name = f"01-{emotion:02d}-01-01-01-{actor:02d}"
            sound = tone(emotion, actor, options.seconds, rng)
            # a few files of the release are stereo, too
            channels = np.stack([sound, sound * 0.5], 1) if (actor, emotion) == (1, 1) else sound
            soundfile.write(folder / f"03-{name}.wav", channels, _RATE, subtype="PCM_16")
            write_film(folder / f"01-{name}.mp4", sound, emotion, actor)


def tone(emotion: int, actor: int, seconds: float, rng: np.random.Generator) -> Array:
    """(n,) the tone of an emotion in a little noise: steady, rising, falling, in beeps, wavering, or with many overtones."""
    time = np.arange(round(seconds * _RATE)) / _RATE
    share = time / seconds
    bend = {2: share - 0.5, 3: 0.5 - share, 5: 0.15 * np.sin(2 * np.pi * 6 * time)}.get(emotion, np.zeros_like(time))
    pitch = 500 * 2**bend * (1 + 0.02 * (actor % 11 - 5))
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE + rng.uniform(0, 6)
    waves = sum(np.sin(k * phase) / k for k in range(1, 12 if emotion == 6 else 3))
    loudness = 0.2 * np.sin(np.pi * share) ** 0.5 * (np.sin(2 * np.pi * 5 * time) > 0 if emotion == 4 else 1.0)
    return np.asarray(loudness * waves + 0.003 * rng.normal(size=len(time)))


def write_film(path: Path, sound: Array, emotion: int, actor: int) -> None:
    """A film of a moving shape in H.264, as long as its sound, which is in AAC."""
    with av.open(str(path), "w") as film:
        pictures = film.add_stream("libx264", rate=_FILM_RATE, options={"preset": "ultrafast"})
        pictures.width, pictures.height, pictures.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        voice = film.add_stream("aac", rate=_RATE, layout="mono")
        count = round(len(sound) / _RATE * _FILM_RATE)
        for number in range(count):
            frame = av.VideoFrame.from_image(picture(emotion, actor, number / count))
            film.mux(pictures.encode(frame))
        film.mux(pictures.encode(None))
        heard = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
        heard.sample_rate = _RATE
        film.mux(voice.encode(heard))
        film.mux(voice.encode(None))


def picture(emotion: int, actor: int, share: float) -> Image.Image:
    """A frame: the shape of an emotion, somewhere on its way across the middle of the picture."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), (40 + 8 * actor,) * 3)
    draw, radius = ImageDraw.Draw(image), 16
    way = (share - 0.5) * 30
    x, y = (_WIDTH // 2 + way, _HEIGHT / 2) if emotion % 2 else (_WIDTH / 2, _HEIGHT // 2 + way)
    box = (x - radius, y - radius, x + radius, y + radius)
    if emotion == 1:
        draw.ellipse(box, fill="white")
    elif emotion == 2:
        draw.rectangle(box, fill="white")
    elif emotion == 3:
        draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill="white")
    elif emotion == 4:
        draw.ellipse(box, outline="white", width=6)
    elif emotion == 5:
        draw.line((x - radius, y, x + radius, y), fill="white", width=8)
        draw.line((x, y - radius, x, y + radius), fill="white", width=8)
    else:
        for shift in (-12, 0, 12):
            draw.line((x + shift, y - radius, x + shift, y + radius), fill="white", width=6)
    return image


if __name__ == "__main__":
    main()
