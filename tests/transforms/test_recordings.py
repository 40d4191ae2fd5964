from __future__ import annotations

import torch

from noisylab.transforms.draws import Draws
from noisylab.transforms.image import RandomHorizontalFlip
from noisylab.transforms.recordings import EachFrame, SpectrogramMask


def test_one_span_of_bands_and_one_of_frames_are_zero_and_the_rest_is_kept() -> None:
    x = torch.rand(200, 1, 10, 14) + 1
    masked = SpectrogramMask(bands=3, frames=5)(x, Draws(4, torch.arange(200)))
    heights, widths = set(), set()
    for before, after in zip(x[:, 0], masked[:, 0], strict=True):
        gone = after == 0
        bands, frames = gone.all(1), gone.all(0)
        assert torch.equal(gone, bands[:, None] | frames[None]) and torch.equal(after[~gone], before[~gone])
        for span in (bands, frames):
            assert int(span.int().diff().abs().sum()) <= 2  # neighbors
        heights.add(int(bands.sum()))
        widths.add(int(frames.sum()))
    assert heights == {0, 1, 2, 3} and widths == {0, 1, 2, 3, 4, 5}


def test_masks_reach_the_first_and_the_last_band() -> None:
    masked = SpectrogramMask(bands=2, frames=0)(torch.ones(300, 1, 6, 4), Draws(1, torch.arange(300)))
    assert (masked[:, 0, :, 0] == 0).any(0).all()


def test_all_frames_of_a_clip_are_mirrored_or_none() -> None:
    x = torch.rand(64, 3, 1, 2, 5)
    view = EachFrame(RandomHorizontalFlip(0.5))
    changed = view(x, Draws(7, torch.arange(64)))
    mirrored = (changed == x.flip(-1)).flatten(1).all(1)
    assert ((changed == x).flatten(1).all(1) ^ mirrored).all() and 10 < int(mirrored.sum()) < 54
    alone = view(x[9:10], Draws(7, torch.tensor([9])))
    assert torch.equal(alone[0], changed[9])
