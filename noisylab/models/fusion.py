"""A network for several views of the same samples: one encoder per view, then a fusion of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisylab.models.mlp import MLP
from noisylab.models.network import NetFactory, Network
from noisylab.specs import as_factory
from noisylab.types import Inputs

__all__ = ["FusionNet", "LowRankProduct"]

_Fusion = Literal["sum", "concat", "bilinear"]


class LowRankProduct(nn.Module):
    """The product of all views' embeddings with a low-rank weight tensor.

    With h_v the embedding of view v, V the number of views, W_v^r a D x (D + 1) matrix and ``*`` the product entry by entry,

    ``z = sum_{r=1..rank} W_1^r [h_1; 1] * ... * W_V^r [h_V; 1]``

    which is the outer product of all ``[h_v; 1]``, contracted with a tensor of weights that has this rank, without either of
    the two being formed: z holds every product of up to V entries, one a view at most. It is computed in float32, in float64
    for float64 embeddings, whatever the autocast type, and returned in the type of the weights.

    Initial values: ``rank^(1/(2V)) W_v^r`` has the constants ``+-sqrt(1 - 1/V)`` (random signs) and normal weights of variance
    ``1/(V D)``. For independent embedding entries of mean square c the mean square of an entry of z is then
    ``((V - 1 + c) / V)^V``: 1 at c = 1, between 1/4 and 1/e at c = 0, and at most ``exp(c - 1)``, for any V from 2 on and any
    rank. So neither small embeddings nor many views make the product vanish or explode, and all views weigh the same.

    Source: Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, ACL 2018,
    https://arxiv.org/abs/1806.00064; the initial values are ours.

    Args:
        views: V, the number of views; one makes a linear layer.
        width: D, entries of each embedding and of z.
        rank: terms of the sum, each a product.

    Raises:
        ValueError: an argument is below 1.

    Example:
        >>> product = LowRankProduct(views=2, width=8, rank=3)
        >>> product([torch.zeros(4, 8), torch.zeros(4, 8)]).shape
        torch.Size([4, 8])
    """

    def __init__(self, views: int, width: int, rank: int = 3) -> None:
        super().__init__()
        for name, value in (("views", views), ("width", width), ("rank", rank)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        scale = rank ** (-1 / (2 * views))
        signs = torch.randint(2, (views, rank * width)) * 2.0 - 1
        self.rank = rank
        # for each view the matrices of all terms, one below the other; the last column of each is in the bias
        self.weight = nn.Parameter(torch.randn(views, rank * width, width) * scale * (views * width) ** -0.5)
        self.bias = nn.Parameter(signs * scale * (1 - 1 / views) ** 0.5)

    def forward(self, embeddings: Sequence[Tensor]) -> Tensor:
        """z (B, D) of the embeddings, V tensors of shape (B, D)."""
        dtype = torch.promote_types(embeddings[0].dtype, torch.float32)
        with torch.autocast(embeddings[0].device.type, enabled=False):
            factors = [
                F.linear(embedding.to(dtype), weight, bias)
                for embedding, weight, bias in zip(embeddings, self.weight.to(dtype), self.bias.to(dtype), strict=True)
            ]
            # not torch.prod, whose gradient brings the number of zeros to the host and waits for it
            product = reduce(torch.mul, factors)
            return product.unflatten(1, (self.rank, -1)).sum(1).to(self.weight.dtype)


class FusionNet(Network):
    """Classifies samples of several views: each is encoded separately, the embeddings are fused, and a linear layer follows.

    ``h_v = net_v(x_v)``, a network whose last layer has `embedding` outputs in place of classes: an `MLP` for each view of
    `in_features`, the network that is named for each view of `encoders`; ``z = fusion(h_1, ..., h_V)``;
    ``logits = A ReLU(z) + b``, where batch normalization if asked for precedes the ReLU and dropout follows it, as in every
    hidden layer of an `MLP`. The fusions:

    - "sum": ``z = h_1 + ... + h_V``, as if the last hidden layer saw all views side by side.
    - "concat": ``z = [h_1; ...; h_V]``. The logits are then a sum of one term a view: views add up, but none can change what
      another says.
    - "bilinear": the low-rank product of `LowRankProduct`.

    With one view of `in_features`, all three are an `MLP`: "sum" and "concat" that with `embedding` as its last hidden width,
    "bilinear" with one more linear layer before it. Views are told apart by name; their order in the batch does not matter.

    The encoders can start from runs on one view each: ``--encoders_from.VIEW RUN``.

    Source: the low-rank product is that of Liu et al., ACL 2018.

    Args:
        num_classes: K.
        in_features: for each view that an `MLP` encodes, by name, the numbers in one sample, all its dimensions multiplied; views
            of the batch that are named neither here nor in `encoders` are ignored.
        hidden: widths of the hidden layers of each such `MLP`; none makes it linear.
        embedding: width of each encoder's output.
        fusion: how the embeddings are brought together.
        rank: terms of the low-rank product; the other fusions do not use it.
        dropout: probability of dropping a hidden unit, in the `MLP` encoders and after the fusion, in [0, 1).
        batch_norm: whether to normalize each hidden layer of the `MLP` encoders, and z, before its ReLU.
        encoders: for each view with an encoder of another kind, by name, its network: `TorchvisionNet` for images, `FrameLSTM`
            for the frames of a film.

    Raises:
        TypeError: `in_features` or `encoders` is not a dict, or an encoder is no network.
        ValueError: an argument lies outside its range, or a view is named twice or not at all.

    Example:
        >>> net = FusionNet(num_classes=6, in_features={"text": 20, "image": 64})
        >>> net({"text": torch.zeros(2, 20), "image": torch.zeros(2, 1, 8, 8)}).shape
        torch.Size([2, 6])
        >>> from noisylab.models.small_cnn import SmallCNN
        >>> net = FusionNet(num_classes=6, in_features={"text": 20}, encoders={"image": SmallCNN})
        >>> net({"text": torch.zeros(2, 20), "image": torch.zeros(2, 1, 8, 8)}).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        num_classes: int,
        in_features: dict[str, int] | None = None,
        hidden: tuple[int, ...] = (256,),
        embedding: int = 128,
        fusion: Literal["sum", "concat", "bilinear"] = "sum",
        rank: int = 3,
        dropout: float = 0.0,
        batch_norm: bool = False,
        encoders: dict[str, NetFactory] | None = None,
    ) -> None:
        super().__init__(num_classes)
        widths, others = _checked_views(in_features, encoders)
        if embedding < 1:
            raise ValueError(f"embedding must be a width of at least 1, got {embedding}")
        if fusion not in get_args(_Fusion):
            raise ValueError(f"fusion must be one of {', '.join(get_args(_Fusion))}, got {fusion!r}")
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}; it is the number of terms of the bilinear fusion")
        self.in_features = widths
        self.view_names = (*widths, *others)
        self.embedding, self.fusion = embedding, fusion
        # a list: a ModuleDict refuses some names that a view may have
        self.encoders = nn.ModuleList(MLP(embedding, width, hidden, dropout, batch_norm) for width in widths.values())
        self.encoders.extend(as_factory(make, Network, f"encoders[{name!r}]")(embedding) for name, make in others.items())
        self.product = LowRankProduct(len(self.view_names), embedding, rank) if fusion == "bilinear" else None
        fused = embedding * len(self.view_names) if fusion == "concat" else embedding
        self.body = nn.Sequential()
        if batch_norm:
            self.body.append(nn.BatchNorm1d(fused))
        self.body.append(nn.ReLU())
        if dropout:
            self.body.append(nn.Dropout(dropout))
        self.head = nn.Linear(fused, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for a dict of views, each (B, ...): of `in_features` with that many numbers per sample, of `encoders` as
        the encoder takes them.

        Raises:
            ValueError: there is one tensor instead of a dict, a view is missing, a view has another number of numbers, or an
                encoder returns something else than `embedding` numbers for each sample.
        """
        return self.head(self.body(self._fused(self._encoded(inputs))))

    def embed_views(self, inputs: Inputs) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Of one forward pass: the embedding of each view by its name, (B, `embedding`); what the last layer sees, (B, D); and
        the logits (B, K).

        The pass is not compiled, see `noisylab.callbacks.Speed`.

        Raises:
            ValueError: see `forward`.
        """
        embeddings = self._encoded(inputs)
        seen = self.body(self._fused(embeddings))
        return dict(zip(self.view_names, embeddings, strict=True)), seen, self.head(seen)

    def encoder_of(self, view: str) -> str:
        """The name of the part that encodes a view, such as "encoders.0".

        Raises:
            ValueError: the network has no such view.
        """
        if view not in self.view_names:
            raise ValueError(f"there is no view {view!r}; the views of this FusionNet are {', '.join(self.view_names)}")
        return f"encoders.{self.view_names.index(view)}"

    def _encoded(self, inputs: Inputs) -> list[Tensor]:
        """The embeddings in the order of the encoders."""
        views = zip(self.view_names, self.encoders, self._views(inputs), strict=True)
        return [self._embedding(name, encode(view), len(view)) for name, encode, view in views]

    def _embedding(self, name: str, found: Tensor, rows: int) -> Tensor:
        if found.shape != (rows, self.embedding):
            raise ValueError(
                f"the encoder of the view {name!r} returned {tuple(found.shape)}, expected ({rows}, {self.embedding}): it must "
                "have as many outputs as it is told by num_classes, and one row for each sample"
            )
        return found

    def _fused(self, embeddings: list[Tensor]) -> Tensor:
        if self.product is not None:
            return self.product(embeddings)
        return torch.cat(embeddings, 1) if self.fusion == "concat" else torch.stack(embeddings).sum(0)

    def _views(self, inputs: Inputs) -> list[Tensor]:
        """The views to use, checked, in the order of the encoders."""
        if isinstance(inputs, Tensor):
            raise ValueError(  # noqa: TRY004
                f"FusionNet takes a dict of views by name, got one tensor of shape {tuple(inputs.shape)}; use data of the "
                f"views {', '.join(self.view_names)}, or a network for inputs of one view, such as MLP"
            )
        for name in self.view_names:
            if name not in inputs:
                where = "in_features" if name in self.in_features else "encoders"
                raise ValueError(
                    f"FusionNet was built for a view {name!r} ({where}), which the inputs lack; they have "
                    f"{', '.join(inputs) or 'none'}: name only these in {where}, or let the data yield {name!r}"
                )
        for name, width in self.in_features.items():
            given = inputs[name].shape[1:]
            if given.numel() != width:
                raise ValueError(
                    f"FusionNet was built for {width} numbers in a sample of view {name!r}, got samples of shape "
                    f"{tuple(given)}; set in_features[{name!r}]={given.numel()}"
                )
        return [inputs[name] for name in self.view_names]


def _checked_views(
    in_features: dict[str, int] | None, encoders: dict[str, NetFactory] | None
) -> tuple[dict[str, int], dict[str, NetFactory]]:
    """The views with an `MLP` and those with another encoder."""
    if in_features is not None and not isinstance(in_features, dict):
        raise TypeError(
            f"in_features must be a dict of the numbers in one sample by view name, got {in_features!r}; "
            "write in_features={'name': numbers}, or use MLP for inputs of one view"
        )
    if encoders is not None and not isinstance(encoders, dict):
        raise TypeError(
            f"encoders must be a dict of networks by view name, got {encoders!r}; write encoders={{'name': TheNetwork}}, or use "
            "the network itself for inputs of one view"
        )
    widths, others = dict(in_features or {}), dict(encoders or {})
    if not (widths or others) or any(width < 1 for width in widths.values()):
        raise ValueError(
            f"in_features must name at least one view, each with at least 1 number, got {widths}; or name views in encoders"
        )
    both = [name for name in widths if name in others]
    if both:
        raise ValueError(
            f"in_features and encoders both name the view {both[0]!r}; each view has one encoder: remove one of the two"
        )
    return widths, others
