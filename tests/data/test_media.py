"""The front end for sound, frames of films, and the cache of what was decoded."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import write_film, write_wave

from noisylab.data import caches
from noisylab.data.media import cache, frontend
from noisylab.data.media.faults import UnreadableMedia
from noisylab.data.media.film import frames_of
from noisylab.data.media.rows import SharedRows, WindowRows
from noisylab.data.media.sound import film_sound, spectrogram_of, wav_sound

for _package in ("av", "scipy", "soundfile"):  # the extra [media]
    pytest.importorskip(_package)


# ---- front end


def test_bands_begin_and_end_where_the_formula_says() -> None:
    edges = frontend.mel_edges()
    assert len(edges) == 66
    np.testing.assert_allclose(edges[:4], [20, 47.596, 76.250, 106.002], atol=5e-4)
    np.testing.assert_allclose(edges[-3:], [6998.55, 7293.62, 7600], atol=5e-3)


def slowly(samples: Any) -> list[list[float]]:
    """log10 power by frame and band, from the definitions alone."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (20, 7600))
    edges = [700 * (10 ** ((low + k * (high - low) / 65) / 2595) - 1) for k in range(66)]
    table = []
    for start in range(0, len(samples) - 400 + 1, 160):
        window = [samples[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
        power = []
        for k in range(257):
            angle = np.exp(-2j * math.pi * k * np.arange(400) / 512)
            power.append(abs(complex((np.array(window) * angle).sum())) ** 2)
        bands = []
        for b in range(64):
            total = 0.0
            for k in range(257):
                f = k * 16000 / 512
                if edges[b] < f <= edges[b + 1]:
                    total += power[k] * (f - edges[b]) / (edges[b + 1] - edges[b])
                elif edges[b + 1] < f < edges[b + 2]:
                    total += power[k] * (edges[b + 2] - f) / (edges[b + 2] - edges[b + 1])
            bands.append(math.log10(max(total, 1e-8)))
        table.append(bands)
    return table


def test_spectrogram_is_that_of_the_definitions() -> None:
    samples = np.random.default_rng(0).normal(size=879) * np.linspace(0, 0.3, 879)  # three frames; a fourth would need 880
    found = frontend.log_mel(samples)
    assert found.shape == (3, 64)
    np.testing.assert_allclose(found, slowly(samples), atol=1e-9)
    assert frontend.log_mel(np.zeros(400)).tolist() == [[-8.0] * 64]


def test_stored_values_are_steps_of_a_twentieth_from_minus_eight() -> None:
    values = np.array([-9.0, -8.0, -7.974, -7.96, 0.0, 4.75, 6.0])
    assert frontend.stored(values).tolist() == [0, 0, 1, 1, 160, 255, 255]
    np.testing.assert_allclose(frontend.log_power(np.array([0, 160, 255])), [-8, 0, 4.75])


def statistics_slowly(values: Any) -> list[float]:
    from scipy.fft import dct

    cepstrum = dct(np.log(10.0**values), type=2, norm="ortho", axis=1)[:, :40].T.tolist()
    blocks: list[list[float]] = [[], [], [], [], []]
    for c in cepstrum:
        moves = [c[1] - c[0], *((c[t + 1] - c[t - 1]) / 2 for t in range(1, len(c) - 1)), c[-1] - c[-2]]
        mean, drift = sum(c) / len(c), sum(moves) / len(moves)
        blocks[0].append(mean)
        blocks[1].append(math.sqrt(sum((x - mean) ** 2 for x in c) / len(c)))
        blocks[2].append(math.sqrt(sum((x - drift) ** 2 for x in moves) / len(moves)))
        blocks[3].append(min(c))
        blocks[4].append(max(c))
    return [value for block in blocks for value in block]


def test_statistics_of_coefficients_are_those_of_the_definitions() -> None:
    values = np.random.default_rng(1).uniform(-8, 4, size=(7, 64))
    found = frontend.mfcc_statistics(values)
    assert found.shape == (200,) and found.dtype == np.float32
    np.testing.assert_allclose(found, statistics_slowly(values), rtol=2e-6, atol=1e-5)


@pytest.mark.realdata
@pytest.mark.skipif("NOISYLAB_DATA" not in os.environ, reason="NOISYLAB_DATA is not set")
def test_statistics_are_those_of_the_feature_file() -> None:
    with np.load(Path(os.environ["NOISYLAB_DATA"]) / "ravdess" / "ravdess_features.npz") as held:
        mel, offsets, given = held["mel"], held["offsets"], held["mfcc_stats"]
    for clip in range(0, 1440, 12):
        found = frontend.mfcc_statistics(frontend.log_power(mel[offsets[clip] : offsets[clip + 1]]))
        off = np.abs(found - given[clip]).reshape(5, 40).max(1)  # the file's values were rounded for storage
        # largest over all 1,440 clips: .0100, .0116, .0091, .131, .137
        assert (off <= [0.0101, 0.0117, 0.0092, 0.132, 0.138]).all(), (clip, off)
    first = frontend.mfcc_statistics(frontend.log_power(mel[: offsets[1]]))
    np.testing.assert_allclose(
        first[[0, 1, 40, 80, 81, 120, 160]], [-75.012, 13.718, 27.367, 5.341, 2.705, -143.869, -38.641], atol=0.13
    )


# ---- sound


def tone(seconds: float, rate: int, hertz: float = 1000.0) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_channels_are_averaged_and_the_rate_becomes_16_khz(tmp_path: Path) -> None:
    left, right = tone(0.2, 48000), 0.2 * np.ones(9600)
    write_wave(tmp_path / "a.wav", np.stack([left, right], 1), 48000)
    found = wav_sound((tmp_path / "a.wav").read_bytes())
    assert len(found) == 3200
    inner = slice(200, -200)  # away from the ends, where the filter sees silence
    np.testing.assert_allclose(found[inner], (0.5 * tone(0.2, 16000) + 0.1)[inner], atol=2e-3)


def test_sound_of_a_film_is_that_of_its_channels(tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    write_film(tmp_path / "a.mp4", [picture] * 5, sound=np.stack([tone(0.5, 48000), np.zeros(24000)]))
    found = film_sound((tmp_path / "a.mp4").read_bytes())
    assert abs(len(found) - 8000) <= 1024
    assert float(np.sqrt(2 * (found[2000:6000] ** 2).mean())) == pytest.approx(0.25, rel=0.05)  # half of the amplitude


def test_silence_at_the_ends_is_cut_off_but_for_100_ms() -> None:
    sound = np.concatenate([np.full(8000, 1e-4), tone(0.5, 16000), np.full(16000, -1e-4)])
    found = spectrogram_of(sound)
    # the first window that is heard begins at most 400 samples before the tone, the last one within the tone
    assert (8000 - 400 - 1600) / 16000 <= float(found["start"]) <= (8000 - 1600) / 16000
    cut = frontend.trimmed(sound)
    assert 16000 + 1600 <= cut.stop <= 16000 + 400 + 1600
    assert len(found["mel"]) == 1 + (cut.stop - cut.start - 400) // 160 and found["stats"].shape == (200,)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(16000), "is silent"),
        (np.ones(500), "has 31 ms of sound, and at least 35 are needed"),
        (np.array([math.nan] * 900), "has sound with NaN or infinite values"),
    ],
)
def test_sound_that_says_nothing_is_refused(sound: Any, message: str) -> None:
    with pytest.raises(UnreadableMedia, match=message):
        spectrogram_of(sound)


# ---- films


def numbered(count: int) -> list[Any]:
    """Frames of 48 x 32 whose middle square has a gray of its own; beside it is white."""
    frames = [np.full((32, 48, 3), 255, dtype=np.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[:, 8:40] = 10 * number + 20
    return frames


def test_frames_are_the_chosen_ones_cut_to_their_middle_with_their_times(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", numbered(12), rate=25)
    found = frames_of((tmp_path / "a.mp4").read_bytes(), frames=3, side=16)
    np.testing.assert_allclose(found["times"], [2 / 25, 6 / 25, 10 / 25], atol=1e-6)
    ends, content = found["offsets"].tolist(), found["jpeg"].tobytes()
    for place, number in enumerate((2, 6, 10)):
        pixels = np.asarray(Image.open(io.BytesIO(content[ends[place] : ends[place + 1]])), dtype=int)
        assert pixels.shape == (16, 16, 3) and np.abs(pixels[2:-2, 2:-2] - (10 * number + 20)).max() <= 6


def test_a_film_that_ends_early_or_is_damaged_is_refused(tmp_path: Path) -> None:
    noise = [np.random.default_rng(n).integers(0, 255, (32, 48, 3), dtype=np.uint8) for n in range(10)]
    write_film(tmp_path / "a.mp4", noise)
    whole = (tmp_path / "a.mp4").read_bytes()
    damaged = bytearray(whole)
    start = whole.index(b"mdat") + 3000
    damaged[start : start + 4000] = bytes(4000)
    for content in (whole[: len(whole) // 2], bytes(damaged), b"no film", b""):
        with pytest.raises(UnreadableMedia, match="cannot be decoded"):
            frames_of(content, frames=10, side=16)


def test_a_film_without_sound_is_refused_where_sound_is_wanted(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", numbered(2))
    with pytest.raises(UnreadableMedia, match="is a film without sound"):
        film_sound((tmp_path / "a.mp4").read_bytes())
    with pytest.raises(UnreadableMedia, match="is no sound that can be read"):
        wav_sound(b"RIFF no sound")


# ---- rows


def test_windows_are_cut_out_of_the_whole() -> None:
    values = torch.arange(30, dtype=torch.uint8).reshape(10, 3)
    rows = WindowRows(values, torch.tensor([5, 0, 6]), length=4)
    found = rows.gather(torch.tensor([2, 0]))
    assert found.shape == (2, 1, 3, 4) and len(rows) == 3 and rows.row_size == 12
    for row, start in enumerate((6, 5)):
        for band in range(3):
            assert found[row, 0, band].tolist() == [int(values[start + t, band]) for t in range(4)]
    shared = SharedRows(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0, 1, 1, 1]))
    assert shared.gather(torch.tensor([4, 0, 1])).tolist() == [[2.0], [1.0], [1.0]] and len(shared) == 5


# ---- cache


class Counting:
    """Decodes text to its length, and counts; text with an exclamation mark cannot be decoded."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, content: bytes) -> Mapping[str, Any]:
        self.times += 1
        if b"!" in content:
            raise UnreadableMedia("shouts")
        return {"length": np.array(len(content))}


def decoded(paths: list[Path], folder: Path | None, decode: Counting, name: str = "text 1") -> list[cache.Decoded]:
    return cache.decode_all([str(path) for path in paths], cache.Recipe(name, decode, ("length",)), folder)


def test_a_file_is_decoded_once_and_again_when_it_or_the_recipe_changes(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].write_text("one")
    files[1].write_text("three")
    decode, folder = Counting(), tmp_path / "cache"
    for _ in range(2):
        found = decoded(files, folder, decode)
        assert [int(one.arrays["length"]) for one in found] == [3, 5] and decode.times == 2
    files[0].rename(tmp_path / "c")  # another name, the same content
    assert int(decoded([tmp_path / "c"], folder, decode)[0].arrays["length"]) == 3 and decode.times == 2
    status = files[1].stat()
    files[1].write_text("seven")  # of the same length, and with the old time of change
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    first, second = found[1], decoded([files[1]], folder, decode)[0]
    assert decode.times == 3 and first.sha256 != second.sha256
    decoded([files[1]], folder, decode, name="text 2")
    assert decode.times == 4
    decoded([files[1]], None, decode)
    assert decode.times == 5


def test_what_another_version_of_a_decoder_has_made_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("one")
    decode = Counting()
    recipe = cache.Recipe("text 1", decode, ("length",), ("reader", "writer"))
    for version, times in (("1.0", 1), ("1.0", 1), ("1.1", 2), ("1.0", 2)):
        monkeypatch.setattr(cache, "_version", lambda package, now=version: now if package == "reader" else "3")
        cache.decode_all([str(tmp_path / "a")], recipe, tmp_path / "cache")
        assert decode.times == times


def test_what_is_damaged_is_decoded_again_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    decode, folder = Counting(), tmp_path / "cache"
    decoded([tmp_path / "a"], folder, decode)
    (entry,) = folder.glob("*/*.decoded")
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged: what was in it is decoded again"):
        assert int(decoded([tmp_path / "a"], folder, decode)[0].arrays["length"]) == 3
    decoded([tmp_path / "a"], folder, decode)
    assert decode.times == 2


def test_a_write_that_is_interrupted_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("one")
    folder = tmp_path / "cache"
    decoded([tmp_path / "a"], folder, Counting())
    (entry,) = folder.glob("*/*.decoded")
    before = entry.read_bytes()

    def killed(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        cache._write(folder, entry, {"length": np.array(9)})
    assert entry.read_bytes() == before and list(entry.parent.iterdir()) == [entry]


def test_a_fault_is_told_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("help!")
    decode = Counting()
    for times in (1, 2):
        (found,) = decoded([tmp_path / "a"], tmp_path / "cache", decode)
        assert found.fault == "shouts" and decode.times == times
    (gone,) = decoded([tmp_path / "b"], tmp_path / "cache", decode)
    assert gone.fault == "cannot be read (No such file or directory)"


def test_times_of_a_file_are_trusted_once_it_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, decode, folder = tmp_path / "a", Counting(), tmp_path / "cache"
    file.write_text("three")
    opened: list[str] = []
    monkeypatch.setattr(cache, "regular", lambda path: opened.append(str(path)) or Path(path))
    decoded([file], folder, decode)
    assert not (folder / "digests.txt").exists()
    changed = file.stat().st_ctime
    monkeypatch.setattr(caches, "time", SimpleNamespace(time=lambda: changed + 60))
    for times in (2, 2):  # before, the file was read once; from the second time on it is not
        decoded([file], folder, decode)
        assert opened.count(str(file)) == times and decode.times == 1


def test_a_folder_that_cannot_be_written_is_told_in_the_same_words_for_every_file(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two", "three")]
    for file in files:
        file.write_text(file.name)
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(UserWarning, match="what was decoded cannot be kept in") as told:
        found = decoded(files, tmp_path / "cache", Counting())
    assert [int(one.arrays["length"]) for one in found] == [3, 3, 5]
    assert len(told) == 3 and len({str(one.message) for one in told}) == 1
