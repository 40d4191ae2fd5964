"""Data sets: one LightningDataModule a family."""

from noisylab.data.base import NoisyDataModule
from noisylab.data.digits import Digits

__all__ = ["Digits", "NoisyDataModule"]
