"""Labels that several annotators gave: a consensus of them, or the distribution they make up, to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.arguments import NonNegative, check_arguments
from noisylab.crowd import Annotations, Consensus, crowd_lines, dawid_skene, majority_vote
from noisylab.crowd.tables import Layout, read_quietly
from noisylab.noise.base import Noise, NoisyTargets, check_targets, realized_matrix
from noisylab.types import Inputs

__all__ = ["FromAnnotators"]


class FromAnnotators(Noise):
    """Given labels from a table of several annotators' labels.

    `aggregate` says how several labels of an item become one: the most frequent ("vote"), or the most likely class of the model
    of Dawid and Skene, which estimates a confusion matrix for each annotator ("dawid_skene") or one accuracy ("one_coin").
    "soft" hands methods the share of each class among the labels of an item as the target, and `soft` the probabilities that the
    two models estimate; methods that learn from classes alone use the largest, and say so.

    The labels of the data are the truth that the run's reports compare with, where the data says that they are true ones;
    others, those of an image folder for example, are not used.

    **Paper**: Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied Statistics
    28(1), 1979.

    Args:
        path: the table: .csv with a row a label, or a column an annotator, or counts; see `noisylab.crowd.read_annotations`.
        aggregate: see above.
        soft: with "dawid_skene" and "one_coin": train on the probabilities, where the method can.
        layout: of the table: "auto", "long", "wide" or "counts".
        item: name of the column of items: the files of the data, or numbers of rows, from 0.
        annotator: name of the column of annotators, in a long table.
        label: name of the column of labels, in a long table.
        key: name of the array in an .npz.
        anonymous: columns, or annotators, are the first, second, ... label of an item, whoever gave it, as in CIFAR-10N; nothing
            is said about annotators then, and only "vote" and "soft" work.
        smoothing: of the estimated confusion matrices, 0 or more.
        missing: whether rows without a label are refused, or become unlabeled ones.
        unknown_items: whether items that are no training row are refused or ignored.
        seed: of ties of the vote that nothing else breaks.

    Raises:
        ValueError: arguments that do not go together; later, at the call: the table does not fit the data.
    """

    kind = "annotators"
    of_rows = True
    path_arguments = ("path",)

    def __init__(
        self,
        path: str,
        aggregate: Literal["vote", "dawid_skene", "one_coin", "soft"] = "vote",
        soft: bool = False,
        layout: Layout = "auto",
        item: str = "item",
        annotator: str = "annotator",
        label: str = "label",
        key: str | None = None,
        anonymous: bool = False,
        smoothing: NonNegative = 0.01,
        missing: Literal["refuse", "unlabeled"] = "refuse",
        unknown_items: Literal["refuse", "ignore"] = "refuse",
        seed: int = 0,
    ) -> None:
        choices = {"aggregate": aggregate, "layout": layout, "missing": missing, "unknown_items": unknown_items}
        check_arguments(FromAnnotators, {**choices, "smoothing": smoothing})
        super().__init__(seed=seed)
        estimated = aggregate in ("dawid_skene", "one_coin")
        if soft and not estimated:
            raise ValueError(
                f"soft=True belongs to 'dawid_skene' and 'one_coin', got aggregate={aggregate!r}; use aggregate='soft'"
            )
        if estimated and (anonymous or layout == "counts"):
            what = "counts" if layout == "counts" else "anonymous columns"
            raise ValueError(
                f"aggregate={aggregate!r} needs to know who gave which label, which {what} do not say; use 'vote' or 'soft'"
            )
        self.path, self.aggregate, self.soft, self.layout = str(path), aggregate, soft, layout
        self.item, self.annotator, self.label, self.key = item, annotator, label, key
        self.anonymous, self.smoothing = anonymous, smoothing
        self.missing, self.unknown_items = missing, unknown_items

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """Not known.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{self.path} holds labels, not the matrix they were drawn from; the confusion matrices are those of annotators"
        )

    def __call__(
        self,
        targets: Tensor,
        num_classes: int,
        inputs: Inputs | None = None,
        class_names: Sequence[str] | None = None,
        row_names: Sequence[str] | None = None,
    ) -> NoisyTargets:
        """Read the labels of a whole training set and aggregate them.

        Args:
            targets: (N,) integer, the true labels in 0..C-1, -1 where unknown, any device; not changed and not kept.
            num_classes: C, number of source classes, at least 2.
            inputs: unused.
            class_names: C names; numbers if None.
            row_names: N names that the items of the table are matched with; numbers if None.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the table cannot be read, or its items or labels are not those of the data.
        """
        clean = check_targets(targets, num_classes, unknown=True)
        names = tuple(map(str, range(num_classes))) if class_names is None else tuple(class_names)
        said = self.annotations(len(clean), names, row_names)
        consensus = self._consensus(said)
        given = torch.from_numpy(consensus.label)
        soft = None
        if self.soft or self.aggregate == "soft":
            soft = torch.from_numpy(consensus.probs.astype(np.float32))
        known = (given >= 0) & (clean >= 0)
        matrix = realized_matrix(clean[known], given[known], num_classes) if bool(known.any()) else None
        measured = float((given != clean)[known].double().mean()) if bool(known.any()) else 0.0
        return NoisyTargets(given, clean, matrix, None, measured, soft, consensus)

    def annotations(self, count: int, class_names: Sequence[str], row_names: Sequence[str] | None = None) -> Annotations:
        """The labels of the table, matched with the rows and classes of the data.

        Args:
            count: N, rows of the data.
            class_names: C names.
            row_names: N names; numbers if None.

        Raises:
            FileNotFoundError, ValueError: see ``__call__``.
        """
        read = read_quietly(self.path, self.layout, self.item, self.annotator, self.label, self.key, class_names)
        read = read.for_rows(count, row_names, self.missing, self.unknown_items, self.path)
        read = read.with_classes(class_names, self.path)
        return read.anonymous() if self.anonymous else read

    def account(self, noisy: NoisyTargets, class_names: Sequence[str]) -> list[str]:
        """What the labels are like, a sentence each."""
        return [] if noisy.crowd is None else [*crowd_lines(noisy.crowd)]

    def warnings(self, noisy: NoisyTargets) -> list[str]:
        """What looked wrong in the table."""
        return [] if noisy.crowd is None else list(noisy.crowd.annotations.notes)

    def _consensus(self, said: Annotations) -> Consensus:
        if self.aggregate in ("dawid_skene", "one_coin"):
            return dawid_skene(said, self.smoothing, one_coin=self.aggregate == "one_coin")
        return majority_vote(said, seed=self.seed)
