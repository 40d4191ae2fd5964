"""The parent of every data module: labels, noise, splits and loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from noisylab.data.balanced import with_epoch_rows
from noisylab.data.checks import check_data_arguments
from noisylab.data.drawing import noisy_labels, told, without
from noisylab.data.finite import FirstBad, may_be_bad
from noisylab.data.identity import FittedData, with_classes
from noisylab.data.loaders import EvalLoader, build_in_chunks, build_in_workers, chunk_rows, open_in_workers
from noisylab.data.notes import note
from noisylab.data.partition import Split, SplitOptions, empty_split, split_rows
from noisylab.data.planned import planned
from noisylab.data.protocol import protocol_text
from noisylab.data.residency import Residency
from noisylab.data.rows import FileRows, RowStore, TensorStore, build_views
from noisylab.data.semi import LabelBudget, account_of_labels
from noisylab.data.softlabels import not_used, soft_rows
from noisylab.data.source import Source, check_clips, check_labels
from noisylab.data.trusted import TrustedRows, draw_trusted, read_trusted
from noisylab.engine.plan_loader import PlanLoader, ResolvedPlan
from noisylab.engine.ranks import batch_statistics, synchronized
from noisylab.noise import Noise, NoisyTargets
from noisylab.transforms.base import to_device
from noisylab.types import Batch, DataInfo, EvalBatch, Inputs, PlanBatch, StreamRows

__all__ = ["NoisyDataModule", "Source"]


class NoisyDataModule(FittedData):
    """A data set with label noise: subclasses read the files, this class does the rest.

    Noise is drawn first, for all N rows, from its own seed; held-out rows and subsets are chosen afterwards and never change a
    label. True labels are on `clean_target` for callbacks and never in a training batch.

    Args:
        noise: puts wrong labels in; `None` trains on the labels as they are.
        val_fraction: share of the training rows held out for validation, in [0, 1); 0 has none.
        val_labels: whether validation compares with the "given" or the "clean" labels.
        val_by: hold out single samples ("sample", stratified by given label) or whole groups ("group"). Where rows are frames of
            clips, a sample is a clip: none has rows on both sides.
        subset: keep this many training rows, and at most as many unlabeled, validation and test rows, stratified by given
            label.
        split_seed: names the choice of held-out rows, trusted rows, subsets and folds.
        folds: for data without test rows: divide the training rows into so many parts, the same for every method, noise and seed,
            stratified by true label or, where it is unknown, by given label; clips and, with ``val_by="group"``, groups stay
            whole. 0 for none.
        fold: number of the part that is the test set, from 0. It is compared with the true labels (with the given ones if none
            is known; otherwise rows of unknown truth do not count); `val_fraction` is of the other rows.
        trusted_per_class: so many rows of each class give up their given label for the true one and leave the training rows: the
            small trusted set that some methods learn to weight the others by. 0 for none.
        trusted_labels: a CSV file of such rows instead, with labels that were checked; see `read_trusted`.
        labels_per_class: so many training rows of each class, by given label, keep their label; the others lose it and become
            unlabeled rows, which semi-supervised methods learn from and others leave out. Held-out, trusted and test rows keep
            theirs, and `clean_target` all true labels. `None` keeps all labels. See `labeled_rows`.
        labels_total: so many in all instead.
        labels_balanced: of `labels_total`: as many of each class as possible, where False takes the shares of the training rows.
        labels_seed: names the choice of these rows; noise, splits and the run have seeds of their own.
        epoch_rows: train each epoch on so many rows alone, drawn anew with equal numbers of each given label, as papers do on
            Clothing1M; `None` for all. Rows that a method chooses itself are all used. See `with_epoch_rows`.
        noise_unit: what wrong labels are drawn for where rows are frames of clips: each "row", or each "clip", whose rows then
            have one given label; must be said there, as the two are different problems. Labels of `FromFile` belong to rows.
        batch_size: training samples a batch, over all ranks.
        eval_batch_size: samples a batch in evaluation, a rank.
        num_workers: worker processes that open image files; data in memory needs none.
        residency: where data in memory lies: "auto" on the training device if it takes at most half of the free memory there,
            else in the host's memory, from which chunks are copied; "device" and "host" force one.
        chunk_size: rows whose views are built at once, rounded up to whole batches; None for 2048, fewer of large inputs. It
            changes the speed and the memory needed, nothing else.
        memory_limit: GiB of what a method remembers of the samples that the host's memory may hold; more lies in a file on the
            disk of the run folder, with the same results. None for half of the machine's memory.
        seed: the run's seed, which keys every random draw of training; the command line sets it to ``seed_everything``.
    """

    row_names: ClassVar[str] = "file"
    """What names of its rows are, where it has any: "file", or "id" for those that a table has for its rows."""

    def __init__(
        self,
        noise: Noise | None = None,
        val_fraction: float = 0.0,
        val_labels: Literal["given", "clean"] = "given",
        val_by: Literal["sample", "group"] = "sample",
        subset: int | None = None,
        split_seed: int = 0,
        folds: int = 0,
        fold: int = 0,
        fold_labels: Literal["true", "given"] = "true",
        trusted_per_class: int = 0,
        trusted_labels: str | None = None,
        labels_per_class: int | None = None,
        labels_total: int | None = None,
        labels_balanced: bool = True,
        labels_seed: int = 0,
        epoch_rows: int | None = None,
        noise_unit: Literal["row", "clip"] | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        num_workers: int = 0,
        residency: Literal["auto", "device", "host"] = "auto",
        chunk_size: int | None = None,
        memory_limit: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "subset": subset, "chunk_size": chunk_size}
        parts = {"val_fraction": val_fraction, "folds": folds, "fold": fold, "noise_unit": noise_unit, "epoch_rows": epoch_rows}
        trusted = {"trusted_per_class": trusted_per_class, "trusted_labels": trusted_labels}
        check_data_arguments({**sizes, **parts, **trusted, "num_workers": num_workers, "memory_limit": memory_limit})
        self.label_budget = LabelBudget.of(labels_per_class, labels_total, labels_balanced, labels_seed)
        self.noise, self.val_fraction, self.val_labels, self.val_by = noise, val_fraction, val_labels, val_by
        self.noise_unit, self.trusted_per_class, self.trusted_labels = noise_unit, trusted_per_class, trusted_labels
        self.subset, self.split_seed, self.epoch_rows = subset, split_seed, epoch_rows
        self.folds, self.fold, self.fold_labels = folds, fold, fold_labels
        self.batch_size, self.eval_batch_size, self.num_workers, self.seed = batch_size, eval_batch_size, num_workers, seed
        self.chunk_size, self.memory_limit, self._residency = chunk_size, memory_limit, Residency(residency)
        self._unlabeled: RowStore | None = None
        self._first_bad = FirstBad()
        self.noisy: NoisyTargets | None = None
        self._soft: Tensor | None = None

    # ---- what a subclass says

    @property
    def source_classes(self) -> int:
        """Classes of the data as read; known before any file is read where the data set fixes it."""
        raise NotImplementedError

    def load(self) -> Source:
        """Read the data. Called once, by ``setup``."""
        raise NotImplementedError

    def view_set(self) -> Mapping[str, Any]:
        """Transform by view name; "eval" must be among them. Called once, by ``setup``, after `fit_inputs`."""
        raise NotImplementedError

    # ---- what everyone may ask

    @property
    def num_classes(self) -> int:
        """Number of classes of a model for this data."""
        classes = self.source_classes if self.adopted is None else len(self.adopted["classes"])
        return classes if self.noise is None else self.noise.num_classes(classes)

    @property
    def info(self) -> DataInfo:
        """What a method may know about the data. Needs ``setup``."""
        source = self.source
        given = self.given_target.clone()
        given[self._split.val] = -1
        given[self._split.trusted.rows] = -1
        given[self._split.fold] = -1
        return DataInfo(
            num_classes=self.num_classes,
            num_train=len(given),
            train_rows=self._split.train,
            given_target=given,
            class_names=source.class_names[: self.num_classes],
            batch_size=self.batch_size,
            seed=self.seed,
            num_val=len(self._split.val),
            trusted_rows=self._split.trusted.rows,
            trusted_target=self._split.trusted.target,
            unlabeled_rows=self._split.unlabeled,
            memory_limit=self.memory_limit,
            soft_target=self._soft,
        )

    @property
    def held_out(self) -> str:
        """The rows held out for validation, in words; empty if there are none; known before data is read."""
        return f"{self.val_fraction:.0%} held-out rows" if self.val_fraction else ""

    @property
    def mixable(self) -> bool:
        """Whether inputs can be mixed with each other, as mixup does; known before data is read."""
        return True

    @property
    def has_trusted(self) -> bool:
        """Whether some rows are set apart as trusted, with labels known to be right; known before data is read."""
        return self.trusted_per_class > 0 or self.trusted_labels is not None

    @property
    def source(self) -> Source:
        """The data as read."""
        return self._read_source()

    @property
    def given_target(self) -> Tensor:
        """(N,) int64 labels to train on, held-out rows included; -1 for unlabeled rows, also those that lost their label."""
        return self.split.given

    @property
    def clean_target(self) -> Tensor:
        """(N,) int64 true labels, -1 where unknown. For callbacks and reports only, never for training."""
        return self._clean(self.source)

    @property
    def judged_target(self) -> Tensor:
        """(N,) `clean_target`, and K where the given label is known to be wrong although the true one is not: these rows count
        in what is reported about labels, as those of a class that the model does not have do."""
        wrong = self.source.wrong
        return (
            self.clean_target
            if wrong is None
            else torch.where(wrong & (self.clean_target < 0), self.num_classes, self.clean_target)
        )

    def _clean(self, source: Source) -> Tensor:
        if self.noisy is not None:
            return self.noisy.clean_target
        return torch.full_like(source.given, -1) if source.clean is None else source.clean

    @property
    def view_names(self) -> tuple[str, ...]:
        """Views that a method can ask for."""
        return tuple(name for name in self.view_set() if name != "eval")

    @property
    def protocol(self) -> str:
        """How the reported figures are chosen if the best epoch is the one with the highest accuracy on held-out rows."""
        return self.protocol_by("val/acc")

    def protocol_by(self, monitor: str) -> str:
        """How the reported figures are chosen if `monitor`, "val/acc" or "val/loss", selects the best epoch."""
        held = f"{self.val_labels} labels of {self.held_out}" if self.held_out else ""
        fold = f"; the test set is fold {self.fold} of 0..{self.folds - 1} of the training rows" if self.folds else ""
        return protocol_text(held, self._source is None or len(self._split.test) > 0, fold, monitor)

    # ---- Lightning

    def setup(self, stage: str | None = None) -> None:
        """Read the data, draw the noise, split, once; say what rows an attached method leaves out."""
        self._read_once(stage)
        if stage == "fit" and self.trainer is not None:
            for text in not_used(self.trainer.lightning_module, self.info):
                note(text)

    def _read_once(self, stage: str | None) -> None:
        if self._source is not None:
            return
        source = self.load()
        if self.adopted is not None:
            source = with_classes(source, self.adopted)
        check_labels(source)
        check_clips(source)
        if self.noise is not None:
            self.noisy = noisy_labels(self.noise, source, self.noise_unit, self.noise_inputs(source))
        given = source.given if self.noisy is None else self.noisy.given_target
        split = split_rows(source, given, self._clean(source), self._split_options, partial(self._set_apart, stage))
        if self.noisy is not None and split.given is not given:
            self.noisy = without(self.noisy, split.given)
        names = source.class_names[: self.num_classes]
        if self.noise is not None and self.noisy is not None:
            split.source.account += told(self.noise, self.noisy, source.class_names)
        split.source.account += account_of_labels(
            split.train, split.unlabeled, split.given, source.given, self.label_budget, names
        )
        self.fit_inputs(split.source, torch.cat([split.train, split.unlabeled]).sort().values, split.given)
        self._views = dict(self.view_set())
        self._soft = soft_rows(self.noisy, split)
        self._split, self._source = split, split.source

    def setup_blank(self) -> None:
        """Prepare, instead of calling ``setup``, for the inputs of `predict_on` alone, without reading the training data.

        Needs a record that was `adopted`.
        """
        if self._source is not None or self.adopted is None:
            raise RuntimeError("setup_blank() takes the place of setup(), after adopt(); call them in this order")
        source = Source(self.blank(), torch.empty(0, dtype=torch.int64), tuple(self.adopted["classes"]))
        self._views = dict(self.view_set())
        self._fitted, self._split, self._source = self.adopted, empty_split(source), source

    @property
    def split(self) -> Split:
        """The rows of each part. Needs ``setup``."""
        self._read_source()
        return self._split

    @property
    def _split_options(self) -> SplitOptions:
        return SplitOptions(
            num_classes=self.num_classes,
            val_fraction=self.val_fraction,
            val_labels=self.val_labels,
            val_by=self.val_by,
            subset=self.subset,
            seed=self.split_seed,
            folds=self.folds,
            fold=self.fold,
            fold_labels=self.fold_labels,
            labels=self.label_budget,
        )

    def _set_apart(self, stage: str | None, source: Source, clean: Tensor, fold: Tensor, rows: Tensor) -> TrustedRows:
        """The trusted rows: those of the file that are not in the test set, or some out of `rows`."""
        if self.trusted_labels is not None:
            if stage in ("test", "predict") and not Path(self.trusted_labels).is_file():
                return TrustedRows(rows[:0], rows[:0])  # of no use there, and the file of a finished run may be gone
            found = read_trusted(self.trusted_labels, source, self.num_classes)
            return found.outside(fold, source.class_names[: self.num_classes]) if self.folds else found
        return draw_trusted(clean, rows, self.trusted_per_class, self.num_classes, self.split_seed)

    def clips(self, split: str) -> Tensor | None:
        """(R,) int64 clip of each of the R rows that ``EvalBatch.index`` of a split counts.

        `None` where the rows are no clips, and where the labels to compare with differ within a clip, as validation labels with
        noise drawn for rows do: a clip then has no label.

        Args:
            split: "val", "test" or another, which has none.
        """
        return self._split.clips.get(split) if self._source is not None else None

    def teardown(self, stage: str | None = None) -> None:
        """Shut down the worker processes."""
        stores = [] if self._source is None else [self._source.train, self._source.test, self._unlabeled]
        stores += [] if self._source is None else [other.rows for other in self._source.other_tests.values()]
        for store in stores:
            if isinstance(store, FileRows):
                store.close()

    def on_exception(self, exception: BaseException) -> None:
        """Do the same after an error."""
        self.teardown()

    def resolved_plan(self, epoch: int) -> ResolvedPlan:
        """The plan of an epoch as the attached method requests it, with its sizes."""
        assert self.trainer is not None
        method: Any = self.trainer.lightning_module
        ranks = self.trainer.world_size
        normalized = ranks > 1 and bool(batch_statistics(method)) and not synchronized(self.trainer)
        plan, owner = method.epoch_plan(epoch), type(self).__name__
        if self.epoch_rows is not None:
            plan = with_epoch_rows(plan, self.epoch_rows, self._split, self.num_classes, self.seed, epoch)
        return planned(plan, epoch, self.seed, self._split, self._views, self.batch_size, ranks, normalized, owner)

    def train_dataloader(self) -> PlanLoader:
        """Batches with their views, on the device, in the order of the epoch's plan."""
        trainer = self.trainer
        assert trainer is not None
        build = partial(self._build_batches, device=self._device)
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return PlanLoader(lambda: self.resolved_plan(trainer.current_epoch), build=build, **ranks)

    def batches(
        self, plan: ResolvedPlan, device: torch.device, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[PlanBatch]:
        """The batches of a plan with their views, without a Trainer.

        Args:
            plan: of an epoch.
            device: where the batches are wanted.
            start: number of the first batch.
            rank: this process.
            world_size: number of processes.
        """
        return self._build_batches(plan.batches(start, rank, world_size), device)

    def _build_batches(self, batches: Iterator[PlanBatch], device: torch.device) -> Iterator[PlanBatch]:
        store = self.source.train
        if isinstance(store, FileRows):
            store.pin_memory = device.type == "cuda"
            return build_in_workers(store, batches, self._split.train_target, device)
        build = partial(self._build, store, device=device)
        return build_in_chunks(batches, build, self.chunk_size or chunk_rows(store.row_size))

    def _build(self, store: TensorStore, rows: StreamRows, device: torch.device) -> Batch:
        views = build_views(
            self._residency.gather(store, rows.index, device), rows.position, rows.views, rows.key, self._views, rows.epoch
        )
        index = to_device(rows.index, device)
        if may_be_bad(store):
            self._first_bad.watch("train", index, views)
        return Batch(views, self._labels(self._split.train_target, index), index)

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def val_dataloader(self) -> dict[str, EvalLoader]:
        """The validation split, where there is one, and the test set."""
        loaders = {"val": self._eval_loader("val", self._split.val)} if len(self._split.val) else {}
        return {**loaders, **self.test_dataloader()}

    def test_dataloader(self) -> dict[str, EvalLoader]:
        """The test set, where there is one, and further test sets that the data has."""
        parts = {"test": self._split.test, **self._split.others}
        return {name: self._eval_loader(name, rows) for name, rows in parts.items() if len(rows)}

    def predict_on(self, rows: RowStore) -> None:
        """Predict on these inputs, which have no labels, instead of the test set."""
        self._unlabeled = rows

    def predict_dataloader(self) -> dict[str, EvalLoader]:
        """The inputs of `predict_on`, else the test set."""
        if self._unlabeled is None:
            return {name: loader for name, loader in self.test_dataloader().items() if name == "test"}
        return {"predict": self._eval_loader("predict", torch.arange(len(self._unlabeled)))}

    def _eval_loader(self, split: str, rows: Tensor) -> EvalLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        mine = rows[rank::world]
        # Lightning refuses a rank without batches; one sample that does not count is one
        idle = len(mine) == 0
        build = partial(self._build_evaluation, split=split, device=self._device, counted=not idle)
        return EvalLoader(split, rows[:1] if idle else mine, self.eval_batch_size, build)

    def _store(self, split: str) -> RowStore:
        if split == "predict":
            assert self._unlabeled is not None
            return self._unlabeled
        tested = self.source.tested(split)
        return self.source.train if tested is None else tested.rows

    def evaluation_batches(self, rows: Tensor, device: torch.device) -> Iterable[EvalBatch]:
        """Training rows in the evaluation view with their given labels, for the scoring pass."""
        return EvalLoader("train", rows, self.eval_batch_size, partial(self._build_evaluation, split="train", device=device))

    def _build_evaluation(
        self, chunks: Iterator[Tensor], split: str, device: torch.device, counted: bool = True
    ) -> Iterator[EvalBatch]:
        store = self._store(split)
        if isinstance(store, FileRows):
            store.pin_memory = device.type == "cuda"
            batch_of = partial(self._eval_batch, split=split, counted=counted)
            yield from open_in_workers(store, chunks, batch_of, device)
            return
        watched = may_be_bad(store)
        for rows in chunks:
            (inputs,) = build_views(self._residency.gather(store, rows, device), rows, ("eval",), 0, self._views)
            index = to_device(rows, device)
            if watched:
                self._first_bad.watch(split, index, (inputs,))
            yield self._eval_batch(inputs, index, split, counted)

    def refuse_bad_inputs(self, split: str = "train", largest_over_ranks: Callable[[Tensor], Tensor] = lambda row: row) -> None:
        """Raise an error if an input of a split was NaN or infinite; waits for the device.

        Args:
            split: "train", "val", "test" or "predict".
            largest_over_ranks: the largest value of a tensor over all ranks, which must then all call this.

        Raises:
            ValueError: naming the first sample that was seen.
        """
        row = int(largest_over_ranks(self._first_bad.row(split, self._device)))
        if row < 0:
            return
        self._first_bad.forget(split)
        tested = self.source.tested(split)
        names = None if split == "predict" else self.source.names if tested is None else tested.names
        where = "training" if split in ("train", "val") or (split == "test" and self.folds) else split
        sample = f"{where} sample {row}" + (f" ({names[row]})" if names else "")
        raise ValueError(f"the input of {sample} is nan or infinite; replace its values or leave the sample out")

    def _eval_batch(self, inputs: Inputs, index: Tensor, split: str, counted: bool = True) -> EvalBatch:
        if split == "predict" or not counted:
            return EvalBatch(inputs, torch.full_like(index, -1), index, split)
        tested = self.source.tested(split)
        labels = tested.target if tested is not None else self._split.val_target if split == "val" else self.given_target
        return EvalBatch(inputs, self._labels(labels, index), index, split)

    def _labels(self, labels: Tensor, index: Tensor) -> Tensor:
        cached: dict[tuple[int, torch.device], Tensor] = self.__dict__.setdefault("_label_cache", {})
        key = (id(labels), index.device)
        if key not in cached:
            cached[key] = labels.to(index.device)
        return cached[key][index]
