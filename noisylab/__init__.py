"""noisylab: learning with noisy labels on PyTorch Lightning."""

__version__ = "0.1.0"
