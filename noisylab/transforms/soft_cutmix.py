"""CutMix with soft targets and masks, for methods that mix batches with guessed labels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from noisylab.transforms.base import to_device
from noisylab.transforms.image import inside_boxes
from noisylab.upstream.torch import standard_gamma

__all__ = ["CutMixed", "cutmix_boxes", "mix_targets", "soft_cutmix"]


class CutMixed(NamedTuple):
    """A batch into whose images boxes of other images are pasted.

    Args:
        inputs: (B, C, H, W), of the type of the images.
        target: (B, K) float32 mixed targets.
        order: (B,) int64 partner of each row.
        lam: (B,) float32 share of its own pixels that each image keeps, after the box is clipped.
    """

    inputs: Tensor
    target: Tensor
    order: Tensor
    lam: Tensor


def soft_cutmix(
    inputs: Tensor,
    target: Tensor,
    alpha: float,
    *,
    boxes: Literal["batch", "row"] = "batch",
    dominant: bool = True,
    mask: Tensor | None = None,
    order: Tensor | None = None,
) -> CutMixed:
    """Paste a box of a partner into each image, and mix the targets by the areas.

    lam is drawn from Beta(alpha, alpha), the center of the box (`cutmix_boxes`) uniformly among the pixels, and the partners
    by one permutation. Clipping and rounding to whole pixels can only enlarge the share that is left. So with `dominant` the
    first image keeps at least half of the area, and its mask can decide for the mixed row, as in MixMatch.

    Args:
        inputs: (B, C, H, W) images of any type.
        target: (B, K) float targets, soft or one-hot.
        alpha: of Beta(alpha, alpha), positive.
        boxes: one lam and one box for the "batch", as in the CutMix authors' code, or one for each "row".
        dominant: whether to take the larger of lam and 1 - lam, as MixMatch does.
        mask: (B,) weight of each target; see `mix_targets`.
        order: (B,) int64 partners, if the caller has drawn them.

    Raises:
        ValueError: if `alpha` is not positive, or the inputs are not images.

    Source: Yun et al., "CutMix", ICCV 2019; the larger lam: Berthelot et al., "MixMatch", NeurIPS 2019. All draws come from
    torch's generators; nothing is read back from the device.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, the parameter of Beta(alpha, alpha), got {alpha}; do not mix instead of 0")
    if inputs.ndim != 4:
        raise ValueError(f"CutMix pastes boxes of images (B, C, H, W), got inputs of shape {tuple(inputs.shape)}; take mixup")
    height, width = inputs.shape[-2:]
    count = 1 if boxes == "batch" else len(inputs)
    gammas = standard_gamma(torch.full((2, count), alpha, dtype=torch.float64))
    total = gammas.sum(0)
    lam = torch.where(total > 0, gammas[0] / total.clamp(min=torch.finfo(torch.float64).tiny), 0.5)
    lam = torch.maximum(lam, 1 - lam) if dominant else lam
    center = torch.stack([torch.randint(height, (count,)), torch.randint(width, (count,))], 1)
    edges, left = cutmix_boxes(height, width, lam, center)
    packed = to_device(torch.cat([edges.double(), left[:, None]], 1), inputs.device).expand(len(inputs), 5)
    order = torch.randperm(len(inputs), device=inputs.device) if order is None else order
    hole = inside_boxes(inputs, *packed[:, :4].long().unbind(1))
    share = packed[:, 4].float()
    return CutMixed(torch.where(hole, inputs[order], inputs), mix_targets(target, order, share, mask), order, share)


def cutmix_boxes(height: int, width: int, lam: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes that CutMix pastes, clipped to the image, and the share of the image that each leaves.

    Of sides ``w = int(W sqrt(1 - lam))`` and ``h`` alike, [c - w // 2, c + w // 2) around the center c.

    Args:
        height: H.
        width: W.
        lam: (n,) float64 wanted shares, in [0, 1].
        center: (n, 2) int64 row and column.

    Returns:
        (n, 4) int64 top, left, bottom and right, the last two exclusive; (n,) float64 shares.

    Example:
        >>> edges, left = cutmix_boxes(32, 32, torch.tensor([0.75]).double(), torch.tensor([[30, 2]]))
        >>> edges.tolist(), round(left.item(), 6)
        ([[22, 0, 32, 10]], 0.902344)
    """
    size = torch.tensor([height, width])
    half = (size * (1 - lam.double()).clamp(0, 1).sqrt()[:, None]).long() // 2
    start, stop = (center - half).clamp(min=0), torch.minimum(center + half, size)
    area = (stop - start).prod(1)
    return torch.cat([start, stop], 1), 1 - area.double() / (height * width)


def mix_targets(target: Tensor, order: Tensor, lam: Tensor, mask: Tensor | None = None) -> Tensor:
    """``lam m t + (1 - lam) m[order] t[order]``, in at least float32.

    Cross-entropy is linear in its target: with a mask m, the soft cross-entropy of the result is ``lam m_a CE(z, t_a) +
    (1 - lam) m_b CE(z, t_b)``, in which each component counts if its own target is trusted. This does not hold for a squared
    error: leave the mask out there, and weight its rows by the mask of the first component.

    Args:
        target: (B, K) float.
        order: (B,) int64 partners.
        lam: (B,) or () share of the first, in [0, 1].
        mask: (B,) weight of each target, bool or in [0, 1]; `None` for ones.
    """
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    if mask is not None:
        target = target * mask[:, None]
    share = lam.to(target.dtype).view(-1, 1)
    return share * target + (1 - share) * target[order]
