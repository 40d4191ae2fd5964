"""Random numbers that depend only on (key, position, call), never on a device, a batch or a worker.

A counter-based generator: the 64-bit finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) applied to a counter made of
the key, the sample's position and the number of the call. The same sample gets the same draws whether it is augmented alone,
in a batch, in a chunk of many batches, on a CPU or on a GPU; nothing has to be saved for a resume. (`normal` goes through the
device's logarithm and cosine, so between a CPU and a GPU it may differ in the last digit; everything else is exact.)
"""

from __future__ import annotations

import hashlib
import math
import random
from itertools import count

import numpy as np
import torch
from torch import Tensor

__all__ = ["Draws", "key_from"]

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB
_CALL = _GOLDEN ^ 0x5851F42D4C957F2D


def key_from(*names: int | str) -> int:
    """A 63-bit key for a tuple of integers and strings; different tuples give unrelated keys.

    >>> key_from(0, "weak") == key_from(0, "weak"), key_from(0, "weak") == key_from(1, "weak")
    (True, False)
    """
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def _signed(value: int) -> int:
    """The value of the low 64 bits read as int64; torch refuses a Python integer that does not fit."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch shifts arithmetically)."""
    return (value >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    """The finalizer of SplitMix64, of int64 as bits; `value` is left as it is."""
    return _mix_on_host(value) if value.device.type == "cpu" else _mix_on_device(value)


def _mix_on_device(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)).mul_(_MIX1)
    value = _shift(value, 27).bitwise_xor_(value).mul_(_MIX2)
    return _shift(value, 31).bitwise_xor_(value)


def _mix_on_host(value: Tensor) -> Tensor:
    """The same in numpy, which shifts unsigned numbers in one go and, for small batches, takes a third of the time."""
    word = value.numpy().view(np.uint64)
    word = np.bitwise_xor(word, np.right_shift(word, 30))
    word *= _MIX1 % 2**64
    word ^= word >> 27
    word *= _MIX2 % 2**64
    word ^= word >> 31
    return torch.from_numpy(word.view(np.int64))


class Draws:
    """A stream of keyed random numbers for a batch of samples.

    Each call advances to fresh numbers; the n-th call gives the same numbers for a sample wherever it is made.

    Args:
        key: see `key_from`.
        position: (B,) int64, the place of each sample in the keyed sequence. Its device is the device of the draws.
        host: the same positions on the CPU, if known: it saves `on_host` from waiting for the device.

    Raises:
        ValueError: if `host` is of another shape than `position` or not on the CPU.

    >>> import torch
    >>> a = Draws(7, torch.tensor([3, 4])).uniform()
    >>> b = Draws(7, torch.tensor([4])).uniform()
    >>> bool(a[1] == b[0])
    True
    """

    def __init__(self, key: int, position: Tensor, *, host: Tensor | None = None) -> None:
        if host is not None and (host.shape != position.shape or host.device.type != "cpu"):
            raise ValueError(
                f"Draws(host={tuple(host.shape)} on {host.device}): give the {tuple(position.shape)} positions of `position` "
                "on the CPU, or None."
            )
        self.key = key
        self.position = position
        self._host = host
        self._base = _mix((position + 1) * _GOLDEN + _signed(key))
        self._calls = count(1)

    def __len__(self) -> int:
        return int(self.position.shape[0])

    def again(self) -> Draws:
        """Draws of the same samples from their first call on: the numbers that these gave, once more."""
        return Draws(self.key, self.position, host=self._host)

    def on_host(self) -> Draws:
        """Draws of the same samples, made on the CPU; these draws themselves if they are already on the CPU.

        The two count their calls together, so the order of the calls alone names the numbers, whichever of the two makes them:
        what a program needs to know, such as the sizes of groups, is drawn on the host, and what it computes with on the device.
        Without the argument `host`, the first call on another device reads the positions back and waits for that device.

        >>> import torch
        >>> device, alone = Draws(7, torch.tensor([3, 4])), Draws(7, torch.tensor([3, 4]))
        >>> one, two = device.on_host().uniform(), device.uniform()
        >>> bool((one == alone.uniform()).all() and (two == alone.uniform()).all())
        True
        """
        if self.position.device.type == "cpu":
            return self
        if self._host is None:
            self._host = self.position.cpu()
        draws = Draws(self.key, self._host)
        draws._calls = self._calls
        return draws

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        base = _mix(self._base + _signed(next(self._calls) * _CALL))
        if not shape:
            return base
        offsets = torch.arange(1, math.prod(shape) + 1, device=base.device) * _GOLDEN
        return _mix(base[:, None] + offsets).view(len(self), *shape)

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) float32, uniform in [low, high); rounding to float32 may give `high` itself unless it is 1."""
        unit = _shift(self._bits(shape), 40).float().mul_(2.0**-24)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) int64, uniform in low..high-1, for at most 2^31 values."""
        if not 0 < high - low <= 1 << 31:
            raise ValueError(f"integers(low={low}, high={high}): high must lie in low + 1 .. low + 2^31.")
        return low + ((_shift(self._bits(shape), 32) * (high - low)) >> 32)

    def bernoulli(self, p: float, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) bool, true with probability p."""
        return self.uniform(shape=shape) < p

    def normal(self, shape: tuple[int, ...] = ()) -> Tensor:
        """(B, *shape) float32, standard normal (Box-Muller)."""
        bits = self._bits(shape)
        radius = _shift(bits, 40).float().add_(0.5).mul_(2.0**-24)
        angle = bits.bitwise_and_(0xFFFFFF).float().add_(0.5).mul_(2.0**-24 * 2 * torch.pi)
        return radius.log_().mul_(-2).sqrt_().mul_(angle.cos_())

    def python(self, place: int) -> random.Random:
        """A Python generator for the sample at `place` of this batch, for code that draws from `random`."""
        return random.Random(key_from(self.key, int(self.on_host().position[place]), "python"))
