"""Encoders of a fusion network that start from runs on single views."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from noisylab.checkpoints.warm_start import WarmStart, warm_start
from noisylab.methods import CrossEntropy, DivideMix
from noisylab.models import MLP, FusionNet, SmallCNN

CNN = partial(SmallCNN, width=4)
FUSION = partial(FusionNet, in_features={"stats": 4}, hidden=(6,), embedding=3, encoders={"sound": CNN})
OURS = {"labels": "a" * 64}


def saved(method: Any, folder: Path, views: tuple[str, ...] = (), labels: str = "a" * 64) -> str:
    """A checkpoint of a run, as far as `warm_start` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"method": type(method).__name__, "num_classes": 3, "class_names": ["a", "b", "c"], "headline": method.headline}
    stamp = {**about, "data": {"labels": labels}, "fitted": {"views": list(views)}}
    content = {"state_dict": method.state_dict(), "epoch": 4, "noisylab": stamp, "hyper_parameters": dict(method.hparams)}
    torch.save(content, folder / "run.ckpt")
    return str(folder / "run.ckpt")


def encoder(method: Any, place: int, network: str = "network") -> dict[str, torch.Tensor]:
    state = method.networks[network].encoders[place].state_dict()
    return {name: value.clone() for name, value in state.items()}


def test_each_view_starts_from_its_run_and_the_last_layer_stays(tmp_path: Path) -> None:
    stats, sound = CrossEntropy(3, partial(MLP, in_features=4, hidden=(6,))), CrossEntropy(3, CNN)
    sound.networks["network"](torch.randn(5, 1, 8, 8))  # moves the running statistics
    new = DivideMix(3, FUSION)
    heads = [encoder(new, place, "second")["head.weight"] for place in (0, 1)]
    runs = {"sound": saved(sound, tmp_path / "sound", ("sound",)), "stats": saved(stats, tmp_path / "stats")}
    for view, old in (("sound", sound), ("stats", stats)):
        started = warm_start(new, WarmStart(runs[view], encoders=[view]), data=OURS)
        place = {"stats": 0, "sound": 1}[view]
        assert [(item.network, item.into) for item in started] == [(name, f"encoders.{place}") for name in ("first", "second")]
        assert started[0].left == ("head.weight", "head.bias") and started[0].why == "there it tells classes apart"
        theirs = old.networks["network"].state_dict()
        for network in new.networks:
            mine = encoder(new, place, network)
            # although both last layers have the shape of three outputs
            assert {name for name in mine if torch.equal(mine[name], theirs[name])} == set(mine) - {"head.weight", "head.bias"}
        assert torch.equal(encoder(new, place, "second")["head.weight"], heads[place])


def test_all_views_start_from_one_fusion_whatever_their_order(tmp_path: Path) -> None:
    both = partial(FusionNet, embedding=3, encoders={"sound": CNN, "stats": partial(MLP, in_features=4, hidden=(6,))})
    old, new = CrossEntropy(3, both), CrossEntropy(3, FUSION)
    started = warm_start(new, WarmStart(saved(old, tmp_path, ("sound", "stats")), encoders=[]), data=OURS)
    assert [(item.into, item.left) for item in started] == [("encoders.0", ()), ("encoders.1", ())]
    for mine, theirs in ((0, 1), (1, 0)):
        found, expected = encoder(new, mine), encoder(old, theirs)
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(tmp_path: Path) -> None:
    new = CrossEntropy(3, FUSION)
    before = {name: value.clone() for name, value in new.networks.state_dict().items()}
    good, wide = CrossEntropy(3, CNN), CrossEntropy(3, partial(SmallCNN, width=6))
    for method, views, labels, start, told in (
        (good, ("stats",), "a" * 64, ["sound"], "trained on the view stats, not on 'sound'; give the run of that view"),
        (good, ("sound",), "b" * 64, ["sound"], "trained on other labels or rows than this run"),
        (good, ("sound",), "a" * 64, ["stats"], "trained on the view sound, not on 'stats'"),
        (good, (), "a" * 64, ["stats"], "has the network SmallCNN for the view 'stats', but its encoder here is a MLP"),
        (wide, ("sound",), "a" * 64, ["sound"], r"features\.0\.weight has the shape \(2, 1, 3, 3\), there \(3, 1, 3, 3\)"),
        (good, ("sound",), "a" * 64, ["film"], "no view 'film'; the views of this FusionNet are stats, sound"),
        (good, ("sound",), "a" * 64, [], "trained on the view sound, not on 'stats'"),
    ):
        with pytest.raises(ValueError, match=told):
            warm_start(new, WarmStart(saved(method, tmp_path, views, labels), encoders=start), data=OURS)
    with pytest.raises(ValueError, match="encoders start a FusionNet, but the network 'network' is a SmallCNN"):
        warm_start(CrossEntropy(3, CNN), WarmStart(saved(good, tmp_path), encoders=["sound"]), data=OURS)
    with pytest.raises(ValueError, match=r"into='encoders\.0' and encoders="):
        WarmStart("run", into="encoders.0", encoders=["sound"])
    assert all(torch.equal(value, before[name]) for name, value in new.networks.state_dict().items()) and not new.started_from
