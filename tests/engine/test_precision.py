"""Any precision: weights as asked, and what decides about samples in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import PACKAGED, DropoutMLP, KeepEpoch, PlainMLP, ToyData, assert_same, fit, make_trainer
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.data.base import Source
from noisylab.data.rows import DenseRows, MultiRows, SparseRows
from noisylab.engine.precision import prepare_precision
from noisylab.losses import cross_entropy
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.methods.scoring import score_rows
from noisylab.metrics import RunningMeans
from noisylab.noise import Symmetric
from noisylab.types import Batch, EvalBatch, Inputs, PlanBatch, StreamRows

WEIGHTS = {  # for 32-true see tests/matrix/test_methods.py
    "64-true": torch.float64,
    "bf16-true": torch.bfloat16,
    "bf16-mixed": torch.float32,
    "16-mixed": torch.float32,
}
_HALF = (torch.bfloat16, torch.float16)


def _precision(name: str) -> dict[str, Any]:
    if name != "16-mixed":
        return {"precision": name}
    # Lightning has no float16 for the CPU unless it is handed a scaler
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


def _data(**kwargs: Any) -> ToyData:
    return ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5, **kwargs)


def _is_coarse(values: Tensor) -> bool:
    """Whether bfloat16 would hold all values."""
    return torch.equal(values, values.bfloat16().float())


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# ---- every method


class _Rounding(TorchDispatchMode):
    """Counts what makes a 16-bit number out of none, as the default type does, and delicate functions of 16-bit numbers."""

    delicate = ("_softmax", "_log_softmax", "nll_loss_forward", "log", "log1p", "exp", "logsumexp", "xlogy")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        result = func(*args, **(kwargs or {}))
        if name in ("zeros", "_efficientzerotensor") and (kwargs or {}).get("dtype") is not None:
            return result  # tangents of what stands still, whose type is not the default but asked for
        given, made = ([x for x in tree_leaves(tree) if isinstance(x, Tensor)] for tree in ((args, kwargs), result))
        self.calls += 1
        self.found[name] += any(x.dtype in _HALF for x in made) and not any(x.is_floating_point() for x in given)
        self.found[name] += name.rstrip("_") in self.delicate and any(x.dtype in _HALF for x in given)
        return result


def _watched(method: NoisyLabelMethod, mode: _Rounding) -> NoisyLabelMethod:
    original = method.training_step

    def training_step(batch: PlanBatch, batch_idx: int) -> Any:
        with mode:
            return original(batch, batch_idx)

    method.training_step = training_step  # type: ignore[method-assign]
    return method


@dataclass
class _Run:
    """Two epochs of a method, and the folder of what a run killed after the first would leave."""

    method: NoisyLabelMethod
    data: ToyData
    before: dict[str, Tensor]
    state: dict[str, Any]
    rounding: _Rounding
    killed: Path


def _fit(name: str, precision: str, folder: Path, resume: Path | None = None) -> _Run:
    torch.manual_seed(0 if resume is None else 99)
    method, data, rounding = PACKAGED[name](), _data(), _Rounding()
    before = {key: value.clone() for key, value in method.networks.state_dict().items()}
    keep = KeepEpoch(0, folder)
    kwargs = {"callbacks": (Diagnostics(),), "last": (keep,), **_precision(precision)}
    if "16" in precision:  # watching is slow
        _watched(method, rounding)
    state = fit(method, data, folder, 2, resume=resume, **kwargs)
    return _Run(method, data, before, state, rounding, keep.kept)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], _Run]:
    """The run of a method in a precision, made once."""
    return cache(lambda name, precision: _fit(name, precision, tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("precision", WEIGHTS)
@pytest.mark.parametrize("name", PACKAGED)
def test_weights_have_the_type_asked_for_and_memories_are_float32(name: str, precision: str, trained: Any) -> None:
    run = trained(name, precision)
    parameters = dict(run.method.networks.named_parameters())
    assert {value.dtype for value in parameters.values()} == {WEIGHTS[precision]}
    assert all(bool(value.isfinite().all()) for value in parameters.values())
    for network in run.method.networks:
        moved = [not torch.equal(p.float(), run.before[key]) for key, p in parameters.items() if key.startswith(f"{network}.")]
        assert any(moved), network
    for field in run.method.memory:
        assert run.method.memory[field].dtype not in (*_HALF, torch.float64), field
    observed = run.method.memory["observed_epoch"] >= 0
    if name in ("ce", "act"):
        assert int(observed.sum()) == len(run.data.info.train_rows)
    assert not bool(observed.any()) or not _is_coarse(run.method.memory["observed_loss"][observed])


@pytest.mark.parametrize("precision", WEIGHTS)
@pytest.mark.parametrize("name", PACKAGED)
def test_predictions_are_float32_and_add_up_to_one(name: str, precision: str, trained: Any, tmp_path: Path) -> None:
    run, trainer = trained(name, precision), make_trainer(tmp_path, 1, **_precision(precision))
    (batch, *_) = trainer.predict(run.method, datamodule=_data()) or []
    probs = batch["probs"]  # type: ignore[call-overload]
    assert probs.dtype == torch.float32 and not _is_coarse(probs)
    torch.testing.assert_close(probs.sum(1), torch.ones(len(probs)), rtol=0, atol=1e-5)
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        logits = run.method.all_logits(run.data.source.test.values.to(WEIGHTS[precision]))
    assert {value.dtype for value in logits.values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", PACKAGED)
def test_training_steps_round_nothing_but_the_networks(name: str, precision: str, trained: Any) -> None:
    rounding = trained(name, precision).rounding
    assert rounding.calls > 100
    assert dict(+rounding.found) == {}, "give the type; of whole numbers, divide .float() or .double()"


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
@pytest.mark.parametrize("name", PACKAGED)
def test_a_resume_from_the_last_checkpoint_equals_the_straight_run(name: str, precision: str, trained: Any) -> None:
    run = trained(name, precision)
    assert_same(_fit(name, precision, run.killed, run.killed / "last.ckpt").state, run.state)


def test_rounding_is_noticed() -> None:
    with _default_type(torch.bfloat16), _Rounding() as mode:
        (torch.ones(3, dtype=torch.bool).sum() / 2, torch.zeros(2), torch.zeros(2).log_softmax(0), torch.zeros(2).float().exp())
    assert dict(+mode.found) == {"div": 1, "zeros": 3, "_log_softmax": 1}


# ---- inputs


class _TwoViews(PlainMLP):
    """Takes the two views of `_Data` side by side."""

    def forward(self, inputs: Inputs) -> Tensor:
        assert isinstance(inputs, dict)
        return super().forward(torch.cat([inputs["left"], inputs["right"]], 1))


class _Data(ToyData):
    """The points of `ToyData` kept otherwise."""

    def __init__(self, store: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store = store

    def load(self) -> Source:
        source = super().load()
        source.train, source.test = self.keep(source.train), self.keep(source.test)
        return source

    def keep(self, rows: Any) -> Any:
        left, right = rows.values.split(1, dim=1)
        return {
            "dense": lambda: rows,
            "sparse": lambda: _sparse(rows.values),
            "views": lambda: MultiRows({"left": DenseRows(left), "right": _sparse(right)}),
        }[self.store]()


def _sparse(values: Tensor) -> SparseRows:
    size, columns = values.shape
    return SparseRows(values.flatten(), torch.arange(columns).repeat(size), torch.arange(size + 1) * columns, columns)


@pytest.mark.parametrize("store", ["sparse", "views"])
def test_sparse_rows_and_several_views_train_as_dense_rows_do(store: str, tmp_path: Path) -> None:
    runs = []
    for kept, network in (("dense", PlainMLP), (store, _TwoViews if store == "views" else PlainMLP)):
        torch.manual_seed(0)
        method = ACT(3, network, warmup_epochs=1, lr_plan="cosine:1,1e-3,3")
        data = _Data(kept, noise=Symmetric(0.4), val_fraction=0.15, weak=0.0)  # noise is drawn for each view
        runs.append(fit(method, data, tmp_path / kept, 2, callbacks=(Diagnostics(),), precision="bf16-true"))
    assert_same(runs[1], runs[0])


def _batches() -> tuple[PlanBatch, EvalBatch]:
    index = torch.arange(3)
    inputs = {"a": torch.rand(3, 2), "b": torch.ones(3, 2, dtype=torch.uint8)}
    later = StreamRows(index, index, ("weak",), 7)
    streams = {"now": Batch((inputs, torch.rand(3, 1)), index, index), "later": later}
    return PlanBatch("phase", streams, 4, 2, False, True, {"now": 3}, {"now": 1.5}), EvalBatch(inputs, index, index, "val")


@pytest.mark.parametrize("plugin", [HalfPrecision("bf16-true"), HalfPrecision("16-true"), DoublePrecision()])
def test_only_floating_point_inputs_are_converted(plugin: Any) -> None:
    for _ in range(2):  # a second time changes nothing
        prepare_precision(SimpleNamespace(precision_plugin=plugin), torch.nn.Linear(2, 2), "validate")
    dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}[plugin.precision]
    batch, evaluated = _batches()
    new = plugin.convert_input(batch)
    (inputs, second), old = new["now"].views, batch["now"].views
    assert (inputs["a"].dtype, inputs["b"].dtype, second.dtype) == (dtype, torch.uint8, dtype)
    assert torch.equal(second, old[1].to(dtype))  # type: ignore[union-attr]
    assert new["now"].target.dtype == new["now"].index.dtype == torch.int64
    assert new.streams["later"] is batch.streams["later"]
    assert new.with_streams({}) == batch.with_streams({})
    new = plugin.convert_input(evaluated)
    assert (new.inputs["a"].dtype, new.inputs["b"].dtype, new.target.dtype, new.split) == (dtype, torch.uint8, torch.int64, "val")
    assert plugin.convert_input([torch.rand(2)])[0].dtype == dtype  # Lightning's own way


def test_precisions_that_convert_nothing_are_left_alone() -> None:
    for plugin in (Precision(), MixedPrecision("bf16-mixed", "cpu")):
        layer = torch.nn.Linear(2, 2)
        prepare_precision(SimpleNamespace(precision_plugin=plugin), layer, "fit")
        assert "convert_input" not in vars(plugin) and layer.weight.dtype == torch.float32


# ---- the scoring pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_scoring_gives_networks_inputs_of_their_type(dtype: torch.dtype) -> None:
    network, data = PlainMLP(3).to(dtype), _data()
    data.setup()

    def measure(batch: EvalBatch) -> dict[str, Tensor]:
        logits = network(batch.inputs)
        assert logits.dtype == dtype and batch.target.dtype == batch.index.dtype == torch.int64
        return {"loss": cross_entropy(logits, batch.target, reduction="none")}

    tables, _ = score_rows(network, data, measure, rows=data.info.train_rows, device=torch.device("cpu"))
    assert tables["loss"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_batches_are_built_outside_of_the_forward_context() -> None:
    seen: list[tuple[str, torch.dtype]] = []

    class Noted(ToyData):
        def _eval_batch(self, *args: Any) -> EvalBatch:
            seen.append(("build", torch.get_default_dtype()))
            return super()._eval_batch(*args)

    def measure(batch: EvalBatch) -> dict[str, Tensor]:
        seen.append(("measure", torch.get_default_dtype()))
        return {"index": batch.index}

    data = Noted(num_train=20, eval_batch_size=10)
    data.setup()
    context = HalfPrecision("bf16-true").forward_context
    rows, device = data.info.train_rows, torch.device("cpu")
    score_rows(PlainMLP(3), data, measure, rows=rows, device=device, forward_context=context)
    assert seen == [("build", torch.float32), ("measure", torch.bfloat16)] * 2
    assert torch.get_default_dtype() == torch.float32


# ---- float16 weights


def test_training_in_16_true_is_refused_and_evaluating_is_not(tmp_path: Path) -> None:
    method = PACKAGED["act"]()
    message = r"trainer\.precision='16-true' .* training takes 32-true, .*: use 16-mixed or bf16-true"
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, 1, precision="16-true").fit(method, datamodule=_data())
    trainer = make_trainer(tmp_path, 1, precision="16-true")
    (found, _) = trainer.validate(method, datamodule=_data(), verbose=False)
    (batch, *_) = trainer.predict(method, datamodule=_data()) or []
    assert next(method.networks.parameters()).dtype == torch.float16
    assert "val/acc" in found and batch["probs"].dtype == torch.float32  # type: ignore[call-overload]


# ---- what depends on no default


def test_means_and_sparse_rows_do_not_follow_the_default_type() -> None:
    with _default_type(torch.bfloat16):
        means = RunningMeans()
        for _ in range(1000):
            means.add("loss", torch.tensor(1.001, dtype=torch.float32))
        rows = _sparse(torch.full((3, 2), 1.001, dtype=torch.float32)).gather(torch.tensor([2, 0]))
    assert means.compute()["loss"] == pytest.approx(1.001, abs=1e-6)
    assert rows.dtype == torch.float32 and torch.equal(rows, torch.full((2, 2), 1.001))


def test_the_ensemble_of_very_sure_networks_has_finite_logits() -> None:
    method = ACT(3, partial(PlainMLP, in_features=3, hidden=()))
    for network, sign in zip(method.networks.values(), (1.0, -1.0), strict=True):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        network.head.weight.data.copy_(sign * 200 * torch.eye(3))  # type: ignore[union-attr]
    x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    logits = method.all_logits(x)
    double = [(sign * 200 * x.double()).log_softmax(1) for sign in (1.0, -1.0)]
    expected = (double[0].exp() + double[1].exp()).log() - torch.tensor(2.0).log()
    torch.testing.assert_close(logits["ensemble"].double(), expected, rtol=1e-5, atol=1e-5)


def test_float64_runs_do_not_lose_their_digits_in_the_loss(tmp_path: Path) -> None:
    losses: list[Tensor] = []

    class Kept(CrossEntropy):
        def training_step(self, batch: PlanBatch, batch_idx: int) -> Any:
            losses.append(super().training_step(batch, batch_idx))
            return losses[-1]

    make_trainer(tmp_path, 1, precision="64-true").fit(Kept(3, DropoutMLP), datamodule=_data())
    assert all(loss.dtype == torch.float64 and loss.item() != loss.float().item() for loss in losses)
