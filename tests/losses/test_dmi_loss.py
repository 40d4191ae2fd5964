from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.losses import dmi_loss, joint_matrix

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0])
NOTHING = 6.907755278982137  # -log 0.001


def _direct(joint: Tensor) -> float:
    return -math.log(abs(torch.linalg.det(joint).item()) + 0.001)


def test_joint_matrix_sums_predictions_by_label() -> None:
    found = joint_matrix(LOGITS, TARGET)
    expected = torch.tensor([[1.4179, 0.1919, 0.3902], [0.3072, 0.5065, 0.1863], [0.2119, 0.2119, 0.5761]])
    assert torch.allclose(found, expected.double(), rtol=0, atol=5.1e-5)
    assert torch.linalg.det(found).item() == pytest.approx(0.31487241122678733, abs=1e-14)


def test_loss_is_that_of_the_sum_over_the_batch_and_not_of_its_mean() -> None:
    assert dmi_loss(joint_matrix(LOGITS, TARGET)).item() == pytest.approx(1.1524169088695713, abs=1e-13)
    assert dmi_loss(joint_matrix(LOGITS, TARGET) / 4).item() == pytest.approx(5.129438859776925, abs=1e-12)


def test_gradient_has_the_values_of_the_formula_and_no_part_along_shifts() -> None:
    logits = LOGITS.clone().requires_grad_()
    dmi_loss(joint_matrix(logits, TARGET)).backward()
    expected = [[-0.1520, 0.1204, 0.0316], [0.3333, -0.6723, 0.3390], [0.3199, 0.3081, -0.6280], [-0.2414, 0.0632, 0.1782]]
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=5.1e-5)
    assert torch.allclose(logits.grad.sum(1), torch.zeros(4, dtype=torch.float64), atol=1e-15)


@pytest.mark.parametrize("offset", [0.001, 0.0, 0.5])
def test_gradient_agrees_with_finite_differences(offset: float) -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dmi_loss(joint_matrix(z, TARGET), offset=offset), (logits,))


def test_gradient_of_the_matrix_is_its_inverse_scaled_by_the_offset() -> None:
    joint = joint_matrix(LOGITS, TARGET).requires_grad_()
    dmi_loss(joint).backward()
    determinant = torch.linalg.det(joint.detach())
    expected = -torch.linalg.inv(joint.detach()).t() * determinant.abs() / (determinant.abs() + 0.001)
    assert joint.grad is not None and torch.allclose(joint.grad, expected, rtol=0, atol=4e-15)


@pytest.mark.parametrize("offset", [0.001, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_class_absent_from_the_batch_costs_the_offset_and_teaches_nothing(offset: float, dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype, copy=True).requires_grad_()
    loss = dmi_loss(joint_matrix(logits, torch.tensor([0, 1, 1, 0])), offset=offset)
    assert loss.item() == (pytest.approx(NOTHING) if offset else math.inf)
    loss.backward()
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    "joint",
    [
        torch.tensor([[1.0, 0.0], [2.0, 0.0]]),  # a class that is never predicted
        torch.tensor([[1.0, 2.0], [2.0, 4.0]]),  # proportional rows
        torch.zeros(3, 3),
    ],
)
def test_every_singular_matrix_costs_the_offset_and_teaches_nothing(joint: Tensor) -> None:
    joint.requires_grad_()
    loss = dmi_loss(joint)
    loss.backward()
    assert loss.item() == pytest.approx(NOTHING) and joint.grad is not None and not bool(joint.grad.any())


def test_nan_is_passed_on() -> None:
    assert math.isnan(dmi_loss(torch.tensor([[math.nan, 1.0], [1.0, 2.0]])).item())


def test_permuting_the_predicted_classes_leaves_the_loss() -> None:
    found = dmi_loss(joint_matrix(LOGITS[:, [2, 0, 1]], TARGET)).item()
    assert found == pytest.approx(1.1524169088695713, abs=1e-13)


def test_loss_equals_the_direct_form() -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 0.1, 1.0, 30.0):
        joint = scale * torch.rand(5, 5, dtype=torch.float64, generator=generator)
        assert dmi_loss(joint).item() == pytest.approx(_direct(joint), abs=1e-12)


def test_noise_multiplies_the_determinant_by_that_of_its_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(50, 3, dtype=torch.float64, generator=generator).softmax(1)
    logits = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    matrix = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)
    noisy, clean = joint_matrix(logits, true @ matrix), joint_matrix(logits, true)
    assert (torch.linalg.det(noisy) / torch.linalg.det(clean)).item() == pytest.approx(0.3, abs=1e-12)
    assert (dmi_loss(clean, offset=0) - dmi_loss(noisy, offset=0)).item() == pytest.approx(math.log(0.3), abs=1e-12)


def test_soft_labels_that_are_one_hot_give_the_matrix_of_hard_ones() -> None:
    assert torch.equal(joint_matrix(LOGITS, torch.eye(3)[TARGET]), joint_matrix(LOGITS, TARGET))


def test_a_hundred_classes_are_out_of_the_range_of_float32_but_not_of_the_loss() -> None:
    joint = torch.diag(torch.full((100,), 1e-3)), torch.diag(torch.full((100,), 1e2))
    assert dmi_loss(joint[0], offset=0).item() == pytest.approx(300 * math.log(10), rel=1e-6)
    assert dmi_loss(joint[0]).item() == pytest.approx(NOTHING)
    assert dmi_loss(joint[1]).item() == pytest.approx(-200 * math.log(10), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_before_the_first_product(dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        joint = joint_matrix(logits, TARGET)
        loss = dmi_loss(joint)
    assert joint.dtype == loss.dtype == torch.float32
    assert loss.item() == pytest.approx(dmi_loss(joint_matrix(logits.double(), TARGET)).item(), rel=1e-5)


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"offset must be at least 0, got -0\.1"):
        dmi_loss(torch.eye(2), offset=-0.1)
