from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import fit
from torch import Tensor

from noisylab.callbacks import HScores
from noisylab.data import Arrays
from noisylab.losses import soft_hgr
from noisylab.methods import CrossEntropy
from noisylab.metrics import HScore
from noisylab.models import FusionNet


def two_views(tmp_path: Path) -> Arrays:
    rng, y = np.random.default_rng(0), np.arange(60) % 3
    views = {
        f"x_{name}": (rng.normal(size=(60, width)) + 3 * (y[:, None] == 0)).astype(np.float32) for name, width in WIDTHS.items()
    }
    np.savez(tmp_path / "two.npz", y=y, **views)
    return Arrays(str(tmp_path / "two.npz"), val_fraction=0.5, batch_size=10, eval_batch_size=7)


WIDTHS = {"left": 4, "right": 6}
NETWORK = partial(FusionNet, in_features=WIDTHS, hidden=(), embedding=3)


def test_scores_of_the_validation_rows_are_logged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data, method = two_views(tmp_path), CrossEntropy(3, NETWORK)
    fit(method, data, tmp_path, 1, callbacks=(HScores(),))
    batches = list(data.evaluation_batches(data.split.val, torch.device("cpu")))
    inputs = {name: torch.cat([as_dict(batch.inputs)[name] for batch in batches]) for name in WIDTHS}
    net = method.networks["network"].eval()
    assert isinstance(net, FusionNet)
    views, seen, _ = net.embed_views(inputs)
    score = HScore(3)
    score.update(seen, data.given_target[data.split.val])
    assert method.epoch_metrics["val/h_score"] == pytest.approx(score.compute(), rel=1e-6)
    assert method.epoch_metrics["val/soft_hgr"] == pytest.approx(soft_hgr(*views.values()).item(), rel=1e-4)


def as_dict(inputs: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    assert isinstance(inputs, dict)
    return inputs
