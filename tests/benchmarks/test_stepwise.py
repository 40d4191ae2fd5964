"""A fit that stands still between turns, and the hand-written loops that it is compared with."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from madeup import RandomFeatures, RandomImages, one_epoch
from plain import PlainACT, PlainCE, drain, turn
from stepwise import StepwiseFit

from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.models import MLP, SmallCNN

CPU = torch.device("cpu")
network = partial(MLP, in_features=6, hidden=(8,), batch_norm=True)


def features(steps: int) -> RandomFeatures:
    return RandomFeatures(8 * steps, 3, 6, batch_size=8, chunk_size=16)


def twins(method: NoisyLabelMethod) -> list[torch.nn.Module]:
    """Networks that start where those of the method start."""
    copies = []
    for original in method.networks.values():
        copies.append(network(3))
        copies[-1].load_state_dict(original.state_dict())
    return copies


def assert_equal_networks(method: NoisyLabelMethod, copies: list[torch.nn.Module]) -> None:
    for original, copy in zip(method.networks.values(), copies, strict=True):
        for name, value in copy.state_dict().items():
            torch.testing.assert_close(original.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_plain_act_trains_to_the_weights_of_the_method() -> None:
    method, data = ACT(3, network, warmup_epochs=0), features(12)
    data.setup("fit")
    robust, standard = twins(method)
    loop = PlainACT(robust, standard, data.given_target, 3)
    turn(loop, one_epoch(data, CPU, loop.views), 12, CPU)
    with StepwiseFit(method, features(12), CPU) as run:
        run.turn(5)
        run.turn(7)
        torch.testing.assert_close(method.memory["label_table"], loop.label_table)
        assert method.memory["times_selected"].tolist() == loop.times_selected.tolist()
        assert 0 < loop.times_selected.sum() < 96  # some are selected, some are not
        assert_equal_networks(method, [robust, standard])


def test_plain_cross_entropy_trains_to_the_weights_of_the_method() -> None:
    method = CrossEntropy(3, network)
    (copy,) = twins(method)
    loop = PlainCE(copy)
    turn(loop, one_epoch(features(6), CPU, loop.views), 6, CPU)
    with StepwiseFit(method, features(6), CPU) as run:
        run.turn(6)
        assert_equal_networks(method, [copy])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_plain_loop_takes_images_in_a_layout_and_a_precision(precision: str) -> None:
    data = RandomImages(8, 3, batch_size=4)
    data.setup("fit")
    nets = [SmallCNN(3, in_channels=3) for _ in range(2)]
    loop = PlainACT(*nets, data.given_target, 3, precision=precision, channels_last=True)
    assert turn(loop, one_epoch(data, CPU, loop.views), 2, CPU) > 0
    assert all(bool(parameter.isfinite().all()) for parameter in nets[0].parameters())


def test_runs_take_turns_within_one_process() -> None:
    methods = [CrossEntropy(3, network), ACT(3, network, warmup_epochs=0)]
    runs = [StepwiseFit(method, features(20), CPU) for method in methods]
    for run in runs + runs[::-1]:
        assert run.turn(4) > 0
    assert [method.global_step for method in methods] == [8, 8]  # and no further: the rest of the epoch waits
    for run in runs:
        run.close()


def test_epochs_can_be_counted() -> None:
    method = CrossEntropy(3, network)
    with StepwiseFit(method, features(4), CPU, unit="epoch") as run:
        run.turn()
        run.turn(2)
        assert method.current_epoch == 2


def test_fit_that_ends_before_the_turn_is_an_error() -> None:
    with StepwiseFit(CrossEntropy(3, network), features(4), CPU) as run:
        with pytest.raises(RuntimeError, match="2 steps before the turn"):
            run.turn(6)
        with pytest.raises(RuntimeError, match="has ended"):
            run.turn()


def test_what_the_fit_raises_comes_out() -> None:
    with (
        StepwiseFit(CrossEntropy(7, network), features(4), CPU) as run,
        pytest.raises(ValueError, match="built for 7"),
    ):
        run.turn()


def test_run_that_never_had_a_turn_can_be_closed() -> None:
    StepwiseFit(CrossEntropy(3, network), features(4), CPU).close()


def test_batches_alone_are_taken_no_further_than_asked() -> None:
    batches = one_epoch(features(4), CPU)
    assert drain(batches, 3, CPU) > 0
    assert next(batches).position == 3


def test_made_up_labels_are_partly_wrong_and_keep_every_class() -> None:
    data = features(4)
    data.setup("fit")
    wrong = (data.given_target != data.clean_target).double().mean()
    assert 0.2 < float(wrong) < 0.35
    assert torch.bincount(data.given_target).tolist() == torch.bincount(data.clean_target).tolist()
