"""RAVDESS: emotions in speech and song, from the sound and films of the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from noisylab.arguments import AtLeastOne, Count, check_arguments
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.caches import folder_of
from noisylab.data.digests import digest_of
from noisylab.data.media.cache import Decoded
from noisylab.data.media.rows import level_of
from noisylab.data.named.ravdess_decoding import decode_films, decode_sound
from noisylab.data.named.ravdess_files import ACTORS, CHANNELS, EMOTIONS, Clip, Files, account_of, file_of, find, report_on
from noisylab.data.named.ravdess_rows import INPUTS, clip_rows, stores_of
from noisylab.data.release import NamedRelease, ReleaseReport
from noisylab.data.rows import RowStore
from noisylab.data.scaling import Scaling, measure
from noisylab.transforms.autoaugment import AutoAugment
from noisylab.transforms.base import Compose, StrongView, View
from noisylab.transforms.contrastive import simclr_view
from noisylab.transforms.image import Normalize, RandomCropFlip
from noisylab.transforms.recordings import EachFrame, SpectrogramMask
from noisylab.transforms.views import IMAGENET_MEAN, IMAGENET_STD, checked_strong, feature_views

__all__ = ["RAVDESS"]


class RAVDESS(NamedRelease, NoisyDataModule):
    """Eight emotions, acted by 24 people in speech and song, from the files of the release (Livingstone, Russo, PLoS ONE 2018).

    `root` holds the unpacked archives; files are found by their names (``03-01-06-01-02-01-12.wav``: modality, channel, emotion,
    intensity, statement, repetition, actor) in whatever folders they lie. Spoken are 1,440 clips, 60 of each actor; sung are
    1,012, 44 of each actor but number 18, in the first six emotions. Films and sound are decoded once, see `cache`. Needs the
    extra ``noisylab[media]``.

    A row is a frame: a picture of the clip and the 0.96 s of sound around it, of which each clip has `frames_per_clip`. Frames of
    a clip have one true label; runs report accuracy by frame and by clip (``test/acc_frame``, ``test/acc_sample``). Where
    `inputs` names neither "image" nor "audio", a row is a clip. The inputs:

    - "image": (3, S, S), frame number floor((j + 1/2) n / F) of the n frames of the film, j = 0 to F - 1; its middle square, as
      high as it, resized to S pixels a side and kept as JPEG. In memory as uint8; normalized as for ImageNet.
    - "audio": (1, 64, 96), log-mel power in 64 bands from 20 to 7,600 Hz over 96 frames of 10 ms around the time of the picture,
      moved so that they lie within the clip. Where no pictures are read, they are around frame floor((j + 1/2) T / F) of the T
      frames of the spectrogram. Sound is taken from the wav file of the clip, else from its film; channels are averaged, it is
      resampled to 16 kHz, and silence at both ends (40 dB below the loudest 25 ms) is cut off but for 100 ms. A clip shorter than
      0.96 s has silence after it. Normalized by mean and standard deviation of the clips that are trained on.
    - "stats": (200,), of 40 cepstral coefficients over the clip: mean, deviation, deviation of the central difference of frames,
      minimum, maximum; each with zero mean and unit variance over the clips that are trained on.
    - "frames": (F, 3, S, S), all pictures of the clip.

    One input makes plain batches, several make batches of one input for each, by name. Views: "weak" mirrors pictures with
    probability 1/2 (those of "frames" all or none) and leaves the rest; "strong" changes pictures by AutoAugment, masks bands and
    time of spectrograms, and adds noise to statistics.

    Speakers are held apart: `test_actors` are the test set, `val_actors` are held out for validation, the others are trained on.
    With ``folds=K``, these two do not count: the actors, in their order, are cut into K groups of equal size if K divides their
    number (24 in six: 1 to 4, 5 to 8, ..., two men and two women in each), and are dealt otherwise; `val_fraction` then holds out
    whole actors.

    Args:
        root: folder of the files.
        inputs: of a row, by name, see above; what is not named is not decoded.
        classes: 8, or 6 for neutral, calm, happy, sad, angry and fearful, those that are sung and that the noise mapping
            "ravdess6" knows.
        channels: "speech", "song" or both; the speech of the release and its songs differ in prosody.
        frames_per_clip: F, rows of a clip.
        side: S, of the pictures, in pixels.
        actors: use only these, 1 to 24; `None` for all of whom there are files.
        val_actors: held out for validation; none with an empty list, and then `val_fraction` may hold out some.
        test_actors: the test set.
        padding: largest shift of pictures in the weak view, in pixels.
        strong: what the view "strong" does to pictures after shift and mirroring; `None` for AutoAugment.
        cache: folder for what was decoded; "auto" for ``$NOISYLAB_CACHE/media`` or, without that variable,
            ``~/.cache/noisylab/media``; `None` keeps nothing.
        val_by: see `NoisyDataModule`.
        noise_unit: "clip" gives all frames of a clip one wrong label; with "row", a frame's neighbors tell most of the truth.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, without files of the release.
        ValueError: in ``setup``, naming files with wrong names, clips that are there twice, clips without sound or film, and
            files that cannot be decoded.

    Example:
        >>> RAVDESS("nowhere", inputs=("image", "audio"), classes=6).num_classes
        6
    """

    path_arguments = ("root",)

    def __init__(
        self,
        root: str = "data/ravdess",
        inputs: tuple[str, ...] = ("audio",),
        classes: Literal[6, 8] = 8,
        channels: tuple[str, ...] = ("speech",),
        frames_per_clip: AtLeastOne = 10,
        side: AtLeastOne = 224,
        actors: tuple[int, ...] | None = None,
        val_actors: tuple[int, ...] = (17, 18, 19, 20),
        test_actors: tuple[int, ...] = (21, 22, 23, 24),
        padding: Count = 0,
        strong: StrongView | None = None,
        cache: str | None = "auto",
        val_by: Literal["sample", "group"] = "group",
        noise_unit: Literal["row", "clip"] = "clip",
        **kwargs: Any,
    ) -> None:
        super().__init__(val_by=val_by, noise_unit=noise_unit, **kwargs)
        numbers = {"classes": classes, "frames_per_clip": frames_per_clip, "side": side, "padding": padding}
        check_arguments(type(self), numbers)
        _check_names("inputs", inputs, INPUTS)
        _check_names("channels", channels, CHANNELS)
        if classes == 8 and tuple(channels) == ("song",):
            raise ValueError("channels=['song'] has six emotions; set classes=6")
        for name, given in (("actors", actors or ()), ("val_actors", val_actors), ("test_actors", test_actors)):
            if any(not 1 <= actor <= ACTORS for actor in given) or len(set(given)) < len(given):
                raise ValueError(f"{name} must name actors of 1 to {ACTORS}, none twice, got {list(given)}")
        both = set(val_actors) & set(test_actors)
        if both:
            raise ValueError(f"val_actors and test_actors both name {sorted(both)}; no speaker may be in both")
        self.root, self.inputs, self.classes, self.channels = Path(root), tuple(inputs), classes, tuple(channels)
        self.frames_per_clip, self.side, self.padding, self.cache = frames_per_clip, side, padding, cache
        self.actors = None if actors is None else tuple(actors)
        self.val_actors, self.test_actors = tuple(val_actors), tuple(test_actors)
        self.strong = checked_strong(strong)
        self._measured: dict[str, Any] = {}
        self._decoded: dict[str, list[Decoded]] | None = None
        self._contents: tuple[list[bytes], list[bytes]] = ([], [])

    @property
    def source_classes(self) -> int:
        """As given."""
        return self.classes

    @property
    def held_out(self) -> str:
        """The actors, or the share that `val_fraction` says."""
        if self.folds or not self.val_actors:
            return super().held_out
        return f"actor{'s' * (len(self.val_actors) > 1)} {', '.join(map(str, self.val_actors))}"

    @property
    def _rows_per_clip(self) -> int:
        return self.frames_per_clip if {"image", "audio"} & set(self.inputs) else 1

    def prepare_data(self) -> None:
        """Decode once for all processes of a machine."""
        if self.cache is not None and self._source is None:
            self._decoded = self._decode(self._clips)

    def load(self) -> Source:
        """Find, decode and divide the clips."""
        clips = self._clips
        decoded, self._decoded = self._decoded or self._decode(clips), None
        actor = torch.tensor([clip.actor for clip in clips])
        train, test = torch.arange(len(clips)), torch.arange(0)
        if not self.folds:
            test = torch.isin(actor, torch.tensor(self.test_actors, dtype=torch.int64)).nonzero().flatten()
            train = train[~torch.isin(train, test)]
        self._contents = self._sources_of(decoded, train), self._sources_of(decoded, test)
        self._measured = {} if self.adopted is None else dict(self.adopted["measured"])
        each, names = self._rows_per_clip, [self._names_of(clip) for clip in clips]
        emotion = torch.tensor([clip.emotion - 1 for clip in clips])
        clip, rows_of = torch.arange(len(train)).repeat_interleave(each), emotion[train].repeat_interleave(each)
        source = Source(
            train=self._rows(decoded, train),
            given=rows_of,
            clean=rows_of,
            class_names=EMOTIONS[: self.classes],
            group=actor[train].repeat_interleave(each),
            clip=clip,
            names=[name for row in train.tolist() for name in names[row]],
            account=account_of(self.root, clips, self.channels, self.classes, each, len(train), len(test)),
        )
        if len(test):
            source.test = self._rows(decoded, test)
            source.test_target = emotion[test].repeat_interleave(each)
            source.test_clip = torch.arange(len(test)).repeat_interleave(each)
            source.test_names = [name for row in test.tolist() for name in names[row]]
        assert source.group is not None
        if self.folds:
            source.fold = _equal_parts(source.group, self.folds)
        elif self.val_actors:
            source.held = torch.isin(source.group, torch.tensor(self.val_actors)).nonzero().flatten()
        self._check_parts(actor)
        return source

    # ---- finding and decoding

    @cached_property
    def _files(self) -> Files:
        return find(self.root).refused(self.root)

    @cached_property
    def _clips(self) -> list[Clip]:
        """The clips that are used, by actor, each with all that the inputs need."""
        needs = {"sound": bool({"audio", "stats"} & set(self.inputs)), "film": bool({"image", "frames"} & set(self.inputs))}
        return self._files.choose(
            self.root, self.channels, self.classes, self.actors, [kind for kind, needed in needs.items() if needed]
        )

    def _decode(self, clips: Sequence[Clip]) -> dict[str, list[Decoded]]:
        """What came of the sound and of the film of each clip, as far as they are needed."""
        folder, there = folder_of(self.cache, "media"), [self._files.paths[clip] for clip in clips]
        found: dict[str, list[Decoded]] = {}
        if {"audio", "stats"} & set(self.inputs):
            found["sound"] = decode_sound([file_of("sound", paths) for paths in there], folder)
        if {"image", "frames"} & set(self.inputs):
            found["film"] = decode_films([file_of("film", paths) for paths in there], folder, self.frames_per_clip, self.side)
        return found

    def _names_of(self, clip: Clip) -> list[str]:
        each = self._rows_per_clip
        return [clip.key] if each == 1 else [f"{clip.key}#{frame}" for frame in range(each)]

    def _check_parts(self, actor: Tensor) -> None:
        """Refuse a validation or test set without a clip."""
        for name, wanted in (("val_actors", self.val_actors), ("test_actors", self.test_actors)):
            if wanted and not self.folds and not bool(torch.isin(actor, torch.tensor(wanted)).any()):
                raise ValueError(
                    f"{name} names {list(wanted)}, of whom there is no clip; there are clips of "
                    f"{', '.join(map(str, actor.unique().tolist()))}: name some of these, or none with []"
                )

    def _sources_of(self, decoded: Mapping[str, Sequence[Decoded]], clips: Tensor) -> list[bytes]:
        """What the rows of some clips are made of."""
        settings = [f"{self.inputs} {self.frames_per_clip} {self.side if 'film' in decoded else ''}".encode()]
        used = [f"{kind} {part[row].sha256}".encode() for kind, part in decoded.items() for row in clips.tolist()]
        return settings + used if used else []

    def _rows(self, decoded: Mapping[str, Sequence[Decoded]], clips: Tensor) -> RowStore:
        """The inputs of some clips."""
        chosen = {kind: [part[row].arrays for row in clips.tolist()] for kind, part in decoded.items()}
        return clip_rows(self.inputs, chosen.get("sound", []), chosen.get("film", []), self._rows_per_clip, self.side)

    # ---- what is measured, and views

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Measure spectrograms and statistics on the clips that are trained on, unless a model's record prescribes it."""
        assert source.clip is not None
        clips = source.clip[rows].unique()
        parts = stores_of(source.train, self.inputs)
        if "audio" in parts and "audio" not in self._measured:
            self._measured["audio"] = level_of(parts["audio"], rows)
        if "stats" not in parts:
            return
        if "stats" not in self._measured:
            self._measured["stats"] = measure(parts["stats"].values, True, clips).state()
        scaling = Scaling.of(self._measured["stats"])
        for store in {id(store): store for store in (source.train, source.test) if store is not None}.values():
            part = stores_of(store, self.inputs)["stats"]
            part.values = scaling(part.values, "stats")

    def measured(self) -> dict[str, Any]:
        """Mean and deviation of spectrograms; how statistics are scaled."""
        return self._measured

    def input_views(self) -> tuple[str, ...]:
        """As given."""
        return self.inputs

    def digests(self) -> tuple[str, str | None]:
        """Digests of the content of the files that were decoded, with the settings that they were decoded by."""
        train, test = map(digest_of, self._contents)
        return train, test if self._contents[1] else None

    def noise_inputs(self, source: Source) -> Tensor | None:
        """None: noise is drawn for clips."""
        return None

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        return super().blank()

    def view_set(self) -> Mapping[str, Any]:
        """Views of each input, known once the clips are read; with several inputs, a mapping with the transform of each."""
        if "audio" in self.inputs and "audio" not in self._measured:
            raise RuntimeError("the views depend on the spectrograms, which are not read yet; call setup() first")
        each = {name: self._views_of(name) for name in self.inputs}
        first = next(iter(each.values()))
        return first if len(each) == 1 else {view: {name: views[view] for name, views in each.items()} for view in first}

    def _views_of(self, name: str) -> dict[str, View]:
        if name == "stats":
            return feature_views()
        if name == "audio":
            level = self._measured["audio"]
            normalize = Normalize((level["mean"] / 255,), (level["std"] / 255,))
            masked = Compose(normalize, SpectrogramMask())
            return {"weak": normalize, "strong": masked, "simclr": masked, "eval": normalize}
        normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        crop = RandomCropFlip(self.padding)
        views: dict[str, View] = {
            "weak": Compose(crop, normalize),
            "strong": Compose(crop, self.strong or AutoAugment(), normalize),
            "simclr": simclr_view(normalize, flip=0.5),
            "eval": normalize,
        }
        return {view: EachFrame(one) for view, one in views.items()} if name == "frames" else views

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Count the files by modality and channel, and name those that are missing, wrong or there twice.

        The release is fetched in parts: where there is no file of a modality and channel, nothing is missing; a note says so.
        """
        return report_on(Path(root))


def _check_names(argument: str, given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown or not given or len(set(given)) < len(given):
        raise ValueError(f"{argument} must name at least one of {', '.join(known)}, and none twice, got {list(given)}")


def _equal_parts(group: Tensor, folds: int) -> Tensor | None:
    """(N,) part of each row: the groups in their order, cut into parts of equal size; `None` where that cannot be."""
    found, number = torch.unique(group, return_inverse=True)
    return None if len(found) % folds else number // (len(found) // folds)
