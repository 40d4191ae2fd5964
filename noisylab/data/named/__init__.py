"""Data sets of the field by their names, read from the files that their authors published."""

from noisylab.data.named.release import NamedRelease, ReleaseReport

__all__ = ["NamedRelease", "ReleaseReport"]
