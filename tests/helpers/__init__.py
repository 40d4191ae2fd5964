"""Toy data, dummy methods and short runs for the tests."""

from helpers.dummies import AccumulatingDummy, PhasedDummy, SideStreamDummy, StagedDummy
from helpers.packaged import PACKAGED
from helpers.runs import KeepEpoch, SaveEveryBatch, assert_same, fit, make_trainer, state_of
from helpers.toy import BatchNormMLP, DropoutMLP, PlainMLP, ToyData

__all__ = [
    "PACKAGED",
    "AccumulatingDummy",
    "BatchNormMLP",
    "DropoutMLP",
    "KeepEpoch",
    "PhasedDummy",
    "PlainMLP",
    "SaveEveryBatch",
    "SideStreamDummy",
    "StagedDummy",
    "ToyData",
    "assert_same",
    "fit",
    "make_trainer",
    "state_of",
]
