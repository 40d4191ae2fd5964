"""Views of samples: batched on the device for small images and features, one by one in workers for large images."""

from noisylab.transforms.augmix import AugMix
from noisylab.transforms.autoaugment import CIFAR10_POLICY, AutoAugment
from noisylab.transforms.base import Chain, Compose, StrongView, View
from noisylab.transforms.columns import FromColumn, SwapColumns
from noisylab.transforms.contrastive import ColorJitter, PILSimCLR, RandomGray, RandomResizedCrop, simclr_view
from noisylab.transforms.cuts import Cut, CutView, RegionCut, SquareCut
from noisylab.transforms.draws import Draws, key_from
from noisylab.transforms.features import FeatureDropout, FeatureIdentity, FeatureNoise, FeatureScale
from noisylab.transforms.image import (
    Contrast,
    Cutout,
    GaussianNoise,
    Normalize,
    RandomCrop,
    RandomCropFlip,
    RandomHorizontalFlip,
    ToBytes,
    ToFloat,
)
from noisylab.transforms.kornia import KorniaView
from noisylab.transforms.pil import PILAutoAugment, PILEval, PILPolicy, PILRandAugment, PILTrain, PILView
from noisylab.transforms.randaugment import FixMatchStrong, RandAugment
from noisylab.transforms.rotation import all_rotations, draw_rotations, rotate_quarters
from noisylab.transforms.soft_cutmix import mix_targets, soft_cutmix
from noisylab.transforms.trivialaugment import TrivialAugment
from noisylab.transforms.views import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100_MEAN,
    CIFAR100_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    cifar_views,
    digit_views,
    feature_views,
    image_views,
    table_views,
    web_views,
)

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_POLICY",
    "CIFAR10_STD",
    "CIFAR100_MEAN",
    "CIFAR100_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AugMix",
    "AutoAugment",
    "Chain",
    "ColorJitter",
    "Compose",
    "Contrast",
    "Cut",
    "CutView",
    "Cutout",
    "Draws",
    "FeatureDropout",
    "FeatureIdentity",
    "FeatureNoise",
    "FeatureScale",
    "FixMatchStrong",
    "FromColumn",
    "GaussianNoise",
    "KorniaView",
    "Normalize",
    "PILAutoAugment",
    "PILEval",
    "PILPolicy",
    "PILRandAugment",
    "PILSimCLR",
    "PILTrain",
    "PILView",
    "RandAugment",
    "RandomCrop",
    "RandomCropFlip",
    "RandomGray",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RegionCut",
    "SquareCut",
    "StrongView",
    "SwapColumns",
    "ToBytes",
    "ToFloat",
    "TrivialAugment",
    "View",
    "all_rotations",
    "cifar_views",
    "digit_views",
    "draw_rotations",
    "feature_views",
    "image_views",
    "key_from",
    "mix_targets",
    "rotate_quarters",
    "simclr_view",
    "soft_cutmix",
    "table_views",
    "web_views",
]
