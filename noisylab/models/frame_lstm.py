"""A network for films: each frame is embedded, and a recurrent network reads the embeddings in order."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from noisylab.models.network import NetFactory, Network
from noisylab.specs import as_factory
from noisylab.types import Inputs

__all__ = ["FrameLSTM"]


class FrameLSTM(Network):
    """An LSTM of one layer over the embeddings of the frames of a film; its last state is classified.

    ``e_t = net(x_t)``, a network whose last layer has `embedding` outputs in place of classes, for each of the F frames; with
    ``[i, f, g, o] = W e_t + U h_{t-1} + b``: ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o) tanh(c_t)``;
    ``logits = A h_F + a``. One pass of `net` sees the frames of all films, so that its batch normalization does, too.

    The steps are written out instead of calling ``torch.nn.LSTM``: its kernels on CUDA have no second derivatives and none in
    forward mode, which meta-reweighting takes. The initial values are those of ``torch.nn.LSTM``.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 1997.

    Args:
        num_classes: K.
        frame: the network of one frame.
        embedding: width of what it makes of a frame.
        hidden: width of the states h and c.

    Raises:
        ValueError: a width is below 1.

    Example:
        >>> import torch
        >>> from noisylab.models.small_cnn import SmallCNN
        >>> FrameLSTM(num_classes=6, frame=SmallCNN, embedding=16)(torch.zeros(2, 5, 1, 8, 8)).shape
        torch.Size([2, 6])
    """

    def __init__(self, num_classes: int, frame: NetFactory, embedding: int = 128, hidden: int = 128) -> None:
        super().__init__(num_classes)
        for name, width in (("embedding", embedding), ("hidden", hidden)):
            if width < 1:
                raise ValueError(f"{name} must be a width of at least 1, got {width}")
        self.frame = as_factory(frame, Network, "frame")(embedding)
        self.cell = nn.LSTMCell(embedding, hidden)  # for its weights alone
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for films (B, F, ...) of F frames, each as the network of a frame takes it: (B, F, C, H, W) for images.

        Raises:
            ValueError: there is no frame, or no dimension for them.
        """
        films = self._tensor(inputs)
        if films.ndim < 3 or not films.shape[1]:
            raise ValueError(
                f"FrameLSTM takes films of shape (B, F, ...) with F frames of at least one number, got {tuple(films.shape)}; let "
                "the data yield several frames a sample, or use the network of a frame by itself"
            )
        frames = self.frame(films.flatten(0, 1))
        cell = self.cell
        given = F.linear(frames, cell.weight_ih, cell.bias_ih).unflatten(0, films.shape[:2])
        state = memory = given.new_zeros(len(films), cell.hidden_size)
        for gates in given.unbind(1):
            gates = gates + F.linear(state, cell.weight_hh, cell.bias_hh)
            let, keep, new, out = gates.chunk(4, 1)
            memory = keep.sigmoid() * memory + let.sigmoid() * new.tanh()
            state = out.sigmoid() * memory.tanh()
        return self.head(state)
