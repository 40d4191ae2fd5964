"""What noisylab relies on in torch beyond its public names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.contracts import contract
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.data import DataLoader, TensorDataset

from noisylab.upstream.torch import (
    FollowsDevice,
    TorchDispatchMode,
    below_dispatch_modes,
    compile_training_passes,
    copy_all,
    forget_step,
    inductor_cache,
    multiply_all,
    shut_down_workers,
    standard_gamma,
    tangents_on,
    tree_leaves,
    tree_map_only,
    written_arguments,
)


class Table(FollowsDevice):
    """A tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.values = torch.ones(3)

    def follow(self, moved: Any) -> None:
        self.values = self.values.to(moved(self.values.device))


def test_moving_a_module_reaches_what_follows_its_device_but_not_its_type() -> None:
    with contract("torch.nn.Module._apply", FollowsDevice):
        outer = nn.ModuleDict({"table": Table(), "layer": nn.Linear(1, 1)})
        outer.to(dtype=torch.float64)
        table = outer["table"]
        assert isinstance(table, Table) and table.values.dtype == torch.float32
        outer.to(device="meta")
        assert table.values.device.type == "meta"
        assert outer["layer"].weight.device.type == "meta" and outer["layer"].weight.dtype == torch.float64


def test_a_module_says_what_follows_its_device() -> None:
    with pytest.raises(NotImplementedError, match="FollowsDevice must say in follow"):
        FollowsDevice().to("cpu")


def test_compiled_networks_run_as_they_are_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []

    def compile_(call: Any, **_: Any) -> Any:
        return lambda *inputs: compiled.append(True) or call(*inputs)

    monkeypatch.setattr(torch, "compile", compile_)
    with contract("torch.nn.Module._compiled_call_impl", compile_training_passes):
        network = nn.Linear(2, 1)
        plain, inputs = copy.deepcopy(network), torch.randn(4, 2)
        compile_training_passes(network, "inductor")
        assert torch.equal(network(inputs), plain(inputs)) and len(compiled) == 1
        copied = copy.deepcopy(network)
        assert torch.equal(copied(inputs), plain(inputs)) and len(compiled) == 1, "a copy is not compiled"
    with contract("torch.nn.Module._call_impl", compile_training_passes):
        assert torch.equal(network.eval()(inputs), plain(inputs)) and len(compiled) == 1


def test_the_compilers_folder_is_the_one_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    with contract("torch._inductor.runtime.cache_dir_utils.cache_dir", inductor_cache):
        assert inductor_cache() == tmp_path / "compiled"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_copied_in_place_and_cast(dtype: torch.dtype) -> None:
    with contract("torch._foreach_copy_", copy_all):
        targets, sources = [torch.zeros(2, dtype=dtype), torch.zeros(3, 1, dtype=dtype)], [torch.ones(2), torch.full((3, 1), 2.0)]
        places = [target.data_ptr() for target in targets]
        copy_all(targets, sources)
        assert [target.float().flatten().tolist() for target in targets] == [[1, 1], [2, 2, 2]]
        assert [target.data_ptr() for target in targets] == places and targets[0].dtype == dtype


def test_tensors_are_multiplied_in_place() -> None:
    with contract("torch._foreach_mul_", multiply_all):
        targets = [torch.ones(2), torch.full((3, 1), 2.0, dtype=torch.bfloat16)]
        places = [target.data_ptr() for target in targets]
        multiply_all(targets, 0.5)
        assert [target.float().flatten().tolist() for target in targets] == [[0.5, 0.5], [1, 1, 1]]
        assert [target.data_ptr() for target in targets] == places


def test_gamma_draws_are_those_of_the_distribution() -> None:
    with contract("torch._standard_gamma", standard_gamma):
        shape = torch.tensor([0.2, 0.75, 4.0], dtype=torch.float64)
        torch.manual_seed(3)
        ours = standard_gamma(shape)
        torch.manual_seed(3)
        assert torch.equal(ours, torch.distributions.Gamma(shape, torch.ones_like(shape)).sample())


def _scaled_step(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)


def test_an_optimizer_steps_twice_between_updates_and_its_overflow_is_not_forgotten() -> None:
    with contract("torch.amp.GradScaler._per_optimizer_states", forget_step):
        weight = nn.Parameter(torch.tensor(1.0))
        optimizer = torch.optim.SGD([weight], lr=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        _scaled_step(scaler, optimizer, weight * float("inf"))  # left out
        forget_step(scaler, optimizer)
        _scaled_step(scaler, optimizer, weight * 1.0)
        assert weight.item() == 0.5
        scaler.update()
        assert scaler.get_scale() == 2.0, "the overflow of the first step halves the scale"


def test_workers_end_when_they_are_told_to() -> None:
    loader = DataLoader(TensorDataset(torch.arange(4.0)), num_workers=1, persistent_workers=True)
    with contract("torch.utils.data.DataLoader._iterator", shut_down_workers):
        shut_down_workers(loader)  # before there are any
        assert len(list(loader)) == 4
        assert loader._iterator is not None
    with contract("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._shutdown_workers", shut_down_workers):
        workers = list(loader._iterator._workers)
        assert workers and all(worker.is_alive() for worker in workers)
        shut_down_workers(loader)
        assert not any(worker.is_alive() for worker in workers)


# ---- operations below autograd


class Doubling(TorchDispatchMode):
    """Does every operation, counts it, and doubles sums by an operation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.overloadpacket.__name__)
        with below_dispatch_modes():
            result = func(*args, **(kwargs or {}))
            return result * 2 if func is torch.ops.aten.add.Tensor else result


def test_a_mode_sees_every_operation_once_and_none_of_its_own() -> None:
    with contract("torch.utils._python_dispatch.TorchDispatchMode", TorchDispatchMode), Doubling() as mode:
        total = torch.ones(2) + torch.ones(2)
    with contract("torch.utils._python_dispatch._get_current_dispatch_mode_stack", below_dispatch_modes):
        assert total.tolist() == [4, 4] and mode.seen.count("add") == 1 and "mul" not in mode.seen
    with contract("torch._C._DisableTorchDispatch", below_dispatch_modes), below_dispatch_modes():
        assert (torch.ones(2) + 1).tolist() == [2, 2]


def test_modes_around_a_mode_see_its_own_operations() -> None:
    with contract("torch.utils._python_dispatch._get_current_dispatch_mode_stack", below_dispatch_modes):
        with Doubling() as outer, Doubling() as inner:
            total = torch.ones(2) + torch.ones(2)
        assert total.tolist() == [8, 8] and "mul" in outer.seen and "mul" not in inner.seen


def test_arguments_of_an_operation_are_looked_through() -> None:
    one, two = torch.ones(1), torch.zeros(2)
    arguments = ((one, [two, 3]), {"dim": None})
    with contract("torch.utils._pytree.tree_leaves", tree_leaves):
        assert [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)] == [one, two]
    with contract("torch.utils._pytree.tree_map_only", tree_map_only):
        mapped = tree_map_only(Tensor, len, arguments)
        assert mapped == ((1, [2, 3]), {"dim": None})


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # of torch itself, at its first dual number
def test_tangents_are_carried_where_they_were_switched_off() -> None:
    with contract("torch.autograd.forward_ad._set_fwd_grad_enabled", tangents_on):
        with forward_ad._set_fwd_grad_enabled(False), tangents_on():
            made = forward_ad.make_dual(torch.tensor(3.0), torch.tensor(1.0))
            tangent = forward_ad.unpack_dual(made * made).tangent
        assert tangent is not None and tangent.item() == 6


def test_operations_say_what_they_write_to() -> None:
    with contract("torch._ops.OpOverload._schema", written_arguments):
        one, two = torch.ones(1), torch.ones(1)
        assert list(written_arguments(torch.ops.aten.add.Tensor, (one, two))) == []
        assert list(written_arguments(torch.ops.aten.add_.Tensor, (one, two))) == [("self", one)]
        statistics = torch.ops.aten._native_batch_norm_legit.default
        given = (one, None, None, one, two, True, 0.1, 1e-5)
        assert list(written_arguments(statistics, given)) == [("running_mean", one), ("running_var", two)]
