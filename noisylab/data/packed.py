"""Images as JPEG bytes packed into one array file, and the splits of a semi-supervised study on them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisylab.arguments import Count, Range, check_arguments
from noisylab.data.arrayfile import ArrayFile
from noisylab.data.arrays import pixel_statistics
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.labels import Array
from noisylab.data.rows import DenseRows, RowStore
from noisylab.data.semi import StudySplit, study_split
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import check_image_views, checked_strong, cifar_views

__all__ = ["PackedImages"]


class PackedImages(NoisyDataModule):
    """Small color images of one size, as JPEG (or PNG) files one after the other in the arrays of an .npz file.

    The arrays are ``train_bytes`` (uint8), the files; ``train_offsets``, where each begins, and at the end their length;
    ``train_labels`` in 0..K-1; the same three with ``test_``; and ``class_names``.

    With `labeled`, the training rows are divided as in a semi-supervised study, class by class (`study_split`): of each class
    `validation` rows are held out, `labeled` ones have their label, `unlabeled` ones do not, and the rest is not read. They keep
    the order of the file and are numbered anew. A smaller `keep` takes the first labeled rows of each class only, with the same
    unlabeled and validation rows. Without it all rows are training rows, and `val_fraction` and `labels_per_class` divide them.

    Views: "weak" is a crop out of the image padded by `padding` pixels and a flip; "strong" adds the AutoAugment policy of
    CIFAR-10, or `strong`. Mean and standard deviation of the channels are measured on the rows read for training.

    Args:
        path: the .npz file.
        labeled: rows of each class that have their label; `None` for all rows.
        unlabeled: rows of each class that have none.
        validation: rows of each class held out for validation; at random by ``split_seed``, as the others.
        keep: labeled rows of each class that are used; `None` for all `labeled` ones.
        test_rows: the first rows of the test set alone; `None` for all.
        padding: largest shift of the crop, in pixels.
        strong: see `CIFAR10`.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, without the file.
        ValueError: in ``setup``, for another layout, an image that cannot be read, or a class with too few rows.
    """

    path_arguments = ("path",)

    def __init__(
        self,
        path: str,
        labeled: Annotated[int, Range(1, whole=True, none="all rows")] | None = None,
        unlabeled: Count = 0,
        validation: Count = 0,
        keep: Annotated[int, Range(1, whole=True, none="all labeled rows")] | None = None,
        test_rows: Annotated[int, Range(1, whole=True, none="all rows")] | None = None,
        padding: Count = 4,
        strong: StrongView | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = {"labeled": labeled, "unlabeled": unlabeled, "validation": validation, "keep": keep, "test_rows": test_rows}
        check_arguments(type(self), {**counts, "padding": padding})
        if labeled is None and (unlabeled or validation or keep is not None):
            raise ValueError(
                "unlabeled, validation and keep belong to labeled, the labeled rows of each class; set it, or divide the rows by "
                "val_fraction and labels_per_class"
            )
        check_image_views(None, None, padding)
        self.path, self.labeled, self.unlabeled, self.validation, self.keep = path, labeled, unlabeled, validation, keep
        self.test_rows, self.padding, self.strong = test_rows, padding, checked_strong(strong)
        self._measured: dict[str, Any] = {}

    @property
    def source_classes(self) -> int:
        """The number of names in the file."""
        return len(self._file["class_names"])

    @property
    def held_out(self) -> str:
        """Those of the study, or the share that `val_fraction` says."""
        return f"{self.validation} held-out rows of each class" if self.validation else super().held_out

    @cached_property
    def _file(self) -> ArrayFile:
        return ArrayFile(self.path)

    def load(self) -> Source:
        """Divide the rows and decode those that are used."""
        names = tuple(str(name) for name in self._file["class_names"].tolist())
        labels = torch.from_numpy(self._file["train_labels"].astype(np.int64))
        tested = torch.from_numpy(self._file["test_labels"].astype(np.int64))[: self.test_rows]
        rows, given, held = torch.arange(len(labels)), labels, None
        if self.labeled is not None:
            split = study_split(labels, self.validation, self.labeled, self.unlabeled, self.split_seed, self.keep)
            rows, given, held = _divided(split, labels)
        images = self._decoded("train", rows)
        if self.adopted is not None:
            self._measured = dict(self.adopted["measured"])
        else:
            mean, std = pixel_statistics(images)
            self._measured = {"mean": list(mean), "std": list(std)}
        source = Source(
            train=DenseRows(images),
            given=given,
            clean=labels[rows],
            test=DenseRows(self._decoded("test", torch.arange(len(tested)))),
            test_target=tested,
            class_names=names,
            unlabeled=self.labeled is not None,
            held=held,
        )
        if held is not None:
            parts = f"{self.keep or self.labeled} labeled, {self.unlabeled} unlabeled and {self.validation} validation rows"
            source.account.append(f"{self.path}: {len(rows):,} of {len(labels):,} rows, {parts} of each class")
        return source

    def _decoded(self, part: str, rows: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 pixels of rows of a part."""
        content, offsets = self._file[f"{part}_bytes"], self._file[f"{part}_offsets"]
        if content.dtype != np.uint8 or content.ndim != 1 or len(offsets) < 2 or int(offsets[-1]) > len(content):
            raise ValueError(
                f"{part}_bytes of {self.path} must be uint8, one row as long as {part}_offsets says; replace the file"
            )
        pixels: Array | None = None
        for place, row in enumerate(rows.tolist()):
            try:
                with Image.open(io.BytesIO(content[offsets[row] : offsets[row + 1]].tobytes())) as image:
                    values = np.asarray(image.convert("RGB"))
            except (OSError, ValueError, IndexError) as error:
                raise ValueError(f"{part} image {row} of {self.path} cannot be read ({error}); replace the file") from error
            if pixels is None:
                pixels = np.empty((len(rows), *values.shape), dtype=np.uint8)
            if values.shape != pixels.shape[1:]:
                raise ValueError(
                    f"{part} image {row} of {self.path} has the size {values.shape[1]} x {values.shape[0]}, the first one has "
                    f"{pixels.shape[2]} x {pixels.shape[1]}; pack images of one size"
                )
            pixels[place] = values
        assert pixels is not None, "a class has rows"
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def measured(self) -> dict[str, Any]:
        """Pixel statistics."""
        return self._measured

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        return super().blank()

    def view_set(self) -> Mapping[str, Any]:
        """Crop and flip, then AutoAugment or what was chosen; known once the images are read."""
        if not self._measured:
            raise RuntimeError("the views depend on the images, which are not read yet; call setup() first")
        return cifar_views(tuple(self._measured["mean"]), tuple(self._measured["std"]), self.padding, self.strong)


def _divided(split: StudySplit, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in the order of the file; the given label of each, -1 for unlabeled ones; and which of them are held out."""
    rows = torch.cat([split.validation, split.labeled, split.unlabeled]).sort().values
    given = torch.where(torch.isin(rows, split.unlabeled), -1, labels[rows])
    return rows, given, torch.isin(rows, split.validation).nonzero().flatten()
