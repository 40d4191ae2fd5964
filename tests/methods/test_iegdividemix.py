from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, SaveEveryBatch, assert_same, fit
from test_ieg import (
    SGD,
    TIGHT,
    OneClass,
    Plain,
    assert_follows,
    assert_logged,
    block,
    in_double,
    key_draws,
    mean,
    one_hot,
    sharp,
    toy,
    train,
    trusted,
)
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

import noisylab.meta.forms
from noisylab.losses import co_guess
from noisylab.methods import IEGDivideMix, iegdividemix, metagradients, reweighting
from noisylab.methods.ieg import Seen, Trust
from noisylab.types import PlanBatch

__all__ = ["in_double"]

FEATURES: dict[str, Any] = {"second_view": None, "consistency": "none"}


def make(network: Any = BatchNormMLP, **kwargs: Any) -> IEGDivideMix:
    torch.manual_seed(5)
    return IEGDivideMix(3, network, **{"optimizer": SGD, **kwargs})


# ---- a run equals the algorithm written apart, step 1 to 10 of the class docstring


class Pair:
    """Two networks side by side; what is exchanged is swapped, used and swapped back."""

    def __init__(self, method: IEGDivideMix, *, exchange: bool, inner_scale: bool, penalty: bool, **options: Any) -> None:
        self.nets = [Plain(copy.deepcopy(method.networks[name]), **options) for name in ("first", "second")]
        self.exchange, self.inner_scale, self.penalty = exchange, inner_scale, penalty

    def guess(self, logits: list[list[Tensor]], w: list[Tensor]) -> Tensor:
        rows = []
        for i in range(len(w[0])):
            w1, w2 = float(w[0][i]), float(w[1][i])
            if w1 == 0 and w2 == 0:
                w1 = w2 = 1e-8
            p = torch.zeros(3)
            for rho, views in zip((w1 / (w1 + w2), w2 / (w1 + w2)), logits, strict=True):
                inner = rho if self.inner_scale else 1.0
                p = p + rho * mean([(inner * block(z.detach())[i]).softmax(0) for z in views])
            rows.append(sharp(p, self.nets[0].o["temperature"]))
        return torch.stack(rows)

    def train(self, batch: PlanBatch, seed: int) -> list[dict[str, Any]]:
        key_draws(batch, seed)
        index, y = batch["train"].index, one_hot(batch["train"].target)
        views = self.nets[0].views(batch)
        logits = [net.see(views) for net in self.nets]
        probes = [trusted(batch, "trusted_first"), trusted(batch, "trusted_second")]
        w, given = [], []
        for net, z, probe in zip(self.nets, logits, probes, strict=True):
            scores, prefers = net.meta(views[0], y, net.pseudo(z), *probe)
            w.append(net.weigh(index, scores, batch.epoch))
            given.append(prefers)
        if self.exchange:
            w.reverse()
            probes.reverse()
        splits = [net.split(weights) for net, weights in zip(self.nets, w, strict=True)]
        g = self.guess(logits, w)
        own = w[::-1] if self.exchange else w
        found: list[dict[str, Any]] = []
        for r, net in enumerate(self.nets):
            terms: dict[str, Any] = net.parts(views, logits[r], g, y, own[r], given[r], splits[r], *probes[r])
            if self.penalty:
                p = mean([logits[r][0][i].softmax(0) for i in range(len(y))])
                terms["prior"] = sum((math.log(1 / 3) - p[k].log()) / 3 for k in range(3))
                terms["loss"] = terms["loss"] + terms["prior"]
            found.append({**terms, "weights": own[r], "given": given[r], "pseudo": g.argmax(1), "split": splits[r]})
        for net, terms in zip(self.nets, found, strict=True):
            net.update(terms["loss"])
        return found


RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "views": (BatchNormMLP, {}),
    "views-exchange": (BatchNormMLP, {"exchange": True, "prior_penalty": True}),
    "features": (PlainMLP, {**FEATURES, "inner_scale": False, "meta_rate": 0.01}),
    "features-exchange": (BatchNormMLP, {**FEATURES, "exchange": True, "prior_penalty": True}),
    "fake-exchange": (PlainMLP, {"second_view": None, "consistency": "fake", "exchange": True}),
    "split": (PlainMLP, {"threshold": 0.2}),
    "split-exchange": (BatchNormMLP, {**FEATURES, "threshold": 0.6, "rule": "quantile", "exchange": True}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_equals_the_algorithm_written_apart(name: str, tmp_path: Path, in_double: None) -> None:
    network, given = RUNS[name]
    torch.set_default_dtype(torch.float32)
    method = make(network, **given)
    options = {
        key: value for key, value in given.items() if key not in ("second_view", "exchange", "inner_scale", "prior_penalty")
    }
    pair = Pair(
        method,
        exchange=given.get("exchange", False),
        inner_scale=given.get("inner_scale", True),
        penalty=given.get("prior_penalty", False),
        **options,
    )
    record = train(method, tmp_path)
    torch.set_default_dtype(torch.float64)
    seen: list[list[dict[str, Any]]] = []
    for step, batch in enumerate(record.batches):
        seen.append(pair.train(batch, method.info.seed))
        for which, net in zip(("first", "second"), pair.nets, strict=True):
            assert_follows(net.network, record.after[step][which], TIGHT, f"{which} after step {step}")
            assert_follows(net.average, record.after[step][f"{which}_average"], TIGHT, f"{which}_average after step {step}")
    for r, which in enumerate(("first", "second")):
        for epoch in (0, 1):
            steps = [(len(b["train"]), found[r]) for b, found in zip(record.batches, seen, strict=True) if b.epoch == epoch]
            assert_logged(record.means(epoch), steps, "_second" if r else "", 1e-6)
        for batch, found in zip(record.batches[2:], seen[2:], strict=True):
            weights = method.memory[f"weight_{which}"][batch["train"].index]
            torch.testing.assert_close(weights.double(), found[r]["weights"], rtol=1e-6, atol=1e-6)
    for batch, found in zip(record.batches[2:], seen[2:], strict=True):
        index = batch["train"].index
        assert torch.equal(method.memory["trusts_given"][index] == 1, found[0]["given"] & found[1]["given"])
        assert torch.equal(method.memory["pseudo_target"][index].long(), found[0]["pseudo"])
    assert any(not torch.equal(a["weights"], b["weights"]) for a, b in seen)
    assert any(not torch.equal(a["given"], b["given"]) for a, b in seen)
    if "split" in name:
        assert any(a["split"] != b["split"] for a, b in seen) and min(len(a["split"]) for a, _ in seen) < 8


# ---- what is exchanged


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each network is told to mix and to weigh by, in turn."""
    found: list[dict[str, Any]] = []
    mixed, supervised, guess = IEGDivideMix._mixed_loss, IEGDivideMix._supervised, co_guess

    def spy_mixed(
        self: IEGDivideMix, name: str, seen: Seen, wrong: Any, pseudo: Tensor, y: Tensor, trusted: Any, trusted_y: Tensor
    ) -> Any:
        found.append({"name": name, "wrong": wrong, "guess": pseudo, "trusted": trusted})
        return mixed(self, name, seen, wrong, pseudo, y, trusted, trusted_y)

    def spy_supervised(self: IEGDivideMix, seen: Seen, trust: Trust, y: Tensor, pseudo: Tensor) -> Any:
        found[-1] |= {"weights": trust.weights, "given": trust.given}
        return supervised(self, seen, trust, y, pseudo)

    def spy_guess(first: Any, second: Any, weights: tuple[Tensor, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        before = [w.clone() for w in weights]
        answer = guess(first, second, weights, *args, **kwargs)
        assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True)), "changed by the guess"
        found.append({"guess weights": weights})
        return answer

    monkeypatch.setattr(IEGDivideMix, "_mixed_loss", spy_mixed)
    monkeypatch.setattr(IEGDivideMix, "_supervised", spy_supervised)
    monkeypatch.setattr(iegdividemix, "co_guess", spy_guess)
    return found


@pytest.mark.parametrize("exchange", [False, True])
def test_weights_and_trusted_batches_are_exchanged_and_weights_given_back(
    exchange: bool, calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    method = make(exchange=exchange)
    record = train(method, tmp_path, epochs=1, max_steps=1)
    guessed, first, second = calls
    assert [first["name"], second["name"]] == ["first", "second"]
    batch = record.batches[0]
    for call, name in ((first, "first"), (second, "second")):
        peer = {"first": "second", "second": "first"}[name]
        assert call["wrong"] is None, "all samples are taken as mislabeled"
        assert torch.equal(call["trusted"], batch[f"trusted_{peer if exchange else name}"].views[0])  # type: ignore[arg-type]
        assert torch.equal(call["weights"].float(), method.memory[f"weight_{name}"][batch["train"].index])
    assert torch.equal(first["guess"], second["guess"]), "one guess for both"
    own = first["weights"], second["weights"]
    for used, expected in zip(guessed["guess weights"], own[::-1] if exchange else own, strict=True):
        assert torch.equal(used, expected)
    assert not torch.equal(*own)
    both = first["given"] & second["given"]
    assert torch.equal(method.memory["trusts_given"][batch["train"].index] == 1, both)


def test_each_network_splits_by_the_weights_it_is_given(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    splits = []
    for exchange in (False, True):
        calls.clear()
        train(make(exchange=exchange, threshold=0.3, **FEATURES), tmp_path, epochs=1, max_steps=1)
        splits.append([call["wrong"].tolist() for call in calls[1:]])
    assert splits[0] == splits[1][::-1] and splits[0][0] != splits[0][1]


# ---- the two networks differ


def test_networks_start_apart_and_trust_in_other_orders(tmp_path: Path) -> None:
    method = make()
    first, second = (list(network.parameters()) for network in method.networks.values())
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a.ndim > 1)
    record = train(method, tmp_path, epochs=2)
    assert all(len(batch[stream]) == 8 for batch in record.batches for stream in ("trusted_first", "trusted_second"))
    assert all(not torch.equal(b["trusted_first"].index, b["trusted_second"].index) for b in record.batches)
    rows = torch.cat([batch["trusted_first"].index for batch in record.batches])
    assert set(rows.tolist()) == set(method.info.trusted_rows.tolist())


def test_each_network_has_an_optimizer_a_schedule_and_an_average_of_its_own(tmp_path: Path) -> None:
    method = make(scheduler=partial(StepLR, step_size=1, gamma=0.5), schedule_by="step")
    train(method, tmp_path, epochs=1)
    optimizers = [wrapped.optimizer for wrapped in method.wrapped_optimizers().values()]
    assert [o.param_groups[0]["lr"] for o in optimizers] == [0.05 / 4] * 2
    for optimizer, network in zip(optimizers, method.networks.values(), strict=True):
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in network.parameters()]
    assert list(method.averages) == ["first", "second"]


def test_the_mean_of_both_averaged_copies_is_evaluated(tmp_path: Path) -> None:
    method = make()
    train(method, tmp_path, epochs=1, precision="32-true")
    assert method.headline == "ensemble_average" and make(evaluate="raw").headline == "ensemble"
    method.eval()
    x = torch.randn(5, 2)
    with torch.no_grad():
        found = method.all_logits(x)
        assert list(found) == ["first", "second", "ensemble", "first_average", "second_average", "ensemble_average"]
        for kind in ("", "_average"):
            merged = (found[f"first{kind}"].softmax(1) + found[f"second{kind}"].softmax(1)) / 2
            torch.testing.assert_close(found[f"ensemble{kind}"].softmax(1), merged)
        assert torch.equal(method(x), found["ensemble_average"])


# ---- at the edges


@pytest.mark.parametrize(
    "options", [{}, {"threshold": 0.0}, {"threshold": 0.2, "exchange": True}, {"threshold": 0.3, "rule": "quantile"}]
)
@pytest.mark.parametrize("case", ["no weight", "one class", "one network alone"])
def test_nothing_is_nan(case: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weigh = reweighting.ReweightingMethod.weigh

    def without(self: IEGDivideMix, batch: PlanBatch, name: str, scores: Tensor, loss: Tensor) -> Tensor:
        none = case == "no weight" or (case == "one network alone" and name == "first")
        return weigh(self, batch, name, torch.zeros_like(scores) if none else scores, loss)

    monkeypatch.setattr(IEGDivideMix, "weigh", without)
    method = make(prior_penalty=True, **options)
    record = train(
        method, tmp_path, data=toy(noise=OneClass(0.4)) if case == "one class" else None, epochs=1, precision="32-true"
    )
    assert record.rows and all(math.isfinite(value) for _, _, _, value in record.rows)
    assert all(bool(p.isfinite().all()) for p in method.parameters())
    if case == "no weight":
        assert record.means(0)["train/w_loss"] == record.means(0)["train/w_loss_second"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "soft"}, "rule must be 'hard_weights' or 'quantile', got 'soft'"),
        ({"second_view": None}, "consistency='kl' compares two views"),
        ({"threshold": -0.1}, "threshold must be a number of 0 or more, got -0.1"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_how_derivatives_are_found_is_said_once_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(noisylab.meta.forms, "_AGREES", 2.0)
    monkeypatch.setattr(metagradients, "rank_zero_info", said.append)
    method = make(exchange=True)
    record = train(method, tmp_path, precision="bf16-mixed")
    assert len(said) == 1 and said[0].startswith("IEGDivideMix finds the weights of samples by tangents in float32")
    assert {form.precision for form in method.forms.values()} == {"float32"}
    assert all(bool(p.isfinite().all()) for p in method.parameters())
    assert all(math.isfinite(value) for _, _, _, value in record.rows)


@pytest.mark.parametrize("options", [{"exchange": True}, {**FEATURES, "threshold": 0.4, "weight_norm": "epoch"}])
def test_a_run_goes_on_in_the_middle_of_an_epoch(options: dict[str, Any], tmp_path: Path) -> None:
    save = SaveEveryBatch(tmp_path)
    straight = fit(make(**options), toy(), tmp_path / "a", 3, callbacks=(save,))
    again = fit(make(**options), toy(), tmp_path / "b", 3, resume=save.files[2])
    assert_same(straight["networks"], again["networks"])
    assert_same(straight["memory"], again["memory"])
    assert_same(straight["optimizers"], again["optimizers"])
