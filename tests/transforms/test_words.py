"""Views of texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylab.transforms.draws import Draws
from noisylab.transforms.words import SPECIAL, WORD_START, DropTerms, PickStored, TokenView

PAD, MASK = 0, 103


def rows(lengths: list[int], parts: int = 2) -> torch.Tensor:
    """Texts of words of `parts` tokens each, numbered from 200, between two added tokens."""
    found = torch.full((len(lengths), 2 + parts * max(lengths)), -1, dtype=torch.int32)
    for row, words in enumerate(lengths):
        found[row, 0], found[row, 1 + parts * words] = SPECIAL | 101, SPECIAL | 102
        for place in range(parts * words):
            found[row, 1 + place] = (200 + place // parts) | (WORD_START if place % parts == 0 else 0)
    return found


def drawn(view: TokenView, x: torch.Tensor, key: int = 0) -> dict[str, torch.Tensor]:
    return view(x, Draws(key, torch.arange(len(x))))


def test_unchanged_tokens_are_the_numbers_without_marks() -> None:
    found = drawn(TokenView(PAD, MASK), rows([2, 1]))
    assert found["input_ids"].tolist() == [[101, 200, 200, 201, 201, 102], [101, 200, 200, 102, PAD, PAD]]
    assert found["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
    assert found["input_ids"].dtype == found["attention_mask"].dtype == torch.int64


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_words_are_left_out_as_wholes_at_the_rate(rate: float) -> None:
    x = rows([40] * 500)
    found = drawn(TokenView(PAD, MASK, dropped=rate), x)
    seen = found["attention_mask"][:, 1:-1].view(500, 40, 2)
    assert bool((seen[..., 0] == seen[..., 1]).all())
    assert bool(found["attention_mask"][:, [0, -1]].all())
    assert 1 - seen[..., 0].float().mean().item() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 20_000))
    assert torch.equal(found["input_ids"], drawn(TokenView(PAD, MASK), x)["input_ids"])


def test_the_last_word_that_is_left_stays() -> None:
    found = drawn(TokenView(PAD, MASK, dropped=0.95), rows([1, 2, 3, 0] * 100))
    words = found["attention_mask"][:, 1:].sum(1) - 1  # less the second added token
    assert words.view(100, 4)[:, :3].min() == 2 and words.view(100, 4)[:, 3].max() == 0


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_every_word_is_masked_at_the_rate_in_spans(rate: float) -> None:
    x = rows([30] * 3000)
    found = drawn(TokenView(PAD, MASK, masked=rate), x)
    masked = (found["input_ids"] == MASK)[:, 1:-1].view(3000, 30, 2)
    assert bool((masked[..., 0] == masked[..., 1]).all()) and bool(found["attention_mask"].all())
    assert found["input_ids"][:, [0, -1]].unique().tolist() == [101, 102]
    by_word = masked[..., 0].float().mean(0)
    np.testing.assert_allclose(by_word, rate, atol=4.5 * np.sqrt(rate * (1 - rate) / 3000))  # the first word as the last
    neighbors = masked[:, 1:, 0][masked[:, :-1, 0]].float().mean().item()
    assert neighbors > rate + 0.2  # of words drawn one by one, it would be the rate


def test_the_length_of_spans_is_that_of_the_source() -> None:
    from noisylab.transforms.words import _length

    lengths = _length(torch.linspace(0, 1, 100_001)[:-1])
    assert int(lengths.min()) == 1 and int(lengths.max()) == 10
    shares = torch.bincount(lengths, minlength=11)[1:].double() / len(lengths)
    wanted = [0.2 * 0.8 ** (n - 1) for n in range(1, 10)] + [0.8**9]
    np.testing.assert_allclose(shares, wanted, atol=2e-5)


@pytest.mark.parametrize("view", [TokenView(PAD, MASK, 0.3, 0.3), TokenView(PAD, MASK, 0.3), TokenView(PAD, MASK, 0, 0.3)])
def test_a_text_looks_the_same_in_whatever_batch_it_is_built(view: TokenView) -> None:
    x = rows([5, 30, 7])
    whole = view(x, Draws(3, torch.tensor([4, 5, 6])))
    for row, words in enumerate([5, 30, 7]):
        length = 2 + 2 * words
        alone = view(x[row : row + 1, :length], Draws(3, torch.tensor([4 + row])))
        for name in whole:
            assert whole[name][row, :length].tolist() == alone[name][0].tolist()
    other = view(x, Draws(4, torch.tensor([4, 5, 6])))
    assert any(not torch.equal(whole[name], other[name]) for name in whole)


def test_terms_are_left_out_and_rows_keep_their_length() -> None:
    x = torch.nn.functional.normalize(torch.rand(400, 30) + 0.1, dim=1)
    found = DropTerms(0.3)(x, Draws(0, torch.arange(400)))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(400))
    kept = found > 0
    assert 1 - kept.float().mean().item() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 12_000))
    for row in range(5):  # what is left has the proportions that it had
        ratio = found[row][kept[row]] / x[row][kept[row]]
        torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0])))


def test_rows_of_one_term_or_none_stay() -> None:
    x = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).repeat(50, 1)
    assert torch.equal(DropTerms(0.9)(x, Draws(0, torch.arange(100))), x)


def test_stored_vectors_are_drawn_alike() -> None:
    x = torch.arange(4.0).view(1, 4, 1).repeat(3000, 1, 1)
    found = PickStored("other")(x, Draws(0, torch.arange(3000))).flatten()
    assert sorted(found.unique().tolist()) == [1, 2, 3]
    assert torch.bincount(found.long())[1:].min() > 900
    assert not PickStored("first")(x, Draws(0, torch.arange(3000))).any()
    assert PickStored("other")(x[:, 0], Draws(0, torch.arange(3000))).shape == (3000, 1)


@pytest.mark.parametrize(
    "make", [lambda: DropTerms(1.0), lambda: TokenView(0, 1, dropped=1.0), lambda: TokenView(0, 1, masked=-0.1)]
)
def test_rates_outside_their_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        make()
