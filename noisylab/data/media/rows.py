"""Rows that are parts of longer wholes, or share one: windows of spectrograms, one statistics vector for all frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.transforms.base import to_device

__all__ = ["SharedRows", "WindowRows", "level_of"]


class WindowRows:
    """Rows that are windows of one long spectrogram, cut when a batch is built.

    Args:
        values: (T, D) all frames, one clip after the other.
        starts: (N,) int64 first frame of each row.
        length: frames of a row, W.
    """

    def __init__(self, values: Tensor, starts: Tensor, length: int) -> None:
        self.values, self.starts, self.length = values, starts, length

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes of the spectrogram."""
        return self.values.nbytes

    @property
    def row_size(self) -> int:
        """Numbers in one row."""
        return self.length * self.values.shape[1]

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        self.values = self.values.to(device)

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index` as one-channel pictures (B, 1, D, W): band by time."""
        frames = to_device(self.starts[index][:, None] + torch.arange(self.length), self.values.device)
        return self.values[frames].transpose(1, 2).unsqueeze(1).contiguous()


class SharedRows:
    """Rows of which several have the same inputs, kept once.

    Args:
        values: (M, ...) the different inputs.
        place: (N,) int64 which one each row has.
    """

    def __init__(self, values: Tensor, place: Tensor) -> None:
        self.values, self.place = values, place

    def __len__(self) -> int:
        return len(self.place)

    @property
    def nbytes(self) -> int:
        """Bytes of the different inputs."""
        return self.values.nbytes

    @property
    def row_size(self) -> int:
        """Numbers in one row."""
        return self.values[0].numel() if len(self.values) else 1

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        self.values = self.values.to(device)

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index`."""
        return self.values.index_select(0, to_device(self.place[index], self.values.device))


def level_of(windows: WindowRows, rows: Tensor) -> dict[str, float]:
    """Mean and standard deviation of the stored values in the windows of some rows, each frame counted once."""
    used = torch.zeros(len(windows.values), dtype=torch.bool)
    for start in windows.starts[rows].tolist():
        used[start : start + windows.length] = True
    counts = torch.bincount(windows.values[used].flatten().long(), minlength=256).double()
    level = torch.arange(256, dtype=torch.float64)
    mean = float((counts * level).sum() / counts.sum())
    deviation = float((counts * (level - mean) ** 2).sum() / counts.sum()) ** 0.5
    return {"mean": mean, "std": deviation or 1.0}
