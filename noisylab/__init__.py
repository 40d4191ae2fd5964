"""noisylab: learning with noisy labels on PyTorch Lightning.

Everything that a notebook or a method of your own needs can be imported from here: ``from noisylab import ACT, Digits``. The
names in ``__all__`` of this package and of its subpackages (``noisylab.methods``, ``noisylab.losses``, ...) are stable; others
may change in any release. A name is imported when it is first used, so that ``import noisylab`` is quick and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

# The module that each public name is imported from; __init__.pyi says the same to type checkers and editors.
_HOMES = {
    "noisylab.arguments": "AtLeastOne Count Finite Fraction FractionBelowOne Limit NonNegative Positive Range",
    "noisylab.callbacks": (
        "Curves Diagnostics HScores HeldOutLabels HeldOutProbabilities LabelIssues LabelWave Pause RunCheckpoint RunProgress "
        "RunSummary Speed"
    ),
    "noisylab.checkpoints.warm_start": "WarmStart warm_start",
    "noisylab.crowd": "Annotations Consensus CrowdLab crowdlab dawid_skene majority_vote read_annotations soft_labels",
    "noisylab.data": (
        "CIFAR10 CIFAR100 MNIST Arrays Digits FashionMNIST ImageFeatures ImageFolder NoisyDataModule PackedImages "
        "Reuters Shards Sound TableImages Tabular Text WebImages from_dataframe from_dataset from_torch"
    ),
    "noisylab.data.matrix": "Matrix",
    "noisylab.data.named": (
        "CIFARN RAVDESS XRMB Animal10N Clothing1M Food101N NamedRelease ReleaseReport TinyImageNet WebFG WebVision human_labels"
    ),
    "noisylab.engine.optimizers": "one_each one_for_all optimizer_factory scheduler_factory",
    "noisylab.engine.step": "step",
    "noisylab.issues": "IssueTable estimate_rate rank_labels read_issues score_labels",
    "noisylab.losses": (
        "CORES2 GCE GLS MAE RCE SCE ActivePassive Bootstrap Criterion FDivergence Focal PeerLoss TruncatedGCE "
        "cross_entropy soft_cross_entropy"
    ),
    "noisylab.memory": "SampleMemory",
    "noisylab.methods": (
        "ACT DMI ELR IEG L2R Backward CoTeaching CoTeachingPlus CrossEntropy DivideMix ELRPlus FixMatch Forward "
        "IEGDivideMix JoCoR JointOptimization LinearProbe MeanTeacher MixMatch NoisyLabelMethod PiModel RobustLoss RotNet "
        "SimCLR TRevision VolMinNet"
    ),
    "noisylab.models": (
        "CNN13 MLP ACTNet CoTeachingCNN FrameLSTM FusionNet LeNet LiteNet Network PreActResNet18 PreActResNet32 ResNet18 "
        "ResNet34 ShakeShake SmallCNN SpectrogramCNN TimmNet TorchvisionNet TransformersNet WideResNet Wrap"
    ),
    "noisylab.models.network": "NetFactory",
    "noisylab.noise": (
        "PMD Asymmetric FromAnnotators FromFile InstanceDependent Noise NoisyTargets OpenSet PairFlip Symmetric load_noise "
        "save_noise"
    ),
    "noisylab.selection": (
        "AdaMatchThreshold AllOf DashThreshold FixedThreshold FlexMatchThreshold FreeMatchThreshold Guesses "
        "LabeledThreshold LinearThreshold NoThreshold PercentileThreshold PolicyFactory SCRThreshold "
        "SCSThreshold SoftMatchThreshold StagedThreshold ThresholdPolicy Weighted"
    ),
    "noisylab.transforms": "AugMix AutoAugment Chain Cutout FixMatchStrong KorniaView RandAugment StrongView TrivialAugment",
    "noisylab.transforms.mixing": "one_hot",
    "noisylab.types": ("Batch DataInfo EpochPlan EvalBatch Inputs LRSchedulerFactory OptimizerFactory Phase PlanBatch Stream"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604  # text, all of it


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'noisylab' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
