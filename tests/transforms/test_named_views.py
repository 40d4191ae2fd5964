from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch

from noisylab import transforms
from noisylab.transforms import Draws, cifar_views, digit_views, feature_views, image_views, web_views

SETS = {
    "cifar": (cifar_views(), (3, 32, 32)),
    "gray": (image_views((0.1,), (0.3,)), (1, 28, 28)),
    "color": (image_views((0.5,) * 3, (0.2,) * 3), (3, 12, 16)),
    "digits": (digit_views(), (1, 8, 8)),
}


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_set_has_the_same_views_in_float32(name):
    views, shape = SETS[name]
    x = torch.randint(0, 17, (20, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert list(views) == ["weak", "strong", "simclr", "eval"]
    for view in views.values():
        result = view(x, Draws(0, torch.arange(20)))
        assert result.shape == x.shape and result.dtype == torch.float32 and result.isfinite().all()


@pytest.mark.parametrize("name", sorted(SETS))
def test_evaluation_view_draws_nothing(name):
    views, shape = SETS[name]
    x = torch.zeros(5, *shape, dtype=torch.uint8)
    draws = Draws(0, torch.arange(5))
    views["eval"](x, draws)
    assert torch.equal(draws.uniform(), Draws(0, torch.arange(5)).uniform())


def test_digits_come_to_the_unit_interval_and_shift_by_one_pixel():
    x = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    x[:, :, 4, 4] = 16
    views = digit_views(scale=16)
    assert views["eval"](x, Draws(0, torch.arange(200))).max() == 1
    places = views["weak"](x, Draws(0, torch.arange(200))).flatten(1).argmax(1)
    assert set(places.tolist()) == {8 * i + j for i in (3, 4, 5) for j in (3, 4, 5)}


def test_gray_images_are_mirrored_only_on_request():
    x = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    x[..., :3] = 255
    assert "Flip" not in repr(image_views((0.5,), (0.5,))["weak"])
    assert "Flip" in repr(image_views((0.5,), (0.5,), flip=0.5)["weak"])


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels"):
        image_views((0.5,) * 4, (0.5,) * 4)


def test_feature_views_change_only_the_strong_one():
    x = torch.randn(30, 6, dtype=torch.float64)
    results = {name: view(x, Draws(0, torch.arange(30))) for name, view in feature_views().items()}
    assert torch.equal(results["weak"], x.float()) and torch.equal(results["eval"], x.float())
    assert not torch.allclose(results["strong"], x.float(), atol=0.01)


def test_web_views_are_named_alike_and_readable():
    views = web_views(40, 32)
    assert list(views) == ["weak", "strong", "simclr", "eval"]
    assert "PILRandAugment" in repr(views["strong"]) and "policy=None" in repr(views["weak"])


def test_module_imports_stay_within_the_room():
    allowed = {
        "torch",
        "numpy",
        "PIL",
        "kornia",
        "noisylab.arguments",
        "noisylab.types",
        "noisylab.upstream.torch",
    } | sys.stdlib_module_names
    for path in Path(transforms.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                inside = name.startswith("noisylab.transforms") or name in allowed or name.split(".")[0] in allowed
                assert inside, f"{path.name} imports {name}"
