"""Texts of a table: words counted, embedded by a pretrained encoder, or as tokens for a network of language."""

from noisylab.data.text.module import Text

__all__ = ["Text"]
