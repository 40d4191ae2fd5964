from noisylab.arguments import (
    AtLeastOne as AtLeastOne,
)
from noisylab.arguments import (
    Count as Count,
)
from noisylab.arguments import (
    Finite as Finite,
)
from noisylab.arguments import (
    Fraction as Fraction,
)
from noisylab.arguments import (
    FractionBelowOne as FractionBelowOne,
)
from noisylab.arguments import (
    Limit as Limit,
)
from noisylab.arguments import (
    NonNegative as NonNegative,
)
from noisylab.arguments import (
    Positive as Positive,
)
from noisylab.arguments import (
    Range as Range,
)
from noisylab.callbacks import Curves as Curves
from noisylab.callbacks import Diagnostics as Diagnostics
from noisylab.callbacks import HeldOutLabels as HeldOutLabels
from noisylab.callbacks import HeldOutProbabilities as HeldOutProbabilities
from noisylab.callbacks import HScores as HScores
from noisylab.callbacks import LabelIssues as LabelIssues
from noisylab.callbacks import LabelWave as LabelWave
from noisylab.callbacks import Pause as Pause
from noisylab.callbacks import RunCheckpoint as RunCheckpoint
from noisylab.callbacks import RunProgress as RunProgress
from noisylab.callbacks import RunSummary as RunSummary
from noisylab.callbacks import Speed as Speed
from noisylab.checkpoints.warm_start import WarmStart as WarmStart
from noisylab.checkpoints.warm_start import warm_start as warm_start
from noisylab.crowd import Annotations as Annotations
from noisylab.crowd import Consensus as Consensus
from noisylab.crowd import CrowdLab as CrowdLab
from noisylab.crowd import crowdlab as crowdlab
from noisylab.crowd import dawid_skene as dawid_skene
from noisylab.crowd import majority_vote as majority_vote
from noisylab.crowd import read_annotations as read_annotations
from noisylab.crowd import soft_labels as soft_labels
from noisylab.data import CIFAR10 as CIFAR10
from noisylab.data import CIFAR100 as CIFAR100
from noisylab.data import MNIST as MNIST
from noisylab.data import Arrays as Arrays
from noisylab.data import Digits as Digits
from noisylab.data import FashionMNIST as FashionMNIST
from noisylab.data import ImageFeatures as ImageFeatures
from noisylab.data import ImageFolder as ImageFolder
from noisylab.data import NoisyDataModule as NoisyDataModule
from noisylab.data import PackedImages as PackedImages
from noisylab.data import Reuters as Reuters
from noisylab.data import Shards as Shards
from noisylab.data import Sound as Sound
from noisylab.data import TableImages as TableImages
from noisylab.data import Tabular as Tabular
from noisylab.data import Text as Text
from noisylab.data import WebImages as WebImages
from noisylab.data import from_dataframe as from_dataframe
from noisylab.data import from_dataset as from_dataset
from noisylab.data import from_torch as from_torch
from noisylab.data.matrix import Matrix as Matrix
from noisylab.data.named import CIFARN as CIFARN
from noisylab.data.named import RAVDESS as RAVDESS
from noisylab.data.named import XRMB as XRMB
from noisylab.data.named import Animal10N as Animal10N
from noisylab.data.named import Clothing1M as Clothing1M
from noisylab.data.named import Food101N as Food101N
from noisylab.data.named import NamedRelease as NamedRelease
from noisylab.data.named import ReleaseReport as ReleaseReport
from noisylab.data.named import TinyImageNet as TinyImageNet
from noisylab.data.named import WebFG as WebFG
from noisylab.data.named import WebVision as WebVision
from noisylab.data.named import human_labels as human_labels
from noisylab.engine.optimizers import one_each as one_each
from noisylab.engine.optimizers import one_for_all as one_for_all
from noisylab.engine.optimizers import optimizer_factory as optimizer_factory
from noisylab.engine.optimizers import scheduler_factory as scheduler_factory
from noisylab.engine.step import step as step
from noisylab.issues import IssueTable as IssueTable
from noisylab.issues import estimate_rate as estimate_rate
from noisylab.issues import rank_labels as rank_labels
from noisylab.issues import read_issues as read_issues
from noisylab.issues import score_labels as score_labels
from noisylab.losses import CORES2 as CORES2
from noisylab.losses import GCE as GCE
from noisylab.losses import GLS as GLS
from noisylab.losses import MAE as MAE
from noisylab.losses import RCE as RCE
from noisylab.losses import SCE as SCE
from noisylab.losses import ActivePassive as ActivePassive
from noisylab.losses import Bootstrap as Bootstrap
from noisylab.losses import Criterion as Criterion
from noisylab.losses import FDivergence as FDivergence
from noisylab.losses import Focal as Focal
from noisylab.losses import PeerLoss as PeerLoss
from noisylab.losses import TruncatedGCE as TruncatedGCE
from noisylab.losses import cross_entropy as cross_entropy
from noisylab.losses import soft_cross_entropy as soft_cross_entropy
from noisylab.memory import SampleMemory as SampleMemory
from noisylab.methods import ACT as ACT
from noisylab.methods import DMI as DMI
from noisylab.methods import ELR as ELR
from noisylab.methods import IEG as IEG
from noisylab.methods import L2R as L2R
from noisylab.methods import Backward as Backward
from noisylab.methods import CoTeaching as CoTeaching
from noisylab.methods import CoTeachingPlus as CoTeachingPlus
from noisylab.methods import CrossEntropy as CrossEntropy
from noisylab.methods import DivideMix as DivideMix
from noisylab.methods import ELRPlus as ELRPlus
from noisylab.methods import FixMatch as FixMatch
from noisylab.methods import Forward as Forward
from noisylab.methods import IEGDivideMix as IEGDivideMix
from noisylab.methods import JoCoR as JoCoR
from noisylab.methods import JointOptimization as JointOptimization
from noisylab.methods import LinearProbe as LinearProbe
from noisylab.methods import MeanTeacher as MeanTeacher
from noisylab.methods import MixMatch as MixMatch
from noisylab.methods import NoisyLabelMethod as NoisyLabelMethod
from noisylab.methods import PiModel as PiModel
from noisylab.methods import RobustLoss as RobustLoss
from noisylab.methods import RotNet as RotNet
from noisylab.methods import SimCLR as SimCLR
from noisylab.methods import TRevision as TRevision
from noisylab.methods import VolMinNet as VolMinNet
from noisylab.models import CNN13 as CNN13
from noisylab.models import MLP as MLP
from noisylab.models import ACTNet as ACTNet
from noisylab.models import CoTeachingCNN as CoTeachingCNN
from noisylab.models import FrameLSTM as FrameLSTM
from noisylab.models import FusionNet as FusionNet
from noisylab.models import LeNet as LeNet
from noisylab.models import LiteNet as LiteNet
from noisylab.models import Network as Network
from noisylab.models import PreActResNet18 as PreActResNet18
from noisylab.models import PreActResNet32 as PreActResNet32
from noisylab.models import ResNet18 as ResNet18
from noisylab.models import ResNet34 as ResNet34
from noisylab.models import ShakeShake as ShakeShake
from noisylab.models import SmallCNN as SmallCNN
from noisylab.models import SpectrogramCNN as SpectrogramCNN
from noisylab.models import TimmNet as TimmNet
from noisylab.models import TorchvisionNet as TorchvisionNet
from noisylab.models import TransformersNet as TransformersNet
from noisylab.models import WideResNet as WideResNet
from noisylab.models import Wrap as Wrap
from noisylab.models.network import NetFactory as NetFactory
from noisylab.noise import PMD as PMD
from noisylab.noise import Asymmetric as Asymmetric
from noisylab.noise import FromAnnotators as FromAnnotators
from noisylab.noise import FromFile as FromFile
from noisylab.noise import InstanceDependent as InstanceDependent
from noisylab.noise import Noise as Noise
from noisylab.noise import NoisyTargets as NoisyTargets
from noisylab.noise import OpenSet as OpenSet
from noisylab.noise import PairFlip as PairFlip
from noisylab.noise import Symmetric as Symmetric
from noisylab.noise import load_noise as load_noise
from noisylab.noise import save_noise as save_noise
from noisylab.selection import AdaMatchThreshold as AdaMatchThreshold
from noisylab.selection import AllOf as AllOf
from noisylab.selection import DashThreshold as DashThreshold
from noisylab.selection import FixedThreshold as FixedThreshold
from noisylab.selection import FlexMatchThreshold as FlexMatchThreshold
from noisylab.selection import FreeMatchThreshold as FreeMatchThreshold
from noisylab.selection import Guesses as Guesses
from noisylab.selection import LabeledThreshold as LabeledThreshold
from noisylab.selection import LinearThreshold as LinearThreshold
from noisylab.selection import NoThreshold as NoThreshold
from noisylab.selection import PercentileThreshold as PercentileThreshold
from noisylab.selection import PolicyFactory as PolicyFactory
from noisylab.selection import SCRThreshold as SCRThreshold
from noisylab.selection import SCSThreshold as SCSThreshold
from noisylab.selection import SoftMatchThreshold as SoftMatchThreshold
from noisylab.selection import StagedThreshold as StagedThreshold
from noisylab.selection import ThresholdPolicy as ThresholdPolicy
from noisylab.selection import Weighted as Weighted
from noisylab.transforms import AugMix as AugMix
from noisylab.transforms import AutoAugment as AutoAugment
from noisylab.transforms import Chain as Chain
from noisylab.transforms import Cutout as Cutout
from noisylab.transforms import FixMatchStrong as FixMatchStrong
from noisylab.transforms import KorniaView as KorniaView
from noisylab.transforms import RandAugment as RandAugment
from noisylab.transforms import StrongView as StrongView
from noisylab.transforms import TrivialAugment as TrivialAugment
from noisylab.transforms.mixing import one_hot as one_hot
from noisylab.types import Batch as Batch
from noisylab.types import DataInfo as DataInfo
from noisylab.types import EpochPlan as EpochPlan
from noisylab.types import EvalBatch as EvalBatch
from noisylab.types import Inputs as Inputs
from noisylab.types import LRSchedulerFactory as LRSchedulerFactory
from noisylab.types import OptimizerFactory as OptimizerFactory
from noisylab.types import Phase as Phase
from noisylab.types import PlanBatch as PlanBatch
from noisylab.types import Stream as Stream

__version__: str
__all__: list[str]
