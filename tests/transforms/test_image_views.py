from __future__ import annotations

import pickle

import pytest
import torch

from noisylab.transforms import (
    AugMix,
    AutoAugment,
    Chain,
    Compose,
    Contrast,
    Cutout,
    Draws,
    FeatureDropout,
    FeatureIdentity,
    FeatureNoise,
    FeatureScale,
    FixMatchStrong,
    GaussianNoise,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomCropFlip,
    RandomHorizontalFlip,
    ToFloat,
    TrivialAugment,
    View,
    base,
    cifar_views,
    digit_views,
    feature_views,
    image,
    image_views,
)

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
COLor, GREY, FLOAT, FEATURES = "color", "gray", "float", "features"
RANDOM: list[tuple[View, str]] = [
    (RandomCrop(4), COLor),
    (RandomCrop(2, fill=9), GREY),
    (RandomCrop(3), FLOAT),
    (RandomHorizontalFlip(), COLor),
    (RandomCropFlip(4), COLor),
    (Cutout(5), COLor),
    (Cutout(6, fill=0.5), FLOAT),
    (GaussianNoise(0.2), FLOAT),
    (Contrast(0.5, 1.5), FLOAT),
    (AutoAugment(), COLor),
    (RandAugment(), COLor),
    (TrivialAugment(), COLor),
    (TrivialAugment(wide=False, fill=128), GREY),
    (AutoAugment(), GREY),
    (FixMatchStrong(), GREY),
    (AugMix(width=2, depth=1), COLor),
    (FeatureNoise(0.1), FEATURES),
    (FeatureScale(0.5, 1.5), FEATURES),
    (FeatureDropout(0.3), FEATURES),
    (cifar_views()["weak"], COLor),
    (cifar_views()["strong"], COLor),
    (image_views((0.2,), (0.3,))["weak"], GREY),
    (image_views((0.2,), (0.3,))["strong"], GREY),
    (image_views((0.2,), (0.3,))["strong"], FLOAT),
    (image_views(MEAN, STD)["strong"], COLor),
    (digit_views()["weak"], GREY),
    (digit_views()["strong"], GREY),
    (feature_views()["strong"], FEATURES),
]
FIXED: list[tuple[View, str]] = [
    (Normalize(MEAN, STD), COLor),
    (Normalize((0.3,), (0.2,)), FLOAT),
    (ToFloat(), GREY),
    (FeatureIdentity(), FEATURES),
    (Compose(), COLor),
]


@pytest.fixture(scope="module")
def samples(make_images):
    gray = make_images(100, 9, 13, channels=1)
    features = torch.randn(100, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {COLor: make_images(100, 15, 15), GREY: gray, FLOAT: gray.float() / 255, FEATURES: features}


@pytest.mark.parametrize(("view", "kind"), RANDOM + FIXED, ids=repr)
def test_a_sample_is_the_same_in_any_batch(view, kind, samples):
    x, position = samples[kind], torch.arange(1000, 1100)
    before = x.clone()
    whole = view(x, Draws(1, position))
    for size in (1, 7):
        parts = [view(a, Draws(1, b)) for a, b in zip(x.split(size), position.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert whole.shape == x.shape and torch.equal(x, before)


@pytest.mark.parametrize(("view", "kind"), RANDOM, ids=repr)
def test_samples_and_keys_are_drawn_apart(view, kind, samples):
    x = samples[kind][-1:].repeat(60, *(1,) * (samples[kind].dim() - 1))
    views = view(x, Draws(1, torch.arange(60)))
    assert len({picture.numpy().tobytes() for picture in views}) > (1 if "Flip(p" in repr(view) else 8)
    assert not torch.equal(views, view(x, Draws(2, torch.arange(60))))


@pytest.mark.parametrize(("view", "kind"), RANDOM + FIXED, ids=repr)
def test_views_survive_pickling(view, kind, samples):
    again, position = pickle.loads(pickle.dumps(view)), torch.arange(100)
    assert again == view and repr(again) == repr(view) and hash(again) == hash(view)
    assert torch.equal(again(samples[kind], Draws(0, position)), view(samples[kind], Draws(0, position)))


@pytest.mark.parametrize(("view", "kind"), RANDOM + FIXED, ids=repr)
def test_no_samples_give_no_views(view, kind, samples):
    assert view(samples[kind][:0], Draws(0, torch.arange(0))).shape == samples[kind][:0].shape


@pytest.mark.parametrize(("view", "kind"), RANDOM + FIXED, ids=repr)
def test_global_generator_is_left_alone(view, kind, samples):
    state = torch.get_rng_state()
    view(samples[kind], Draws(0, torch.arange(100)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fill", [0, 77])
def test_crop_equals_slices_of_the_padded_image(fill, make_images):
    x, position = make_images(40, 10, 14), torch.arange(40)
    corner = Draws(3, position).integers(0, 7, (2,)).tolist()
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3), value=fill)
    expected = torch.stack([padded[i, :, a : a + 10, b : b + 14] for i, (a, b) in enumerate(corner)])
    assert torch.equal(RandomCrop(3, fill=fill)(x, Draws(3, position)), expected)
    assert len({tuple(place) for place in corner}) > 25


CROPS = {
    "bytes": (torch.uint8, 77),
    "floats": (torch.float32, -0.5),
    "doubles": (torch.float64, 0.0),
    "halves": (torch.bfloat16, 1.5),
    "words": (torch.int64, 2**40 + 3),
    "truth": (torch.bool, True),
}


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 4, 13])
@pytest.mark.parametrize("name", sorted(CROPS))
def test_both_ways_to_crop_give_the_same(name, padding, flips, make_images):
    dtype, fill = CROPS[name]
    x, draws = make_images(300, 10, 12, channels=2).to(dtype), Draws(0, torch.arange(300))
    corner, mirrored = draws.integers(0, 2 * padding + 1, (2,)), draws.bernoulli(0.4) if flips else None
    expected = image._crop_by_pixels(x, corner, mirrored, padding, fill)
    for pixels in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(0, 1).contiguous().transpose(0, 1)):
        result = image._crop_by_copies(pixels, corner, mirrored, padding, fill)
        assert torch.equal(result, expected) and result.is_contiguous()


def test_blocks_of_any_size_give_the_same_views(monkeypatch, make_images):
    x, position, view = make_images(90, 12, 12), torch.arange(90), cifar_views()["strong"]
    expected = view(x, Draws(0, position))
    for elements in (1, 2000, 1 << 30):
        monkeypatch.setattr(base, "_BLOCK", elements)
        assert torch.equal(view(x, Draws(0, position)), expected)


def test_crop_and_flip_in_one_pass_equal_the_two(make_images):
    x, position = make_images(50, 10, 14), torch.arange(50)
    two = Compose(RandomCrop(2), RandomHorizontalFlip(0.4))
    assert torch.equal(RandomCropFlip(2, p=0.4)(x, Draws(0, position)), two(x, Draws(0, position)))


def test_flip_mirrors_as_many_as_it_should(make_images):
    x = make_images(3, 4, 6)[2:].expand(4000, 3, 4, 6)
    flipped = RandomHorizontalFlip(0.25)(x, Draws(0, torch.arange(4000)))
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert ((flipped == x).flatten(1).all(1) ^ mirrored).all()
    assert abs(mirrored.double().mean().item() - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_views_accept_channels_last_memory(make_images):
    x = make_images(6).contiguous(memory_format=torch.channels_last)
    view = cifar_views()["strong"]
    expected = view(x.contiguous(), Draws(0, torch.arange(6)))
    assert torch.equal(view(x, Draws(0, torch.arange(6))), expected)


def test_normalize_takes_bytes_and_unit_floats(make_images):
    x = make_images(5)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    expected = (x.double() / 255 - mean) / std
    draws = Draws(0, torch.arange(5))
    for pixels in (x, x.float() / 255, x.double() / 255):
        result = Normalize(MEAN, STD)(pixels, draws)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, expected.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.1, 0.1)), ((0.5,), (0.0,))])
def test_normalize_refuses_impossible_settings(mean, std):
    with pytest.raises(ValueError, match="one mean and one positive std"):
        Normalize(mean, std)


def test_normalize_refuses_another_channel_count(make_images):
    with pytest.raises(ValueError, match="1 means but the images have 3 channels"):
        Normalize((0.5,), (0.5,))(make_images(3), Draws(0, torch.arange(3)))


def test_to_float_divides_bytes_alone():
    draws = Draws(0, torch.arange(1))
    assert ToFloat(16)(torch.full((1, 1, 2, 2), 8, dtype=torch.uint8), draws).eq(0.5).all()
    assert ToFloat(16)(torch.full((1, 1, 2, 2), 0.5), draws).eq(0.5).all()


def test_cutout_erases_one_square():
    x = torch.ones(200, 3, 12, 12, dtype=torch.uint8)
    erased = Cutout(4)(x, Draws(0, torch.arange(200))) == 0
    counts = erased[:, 0].sum((1, 2))
    assert (erased == erased[:, :1]).all()
    assert counts.max() == 16 and counts.min() == 4  # a center in the first corner leaves 2 x 2


def test_contrast_keeps_the_mean_and_scales_the_spread():
    x = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    result = Contrast(0.5, 1.5)(x, Draws(0, torch.arange(300)))
    factor = result.flatten(1).std(1) / x.flatten(1).std(1)
    torch.testing.assert_close(result.mean((1, 2, 3)), x.mean((1, 2, 3)))
    assert 0.5 <= factor.min() < 0.52 and 1.48 < factor.max() <= 1.5


@pytest.mark.parametrize("view", [Contrast(0.5, 1.5), GaussianNoise(0.1)], ids=repr)
def test_float_views_refuse_bytes_and_keep_half_precision(view):
    draws = Draws(0, torch.arange(1))
    with pytest.raises(TypeError, match="put ToFloat"):
        view(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), draws)
    assert view(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16), draws).dtype == torch.bfloat16


def test_noise_has_its_standard_deviation():
    noise = GaussianNoise(0.3)(torch.zeros(200, 1, 10, 10), Draws(0, torch.arange(200)))
    assert abs(noise.std().item() - 0.3) < 0.01 and abs(noise.mean().item()) < 0.01


def test_compose_draws_afresh_for_each_view():
    x = torch.zeros(50, 1, 8, 8)
    twice = Compose(GaussianNoise(1.0), GaussianNoise(1.0))(x, Draws(0, torch.arange(50)))
    assert abs(twice.std().item() - 2**0.5) < 0.1


def test_views_made_in_inference_mode_serve_training_later():
    # The constants a view keeps on the device are made by whoever calls first.
    view, x = Normalize((0.123456,), (0.654321,)), torch.rand(2, 1, 3, 3)
    with torch.inference_mode():
        view(x, Draws(0, torch.arange(2)))
    weight = torch.ones(1, requires_grad=True)
    (view(x, Draws(0, torch.arange(2))) * weight).sum().backward()
    assert weight.grad is not None


_SIZES = [(30, 32, 4), (40, 32, 6), (60, 32, 8), (30, 64, 8), (40, 64, 12), (60, 64, 18)]


@pytest.mark.parametrize(("size", "side", "pixels"), _SIZES)
def test_holes_relative_to_the_side_have_the_stated_size(size, side, pixels):
    x, draws = torch.ones(400, 1, side, side + 4), Draws(0, torch.arange(400))
    holes = Cutout(size, relative_to=224)(x, draws) == 0
    assert holes.sum(2).amax().item() == holes.sum(3).amax().item() == pixels
    assert torch.equal(holes, Cutout(pixels)(x, Draws(0, torch.arange(400))) == 0)


@pytest.mark.parametrize(("size", "share"), [(4, 1.47), (6, 3.19), (8, 5.49), (16, 19.14), (24, 37.13)])
def test_holes_cover_the_stated_share(size, share):
    place = torch.cartesian_prod(torch.arange(32), torch.arange(32))
    centers = iter(place.unbind(1))

    class Enumerated(Draws):
        def integers(self, low, high, shape=()):
            return next(centers)

    holes = Cutout(size)(torch.ones(1024, 1, 32, 32), Enumerated(0, torch.arange(1024))) == 0
    assert 100 * holes.float().mean().item() == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("settings", [{"size": 0}, {"size": 4, "relative_to": 0}])
def test_holes_of_no_size_are_refused(settings):
    with pytest.raises(ValueError, match="Cutout"):
        Cutout(**settings)


def test_views_on_top_of_each_other_draw_one_after_the_other(make_images):
    x, draws = make_images(9), Draws(2, torch.arange(9))
    expected = Cutout(8, fill=127)(RandAugment()(x, draws), draws)
    assert torch.equal(Chain([RandAugment(), Cutout(8, fill=127)])(x, Draws(2, torch.arange(9))), expected)
    for wrong, error in (([], ValueError), ([ToFloat()], TypeError)):
        with pytest.raises(error, match="Chain"):
            Chain(wrong)
