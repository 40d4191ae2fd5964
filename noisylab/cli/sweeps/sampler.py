"""Draws the values of each trial from its number, so that the order of workers and restarts changes no random number."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from noisylab.cli.sweeps.plan import SweepPlan

__all__ = ["KeyedSampler", "pruner_of", "sampler_of"]


class KeyedSampler(BaseSampler):
    """A sampler that is made anew for each draw, with a seed made of that of the sweep, the trial's number and the key.

    One generator in each worker would repeat its numbers in the next worker, and after each restart.

    Args:
        make: a sampler with a seed.
        seed: of the sweep.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._any = make(seed)  # what a space is like does not depend on the seed

    def _keyed(self, trial: FrozenTrial, key: str) -> BaseSampler:
        entropy = [self._seed, trial.number, *key.encode()]
        return self._make(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The values that are drawn together."""
        return self._any.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Draw these."""
        return self._keyed(trial, "").sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Draw one value by itself."""
        return self._keyed(trial, param_name).sample_independent(study, trial, param_name, param_distribution)


def sampler_of(plan: SweepPlan) -> BaseSampler:
    """The sampler of a sweep.

    TPE models all values together, and counts trials that are still running as bad ones, so that workers do not all try the
    same place.
    """
    settings = plan.settings
    if settings.sampler == "random":
        return KeyedSampler(lambda seed: RandomSampler(seed=seed), settings.seed)

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both were experimental in Optuna 4
            return TPESampler(seed=seed, n_startup_trials=settings.startup, multivariate=True, constant_liar=True)

    return KeyedSampler(make, settings.seed)


def pruner_of(plan: SweepPlan) -> BasePruner:
    """The pruner of a sweep."""
    if plan.settings.pruner == "median":
        return MedianPruner(n_startup_trials=min(5, plan.settings.startup), n_warmup_steps=plan.grace)
    if plan.settings.pruner == "hyperband":
        return HyperbandPruner(min_resource=plan.grace, max_resource=max(plan.epochs, plan.grace), reduction_factor=3)
    return NopPruner()
