"""Mean Teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from noisylab.arguments import FractionBelowOne, NonNegative, Range
from noisylab.engine.modes import in_mode
from noisylab.methods.pimodel import PiModel
from noisylab.models.network import NetFactory
from noisylab.types import PlanBatch, join_inputs

__all__ = ["MeanTeacher"]


class MeanTeacher(PiModel):
    """Trains a network to agree with the predictions of its own averaged weights for another view.

    The network is the student. The teacher is a copy whose weights are a moving average of the student's. It predicts better than
    the student of any single step, so the student learns to agree with it, on rows with and without a label. The teacher has no
    gradient and is in no optimizer; it is the network that is evaluated.

    Objective of a step, with B labeled rows (x, y), unlabeled rows u, f the student's probabilities, g the teacher's:
    ``L = mean_x CE(f(x), y) + w(s) mean_u d(f(u), g(u'))`` with u and u' two views and d, w as in `PiModel`. After step
    s = 1, 2, ...: ``g <- a g + (1 - a) f`` for the weights, with ``a = min(1 - 1 / (s + 1), ema_decay)``.

    **Paper**: Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017, arXiv 1703.01780.

    **Authors' code**: https://github.com/CuriousAI/mean-teacher; settings here are those of microsoft/Semi-supervised-learning
    (USB), commit 1ef4cbe.

    **Differences** from USB's code: there, the student's prediction is taken from the teacher's output by mistake. It has no
    gradient, so the second term is always 0, and the results table shows supervised training. Here the term is the paper's. All
    rows of a step go through the student together and count in its batch statistics (there, unlabeled ones do not:
    ``passes="labeled"``). The paper has a sigmoid ramp (``ramp="sigmoid"``) and labeled rows in the second term
    (``consistency_on="all"``), divides both terms by all rows of the step, and makes two views by translation, flips and noise.

    **Compared**: not with a run of the authors' code; the tests compare whole epochs with an independent loop.

    Args:
        num_classes: K.
        network: factory of the network.
        consistency: largest weight of the second term of the loss.
        teacher_bn: how the teacher predicts during training. "train": with the statistics of the batch, and with dropout if there
            is any; it keeps its own running statistics. "eval": with the student's running statistics.
        ema_decay: largest share of the old weights in the teacher, in [0, 1).
        ramp_decay: the same while the ramp lasts; None for `ema_decay`.
        ema_ramp: whether the share is at most ``1 - 1 / (s + 1)``.
        **consistent: see `noisylab.methods.pimodel.PiModel`; the student gets the first view and the teacher the second,
            without a gradient.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> MeanTeacher(num_classes=3, network=partial(MLP, in_features=4)).headline
        'network_average'
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        consistency: NonNegative = 50.0,
        teacher_bn: Literal["train", "eval"] = "train",
        ema_decay: FractionBelowOne = 0.999,
        ramp_decay: Annotated[float, Range(0, 1, "[)", none="ema_decay")] | None = None,
        ema_ramp: bool = True,
        **consistent: Any,
    ) -> None:
        super().__init__(num_classes, network, consistency=consistency, ema_decay=ema_decay, ema_ramp=ema_ramp, **consistent)
        if self.gradient == "both":
            raise ValueError("the teacher has no gradient, so gradient='both' is for PiModel alone; leave it out")
        self.teacher_bn, self.ramp_decay = teacher_bn, ramp_decay
        self.ema_buffers = "own" if teacher_bn == "train" else "copy"
        self._rising = False

    def objective(self, batch: PlanBatch) -> Tensor:
        """One step: the loss on labels, and how far the student is from the teacher, which sees another view."""
        labeled, (first, second) = batch["labeled"], batch["unlabeled"].views
        (z, z_first), rotation = self.see(batch, labeled.views[0], first)
        also = labeled.views[1:]  # of labeled rows, if the student is held to the teacher on them, too
        teacher = self.average("network")
        with torch.no_grad(), in_mode(teacher, training=self.teacher_bn == "train"):
            taught = self.checked(teacher(join_inputs([second, *also])))
        sizes = [len(z_first), *[len(z)] * len(also)]
        passed, length = self.passed(batch)
        self._rising = passed < length
        return self.agreement(batch, z, z_first, list(taught.split(sizes)), rotation)

    def decay(self, taken: int) -> float:
        """a, the share of the old weights in the teacher.

        Args:
            taken: s, steps that the student has taken, this one included.
        """
        largest = self.ramp_decay if self._rising and self.ramp_decay is not None else self.ema_decay or 0.0
        return min(1 - 1 / (taken + 1), largest) if self.ema_ramp else largest
