"""Callbacks that run alongside training: diagnostics, curves, checkpoints, summary, progress."""

from noisylab.callbacks.checkpoint import RunCheckpoint
from noisylab.callbacks.curves import Curves
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.callbacks.h_scores import HScores
from noisylab.callbacks.held_out import HeldOutProbabilities
from noisylab.callbacks.held_out_labels import HeldOutLabels
from noisylab.callbacks.label_issues import LabelIssues
from noisylab.callbacks.label_wave import LabelWave
from noisylab.callbacks.pause import Pause
from noisylab.callbacks.progress import RunProgress
from noisylab.callbacks.speed import Speed
from noisylab.callbacks.summary import RunSummary

__all__ = [
    "Curves",
    "Diagnostics",
    "HScores",
    "HeldOutLabels",
    "HeldOutProbabilities",
    "LabelIssues",
    "LabelWave",
    "Pause",
    "RunCheckpoint",
    "RunProgress",
    "RunSummary",
    "Speed",
]
