import functools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noisylab.models import MLP, Wrap


class Outside(nn.Module):
    def __init__(self, num_classes: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(4, num_classes, bias=bias)

    def forward(self, samples: Tensor) -> Tensor:
        return self.linear(samples)


class TwoOutputs(Outside):
    def forward(self, samples: Tensor) -> Any:
        return self.linear(samples), samples


def too_wide(num_classes: int) -> nn.Module:
    return Outside(num_classes + 1)


def no_module(num_classes: int) -> object:
    return num_classes


def fixed_width(width: int) -> nn.Module:
    return Outside(width)


def test_a_class_is_called_with_the_number_of_classes_and_the_other_arguments() -> None:
    net = Wrap(3, Outside, bias=False)
    logits = net(torch.randn(2, 4))
    assert logits.shape == (2, 3) and net.num_classes == 3
    logits.square().sum().backward()
    assert [parameter.grad is not None for parameter in net.parameters()] == [True]


def test_the_factory_is_kept_by_its_import_path() -> None:
    assert Wrap(3, Outside).factory == f"{__name__}.Outside"
    assert Wrap(3, "noisylab.models.MLP", in_features=4).factory == "noisylab.models.MLP"


def test_an_import_path_makes_the_same_network() -> None:
    net = Wrap(3, "noisylab.models.mlp.MLP", in_features=4, hidden=(5,))
    assert isinstance(net.net, MLP) and net(torch.randn(2, 4)).shape == (2, 3)


def test_a_wrapped_network_can_be_pickled() -> None:
    net = Wrap(3, Outside)
    samples = torch.randn(2, 4)
    torch.testing.assert_close(pickle.loads(pickle.dumps(net))(samples), net(samples))


def test_what_a_checkpoint_cannot_store_is_refused_with_the_fix() -> None:
    def local(num_classes: int) -> nn.Module:
        return Outside(num_classes)

    for factory in (lambda num_classes: Outside(num_classes), local, functools.partial(Outside, bias=False)):
        with pytest.raises(ValueError, match="cannot be stored in a checkpoint; define a function or class at the top"):
            Wrap(3, factory)


def test_a_function_hidden_by_another_of_its_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = too_wide
    monkeypatch.setitem(globals(), "too_wide", Outside)
    with pytest.raises(ValueError, match=r"is not what .*too_wide imports"):
        Wrap(3, hidden)


def test_a_path_that_cannot_be_imported_is_refused() -> None:
    for path in ("nowhere.at.all", "noisylab.models.NoSuchNet", "not a path"):
        with pytest.raises(ValueError, match=f"factory='{path}' cannot be imported"):
            Wrap(3, path)
    with pytest.raises(TypeError, match="must be a class or function, got version_info"):
        Wrap(3, "sys.version_info")


def test_a_factory_of_other_arguments_is_refused() -> None:
    with pytest.raises(TypeError, match=r"fixed_width\(width: .* cannot be called with \['num_classes'\]"):
        Wrap(3, fixed_width)
    with pytest.raises(TypeError, match=r"cannot be called with \['depth', 'num_classes'\]"):
        Wrap(3, Outside, depth=4)


def test_a_factory_that_makes_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no_module must return a torch\.nn\.Module, got int"):
        Wrap(3, no_module)  # type: ignore[arg-type]


def test_an_output_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(B, 3\), got \(2, 4\); make its factory use num_classes=3"):
        Wrap(3, too_wide)(torch.zeros(2, 4))


def test_several_outputs_are_refused() -> None:
    with pytest.raises(TypeError, match=r"one tensor of shape \(B, 3\), got tuple"):
        Wrap(3, TwoOutputs)(torch.zeros(2, 4))
