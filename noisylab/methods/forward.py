"""Forward correction of the loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import SGD

from noisylab.engine.optimizers import optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, forward_loss, given_log_probs
from noisylab.methods.staged import (
    ESTIMATORS,
    NoiseFactory,
    Stage,
    StagedMethod,
    check_estimator,
    noise_factory,
)
from noisylab.models.network import NetFactory
from noisylab.types import LRSchedulerFactory, OptimizerFactory, PlanBatch

__all__ = ["Forward"]


class Forward(StagedMethod):
    """Trains a network whose predictions, passed through the transition matrix of the noise, fit the given labels.

    With ``T[i, j] = P(given = j | true = i)`` and p the network's probabilities of the true classes, those of the given labels
    are ``q = p T``. The network that makes q fit the given labels best is the one whose p fits the true ones.

    Objective: ``L = mean_n -log (p_n T)[y_n]``.

    T is given (`oracle`, or a file), or estimated in a stage of its own: a network is trained by cross-entropy for
    `warmup_epochs`, and T is read from its predictions on the training rows, without augmentation. "anchor": row i of T is the
    prediction of the sample most surely of class i. "anchor97": the same without the samples at or above the 97th percentile of
    that probability, which may be outliers. "dual" and "dual97" (Dual-T) take the predicted class as a step between:
    ``T = A B``, A as above, ``B[l, j]`` the share of given label j among the samples predicted as l. The corrected stage then
    starts with a new network, or with that of the warm-up.

    Validation on given labels compares them with ``argmax q`` and takes the loss of q; the test and validation on clean labels
    compare with ``argmax p``.

    **Paper**: Patrini, Rozza, Menon, Nock and Qu, Making Deep Neural Networks Robust to Label Noise: a Loss Correction
    Approach, CVPR 2017; Dual-T: Yao, Liu, Han, Gong, Deng, Niu and Sugiyama, NeurIPS 2020.

    **Authors' code**: https://github.com/giorgiop/loss-correction; Dual-T:
    https://github.com/a5507203/dual-t-reducing-estimation-error-for-transition-matrix-in-label-noise-learning. Both begin the
    corrected stage with a new network. The default epochs and rates are those of the benchmark
    https://github.com/KlemenVovk/noisy-labels; https://github.com/Newbeeer/L_DMI has Forward without a restart.

    **Differences** from the authors of Forward: T is read from the training rows (there also from the held-out ones), and the
    filter of outliers leaves the predictions as they are (there what it leaves out for one class is 0 for the next ones);
    p is not held in [1e-7, 1 - 1e-7]; the best epoch is that of the highest validation accuracy (there of the lowest validation
    loss, in both stages: ``select_by="val_loss"`` and ``checkpoint.monitor: val/loss``). On MNIST they train a perceptron with
    two hidden layers of 128 and dropout of 0.2 by Adagrad, 40 epochs a stage; on CIFAR-10 a small ResNet for 120.

    From those of Dual-T: a class that no sample is predicted as keeps its label in B (there its row is 0). They choose by
    accuracy, and train by SGD without momentum, rate 0.01 divided by 10 every 50 epochs, for 20 and 200 epochs.

    From the benchmark: outliers are left out by default (there not, as `transition` "anchor"); T is read in eval mode from the
    network of the best epoch (there from the logits gathered while training). From L_DMI: the optimizer keeps its momentum from
    epoch to epoch, and the best corrected epoch is that of the highest accuracy (there of the lowest loss).

    Args:
        num_classes: K.
        network: factory of the network.
        transition: "anchor", "anchor97", "dual", "dual97", or a file with the matrix (.npy, .npz, .csv).
        oracle: kind of the noise that was added, whose true matrix is used; it overrides `transition`.
        warmup_epochs: epochs of cross-entropy before the estimate, at least 1; there are none if the matrix is given.
        restart: whether the corrected stage begins with a new network.
        hand_over: whether the matrix is estimated from the network of the "best" epoch of the warm-up by validation, or of the
            "last".
        select_by: what makes an epoch of the warm-up the best: "val_acc" or "val_loss", on held-out rows.
        warmup_optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 if None.
        warmup_scheduler: factory of a schedule, counted from the start of the run; a constant rate if None.
        optimizer: factory for the corrected stage; the same default if None.
        scheduler: factory for the corrected stage, counted from its start; a constant rate if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from noisylab.noise import PairFlip
        >>> from functools import partial
        >>> network = partial(MLP, in_features=4)
        >>> Forward(num_classes=3, network=network).optimizer_names
        ('warmup', 'corrected')
        >>> Forward(num_classes=3, network=network, oracle=partial(PairFlip, rate=0.4)).optimizer_names
        ('corrected',)
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        transition: str = "anchor97",
        oracle: NoiseFactory | None = None,
        warmup_epochs: int = 120,
        restart: bool = True,
        warmup_optimizer: OptimizerFactory | None = None,
        warmup_scheduler: LRSchedulerFactory | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        **staged: Any,
    ) -> None:
        super().__init__(num_classes, **staged)
        check_estimator(transition)
        self.transition, self.oracle = transition, noise_factory(oracle)
        given = oracle is not None or transition not in ESTIMATORS
        defaults = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
        first = optimizer_factory(warmup_optimizer, SGD, **defaults)
        second = optimizer_factory(optimizer, SGD, **defaults)
        warmup = Stage("warmup", warmup_epochs, first, scheduler_factory(warmup_scheduler))
        corrected = Stage("corrected", None, second, scheduler_factory(scheduler), fresh=restart and not given)
        self.add_stages(network, *([corrected] if given else [warmup, corrected]))

    def begin_stage(self, stage: str) -> None:
        """Use the given matrix, or estimate one."""
        if stage == "corrected":
            self.find_transition(self.oracle)

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """Cross-entropy, and then that of the predictions passed through the matrix."""
        target = batch["train"].target
        if stage == "warmup":
            return self.mean(cross_entropy(logits, target, reduction="none"))
        return self.mean(forward_loss(logits, target, self.matrices["transition"], reduction="none"))

    def given_logits(self, logits: Tensor) -> Tensor:
        """Log-probabilities (B, K) of the given labels."""
        return logits if self.stage == "warmup" else given_log_probs(logits, self.matrices["transition"])
