"""The deep multimodal similarity model, against a loop over words and trigrams."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers import Dmsm
from captioning.matchers.dmsm import index_trigrams, letter_trigrams

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "dogs", "aaaa", "naïve", "the", "do"]
SENTENCES = [[4, 5], [9, 6, 7, 7, 5], [], [8]]
TOKENS = torch.tensor([ids + [0] * (5 - len(ids)) for ids in SENTENCES])
LENGTHS = torch.tensor([len(ids) for ids in SENTENCES])


def build(**settings: Any) -> Dmsm:
    torch.manual_seed(0)
    sizes = {"hidden_size": 17, "joint_size": 19, "feature_size": 13, "vocab_size": 11}
    return Dmsm(vocabulary=WORDS, **{**sizes, **settings}).double()


@pytest.fixture
def pooled() -> ImageFeatures:
    return ImageFeatures(torch.randn(3, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


def loop(model: Dmsm, features: ImageFeatures) -> torch.Tensor:
    """(1) to (6), one word, unit and pair after the other."""
    names = sorted({trigram for word in WORDS for trigram in letter_trigrams(word)})
    parts = model.trigrams.view(len(names), 3, 17)

    def f(word: str) -> torch.Tensor:
        counts = Counter(letter_trigrams(word))
        return torch.tensor([float(counts[name]) for name in names], dtype=torch.float64)

    def y_of_sentence(ids: list[int]) -> torch.Tensor:
        none = torch.zeros(len(names), dtype=torch.float64)
        read = [none, *(f(WORDS[i]) for i in ids), none]
        hs = []
        for t in range(1, len(ids) + 1):
            l_t = torch.cat([read[t - 1], read[t], read[t + 1]])
            w_c = torch.cat([parts[:, 0], parts[:, 1], parts[:, 2]]).t()
            hs.append(torch.tanh(w_c @ l_t + model.bias))
        v = torch.stack([torch.stack([h[unit] for h in hs]).max() for unit in range(17)])
        return torch.tanh(model.sentence.weight @ v + model.sentence.bias)

    def y_of_image(x: torch.Tensor) -> torch.Tensor:
        for layer in model.image:
            x = torch.tanh(layer.weight @ x + layer.bias)
        return x

    zero = torch.zeros((), dtype=torch.float64)
    ys = [y_of_sentence(ids) if ids else None for ids in SENTENCES]
    rows = []
    for x in features.pooled:
        q = y_of_image(x)
        rows.append(torch.stack([zero if d is None else (q @ d) / (q.norm() * d.norm()) for d in ys]))
    return torch.stack(rows)


def scored(model: Dmsm, features: ImageFeatures, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    return model.similarity(model.images(features), model.sentences(tokens, LENGTHS))


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_scores_and_gradients_equal_a_loop_over_words_and_trigrams(pooled: ImageFeatures, num_layers: int) -> None:
    model = build(num_layers=num_layers)
    weights = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found, expected = scored(model, pooled), loop(model, pooled)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    own = torch.autograd.grad((found * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(model.parameters()))
    for (name, _), one, other in zip(model.named_parameters(), own, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, msg=name)
        assert one.abs().max() > 1e-6, name


def test_the_letter_trigrams_of_a_word_by_hand() -> None:
    assert letter_trigrams("cat") == ["#ca", "cat", "at#"]
    assert letter_trigrams("a") == ["#a#"]
    assert letter_trigrams("aaaa") == ["#aa", "aaa", "aaa", "aa#"]


def test_trigrams_are_numbered_over_all_words() -> None:
    found, first, count = index_trigrams(["do", "a", "dog", "aaaa"])
    # In order: #a# 0, #aa 1, #do 2, aa# 3, aaa 4, do# 5, dog 6, og# 7
    assert found.tolist() == [2, 5, 0, 2, 6, 7, 1, 4, 4, 3]
    assert first.tolist() == [0, 2, 3, 6, 10]
    assert count == 8


def test_what_follows_a_sentence_and_how_much_of_it_changes_nothing(pooled: ImageFeatures) -> None:
    model = build()
    expected = scored(model, pooled)
    other = torch.where(torch.arange(5) < LENGTHS[:, None], TOKENS, 7)
    assert torch.equal(scored(model, pooled, other), expected)
    assert torch.equal(scored(model, pooled, torch.cat([TOKENS, TOKENS], 1)), expected)
    alone = [
        model.similarity(
            model.images(pooled), model.sentences(torch.tensor([ids], dtype=torch.int64), torch.tensor([len(ids)]))
        )
        for ids in SENTENCES
    ]
    torch.testing.assert_close(torch.cat(alone, 1), expected, rtol=1e-12, atol=1e-12)


def test_a_sentence_without_words_scores_zero_and_has_finite_gradients(pooled: ImageFeatures) -> None:
    model = build()
    found = model.similarity(model.images(pooled), model.sentences(TOKENS[:2, :0], torch.tensor([0, 0])))
    assert (found == 0).all()
    scored(model, pooled)[:, 2].sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_order_of_neighbouring_words_matters(pooled: ImageFeatures) -> None:
    model = build()
    sentences = model.sentences(torch.tensor([[4, 5, 9], [4, 9, 5]]), torch.tensor([3, 3]))
    assert (sentences.vectors[0] - sentences.vectors[1]).abs().max() > 1e-3


def test_scores_are_cosines(pooled: ImageFeatures) -> None:
    model = build()
    for embedded in (model.images(pooled), model.sentences(TOKENS, LENGTHS)):
        lengths = embedded.vectors[:, 0].norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_the_number_of_parameters_by_hand() -> None:
    num_trigrams = len({trigram for word in WORDS for trigram in letter_trigrams(word)})
    expected = num_trigrams * 3 * 17 + 17 + (17 * 19 + 19) + (13 * 17 + 17) + (17 * 17 + 17) + (17 * 19 + 19)
    assert sum(p.numel() for p in build(num_layers=3).parameters()) == expected


def test_its_state_holds_weights_alone() -> None:
    model = build()
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_dropout_is_on_the_image_and_on_the_maximum(pooled: ImageFeatures) -> None:
    for name in ("feature_dropout", "dropout"):
        model = build(**{name: 0.5})
        assert not torch.equal(scored(model, pooled), scored(model, pooled))
        model.eval()
        assert torch.equal(scored(model, pooled), scored(build(), pooled))


def test_the_weights_of_trigrams_are_uniform_for_as_many_inputs_as_three_words_have() -> None:
    most = math.sqrt(6 / (3 * sum(map(len, WORDS)) / 11 + 301))  # a word has as many trigrams as letters
    found = float(build(hidden_size=301).trigrams.detach().abs().max())
    assert 0.999 * most < found < most


def test_wrong_words_are_refused() -> None:
    with pytest.raises(InputError, match="vocabulary: expected 10 words, none of them empty; found 11"):
        build(vocab_size=10)
    with pytest.raises(InputError, match="num_layers=0 must be at least 1"):
        build(num_layers=0)
    with pytest.raises(InputError, match="none of them empty"):
        Dmsm(feature_size=3, vocab_size=2, vocabulary=["a", ""])
