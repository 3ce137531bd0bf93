"""Rules for every matcher."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.matchers import Brnn, Dmsm, Embedded, Matcher, SentenceVector
from captioning.recurrent import GRU, Bidirectional

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "joint_size": 23}
NAMES = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "dogs", "the", "cat", "red", "on"]
MATCHERS = {
    "Brnn": lambda: Brnn(**SIZES, hidden_size=19),
    "Brnn-normalised": lambda: Brnn(**SIZES, hidden_size=19, normalise=True),
    "Dmsm": lambda: Dmsm(vocabulary=NAMES, feature_size=13, vocab_size=11, hidden_size=19, joint_size=23),
    "SentenceVector": lambda: SentenceVector(**SIZES, hidden_size=38, recurrent=partial(Bidirectional, layer=GRU)),
    "SentenceVector-bag": lambda: SentenceVector(**SIZES, recurrent=None),
}
WORDS = [[4, 9, 5], [], [6, 4, 8, 10, 7], [5], [6, 3, 7, 7, 7]]


@pytest.fixture(params=MATCHERS.values(), ids=MATCHERS)
def matcher(request) -> Matcher:
    """Each matcher in float64, with weights that are large enough to matter."""
    torch.manual_seed(0)
    model = request.param().double().eval()
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    return model


@pytest.fixture
def images(features):
    return features.cast(torch.float64)


def padded(words, *, width=5, padding=0):
    tokens = torch.full((len(words), width), padding)
    for row, own in enumerate(words):
        tokens[row, : len(own)] = torch.tensor(own)
    return tokens, torch.tensor([len(own) for own in words])


def scores(matcher, images, words, **options):
    return matcher.similarity(matcher.images(images), matcher.sentences(*padded(words, **options)))


def test_padding_among_words_is_invisible(matcher, images):
    expected = scores(matcher, images, WORDS)
    assert len(expected.unique()) > 10
    for width, padding in ((5, 9), (8, 0), (11, 3)):
        assert_close(scores(matcher, images, WORDS, width=width, padding=padding), expected)


def test_padding_among_regions_is_invisible(matcher, images):
    expected = scores(matcher, images, WORDS)
    grid = torch.cat([images.grid, torch.full((3, 2, 13), 50.0).double()], 1)
    grid[2, 1] = -50.0  # the last image has one real region
    mask = torch.cat([images.mask, torch.zeros(3, 2, dtype=torch.bool)], 1)
    assert_close(scores(matcher, replace(images, grid=grid, mask=mask), WORDS), expected)


def test_a_score_depends_on_its_own_image_and_sentence_alone(matcher, images):
    together = scores(matcher, images, WORDS)
    for i in range(3):
        one = images.rows(torch.tensor([i]))
        for n, words in enumerate(WORDS):
            assert_close(scores(matcher, one, [words], width=max(1, len(words)))[0, 0], together[i, n])


def test_a_sentence_without_words_scores_zero_with_every_image(matcher, images):
    assert not scores(matcher, images, WORDS)[:, 1].any()
    assert not scores(matcher, images, [[], []], width=0).any()


def test_every_weight_learns(matcher, images):
    scores(matcher, images, WORDS).square().sum().backward()
    assert all(weight.grad.any() for weight in matcher.parameters())


def test_word_order_matters_unless_words_are_in_a_bag(matcher, images):
    one, other = scores(matcher, images, [[4, 9, 5, 8], [8, 4, 5, 9]]).unbind(1)
    assert one.allclose(other) == (getattr(matcher, "recurrent", matcher) is None)


def test_dropout_acts_only_in_training(matcher, images):
    for part in matcher.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.5
    for training in (True, False):
        matcher.train(training)
        assert scores(matcher, images, WORDS).equal(scores(matcher, images, WORDS)) != training


def test_scores_in_mixed_precision_are_near_those_in_full_precision(matcher, features):
    matcher = matcher.float()
    expected = scores(matcher, features, WORDS)
    with torch.autocast("cpu", torch.bfloat16):
        half = scores(matcher, features, WORDS)
    assert half.dtype == torch.float32
    assert_close(half, expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


def test_its_word_embeddings_are_its_embedding(matcher):
    if isinstance(matcher, Dmsm):
        pytest.skip("reads letters, and has no embedding of words")
    assert isinstance(matcher.embedding, nn.Embedding)
    assert matcher.vocab_size == matcher.embedding.num_embeddings == 11


@pytest.mark.parametrize("name", ["Brnn", "SentenceVector"])
def test_embeddings_are_initialised_in_the_given_range(name):
    torch.manual_seed(0)
    kind = {"Brnn": Brnn, "SentenceVector": partial(SentenceVector, recurrent=None)}[name]
    assert 0.015 < kind(**SIZES, init_range=0.02).embedding.weight.abs().max() <= 0.02


@pytest.mark.parametrize("name", ["Brnn", "Brnn-normalised"])
def test_a_matcher_of_regions_needs_the_grid(name, features):
    with pytest.raises(InputError, match=r"use encoder\.grid=true"):
        MATCHERS[name]().images(replace(features, grid=None, mask=None))


def test_rows_of_embedded_are_picked_by_index_and_by_slice():
    vectors, mask = torch.arange(30.0).view(3, 2, 5), torch.tensor([[True, False], [True, True], [False, False]])
    some = Embedded(vectors, mask)
    for index in (torch.tensor([2, 0, 2]), slice(1, 3)):
        picked = some.rows(index)
        assert_close((picked.vectors, picked.mask), (vectors[index], mask[index]))
    assert len(some) == 3
    assert Embedded(vectors).rows(slice(1)).mask is None
    moved = some.to("meta")
    assert moved.vectors.device.type == moved.mask.device.type == "meta"
