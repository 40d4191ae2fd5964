"""Data sets: one LightningDataModule per family."""

from noisylab.data.arrays import Arrays
from noisylab.data.base import NoisyDataModule
from noisylab.data.cifar import CIFAR10, CIFAR100
from noisylab.data.digits import Digits
from noisylab.data.features import ImageFeatures
from noisylab.data.frames.tableimages import TableImages
from noisylab.data.imagefolder import ImageFolder
from noisylab.data.inmemory import from_dataframe, from_dataset, from_torch
from noisylab.data.mnist import MNIST, FashionMNIST
from noisylab.data.packed import PackedImages
from noisylab.data.reuters import Reuters
from noisylab.data.shards.module import Shards
from noisylab.data.sound import Sound
from noisylab.data.tabular import Tabular
from noisylab.data.text import Text
from noisylab.data.unlabeled import unlabeled_images
from noisylab.data.web import WebImages
from noisylab.renamed import old_names

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Arrays",
    "Digits",
    "FashionMNIST",
    "ImageFeatures",
    "ImageFolder",
    "NoisyDataModule",
    "PackedImages",
    "Reuters",
    "Shards",
    "Sound",
    "TableImages",
    "Tabular",
    "Text",
    "WebImages",
    "from_dataframe",
    "from_dataset",
    "from_torch",
    "unlabeled_images",
]

__getattr__ = old_names(__name__, {"unlabelled_images": "unlabeled_images"})
