"""Metrics over whole tables of samples: selection, transition matrices, memorization, mixtures, accuracy."""

from noisylab.metrics.accuracy import ClipProbabilities, SplitConfusions, TopFive, accuracies, accuracy, balanced_accuracy
from noisylab.metrics.corrected import corrected_metrics
from noisylab.metrics.first_minimum import FirstMinimum, first_minimum
from noisylab.metrics.h_score import HScore, SoftHGR
from noisylab.metrics.label_issues import label_issue_metrics
from noisylab.metrics.memorization import auroc, label_groups, loss_histogram, memorization
from noisylab.metrics.mixture_quality import (
    MixtureRecord,
    mixture_histogram,
    mixture_metrics,
    mixture_record,
    pack_mixtures,
    unpack_mixtures,
)
from noisylab.metrics.noisy_validation import (
    NoisyAccuracy,
    RankingGuarantee,
    accuracy_from_agreement,
    agreement_from_accuracy,
    clean_accuracy,
    expected_noisy_accuracy,
    noisy_accuracy,
    noisy_slope,
    ranking_guarantee,
    unbiased_accuracy,
)
from noisylab.metrics.pseudo_labels import pseudo_label_sums
from noisylab.metrics.running import RunningMeans
from noisylab.metrics.seed_agreement import SeedAgreement, agreement_of_runs, seed_agreement
from noisylab.metrics.selection import selection_metrics
from noisylab.metrics.transition_quality import TransitionRecord, transition_error, transition_metrics, transition_record

__all__ = [
    "ClipProbabilities",
    "FirstMinimum",
    "HScore",
    "MixtureRecord",
    "NoisyAccuracy",
    "RankingGuarantee",
    "RunningMeans",
    "SeedAgreement",
    "SoftHGR",
    "SplitConfusions",
    "TopFive",
    "TransitionRecord",
    "accuracies",
    "accuracy",
    "accuracy_from_agreement",
    "agreement_from_accuracy",
    "agreement_of_runs",
    "auroc",
    "balanced_accuracy",
    "clean_accuracy",
    "corrected_metrics",
    "expected_noisy_accuracy",
    "first_minimum",
    "label_groups",
    "label_issue_metrics",
    "loss_histogram",
    "memorization",
    "mixture_histogram",
    "mixture_metrics",
    "mixture_record",
    "noisy_accuracy",
    "noisy_slope",
    "pack_mixtures",
    "pseudo_label_sums",
    "ranking_guarantee",
    "seed_agreement",
    "selection_metrics",
    "transition_error",
    "transition_metrics",
    "transition_record",
    "unbiased_accuracy",
    "unpack_mixtures",
]
