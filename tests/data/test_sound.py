"""Clips of a folder or a table: found, decoded, brought to one length, learned from, and refused by name."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import soundfile
import torch
from samples import write_film

from noisylab import CrossEntropy, SpectrogramCNN
from noisylab.data import Sound
from noisylab.data.frames import Column, Columns, Media
from noisylab.data.media.frontend import log_mel, stored, trimmed
from noisylab.transforms.draws import Draws
from noisylab.transforms.recordings import TimeShift

PITCH = {"high": 2000.0, "low": 300.0}


def tone(pitch: float, seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray[Any, Any]:
    """A tone with a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.4 * np.sin(2 * np.pi * pitch * time) + 0.01 * np.random.default_rng(seed).standard_normal(len(time))


def encoded(samples: np.ndarray[Any, Any], rate: int = 16000, form: str = "WAV") -> bytes:
    with io.BytesIO() as file:
        soundfile.write(file, samples, rate, format=form)
        return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of each class, of different lengths, rates, formats and numbers of channels; two more for tests."""
    root = tmp_path_factory.mktemp("clips")
    for part, many in (("train", 10), ("test", 2)):
        for label, pitch in PITCH.items():
            (root / part / label).mkdir(parents=True)
            for number in range(many):
                rate, ending = (22050, "flac") if number % 3 == 1 else (16000, "wav")
                samples = tone(pitch + 10 * number, 0.3 + 0.05 * number, rate, number)
                samples = np.stack([samples, samples], 1) if number % 2 else samples
                soundfile.write(root / part / label / f"{number}.{ending}", samples, rate)
    return root


def ready(table: object, **kwargs: Any) -> Sound:
    data = Sound(str(table), **{"cache": None, "batch_size": 4, **kwargs})
    data.setup()
    return data


def of_memory(clips: list[Media], labels: list[str], **kwargs: Any) -> Sound:
    none = np.zeros(len(clips), dtype=bool)
    gone = np.array([clip.content is None and clip.path is None for clip in clips])
    table = Columns("clips", {"sound": Column("audio", clips, gone), "label": Column("text", labels, none)})
    return Sound.of(table, **{"cache": None, **kwargs})


# ---- rows


def test_a_folder_of_class_folders_is_read_with_its_parts(folder: Path) -> None:
    data = ready(folder)
    assert data.source.class_names == ("high", "low") and data.given_target.tolist() == [0] * 10 + [1] * 10
    assert data.source.names[:2] == ["high/0.wav", "high/1.flac"] and data.source.test_target.tolist() == [0, 0, 1, 1]
    lengths = sorted(1 + (round((0.3 + 0.05 * n) * 16000) - 400) // 160 for n in range(10) for _ in PITCH)
    assert data.measured()["frames"] == int(np.quantile(lengths, 0.9))
    assert data.source.train.gather(torch.arange(3)).shape == (3, 1, 64, data.measured()["frames"])


def test_a_row_is_the_middle_of_a_longer_clip_and_a_shorter_one_with_silence_after_it() -> None:
    long, short = tone(500.0, 1.0), tone(500.0, 0.3)
    data = of_memory([Media(content=encoded(part)) for part in (long, short, long, short)], ["a", "b", "a", "b"], seconds=0.5)
    data.setup()
    read = [soundfile.read(io.BytesIO(encoded(part)))[0] for part in (long, short)]
    whole, part = (stored(log_mel(samples[trimmed(samples)])) for samples in read)
    first, second = (data.source.train.gather(torch.tensor([row]))[0, 0].numpy() for row in (0, 1))
    start = (len(whole) - 50) // 2
    assert np.array_equal(first, whole[start : start + 50].T)
    assert np.array_equal(second, np.pad(part, ((0, 50 - len(part)), (0, 0))).T)


def test_a_table_names_files_beside_it_or_holds_them(folder: Path, tmp_path: Path) -> None:
    lines = [f"{folder}/train/{label}/{n}.{'flac' if n % 3 == 1 else 'wav'},{label}" for label in PITCH for n in range(10)]
    (tmp_path / "clips.csv").write_text("\n".join(["recording,label", *lines]) + "\n")
    listed, there = ready(tmp_path / "clips.csv"), ready(folder)
    contents = [Media(content=Path(line.split(",")[0]).read_bytes()) for line in lines]
    held = of_memory(contents, [line.split(",")[1] for line in lines])
    held.setup()
    for data in (listed, held):
        assert torch.equal(data.source.train.values, there.source.train.values)
        assert torch.equal(data.given_target, there.given_target)


def test_sound_of_films_is_read(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", [np.zeros((32, 32, 3), dtype=np.uint8)] * 10, sound=tone(500.0, 0.4, 48000)[None])
    film = Media(content=(tmp_path / "a.mp4").read_bytes())
    data = of_memory([film, Media(content=encoded(tone(500.0, 0.4)))] * 2, ["a", "b"] * 2, seconds=0.3)
    data.setup()
    rows = data.source.train.gather(torch.arange(2)).float()[:, 0]
    assert int(rows[0].mean(1).argmax()) == int(rows[1].mean(1).argmax())  # the same band is the loudest


def test_the_cache_gives_what_was_decoded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ready(folder, cache=str(tmp_path))
    monkeypatch.setattr("noisylab.data.sound.clips.wav_sound", lambda content: pytest.fail("decoded again"))
    assert torch.equal(ready(folder, cache=str(tmp_path)).source.train.values, first.source.train.values)


# ---- views


def test_shifts_move_the_frames_and_bring_in_silence() -> None:
    x = torch.arange(1, 11, dtype=torch.uint8).expand(64, 1, 3, 10)
    moved = TimeShift(2)(x, Draws(7, torch.arange(64)))
    expected = {
        tuple(int(place + shift) + 1 if 0 <= place + shift < 10 else 0 for place in range(10)) for shift in (-2, -1, 0, 1, 2)
    }
    assert {tuple(row) for row in moved[:, 0, 0].tolist()} == expected and torch.equal(moved[:, 0, 0], moved[:, 0, 2])


def test_views_are_normalized_by_the_rows_that_are_trained_on(folder: Path) -> None:
    data = ready(folder, val_fraction=0.25)
    rows = data.source.train.gather(data.split.train)
    seen = data.view_set()["eval"](rows, Draws(0, torch.arange(len(rows))))
    assert float(seen.mean()) == pytest.approx(0, abs=1e-4) and float(seen.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert set(data.view_names) == {"weak", "strong", "simclr"}


# ---- learning


def test_two_pitches_are_learned_and_a_checkpoint_knows_new_clips(folder: Path, tmp_path: Path) -> None:
    L.seed_everything(0)
    data = Sound(str(folder), cache=None, batch_size=4, val_fraction=0.2)
    method = CrossEntropy(num_classes=2, network=SpectrogramCNN, optimizer=partial(torch.optim.Adam, lr=1e-3))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(max_epochs=10, accelerator="cpu", **quiet)
    trainer.fit(method, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    table = data.tables[1]
    assert table is not None
    new = Sound("nowhere", cache=None)
    new.adopt(data.fitted())
    new.setup_blank()
    prepared = new.prepared(table)
    assert torch.equal(prepared.gather(torch.arange(4)), data.source.test.gather(torch.arange(4)))
    again = CrossEntropy.load_from_checkpoint(tmp_path / "a.ckpt")
    again.eval()
    inputs = new.view_set()["eval"](prepared.gather(torch.arange(4)), Draws(0, torch.arange(4)))
    assert again(inputs).argmax(1).tolist() == data.source.test_target.tolist()


# ---- what is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RIFF....", "is no sound that can be read"),
        (encoded(np.zeros(16000)), "is silent"),
        (encoded(tone(500.0, 0.01)), "has 10 ms of sound"),
        (b"", "is no sound that can be read"),
        (None, "has no clip"),
    ],
)
def test_clips_that_cannot_be_used_are_named_or_left_out(content: bytes | None, reason: str) -> None:
    good = [Media(content=encoded(tone(500.0, 0.4, seed=seed))) for seed in range(4)]
    clips, labels = [*good[:3], Media(content=content), good[3]], ["a", "b", "a", "b", "b"]
    with pytest.raises(ValueError, match=f"1 clips cannot be used(?s:.)*row 3 {reason}(?s:.)*skip_unreadable"):
        of_memory(clips, labels).setup()
    data = of_memory(clips, labels, skip_unreadable=True)
    with pytest.warns(UserWarning, match="1 of 5 clips cannot be used and are left out"):
        data.setup()
    assert data.given_target.tolist() == [0, 1, 0, 1] and len(data.source.train) == 4
    assert any("left out" in line for line in data.source.account)


def test_clips_are_left_out_when_they_were_decoded_before_setup(tmp_path: Path) -> None:
    for name, sound in {"a/0": tone(500.0, 0.4), "a/1": tone(500.0, 0.4, seed=1), "b/0": tone(900.0, 0.4), "b/1": None}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.wav").write_bytes(b"" if sound is None else encoded(sound))
    data = Sound(str(tmp_path), cache=str(tmp_path / "cache"), skip_unreadable=True)
    with pytest.warns(UserWarning, match=r"1 of 4 clips cannot be used and are left out(?s:.)*b/1\.wav"):
        data.prepare_data()
        data.setup()
    assert data.source.names == ["a/0.wav", "a/1.wav", "b/0.wav"] and len(data.source.train) == 3


def test_clips_beside_the_class_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/x.wav", "loose.wav"):
        (tmp_path / name).write_bytes(encoded(tone(500.0, 0.4)))
    with pytest.raises(ValueError, match=r"1 of 2 clips .* in no class folder(?s:.)*loose\.wav"):
        ready(tmp_path)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"seconds must be at least 0\.16, got 0\.1"):
        Sound("x", seconds=0.1)
    with pytest.raises(ValueError, match="shift must be a number of seconds"):
        Sound("x", shift=-1.0)
    data = of_memory([Media(content=b"")] * 2, ["a", "b"], audio="sund")
    with pytest.raises(ValueError, match="no such column; it has sound, label; did you mean 'sound'"):
        data.setup()
