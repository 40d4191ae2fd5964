"""Augmentations of the library kornia as strong views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from noisylab.transforms.base import StrongView
from noisylab.transforms.draws import Draws
from noisylab.transforms.policy import check_pixels

__all__ = ["KorniaView"]

_HALF = 31  # bits of a seed that are drawn at once


@dataclass(frozen=True)
class KorniaView(StrongView):
    """An augmentation of `kornia.augmentation`, drawn for each sample on its own.

    kornia takes its random numbers from torch's own generator, and some of its classes draw once for a whole batch: the policy of
    `RandAugment`, the order of the changes of `ColorJitter`. Here each sample is a batch of its own, before which the generator
    is seeded by the sample's draws; afterwards it is put back. So a sample's view is the same in whatever batch it is built, and
    after a resume. Between a CPU and a GPU it differs as kornia's arithmetic does. The price is one call of kornia for each
    sample; on a GPU it waits for the device where kornia does.

    Args:
        augmentation: name of a class of `kornia.augmentation` or `kornia.augmentation.auto`, such as ``"ColorJiggle"``; or a
            module that takes and returns (1, C, H, W) float images in [0, 1], which a recipe cannot name.
        arguments: of that class, by name.

    Raises:
        ImportError: without the extra ``kornia``.
        ValueError: for a name that kornia does not have, or `arguments` of a module that is already made.
        TypeError: for arguments that the class does not take.

    >>> import torch
    >>> view = KorniaView("RandomGrayscale", {"p": 1.0})
    >>> view(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), Draws(0, torch.arange(4))).shape
    torch.Size([4, 3, 8, 8])
    """

    augmentation: str | nn.Module
    arguments: dict[str, Any] = field(default_factory=dict)
    _module: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        module = self.augmentation
        if isinstance(module, str):
            module = _class_of(module)(**self.arguments)
        elif self.arguments:
            raise ValueError(f"KorniaView: arguments={self.arguments} go with the name of a class, not with a module")
        object.__setattr__(self, "_module", module)

    def __hash__(self) -> int:
        return hash((self.augmentation, repr(sorted(self.arguments.items()))))

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The augmented images, (B, C, H, W) float32, C = 1 or 3.

        Raises:
            ValueError: if the augmentation changes the size of the images.
        """
        check_pixels(self, x)
        seeds = draws.on_host().integers(0, 1 << _HALF, (2,)).tolist()
        module = self._module
        result = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        cuda = x.device.type == "cuda"
        with torch.random.fork_rng([x.device] if cuda else []), torch.no_grad():
            for row, (high, low) in enumerate(seeds):
                seed = high << _HALF | low
                torch.default_generator.manual_seed(seed)
                if cuda:
                    with torch.cuda.device(x.device):
                        torch.cuda.manual_seed(seed)
                changed = module(x[row : row + 1].to(torch.float32).div_(255.0))
                if changed.shape[1:] != x.shape[1:]:
                    raise ValueError(
                        f"{self.augmentation} makes {tuple(changed.shape[1:])} of an image of {tuple(x.shape[1:])}; "
                        "a strong view keeps the size: crop with the arguments of the data set"
                    )
                result[row] = changed[0]
        return result


def _class_of(name: str) -> type[nn.Module]:
    try:
        import kornia.augmentation as known
        import kornia.augmentation.auto as policies
    except ImportError as error:
        raise ImportError(f'KorniaView({name!r}) needs the package kornia: pip install "noisylab[kornia]"') from error
    found = getattr(policies, name, None) or getattr(known, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    near = "it has ColorJiggle, RandomGaussianBlur, RandomErasing, RandomAffine and others"
    raise ValueError(f"kornia.augmentation has no class {name!r}; {near}")
