from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from noisylab.transforms import AugMix, Draws, Normalize
from noisylab.transforms.policy import number_of

BILINEAR = Image.Resampling.BILINEAR


def _affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=BILINEAR)


PIL = {
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "rotateBilinear": lambda image, v: image.rotate(int(v), resample=BILINEAR),
    "solarize": lambda image, v: ImageOps.solarize(image, int(v)),
    "shearXBilinear": lambda image, v: _affine(image, (1, v, 0, 0, 1, 0)),
    "shearYBilinear": lambda image, v: _affine(image, (1, 0, 0, v, 1, 0)),
    "translateX": lambda image, v: _affine(image, (1, 0, round(v * image.width), 0, 1, 0)),
    "translateY": lambda image, v: _affine(image, (1, 0, 0, 0, 1, round(v * image.height))),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
}
NAMES = {number_of(name): name for name in PIL}


@pytest.mark.parametrize(
    ("view", "channels"),
    [(AugMix(), 3), (AugMix(), 1), (AugMix(width=2, depth=4, alpha=0.4, severity=10, all_ops=True), 3)],
    ids=["cifar", "gray", "all"],
)
def test_equals_the_formula_on_pil_pictures(view, channels, make_images):
    x, position = make_images(40, 32, 24, channels), torch.arange(40)
    operation, magnitude, share = view.plan(Draws(3, position), (32, 24))
    normalize = Normalize((0.5,) * channels, (0.5,) * channels)
    found = normalize(view(x, Draws(3, position)), Draws(0, position))
    for i, image in enumerate(x):
        picture = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy().copy())
        mixture = 0
        for chain in range(view.width):
            done = picture
            for number, value in zip(operation[i, chain].tolist(), magnitude[i, chain].tolist(), strict=True):
                done = PIL[NAMES[number]](done, value) if number else done
            # the authors' order: normalized first, mixed afterwards
            mixture = mixture + share[i, chain + 1].item() * (np.array(done) / 255 - 0.5) / 0.5
        expected = share[i, 0].item() * (np.array(picture) / 255 - 0.5) / 0.5 + mixture
        expected = torch.from_numpy(expected).view(32, 24, channels).permute(2, 0, 1).float()
        torch.testing.assert_close(found[i], expected, rtol=0, atol=2e-6)


def test_the_mixture_is_the_stated_sum(monkeypatch):
    w, m = (0.2, 0.3, 0.5), 0.4
    share = torch.tensor([[1 - m, *(m * each for each in w)]])
    plan = torch.full((1, 3, 1), number_of("solarize")), torch.tensor([[[256.0], [256.0], [0.0]]]).double(), share
    monkeypatch.setattr(AugMix, "plan", lambda self, draws, size: plan)
    x = torch.full((1, 1, 4, 4), 55, dtype=torch.uint8)  # the third chain makes 200 of it
    expected = (0.6 * 55 + 0.4 * (0.2 * 55 + 0.3 * 55 + 0.5 * 200)) / 255
    assert AugMix()(x, Draws(0, torch.arange(1))).unique().item() == pytest.approx(expected, abs=1e-7)
    assert (share * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().item() == pytest.approx(1.92)


@pytest.mark.parametrize(
    ("severity", "rotate", "bits", "threshold", "shear", "pixels", "factor"),
    [(3, 8, {3, 4}, (180, 254), 0.09, 3, 0.64), (10, 29, {1, 2, 3, 4}, (1, 254), 0.3, 10, 1.9)],
)
def test_levels_reach_the_published_extremes(severity, rotate, bits, threshold, shear, pixels, factor):
    view = AugMix(severity=severity, all_ops=True)
    operation, magnitude, _ = view.plan(Draws(1, torch.arange(20_000)), (32, 32))
    drawn = {name: magnitude[operation == number] for number, name in NAMES.items()}
    assert drawn["rotateBilinear"].abs().max() == rotate and set(drawn["posterize"].tolist()) == bits
    found = drawn["solarize"]
    assert found.min() == threshold[0] and threshold[1] <= found.max() <= 256
    assert 0.98 * shear < drawn["shearXBilinear"].abs().max() < shear
    assert (drawn["translateY"] * 32).round().abs().max() in (pixels, pixels - (severity == 3))
    assert 0.98 * factor < drawn["color"].max() <= factor and drawn["color"].min() >= 0.118
    for name in ("rotateBilinear", "shearYBilinear", "translateX"):
        assert abs((drawn[name] < 0).sum() - (drawn[name] > 0).sum()) < 5 * len(drawn[name]) ** 0.5


def test_depths_and_operations_are_drawn_evenly():
    operation, _, _ = AugMix().plan(Draws(2, torch.arange(6000)), (32, 32))
    depth = (operation > 0).sum(2).flatten()
    assert ((operation > 0).long().diff(dim=2) <= 0).all()  # a chain ends once
    assert (torch.bincount(depth, minlength=4)[1:] - 6000).abs().max() < 5 * 4000**0.5
    first = torch.bincount(operation[..., 0].flatten(), minlength=30)
    assert sorted(first.nonzero().flatten().tolist()) == sorted(number_of(name) for name in list(PIL)[:9])
    assert (first[first > 0] - 2000).abs().max() < 5 * 1800**0.5
    assert set((AugMix(depth=2).plan(Draws(2, torch.arange(50)), (8, 8))[0] > 0).sum(2).flatten().tolist()) == {2}


@pytest.mark.parametrize("alpha", [1.0, 0.5, 4.0])
def test_weights_follow_their_distributions(alpha):
    _, _, share = AugMix(alpha=alpha).plan(Draws(4, torch.arange(12_000)), (8, 8))
    torch.testing.assert_close(share.sum(1), torch.ones(len(share)))
    m = share[:, 1:].double().sum(1)
    w = share[m > 1e-6, 1:].double() / m[m > 1e-6, None]
    assert m.mean().item() == pytest.approx(0.5, abs=0.015)
    assert m.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.005)
    assert w.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.015)
    assert w[:, 0].var().item() == pytest.approx(2 / 9 / (3 * alpha + 1), abs=0.005)


def test_a_sample_looks_the_same_in_any_batch(make_images):
    x, position = make_images(50), torch.arange(50)
    view = AugMix()
    whole = view(x, Draws(3, position))
    assert torch.equal(torch.cat([view(x[i : i + 7], Draws(3, position[i : i + 7])) for i in range(0, 50, 7)]), whole)


@pytest.mark.parametrize("settings", [{"width": 0}, {"depth": 0}, {"alpha": 0.0}, {"severity": 11}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="|".join(settings)):
        AugMix(**settings)
