from __future__ import annotations

import random

import pytest
import torch

from noisylab.transforms import Draws, draws, key_from

N = 20_000
CALLS = {
    "uniform": lambda d: d.uniform(),
    "uniform_range": lambda d: d.uniform(-2.0, 3.0, (3,)),
    "integers": lambda d: d.integers(-4, 5, (2,)),
    "bernoulli": lambda d: d.bernoulli(0.3, (2, 3)),
    "normal": lambda d: d.normal((5, 7)),
    "normal_scalar": lambda d: d.normal(),
}


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].abs().item()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_draws_do_not_depend_on_the_batch(name):
    def calls(position):
        draws = Draws(99, position)
        return [CALLS[name](draws) for _ in range(4)]

    position = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    whole = calls(position)
    for size in (1, 7):
        parts = zip(*(calls(part) for part in position.split(size)), strict=True)
        assert all(torch.equal(a, torch.cat(b)) for a, b in zip(whole, parts, strict=True))


def test_many_calls_stay_fresh():
    draws = Draws(key_from("many"), torch.arange(3))
    values = torch.stack([draws.uniform() for _ in range(200)])
    assert values.unique().numel() > 590


def test_first_numbers_stay_the_same_between_versions():
    draws = Draws(7, torch.tensor([0, 1]))
    assert draws.integers(0, 1000).tolist() == [812, 592]
    assert draws.integers(0, 1000, (2,)).tolist() == [[574, 869], [98, 103]]


def test_uniform_fills_the_unit_interval_evenly():
    values = Draws(1, torch.arange(N)).uniform()
    counts = torch.histc(values, 20, 0, 1)
    chi_square = ((counts - N / 20) ** 2 / (N / 20)).sum().item()
    assert 5 < chi_square < 50  # 19 degrees of freedom: 0.9998 of the mass
    assert values.min() >= 0 and values.max() < 1


def test_integers_are_even_and_within_bounds():
    values = Draws(2, torch.arange(N)).integers(-3, 7)
    counts = torch.bincount(values + 3, minlength=10)
    assert values.min() == -3 and values.max() == 6
    assert ((counts - N / 10) ** 2 / (N / 10)).sum() < 40  # 9 degrees of freedom


def test_integers_reach_the_largest_range_and_refuse_others():
    values = Draws(2, torch.arange(N)).integers(0, 2**31)
    assert values.min() >= 0 and 2**31 - 2**20 < values.max() < 2**31
    for low, high in ((3, 3), (4, 3), (0, 2**31 + 1)):
        with pytest.raises(ValueError, match="integers"):
            Draws(2, torch.arange(2)).integers(low, high)


def test_bernoulli_keeps_its_probability():
    draws = Draws(3, torch.arange(N))
    assert abs(draws.bernoulli(0.2).double().mean().item() - 0.2) < 5 * (0.16 / N) ** 0.5
    assert not draws.bernoulli(0.0).any() and draws.bernoulli(1.0).all()


def test_normal_has_the_right_moments_and_tails():
    values = Draws(4, torch.arange(N // 10)).normal((10,)).flatten().double()
    assert abs(values.mean().item()) < 0.04 and abs(values.std().item() - 1) < 0.03
    assert abs((values**4).mean().item() - 3) < 0.4
    assert abs((values.abs() > 2).double().mean().item() - 0.0455) < 0.008
    assert values.isfinite().all()


@pytest.mark.parametrize(
    "pair",
    [
        lambda p: (Draws(5, p).uniform(), Draws(5, p + 1).uniform()),
        lambda p: (Draws(5, p).uniform(), Draws(6, p).uniform()),
        lambda p: (Draws(5, p).uniform(), Draws(key_from(5), p).uniform()),
        lambda p: (lambda d: (d.uniform(), d.uniform()))(Draws(5, p)),
        lambda p: Draws(5, p).uniform(shape=(2,)).unbind(1),
        lambda p: (Draws(5, p).uniform(), Draws(5, p).uniform(shape=(1,))[:, 0]),
        lambda p: Draws(5, p).normal((2,)).unbind(1),
    ],
    ids=["positions", "keys", "key_from", "calls", "elements", "shapes", "normals"],
)
def test_neighboring_streams_are_uncorrelated(pair):
    first, second = pair(torch.arange(N))
    assert correlation(first, second) < 5 / N**0.5
    assert correlation(first**2, second**2) < 5 / N**0.5


def test_largest_keys_and_positions_are_accepted():
    position = torch.tensor([0, 2**31, 2**62])
    values = Draws(2**63 - 1, position).uniform()
    assert values.unique().numel() == 3 and Draws(2**64 - 1, position).uniform().isfinite().all()


def test_no_samples_give_empty_draws():
    draws = Draws(0, torch.arange(0))
    assert draws.normal((3, 2)).shape == (0, 3, 2) and draws.uniform().shape == (0,)


def test_key_tells_types_and_order_apart():
    keys = [key_from(1, 2), key_from(2, 1), key_from("1", 2), key_from(12), key_from("1", "2"), key_from("12")]
    assert len(set(keys)) == len(keys) and all(0 <= key < 2**63 for key in keys)


def test_python_generator_is_keyed_and_leaves_the_global_state():
    state = random.getstate()
    position = torch.tensor([8, 3, 8])
    first, other, again = (Draws(5, position).python(place).random() for place in range(3))
    assert first == again != other and random.getstate() == state


def test_draws_on_the_host_are_the_draws_themselves_on_a_cpu():
    own = Draws(5, torch.arange(3))
    assert own.on_host() is own


def test_host_and_device_mix_bits_alike():
    bits = torch.cat([torch.arange(-50, 50), torch.tensor([2**63 - 1, -(2**63)]), torch.randint(-(2**62), 2**62, (500,))])
    assert torch.equal(draws._mix_on_host(bits), draws._mix_on_device(bits))


@pytest.mark.parametrize("host", [torch.arange(2), torch.arange(3, device="meta")])
def test_other_positions_on_the_host_are_refused(host):
    with pytest.raises(ValueError, match="host"):
        Draws(5, torch.arange(3), host=host)
