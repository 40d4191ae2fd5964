"""The file names of RAVDESS: seven fields of two digits, which say all that is known of a clip."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from noisylab.data.notes import in_lines
from noisylab.data.release import ReleaseReport

__all__ = [
    "ACTORS",
    "CHANNELS",
    "EMOTIONS",
    "MODALITIES",
    "Clip",
    "Files",
    "account_of",
    "file_of",
    "find",
    "parse",
    "published",
    "report_on",
]

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CHANNELS = ("speech", "song")
MODALITIES = ("audio and video", "video only", "audio only")
ACTORS = 24
_SUNG = 6  # emotions of the songs, the first ones
_NO_SONGS = 18  # the actor of whom there are none
_FIELDS = (
    ("modality", 3),
    ("channel", 2),
    ("emotion", 8),
    ("intensity", 2),
    ("statement", 2),
    ("repetition", 2),
    ("actor", ACTORS),
)
_SUFFIXES = {".mp4": (1, 2), ".wav": (3,)}  # modalities
_SOURCES = {"sound": (3, 1), "film": (1, 2)}  # modalities that have it, the preferred one first
_WANTED = {"sound": "03-*.wav or 01-*.mp4", "film": "01-*.mp4 or 02-*.mp4"}


class Clip(NamedTuple):
    """A recording, whatever files there are of it; all fields as in the file names, from 1."""

    actor: int
    channel: int
    emotion: int
    intensity: int
    statement: int
    repetition: int

    @property
    def key(self) -> str:
        """What the names of its files have in common: channel, emotion, intensity, statement, repetition, actor."""
        return "-".join(f"{value:02d}" for value in (*self[1:], self.actor))


@dataclass
class Files:
    """The files found in a folder.

    Args:
        paths: by clip, then by modality, 1 to 3.
        faults: names that are no names of the release, and clips that are there twice.
        others: number of other files.
    """

    paths: dict[Clip, dict[int, Path]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    others: int = 0

    def refused(self, root: Path) -> Files:
        """The same files, which lie in `root`.

        Raises:
            FileNotFoundError: there are none.
            ValueError: naming those with a fault.
        """
        if self.faults:
            raise ValueError(f"{len(self.faults):,} files below {root} are not as the release has them:{in_lines(self.faults)}")
        if not self.paths:
            raise FileNotFoundError(
                f"there is no file of RAVDESS below {root.absolute()}: unpack Audio_Speech_Actors_01-24.zip there, and for "
                "pictures Video_Speech_Actor_01.zip to _24.zip, from https://zenodo.org/records/1188976; or set root"
            )
        return self

    def choose(
        self, root: Path, channels: Sequence[str], classes: int, actors: Sequence[int] | None, kinds: Sequence[str]
    ) -> list[Clip]:
        """The clips to use, by actor.

        Args:
            root: where the files lie, for messages.
            channels: names of those to use.
            classes: number of emotions, the first ones.
            actors: to use; `None` for all.
            kinds: "sound" and "film", what there must be of each clip.

        Raises:
            FileNotFoundError: no clip is left.
            ValueError: naming clips without sound or film.
        """
        wanted = [CHANNELS.index(name) + 1 for name in channels]
        clips = sorted(
            clip
            for clip in self.paths
            if clip.channel in wanted and clip.emotion <= classes and (actors is None or clip.actor in actors)
        )
        if not clips:
            of = "" if actors is None else f" of the actors {list(actors)}"
            raise FileNotFoundError(
                f"there is no {' or '.join(channels)}{of} among the files below {root.absolute()}; unpack more of the release, "
                "or change channels or actors"
            )
        for kind in kinds:
            without = [clip for clip in clips if not any(modality in self.paths[clip] for modality in _SOURCES[kind])]
            if without:
                actors_of = ", ".join(map(str, sorted({clip.actor for clip in without})))
                raise ValueError(
                    f"{len(without):,} of {len(clips):,} clips have no {kind}, that is, no {_WANTED[kind]} file:"
                    f"{in_lines([clip.key for clip in without])}\nTheir actors are {actors_of}: unpack these files, too, name "
                    "other actors in `actors`, or leave the input that needs them out of `inputs`"
                )
        return clips


def parse(name: str) -> tuple[int, Clip]:
    """Modality, 1 to 3, and clip of a file name.

    Raises:
        ValueError: saying what makes it no name of the release.

    Example:
        >>> parse("02-01-06-01-02-01-12.mp4")
        (2, Clip(actor=12, channel=1, emotion=6, intensity=1, statement=2, repetition=1))
    """
    stem, dot, suffix = name.rpartition(".")
    fields = stem.split("-")
    if len(fields) != len(_FIELDS) or not all(re.fullmatch("[0-9]{2}", part) for part in fields):
        raise ValueError(f"a name has seven fields of two digits, as 03-01-06-01-02-01-12.wav, not {stem!r}")
    values = [int(part) for part in fields]
    for (what, highest), value in zip(_FIELDS, values, strict=True):
        if not 1 <= value <= highest:
            raise ValueError(f"its {what} is {value:02d}, and must be 01 to {highest:02d}")
    modality, channel, emotion, intensity, *_ = values
    if emotion == 1 and intensity == 2:
        raise ValueError("it is neutral with strong intensity (02), which there is not")
    if channel == 2 and emotion > _SUNG:
        raise ValueError(f"it is a song with the emotion {emotion:02d}, and songs have 01 to {_SUNG:02d}")
    kinds = _SUFFIXES.get(f"{dot}{suffix}".lower(), ())
    if modality not in kinds:
        raise ValueError(f"its modality is {modality:02d} ({MODALITIES[modality - 1]}), which a .{suffix} file is not")
    return modality, Clip(values[6], *values[1:6])


def find(root: Path) -> Files:
    """The files below a folder, whatever its folders are called; hidden ones do not count. Links to folders are followed, and no
    folder is read twice."""
    found, seen = Files(), {os.path.realpath(root)}

    def new(folder: str, name: str) -> bool:
        real = os.path.realpath(Path(folder, name))
        known = real in seen
        seen.add(real)
        return not known

    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in sorted(inner) if not name.startswith((".", "__MACOSX")) and new(folder, name)]
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
                found.others += not name.startswith(".")
                continue
            try:
                modality, clip = parse(name)
            except ValueError as error:
                found.faults.append(f"{path.relative_to(root)}: {error}; correct the name or remove the file")
                continue
            other = found.paths.setdefault(clip, {}).setdefault(modality, path)
            if other is not path:
                both = f"{other.relative_to(root)} and {path.relative_to(root)}"
                found.faults.append(f"{both} are two files of one clip; remove one")
    return found


def file_of(kind: str, paths: Mapping[int, Path]) -> Path:
    """The file of a clip that "sound" or "film" is taken from.

    Args:
        kind: which of the two; there must be a file with it.
        paths: of the clip, by modality.
    """
    return next(paths[modality] for modality in _SOURCES[kind] if modality in paths)


def account_of(
    root: Path, clips: Sequence[Clip], channels: Sequence[str], classes: int, each: int, train: int, test: int
) -> list[str]:
    """What was read, and what the release has besides of the same actors, for `Source.account`.

    Args:
        root: where the files lie.
        clips: that are used.
        channels: names of those that are used.
        classes: number of emotions.
        each: rows of a clip.
        train: clips in the training set, held-out ones included.
        test: clips in the test set.
    """
    actors, there = sorted({clip.actor for clip in clips}), set(clips)
    missing = [
        clip
        for name in channels
        for actor in actors
        for clip in published(CHANNELS.index(name) + 1, actor, range(1, classes + 1))
        if clip not in there
    ]
    unit = f"{each} frames of each" if each > 1 else "a row of each"
    lines = [
        f"{root}: {len(clips):,} clips of {' and '.join(channels)} by {len(actors)} actors, {unit}; {train:,} to train on or "
        f"hold out, {test:,} to test"
    ]
    if missing:
        lines.append(
            f"{len(missing):,} more clips that the release has of these actors are not there, the first {missing[0].key}; "
            "noisylab data check RAVDESS names all"
        )
    return lines


def published(channel: int, actor: int, emotions: Iterable[int] | None = None) -> list[Clip]:
    """The clips of an actor in the release: 60 spoken ones, and 44 songs of all but one actor.

    Args:
        channel: 1 for speech, 2 for song.
        actor: 1 to 24.
        emotions: only these, from 1; `None` for all.
    """
    if channel == 2 and actor == _NO_SONGS:
        return []
    kinds = range(1, (_SUNG if channel == 2 else len(EMOTIONS)) + 1)
    return [
        Clip(actor, channel, emotion, intensity, statement, repetition)
        for emotion in (kinds if emotions is None else [kind for kind in kinds if kind in set(emotions)])
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def report_on(root: Path) -> ReleaseReport:
    """See `RAVDESS.check_release`."""
    report, found = ReleaseReport("RAVDESS", root), find(root)
    report.faults += found.faults
    if not found.paths:
        report.missing.append("03-01-01-01-01-01-01.wav ...: files of the release, in folders of any names")
    for channel, kind in enumerate(CHANNELS, 1):
        release = [clip for actor in range(1, ACTORS + 1) for clip in published(channel, actor)]
        for modality, what in enumerate(MODALITIES, 1):
            there = {clip for clip, paths in found.paths.items() if clip.channel == channel and modality in paths}
            if not there:
                report.notes.append(f"no {kind}, {what} ({len(release):,} files in the release)")
                continue
            report.counts.append((f"{kind}, {what}", len(there), len(release)))
            report.missing += _missing(release, there, modality, f"{kind}, {what}")
            beyond = sorted(there - set(release))
            report.faults += [f"{clip.key} ({kind}, {what}) is not in the release; correct its name" for clip in beyond]
    if found.others:
        report.notes.append(f"{found.others:,} other files, which are not read")
    return report


def _missing(release: Sequence[Clip], there: set[Clip], modality: int, what: str) -> list[str]:
    """A line for each missing file, or for each actor of whom there is none."""
    lines = []
    for actor in range(1, ACTORS + 1):
        mine = [clip for clip in release if clip.actor == actor]
        gone = [clip for clip in mine if clip not in there]
        if gone and len(gone) == len(mine):
            lines.append(f"Actor_{actor:02d}: all {len(mine)} files of {what}")
        else:
            lines += [f"{modality:02d}-{clip.key}.{'wav' if modality == 3 else 'mp4'}: {what}" for clip in gone]
    return lines
