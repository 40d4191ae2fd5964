"""Label noise: symmetric, pair-flip, asymmetric, open-set, or read from a file."""

from noisylab.noise.asymmetric import Asymmetric
from noisylab.noise.base import Noise, NoisyTargets
from noisylab.noise.file import FromFile, NoiseFile, digest, load_noise, save_noise
from noisylab.noise.openset import OpenSet
from noisylab.noise.pairflip import PairFlip
from noisylab.noise.symmetric import Symmetric

__all__ = [
    "Asymmetric",
    "FromFile",
    "Noise",
    "NoiseFile",
    "NoisyTargets",
    "OpenSet",
    "PairFlip",
    "Symmetric",
    "digest",
    "load_noise",
    "save_noise",
]
