"""From the signals of a run to the ranked list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import PACKAGED, PlainMLP, ToyData, make_trainer
from torch import Tensor

from noisylab.data.arrays import Arrays
from noisylab.data.base import NoisyDataModule, Source
from noisylab.issues import IssueTable, estimate_rate, rank_labels, score_labels
from noisylab.issues.table import SIGNALS
from noisylab.memory.label_signals import add_signals
from noisylab.methods import CrossEntropy
from noisylab.noise import Symmetric


class _Labeled(ToyData):
    """Rows with these given labels and files."""

    def __init__(self, given: list[int], names: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(num_train=len(given), **kwargs)
        self.labels, self.files = torch.tensor(given), names
        self.setup()

    def load(self) -> Source:
        return replace(super().load(), given=self.labels, names=self.files, clean=None)


def _ranked(data: NoisyDataModule, epochs: Sequence[Tensor], losses: Tensor, peer: Tensor | None = None) -> IssueTable | None:
    """The list where row i had the probabilities ``epochs[e][i]`` in epoch e, and `losses` (N,) in each."""
    method = CrossEntropy(data.num_classes, PlainMLP)
    method.memory.allocate(len(losses))
    for probs in epochs:
        add_signals(method.memory, torch.arange(len(losses)), probs.log(), data.given_target, losses, peer)
    return rank_labels(method, data)


def _tables_are_equal(first: IssueTable, second: IssueTable) -> None:
    assert (first.names, first.class_names, list(first.signals)) == (second.names, second.class_names, list(second.signals))
    for name in ("index", "given", "suggested", "score", "is_issue", "confidence"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for name, values in first.signals.items():
        np.testing.assert_array_equal(values, second.signals[name], err_msg=name)


def test_scores_flags_and_suggestions_are_those_computed_by_hand() -> None:
    given = [0, 1, 2, 0, 1]
    first = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4], [0.0, 1.0, 0.0]])
    second = torch.tensor([[0.4, 0.5, 0.1], [0.1, 0.4, 0.5], [0.3, 0.3, 0.4], [0.0, 0.7, 0.3], [0.0, 1.0, 0.0]])
    peer = torch.eye(3)[[0, 2, 1, 1, 1]]
    data = _Labeled(given, [f"{row}.png" for row in range(5)])
    table = _ranked(data, [first, second], torch.tensor([0.7, 1.2, 0.5, 2.0, 0.0]), peer)
    assert table is not None
    # means: .5 .4 .1 | .3 .3 .4 | .2 .2 .6 | .1 .55 .35 | 0 1 0
    assert table.index.tolist() == [3, 1, 0, 2, 4]
    assert table.names == ["3.png", "1.png", "0.png", "2.png", "4.png"]
    assert table.class_names == ("blob0", "blob1", "blob2")
    assert table.given.tolist() == [0, 1, 0, 2, 1]
    assert table.suggested.tolist() == [1, 2, 0, 2, 1]
    assert table.score.tolist() == pytest.approx([55 / 65, 4 / 7, 4 / 9, 1 / 4, 0], abs=1e-6)
    assert table.is_issue.tolist() == [True, True, False, False, False]
    assert table.confidence.tolist() == pytest.approx([0.55, 0.4, 0.5, 0.6, 1], abs=1e-6)
    assert table.signals["mean_loss"].tolist() == pytest.approx([2.0, 1.2, 0.7, 0.5, 0.0])
    # of each epoch: .2 - .4, 0 - .7 | .2 - .5, .4 - .5 | .6 - .3, .4 - .5 | .8 - .1, .4 - .3 | 1, 1
    assert table.signals["mean_margin"].tolist() == pytest.approx([-0.45, -0.2, 0.1, 0.4, 1], abs=1e-6)
    # classes of row 3: 1 in both epochs; of row 1: 0, then 2; of row 0: 0, then 1; of row 2: 2 and 2; of row 4: 1 and 1
    assert table.signals["agreement"].tolist() == pytest.approx([1, 0.5, 0.5, 0, 1])
    assert "clean_prob" not in table.signals


def test_one_network_has_no_agreement_and_rows_without_files_are_called_by_their_number() -> None:
    probs = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.0, 0.0, 1.0]])
    table = _ranked(_Labeled([0, 1, 2]), [probs], torch.ones(3))
    assert table is not None and table.names is None and table.keys == ["1", "0", "2"]
    assert np.isnan(table.signals["agreement"]).all()


def test_two_classes_score_by_the_other_ones_probability() -> None:
    probs = torch.tensor([[0.3, 0.7], [0.3, 0.7], [0.5, 0.5]])
    score, suggested, is_issue = score_labels(probs, torch.tensor([0, 1, 0]))
    assert score.tolist() == pytest.approx([0.7, 0.3, 0.5])
    assert suggested.tolist() == [1, 1, 0]
    assert is_issue.tolist() == [True, False, False]


def test_probabilities_of_zero_give_the_bounds() -> None:
    probs = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    score, suggested, is_issue = score_labels(probs, torch.tensor([0, 1, 0]))
    assert score.tolist() == [1, 0, 1]
    assert suggested.tolist() == [1, 1, 1]
    assert is_issue.tolist() == [True, False, True]


def test_equal_scores_are_ordered_by_loss_and_equal_losses_by_row() -> None:
    sure, likely = [0.0, 0.6, 0.4], [0.6, 0.3, 0.1]
    probs = torch.tensor([sure, likely, [0.0, 1.0, 0.0], sure, likely, [0.6, 0.1, 0.3], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6]])
    losses = torch.tensor([5.0, 1.0, 7.0, 6.0, 2.0, 1.0, 1.0, 3.0])
    table = _ranked(_Labeled([0, 0, 0, 0, 0, 0, 1, 2]), [probs], losses)
    assert table is not None
    assert table.score.tolist() == pytest.approx([1, 1, 1, *[1 / 3] * 5], abs=1e-6)
    assert table.index.tolist() == [2, 3, 0, 7, 4, 1, 5, 6]


def test_a_label_is_an_issue_exactly_where_its_score_is_above_one_half() -> None:
    for classes in (2, 3, 10):
        probs = torch.rand(500, classes).pow(3)
        probs = probs / probs.sum(1, keepdim=True)
        given = torch.randint(classes, (500,))
        score, suggested, is_issue = score_labels(probs, given)
        assert torch.equal(is_issue, score > 0.5) and torch.equal(is_issue, suggested != given)
        assert float(score.min()) >= 0 and float(score.max()) <= 1
        assert torch.equal(suggested, probs.argmax(1))


def test_a_hair_above_the_given_label_is_not_flagged_with_a_score_of_one_half() -> None:
    own = torch.linspace(0.01, 0.45, 400)
    other = torch.nextafter(own, torch.ones(()))
    score, suggested, is_issue = score_labels(torch.stack([own, other], 1), torch.zeros(400, dtype=torch.int64))
    assert torch.equal(is_issue, score > 0.5) and torch.equal(is_issue, suggested != 0)


def test_permuted_rows_give_the_permuted_list() -> None:
    rows = 60
    given, losses = torch.randint(3, (rows,)).tolist(), torch.rand(rows)
    epochs, files = [torch.randn(rows, 3).softmax(1) for _ in range(2)], [f"{row}.jpg" for row in range(rows)]
    order = torch.randperm(rows)
    straight = _ranked(_Labeled(given, files), epochs, losses)
    moved = _Labeled([given[row] for row in order.tolist()], [files[row] for row in order.tolist()])
    permuted = _ranked(moved, [probs[order] for probs in epochs], losses[order])
    assert straight is not None and permuted is not None
    _tables_are_equal(replace(permuted, index=order.numpy()[permuted.index]), straight)
    assert straight.index.tolist() != list(range(rows))


def test_held_out_and_trusted_rows_are_not_ranked(tmp_path: Path) -> None:
    data = ToyData(num_train=60, noise=Symmetric(0.4), val_fraction=0.2, trusted_per_class=2)
    method = PACKAGED["l2r"](PlainMLP)
    make_trainer(tmp_path, 2).fit(method, datamodule=data)
    table = rank_labels(method, data)
    assert table is not None
    apart = {*data.info.trusted_rows.tolist(), *data.split.val.tolist()}
    assert len(apart) == 6 + 11
    assert sorted(table.index.tolist()) == sorted(set(range(60)) - apart)


def test_rows_never_seen_are_left_out_and_without_any_there_is_no_list() -> None:
    data, method = _Labeled([0, 1, 2]), CrossEntropy(3, PlainMLP)
    method.memory.allocate(3)
    assert rank_labels(method, data) is None
    add_signals(method.memory, torch.tensor([2]), torch.zeros(1, 3), torch.tensor([2]), torch.ones(1))
    table = rank_labels(method, data)
    assert table is not None and table.index.tolist() == [2]


def test_the_share_of_wrong_labels_is_the_mean_score_within_bounds() -> None:
    probs = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.0, 1.0, 0.0]])
    table = _ranked(_Labeled([0, 1, 2]), [probs], torch.ones(3))
    assert table is not None
    rate, (low, high) = estimate_rate(table)
    assert rate == pytest.approx((0.4 + 0.1 + 1) / 3)
    assert 0 <= low < rate < high <= 1
    sure = replace(table, score=np.zeros(3)), replace(table, score=np.ones(3))
    assert estimate_rate(sure[0])[1][0] == 0 and estimate_rate(sure[1])[1][1] == 1


@pytest.mark.parametrize("name", ["robustloss", "act"])
def test_true_labels_do_not_change_the_list(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    given = np.arange(36) % 3
    x = (generator.normal(size=(36, 2)) + given[:, None]).astype("f4")
    tables = []
    for truth in (given, generator.integers(3, size=36), None):
        known: dict[str, Any] = {} if truth is None else {"y_true": truth}
        np.savez(tmp_path / "a.npz", x=x, y=given, **known)
        data = Arrays(str(tmp_path / "a.npz"), batch_size=8, val_fraction=0.2)
        torch.manual_seed(0)
        method = PACKAGED[name](PlainMLP)
        make_trainer(tmp_path, 2).fit(method, datamodule=data)
        table = rank_labels(method, data)
        assert table is not None
        tables.append(table)
    assert set(tables[0].signals) <= set(SIGNALS)
    for table in tables[1:]:
        _tables_are_equal(table, tables[0])


def test_clean_prob_is_the_methods_own_at_the_end_of_training(tmp_path: Path) -> None:
    method, data, epochs = PACKAGED["act"](PlainMLP), ToyData(noise=Symmetric(0.4)), 3
    make_trainer(tmp_path, epochs).fit(method, datamodule=data)
    table = rank_labels(method, data)
    assert table is not None
    shares = method.memory["times_selected"][torch.from_numpy(table.index)].double() / epochs
    assert table.signals["clean_prob"].tolist() == pytest.approx(shares.tolist())
    assert max(table.signals["clean_prob"]) == 1 and not math.isnan(table.signals["agreement"][0])
