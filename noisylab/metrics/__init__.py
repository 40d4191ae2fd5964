"""Metrics over whole tables of samples: selection, transition matrices, memorisation, mixtures, accuracy."""

from noisylab.metrics.evaluation import SplitConfusions, accuracies, accuracy, balanced_accuracy
from noisylab.metrics.memorization import auroc, label_groups, loss_histogram, memorization
from noisylab.metrics.mixture import MixtureRecord, mixture_histogram, mixture_metrics, mixture_record
from noisylab.metrics.running import RunningMeans
from noisylab.metrics.selection import selection_metrics
from noisylab.metrics.transition import transition_error, transition_metrics

__all__ = [
    "MixtureRecord",
    "RunningMeans",
    "SplitConfusions",
    "accuracies",
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "label_groups",
    "loss_histogram",
    "memorization",
    "mixture_histogram",
    "mixture_metrics",
    "mixture_record",
    "selection_metrics",
    "transition_error",
    "transition_metrics",
]
