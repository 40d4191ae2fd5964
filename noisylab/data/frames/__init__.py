"""Tables of rows in any format: what their columns hold, how they are read, and the data sets that are made of them."""

from noisylab.data.frames.columns import Column, Columns, Kind, Media
from noisylab.data.frames.module import FrameData

__all__ = ["Column", "Columns", "FrameData", "Kind", "Media"]
