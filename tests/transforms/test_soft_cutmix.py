from __future__ import annotations

import pytest
import torch
from helpers.pretended_gpu import pretended_gpu

from noisylab.losses import soft_cross_entropy
from noisylab.transforms.mixing import cutmix_box
from noisylab.transforms.soft_cutmix import cutmix_boxes, mix_targets, soft_cutmix


def boxes(lam, row, column, height=32, width=32):
    edges, left = cutmix_boxes(height, width, torch.tensor([lam], dtype=torch.float64), torch.tensor([[row, column]]))
    return edges[0].tolist(), left.item()


def test_boxes_are_clipped_and_their_share_is_that_of_the_clipped_box():
    assert boxes(0.75, 16, 16) == ([8, 8, 24, 24], 0.75)
    edges, left = boxes(0.75, 30, 2)  # row 30, column 2
    assert edges == [22, 0, 32, 10] and left == pytest.approx(0.902344, abs=5e-7)
    edges, left = boxes(0.5, 16, 16)
    assert edges == [5, 5, 27, 27] and left == pytest.approx(0.527344, abs=5e-7)
    edges, left = boxes(0.9, 16, 16)
    assert edges == [11, 11, 21, 21] and left == pytest.approx(0.902344, abs=5e-7)
    assert boxes(1.0, 3, 3)[1] == 1.0


def test_boxes_of_rows_are_those_of_the_one_box():
    generator = torch.Generator().manual_seed(0)
    lam = torch.rand(200, generator=generator, dtype=torch.float64)
    center = torch.stack([torch.randint(20, (200,), generator=generator), torch.randint(32, (200,), generator=generator)], 1)
    edges, left = cutmix_boxes(20, 32, lam, center)
    for i in range(200):
        rows, columns, share = cutmix_box(20, 32, lam[i].item(), tuple(center[i].tolist()))
        assert edges[i].tolist() == [rows.start, columns.start, rows.stop, columns.stop]
        assert left[i].item() == pytest.approx(share, abs=1e-12)


def test_shares_with_the_larger_lam_have_the_stated_mean():
    torch.manual_seed(0)
    mixed = soft_cutmix(torch.zeros(20_000, 1, 32, 32), torch.ones(20_000, 1), 0.75, boxes="row")
    assert mixed.lam.mean().item() == pytest.approx(0.852, abs=0.004)
    assert mixed.lam.min().item() == pytest.approx(0.527344, abs=0.01) and mixed.lam.min() >= 0.5


@pytest.mark.parametrize("kind", ["batch", "row"])
def test_images_and_targets_are_mixed_in_the_same_shares(kind):
    torch.manual_seed(3)
    images = torch.arange(16.0).view(-1, 1, 1, 1).expand(16, 2, 12, 10)
    target = torch.eye(16)
    mixed = soft_cutmix(images, target, 1.0, boxes=kind)
    for i, (partner, share) in enumerate(zip(mixed.order.tolist(), mixed.lam.tolist(), strict=True)):
        if partner != i:
            assert (mixed.inputs[i] == i).float().mean().item() == pytest.approx(share)
            assert (mixed.inputs[i] == partner).float().mean().item() == pytest.approx(1 - share)
        expected = share * target[i] + (1 - share) * target[partner]
        torch.testing.assert_close(mixed.target[i], expected)
    holes = {tuple((image != i).flatten().tolist()) for i, image in enumerate(mixed.inputs[:, 0]) if mixed.order[i] != i}
    assert len(holes) == 1 if kind == "batch" else len(holes) > 5


def test_soft_targets_and_masked_components():
    target = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]])
    order, lam, logits = torch.tensor([1, 0]), torch.tensor([0.75, 0.75]), torch.tensor([[0.0, 0.0, 1.0]])
    mixed = mix_targets(target, order, lam)
    torch.testing.assert_close(mixed[0], torch.tensor([0.525, 0.15, 0.325]))
    losses = [soft_cross_entropy(logits, t[None]).item() for t in (target[0], target[1], mixed[0])]
    assert losses == pytest.approx([1.451445, 0.551445, 1.226445], abs=1e-6)
    kept = mix_targets(target, order, lam, torch.tensor([True, False]))
    assert soft_cross_entropy(logits, kept[:1]).item() == pytest.approx(1.088584, abs=1e-6)


@pytest.mark.parametrize(("shape", "alpha"), [((4, 3, 8, 8), 0.0), ((4, 9), 1.0)])
def test_what_cannot_be_mixed_is_refused(shape, alpha):
    with pytest.raises(ValueError, match=r"alpha|images"):
        soft_cutmix(torch.zeros(shape), torch.zeros(4, 2), alpha)


def test_nothing_waits_for_the_device():
    with pretended_gpu() as gpu:
        gpu.constants_allowed = False
        x, target = torch.zeros(6, 3, 8, 8, device="cuda"), torch.zeros(6, 4, device="cuda")
        assert soft_cutmix(x, target, 0.75, boxes="row", mask=target[:, 0]).lam.shape == (6,)
