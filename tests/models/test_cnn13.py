import pytest
import torch

from noisylab.models import CNN13


@pytest.mark.parametrize(("classes", "count"), [(10, 3_121_802), (100, 3_133_412)])
def test_it_has_the_counted_number_of_parameters(classes: int, count: int) -> None:
    with torch.device("meta"):
        net = CNN13(classes)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert sum(parameter.numel() for name, parameter in net.named_parameters() if parameter.ndim == 4) == 3_116_416


def test_the_third_group_begins_without_padding() -> None:
    with torch.device("meta"):
        net = CNN13(10)
        before_pooling = net.features[:-2](torch.zeros(2, 3, 32, 32))
    assert before_pooling.shape == (2, 128, 6, 6)


def test_small_images_are_refused() -> None:
    with torch.device("meta"):
        net = CNN13(3, in_channels=1)
    with pytest.raises(ValueError, match="at least 12x12"):
        net(torch.zeros(2, 1, 8, 8, device="meta"))


@pytest.mark.parametrize("given", [{"dropout": 1.0}, {"norm_momentum": 0.0}])
def test_wrong_arguments_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        CNN13(3, **given)  # type: ignore[arg-type]
