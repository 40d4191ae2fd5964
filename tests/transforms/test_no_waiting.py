"""Views on a GPU that is only pretended: no value may be read back from it, and nothing may be sent to it that waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.pretended_gpu import CUDA, PretendedGPU, pretended_gpu

from noisylab.transforms import (
    AugMix,
    AutoAugment,
    ColorJitter,
    Cutout,
    Draws,
    FeatureDropout,
    FixMatchStrong,
    RandAugment,
    TrivialAugment,
    cifar_views,
    digit_views,
    feature_views,
    image_views,
)


@pytest.fixture
def gpu() -> Iterator[PretendedGPU]:
    with pretended_gpu() as mode:
        yield mode


SETS = {
    "cifar": (cifar_views(), (3, 32, 32), torch.uint8),
    "color": (image_views((0.5,) * 3, (0.2,) * 3), (3, 12, 16), torch.uint8),
    "gray": (image_views((0.1,), (0.3,)), (1, 28, 28), torch.uint8),
    "mirrored": (image_views((0.1,), (0.3,), flip=0.5), (1, 28, 28), torch.uint8),
    "float": (image_views((0.1,), (0.3,)), (1, 28, 28), torch.float32),
    "digits": (digit_views(), (1, 8, 8), torch.uint8),
    "features": (feature_views(), (17,), torch.float64),
    "rand": ({"any": RandAugment()}, (3, 16, 16), torch.uint8),
    "fixmatch": ({"any": FixMatchStrong()}, (3, 16, 16), torch.uint8),
    "ildoonet": ({"any": RandAugment(convention="ildoonet")}, (1, 16, 16), torch.uint8),
    "augmix": ({"any": AugMix(width=2, depth=1, all_ops=True)}, (3, 16, 16), torch.uint8),
    "trivial": ({"any": TrivialAugment()}, (3, 16, 16), torch.uint8),
    "auto gray": ({"any": AutoAugment()}, (1, 16, 16), torch.uint8),
    "trivial gray": ({"any": TrivialAugment()}, (1, 16, 16), torch.uint8),
    "jitter": ({"any": ColorJitter()}, (1, 16, 16), torch.float32),
    "cutout": ({"any": Cutout(5)}, (3, 16, 16), torch.uint8),
    "dropout": ({"any": FeatureDropout(0.2)}, (17,), torch.float32),
}
N = 300


def run(view, shape, dtype):
    x = torch.zeros((N, *shape), dtype=dtype, device="cuda")
    return view(x, Draws(0, torch.arange(N, device="cuda"), host=torch.arange(N)))


@pytest.mark.parametrize("name", sorted(SETS))
def test_views_do_not_wait_for_the_device(name, gpu):
    views, shape, dtype = SETS[name]
    for view in views.values():
        gpu.constants_allowed = True  # settings are copied there once a process
        run(view, shape, dtype)
        gpu.constants_allowed = False
        gpu.copies = 0
        result = run(view, shape, dtype)
        assert result.shape == (N, *shape) and result.device == CUDA
        assert gpu.copies <= 1 + (name == "augmix")  # the plan of a policy, and the weights of a mixture


WAITING = {
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "bool": lambda x: bool(x.any()),
    "nonzero": lambda x: x.nonzero(),
    "boolean mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "read": lambda x: x.cpu(),
    "two devices": lambda x: x + torch.ones(3),
    "copy from": lambda x: torch.ones(3).copy_(x),
    "copy to": lambda x: x.copy_(torch.ones(3)),
    "not pinned": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "blocking": lambda x: torch.ones(3).pin_memory().to("cuda"),
    "literal": lambda x: torch.tensor([1.0], device="cuda"),
    "positions not known on the host": lambda x: Draws(0, torch.arange(5, device="cuda")).on_host(),
}


@pytest.mark.parametrize("name", sorted(WAITING))
def test_the_pretended_gpu_notices_waiting(name, gpu):
    x = torch.zeros(3, device="cuda")
    with pytest.raises((RuntimeError, AssertionError)):
        WAITING[name](x)


@pytest.mark.parametrize("first", ["host", "device"])
def test_host_and_device_draws_count_their_calls_together(first, gpu):
    position = torch.tensor([4, 9])
    draws, alone = Draws(7, position.pin_memory().to("cuda", non_blocking=True), host=position), Draws(7, position)
    if first == "device":
        draws.uniform(), alone.uniform()
    assert torch.equal(draws.on_host().integers(0, 1000), alone.integers(0, 1000))
    draws.normal(), alone.normal()
    assert torch.equal(draws.on_host().uniform(shape=(2,)), alone.uniform(shape=(2,)))
