"""RAVDESS from files that are written here, under the names of the release."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import train_batches, write_film, write_ravdess, write_wave

from noisylab.data.media.film import frames_of
from noisylab.data.named import RAVDESS
from noisylab.data.named.ravdess_files import Clip, find, parse, published
from noisylab.noise import Asymmetric

for _package in ("av", "scipy", "soundfile"):  # the extra [media]
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound of six actors in six emotions, one clip of each."""
    root = tmp_path_factory.mktemp("spoken")
    write_ravdess(root, actors=(1, 2, 3, 4, 5, 6), seconds=0.3)
    return root


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, too, of two actors."""
    root = tmp_path_factory.mktemp("filmed")
    write_ravdess(root, actors=(1, 2), films=True, seconds=2.0)
    return root


def ready(root: Path, **kwargs: Any) -> Any:
    given = {"classes": 6, "cache": None, "val_actors": (), "test_actors": (), "frames_per_clip": 2, "side": 8}
    data = RAVDESS(str(root), **{**given, **kwargs})
    data.setup()
    return data


# ---- names


def test_a_name_says_what_the_clip_is() -> None:
    assert parse("02-01-06-01-02-01-12.mp4") == (2, Clip(12, 1, 6, 1, 2, 1))
    assert parse("03-02-01-01-02-02-24.WAV") == (3, Clip(24, 2, 1, 1, 2, 2))
    assert Clip(12, 1, 6, 1, 2, 1).key == "01-06-01-02-01-12"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("03-01-06-01-02-12.wav", "seven fields of two digits"),
        ("03-01-06-01-02-1-12.wav", "seven fields of two digits"),
        ("03-01-06-01-02-01-12 (1).wav", "seven fields of two digits"),
        ("04-01-06-01-02-01-12.mp4", "its modality is 04, and must be 01 to 03"),
        ("03-03-06-01-02-01-12.wav", "its channel is 03"),
        ("03-01-09-01-02-01-12.wav", "its emotion is 09, and must be 01 to 08"),
        ("03-01-00-01-02-01-12.wav", "its emotion is 00"),
        ("03-01-06-03-02-01-12.wav", "its intensity is 03"),
        ("03-01-06-01-02-01-25.wav", "its actor is 25, and must be 01 to 24"),
        ("03-01-01-02-02-01-12.wav", "neutral with strong intensity"),
        ("03-02-07-01-02-01-12.wav", "a song with the emotion 07"),
        ("01-01-06-01-02-01-12.wav", r"its modality is 01 \(audio and video\), which a .wav file is not"),
        ("03-01-06-01-02-01-12.mp4", "which a .mp4 file is not"),
    ],
)
def test_other_names_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(name)


def test_the_release_is_counted_and_each_fault_is_named(tmp_path: Path) -> None:
    clips = [(channel, clip) for channel in (1, 2) for actor in range(1, 25) for clip in published(channel, actor)]
    for channel, clip in clips[:1440]:
        assert channel == 1
        path = tmp_path / f"Actor_{clip.actor:02d}" / f"03-{clip.key}.wav"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    report = RAVDESS.check_release(tmp_path)
    assert report.ok, report.text()
    assert report.counts == [("speech, audio only", 1440, 1440)] and len(clips) == 1440 + 1012
    # figures of six classes: neutral 96 and 92, the other emotions 192 and 184 each
    six = [sum(channel == c and clip.emotion == e for c, clip in clips) for channel in (1, 2) for e in range(1, 7)]
    assert six == [96, *[192] * 5, 92, *[184] * 5]
    (tmp_path / "Actor_02" / "03-01-08-02-02-02-02.wav").unlink()
    shutil.rmtree(tmp_path / "Actor_24")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "03-01-03-01-01-01-07.wav").touch()
    (tmp_path / "more" / "03-01-09-01-01-01-07.wav").touch()
    (tmp_path / "more" / "._03-01-03-01-01-01-07.wav").touch()
    text = RAVDESS.check_release(tmp_path).text()
    for line in (
        "speech, audio only: 1,379, expected 1,440",
        "03-01-08-02-02-02-02.wav: speech, audio only",
        "Actor_24: all 60 files of speech, audio only",
        "Actor_07/03-01-03-01-01-01-07.wav and more/03-01-03-01-01-01-07.wav are two files of one clip",
        "more/03-01-09-01-01-01-07.wav: its emotion is 09",
        "no speech, video only (1,440 files in the release)",
        "no song, audio only (1,012 files in the release)",
    ):
        assert line in text, text
    assert not RAVDESS.check_release(tmp_path / "nowhere").ok


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder, actor in ((root / "Actor_01", 1), (elsewhere, 2)):
        folder.mkdir(parents=True)
        (folder / f"03-01-01-01-01-01-{actor:02d}.wav").touch()
    (root / "Actor_02").symlink_to(elsewhere)
    (root / "again").symlink_to(root)
    (elsewhere / "up").symlink_to(root / "Actor_01")
    found = find(root)
    assert not found.faults and sorted(clip.actor for clip in found.paths) == [1, 2]


# ---- rows


def test_speakers_are_held_apart(spoken: Path) -> None:
    data = ready(spoken, val_actors=(2, 3), test_actors=(6,))
    group, source = data.source.group, data.source
    assert group[data.split.train].unique().tolist() == [1, 4, 5] and group[data.split.val].unique().tolist() == [2, 3]
    assert len(source.given) == 5 * 6 * 2 and len(source.test_target) == 6 * 2
    assert source.names[:3] == ["01-01-01-01-01-01#0", "01-01-01-01-01-01#1", "01-02-01-01-01-01#0"]
    assert {name[15:17] for name in source.test_names} == {"06"}
    assert source.given[:6].tolist() == [0, 0, 1, 1, 2, 2] and data.held_out == "actors 2, 3"
    assert data.clips("test").tolist() == sorted([*range(6)] * 2)


@pytest.mark.parametrize(("folds", "parts"), [(3, [[1, 2], [3, 4], [5, 6]]), (2, [[1, 2, 3], [4, 5, 6]])])
def test_folds_are_actors_in_their_order_where_they_can_be_equal(spoken: Path, folds: int, parts: list[list[int]]) -> None:
    for fold, actors in enumerate(parts):
        data = ready(spoken, folds=folds, fold=fold, val_fraction=0.2, val_actors=(5,), test_actors=(6,))
        group = data.source.group
        assert group[data.split.fold].unique().tolist() == actors
        assert not set(group[data.split.val].tolist()) & set(group[data.split.train].tolist())
        assert set(actors).isdisjoint(group[data.split.train].tolist()) and len(data.split.val)


def test_other_numbers_of_folds_keep_actors_whole(spoken: Path) -> None:
    data = [ready(spoken, folds=4, fold=fold) for fold in range(4)]
    folds = [set(one.source.group[one.split.fold].tolist()) for one in data]
    assert sorted(actor for fold in folds for actor in fold) == [1, 2, 3, 4, 5, 6]


def test_wrong_labels_are_drawn_for_clips_unless_asked_for_frames(spoken: Path) -> None:
    noise = Asymmetric(0.5, mapping="ravdess6", seed=0)
    by_clip, by_row = (ready(spoken, noise=noise, noise_unit=unit).given_target.reshape(-1, 2) for unit in ("clip", "row"))
    assert bool((by_clip[:, 0] == by_clip[:, 1]).all()) and bool((by_row[:, 0] != by_row[:, 1]).any())
    assert RAVDESS("x").noise_unit == "clip" and RAVDESS("x").val_by == "group"


def test_spectrograms_are_around_the_chosen_frames(filmed: Path) -> None:
    data = ready(filmed, inputs=("audio",), frames_per_clip=3)
    rows = data.source.train
    length = len(rows.values) // 12  # of one clip: all are of two seconds, 198 frames
    assert length == 198
    # frames 33, 99 and 165 of 198, less 48; the first and the last are moved into the clip
    assert (rows.starts[3:6] - length).tolist() == [0, 51, 198 - 96]
    assert torch.equal(rows.gather(torch.tensor([4]))[0, 0], rows.values[length + 51 : length + 147].T)


def test_spectrograms_of_pictures_are_around_their_times(filmed: Path) -> None:
    data = ready(filmed, inputs=("image", "audio"))
    # of five frames, 25 a second, the second and the fourth are shown at .04 and .12 s: all begin with the clip
    assert data.source.train.views["audio"].starts.reshape(12, 2).sub(198 * torch.arange(12)[:, None]).unique().tolist() == [0]
    images = data.source.train.views["image"]
    gray = images.values.float().mean((1, 2, 3)).reshape(2, 6, 2)
    expected = 30.0 * torch.arange(1, 7)[None, :, None].expand(2, 6, 2)
    assert float((gray - expected).abs().max()) < 4 and images.values.dtype == torch.uint8


def test_several_inputs_are_named_views_of_one_row(filmed: Path) -> None:
    data = ready(filmed, inputs=("image", "audio", "stats", "frames"), batch_size=5)
    (batch,) = (next(train_batches(data)),)
    shapes = {name: tuple(view.shape) for name, view in batch.views[0].items()}
    assert shapes == {"image": (5, 3, 8, 8), "audio": (5, 1, 64, 96), "stats": (5, 200), "frames": (5, 2, 3, 8, 8)}
    clip = data.source.clip[batch.index]
    whole = ready(filmed, inputs=("stats", "frames"))  # without pictures or spectrograms of their own, rows are clips
    assert len(whole.source.train) == 12 and whole.source.names[0] == "01-01-01-01-01-01"
    assert torch.equal(batch.views[0]["stats"], whole.source.train.gather(clip)["stats"])


def test_inputs_are_normalized_by_the_clips_that_are_trained_on(filmed: Path) -> None:
    data = ready(filmed, inputs=("audio", "stats"), test_actors=(2,), frames_per_clip=3)  # windows that show all of a clip
    stats = data.source.train.views["stats"].values
    torch.testing.assert_close(stats.mean(0), torch.zeros(200), atol=1e-4, rtol=0)
    values = data.source.train.views["audio"].values.double()
    level = data.measured()["audio"]
    assert level["mean"] == pytest.approx(float(values.mean())) and level["std"] == pytest.approx(float(values.std(correction=0)))
    later = RAVDESS(str(filmed), ("audio", "stats"), classes=6, cache=None, val_actors=(), test_actors=(1,), frames_per_clip=3)
    later.adopt(data.fitted())
    later.setup()
    assert later.view_set()["eval"] == data.view_set()["eval"] and later.measured()["audio"] == level
    assert torch.equal(later.source.test.views["stats"].values, stats)


def test_only_what_is_named_is_decoded(spoken: Path, filmed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[int] = []
    monkeypatch.setattr(
        "noisylab.data.named.ravdess_decoding.frames_of", lambda content, **kwargs: read.append(1) or frames_of(content, **kwargs)
    )
    ready(filmed, inputs=("audio", "stats"))
    assert not read
    for _ in range(2):
        data = RAVDESS(str(filmed), ("image",), classes=6, cache=str(tmp_path), val_actors=(), test_actors=())
        data.prepare_data()
        data.setup()
    assert len(read) == 12  # once each, then out of the cache
    assert data.digests()[1] is None


# ---- what is refused


def test_clips_without_sound_or_film_are_named(spoken: Path, filmed: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"36 of 36 clips have no film(.|\n)*01-01-01-01-01-01(.|\n)*and 26 more\nTheir actors are 1, 2"
    ):
        ready(spoken, inputs=("image",))
    shutil.copytree(filmed, tmp_path / "a")
    (tmp_path / "a" / "Actor_01" / "03-01-02-01-01-01-01.wav").unlink()
    with pytest.raises(
        ValueError, match=r"1 of 12 clips have no sound, that is, no 03-\*.wav or 01-\*.mp4 file:\n  01-02-01-01-01-01"
    ):
        ready(tmp_path / "a")
    film = tmp_path / "a" / "Actor_01" / "01-01-02-01-01-01-01.mp4"
    write_film(film, [np.zeros((32, 48, 3), dtype=np.uint8)] * 3)
    with pytest.raises(ValueError, match=r"1 of 12 files cannot be used:\n  \S+01-01-02-01-01-01-01.mp4 is a film without sound"):
        ready(tmp_path / "a")
    write_film(film, [np.zeros((32, 48, 3), dtype=np.uint8)] * 25, sound=np.full((1, 48000), 0.1))
    assert len(ready(tmp_path / "a").source.train) == 24
    film.write_bytes(film.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"01-01-02-01-01-01-01.mp4 has pictures that cannot be decoded"):
        ready(tmp_path / "a", inputs=("image",))


def test_silence_two_files_of_a_clip_and_wrong_names_are_refused(spoken: Path, tmp_path: Path) -> None:
    root = tmp_path / "a"
    shutil.copytree(spoken, root)
    quiet = root / "Actor_03" / "03-01-04-01-01-01-03.wav"
    write_wave(quiet, np.zeros(8000), 16000)
    with pytest.raises(ValueError, match=r"03-01-04-01-01-01-03.wav is silent"):
        ready(root)
    shutil.copy(root / "Actor_01" / "03-01-04-01-01-01-01.wav", root / "03-01-04-01-01-01-01.wav")
    quiet.rename(root / "Actor_03" / "03-01-01-02-01-01-03.wav")
    with pytest.raises(ValueError, match=r"2 files below(.|\n)*are two files of one clip; remove one(.|\n)*neutral with strong"):
        ready(root)
    with pytest.raises(FileNotFoundError, match="there is no file of RAVDESS below"):
        ready(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"there is no song of the actors \[1\] among"):
        ready(spoken, channels=("song",), actors=(1,))
    with pytest.raises(
        ValueError, match=r"test_actors names \[21\], of whom there is no clip; there are clips of 1, 2, 3, 4, 5, 6"
    ):
        ready(spoken, test_actors=(21,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": ()}, "inputs must name at least one of image, audio, stats, frames"),
        ({"inputs": ("mel",)}, r"got \['mel'\]"),
        ({"channels": ("speech", "speech")}, "none twice"),
        ({"channels": ("song",)}, "has six emotions; set classes=6"),
        ({"classes": 7}, "classes must be"),
        ({"frames_per_clip": 0}, "frames_per_clip must be a whole number of at least 1"),
        ({"test_actors": (25,)}, "test_actors must name actors of 1 to 24"),
        ({"val_actors": (21,)}, r"val_actors and test_actors both name \[21\]"),
    ],
)
def test_arguments_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RAVDESS("nowhere", **given)
