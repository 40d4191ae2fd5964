"""Views of recordings: masks on spectrograms, and one change for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisylab.transforms.base import View
from noisylab.transforms.draws import Draws

__all__ = ["EachFrame", "SpectrogramMask", "TimeShift"]


@dataclass(frozen=True)
class SpectrogramMask(View):
    """Sets neighboring bands, and neighboring frames, of each spectrogram to zero, its mean after normalization.

    How many is drawn for each sample, from 0 to the numbers given, and then where they begin (Park et al., SpecAugment,
    Interspeech 2019, one mask of each kind and no warping).

    Args:
        bands: most neighboring bands, >= 0.
        frames: most neighboring frames, >= 0.

    >>> SpectrogramMask(2, 3)(torch.ones(1, 1, 8, 12), Draws(0, torch.arange(1))).shape
    torch.Size([1, 1, 8, 12])
    """

    bands: int = 16
    frames: int = 24

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, 1, D, W) float spectrograms, masked."""
        bands = self._span(self.bands, x.shape[2], draws)
        frames = self._span(self.frames, x.shape[3], draws)
        return x.masked_fill(bands[:, None, :, None] | frames[:, None, None, :], 0.0)

    def _span(self, most: int, size: int, draws: Draws) -> Tensor:
        """(B, size) bool, true in a span of up to `most`."""
        width = draws.integers(0, min(most, size) + 1)
        start = (draws.uniform() * (size - width + 1)).long()
        place = torch.arange(size, device=width.device)
        return (place >= start[:, None]) & (place < (start + width)[:, None])


@dataclass(frozen=True)
class TimeShift(View):
    """Begins each spectrogram earlier or later, by as many frames as are drawn for it; what comes in is zero, silence.

    Args:
        frames: largest shift to either side, >= 0.

    >>> TimeShift(0)(torch.ones(1, 1, 8, 12), Draws(0, torch.arange(1))).sum().item()
    96.0
    """

    frames: int = 8

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, 1, D, W) spectrograms of the same type, shifted."""
        width = x.shape[3]
        shift = draws.integers(0, 2 * self.frames + 1) - self.frames
        place = torch.arange(width, device=x.device) + shift[:, None]
        inside = (place >= 0) & (place < width)
        taken = x.gather(3, place.clamp(0, width - 1)[:, None, None, :].expand_as(x))
        return taken.masked_fill(~inside[:, None, None, :], 0)


@dataclass(frozen=True)
class EachFrame(View):
    """A view of pictures on all frames of a clip, with the same draws for each: all are mirrored, or none.

    Args:
        view: of (B, C, H, W) pictures.
    """

    view: View

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The frames (B, F, C, H, W), each changed alike."""
        return torch.stack([self.view(x[:, place], draws.again()) for place in range(x.shape[1])], 1)

    def at(self, epoch: int) -> EachFrame:
        """The view of an epoch."""
        return EachFrame(self.view.at(epoch))
