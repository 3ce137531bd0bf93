"""The log-linear model's features one by one, in float64; its gradient; and the set of words still to be mentioned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from captioning.data.batch import collate
from captioning.decoders import VisualConcepts
from captioning.decoders.ngrams import observed_ngrams
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives import CrossEntropy, token_losses
from captioning.search import GreedySearch

SIZES = {"feature_size": 13, "vocab_size": 11}
CONCEPTS = (8, -1, 5, 4, 9)
CAPTIONS = [[1, 4, 8, 2], [1, 5, 2], [1, 2], [1, 4, 9, 10, 4, 5, 6, 7], [1, 6, 3, 8, 2], [1, 4, 8, 5, 9, 4, 8, 2]]


def build(*, captions=CAPTIONS, concepts=CONCEPTS, order=4, **options) -> VisualConcepts:
    torch.manual_seed(0)
    ngrams = observed_ngrams(captions, vocab_size=11, order=order)
    model = VisualConcepts(
        **SIZES, concepts=concepts, num_ngrams=[len(codes) for codes in ngrams], order=order, **options
    )
    model.observe(ngrams)
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    return model


def places(order: int) -> list[dict[tuple[int, ...], int]]:
    """The weight of every n-gram of the captions, for n = 2 .. N: sorted, as tuples are."""
    found = []
    for n in range(2, order + 1):
        padded = [[-1] * n + ids for ids in CAPTIONS]
        own = {tuple(ids[i - n + 1 : i + 1]) for ids in padded for i in range(n + 1, len(ids))}
        found.append({ngram: i for i, ngram in enumerate(sorted(own))})
    return found


def features_that_fire(order, scores, words, said, w) -> dict[tuple[str, int | None], float | Tensor]:
    """The features of (2) for the next word w: (name of the weight, its place) to value.

    Args:
        words: the log-probability of each detected word.
        said: the caption so far, `<bos>` first.
    """
    left = {word: score for word, score in words.items() if word not in said}
    sign = "plus" if w in left else "minus"
    found: dict[tuple[str, int | None], float | Tensor] = {(sign, w): 1.0}
    if w in left:
        found["attribute", None] = 1.0
        if scores:
            found["score", None] = left[w]
    if not left:
        found["end", w] = 1.0
    for n, own in enumerate(places(order), 2):
        ngram = tuple([*([-1] * n), *said, w][-n:])
        if ngram in own:
            found[f"ngrams.{n - 2}.{sign}", own[ngram]] = 1.0
    return found


def detected(words: Tensor) -> dict[int, Tensor]:
    return {i: p.double().log() for i, p in zip(CONCEPTS, words, strict=True) if i >= 0 and p >= 0.5}


@pytest.mark.parametrize(("order", "scores"), [(4, True), (4, False), (2, True), (1, True)])
def test_equals_the_sum_of_the_features_with_gradients(assert_is_the_equations, order, scores):
    def literal(weights, words, tokens):
        logits = []
        for t in range(len(tokens)):
            said = tokens[: t + 1]
            row = []
            for w in range(11):
                firing = features_that_fire(order, scores, detected(words), said, w)
                row.append(sum(weights[k][() if i is None else i] * value for (k, i), value in firing.items()))
            logits.append(torch.stack(row))
        return logits

    assert_is_the_equations(build(order=order, scores=scores), literal, lambda one: one.words[0])


def test_the_gradient_is_the_observed_count_of_each_feature_less_the_expected_one(features, batch):
    model = build().double()
    features = replace(features, words=features.words.double())
    token_losses(model, features, batch).sum().neg().backward()  # of the log-likelihood
    expected = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    state, row = model.start(features).rows(batch.image_index), range(5)
    for t in range(7):
        logits, state = model.step(batch.tokens[:, t], state)
        p = logits.softmax(1).detach()
        for i in (i for i in row if t < batch.lengths[i]):
            words, said = detected(features.words[batch.image_index[i]]), batch.tokens[i, : t + 1].tolist()
            for w in range(11):
                share = float(w == batch.tokens[i, t + 1]) - p[i, w]
                for (name, place), value in features_that_fire(4, True, words, said, w).items():
                    expected[name][() if place is None else place] += share * value
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], msg=lambda text, name=name: f"{name}: {text}")


def test_a_word_leaves_the_set_when_it_is_mentioned_and_no_other_does():
    model = build()
    state = model.start(ImageFeatures(torch.zeros(1, 13), words=torch.tensor([[0.9, 0.9, 0.8, 0.7, 0.2]])))

    def left(state):
        return state.words[state.log_scores > -torch.inf].tolist()

    assert left(state) == [8, 5, 4]  # not the one that the vocabulary lacks, nor that below the threshold
    for token, expected in ((1, [8, 5, 4]), (5, [8, 4]), (9, [8, 4]), (5, [8, 4]), (4, [8]), (8, [])):
        _, state = model.step(torch.tensor([token]), state)
        assert left(state) == expected


def test_without_concepts_every_image_gets_the_same_scores(features):
    model = build(concepts=())
    logits, _ = model.step(torch.tensor([1, 1, 1]), model.start(replace(features, words=None)))
    assert logits[0].equal(logits[1])
    assert logits[0].equal(logits[2])


def test_without_concepts_it_learns_the_distribution_of_the_corpus():
    # Bigrams determine these three captions' words, except the first: a with 2/3, b with 1/3.
    captions = [[1, 4, 2], [1, 4, 2], [1, 5, 6, 2]]
    model = build(captions=captions, concepts=(), order=2)
    batch = collate(("x",), [captions], pad=0, features=ImageFeatures(torch.zeros(1, 13)))
    learner = torch.optim.LBFGS(model.parameters(), max_iter=300)

    def loss():
        learner.zero_grad()
        value = CrossEntropy()(model, batch.features, batch)
        value.backward()
        return value

    learner.step(loss)
    entropy = 3 * (2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3))
    assert loss().item() == pytest.approx(entropy / 7, abs=2e-3)


def test_it_learns_to_mention_what_is_detected():
    """Two images with the same beginning, and captions that differ by the detected word."""
    captions = [[[1, 4, 8, 2]], [[1, 4, 5, 2]]]
    words = torch.tensor([[0.9, 0.1, 0.1, 0.6, 0.1], [0.1, 0.1, 0.8, 0.6, 0.1]])
    batch = collate(("x", "y"), captions, pad=0, features=ImageFeatures(torch.zeros(2, 13), words=words))
    model = build(captions=[ids for own in captions for ids in own])
    learner = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        learner.zero_grad()
        CrossEntropy()(model, batch.features, batch).backward()
        learner.step()
    special = type("Special", (), {"pad": 0, "bos": 1, "eos": 2, "unk": 3})
    assert GreedySearch()(model, batch.features, special).tokens[:, 0].tolist() == [[4, 8, 2], [4, 5, 2]]


def test_all_weights_start_at_zero():
    model = VisualConcepts(**SIZES, concepts=CONCEPTS, num_ngrams=[3, 5, 7])
    assert not any(weight.any() for weight in model.parameters())


def test_parameter_count():
    # a, b; e, λ+ and λ- for n = 1: V each; λ+ and λ- of every n-gram.
    model = VisualConcepts(feature_size=2048, vocab_size=2539, concepts=range(4, 1004), num_ngrams=[300, 500, 700])
    assert sum(p.numel() for p in model.parameters()) == 2 + 3 * 2539 + 2 * 1500


def test_weights_keep_their_ngrams_when_saved():
    model = build()
    other = VisualConcepts(**SIZES, concepts=CONCEPTS, num_ngrams=[len(own.codes) for own in model.ngrams])
    other.load_state_dict(model.state_dict())
    features = ImageFeatures(torch.zeros(1, 13), words=torch.full((1, 5), 0.9))
    token = torch.tensor([4])
    assert other.step(token, other.start(features))[0].equal(model.step(token, model.start(features))[0])


@pytest.mark.parametrize("num_ngrams", [[3, 5], [3, 5, 7, 9], [3, 0, 7]])
def test_wrong_numbers_of_ngrams_are_refused(num_ngrams):
    with pytest.raises(InputError, match=r"num_ngrams=\[.*\]: expected 3 numbers above 0 for order=4"):
        VisualConcepts(**SIZES, concepts=(), num_ngrams=num_ngrams)


def test_unusable_settings_are_refused():
    with pytest.raises(InputError, match="token id 11 is outside the vocabulary of 11"):
        VisualConcepts(**SIZES, concepts=(11,), num_ngrams=[1, 1, 1])
    with pytest.raises(InputError, match="order=30 must be at least 1"):
        VisualConcepts(**SIZES, concepts=(), num_ngrams=[1] * 29, order=30)
