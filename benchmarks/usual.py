"""ACT the way public code is commonly written: PIL images in loader workers, tables on the CPU, per-step logging, ``.item()``."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from noisylab.transforms.pil import PILAutoAugment
from noisylab.transforms.views import CIFAR10_MEAN, CIFAR10_STD

__all__ = ["POLICY", "UsualACT", "UsualData", "UsualImages"]

POLICY = "CIFAR10Policy of the package randaugment, run by noisylab.transforms.pil.PILAutoAugment"
_RANDOM = random.Random(0)


def _seed_worker(_: int) -> None:
    _RANDOM.seed(torch.initial_seed())


class _Policy:
    """The reference's AutoAugment as a transform."""

    def __init__(self) -> None:
        self.policy = PILAutoAugment()

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.policy(image, _RANDOM)


class UsualImages(Dataset[tuple[Any, ...]]):
    """uint8 arrays, turned into PIL images and augmented one by one.

    Args:
        pixels: (N, 3, 32, 32) uint8.
        given: (N,) int64 given labels.
        strong: whether there is a second view.
        policy: what the second view does to an image; `None` for AutoAugment.
    """

    def __init__(
        self,
        pixels: Tensor,
        given: Tensor,
        strong: bool = True,
        policy: Callable[[Image.Image], Image.Image] | None = None,
    ) -> None:
        self.pixels = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
        self.given = given.numpy()
        before = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        after = [transforms.ToTensor(), transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD)]
        self.weak = transforms.Compose([*before, *after])
        self.strong = transforms.Compose([*before, policy or _Policy(), *after]) if strong else None

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image = Image.fromarray(self.pixels[index])
        views = (self.weak(image),) if self.strong is None else (self.weak(image), self.strong(image))
        return (*views, int(self.given[index]), index)


class UsualData(L.LightningDataModule):
    """A shuffling DataLoader over `UsualImages`.

    Args:
        dataset: the images.
        batch_size: samples a batch.
        num_workers: worker processes.
        pin_memory: for a GPU.
    """

    def __init__(self, dataset: UsualImages, batch_size: int, num_workers: int, pin_memory: bool = False) -> None:
        super().__init__()
        self.dataset, self.batch_size, self.num_workers, self.pin_memory = dataset, batch_size, num_workers, pin_memory

    def train_dataloader(self) -> DataLoader[tuple[Any, ...]]:
        """As the tutorials have it."""
        return DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            worker_init_fn=_seed_worker,
        )


class UsualACT(L.LightningModule):
    """ACT after its warm-up, by manual optimization, with the published values.

    Args:
        robust: the first network.
        standard: the second one.
        given: (N,) int64 given labels.
        num_classes: K.
    """

    def __init__(self, robust: nn.Module, standard: nn.Module, given: Tensor, num_classes: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.robust, self.standard = robust, standard
        self.label_table = F.one_hot(given, num_classes).float()  # no buffers: they stay on the CPU
        self.times_selected = torch.zeros(len(given))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One step of each network."""
        weak, strong, y, index = batch
        index = index.cpu()
        optimizers: Any = self.optimizers()
        robust_optimizer, standard_optimizer = optimizers
        z0, z1 = self.robust(weak), self.standard(weak)
        probs = F.softmax(z0, 1).detach()
        hit0, hit1 = z0.argmax(1) == y, z1.argmax(1) == y
        acc0, acc1 = hit0.float().mean().item(), hit1.float().mean().item()
        gate = acc0 > 0 and (acc1 - acc0) / acc0 < 0.025
        clean = hit1 if gate else hit0 & hit1
        self.times_selected[index] += clean.cpu().float()
        weight = self.times_selected[index].to(y.device) / (self.current_epoch + 1)
        labels = (0.8 * self.label_table[index] + 0.2 * probs.cpu()).to(y.device)
        self.label_table[index] = labels.cpu()
        if clean.sum().item() > 0:
            supervised = (F.cross_entropy(z0[clean], y[clean], reduction="none") * weight[clean]).mean()
        else:
            supervised = z0.sum() * 0
        pseudo = torch.where(clean, y, labels.argmax(1))
        robust_loss = 0.8 * supervised + 0.2 * F.cross_entropy(self.robust(strong), pseudo)
        standard_loss = F.cross_entropy(z1, y)
        robust_optimizer.zero_grad()
        self.manual_backward(robust_loss)
        robust_optimizer.step()
        standard_optimizer.zero_grad()
        self.manual_backward(standard_loss)
        standard_optimizer.step()
        self.log("train/loss", robust_loss.item())
        self.log("train/loss_standard", standard_loss.item())
        self.log("train/selected", clean.float().mean().item())
        self.log("train/acc", acc0)

    def configure_optimizers(self) -> Any:
        """Those of ACT."""
        return [
            torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
            for network in (self.robust, self.standard)
        ]
