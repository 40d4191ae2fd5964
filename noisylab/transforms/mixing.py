"""Mixing the samples of a batch: mixup and CutMix."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.types import Inputs, map_inputs
from noisylab.upstream.torch import standard_gamma

__all__ = ["cutmix", "cutmix_box", "folded_weights", "mix", "mix_rows", "mix_weight", "mixup", "one_hot"]


def mix_weight(alpha: float) -> float:
    """One draw of Beta(alpha, alpha) from torch's CPU generator; 1 when `alpha` is not positive."""
    if alpha <= 0:
        return 1.0
    first, second = standard_gamma(torch.tensor([alpha, alpha], dtype=torch.float64)).tolist()
    return first / (first + second) if first + second > 0 else 0.5


def mix(inputs: Inputs, order: Tensor, lam: float) -> Inputs:
    """``lam * x + (1 - lam) * x[order]`` of every tensor of the inputs.

    Args:
        inputs: tensors (B, ...) of floats.
        order: (M,) int64, M <= B, rows to be mixed into the first M.
        lam: share of the first, in [0, 1].

    Returns:
        The first M rows, mixed.

    Raises:
        TypeError: for whole numbers, such as those of tokens, unless `lam` is 1, which mixes nothing.
    """
    if lam == 1:
        return map_inputs(lambda x: x[: len(order)], inputs)
    return map_inputs(lambda x: lam * _number(x)[: len(order)] + (1 - lam) * x[order], inputs)


def _number(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(
            "inputs that are whole numbers, such as those of tokens, cannot be mixed; train on feature vectors instead"
        )
    return x


def one_hot(target: Tensor, like: Tensor) -> Tensor:
    """Rows (B, K) with a one at each label; torch's own function reads the largest label back from the device.

    Args:
        target: (B,) int64.
        like: (any, K); its number of columns, type and device are those of the result.

    >>> one_hot(torch.tensor([2, 0]), torch.zeros(1, 3)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return like.new_zeros(len(target), like.shape[1]).scatter_(1, target[:, None], 1.0)


def folded_weights(count: int, beta: float, like: Tensor) -> Tensor:
    """(count,) shares ``max(l, 1 - l)``, ``l = u^(1/beta) / 2`` for uniform u: the law of the authors' code of IEG, not a Beta.

    Args:
        count: how many.
        beta: positive; 0.5 gives a mean of 5/6.
        like: a float tensor whose device and type they have.
    """
    share = torch.rand(count, device=like.device, dtype=like.dtype).pow(1 / beta) / 2
    return torch.maximum(share, 1 - share)


def mix_rows(inputs: Inputs, order: Tensor, lam: Tensor) -> Inputs:
    """``lam_i * x_i + (1 - lam_i) * x_order(i)`` of every tensor of the inputs.

    Args:
        inputs: tensors (B, ...) of floats.
        order: (B,) int64 partners.
        lam: (B,) shares of the first, in [0, 1].
    """

    def mixed(values: Tensor) -> Tensor:
        share = lam.to(_number(values).dtype).view(-1, *(1,) * (values.ndim - 1))
        return share * values + (1 - share) * values[order]

    return map_inputs(mixed, inputs)


def mixup(inputs: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """``lam * x + (1 - lam) * x[order]`` with one lam for the batch (Zhang et al., ICLR 2018).

    Args:
        inputs: (B, ...) float.
        alpha: of Beta(alpha, alpha); not positive: no mixing.

    Returns:
        The mixed inputs, the order (B,) of the partners, and lam.
    """
    lam = mix_weight(alpha)
    if lam == 1.0:
        return inputs, torch.arange(len(inputs), device=inputs.device), 1.0
    order = torch.randperm(len(inputs), device=inputs.device)
    mixed = mix(inputs, order, lam)
    assert isinstance(mixed, Tensor)
    return mixed, order, lam


def cutmix_box(height: int, width: int, lam: float, center: tuple[int, int]) -> tuple[slice, slice, float]:
    """The box that CutMix pastes, clipped to the image, and the share of the image that it leaves.

    >>> cutmix_box(32, 32, 0.5, (28, 4))
    (slice(17, 32, None), slice(0, 15, None), 0.7802734375)
    """
    side = (1 - lam) ** 0.5
    rows, columns = (
        slice(max(c - int(size * side) // 2, 0), min(c + int(size * side) // 2, size))
        for c, size in zip(center, (height, width), strict=True)
    )
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return rows, columns, 1 - area / (height * width)


def cutmix(inputs: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """A box of a partner pasted into each image (Yun et al., ICCV 2019); lam is the share of the image left.

    Args:
        inputs: (B, C, H, W).
        alpha: of Beta(alpha, alpha); not positive: no mixing.

    Returns:
        The mixed inputs, the order (B,) of the partners, and lam.
    """
    lam = mix_weight(alpha)
    order = torch.randperm(len(inputs), device=inputs.device) if lam < 1 else torch.arange(len(inputs), device=inputs.device)
    height, width = inputs.shape[-2:]
    center = (int(torch.randint(height, (1,))), int(torch.randint(width, (1,))))
    rows, columns, lam = cutmix_box(height, width, lam, center)
    mixed = inputs.clone()
    mixed[..., rows, columns] = inputs[order][..., rows, columns]
    return mixed, order, lam
