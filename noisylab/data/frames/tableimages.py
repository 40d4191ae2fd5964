"""Pictures in a column of a table: files that it names, or files that it holds itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.digests import content_digests, digest_of
from noisylab.data.frames.columns import Columns, Media
from noisylab.data.frames.module import FrameData
from noisylab.data.frozen import FrozenFeatures, check_image_size
from noisylab.data.imagelist import ImageList, Sieve
from noisylab.data.mirrored import some_rows
from noisylab.data.pictures import Depth, StoredPicture
from noisylab.data.pixels import Load, Pixels
from noisylab.data.rows import DenseRows, FileRows, RowStore
from noisylab.data.suspicions import repeated
from noisylab.data.unlabeled import rows_like
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import ViewsBy, feature_views

__all__ = ["TableImages"]


class TableImages(FrameData):
    """Pictures in a column of a table, as pixels or as feature vectors of a frozen pretrained network.

    The column holds the pictures themselves (bytes of JPEG, PNG or other files, as parquet files of Hugging Face do), or paths
    relative to the folder of the table. As pixels they are kept and shown as by `ImageFolder`, as features as by `ImageFeatures`:
    turned as EXIF says, transparent parts white, channels of more than 8 bits scaled alike.

    Args:
        table: see `FrameData`.
        image: the column of the pictures.
        backbone: "none" for pixels; a network of `ImageFeatures`, or "auto" for the one at hand, for features.
        image_size: pixels a side that the backbone sees, see `ImageFeatures`.
        cache: folder for the features, see `ImageFeatures`.
        size: of the pictures as pixels, see `ImageFolder`, as for the next eight.
        resize: likewise.
        load: likewise.
        mean: likewise.
        std: likewise.
        padding: likewise.
        flip: likewise.
        strong: likewise.
        views: likewise.
        allow_truncated: see `ImageFolder`.
        skip_unreadable: leave out, with a warning, rows whose picture is missing or cannot be read to its end, instead of
            refusing the table. `skipped` names them, and the others keep their row ids.
        **kwargs: see `FrameData`.

    Raises:
        FileNotFoundError: in ``setup``, without the table or the weights.
        ValueError: in ``setup``, naming the rows at fault.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from noisylab.data.frames import Column, Columns
        >>> def png(gray):
        ...     file = io.BytesIO()
        ...     Image.new("L", (8, 6), gray).save(file, "PNG")
        ...     return Media(content=file.getvalue())
        >>> none = np.zeros(4, dtype=bool)
        >>> pictures = Column("image", [png(gray) for gray in (0, 90, 180, 250)], none)
        >>> labels = Column("text", ["dark", "dark", "light", "light"], none)
        >>> data = TableImages.of(Columns("photos", {"image": pictures, "label": labels}), flip=0.0)
        >>> data.setup()
        >>> data.source.train.values.shape
        torch.Size([4, 1, 6, 8])
    """

    shown_as: ClassVar[Literal["cells", "text", "image", "sound"]] = "image"

    def __init__(
        self,
        table: str,
        image: str = "image",
        backbone: str = "none",
        image_size: int | None = None,
        cache: str | None = "auto",
        size: int | None = None,
        resize: int | None = None,
        load: Load = "auto",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        padding: int = 4,
        flip: float | None = None,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        allow_truncated: bool = False,
        skip_unreadable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(table, **kwargs)
        check_image_size(image_size)
        self.image, self.backbone, self.image_size, self.cache = image, backbone, image_size, cache
        self.allow_truncated, self.skip_unreadable = allow_truncated, skip_unreadable
        self.pixels = Pixels(size, resize, load, mean, std, padding, flip, strong, views, allow_truncated)
        self.skipped: list[str] = []
        self._contents: list[list[bytes]] = []

    @cached_property
    def frozen(self) -> FrozenFeatures | None:
        """The network and the features of the pictures; `None` for pixels."""
        if self.backbone == "none":
            return None
        return FrozenFeatures(self.backbone, self.image_size, self.cache, self.allow_truncated, self.adopted)

    @property
    def num_features(self) -> int:
        """D, known without opening a picture.

        Raises:
            ValueError: for pixels.
        """
        if self.frozen is None:
            raise ValueError("backbone='none': rows are pictures, not feature vectors; name a backbone, or take another network")
        return self.frozen.network.num_features

    @property
    def depth(self) -> Depth | None:
        """The bits that pictures with more than 8 are scaled by. Needs ``setup``."""
        return self.pixels.depth if self.frozen is None else self.frozen.depth

    @property
    def image_paths(self) -> list[str]:
        """(N) files of the training pictures, or `StoredPicture`s where the table holds them. Needs ``setup``."""
        _ = self.source  # says if setup() has not run
        return self._read[0][0].paths

    def prepare_data(self) -> None:
        """Compute features once for all processes of a machine."""
        if self.frozen is not None and self.cache is not None and self._source is None:
            _ = self._read

    def input_columns(self, table: Columns) -> list[str]:
        """The column of the pictures."""
        column = table.named(self.image, "image")
        if column.kind not in ("image", "text"):
            holds = f"its columns of images are {', '.join(table.of_kind('image')) or 'none'}"
            raise ValueError(f"image={self.image!r}: that column of {table.where} holds no images or paths of images; {holds}")
        return [self.image]

    def load(self) -> Source:
        """Read the table and its pictures; leave out those that cannot be read, if that was asked for."""
        _ = self._classes  # of all rows, as a model was made for them before any picture was opened
        parts = self._read
        if self.skipped:
            train, test = self.tables
            found = [_kept(table, images) for table, (images, _) in zip((train, test), parts, strict=False) if table is not None]
            self.__dict__["tables"] = found[0], found[1] if len(found) > 1 else None
            self.__dict__.pop("_given", None)
        source = super().load()
        source.account += [line for images, _ in parts for line in images.notes]
        if len(self._contents) > 1:
            source.account += repeated(self._contents[0], self._contents[1], parts[1][0].names)
        return source

    def rows_of(self, table: Columns) -> RowStore:
        """Pixels or features of the training or the test table, or of another one after ``setup``."""
        for known, (_, store) in zip(self.tables, self._read, strict=False):
            if known is table:
                return store
        return self.prepared(table)

    def prepared(self, table: Columns) -> RowStore:
        """See `FrameData.prepared`; pictures that cannot be read are refused."""
        return rows_like(self.listed(table), self, Sieve())[0]

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Decide whether pixels are mirrored, or take it from the adopted model."""
        if self.frozen is None:
            self.pixels.fit(source, some_rows(rows[given[rows] >= 0]), given, self.adopted)

    def view_set(self) -> Mapping[str, Any]:
        """Views of pixels or of features."""
        return self.pixels.view_set() if self.frozen is None else feature_views()

    def measured(self) -> dict[str, Any]:
        """What was measured on the pictures."""
        return self.pixels.measured if self.frozen is None else self.frozen.measured()

    def digests(self) -> tuple[str, str | None]:
        """Digests of the content of the pictures."""
        found = [digest_of(contents) for contents in self._contents or map(content_digests, (p.paths for p, _ in self._read))]
        return found[0], found[1] if len(found) > 1 and not self.folds else None

    def blank(self) -> RowStore:
        """An empty set of pictures or of features."""
        assert self.adopted is not None
        if self.frozen is None:
            return self.pixels.blank(self.num_workers, self.adopted)
        self.frozen.blank()
        return super().blank()

    @cached_property
    def _read(self) -> list[tuple[ImageList, DenseRows | FileRows]]:
        """The training and perhaps the test pictures that can be read, with their rows."""
        sieve = Sieve(self.skip_unreadable)
        lists = [self.listed(table) for table in self.tables if table is not None]
        lists = [sieve.keep(images, _without(images)) for images in lists]
        if self.frozen is None:
            parts, stores = self.pixels.read(lists, sieve, self.num_workers, self.adopted)
            found = list(zip(parts, stores, strict=True))
            self._contents = [content_digests(images.paths) for images in parts]
        else:
            read = self.frozen.read(lists, sieve)
            found = [(images, self.frozen.scaled(features)) for images, features in read]
            self._contents = self.frozen.contents
        self.skipped = sieve.names
        sieve.warn()
        return found

    def listed(self, table: Columns) -> ImageList:
        """The pictures of a table as a list, without labels."""
        (name,) = self.input_columns(table)
        column = table.columns[name]
        values = column.values if column.kind == "image" else [Media(text or None) for text in column.texts()]
        folder = Path() if table.folder is None else table.folder
        files = [_file(media, row, folder) for row, media in enumerate(values)]
        names = [media.path or (f"image {row}" if table.ids is None else table.ids[row]) for row, media in enumerate(values)]
        where = f"the column {name} of {table.where}"
        return ImageList(folder, names, [""] * len(files), where, rows=list(range(len(files))), files=files)


def _file(media: Media, row: int, folder: Path) -> str:
    """The path of a picture, or the picture itself; empty where there is neither."""
    if media.content is not None:
        return StoredPicture(media.path or f"of row {row}", media.content)
    return str(folder / media.path) if media.path else ""


def _without(images: ImageList) -> list[str]:
    """(N) the fault of rows that name no picture and hold none."""
    there = [path or isinstance(path, StoredPicture) for path in images.paths]
    return ["" if found else f"{name} has no image" for name, found in zip(images.names, there, strict=True)]


def _kept(table: Columns, images: ImageList) -> Columns:
    """The rows of a table whose pictures could be read; they keep their ids, or their numbers as ids."""
    assert images.rows is not None
    if len(images) == len(table):
        return table
    ids = [str(row) for row in range(len(table))] if table.ids is None else table.ids
    return Columns(table.where, table.columns, ids, table.folder, table.account).take(np.array(images.rows, dtype=np.int64))
