"""The speed switches work for every method, change what they say, and resume exactly."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PACKAGED, DropoutMLP, SaveEveryBatch, ToyData, assert_same, fit
from torch import nn

from noisylab.callbacks import Diagnostics, Speed
from noisylab.data import Digits
from noisylab.methods import ACT, CrossEntropy
from noisylab.models import SmallCNN
from noisylab.noise import Symmetric

SWITCHES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # of Speed, of the Trainer, of the data
    "channels_last": ({"channels_last": True}, {}, {}),
    "compile": ({"compile": True, "backend": "aot_eager"}, {}, {}),
    "bf16": ({}, {"precision": "bf16-mixed"}, {}),
    "chunks": ({}, {}, {"chunk_size": 11}),
    "host": ({}, {}, {"residency": "host"}),
}


def _run(method: str, switch: str, folder: Path, **kwargs: Any) -> dict[str, Any]:
    speed, trainer, data = SWITCHES[switch]
    callbacks = (*kwargs.pop("callbacks", ()), Speed(**speed), Diagnostics())
    torch.manual_seed(0 if kwargs.get("resume") is None else 99)
    module = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5, **data)
    return fit(PACKAGED[method](), module, folder, 2, callbacks=callbacks, **kwargs, **trainer)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("method", ["ce", "act"])
def test_a_run_with_a_switch_resumes_exactly_after_every_batch(method: str, switch: str, tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    straight = _run(method, switch, tmp_path / "straight", callbacks=(saver,))
    for file in saver.files[:-1]:
        assert_same(_run(method, switch, file.with_suffix(""), resume=file), straight, file.stem)


@pytest.mark.parametrize("switch", ["chunks", "host"])
def test_where_data_lies_changes_nothing(switch: str, tmp_path: Path) -> None:
    usual = _fit_usual(tmp_path / "usual")
    assert_same(_run("act", switch, tmp_path / "other"), usual)


def _fit_usual(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    data = ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)
    return fit(PACKAGED["act"](), data, folder, 2, callbacks=(Diagnostics(),))


def _act_on_digits(folder: Path, speed: Speed, **kwargs: Any) -> ACT:
    torch.manual_seed(0)
    method = ACT(10, SmallCNN, warmup_epochs=0, lr_plan="cosine:1,1e-3,3")
    fit(method, Digits(subset=96, batch_size=32), folder, 1, callbacks=(speed,), **kwargs)
    return method


def test_channels_last_reaches_weights_gradients_and_outputs(tmp_path: Path) -> None:
    seen: list[bool] = []
    method = ACT(10, SmallCNN, warmup_epochs=0, lr_plan="cosine:1,1e-3,3")
    convolution = next(m for m in method.networks["robust"].modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1)
    convolution.register_forward_hook(
        lambda module, inputs, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    fit(method, Digits(subset=96, batch_size=32), tmp_path, 1, callbacks=(Speed(channels_last=True),))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert seen
    assert all(seen)


def tell_what_is_compiled(folder: str) -> None:
    """Train with a backend that looks on; print the passes that are compiled, and the names of the network's tensors."""
    compiled: list[tuple[bool, tuple[int, ...]]] = []

    def backend(graph: Any, inputs: Any) -> Any:
        shapes = [tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[1:] == (1, 8, 8)]
        compiled.append((torch.is_grad_enabled(), shapes[0]))
        return graph.forward

    method = _act_on_digits(Path(folder), Speed(compile=True, backend=backend))
    print(json.dumps({"compiled": compiled, "names": list(method.networks["robust"].state_dict())}))


@pytest.mark.slow
def test_only_training_passes_are_compiled(tmp_path: Path) -> None:
    # in a process of its own: after many other tests the compiler was once seen to compile nothing
    tests = Path(__file__).parents[1]
    program = f"import sys; sys.path[:0] = {[str(tests), str(tests / 'callbacks')]}; from test_speed import tell_what_is_compiled"
    command = [sys.executable, "-W", "ignore", "-c", f"{program}; tell_what_is_compiled({str(tmp_path)!r})"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    # batches of 32 alone: neither evaluation, of up to 512 rows, nor diagnostics
    assert found["compiled"] and all(pass_ == [True, [32, 1, 8, 8]] for pass_ in found["compiled"])
    assert not any(name.startswith("_orig_mod") for name in found["names"])


def test_a_compiled_run_computes_what_the_usual_one_does(tmp_path: Path) -> None:
    usual = _act_on_digits(tmp_path / "usual", Speed())
    compiled = _act_on_digits(tmp_path / "compiled", Speed(compile=True, backend="aot_eager"))
    for name, value in usual.networks.state_dict().items():
        torch.testing.assert_close(compiled.networks.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_inductor_computes_what_the_usual_run_does(tmp_path: Path) -> None:
    usual = _act_on_digits(tmp_path / "usual", Speed())
    compiled = _act_on_digits(tmp_path / "compiled", Speed(compile=True, channels_last=True))
    for name, value in usual.networks.state_dict().items():
        torch.testing.assert_close(compiled.networks.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_a_copy_of_a_compiled_network_is_its_own(tmp_path: Path) -> None:
    method = CrossEntropy(3, DropoutMLP, optimizer=partial(torch.optim.SGD, lr=0.1))
    fit(method, ToyData(), tmp_path, 1, callbacks=(Speed(compile=True, backend="eager"),))
    network = method.networks["network"]
    twin = copy.deepcopy(network).train()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        assert not twin(torch.ones(4, 2)).any()
        assert network.train()(torch.ones(4, 2)).any()
