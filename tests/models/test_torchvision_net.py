import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from noisylab.models import TorchvisionNet


def frozen(net: TorchvisionNet) -> set[str]:
    return {name for name, parameter in net.net.named_parameters() if not parameter.requires_grad}


def batchnorm_modes(net: TorchvisionNet) -> dict[str, bool]:
    return {name: module.training for name, module in net.net.named_modules() if isinstance(module, nn.BatchNorm2d)}


def test_forward_and_backward() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18")
    logits = net(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_the_last_linear_layer_has_the_width_of_the_classes(name: str) -> None:
    net = TorchvisionNet(num_classes=5, name=name)
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    assert last.out_features == 5


def test_he_head_has_he_normal_weights_and_zero_bias() -> None:
    torch.manual_seed(0)
    head = TorchvisionNet(num_classes=100, name="resnet18", head_init="he").net.fc
    assert isinstance(head, nn.Linear)
    assert not head.bias.any()
    assert head.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)


def test_default_head_keeps_the_bounds_of_a_linear_layer() -> None:
    head = TorchvisionNet(num_classes=100, name="resnet18").net.fc
    assert isinstance(head, nn.Linear)
    assert head.weight.abs().max() <= 1 / math.sqrt(512) and head.bias.any()


def test_nothing_is_frozen_by_default() -> None:
    assert frozen(TorchvisionNet(num_classes=5, name="resnet18")) == set()


def test_all_but_head_leaves_the_head_and_batch_normalization() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze="all_but_head")
    left = {name for name, _ in net.net.named_parameters()} - frozen(net)
    assert {"fc.weight", "fc.bias", "bn1.weight", "layer4.1.bn2.bias"} <= left
    assert frozen(net) and all(name.endswith(".weight") for name in frozen(net))
    assert all(batchnorm_modes(net.train()).values())


def test_all_but_head_without_batch_normalization_leaves_the_head_alone() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze="all_but_head", train_batchnorm=False)
    assert {name for name, _ in net.net.named_parameters()} - frozen(net) == {"fc.weight", "fc.bias"}


def test_prefixes_freeze_whole_parts_only() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze=["conv1", "layer1.0"], train_batchnorm=False)
    assert {name.rpartition(".")[0] for name in frozen(net)} == {
        "conv1",
        "layer1.0.conv1",
        "layer1.0.bn1",
        "layer1.0.conv2",
        "layer1.0.bn2",
    }


def test_frozen_batch_normalization_stays_in_evaluation_mode() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze=["layer1"], train_batchnorm=False)
    for modes in (batchnorm_modes(net), batchnorm_modes(net.eval().train()), batchnorm_modes(net.train(True))):
        assert {name for name, training in modes.items() if not training} == {
            f"layer1.{block}.bn{number}" for block in (0, 1) for number in (1, 2)
        }
    assert net.training and not any(batchnorm_modes(net.eval()).values())


def test_frozen_running_statistics_do_not_move() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze=["bn1"], train_batchnorm=False)
    before = {name: value.clone() for name, value in net.net.named_buffers() if name.endswith("running_mean")}
    net(torch.randn(2, 3, 32, 32))
    moved = {name for name, value in net.net.named_buffers() if name in before and not torch.equal(value, before[name])}
    assert "bn1.running_mean" not in moved and "layer1.0.bn1.running_mean" in moved


def test_frozen_parts_survive_a_change_to_synchronized_batch_normalization() -> None:
    net = TorchvisionNet(num_classes=5, name="resnet18", freeze=["bn1"], train_batchnorm=False)
    nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert not net.train().net.get_submodule("bn1").training


def test_a_part_that_does_not_exist_is_refused_with_the_parts_there() -> None:
    message = r"freeze names 'layer9', .* parts are \['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4'\]"
    with pytest.raises(ValueError, match=message):
        TorchvisionNet(num_classes=5, name="resnet18", freeze=["layer1", "layer9"])
    with pytest.raises(ValueError, match=r"freeze names 'layer'"):
        TorchvisionNet(num_classes=5, name="resnet18", freeze=["layer"])


def test_a_single_part_given_as_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 'layer1'; use \['layer1'\]"):
        TorchvisionNet(num_classes=5, name="resnet18", freeze="layer1")  # type: ignore[arg-type]


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="got 'resnet19'; nearest: resnet1"):
        TorchvisionNet(num_classes=5, name="resnet19")
    with pytest.raises(ValueError, match="several outputs"):
        TorchvisionNet(num_classes=5, name="inception_v3")
    with pytest.raises(ValueError, match="does not end in a linear layer"):
        TorchvisionNet(num_classes=5, name="squeezenet1_1")
    with pytest.raises(ValueError, match="head_init must be 'default' or 'he', got 'zero'"):
        TorchvisionNet(num_classes=5, name="resnet18", head_init="zero")  # type: ignore[arg-type]


def test_unknown_weights_are_refused_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"must be one of \['IMAGENET1K_V1', 'DEFAULT'\] or None, got 'imagenet'"):
        TorchvisionNet(num_classes=5, name="resnet18", weights="imagenet")


def test_weights_out_of_reach_name_the_file_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    message = rf"no network.* put the file resnet18-f37072fd\.pth from https.* into {tmp_path}/hub/checkpoints"
    with pytest.raises(FileNotFoundError, match=message):
        TorchvisionNet(num_classes=5, name="resnet18", weights="DEFAULT")


@pytest.fixture
def shufflenet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Puts a file in the place of a network's weights, under a name with the right digits."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def put(content: Any) -> None:
        torch.save(content, folder / "content")
        digest = hashlib.sha256((folder / "content").read_bytes()).hexdigest()
        monkeypatch.setattr(weights.value, "url", f"https://a.test/shufflenet-{digest[:10]}.pth")
        (folder / "content").rename(folder / f"shufflenet-{digest[:10]}.pth")

    return put


def test_weights_in_the_folder_are_read(shufflenet_file: Callable[[Any], None]) -> None:
    source = torchvision.models.shufflenet_v2_x0_5()
    shufflenet_file(source.state_dict())
    net = TorchvisionNet(num_classes=5, name="shufflenet_v2_x0_5", weights="DEFAULT")
    torch.testing.assert_close(net.net.get_parameter("conv1.0.weight"), source.conv1[0].weight)


def test_damaged_weights_are_not_read(shufflenet_file: Callable[[Any], None], tmp_path: Path) -> None:
    shufflenet_file(torchvision.models.shufflenet_v2_x0_5().state_dict())
    (file,) = (tmp_path / "hub" / "checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(FileNotFoundError, match="is damaged or another file: its SHA-256 begins with"):
        TorchvisionNet(num_classes=5, name="shufflenet_v2_x0_5", weights="DEFAULT")


class _Runs:
    """Runs a function when it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (_Runs, "ran", True)


def test_a_file_that_would_run_code_is_not_unpickled(shufflenet_file: Callable[[Any], None]) -> None:
    shufflenet_file(_Runs())
    with pytest.raises(FileNotFoundError, match="holds more than weights"):
        TorchvisionNet(num_classes=5, name="shufflenet_v2_x0_5", weights="DEFAULT")
    assert not _Runs.ran


def test_one_channel_does_what_the_same_gray_picture_in_three_did(shufflenet_file: Callable[[Any], None]) -> None:
    torch.manual_seed(0)
    shufflenet_file(torchvision.models.shufflenet_v2_x0_5().state_dict())
    nets = [TorchvisionNet(5, "shufflenet_v2_x0_5", weights="DEFAULT", in_channels=channels).eval() for channels in (1, 3, 6)]
    gray = torch.randn(2, 1, 32, 32)
    for net in nets:
        net.load_state_dict(net.state_dict() | {f"net.fc.{name}": value for name, value in nets[0].net.fc.state_dict().items()})
    one, three, six = (net(gray.expand(-1, channels, -1, -1)) for net, channels in zip(nets, (1, 3, 6), strict=True))
    torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(six, three, rtol=1e-4, atol=1e-5)


def test_a_new_first_convolution_is_drawn_like_the_one_that_it_replaces() -> None:
    torch.manual_seed(0)
    old, new = (TorchvisionNet(5, "resnet18", in_channels=channels).net.conv1.weight for channels in (3, 2))
    assert isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)
    assert new.shape == (64, 2, 7, 7) and new.std().item() == pytest.approx(old.std().item(), rel=0.05)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        TorchvisionNet(5, "resnet18", in_channels=0)
