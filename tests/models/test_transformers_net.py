"""Networks of language, and methods on tokens."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.runs import make_trainer
from textables import reviews, write_encoder

pytest.importorskip("transformers")

from noisylab import ELR, IEG, L2R, CoTeaching, CrossEntropy, DivideMix, ELRPlus, FixMatch, MixMatch
from noisylab.data import Text
from noisylab.models import TransformersNet
from noisylab.models.network import Network
from noisylab.noise import Symmetric
from noisylab.specs import as_factory
from noisylab.types import join_inputs

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TINY: dict[str, Any] = {"model_type": "bert", "vocab_size": 30, "max_position_embeddings": 32, **SIZES}


def texts(*lengths: int) -> dict[str, torch.Tensor]:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(5, 30, mask.shape, generator=generator) * mask, "attention_mask": mask}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_logits_are_those_of_the_encoder_pooled_by_hand(tmp_path: Path, pooling: str) -> None:
    from transformers import BertModel

    folder = write_encoder(tmp_path / "e")
    net = TransformersNet(3, name=str(folder), pooling=pooling).eval()
    reference = BertModel.from_pretrained(str(folder), attn_implementation="eager").eval()
    inputs = texts(4, 9, 1) | {}
    inputs["input_ids"] %= 20
    logits = net(inputs)
    for row, length in enumerate((4, 9, 1)):
        with torch.no_grad():
            hidden = reference(inputs["input_ids"][row : row + 1, :length]).last_hidden_state[0]
        vector = hidden[0] if pooling == "cls" else hidden.mean(0)
        torch.testing.assert_close(logits[row], net.net.head(vector), atol=1e-5, rtol=1e-4)
    embedding, again = net.embed(inputs)
    assert embedding.shape == (3, net.embedding_width) == (3, 16)
    torch.testing.assert_close(again, logits)


def test_padding_changes_nothing() -> None:
    net = TransformersNet(2, name=None, config=TINY).eval()
    short, long = texts(5), texts(5, 17)
    padded = {name: torch.nn.functional.pad(rows, (0, 12)) for name, rows in short.items()}
    torch.testing.assert_close(net(padded), net(short), atol=1e-5, rtol=1e-4)
    joined = join_inputs([short, long])
    assert joined["input_ids"].shape == (3, 17)
    torch.testing.assert_close(net(joined)[:1], net(short), atol=1e-5, rtol=1e-4)


def test_all_parameters_are_trained_and_freezing_leaves_the_head() -> None:
    net = TransformersNet(2, name=None, config=TINY)
    net(texts(4, 6)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []  # DDP would wait for one without
    frozen = TransformersNet(2, name=None, config=TINY, freeze="all_but_head")
    assert [name for name, p in frozen.named_parameters() if p.requires_grad] == ["net.head.weight", "net.head.bias"]
    part = TransformersNet(2, name=None, config=TINY, freeze=["encoder.embeddings"])
    assert {name.split(".")[2] for name, p in part.named_parameters() if not p.requires_grad} == {"embeddings"}


def test_other_inputs_are_refused() -> None:
    net = TransformersNet(2, name=None, config=TINY)
    with pytest.raises(TypeError, match=r"takes tokens, got a tensor of shape \(2, 5\); read the texts with Text"):
        net(torch.zeros(2, 5))
    with pytest.raises(TypeError, match="cannot be mixed"):
        net({name: rows.float() for name, rows in texts(3).items()})
    with pytest.raises(ValueError, match="token 40 is beyond the vocabulary of 30 tokens"):
        net({"input_ids": torch.tensor([[40]]), "attention_mask": torch.ones(1, 1, dtype=torch.int64)})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": None}, ValueError, "give config, or name='minilm'"),
        ({"name": "no/where"}, FileNotFoundError, "Nothing is downloaded; where there is a network"),
        ({"name": "no/where", "config": TINY}, FileNotFoundError, "neither minilm nor a folder"),  # no random weights instead
        ({"name": "a/b", "revision": "main"}, ValueError, "a commit of 40 digits"),
        ({"name": None, "config": {"model_type": "no"}}, ValueError, "config must be one of transformers"),
        ({"name": None, "config": TINY, "dropout": 1.0}, ValueError, "dropout must be"),
        ({"name": None, "config": TINY, "pooling": "max"}, ValueError, "pooling must be auto, mean or cls"),
        ({"name": None, "config": TINY, "freeze": ["stem"]}, ValueError, "begins no parameter name"),
    ],
)
def test_wrong_arguments_are_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TransformersNet(2, **given)


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModel

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("we couldn't connect\nmore")

    monkeypatch.setattr(AutoModel, "from_pretrained", offline)
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded \(we couldn't connect\).* hf download a/b --revision 0{40}"
    ):
        TransformersNet(2, name="a/b", revision="0" * 40)


# ---- on texts


def data_of(folder: Path, **kwargs: Any) -> Text:
    return Text.of(reviews(48), reviews(16, seed=1), features="tokens", tokenizer=str(folder), batch_size=8, **kwargs)


def rate(value: float = 3e-3) -> Any:
    return functools.partial(torch.optim.AdamW, lr=value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "e")


def net_of(folder: Path, **kwargs: Any) -> Any:
    return functools.partial(TransformersNet, name=str(folder), **kwargs)


def test_a_network_learns_texts_and_its_checkpoint_needs_no_folder(folder: Path, tmp_path: Path) -> None:
    data, method = data_of(folder), ELR(2, net_of(folder, dropout=0.0), optimizer=rate())
    trainer = make_trainer(tmp_path, 12)
    trainer.fit(method, datamodule=data)
    assert trainer.validate(method, datamodule=data, verbose=False)[0]["test/acc"] >= 0.9
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    shutil.rmtree(folder)
    again = ELR.load_from_checkpoint(tmp_path / "it.ckpt")
    inputs = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    assert torch.equal(again.eval()(inputs), method.eval()(inputs))


@pytest.mark.parametrize(
    "make",
    [
        lambda net: CrossEntropy(2, net, optimizer=rate()),
        lambda net: CoTeaching(2, net, forget_rate=0.2, optimizer=rate()),
        lambda net: ELRPlus(2, net, mixup_alpha=0.0, optimizer=rate()),
        lambda net: FixMatch(2, net, optimizer=rate()),
        lambda net: L2R(2, functools.partial(net, attention="eager"), optimizer=rate()),
    ],
    ids=["CrossEntropy", "CoTeaching", "ELRPlus", "FixMatch", "L2R"],
)
def test_methods_that_mix_nothing_train_on_tokens(make: Any, folder: Path, tmp_path: Path) -> None:
    method = make(net_of(folder))
    more = (
        {"trusted_per_class": 4, "noise": Symmetric(0.2)}
        if method.needs_trusted
        else {"labels_per_class": 8}
        if method.uses_unlabeled
        else {}
    )
    trainer = make_trainer(tmp_path, 1)
    trainer.fit(method, datamodule=data_of(folder, **more))
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda net: CrossEntropy(2, net, mixup_alpha=0.5), "mixup_alpha=0.5"),
        (lambda net: DivideMix(2, net), "alpha=4.0"),
        (lambda net: ELRPlus(2, net), "mixup_alpha=1.0"),
        (lambda net: MixMatch(2, net), "mixup_alpha=0.75"),
        (lambda net: L2R(2, net, mixup_alpha=0.5), "mixup_alpha=0.5"),
        (lambda net: IEG(2, net), "beta=0.5"),
    ],
)
def test_methods_that_mix_inputs_refuse_tokens_before_training(make: Any, argument: str, folder: Path, tmp_path: Path) -> None:
    more = {"trusted_per_class": 4, "noise": Symmetric(0.2)}
    with pytest.raises(ValueError, match=rf"mixes inputs with each other \({argument}\), which the numbers of tokens cannot be"):
        make_trainer(tmp_path, 1).fit(make(net_of(folder)), datamodule=data_of(folder, **more))


def test_the_size_of_chunks_does_not_change_what_is_drawn(folder: Path, tmp_path: Path) -> None:
    found = []
    for size in (1, 1000):
        torch.manual_seed(0)
        method = CrossEntropy(2, net_of(folder), optimizer=rate())
        make_trainer(tmp_path, 1).fit(method, datamodule=data_of(folder, chunk_size=size))
        found.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    assert torch.equal(*found)


def test_what_a_checkpoint_keeps_of_a_network(folder: Path) -> None:
    spec = as_factory(net_of(folder), Network, "network").spec()
    assert spec["init_args"]["config"]["model_type"] == "bert" and spec["init_args"]["name"] == str(folder)
    assert as_factory(TransformersNet, Network, "network").spec() == {
        "class_path": "noisylab.models.transformers_net.TransformersNet"
    }


def test_layers_far_from_the_head_train_slower() -> None:
    net = TransformersNet(2, name=None, config=TINY, layer_decay=0.5)
    factors = net.rate_factors()
    of = {part: {f for name, f in factors.items() if part in name} for part in ("embeddings", "layer.0.", "layer.1.", "head")}
    assert of["layer.0."] == {0.25} and of["layer.1."] == {0.5} and of["embeddings"] == {0.125} and of["head"] <= {1.0}


def test_adapters_and_the_head_alone_are_trained() -> None:
    pytest.importorskip("peft")
    net = TransformersNet(2, name=None, config=TINY, lora={"rank": 2, "target_modules": ["query", "value"]})
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name or "head" in name for name in trained)
    assert sum("lora_A" in name for name in trained) == 4  # two in each of two layers
    net(texts(4, 6)).sum().backward()
