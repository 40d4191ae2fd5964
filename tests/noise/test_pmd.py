from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.noise import PMD
from noisylab.noise.pmd import pmd_keep

ETA = torch.tensor([[0.6, 0.3, 0.1], [0.9, 0.08, 0.02], [1.0, 0.0, 0.0], [0.4, 0.4, 0.2]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("I", [0.454167, 0.696833, 0.833333, 0.416667]),
        ("II", [0.0225, 0.459473, 0.833333, 0.0]),
        ("III", [0.115833, 0.567713, 0.833333, 0.0]),
    ],
)
def test_how_often_the_first_class_is_kept(kind: str, expected: list[float]) -> None:
    np.testing.assert_allclose(pmd_keep(ETA, kind) / 1.2, expected, atol=5e-7)  # type: ignore[arg-type]


def test_labels_are_the_two_top_classes_in_the_shares_of_the_margin(tmp_path: Path) -> None:
    eta = torch.tensor([[0.1, 0.6, 0.3]]).expand(20_000, 3)
    np.savez(tmp_path / "p.npz", probabilities=eta.numpy())
    noise = PMD(str(tmp_path / "p.npz"), type="I", factor=1.2)
    noisy = noise(torch.zeros(20_000, dtype=torch.int64), 3)
    assert set(noisy.given_target.tolist()) == {1, 2}
    # sqrt(.454 * .546 / 20000) = .0035
    assert float((noisy.given_target == 1).double().mean()) == pytest.approx(0.454167, abs=0.0176)
    assert noisy.measured_rate == 1.0 and noisy.rate is None  # against the truth, not against the network
    other = PMD(str(tmp_path / "p.npz"), factor=1.2, seed=1)(torch.zeros(20_000, dtype=torch.int64), 3)
    assert not torch.equal(other.given_target, noisy.given_target)


def test_rows_that_are_no_probabilities_and_other_classes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.array([[2.0, -1.0, 0.0]] * 4))
    np.save(tmp_path / "two.npy", np.full((4, 2), 0.5))
    labels = torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"row 0 of .*logits.npy is no row of probabilities"):
        PMD(str(tmp_path / "logits.npy"))(labels, 3)
    with pytest.raises(ValueError, match=r"PMD needs probabilities of shape \(4, 3\), a row for each label, got \(4, 2\)"):
        PMD(str(tmp_path / "two.npy"))(labels, 3)
    with pytest.raises(FileNotFoundError, match=r"no file .*none.npy of probabilities"):
        PMD(str(tmp_path / "none.npy"))(labels, 3)


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"factor must be a number of at least 1, got 0.9"):
        PMD("p.npy", factor=0.9)
