from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from noisylab.data import Arrays, Digits
from noisylab.noise import InstanceDependent, load_noise, save_noise
from noisylab.noise.instance import truncated_normal

TOY = torch.arange(72).reshape(12, 6) % 7 / 7
TOY_LABELS = torch.arange(12) % 3


def published(x: Tensor, labels: Tensor, classes: int, rate: float, seed: int) -> list[int]:
    """The published function, one sample after the other, in numpy; x as it is handed to it."""
    random = np.random.RandomState(seed)
    flip = stats.truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1).rvs(len(labels), random_state=random)
    weights = random.randn(classes, x[0].numel(), classes).astype(np.float32)
    chances = []
    for row, label, q in zip(x, labels.tolist(), flip, strict=True):
        scores = torch.from_numpy(row.reshape(-1).numpy().astype(np.float64) @ weights[label].astype(np.float64)).float()
        scores[label] = -torch.inf
        part = q * torch.softmax(scores, 0)
        part[label] += 1 - q
        chances.append(part.double().numpy())
    return [int(random.choice(classes, p=part / part.sum())) for part in chances]


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.data).float(), torch.from_numpy(bunch.target).long()


@pytest.mark.parametrize(
    ("arguments", "rate", "total", "first"),
    [
        ({}, 0.391208, 7041, [0, 0, 2, 3, 0, 5, 6, 7, 0, 9]),
        ({"seed": 2}, 0.407346, 7477, None),
        ({"scale": "unit"}, 0.388425, 7170, None),
        ({"scale": "unit", "seed": 2}, 0.408459, 7659, None),
        ({"variant": "cores"}, 0.380078, 8936, None),
    ],
)
def test_labels_of_the_digits_are_those_of_the_published_functions(
    arguments: dict[str, object], rate: float, total: int, first: list[int] | None
) -> None:
    noisy = InstanceDependent(0.4, **arguments)(digits()[1], 10, digits()[0])  # type: ignore[arg-type]
    assert round(noisy.measured_rate, 6) == rate and int(noisy.given_target.sum()) == total
    assert first is None or noisy.given_target[:10].tolist() == first


def test_toy_labels_of_both_variants() -> None:
    assert InstanceDependent(0.4)(TOY_LABELS, 3, TOY).given_target.tolist() == [0, 2, 2, 2, 1, 2, 0, 2, 2, 0, 1, 0]
    cores = InstanceDependent(0.4, variant="cores")(TOY_LABELS, 3, TOY)
    assert cores.given_target.tolist() == [2, 1, 2, 2, 2, 2, 0, 1, 0, 2, 1, 0]


def test_flip_probabilities_are_those_of_scipy() -> None:
    toy = truncated_normal(0.4, 0.1, 4, np.random.RandomState(1))
    np.testing.assert_allclose(toy, [0.379053, 0.458383, 0.037778, 0.348236], atol=5e-7)
    for mean, sigma in ((0.4, 0.1), (0.05, 0.1), (0.0, 0.1), (0.97, 0.3)):
        ours = truncated_normal(mean, sigma, 2000, np.random.RandomState(5))
        theirs = stats.truncnorm(-mean / sigma, (1 - mean) / sigma, loc=mean, scale=sigma).rvs(
            2000, random_state=np.random.RandomState(5)
        )
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


def test_pictures_are_looked_at_in_the_order_of_the_layout() -> None:
    images = torch.randint(0, 256, (60, 3, 4, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(60) % 4
    hwc = published(images.permute(0, 2, 3, 1).float(), labels, 4, 0.4, 1)
    assert InstanceDependent(0.4)(labels, 4, images).given_target.tolist() == hwc
    chw = published(images.float(), labels, 4, 0.4, 7)
    assert InstanceDependent(0.4, layout="chw", seed=7)(labels, 4, images).given_target.tolist() == chw != hwc


def test_standardized_pictures_have_channels_of_mean_zero_and_deviation_one() -> None:
    images = torch.randint(0, 256, (60, 3, 4, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(60) % 4
    scaled = (images - images.double().mean((0, 2, 3), keepdim=True)) / images.double().std((0, 2, 3), keepdim=True, correction=0)
    expected = published(scaled.permute(0, 2, 3, 1), labels, 4, 0.4, 1)
    assert InstanceDependent(0.4, scale="standardized")(labels, 4, images).given_target.tolist() == expected


def test_pictures_of_a_module_are_looked_at_as_they_are_stored() -> None:
    data = Digits(noise=InstanceDependent(0.4, scale="standardized"))
    data.setup()
    assert data.noisy is not None
    again = InstanceDependent(0.4, scale="standardized")(data.clean_target, 10, data.noise_inputs(data.source))
    assert torch.equal(data.given_target, again.given_target)
    matrix = data.noisy.transition_matrix  # realized: counted by hand
    assert matrix is not None
    rows = data.clean_target == 3
    assert float(matrix[3, 5]) == pytest.approx(float((data.given_target[rows] == 5).double().mean()))
    assert float(1 - (matrix.diagonal() * torch.bincount(data.clean_target)).sum() / 1438) == pytest.approx(
        data.noisy.measured_rate
    )
    assert any(line.startswith("drawn noise: ") for line in data.source.account)


def test_a_class_that_loses_its_majority_is_named() -> None:
    data = Digits(noise=InstanceDependent(0.8))
    data.setup()
    assert any("the most frequent label of" in line and "is not their own: " in line for line in data.source.account)


def test_rows_that_are_not_in_memory_are_refused_unless_features_are_given(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"not one array in memory; read the images into memory .* --data.noise.features FILE.npy"
    ):
        InstanceDependent(0.4)(TOY_LABELS, 3)
    np.save(tmp_path / "f.npy", TOY.numpy())
    noise = InstanceDependent(0.4, features=str(tmp_path / "f.npy"))
    assert noise(TOY_LABELS, 3).given_target.tolist() == [0, 2, 2, 2, 1, 2, 0, 2, 2, 0, 1, 0]
    with pytest.raises(ValueError, match="one row for each of the 11 rows of the training data"):
        noise(TOY_LABELS[:11], 3)


def test_features_are_those_of_the_labeled_rows_where_some_have_no_label(tmp_path: Path) -> None:
    labels = np.concatenate([TOY_LABELS.numpy(), [-1]])
    np.savez(tmp_path / "a.npz", x=np.zeros((13, 2), dtype=np.float32), y=np.roll(labels, 1))
    np.save(tmp_path / "f.npy", np.roll(np.concatenate([TOY.numpy(), np.ones((1, 6))]), 1, axis=0))
    data = Arrays(str(tmp_path / "a.npz"), noise=InstanceDependent(0.4, features=str(tmp_path / "f.npy")))
    with pytest.warns(UserWarning):
        data.setup()
    assert data.given_target.tolist() == [-1, 0, 2, 2, 2, 1, 2, 0, 2, 2, 0, 1, 0]


def test_a_noise_file_says_what_made_its_labels(tmp_path: Path) -> None:
    noise = InstanceDependent(0.4, variant="cores")
    save_noise(tmp_path / "n.npz", noise(TOY_LABELS, 3, TOY), noise.kind, noise.seed, generator=f"{noise.generator}: {noise!r}")
    file = load_noise(tmp_path / "n.npz")
    assert file.kind == "instance" and file.generator is not None and file.generator.startswith("pdn_cores: InstanceDependent(")
    assert file.given_sha256 is not None and len(file.given_sha256) == 64


def test_too_few_flip_probabilities_of_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisylab.noise.instance._CORES_DRAWS", 5)
    with pytest.raises(ValueError, match="variant='cores' has 5 flip probabilities"):
        InstanceDependent(0.4, variant="cores")(TOY_LABELS, 3, TOY)


@pytest.mark.parametrize(("name", "value"), [("sigma", 0.0), ("scale", "raw"), ("layout", "nhwc"), ("variant", "seal")])
def test_arguments_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        InstanceDependent(0.4, **{name: value})  # type: ignore[arg-type]
