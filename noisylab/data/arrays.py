"""Your own arrays: images, feature vectors, or several views of the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Literal, TypeGuard

import numpy as np
import torch
from torch import Tensor

from noisylab.data.arrayfile import ArrayFile, check_lengths, read_views, sample_shape
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import rows_digest
from noisylab.data.folders import listed
from noisylab.data.labels import Array, LabelNames, one_row, read_labels
from noisylab.data.mirrored import decided, small_pictures, some_rows
from noisylab.data.missing import Missing, Unlabeled, doubtful
from noisylab.data.notes import note
from noisylab.data.rows import DenseRows, FileRows, MultiRows, RowStore, SparseRows
from noisylab.data.scaling import Scaling, check_standardize, measure, scale_parts
from noisylab.data.shards.rows import ShardRows
from noisylab.data.suspicions import repeated, row_digests
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import check_image_views, checked_strong, feature_views, image_views

__all__ = ["Arrays", "pixel_statistics"]


class Arrays(NoisyDataModule):
    """Training and test rows from an .npz file, or from a folder with one .npy file per array.

    What the names mean:

    - ``x``: the inputs; or ``x_<view>`` for each of several views of the same samples. Images are (N, H, W, C) or (N, C, H, W)
      with one or three channels, uint8, or float in [0, 1] (float color images are rounded to 8 bits). Feature vectors are
      (N, D). Rows of two sides, (N, H, W), are gray images if no side is below five and none longer than twice the other (four
      times in uint8); else, like windows of a time series, feature vectors. `Source.account` says which. A sparse matrix is
      ``x_<view>_data``, ``_indices``, ``_indptr`` and ``_shape``, or ``x_data`` ... if it is the only one, and stays sparse
      until a batch is built.
    - ``y``: (N,) labels as they are given, whole numbers or text. Their sorted values are the classes. Rows whose label is none
      (-1 among numbers, NaN, words such as ``NA``) are not trained on; the others keep their numbers.
    - ``y_true``, optional: the true labels, -1 or empty text where unknown. Only reports see them, and `noise` cannot be added.
    - ``group``, optional: the speaker or patient of each row, for ``val_by="group"``.
    - ``clip``, optional: the clip that each row is a frame of. Its rows share one true label; it is held out as a whole, wrong
      labels are drawn as ``noise_unit`` says, and ``test_clip`` makes runs log accuracy per clip, ``test/acc_sample``.
    - ``class_names``, optional: K names; ``y`` is then 0..K-1 or among the names.
    - ``test_x`` ..., ``test_y``, ``test_clip``, optional: the test rows. A file `test_path` may hold them with or without
      ``test_``.

    Names in other habits are known, too: ``x_train``, ``X_test``, ``train_images``, ``test_labels``, see
    `noisylab.data.arraynames.meant`; without test rows, ``x_val`` and ``y_val`` are the test rows. Other arrays are not read, and
    `Source.account` names them.

    Several views make batches of one input for each view, by name; one view makes plain batches. Images have the views of
    `image_views`, features those of `feature_views`. Validation rows have the given labels unless ``val_labels="clean"``.

    Args:
        path: the .npz file or folder.
        test_path: another one, with the test rows.
        views: names of the views to use, in this order; `None` for all, sorted by name.
        mean: per channel, of pixels in [0, 1]; `None` measures it on the training images.
        std: likewise.
        padding: largest shift of the random crop of images, in pixels.
        flip: probability of mirroring an image; `None` for 0 with one channel, and with three for 0.5 where a test finds that
            mirrored images keep their class, see `noisylab.data.mirrored.mirroring`.
        missing: labels that stand for no label: "auto" for -1 among whole numbers, NaN, and the words that pandas reads as none;
            "all" for empty text, too, which is refused otherwise; "none" to take every label for a class; or a list of labels.
        standardize: how feature vectors are scaled. "auto" measures it on the rows that are trained on (see
            `noisylab.data.scaling.measure`): columns of unequal size get zero mean and unit variance, others one common number
            if they need any. True gives each column of dense vectors zero mean and unit variance over all rows of the training
            set, held-out ones included. False leaves all as it is.
        strong: what the view "strong" does after crop and flip: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for AutoAugment of
            color images, and contrast and noise of gray ones. Feature vectors keep their own.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, without the file.
        ValueError: in ``setup``, naming the array that does not fit and the first row at fault.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/mine.npz", x=np.eye(6, 4), y=np.array(["cat", "dog"] * 3))
        ...     data = Arrays(f"{folder}/mine.npz")
        ...     data.setup()
        >>> data.num_classes, data.info.class_names, data.given_target.tolist()
        (2, ('cat', 'dog'), [0, 1, 0, 1, 0, 1])
    """

    path_arguments = ("path", "test_path")

    def __init__(
        self,
        path: str,
        test_path: str | None = None,
        views: list[str] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        padding: int = 4,
        flip: float | None = None,
        standardize: bool | Literal["auto"] = "auto",
        missing: Missing = "auto",
        strong: StrongView | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got mean={mean}, std={std}; give both or neither")
        check_image_views(mean, std, padding, flip)
        if views is not None and (not views or len(set(views)) < len(views)):
            raise ValueError(f"views must name at least one view and none twice, got {views}; leave it out for all")
        self.path, self.test_path, self.views = path, test_path, views
        self.mean, self.std, self.padding, self.flip = mean, std, padding, flip
        self.missing, self.strong = missing, checked_strong(strong)
        check_standardize(standardize)
        self.standardize = standardize
        self.read_as = ""
        self._measured: dict[str, dict[str, Any]] = {}
        self._digests: tuple[str, str | None] | None = None

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in the labels alone, which are read once."""
        return len(self._classes.names)

    @cached_property
    def _file(self) -> ArrayFile:
        return ArrayFile(self.path, habits=True)

    @cached_property
    def _classes(self) -> LabelNames:
        labels, gone = self._given
        return LabelNames.of(labels[~gone.mask], self._class_names, f"y in {self.path}")

    @cached_property
    def _given(self) -> tuple[Array, Unlabeled]:
        """The given labels, and which rows have none."""
        return read_labels(self._file["y"], f"y in {self.path}", self.missing, self._class_names)

    @property
    def _class_names(self) -> Array | None:
        return self._file["class_names"] if "class_names" in self._file.names else None

    def load(self) -> Source:
        """Read and check all arrays."""
        file, labels = self._file, self._classes
        sides: list[str] = []  # what rows of two sides were taken for
        train = read_views(file, "", self.views, sides)
        self.read_as = "; ".join(
            "rows as feature vectors, not gray pictures" if "not for" in line else "rows as gray pictures" for line in sides
        )
        check_lengths(file, "", train, [name for name in ("y", "y_true", "group", "clip") if name in file.names])
        test_file, prefix = self._test_file()
        test = {} if test_file is None else read_views(test_file, prefix, list(train))
        for name, rows in test.items():
            if sample_shape(rows) != sample_shape(train[name]):
                raise ValueError(
                    f"{prefix}x{'_' * bool(name)}{name} has rows of shape {sample_shape(rows)}, those of training have "
                    f"{sample_shape(train[name])}; prepare both alike"
                )
        said = self._given[1].told(f"y in {self.path}")
        if self._class_names is None and self.missing in ("auto", "all"):
            said += doubtful(labels.names, f"y in {self.path}")
        source = Source(
            train=_store(train),
            given=labels.numbers(self._given[0], f"y in {self.path}", skip=self._given[1].mask),
            class_names=labels.names,
            unlabeled=True,
        )
        if "y_true" in file.names:
            source.clean = labels.numbers(file["y_true"], f"y_true in {self.path}", unknown=True)
        source.group, source.clip = _numbers(file, "group"), _numbers(file, "clip")
        if test_file is not None:
            clip = f"{prefix}clip"
            check_lengths(test_file, prefix, test, [f"{prefix}y", *([clip] if clip in test_file.names else [])])
            source.test_clip = _numbers(test_file, clip)
            source.test = _store(test)
            where = f"{prefix}y in {test_file.path}"
            test_labels, gone = read_labels(test_file[f"{prefix}y"], where, self.missing, self._class_names)
            source.test_target = labels.numbers(test_labels, where, skip=gone.mask)
            said += gone.told(where)
            sides += repeated(row_digests(train), row_digests(test))
        for text in said:
            note(text)
        source.account += [*said, *sides, *_set_aside(file, test_file)]
        self._measured = {} if self.adopted is None else dict(self.adopted["measured"])
        return source

    def _test_file(self) -> tuple[ArrayFile | None, str]:
        if self.test_path is not None:
            file = ArrayFile(self.test_path, habits=True)
            return file, "test_" if "test_y" in file.names else ""
        named = any(name == "test_y" or name == "test_x" or name.startswith("test_x_") for name in self._file.names)
        return (self._file, "test_") if named else (None, "")

    def noise_inputs(self, source: Source) -> Tensor | None:
        """Images unchanged, features scaled by statistics of all rows, because noise is drawn before rows are held out."""
        rows = super().noise_inputs(source)
        if rows is None or rows.ndim != 2:
            return rows
        scaled = measure(rows, self.standardize, torch.arange(len(rows)))(rows, f"x in {self.path}")
        assert isinstance(scaled, Tensor)
        return scaled

    def digests(self) -> tuple[str, str | None]:
        """Digests of the arrays, before they are scaled."""
        return super().digests() if self._digests is None else self._digests

    def measured(self) -> dict[str, Any]:
        """For each input: how features are scaled, or the pixel statistics and the probability of mirroring."""
        return self._measured

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Measure pixels and columns, and scale the columns, unless a model's record prescribes it."""
        parts = _parts(source.train)
        if self.adopted is not None:
            _check_like_model(parts, self.adopted, self.path)
        tested = {} if source.test is None or source.test is source.train else _parts(source.test)
        if not self._measured:
            kept = torch.arange(len(source.given)) if self.standardize is True else rows
            for name, part in parts.items():
                self._measured[name] = measure(part, self.standardize, kept).state() if not _images(part) else self._pixels(part)
                if _images(part):
                    looked = some_rows(rows[given[rows] >= 0])
                    small = partial(small_pictures, part[looked])
                    if part.dtype == torch.uint8 and int(part.max()) <= 1:
                        where = f"x{'_' * bool(name)}{name} in {self.path}"
                        source.account.append(f"{where}: no pixel of 0..255 is above 1; if 1 is white, save it as 255")
                    self._measured[name] |= decided(self.flip, part.shape[1], small, given[looked], source)
        same = source.test is source.train
        if not all(_images(part) for part in parts.values()):  # scaled rows are no longer those of the file
            self._digests = rows_digest(source.train), None if source.test is None or same else rows_digest(source.test)
        for name, part in parts.items():
            if _images(part):
                continue
            scaling, where = Scaling.of(self._measured[name]), f"x{'_' * bool(name)}{name}"
            names = f"{where} in {self.path}", f"test_{where} in {self.test_path or self.path}"
            parts[name], scaled, said = scale_parts(scaling, part, tested.get(name), rows, names)
            if scaled is not None:
                tested[name] = scaled
            source.account += [*([f"{where}: {scaling.text}"] if scaling.text else []), *said]
        source.train = _store(parts)
        source.test = source.train if same else _store(tested) if tested else None

    def _pixels(self, images: Tensor) -> dict[str, Any]:
        mean, std = pixel_statistics(images) if self.mean is None or self.std is None else (self.mean, self.std)
        if len(mean) != images.shape[1] or len(std) != images.shape[1]:
            raise ValueError(
                f"mean={mean} and std={std} must have one value for each of {images.shape[1]} channels; leave both out to "
                "measure them"
            )
        return {"mean": list(mean), "std": list(std)}

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        return super().blank()

    def view_set(self) -> Mapping[str, Any]:
        """Views of images or features, known once the arrays are read; with several inputs, a mapping with the transform of
        each."""
        if not self._measured:
            raise RuntimeError("the views depend on the arrays, which are not read yet; call setup() first")
        each: dict[str, Mapping[str, Any]] = {
            name: image_views(tuple(found["mean"]), tuple(found["std"]), self.padding, found["flip"], self.strong)
            if "mean" in found
            else feature_views()
            for name, found in self._measured.items()
        }
        first = next(iter(each.values()))
        return dict(first) if len(each) == 1 else {view: {name: views[view] for name, views in each.items()} for view in first}


def pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units where white is 1.

    A channel of one gray level has the standard deviation 1, so that one can divide by it.

    Args:
        images: (N, C, H, W) uint8 in 0..255, or float in [0, 1].
    """
    top = 255.0 if images.dtype == torch.uint8 else 1.0
    total, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for start in range(0, len(images), 1024):
        pixels = images[start : start + 1024].double() / top
        total += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    size = images[:, 0].numel()
    mean = total / size
    std = (squares / size - mean.square()).clamp_min(0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist())


def _set_aside(file: ArrayFile, test_file: ArrayFile | None) -> list[str]:
    """What a user is told of arrays that are not read."""
    notes = [f"{one.path}: arrays that are not read: {listed(one.unread)}" for one in (file, test_file) if one and one.unread]
    if test_file is file:
        notes = notes[:1]
    if file.validation:
        notes.append(
            f"{file.path}: {listed(file.validation)} are not read: validation rows are held out of the training rows "
            "(val_fraction)"
        )
    tested = [file.stored(name) for name in file.names if name.startswith("test_")]
    if test_file is not None and test_file is not file and tested:
        notes.append(f"{file.path}: {listed(tested)} are not read: test_path is given")
    return notes


def _numbers(file: ArrayFile, name: str) -> Tensor | None:
    """(N,) int64: whole numbers as they are, text by its place among the sorted names; `None` where the array is not there."""
    if name not in file.names:
        return None
    array = one_row(file[name], f"{name} in {file.path}")
    values = np.unique(array, return_inverse=True)[1] if array.dtype.kind == "U" else array
    return torch.from_numpy(values.astype(np.int64))


def _images(rows: Tensor | SparseRows) -> TypeGuard[Tensor]:
    return isinstance(rows, Tensor) and rows.ndim == 4


def _check_like_model(inputs: Mapping[str, Tensor | SparseRows], fitted: Mapping[str, Any], path: str) -> None:
    """Refuse other inputs than those of a model, by name and by shape.

    Args:
        inputs: by name.
        fitted: record of the model.
        path: where the inputs come from.

    Raises:
        ValueError: naming what the model was trained on.
    """
    advice = "give the model data prepared as those were, or train on these in a new run"
    there, known = ([f"x{'_' * bool(name)}{name}" for name in sorted(names)] for names in (inputs, fitted["measured"]))
    if there != known:
        raise ValueError(f"{path} has the inputs {', '.join(there)}, but the model was trained on {', '.join(known)}; {advice}")
    for name, rows in inputs.items():
        shape, columns = sample_shape(rows), len(fitted["measured"][name].get("middle", (0,)))
        trained = tuple(fitted["row"]["shape"]) if fitted["row"] else (columns,) if columns > 1 else shape
        if shape != trained:
            raise ValueError(
                f"x{'_' * bool(name)}{name} in {path} has rows of shape {shape}, but the model was trained on rows of shape "
                f"{trained}; {advice}"
            )


def _parts(store: RowStore) -> dict[str, Tensor | SparseRows]:
    """The inputs by name; those of `_store` again."""
    assert not isinstance(store, FileRows | ShardRows)
    stores = store.views if isinstance(store, MultiRows) else {"": store}
    parts: dict[str, Tensor | SparseRows] = {}
    for name, part in stores.items():
        assert isinstance(part, DenseRows | SparseRows)
        parts[name] = part.values if isinstance(part, DenseRows) else part
    return parts


def _store(inputs: Mapping[str, Tensor | SparseRows]) -> DenseRows | SparseRows | MultiRows:
    stores = {name: DenseRows(rows) if isinstance(rows, Tensor) else rows for name, rows in inputs.items()}
    return next(iter(stores.values())) if len(stores) == 1 else MultiRows(stores)
