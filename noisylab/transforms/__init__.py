"""Views of samples: batched on the device for small images and features, one by one in workers for large images."""

from noisylab.transforms.autoaugment import CIFAR10_POLICY, AutoAugment, RandAugment
from noisylab.transforms.base import Compose, View
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
    ToFloat,
)
from noisylab.transforms.pil import PILAutoAugment, PILEval, PILPolicy, PILRandAugment, PILTrain, PILView
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
    "AutoAugment",
    "Compose",
    "Contrast",
    "Cutout",
    "Draws",
    "FeatureDropout",
    "FeatureIdentity",
    "FeatureNoise",
    "FeatureScale",
    "GaussianNoise",
    "Normalize",
    "PILAutoAugment",
    "PILEval",
    "PILPolicy",
    "PILRandAugment",
    "PILTrain",
    "PILView",
    "RandAugment",
    "RandomCrop",
    "RandomCropFlip",
    "RandomHorizontalFlip",
    "ToFloat",
    "TrivialAugment",
    "View",
    "cifar_views",
    "digit_views",
    "feature_views",
    "image_views",
    "key_from",
    "web_views",
]
