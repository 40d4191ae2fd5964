from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PhasedDummy, PlainMLP, ToyData, assert_same, fit, make_trainer
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from noisylab.methods import ACT, Backward, CrossEntropy, Forward, NoisyLabelMethod
from noisylab.models import MLP
from noisylab.noise import PairFlip, Symmetric

_NETWORKS = {
    "class": PlainMLP,
    "partial": partial(MLP, in_features=2, hidden=(8,)),
    "spec": {"class_path": "noisylab.models.MLP", "init_args": {"in_features": 2, "hidden": [8]}},
}
_OPTIMIZERS: dict[str, Any] = {
    "class": torch.optim.Adam,
    "partial": partial(SGD, lr=0.05, momentum=0.9),
    "spec": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}},
}


class Handed(CrossEntropy):
    """A subclass that hands all arguments on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Narrow(CrossEntropy):
    """A subclass with a setting of its own and one that it fixes."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__(network=partial(PlainMLP, hidden=(width,)), **kwargs)
        self.width = width


def _trained(method: NoisyLabelMethod, folder: Path) -> Path:
    fit(method, ToyData(noise=Symmetric(0.4), val_fraction=0.2), folder, 1)
    return folder / "last.ckpt"


def _assert_rebuilt(method: NoisyLabelMethod, again: NoisyLabelMethod) -> None:
    assert type(again) is type(method) and again.hparams == method.hparams
    assert_same(dict(again.networks.state_dict()), dict(method.networks.state_dict()))
    for name in method.memory:
        assert_same(again.memory[name], method.memory[name], name)
    inputs = torch.randn(4, 2)
    assert torch.equal(again(inputs), method(inputs))


@pytest.mark.parametrize("form", ["class", "partial", "spec"])
@pytest.mark.parametrize("cls", [CrossEntropy, ACT])
def test_checkpoint_alone_rebuilds_the_method(cls: Any, form: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"network": _NETWORKS[form], "optimizer": _OPTIMIZERS[form], "label_smoothing": 0.1}
    if cls is CrossEntropy:
        options["scheduler"] = partial(StepLR, step_size=1)
    else:
        options |= {"warmup_epochs": 0, "lr_plan": "cosine:0,1e-4,3"}
    method = cls(num_classes=3, **options)
    again = cls.load_from_checkpoint(_trained(method, tmp_path))
    _assert_rebuilt(method, again)
    if cls is CrossEntropy:
        found = again.configure_optimizers()
        expected = method.configure_optimizers()
        assert type(found["optimizer"]) is type(expected["optimizer"])
        rates = [config["optimizer"].param_groups[0]["lr"] for config in (found, expected)]
        assert rates[0] == rates[1]
        assert found["lr_scheduler"]["scheduler"].step_size == 1


@pytest.mark.parametrize("cls", [Forward, Backward])
def test_checkpoint_of_a_method_with_an_oracle_rebuilds_it(cls: Any, tmp_path: Path) -> None:
    method = cls(3, PlainMLP, oracle=partial(PairFlip, rate=0.25), optimizer=partial(SGD, lr=1e-3), hand_over="last")
    again = cls.load_from_checkpoint(_trained(method, tmp_path))
    _assert_rebuilt(method, again)
    assert again.hparams["oracle"] == {"class_path": "noisylab.noise.pairflip.PairFlip", "init_args": {"rate": 0.25}}
    assert again.oracle == method.oracle and again.hand_over == "last" and again.stage == "corrected"
    assert_same(again.matrices.get_extra_state(), method.matrices.get_extra_state())


def test_subclass_is_rebuilt_from_its_own_arguments(tmp_path: Path) -> None:
    method = Narrow(width=6, num_classes=3, label_smoothing=0.2)
    weights = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "jsd_weight": 0.0, "fusion_h": 0.0}
    by_default = {"smoothing": "torch", **weights, "optimizer": None, "scheduler": None}
    assert dict(method.hparams) == {"width": 6, "num_classes": 3, "label_smoothing": 0.2, **by_default}
    again = Narrow.load_from_checkpoint(_trained(method, tmp_path))
    assert again.width == 6 and again.label_smoothing == 0.2
    assert_same(dict(again.networks.state_dict()), dict(method.networks.state_dict()))


def test_subclass_that_hands_positional_arguments_on_is_rebuilt(tmp_path: Path) -> None:
    again = Handed.load_from_checkpoint(_trained(Handed(3, PlainMLP, 0.2), tmp_path))
    assert again.label_smoothing == 0.2


def test_checkpoint_holds_tensors_and_builtins_alone(tmp_path: Path) -> None:
    for cls in (CrossEntropy, ACT, PhasedDummy):
        path = _trained(cls(3, PlainMLP), tmp_path / cls.__name__)
        checkpoint = torch.load(path, weights_only=True)
        trained_on = checkpoint["noisylab"].pop("data")
        assert len(trained_on.pop("labels")) == 64 and trained_on == {"seed": 0, "batch_size": 8}
        assert checkpoint["noisylab"].pop("fitted")["classes"] == ["blob0", "blob1", "blob2"]
        assert checkpoint["noisylab"] == {
            "method": cls.__name__,
            "num_classes": 3,
            "class_names": ["blob0", "blob1", "blob2"],
            "headline": next(iter(cls(3, PlainMLP).networks)),
            "learns_labels": True,
            "started_from": [],
        }


def test_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    path = _trained(CrossEntropy(3, PlainMLP), tmp_path)
    with pytest.raises(ValueError, match="of CrossEntropy with 3 classes, this is ACT with 3 classes"):
        ACT.load_from_checkpoint(path)
    with pytest.raises(ValueError, match="this is ACT"):
        make_trainer(tmp_path, 2).fit(ACT(3, PlainMLP), datamodule=ToyData(), ckpt_path=path)


def test_checkpoint_for_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    path = _trained(CrossEntropy(3, PlainMLP), tmp_path)
    with pytest.raises(ValueError, match="with 3 classes, this is CrossEntropy with 4 classes"):
        CrossEntropy.load_from_checkpoint(path, num_classes=4)
    with pytest.raises(ValueError, match="this is CrossEntropy with 4 classes"):
        make_trainer(tmp_path, 2).fit(CrossEntropy(4, PlainMLP), datamodule=ToyData(classes=4), ckpt_path=path)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")  # resumed without the callbacks on purpose
def test_resume_with_other_data_is_refused(tmp_path: Path) -> None:
    path = _trained(CrossEntropy(3, PlainMLP), tmp_path)
    with pytest.raises(ValueError, match="holds 40 training samples, the data has 50"):
        make_trainer(tmp_path, 2).fit(CrossEntropy(3, PlainMLP), datamodule=ToyData(num_train=50), ckpt_path=path)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("network", lambda classes: PlainMLP(classes)),
        ("network", PlainMLP(3)),
        ("optimizer", lambda parameters: SGD(parameters, lr=0.1)),
        ("scheduler", lambda optimizer: StepLR(optimizer, 1)),
    ],
)
def test_callable_that_cannot_be_stored_is_refused_at_construction(argument: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{argument} must be a .*class, or functools.partial"):
        CrossEntropy(**{"num_classes": 3, "network": PlainMLP, argument: value})


def test_local_network_class_is_refused_at_construction() -> None:
    class Local(PlainMLP):
        pass

    with pytest.raises(TypeError, match="local class"):
        CrossEntropy(3, Local)


def test_a_new_run_forgets_what_a_loaded_method_remembers(tmp_path: Path) -> None:
    path = _trained(ACT(3, PlainMLP), tmp_path)
    method = ACT.load_from_checkpoint(path)
    make_trainer(tmp_path, 1).fit(method, datamodule=ToyData(val_fraction=0.2))
    assert int(method.memory["times_selected"].max()) == 1


def test_a_second_fit_of_one_trainer_goes_on(tmp_path: Path) -> None:
    method, trainer = ACT(3, PlainMLP), make_trainer(tmp_path, 1)
    data = ToyData()
    trainer.fit(method, datamodule=data)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(method, datamodule=data)
    assert trainer.current_epoch == 2 and trainer.global_step == 10
    assert int(method.memory["times_selected"].max()) == 2
