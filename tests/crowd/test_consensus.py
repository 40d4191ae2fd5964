from itertools import islice

import numpy as np
import pytest
from crowd.samples_of_crowds import LABELS, PROBS, simulated

from noisylab.crowd import Annotations, crowdlab, dawid_skene, majority_vote, soft_labels
from noisylab.crowd.dawid_skene import expectation_maximization


def test_votes_and_how_ties_are_broken() -> None:
    given = Annotations.of_matrix(LABELS)
    assert given.counts().sum(0).tolist() == [7, 7, 6]
    assert majority_vote(given, PROBS).label.tolist() == [0, 1, 2, 1, 1, 2, 2, 0]
    # without a model item 3 is tied between two classes as frequent; of the untied items annotator 0, who says 0, agrees in all
    # six, annotator 1, who says 1, in five of six
    vote = majority_vote(given)
    assert vote.label.tolist() == [0, 1, 2, 0, 1, 2, 2, 0]
    np.testing.assert_allclose(soft_labels(given)[0], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(vote.annotator_quality, [1, 5 / 7, 5 / 6])


def test_a_tie_goes_to_the_rarer_class_and_the_last_resort_to_the_seed() -> None:
    assert majority_vote(Annotations.of_matrix([[0, 1], [1, 1], [1, 1]])).label.tolist() == [0, 1, 1]
    even = Annotations.of_counts([[1, 1]] * 40)
    draws = [majority_vote(even, seed=seed).label.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2] and set(draws[0]) == {0, 1}


def test_items_without_a_label_have_none() -> None:
    vote = majority_vote(Annotations.of_matrix([[0, 1], [-1, -1], [1, 1]], 2))
    assert vote.label.tolist()[1] == -1 and vote.probs[1].tolist() == [0, 0] and np.isnan(vote.quality[1])
    estimated = dawid_skene(Annotations.of_matrix([[0, 0], [-1, -1], [1, 1]], 2))
    assert estimated.label.tolist() == [0, -1, 1] and estimated.probs[1].tolist() == [0, 0]


def test_the_rounds_of_dawid_and_skene() -> None:
    given = Annotations.of_matrix(LABELS)
    rounds = list(islice(expectation_maximization(given, 0.0), 50))
    np.testing.assert_allclose(
        [rounds[n - 1].log_likelihood for n in (1, 2, 50)], [-14.754331, -14.123277, -13.862944], atol=5e-7
    )
    np.testing.assert_allclose(rounds[0].prior, [0.3125, 0.354167, 0.333333], atol=5e-7)
    np.testing.assert_allclose(
        rounds[0].probs[[0, 3, 5]], [[0.7922, 0.2078, 0], [0.3886, 0.6114, 0], [0.0625, 0, 0.9375]], atol=5e-5
    )
    np.testing.assert_allclose(rounds[49].probs[3], [0.3066, 0.6934, 0], atol=5e-5)
    *_, last = islice(expectation_maximization(given, 0.01), 50)
    assert round(last.log_likelihood, 6) == -14.001973
    np.testing.assert_allclose(last.probs[3, :2], [0.4086, 0.5914], atol=5e-5)


def test_dawid_and_skene_beat_the_vote_and_find_the_accuracies() -> None:
    labels, truth = simulated()
    given = Annotations.of_matrix(labels)
    assert len(truth) == 993
    assert round(float((soft_labels(given).argmax(1) == truth).mean()), 4) == 0.7996
    result = dawid_skene(given, gain=0)
    assert result.rounds == 100 and round(float((result.label == truth).mean()), 4) == 0.8469
    assert result.confusion is not None
    diagonal = np.trace(result.confusion, axis1=1, axis2=2) / 3
    np.testing.assert_allclose(diagonal, [0.895, 0.839, 0.727, 0.595, 0.418], atol=5e-4)
    np.testing.assert_allclose(result.confusion.sum(2), 1)
    assert dawid_skene(given).rounds < 100


def test_one_coin_is_the_loop_written_out() -> None:
    labels, smoothing, classes = LABELS, 0.01, 3
    q = np.array([[np.mean([v == a for v in row if v >= 0]) for a in range(classes)] for row in labels])
    for _ in range(3):
        prior = q.mean(0)
        accuracy = []
        for j in range(3):
            seen = [i for i in range(8) if labels[i, j] >= 0]
            accuracy.append((smoothing + sum(q[i, labels[i, j]] for i in seen)) / (2 * smoothing + len(seen)))
        new = np.zeros_like(q)
        for i, row in enumerate(labels):
            for a in range(classes):
                chance = prior[a]
                for j, label in enumerate(row):
                    if label >= 0:
                        chance *= accuracy[j] if label == a else (1 - accuracy[j]) / (classes - 1)
                new[i, a] = chance
        q = new / new.sum(1, keepdims=True)
    result = dawid_skene(Annotations.of_matrix(labels), smoothing, one_coin=True, rounds=3, gain=0)
    np.testing.assert_allclose(result.probs, q, atol=1e-12)
    np.testing.assert_allclose(result.annotator_quality, accuracy, atol=1e-12)


def test_a_larger_prior_on_the_diagonal_takes_annotators_with_few_labels_for_right() -> None:
    given = Annotations.of_matrix(LABELS)
    # the first annotator said 0, 0, 0 of items 0, 3 and 7: in the first round 2/3, 1/2 and 1 likely to be class 0, item 5 1/3
    first = next(expectation_maximization(given, 0.01, diagonal=2.0)).confusion[0, 0]
    counts = np.array([2 / 3 + 1 / 2 + 1 + 2.01, 0.01, 1 / 3 + 0.01])
    np.testing.assert_allclose(first, counts / counts.sum())
    with pytest.raises(ValueError, match="diagonal must be a number of 0 or more, got -1"):
        dawid_skene(given, diagonal=-1)


def test_what_the_model_cannot_know_is_said() -> None:
    single = dawid_skene(Annotations.of_matrix([[0, -1], [-1, 1], [1, -1]]))
    assert single.label.tolist() == [0, 1, 1] and "no item has two labels" in single.notes[0]
    apart = dawid_skene(Annotations.of_matrix([[0, 0, -1, -1], [-1, -1, 1, 1], [1, 0, -1, -1]]))
    assert any("2 groups that share no items" in note for note in apart.notes)
    assert any("too few for a matrix of their own" in note for note in apart.notes)
    with pytest.raises(ValueError, match="needs to know who gave which label"):
        dawid_skene(Annotations.of_counts([[1, 2]]))


def test_crowdlab_of_the_small_example() -> None:
    result = crowdlab(LABELS, PROBS)
    np.testing.assert_allclose(result.agreement, [0.727273, 0.636364, 0.7], atol=5e-7)
    np.testing.assert_allclose(result.annotator_weight, [0.563636, 0.418182, 0.52], atol=5e-7)
    assert round(result.model_weight, 6) == 1.264911
    assert result.label.tolist() == [0, 1, 2, 1, 1, 2, 2, 0]
    expected = [0.636850, 0.737965, 0.767371, 0.458778, 0.824993, 0.619882, 0.535991, 0.875121]
    np.testing.assert_allclose(result.quality, expected, atol=5e-7)


def test_crowdlab_is_that_of_cleanlab() -> None:
    multiannotator = pytest.importorskip("cleanlab.multiannotator")
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, (120, 6)).astype(float)
    labels[:, :4] = np.where(random.random((120, 4)) < 0.7, np.arange(120)[:, None] % 4, labels[:, :4])
    labels[random.random(labels.shape) < 0.5] = np.nan
    labels[:, 5] = np.nan
    labels[np.isnan(labels).all(1), 0] = 1
    labels[0], labels[0, 5] = np.nan, 2  # an annotator who shares nothing
    probs = random.dirichlet(np.ones(4), 120)
    theirs = multiannotator.get_label_quality_multiannotator(labels, probs, verbose=False, return_weights=True)
    ours = crowdlab(labels, probs)
    table = theirs["label_quality"]
    assert ours.label.tolist() == table["consensus_label"].tolist()
    np.testing.assert_allclose(ours.quality, table["consensus_quality_score"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.annotator_weight, theirs["annotator_weight"], rtol=0, atol=1e-12)
    quality = theirs["annotator_stats"]["annotator_quality"].sort_index()
    np.testing.assert_allclose(ours.annotator_quality, quality, rtol=0, atol=1e-12)


def test_crowdlab_with_one_label_an_item_and_with_labels_it_cannot_use() -> None:
    alone = crowdlab([[0, -1], [-1, 1]], [[0.8, 0.2], [0.7, 0.3]])
    assert alone.label.tolist() == [0, 1] and alone.quality.tolist() == [0.8, 0.3]
    with pytest.raises(ValueError, match=r"probs must have shape \(8, 3\)"):
        crowdlab(Annotations.of_matrix(LABELS), PROBS[:7])
    with pytest.raises(ValueError, match="1 items have no label, 1 first"):
        crowdlab([[0, 1], [-1, -1]], [[0.8, 0.2], [0.7, 0.3]])
    with pytest.raises(ValueError, match="needs to know who gave which label"):
        crowdlab(Annotations.of_counts([[1, 2]]), [[0.5, 0.5]])
