"""Networks. Every one derives from `Network` and takes the number of classes first."""

from noisylab.models.act_cnn import ACTNet
from noisylab.models.cnn13 import CNN13
from noisylab.models.co_teaching_cnn import CoTeachingCNN
from noisylab.models.frame_lstm import FrameLSTM
from noisylab.models.fusion import FusionNet
from noisylab.models.lenet import LeNet
from noisylab.models.lite_net import LiteNet
from noisylab.models.mlp import MLP
from noisylab.models.network import Network
from noisylab.models.resnet import PreActResNet18, PreActResNet32, ResNet18, ResNet34
from noisylab.models.shake_shake import ShakeShake
from noisylab.models.small_cnn import SmallCNN
from noisylab.models.spectrogram_cnn import SpectrogramCNN
from noisylab.models.timm_net import TimmNet
from noisylab.models.torchvision_net import TorchvisionNet
from noisylab.models.transformers_net import TransformersNet
from noisylab.models.wide_resnet import WideResNet
from noisylab.models.wrap import Wrap

__all__ = [
    "CNN13",
    "MLP",
    "ACTNet",
    "CoTeachingCNN",
    "FrameLSTM",
    "FusionNet",
    "LeNet",
    "LiteNet",
    "Network",
    "PreActResNet18",
    "PreActResNet32",
    "ResNet18",
    "ResNet34",
    "ShakeShake",
    "SmallCNN",
    "SpectrogramCNN",
    "TimmNet",
    "TorchvisionNet",
    "TransformersNet",
    "WideResNet",
    "Wrap",
]
