"""Clips of sound: speech, noises, music."""

from noisylab.data.sound.module import Sound

__all__ = ["Sound"]
