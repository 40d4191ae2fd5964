"""Which layer a parameter belongs to, for learning rates that fall with the distance from the head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import nn

__all__ = ["check_layer_decay", "layer_numbers", "layer_rates"]

_LISTS = (nn.Sequential, nn.ModuleList)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm)


def check_layer_decay(layer_decay: float) -> float:
    """The argument `layer_decay` of a network, after a check.

    Raises:
        ValueError: if it is not in (0, 1].
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay}; 1 trains all layers at one rate")
    return float(layer_decay)


def layer_rates(names: Iterable[str], layers: Mapping[str, int], layer_decay: float) -> dict[str, float]:
    """``layer_decay ** (L - l)`` by parameter name, for a parameter of layer l in 0, ..., L.

    The head, in layer L, keeps the optimizer's rate; the last block has `layer_decay` of it, the one before it the square.

    Args:
        names: of all parameters. One that `layers` does not name, such as that of an adapter, is in the layer of the smallest
            part around it that holds a parameter with a known layer.
        layers: the layer of each parameter, by its name.
        layer_decay: in (0, 1].

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> rates = layer_rates(["0.weight", "1.adapter.weight", "2.bias"], layer_numbers(net, "2"), 0.5)
        >>> rates
        {'0.weight': 0.25, '1.adapter.weight': 0.5, '2.bias': 1.0}
    """
    parts = {name.rpartition(".")[0]: layer for name, layer in layers.items()}
    last = max(layers.values(), default=0)
    return {name: layer_decay ** (last - _layer_of(name, layers, parts)) for name in names}


def _layer_of(name: str, layers: Mapping[str, int], parts: Mapping[str, int]) -> int:
    if name in layers:
        return layers[name]
    part = name
    while part and part not in parts:
        part = part.rpartition(".")[0]
    return parts.get(part, 0)


def layer_numbers(net: nn.Module, head: str) -> dict[str, int]:
    """The layer of each parameter, counted from the input, by name.

    The layers are the blocks that the network holds in lists (`nn.Sequential`, `nn.ModuleList`), in the order in which they were
    registered. A list within a block makes no further ones, such as the convolutions of a bottleneck, unless it holds larger
    parts, as a stage holds blocks. What comes before the first block, such as a stem, embeddings and tokens, is layer 0; other
    parameters, such as a normalization, belong to the block before them; the head is the last layer.

    So BEiT (Bao et al., ICLR 2022), ELECTRA (Clark et al., ICLR 2020) and timm group parameters, each with a table for each
    network.

    Args:
        net: the network.
        head: name of its last layer.
    """
    paths = [path for path in _blocks(net, "", listed=False) if path != head and not head.startswith(f"{path}.")]
    places: dict[str, int] = {}
    current = -1  # before the first block
    for name, _ in net.named_parameters():
        current = next((place for place, path in enumerate(paths) if name.startswith(f"{path}.")), current)
        places[name] = len(paths) if name.startswith(f"{head}.") else current
    order = {place: layer for layer, place in enumerate(sorted(set(places.values())))}  # where nothing is before the first block
    return {name: order[place] for name, place in places.items()}


def _blocks(module: nn.Module, path: str, listed: bool) -> Iterator[str]:
    """Names of the blocks below a module; `listed` if it is an item of a list, and perhaps a block itself."""
    if not path or _opened(module, listed):
        items = isinstance(module, _LISTS)
        for name, child in module.named_children():
            yield from _blocks(child, f"{path}.{name}" if path else name, items)
    elif listed and not isinstance(module, _NORMS) and any(True for _ in module.parameters()):
        yield path


def _opened(module: nn.Module, listed: bool) -> bool:
    """Whether a module is no block, since it holds some."""
    if type(module) in _LISTS:
        return True
    lists = [part for part in module.modules() if isinstance(part, _LISTS)]
    return any(_height(item) > 1 for part in lists for item in part.children()) if listed else bool(lists)


def _height(module: nn.Module) -> int:
    return max((1 + _height(child) for child in module.children()), default=0)
