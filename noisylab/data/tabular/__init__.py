"""Tables of numbers and categories."""

from noisylab.data.tabular.module import Tabular

__all__ = ["Tabular"]
