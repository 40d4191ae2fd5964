"""Data sets that need not fit in memory: packs that `noisylab data pack` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.arguments import Count, Range, check_arguments
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.identity import depth_from, no_rows
from noisylab.data.mirrored import decided, small_files, small_pictures, some_rows
from noisylab.data.pictures import Depth
from noisylab.data.rows import FileRows, RowStore
from noisylab.data.shards.manifest import Manifest, PackError
from noisylab.data.shards.reader import ShardReader
from noisylab.data.shards.rows import PackedPictures, ShardRows
from noisylab.data.shards.store import PackFiles, Verify
from noisylab.data.textcolumn import TextColumn
from noisylab.engine.blockorder import RowBlocks
from noisylab.transforms.base import Compose, StrongView
from noisylab.transforms.features import Standardize
from noisylab.transforms.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ViewsBy,
    check_image_views,
    check_views_by,
    checked_strong,
    feature_views,
    image_views,
    web_views,
)

__all__ = ["Shards"]

_SIZE = 224  # pixels a side that a network sees of pictures
_MAPPED = 4  # shards: more would only count as memory of the process, as the system keeps the files it has room for
_FEW = 0.5  # share of the classes that a shard would hold in a random order, below which it holds few


class Shards(NoisyDataModule):
    """Rows of a pack, which ``noisylab data pack`` has written: more than fit in memory, on a disk or in an object store.

    A pack of pictures holds the files as they were; `num_workers` processes open them with the views of `web_views`. A pack of
    arrays holds rows of one shape, uint8 or float32: images (C, H, W) of one or three channels have the views of `image_views`,
    vectors those of `feature_views` after each feature was brought to mean 0 and deviation 1, as measured on all rows when they
    were packed. They are read from the shards batch by batch and stay there, but for a GPU with room for all (`residency`).

    Labels, true labels, groups and clips are columns of the pack, so noise, held-out rows, subsets, folds, trusted rows and few
    labels are as for every data set. Rows keep their numbers.

    **Order of an epoch.** Rows in a random order over all shards would be read from all over the disk. So the shards are put in a
    random order, `shuffle_blocks` of them at a time make a window, and the rows of a window are in a random order of their own,
    window after window. Both are drawn from (seed, epoch): a resumed run, and any number of ranks, see the same order. Two rows
    meet in a batch only if their shards come to be in one window, so rows that lie class by class in the pack make poor batches;
    ``noisylab data pack`` shuffles them for good, unless told not to, and a note says so where few classes are in a shard. Where
    a window holds all shards every order is equally likely, as for data in memory.

    Args:
        path: folder of the pack, or its address, as ``s3://bucket/folder``; needs the extra ``shards``.
        test_path: pack of the test rows; `None` for the folder ``test`` of the pack, if it is there.
        shuffle_blocks: shards whose rows are mixed at once; `None` for all of them.
        verify: which files are compared with their digests before training: "once" those that have changed since they were found
            right, "always" all, "size" none, sizes apart. Files from an object store are compared when they are fetched.
        size: side of the square that a network sees of pictures, in pixels; 224 if not given.
        resize: length of the shorter side of pictures before that is cut out; `None` for 8/7 of `size`.
        mean: per channel, of pixels in [0, 1]; `None` for ImageNet's of pictures, and of arrays for that of all rows.
        std: likewise.
        padding: largest shift of the random crop of image arrays, in pixels.
        flip: probability of mirroring; `None` for 0 of arrays with one channel, else for 0.5 where a test finds that mirrored
            images keep their class.
        strong: what the view "strong" does after crop and flip, see `ImageFolder`.
        views: who makes the views of pictures, "pil" or "device", see `web_views`.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, where there is no pack.
        PackError: in ``setup``, naming a shard that is missing, damaged or of another pack, or a column of another length;
            and for another version of the format.
    """

    path_arguments = ("path", "test_path")

    def __init__(
        self,
        path: str,
        test_path: str | None = None,
        shuffle_blocks: Annotated[int, Range(1, whole=True, none="all shards")] | None = 16,
        verify: Literal["once", "always", "size"] = "once",
        size: Annotated[int, Range(1, whole=True, none="224 pixels")] | None = None,
        resize: Annotated[int, Range(1, whole=True, none="8/7 of size")] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        padding: Count = 4,
        flip: float | None = None,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        numbers = {"shuffle_blocks": shuffle_blocks, "size": size, "resize": resize, "padding": padding}
        check_arguments(type(self), numbers)
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got mean={mean}, std={std}; give both or neither")
        check_image_views(mean, std, padding, flip)
        if verify not in ("once", "always", "size"):
            raise ValueError(f"verify must be 'once', 'always' or 'size', got {verify!r}")
        self.path, self.test_path, self.shuffle_blocks = str(path), test_path, shuffle_blocks
        self.verify: Verify = verify
        self.size, self.resize, self.mean, self.std = size, resize, mean, std
        self.padding, self.flip, self.strong = padding, flip, checked_strong(strong)
        self.views = check_views_by(views)
        self._measured: dict[str, Any] = {}

    @property
    def source_classes(self) -> int:
        """The number of classes, by the manifest alone."""
        return len(self._files.manifest.class_names)

    @cached_property
    def _files(self) -> PackFiles:
        return PackFiles(self.path)

    @cached_property
    def _test_files(self) -> PackFiles | None:
        if self.test_path is not None:
            return PackFiles(self.test_path)
        return PackFiles(f"{self._files.place}/test") if self._files.manifest.has_test else None

    @property
    def depth(self) -> Depth | None:
        """Bits that pictures are scaled by."""
        return depth_from(self._files.manifest.measured.get("depth"))

    def load(self) -> Source:
        """Check the files and open the columns; no row is read."""
        files, test = self._files, self._test_files
        manifest = files.manifest
        for one in (files, test):
            if one is not None:
                one.check(self.verify)
        columns = {name: _column(files, name) for name in ("given", "clean", "group", "clip")}
        given = columns["given"]
        assert given is not None
        store = self._rows_of(files)
        keep = len(manifest.shards) if self.shuffle_blocks is None else self.shuffle_blocks
        source = Source(
            train=store,
            given=given,
            class_names=manifest.class_names,
            clean=columns["clean"],
            group=columns["group"],
            clip=columns["clip"],
            names=_names(files),
            unlabeled=True,
            account=[*manifest.account, *_told(files, given, keep)],
            blocks=RowBlocks(torch.from_numpy(_reader_of(store).starts[:-1]), keep),
        )
        if test is not None:
            _check_test(manifest, test)
            source.test, source.test_target = self._rows_of(test), _column(test, "given")
            source.test_clip, source.test_names = _column(test, "clip"), _names(test)
        self._measured = {} if self.adopted is None else dict(self.adopted["measured"])
        return source

    def _rows_of(self, files: PackFiles) -> RowStore:
        if files.manifest.kind == "arrays":  # many rows at once, from one shard after the other
            return ShardRows(ShardReader(files, _MAPPED))
        reader = ShardReader(files, _MAPPED if self.shuffle_blocks is None else self.shuffle_blocks + 2)
        names = _names(files)
        assert names is not None
        truncated = bool(files.manifest.measured.get("allow_truncated"))
        pictures = PackedPictures(reader, names)
        return FileRows(pictures, {}, num_workers=self.num_workers, allow_truncated=truncated, depth=self.depth)

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Test whether images are mirrored, unless a model's record says it."""
        if not self._measured:
            self._measured = {**self._statistics(), **self._flip(source, rows, given)}
        for store in (source.train, source.test):
            if isinstance(store, FileRows):
                store.views = dict(self.view_set())

    def _statistics(self) -> dict[str, Any]:
        found = self._files.manifest.measured
        if self.mean is not None and self.std is not None:
            return {"mean": list(self.mean), "std": list(self.std)}
        if self._files.manifest.kind == "pictures":
            return {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
        return {"mean": list(found["mean"]), "std": list(found["std"])}

    def _flip(self, source: Source, rows: Tensor, given: Tensor) -> dict[str, float]:
        store = source.train
        looked = some_rows(rows[given[rows] >= 0])
        if isinstance(store, FileRows):
            return decided(self.flip, 3, partial(_small, store, looked), given[looked], source)
        assert isinstance(store, ShardRows)
        if len(store.shape) != 3:
            return {}
        return decided(self.flip, store.shape[0], lambda: small_pictures(store.gather(looked)), given[looked], source)

    def measured(self) -> dict[str, Any]:
        """Statistics of the pixels or features, and the probability of mirroring."""
        return self._measured

    def digests(self) -> tuple[str, str | None]:
        """The names of the packs, which are digests of all that is in them."""
        test = None if self._test_files is None or self.folds else self._test_files.manifest.id
        return self._files.manifest.id, test

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        if self.adopted["row"] is None:
            return FileRows([], self.view_set(), num_workers=self.num_workers)
        return no_rows(self.adopted)

    def view_set(self) -> Mapping[str, Any]:
        """Views of pictures, of image arrays or of vectors; known once the pack is open."""
        found = self._measured
        if not found:
            raise RuntimeError("the views depend on the pack, which is not open yet; call setup() first")
        mean, std = tuple(found["mean"]), tuple(found["std"])
        if "flip" not in found:
            scaled = Standardize(mean, std)
            return {name: Compose(scaled, view) for name, view in feature_views().items()}
        if self._pictures:
            size = _SIZE if self.size is None else self.size
            resize = round(size * 8 / 7) if self.resize is None else self.resize
            return dict(web_views(resize, size, mean, std, self.strong, self.views, found["flip"]))
        return dict(image_views(mean, std, self.padding, found["flip"], self.strong))

    @property
    def _pictures(self) -> bool:
        return self.adopted["row"] is None if self.adopted is not None else self._files.manifest.kind == "pictures"


def _small(store: FileRows, rows: Tensor) -> Tensor:
    return small_files([store.paths[row] for row in rows.tolist()], store.allow_truncated, store.depth)


def _reader_of(store: RowStore) -> ShardReader:
    if isinstance(store, ShardRows):
        return store.reader
    assert isinstance(store, FileRows) and isinstance(store.paths, PackedPictures)
    return store.paths.reader


def _column(files: PackFiles, name: str) -> Tensor | None:
    """(N,) int64 of a column; `None` where the pack has none of that name.

    Raises:
        PackError: for one of another length than there are rows.
    """
    part = files.manifest.columns.get(name)
    if part is None:
        return None
    values = np.load(files.path(part), mmap_mode="r", allow_pickle=False)
    rows = files.manifest.num_rows
    if values.shape != (rows,):
        raise PackError(
            f"{part.file} of the pack {files.place} has {len(values):,} entries for {rows:,} rows; pack the data again"
        )
    return torch.from_numpy(values.astype(np.int64))


def _names(files: PackFiles) -> TextColumn | None:
    columns, rows = files.manifest.columns, files.manifest.num_rows
    if "names.text" not in columns:
        return None
    paths = [files.path(columns[f"names.{end}"]) for end in ("text", "ends")]
    column = TextColumn.open(str(paths[0]).removesuffix(".text.npy"))
    if len(column) != rows:
        raise PackError(f"the pack {files.place} has {len(column):,} names for {rows:,} rows; pack the data again")
    return column


def _check_test(train: Manifest, test: PackFiles) -> None:
    """Refuse test rows of another form, or with other classes, than the training rows."""
    other = test.manifest
    if (other.kind, other.row) != (train.kind, train.row):
        raise PackError(
            f"{test.place} holds {other.kind} {other.row or ''}, the training pack {train.kind} {train.row or ''}; pack both "
            "alike"
        )
    if other.class_names != train.class_names:
        raise PackError(
            f"{test.place} has the classes {', '.join(other.class_names[:5])} ..., the training pack "
            f"{', '.join(train.class_names[:5])} ...; pack both with the same classes in the same order"
        )


def _told(files: PackFiles, given: Tensor, window: int) -> list[str]:
    """What a user is told of the pack, and of shards that hold few classes where not all are mixed."""
    manifest = files.manifest
    shards = len(manifest.shards)
    total = sum(shard.size for shard in manifest.shards)
    lines = [
        f"{files.place}: {manifest.num_rows:,} {manifest.kind} in {shards:,} shard{'s' * (shards > 1)}, {total / 2**30:.2f} GiB"
    ]
    if shards > window:
        parts = [part[part >= 0] for part in given.split([shard.rows for shard in manifest.shards])]
        held = sum(len(torch.unique(part)) for part in parts) / shards
        share = torch.bincount(given[given >= 0]).double() / max(int((given >= 0).sum()), 1)
        random = sum(float((1 - (1 - share) ** len(part)).sum()) for part in parts) / shards
        if held < _FEW * random:
            lines.append(
                f"a shard holds {held:.1f} of {len(manifest.class_names)} classes on average, in a random order it would hold "
                f"{random:.1f}, and {window} of {shards} shards are mixed at once (shuffle_blocks): batches will hold few "
                "classes. Pack the data again in a random order, or mix more shards"
            )
    return lines
